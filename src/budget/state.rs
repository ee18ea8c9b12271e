//! What state a budget is in: thirteen, each with its own action in a policy. An unknown is never healthy.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::figures;
use super::measure::{Budget, Figures, Measured};
use super::window::short;

/// The state of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BudgetState {
    /// Enough is left.
    Healthy,
    /// Little is left.
    Low,
    /// It is being spent so fast that it will not last.
    FastBurn,
    /// It is spent.
    Exhausted,
    /// Nothing happened in the window, good or bad.
    NoTraffic,
    /// So little happened that one bad event would spend all of it.
    LowTraffic,
    /// The source knows nothing of it.
    NoData,
    /// The source said that something is missing from its answer.
    Partial,
    /// The last sample is too old to say anything about now.
    Stale,
    /// The source answered what can be no figure.
    Invalid,
    /// Several series claim to be this one.
    Ambiguous,
    /// There is data for less than half of the window.
    InsufficientHistory,
    /// Nobody knows which service the workload belongs to.
    Unmapped,
}

impl BudgetState {
    /// All of them, the gravest last but one: what is spent counts before what is unknown.
    pub const ALL: [Self; 13] = [
        Self::Healthy,
        Self::Unmapped,
        Self::NoTraffic,
        Self::LowTraffic,
        Self::InsufficientHistory,
        Self::NoData,
        Self::Ambiguous,
        Self::Partial,
        Self::Stale,
        Self::Invalid,
        Self::Low,
        Self::FastBurn,
        Self::Exhausted,
    ];

    /// The name as policies and records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Low => "Low",
            Self::FastBurn => "FastBurn",
            Self::Exhausted => "Exhausted",
            Self::NoTraffic => "NoTraffic",
            Self::LowTraffic => "LowTraffic",
            Self::NoData => "NoData",
            Self::Partial => "Partial",
            Self::Stale => "Stale",
            Self::Invalid => "Invalid",
            Self::Ambiguous => "Ambiguous",
            Self::InsufficientHistory => "InsufficientHistory",
            Self::Unmapped => "Unmapped",
        }
    }

    /// How grave it is among the budgets of one workload: the worst decides.
    pub fn gravity(self) -> usize {
        Self::ALL.iter().position(|one| *one == self).unwrap_or_default()
    }

    /// Whether it says how much of the budget is left.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Healthy | Self::Low | Self::FastBurn | Self::Exhausted)
    }
}

/// What a policy holds budgets to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Fraction at or below which a freeze begins.
    pub freeze_below: f64,
    /// Fraction above which it lifts.
    pub unfreeze_above: f64,
    /// Fraction at or below which little is left.
    pub warn_below: f64,
    /// Less time than this until it is spent is a fast burn.
    pub warn_when_exhausted_within_seconds: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { freeze_below: 0.0, unfreeze_above: 0.05, warn_below: 0.2, warn_when_exhausted_within_seconds: 4 * 3_600 }
    }
}

/// The multi-window, multi-burn-rate table of Google's SRE workbook: a share of the budget, spent within a long window
/// and still being spent in a short one.
const FAST_BURN: [FastBurn; 4] = [
    FastBurn { share: 0.02, long_seconds: 3_600, short_seconds: 300 },
    FastBurn { share: 0.05, long_seconds: 6 * 3_600, short_seconds: 1_800 },
    FastBurn { share: 0.10, long_seconds: 86_400, short_seconds: 2 * 3_600 },
    FastBurn { share: 0.10, long_seconds: 3 * 86_400, short_seconds: 6 * 3_600 },
];

struct FastBurn {
    share: f64,
    long_seconds: i64,
    short_seconds: i64,
}

impl FastBurn {
    /// The burn rate that spends the share within the long window: 14.4, 6, 3 and 1 for 30 days.
    fn factor(&self, window_seconds: i64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^53 seconds
        let ratio = window_seconds as f64 / self.long_seconds as f64;
        self.share * ratio
    }
}

/// The state of a budget and, for an unknown, what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The state.
    pub state: BudgetState,
    /// What happened, where it is an unknown.
    pub detail: Option<String>,
}

impl Judged {
    fn known(state: BudgetState) -> Self {
        Self { state, detail: None }
    }

    fn unknown(state: BudgetState, detail: String) -> Self {
        Self { state, detail: Some(detail) }
    }
}

