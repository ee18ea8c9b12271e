//! What all formats share: what is asked, what is found in the answers, and how what was found becomes one reading.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::answer::{Answer, Series, SeriesLabels};
use super::api::SeveralSeries;
use super::lift::Slice;
use super::measure::Reading;
use super::query::{self, Match, QueryError};
use super::snapshot::History;
use crate::policy::duration::PolicyDuration;

/// How far back a source is looked through for the last sample of what it no longer answers with, in seconds: so long a
/// budget is stale, and then there is no data.
pub const LOOK_BACK_SECONDS: i64 = 3_600;

/// Steps in which it is looked at how much of a window there is data for.
const COVERAGE_STEPS: i64 = 120;

/// Slices of a history.
const HISTORY_STEPS: i64 = 360;

/// Different windows of one source that are looked through; nobody has more.
pub const MOST_WINDOWS: usize = 6;

/// Most names in one choice: longer patterns are slow to match.
pub const MOST_NAMES: usize = 50;

/// A question for Prometheus, and what its answer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<P> {
    /// What for.
    pub purpose: P,
    /// The query.
    pub text: String,
}

/// What a poll is made under.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// The evaluation time of all its queries, in UTC.
    pub at: DateTime<Utc>,
    /// What several series of one objective mean.
    pub several: SeveralSeries,
}

/// A reading, and the name by which its format knows it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What was read.
    pub reading: Reading,
    /// The name, for questions about its history; none where there can be no history.
    pub id: Option<String>,
}

/// A question about what happened in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryAsk {
    /// The label that names what a series is of.
    pub label: String,
    /// What stands before the label's value in [`Found::id`].
    pub prefix: String,
    /// The queries.
    pub queries: HistoryQueries,
    /// The length of the window, in seconds.
    pub window_seconds: i64,
    /// The length of a slice, in seconds.
    pub step_seconds: i64,
}

/// Which queries tell a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryQueries {
    /// Bad ÷ all of each slice.
    Ratio(String),
    /// Bad events and all events of each slice.
    Counts {
        /// The bad ones.
        bad: String,
        /// All.
        total: String,
    },
}

/// A time as seconds since 1970.
pub fn instant(seconds: f64) -> Option<DateTime<Utc>> {
    // Beyond these nothing that Prometheus can hold lies.
    if !(-1e11..1e12).contains(&seconds) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)]
    DateTime::from_timestamp_millis((seconds * 1_000.0).round() as i64)
}

/// The question when series were last sampled: to the second of those that have a sample now, by whole minutes of those
/// that had one within the look-back. `grouping` is what the answers are to be grouped by, as `max by (slo) `.
pub fn last_sampled(
    selector: &promql_parser::parser::Expr,
    grouping: &str,
) -> Result<promql_parser::parser::Expr, QueryError> {
    let template =
        format!("{grouping}(timestamp(x)) or {grouping}(max_over_time(timestamp(x)[{LOOK_BACK_SECONDS}s:60s]))");
    query::fill(&template, &[("x", selector)])
}

/// The question in how many steps of a window there is a sample.
pub fn coverage(selector: &promql_parser::parser::Expr, window_seconds: i64) -> Result<String, QueryError> {
    let step = query::step_seconds(window_seconds, COVERAGE_STEPS);
    query::text(&query::fill(&format!("count_over_time(x[{window_seconds}s:{step}s])"), &[("x", selector)])?)
}

/// For how many seconds there is data, by the answer to [`coverage`].
pub fn covered_seconds(steps: f64, window_seconds: i64) -> Option<i64> {
    if !(0.0..1e6).contains(&steps) {
        return None;
    }
    let step = query::step_seconds(window_seconds, COVERAGE_STEPS);
    #[allow(clippy::cast_possible_truncation)]
    Some((steps as i64).saturating_mul(step).min(window_seconds))
}

/// The window at the end of a name such as `slo:sli_error:ratio_rate5m`, in seconds.
pub fn window_after(name: &str, mark: &str) -> Option<i64> {
    let (_, written) = name.rsplit_once(mark)?;
    PolicyDuration::parse(written).ok().map(|duration| duration.seconds())
}

