//! Objectives that are measured by queries of an operator: those of `PromQL`, and those in documents of `OpenSLO`.
//!
//! One query for each objective brings all of its figures, for all services: each part carries a label of its own.

use std::collections::{BTreeMap, HashMap};

use promql_parser::parser::Expr;

use super::answer::{Answer, Series};
use super::found::{self, Ask, Found, HistoryAsk, HistoryQueries, Taking};
use super::measure::{Reading, Unmeasured, Weighting};
use super::query::{self, QueryError};
use super::window::{CalendarPeriods, Window};
use chrono::{DateTime, Utc};

/// What stands for a length of time in a query; `OpenSLO` documents that Sloth reads write the second.
pub const WINDOW_MARKS: [&str; 2] = ["$window", "{{.window}}"];

/// The label that tells the parts of an answer apart.
const PART: &str = "freshgate_part";

/// Shorter times that are asked for too: those of the table of fast burns.
const RECENT_SECONDS: [i64; 7] = [300, 1_800, 3_600, 7_200, 21_600, 86_400, 259_200];

/// The steps in which a figure is averaged that says nothing of a time by itself.
const MEAN_STEPS: i64 = 8_640;

/// An objective and how it is measured.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Its name.
    pub slo: String,
    /// Whose it is.
    pub service: ServiceName,
    /// The objective, as a fraction.
    pub objective: f64,
    /// Over which time it counts.
    pub window: WindowRule,
    /// The queries.
    pub indicator: Indicator,
}

/// Whose an objective is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceName {
    /// Of each service that this label of the answer names.
    Label(String),
    /// Of this one.
    Fixed(String),
}

/// Over which time an objective counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowRule {
    /// The last so many seconds.
    Rolling(i64),
    /// Periods of a calendar.
    Calendar(CalendarPeriods),
}

impl WindowRule {
    /// The window at a time.
    pub fn at(&self, now: DateTime<Utc>) -> Window {
        match self {
            Self::Rolling(seconds) => Window::Rolling { seconds: *seconds },
            Self::Calendar(periods) => periods.at(now),
        }
    }
}

/// How an objective is measured.
#[derive(Clone, Debug)]
pub enum Indicator {
    /// By events, of which some are counted and all.
    Events {
        /// Good events, or bad ones.
        counted: Figure,
        /// Which of them.
        counts: Counted,
        /// All events.
        total: Figure,
        /// How they make a budget.
        method: Method,
    },
    /// By a ratio, whose figure is bad ÷ all, or good ÷ all.
    Ratio {
        /// The ratio.
        ratio: Figure,
        /// Of what.
        counts: Counted,
        /// How it makes a budget.
        method: Method,
    },
}

/// What a query counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// What was good.
    Good,
    /// What was bad.
    Bad,
}

/// How events make a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Every event counts the same.
    Occurrences,
    /// A slice of time is bad as a whole where too little in it was good.
    TimeSlices {
        /// The length of a slice, in seconds.
        slice_seconds: i64,
        /// The part of all that must be good in it.
        target: f64,
    },
    /// The mean of the ratios of all slices.
    RatioTimeSlices {
        /// The length of a slice, in seconds.
        slice_seconds: i64,
    },
}

/// A query whose answer is a figure for a length of time.
#[derive(Clone, Debug)]
pub enum Figure {
    /// It has a mark for the length.
    Marked(String),
    /// It names counters, whose increase is meant.
    Counter(Expr),
    /// What it answers with belongs to each moment: the sum of its samples is meant.
    Sampled(Expr),
    /// It says by itself over which time it looks.
    Whole(Expr),
}

/// What a query means that has neither a mark nor a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// Its figure is of the whole window already, as one that a rule recorded.
    Whole,
    /// It names counters.
    Counter,
    /// Its figure belongs to each moment.
    Sampled,
}

