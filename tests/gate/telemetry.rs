//! OpenTelemetry: records as logs, reviews as traces, and a collector that is no good costs a counter alone.

use std::path::Path;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use super::reviews::{POLICY, PROGRAM, policies, review};
use super::server::pair;
use crate::cluster::collector::{Behaviour, Collector, body, text};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::process::free_ports;
use crate::cluster::registry::Registry;

/// Longer than any answer may take; what hangs is ended by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gate that tells that collector, with these variables.
fn gate(url: &str, timeout_milliseconds: &str, more: &[&str], env: &[(&str, &Path)]) -> (Gate, tempfile::TempDir) {
    install_tls();
    let folder = policies(POLICY);
    let path = folder.path().display().to_string();
    let own = ["--policies", &path, "--otlp-endpoint", url, "--otlp-timeout-milliseconds", timeout_milliseconds];
    (Gate::start(Path::new(PROGRAM), &[&own[..], more].concat(), env), folder)
}

/// The answer to a review, from a caller of that trace.
async fn ask(gate: &Gate, name: &str, image: &str, traceparent: Option<&str>) -> Value {
    let call = gate.client().post(gate.url()).header("content-type", "application/json");
    let call = traceparent.iter().fold(call, |call, traceparent| call.header("traceparent", *traceparent));
    let answer = tokio::time::timeout(PATIENCE, call.body(review(name, image).to_string()).send()).await;
    answer.expect("a decision waits for nobody").unwrap().json::<Value>().await.unwrap()["response"].take()
}

async fn metrics(gate: &Gate) -> String {
    reqwest::get(format!("http://127.0.0.1:{}/metrics", gate.admin_port)).await.unwrap().text().await.unwrap()
}

/// A counter of the gate's; 0 where it is not there yet.
async fn count(gate: &Gate, name: &str) -> u64 {
    let page = metrics(gate).await;
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

async fn until(gate: &Gate, name: &str, at_least: u64) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while count(gate, name).await < at_least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{name} never reached {at_least}: {}", metrics(gate).await);
}

const SENT_LOGS: &str = r#"freshgate_otlp_sent_total{signal="logs"}"#;
const SENT_TRACES: &str = r#"freshgate_otlp_sent_total{signal="traces"}"#;
const LOST_LOGS: &str = r#"freshgate_otlp_dropped_total{signal="logs",why="not_taken"}"#;
const LOST_TRACES: &str = r#"freshgate_otlp_dropped_total{signal="traces",why="not_taken"}"#;