/// The labels of a series without some: what is left tells it from its siblings.
pub fn labels_without(series: &Series, without: &[&str]) -> SeriesLabels {
    let kept =
        series.metric.iter().filter(|(name, _)| name.as_str() != "__name__" && !without.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What is missing, by the first answer that says so.
pub fn partial<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Option<String> {
    answers.into_iter().find_map(|answer| answer.partial.clone())
}

/// One reading of several that claim to be the same objective.
pub fn settle(mut all: Vec<Found>, several: SeveralSeries) -> Option<Found> {
    let count = all.len();
    if count > 1 && several == SeveralSeries::Worst {
        // What cannot be compared is worse than what can: it must not hide behind it.
        all.sort_by(|one, other| spent(&other.reading).total_cmp(&spent(&one.reading)));
        let mut worst = all.into_iter().next()?;
        let note = format!("the worst of {count} series");
        worst.reading.note = Some(worst.reading.note.map_or(note.clone(), |other| format!("{note}; {other}")));
        return Some(worst);
    }
    let mut first = all.into_iter().next()?;
    first.reading.series = count;
    Some(first)
}

/// How much of its budget a reading has spent; infinite where nobody can tell.
fn spent(reading: &Reading) -> f64 {
    let by_counts = || Some(reading.bad? / reading.total?);
    let ratio = reading.error_ratio.or_else(by_counts).filter(|ratio| !ratio.is_nan());
    match ratio {
        Some(ratio) if reading.unmeasured.is_none() => ratio / (1.0 - reading.objective).max(1e-12),
        _ => f64::INFINITY,
    }
}

/// Which histories to ask for: of budgets with little left, those with names, in choices of [`MOST_NAMES`].
pub fn history_groups(wanted: &[&Found]) -> Vec<(i64, Vec<String>)> {
    let mut by_window: HashMap<i64, Vec<String>> = HashMap::new();
    for found in wanted {
        if let Some(id) = &found.id {
            by_window.entry(found.reading.window.seconds()).or_default().push(id.clone());
        }
    }
    let mut groups = Vec::new();
    for (window_seconds, mut ids) in by_window {
        ids.sort_unstable();
        ids.dedup();
        groups.extend(ids.chunks(MOST_NAMES).map(|ids| (window_seconds, ids.to_vec())));
    }
    groups.sort_unstable();
    groups
}

/// A history by the ratios of series that are told apart by a label.
///
/// `template` has `x` for the selector of these series and `STEP` for the length of a slice.
pub fn ratio_history(
    template: &str,
    metric: Match<'_>,
    label: &str,
    wanted: &[&Found],
) -> Result<Vec<HistoryAsk>, QueryError> {
    let mut asks = Vec::new();
    for (window_seconds, ids) in history_groups(wanted) {
        let step_seconds = history_step_seconds(window_seconds);
        let selector = query::selector(None, &[metric.clone(), Match::OneOf(label, &ids)])?;
        let template = template.replace("STEP", &format!("{step_seconds}s"));
        let text = query::text(&query::fill(&template, &[("x", &selector)])?)?;
        asks.push(HistoryAsk {
            label: label.to_owned(),
            prefix: String::new(),
            queries: HistoryQueries::Ratio(text),
            window_seconds,
            step_seconds,
        });
    }
    Ok(asks)
}

/// The length of a slice of a window's history.
pub fn history_step_seconds(window_seconds: i64) -> i64 {
    query::step_seconds(window_seconds, HISTORY_STEPS)
}

/// The histories in the answers, by [`Found::id`]. A slice without a sample had no event.
pub fn histories(ask: &HistoryAsk, answers: &[Answer], at: DateTime<Utc>) -> HashMap<String, History> {
    let slices =
        usize::try_from((ask.window_seconds / ask.step_seconds).clamp(0, HISTORY_STEPS + 1)).unwrap_or_default();
    // By name: for each slice, oldest first, the figure of each answer.
    let mut figures: HashMap<&str, Vec<[f64; 2]>> = HashMap::new();
    for (which, answer) in answers.iter().enumerate().take(2) {
        for series in &answer.series {
            let of = figures.entry(series.label(&ask.label)).or_insert_with(|| vec![[0.0; 2]; slices]);
            for sample in &series.values {
                let Some(ends_at) = instant(sample.time_seconds) else { continue };
                let age_seconds = at.signed_duration_since(ends_at).num_seconds().max(0);
                let Ok(back) = usize::try_from((age_seconds + ask.step_seconds / 2) / ask.step_seconds) else {
                    continue;
                };
                if let Some(slice) = slices.checked_sub(back + 1).and_then(|index| of.get_mut(index))
                    && sample.value.is_finite()
                    && sample.value >= 0.0
                {
                    // Several series of one name: the worst counts, as everywhere.
                    slice[which] = slice[which].max(sample.value);
                }
            }
        }
    }
    #[allow(clippy::cast_precision_loss)] // some hours
    let whole = ask.step_seconds as f64;
    let as_history = |figures: Vec<[f64; 2]>| {
        let slice = |(index, [first, second]): (usize, [f64; 2])| {
            let back = i64::try_from(slices - 1 - index).unwrap_or_default() * ask.step_seconds;
            let (bad, total) = match &ask.queries {
                HistoryQueries::Ratio(_) => (first.min(1.0) * whole, whole),
                // What Prometheus extrapolates may be a little more than there is.
                HistoryQueries::Counts { .. } => (first.min(second), second),
            };
            Slice { ends_at: at - TimeDelta::seconds(back), total, bad }
        };
        History { slices: figures.into_iter().enumerate().map(slice).collect(), step_seconds: ask.step_seconds }
    };
    figures.into_iter().map(|(name, figures)| (format!("{}{name}", ask.prefix), as_history(figures))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::measure::Weighting;
    use super::super::window::Window;
    use super::*;

    /// A series as an answer has it: `name{label="value",…}` in pairs.
    pub(crate) fn series(name: &str, labels: &[(&str, &str)], value: f64) -> Series {
        let mut metric: SeriesLabels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if !name.is_empty() {
            metric.insert("__name__".to_owned(), name.to_owned());
        }
        Series::new(metric, value)
    }

    pub(crate) fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    pub(crate) fn taking() -> Taking {
        Taking { at: now(), several: SeveralSeries::Ambiguous }
    }

    pub(crate) fn seconds_of(at: DateTime<Utc>) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let seconds = at.timestamp() as f64;
        seconds
    }

    fn found(ratio: Option<f64>) -> Found {
        let reading = Reading {
            service: "checkout".into(),
            slo: "availability".into(),
            objective: 0.99,
            window: Window::Rolling { seconds: 30 * 86_400 },
            error_ratio: ratio,
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
        Found { reading, id: Some("checkout".into()) }
    }

    #[test]
    fn several_series_are_ambiguous_or_the_worst_counts() {
        let both = || vec![found(Some(0.001)), found(Some(0.02)), found(Some(0.0))];
        assert_eq!(settle(both(), SeveralSeries::Ambiguous).unwrap().reading.series, 3);
        let worst = settle(both(), SeveralSeries::Worst).unwrap().reading;
        assert_eq!((worst.error_ratio, worst.series), (Some(0.02), 1));
        assert_eq!(worst.note.as_deref(), Some("the worst of 3 series"));
        let unknown = settle(vec![found(Some(0.02)), found(None)], SeveralSeries::Worst).unwrap();
        assert_eq!(unknown.reading.error_ratio, None, "what nobody knows is not hidden by what somebody does");
    }

    #[test]
    fn a_history_has_slices_of_equal_length_and_no_holes() {
        let ask = HistoryAsk {
            label: "service".into(),
            prefix: String::new(),
            queries: HistoryQueries::Ratio("x".into()),
            window_seconds: 36_000,
            step_seconds: 3_600,
        };
        let sample = |hours_ago: i64, value: f64| super::super::answer::Sample {
            time_seconds: seconds_of(now() - TimeDelta::hours(hours_ago)),
            value,
        };
        let mut one = series("", &[("service", "checkout")], 0.0);
        one.values = vec![sample(9, 0.5), sample(3, f64::NAN), sample(0, 0.25), sample(40, 1.0)];
        let answer = Answer { series: vec![one], partial: None };
        let history = &histories(&ask, &[answer], now())["checkout"];
        assert_eq!(history.slices.len(), 10);
        assert_eq!(history.slices.last().unwrap().ends_at, now());
        let bad: Vec<f64> = history.slices.iter().map(|slice| slice.bad).collect();
        assert_eq!(bad, [1_800.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 900.0]);
        assert!(history.slices.iter().all(|slice| (slice.total - 3_600.0).abs() < 1e-9));
    }
}
