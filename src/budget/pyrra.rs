//! The series that Pyrra records, version 0.9 and later.
//!
//! Its generic rules record availability, objective and window of every objective. Where they are off, its custom resource
//! says what the recorded increases mean. In both cases an error metric that nobody records (it was renamed, say) looks
//! like perfect availability, because Pyrra adds a zero to it: such a budget has no data, and says so.

use std::collections::{BTreeMap, HashMap};

use promql_parser::label::Matcher;
use promql_parser::parser::{Expr, VectorSelector};
use serde_json::Value;

use super::answer::{Answer, Series, SeriesLabels};
use super::found::{self, Ask, Found, HistoryAsk, MOST_WINDOWS, Taking};
use super::measure::{Reading, Unmeasured, Weighting};
use super::query::{self, Match, QueryError};
use super::state::BudgetState;
use super::window::{Window, short};
use crate::policy::duration::PolicyDuration;

const BURN_RATE: &str = ":burnrate";
const INCREASE: &str = ":increase";
const AVAILABILITY: &str = "pyrra_availability";
const OBJECTIVE: &str = "pyrra_objective";
const WINDOW: &str = "pyrra_window";
/// No shortest window is longer: a quarter of a year has one of 16 minutes.
const LONGEST_SHORTEST_SECONDS: i64 = 1_200;

/// The shortest of its windows: five minutes for four weeks, and in proportion for others.
const SHORTEST: &str = ".+:burnrate(([0-9]+m)?[0-9]+s|1?[0-9]m)";

/// What is asked first, of all objectives at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// What the generic rules record.
    Generic,
    /// Increases over the windows.
    Increases,
    /// Error ratios of short times.
    Ratios,
    /// When each was last recorded: where there are no ratios, that must do.
    Recorded,
}

/// What is asked then, once windows are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// For how much of a window of so many seconds there is data.
    Coverage(i64),
    /// When the ratio of so many seconds was last sampled.
    Sampled(i64),
}

/// An objective, as the custom resource `ServiceLevelObjective` of `pyrra.dev/v1alpha1` declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Its name, which is the label `slo`.
    pub name: String,
    /// Its service: the label `pyrra.dev/service`, where there is one.
    pub service: Option<String>,
    /// The objective, as a fraction.
    pub objective: f64,
    /// The length of its window, in seconds.
    pub window_seconds: i64,
    /// Which increases count.
    indicator: Indicator,
}

/// Which recorded increases are good, bad and all.
#[derive(Clone, Debug, PartialEq)]
enum Indicator {
    Ratio {
        errors: VectorSelector,
        total: VectorSelector,
    },
    Latency {
        success: VectorSelector,
        total: VectorSelector,
    },
    /// A kind whose increases say nothing without the generic rules.
    Other,
}

/// Reads a custom resource; one that is no objective is none.
pub fn declared(object: &Value) -> Option<Declared> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let percent: f64 = text("/spec/target")?.trim().trim_end_matches('%').parse().ok()?;
    let selector = |pointer: &str| match query::parse(text(pointer)?).ok()? {
        Expr::VectorSelector(selector) => Some(selector),
        _ => None,
    };
    let pair = |kind: &str, part: &str| {
        let of = |part: &str| selector(&format!("/spec/indicator/{kind}/{part}/metric"));
        Some((of(part)?, of("total")?))
    };
    let indicator = if let Some((errors, total)) = pair("ratio", "errors") {
        Indicator::Ratio { errors, total }
    } else if let Some((success, total)) = pair("latency", "success") {
        Indicator::Latency { success, total }
    } else {
        Indicator::Other
    };
    Some(Declared {
        name: text("/metadata/name")?.to_owned(),
        service: object.pointer("/metadata/labels/pyrra.dev~1service").and_then(Value::as_str).map(str::to_owned),
        objective: percent / 100.0,
        window_seconds: PolicyDuration::parse(text("/spec/window")?).ok()?.seconds(),
        indicator,
    })
}