/// What is refused without asking anybody.
const NOWHERE: &str = "169.254.169.254/x:1";

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_a_log_and_each_review_a_trace_of_its_callers() {
    let collector = Collector::start().await;
    let registry = Registry::distribution();
    let built = (Utc::now() - TimeDelta::days(3)).to_rfc3339();
    let image = registry.push("shop/app", "1", &Config::created("app", &built).image());
    let (mut gate, _policies) = gate(
        &collector.url(),
        "10000",
        &["--insecure-registry", &registry.host(), "--cluster", "blue", "--id", "gate-1"],
        &[("OTEL_EXPORTER_OTLP_HEADERS", Path::new("authorization=Bearer%20open-sesame,x-tenant=shop"))],
    );
    let (trace_id, parent_id) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let allowed = ask(&gate, "app", &image, Some(&format!("00-{trace_id}-{parent_id}-01"))).await;
    let unsampled = ask(&gate, "quiet", &image, Some("00-11111111111111111111111111111111-b7ad6b7169203331-00")).await;
    let denied = ask(&gate, "denied", NOWHERE, None).await;
    // The end sends what waits.
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let got = collector.got();

    let records = gate.records(&[]);
    assert_eq!((records.len(), got.logs.len()), (3, 3));
    for (answer, name, severity) in
        [(&allowed, "app", "INFO"), (&unsampled, "quiet", "INFO"), (&denied, "denied", "WARN")]
    {
        let id = answer["auditAnnotations"]["decision-id"].as_str().unwrap();
        let log = got.logs.iter().find(|log| text(&log.attributes, "decision_id") == Some(id)).unwrap();
        let mut stored = records.iter().find(|record| record["decision_id"] == id).unwrap().clone();
        // The hash is that of the line, so it does not stand in it.
        let hash = stored.as_object_mut().unwrap().remove("hash").unwrap();
        assert_eq!(serde_json::from_str::<Value>(body(log)).unwrap(), stored);
        let prev_hash = stored["prev_hash"].as_str().unwrap().parse().unwrap();
        let linked = freshgate::audit::chain::link(prev_hash, stored["seq"].as_u64().unwrap(), body(log).as_bytes());
        assert_eq!(hash, linked.to_string(), "byte for byte as it was hashed");
        let attributes = ["decision", "namespace", "kind", "name"].map(|key| text(&log.attributes, key).unwrap());
        let decision = answer["auditAnnotations"]["decision"].as_str().unwrap();
        assert_eq!(attributes, [decision, "shop", "Deployment", name]);
        assert_eq!((log.severity_text.as_str(), log.event_name.as_str()), (severity, "freshgate.decision"));
        let made: chrono::DateTime<Utc> = stored["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(log.time_unix_nano, u64::try_from(made.timestamp_nanos_opt().unwrap()).unwrap());
    }

    let named = |name: &str| got.spans.iter().filter(|span| span.name == name).collect::<Vec<&Span>>();
    // Two reviews: who called the third one samples nothing.
    assert_eq!(["review", "gather evidence", "look up image"].map(|name| named(name).len()), [2, 2, 2]);
    let review = *named("review").iter().find(|span| text(&span.attributes, "name") == Some("app")).unwrap();
    assert_eq!(
        (hex::encode(&review.trace_id), hex::encode(&review.parent_span_id)),
        (trace_id.to_owned(), parent_id.to_owned())
    );
    assert_eq!(text(&review.attributes, "decision_id"), allowed["auditAnnotations"]["decision-id"].as_str());
    assert_eq!(text(&review.attributes, "decision"), Some("allow"));
    let below = |name: &str, parent: &Span| {
        let found = named(name).into_iter().find(|span| span.parent_span_id == parent.span_id);
        found.unwrap_or_else(|| panic!("no {name:?} below {:?}", parent.name)).clone()
    };
    let gathered = below("gather evidence", review);
    let looked_up = below("look up image", &gathered);
    assert_eq!(text(&looked_up.attributes, "image"), Some(image.as_str()));
    assert_eq!(text(&looked_up.attributes, "state"), Some("known"));
    assert!(
        review.start_time_unix_nano <= gathered.start_time_unix_nano
            && gathered.end_time_unix_nano <= review.end_time_unix_nano
    );
    // A log names the span of its review, also of one without a caller.
    for review in named("review") {
        let id = text(&review.attributes, "decision_id");
        let log = got.logs.iter().find(|log| text(&log.attributes, "decision_id") == id).unwrap();
        assert_eq!((&log.trace_id, &log.span_id), (&review.trace_id, &review.span_id));
    }
    let root = *named("review").iter().find(|span| text(&span.attributes, "name") == Some("denied")).unwrap();
    assert_eq!(root.parent_span_id, Vec::<u8>::new());

    let about = ["service.name", "service.version", "service.instance.id", "k8s.cluster.name"];
    for resource in &got.resources {
        let about = about.map(|key| text(&resource.attributes, key));
        assert_eq!(about, [Some("freshgate"), Some(env!("CARGO_PKG_VERSION")), Some("gate-1"), Some("blue")]);
    }
    assert!(!got.headers.is_empty());
    for headers in &got.headers {
        assert!(
            headers.contains("authorization: Bearer open-sesame") && headers.contains("x-tenant: shop"),
            "{headers}"
        );
    }
}

/// Down, refusing, slow beyond its time, or silent: decisions go on and are recorded; what is lost is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_no_good_costs_a_counter_and_it_is_told_again_when_it_is_back() {
    let collector = Collector::start().await;
    let (gate, _policies) = gate(&collector.url(), "300", &[], &[]);
    let mut lost = 0;
    for behaviour in
        [Behaviour::Status(500), Behaviour::Status(503), Behaviour::BlackHole, Behaviour::Slow(Duration::from_secs(5))]
    {
        collector.set(behaviour);
        for number in 0..5 {
            let answer = ask(&gate, &format!("app-{number}"), NOWHERE, None).await;
            assert_eq!(answer["auditAnnotations"]["unrecorded"], Value::Null, "{behaviour:?}");
        }
        lost += 5;
        until(&gate, LOST_LOGS, lost).await;
        // Of each review its own span, and those below it.
        until(&gate, LOST_TRACES, 3 * lost).await;
    }
    assert_eq!((count(&gate, SENT_LOGS).await, count(&gate, SENT_TRACES).await), (0, 0));
    let log = gate.process.log();
    assert_eq!(log.matches("the OTLP collector does not take them; they are dropped and counted").count(), 2, "{log}");
    collector.set(Behaviour::Takes);
    ask(&gate, "again", NOWHERE, None).await;
    until(&gate, SENT_LOGS, 1).await;
    until(&gate, SENT_TRACES, 3).await;
    let got = collector.wait_for("the next decision", |got| !got.logs.is_empty() && !got.spans.is_empty()).await;
    assert!(got.logs.iter().any(|log| text(&log.attributes, "name") == Some("again")));
    assert!(gate.process.log().contains("the OTLP collector takes them again"));
    assert_eq!(gate.records(&[]).len(), 21);
}

