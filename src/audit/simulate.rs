//! What other policies would have said to recorded decisions: how many more and fewer they would have refused, where, by
//! which rule, and whom first. Pure.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::replay::{Inputs, Missing, Recorded, Said, read_with_said};
use crate::evidence::Evidence;
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::evaluate;
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
    /// Decisions that these policies were asked about.
    pub decisions: u64,
    /// Of those, refused then.
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
    /// Differences by namespace and rule, those with most new denials first.
    pub by_rule: Vec<ByRule>,
    /// The workloads that would have been refused first.
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
    /// The decision of that time.
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
        let mut rules_then: Vec<String> =
            said.rules.into_iter().filter(|rule| rule.result == "fail").map(|rule| rule.rule).collect();
        rules_then.sort_unstable();
        rules_then.dedup();
        let outcome = if is_unknown {
            Outcome::Unknown
        } else {
            Outcome::Known { namespace: subject.namespace.clone(), now: verdict.decision, rules_then }
        };
        self.count_one(said.decision, &outcome);
        if !is_unknown && verdict.decision == Decision::Deny && said.decision != Decision::Deny {
            self.found.new_denials += 1;
            self.hit(inputs, &verdict);
        }
        if said.decision == Decision::Deny {
            self.denials.insert(inputs.decision_id.clone(), outcome);
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

    fn hit(&mut self, inputs: &Inputs, verdict: &Verdict) {
        let mut rules: Vec<&str> = verdict.denials().map(|finding| finding.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            self.places.entry((inputs.subject.namespace.clone(), rule.to_owned())).or_default().new += 1;
        }
        let workload = inputs.subject.in_words();
        if let Some(hit) = self.hit.get_mut(&workload) {
            hit.new_denials += 1;
            return;
        }
        let hit = Hit {
            workload: workload.clone(),
            first_at: inputs.timestamp,
            decision_id: inputs.decision_id.clone(),
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