/// The first questions.
pub fn first() -> Result<Vec<Ask<First>>, QueryError> {
    let of = |names: &'static str| query::selector(None, &[Match::Follows("__name__", names), Match::There("slo")]);
    let generic = of("pyrra_(objective|window|availability)")?;
    let increases = of(".+:increase[0-9]+[smhdwy].*")?;
    let recorded = query::selector(Some(AVAILABILITY), &[Match::There("slo")])?;
    Ok(vec![
        Ask { purpose: First::Generic, text: query::text(&generic)? },
        Ask { purpose: First::Increases, text: query::text(&increases)? },
        Ask { purpose: First::Ratios, text: query::text(&of(".+:burnrate[0-9]+[smhdwy].*")?)? },
        Ask { purpose: First::Recorded, text: last_sampled(&recorded)? },
    ])
}

fn last_sampled(selector: &Expr) -> Result<String, QueryError> {
    query::text(&found::last_sampled(selector, "max by (slo) ")?)
}

/// The ratios of one length, whatever metric they are of.
fn ratios_of(seconds: i64) -> String {
    format!(".+{BURN_RATE}{}", promql_parser::util::display_duration(&query::span(seconds)))
}

#[derive(Default)]
struct Recorded<'a> {
    availability: BTreeMap<&'a str, Vec<&'a Series>>,
    objective: HashMap<&'a str, f64>,
    window: HashMap<&'a str, i64>,
    increases: BTreeMap<&'a str, Vec<&'a Series>>,
    ratios: HashMap<&'a str, Vec<(i64, f64)>>,
    last_recorded: BTreeMap<&'a str, f64>,
}

impl<'a> Recorded<'a> {
    fn of(answers: &'a [(First, Answer)]) -> Self {
        let mut recorded = Self::default();
        for (purpose, answer) in answers {
            for series in &answer.series {
                let slo = series.label("slo");
                match (purpose, series.name()) {
                    (First::Generic, AVAILABILITY) => recorded.availability.entry(slo).or_default().push(series),
                    (First::Generic, OBJECTIVE) => {
                        recorded.objective.insert(slo, series.value());
                    }
                    (First::Generic, WINDOW) if (60.0..1e10).contains(&series.value()) => {
                        #[allow(clippy::cast_possible_truncation)]
                        recorded.window.insert(slo, series.value() as i64);
                    }
                    (First::Generic, _) => {}
                    (First::Increases, _) => recorded.increases.entry(slo).or_default().push(series),
                    (First::Ratios, name) => {
                        if let Some(seconds) = found::window_after(name, BURN_RATE) {
                            recorded.ratios.entry(slo).or_default().push((seconds, series.value()));
                        }
                    }
                    (First::Recorded, _) => {
                        recorded.last_recorded.insert(slo, series.value());
                    }
                }
            }
        }
        recorded
    }
}

impl Recorded<'_> {
    /// The lengths of ratios that say when something was last measured: the shortest of each objective, and that of four
    /// weeks, which one that fell silent may have had.
    fn shortest(&self) -> Vec<i64> {
        let of_each = self.ratios.values().filter_map(|all| all.iter().map(|(seconds, _)| *seconds).min());
        let mut all: Vec<i64> = of_each.filter(|seconds| *seconds <= LONGEST_SHORTEST_SECONDS).collect();
        all.push(300);
        all.sort_unstable();
        all.dedup();
        all.truncate(MOST_WINDOWS);
        all
    }
}

