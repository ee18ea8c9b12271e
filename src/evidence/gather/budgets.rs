//! Error budgets for one decision, out of the snapshots in memory: no IO, whatever the sources do.

use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};

use crate::budget::freezes::Freezes;
use crate::budget::measure::Unmeasured;
use crate::budget::snapshot::{Sampled, Snapshots};
use crate::budget::state::BudgetState;
use crate::budget::window::Window;
use crate::evidence::{BudgetEvidence, Evidence, Lift, SourceState};
use crate::exception::Grant;
use crate::policy::compile::Matching;

/// What sources said last, and which freezes hold.
#[derive(Clone, Default)]
pub struct Budgets {
    /// What each source said last.
    pub snapshots: Arc<ArcSwap<Snapshots>>,
    /// Freezes as they were when it said so.
    pub freezes: Arc<ArcSwap<Freezes>>,
}

impl Budgets {
    /// What is known of a source.
    pub fn state_of(&self, source: &str) -> SourceState {
        match self.snapshots.load().get(source) {
            Some(snapshot) => SourceState { format: snapshot.format.to_owned(), trouble: snapshot.trouble.clone() },
            None => SourceState {
                format: String::new(),
                trouble: Some(Unmeasured::new(BudgetState::NoData, format!("there is no BudgetSource {source:?}"))),
            },
        }
    }

    /// Adds the budgets of the workload's services, and of those whose outage is an exception's reason.
    pub fn add(&self, matching: &[Matching<'_>], evidence: &mut Evidence, now: DateTime<Utc>) {
        let rules: Vec<_> = matching
            .iter()
            .filter_map(|one| Some((one.policy.name.as_str(), one.policy.spec.error_budget.as_ref()?)))
            .collect();
        if rules.is_empty() {
            return;
        }
        let (snapshots, freezes) = (self.snapshots.load(), self.freezes.load());
        let is_named = |source: &str| rules.iter().any(|(_, rule)| rule.sources.iter().any(|name| name == source));
        let own = evidence.services.iter().map(|identity| (identity.source.as_str(), identity.service.as_str()));
        let mut wanted: Vec<(String, String)> = own
            .filter(|(source, _)| is_named(source))
            .map(|(source, service)| (source.to_owned(), service.to_owned()))
            .collect();
        for dependency in evidence.exceptions.iter().filter_map(|grant: &Grant| grant.dependency.as_ref()) {
            for snapshot in snapshots.iter().filter(|snapshot| is_named(&snapshot.source)) {
                wanted.push((snapshot.source.clone(), dependency.clone()));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut thresholds: Vec<f64> = rules.iter().map(|(_, rule)| rule.thresholds().unfreeze_above).collect();
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        for (source, service) in wanted {
            let Some(snapshot) = snapshots.get(&source) else { continue };
            for sampled in snapshot.of(&service) {
                let policies = rules.iter().filter(|(_, rule)| rule.sources.contains(&source));
                let freezes = policies.filter_map(|(policy, _)| {
                    Some(((*policy).to_owned(), freezes.of(policy, &sampled.budget)?.clone()))
                });
                evidence.budgets.push(BudgetEvidence {
                    budget: sampled.budget.clone(),
                    freezes: freezes.collect(),
                    lifts: lifts(sampled, &thresholds, now),
                });
            }
            // A restart while the source is silent: what held before still does.
            for (policy, freeze) in freezes.without_a_budget(&source, &service, snapshot.of(&service)) {
                if let Some(known) = evidence.budgets.iter_mut().find(|one| one.budget == freeze.last) {
                    known.freezes.insert(policy.to_owned(), freeze.clone());
                } else {
                    evidence.budgets.push(BudgetEvidence {
                        budget: freeze.last.clone(),
                        freezes: [(policy.to_owned(), freeze.clone())].into(),
                        lifts: Vec::new(),
                    });
                }
            }
        }
    }
}

/// When the budget will be above each threshold; nothing where nobody knows.
fn lifts(sampled: &Sampled, thresholds: &[f64], now: DateTime<Utc>) -> Vec<Lift> {
    let is_known = sampled.history.is_some() || matches!(sampled.budget.window, Window::Calendar { .. });
    let lift = |threshold: &f64| Lift { unfreeze_above: *threshold, at: sampled.lifts_at(*threshold, now) };
    if is_known { thresholds.iter().map(lift).collect() } else { Vec::new() }
}
