//! The series of Grafana SLO.
//!
//! The indicator over the window is computed from events where the objective is one of a ratio; then the rates of good and
//! of all events are recorded too, and by their mean the number of events is known.

use std::collections::{BTreeMap, HashMap, HashSet};

use promql_parser::parser::Expr;

use super::answer::{Answer, Series, SeriesLabels};
use super::found::{self, Ask, Found, HistoryAsk, HistoryQueries, MOST_WINDOWS, Taking};
use super::measure::{Reading, Unmeasured, Weighting};
use super::query::{self, Match, QueryError};
use super::state::BudgetState;
use super::window::Window;

const UUID: &str = "grafana_slo_uuid";
const INDICATOR: &str = "grafana_slo_sli_";
const WHOLE: &str = "grafana_slo_sli_window";
const SHORTEST: &str = "grafana_slo_sli_5m";
const OBJECTIVE: &str = "grafana_slo_objective";
const WINDOW: &str = "grafana_slo_objective_window_seconds";
const TOTAL_RATE: &str = "grafana_slo_total_rate_5m";
const SUCCESS_RATE: &str = "grafana_slo_success_rate_5m";

/// Steps in which the mean rate of events is taken: of ten thousand objectives these are as many samples as Prometheus
/// loads at once.
const RATE_STEPS: i64 = 2_880;

/// All series, some at a time: those of ten thousand services in one answer would be too many.
const SERIES: [&str; 3] =
    ["grafana_slo_sli_(window|[0-9]+m)", "grafana_slo_sli_[0-9]+[hdw]", "grafana_slo_objective(_window_seconds)?"];

/// What is asked first, of all services at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Indicators of all windows, objectives and lengths of windows.
    Series,
    /// When each was last measured, by the shortest indicator.
    Sampled,
    /// When each was last recorded: where there is no shortest one, that must do.
    Recorded,
}

/// What is asked then, once windows are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// For how much of a window of so many seconds there is data.
    Coverage(i64),
    /// The mean rate of events in a window of so many seconds.
    Rate(i64),
}

/// The first questions.
pub fn first() -> Result<Vec<Ask<First>>, QueryError> {
    let mut asks = vec![
        Ask { purpose: First::Sampled, text: query::text(&found::last_sampled(&of_all(SHORTEST)?, "")?)? },
        Ask { purpose: First::Recorded, text: query::text(&found::last_sampled(&of_all(WHOLE)?, "")?)? },
    ];
    for names in SERIES {
        let series = query::selector(None, &[Match::Follows("__name__", names), Match::There(UUID)])?;
        asks.push(Ask { purpose: First::Series, text: query::text(&series)? });
    }
    Ok(asks)
}

fn of_all(metric: &str) -> Result<Expr, QueryError> {
    query::selector(Some(metric), &[Match::There(UUID)])
}

#[derive(Default)]
struct Parts {
    whole: Option<f64>,
    recent: Vec<(i64, f64)>,
    sampled_seconds: Option<f64>,
}

#[derive(Default)]
struct Recorded {
    by_id: BTreeMap<String, BTreeMap<SeriesLabels, Parts>>,
    objectives: HashMap<String, f64>,
    windows: HashMap<String, i64>,
    /// Those whose shortest indicator had a sample within the look-back.
    measured: HashSet<String>,
}

fn key(series: &Series) -> SeriesLabels {
    found::labels_without(series, &[])
}

impl Recorded {
    fn of(answers: &[(First, Answer)]) -> Self {
        let mut recorded = Self::default();
        let (mut sampled, mut measured) = (Vec::new(), HashSet::new());
        for (purpose, answer) in answers {
            for series in &answer.series {
                let id = series.label(UUID).to_owned();
                match (purpose, series.name()) {
                    (First::Sampled, _) => {
                        measured.insert(id);
                        sampled.push(series);
                    }
                    (First::Recorded, _) => sampled.push(series),
                    (First::Series, OBJECTIVE) => {
                        recorded.objectives.insert(id, series.value());
                    }
                    (First::Series, WINDOW) => {
                        if (60.0..1e10).contains(&series.value()) {
                            #[allow(clippy::cast_possible_truncation)]
                            recorded.windows.insert(id, series.value() as i64);
                        }
                    }
                    (First::Series, WHOLE) => recorded.parts(series).whole = Some(series.value()),
                    (First::Series, name) => {
                        if let Some(seconds) = found::window_after(name, INDICATOR) {
                            recorded.parts(series).recent.push((seconds, 1.0 - series.value()));
                        }
                    }
                }
            }
        }
        let live: HashSet<String> = recorded.by_id.keys().cloned().collect();
        for series in sampled {
            let (id, key) = (series.label(UUID), key(series));
            // The indicator of the window goes on when nothing is measured any more; the shortest one does not.
            if measured.contains(id)
                && recorded
                    .by_id
                    .get(id)
                    .and_then(|all| all.get(&key))
                    .is_some_and(|parts| parts.sampled_seconds.is_some())
            {
                continue;
            }
            let is_live = live.contains(id);
            if !is_live || recorded.by_id.get(id).is_some_and(|all| all.contains_key(&key)) {
                recorded.parts(series).sampled_seconds = Some(series.value());
            }
        }
        recorded.measured = measured;
        recorded
    }

