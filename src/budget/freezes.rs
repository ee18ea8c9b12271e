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
