//! How a configuration in a cluster differs from the gate's: in the fields that the gate owns. What others add beside them, as
//! entries of their own or annotations, is theirs.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Longest value that is told; a bundle of certificates says nothing to a reader.
const LONGEST_VALUE: usize = 80;
/// So many differences are told.
const MOST_TOLD: usize = 5;

/// One field that is not as the gate set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as `webhooks[workloads.freshgate.dev].failurePolicy`.
    pub place: String,
    /// What stands there, and what the gate set, in JSON.
    words: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.place, self.words)
    }
}

/// Every difference in words, as far as there is room.
pub fn in_words(differences: &[Difference]) -> String {
    let told: Vec<String> = differences.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    let more = differences.len().saturating_sub(MOST_TOLD);
    if more == 0 { told.join("; ") } else { format!("{}; and {more} more", told.join("; ")) }
}

/// What of `wanted` is otherwise in `live`.
pub fn differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(wanted, live, "", &mut found);
    found
}

/// Fields in which what is beside counts as well: one condition or label more, and the gate is asked less.
const WHOLE: [&str; 3] = ["namespaceSelector", "objectSelector", "rules"];

fn compare(wanted: &Value, live: &Value, place: &str, found: &mut Vec<Difference>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (name, value) in wanted {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                let there = live.get(name).unwrap_or(&Value::Null);
                match name.as_str() {
                    "webhooks" => compare_named(value, there, &place, found),
                    "ownerReferences" => compare_contained(value, there, &place, found),
                    whole if WHOLE.contains(&whole) => {
                        if !is_same(value, there) {
                            found.push(difference(place, value, there));
                        }
                    }
                    _ => compare(value, there, &place, found),
                }
            }
        }
        (wanted, live) if is_same(wanted, live) => {}
        (wanted, live) => found.push(difference(place.to_owned(), wanted, live)),
    }
}

fn compare_named(wanted: &Value, live: &Value, place: &str, found: &mut Vec<Difference>) {
    for entry in wanted.as_array().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap_or_default();
        let there = live.as_array().into_iter().flatten().find(|other| other["name"] == name);
        let place = format!("{place}[{name}]");
        match there {
            Some(there) => compare(entry, there, &place, found),
            None => found.push(Difference { place, words: "is gone".to_owned() }),
        }
    }
}

fn compare_contained(wanted: &Value, live: &Value, place: &str, found: &mut Vec<Difference>) {
    let there: Vec<&Value> = live.as_array().into_iter().flatten().collect();
    if !wanted.as_array().into_iter().flatten().all(|one| there.contains(&one)) {
        found.push(difference(place.to_owned(), wanted, live));
    }
}

/// An empty list or object, and none, say the same.
fn is_same(wanted: &Value, live: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    wanted == live || (is_empty(wanted) && is_empty(live))
}

fn difference(place: String, wanted: &Value, live: &Value) -> Difference {
    let (live, wanted) = (live.to_string(), wanted.to_string());
    let words = if live.len() + wanted.len() > LONGEST_VALUE {
        "is not what the gate set".to_owned()
    } else if live == "null" {
        format!("is gone; the gate set {wanted}")
    } else {
        format!("is {live}; the gate set {wanted}")
    };
    Difference { place, words }
}

/// The entries of `live` with the gate's own exactly as in `wanted`. Server-side apply leaves conditions that somebody added
/// to an entry, because no other owns them.
pub fn put_back(wanted: &Value, live: &Value) -> Value {
    let own = |name: &Value| wanted["webhooks"].as_array().into_iter().flatten().find(|entry| entry["name"] == *name);
    let entries = live["webhooks"].as_array().into_iter().flatten();
    Value::Array(entries.map(|entry| own(&entry["name"]).unwrap_or(entry).clone()).collect())
}

/// What the gate may write where somebody else's change is to stay: `wanted`, but as in `live` wherever that is no more as in
/// `base`, which is what the gate set before.
pub fn beside_drift(base: &Value, wanted: &Value, live: &Value) -> Value {
    match (base, wanted, live) {
        (Value::Object(base), Value::Object(wanted), Value::Object(live)) => {
            let names: BTreeSet<&String> = wanted.keys().collect();
            let mut merged = Map::new();
            for name in names {
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                let value = match name.as_str() {
                    "webhooks" => entries_beside_drift(&of(base), &of(wanted), &of(live)),
                    _ => beside_drift(&of(base), &of(wanted), &of(live)),
                };
                if !value.is_null() {
                    merged.insert(name.clone(), value);
                }
            }
            Value::Object(merged)
        }
        _ if differs(base, live) => live.clone(),
        _ => wanted.clone(),
    }
}

fn differs(base: &Value, live: &Value) -> bool {
    let mut found = Vec::new();
    compare(base, live, "", &mut found);
    !found.is_empty()
}