    fn parts(&mut self, series: &Series) -> &mut Parts {
        self.by_id.entry(series.label(UUID).to_owned()).or_default().entry(key(series)).or_default()
    }

    fn window_seconds(&self, id: &str) -> i64 {
        self.windows.get(id).copied().unwrap_or(28 * 86_400)
    }
}

/// The questions that follow from the first answers.
pub fn second(answers: &[(First, Answer)]) -> Result<Vec<Ask<Second>>, QueryError> {
    let recorded = Recorded::of(answers);
    let mut windows: Vec<i64> = recorded.windows.values().copied().collect();
    windows.sort_unstable();
    windows.dedup();
    let mut asks = Vec::new();
    for seconds in windows.into_iter().take(MOST_WINDOWS) {
        asks.push(Ask { purpose: Second::Coverage(seconds), text: found::coverage(&of_all(SHORTEST)?, seconds)? });
        let step = query::step_seconds(seconds, RATE_STEPS);
        let rate = query::fill(&format!("avg_over_time(x[{seconds}s:{step}s])"), &[("x", &of_all(TOTAL_RATE)?)])?;
        asks.push(Ask { purpose: Second::Rate(seconds), text: query::text(&rate)? });
    }
    Ok(asks)
}

/// The readings of all answers.
pub fn read(first: &[(First, Answer)], second: &[(Second, Answer)], taking: Taking) -> Vec<Found> {
    let recorded = Recorded::of(first);
    let partial = found::partial(first.iter().map(|(_, answer)| answer).chain(second.iter().map(|(_, answer)| answer)));
    let (mut steps, mut rates) = (HashMap::new(), HashMap::new());
    for (purpose, answer) in second {
        for series in &answer.series {
            match purpose {
                Second::Coverage(seconds) => steps.insert((series.label(UUID), *seconds), series.value()),
                Second::Rate(seconds) => rates.insert((series.label(UUID), *seconds), series.value()),
            };
        }
    }
    let mut all = Vec::new();
    for (id, of_id) in &recorded.by_id {
        let seconds = recorded.window_seconds(id);
        let mut candidates = Vec::new();
        for (key, parts) in of_id {
            let label = |name: &str| key.get(name).cloned().unwrap_or_default();
            let service = Some(label("grafana_slo_service")).filter(|service| !service.is_empty());
            let rate = rates.get(&(id.as_str(), seconds)).copied();
            let covered = steps.get(&(id.as_str(), seconds)).and_then(|steps| found::covered_seconds(*steps, seconds));
            #[allow(clippy::cast_precision_loss)]
            let total = rate.map(|rate| rate * covered.unwrap_or(seconds) as f64);
            // So few that none fell into a step: not many, and not none.
            let total = total.filter(|total| *total > 0.0);
            let is_nothing = parts.whole.is_some_and(f64::is_nan) && rate.is_none_or(|rate| rate.abs() < f64::EPSILON);
            let reading = Reading {
                service: service.unwrap_or_else(|| label("grafana_slo_name")),
                slo: label("grafana_slo_name"),
                objective: recorded.objectives.get(id).copied().unwrap_or(f64::NAN),
                window: Window::Rolling { seconds },
                error_ratio: parts.whole.map(|indicator| 1.0 - indicator),
                total,
                bad: None,
                recent: parts.recent.clone(),
                burn_rate: None,
                weighting: if rate.is_some() { Weighting::Events } else { Weighting::MeanOfRatios },
                sampled_at: parts.sampled_seconds.and_then(found::instant).unwrap_or(taking.at),
                covered_seconds: covered,
                series: 1,
                partial: partial.clone(),
                note: rate.map(|_| "the number of events is estimated by their mean rate".to_owned()),
                unmeasured: silent(recorded.measured.contains(id), parts, covered).or_else(|| {
                    is_nothing.then(|| {
                        Unmeasured::new(
                            BudgetState::NoTraffic,
                            "its indicator is no number, as when there was no event",
                        )
                    })
                }),
            };
            candidates.push(Found { reading, id: Some(id.clone()) });
        }
        all.extend(found::settle(candidates, taking.several));
    }
    all
}

