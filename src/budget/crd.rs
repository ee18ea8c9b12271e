//! The custom resource definition of `BudgetSource`, as `kubectl apply` wants it.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::api::BudgetSource;
use crate::policy::crd::{DURATION, bound};

/// Most characters of a query, and of a document of `OpenSLO`.
const LONGEST_QUERY: u64 = 4_096;
const LONGEST_DOCUMENT: u64 = 65_536;

/// The definition as a tree.
pub fn definition() -> Value {
    // What serde writes it also reads; a definition that could not be written would fail each test.
    let mut crd = serde_json::to_value(BudgetSource::crd()).unwrap_or_default();
    if let Some(version) = crd.pointer_mut("/spec/versions/0") {
        version["additionalPrinterColumns"] = json!([
            {"name": "Format", "type": "string", "jsonPath": ".spec.format"},
            {"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"},
            {"name": "Reachable", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Reachable\")].status"},
            {"name": "URL", "type": "string", "jsonPath": ".spec.prometheus.url", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]);
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
            bound(schema);
            if let Some(spec) = schema.pointer_mut("/properties/spec") {
                widen(spec);
                add_rules(spec);
            }
        }
    }
    crd
}

/// Bounds that differ from the usual ones.
fn widen(spec: &mut Value) {
    for (place, keyword, most) in [
        ("/properties/openslo/properties/documents/items", "maxLength", LONGEST_DOCUMENT),
        ("/properties/openslo/properties/documents", "maxItems", 20),
        ("/properties/service/properties/mapping", "maxItems", 1_000),
        ("/properties/promql/properties/objectives/items/properties/good", "maxLength", LONGEST_QUERY),
        ("/properties/promql/properties/objectives/items/properties/total", "maxLength", LONGEST_QUERY),
        ("/properties/promql/properties/objectives/items/properties/errorRatio", "maxLength", LONGEST_QUERY),
        ("/properties/promql/properties/objectives/items/properties/objective", "maximum", 1),
        ("/properties/interval", "maxLength", 64),
        ("/properties/prometheus/properties/timeout", "maxLength", 64),
        ("/properties/promql/properties/objectives/items/properties/window", "maxLength", 64),
    ] {
        if let Some(schema) = spec.pointer_mut(place) {
            schema[keyword] = most.into();
        }
    }
    if let Some(url) = spec.pointer_mut("/properties/prometheus/properties/url") {
        url["pattern"] = "^https?://".into();
    }
}

/// Shape checks that a schema's keywords cannot say, with words for whoever meets them.
fn add_rules(spec: &mut Value) {
    let mut rules = vec![
        json!({
            "rule": "self.format != 'File' && !has(self.file)",
            "message": "in a cluster no source reads the gate's files: name a Prometheus",
        }),
        json!({"rule": "has(self.prometheus)", "message": "prometheus: add it, with a url"}),
        json!({
            "rule": "(self.format == 'OpenSLO') == has(self.openslo)",
            "message": "openslo: write it for format OpenSLO, and for no other",
        }),
        json!({
            "rule": "(self.format == 'PromQL') == has(self.promql)",
            "message": "promql: write it for format PromQL, and for no other",
        }),
        json!({
            "rule": "!has(self.openslo) || !has(self.openslo.files)",
            "message": "openslo.files: in a cluster no source reads the gate's files; write configMaps",
        }),
    ];
    for name in ["interval", "maxAge"] {
        rules.push(json!({
            "rule": format!("!has(self.{name}) || (size(self.{name}) > 0 && self.{name}.matches('{DURATION}'))"),
            "message": format!("{name}: write a number and a unit (y, w, d, h, m or s), as 30s or 5m"),
        }));
    }
    spec["x-kubernetes-validations"] = rules.into();
    if let Some(prometheus) = spec.pointer_mut("/properties/prometheus") {
        prometheus["x-kubernetes-validations"] = json!([
            {
                "rule": "!(has(self.basic) && has(self.bearer))",
                "message": "basic and bearer contradict each other: write one of them",
            },
            {
                "rule": "!(has(self.basic) && has(self.basic.passwordFile)) && !(has(self.bearer) && has(self.bearer.file)) && !(has(self.tls) && (has(self.tls.caFile) || has(self.tls.certificateFile) || has(self.tls.keyFile)))",
                "message": "in a cluster no source reads the gate's files: write Secrets of the gate's namespace",
            },
        ]);
    }
}
