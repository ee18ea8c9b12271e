//! What stands in a namespace's report: the objects that other tools read, those of `OpenReports` and of the policy working group.
//!
//! Both have the same shape, bounded here: an object that etcd does not take would say nothing at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tally::{Grade, OfNamespace, Outcome};
use crate::dependency::finding::NotLookedUp;

/// The name of each report.
pub const NAME: &str = "freshgate";
/// By this label what the gate made is found, by whoever uninstalls it too.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "freshgate");
/// Over what a report says, so that one that says the same is not written again.
pub const HASH_ANNOTATION: &str = "freshgate.dev/content";
/// Most results of one report: with [`LONGEST_TEXT`] less than half of what etcd takes.
pub const MOST_RESULTS: usize = 300;
/// Most reasons that are named for what could not be looked up.
const MOST_REASONS: usize = 20;
/// Things that are named one by one for a reason.
const MOST_NAMED: usize = 3;
/// Most bytes of all results together: half of what etcd takes. Texts that JSON has to escape are longer than they look.
const MOST_BYTES: usize = 700 << 10;
/// Longest text in a result, in characters.
const LONGEST_TEXT: usize = 400;

/// A kind of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavour {
    /// Its API group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its plural.
    pub plural: &'static str,
    /// Whether the object itself names who wrote it, and not its results alone.
    names_source: bool,
}

/// The kinds of report that the gate writes, where they are installed.
pub const FLAVOURS: [Flavour; 2] = [
    Flavour { group: "openreports.io", version: "v1alpha1", kind: "Report", plural: "reports", names_source: true },
    Flavour {
        group: "wgpolicyk8s.io",
        version: "v1alpha2",
        kind: "PolicyReport",
        plural: "policyreports",
        names_source: false,
    },
];

/// A report without what it goes with, and a hash over what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The object.
    pub object: Value,
    /// The hash, which stands in it too.
    pub hash: String,
}

/// The report of a namespace.
pub fn report(flavour: Flavour, namespace: &str, found: &OfNamespace) -> Report {
    let mut outcomes: Vec<&Outcome> = found.outcomes.iter().collect();
    outcomes.sort_by(|one, other| {
        (one.grade, &one.workload, &one.policy, &one.rule, &one.message).cmp(&(
            other.grade,
            &other.workload,
            &other.policy,
            &other.rule,
            &other.message,
        ))
    });
    let fail = outcomes.iter().filter(|outcome| outcome.grade == Grade::Refused).count();
    let (all, warn) = (outcomes.len(), outcomes.len() - fail);
    outcomes.truncate(MOST_RESULTS);
    let mut bytes = 0;
    let fits = |result: &Value| {
        bytes += result.to_string().len();
        bytes <= MOST_BYTES
    };
    let mut results: Vec<Value> =
        outcomes.into_iter().map(|outcome| result(namespace, outcome)).take_while(fits).collect();
    let left_out = all - results.len();
    if left_out > 0 {
        results.push(json!({
            "source": NAME, "policy": "dependencies", "rule": "report-size", "result": "skip", "scored": false,
            "message": format!("{left_out} more are left out, the less urgent ones; `freshgate report --cluster` shows all."),
        }));
    }
    results.extend(not_looked_up(&found.not_looked_up));
    let skip = results.iter().filter(|result| result["result"] == "skip").count();
    let mut object = json!({
        "apiVersion": format!("{}/{}", flavour.group, flavour.version),
        "kind": flavour.kind,
        "metadata": {"name": NAME, "namespace": namespace, "labels": {LABEL.0: LABEL.1}},
        "summary": {
            "pass": found.passing, "fail": fail, "warn": warn, "error": 0, "skip": skip,
        },
        "results": results,
    });
    if flavour.names_source {
        object["source"] = json!(NAME);
    }
    let hash = hex::encode(Sha256::digest(object.to_string()));
    object["metadata"]["annotations"] = json!({HASH_ANNOTATION: hash});
    Report { object, hash }
}

