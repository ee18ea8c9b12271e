//! From what a source answered to a budget that can be judged: figures that are finite, or a named unknown.
//!
//! Nothing is believed here. A figure that cannot be one (not a number, infinite, negative, more bad than all) makes the
//! whole unknown, with words that say which figure it was.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::figures;
use super::state::BudgetState;
use super::window::Window;
use crate::image::build_date::rfc3339;

/// A budget of one service, as a source measured it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Name of the `BudgetSource`.
    pub source: String,
    /// The service.
    pub service: String,
    /// The objective's name.
    pub slo: String,
    /// The part of all that should be good, above 0 and at most 1; `None` where the source gave none that can be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
    /// Over which time it counts.
    pub window: Window,
    /// What was measured, or why nothing was.
    pub measured: Measured,
    /// When what it was measured from was sampled, in UTC.
    pub sampled_at: DateTime<Utc>,
    /// How old a sample may be before it says nothing any more.
    pub max_age_seconds: i64,
}

/// What was measured, or why nothing was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measured {
    /// Figures.
    Known(Figures),
    /// None, for a reason that a policy can name.
    Unknown(Unmeasured),
}

/// The figures of a budget: finite, and each possible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Bad ÷ all, over the window.
    pub error_ratio: f64,
    /// Events in the window, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Error ratios of shorter times up to the sample, shortest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Recent>,
    /// The present burn rate, where the source says it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn_rate: Option<f64>,
    /// What the ratio is a mean of.
    pub weighting: Weighting,
    /// What whoever reads the figures should know about them, in words: that some were left out, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Counted events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// All of them.
    pub total: f64,
    /// The bad ones.
    pub bad: f64,
}

/// The error ratio of a short time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recent {
    /// How long, up to the sample.
    pub seconds: i64,
    /// Bad ÷ all in it.
    pub error_ratio: f64,
}

/// What a ratio is a mean of: two that measure the same service may differ by this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Weighting {
    /// Every event weighs the same.
    Events,
    /// Every interval weighs the same, busy or quiet.
    MeanOfRatios,
    /// Bad slices of time are counted.
    TimeSlices,
}

impl Weighting {
    /// The name as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::MeanOfRatios => "meanOfRatios",
            Self::TimeSlices => "timeSlices",
        }
    }
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasured {
    /// What a policy can name.
    pub state: BudgetState,
    /// What happened, for people.
    pub detail: String,
}

impl Unmeasured {
    /// A reason and its words.
    pub fn new(state: BudgetState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into() }
    }
}

/// What a source answered about one objective of one service, before anything of it is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The service.
    pub service: String,
    /// The objective's name.
    pub slo: String,
    /// The objective, as a fraction.
    pub objective: f64,
    /// Over which time it counts.
    pub window: Window,
    /// Bad ÷ all over the window, where the source says so itself.
    pub error_ratio: Option<f64>,
    /// All events in the window.
    pub total: Option<f64>,
    /// Bad events in the window.
    pub bad: Option<f64>,
    /// Error ratios of shorter times, by seconds. One that is no ratio is left out: the window's own decides.
    pub recent: Vec<(i64, f64)>,
    /// The present burn rate, where the source says so itself.
    pub burn_rate: Option<f64>,
    /// What the ratio is a mean of.
    pub weighting: Weighting,
    /// When it was sampled, in UTC.
    pub sampled_at: DateTime<Utc>,
    /// For how much of the window there is data; `None` where nobody can tell.
    pub covered_seconds: Option<i64>,
    /// How many series claim to be this one.
    pub series: usize,
    /// What the source said is missing from the answer.
    pub partial: Option<String>,
    /// What whoever reads the figures should know about them, in words.
    pub note: Option<String>,
    /// Why there can be no figures, where the format itself tells: it counts before all that follows from figures.
    pub unmeasured: Option<Unmeasured>,
}

/// How far into the future a sample may lie: clocks differ a little.
const CLOCK_SKEW_SECONDS: i64 = 300;

