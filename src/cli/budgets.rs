//! `freshgate budgets`: what is left of the error budgets, asked now; and (`explain`) which service a workload is.

mod explain;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{print, print_json, say, table, tell};
use super::{FAILED, Failure, NO, OK};
use crate::args::{BudgetsArgs, BudgetsCommand, Output};
use crate::budget::compile::CompiledSource;
use crate::budget::poller;
use crate::budget::snapshot::{Sampled, Snapshots};
use crate::budget::state::{BudgetState, Thresholds, short_age};
use crate::clock;
use crate::image::build_date::rfc3339;
use crate::policy::compile::PolicySet;
use crate::policy::percent;
use crate::policy_folder;

/// Cells of the bar that shows what is left.
const BAR_CELLS: usize = 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetReport {
    service: String,
    slo: String,
    objective: Option<f64>,
    window: String,
    remaining: Option<f64>,
    burn_rate: Option<f64>,
    exhausted_in_seconds: Option<i64>,
    state: BudgetState,
    lift_at: Option<String>,
    source: String,
    sample_time: String,
    #[serde(skip)]
    age_seconds: i64,
    #[serde(skip)]
    detail: Option<String>,
}

pub async fn run(args: BudgetsArgs) -> Result<u8, Failure> {
    match args.command {
        Some(BudgetsCommand::Explain(explain)) => explain::explain(explain).await,
        None => show(args).await,
    }
}

async fn show(args: BudgetsArgs) -> Result<u8, Failure> {
    // Clap asks for it where no other command is named.
    let folder = args.policies.as_ref().ok_or_else(|| Failure::new("--policies is missing: name the folder"))?;
    let written = policy_folder::read(folder).map_err(Failure::of)?;
    let mut sources: Vec<CompiledSource> = policy_folder::sources(&written).to_vec();
    let policies = policy_folder::set(written.policies);
    if let Some(wanted) = &args.source {
        let known: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        sources.retain(|source| source.name == *wanted);
        if sources.is_empty() {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::new(format!(
                "there is no BudgetSource {wanted:?} in {}; there is {known}",
                folder.display()
            )));
        }
    }
    if sources.is_empty() {
        return Err(Failure::new(format!(
            "there is no BudgetSource in {}; write one beside the policies",
            folder.display()
        )));
    }
    loop {
        let snapshots = poller::poll_once(&sources, None).await;
        let reports = reports(&snapshots, &policies, clock::now());
        match args.output {
            Output::Json if args.watch => {
                let line = serde_json::to_string(&reports)
                    .map_err(|error| Failure::new(format!("the result cannot be written as JSON: {error}")))?;
                print(&(line + "\n"))?;
            }
            Output::Json => print_json(&reports)?,
            Output::Table => {
                if args.watch {
                    print("\u{1b}[2J\u{1b}[H")?; // a terminal's clear; elsewhere colours and this are taken out
                }
                print(&in_table(&reports))?;
            }
        }
        let mut silent = false;
        for snapshot in snapshots.iter() {
            if let Some(trouble) = &snapshot.trouble {
                silent = true;
                tell(&Failure::new(format!(
                    "source {:?}: {}: {}",
                    snapshot.source,
                    trouble.state.as_str(),
                    trouble.detail
                )));
            }
        }
        if !args.watch {
            let exhausted = reports.iter().any(|report| report.state == BudgetState::Exhausted);
            return Ok(if exhausted {
                NO
            } else if silent {
                FAILED
            } else {
                OK
            });
        }
        tokio::time::sleep(Duration::from_secs(args.every_seconds)).await;
    }
}

/// The worst first.
fn reports(snapshots: &Snapshots, policies: &PolicySet, now: DateTime<Utc>) -> Vec<BudgetReport> {
    let mut reports: Vec<BudgetReport> = Vec::new();
    for snapshot in snapshots.iter() {
        let thresholds = strictest(policies, &snapshot.source);
        let all = snapshot.budgets.values().flatten();
        reports.extend(all.map(|sampled| report(sampled, &thresholds, now)));
    }
    reports.sort_by(|one, other| {
        let left = |report: &BudgetReport| report.remaining.unwrap_or(f64::NEG_INFINITY);
        let graver = other.state.gravity().cmp(&one.state.gravity());
        graver
            .then(left(one).total_cmp(&left(other)))
            .then_with(|| (&one.source, &one.service, &one.slo).cmp(&(&other.source, &other.service, &other.slo)))
    });
    reports
}

/// What the strictest policies hold a source to, each in its own way.
fn strictest(policies: &PolicySet, source: &str) -> Thresholds {
    let naming = policies.iter().filter_map(|policy| policy.spec.error_budget.as_ref());
    naming
        .filter(|rule| rule.sources.iter().any(|name| name == source))
        .map(crate::policy::api::ErrorBudget::thresholds)
        .reduce(|one, other| Thresholds {
            freeze_below: one.freeze_below.max(other.freeze_below),
            unfreeze_above: one.unfreeze_above.max(other.unfreeze_above),
            warn_below: one.warn_below.max(other.warn_below),
            warn_when_exhausted_within_seconds: one
                .warn_when_exhausted_within_seconds
                .max(other.warn_when_exhausted_within_seconds),
        })
        .unwrap_or_default()
}

fn report(sampled: &Sampled, thresholds: &Thresholds, now: DateTime<Utc>) -> BudgetReport {
    let budget = &sampled.budget;
    let judged = budget.state(thresholds, now);
    let spent = judged.state == BudgetState::Exhausted;
    let lifts_at = if spent { sampled.lifts_at(thresholds.unfreeze_above, now) } else { None };
    BudgetReport {
        service: budget.service.clone(),
        slo: budget.slo.clone(),
        objective: budget.objective,
        window: budget.window.in_short(),
        remaining: budget.remaining(),
        burn_rate: budget.burn_rate(),
        exhausted_in_seconds: budget.exhausted_in_seconds(),
        state: judged.state,
        lift_at: lifts_at.map(rfc3339),
        source: budget.source.clone(),
        sample_time: rfc3339(budget.sampled_at),
        age_seconds: now.signed_duration_since(budget.sampled_at).num_seconds(),
        detail: judged.detail,
    }
}

fn in_table(reports: &[BudgetReport]) -> String {
    let row = |report: &BudgetReport| {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        vec![
            report.service.clone(),
            report.slo.clone(),
            report.window.clone(),
            report.remaining.map_or_else(|| " ".repeat(BAR_CELLS), bar),
            or_nothing(report.remaining.map(percent::in_words)),
            or_nothing(report.burn_rate.map(|rate| format!("{rate:.1}"))),
            report.state.as_str().to_owned(),
            or_nothing(report.lift_at.clone().or_else(|| report.detail.clone())),
            short_age(report.age_seconds),
            report.source.clone(),
        ]
    };
    let head = ["service", "slo", "window", "", "left", "burn", "state", "lifts", "age", "source"];
    table(&head, reports.iter().map(row).collect())
}

/// What is left, as a bar: full is all of it.
fn bar(remaining: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let full = (remaining.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(BAR_CELLS - full)
}

/// Says what a folder's policies name and no source is.
pub(super) fn warn_of_missing_sources(policies: &PolicySet, sources: &[CompiledSource]) {
    for policy in policies.iter() {
        for name in policy.spec.error_budget.iter().flat_map(|rule| &rule.sources) {
            if !sources.iter().any(|source| source.name == *name) {
                say("warning", &format!("policy {:?} names the BudgetSource {name:?}, and there is none", policy.name));
            }
        }
    }
}