impl Figure {
    /// Reads a query.
    pub fn parse(written: &str, bare: Bare) -> Result<Self, QueryError> {
        if WINDOW_MARKS.iter().any(|mark| written.contains(mark)) {
            let figure = Self::Marked(written.to_owned());
            figure.over(3_600)?;
            return Ok(figure);
        }
        let parsed = query::parse(written)?;
        query::first_selector(&parsed)?;
        Ok(match (query::has_range(&parsed), bare) {
            (false, Bare::Counter) => Self::Counter(parsed),
            (_, Bare::Sampled) => Self::Sampled(parsed),
            (true, Bare::Counter) | (_, Bare::Whole) => Self::Whole(parsed),
        })
    }

    /// Whether the series that it names show for how long there has been data; a recorded figure does not.
    fn shows_coverage(&self) -> bool {
        !matches!(self, Self::Whole(whole) if !query::has_range(whole))
    }

    /// Whether it can be asked for any length of time.
    pub fn is_flexible(&self) -> bool {
        !matches!(self, Self::Whole(_))
    }

    /// The query for the last so many seconds.
    fn over(&self, seconds: i64) -> Result<Expr, QueryError> {
        match self {
            Self::Marked(written) => {
                let mut text = written.clone();
                for mark in WINDOW_MARKS {
                    text = text.replace(mark, &format!("{seconds}s"));
                }
                let parsed = query::parse(&text)?;
                query::first_selector(&parsed)?;
                Ok(parsed)
            }
            Self::Counter(counters) => query::increases(counters, seconds),
            Self::Sampled(figure) => {
                let step = query::step_seconds(seconds, MEAN_STEPS);
                query::fill(&format!("sum_over_time((x)[{seconds}s:{step}s])"), &[("x", figure)])
            }
            Self::Whole(whole) => Ok(whole.clone()),
        }
    }

    /// A ratio for the last so many seconds: one of each moment is averaged.
    fn ratio_over(&self, seconds: i64) -> Result<Expr, QueryError> {
        match self {
            Self::Counter(figure) | Self::Sampled(figure) => {
                let step = query::step_seconds(seconds, MEAN_STEPS);
                query::fill(&format!("avg_over_time((x >= 0)[{seconds}s:{step}s])"), &[("x", figure)])
            }
            other => other.over(seconds),
        }
    }

    fn series(&self) -> Result<Expr, QueryError> {
        query::first_selector(&self.over(3_600)?)
    }
}

impl Indicator {
    fn series(&self) -> Result<Expr, QueryError> {
        match self {
            Self::Events { total, .. } => total.series(),
            Self::Ratio { ratio, .. } => ratio.series(),
        }
    }

    fn shows_coverage(&self) -> bool {
        match self {
            Self::Events { total: figure, .. } | Self::Ratio { ratio: figure, .. } => figure.shows_coverage(),
        }
    }

    /// Whether it can be asked for any length of time.
    pub fn is_flexible(&self) -> bool {
        match self {
            Self::Events { counted, total, .. } => counted.is_flexible() && total.is_flexible(),
            Self::Ratio { ratio, .. } => ratio.is_flexible(),
        }
    }

    /// Bad ÷ all over the last so many seconds.
    fn error_ratio(&self, seconds: i64) -> Result<Expr, QueryError> {
        match self {
            Self::Events { counted, counts, total, .. } => {
                let (counted, total) = (counted.over(seconds)?, total.over(seconds)?);
                let template = match counts {
                    Counted::Good => "1 - x / y",
                    Counted::Bad => "x / y",
                };
                query::fill(template, &[("x", &counted), ("y", &total)])
            }
            Self::Ratio { ratio, counts: Counted::Bad, .. } => ratio.ratio_over(seconds),
            Self::Ratio { ratio, counts: Counted::Good, .. } => {
                query::fill("1 - x", &[("x", &ratio.ratio_over(seconds)?)])
            }
        }
    }

