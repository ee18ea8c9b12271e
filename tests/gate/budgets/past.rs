//! Thirty days of one shop with ten services, each with a past of its own, and what Sloth, Pyrra and Grafana would have
//! recorded of it.

use chrono::{DateTime, Utc};

use crate::cluster::prometheus::{Prometheus, Rules, Samples};

/// When the samples end. Fixed, so that each run sees the same.
pub const END_SECONDS: i64 = 1_719_705_600; // 2024-06-30T00:00:00Z
const DAY: i64 = 86_400;
/// Seconds between samples.
const SCRAPE: i64 = 100;
/// Events between two samples of a busy service.
const EVENTS: f64 = 1_000.0;
/// How often the rules of the formats are evaluated.
const EVERY: i64 = 300;

/// All services. Their objective is 99.9 % of 30 days.
pub const SERVICES: [&str; 12] =
    ["healthy", "low", "fast", "exhausted", "none", "few", "holes", "stale", "young", "renamed", "waves", "edge"];

/// Events and bad ones that came to a service between two samples, the later of which is at `at`.
fn events(service: &str, at: i64) -> (f64, f64) {
    let ago = END_SECONDS - at;
    let of = |ratio: f64| (EVENTS, EVENTS * ratio);
    match service {
        "low" => of(0.000_85),
        // Since two hours each twentieth event is bad.
        "fast" => of(if ago < 2 * 3_600 { 0.05 } else { 0.000_1 }),
        // A day of trouble, ten days ago.
        "exhausted" => of(if (10 * DAY..11 * DAY).contains(&ago) { 0.06 } else { 0.000_1 }),
        "none" => (0.0, 0.0),
        // One event each five hours or so, none of them bad.
        "few" => (f64::from(u8::from(at / SCRAPE % 192 == 0)), 0.0),
        // Two days without any event.
        "holes" if (12 * DAY..14 * DAY).contains(&ago) => (0.0, 0.0),
        // Busy days with few errors and quiet nights with many.
        "waves" if at % DAY < DAY / 2 => (EVENTS, EVENTS * 0.000_2),
        "waves" => (EVENTS / 10.0, EVENTS / 10.0 * 0.000_9),
        // Spent to the last event.
        "edge" => of(0.001),
        _ => of(0.000_4),
    }
}

/// From when to when a service is scraped.
fn scraped(service: &str) -> (i64, i64) {
    match service {
        "stale" => (END_SECONDS - 31 * DAY, END_SECONDS - 40 * 60),
        "young" => (END_SECONDS - 5 * DAY, END_SECONDS),
        _ => (END_SECONDS - 31 * DAY, END_SECONDS),
    }
}

fn samples(service: &str) -> Vec<Samples> {
    let (from, until) = scraped(service);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let (mut all_good, mut all_bad) = (0.0, 0.0);
    let mut at = from;
    while at <= until {
        let (total, of_them_bad) = events(service, at);
        all_good += total - of_them_bad;
        all_bad += of_them_bad;
        good.push((at, all_good));
        bad.push((at, all_bad));
        at += SCRAPE;
    }
    let series = |code: &str, samples| Samples {
        series: format!("http_requests_total{{service=\"{service}\",code=\"{code}\"}}"),
        samples,
    };
    // Its errors are counted by a metric that nobody asks for any more.
    if service == "renamed" {
        return vec![series("200", good)];
    }
    vec![series("200", good), series("500", bad)]
}

/// Bad ÷ all over a length of time, for each service.
fn ratio(length: &str) -> String {
    format!(
        "sum by (service) (rate(http_requests_total{{code=\"500\"}}[{length}])) / sum by (service) (rate(http_requests_total[{length}]))"
    )
}

fn label(query: &str, label: &str, pattern: &str) -> String {
    format!("label_replace({query}, \"{label}\", \"{pattern}\", \"service\", \"(.*)\")")
}

fn for_sloth(query: &str) -> String {
    let labelled =
        label(&label(&label(query, "sloth_service", "$1"), "sloth_slo", "availability"), "sloth_id", "$1-availability");
    format!("max by (sloth_id, sloth_service, sloth_slo) ({labelled})")
}

fn for_pyrra(query: &str) -> String {
    format!("max by (slo) ({})", label(query, "slo", "$1"))
}

fn for_grafana(query: &str) -> String {
    let labelled = label(
        &label(&label(query, "grafana_slo_service", "$1"), "grafana_slo_name", "availability"),
        "grafana_slo_uuid",
        "id-$1",
    );
    format!("max by (grafana_slo_uuid, grafana_slo_name, grafana_slo_service) ({labelled})")
}

