//! What all sources said last: dated, whole, and swapped as a whole, so that admission reads it and asks nobody.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::lift::{self, Slice};
use super::measure::{Budget, Unmeasured};
use super::service::ServiceRules;

/// The last that is known of each source, by its name.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(pub HashMap<String, Arc<Snapshot>>);

/// What one source said last.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Name of the `BudgetSource`.
    pub source: String,
    /// How its users' workloads are told.
    pub rules: ServiceRules,
    /// Its format, for words: `Sloth`.
    pub format: &'static str,
    /// Its budgets, by service. Kept when a later poll fails: their samples age.
    pub budgets: HashMap<String, Vec<Sampled>>,
    /// Why the last poll failed, where it did.
    pub trouble: Option<Unmeasured>,
    /// When it was last asked with success, in UTC.
    pub answered_at: Option<DateTime<Utc>>,
}

/// A budget and what went before it.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The budget.
    pub budget: Budget,
    /// What happened in its window; only of budgets that are spent or nearly so.
    pub history: Option<Arc<History>>,
}

/// What happened in a window, in slices of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The slices, oldest first; the last ends when the budget was sampled.
    pub slices: Vec<Slice>,
    /// The length of each.
    pub step_seconds: i64,
}

impl Snapshots {
    /// The source of this name.
    pub fn get(&self, source: &str) -> Option<&Snapshot> {
        self.0.get(source).map(Arc::as_ref)
    }

    /// All sources, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Snapshot> {
        self.0.values().map(Arc::as_ref)
    }
}

impl Snapshot {
    /// A source that has not answered yet.
    pub fn unasked(source: &str, rules: ServiceRules, format: &'static str, trouble: Unmeasured) -> Self {
        Self {
            source: source.to_owned(),
            rules,
            format,
            budgets: HashMap::new(),
            trouble: Some(trouble),
            answered_at: None,
        }
    }

    /// The budgets of a service.
    pub fn of(&self, service: &str) -> &[Sampled] {
        self.budgets.get(service).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Sampled {
    /// When more than `unfreeze_above` of the budget will be left, if errors stay at the present rate.
    pub fn lifts_at(&self, unfreeze_above: f64, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (slices, step_seconds) = match &self.history {
            Some(history) => (history.slices.as_slice(), history.step_seconds),
            None => (&[] as &[Slice], 0),
        };
        lift::lifts_at(&self.budget.window, self.budget.objective?, unfreeze_above, slices, step_seconds, now)
    }
}
