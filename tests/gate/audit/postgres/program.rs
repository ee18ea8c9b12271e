//! The program itself with a server behind it: what people type, and that no password is told to anybody.

use super::*;
use std::path::Path;
use std::process::Command;

use crate::audit::place::until;
use crate::cluster::between::{Between, Way};
use crate::cluster::gate::Gate;
use crate::cluster::install_tls;
use crate::cluster::postgres::PASSWORD;
use crate::command_line::run;
use crate::reviews::{POLICY, PROGRAM, policies, review};

/// Refused without asking anybody.
const IMAGE: &str = "169.254.169.254/x:1";

/// A gate of its own, with these flags.
fn gate(flags: &[&str]) -> (Gate, tempfile::TempDir) {
    install_tls();
    let folder = policies(POLICY);
    let path = folder.path().display().to_string();
    let key = folder.path().join("key.pem").display().to_string();
    (Gate::start(Path::new(PROGRAM), &[&["--policies", &path, "--signing-key", &key], flags].concat(), &[]), folder)
}

async fn decide(gate: &Gate, name: &str) -> serde_json::Value {
    let review = review(name, IMAGE).to_string();
    let call = gate.client().post(gate.url()).header("content-type", "application/json").body(review);
    let answer: serde_json::Value = call.send().await.unwrap().json().await.unwrap();
    answer["response"].clone()
}