fn result(namespace: &str, outcome: &Outcome) -> Value {
    let (result, severity) = match outcome.grade {
        Grade::Refused => ("fail", "high"),
        Grade::Soon => ("warn", "medium"),
        Grade::Step => ("warn", "low"),
    };
    let category = match outcome.rule.as_str() {
        "imageAge" => "Image age",
        "errorBudget" => "Error budgets",
        _ => "Dependencies",
    };
    let of = &outcome.workload;
    let properties: serde_json::Map<String, Value> =
        outcome.properties.iter().map(|(key, value)| ((*key).to_owned(), json!(cut(value)))).collect();
    json!({
        "source": NAME,
        "policy": cut(&outcome.policy),
        "rule": outcome.rule,
        "category": category,
        "result": result,
        "severity": severity,
        "scored": true,
        "message": cut(&outcome.message),
        "properties": properties,
        "resources": [{
            "apiVersion": of.api_version, "kind": of.kind, "namespace": namespace, "name": of.name, "uid": of.uid,
        }],
    })
}

/// What could not be looked up, a result for each reason: a finding that is missing for it is not one that there is not.
fn not_looked_up(missing: &BTreeSet<NotLookedUp>) -> Vec<Value> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in missing {
        by_reason.entry(&one.why).or_default().push(&one.what);
    }
    let result = |message: &str| {
        json!({
            "source": NAME, "policy": "dependencies", "rule": "not-looked-up", "category": "Dependencies",
            "result": "skip", "scored": false, "message": cut(message),
        })
    };
    let more = by_reason.len().saturating_sub(MOST_REASONS);
    let named = by_reason.into_iter().take(MOST_REASONS).map(|(why, what)| {
        let more = what.len().saturating_sub(MOST_NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named = what.into_iter().take(MOST_NAMED).collect::<Vec<_>>().join(", ");
        result(&format!("Not looked up: {named}{more}: {why}."))
    });
    let mut results: Vec<Value> = named.collect();
    if more > 0 {
        results.push(result(&format!("More could not be looked up, for {more} other reasons.")));
    }
    results
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        text.to_owned()
    } else {
        text.chars().take(LONGEST_TEXT - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scanner::tally::Reference;

    fn outcome(grade: Grade, number: usize, message: &str) -> Outcome {
        Outcome {
            grade,
            policy: if grade == Grade::Step { "dependencies" } else { "production" }.to_owned(),
            rule: if grade == Grade::Step { "newer-tag" } else { "imageAge" }.to_owned(),
            message: message.to_owned(),
            properties: BTreeMap::from([("to", message.to_owned())]),
            workload: Reference {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: format!("app-{number:05}"),
                uid: "u".into(),
            },
        }
    }

    #[test]
    fn the_gravest_come_first_and_all_are_counted() {
        let found = OfNamespace {
            passing: 4,
            outcomes: vec![outcome(Grade::Step, 1, "a"), outcome(Grade::Soon, 1, "b"), outcome(Grade::Refused, 2, "c")],
            ..OfNamespace::default()
        };
        let one = report(FLAVOURS[0], "shop", &found);
        assert_eq!(one.object["summary"], json!({"pass": 4, "fail": 1, "warn": 2, "error": 0, "skip": 0}));
        let said: Vec<[&str; 3]> = one.object["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| ["message", "result", "category"].map(|name| result[name].as_str().unwrap()))
            .collect();
        assert_eq!(said, [["c", "fail", "Image age"], ["b", "warn", "Image age"], ["a", "warn", "Dependencies"]]);
        assert_eq!(one.object["source"], "freshgate");
        assert_eq!(report(FLAVOURS[1], "shop", &found).object["source"], Value::Null);
    }

    #[test]
    fn what_says_the_same_has_the_same_hash_in_whatever_order_it_came() {
        let outcomes = vec![outcome(Grade::Soon, 1, "a"), outcome(Grade::Soon, 2, "b")];
        let found = OfNamespace { outcomes: outcomes.clone(), ..OfNamespace::default() };
        let turned = OfNamespace { outcomes: outcomes.into_iter().rev().collect(), ..OfNamespace::default() };
        let hash = |found| report(FLAVOURS[0], "shop", found).hash;
        assert_eq!(hash(&found), hash(&turned));
        assert_ne!(hash(&found), hash(&OfNamespace::default()));
    }

    #[test]
    fn what_could_not_be_looked_up_is_told_by_its_reason() {
        let missing = |what: &str, why: &str| NotLookedUp { what: what.to_owned(), why: why.to_owned() };
        let not_looked_up: BTreeSet<_> = ["e", "d", "c", "b", "a"]
            .into_iter()
            .map(|name| missing(&format!("packages of {name}"), "no bill is attached to it"))
            .chain([missing("newer versions of npm:x", "http://index.example did not answer in time")])
            .collect();
        let found = OfNamespace { not_looked_up, ..OfNamespace::default() };
        let one = report(FLAVOURS[0], "shop", &found);
        let said: Vec<&str> =
            one.object["results"].as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap()).collect();
        assert_eq!(
            said,
            [
                "Not looked up: newer versions of npm:x: http://index.example did not answer in time.",
                "Not looked up: packages of a, packages of b, packages of c and 2 more: no bill is attached to it.",
            ]
        );
        assert_eq!(one.object["summary"], json!({"pass": 0, "fail": 0, "warn": 0, "error": 0, "skip": 2}));
        // Reasons have no end, a report has.
        let many = (0..90).map(|number| missing("x", &format!("reason {number:02}"))).collect();
        let one = report(FLAVOURS[0], "shop", &OfNamespace { not_looked_up: many, ..OfNamespace::default() });
        let results = one.object["results"].as_array().unwrap();
        assert_eq!((results.len(), &one.object["summary"]["skip"]), (MOST_REASONS + 1, &json!(MOST_REASONS + 1)));
        assert_eq!(results[MOST_REASONS]["message"], "More could not be looked up, for 70 other reasons.");
    }

    #[test]
    fn a_report_stays_within_what_etcd_takes_and_says_what_is_left_out() {
        let long = "é".repeat(5_000);
        let mut outcomes: Vec<Outcome> = (0..9_999).map(|number| outcome(Grade::Step, number, &long)).collect();
        outcomes.push(outcome(Grade::Refused, 0, &long));
        let one = report(FLAVOURS[0], "shop", &OfNamespace { outcomes, ..OfNamespace::default() });
        let results = one.object["results"].as_array().unwrap();
        assert_eq!(results.len(), MOST_RESULTS + 1);
        assert_eq!(results[0]["result"], "fail");
        assert_eq!(one.object["summary"]["warn"], 9_999);
        let last = results.last().unwrap()["message"].as_str().unwrap();
        assert!(last.starts_with("9700 more are left out"), "{last}");
        assert!(one.object.to_string().len() < 1 << 20, "{}", one.object.to_string().len());
    }

    #[test]
    fn a_report_of_texts_that_grow_when_they_are_written_stays_within_it_too() {
        let mut outcomes: Vec<Outcome> =
            (0..400).map(|number| outcome(Grade::Soon, number, &"\u{1}".repeat(5_000))).collect();
        for outcome in &mut outcomes {
            outcome.properties = ["id", "image", "step", "from", "how"].map(|key| (key, "\u{1}".repeat(500))).into();
        }
        let one = report(FLAVOURS[0], "shop", &OfNamespace { outcomes, ..OfNamespace::default() });
        let results = one.object["results"].as_array().unwrap();
        assert!((20..MOST_RESULTS).contains(&results.len()), "{}", results.len());
        let last = results.last().unwrap()["message"].as_str().unwrap();
        assert!(last.starts_with(&format!("{} more are left out", 400 - (results.len() - 1))), "{last}");
        assert!(one.object.to_string().len() < 1 << 20, "{}", one.object.to_string().len());
        assert_eq!(one.object["summary"]["warn"], 400);
    }
}
