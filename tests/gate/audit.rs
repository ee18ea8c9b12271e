//! The record: nothing answered is lost, nothing changed goes unnoticed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use freshgate::audit::Audit;
use freshgate::audit::journal::Durability;
use freshgate::audit::query::{Question, query};
use freshgate::audit::verify::{VerifyReport, verify};
use freshgate::store::{Store, StoreLocation};
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::reviews::{PROGRAM, gate, review};
use crate::cluster::gate::Gate;
use crate::cluster::process::free_ports;

fn location(folder: &Path) -> StoreLocation {
    format!("sqlite:{}", folder.join("decisions.db").display()).parse().unwrap()
}

fn body(number: u32) -> Vec<u8> {
    json!({
        "decision_id": format!("id-{number:06}"), "timestamp": format!("2026-11-23T10:{:02}:{:02}.000Z", number / 60 % 60, number % 60),
        "decision": "allow", "change": "Create", "policies": {"production": "r"},
        "request": {"uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "namespace": "shop",
                    "name": format!("app-{number}"), "operation": "CREATE", "userInfo": {"username": "alice"}},
        "rules": [{"policy": "production", "rule": "imageAge", "result": "pass", "message": ""}],
        "images": [{"ref": "r.example/app:1", "digest": "sha256:aa"}],
        "ledger": {"digests": [{"digest": "sha256:aa", "reference": "r.example/app:1"}]},
    })
    .to_string()
    .into_bytes()
}

async fn all(location: &StoreLocation) -> usize {
    query(location, &Question { limit: 1_000_000, ..Question::default() }).await.unwrap().len()
}

async fn sqlite(location: &StoreLocation) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(location.file())).await.unwrap()
}

