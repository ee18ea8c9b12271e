//! The arithmetic of error budgets. Total: whatever comes in, what comes out is a finite figure or nothing.
//!
//! Sources: the formulas of Google's SRE workbook, chapters 2 and 5. An *error ratio* is bad ÷ total, a *fraction* is a
//! part of the whole budget, a *burn rate* of 1 spends the budget in exactly the window.

/// Figures closer to zero than this are zero: counts and ratios come as binary fractions of decimal objectives.
const ZERO: f64 = 1e-9;

/// An objective above this leaves no error at all.
const ALL: f64 = 1.0;

/// Whether an objective is one: more than nothing, at most everything.
pub fn is_objective(objective: f64) -> bool {
    objective > 0.0 && objective <= ALL
}

/// Whether a ratio can be one of bad to all. A little above 1 comes of rounding.
pub fn is_ratio(ratio: f64) -> bool {
    (-ZERO..=ALL + ZERO).contains(&ratio)
}

/// The part of all events that may be bad; 0 where the objective is 1.
pub fn allowed_ratio(objective: f64) -> Option<f64> {
    is_objective(objective).then_some(ALL - objective)
}

/// The fraction of the budget that is left: 1 is all of it, 0 none, below 0 it is overspent; never clamped.
///
/// With an objective of 1 there is no budget: without any bad event all of it is left, else no fraction says how little.
pub fn remaining_fraction(objective: f64, error_ratio: f64) -> Option<f64> {
    let allowed = allowed_ratio(objective)?;
    if !is_ratio(error_ratio) {
        return None;
    }
    if allowed < ZERO {
        return (error_ratio <= 0.0).then_some(ALL);
    }
    finite(near_zero(ALL - error_ratio.max(0.0) / allowed))
}

/// How many times faster than the window allows the budget is being spent, from the error ratio of a short while.
pub fn burn_rate(objective: f64, error_ratio: f64) -> Option<f64> {
    let allowed = allowed_ratio(objective).filter(|allowed| *allowed >= ZERO)?;
    if is_ratio(error_ratio) { finite(near_zero(error_ratio.max(0.0) / allowed)) } else { None }
}

