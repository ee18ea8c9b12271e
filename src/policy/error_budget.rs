//! The rule `errorBudget`: whether a service has budget left to spend on a deploy.

use chrono::{DateTime, Utc};

use super::api::{Action, ErrorBudget};
use super::compile::Matching;
use crate::budget::figures;
use crate::budget::freeze::{self, Hold};
use crate::budget::measure::Budget;
use crate::budget::state::{BudgetState, Thresholds};
use crate::evidence::{BudgetEvidence, Evidence};
use crate::subject::change::Change;
use crate::verdict::{About, Beyond, BudgetFigures, BudgetFinding, Effect, Finding, LiftEstimate, Rule, Softened};

/// Whether a freeze stops this kind of change.
pub fn stops(change: Change) -> bool {
    matches!(change, Change::Create | Change::NewImage | Change::Config)
}

/// The state of each budget that the rule counts, the worst first: by what the policy makes of it, by whether it freezes,
/// by how grave its state is, by how little is left.
pub fn budgets(policy: &str, rule: &ErrorBudget, evidence: &Evidence, now: DateTime<Utc>) -> Vec<BudgetFinding> {
    let thresholds = rule.thresholds();
    let mut found: Vec<BudgetFinding> = Vec::new();
    for source in &rule.sources {
        let state = evidence.sources.get(source);
        let format = state.map(|state| state.format.clone()).unwrap_or_default();
        let trouble = state.and_then(|state| state.trouble.as_ref());
        let unknown = |service: Option<&str>, state: BudgetState, detail: String| BudgetFinding {
            source: source.clone(),
            format: format.clone(),
            service: service.map(str::to_owned),
            state,
            detail: Some(detail),
            budget: None,
            frozen_since: None,
            silent: false,
            lift: LiftEstimate::Unknown,
        };
        let services: Vec<&str> = evidence
            .services
            .iter()
            .filter(|identity| identity.source == *source)
            .map(|identity| identity.service.as_str())
            .collect();
        if services.is_empty() {
            found.push(match trouble {
                // Of a source that is not there, nobody knows which services it would know.
                Some(trouble) => unknown(None, trouble.state, trouble.detail.clone()),
                None => unknown(None, BudgetState::Unmapped, "nothing says which service it belongs to".to_owned()),
            });
        }
        for service in services {
            let of_service =
                evidence.budgets.iter().filter(|one| one.budget.source == *source && one.budget.service == service);
            let counted: Vec<&BudgetEvidence> = of_service.filter(|one| rule.counts(&one.budget.slo)).collect();
            if counted.is_empty() {
                found.push(match trouble {
                    Some(trouble) => unknown(Some(service), trouble.state, trouble.detail.clone()),
                    None => unknown(
                        Some(service),
                        BudgetState::NoData,
                        format!("source {source:?} knows no objective of service {service:?}"),
                    ),
                });
            }
            let judge = |one: &&BudgetEvidence| {
                judge_budget(policy, rule, &thresholds, &format, trouble.map(|one| one.detail.as_str()), one, now)
            };
            found.extend(counted.iter().map(judge));
        }
    }
    found.sort_by(|one, other| {
        let key = |finding: &BudgetFinding| {
            let frozen = finding.frozen_since.is_some();
            let act = effect_of(rule.action(acts_as(finding)));
            (act, frozen, finding.state.gravity())
        };
        let left = |finding: &BudgetFinding| finding.budget.as_ref().and_then(|budget| budget.remaining);
        let by_left = left(one).partial_cmp(&left(other)).unwrap_or(std::cmp::Ordering::Equal);
        key(other).cmp(&key(one)).then(by_left)
    });
    found
}

