//! How two Pod templates differ, their images aside: not at all, in a restart's annotation, in what mitigates, or else.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How two templates differ, their images aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Difference {
    /// Not at all.
    Equal,
    /// Only in an annotation that says "restart".
    Restart,
    /// Only in resources, scheduling, probes, grace periods, template labels and annotations: what one turns to keep a
    /// service alive.
    Mitigation,
    /// Otherwise; also where there is nothing to compare with.
    Other,
}

/// Fields of a Pod spec that decide where and for how long it runs, not what.
const MITIGATING_POD_FIELDS: [&str; 12] = [
    "resources",
    "nodeSelector",
    "nodeName",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "schedulerName",
    "schedulingGates",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "terminationGracePeriodSeconds",
];

/// Fields of a container likewise.
const MITIGATING_CONTAINER_FIELDS: [&str; 5] =
    ["resources", "resizePolicy", "livenessProbe", "readinessProbe", "startupProbe"];

/// The lists of a Pod spec that hold containers.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Compares two Pod templates (`{metadata, spec}`), their images aside.
pub fn between(old: &Value, new: &Value) -> Difference {
    let (mut old, mut new) = (old.clone(), new.clone());
    for template in [&mut old, &mut new] {
        remove_images(template);
    }
    if old == new {
        return Difference::Equal;
    }
    for template in [&mut old, &mut new] {
        edit_annotations(template, |annotations| annotations.retain(|key, _| !says_restart(key)));
    }
    if old == new {
        return Difference::Restart;
    }
    for template in [&mut old, &mut new] {
        remove_what_mitigates(template);
    }
    if old == new { Difference::Mitigation } else { Difference::Other }
}

/// Whether an annotation's only purpose is to start Pods anew: `kubectl.kubernetes.io/restartedAt` and its kin.
fn says_restart(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(name.to_ascii_lowercase().as_str(), "restartedat" | "restartat" | "lastrestartedat")
        || key == "cattle.io/timestamp"
}

fn edit_annotations(template: &mut Value, edit: impl Fn(&mut Map<String, Value>)) {
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            edit(annotations);
        }
        metadata.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty()));
    }
}

fn remove_images(template: &mut Value) {
    for_each_container(template, |container| {
        container.remove("image");
    });
    if let Some(volumes) = template.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
        for volume in volumes {
            if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
                image.remove("reference");
            }
        }
    }
}

fn remove_what_mitigates(template: &mut Value) {
    if let Some(object) = template.as_object_mut() {
        object.remove("metadata");
    }
    for_each_container(template, |container| {
        for field in MITIGATING_CONTAINER_FIELDS {
            container.remove(field);
        }
    });
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        for field in MITIGATING_POD_FIELDS {
            spec.remove(field);
        }
    }
}

fn for_each_container(template: &mut Value, edit: impl Fn(&mut Map<String, Value>)) {
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for list in CONTAINER_LISTS {
        if let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) {
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                edit(container);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "checkout"}},
            "spec": {
                "containers": [{"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}], "resources": {}}],
                "volumes": [{"name": "m", "image": {"reference": "m:1"}}],
                "terminationGracePeriodSeconds": 30,
            },
        })
    }

    #[test]
    fn each_way_to_differ_is_told_apart() {
        for (pointer, key, value, difference) in [
            ("/spec/containers/0", "image", json!("a:2"), Difference::Equal),
            ("/spec/volumes/0/image", "reference", json!("m:2"), Difference::Equal),
            ("/metadata", "annotations", json!({"kubectl.kubernetes.io/restartedAt": "2026"}), Difference::Restart),
            ("/metadata", "annotations", json!({"example.com/restarted-at": "2026"}), Difference::Restart),
            ("/metadata", "annotations", json!({"cattle.io/timestamp": "2026"}), Difference::Restart),
            ("/metadata", "annotations", json!({"example.com/other": "2026"}), Difference::Mitigation),
            ("/metadata/labels", "tier", json!("web"), Difference::Mitigation),
            ("/spec/containers/0", "resources", json!({"limits": {"cpu": "2"}}), Difference::Mitigation),
            ("/spec/containers/0", "livenessProbe", json!({"httpGet": {}}), Difference::Mitigation),
            ("/spec", "terminationGracePeriodSeconds", json!(60), Difference::Mitigation),
            ("/spec", "nodeSelector", json!({"disk": "ssd"}), Difference::Mitigation),
            ("/spec", "tolerations", json!([{"key": "x"}]), Difference::Mitigation),
            ("/spec", "schedulingGates", json!([{"name": "quota"}]), Difference::Mitigation),
            ("/spec/containers/0", "env", json!([]), Difference::Other),
            ("/spec/containers/0", "args", json!(["--x"]), Difference::Other),
            ("/spec/containers/0", "name", json!("application"), Difference::Other),
            ("/spec", "serviceAccountName", json!("x"), Difference::Other),
            ("/spec", "hostNetwork", json!(true), Difference::Other),
            ("/spec", "securityContext", json!({"runAsUser": 0}), Difference::Other),
        ] {
            let mut changed = template();
            changed.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.into(), value);
            assert_eq!(between(&template(), &changed), difference, "{pointer}/{key}");
            assert_eq!(between(&changed, &template()), difference, "{pointer}/{key}, back");
        }
    }

    #[test]
    fn two_differences_count_as_the_graver() {
        let mut changed = template();
        changed["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "2026"});
        changed["spec"]["containers"][0]["env"] = json!([]);
        assert_eq!(between(&template(), &changed), Difference::Other);
    }

    #[test]
    fn odd_shapes_are_compared_as_they_are() {
        for odd in [json!(null), json!([]), json!({"spec": 1}), json!({"spec": {"containers": {}}})] {
            assert_eq!(between(&odd, &odd), Difference::Equal);
            assert_eq!(between(&template(), &odd), Difference::Other);
        }
    }
}
