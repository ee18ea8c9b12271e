//! In what two verdicts differ, as records have them: by their bytes, prose left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One thing that a replay says otherwise than the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where in the record, as `rules[0].properties.ageSeconds`.
    pub field: String,
    /// What was recorded, as JSON; `None` where nothing was.
    pub recorded: Option<String>,
    /// What is decided today, as JSON; `None` where nothing is.
    pub today: Option<String>,
}

/// The members that tell a verdict, unread: their bytes are compared.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    decision: &'a RawValue,
    #[serde(borrow)]
    change: &'a RawValue,
    #[serde(borrow, default)]
    passed: Option<&'a RawValue>,
    #[serde(borrow)]
    policies: &'a RawValue,
    #[serde(borrow)]
    rules: Vec<Part<'a>>,
    #[serde(borrow, default)]
    budgets: Vec<Part<'a>>,
    #[serde(borrow, default)]
    exceptions: Option<&'a RawValue>,
}

/// A rule or a budget: members by name.
type Part<'a> = BTreeMap<&'a str, &'a RawValue>;

/// What is said for people, and may be said better in a later release.
const PROSE: [&str; 2] = ["message", "detail"];

impl<'a> Members<'a> {
    /// The bytes of each member, in one order.
    fn texts(&self) -> Vec<&'a str> {
        let whole = [Some(self.decision), Some(self.change), self.passed, Some(self.policies), self.exceptions];
        let mut texts: Vec<&str> = whole.iter().map(|text| text.map_or("", RawValue::get)).collect();
        for parts in [&self.rules, &self.budgets] {
            // Where one list ends is told too.
            texts.push("[");
            for part in parts {
                texts.push("{");
                let told = part.iter().filter(|(name, _)| !PROSE.contains(name));
                texts.extend(told.flat_map(|(name, text)| [*name, text.get()]));
            }
        }
        texts
    }
}

/// In what the verdict in one JSON text differs from that in another.
pub(super) fn between(recorded: &str, today: &str) -> Result<Vec<Difference>, serde_json::Error> {
    let (one, other): (Members<'_>, Members<'_>) = (serde_json::from_str(recorded)?, serde_json::from_str(today)?);
    if one.texts() == other.texts() {
        return Ok(Vec::new());
    }
    let (one, other) = (leaves(&one)?, leaves(&other)?);
    let fields: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differing = fields.into_iter().filter(|field| one.get(*field) != other.get(*field));
    Ok(differing
        .map(|field| Difference {
            field: field.clone(),
            recorded: one.get(field).cloned(),
            today: other.get(field).cloned(),
        })
        .collect())
}

/// Every figure and text of a verdict under the way to it, as it is written there.
fn leaves(members: &Members<'_>) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut found = BTreeMap::new();
    let whole = [
        ("decision", Some(members.decision)),
        ("change", Some(members.change)),
        ("passed", members.passed),
        ("policies", Some(members.policies)),
        ("exceptions", members.exceptions),
    ];
    for (field, text) in whole.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        add(field, text, &mut found)?;
    }
    for (field, parts) in [("rules", &members.rules), ("budgets", &members.budgets)] {
        for (index, part) in parts.iter().enumerate() {
            for (name, text) in part.iter().filter(|(name, _)| !PROSE.contains(name)) {
                add(&format!("{field}[{index}].{name}"), text, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// Down to what has no members; what is not taken apart keeps its bytes.
fn add(field: &str, text: &RawValue, found: &mut BTreeMap<String, String>) -> Result<(), serde_json::Error> {
    match text.get().as_bytes().first() {
        Some(b'{') => {
            // Names may be written with escapes, so they are read.
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text.get())?;
            if members.is_empty() {
                found.insert(field.to_owned(), text.get().to_owned());
            }
            members.iter().try_for_each(|(name, text)| add(&format!("{field}.{name}"), text, found))
        }
        Some(b'[') => {
            let entries: Vec<&RawValue> = serde_json::from_str(text.get())?;
            if entries.is_empty() {
                found.insert(field.to_owned(), text.get().to_owned());
            }
            entries.iter().enumerate().try_for_each(|(index, text)| add(&format!("{field}[{index}]"), text, found))
        }
        _ => {
            found.insert(field.to_owned(), text.get().to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VERDICT: &str = r#"{"decision":"deny","change":"Create","policies":{"p":"1"},"inputs":{"x":1},"rules":[{"policy":"p","rule":"imageAge",
        "result":"fail","message":"old","properties":{"ageSeconds":9,"limitSeconds":5}}],"budgets":[{"state":"Low","remaining":0.1,"detail":"x"}]}"#;

    fn difference(field: &str, recorded: Option<&str>, today: Option<&str>) -> Difference {
        Difference { field: field.into(), recorded: recorded.map(str::to_owned), today: today.map(str::to_owned) }
    }

    #[test]
    fn prose_and_what_is_no_verdict_may_differ() {
        let other = VERDICT.replace("\"old\"", "\"too old\"").replace("\"x\":1", "\"x\":2").replace("\"x\"}", "\"y\"}");
        assert_eq!(between(VERDICT, &other).unwrap(), []);
    }

    #[test]
    fn each_figure_that_differs_is_named() {
        for (was, is, expected) in [
            ("\"deny\"", "\"warn\"", difference("decision", Some("\"deny\""), Some("\"warn\""))),
            (
                "\"ageSeconds\":9",
                "\"ageSeconds\":8",
                difference("rules[0].properties.ageSeconds", Some("9"), Some("8")),
            ),
            ("\"fail\"", "\"warn\"", difference("rules[0].result", Some("\"fail\""), Some("\"warn\""))),
            (
                "0.1",
                "0.10000000000000002",
                difference("budgets[0].remaining", Some("0.1"), Some("0.10000000000000002")),
            ),
            ("\"p\":\"1\"", "\"p\":\"2\"", difference("policies.p", Some("\"1\""), Some("\"2\""))),
            ("\"change\"", "\"passed\":\"NoPolicy\",\"change\"", difference("passed", None, Some("\"NoPolicy\""))),
        ] {
            assert_eq!(between(VERDICT, &VERDICT.replace(was, is)).unwrap(), [expected]);
        }
        let without = serde_json::from_str::<Value>(VERDICT).unwrap();
        let without = serde_json::json!({"decision": without["decision"], "change": without["change"], "policies": without["policies"], "rules": []});
        let said: Vec<String> =
            between(VERDICT, &without.to_string()).unwrap().into_iter().map(|one| one.field).collect();
        assert_eq!(
            said,
            [
                "budgets[0].remaining",
                "budgets[0].state",
                "rules[0].policy",
                "rules[0].properties.ageSeconds",
                "rules[0].properties.limitSeconds",
                "rules[0].result",
                "rules[0].rule",
            ]
        );
    }
}