fn judge_budget(
    policy: &str,
    rule: &ErrorBudget,
    thresholds: &Thresholds,
    format: &str,
    trouble: Option<&str>,
    one: &BudgetEvidence,
    now: DateTime<Utc>,
) -> BudgetFinding {
    let judged = one.budget.state(thresholds, now);
    let freeze = freeze::next(one.freezes.get(policy), &one.budget, thresholds, now);
    let hold = freeze.as_ref().and_then(|freeze| freeze::holds(freeze, judged.state, rule.stale_hold_seconds(), now));
    // While the source is silent, what it said last is what there is to say.
    let shown = match (&freeze, hold) {
        (Some(freeze), Some(Hold::Silent)) => &freeze.last,
        _ => &one.budget,
    };
    let detail = match (judged.detail, trouble) {
        (Some(detail), Some(trouble)) => Some(format!("{detail}; {trouble}")),
        (detail, _) => detail,
    };
    let lift = one
        .lifts
        .iter()
        .find(|lift| (lift.unfreeze_above - thresholds.unfreeze_above).abs() < 1e-9)
        .map_or(LiftEstimate::Unknown, |lift| lift.at.map_or(LiftEstimate::Never, LiftEstimate::At));
    BudgetFinding {
        source: one.budget.source.clone(),
        format: format.to_owned(),
        service: Some(one.budget.service.clone()),
        state: judged.state,
        detail,
        budget: Some(figures_of(shown, now)),
        frozen_since: hold.and(freeze.as_ref()).map(|freeze| freeze.since),
        silent: hold == Some(Hold::Silent),
        lift,
    }
}

fn figures_of(budget: &Budget, now: DateTime<Utc>) -> BudgetFigures {
    let remaining = budget.remaining();
    let overspent = remaining.is_none_or(|remaining| remaining < 0.0);
    let beyond = budget.objective.filter(|_| overspent && budget.figures().is_some()).and_then(|objective| {
        let events = budget.figures()?.events;
        match events {
            Some(events) => figures::events_beyond(objective, events.total, events.bad).map(Beyond::Events),
            None => figures::minutes_beyond(objective, budget.window.seconds(), remaining?).map(Beyond::Minutes),
        }
    });
    BudgetFigures {
        slo: budget.slo.clone(),
        objective: budget.objective,
        window: budget.window.clone(),
        remaining,
        burn_rate: budget.burn_rate(),
        exhausted_in_seconds: budget.exhausted_in_seconds(),
        beyond,
        weighting: budget.figures().map(|figures| figures.weighting),
        sampled_at: budget.sampled_at,
        sample_age_seconds: now.signed_duration_since(budget.sampled_at).num_seconds().max(0),
    }
}

/// A freeze acts as what began it, whatever state the budget is in between its thresholds or in silence.
fn acts_as(finding: &BudgetFinding) -> BudgetState {
    if finding.frozen_since.is_some() { BudgetState::Exhausted } else { finding.state }
}

fn effect_of(action: Action) -> Option<Effect> {
    match action {
        Action::Deny => Some(Effect::Deny),
        Action::Warn => Some(Effect::Warn),
        Action::Allow => None,
    }
}

/// What the rule of one policy has to say about a change that a freeze would stop, as of `now`: about the worst budget.
pub fn judge(
    matching: Matching<'_>,
    rule: &ErrorBudget,
    worst: BudgetFinding,
    unknown_owner: bool,
    now: DateTime<Utc>,
) -> Option<Finding> {
    let effect = effect_of(rule.action(acts_as(&worst)))?;
    let (full, not_yet) = matching.policy.effect_at(rule.validation_actions.as_deref(), now);
    let softened = if !matching.certain {
        Some(Softened::NamespaceUnknown)
    } else if unknown_owner {
        Some(Softened::UnknownOwner)
    } else {
        not_yet.map(Softened::NotYet)
    };
    let most = if softened.is_some() { full.min(Effect::Warn) } else { full };
    Some(Finding {
        policy: matching.policy.name.clone(),
        rule: Rule::ErrorBudget,
        effect: effect.min(most),
        softened: softened.filter(|_| effect > most),
        exception: None,
        about: About::Budget(Box::new(worst)),
    })
}

#[cfg(test)]
mod tests;