impl Budget {
    /// Its state at `now`, held to some thresholds; without hysteresis, which is the freeze's.
    pub fn state(&self, thresholds: &Thresholds, now: DateTime<Utc>) -> Judged {
        let age_seconds = now.signed_duration_since(self.sampled_at).num_seconds();
        if age_seconds > self.max_age_seconds {
            let (age, most) = (short_age(age_seconds), short(self.max_age_seconds));
            return Judged::unknown(BudgetState::Stale, format!("its last sample is {age} old, more than {most}"));
        }
        let (known, objective) = match (&self.measured, self.objective) {
            (Measured::Known(known), Some(objective)) => (known, objective),
            (Measured::Unknown(unknown), _) => return Judged::unknown(unknown.state, unknown.detail.clone()),
            (_, None) => return Judged::unknown(BudgetState::Invalid, "it has no objective".to_owned()),
        };
        if let Some(budget) = known.events.and_then(|events| figures::event_budget(objective, events.total))
            && objective < 1.0
            && budget < 1.0
        {
            return Judged::unknown(
                BudgetState::LowTraffic,
                format!("the window allows {budget:.3} bad events, so one would spend all of it"),
            );
        }
        let Some(remaining) = self.remaining() else {
            // With an objective of 1 any bad event is one too many.
            return Judged::known(BudgetState::Exhausted);
        };
        Judged::known(if figures::at_or_below(remaining, thresholds.freeze_below) {
            BudgetState::Exhausted
        } else if self.burns_fast(known, objective, thresholds) {
            BudgetState::FastBurn
        } else if figures::at_or_below(remaining, thresholds.warn_below) {
            BudgetState::Low
        } else {
            BudgetState::Healthy
        })
    }

    fn burns_fast(&self, known: &Figures, objective: f64, thresholds: &Thresholds) -> bool {
        let window_seconds = self.window.seconds();
        let burn_over = |seconds: i64| {
            let recent = known.recent.iter().find(|recent| recent.seconds == seconds)?;
            figures::burn_rate(objective, recent.error_ratio)
        };
        let by_table = FAST_BURN.iter().any(|row| {
            let exceeds = |seconds| burn_over(seconds).is_some_and(|rate| rate > row.factor(window_seconds));
            exceeds(row.long_seconds) && exceeds(row.short_seconds)
        });
        // A rate without windows is one number for both of the quickest pair.
        let by_rate = known.burn_rate.is_some_and(|rate| rate > FAST_BURN[0].factor(window_seconds));
        let soon =
            self.exhausted_in_seconds().is_some_and(|seconds| seconds <= thresholds.warn_when_exhausted_within_seconds);
        by_table || by_rate || soon
    }
}

