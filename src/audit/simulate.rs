//! What other policies would have said to recorded decisions, or say to what runs: how many more and fewer they refuse,
//! where, by which rule, and whom first. Pure.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::replay::{Inputs, Missing, Recorded, Said, read_with_said};
use crate::evidence::{Evidence, Fact, UnknownReason};
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::evaluate;
use crate::subject::Subject;
use crate::verdict::{About, Decision, Finding, Passed, Verdict, words};

/// How many of the workloads that would be refused are named.
const MOST_WORKLOADS: usize = 10;

/// Goes through decisions and counts.
#[derive(Debug)]
pub struct Simulation<'a> {
    policies: &'a PolicySet,
    found: Simulated,
    places: BTreeMap<(String, String), Turned>,
    hit: HashMap<String, Hit>,
    /// What was found of denials, for the short records that repeat them.
    denials: HashMap<String, Outcome>,
}

/// What became of going through them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulated {
    /// Decisions, or workloads that run, that these policies were asked about.
    pub decisions: u64,
    /// Of those, refused then; of what runs, by the policies in force.
    pub denied_then: u64,
    /// Of those, refused by these policies.
    pub denied_now: u64,
    /// Warned of then.
    pub warned_then: u64,
    /// Warned of by these policies.
    pub warned_now: u64,
    /// Refused by these policies, and not then.
    pub new_denials: u64,
    /// Refused then, and not by these policies.
    pub lifted_denials: u64,
    /// Decisions of which nobody can say what these policies would have said: what they ask for was not looked up then.
    pub unknown: u64,
    /// Records that cannot be decided again: of exceptions, of what lies before the span, and unreadable ones.
    pub passed_over: u64,
    /// Workloads with an image that could not be looked up, by the reason; of what runs alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_looked_up: BTreeMap<&'static str, u64>,
    /// Differences by namespace and rule, those with most new denials first.
    pub by_rule: Vec<ByRule>,
    /// The workloads that would have been refused first; of those that run, the first by name.
    pub first_hit: Vec<Hit>,
}

/// Differences in one namespace by one rule. A decision that several rules refuse counts for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ByRule {
    /// The namespace; empty for what has none.
    pub namespace: String,
    /// The rule, as `imageAge`.
    pub rule: String,
    /// New denials.
    pub new_denials: u64,
    /// Denials that would be no more.
    pub lifted_denials: u64,
}

/// A workload that would have been refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hit {
    /// As `Deployment shop/checkout`.
    pub workload: String,
    /// When first, in UTC.
    pub first_at: DateTime<Utc>,
    /// The decision of that time; none, of what runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decision_id: String,
    /// Why, in a sentence.
    pub why: String,
    /// How often in all.
    pub new_denials: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turned {
    new: u64,
    lifted: u64,
}

/// What was said to one decision then and would be now; as little as repeats need.
#[derive(Clone, Debug)]
enum Outcome {
    Unknown,
    Known { namespace: String, now: Decision, rules_then: Vec<String> },
}

impl<'a> Simulation<'a> {
    /// Of these policies.
    pub fn new(policies: &'a PolicySet) -> Self {
        let (found, places, hit, denials) = Default::default();
        Self { policies, found, places, hit, denials }
    }

    /// Asks the policies about the decision of a record. Records come in the order of their times.
    pub fn add(&mut self, line: &str) {
        if self.try_add(line).is_err() {
            self.found.passed_over += 1;
        }
    }

    fn try_add(&mut self, line: &str) -> Result<(), Missing> {
        let (recorded, said) = read_with_said(line)?;
        match recorded {
            Recorded::OfAnException { .. } => Err(Missing::OfAnException),
            Recorded::Repeat { repeat_of, .. } => {
                let outcome = self.denials.get(&repeat_of).cloned();
                self.count_repeat(&outcome.ok_or(Missing::First { repeat_of })?);
                Ok(())
            }
            Recorded::Whole(inputs) => {
                self.count(&inputs, said);
                Ok(())
            }
        }
    }

