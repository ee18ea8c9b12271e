//! How two Pod templates differ, their images aside: not at all, in a restart's annotation, in what mitigates, or else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json_borrow::{ObjectAsVec, Value};

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
pub fn between(old: &Value<'_>, new: &Value<'_>) -> Difference {
    each_member(old, new, |key, old, new| match key {
        "metadata" => between_metadata(old, new),
        "spec" => between_specs(old, new),
        _ => Difference::Other,
    })
}

/// What is empty there counts as missing.
fn between_metadata(old: Option<&Value<'_>>, new: Option<&Value<'_>>) -> Difference {
    let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
    each_member(old, new, |key, old, new| {
        let is_empty = |value: Option<&Value<'_>>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Object(object)) => object.is_empty(),
            Some(_) => false,
        };
        match key {
            _ if is_empty(old) && is_empty(new) => Difference::Equal,
            "annotations" => {
                let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
                each_member(
                    old,
                    new,
                    |key, _, _| {
                        if says_restart(key) { Difference::Restart } else { Difference::Mitigation }
                    },
                )
            }
            _ => Difference::Mitigation,
        }
    })
    .min(Difference::Mitigation)
}

fn between_specs(old: Option<&Value<'_>>, new: Option<&Value<'_>>) -> Difference {
    let (Some(old), Some(new)) = (old, new) else {
        return Difference::Other;
    };
    each_member(old, new, |key, old, new| match key {
        _ if MITIGATING_POD_FIELDS.contains(&key) => Difference::Mitigation,
        _ if CONTAINER_LISTS.contains(&key) => each_item(old, new, |key, _, _| match key {
            "image" => Difference::Equal,
            _ if MITIGATING_CONTAINER_FIELDS.contains(&key) => Difference::Mitigation,
            _ => Difference::Other,
        }),
        "volumes" => each_item(old, new, |key, old, new| match (key, old, new) {
            ("image", Some(old), Some(new)) => {
                each_member(
                    old,
                    new,
                    |key, _, _| {
                        if key == "reference" { Difference::Equal } else { Difference::Other }
                    },
                )
            }
            _ => Difference::Other,
        }),
        _ => Difference::Other,
    })
}

/// The gravest of what `judge` says of each member that differs. What are no objects can only be equal or not.
fn each_member<'v>(
    old: &'v Value<'v>,
    new: &'v Value<'v>,
    judge: impl Fn(&str, Option<&'v Value<'v>>, Option<&'v Value<'v>>) -> Difference,
) -> Difference {
    // Whoever writes both writes them in one order, nearly always.
    if let (Value::Object(old), Value::Object(new)) = (old, new)
        && old.keys().eq(new.keys())
    {
        let pairs = old.iter().zip(new.iter()).filter(|((_, old), (_, new))| !same(old, new));
        let judged = pairs.map(|((key, old), (_, new))| judge(key, Some(old), Some(new)));
        return judged.max().unwrap_or(Difference::Equal);
    }
    let (members_of_old, members_of_new) = match (old, new) {
        (Value::Object(old), Value::Object(new)) => (members(old), members(new)),
        (Value::Object(old), Value::Null) => (members(old), BTreeMap::new()),
        (Value::Null, Value::Object(new)) => (BTreeMap::new(), members(new)),
        _ if same(old, new) => return Difference::Equal,
        _ => return Difference::Other,
    };
    let added = members_of_new.iter().filter(|(key, _)| !members_of_old.contains_key(*key));
    let added = added.map(|(key, new)| judge(key, None, Some(new)));
    let kept = members_of_old.iter().map(|(key, old)| match members_of_new.get(key) {
        Some(new) if same(old, new) => Difference::Equal,
        new => judge(key, Some(old), new.copied()),
    });
    kept.chain(added).max().unwrap_or(Difference::Equal)
}

/// The same for the objects of two lists, which must be as many.
fn each_item<'v>(
    old: Option<&'v Value<'v>>,
    new: Option<&'v Value<'v>>,
    judge: impl Fn(&str, Option<&'v Value<'v>>, Option<&'v Value<'v>>) -> Difference,
) -> Difference {
    match (old, new) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            old.iter().zip(new).map(|(old, new)| each_member(old, new, &judge)).max().unwrap_or(Difference::Equal)
        }
        _ => Difference::Other,
    }
}

fn members<'v>(object: &'v ObjectAsVec<'v>) -> BTreeMap<&'v str, &'v Value<'v>> {
    object.iter().collect()
}

/// Whether two values are equal, whatever the order of their members.
fn same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.iter().zip(other.iter()).all(|((_, one), (_, other))| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let (one, other) = (members(one), members(other));
            one.keys().eq(other.keys()) && one.values().zip(other.values()).all(|(one, other)| same(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other,
    }
}

/// Whether an annotation's only purpose is to start Pods anew: `kubectl.kubernetes.io/restartedAt` and its kin.
fn says_restart(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(name.to_ascii_lowercase().as_str(), "restartedat" | "restartat" | "lastrestartedat")
        || key == "cattle.io/timestamp"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn between(old: &Value, new: &Value) -> Difference {
        super::between(&old.into(), &new.into())
    }

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
    fn the_order_of_members_is_no_difference() {
        let read = |text| serde_json::from_str(text).unwrap();
        let one =
            read(r#"{"spec":{"hostNetwork":true,"securityContext":{"runAsUser":1,"fsGroup":2},"dnsPolicy":"x"}}"#);
        let other =
            read(r#"{"spec":{"dnsPolicy":"x","securityContext":{"fsGroup":2,"runAsUser":1},"hostNetwork":true}}"#);
        assert_eq!(super::between(&one, &other), Difference::Equal);
    }

    #[test]
    fn odd_shapes_are_compared_as_they_are() {
        for odd in [json!(null), json!([]), json!({"spec": 1}), json!({"spec": {"containers": {}}})] {
            assert_eq!(between(&odd, &odd), Difference::Equal);
            assert_eq!(between(&template(), &odd), Difference::Other);
        }
    }
}
