//! The series that Sloth records, version 0.11 and later.
//!
//! The ratio of the whole period is a mean of the ratios of five minutes, so a quiet minute weighs like a busy one, and
//! one that is no number makes the whole period none. Then the mean of those that are numbers stands in, and says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use promql_parser::parser::Expr;
use serde_json::Value;

use super::answer::{Answer, Series, SeriesLabels};
use super::found::{self, Ask, Found, HistoryAsk, MOST_NAMES, MOST_WINDOWS, Taking};
use super::measure::{Reading, Weighting};
use super::query::{self, Match, QueryError};
use super::window::{Window, short};

const RATIO: &str = "slo:sli_error:ratio_rate";
const OBJECTIVE: &str = "slo:objective:ratio";
const DAYS: &str = "slo:time_period:days";
/// The shortest ratio: all others are means of it.
const SHORTEST: &str = "slo:sli_error:ratio_rate5m";
/// All ratios by the unit of their window, some at a time: those of ten thousand services in one answer would be too many.
const RATIOS: [&str; 4] = [
    "slo:sli_error:ratio_rate[0-9].*m",
    "slo:sli_error:ratio_rate[0-9].*h",
    "slo:sli_error:ratio_rate[0-9].*d",
    "slo:sli_error:ratio_rate[0-9].*[wy]",
];
/// Fallbacks of one poll; each is expensive.
const MOST_FALLBACKS: usize = 500;

/// What is asked first, of all services at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Error ratios of all windows.
    Ratios,
    /// Objectives and periods.
    Constants,
    /// When each was last sampled.
    Sampled,
}

/// What is asked then, once periods are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// For how much of a period of so many seconds there is data.
    Coverage(i64),
    /// The mean of what numbers there are in a period of so many seconds.
    Fallback(i64),
}

/// An objective that a custom resource declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The service.
    pub service: String,
    /// The objective's name.
    pub slo: String,
    /// The objective, as a fraction.
    pub objective: f64,
}

/// The objectives of a `PrometheusServiceLevel` of `sloth.slok.dev/v1`.
pub fn declared(object: &Value) -> Vec<Declared> {
    let service = object.pointer("/spec/service").and_then(Value::as_str).unwrap_or_default();
    let slos = object.pointer("/spec/slos").and_then(Value::as_array).into_iter().flatten();
    slos.filter_map(|slo| {
        let objective = slo.get("objective")?.as_f64()? / 100.0;
        Some(Declared { service: service.to_owned(), slo: slo.get("name")?.as_str()?.to_owned(), objective })
    })
    .collect()
}

/// The first questions.
pub fn first() -> Result<Vec<Ask<First>>, QueryError> {
    let constants = query::selector(
        None,
        &[Match::Follows("__name__", "slo:(objective:ratio|time_period:days)"), Match::There("sloth_id")],
    )?;
    let mut asks = vec![
        Ask { purpose: First::Constants, text: query::text(&constants)? },
        Ask { purpose: First::Sampled, text: query::text(&found::last_sampled(&shortest(&[])?, "")?)? },
    ];
    for names in RATIOS {
        let ratios = query::selector(None, &[Match::Follows("__name__", names), Match::There("sloth_id")])?;
        asks.push(Ask { purpose: First::Ratios, text: query::text(&ratios)? });
    }
    Ok(asks)
}

fn shortest(ids: &[String]) -> Result<Expr, QueryError> {
    let of = if ids.is_empty() { Match::There("sloth_id") } else { Match::OneOf("sloth_id", ids) };
    query::selector(Some(SHORTEST), &[of])
}

/// What the first answers say, by objective and series.
struct Recorded {
    by_id: BTreeMap<String, BTreeMap<SeriesLabels, Parts>>,
    objectives: Constants,
    days: Constants,
}

/// What is known of one series.
#[derive(Default)]
struct Parts {
    /// Error ratios, by seconds.
    ratios: BTreeMap<i64, f64>,
    sampled_seconds: Option<f64>,
}

/// A constant of each objective: by all labels where they agree, else by its name.
#[derive(Default)]
struct Constants(HashMap<String, Vec<(SeriesLabels, f64)>>);

