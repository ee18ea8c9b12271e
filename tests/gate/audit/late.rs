//! A disk that does not take a record in time holds up no answer, and nobody is pointed to what cannot be found.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use chrono::DateTime;
use freshgate::admission::{AuditMode, Gate, Recording, RecordingSettings};
use freshgate::audit::Audit;
use freshgate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use freshgate::image::registry::Registries;
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::Resolver;
use freshgate::image::resolver::facts::StoredFacts;
use freshgate::metrics::Metrics;
use freshgate::policy::compile::{CompiledPolicy, PolicySet};
use freshgate::server::Reviewer as _;
use freshgate::server::deadline::Deadline;
use freshgate::store::Store;
use freshgate::subject::kinds::WorkloadKinds;
use freshgate::telemetry::Traces;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Place;
use crate::cluster::install_tls;
use crate::reviews::review;

/// A gate on that store, with a policy that answers unknown dates so.
fn gate(store: &Store, audit: &Arc<Audit>, metrics: &Arc<Metrics>, mode: AuditMode, on_unknown: &str) -> Gate {
    install_tls();
    let spec = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d", "onUnknown": on_unknown}});
    let policy = CompiledPolicy::compile("p", serde_json::from_value(spec).unwrap()).unwrap();
    let registries = Registries::new(RegistrySettings::default()).unwrap();
    let settings = RecordingSettings { mode, ..RecordingSettings::default() };
    Gate {
        kinds: WorkloadKinds::default(),
        policies: Arc::new(ArcSwap::from_pointee(PolicySet::new(vec![policy]))),
        gatherer: Gatherer {
            resolver: Resolver::new(registries, Credentials::default(), Arc::new(StoredFacts(store.clone()))),
            ledger: Some(store.ledger()),
            cluster: None,
            stated: StatedLabels::default(),
            budgets: Budgets::default(),
            exceptions: Arc::default(),
            traces: Traces::default(),
        },
        recording: Recording::new(Arc::clone(audit), settings, Traces::default(), Arc::clone(metrics)),
        granting: None,
        nudges: Arc::default(),
        traces: Traces::default(),
        metrics: Arc::clone(metrics),
        clock: || DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default(),
    }
}

/// The answer to a review that arrived then.
async fn ask(gate: &Gate, arrived: Instant) -> Value {
    let body = Bytes::from(review("x", "169.254.169.254/x").to_string());
    let answer =
        Box::pin(gate.review(body, &HeaderMap::new(), Deadline::new(arrived, std::time::Duration::from_secs(10))))
            .await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice::<Value>(&body).unwrap()["response"].take()
}

/// As if all of the time had passed when the record goes to the disk.
fn long_ago() -> Instant {
    Instant::now().checked_sub(std::time::Duration::from_secs(60)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_late_holds_up_no_answer_and_is_pointed_to_by_none() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let (audit, metrics) = (Arc::new(audit), Arc::new(Metrics::default()));
    let gate = gate(&store, &audit, &metrics, AuditMode::BestEffort, "Deny");
    let late = ask(&gate, long_ago()).await;
    assert_eq!(late["allowed"], false, "the decision goes out");
    assert_eq!(late["auditAnnotations"]["unrecorded"], "the audit record could not be written");
    assert!(metrics.render().contains("freshgate_audit_unrecorded_total 1"));
    // The same denial again is a first one: its record has all the evidence.
    let again = ask(&gate, Instant::now()).await;
    assert_eq!(again["auditAnnotations"]["unrecorded"], Value::Null);
    let id = again["auditAnnotations"]["decision-id"].as_str().unwrap().to_owned();
    assert_ne!(late["auditAnnotations"]["decision-id"], json!(id));
    audit.flush_and_close(super::PATIENCE).await;
    let records = place.all().await;
    let found = records.iter().find(|record| record.line.contains(&format!("\"decision_id\":\"{id}\""))).unwrap();
    assert!(!found.line.contains("repeat_of") && found.line.contains("\"inputs\""), "{}", found.line);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_what_the_disk_did_not_take_in_time() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let (audit, metrics) = (Arc::new(audit), Arc::new(Metrics::default()));
    for (mode, allowed) in [(AuditMode::BestEffort, true), (AuditMode::Strict, false)] {
        let gate = gate(&store, &audit, &metrics, mode, "Allow");
        assert_eq!(ask(&gate, Instant::now()).await["allowed"], true, "{mode:?}");
        let late = ask(&gate, long_ago()).await;
        assert_eq!(late["allowed"], allowed, "{mode:?}");
        if !allowed {
            let why = "the audit journal did not take the record before the answer had to leave";
            let message = late["status"]["message"].as_str().unwrap();
            assert!(message.contains(&format!("(audit mode strict): {why}.\n")), "{message}");
            assert_eq!(late["status"]["code"], 503);
        }
    }
    assert!(metrics.render().contains("freshgate_audit_refused_total 1"));
    audit.flush_and_close(super::PATIENCE).await;
}