async fn metric(gate: &Gate, name: &str) -> f64 {
    let url = format!("http://127.0.0.1:{}/metrics", gate.admin_port);
    let text =
        reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains(PASSWORD));
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_takes_a_server_for_a_store() {
    let place = Place::new();
    let (store, journal) = (place.url(), place.journal().display().to_string());
    let (mut gate, rules) = gate(&["--store", &store, "--audit-journal", &journal]);
    let answered = decide(&gate, "checkout").await;
    let id = answered["auditAnnotations"]["decision-id"].as_str().unwrap().to_owned();
    decide(&gate, "cart").await;
    // With the journal at once, and without it once the store has them.
    let (code, found, stderr) =
        run(&["audit", "query", "--store", &store, "--audit-journal", &journal, "-o", "json"], "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&found).unwrap().len(), 2);
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let ask = |words: &[&str]| {
        let (code, stdout, stderr) = run(&[words, &["--store", &store]].concat(), "");
        assert!(!format!("{stdout}{stderr}").contains(PASSWORD), "{words:?}: {stdout}{stderr}");
        (code, stdout)
    };
    assert_eq!(ask(&["audit", "query", "-o", "json"]), (0, found));
    assert!(ask(&["audit", "query", "--name", "cart"]).1.contains("Deployment shop/cart"));
    assert_eq!(
        ask(&["audit", "query", "--count-by", "decision"]),
        (0, "DECISION  DECISIONS\ndeny      2\n".to_owned())
    );
    assert!(ask(&["audit", "show", &id]).1.contains(&id));
    assert_eq!(ask(&["audit", "tail"]).1.lines().count(), 3);
    assert!(ask(&["audit", "verify"]).1.starts_with("all records fit: 2 records of 1 writer; "));
    assert_eq!(ask(&["audit", "replay", "--since", "1h"]).0, 0);
    let rules = rules.path().display().to_string();
    assert_eq!(ask(&["simulate", "--policies", &rules, "--since", "1h"]).0, 0);
    let (code, exported) = ask(&["audit", "export"]);
    assert_eq!((code, exported.lines().count()), (0, 2));
    // An archive on a server, in a database of its own.
    let other = Place::new();
    let (code, stdout, stderr) = run(&["audit", "import", "-", "--store", &other.url()], &exported);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let shown = other.location();
    assert_eq!(
        stdout,
        format!(
            "{shown} holds 2 records of 1 writer; prove it with: freshgate audit verify --archive --store {shown}\n"
        )
    );
    assert_eq!(run(&["audit", "export", "--store", &other.url()], "").1, exported);
    let (code, _, stderr) = run(&["audit", "import", "-", "--store", &other.url()], &exported);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        format!(
            "error: -: there is a store at {shown} already: an archive is made anew, so name another with --store\n"
        )
    );
    let broken = Place::new();
    assert_eq!(run(&["audit", "import", "-", "--store", &broken.url()], &format!("{exported}some,thing,else\n")).0, 2);
    let (code, _, stderr) = run(&["audit", "query", "--store", &broken.url()], "");
    assert!(
        code == 2 && stderr.contains("there is no store at "),
        "half an archive would pass for a whole one: {stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_wait_for_the_store_and_say_where_it_did_not_take_the_record() {
    let place = Place::new();
    let database = place.database.clone().unwrap();
    let between = Between::start(database.port).await;
    let store = database.url_through(between.port);
    let (mut gate, _rules) = gate(&["--store", &store, "--audit-durability", "store"]);
    let unrecorded = |answer: &serde_json::Value| answer["auditAnnotations"]["unrecorded"].clone();
    assert_eq!(unrecorded(&decide(&gate, "first").await), serde_json::Value::Null);
    let (code, stdout, _) = run(&["audit", "query", "--store", &place.url(), "-o", "json"], "");
    assert_eq!((code, serde_json::from_str::<Vec<serde_json::Value>>(&stdout).unwrap().len()), (0, 1));
    between.set(Way::Cut);
    let answer = decide(&gate, "second").await;
    assert_eq!(answer["allowed"], false, "the decision goes out");
    assert_eq!(unrecorded(&answer), "the audit record could not be written");
    assert_eq!(metric(&gate, "freshgate_audit_unrecorded_total").await.to_string(), "1");
    assert_eq!(metric(&gate, "freshgate_audit_store_failing").await.to_string(), "1");
    assert_eq!(metric(&gate, "freshgate_audit_waiting ").await.to_string(), "1");
    between.set(Way::Open);
    until(async || metric(&gate, "freshgate_audit_store_failing").await.to_string() == "0").await;
    assert_eq!(unrecorded(&decide(&gate, "third").await), serde_json::Value::Null);
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let (code, stdout, _) = run(&["audit", "verify", "--store", &place.url()], "");
    assert_eq!(code, 0);
    assert!(stdout.starts_with("all records fit: 3 records of 1 writer; "), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_starts_while_its_server_is_away_decides_and_stores_later() {
    let place = Place::new();
    let database = place.database.clone().unwrap();
    let between = Between::start(database.port).await;
    between.set(Way::Cut);
    let (store, journal) = (database.url_through(between.port), place.journal().display().to_string());
    let (mut gate, _rules) = gate(&["--store", &store, "--audit-journal", &journal]);
    let answer = decide(&gate, "first").await;
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["auditAnnotations"]["unrecorded"], serde_json::Value::Null, "the journal has it");
    let away = "the store is away at the start; records wait until it is back";
    assert!(gate.process.log().contains(away), "{}", gate.process.log());
    until(async || metric(&gate, "freshgate_audit_store_failing").await.to_string() == "1").await;
    between.set(Way::Open);
    until(async || metric(&gate, "freshgate_audit_waiting ").await.to_string() == "0").await;
    decide(&gate, "second").await;
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let (code, stdout, _) = run(&["audit", "verify", "--store", &place.url()], "");
    assert_eq!(code, 0);
    assert!(stdout.starts_with("all records fit: 2 records of 1 writer; "), "{stdout}");
}

/// A rollback of the gate during an outage must not write into what a newer version has made.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_a_newer_schema_is_not_written_to() {
    let place = Place::new();
    Store::open(&place.location()).await.unwrap().flush_and_close().await.unwrap();
    place.connect().await.run("UPDATE about SET version = version + 1").await;
    let between = Between::start(place.database.as_ref().unwrap().port).await;
    between.set(Way::Cut);
    let store = place.database.as_ref().unwrap().url_through(between.port);
    let journal = place.journal().display().to_string();
    let (mut gate, _rules) = gate(&["--store", &store, "--audit-journal", &journal]);
    between.set(Way::Open);
    let said = "the store answers and cannot be used; records wait";
    until(async || gate.process.log().contains(said)).await;
    assert_eq!(decide(&gate, "first").await["auditAnnotations"]["unrecorded"], serde_json::Value::Null);
    until(async || metric(&gate, "freshgate_audit_store_failing").await.to_string() == "1").await;
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    assert_eq!(place.connect().await.number("SELECT count(*) FROM decisions").await, 0);
}

/// R18 where answers wait for the store: whatever was answered is there, however the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_no_decision_that_the_store_had_committed() {
    let place = Place::new();
    let store = place.url();
    let (mut gate, _rules) = gate(&["--store", &store, "--audit-durability", "store"]);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..4 {
        let (answers, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (http, url, answers) = (gate.client(), gate.url(), answers.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let body = review(&format!("app-{round}-{client}-{number}"), IMAGE).to_string();
                        let call = http.post(&url).header("content-type", "application/json").body(body);
                        // Only what was answered whole counts.
                        let Ok(answer) = call.send().await else { return };
                        let Ok(answer) = answer.json::<serde_json::Value>().await else { return };
                        let annotations = &answer["response"]["auditAnnotations"];
                        assert_eq!(annotations["unrecorded"], serde_json::Value::Null);
                        drop(answers.send(annotations["decision-id"].as_str().unwrap().to_owned()));
                    }
                })
            })
            .collect();
        drop(answers);
        for _ in 0..40 + round * 11 {
            answered.push(heard.recv().await.expect("it answers"));
        }
        gate.process.kill();
        while let Some(id) = heard.recv().await {
            answered.push(id);
        }
        for client in clients {
            client.await.unwrap();
        }
        let location: StoreLocation = store.parse().unwrap();
        let recorded: std::collections::HashSet<String> =
            query(&location, &QueryFilter::default()).await.unwrap().iter().map(decision_id).collect();
        let lost: Vec<_> = answered.iter().filter(|id| !recorded.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} answered decisions are lost", lost.len(), answered.len());
        let report = freshgate::audit::verify(&location).await.unwrap();
        assert_eq!(report.first_bad, None, "round {round}");
        gate.crash_and_restart();
    }
}