impl Budget {
    /// Weighs a reading, taken at `now`.
    pub fn of(source: &str, reading: Reading, max_age_seconds: i64, now: DateTime<Utc>) -> Self {
        let measured = match figures_of(&reading, now) {
            Ok(figures) => Measured::Known(figures),
            Err(unmeasured) => Measured::Unknown(unmeasured),
        };
        Self {
            source: source.to_owned(),
            objective: Some(reading.objective).filter(|objective| figures::is_objective(*objective)),
            service: reading.service,
            slo: reading.slo,
            window: reading.window,
            measured,
            sampled_at: reading.sampled_at,
            max_age_seconds,
        }
    }

    /// The figures, where there are any.
    pub fn figures(&self) -> Option<&Figures> {
        match &self.measured {
            Measured::Known(figures) => Some(figures),
            Measured::Unknown(_) => None,
        }
    }

    /// The fraction of the budget that is left.
    pub fn remaining(&self) -> Option<f64> {
        figures::remaining_fraction(self.objective?, self.figures()?.error_ratio)
    }

    /// The present burn rate: the source's own, or that of the last hour, or of the shortest time that is known.
    pub fn burn_rate(&self) -> Option<f64> {
        let known = self.figures()?;
        known.burn_rate.or_else(|| {
            let hour = known.recent.iter().find(|recent| recent.seconds == 3_600);
            figures::burn_rate(self.objective?, hour.or(known.recent.first())?.error_ratio)
        })
    }

    /// Seconds until nothing is left at the present rate; `None` where that never comes or nobody knows.
    pub fn exhausted_in_seconds(&self) -> Option<i64> {
        let known = self.figures()?;
        match self.remaining() {
            // With an objective of 1 any bad event leaves nothing.
            None => self.objective.filter(|_| known.error_ratio > 0.0).map(|_| 0),
            Some(remaining) if remaining <= 0.0 => Some(0),
            Some(remaining) => figures::exhausted_in_seconds(self.window.seconds(), remaining, self.burn_rate()?),
        }
    }
}