async fn change(location: &StoreLocation, statement: &'static str) {
    let mut connection = sqlite(location).await;
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A store with twenty records, closed in order.
async fn twenty(folder: &Path) -> StoreLocation {
    let location = location(folder);
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    for number in 1..=20 {
        assert_eq!(audit.record(body(number)).await.unwrap(), u64::from(number));
    }
    audit.close(Duration::from_secs(20)).await;
    location
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_the_store_and_stay_provable() {
    let folder = tempfile::tempdir().unwrap();
    let location = twenty(folder.path()).await;
    let report = verify(&location).await.unwrap();
    assert_eq!(
        report,
        VerifyReport { records: 20, writers: 1, in_journal: 0, first_bad: None },
        "the end brought all to the store"
    );
    // A second start is a second writer; what is asked for is found by each question.
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    audit.record(body(21)).await.unwrap();
    assert_eq!(all(&location).await, 21, "the journal's tail is read too");
    audit.close(Duration::from_secs(20)).await;
    assert_eq!(verify(&location).await.unwrap().writers, 2);
    let ask = |question: Question| {
        let location = location.clone();
        async move { query(&location, &Question { limit: 100, ..question }).await.unwrap().len() }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ask(Question { name: some("app-3"), ..Question::default() }).await, 1);
    assert_eq!(ask(Question { namespace: some("elsewhere"), ..Question::default() }).await, 0);
    assert_eq!(ask(Question { decision: some("deny"), ..Question::default() }).await, 0);
    assert_eq!(ask(Question { image: some("sha256:aa"), ..Question::default() }).await, 21);
    assert_eq!(ask(Question { image: some("sha256_aa"), ..Question::default() }).await, 0, "no wildcard comes in");
    assert_eq!(ask(Question { rule: some("imageAge"), ..Question::default() }).await, 0, "it passed everywhere");
    let time = |text: &str| Some(text.parse().unwrap());
    let window =
        Question { since: time("2026-11-23T10:00:05Z"), until: time("2026-11-23T10:00:07Z"), ..Question::default() };
    assert_eq!(ask(window).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_by_hand_is_named() {
    for (statement, seq, problem) in [
        (
            "UPDATE decisions SET line = replace(line, 'alice', 'mallory') WHERE seq = 7",
            7,
            "its line does not match its hash: it was altered",
        ),
        (
            "UPDATE decisions SET username = 'mallory' WHERE seq = 7",
            7,
            "its column username does not match its line: it was altered",
        ),
        (
            "UPDATE decisions SET decision = 'deny' WHERE seq = 7",
            7,
            "its column decision does not match its line: it was altered",
        ),
        ("UPDATE decisions SET hash = prev_hash WHERE seq = 7", 7, "its line does not match its hash: it was altered"),
        ("DELETE FROM decisions WHERE seq = 7", 8, "record 7 before it is missing"),
        ("DELETE FROM decisions WHERE seq IN (1, 2, 3)", 4, "the 3 records from 1 on before it are missing"),
        ("UPDATE decisions SET seq = CASE seq WHEN 7 THEN 8 ELSE -7 END WHERE seq = 7", 0, "moved"),
        (
            "UPDATE decisions SET line = (SELECT line FROM decisions WHERE seq = 8), decision_id = 'x' WHERE seq = 7",
            7,
            "its line names another writer or number: it was altered or moved",
        ),
        (
            "INSERT INTO decisions SELECT writer_id, 21, 'forged', timestamp, decision, namespace, kind, name, operation, username, rules, images, repeat_of, prev_hash, hash, line FROM decisions WHERE seq = 20",
            21,
            "its line names another writer or number: it was altered or moved",
        ),
        ("UPDATE decisions SET line = 'nonsense' WHERE seq = 7", 7, "its line lacks what every record has"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let location = twenty(folder.path()).await;
        if problem == "moved" {
            // Two records change places.
            change(&location, "UPDATE decisions SET seq = -7 WHERE seq = 7").await;
            change(&location, "UPDATE decisions SET seq = 7 WHERE seq = 8").await;
            change(&location, "UPDATE decisions SET seq = 8 WHERE seq = -7").await;
            let bad = verify(&location).await.unwrap().first_bad.unwrap();
            assert_eq!(
                (bad.seq, bad.problem.as_str()),
                (7, "its line names another writer or number: it was altered or moved")
            );
            continue;
        }
        change(&location, statement).await;
        let report = verify(&location).await.unwrap();
        let bad = report.first_bad.clone().unwrap_or_else(|| panic!("{statement} went unnoticed: {report:?}"));
        assert_eq!((bad.seq, bad.problem.as_str()), (seq, problem), "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_delays_no_record_and_gets_them_later() {
    let folder = tempfile::tempdir().unwrap();
    let location = twenty(folder.path()).await;
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    let mut lock = sqlite(&location).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
    for number in 21..=60 {
        audit.record(body(number)).await.unwrap();
    }
    assert_eq!(audit.figures().recorded, 40);
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
    assert_eq!(all(&location).await, 60);
    audit.close(Duration::from_secs(60)).await;
    let report = verify(&location).await.unwrap();
    assert_eq!((report.records, report.first_bad), (60, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_says_so_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let location = location(folder.path());
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    // A file where the folder was: nothing can be written, whoever asks.
    std::fs::remove_dir_all(location.journal()).unwrap();
    std::fs::write(location.journal(), "in the way").unwrap();
    let error = audit.record(body(1)).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("the audit journal in {} could not be written: ", location.journal().display())),
        "{error}"
    );
    assert_eq!(audit.figures().unrecorded, 1);
    std::fs::remove_file(location.journal()).unwrap();
    audit.record(body(2)).await.unwrap();
    audit.record(body(3)).await.unwrap();
    audit.close(Duration::from_secs(20)).await;
    let report = verify(&location).await.unwrap();
    assert_eq!((report.records, report.first_bad), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_torn_by_a_crash_is_cut_off_and_an_older_tail_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let location = twenty(folder.path()).await;
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    audit.record(body(21)).await.unwrap();
    let segment = std::fs::read_dir(location.journal()).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(&segment).unwrap();
    audit.close(Duration::from_secs(20)).await;
    // As a crash leaves it: the record is in the journal again, and half of another behind it.
    change(&location, "DELETE FROM decisions WHERE decision_id = 'id-000021'").await;
    std::fs::write(&segment, format!("{kept}{{\"hash\":\"00\",\"rec")).unwrap();
    assert_eq!(all(&location).await, 21);
    let audit = Audit::open(&location, Durability::Journal).await.unwrap();
    audit.close(Duration::from_secs(20)).await;
    assert_eq!(
        verify(&location).await.unwrap(),
        VerifyReport { records: 21, writers: 2, in_journal: 0, first_bad: None }
    );
    assert!(!segment.exists(), "what the store has, the journal need not keep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = |location: StoreLocation| async move { Store::open(&location).await.unwrap_err().to_string() };
    let file = location(path);
    let shown = file.file().display().to_string();

    std::fs::write(file.file(), "this is no database, whatever its name says; it is long enough to be looked at")
        .unwrap();
    assert_eq!(
        error(file.clone()).await,
        format!(
            "the store {shown} cannot be read: error returned from database: (code: 26) file is not a database; restore it, or move it away and let a new one be made"
        )
    );
    std::fs::remove_file(file.file()).unwrap();

    drop(twenty(path).await);
    change(&file, "PRAGMA user_version = 99").await;
    assert_eq!(
        error(file.clone()).await,
        format!("the store {shown} is of version 99, this freshgate knows 1; use the newer freshgate, or another file")
    );
    change(&file, "PRAGMA user_version = 1").await;

    let held = Store::open(&file).await.unwrap();
    assert_eq!(
        error(file.clone()).await,
        format!("the store {shown} is in use by another freshgate; stop that one, or name another file")
    );
    held.close().await;

    let nowhere: StoreLocation = format!("sqlite:{}/no/such/folder/x.db", path.display()).parse().unwrap();
    assert!(error(nowhere.clone()).await.ends_with("its folder must exist and be writable"));
    let missing = verify(&nowhere).await.unwrap_err().to_string();
    assert_eq!(
        missing,
        format!("there is no store at {}; `freshgate serve --store sqlite:FILE` makes one", nowhere.file().display())
    );
}

/// R18: whatever was answered is recorded, however the process ends. Rounds of load, each ended by SIGKILL.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_no_answered_decision() {
    let (mut gate, _policies) = gate(super::reviews::POLICY, &[]);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..5 {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (stop, count, http, url) = (Arc::clone(&stop), Arc::clone(&count), gate.client(), gate.url());
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let body = review(&format!("app-{round}-{client}-{number}"), "169.254.169.254/x:1").to_string();
                        let call = http.post(&url).header("content-type", "application/json").body(body);
                        // Only what was answered whole counts; the rest the API server would have seen fail.
                        let Ok(answer) = call.send().await else { break };
                        let Ok(answer) = answer.json::<Value>().await else { break };
                        ids.push(answer["response"]["auditAnnotations"]["decision-id"].as_str().unwrap().to_owned());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    ids
                })
            })
            .collect();
        // In the middle of the load, each round at another moment.
        while count.load(Ordering::Relaxed) < 40 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        gate.process.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            answered.extend(client.await.unwrap());
        }
        // Asked while nothing runs, and again after the next start.
        let recorded = ids(&gate);
        let lost: Vec<_> = answered.iter().filter(|id| !recorded.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} answered decisions are lost", lost.len(), answered.len());
        gate.crash_and_restart();
    }
    assert!(answered.len() >= 200, "there was load: {}", answered.len());
    let recorded = ids(&gate);
    assert!(answered.iter().all(|id| recorded.contains(id)));
    let store = gate.store();
    let (code, stdout, stderr) = gate.run(&["audit", "verify", "--store", &store]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

fn ids(gate: &Gate) -> std::collections::HashSet<String> {
    let records = gate.records(&["--limit", "1000000"]);
    records.iter().map(|record| record["decision_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_goes_out_though_the_journal_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let policies = super::reviews::policies(super::reviews::POLICY);
    crate::cluster::install_tls();
    let gate = Gate::in_folder(
        Path::new(PROGRAM),
        folder.path(),
        &["--policies", &policies.path().display().to_string()],
        &[],
    );
    let journal = folder.path().join("decisions.db.journal");
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::write(&journal, "in the way").unwrap();
    let call = gate
        .client()
        .post(gate.url())
        .header("content-type", "application/json")
        .body(review("x", "169.254.169.254/x").to_string());
    let answer: Value = call.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(answer["response"]["auditAnnotations"]["unrecorded"], "the audit journal could not be written");
    let metrics =
        reqwest::get(format!("http://127.0.0.1:{}/metrics", gate.admin_port)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("freshgate_audit_unrecorded_total 1"), "{metrics}");
    assert!(gate.process.log().contains("a decision goes out unrecorded"));
}

#[test]
fn a_second_gate_on_one_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let policies = super::reviews::policies(super::reviews::POLICY);
    let args = ["--policies", &policies.path().display().to_string()];
    let gate = Gate::in_folder(Path::new(PROGRAM), folder.path(), &args, &[]);
    let [port, admin] = free_ports();
    let store = gate.store();
    let (code, _, stderr) = gate.run(&[
        "serve",
        "--tls-self-signed",
        "--store",
        &store,
        "--policies",
        args[1],
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--admin-listen",
        &format!("127.0.0.1:{admin}"),
    ]);
    assert_eq!(code, Some(2));
    let file = folder.path().join("decisions.db");
    assert_eq!(
        stderr,
        format!(
            "error: the store {} is in use by another freshgate; stop that one, or name another file\n",
            file.display()
        )
    );
}