/// The questions that follow from the first answers and from custom resources.
pub fn second(answers: &[(First, Answer)], declared: &[Declared]) -> Result<Vec<Ask<Second>>, QueryError> {
    let recorded = Recorded::of(answers);
    let mut windows: Vec<i64> =
        recorded.window.values().copied().chain(declared.iter().map(|one| one.window_seconds)).collect();
    windows.sort_unstable();
    windows.dedup();
    let shortest = query::selector(None, &[Match::Follows("__name__", SHORTEST), Match::There("slo")])?;
    let mut asks = Vec::new();
    for seconds in windows.into_iter().take(MOST_WINDOWS) {
        // Several metrics may have a ratio of one objective; a function would take their names and find them the same.
        let of_each = query::fill("(max by (slo) (x))", &[("x", &shortest)])?;
        asks.push(Ask { purpose: Second::Coverage(seconds), text: found::coverage(&of_each, seconds)? });
    }
    for seconds in recorded.shortest() {
        let ratios = query::selector(None, &[Match::Follows("__name__", &ratios_of(seconds)), Match::There("slo")])?;
        asks.push(Ask { purpose: Second::Sampled(seconds), text: last_sampled(&ratios)? });
    }
    Ok(asks)
}

/// The readings of all answers.
pub fn read(
    first: &[(First, Answer)],
    second: &[(Second, Answer)],
    declared: &[Declared],
    taking: Taking,
) -> Vec<Found> {
    let recorded = Recorded::of(first);
    let partial = found::partial(first.iter().map(|(_, answer)| answer).chain(second.iter().map(|(_, answer)| answer)));
    let (mut covered, mut sampled) = (HashMap::new(), BTreeMap::new());
    for (purpose, answer) in second {
        for series in &answer.series {
            match purpose {
                Second::Coverage(seconds) => {
                    covered.insert((series.label("slo"), *seconds), found::covered_seconds(series.value(), *seconds));
                }
                // The shortest comes first.
                Second::Sampled(_) => {
                    sampled.entry(series.label("slo")).or_insert(series.value());
                }
            }
        }
    }
    let mut names: Vec<&str> = recorded.availability.keys().chain(recorded.increases.keys()).copied().collect();
    names.extend(sampled.keys().chain(recorded.last_recorded.keys()).chain(recorded.objective.keys()).copied());
    names.extend(declared.iter().map(|one| one.name.as_str()));
    names.sort_unstable();
    names.dedup();
    let mut all = Vec::new();
    let resources: HashMap<&str, &Declared> = declared.iter().map(|one| (one.name.as_str(), one)).collect();
    for slo in names.into_iter().filter(|slo| !slo.is_empty()) {
        let resource = resources.get(slo).copied();
        let window_seconds =
            resource.map(|one| one.window_seconds).or_else(|| recorded.window.get(slo).copied()).unwrap_or(28 * 86_400);
        let objective = resource.map(|one| one.objective).or_else(|| recorded.objective.get(slo).copied());
        let increases: &[&Series] = recorded.increases.get(slo).map(Vec::as_slice).unwrap_or_default();
        // What is recorded of a window goes on when nothing is measured any more, so it tells only where no ratio does.
        let was_measured = covered.get(&(slo, window_seconds)).copied().flatten().is_some_and(|covered| covered > 0);
        let has_ratios = was_measured || recorded.ratios.contains_key(slo);
        let of_window = || recorded.last_recorded.get(slo).filter(|_| !has_ratios);
        let last = sampled.get(slo).or_else(of_window).copied();
        let blank = Reading {
            service: resource.and_then(|one| one.service.clone()).unwrap_or_else(|| slo.to_owned()),
            slo: slo.to_owned(),
            objective: objective.unwrap_or(f64::NAN),
            window: Window::Rolling { seconds: window_seconds },
            error_ratio: None,
            total: None,
            bad: None,
            recent: recorded.ratios.get(slo).cloned().unwrap_or_default(),
            burn_rate: None,
            weighting: Weighting::Events,
            sampled_at: last.and_then(found::instant).unwrap_or(taking.at),
            covered_seconds: covered.get(&(slo, window_seconds)).copied().flatten(),
            series: 1,
            partial: partial.clone(),
            note: None,
            unmeasured: None,
        };
        let candidates: Vec<Found> = if let Some(available) = recorded.availability.get(slo) {
            available.iter().map(|series| by_availability(&blank, series, increases, resource)).collect()
        } else {
            vec![by_increases(&blank, increases, resource)]
        };
        let silent = (has_ratios && last.is_none()).then(|| {
            let look_back = short(found::LOOK_BACK_SECONDS);
            Unmeasured::new(BudgetState::Stale, format!("its shortest ratio had no sample in the last {look_back}"))
        });
        let as_found = |found: Found| {
            let reading = Reading { unmeasured: silent.clone().or(found.reading.unmeasured), ..found.reading };
            Found { reading, id: Some(slo.to_owned()) }
        };
        all.extend(found::settle(candidates.into_iter().map(as_found).collect(), taking.several));
    }
    all
}

