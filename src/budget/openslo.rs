//! Documents of `OpenSLO`: `openslo/v1`, and `openslo.com/v2alpha`. Text in, objectives out.
//!
//! Their labels may be lists, so they are no Kubernetes objects, and fields that are no business of ours are passed over.
//! An SLO with several objectives is as many of ours. What cannot be measured says why, and is never left out silently.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

use super::figures::is_objective;
use super::queried::{Bare, Counted, Figure, Indicator, Method, Objective, ServiceName, WindowRule};
use super::window::CalendarPeriods;
use crate::policy::duration::PolicyDuration;
use crate::policy::file;

/// The versions that are read.
const VERSIONS: [&str; 2] = ["openslo/v1", "openslo.com/v2alpha"];

/// Something wrong in a document: where, what, and what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct OpenSloProblem {
    /// The file, entry or position of the document.
    pub document: String,
    /// The line at which it begins.
    pub line: u64,
    /// The SLO, where it is known.
    pub slo: Option<String>,
    /// Its service, where it is known.
    pub service: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for OpenSloProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: ", self.document, self.line)?;
        if let Some(slo) = &self.slo {
            write!(formatter, "SLO {slo:?}: ")?;
        }
        write!(formatter, "{}; {}", self.message, self.remedy)
    }
}

/// What some documents say.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// What can be measured.
    pub objectives: Vec<Objective>,
    /// What cannot.
    pub problems: Vec<OpenSloProblem>,
}

/// An object and where it stands.
struct Placed {
    document: String,
    line: u64,
    object: Value,
}