/// With the longest patience, so that the first request is never over: nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_do_not_wait_for_a_collector_that_never_answers() {
    let collector = Collector::start().await;
    collector.set(Behaviour::BlackHole);
    let (gate, _policies) = gate(&collector.url(), "600000", &[], &[]);
    ask(&gate, "first", NOWHERE, None).await;
    collector.wait_for("the request that gets no answer", |got| got.requests >= 2).await;
    for number in 0..50 {
        ask(&gate, &format!("app-{number}"), NOWHERE, None).await;
    }
    assert_eq!(gate.records(&["--limit", "100"]).len(), 51);
    assert_eq!((count(&gate, SENT_LOGS).await, count(&gate, LOST_LOGS).await), (0, 0), "the first still waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_a_counter() {
    let [port] = free_ports();
    let (mut gate, _policies) = gate(&format!("http://127.0.0.1:{port}/"), "300", &[], &[]);
    ask(&gate, "app", NOWHERE, None).await;
    until(&gate, LOST_LOGS, 1).await;
    until(&gate, LOST_TRACES, 3).await;
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    assert_eq!(gate.records(&[]).len(), 1);
}

/// By the same TLS as everything else, with an authority of one's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_its_own_authority_is_trusted_where_that_is_given() {
    let (certificate, key) = pair();
    let collector = Collector::with_tls(&certificate, &key).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &certificate).unwrap();
    let (stranger, _policies) = gate(&collector.url(), "2000", &[], &[]);
    ask(&stranger, "app", NOWHERE, None).await;
    until(&stranger, LOST_LOGS, 1).await;
    assert!(collector.got().logs.is_empty());
    let (gate, _policies) = gate(&collector.url(), "10000", &[], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)]);
    ask(&gate, "app", NOWHERE, None).await;
    until(&gate, SENT_LOGS, 1).await;
    assert_eq!(collector.got().logs.len(), 1);
    let none = folder.path().join("none.pem");
    let (code, _, stderr) = gate.run(&[
        "serve",
        "--policies",
        "policies",
        "--store",
        "stdout",
        "--tls-self-signed",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--otlp-endpoint",
        &collector.url(),
        "--otlp-ca",
        &none.display().to_string(),
    ]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("name a PEM file with --otlp-ca (OTEL_EXPORTER_OTLP_CERTIFICATE)"), "{stderr}");
}

#[test]
fn an_address_that_is_none_is_told_and_credentials_in_it_are_refused() {
    for (url, told) in [
        ("collector:4318", "write the address of a collector, as http://collector.example:4318"),
        ("http://me:word@collector:4318", "credentials go into OTEL_EXPORTER_OTLP_HEADERS and not into the address"),
    ] {
        let (code, _, stderr) = crate::command_line::run(&["serve", "--store", "stdout", "--otlp-endpoint", url], "");
        assert_eq!(code, 2);
        assert!(stderr.contains(told), "{stderr}");
    }
}