/// What the generic rules say, unless it is too good to be told from an error metric that is missing.
fn by_availability(blank: &Reading, series: &Series, increases: &[&Series], resource: Option<&Declared>) -> Found {
    let mut reading = blank.clone();
    let of_series = series.label("service");
    if resource.is_none_or(|one| one.service.is_none()) && !of_series.is_empty() {
        of_series.clone_into(&mut reading.service);
    }
    let availability = series.value();
    reading.error_ratio = Some(1.0 - availability);
    reading.total = all_events(increases);
    if availability.is_nan() {
        // Nothing divided by nothing; the rule itself always has a value.
        (reading.error_ratio, reading.total) = (None, Some(0.0));
    } else if (availability - 1.0).abs() < 1e-12 {
        reading.unmeasured = errors_are_missing(increases, resource, &known_labels(series));
    }
    Found { reading, id: None }
}

/// All events of a window: of several metrics the largest sum, because errors are a part of all. Buckets are none.
fn all_events(increases: &[&Series]) -> Option<f64> {
    let mut by_metric: BTreeMap<&str, f64> = BTreeMap::new();
    for series in increases.iter().filter(|series| series.label("le").is_empty()) {
        *by_metric.entry(series.name()).or_default() += series.value();
    }
    by_metric.into_values().reduce(f64::max).filter(|total| *total > 0.0)
}

/// What the recorded increases say, read as the custom resource says.
fn by_increases(blank: &Reading, increases: &[&Series], resource: Option<&Declared>) -> Found {
    let mut reading = blank.clone();
    let window_seconds = reading.window.seconds();
    match resource.map(|one| &one.indicator) {
        Some(Indicator::Ratio { errors, total }) => {
            let kept = if errors.name == total.name { Kept::All } else { Kept::Perhaps };
            reading.total = sum(increases, total, window_seconds, Kept::Perhaps);
            reading.bad = sum(increases, errors, window_seconds, kept);
            if reading.total.is_some_and(|total| total > 0.0) && reading.bad.is_none() {
                reading.unmeasured = errors_are_missing(increases, resource, &SeriesLabels::new());
                // The metric is there and so are the labels that tell errors: there was none.
                reading.bad = reading.unmeasured.is_none().then_some(0.0);
            }
        }
        Some(Indicator::Latency { success, total }) => {
            reading.total = sum(increases, total, window_seconds, Kept::Perhaps);
            let good = sum(increases, success, window_seconds, Kept::Perhaps);
            reading.bad = reading.total.zip(good).map(|(total, good)| (total - good).max(0.0));
        }
        Some(Indicator::Other) | None if !increases.is_empty() => {
            let why = "neither pyrra_availability nor a custom resource says what its increases mean: switch Pyrra's generic rules on";
            reading.unmeasured = Some(Unmeasured::new(BudgetState::NoData, why));
        }
        Some(Indicator::Other) | None => {}
    }
    Found { reading, id: None }
}

/// Labels that say nothing of errors: those of the objective itself.
fn known_labels(series: &Series) -> SeriesLabels {
    found::labels_without(series, &[])
}