/// An age in seconds or minutes, rounded down: for words about how old a sample is.
pub fn short_age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::super::measure::{Reading, Unmeasured, Weighting};
    use super::super::window::Window;
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn budget(objective: f64, change: impl FnOnce(&mut Reading)) -> Budget {
        let mut reading = Reading {
            service: "checkout".into(),
            slo: "availability".into(),
            objective,
            window: Window::Rolling { seconds: 30 * 86_400 },
            error_ratio: None,
            total: None,
            bad: None,
            recent: Vec::new(),
            burn_rate: None,
            weighting: Weighting::Events,
            sampled_at: now(),
            covered_seconds: None,
            series: 1,
            partial: None,
            note: None,
            unmeasured: None,
        };
        change(&mut reading);
        Budget::of("slo", reading, 300, now())
    }

    fn state(budget: &Budget) -> BudgetState {
        budget.state(&Thresholds::default(), now()).state
    }

    #[test]
    fn the_worked_cases() {
        let of_ratio = |objective: f64, ratio: f64| budget(objective, |one| one.error_ratio = Some(ratio));
        assert_eq!(state(&budget(0.999, |one| (one.total, one.bad) = (Some(1e6), Some(400.0)))), BudgetState::Healthy);
        assert_eq!(state(&of_ratio(0.995, 0.0028)), BudgetState::Healthy);
        assert_eq!(state(&of_ratio(0.999, 0.0015)), BudgetState::Exhausted);
        assert_eq!(state(&of_ratio(0.999, 0.001)), BudgetState::Exhausted, "spent to the last event");
        assert_eq!(state(&of_ratio(0.999, 0.000_9)), BudgetState::Low);
        assert_eq!(state(&of_ratio(0.999, 0.000_8)), BudgetState::Low, "at 20 % little is left");
        assert_eq!(state(&of_ratio(0.999, 0.000_79)), BudgetState::Healthy);
        assert_eq!(
            state(&budget(0.995, |one| (one.total, one.bad) = (Some(135.0), Some(0.0)))),
            BudgetState::LowTraffic
        );
        assert_eq!(
            state(&budget(0.995, |one| (one.total, one.bad) = (Some(135.0), Some(10.0)))),
            BudgetState::LowTraffic,
            "before it is exhausted"
        );
        assert_eq!(state(&budget(0.999, |one| one.total = Some(0.0))), BudgetState::NoTraffic);
        // One hour of budget left, burning twice too fast.
        let soon = budget(0.999, |one| {
            one.error_ratio = Some(0.001 * (1.0 - 1.0 / 720.0));
            one.burn_rate = Some(2.0);
        });
        assert_eq!(soon.exhausted_in_seconds(), Some(1_800));
        assert_eq!(state(&soon), BudgetState::FastBurn);
    }

    #[test]
    fn an_objective_of_one_is_all_or_nothing() {
        let of = |total: f64, bad: f64| state(&budget(1.0, |one| (one.total, one.bad) = (Some(total), Some(bad))));
        assert_eq!(of(10.0, 0.0), BudgetState::Healthy);
        assert_eq!(of(10.0, 1.0), BudgetState::Exhausted);
        assert_eq!(of(1e9, 1.0), BudgetState::Exhausted);
        assert_eq!(of(0.0, 0.0), BudgetState::NoTraffic);
    }

    #[test]
    fn a_fast_burn_exceeds_both_windows_of_a_row() {
        const RATE: f64 = 0.001; // error ratio of burn rate 1
        for (long, short, factor) in
            [(3_600, 300, 14.4), (21_600, 1_800, 6.0), (86_400, 7_200, 3.0), (259_200, 21_600, 1.0)]
        {
            let burning = |long_rate: f64, short_rate: f64| {
                let recent = vec![(long, long_rate * RATE), (short, short_rate * RATE)];
                let one = budget(0.999, |one| (one.error_ratio, one.recent) = (Some(0.0001), recent));
                state(&one)
            };
            assert_eq!(burning(factor + 0.1, factor + 0.1), BudgetState::FastBurn, "{long}");
            assert_eq!(burning(factor + 0.1, factor - 0.1), BudgetState::Healthy, "it is over: {long}");
            assert_eq!(burning(factor - 0.1, factor + 0.1), BudgetState::Healthy, "it has just begun: {long}");
        }
        // A single number stands for both windows of the quickest row.
        let rate = |rate| state(&budget(0.999, |one| (one.error_ratio, one.burn_rate) = (Some(0.0001), Some(rate))));
        assert_eq!((rate(14.3), rate(14.5)), (BudgetState::Healthy, BudgetState::FastBurn));
        // Without any rate nobody can say so.
        assert_eq!(state(&budget(0.999, |one| one.error_ratio = Some(0.0001))), BudgetState::Healthy);
    }

    #[test]
    fn an_old_sample_says_nothing_whatever_it_said() {
        let one = budget(0.999, |one| one.error_ratio = Some(0.5));
        let later = |seconds| one.state(&Thresholds::default(), now() + TimeDelta::seconds(seconds));
        assert_eq!(later(300).state, BudgetState::Exhausted);
        assert_eq!(later(301).state, BudgetState::Stale);
        assert_eq!(later(301).detail.as_deref(), Some("its last sample is 5m old, more than 5m"));
    }

    #[test]
    fn an_unknown_keeps_its_name_and_words() {
        let mut one = budget(0.999, |_| {});
        one.measured =
            Measured::Unknown(Unmeasured::new(BudgetState::Ambiguous, "2 series claim to be this objective"));
        let judged = one.state(&Thresholds::default(), now());
        assert_eq!(judged, Judged::unknown(BudgetState::Ambiguous, "2 series claim to be this objective".into()));
    }

    #[test]
    fn all_states_have_a_place_among_each_other() {
        let mut gravities: Vec<usize> = BudgetState::ALL.iter().map(|state| state.gravity()).collect();
        gravities.dedup();
        assert_eq!(gravities, (0..13).collect::<Vec<_>>());
        assert!(BudgetState::Exhausted.gravity() > BudgetState::Stale.gravity());
    }

    proptest! {
        #[test]
        fn nothing_unknown_is_healthy(
            objective in any::<f64>(), ratio in any::<Option<f64>>(), total in any::<Option<f64>>(), bad in any::<Option<f64>>(),
        ) {
            let one = budget(objective, |one| (one.error_ratio, one.total, one.bad) = (ratio, total, bad));
            if state(&one) == BudgetState::Healthy {
                prop_assert!(one.remaining().is_some_and(|remaining| remaining > 0.2));
                prop_assert!(one.objective.is_some());
            }
        }

        #[test]
        fn more_errors_never_make_it_better(one in 0.0_f64..=1.0, other in 0.0_f64..=1.0, objective in 0.5_f64..0.9999) {
            let gravity = |ratio: f64| state(&budget(objective, |one| one.error_ratio = Some(ratio))).gravity();
            prop_assert!(gravity(one.max(other)) >= gravity(one.min(other)));
        }
    }
}
