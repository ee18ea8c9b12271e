//! When a freeze lifts by itself: for a rolling window, when enough recorded errors have left it, if those to come stay at
//! the present rate; for a calendar window, at its end.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::figures::{at_or_below, remaining_fraction};
use super::window::Window;

/// What happened in a span of time: good and bad, in events, or (where ratios are averaged) in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    /// When it ended, in UTC; it began where the one before ended.
    pub ends_at: DateTime<Utc>,
    /// All that happened.
    pub total: f64,
    /// What was bad of it.
    pub bad: f64,
}

impl Slice {
    fn is_possible(&self) -> bool {
        self.total.is_finite() && self.bad.is_finite() && self.bad >= 0.0 && self.total >= self.bad
    }
}

/// The present is the last day, or in a short window its last tenth.
fn present_seconds(window_seconds: i64) -> i64 {
    (window_seconds / 10).clamp(1, 86_400)
}

/// The first instant at which more than `unfreeze_above` of the budget is left; `None` where the present rate never
/// lets that come, or nobody knows.
///
/// `history` are the slices of the window, oldest first, each `step_seconds` long; the last ends now. A slice counts
/// until all of it has left the window, so the estimate is late by at most a step and never early.
pub fn lifts_at(
    window: &Window,
    objective: f64,
    unfreeze_above: f64,
    history: &[Slice],
    step_seconds: i64,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let window_seconds = match window {
        Window::Calendar { ends_at, .. } => return Some(*ends_at).filter(|ends_at| *ends_at > now),
        Window::Rolling { seconds } => *seconds,
    };
    if step_seconds <= 0 || window_seconds <= 0 || history.is_empty() || !history.iter().all(Slice::is_possible) {
        return None;
    }
    let last = history.last()?.ends_at;
    let present = usize::try_from(present_seconds(window_seconds) / step_seconds).unwrap_or(1).clamp(1, history.len());
    let recent = &history[history.len() - present..];
    #[allow(clippy::cast_precision_loss)] // some hundred slices
    let mean = |figure: fn(&Slice) -> f64| recent.iter().map(figure).sum::<f64>() / present as f64;
    let (total_to_come, bad_to_come) = (mean(|slice| slice.total), mean(|slice| slice.bad));
    let mut total: f64 = history.iter().map(|slice| slice.total).sum();
    let mut bad: f64 = history.iter().map(|slice| slice.bad).sum();
    for leaving in history {
        let gone_at = leaving.ends_at.checked_add_signed(TimeDelta::try_seconds(window_seconds)?)?;
        total -= leaving.total;
        bad -= leaving.bad;
        if gone_at <= now {
            continue;
        }
        // What has come by then: of the bad each step that has begun counts, of all each that is over.
        let to_come_seconds = gone_at.signed_duration_since(last).num_seconds().max(0);
        #[allow(clippy::cast_precision_loss)]
        let (over, begun) = (
            (to_come_seconds / step_seconds) as f64,
            (to_come_seconds / step_seconds + i64::from(to_come_seconds % step_seconds > 0)) as f64,
        );
        let (total_then, bad_then) = (total + over * total_to_come, bad.max(0.0) + begun * bad_to_come);
        let ratio = if total_then > 0.0 { (bad_then / total_then).min(1.0) } else { 0.0 };
        if remaining_fraction(objective, ratio).is_some_and(|remaining| !at_or_below(remaining, unfreeze_above)) {
            return Some(gone_at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::window::CalendarPeriods;
    use super::*;

    const STEP: i64 = 7_200;
    const MONTH: i64 = 30 * 86_400;

    fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    /// Thirty days of slices of two hours, each with as many bad of 1,000 as `bad` says.
    fn month(bad: impl Fn(i64) -> f64) -> Vec<Slice> {
        let count = MONTH / STEP;
        let slice = |index: i64| Slice {
            ends_at: now() - TimeDelta::seconds(STEP * (count - 1 - index)),
            total: 1_000.0,
            bad: bad(index),
        };
        (0..count).map(slice).collect()
    }

    fn lifts(history: &[Slice], unfreeze_above: f64) -> Option<DateTime<Utc>> {
        lifts_at(&Window::Rolling { seconds: MONTH }, 0.999, unfreeze_above, history, STEP, now())
    }

    #[test]
    fn it_lifts_when_the_outage_has_left_the_window() {
        // 500 errors in one slice 20 days ago, of 360 allowed; none since.
        let history = month(|index| if index == 120 { 500.0 } else { 0.0 });
        let gone_at = history[120].ends_at + TimeDelta::seconds(MONTH);
        assert_eq!(lifts(&history, 0.05), Some(gone_at));
    }

    #[test]
    fn it_lifts_when_enough_has_left_and_not_all_must() {
        // Two outages of 250: with one of them gone there is enough again.
        let history = month(|index| if index == 30 || index == 300 { 250.0 } else { 0.0 });
        assert_eq!(lifts(&history, 0.05), Some(history[30].ends_at + TimeDelta::seconds(MONTH)));
        // For four fifths both must go.
        assert_eq!(lifts(&history, 0.8), Some(history[300].ends_at + TimeDelta::seconds(MONTH)));
    }

    #[test]
    fn at_a_present_rate_that_spends_all_it_never_lifts() {
        assert_eq!(lifts(&month(|_| 2.0), 0.05), None);
        // What was bad once and is bad no more lifts.
        assert!(lifts(&month(|index| if index < 340 { 2.0 } else { 0.0 }), 0.05).is_some());
    }

    #[test]
    fn a_calendar_window_lifts_at_its_end() {
        let berlin = CalendarPeriods::parse("1M", "2026-01-01 00:00:00", "Europe/Berlin").unwrap();
        let lifts = lifts_at(&berlin.at(now()), 0.999, 0.05, &[], 0, now());
        assert_eq!(lifts, Some("2026-11-30T23:00:00Z".parse().unwrap()));
    }

    #[test]
    fn without_a_history_nobody_knows() {
        assert_eq!(lifts(&[], 0.05), None);
        for odd in [f64::NAN, f64::INFINITY, -1.0, 2_000.0] {
            assert_eq!(lifts(&month(|_| odd), 0.05), None, "{odd}");
        }
        let history = month(|_| 0.0);
        assert_eq!(lifts_at(&Window::Rolling { seconds: 0 }, 0.999, 0.05, &history, STEP, now()), None);
        assert_eq!(lifts_at(&Window::Rolling { seconds: MONTH }, f64::NAN, 0.05, &history, STEP, now()), None);
    }

    /// The fraction left at `time`, when the present rate goes on after the history.
    #[allow(clippy::cast_precision_loss)]
    fn replayed(history: &[Slice], time: DateTime<Utc>) -> f64 {
        let present = usize::try_from(86_400 / STEP).unwrap();
        let recent = &history[history.len() - present..];
        let to_come = recent.iter().map(|slice| slice.bad).sum::<f64>() / present as f64;
        let mut all = history.to_vec();
        while all.last().unwrap().ends_at < time {
            let ends_at = all.last().unwrap().ends_at + TimeDelta::seconds(STEP);
            all.push(Slice { ends_at, total: 1_000.0, bad: to_come });
        }
        let begins = time - TimeDelta::seconds(MONTH);
        let within: Vec<&Slice> = all.iter().filter(|slice| slice.ends_at > begins && slice.ends_at <= time).collect();
        let (bad, total): (f64, f64) = (within.iter().map(|s| s.bad).sum(), within.iter().map(|s| s.total).sum());
        remaining_fraction(0.999, (bad / total).min(1.0)).unwrap()
    }

    proptest! {
        #[test]
        fn an_estimate_replayed_on_its_series_is_not_early(
            outages in proptest::collection::vec((0_usize..360, 0.0_f64..900.0), 0..8), base in 0.0_f64..2.0, above in 0.0_f64..0.5,
        ) {
            let history = month(|index| {
                let outage: f64 = outages.iter().filter(|(at, _)| i64::try_from(*at).unwrap() == index).map(|(_, bad)| bad).sum();
                (base + outage).min(1_000.0)
            });
            if let Some(lifts) = lifts(&history, above) {
                prop_assert!(lifts > now());
                prop_assert!(replayed(&history, lifts) > above - 1e-9, "{} is left at {lifts}", replayed(&history, lifts));
            }
        }
    }
}