impl Constants {
    fn add(&mut self, series: &Series) {
        self.0.entry(series.label("sloth_id").to_owned()).or_default().push((key(series), series.value()));
    }

    fn of(&self, id: &str, key: &SeriesLabels) -> Option<f64> {
        let all = self.0.get(id)?;
        let exact = all.iter().find(|(labels, _)| labels == key);
        exact.or_else(|| all.first()).map(|(_, value)| *value)
    }
}

fn key(series: &Series) -> SeriesLabels {
    found::labels_without(series, &["sloth_window"])
}

impl Recorded {
    fn of(answers: &[(First, Answer)]) -> Self {
        let mut recorded =
            Self { by_id: BTreeMap::new(), objectives: Constants::default(), days: Constants::default() };
        let mut sampled = Vec::new();
        for (purpose, answer) in answers {
            for series in answer.series.iter().filter(|series| !series.label("sloth_id").is_empty()) {
                match purpose {
                    First::Ratios => {
                        if let Some(seconds) = found::window_after(series.name(), RATIO) {
                            recorded.parts(series).ratios.insert(seconds, series.value());
                        }
                    }
                    First::Constants if series.name() == OBJECTIVE => recorded.objectives.add(series),
                    First::Constants if series.name() == DAYS => recorded.days.add(series),
                    First::Constants => {}
                    First::Sampled => sampled.push(series),
                }
            }
        }
        // What is answered now tells which series there are; what only was, counts where nothing is.
        let live: BTreeSet<String> = recorded.by_id.keys().cloned().collect();
        for series in sampled {
            let (id, key) = (series.label("sloth_id"), key(series));
            if !live.contains(id) || recorded.by_id.get(id).is_some_and(|all| all.contains_key(&key)) {
                recorded.parts(series).sampled_seconds = Some(series.value());
            }
        }
        let constant: Vec<(String, SeriesLabels)> = recorded
            .objectives
            .0
            .iter()
            .filter(|(id, _)| !recorded.by_id.contains_key(*id))
            .filter_map(|(id, all)| Some((id.clone(), all.first()?.0.clone())))
            .collect();
        for (id, key) in constant {
            recorded.by_id.entry(id).or_default().insert(key, Parts::default());
        }
        recorded
    }

    fn parts(&mut self, series: &Series) -> &mut Parts {
        self.by_id.entry(series.label("sloth_id").to_owned()).or_default().entry(key(series)).or_default()
    }

    /// The length of the period of a series, in seconds.
    fn period_seconds(&self, id: &str, key: &SeriesLabels, parts: &Parts) -> Option<i64> {
        #[allow(clippy::cast_possible_truncation)]
        let by_days = self.days.of(id, key).filter(|days| (0.01..10_000.0).contains(days));
        let by_days = by_days.map(|days| {
            #[allow(clippy::cast_possible_truncation)]
            let seconds = (days * 86_400.0).round() as i64;
            seconds
        });
        by_days.or_else(|| parts.ratios.keys().next_back().copied())
    }
}

/// The questions that follow from the first answers.
pub fn second(answers: &[(First, Answer)]) -> Result<Vec<Ask<Second>>, QueryError> {
    let recorded = Recorded::of(answers);
    let (mut periods, mut unreadable) = (BTreeMap::<i64, usize>::new(), BTreeMap::<i64, Vec<String>>::new());
    for (id, all) in &recorded.by_id {
        for (key, parts) in all {
            let Some(period) = recorded.period_seconds(id, key, parts) else { continue };
            *periods.entry(period).or_default() += 1;
            if parts.ratios.get(&period).is_some_and(|ratio| ratio.is_nan()) {
                unreadable.entry(period).or_default().push(id.clone());
            }
        }
    }
    let mut frequent: Vec<(i64, usize)> = periods.into_iter().collect();
    frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut asks = Vec::new();
    for (period, _) in frequent.into_iter().take(MOST_WINDOWS) {
        asks.push(Ask { purpose: Second::Coverage(period), text: found::coverage(&shortest(&[])?, period)? });
    }
    for (period, mut ids) in unreadable {
        ids.dedup();
        ids.truncate(MOST_FALLBACKS);
        for some in ids.chunks(MOST_NAMES) {
            let template = format!("avg_over_time((x >= 0)[{period}s:300s])");
            let text = query::text(&query::fill(&template, &[("x", &shortest(some)?)])?)?;
            asks.push(Ask { purpose: Second::Fallback(period), text });
        }
    }
    Ok(asks)
}

