//! The freezes that hold, by policy and objective, and what becomes of them when sources have been asked.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::freeze::{self, Freeze};
use super::measure::Budget;
use super::snapshot::{Sampled, Snapshots};
use crate::policy::compile::PolicySet;

/// Which freeze: of what objective, by what policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FreezeKey {
    /// The policy.
    pub policy: String,
    /// The `BudgetSource`.
    pub source: String,
    /// The service.
    pub service: String,
    /// The objective.
    pub slo: String,
}

/// All freezes that hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freezes(HashMap<String, HashMap<(String, String, String), Freeze>>);

/// A freeze that began, changed or ended (`None`).
pub type Changed = (FreezeKey, Option<Freeze>);

impl Freezes {
    /// Freezes as they were kept.
    pub fn new(kept: impl IntoIterator<Item = (FreezeKey, Freeze)>) -> Self {
        let mut all = Self::default();
        for (key, freeze) in kept {
            all.0.entry(key.policy).or_default().insert((key.source, key.service, key.slo), freeze);
        }
        all
    }

    /// The freeze of a budget by a policy.
    pub fn of(&self, policy: &str, budget: &Budget) -> Option<&Freeze> {
        let of_policy = self.0.get(policy)?;
        // Few policies have any freeze at all, so the key is seldom made.
        if of_policy.is_empty() {
            return None;
        }
        of_policy.get(&(budget.source.clone(), budget.service.clone(), budget.slo.clone()))
    }

    /// Whether this one holds.
    pub fn holds(&self, key: &FreezeKey) -> bool {
        let of = (key.source.clone(), key.service.clone(), key.slo.clone());
        self.0.get(&key.policy).is_some_and(|of_policy| of_policy.contains_key(&of))
    }

