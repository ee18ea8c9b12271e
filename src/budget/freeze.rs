//! When a freeze begins and when it lifts. It lifts later than it begins (hysteresis), so that a budget around zero does
//! not open and shut the gate; and it outlives a source that falls silent, for a while.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::figures;
use super::measure::Budget;
use super::state::{BudgetState, Thresholds};

/// A freeze of one objective of one service, by one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// When it began, in UTC: the time of the sample that began it.
    pub since: DateTime<Utc>,
    /// The last measurement that said so: what a message shows while the source is silent.
    pub last: Budget,
}

/// What becomes of a freeze when a budget has been measured, or could not be.
///
/// A measurement decides; an unknown changes nothing, so that silence neither freezes nor lifts.
pub fn next(before: Option<&Freeze>, budget: &Budget, thresholds: &Thresholds, now: DateTime<Utc>) -> Option<Freeze> {
    let state = budget.state(thresholds, now).state;
    if !state.is_measured() {
        return before.cloned();
    }
    let stays = match (before, budget.remaining()) {
        (Some(_), Some(remaining)) => {
            figures::at_or_below(remaining, thresholds.unfreeze_above.max(thresholds.freeze_below))
        }
        _ => state == BudgetState::Exhausted,
    };
    let since = before.map_or(budget.sampled_at, |before| before.since);
    stays.then(|| Freeze { since, last: budget.clone() })
}

/// What holds for a deploy now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The last measurement says so.
    Measured,
    /// The source is silent, and what it said last still counts.
    Silent,
}

/// Whether a freeze holds at `now`: while it is measured, and while its source has been silent for no longer than
/// `stale_hold_seconds`.
pub fn holds(freeze: &Freeze, state: BudgetState, stale_hold_seconds: i64, now: DateTime<Utc>) -> Option<Hold> {
    if state.is_measured() {
        return Some(Hold::Measured);
    }
    let silent_until = TimeDelta::try_seconds(stale_hold_seconds)
        .and_then(|hold| freeze.last.sampled_at.checked_add_signed(hold))
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    (now <= silent_until).then_some(Hold::Silent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measure::{Reading, Weighting};
    use super::super::window::Window;
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).unwrap()
    }

    /// What a source says when so much is left.
    fn left(remaining: Option<f64>, minute: i64) -> Budget {
        let reading = Reading {
            service: "checkout".into(),
            slo: "availability".into(),
            objective: 0.99,
            window: Window::Rolling { seconds: 30 * 86_400 },
            error_ratio: remaining.map(|remaining| (1.0 - remaining) * 0.01),
            total: None,
            bad: None,
            recent: Vec::new(),
            burn_rate: None,
            weighting: Weighting::MeanOfRatios,
            sampled_at: at(minute),
            covered_seconds: None,
            series: 1,
            partial: None,
            note: None,
            unmeasured: None,
        };
        Budget::of("slo", reading, 300, at(minute))
    }

    fn run(samples: &[Option<f64>]) -> Vec<bool> {
        let mut freeze = None;
        let mut frozen = Vec::new();
        for (minute, remaining) in samples.iter().enumerate() {
            let minute = i64::try_from(minute).unwrap();
            freeze = next(freeze.as_ref(), &left(*remaining, minute), &Thresholds::default(), at(minute));
            frozen.push(freeze.is_some());
        }
        frozen
    }

    #[test]
    fn it_begins_at_the_one_threshold_and_lifts_above_the_other() {
        assert_eq!(
            run(&[Some(0.04), Some(0.0), Some(0.04), Some(0.05), Some(0.051), Some(0.04), Some(-2.0), Some(0.9)]),
            [false, true, true, true, false, false, true, false]
        );
    }

    #[test]
    fn silence_changes_nothing() {
        assert_eq!(
            run(&[None, Some(0.5), None, Some(-0.1), None, None, Some(0.03)]),
            [false, false, false, true, true, true, true]
        );
    }

    #[test]
    fn it_keeps_its_beginning_and_its_last_measurement() {
        let first = next(None, &left(Some(-0.1), 0), &Thresholds::default(), at(0)).unwrap();
        let later = next(Some(&first), &left(Some(0.02), 30), &Thresholds::default(), at(30)).unwrap();
        assert_eq!((later.since, later.last.sampled_at), (at(0), at(30)));
        let silent = next(Some(&later), &left(None, 60), &Thresholds::default(), at(60)).unwrap();
        assert_eq!(silent, later);
    }

    #[test]
    fn a_silent_source_holds_the_freeze_for_a_while() {
        let freeze = next(None, &left(Some(-0.1), 0), &Thresholds::default(), at(0)).unwrap();
        assert_eq!(holds(&freeze, BudgetState::Exhausted, 3_600, at(0)), Some(Hold::Measured));
        assert_eq!(holds(&freeze, BudgetState::Low, 3_600, at(4)), Some(Hold::Measured), "between the thresholds");
        assert_eq!(holds(&freeze, BudgetState::Stale, 3_600, at(60)), Some(Hold::Silent));
        assert_eq!(holds(&freeze, BudgetState::NoData, 3_600, at(61)), None);
        assert_eq!(holds(&freeze, BudgetState::NoData, i64::MAX, at(61)), Some(Hold::Silent));
    }

    #[test]
    fn with_an_objective_of_one_it_lifts_when_the_last_bad_event_has_left() {
        let of = |bad: f64, minute: i64| {
            let reading = |budget: &mut Budget| budget.objective = Some(1.0);
            let mut budget = left(Some(1.0 - bad), minute);
            reading(&mut budget);
            budget
        };
        let frozen = next(None, &of(1.0, 0), &Thresholds::default(), at(0));
        assert!(frozen.is_some());
        assert!(next(frozen.as_ref(), &of(1.0, 1), &Thresholds::default(), at(1)).is_some());
        assert!(next(frozen.as_ref(), &of(0.0, 2), &Thresholds::default(), at(2)).is_none());
    }

    proptest! {
        #[test]
        fn a_budget_that_stays_between_the_thresholds_does_not_flap(
            first in any::<bool>(), samples in proptest::collection::vec(0.001_f64..0.05, 1..50),
        ) {
            let mut all = vec![Some(if first { -0.5 } else { 0.5 })];
            all.extend(samples.into_iter().map(Some));
            prop_assert!(run(&all).iter().all(|frozen| *frozen == first));
        }
    }
}