/// What is wrong with an SLO, before its place is known.
type Wrong = (String, &'static str);

fn wrong<T>(message: impl Into<String>, remedy: &'static str) -> Result<T, Wrong> {
    Err((message.into(), remedy))
}

/// Reads documents, given as name and text.
pub fn read(texts: &[(String, String)]) -> Documents {
    let mut documents = Documents::default();
    let mut objects = Vec::new();
    for (name, text) in texts {
        for document in file::documents(text) {
            let line = document.line as u64;
            match document.read::<Value>(name) {
                Ok(Value::Array(several)) => {
                    objects.extend(several.into_iter().map(|object| Placed { document: name.clone(), line, object }));
                }
                Ok(object) => objects.push(Placed { document: name.clone(), line, object }),
                Err(error) => documents.problems.push(OpenSloProblem {
                    document: name.clone(),
                    line: error.line.unwrap_or(line),
                    slo: None,
                    service: None,
                    message: error.message,
                    remedy: "write YAML or JSON".to_owned(),
                }),
            }
        }
    }
    let named = |kind: &str| -> HashMap<&str, &Value> {
        let of_kind = objects.iter().filter(|placed| text(&placed.object, "/kind") == Some(kind));
        of_kind.filter_map(|placed| Some((text(&placed.object, "/metadata/name")?, &placed.object))).collect()
    };
    let (indicators, sources) = (named("SLI"), named("DataSource"));
    for placed in &objects {
        let problem = |slo: Option<&str>, service: Option<&str>, (message, remedy): Wrong| OpenSloProblem {
            document: placed.document.clone(),
            line: placed.line,
            slo: slo.map(str::to_owned),
            service: service.map(str::to_owned),
            message,
            remedy: remedy.to_owned(),
        };
        let version = text(&placed.object, "/apiVersion").unwrap_or_default();
        if !VERSIONS.contains(&version) {
            let message = format!("its apiVersion is {version:?}, which is not read");
            documents.problems.push(problem(None, None, (message, "write openslo/v1 or openslo.com/v2alpha")));
            continue;
        }
        if text(&placed.object, "/kind") != Some("SLO") {
            continue; // services, data sources, alerts
        }
        let name = text(&placed.object, "/metadata/name");
        let service = text(&placed.object, "/spec/service").or(text(&placed.object, "/spec/serviceRef"));
        match objectives(&placed.object, &indicators, &sources) {
            Ok(found) => {
                for one in found {
                    match one {
                        Ok(objective) => documents.objectives.push(objective),
                        Err(why) => documents.problems.push(problem(name, service, why)),
                    }
                }
            }
            Err(why) => documents.problems.push(problem(name, service, why)),
        }
    }
    documents
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn objectives(
    slo: &Value,
    indicators: &HashMap<&str, &Value>,
    sources: &HashMap<&str, &Value>,
) -> Result<Vec<Result<Objective, Wrong>>, Wrong> {
    let Some(name) = text(slo, "/metadata/name") else { return wrong("it has no name", "write metadata.name") };
    let Some(service) = text(slo, "/spec/service").or(text(slo, "/spec/serviceRef")) else {
        return wrong("it names no service", "write spec.service (v1) or spec.serviceRef (v2alpha)");
    };
    let window = window(slo)?;
    let written: Vec<&Value> =
        slo.pointer("/spec/objectives").and_then(Value::as_array).into_iter().flatten().collect();
    if written.is_empty() {
        return wrong("it has no objective", "write spec.objectives with a target each");
    }
    let shared = indicator_of(slo.pointer("/spec").unwrap_or(&Value::Null), indicators)?;
    let one = |(index, written): (usize, &&Value)| {
        let own = indicator_of(written, indicators)?;
        let Some(indicator) = own.or(shared) else {
            return wrong("it has no indicator", "write spec.indicator (v1) or spec.sli (v2alpha), or refer to an SLI");
        };
        let objective = target(written)?;
        let method = method(slo, written)?;
        let indicator = indicator_by(indicator, method, sources)?;
        if !indicator.is_flexible() && (matches!(window, WindowRule::Calendar(_)) || method != Method::Occurrences) {
            return wrong(
                "a query looks over a fixed time, but its slices, or the periods of its calendar, are of another",
                "leave the range out and write counter: true, or write $window in its place",
            );
        }
        let own_name = text(written, "/displayName").map_or_else(|| (index + 1).to_string(), str::to_owned);
        Ok(Objective {
            slo: if self::several(slo) { format!("{name}/{own_name}") } else { name.to_owned() },
            service: ServiceName::Fixed(service.to_owned()),
            objective,
            window: window.clone(),
            indicator,
        })
    };
    Ok(written.iter().enumerate().map(one).collect())
}

fn several(slo: &Value) -> bool {
    slo.pointer("/spec/objectives").and_then(Value::as_array).is_some_and(|all| all.len() > 1)
}

/// An indicator written in place, or the one that is referred to.
fn indicator_of<'a>(place: &'a Value, indicators: &HashMap<&str, &'a Value>) -> Result<Option<&'a Value>, Wrong> {
    if let Some(inline) = place.get("indicator").or(place.get("sli")).filter(|inline| inline.is_object()) {
        return Ok(Some(inline));
    }
    match text(place, "/indicatorRef").or(text(place, "/sliRef")) {
        None => Ok(None),
        Some(name) => match indicators.get(name) {
            Some(indicator) => Ok(Some(indicator)),
            None => wrong(
                format!("it refers to the SLI {name:?}, which is in none of the documents"),
                "add that SLI to the documents of this source",
            ),
        },
    }
}

fn target(objective: &Value) -> Result<f64, Wrong> {
    let fraction = objective.get("target").and_then(Value::as_f64);
    let percent = objective.get("targetPercent").and_then(Value::as_f64).map(|percent| percent / 100.0);
    match fraction.or(percent) {
        Some(target) if is_objective(target) => Ok(target),
        Some(target) => wrong(
            format!("its target is {target}, which is not above 0 and at most 1"),
            "write target as a fraction (0.999), or targetPercent (99.9)",
        ),
        None => wrong("an objective has no target", "write target as a fraction (0.999), or targetPercent (99.9)"),
    }
}

fn window(slo: &Value) -> Result<WindowRule, Wrong> {
    let windows = slo.pointer("/spec/timeWindow").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let [window] = windows else {
        return wrong(format!("it has {} time windows", windows.len()), "write exactly one in spec.timeWindow");
    };
    let Some(length) = text(window, "/duration") else {
        return wrong("its time window has no duration", "write one, as 28d");
    };
    let rolling = window.get("isRolling").and_then(Value::as_bool);
    let calendar = window.get("calendar").filter(|calendar| calendar.is_object());
    match (calendar, rolling) {
        (Some(_), Some(true)) => wrong(
            "its time window is rolling and of a calendar at once",
            "leave out calendar, or write isRolling: false",
        ),
        (Some(calendar), _) => {
            let start = text(calendar, "/startTime").unwrap_or_default();
            let zone = text(calendar, "/timeZone").unwrap_or("UTC");
            match CalendarPeriods::parse(length, start, zone) {
                Ok(periods) => Ok(WindowRule::Calendar(periods)),
                Err(error) => wrong(error.to_string(), "correct spec.timeWindow"),
            }
        }
        (None, Some(false)) => wrong(
            "its time window is not rolling and says nothing of a calendar",
            "write isRolling: true, or calendar with startTime and timeZone",
        ),
        (None, _) => match rolling_seconds(length) {
            Some(seconds) => Ok(WindowRule::Rolling(seconds)),
            None => wrong(format!("{length:?} is no length of a rolling window"), "write days, weeks or hours, as 28d"),
        },
    }
}

/// Months, quarters and years that roll are of 30, 90 and 365 days.
fn rolling_seconds(written: &str) -> Option<i64> {
    let (count, unit) = written.split_at_checked(written.len().checked_sub(1)?)?;
    let days = match unit {
        "M" => 30,
        "Q" => 90,
        "Y" => 365,
        _ => return PolicyDuration::parse(written).ok().map(|duration| duration.seconds()),
    };
    let count: i64 = count.parse().ok().filter(|count| (1..=100).contains(count))?;
    Some(count * days * 86_400)
}

fn method(slo: &Value, objective: &Value) -> Result<Method, Wrong> {
    let slice_seconds = || match text(objective, "/timeSliceWindow") {
        Some(written) => match PolicyDuration::parse(written) {
            Ok(slice) if slice.seconds() >= 60 => Ok(slice.seconds()),
            _ => {
                wrong(format!("its timeSliceWindow {written:?} is no length of at least a minute"), "write one, as 5m")
            }
        },
        None => wrong("its budgeting method needs a timeSliceWindow, which is missing", "write one, as 5m"),
    };
    match text(slo, "/spec/budgetingMethod") {
        Some("Occurrences") => Ok(Method::Occurrences),
        Some("Timeslices") => {
            let slice_seconds = slice_seconds()?;
            match objective.get("timeSliceTarget").and_then(Value::as_f64) {
                Some(target) if is_objective(target) => Ok(Method::TimeSlices { slice_seconds, target }),
                Some(target) => wrong(
                    format!("its timeSliceTarget is {target}, which is not above 0 and at most 1"),
                    "write a fraction, as 0.95",
                ),
                None => wrong("its budgeting method needs a timeSliceTarget, which is missing", "write one, as 0.95"),
            }
        }
        Some("RatioTimeslices") => Ok(Method::RatioTimeSlices { slice_seconds: slice_seconds()? }),
        other => wrong(
            format!("its budgeting method is {:?}, which is not known", other.unwrap_or_default()),
            "write Occurrences, Timeslices or RatioTimeslices",
        ),
    }
}

fn indicator_by(indicator: &Value, method: Method, sources: &HashMap<&str, &Value>) -> Result<Indicator, Wrong> {
    let spec = indicator.get("spec").unwrap_or(indicator);
    let Some(metric) = spec.get("ratioMetric").filter(|metric| metric.is_object()) else {
        let what = if spec.get("thresholdMetric").is_some() {
            "its indicator is a thresholdMetric, which is not measured here"
        } else {
            "its indicator has no metric"
        };
        return wrong(what, "write a ratioMetric with good (or bad) and total, or raw");
    };
    let bare = if metric.get("counter").and_then(Value::as_bool) == Some(true) { Bare::Counter } else { Bare::Sampled };
    let figure = |name: &str, bare: Bare| match metric.get(name).filter(|part| part.is_object()) {
        Some(part) => query(part, sources).and_then(|query| match Figure::parse(query, bare) {
            Ok(figure) => Ok(Some(figure)),
            Err(error) => wrong(format!("{name}: {error}"), "try it in Prometheus first"),
        }),
        None => Ok(None),
    };
    if let Some(ratio) = figure("raw", Bare::Sampled)? {
        let counts = match text(metric, "/rawType") {
            Some("success") => Counted::Good,
            Some("failure") => Counted::Bad,
            other => {
                return wrong(
                    format!("its rawType is {:?}", other.unwrap_or_default()),
                    "write success or failure, for what the raw ratio is of",
                );
            }
        };
        return Ok(Indicator::Ratio { ratio, counts, method });
    }
    let (good, bad, total) = (figure("good", bare)?, figure("bad", bare)?, figure("total", bare)?);
    match (good, bad, total) {
        (Some(counted), None, Some(total)) => Ok(Indicator::Events { counted, counts: Counted::Good, total, method }),
        (None, Some(counted), Some(total)) => Ok(Indicator::Events { counted, counts: Counted::Bad, total, method }),
        _ => wrong("its ratioMetric is not complete", "write total and one of good and bad, or raw"),
    }
}

/// The query of a metric; its data source must be a Prometheus, where it says what it is.
fn query<'a>(metric: &'a Value, sources: &HashMap<&str, &Value>) -> Result<&'a str, Wrong> {
    let v1 = metric.get("metricSource");
    let place = v1.unwrap_or(metric);
    let reference = text(place, "/metricSourceRef").or(text(place, "/dataSourceRef"));
    let by_reference = match reference {
        // Where it is in none of the documents, the source's own Prometheus is meant.
        Some(name) => sources.get(name).and_then(|source| text(source, "/spec/type")),
        None => text(place, "/dataSourceSpec/type"),
    };
    if let Some(kind) = text(place, "/type").or(by_reference)
        && !kind.eq_ignore_ascii_case("prometheus")
    {
        return wrong(
            format!("its data source is of type {kind:?}"),
            "only Prometheus is asked: remove the SLO, or measure it there",
        );
    }
    match text(place, "/spec/query").or(text(place, "/spec/promql")) {
        Some(query) => Ok(query),
        None => wrong("a metric has no query", "write it as spec.query of the metric's source"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{now, taking};
    use super::super::measure::Weighting;
    use super::super::queried;
    use super::super::window::Window;
    use super::*;

    const V1: &str = r#"
apiVersion: openslo/v1
kind: DataSource
metadata: {name: metrics}
spec: {type: Prometheus}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: availability
  labels: {team: [a, b], tier: gold}
spec:
  service: checkout
  indicator:
    metadata: {name: ok}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {metricSourceRef: metrics, type: Prometheus, spec: {query: 'sum(http_requests_total{code!~"5.."})'}}}
        total: {metricSource: {metricSourceRef: metrics, spec: {query: sum(http_requests_total)}}}
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: Good, target: 0.995}]
"#;

    const V2: &str = r#"
