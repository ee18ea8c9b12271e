//! The same questions through the program itself, as people and scripts ask them.

use super::*;
use std::path::Path;

use crate::cluster::gate::Gate;
use crate::cluster::install_tls;
use crate::command_line::output::on_a_terminal;
use crate::command_line::{closed_pipe, full, run, run_into};
use crate::reviews::{POLICY, PROGRAM, policies, review};
use serde_json::Value;

/// Records in the store, and the store as `--store` names it.
async fn recorded(count: u64) -> (Place, String) {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=count {
        audit.record(body(number), None).await.unwrap();
    }
    close(store, audit).await;
    let named = place.location().to_string();
    (place, named)
}

async fn change(place: &Place, statement: &str) {
    let mut connection = place.connect().await;
    connection.run(statement).await;
    connection.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_exits_1_at_the_first_record_that_does_not_fit_wherever_its_words_go() {
    let (place, store) = recorded(4).await;
    let verify = ["audit", "verify", "--store", &store];
    let (code, stdout, stderr) = run(&verify, "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("all records fit: 4 records of 1 writer; "), "{stdout}");
    assert_eq!(run_into(closed_pipe(), &verify).0, 0);
    let seen = on_a_terminal(&[], &verify);
    assert!(seen.contains("records fit so far: "), "where somebody watches it says how far it is: {seen:?}");

    change(&place, "UPDATE decisions SET line = replace(line, '112 days', '12 days') WHERE seq = 3").await;
    let (code, stdout, _) = run(&verify, "");
    assert_eq!(code, 1);
    let named = format!("the first record that does not fit is record 3 of writer {}", place.all().await[0].writer_id);
    assert!(stdout.starts_with(&named), "{stdout}");
    assert!(stdout.ends_with(": altered: its line does not have the hash that was kept with it\n"), "{stdout}");
    assert_eq!(run_into(closed_pipe(), &verify).0, 1, "nobody reads it, and it is tampered with all the same");
    let (code, stderr) = run_into(full(), &verify);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: the result cannot be written to standard output: "), "{stderr}");
    for question in [&["audit", "query", "--store", &store][..], &["audit", "show", &id(1), "--store", &store]] {
        assert_eq!(run_into(full(), question).0, 2);
        assert_eq!(run_into(closed_pipe(), question).0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_prints_a_table_and_says_when_there_are_more() {
    let (_place, store) = recorded(3).await;
    let query = ["audit", "query", "--store", &store, "--limit"];
    let (code, stdout, stderr) = run(&[&query[..], &["2"]].concat(), "");
    let row = |number: u64| {
        let time = at(i64::try_from(number).unwrap()).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        format!("{time}  deny      NewImage  Deployment shop/checkout  jane        {}\n", id(number))
    };
    let head = "TIME                      DECISION  CHANGE    WORKLOAD                  USER  WHAT  ID\n";
    assert_eq!((code, stdout), (0, format!("{head}{}{}", row(3), row(2))));
    let note = "note: these are the newest 2, and there are more: --limit asks for more of them, --until for older ones, and the other filters for fewer\n";
    assert_eq!(stderr, note);
    let (code, stdout, stderr) = run(&[&query[..], &["2", "-o", "json"]].concat(), "");
    assert_eq!((code, stderr.as_str()), (0, note));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&stdout).unwrap().len(), 2);
    for limit in ["3", "4", "18446744073709551615"] {
        let (code, stdout, stderr) = run(&[&query[..], &[limit]].concat(), "");
        assert_eq!((code, stdout.lines().count(), stderr.as_str()), (0, 4, ""), "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_or_journal_that_cannot_be_read_says_where_and_why() {
    let (place, store) = recorded(3).await;
    let journal = place.journal();
    let aside = place.folder.path().join("aside");
    std::fs::rename(&journal, &aside).unwrap();
    std::fs::write(&journal, "in the way").unwrap();
    for question in [&["audit", "query", "--store", &store][..], &["audit", "verify", "--store", &store]] {
        let told = format!(
            "error: reading the audit journal {} failed: Not a directory (os error 20): check that it is a folder and can be read\n",
            journal.display()
        );
        assert_eq!(run(question, ""), (2, String::new(), told));
    }
    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    change(&place, "DROP TABLE decisions").await;
    let file = place.file().display().to_string();
    for (question, act) in [("query", "looking for records"), ("verify", "reading the records")] {
        let (code, _, stderr) = run(&["audit", question, "--store", &store], "");
        let told = format!(
            "error: {act} failed in the store {file}: error returned from database: (code: 1) no such table: decisions: try again, and if it stays so restore the store from a copy\n"
        );
        assert_eq!((code, stderr), (2, told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_json_any_more_is_told() {
    let (place, store) = recorded(3).await;
    change(&place, "UPDATE decisions SET line = 'gone' WHERE seq = 2").await;
    let writer_id = place.all().await[0].writer_id.clone();
    let told = format!(
        "warning: record 2 of writer {writer_id} is no JSON any more; freshgate audit verify says whether records were changed\n"
    );
    for output in ["table", "json"] {
        let (code, _, stderr) = run(&["audit", "query", "--store", &store, "-o", output], "");
        assert_eq!((code, &stderr), (0, &told), "{output}");
    }
}

/// A gate of its own, with these flags.
fn gate(flags: &[&str]) -> (Gate, tempfile::TempDir) {
    install_tls();
    let folder = policies(POLICY);
    let path = folder.path().display().to_string();
    (Gate::start(Path::new(PROGRAM), &[&["--policies", &path], flags].concat(), &[]), folder)
}

/// The decision's id, where the answer names one.
async fn decide(gate: &Gate, review: &Value) -> Option<String> {
    let call = gate.client().post(gate.url()).header("content-type", "application/json").body(review.to_string());
    let answer: Value = call.send().await.unwrap().json().await.unwrap();
    answer["response"]["auditAnnotations"]["decision-id"].as_str().map(str::to_owned)
}

/// Refused without asking anybody.
const IMAGE: &str = "169.254.169.254/x:1";

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_denial_is_found_by_its_image_too() {
    let (gate, _policies) = gate(&[]);
    let first = decide(&gate, &review("x", IMAGE)).await;
    assert_eq!(decide(&gate, &review("x", IMAGE)).await, first);
    let records = gate.records(&["--image", "169.254.169.254/x"]);
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["repeat_of"].as_str(), first.as_deref());
    assert_eq!(
        records[0]["images"],
        json!([{"container": "app", "place": "container", "ref": IMAGE}]),
        "the evidence is in the first"
    );
    let store = gate.store();
    let (code, stdout, _) =
        gate.run(&["audit", "show", records[0]["decision_id"].as_str().unwrap(), "--store", &store]);
    assert_eq!(code, Some(0));
    let told = format!("repeats   {}, which has the evidence\n", first.unwrap());
    assert!(
        stdout.contains(&told) && stdout.contains("image     169.254.169.254/x:1 (container \"app\")\n"),
        "{stdout}"
    );
    assert!(!stdout.contains("unknown:"), "what it does not hold is not said to be unknown: {stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_says_whether_what_passes_unjudged_is_stored() {
    let mut unjudged = review("x", IMAGE);
    unjudged["request"]["object"]["spec"]["template"]["spec"]["containers"] = json!([]);
    for (flags, stored) in [(&[][..], 0), (&["--audit-level", "judged"], 0), (&["--audit-level", "all"], 1)] {
        let (gate, _policies) = gate(flags);
        decide(&gate, &unjudged).await;
        let records = gate.records(&[]);
        assert_eq!(records.len(), stored, "{flags:?}");
        if let Some(record) = records.first() {
            assert_eq!((&record["decision"], &record["passed"]), (&json!("allow"), &json!("NoImages")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn async_durability_keeps_what_was_answered_when_it_ends_in_order() {
    let (mut gate, _policies) = gate(&["--audit-durability", "async"]);
    let mut answered = Vec::new();
    for number in 0..20 {
        answered.push(decide(&gate, &review(&format!("app-{number}"), IMAGE)).await.expect("a denial has an id"));
    }
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());
    let recorded: Vec<String> =
        gate.records(&[]).iter().rev().map(|one| one["decision_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(recorded, answered);
    let store = gate.store();
    assert_eq!(gate.run(&["audit", "verify", "--store", &store]).0, Some(0));
}