/// What is recorded of a window goes on for its whole length when nothing is measured any more: then it says nothing.
fn silent(is_measured: bool, parts: &Parts, covered_seconds: Option<i64>) -> Option<Unmeasured> {
    let was_measured = !parts.recent.is_empty() || covered_seconds.is_some_and(|covered| covered > 0);
    (was_measured && !is_measured).then(|| {
        let look_back = super::window::short(found::LOOK_BACK_SECONDS);
        Unmeasured::new(BudgetState::Stale, format!("its indicator of 5 minutes had no sample in the last {look_back}"))
    })
}

/// The questions about what happened in the windows of some budgets.
pub fn histories(wanted: &[&Found]) -> Result<Vec<HistoryAsk>, QueryError> {
    let (counted, averaged): (Vec<&Found>, Vec<&Found>) =
        wanted.iter().partition(|found| found.reading.weighting == Weighting::Events);
    let mut asks =
        found::ratio_history("1 - avg_over_time(x[STEP:300s])", Match::Is("__name__", SHORTEST), UUID, &averaged)?;
    for (window_seconds, ids) in found::history_groups(&counted) {
        let step_seconds = found::history_step_seconds(window_seconds);
        let total = query::selector(Some(TOTAL_RATE), &[Match::OneOf(UUID, &ids)])?;
        let good = query::selector(Some(SUCCESS_RATE), &[Match::OneOf(UUID, &ids)])?;
        let mean =
            |selector: &str| format!("max by (grafana_slo_uuid) (avg_over_time({selector}[{step_seconds}s:300s]))");
        let of_total = query::fill(&format!("{} * {step_seconds}", mean("x")), &[("x", &total)])?;
        let of_bad =
            query::fill(&format!("({} - {}) * {step_seconds}", mean("x"), mean("y")), &[("x", &total), ("y", &good)])?;
        asks.push(HistoryAsk {
            label: UUID.to_owned(),
            prefix: String::new(),
            queries: HistoryQueries::Counts { bad: query::text(&of_bad)?, total: query::text(&of_total)? },
            window_seconds,
            step_seconds,
        });
    }
    Ok(asks)
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{now, seconds_of, series, taking};
    use super::super::measure::Budget;
    use super::super::state::Thresholds;
    use super::*;

    const MONTH: i64 = 30 * 86_400;
    const LABELS: [(&str, &str); 3] =
        [(UUID, "abc"), ("grafana_slo_name", "availability"), ("grafana_slo_service", "checkout")];

    fn answers(indicator: f64) -> Vec<(First, Answer)> {
        let of = |name: &str, value: f64| series(name, &LABELS, value);
        let all = vec![
            of(WHOLE, indicator),
            of(SHORTEST, 0.99),
            of("grafana_slo_sli_1h", 0.98),
            of(OBJECTIVE, 0.995),
            of(WINDOW, 2_592_000.0),
        ];
        vec![
            (First::Series, Answer { series: all, partial: None }),
            (First::Sampled, Answer { series: vec![of("", seconds_of(now()))], partial: None }),
        ]
    }

    fn state(found: &Found) -> BudgetState {
        Budget::of("slo", found.reading.clone(), 300, now()).state(&Thresholds::default(), now()).state
    }

    #[test]
    fn what_is_asked() {
        let asks: Vec<String> = first().unwrap().into_iter().map(|ask| ask.text).collect();
        assert_eq!(
            asks,
            [
                r#"(timestamp(grafana_slo_sli_5m{grafana_slo_uuid!=""})) or (max_over_time(timestamp(grafana_slo_sli_5m{grafana_slo_uuid!=""})[1h:1m]))"#,
                r#"(timestamp(grafana_slo_sli_window{grafana_slo_uuid!=""})) or (max_over_time(timestamp(grafana_slo_sli_window{grafana_slo_uuid!=""})[1h:1m]))"#,
                r#"{__name__=~"grafana_slo_sli_(window|[0-9]+m)",grafana_slo_uuid!=""}"#,
                r#"{__name__=~"grafana_slo_sli_[0-9]+[hdw]",grafana_slo_uuid!=""}"#,
                r#"{__name__=~"grafana_slo_objective(_window_seconds)?",grafana_slo_uuid!=""}"#,
            ]
        );
        let then: Vec<String> = second(&answers(1.0)).unwrap().into_iter().map(|ask| ask.text).collect();
        assert_eq!(
            then,
            [
                r#"count_over_time(grafana_slo_sli_5m{grafana_slo_uuid!=""}[30d:6h])"#,
                r#"avg_over_time(grafana_slo_total_rate_5m{grafana_slo_uuid!=""}[30d:15m])"#,
            ]
        );
        let rate = Answer { series: vec![series("", &LABELS, 2.0)], partial: None };
        let all = read(&answers(0.99), &[(Second::Rate(MONTH), rate)], taking());
        let asked = histories(&[&all[0]]).unwrap();
        assert_eq!(
            asked[0].queries,
            HistoryQueries::Counts {
                bad: r#"(max by (grafana_slo_uuid) (avg_over_time(grafana_slo_total_rate_5m{grafana_slo_uuid=~"abc"}[2h:5m])) - max by (grafana_slo_uuid) (avg_over_time(grafana_slo_success_rate_5m{grafana_slo_uuid=~"abc"}[2h:5m]))) * 7200"#.into(),
                total: r#"max by (grafana_slo_uuid) (avg_over_time(grafana_slo_total_rate_5m{grafana_slo_uuid=~"abc"}[2h:5m])) * 7200"#.into(),
            }
        );
    }

    #[test]
    fn the_indicator_of_the_window_decides() {
        let all = read(&answers(0.9972), &[], taking());
        let budget = Budget::of("slo", all[0].reading.clone(), 300, now());
        assert_eq!((budget.service.as_str(), budget.slo.as_str()), ("checkout", "availability"));
        assert!((budget.remaining().unwrap() - 0.44).abs() < 1e-9);
        assert!((budget.burn_rate().unwrap() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_window_goes_on_when_nothing_is_measured_any_more_and_says_nothing_then() {
        let mut silent = answers(1.0);
        silent[1] = (First::Recorded, silent[1].1.clone());
        assert_eq!(state(&read(&silent, &[], taking())[0]), BudgetState::Stale);
        // For days: no short indicator is left, but there was one in the window.
        silent[0].1.series.retain(|series| !matches!(series.name(), SHORTEST | "grafana_slo_sli_1h"));
        let coverage = |steps: f64| {
            let answer = Answer { series: vec![series("", &LABELS, steps)], partial: None };
            vec![(Second::Coverage(MONTH), answer)]
        };
        assert_eq!(state(&read(&silent, &coverage(100.0), taking())[0]), BudgetState::Stale);
        assert_eq!(state(&read(&silent, &[], taking())[0]), BudgetState::Healthy, "it never had one");
    }

    #[test]
    fn few_events_are_low_traffic_and_none_are_none() {
        let rate = |rate: f64| {
            let answer = Answer { series: vec![series("", &LABELS, rate)], partial: None };
            vec![(Second::Rate(MONTH), answer)]
        };
        assert_eq!(state(&read(&answers(1.0), &rate(1.0), taking())[0]), BudgetState::Healthy);
        assert_eq!(state(&read(&answers(1.0), &rate(0.000_05), taking())[0]), BudgetState::LowTraffic);
        assert_eq!(state(&read(&answers(f64::NAN), &rate(0.0), taking())[0]), BudgetState::NoTraffic);
        assert_eq!(state(&read(&answers(f64::NAN), &[], taking())[0]), BudgetState::NoTraffic);
        assert_eq!(state(&read(&answers(f64::NAN), &rate(1.0), taking())[0]), BudgetState::Invalid);
        assert_eq!(state(&read(&answers(f64::INFINITY), &rate(1.0), taking())[0]), BudgetState::Invalid);
    }
}