    /// What was bad in the last so many seconds, by the same method; none where they are shorter than a slice.
    fn recent_ratio(&self, seconds: i64) -> Result<Option<Expr>, QueryError> {
        match self.method() {
            Method::Occurrences => self.error_ratio(seconds).map(Some),
            Method::TimeSlices { slice_seconds, .. } | Method::RatioTimeSlices { slice_seconds }
                if seconds < slice_seconds =>
            {
                Ok(None)
            }
            Method::RatioTimeSlices { .. } => Ok(self.parts(seconds)?.into_iter().next().map(|(_, ratio)| ratio)),
            Method::TimeSlices { .. } => {
                let parts = self.parts(seconds)?;
                let of = |name: &str| parts.iter().find(|(part, _)| *part == name).map(|(_, part)| part.clone());
                let (bad, total) = of("bad").zip(of("total")).ok_or(QueryError::NoSeries)?;
                query::fill("x / y", &[("x", &bad), ("y", &total)]).map(Some)
            }
        }
    }

    fn weighting(&self) -> Weighting {
        match self {
            Self::Events { method: Method::Occurrences, .. } => Weighting::Events,
            Self::Ratio { method: Method::Occurrences, .. } => Weighting::MeanOfRatios,
            Self::Events { method, .. } | Self::Ratio { method, .. } => match method {
                Method::TimeSlices { .. } => Weighting::TimeSlices,
                Method::Occurrences | Method::RatioTimeSlices { .. } => Weighting::MeanOfRatios,
            },
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Events { method, .. } | Self::Ratio { method, .. } => *method,
        }
    }

    /// The figures of a window of so many seconds, by the names of their parts.
    fn parts(&self, seconds: i64) -> Result<Vec<(&'static str, Expr)>, QueryError> {
        match (self, self.method()) {
            // Sums of what belongs to each moment are in proportion, but no numbers of events.
            (Self::Events { total: Figure::Sampled(_), .. }, Method::Occurrences) => {
                Ok(vec![("ratio", self.error_ratio(seconds)?)])
            }
            (Self::Events { counted, counts, total, .. }, Method::Occurrences) => {
                let part = if *counts == Counted::Good { "good" } else { "bad" };
                Ok(vec![(part, counted.over(seconds)?), ("total", total.over(seconds)?)])
            }
            (Self::Ratio { .. }, Method::Occurrences) => Ok(vec![("ratio", self.error_ratio(seconds)?)]),
            (_, Method::TimeSlices { slice_seconds, target }) => {
                let slice = self.error_ratio(slice_seconds)?;
                let range = format!("[{seconds}s:{slice_seconds}s]");
                let allowed = 1.0 - target;
                let of = |template: &str| query::fill(template, &[("x", &slice)]);
                Ok(vec![
                    // A slice exactly on its target is good; binary fractions of decimal ones differ in the last digits.
                    ("bad", of(&format!("sum_over_time((x > bool {:.12}){range})", allowed + 1e-9))?),
                    ("total", of(&format!("count_over_time((x){range})"))?),
                    ("active", of(&format!("count_over_time((x >= 0){range})"))?),
                ])
            }
            (_, Method::RatioTimeSlices { slice_seconds }) => {
                let slice = self.error_ratio(slice_seconds)?;
                let template = format!("avg_over_time((x >= 0)[{seconds}s:{slice_seconds}s])");
                Ok(vec![("ratio", query::fill(&template, &[("x", &slice)])?)])
            }
        }
    }
}