fn figures_of(reading: &Reading, now: DateTime<Utc>) -> Result<Figures, Unmeasured> {
    let unknown = |state, detail: String| Err(Unmeasured::new(state, detail));
    if let Some(unmeasured) = &reading.unmeasured {
        return Err(unmeasured.clone());
    }
    if !figures::is_objective(reading.objective) {
        return unknown(
            BudgetState::Invalid,
            format!("its objective is {}, which is not above 0 and at most 1", reading.objective),
        );
    }
    if reading.series > 1 {
        return unknown(BudgetState::Ambiguous, format!("{} series claim to be this objective", reading.series));
    }
    for (name, count) in [("total", reading.total), ("bad", reading.bad)] {
        if let Some(count) = count.filter(|count| !count.is_finite() || *count < 0.0) {
            return unknown(BudgetState::Invalid, format!("its {name} is {count}, which is no count of events"));
        }
    }
    if reading.sampled_at.signed_duration_since(now).num_seconds() > CLOCK_SKEW_SECONDS {
        return unknown(
            BudgetState::Invalid,
            format!("its sample is of {}, which is yet to come: check the clocks", rfc3339(reading.sampled_at)),
        );
    }
    if let Some(partial) = &reading.partial {
        return unknown(BudgetState::Partial, partial.clone());
    }
    if reading.total == Some(0.0) {
        return unknown(BudgetState::NoTraffic, "there was no event in the window".to_owned());
    }
    let error_ratio = match (reading.error_ratio, reading.total, reading.bad) {
        (Some(ratio), _, _) if figures::is_ratio(ratio) => ratio.clamp(0.0, 1.0),
        (Some(ratio), _, _) => {
            return unknown(BudgetState::Invalid, format!("its error ratio is {ratio}, which is no part of all"));
        }
        (None, Some(total), Some(bad)) if bad <= total * (1.0 + 1e-9) => (bad / total).clamp(0.0, 1.0),
        (None, Some(total), Some(bad)) => {
            return unknown(BudgetState::Invalid, format!("{bad} of {total} events are bad, more than there are"));
        }
        _ => return unknown(BudgetState::NoData, "the source has no sample of it".to_owned()),
    };
    let elapsed_seconds = reading.window.elapsed_seconds(now);
    let error_ratio = match (&reading.window, reading.weighting) {
        // Where time is what counts, the budget is that of the whole period, and its rest is not bad yet.
        (Window::Calendar { .. }, Weighting::MeanOfRatios) => {
            #[allow(clippy::cast_precision_loss)]
            let passed = elapsed_seconds as f64 / reading.window.seconds().max(1) as f64;
            error_ratio * passed
        }
        _ => error_ratio,
    };
    if let Some(covered) = reading.covered_seconds.filter(|covered| covered.saturating_mul(2) < elapsed_seconds) {
        return unknown(
            BudgetState::InsufficientHistory,
            format!(
                "there is data for {} of {}, less than half",
                super::window::short(covered.max(0)),
                super::window::short(elapsed_seconds)
            ),
        );
    }
    let mut recent: Vec<Recent> = reading
        .recent
        .iter()
        .filter(|(seconds, ratio)| *seconds > 0 && figures::is_ratio(*ratio))
        .map(|(seconds, ratio)| Recent { seconds: *seconds, error_ratio: ratio.clamp(0.0, 1.0) })
        .collect();
    recent.sort_by_key(|recent| recent.seconds);
    Ok(Figures {
        error_ratio,
        events: reading.total.map(|total| Events { total, bad: reading.bad.unwrap_or(error_ratio * total) }),
        recent,
        burn_rate: reading.burn_rate.filter(|rate| rate.is_finite() && *rate >= 0.0),
        weighting: reading.weighting,
        note: reading.note.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn reading() -> Reading {
        Reading {
            service: "checkout".into(),
            slo: "availability".into(),
            objective: 0.999,
            window: Window::Rolling { seconds: 30 * 86_400 },
            error_ratio: None,
            total: Some(1_000_000.0),
            bad: Some(400.0),
            recent: vec![(3_600, 0.002), (300, f64::NAN)],
            burn_rate: None,
            weighting: Weighting::Events,
            sampled_at: now(),
            covered_seconds: None,
            series: 1,
            partial: None,
            note: None,
            unmeasured: None,
        }
    }

    fn state(change: impl FnOnce(&mut Reading)) -> Option<BudgetState> {
        let mut reading = reading();
        change(&mut reading);
        match Budget::of("slo", reading, 300, now()).measured {
            Measured::Known(_) => None,
            Measured::Unknown(unknown) => Some(unknown.state),
        }
    }

    #[test]
    fn counts_become_figures() {
        let budget = Budget::of("slo", reading(), 300, now());
        assert!((budget.remaining().unwrap() - 0.6).abs() < 1e-9);
        assert!((budget.burn_rate().unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(budget.figures().unwrap().recent.len(), 1, "what is no ratio is left out");
        assert_eq!(budget.exhausted_in_seconds(), Some(9 * 86_400));
    }

    #[test]
    fn each_way_to_know_nothing_has_its_name() {
        use BudgetState::{Ambiguous, InsufficientHistory, Invalid, NoData, NoTraffic, Partial};
        assert_eq!(state(|_| {}), None);
        for objective in [0.0, 1.1, -0.5, f64::NAN, f64::INFINITY] {
            assert_eq!(state(|one| one.objective = objective), Some(Invalid), "{objective}");
        }
        for count in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            assert_eq!(state(|one| one.total = Some(count)), Some(Invalid), "{count}");
            assert_eq!(state(|one| one.bad = Some(count)), Some(Invalid), "{count}");
            assert_eq!(state(|one| one.error_ratio = Some(count)), Some(Invalid), "{count}");
        }
        assert_eq!(state(|one| one.bad = Some(2e6)), Some(Invalid));
        assert_eq!(state(|one| one.total = Some(0.0)), Some(NoTraffic));
        assert_eq!(state(|one| (one.total, one.bad) = (Some(0.0), Some(0.0))), Some(NoTraffic));
        assert_eq!(state(|one| (one.total, one.bad) = (None, None)), Some(NoData));
        assert_eq!(state(|one| one.bad = None), Some(NoData));
        assert_eq!(state(|one| one.series = 2), Some(Ambiguous));
        assert_eq!(state(|one| one.partial = Some("store 3 is away".into())), Some(Partial));
        assert_eq!(state(|one| one.unmeasured = Some(Unmeasured::new(NoData, "renamed"))), Some(NoData));
        assert_eq!(state(|one| one.covered_seconds = Some(14 * 86_400)), Some(InsufficientHistory));
        assert_eq!(state(|one| one.covered_seconds = Some(15 * 86_400)), None);
        assert_eq!(state(|one| one.sampled_at = now() + chrono::TimeDelta::hours(1)), Some(Invalid));
    }

    #[test]
    fn bad_minutes_of_a_calendar_month_count_over_the_full_period() {
        // Thirty bad minutes by the tenth day of a month of thirty.
        let now: DateTime<Utc> = "2026-11-11T00:00:00Z".parse().unwrap();
        let month = super::super::window::CalendarPeriods::parse("1M", "2026-11-01 00:00:00", "UTC").unwrap().at(now);
        let ratio = 30.0 / (10.0 * 24.0 * 60.0);
        let odd = Reading { error_ratio: Some(ratio), ..reading() };
        let read = |weighting| {
            let reading =
                Reading { window: month.clone(), weighting, sampled_at: now, total: None, bad: None, ..odd.clone() };
            Budget::of("slo", reading, 300, now).remaining().unwrap()
        };
        assert!((read(Weighting::MeanOfRatios) - 0.305_555).abs() < 1e-4);
        assert!(read(Weighting::Events) < -1.0, "events are counted so far: nobody knows how many come");
    }

    #[test]
    fn nothing_left_is_spent_at_once_whatever_the_rate() {
        let spent = Reading { bad: Some(2_000.0), recent: Vec::new(), ..reading() };
        let one = Budget::of("slo", spent.clone(), 300, now());
        assert_eq!((one.burn_rate(), one.exhausted_in_seconds()), (None, Some(0)));
        let all_or_nothing = Budget::of("slo", Reading { objective: 1.0, ..spent }, 300, now());
        assert_eq!((all_or_nothing.remaining(), all_or_nothing.exhausted_in_seconds()), (None, Some(0)));
        let healthy =
            Budget::of("slo", Reading { objective: 1.0, bad: Some(0.0), recent: Vec::new(), ..reading() }, 300, now());
        assert_eq!(healthy.exhausted_in_seconds(), None);
    }

    #[test]
    fn a_period_that_has_just_begun_has_all_the_history_there_can_be() {
        let month = super::super::window::CalendarPeriods::parse("1M", "2026-11-01 00:00:00", "UTC").unwrap().at(now());
        let with = |covered: i64| {
            let month = month.clone();
            state(|one| (one.window, one.covered_seconds) = (month, Some(covered)))
        };
        assert_eq!(with(20 * 86_400), None);
        assert_eq!(with(86_400), Some(BudgetState::InsufficientHistory));
    }

    proptest! {
        #[test]
        fn whatever_a_source_answers_is_figures_that_can_be_written_or_a_named_unknown(
            objective in any::<f64>(), ratio in any::<Option<f64>>(), total in any::<Option<f64>>(),
            bad in any::<Option<f64>>(), burn in any::<Option<f64>>(), recent in any::<Vec<(i64, f64)>>(),
        ) {
            let odd = Reading { objective, error_ratio: ratio, total, bad, burn_rate: burn, recent, ..reading() };
            let budget = Budget::of("slo", odd, 300, now());
            let written = serde_json::to_string(&budget).unwrap();
            let read: Budget = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(read.remaining(), budget.remaining());
            if let Some(figures) = budget.figures() {
                prop_assert!((0.0..=1.0).contains(&figures.error_ratio));
            }
        }
    }
}