fn entries_beside_drift(base: &Value, wanted: &Value, live: &Value) -> Value {
    let named = |list: &Value, name: &Value| {
        list.as_array().into_iter().flatten().find(|entry| entry["name"] == *name).cloned()
    };
    let entries = wanted.as_array().into_iter().flatten().filter_map(|entry| {
        let name = &entry["name"];
        match (named(base, name), named(live, name)) {
            (Some(base), Some(live)) => Some(beside_drift(&base, entry, &live)),
            // Somebody took it out.
            (Some(_), None) => None,
            (None, _) => Some(entry.clone()),
        }
    });
    Value::Array(entries.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::registration;
    use super::*;

    fn wanted(authorities: &str) -> Value {
        registration().manifest(Some(authorities), &[], None)
    }

    /// As an API server gives it back.
    fn live() -> Value {
        let mut live = wanted("one");
        live["metadata"]["uid"] = json!("u");
        for entry in live["webhooks"].as_array_mut().unwrap() {
            if entry["matchConditions"] == json!([]) {
                entry.as_object_mut().unwrap().remove("matchConditions");
            }
        }
        live
    }

    fn told(live: &Value) -> String {
        in_words(&differences(&wanted("one"), live))
    }

    #[test]
    fn what_the_api_server_and_others_add_is_no_drift() {
        let mut live = live();
        live["metadata"]["annotations"]["team"] = json!("a");
        live["metadata"]["ownerReferences"] = json!([{"name": "other"}]);
        live["webhooks"].as_array_mut().unwrap().insert(0, json!({"name": "other.example"}));
        assert_eq!(told(&live), "");
    }

    #[test]
    fn each_way_to_be_asked_less_is_told() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut live = live();
            change(&mut live);
            told(&live)
        };
        let first = "webhooks[workloads.freshgate.dev]";
        assert_eq!(
            changed(&|live| live["webhooks"][0]["failurePolicy"] = json!("Ignore")),
            format!("{first}.failurePolicy is \"Ignore\"; the gate set \"Fail\"")
        );
        assert_eq!(
            changed(&|live| live["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}})),
            format!("{first}.objectSelector is {{\"matchLabels\":{{\"a\":\"b\"}}}}; the gate set {{}}")
        );
        for (change, place) in [
            (
                &(|live: &mut Value| live["webhooks"][0]["rules"].as_array_mut().unwrap().truncate(1))
                    as &dyn Fn(&mut Value),
                "rules",
            ),
            (&|live| live["webhooks"][0]["rules"][0]["resources"] = json!(["deployments"]), "rules"),
            (&|live| live["webhooks"][0]["namespaceSelector"]["matchLabels"] = json!({"a": "b"}), "namespaceSelector"),
            (
                &|live| {
                    let conditions = live["webhooks"][0]["matchConditions"].as_array_mut().unwrap();
                    conditions.push(json!({"name": "never", "expression": "false"}));
                },
                "matchConditions",
            ),
            (&|live| live["webhooks"][0]["clientConfig"]["caBundle"] = json!("Zm9yZWlnbg=="), "clientConfig.caBundle"),
        ] {
            assert!(changed(change).starts_with(&format!("{first}.{place} ")), "{}", changed(change));
        }
        let conditions = json!([{"name": "never", "expression": "false"}]);
        assert!(
            changed(&|live| live["webhooks"][3]["matchConditions"] = conditions.clone())
                .starts_with("webhooks[exceptions.freshgate.dev].matchConditions is "),
        );
        let gone = changed(&|live| drop(live["webhooks"].as_array_mut().unwrap().remove(1)));
        assert_eq!(gone, "webhooks[owned.freshgate.dev] is gone");
    }

    #[test]
    fn others_entries_stay_where_the_gates_own_are_put_back() {
        let mut live = live();
        let conditions = live["webhooks"][0]["matchConditions"].as_array_mut().unwrap();
        conditions.push(json!({"name": "never", "expression": "false"}));
        live["webhooks"].as_array_mut().unwrap().insert(0, json!({"name": "other.example"}));
        let put_back = put_back(&wanted("one"), &live);
        assert_eq!(put_back[0], json!({"name": "other.example"}));
        assert_eq!(
            told(&json!({"metadata": wanted("one")["metadata"], "apiVersion": live["apiVersion"],
            "kind": live["kind"], "webhooks": put_back})),
            ""
        );
    }

    #[test]
    fn what_the_gate_has_to_change_is_written_beside_what_others_have_changed() {
        let mut live = live();
        live["webhooks"][0]["failurePolicy"] = json!("Ignore");
        live["webhooks"].as_array_mut().unwrap().remove(1);
        let merged = beside_drift(&wanted("one"), &wanted("two"), &live);
        let mut expected = wanted("two");
        expected["webhooks"][0]["failurePolicy"] = json!("Ignore");
        expected["webhooks"].as_array_mut().unwrap().remove(1);
        assert_eq!(merged, expected);
    }
}
