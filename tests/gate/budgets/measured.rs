//! The same events, measured by five formats: where they measure the same thing they agree, and where not it is said why.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use freshgate::budget::measure::Weighting;
use freshgate::budget::poll::{Kept, poll};
use freshgate::budget::snapshot::Sampled;
use freshgate::budget::state::{BudgetState, Thresholds};

use super::past;
use super::source;
use crate::cluster::install_tls;

struct Measured(BTreeMap<String, Sampled>);

impl Measured {
    fn of(&self, service: &str) -> &Sampled {
        self.0.get(service).unwrap_or_else(|| panic!("there is no {service} among {:?}", self.0.keys()))
    }

    fn remaining(&self, service: &str) -> f64 {
        let budget = &self.of(service).budget;
        budget.remaining().unwrap_or_else(|| panic!("{service}: {budget:?}"))
    }

    fn state(&self, service: &str, at: DateTime<Utc>) -> BudgetState {
        self.of(service).budget.state(&Thresholds::default(), at).state
    }
}

async fn measure(spec: &str, at: DateTime<Utc>) -> Measured {
    let source = source("slo", spec);
    let polled =
        poll(&source, &mut Kept::default(), None, at).await.unwrap_or_else(|error| panic!("{}: {error}", &spec[..40]));
    assert_eq!(polled.trouble, None);
    let one = |(service, budgets): (String, Vec<Sampled>)| {
        let [sampled] = budgets.as_slice() else { panic!("{service}: {budgets:?}") };
        (service, sampled.clone())
    };
    Measured(polled.budgets.into_iter().map(one).collect())
}

