//! The poller: one poll at a time, patience, and what was said last while a source is away. And the gate that polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chrono::Utc;
use freshgate::budget::poller::{Poller, SourceList, poll_once};
use freshgate::budget::snapshot::Snapshots;
use freshgate::budget::state::{BudgetState, Thresholds};
use freshgate::metrics::Metrics;
use tokio::sync::watch;

use super::faults::{Fault, FaultyPrometheus, vector};
use super::source;
use crate::cluster::gate::Gate;
use crate::reviews::{POLICY, PROGRAM};

fn sloth(ratio: &str) -> String {
    let at = Utc::now().timestamp().to_string();
    let labels = r#""sloth_id":"checkout-availability","sloth_service":"checkout","sloth_slo":"availability""#;
    let of = |name: &str| format!(r#""__name__":"{name}",{labels}"#);
    // Every question gets everything: each takes what is its own.
    vector(&[
        (&of("slo:sli_error:ratio_rate30d"), ratio),
        (&of("slo:objective:ratio"), "0.999"),
        (&of("slo:time_period:days"), "30"),
        (labels, &at),
    ])
}

fn settings(url: &str) -> String {
    format!("{{format: Sloth, interval: 1s, prometheus: {{url: '{url}', timeout: 1s}}}}")
}

async fn until(what: &str, mut polls: watch::Receiver<u64>, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "{what} did not come");
        let _ = tokio::time::timeout(Duration::from_secs(5), polls.changed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_last_stays_while_a_source_is_away_and_ages() {
    let faulty = FaultyPrometheus::start(Fault::Body(sloth("0.002"))).await;
    let snapshots: Arc<ArcSwap<Snapshots>> = Arc::default();
    let metrics = Arc::new(Metrics::default());
    let (list, sources) = watch::channel::<SourceList>(Arc::new(vec![source("slo", &settings(&faulty.url()))]));
    let poller = Poller::start(sources, None, Arc::clone(&snapshots), Arc::clone(&metrics), None);
    let state = || {
        let all = snapshots.load();
        let budget = all.get("slo")?.of("checkout").first()?.budget.clone();
        Some(budget.state(&Thresholds::default(), Utc::now()).state)
    };
    until("the first poll", poller.polls(), || state() == Some(BudgetState::Exhausted)).await;

    faulty.set(Fault::BlackHole);
    until("the failure", poller.polls(), || snapshots.load().get("slo").unwrap().trouble.is_some()).await;
    assert_eq!(state(), Some(BudgetState::Exhausted), "what it said last stays");
    let said = snapshots.load().get("slo").unwrap().trouble.clone().unwrap().detail;
    assert!(said.contains("did not answer in time"), "{said}");

    faulty.set(Fault::Body(sloth("0.0001")));
    until("the recovery", poller.polls(), || state() == Some(BudgetState::Healthy)).await;
    assert!(snapshots.load().get("slo").unwrap().trouble.is_none());
    freshgate::budget::poller::show(&snapshots.load(), &metrics);
    let page = metrics.render();
    for line in [
        r#"freshgate_budgets{source="slo",state="Healthy"} 1"#,
        r#"freshgate_budget_polls_total{source="slo",outcome="timeout"}"#,
        r#"freshgate_budget_source_age_seconds{source="slo"}"#,
        r#"freshgate_budget_poll_duration_seconds{source="slo"}"#,
        r#"freshgate_budget_series{source="slo"}"#,
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }

    // A source that is gone leaves nothing behind.
    list.send_replace(SourceList::default());
    let give_up = Instant::now() + Duration::from_secs(20);
    while snapshots.load().get("slo").is_some() {
        assert!(Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_asks_for_patience_gets_it() {
    let faulty = FaultyPrometheus::start(Fault::Status(429, vec![("retry-after", "3600")], "")).await;
    let (_list, sources) = watch::channel::<SourceList>(Arc::new(vec![source("slo", &settings(&faulty.url()))]));
    let snapshots: Arc<ArcSwap<Snapshots>> = Arc::default();
    let poller = Poller::start(sources, None, Arc::clone(&snapshots), Arc::new(Metrics::default()), None);
    // Not merely the first poll: on a slow machine that one can run out of time before the answer is there.
    until("the plea for patience", poller.polls(), || {
        snapshots
            .load()
            .get("slo")
            .is_some_and(|slo| slo.trouble.as_ref().is_some_and(|trouble| trouble.detail.contains("429")))
    })
    .await;
    faulty.take_seen();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(faulty.take_seen().is_empty(), "it asked to be left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_without_anybody_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("budgets.json");
    let write = |bad: u32| {
        let text = format!(
            r#"{{"time":"{}","budgets":[{{"service":"checkout","slo":"availability","objective":0.999,"window":"30d","total":1000000,"bad":{bad}}}]}}"#,
            Utc::now().to_rfc3339()
        );
        std::fs::write(&path, text).unwrap();
    };
    let source = source("file", &format!("{{format: File, file: {{path: '{}'}}}}", path.display()));
    write(400);
    let all = poll_once(std::slice::from_ref(&source), None).await;
    let remaining = all.get("file").unwrap().of("checkout")[0].budget.remaining().unwrap();
    assert!((remaining - 0.6).abs() < 1e-9);
    write(2_000_000);
    let all = poll_once(std::slice::from_ref(&source), None).await;
    let trouble = all.get("file").unwrap().trouble.clone().unwrap();
    assert_eq!(trouble.state, BudgetState::Invalid);
    assert!(
        trouble
            .detail
            .ends_with("budgets[0].bad: 2000000 of 1000000 events are more than there are; write what was counted"),
        "{}",
        trouble.detail
    );
    std::fs::remove_file(&path).unwrap();
    let all = poll_once(std::slice::from_ref(&source), None).await;
    assert_eq!(all.get("file").unwrap().trouble.clone().unwrap().state, BudgetState::NoData);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_polls_the_sources_of_its_folder_and_follows_them() {
    let folder = tempfile::tempdir().unwrap();
    let object = |path: &str| {
        format!(
            "apiVersion: freshgate.dev/v1alpha1\nkind: BudgetSource\nmetadata: {{name: snapshot}}\nspec: {{format: File, interval: 1s, file: {{path: {path}}}}}\n"
        )
    };
    let snapshot = |service: &str| {
        format!(
            r#"{{"time":"{}","budgets":[{{"service":"{service}","slo":"a","objective":0.999,"window":"30d","errorRatio":0.01}}]}}"#,
            Utc::now().to_rfc3339()
        )
    };
    // Beside the object's own file, wherever the gate is started.
    std::fs::write(folder.path().join("one.json"), snapshot("checkout")).unwrap();
    std::fs::write(folder.path().join("policy.yaml"), format!("{POLICY}---\n{}", object("one.json"))).unwrap();
    let path = folder.path().display().to_string();
    let gate =
        tokio::task::spawn_blocking(move || Gate::start(std::path::Path::new(PROGRAM), &["--policies", &path], &[]))
            .await
            .unwrap();
    let page = || {
        let url = format!("http://127.0.0.1:{}/metrics", gate.admin_port);
        let output = std::process::Command::new("curl").args(["-s", &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let wait_for = |line: &str| {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !page().contains(line) {
            assert!(Instant::now() < give_up, "{line} did not come: {}{}", page(), gate.process.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(r#"freshgate_budgets{source="snapshot",state="Exhausted"} 1"#);
    std::fs::write(folder.path().join("policy.yaml"), format!("{POLICY}---\n{}", object("none.json"))).unwrap();
    wait_for(r#"freshgate_budget_polls_total{source="snapshot",outcome="settings"}"#);
    std::fs::write(
        folder.path().join("policy.yaml"),
        format!("{POLICY}---\n{}", object("one.json").replace("name: snapshot", "name: other")),
    )
    .unwrap();
    wait_for(r#"freshgate_budgets{source="other",state="Exhausted"} 1"#);
    assert!(!page().contains(r#"freshgate_budgets{source="snapshot""#), "{}", page());
}