/// R1 and R17: whatever becomes of the store, the answer comes, and its record is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_swallows_everything_costs_no_answer_and_no_record() {
    let place = Place::new();
    let database = place.database.clone().unwrap();
    let between = Between::start(database.port).await;
    let (store, journal) = (database.url_through(between.port), place.journal().display().to_string());
    let (mut gate, _rules) = gate(&["--store", &store, "--audit-journal", &journal]);
    decide(&gate, "first").await;
    between.set(Way::Hole);
    for (number, timeout) in ["2s", "5s", "10s"].into_iter().cycle().take(12).enumerate() {
        let review = review(&format!("app-{number}"), IMAGE).to_string();
        let url = format!("{}?timeout={timeout}", gate.url());
        let answer =
            gate.client().post(url).header("content-type", "application/json").body(review).send().await.unwrap();
        let answer: serde_json::Value = answer.error_for_status().unwrap().json().await.unwrap();
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["auditAnnotations"]["unrecorded"], serde_json::Value::Null, "with {timeout}");
    }
    assert_eq!(metric(&gate, "freshgate_audit_unrecorded_total").await.to_string(), "0");
    until(async || metric(&gate, "freshgate_audit_store_failing").await.to_string() == "1").await;
    assert!(metric(&gate, "freshgate_audit_waiting ").await > 0.0);
    between.set(Way::Open);
    until(async || metric(&gate, "freshgate_audit_waiting ").await.to_string() == "0").await;
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let (code, stdout, _) = run(&["audit", "verify", "--store", &place.url()], "");
    assert_eq!(code, 0);
    assert!(stdout.starts_with("all records fit: 13 records of 1 writer; "), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_in_no_log_no_error_and_no_help_and_need_not_be_typed() {
    let place = Place::new();
    let (store, journal) = (place.url(), place.journal().display().to_string());
    let typed = store.replace(&format!(":{PASSWORD}"), "");
    let with = |name: &str, value: &str, args: &[&str]| {
        let output = Command::new(PROGRAM).args(args).env(name, value).env("FRESHGATE_LOG", "trace").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(PASSWORD), "{args:?}: {said}");
        (output.status.code(), said)
    };
    // What serves logs all that it can.
    install_tls();
    let rules = policies(POLICY);
    let (folder, key) = (rules.path().display().to_string(), rules.path().join("key.pem").display().to_string());
    let flags = ["--policies", &folder, "--store", &store, "--audit-journal", &journal, "--signing-key", &key];
    let gate = Gate::start(Path::new(PROGRAM), &flags, &[("FRESHGATE_LOG", Path::new("trace"))]);
    decide(&gate, "checkout").await;
    until(async || metric(&gate, "freshgate_audit_waiting ").await.to_string() == "0").await;
    let log = gate.process.log();
    assert!(log.contains("store brought to the present schema version") && !log.contains(PASSWORD), "{log}");

    let (code, _) = with("PGPASSWORD", PASSWORD, &["audit", "verify", "--store", &typed]);
    assert_eq!(code, Some(0));
    let file = place.folder.path().join("passfile");
    std::fs::write(&file, format!("127.0.0.1:*:*:freshgate:{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (code, _) = with("PGPASSFILE", &file.display().to_string(), &["audit", "verify", "--store", &typed]);
    assert_eq!(code, Some(0));
    let (code, said) = with("PGPASSWORD", "guessed", &["audit", "verify", "--store", &typed]);
    assert_eq!(code, Some(2));
    assert!(said.contains("give the role's password in PGPASSWORD or in the file that PGPASSFILE names"), "{said}");

    for command in [&["serve", "--help"][..], &["audit", "query", "--help"], &["audit", "show", "--help"]] {
        let (code, said) = with("FRESHGATE_STORE", &store, command);
        assert!(code == Some(0) && said.contains("[env: FRESHGATE_STORE]"), "{said}");
    }
    for (wrong, told) in [
        (store.replace("sslmode", "sslmod"), "the parameter \"sslmod\" is not among"),
        (store.replace("postgres://", "postgresql+x://"), "is not understood: write sqlite:FILE"),
        (store.replace(&place.database.as_ref().unwrap().name, ""), "it names no database"),
    ] {
        let (code, said) = with("FRESHGATE_STORE", &wrong, &["audit", "query"]);
        assert!(code == Some(2) && said.contains(told) && said.contains("FRESHGATE_STORE"), "{said}");
        let (code, said) = with("FRESHGATE_LOG", "trace", &["audit", "query", "--store", &wrong]);
        assert!(code == Some(2) && said.contains(told), "{said}");
    }
    let (code, said) = with("FRESHGATE_LOG", "trace", &["audit", "query", &store]);
    assert!(code == Some(2) && said.contains("unexpected argument"), "{said}");
}
