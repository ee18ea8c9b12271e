//! How a finding about an error budget is said: the figure with its unit, its source and age, and when it lifts. No word
//! of it blames anybody: a budget is there to be spent.

use chrono::{DateTime, Utc};

use super::printable;
use crate::budget::measure::Weighting;
use crate::budget::state::BudgetState;
use crate::budget::window::Window;
use crate::policy::duration::in_words;
use crate::policy::percent::{in_words as percent, objective_in_words};
use crate::verdict::{Beyond, BudgetFigures, BudgetFinding, Finding, LiftEstimate};

/// What was found of a budget, as a part of a sentence.
pub fn said(finding: &Finding, about: &BudgetFinding) -> String {
    let policy = &finding.policy;
    let service = name(about);
    let Some(budget) = &about.budget else {
        let detail = about.detail.as_deref().map(printable).unwrap_or_default();
        return format!(
            "the error budget of {service} is not known ({}): {detail} (policy {policy:?})",
            about.state.as_str()
        );
    };
    let objective = objective(budget);
    let left = left(budget);
    let measured = measured(about, budget);
    if let Some(since) = about.frozen_since {
        let beyond = budget.beyond.map(|beyond| format!(", {}", beyond_in_words(beyond))).unwrap_or_default();
        let silent = if about.silent {
            let detail = about.detail.as_deref().map(printable).unwrap_or_default();
            format!("; it cannot be measured since ({detail}), so the freeze still holds")
        } else {
            String::new()
        };
        return format!(
            "service {service} has spent its error budget of {objective}: {left} is left{beyond}; its deploys are frozen since {}, {measured}{silent}; {} (policy {policy:?})",
            minute(since),
            lift_in_words(about.lift, &budget.window),
        );
    }
    if !about.state.is_measured() {
        let detail = about.detail.as_deref().map(printable).unwrap_or_default();
        return format!(
            "the error budget of service {service} ({objective}) is not known ({}): {detail}, {measured} (policy {policy:?})",
            about.state.as_str(),
        );
    }
    let burning = burning(about, budget).map(|burning| format!(" and {burning}")).unwrap_or_default();
    format!(
        "service {service} has {left} of its error budget of {objective} left{burning}, {measured} (policy {policy:?})"
    )
}

/// The same, as a part of a warning.
pub fn briefly(about: &BudgetFinding) -> String {
    let Some(budget) = &about.budget else {
        return match about.state {
            BudgetState::Unmapped => "belongs to no known service, so its error budget is not known".to_owned(),
            state => format!("error budget is not known ({})", state.as_str()),
        };
    };
    let slo = printable(&budget.slo);
    let left = left(budget);
    if about.frozen_since.is_some() {
        return format!("has spent its error budget ({slo}): {left} is left");
    }
    if !about.state.is_measured() {
        return format!("error budget ({slo}) is not known ({})", about.state.as_str());
    }
    let burning = burning(about, budget).map(|burning| format!(", {burning}")).unwrap_or_default();
    format!("has {left} of its error budget ({slo}) left{burning}")
}

/// The service, in quotes; words where nobody knows it.
pub fn name(about: &BudgetFinding) -> String {
    about.service.as_deref().map_or_else(|| "the workload".to_owned(), |service| format!("{:?}", printable(service)))
}

/// `SLO "availability" (99.9 % over the last 30 days)`.
fn objective(budget: &BudgetFigures) -> String {
    let target =
        budget.objective.map(|objective| format!("{} over ", objective_in_words(objective))).unwrap_or_default();
    format!("SLO {:?} ({target}{})", printable(&budget.slo), budget.window.in_words())
}

/// What is left, in percent of the budget; with an objective of 1 there is no percent of nothing.
fn left(budget: &BudgetFigures) -> String {
    budget.remaining.map_or_else(|| "nothing".to_owned(), percent)
}

fn beyond_in_words(beyond: Beyond) -> String {
    match beyond {
        Beyond::Events(events) if events < 1.5 => "1 bad event more than it allows".to_owned(),
        Beyond::Events(events) => format!("{events:.0} bad events more than it allows"),
        Beyond::Minutes(minutes) if minutes < 1.0 => "less than a bad minute more than it allows".to_owned(),
        Beyond::Minutes(minutes) if minutes < 120.0 => format!("{minutes:.0} bad minutes more than it allows"),
        Beyond::Minutes(minutes) => format!("{:.0} bad hours more than it allows", minutes / 60.0),
    }
}

/// How fast the rest goes, where that is what there is to say.
fn burning(about: &BudgetFinding, budget: &BudgetFigures) -> Option<String> {
    if about.state != BudgetState::FastBurn {
        return None;
    }
    match budget.exhausted_in_seconds {
        Some(seconds) => Some(format!("will be spent in {}", in_words(seconds))),
        None => budget.burn_rate.map(|rate| format!("is burning {rate:.1} times too fast")),
    }
}

/// `measured 42 seconds ago by source "slo" (Sloth, a mean of ratios)`.
fn measured(about: &BudgetFinding, budget: &BudgetFigures) -> String {
    let age = match budget.sample_age_seconds {
        1 => "1 second".to_owned(),
        seconds @ ..120 => format!("{seconds} seconds"),
        seconds => in_words(seconds),
    };
    let weighting = match budget.weighting {
        Some(Weighting::Events) => Some("by events"),
        Some(Weighting::MeanOfRatios) => Some("a mean of ratios"),
        Some(Weighting::TimeSlices) => Some("by slices of time"),
        None => None,
    };
    let how: Vec<&str> =
        [Some(about.format.as_str()).filter(|format| !format.is_empty()), weighting].into_iter().flatten().collect();
    let how = if how.is_empty() { String::new() } else { format!(" ({})", how.join(", ")) };
    format!("measured {age} ago by source {:?}{how}", about.source)
}

fn lift_in_words(lift: LiftEstimate, window: &Window) -> String {
    match (lift, window) {
        (LiftEstimate::At(at), Window::Calendar { .. }) => {
            format!("it lifts on {}, when a new period begins", minute(at))
        }
        (LiftEstimate::At(at), Window::Rolling { .. }) => {
            format!("it lifts around {} if errors stay at today's rate", minute(at))
        }
        (LiftEstimate::Never, _) => "at today's rate of errors it does not lift by itself".to_owned(),
        (LiftEstimate::Unknown, _) => "when it lifts is not known: the source has no history of it".to_owned(),
    }
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
