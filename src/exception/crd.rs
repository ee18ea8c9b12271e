//! The custom resource definition of `GateException`, as `kubectl apply` wants it.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::api::GateException;
use super::check::{LONGEST_NAME, LONGEST_TEXT, MOST_TARGETS};
use crate::policy::crd::bound;

/// The definition as a tree.
pub fn definition() -> Value {
    // What serde writes it also reads; a definition that could not be written would fail each test.
    let mut crd = serde_json::to_value(GateException::crd()).unwrap_or_default();
    let Some(version) = crd.pointer_mut("/spec/versions/0") else {
        return crd;
    };
    version["additionalPrinterColumns"] = json!([
        {"name": "Reason", "type": "string", "jsonPath": ".spec.reason"},
        // A column of type date would show how long ago that is, and this is in the future.
        {"name": "Expires", "type": "string", "jsonPath": ".spec.expiresAt"},
        {"name": "Granted-By", "type": "string", "jsonPath": ".status.grantedBy.username"},
        {"name": "Active", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Active\")].status"},
        {"name": "Rules", "type": "string", "jsonPath": ".spec.rules", "priority": 1},
        {"name": "Ticket", "type": "string", "jsonPath": ".spec.ticket", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
        bound(schema);
        if let Some(spec) = schema.pointer_mut("/properties/spec") {
            shape(spec);
        }
    }
    crd
}

/// Bounds that the general ones do not know, and shape checks with words for whoever meets them.
fn shape(spec: &mut Value) {
    spec["x-kubernetes-validations"] = rules(&[
        ("self == oldSelf", "the spec of an exception cannot be changed: delete it and create another"),
        (
            "has(self.dependency) == (self.reason == 'dependency-outage')",
            "dependency: name the service that is out with reason dependency-outage, and with no other reason",
        ),
        (
            "!has(self.digest) || self.digest.matches('^sha256:[0-9a-f]{64}$')",
            "digest: write sha256: and 64 lower-case hexadecimal digits, or leave it out",
        ),
        ("self.text.trim() != ''", "text: say in a sentence why the exception is needed"),
    ]);
    let properties = &mut spec["properties"];
    properties["text"]["maxLength"] = json!(LONGEST_TEXT);
    properties["digest"]["maxLength"] = json!(71);
    properties["dependency"]["properties"]["service"]["maxLength"] = json!(LONGEST_NAME);
    properties["dependency"]["properties"]["service"]["minLength"] = json!(1);
    for (name, value) in [("minItems", json!(1)), ("x-kubernetes-list-type", json!("set"))] {
        properties["rules"][name] = value;
    }
    let targets = &mut properties["targets"];
    for (name, value) in [
        ("minItems", json!(1)),
        ("maxItems", json!(MOST_TARGETS)),
        ("x-kubernetes-list-type", json!("map")),
        ("x-kubernetes-list-map-keys", json!(["namespace", "kind", "name"])),
    ] {
        targets[name] = value;
    }
    let target = &mut targets["items"];
    for (field, longest) in [("namespace", 63), ("kind", 63), ("name", LONGEST_NAME)] {
        target["properties"][field]["maxLength"] = json!(longest);
    }
    // "namespace" is a reserved word of CEL, so it is escaped.
    target["x-kubernetes-validations"] = rules(&[
        (
            "self.__namespace__.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "namespace: write one exact name; a glob or an empty name is for nothing",
        ),
        ("self.kind.matches('^[A-Z][A-Za-z0-9]*$')", "kind: write it as Deployment"),
        (
            "self.name.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",
            "name: write one exact name; a glob or an empty name is for nothing",
        ),
    ]);
}

fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}