/// Why perfect availability is not believed, where nothing shows that an error would be seen.
fn errors_are_missing(increases: &[&Series], resource: Option<&Declared>, known: &SeriesLabels) -> Option<Unmeasured> {
    let missing = |what: String| {
        Some(Unmeasured::new(
            BudgetState::NoData,
            format!("{what}, so no error could be seen: its metric or label may have been renamed"),
        ))
    };
    match resource.map(|one| (&one.indicator, one.window_seconds)) {
        Some((Indicator::Ratio { errors, .. }, window_seconds)) => {
            let recorded = recorded_name(errors, window_seconds);
            let of_metric: Vec<&&Series> = increases.iter().filter(|series| series.name() == recorded).collect();
            if of_metric.is_empty() {
                return missing(format!("its error series {recorded} is absent while its total is there"));
            }
            // What tells errors from the rest must stand on some series of that metric.
            let absent = errors.matchers.matchers.iter().find(|matcher| {
                matcher.name != "__name__" && !of_metric.iter().any(|series| series.metric.contains_key(&matcher.name))
            });
            absent.and_then(|label| {
                missing(format!("no series of {recorded} has the label {:?} that tells errors", label.name))
            })
        }
        Some((Indicator::Latency { .. }, _)) => None,
        Some((Indicator::Other, _)) | None => {
            let [only] = increases else { return None };
            let tells = found::labels_without(only, &["slo"]).into_keys().any(|name| !known.contains_key(&name));
            if tells { None } else { missing("its total is the only series there is".to_owned()) }
        }
    }
}

/// The name under which the increase of a metric is recorded: 28 days are four weeks there.
fn recorded_name(selector: &VectorSelector, window_seconds: i64) -> String {
    let metric = selector.name.as_deref().unwrap_or_default();
    let stem = ["_total", "_count", "_bucket"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
    let window = if window_seconds % (7 * 86_400) == 0 {
        format!("{}w", window_seconds / (7 * 86_400))
    } else {
        short(window_seconds)
    };
    format!("{stem}{INCREASE}{window}")
}

/// The sum of the recorded increases that a selector means.
///
/// A label that the rule did not keep was matched when it was recorded, unless the same series hold what is not meant.
fn sum(increases: &[&Series], selector: &VectorSelector, window_seconds: i64, kept: Kept) -> Option<f64> {
    let recorded = recorded_name(selector, window_seconds);
    let by_bucket = selector.matchers.matchers.iter().any(|matcher| matcher.name == "le");
    let fits = |matcher: &Matcher, series: &Series| match series.metric.get(&matcher.name) {
        Some(value) => matcher.is_match(value),
        None => kept == Kept::Perhaps && matcher.name != "le" || matcher.is_match(""),
    };
    let meant = increases.iter().filter(|series| {
        // All events of a latency have no bucket.
        series.name() == recorded
            && by_bucket != series.label("le").is_empty()
            && selector.matchers.matchers.iter().all(|matcher| fits(matcher, series))
    });
    meant.map(|series| series.value()).reduce(|one, other| one + other)
}

/// Whether the labels that a selector names stand on what was recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// They must, for the same series hold what is not meant.
    All,
    /// Perhaps not.
    Perhaps,
}