/// The readings of all answers. What a custom resource declares and no series is of has no data.
pub fn read(
    first: &[(First, Answer)],
    second: &[(Second, Answer)],
    declared: &[Declared],
    taking: Taking,
) -> Vec<Found> {
    let recorded = Recorded::of(first);
    let partial = found::partial(first.iter().map(|(_, answer)| answer).chain(second.iter().map(|(_, answer)| answer)));
    let mut later: HashMap<(bool, i64, String, SeriesLabels), f64> = HashMap::new();
    for (purpose, answer) in second {
        let (is_fallback, period) = match purpose {
            Second::Coverage(period) => (false, *period),
            Second::Fallback(period) => (true, *period),
        };
        for series in &answer.series {
            let id = series.label("sloth_id").to_owned();
            later.insert((is_fallback, period, id, key(series)), series.value());
        }
    }
    let resources: HashMap<(&str, &str), &Declared> =
        declared.iter().map(|one| ((one.service.as_str(), one.slo.as_str()), one)).collect();
    let mut all = Vec::new();
    for (id, of_id) in &recorded.by_id {
        let mut candidates = Vec::new();
        for (key, parts) in of_id {
            let label = |name: &str| key.get(name).cloned().unwrap_or_default();
            let (service, slo) = (label("sloth_service"), label("sloth_slo"));
            let by_resource = resources.get(&(service.as_str(), slo.as_str()));
            let objective = recorded.objectives.of(id, key).or_else(|| by_resource.map(|one| one.objective));
            let period = recorded.period_seconds(id, key, parts).unwrap_or(30 * 86_400);
            let later = |is_fallback| later.get(&(is_fallback, period, id.clone(), key.clone())).copied();
            let mut reading = Reading {
                service,
                slo,
                objective: objective.unwrap_or(f64::NAN),
                window: Window::Rolling { seconds: period },
                error_ratio: parts.ratios.get(&period).copied(),
                total: None,
                bad: None,
                recent: parts.ratios.iter().filter(|(at, _)| **at < period).map(|(at, ratio)| (*at, *ratio)).collect(),
                burn_rate: None,
                weighting: Weighting::MeanOfRatios,
                sampled_at: parts.sampled_seconds.and_then(found::instant).unwrap_or(taking.at),
                covered_seconds: later(false).and_then(|steps| found::covered_seconds(steps, period)),
                series: 1,
                partial: partial.clone(),
                note: None,
                unmeasured: None,
            };
            if reading.error_ratio.is_some_and(f64::is_nan) {
                without_holes(&mut reading, later(true), period);
            }
            candidates.push(Found { reading, id: Some(id.clone()) });
        }
        all.extend(found::settle(candidates, taking.several));
    }
    let recorded: HashSet<(String, String)> =
        all.iter().map(|found| (found.reading.service.clone(), found.reading.slo.clone())).collect();
    let missing = declared.iter().filter(|one| !recorded.contains(&(one.service.clone(), one.slo.clone())));
    all.extend(missing.map(|one| unrecorded(one, partial.clone(), taking)));
    all
}

/// A period that is no number because a part of it is: the mean of the numbers stands in. Without any number nothing
/// happened in all of it, for nothing divided by nothing is what is no number.
fn without_holes(reading: &mut Reading, fallback: Option<f64>, period: i64) {
    match fallback {
        Some(mean) => {
            reading.error_ratio = Some(mean);
            reading.note = Some(format!(
                "a part of the {} is no number, as when there was no event; this is the mean of the 5-minute ratios that are",
                short(period)
            ));
        }
        None => (reading.error_ratio, reading.total) = (None, Some(0.0)),
    }
}