- apiVersion: openslo.com/v2alpha
  kind: SLO
  metadata: {name: web-availability, labels: {env: prod}}
  spec:
    serviceRef: web
    sliRef: web-ratio
    timeWindow: [{duration: 1w, isRolling: false, calendar: {startTime: "2026-01-05 12:00:00", timeZone: America/New_York}}]
    budgetingMethod: Timeslices
    objectives: [{op: gt, targetPercent: 99.5, timeSliceTarget: 0.95, timeSliceWindow: 5m}]
- apiVersion: openslo.com/v2alpha
  kind: SLI
  metadata: {name: web-ratio}
  spec:
    ratioMetric:
      counter: true
      bad: {dataSourceRef: my-prometheus, spec: {query: 'sum(http_errors)'}}
      total: {dataSourceRef: my-prometheus, spec: {query: 'sum(http_requests)'}}
"#;

    fn of(text: &str) -> Documents {
        read(&[("slos.yaml".to_owned(), text.to_owned())])
    }

    fn asked(objective: &Objective) -> Vec<String> {
        queried::ask(0, objective, taking()).unwrap().text.split(" or label_replace").map(str::to_owned).collect()
    }

    #[test]
    fn version_1_with_lists_of_labels_is_read() {
        let Documents { objectives, problems } = of(V1);
        assert_eq!(problems, []);
        let [one] = objectives.as_slice() else { panic!("{objectives:?}") };
        assert_eq!((one.slo.as_str(), &one.service), ("availability", &ServiceName::Fixed("checkout".into())));
        assert!((one.objective - 0.995).abs() < 1e-12);
        let parts = asked(one);
        assert_eq!(
            parts[0],
            r#"label_replace(sum(increase(http_requests_total{code!~"5.."}[4w])), "freshgate_part", "good", "", "")"#
        );
        assert_eq!(parts[1], r#"(sum(increase(http_requests_total[4w])), "freshgate_part", "total", "", "")"#);
        assert_eq!(
            parts[2],
            r#"((1 - sum(increase(http_requests_total{code!~"5.."}[5m])) / sum(increase(http_requests_total[5m]))), "freshgate_part", "recent 300", "", "")"#
        );
    }

    #[test]
    fn version_2_with_slices_of_a_calendar_is_read() {
        let Documents { objectives, problems } = of(V2);
        assert_eq!(problems, []);
        let one = &objectives[0];
        let Window::Calendar { starts_at, ends_at, .. } = one.window.at(now()) else { panic!("it is of a calendar") };
        assert_eq!(starts_at.to_rfc3339(), "2026-11-23T17:00:00+00:00");
        assert_eq!(ends_at.to_rfc3339(), "2026-11-30T17:00:00+00:00");
        let parts = asked(one);
        assert_eq!(
            parts[0],
            r#"label_replace(sum_over_time(((sum(increase(http_errors[5m])) / sum(increase(http_requests[5m]))) > bool 0.050000001)[1d19h:5m]), "freshgate_part", "bad", "", "")"#
        );
        let read = queried::read(0, one, &super::super::answer::Answer::default(), taking());
        assert_eq!(read[0].reading.weighting, Weighting::TimeSlices);
    }

    #[test]
    fn several_objectives_are_as_many_slos() {
        let two = V1.replace(
            "[{displayName: Good, target: 0.995}]",
            "[{displayName: Good, target: 0.995}, {targetPercent: 99.9}]",
        );
        let names: Vec<String> = of(&two).objectives.iter().map(|one| one.slo.clone()).collect();
        assert_eq!(names, ["availability/Good", "availability/2"]);
    }

    #[test]
    fn a_raw_ratio_and_a_mark_for_the_window_are_read() {
        let metric = |text: &str| {
            let start = V1.find("        counter: true").unwrap();
            let end = V1.find("  timeWindow").unwrap();
            format!("{}{text}\n{}", &V1[..start], &V1[end..])
        };
        let raw = metric("        rawType: success\n        raw: {metricSource: {spec: {query: my:ratio}}}");
        assert!(
            asked(&of(&raw).objectives[0])[0].contains("(1 - avg_over_time((my:ratio >= 0)[4w:5m]))"),
            "{:?}",
            asked(&of(&raw).objectives[0])
        );
        let marked = metric(
            "        bad: {metricSource: {spec: {query: 'sum(rate(errors[{{.window}}]))'}}}\n        total: {metricSource: {spec: {query: 'sum(rate(all[{{.window}}]))'}}}",
        );
        assert!(asked(&of(&marked).objectives[0])[0].contains("sum(rate(errors[4w]))"));
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        for (text, said) in [
            (
                V2.replace("sliRef: web-ratio", "sliRef: other"),
                r#"slos.yaml:1: SLO "web-availability": it refers to the SLI "other", which is in none of the documents; add that SLI to the documents of this source"#,
            ),
            (
                V1.replace("Occurrences", "Guesses"),
                r#"slos.yaml:7: SLO "availability": its budgeting method is "Guesses", which is not known; write Occurrences, Timeslices or RatioTimeslices"#,
            ),
            (V1.replace("target: 0.995", "target: 99.5"), "its target is 99.5, which is not above 0 and at most 1"),
            (V1.replace("Occurrences", "Timeslices"), "needs a timeSliceWindow, which is missing"),
            (
                V1.replace("28d, isRolling: true", "1M, isRolling: false"),
                "is not rolling and says nothing of a calendar",
            ),
            (
                V1.replace("{type: Prometheus}", "{type: Datadog}")
                    .replace("metricSourceRef: metrics, type: Prometheus,", "metricSourceRef: metrics,"),
                r#"its data source is of type "Datadog""#,
            ),
            (V1.replace("sum(http_requests_total)", "sum("), "total: the query is no PromQL"),
            (V1.replace("service: checkout", "owner: me"), "it names no service"),
            (
                V1.replace("apiVersion: openslo/v1\nkind: SLO", "apiVersion: openslo/v3\nkind: SLO"),
                r#"its apiVersion is "openslo/v3", which is not read"#,
            ),
            (
                V2.replace("sum(http_errors)", "sum(increase(http_errors[7d]))"),
                "a query looks over a fixed time, but its slices, or the periods of its calendar, are of another",
            ),
            (
                V1.replace("ratioMetric", "thresholdMetric"),
                "its indicator is a thresholdMetric, which is not measured here",
            ),
            ("a: [".to_owned(), "write YAML or JSON"),
        ] {
            let Documents { objectives, problems } = of(&text);
            assert!(objectives.is_empty(), "{said}");
            assert!(problems.iter().any(|one| one.to_string().contains(said)), "{said}: {problems:?}");
        }
    }
}