/// The questions about what happened in the windows of some budgets, by the shortest ratio of each.
pub fn histories(wanted: &[&Found]) -> Result<Vec<HistoryAsk>, QueryError> {
    let mut by_length: BTreeMap<i64, Vec<&Found>> = BTreeMap::new();
    for found in wanted {
        if let Some(shortest) = found.reading.recent.iter().map(|(seconds, _)| *seconds).min() {
            by_length.entry(shortest).or_default().push(found);
        }
    }
    let mut asks = Vec::new();
    for (seconds, of_length) in by_length {
        let (template, names) =
            (format!("max by (slo) (avg_over_time((x >= 0)[STEP:{}s]))", seconds.max(60)), ratios_of(seconds));
        asks.extend(found::ratio_history(&template, Match::Follows("__name__", &names), "slo", &of_length)?);
    }
    Ok(asks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::found::tests::{now, seconds_of, series, taking};
    use super::super::measure::{Budget, Measured};
    use super::super::state::Thresholds;
    use super::*;

    fn answer(series: Vec<Series>) -> Answer {
        Answer { series, partial: None }
    }

    fn generic(availability: f64) -> (First, Answer) {
        let of = |name: &str, value: f64| series(name, &[("slo", "checkout-errors")], value);
        (First::Generic, answer(vec![of(AVAILABILITY, availability), of(OBJECTIVE, 0.995), of(WINDOW, 2_419_200.0)]))
    }

    fn increase(metric: &str, labels: &[(&str, &str)], value: f64) -> Series {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("slo", "checkout-errors")]).collect();
        series(&format!("{metric}:increase4w"), &labels, value)
    }

    fn resource(errors: &str, total: &str) -> Declared {
        declared(&json!({
            "metadata": {"name": "checkout-errors", "labels": {"pyrra.dev/service": "checkout"}},
            "spec": {"target": "99.5", "window": "4w",
                "indicator": {"ratio": {"errors": {"metric": errors}, "total": {"metric": total}}}},
        }))
        .unwrap()
    }

    fn budget(first: &[(First, Answer)], declared: &[Declared]) -> Budget {
        let all = read(first, &[], declared, taking());
        let [found] = all.as_slice() else { panic!("{all:?}") };
        Budget::of("slo", found.reading.clone(), 300, now())
    }

    fn state(budget: &Budget) -> (BudgetState, String) {
        let judged = budget.state(&Thresholds::default(), now());
        (judged.state, judged.detail.unwrap_or_default())
    }

    #[test]
    fn what_is_asked() {
        let asks: Vec<String> = first().unwrap().into_iter().map(|ask| ask.text).collect();
        assert_eq!(
            asks,
            [
                r#"{__name__=~"pyrra_(objective|window|availability)",slo!=""}"#,
                r#"{__name__=~".+:increase[0-9]+[smhdwy].*",slo!=""}"#,
                r#"{__name__=~".+:burnrate[0-9]+[smhdwy].*",slo!=""}"#,
                r#"max by (slo) (timestamp(pyrra_availability{slo!=""})) or max by (slo) (max_over_time(timestamp(pyrra_availability{slo!=""})[1h:1m]))"#,
            ]
        );
        let then = second(&[generic(1.0)], &[]).unwrap();
        let then: Vec<&str> = then.iter().map(|ask| ask.text.as_str()).collect();
        assert_eq!(
            then,
            [
                r#"count_over_time((max by (slo) ({__name__=~".+:burnrate(([0-9]+m)?[0-9]+s|1?[0-9]m)",slo!=""}))[4w:5h36m])"#,
                r#"max by (slo) (timestamp({__name__=~".+:burnrate5m",slo!=""})) or max by (slo) (max_over_time(timestamp({__name__=~".+:burnrate5m",slo!=""})[1h:1m]))"#,
            ]
        );
    }

    #[test]
    fn generic_rules_say_it_all() {
        let codes = vec![
            increase("http_requests", &[("code", "200")], 1e6),
            increase("http_requests", &[("code", "500")], 1e3),
        ];
        let ratio = |window: &str, value: f64| {
            series(&format!("http_requests:burnrate{window}"), &[("slo", "checkout-errors")], value)
        };
        let first = [
            generic(0.9972),
            (First::Increases, answer(codes)),
            (First::Ratios, answer(vec![ratio("5m", 0.01), ratio("1h", 0.02)])),
        ];
        let sampled = answer(vec![series("", &[("slo", "checkout-errors")], seconds_of(now()) - 30.0)]);
        let all = read(&first, &[(Second::Sampled(300), sampled)], &[], taking());
        let budget = Budget::of("slo", all[0].reading.clone(), 300, now());
        assert_eq!((budget.service.as_str(), budget.slo.as_str()), ("checkout-errors", "checkout-errors"));
        assert_eq!(now().signed_duration_since(budget.sampled_at).num_seconds(), 30);
        // Ratios that are there and a shortest one that is not: nothing is measured any more.
        let silent = read(&first, &[], &[], taking());
        assert_eq!(state(&Budget::of("slo", silent[0].reading.clone(), 300, now())).0, BudgetState::Stale);
        assert!((budget.remaining().unwrap() - 0.44).abs() < 1e-9);
        assert!((budget.burn_rate().unwrap() - 4.0).abs() < 1e-9, "burnrate is a ratio");
        assert_eq!(budget.window, Window::Rolling { seconds: 28 * 86_400 });
    }

    #[test]
    fn a_renamed_error_metric_is_not_healthy() {
        // Without a custom resource: the total alone is there, and nothing on it tells errors.
        let only_total = [generic(1.0), (First::Increases, answer(vec![increase("http_requests", &[], 1e6)]))];
        assert_eq!(
            state(&budget(&only_total, &[])),
            (BudgetState::NoData, "its total is the only series there is, so no error could be seen: its metric or label may have been renamed".into())
        );
        // With one: the error metric, or the label that tells errors, is not recorded.
        let own = resource("http_errors_total", "http_requests_total");
        assert_eq!(
            state(&budget(&only_total, std::slice::from_ref(&own))).1,
            "its error series http_errors:increase4w is absent while its total is there, so no error could be seen: its metric or label may have been renamed"
        );
        let by_code = resource(r#"http_requests_total{code=~"5.."}"#, "http_requests_total");
        let said = state(&budget(&only_total, std::slice::from_ref(&by_code))).1;
        assert!(
            said.starts_with("no series of http_requests:increase4w has the label \"code\" that tells errors"),
            "{said}"
        );
        // The same without generic rules.
        assert_eq!(state(&budget(&only_total[1..], &[own])).0, BudgetState::NoData);
        assert_eq!(state(&budget(&only_total[1..], std::slice::from_ref(&by_code))).0, BudgetState::NoData);
        // Where errors would be seen, none is none.
        let with_code =
            [generic(1.0), (First::Increases, answer(vec![increase("http_requests", &[("code", "200")], 1e6)]))];
        assert_eq!(state(&budget(&with_code, &[])).0, BudgetState::Healthy);
        assert_eq!(state(&budget(&with_code, &[by_code])).0, BudgetState::Healthy);
    }

    #[test]
    fn without_generic_rules_the_custom_resource_says_what_increases_mean() {
        let codes = vec![
            increase("http_requests", &[("code", "200")], 999_600.0),
            increase("http_requests", &[("code", "500")], 300.0),
            increase("http_requests", &[("code", "503")], 100.0),
        ];
        let first = [(First::Increases, answer(codes))];
        let own = resource(r#"http_requests_total{code=~"5.."}"#, "http_requests_total");
        let read = budget(&first, &[own]);
        assert_eq!(read.service, "checkout");
        assert!((read.remaining().unwrap() - 0.92).abs() < 1e-9);
        assert_eq!(state(&budget(&first, &[])).0, BudgetState::Invalid.min(BudgetState::NoData));

        let latency = declared(&json!({
            "metadata": {"name": "checkout-errors"},
            "spec": {"target": "90", "window": "4w", "indicator": {"latency": {
                "success": {"metric": "http_seconds_bucket{le=\"0.1\"}"}, "total": {"metric": "http_seconds_count"}}}},
        }));
        let buckets = vec![increase("http_seconds", &[("le", "0.1")], 950.0), increase("http_seconds", &[], 1_000.0)];
        let read = budget(&[(First::Increases, answer(buckets))], &[latency.unwrap()]);
        assert!((read.remaining().unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn odd_values_are_never_healthy() {
        for odd in [f64::INFINITY, f64::NEG_INFINITY, 7.0, -3.0] {
            assert!(matches!(budget(&[generic(odd)], &[]).measured, Measured::Unknown(_)), "{odd}");
        }
        assert_eq!(state(&budget(&[generic(f64::NAN)], &[])).0, BudgetState::NoTraffic);
        assert!(declared(&json!({"metadata": {"name": "x"}, "spec": {"target": "much", "window": "4w"}})).is_none());
        let absent = resource("a", "b");
        assert_eq!(state(&budget(&[], &[absent])).0, BudgetState::NoData);
    }
}