    fn count(&mut self, inputs: &Inputs, said: Said) {
        let Inputs { subject, evidence, timestamp, .. } = inputs;
        let verdict = evaluate(subject, evidence, self.policies, *timestamp);
        let is_unknown = lacks_evidence(&said, &verdict, evidence);
        let rules_then = said.rules.into_iter().filter(|rule| rule.result == "fail").map(|rule| rule.rule);
        let outcome = if is_unknown {
            Outcome::Unknown
        } else {
            Outcome::Known {
                namespace: subject.namespace.clone(),
                now: verdict.decision,
                rules_then: each_once(rules_then.collect()),
            }
        };
        self.count_one(said.decision, &outcome);
        if !is_unknown && verdict.decision == Decision::Deny && said.decision != Decision::Deny {
            self.hit(subject, &verdict, *timestamp, &inputs.decision_id);
        }
        if said.decision == Decision::Deny {
            self.denials.insert(inputs.decision_id.clone(), outcome);
        }
    }

    /// Asks the policies about a workload that runs, as if it were made now, beside those in force. Everything was looked
    /// up for both.
    pub fn add_running(&mut self, subject: &Subject, evidence: &Evidence, in_force: &PolicySet, now: DateTime<Utc>) {
        let then = evaluate(subject, evidence, in_force, now);
        let verdict = evaluate(subject, evidence, self.policies, now);
        for reason in reasons_of_unknowns(evidence) {
            *self.found.not_looked_up.entry(reason).or_default() += 1;
        }
        let rules_then = then.denials().map(|finding| finding.rule.as_str().to_owned());
        let outcome = Outcome::Known {
            namespace: subject.namespace.clone(),
            now: verdict.decision,
            rules_then: each_once(rules_then.collect()),
        };
        self.count_one(then.decision, &outcome);
        if verdict.decision == Decision::Deny && then.decision != Decision::Deny {
            self.hit(subject, &verdict, now, "");
        }
    }

    /// A repeat is the same denial once more, and what is said to the first is said to it.
    fn count_repeat(&mut self, outcome: &Outcome) {
        self.count_one(Decision::Deny, outcome);
    }

    fn count_one(&mut self, then: Decision, outcome: &Outcome) {
        let Outcome::Known { namespace, now, rules_then } = outcome else {
            self.found.unknown += 1;
            return;
        };
        let found = &mut self.found;
        found.decisions += 1;
        for (decision, denied, warned) in [
            (then, &mut found.denied_then, &mut found.warned_then),
            (*now, &mut found.denied_now, &mut found.warned_now),
        ] {
            *denied += u64::from(decision == Decision::Deny);
            *warned += u64::from(decision == Decision::Warn);
        }
        if then == Decision::Deny && *now != Decision::Deny {
            found.lifted_denials += 1;
            for rule in rules_then {
                self.places.entry((namespace.clone(), rule.clone())).or_default().lifted += 1;
            }
        }
    }

    fn hit(&mut self, subject: &Subject, verdict: &Verdict, at: DateTime<Utc>, decision_id: &str) {
        self.found.new_denials += 1;
        for rule in each_once(verdict.denials().map(|finding| finding.rule.as_str()).collect()) {
            self.places.entry((subject.namespace.clone(), rule.to_owned())).or_default().new += 1;
        }
        let workload = subject.in_words();
        if let Some(hit) = self.hit.get_mut(&workload) {
            hit.new_denials += 1;
            return;
        }
        let hit = Hit {
            workload: workload.clone(),
            first_at: at,
            decision_id: decision_id.to_owned(),
            why: verdict.denials().next().map(words::sentence).unwrap_or_default(),
            new_denials: 1,
        };
        self.hit.insert(workload, hit);
    }

    /// What was found.
    pub fn finish(self) -> Simulated {
        let by_rule = self.places.into_iter().map(|((namespace, rule), turned)| ByRule {
            namespace,
            rule,
            new_denials: turned.new,
            lifted_denials: turned.lifted,
        });
        let mut by_rule: Vec<ByRule> = by_rule.collect();
        // Stable, so that what is alike stays in the order of names.
        by_rule.sort_by_key(|place| std::cmp::Reverse((place.new_denials, place.lifted_denials)));
        let mut first_hit: Vec<Hit> = self.hit.into_values().collect();
        first_hit.sort_by(|one, other| (one.first_at, &one.workload).cmp(&(other.first_at, &other.workload)));
        first_hit.truncate(MOST_WORKLOADS);
        Simulated { by_rule, first_hit, ..self.found }
    }
}

