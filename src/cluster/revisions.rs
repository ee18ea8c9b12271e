//! The revisions that a workload owns: a Deployment's replica sets, the controller revisions of stateful and daemon sets.

use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::time::Instant;

use super::error::{ReadError, within};
use super::resources::built_in;
use super::template_images::image_references;
use super::times::instant;
use crate::evidence::Revision;
use crate::subject::template::fingerprint;

/// Objects in one page of a list; a workload keeps ten revisions unless told otherwise.
const PAGE_OBJECTS: u32 = 200;

/// The kind of a workload's revisions, and where in them the template stands.
fn kind_of_revisions(group: &str, kind: &str) -> Option<(&'static str, &'static str)> {
    match (group, kind) {
        ("apps", "Deployment") => Some(("ReplicaSet", "/spec/template")),
        ("apps", "StatefulSet" | "DaemonSet") => Some(("ControllerRevision", "/data/spec/template")),
        _ => None,
    }
}

/// Whether workloads of this kind keep revisions.
pub(super) fn are_kept_by(group: &str, kind: &str) -> bool {
    kind_of_revisions(group, kind).is_some()
}

/// The revisions of a workload, oldest first; none for kinds that keep none.
pub(super) async fn of(
    client: &Client,
    group: &str,
    kind: &str,
    workload: &DynamicObject,
    deadline: Instant,
) -> Result<Vec<Revision>, ReadError> {
    let Some((revision_kind, template)) = kind_of_revisions(group, kind) else {
        return Ok(Vec::new());
    };
    let Some(resource) = built_in("apps", revision_kind) else {
        return Ok(Vec::new());
    };
    let namespace = workload.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let what = format!("{revision_kind}s of {kind} {:?} in namespace {namespace:?}", workload.name_any());
    // Controllers find their revisions by this selector too, so it finds them all.
    let mut page = ListParams::default().limit(PAGE_OBJECTS).labels(&selector(&workload.data["spec"]["selector"]));
    let mut revisions = Vec::new();
    loop {
        let list = within(deadline, &what, api.list(&page)).await?;
        revisions.extend(
            list.items
                .iter()
                .filter(|object| is_controlled_by(object, workload.metadata.uid.as_deref()))
                .filter_map(|object| revision(object, template)),
        );
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    revisions.sort_by_key(|revision| revision.created_at);
    Ok(revisions)
}

fn is_controlled_by(object: &DynamicObject, uid: Option<&str>) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

fn revision(object: &DynamicObject, template: &str) -> Option<Revision> {
    let template = object.data.pointer(template)?;
    Some(Revision {
        fingerprint: fingerprint(&template.into()),
        images: image_references(template),
        created_at: instant(object.metadata.creation_timestamp.as_ref()?)?,
    })
}

/// A label selector as the API takes it in a query.
fn selector(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> =
        labels.filter_map(|(label, value)| Some(format!("{label}={}", value.as_str()?))).collect();
    for requirement in selector["matchExpressions"].as_array().into_iter().flatten() {
        let Some(label) = requirement["key"].as_str() else {
            continue;
        };
        let values: Vec<&str> =
            requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        match requirement["operator"].as_str() {
            Some("In") => parts.push(format!("{label} in ({values})")),
            Some("NotIn") => parts.push(format!("{label} notin ({values})")),
            Some("Exists") => parts.push(label.to_owned()),
            Some("DoesNotExist") => parts.push(format!("!{label}")),
            _ => {}
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_written_as_queries_take_them() {
        let written = selector(&json!({
            "matchLabels": {"app": "checkout"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "zone", "operator": "NotIn", "values": ["c"]},
                {"key": "team", "operator": "Exists"},
                {"key": "old", "operator": "DoesNotExist"}
            ]
        }));
        assert_eq!(written, "app=checkout,tier in (a,b),zone notin (c),team,!old");
        assert_eq!(selector(&Value::Null), "");
    }
}
