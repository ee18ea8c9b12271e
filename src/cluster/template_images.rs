//! The image references of a Pod template that is at hand as a JSON tree.

use serde::Deserialize as _;
use serde_json::Value;

use crate::subject::pod_spec::PodSpecView;

/// Every image of a template, in every place.
pub fn of(template: &Value) -> Vec<String> {
    let spec = template.get("spec").and_then(|spec| PodSpecView::deserialize(spec).ok());
    spec.unwrap_or_default().images().into_iter().map(|used| used.image).collect()
}