fn unrecorded(declared: &Declared, partial: Option<String>, taking: Taking) -> Found {
    let reading = Reading {
        service: declared.service.clone(),
        slo: declared.slo.clone(),
        objective: declared.objective,
        window: Window::Rolling { seconds: 30 * 86_400 },
        error_ratio: None,
        total: None,
        bad: None,
        recent: Vec::new(),
        burn_rate: None,
        weighting: Weighting::MeanOfRatios,
        sampled_at: taking.at,
        covered_seconds: None,
        series: 1,
        partial,
        note: None,
        unmeasured: None,
    };
    Found { reading, id: None }
}

/// The questions about what happened in the windows of some budgets.
pub fn histories(wanted: &[&Found]) -> Result<Vec<HistoryAsk>, QueryError> {
    found::ratio_history("avg_over_time((x >= 0)[STEP:300s])", Match::Is("__name__", SHORTEST), "sloth_id", wanted)
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{now, seconds_of, series, taking};
    use super::super::measure::{Budget, Measured};
    use super::super::state::{BudgetState, Thresholds};
    use super::*;

    const MONTH: i64 = 30 * 86_400;

    fn labels<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [("sloth_id", "checkout-availability"), ("sloth_service", "checkout"), ("sloth_slo", "availability")];
        own.into_iter().chain(more.iter().copied()).collect()
    }

    fn answers(ratio: f64, more: &[(&str, &str)]) -> Vec<(First, Answer)> {
        let of = |name: &str, value: f64| series(name, &labels(more), value);
        let answer = |series: Vec<Series>| Answer { series, partial: None };
        vec![
            (
                First::Ratios,
                answer(vec![of("slo:sli_error:ratio_rate5m", 0.002), of("slo:sli_error:ratio_rate30d", ratio)]),
            ),
            (First::Constants, answer(vec![of(OBJECTIVE, 0.999), of(DAYS, 30.0)])),
            (First::Sampled, answer(vec![of("", seconds_of(now()) - 20.0)])),
        ]
    }

    fn budget(found: &Found) -> Budget {
        Budget::of("slo", found.reading.clone(), 300, now())
    }

    fn state(found: &Found) -> BudgetState {
        budget(found).state(&Thresholds::default(), now()).state
    }

    #[test]
    fn what_is_asked() {
        let asks: Vec<String> = first().unwrap().into_iter().map(|ask| ask.text).collect();
        assert_eq!(
            asks,
            [
                r#"{__name__=~"slo:(objective:ratio|time_period:days)",sloth_id!=""}"#,
                r#"(timestamp(slo:sli_error:ratio_rate5m{sloth_id!=""})) or (max_over_time(timestamp(slo:sli_error:ratio_rate5m{sloth_id!=""})[1h:1m]))"#,
                r#"{__name__=~"slo:sli_error:ratio_rate[0-9].*m",sloth_id!=""}"#,
                r#"{__name__=~"slo:sli_error:ratio_rate[0-9].*h",sloth_id!=""}"#,
                r#"{__name__=~"slo:sli_error:ratio_rate[0-9].*d",sloth_id!=""}"#,
                r#"{__name__=~"slo:sli_error:ratio_rate[0-9].*[wy]",sloth_id!=""}"#,
            ]
        );
        let then: Vec<String> = second(&answers(f64::NAN, &[])).unwrap().into_iter().map(|ask| ask.text).collect();
        assert_eq!(
            then,
            [
                r#"count_over_time(slo:sli_error:ratio_rate5m{sloth_id!=""}[30d:6h])"#,
                r#"avg_over_time((slo:sli_error:ratio_rate5m{sloth_id=~"checkout-availability"} >= 0)[30d:5m])"#,
            ]
        );
        let all = read(&answers(0.001, &[]), &[], &[], taking());
        let HistoryAsk { queries, step_seconds, .. } = &histories(&[&all[0]]).unwrap()[0];
        assert_eq!(*step_seconds, 7_200);
        assert_eq!(
            *queries,
            found::HistoryQueries::Ratio(
                r#"avg_over_time(({__name__="slo:sli_error:ratio_rate5m",sloth_id=~"checkout-availability"} >= 0)[2h:5m])"#.into()
            )
        );
    }

    #[test]
    fn series_become_a_budget() {
        let all = read(&answers(0.000_4, &[]), &[], &[], taking());
        let [found] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((found.reading.service.as_str(), found.reading.slo.as_str()), ("checkout", "availability"));
        let budget = budget(found);
        assert!((budget.remaining().unwrap() - 0.6).abs() < 1e-9);
        assert_eq!(budget.figures().unwrap().recent[0].seconds, 300);
        assert_eq!(now().signed_duration_since(budget.sampled_at).num_seconds(), 20);
    }

    #[test]
    fn a_hole_is_filled_in_words_and_nothing_at_all_is_no_traffic() {
        let first = answers(f64::NAN, &[]);
        let fallback = Answer { series: vec![series("", &labels(&[]), 0.000_5)], partial: None };
        let all = read(&first, &[(Second::Fallback(MONTH), fallback)], &[], taking());
        let budget = budget(&all[0]);
        assert!((budget.remaining().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(
            budget.figures().unwrap().note.as_deref(),
            Some(
                "a part of the 30d is no number, as when there was no event; this is the mean of the 5-minute ratios that are"
            )
        );
        assert_eq!(state(&read(&first, &[], &[], taking())[0]), BudgetState::NoTraffic);
    }

    #[test]
    fn what_cannot_be_told_apart_is_ambiguous() {
        let mut both = answers(0.0, &[("namespace", "a")]);
        both.extend(answers(0.01, &[("namespace", "b")]));
        let all = read(&both, &[], &[], taking());
        assert_eq!(all.len(), 1);
        assert_eq!(state(&all[0]), BudgetState::Ambiguous);
        let worst = Taking { several: super::super::api::SeveralSeries::Worst, ..taking() };
        assert_eq!(state(&read(&both, &[], &[], worst)[0]), BudgetState::Exhausted);
    }

    #[test]
    fn what_went_silent_is_stale_and_what_never_was_has_no_data() {
        let mut silent = answers(0.0, &[]);
        silent[0].1.series.clear();
        silent[1].1.series.clear();
        silent[2].1.series = vec![series("", &labels(&[]), seconds_of(now()) - 1_800.0)];
        assert_eq!(state(&read(&silent, &[], &[], taking())[0]), BudgetState::Stale);
        let mut renamed = answers(0.0, &[]);
        renamed[0].1.series.clear();
        renamed[2].1.series.clear();
        assert_eq!(state(&read(&renamed, &[], &[], taking())[0]), BudgetState::NoData);
        let resource =
            serde_json::json!({"spec": {"service": "cart", "slos": [{"name": "latency", "objective": 99.5}]}});
        let all = read(&[], &[], &declared(&resource), taking());
        assert_eq!(all[0].reading.service, "cart");
        assert_eq!(state(&all[0]), BudgetState::NoData);
    }

    #[test]
    fn an_objective_that_no_series_has_is_read_from_the_custom_resource() {
        let mut first = answers(0.000_4, &[]);
        first[1].1.series.retain(|series| series.name() != OBJECTIVE);
        assert_eq!(state(&read(&first, &[], &[], taking())[0]), BudgetState::Invalid);
        let resource =
            serde_json::json!({"spec": {"service": "checkout", "slos": [{"name": "availability", "objective": 99.9}]}});
        let all = read(&first, &[], &declared(&resource), taking());
        assert_eq!(state(&all[0]), BudgetState::Healthy);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn odd_values_are_never_healthy() {
        for odd in [f64::INFINITY, f64::NEG_INFINITY, -1.0, 7.0] {
            let all = read(&answers(odd, &[]), &[], &[], taking());
            assert!(matches!(budget(&all[0]).measured, Measured::Unknown(_)), "{odd}");
        }
        let coverage = Answer { series: vec![series("", &labels(&[]), 30.0)], partial: None };
        let short = read(&answers(0.0, &[]), &[(Second::Coverage(MONTH), coverage)], &[], taking());
        assert_eq!(state(&short[0]), BudgetState::InsufficientHistory);
        let mut partial = answers(0.0, &[]);
        partial[1].1.partial = Some("the source warned: store 3 is away".into());
        assert_eq!(state(&read(&partial, &[], &[], taking())[0]), BudgetState::Partial);
    }
}