/// The question of an objective: its position in the list, and one query for all.
pub fn ask(index: usize, objective: &Objective, taking: Taking) -> Result<Ask<usize>, QueryError> {
    let window = objective.window.at(taking.at);
    let seconds = window.elapsed_seconds(taking.at).max(60);
    let mut parts: Vec<(String, Expr)> =
        objective.indicator.parts(seconds)?.into_iter().map(|(name, part)| (name.to_owned(), part)).collect();
    if objective.indicator.is_flexible() {
        for recent in RECENT_SECONDS.into_iter().filter(|recent| *recent < window.seconds()) {
            if let Some(ratio) = objective.indicator.recent_ratio(recent)? {
                parts.push((format!("recent {recent}"), ratio));
            }
        }
    }
    let series = objective.indicator.series()?;
    let grouped = match &objective.service {
        ServiceName::Label(label) => format!("max by ({label}) "),
        ServiceName::Fixed(_) => "max ".to_owned(),
    };
    parts.push(("sampled".to_owned(), found::last_sampled(&series, &grouped)?));
    if objective.indicator.shows_coverage() {
        let step = query::step_seconds(seconds, 120);
        let covered = format!("count_over_time(({grouped}(x))[{seconds}s:{step}s])");
        parts.push(("covered".to_owned(), query::fill(&covered, &[("x", &series)])?));
    }

    let labelled: Result<Vec<Expr>, QueryError> = parts
        .iter()
        .map(|(name, part)| {
            query::fill(&format!("label_replace(x, \"{PART}\", \"{name}\", \"\", \"\")"), &[("x", part)])
        })
        .collect();
    let union = labelled?.into_iter().try_fold(None::<Expr>, |all, part| match all {
        None => Ok(Some(part)),
        Some(all) => query::fill("x or y", &[("x", &all), ("y", &part)]).map(|both| Some(without_parentheses(both))),
    })?;
    Ok(Ask { purpose: index, text: query::text(&union.ok_or(QueryError::NoSeries)?)? })
}

/// `or` binds to the left, so a chain of it needs none.
fn without_parentheses(expression: Expr) -> Expr {
    match expression {
        Expr::Binary(mut binary) => {
            if let Expr::Paren(paren) = *binary.lhs {
                binary.lhs = paren.expr;
            }
            Expr::Binary(binary)
        }
        other => other,
    }
}

/// The readings of an answer.
pub fn read(index: usize, objective: &Objective, answer: &Answer, taking: Taking) -> Vec<Found> {
    let window = objective.window.at(taking.at);
    let elapsed = window.elapsed_seconds(taking.at).max(60);
    let mut by_service: BTreeMap<String, HashMap<&str, Vec<f64>>> = BTreeMap::new();
    for series in &answer.series {
        if let Some(service) = service_of(objective, series) {
            by_service.entry(service).or_default().entry(series.label(PART)).or_default().push(series.value());
        }
    }
    // Times without figures are of series that carry no such label: the newest stands for all.
    let newest = by_service.get("").and_then(|parts| parts.get("sampled")?.first().copied());
    if let ServiceName::Fixed(service) = &objective.service {
        by_service.entry(service.clone()).or_default();
    } else {
        by_service.remove("");
    }
    let mut all = Vec::new();
    for (service, parts) in by_service {
        let several = parts.values().map(Vec::len).max().unwrap_or(1).max(1);
        let candidates = (0..several).map(|nth| {
            let one = |part: &str| parts.get(part).and_then(|values| values.get(nth).or(values.first())).copied();
            let sampled = parts.get("sampled").and_then(|times| times.first().copied()).or(newest);
            let total = one("total").map(|slices| slices + slices_to_come(objective, &window, taking));
            let bad = one("bad").or_else(|| total.zip(one("good")).map(|(total, good)| bad_of(total, good)));
            let recent =
                RECENT_SECONDS.iter().filter_map(|seconds| Some((*seconds, one(&format!("recent {seconds}"))?)));
            let is_quiet = total.is_some()
                && one("active").is_none()
                && matches!(objective.indicator.method(), Method::TimeSlices { .. });
            let ratio = one("ratio");
            let mut reading = Reading {
                service: service.clone(),
                slo: objective.slo.clone(),
                objective: objective.objective,
                window: window.clone(),
                error_ratio: ratio.filter(|ratio| !ratio.is_nan()),
                total,
                bad,
                recent: recent.collect(),
                burn_rate: None,
                weighting: objective.indicator.weighting(),
                sampled_at: sampled.and_then(found::instant).unwrap_or(taking.at),
                covered_seconds: parts.get("covered").and_then(|steps| {
                    let most = steps.iter().copied().fold(f64::NAN, f64::max);
                    found::covered_seconds(most, elapsed)
                }),
                series: 1,
                partial: answer.partial.clone(),
                note: None,
                unmeasured: None,
            };
            if is_quiet || ratio.is_some_and(f64::is_nan) {
                // Nothing divided by nothing, all the time.
                (reading.error_ratio, reading.total, reading.bad) = (None, Some(0.0), None);
            }
            if reading.total.is_some_and(|total| total > 0.0) && reading.bad.is_none() && ratio.is_none() {
                reading.unmeasured = Some(Unmeasured::new(
                    super::state::BudgetState::NoData,
                    "all events have a series, and those that are counted as good or bad have none: there was none yet, or their metric or label was renamed",
                ));
            }
            if sampled.is_none() && (total.is_some() || ratio.is_some()) {
                let look_back = super::window::short(found::LOOK_BACK_SECONDS);
                reading.unmeasured = Some(Unmeasured::new(
                    super::state::BudgetState::Stale,
                    format!("the series that it is measured from had no sample in the last {look_back}"),
                ));
            }
            let id = format!(
                "{index}/{}",
                if objective.service == ServiceName::Fixed(service.clone()) { "" } else { &service }
            );
            Found { reading, id: objective.indicator.is_flexible().then_some(id) }
        });
        all.extend(found::settle(candidates.collect(), taking.several));
    }
    all
}