fn openslo_documents() -> String {
    let one = |service: &&str| {
        format!(
            "
apiVersion: openslo/v1
kind: SLO
metadata: {{name: availability, labels: {{team: [a, b]}}}}
spec:
  service: {service}
  indicator:
    metadata: {{name: good}}
    spec:
      ratioMetric:
        counter: true
        good: {{metricSource: {{type: Prometheus, spec: {{query: 'sum(http_requests_total{{service=\"{service}\",code!~\"5..\"}})'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: 'sum(http_requests_total{{service=\"{service}\"}})'}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: 0.999}}]
"
        )
    };
    past::SERVICES.iter().map(one).collect::<Vec<_>>().join("---")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_formats_measure_the_same_events() {
    use BudgetState::{Exhausted, FastBurn, Healthy, InsufficientHistory, Low, LowTraffic, NoData, NoTraffic, Stale};
    install_tls();
    let (prometheus, at) = tokio::task::spawn_blocking(past::prometheus).await.unwrap();
    let url = prometheus.url();
    let of =
        |format: &str, more: &str| format!("{{format: {format}, prometheus: {{url: '{url}', timeout: 1m}}{more}}}");
    let sloth = measure(&of("Sloth", ""), at).await;
    let pyrra = measure(&of("Pyrra", ""), at).await;
    let grafana = measure(&of("GrafanaSLO", ""), at).await;
    let documents = serde_json::json!({"documents": [openslo_documents()]});
    let openslo = measure(&of("OpenSLO", &format!(", openslo: {documents}")), at).await;
    let objective = serde_json::json!({"objectives": [{
        "slo": "availability", "objective": 0.999, "window": "30d",
        "good": "sum by (service) (increase(http_requests_total{code=\"200\"}[$window]))",
        "total": "sum by (service) (increase(http_requests_total[$window]))",
    }]});
    let promql = measure(&of("PromQL", &format!(", promql: {objective}")), at).await;
    let all =
        [("Sloth", &sloth), ("Pyrra", &pyrra), ("GrafanaSLO", &grafana), ("OpenSLO", &openslo), ("PromQL", &promql)];

    // What counts events agrees to the last digits, whatever the past was like.
    for service in ["healthy", "low", "fast", "exhausted", "holes", "waves", "edge"] {
        let expected = promql.remaining(service);
        for (format, measured) in &all[1..4] {
            let found = measured.remaining(service);
            assert!((found - expected).abs() < 1e-6, "{service}: {format} has {found}, PromQL {expected}");
        }
    }
    // A mean of ratios is the same where the ratio does not change, with holes or without.
    for service in ["healthy", "low", "holes", "edge"] {
        let (mean, events) = (sloth.remaining(service), promql.remaining(service));
        assert!((mean - events).abs() < 1e-6, "{service}: Sloth has {mean}, PromQL {events}");
    }
    // Where it changes, the mean of five minutes each is of slightly other times than the events between two samples.
    for service in ["fast", "exhausted"] {
        let (mean, events) = (sloth.remaining(service), promql.remaining(service));
        assert!((mean - events).abs() < 5e-3, "{service}: Sloth has {mean}, PromQL {events}");
    }
    // And where quiet hours are worse than busy ones, it weighs them as if they were busy.
    let (mean, events) = (sloth.remaining("waves"), promql.remaining("waves"));
    assert!((mean - 0.45).abs() < 1e-2 && (events - 0.736).abs() < 1e-2, "Sloth has {mean}, PromQL {events}");
    assert_eq!(sloth.of("waves").budget.figures().unwrap().weighting, Weighting::MeanOfRatios);
    assert_eq!(promql.of("waves").budget.figures().unwrap().weighting, Weighting::Events);

    assert!((promql.remaining("healthy") - 0.6).abs() < 1e-6);
    assert!((promql.remaining("low") - 0.15).abs() < 1e-6);
    assert!((promql.remaining("exhausted") + 1.0967).abs() < 1e-2, "{}", promql.remaining("exhausted"));

    for (format, measured) in all {
        for (service, state) in [
            ("healthy", Healthy),
            ("low", Low),
            ("fast", FastBurn),
            ("exhausted", Exhausted),
            ("edge", Exhausted),
            ("none", NoTraffic),
            ("holes", Healthy),
            ("stale", Stale),
            ("young", InsufficientHistory),
        ] {
            let budget = &measured.of(service).budget;
            assert_eq!(measured.state(service, at), state, "{format}, {service}: {budget:?}");
        }
        // One event would spend all of it, which Sloth cannot know: it counts no events.
        let few = if format == "Sloth" { Healthy } else { LowTraffic };
        assert_eq!(measured.state("few", at), few, "{format}: {:?}", measured.of("few").budget);
    }
    slices_and_calendars(&url, at).await;

    // A zero in place of a missing error series looks perfect; nobody believes it.
    assert_eq!(pyrra.state("renamed", at), NoData);
    let said = pyrra.of("renamed").budget.state(&Thresholds::default(), at).detail.unwrap();
    assert_eq!(
        said,
        "its total is the only series there is, so no error could be seen: its metric or label may have been renamed"
    );
    let note = sloth.of("holes").budget.figures().unwrap().note.clone().unwrap();
    assert!(note.starts_with("a part of the 30d is no number"), "{note}");

    // When the day of trouble has left the window the freeze lifts: twenty days from now, and no day later.
    for (format, measured) in all {
        let lifts = measured.of("exhausted").lifts_at(0.05, at).unwrap_or_else(|| panic!("{format} has no history"));
        let hours = lifts.signed_duration_since(at).num_hours();
        assert!((19 * 24 - 2..=20 * 24 + 3).contains(&hours), "{format}: it lifts in {hours} hours");
        assert!(measured.of("healthy").history.is_none(), "{format}: who has enough is not asked about");
    }
}

/// Bad slices of time are counted, and a period of the calendar has its whole budget from the first day on.
async fn slices_and_calendars(url: &str, at: DateTime<Utc>) {
    const JUNE: &str = "{duration: 1M, calendar: {startTime: '2024-01-01 00:00:00', timeZone: UTC}}";
    const ROLLING: &str = "{duration: 30d, isRolling: true}";
    let of = |method: &str, window: &str, target: f64| {
        let query = |more: &str| format!("'sum(http_requests_total{{service=\"exhausted\"{more}}})'");
        let document = format!(
            "
apiVersion: openslo.com/v2alpha
kind: SLO
metadata: {{name: availability}}
spec:
  serviceRef: exhausted
  sli: {{metadata: {{name: good}}, spec: {{ratioMetric: {{counter: true, bad: {{dataSourceRef: p, spec: {{query: {}}}}}, total: {{dataSourceRef: p, spec: {{query: {}}}}}}}}}}}
  timeWindow: [{window}]
  budgetingMethod: {method}
  objectives: [{{target: {target}, timeSliceTarget: 0.95, timeSliceWindow: 5m}}]
",
            query(",code=\"500\""),
            query("")
        );
        let documents = serde_json::json!({"documents": [document]});
        format!("{{format: OpenSLO, prometheus: {{url: '{url}', timeout: 1m}}, openslo: {documents}}}")
    };
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 5e-3, "{found} is not {expected}");
    // A day of 288 slices, in 30 days of 8,640, of which 864 may be bad.
    let rolling = measure(&of("Timeslices", ROLLING, 0.9), at).await;
    close(rolling.remaining("exhausted"), 1.0 - 288.0 / 864.0);
    let figures = rolling.of("exhausted").budget.figures().unwrap();
    assert_eq!(figures.weighting, Weighting::TimeSlices);
    close(figures.events.unwrap().bad, 288.0);
    // The same day in June, which has as many days and is all but over.
    close(measure(&of("Timeslices", JUNE, 0.9), at).await.remaining("exhausted"), 1.0 - 288.0 / 864.0);
    // Two days after the trouble a third of June is yet to come; its slices are in the budget already.
    let earlier = at - chrono::TimeDelta::days(8);
    let june = measure(&of("Timeslices", JUNE, 0.9), earlier).await;
    close(june.remaining("exhausted"), 1.0 - 288.0 / 864.0);
    assert_eq!(june.of("exhausted").lifts_at(0.05, earlier).unwrap().to_rfc3339(), "2024-07-01T00:00:00+00:00");
    // The mean of the ratios of all slices, of which each thirtieth had 6 % and the others 0.01 %.
    let mean = (0.06 + 29.0 * 0.000_1) / 30.0;
    close(measure(&of("RatioTimeslices", ROLLING, 0.99), at).await.remaining("exhausted"), 1.0 - mean / 0.01);
    // Of events nobody knows how many are to come: those of the 29 days that are over count.
    let so_far = (0.06 + 28.0 * 0.000_1) / 29.0;
    close(measure(&of("Occurrences", JUNE, 0.99), at).await.remaining("exhausted"), 1.0 - so_far / 0.01);
}