/// Seconds until nothing is left at this burn rate: 0 where nothing is; `None` where it never comes to that.
pub fn exhausted_in_seconds(window_seconds: i64, remaining_fraction: f64, burn_rate: f64) -> Option<i64> {
    if remaining_fraction <= 0.0 {
        return Some(0);
    }
    if burn_rate.is_nan() || burn_rate <= 0.0 || !remaining_fraction.is_finite() {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // windows are far below 2^53 seconds
    let seconds = window_seconds as f64 * remaining_fraction / burn_rate;
    // Beyond what a timestamp can hold it is never.
    #[allow(clippy::cast_possible_truncation)]
    (seconds < 1e15).then_some(seconds.round() as i64)
}

/// How many bad events the window allows.
pub fn event_budget(objective: f64, total: f64) -> Option<f64> {
    let allowed = allowed_ratio(objective)?;
    if total >= 0.0 { finite(allowed * total) } else { None }
}

/// Bad events beyond what the window allows; not below 0.
pub fn events_beyond(objective: f64, total: f64, bad: f64) -> Option<f64> {
    Some((bad - event_budget(objective, total)?).max(0.0)).and_then(finite)
}

/// Bad minutes beyond what the window allows, where time is counted and not events; not below 0.
pub fn minutes_beyond(objective: f64, window_seconds: i64, remaining_fraction: f64) -> Option<f64> {
    let allowed = allowed_ratio(objective)?;
    #[allow(clippy::cast_precision_loss)]
    let minutes = -remaining_fraction * allowed * window_seconds as f64 / 60.0;
    finite(minutes.max(0.0))
}

/// Whether a figure is at or below a threshold; what differs by less than counts can tell is at it.
pub fn at_or_below(figure: f64, threshold: f64) -> bool {
    figure <= threshold + ZERO
}

fn near_zero(figure: f64) -> f64 {
    if figure.abs() < ZERO { 0.0 } else { figure }
}

/// Nothing that JSON could not write.
pub fn finite(figure: f64) -> Option<f64> {
    figure.is_finite().then_some(figure)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MONTH: i64 = 30 * 86_400;

    fn close(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn the_worked_cases_of_the_remaining_fraction() {
        close(remaining_fraction(0.999, 400.0 / 1_000_000.0), 0.6);
        close(remaining_fraction(0.995, 1.0 - 0.9972), 0.44);
        close(remaining_fraction(0.999, 1.0 - 0.9985), -0.5);
        // A calendar month of 30 days, 30 bad minutes: over the full period.
        let bad_part = 30.0 / (30.0 * 24.0 * 60.0);
        assert!((remaining_fraction(0.999, bad_part).unwrap() - 0.305_6).abs() < 1e-4);
        // What is spent to the last event is nothing, not a hair's breadth.
        assert_eq!(remaining_fraction(0.999, 0.001), Some(0.0));
        assert_eq!(remaining_fraction(0.9, 0.1), Some(0.0));
    }

    #[test]
    fn an_objective_of_one_has_no_budget_to_be_a_fraction_of() {
        assert_eq!(remaining_fraction(1.0, 0.0), Some(1.0));
        assert_eq!(remaining_fraction(1.0, 1e-12), None);
        assert_eq!(burn_rate(1.0, 0.5), None);
        assert_eq!(event_budget(1.0, 1e6), Some(0.0));
    }

    #[test]
    fn the_worked_cases_of_time_to_exhaustion() {
        assert_eq!(exhausted_in_seconds(MONTH, 1.0, 14.4), Some(50 * 3_600));
        assert_eq!(exhausted_in_seconds(MONTH, 1.0 / 720.0, 2.0), Some(30 * 60));
        assert_eq!(exhausted_in_seconds(MONTH, 0.5, 0.0), None);
        assert_eq!(exhausted_in_seconds(MONTH, 0.0, 3.0), Some(0));
        assert_eq!(exhausted_in_seconds(MONTH, -0.5, 0.0), Some(0));
    }

    #[test]
    fn budgets_are_counted_in_events_and_in_minutes() {
        close(event_budget(0.995, 135.0), 0.675);
        close(events_beyond(0.999, 1_000_000.0, 1_125.0), 125.0);
        assert_eq!(events_beyond(0.999, 1_000_000.0, 400.0), Some(0.0));
        close(minutes_beyond(0.999, MONTH, -0.5), 21.6);
        assert_eq!(minutes_beyond(0.999, MONTH, 0.5), Some(0.0));
    }

    #[test]
    fn what_is_no_figure_gives_none() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0];
        for one in odd {
            assert_eq!(remaining_fraction(one, 0.1), None, "objective {one}");
            assert_eq!(remaining_fraction(0.99, one), None, "ratio {one}");
            assert_eq!(burn_rate(0.99, one), None, "ratio {one}");
        }
        assert_eq!(remaining_fraction(0.0, 0.0), None);
        assert_eq!(event_budget(0.99, f64::NAN), None);
        assert_eq!(event_budget(0.99, f64::INFINITY), None);
        assert_eq!(exhausted_in_seconds(MONTH, f64::NAN, 1.0), None);
    }

    proptest! {
        #[test]
        fn more_errors_never_raise_what_remains(objective in 0.001_f64..1.0, one in 0.0_f64..=1.0, other in 0.0_f64..=1.0) {
            let (fewer, more) = (one.min(other), one.max(other));
            let (before, after) = (remaining_fraction(objective, fewer), remaining_fraction(objective, more));
            prop_assert!(after.unwrap() <= before.unwrap());
            prop_assert!(burn_rate(objective, more) >= burn_rate(objective, fewer));
        }

        #[test]
        fn every_figure_is_finite_or_none(a in any::<f64>(), b in any::<f64>(), c in any::<f64>(), seconds in any::<i64>()) {
            for figure in [
                remaining_fraction(a, b), burn_rate(a, b), event_budget(a, b), events_beyond(a, b, c),
                minutes_beyond(a, seconds, b),
            ] {
                prop_assert!(figure.is_none_or(f64::is_finite));
            }
            let _ = exhausted_in_seconds(seconds, a, b);
        }

        #[test]
        fn spending_faster_ends_sooner(remaining in 0.001_f64..1.0, one in 0.01_f64..1e4, other in 0.01_f64..1e4) {
            let (slower, faster) = (one.min(other), one.max(other));
            prop_assert!(exhausted_in_seconds(MONTH, remaining, faster) <= exhausted_in_seconds(MONTH, remaining, slower));
        }
    }
}