/// Slices of a period of the calendar that are yet to come: its budget is of all of it, from its first day on.
fn slices_to_come(objective: &Objective, window: &Window, taking: Taking) -> f64 {
    let (Method::TimeSlices { slice_seconds, .. }, Window::Calendar { .. }) = (objective.indicator.method(), window)
    else {
        return 0.0;
    };
    #[allow(clippy::cast_precision_loss)] // some thousands
    let slices = ((window.seconds() - window.elapsed_seconds(taking.at)) / slice_seconds) as f64;
    slices
}

/// What was not good. Prometheus extrapolates each count for itself, so they may differ by a hair.
fn bad_of(total: f64, good: f64) -> f64 {
    let bad = total - good;
    if bad < 0.0 && bad > -1e-6 * total.abs() { 0.0 } else { bad }
}

fn service_of(objective: &Objective, series: &Series) -> Option<String> {
    match &objective.service {
        ServiceName::Fixed(service) => Some(service.clone()),
        ServiceName::Label(label) => {
            let named = series.label(label);
            (!named.is_empty() || series.label(PART) == "sampled").then(|| named.to_owned())
        }
    }
}

/// The questions about what happened in the windows of some budgets: one pair for each objective that has one.
pub fn histories(objectives: &[Objective], wanted: &[&Found], taking: Taking) -> Result<Vec<HistoryAsk>, QueryError> {
    let mut asks = Vec::new();
    for (index, objective) in objectives.iter().enumerate() {
        let prefix = format!("{index}/");
        let is_wanted = wanted.iter().any(|found| found.id.as_ref().is_some_and(|id| id.starts_with(&prefix)));
        if !is_wanted || !objective.indicator.is_flexible() || matches!(objective.window, WindowRule::Calendar(_)) {
            continue;
        }
        let window_seconds = objective.window.at(taking.at).seconds();
        let step_seconds = found::history_step_seconds(window_seconds);
        let queries = match &objective.indicator {
            Indicator::Events { counted, counts, total, method: Method::Occurrences } => {
                let (counted, total) = (counted.over(step_seconds)?, total.over(step_seconds)?);
                let bad = match counts {
                    Counted::Bad => counted,
                    Counted::Good => query::fill("x - y", &[("x", &total), ("y", &counted)])?,
                };
                HistoryQueries::Counts { bad: query::text(&bad)?, total: query::text(&total)? }
            }
            indicator => match indicator.recent_ratio(step_seconds)? {
                Some(ratio) => HistoryQueries::Ratio(query::text(&ratio)?),
                None => continue, // its slices are longer than those of a history
            },
        };
        let label = match &objective.service {
            ServiceName::Label(label) => label.clone(),
            // A label that no series has: what has none is the one there is.
            ServiceName::Fixed(_) => PART.to_owned(),
        };
        asks.push(HistoryAsk { label, prefix, queries, window_seconds, step_seconds });
    }
    Ok(asks)
}
