//! Several replicas on one database: what one admits, freezes or grants the others know, and each has a chain of its own.

use super::*;
use crate::audit::place::until;
use chrono::{SecondsFormat, TimeDelta};
use freshgate::audit::retention::{Limits, Retention};
use freshgate::audit::{Question, find_grant, prove, verify};
use freshgate::exception::api::GateExceptionSpec;
use freshgate::exception::book::LookUp;
use freshgate::metrics::Metrics;
use freshgate::signing::{Keys, Verifier};
use std::path::Path;
use std::sync::Arc;

use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;
use crate::reviews::{POLICY, PROGRAM, review};

/// A replica with a journal of its own in the place.
async fn replica(place: &Place, name: &str) -> (Store, Audit) {
    let location = place.location().with_journal(Some(place.folder.path().join(name)));
    let store = Store::open(&location).await.unwrap();
    let audit = Audit::open(AuditSettings::default(), &store, at(0)).await.unwrap();
    (store, audit)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_admits_the_other_knows_though_it_had_asked_before() {
    let place = Place::new();
    let (one, other) = (replica(&place, "one").await, replica(&place, "other").await);
    for number in 1..=3 {
        let (record, admitted) = admitting(number, "checkout");
        one.1.record(record, Some(admitted)).await.unwrap();
        stored(&one.1).await;
        let history = other.0.ledger().history(&workload("checkout")).await.unwrap();
        assert_eq!(history.digests.len() as u64, number + 1, "and the earlier one");
        assert_eq!(history.templates.len() as u64, number);
    }
    close(one.0, one.1).await;
    close(other.0, other.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earliest_first_sight_counts_for_all() {
    let place = Place::new();
    let one = Store::open(&place.location()).await.unwrap();
    let other = Store::open(&place.location()).await.unwrap();
    assert_eq!(other.ledger().first_seen("sha256:a", at(20)).await, at(20));
    // The other's word is in the store before, and the one's is earlier.
    until(async || {
        Store::open(&place.location()).await.unwrap().ledger().first_seen_before("sha256:a").await.is_some()
    })
    .await;
    let mut connection = place.connect().await;
    let earlier = at(10).to_rfc3339_opts(SecondsFormat::Micros, true);
    connection.run(format!("UPDATE first_seen SET at = '{earlier}'")).await;
    until(async || other.ledger().first_seen("sha256:a", at(30)).await == at(10)).await;
    // Later sights, written by whomever, move nothing.
    one.put_image_fact("sha256:a", "{}", at(40));
    one.flush_and_close().await.unwrap();
    other.flush_and_close().await.unwrap();
    assert_eq!(connection.number("SELECT count(*) FROM first_seen JOIN image_facts USING (digest)").await, 1);
    let later = Store::open(&place.location()).await.unwrap();
    assert_eq!(later.ledger().first_seen("sha256:a", at(50)).await, at(10));
    assert_eq!(later.image_fact("sha256:a").await, Some(("{}".to_owned(), at(40))), "facts are shared");
    later.flush_and_close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_has_a_chain_and_all_are_proven_together() {
    let place = Place::new();
    let (one, other) = (replica(&place, "one").await, replica(&place, "other").await);
    let writing: Vec<_> = [(Arc::new(one.1), 0_u64), (Arc::new(other.1), 1_000)]
        .into_iter()
        .map(|(audit, first)| {
            tokio::spawn(async move {
                for number in first + 1..=first + 400 {
                    // The same workloads, so that both write the same rows of the ledger.
                    let (record, admitted) = admitting(number, &format!("app-{}", number % 7));
                    audit.record(record, Some(admitted)).await.unwrap();
                }
                stored(&audit).await;
                audit
            })
        })
        .collect();
    for written in writing {
        let audit = Arc::into_inner(written.await.unwrap()).unwrap();
        assert_eq!(audit.flush_and_close(PATIENCE).await.unstored_records, 0);
    }
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.writers, report.first_bad), (800, 2, None));
    let history = one.0.ledger().history(&workload("app-3")).await.unwrap();
    let of_both = (1..=400).chain(1_001..=1_400).filter(|number| number % 7 == 3).count();
    assert_eq!(history.digests.len(), of_both + 1);
    one.0.flush_and_close().await.unwrap();
    other.0.flush_and_close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_removed_as_old_another_does_not_bring_back() {
    let place = Place::new();
    let pem = Keys::generate_pem().unwrap();
    let (store, audit) = replica(&place, "one").await;
    for number in 1..=10 {
        audit.record(body(number), None).await.unwrap();
    }
    stored(&audit).await;
    let journal = place.folder.path().join("one");
    let segment = std::fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    let lines = std::fs::read(&segment).unwrap();
    close(store, audit).await;
    // As a kill leaves it: the store has the records, and the journal their segment still.
    std::fs::write(&segment, lines).unwrap();
    let other = replica(&place, "other").await;
    let retention = |store: &Store| Retention {
        store: store.clone(),
        keys: Keys::from_pem(&pem).unwrap(),
        limits: Limits { age: Some(TimeDelta::seconds(1)), bytes: None },
        metrics: Arc::new(Metrics::default()),
    };
    assert_eq!(retention(&other.0).sweep(at(8)).await.unwrap(), 6);
    let one = replica(&place, "one").await;
    stored(&one.1).await;
    assert_eq!(place.all().await.len(), 4, "what was removed stays removed");
    let verifier = Verifier::from_pem(&pem).unwrap();
    let question = Question { verifier: Some(&verifier), ..Question::default() };
    let location: StoreLocation = place.url().parse().unwrap();
    let proven = prove(&location, &question, &|_| ()).await.unwrap();
    assert_eq!((proven.report.first_bad, proven.report.records, proven.unsigned_boundaries), (None, 4, 0));
    // Both at once: one has the turn, or both in turn; nothing goes twice.
    let (first, second) = (retention(&one.0), retention(&other.0));
    let (first, second) = tokio::join!(first.sweep(at(100)), second.sweep(at(100)));
    assert_eq!(first.unwrap() + second.unwrap(), 4);
    let proven = prove(&location, &question, &|_| ()).await.unwrap();
    assert_eq!((proven.report.first_bad, proven.report.records), (None, 0));
    close(one.0, one.1).await;
    close(other.0, other.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_one_recorded_is_found_by_the_other() {
    let place = Place::new();
    let (one, other) = (replica(&place, "one").await, replica(&place, "other").await);
    let spec: GateExceptionSpec = serde_json::from_value(json!({
        "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
        "rules": ["imageAge"], "reason": "incident", "text": "x", "expiresAt": "2026-11-24T12:00:00Z"
    }))
    .unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&body_of(1, "allow", "", "fix")).unwrap();
    record["request"]["kind"] = json!({"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"});
    record["exception"] =
        json!({"name": "fix", "uid": "uid-1", "specHash": spec.hash().to_string(), "grantedAt": at(1)});
    one.1.record(record.to_string().into_bytes(), None).await.unwrap();
    stored(&one.1).await;
    let asked = |uid: &str| LookUp { name: "fix".to_owned(), uid: uid.to_owned(), spec_hash: spec.hash() };
    let found = find_grant(other.0.location(), &asked("uid-1")).await.unwrap().expect("the other one granted it");
    assert_eq!((found.by.username.as_str(), found.at), ("jane", at(1)));
    assert_eq!(find_grant(other.0.location(), &asked("uid-2")).await.unwrap(), None);
    close(one.0, one.1).await;
    close(other.0, other.1).await;
}

/// Two gates, each with policies and a journal of its own, on one database.
struct Gates {
    place: Place,
    gates: Vec<Gate>,
    folders: Vec<tempfile::TempDir>,
}

impl Gates {
    fn start(policies: [&[(&str, &str)]; 2], more: &[&str]) -> Self {
        install_tls();
        let place = Place::new();
        let key = place.folder.path().join("key.pem");
        std::fs::write(&key, Keys::generate_pem().unwrap()).unwrap();
        let (mut gates, mut folders) = (Vec::new(), Vec::new());
        for (number, files) in policies.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let (policies, journal) = (folder.path().display().to_string(), format!("journal-{number}"));
            let journal = place.folder.path().join(journal).display().to_string();
            let key = key.display().to_string();
            let (store, id) = (place.url(), format!("gate-{number}"));
            let flags =
                ["--policies", &policies, "--store", &store, "--audit-journal", &journal, "--signing-key", &key];
            gates.push(Gate::start(Path::new(PROGRAM), &[&flags[..], &["--id", &id], more].concat(), &[]));
            folders.push(folder);
        }
        Self { place, gates, folders }
    }

    /// What a gate answers.
    async fn ask(&self, gate: usize, review: &serde_json::Value) -> serde_json::Value {
        let gate = &self.gates[gate];
        let call = gate.client().post(gate.url()).header("content-type", "application/json").body(review.to_string());
        let answer: serde_json::Value = call.send().await.unwrap().json().await.unwrap();
        answer["response"].clone()
    }

    /// The newest record in the store, once there are so many.
    async fn newest_of(&self, count: usize) -> serde_json::Value {
        let location: StoreLocation = self.place.url().parse().unwrap();
        let all = async || query(&location, &QueryFilter::default()).await.unwrap();
        until(async || all().await.len() >= count).await;
        let all = all().await;
        assert_eq!(all.len(), count);
        serde_json::from_str(&all[0].line).unwrap()
    }
}

fn change(name: &str, before: &str, after: &str) -> serde_json::Value {
    let mut update = review(name, after);
    update["request"]["operation"] = json!("UPDATE");
    update["request"]["oldObject"] = review(name, before)["request"]["object"].clone();
    update
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_what_another_gate_admitted_is_a_rollback() {
    let registry = Registry::distribution();
    let built = |seed: &str, days: i64| {
        Config::created(seed, &(Utc::now() - TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true)).image()
    };
    let (first, second) = (registry.push("app", "1", &built("1", 20)), registry.push("app", "2", &built("2", 3)));
    let host = registry.host();
    let files: &[(&str, &str)] = &[("policy.yaml", POLICY)];
    let gates = Gates::start([files, files], &["--insecure-registry", &host]);
    // The second gate has asked for the workload's history before there is any.
    let mut dry = review("checkout", &first);
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(gates.ask(1, &dry).await["allowed"], true);
    assert_eq!(gates.ask(0, &review("checkout", &first)).await["allowed"], true);
    assert_eq!(gates.newest_of(1).await["change"], "Create");
    assert_eq!(gates.ask(0, &change("checkout", &first, &second)).await["allowed"], true);
    assert_eq!(gates.newest_of(2).await["change"], "NewImage");
    assert_eq!(gates.ask(1, &change("checkout", &second, &first)).await["allowed"], true);
    let back = gates.newest_of(3).await;
    assert_eq!((&back["change"], &back["labels"]["id"]), (&json!("Rollback"), &json!("gate-1")), "{back}");
    let report = verify(&gates.place.url().parse().unwrap()).await.unwrap();
    assert_eq!((report.records, report.writers, report.first_bad), (3, 2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_one_gate_begins_holds_at_the_other() {
    let registry = Registry::distribution();
    let built = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let image = registry.push("app", "1", &Config::created("1", &built).image());
    let host = registry.host();
    let policy = "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: p}\nspec:\n  validationActions: [Deny]\n  errorBudget: {sources: [slo], freezeBelow: 0%, unfreezeAbove: 5%, warnBelow: 20%}\n";
    let source = "apiVersion: freshgate.dev/v1alpha1\nkind: BudgetSource\nmetadata: {name: slo}\nspec:\n  format: File\n  interval: 1s\n  maxAge: 30d\n  file: {path: budgets.json}\n  service:\n    from: [Mapping]\n    mapping: [{namespace: shop, name: '*', service: checkout}]\n";
    // Of 1,000 bad events that may be, so many were.
    let budgets = |bad: u64| {
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        json!({"time": time, "budgets": [{"service": "checkout", "slo": "availability", "objective": 0.999,
            "window": "30d", "total": 1_000_000, "bad": bad}]})
        .to_string()
    };
    let (spent, nearly) = (budgets(1_100), budgets(970));
    let files = |budgets| [("policy.yaml", policy), ("source.yaml", source), ("budgets.json", budgets)];
    let gates = Gates::start([&files(nearly.as_str()), &files(nearly.as_str())], &["--insecure-registry", &host]);
    // Each a workload of its own: the same again would be a restore, which no freeze holds up.
    let numbers = std::cell::Cell::new(0);
    let asked = async |gate: usize| {
        numbers.set(numbers.get() + 1);
        gates.ask(gate, &review(&format!("app-{}", numbers.get()), &image)).await
    };
    until(async || asked(1).await["warnings"].to_string().contains("of its error budget (availability) left")).await;
    assert_eq!(asked(1).await["allowed"], true, "three in a hundred are left, and nothing is frozen");
    // The first gate measures that all is spent, and the freeze holds at the second, whose own measurement would only
    // keep one.
    std::fs::write(gates.folders[0].path().join("budgets.json"), &spent).unwrap();
    until(async || asked(0).await["allowed"] == false).await;
    until(async || asked(1).await["allowed"] == false).await;
    // What the first one lifts is lifted at the second.
    std::fs::write(gates.folders[1].path().join("budgets.json"), budgets(500)).unwrap();
    std::fs::write(gates.folders[0].path().join("budgets.json"), budgets(500)).unwrap();
    until(async || asked(1).await["allowed"] == true).await;
    until(async || asked(0).await["allowed"] == true).await;
}