/// What would have been recorded all the time.
fn long_rules() -> Vec<(&'static str, String)> {
    vec![
        ("slo:sli_error:ratio_rate5m", for_sloth(&ratio("5m"))),
        ("http_requests:burnrate5m", for_pyrra(&ratio("5m"))),
        ("grafana_slo_sli_5m", for_grafana(&format!("1 - {}", ratio("5m")))),
        ("grafana_slo_total_rate_5m", for_grafana("sum by (service) (rate(http_requests_total[5m]))")),
        ("grafana_slo_success_rate_5m", for_grafana("sum by (service) (rate(http_requests_total{code=\"200\"}[5m]))")),
    ]
}

/// What is looked at in its last state alone, as rules. The second set is made from what the first and the long ones made.
fn short_rules() -> [String; 2] {
    let each = |query: &str| format!("(0 * sum by (service) (http_requests_total offset 1h) + {query})");
    let increase = "increase(http_requests_total[30d])";
    let all = format!("sum by (service) ({increase})");
    // The trap: where no error series is there, a zero stands in.
    let bad = format!("(sum by (service) (increase(http_requests_total{{code=\"500\"}}[30d])) or 0 * {all})");
    let mut rules = vec![
        ("slo:objective:ratio".to_owned(), for_sloth(&each("0.999"))),
        ("slo:time_period:days".to_owned(), for_sloth(&each("30"))),
        ("pyrra_objective".to_owned(), for_pyrra(&each("0.999"))),
        ("pyrra_window".to_owned(), for_pyrra(&each("2592000"))),
        ("pyrra_availability".to_owned(), for_pyrra(&format!("1 - {bad} / {all}"))),
        (
            "http_requests:increase30d".to_owned(),
            format!("sum by (slo, code) ({})", label(&format!("{increase} and on (service) http_requests_total{{code=\"500\"}} offset 1h"), "slo", "$1")),
        ),
        ("http_requests:increase30d".to_owned(), "label_replace(sum(increase(http_requests_total{service=\"renamed\"}[30d])), \"slo\", \"renamed\", \"\", \"\")".to_owned()),
        ("grafana_slo_objective".to_owned(), for_grafana(&each("0.999"))),
        ("grafana_slo_objective_window_seconds".to_owned(), for_grafana(&each("2592000"))),
        (
            "grafana_slo_sli_window".to_owned(),
            for_grafana(&format!("sum by (service) (increase(http_requests_total{{code=\"200\"}}[30d])) / {all}")),
        ),
    ];
    for length in ["1h", "6h"] {
        rules.push((format!("slo:sli_error:ratio_rate{length}"), for_sloth(&ratio(length))));
        rules.push((format!("http_requests:burnrate{length}"), for_pyrra(&ratio(length))));
        rules.push((format!("grafana_slo_sli_{length}"), for_grafana(&format!("1 - {}", ratio(length)))));
    }
    let period = "sum_over_time(slo:sli_error:ratio_rate5m[30d]) / count_over_time(slo:sli_error:ratio_rate5m[30d])";
    [as_group(&rules), as_group(&[("slo:sli_error:ratio_rate30d".to_owned(), period.to_owned())])]
}

fn as_group(rules: &[(String, String)]) -> String {
    let rules: Vec<serde_json::Value> =
        rules.iter().map(|(record, expr)| serde_json::json!({"record": record, "expr": expr})).collect();
    // JSON is YAML.
    serde_json::json!({"groups": [{"name": "recorded", "interval": format!("{EVERY}s"), "rules": rules}]}).to_string()
}

/// A Prometheus with that past, and the time at which its rules were last evaluated: all figures are of then.
pub fn prometheus() -> (Prometheus, DateTime<Utc>) {
    let samples: Vec<Samples> = SERVICES.iter().flat_map(|service| samples(service)).collect();
    let mut prometheus = Prometheus::with(&samples);
    let range = (END_SECONDS - 31 * DAY, END_SECONDS);
    let recorded: Vec<Samples> = long_rules()
        .into_iter()
        .flat_map(|(name, query)| prometheus.recorded(name, &query, (range.1 - 30 * DAY - 3_000, range.1), EVERY))
        .collect();
    prometheus.add(&recorded);
    for yaml in &short_rules() {
        prometheus.record(&Rules { yaml, from_seconds: END_SECONDS - 3_600, until_seconds: END_SECONDS });
    }
    let last = prometheus.range(
        "max_over_time(timestamp(slo:objective:ratio{sloth_service=\"healthy\"})[10m:1s])",
        (END_SECONDS, END_SECONDS),
        60,
    );
    let seconds: f64 = last[0]["values"][0][1].as_str().unwrap().parse().unwrap();
    #[allow(clippy::cast_possible_truncation)]
    let at = DateTime::from_timestamp_millis((seconds * 1_000.0).round() as i64).unwrap();
    (prometheus, at)
}