/// Sorted, and each of them once.
fn each_once<T: Ord>(mut texts: Vec<T>) -> Vec<T> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// Why images could not be looked up, as far as that says more of who asks than of the image.
fn reasons_of_unknowns(evidence: &Evidence) -> Vec<&'static str> {
    let reasons = evidence.images.values().filter_map(|image| match image {
        Fact::Unknown(unknown) => Some(unknown.reason),
        Fact::Known(_) => None,
    });
    let of_asking = reasons.filter(|reason| {
        matches!(
            reason,
            UnknownReason::Unreachable
                | UnknownReason::Unauthorized
                | UnknownReason::NotAllowed
                | UnknownReason::RateLimited
        )
    });
    each_once(of_asking.map(UnknownReason::as_str).collect())
}

/// Whether the policies ask for what was not looked up: for a workload that no policy was for, nothing was; and of
/// budgets only what the policies of that time measured by. What is refused for another reason is refused all the same.
fn lacks_evidence(said: &Said, verdict: &Verdict, evidence: &Evidence) -> bool {
    let nothing_was_looked_up = said.passed == Some(Passed::NoPolicy) && verdict.passed != Some(Passed::NoPolicy);
    let is_unasked = |finding: &Finding| match &finding.about {
        About::Budget(budget) => !evidence.sources.contains_key(&budget.source),
        About::Image(_) => false,
    };
    nothing_was_looked_up || (verdict.findings.iter().any(is_unasked) && verdict.denials().all(is_unasked))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::compile::CompiledPolicy;

    const RECORDS: &str = include_str!("../../tests/fixtures/golden/0.1.0/records.jsonl");

    /// What a policy that refuses everything says to these lines.
    fn strictest<'a>(lines: impl IntoIterator<Item = &'a str>) -> Simulated {
        let spec = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "1h"}});
        let policy = CompiledPolicy::compile("strictest", serde_json::from_value(spec).unwrap()).unwrap();
        let policies = PolicySet::new(vec![policy]);
        let mut simulation = Simulation::new(&policies);
        lines.into_iter().for_each(|line| simulation.add(line));
        simulation.finish()
    }

    fn first() -> &'static str {
        RECORDS.lines().find(|line| line.contains("\"decision\":\"allow\"")).unwrap()
    }

    fn repeat() -> &'static str {
        RECORDS.lines().find(|line| line.contains("\"repeat_of\"")).unwrap()
    }

    #[test]
    fn of_what_was_not_looked_up_nobody_can_say() {
        let found = strictest([first()]);
        assert_eq!((found.decisions, found.new_denials, found.unknown), (1, 1, 0));
        let unjudged = first().replacen("\"change\":", "\"passed\":\"NoPolicy\",\"change\":", 1);
        let found = strictest([unjudged.as_str()]);
        assert_eq!((found.decisions, found.new_denials, found.unknown), (0, 0, 1));
        assert_eq!((found.by_rule, found.first_hit), (vec![], vec![]));
    }

    #[test]
    fn a_repeat_is_counted_with_its_first_and_passed_over_without() {
        let found = strictest(RECORDS.lines());
        assert_eq!((found.denied_then, found.passed_over), (4, 0));
        let found = strictest([repeat(), "{", first()]);
        assert_eq!((found.decisions, found.denied_then, found.passed_over), (1, 0, 2));
    }

    #[test]
    fn ten_workloads_are_named_and_those_that_are_hit_first() {
        let lines: Vec<String> = (0..12)
            .rev()
            .map(|hour| {
                let named = first().replace("\"name\":\"fresh\"", &format!("\"name\":\"fresh-{hour:02}\""));
                let (before, after) = named.split_once("\"timestamp\":\"").unwrap();
                let (_, after) = after.split_once('"').unwrap();
                format!("{before}\"timestamp\":\"2026-11-26T{hour:02}:00:00.000Z\"{after}")
            })
            .collect();
        let found = strictest(lines.iter().chain(&lines).map(String::as_str));
        let hit: Vec<&str> = found.first_hit.iter().map(|hit| hit.workload.as_str()).collect();
        let expected: Vec<String> = (0..10).map(|hour| format!("Deployment shop/fresh-{hour:02}")).collect();
        assert_eq!(hit, expected);
        assert_eq!(found.first_hit[0].new_denials, 2);
        assert_eq!(found.by_rule[0].new_denials, 24);
    }
}