    /// Freezes of a service whose budgets the source does not name now.
    pub fn without_a_budget<'a>(
        &'a self,
        source: &'a str,
        service: &'a str,
        named: &'a [Sampled],
    ) -> impl Iterator<Item = (&'a str, &'a Freeze)> {
        self.0.iter().flat_map(move |(policy, of_policy)| {
            of_policy
                .iter()
                .filter(move |((of_source, of_service, slo), _)| {
                    of_source == source
                        && of_service == service
                        && !named.iter().any(|sampled| sampled.budget.slo == *slo)
                })
                .map(move |(_, freeze)| (policy.as_str(), freeze))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they become when sources said this, under these policies; and what is to be kept of it.
    pub fn advance(&self, snapshots: &Snapshots, policies: &PolicySet, now: DateTime<Utc>) -> (Self, Vec<Changed>) {
        let mut next = Self::default();
        let mut changed: Vec<Changed> = Vec::new();
        for policy in policies.iter() {
            let Some(rule) = &policy.spec.error_budget else { continue };
            let thresholds = rule.thresholds();
            let mut of_policy: HashMap<(String, String, String), Freeze> = HashMap::new();
            let before = self.0.get(&policy.name);
            for snapshot in rule.sources.iter().filter_map(|source| snapshots.get(source)) {
                for sampled in snapshot.budgets.values().flatten() {
                    let budget = &sampled.budget;
                    if !rule.counts(&budget.slo) {
                        continue;
                    }
                    if let Some(freeze) = freeze::next(self.of(&policy.name, budget), budget, &thresholds, now) {
                        let key = (budget.source.clone(), budget.service.clone(), budget.slo.clone());
                        of_policy.insert(key, freeze);
                    }
                }
            }
            for (key, freeze) in before.into_iter().flatten() {
                let is_named = snapshots
                    .get(&key.0)
                    .is_some_and(|snapshot| snapshot.of(&key.1).iter().any(|sampled| sampled.budget.slo == key.2));
                // A source that is silent, or has forgotten a service, lifts nothing.
                if !is_named && rule.sources.contains(&key.0) && rule.counts(&key.2) {
                    of_policy.insert(key.clone(), freeze.clone());
                }
            }
            next.0.insert(policy.name.clone(), of_policy);
        }
        for (policy, of_policy) in &next.0 {
            for (key, freeze) in of_policy {
                if self.0.get(policy).and_then(|before| before.get(key)) != Some(freeze) {
                    changed.push((full_key(policy, key), Some(freeze.clone())));
                }
            }
        }
        for (policy, of_policy) in &self.0 {
            for key in of_policy.keys() {
                if !next.0.get(policy).is_some_and(|after| after.contains_key(key)) {
                    changed.push((full_key(policy, key), None));
                }
            }
        }
        (next, changed)
    }
}

fn full_key(policy: &str, (source, service, slo): &(String, String, String)) -> FreezeKey {
    FreezeKey { policy: policy.to_owned(), source: source.clone(), service: service.clone(), slo: slo.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use serde_json::json;

    use super::super::measure::{Reading, Weighting};
    use super::super::service::ServiceRules;
    use super::super::snapshot::Snapshot;
    use super::super::window::Window;
    use super::*;
    use crate::policy::compile::CompiledPolicy;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minute)
    }

    fn policies(rules: &[serde_json::Value]) -> PolicySet {
        let compile = |(number, rule): (usize, &serde_json::Value)| {
            let spec = serde_json::from_value(json!({"errorBudget": rule})).unwrap();
            CompiledPolicy::compile(&format!("p{number}"), spec).unwrap()
        };
        PolicySet::new(rules.iter().enumerate().map(compile).collect())
    }

    /// What a source says of some services, of each of which so much is left.
    fn said(services: &[(&str, f64)], minute: i64) -> Snapshots {
        let mut snapshot = Snapshot {
            source: "slo".into(),
            rules: ServiceRules::default(),
            format: "File",
            budgets: HashMap::new(),
            trouble: None,
            answered_at: Some(at(minute)),
        };
        for (service, remaining) in services {
            let reading = Reading {
                service: (*service).into(),
                slo: "availability".into(),
                objective: 0.99,
                window: Window::Rolling { seconds: 30 * 86_400 },
                error_ratio: Some((1.0 - remaining) * 0.01),
                total: None,
                bad: None,
                recent: Vec::new(),
                burn_rate: None,
                weighting: Weighting::Events,
                sampled_at: at(minute),
                covered_seconds: None,
                series: 1,
                note: None,
                unmeasured: None,
                partial: None,
            };
            let budget = Budget::of("slo", reading, 300, at(minute));
            snapshot.budgets.insert((*service).to_owned(), vec![Sampled { budget, history: None }]);
        }
        Snapshots([("slo".to_owned(), Arc::new(snapshot))].into())
    }

    fn key(policy: &str, service: &str) -> FreezeKey {
        let (policy, service) = (policy.to_owned(), service.to_owned());
        FreezeKey { policy, source: "slo".into(), service, slo: "availability".into() }
    }

    #[test]
    fn each_policy_freezes_by_its_own_thresholds() {
        let policies = policies(&[
            json!({"sources": ["slo"]}),
            json!({"sources": ["slo"], "freezeBelow": "10%"}),
            json!({"sources": ["x"]}),
        ]);
        let (first, changed) =
            Freezes::default().advance(&said(&[("a", -0.1), ("b", 0.05), ("c", 0.9)], 0), &policies, at(0));
        let mut began: Vec<FreezeKey> =
            changed.into_iter().filter(|(_, freeze)| freeze.is_some()).map(|(key, _)| key).collect();
        began.sort();
        assert_eq!(began, [key("p0", "a"), key("p1", "a"), key("p1", "b")]);
        let (second, changed) = first.advance(&said(&[("a", 0.2), ("b", 0.12), ("c", 0.9)], 1), &policies, at(1));
        let mut ended: Vec<FreezeKey> =
            changed.into_iter().filter(|(_, freeze)| freeze.is_none()).map(|(key, _)| key).collect();
        ended.sort();
        assert_eq!(ended, [key("p0", "a"), key("p1", "a")]);
        assert!(second.holds(&key("p1", "b")), "12 % is not above 15 %");
    }

    #[test]
    fn what_was_kept_goes_on_and_silence_lifts_nothing() {
        let policies = policies(&[json!({"sources": ["slo"]})]);
        let (before, changed) = Freezes::default().advance(&said(&[("a", -0.1)], 0), &policies, at(0));
        let kept = changed.into_iter().filter_map(|(key, freeze)| Some((key, freeze?)));
        let restarted = Freezes::new(kept);
        assert_eq!(restarted, before);
        // Before the source has answered again, and when it has forgotten the service.
        for silent in [Snapshots::default(), said(&[("b", 0.9)], 5)] {
            let (still, changed) = restarted.advance(&silent, &policies, at(5));
            assert_eq!((still.holds(&key("p0", "a")), changed), (true, vec![]));
        }
        let found: Vec<_> = restarted.without_a_budget("slo", "a", &[]).map(|(policy, _)| policy.to_owned()).collect();
        assert_eq!(found, ["p0"]);
        let (between, _) = restarted.advance(&said(&[("a", 0.04)], 6), &policies, at(6));
        assert!(between.holds(&key("p0", "a")));
    }

    #[test]
    fn a_policy_that_is_gone_freezes_nothing() {
        let (before, _) =
            Freezes::default().advance(&said(&[("a", -0.1)], 0), &policies(&[json!({"sources": ["slo"]})]), at(0));
        let (after, changed) = before.advance(&said(&[("a", -0.1)], 1), &policies(&[]), at(1));
        assert!(after.is_empty());
        assert_eq!(changed, [(key("p0", "a"), None)]);
        let elsewhere = policies(&[json!({"sources": ["another"]})]);
        assert!(before.advance(&said(&[("a", -0.1)], 1), &elsewhere, at(1)).0.is_empty());
    }
}
