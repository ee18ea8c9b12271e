//! What has changed since an earlier report: which steps were taken, which have come, and whether images grow older.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::grouped::{Summary, counted};
use crate::cli::Failure;
use crate::dependency::finding::Report;

/// The change from an earlier report to a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trend {
    /// As of when the earlier one is, in UTC.
    pub earlier: DateTime<Utc>,
    /// What it said.
    pub then: Summary,
    /// Steps that are not open any more.
    pub gone: usize,
    /// Steps that were not open then.
    pub new: usize,
}

impl Trend {
    /// Compares two reports. A step is told by its id in its workload; those that were left out then are not known.
    pub fn between(earlier: &Report, later: &Report) -> Self {
        let (before, after) = (open(earlier), open(later));
        Self {
            earlier: earlier.generated_at,
            then: Summary::of(earlier),
            gone: before.difference(&after).count(),
            new: after.difference(&before).count(),
        }
    }

    /// `Since 2026-11-18: 3 steps taken or gone, 1 new; then 4 workloads were refused.`
    pub fn in_words(&self) -> String {
        let then = &self.then;
        let age = then.median_age_days.map(|days| format!(", the median image was {} old", counted_days(days)));
        format!(
            "Since {}: {} taken or gone, {} new; then {} refused{}.",
            self.earlier.date_naive(),
            counted(self.gone, "step"),
            self.new,
            if then.refused == 1 { "1 workload was".to_owned() } else { format!("{} workloads were", then.refused) },
            age.unwrap_or_default()
        )
    }
}

fn counted_days(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

fn open(report: &Report) -> BTreeSet<(String, &str)> {
    let of = |workload: &crate::dependency::finding::WorkloadReport| workload.in_words();
    report
        .workloads
        .iter()
        .flat_map(|workload| workload.findings.iter().map(move |finding| (of(workload), finding.id.as_str())))
        .collect()
}

/// Reads an earlier report.
pub fn read(path: &Path) -> Result<Report, Failure> {
    let remedy = "name a file that `freshgate report -o json` wrote";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}; {remedy}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("{}:{}: it is no report of freshgate: {error}; {remedy}", path.display(), error.line()))
    })
}
