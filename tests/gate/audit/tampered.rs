//! Every way to tamper with a store is named, at the first record that does not fit.

use super::place::quoted;
use super::*;
use freshgate::audit::chain::link;
use freshgate::audit::{Fault, VerifyReport, verify};

/// Six records in the store, changed by these statements, verified.
async fn after(statements: &str) -> (VerifyReport, String) {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=6 {
        audit.record(body(number), None).await.unwrap();
    }
    let writer_id = audit.writer_id().to_string();
    close(store, audit).await;
    let mut connection = place.connect().await;
    connection.run(statements).await;
    connection.close().await;
    (verify(&place.location()).await.unwrap(), writer_id)
}

#[track_caller]
fn expect(found: (VerifyReport, String), seq: u64, fault: &str) {
    expect_after(found, seq - 1, seq, fault);
}

/// With so many records before it that fit.
#[track_caller]
fn expect_after((report, writer_id): (VerifyReport, String), records: u64, seq: u64, fault: &str) {
    let bad = report.first_bad.expect("tampering was not noticed");
    let time = at(i64::try_from(seq).unwrap()).to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    assert_eq!(
        bad.to_string(),
        format!("record {seq} of writer {writer_id}, decision {}, made at {time}: {fault}", id(seq))
    );
    assert_eq!(report.records, records, "records before it that fit");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_is_nothing_named() {
    let (report, _) = after("SELECT 1").await;
    assert_eq!(report, VerifyReport { records: 6, writers: 1, first_bad: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_line() {
    let statement = "UPDATE decisions SET line = replace(line, '112 days', '12 days') WHERE seq = 3";
    expect(after(statement).await, 3, "altered: its line does not have the hash that was kept with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_hash() {
    let statement = "UPDATE decisions SET hash = replace(hash, substr(hash, 1, 1), 'f') || '' WHERE seq = 4;
        UPDATE decisions SET hash = (SELECT hash FROM decisions WHERE seq = 5) WHERE seq = 4";
    expect(after(statement).await, 4, "altered: its line does not have the hash that was kept with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_line_with_its_hash_made_anew() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=6 {
        audit.record(body(number), None).await.unwrap();
    }
    let writer_id = audit.writer_id().to_string();
    close(store, audit).await;
    let all = place.all().await;
    let (second, third) = (&all[4], &all[3]);
    let line = third.line.replace("112 days", "12 days");
    let hash = link(second.hash.parse().unwrap(), 3, line.as_bytes()).to_string();
    let mut connection = place.connect().await;
    connection
        .run(format!("UPDATE decisions SET line = {}, hash = {} WHERE seq = 3", quoted(&line), quoted(&hash)))
        .await;
    connection.close().await;
    let report = verify(&place.location()).await.unwrap();
    expect(
        (report, writer_id),
        4,
        "does not follow the record before it: it was inserted, or the one before it was replaced",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_altered_column() {
    for column in [
        "decision_id",
        "timestamp",
        "decision",
        "namespace",
        "kind",
        "name",
        "operation",
        "username",
        "rules",
        "images",
        "repeat_of",
        "prev_hash",
        "facets",
    ] {
        let statement = format!("UPDATE decisions SET {column} = 'forged' WHERE seq = 5");
        let fault = format!("column differs: \"{column}\" is not what the line says");
        expect(after(&statement).await, 5, &fault);
    }
    let fault = "column differs: \"signature\" is not what the line says";
    expect(after("UPDATE decisions SET signature = signature + 1 WHERE seq = 5").await, 5, fault);
}

/// The store hands rows over packed, with characters between the values that no JSON text has: whoever has one in a name,
/// or moves one from a value to the next, changes nothing in what is named.
#[tokio::test(flavor = "multi_thread")]
async fn values_with_the_marks_of_packed_rows_in_them() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for (number, name) in [(1, "plain"), (2, "a\u{1f}b\u{1e}c"), (3, "\u{1e}\u{1f}1"), (4, "plain")] {
        audit.record(body_of(number, "deny", "shop", name), None).await.unwrap();
    }
    let writer_id = audit.writer_id().to_string();
    close(store, audit).await;
    let report = verify(&place.location()).await.unwrap();
    assert_eq!(report, VerifyReport { records: 4, writers: 1, first_bad: None });
    let mut connection = place.connect().await;
    connection.run("UPDATE decisions SET operation = 'b\u{1e}c\u{1f}' || operation, name = 'a' WHERE seq = 2").await;
    connection.close().await;
    let report = verify(&place.location()).await.unwrap();
    expect((report, writer_id), 2, "column differs: \"name\" is not what the line says");
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_records() {
    let found = after("DELETE FROM decisions WHERE seq = 1").await;
    expect_after(found, 0, 2, "removed before it: record 1 is missing");
    let found = after("DELETE FROM decisions WHERE seq IN (3, 4)").await;
    expect_after(found, 2, 5, "removed before it: records 3 to 4 are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_in_each_others_place() {
    let statement = "UPDATE decisions SET seq = 100 WHERE seq = 4; UPDATE decisions SET seq = 4 WHERE seq = 5;
        UPDATE decisions SET seq = 5 WHERE seq = 100";
    let (report, writer_id) = after(statement).await;
    let bad = report.first_bad.unwrap();
    assert_eq!((bad.seq, bad.decision_id, report.records), (4, Some(id(5)), 3));
    assert_eq!(bad.fault.to_string(), format!("moved: its line says that it is record 5 of writer {writer_id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_at_the_end() {
    let statement =
        "INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, username,
            rules, images, repeat_of, prev_hash, hash, line, facets)
        SELECT writer_id, 7, decision_id, timestamp, decision, namespace, kind, name,
        operation, username, rules, images, repeat_of, prev_hash, hash, line, facets FROM decisions WHERE seq = 2";
    let (report, writer_id) = after(statement).await;
    let bad = report.first_bad.unwrap();
    assert_eq!((bad.seq, bad.decision_id, report.records), (7, Some(id(2)), 6));
    assert_eq!(bad.fault, Fault::Moved { writer_id, seq: 2 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_between_with_a_hash_of_its_own() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=4 {
        audit.record(body(number), None).await.unwrap();
    }
    let writer_id = audit.writer_id().to_string();
    close(store, audit).await;
    let all = place.all().await;
    let second = &all[2];
    // The forger knows the chain: the new record 3 fits its predecessor and carries a right hash.
    let line = all[1].line.replace(&id(3), &id(99));
    let hash = link(second.hash.parse().unwrap(), 3, line.as_bytes()).to_string();
    let mut connection = place.connect().await;
    connection
        .run("UPDATE decisions SET seq = -seq WHERE seq >= 3; UPDATE decisions SET seq = 1 - seq WHERE seq < 0;")
        .await;
    let insert = format!(
        "INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, username,
            rules, images, repeat_of, prev_hash, hash, line, facets)
        SELECT writer_id, 3, {}, timestamp, decision, namespace, kind, name, operation, username,
            rules, images, repeat_of, prev_hash, {}, {}, facets FROM decisions WHERE seq = 4",
        quoted(&id(99)),
        quoted(&hash),
        quoted(&line)
    );
    connection.run(insert).await;
    connection.close().await;
    let report = verify(&place.location()).await.unwrap();
    let bad = report.first_bad.unwrap();
    assert_eq!((bad.seq, bad.decision_id, report.records), (4, Some(id(3)), 3));
    assert_eq!(bad.fault, Fault::Moved { writer_id, seq: 3 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_one_writer_put_into_anothers_chain() {
    let place = Place::new();
    for number in [1, 2] {
        let (store, audit) = place.open().await;
        audit.record(body(number), None).await.unwrap();
        close(store, audit).await;
    }
    let mut writers: Vec<String> = place.all().await.into_iter().map(|record| record.writer_id).collect();
    writers.sort();
    let mut connection = place.connect().await;
    let first = quoted(&writers[0]);
    connection.run(format!("DELETE FROM decisions WHERE writer_id = {first}")).await;
    connection.run(format!("UPDATE decisions SET writer_id = {first}")).await;
    connection.close().await;
    let bad = verify(&place.location()).await.unwrap().first_bad.unwrap();
    assert_eq!((bad.seq, bad.writer_id), (1, writers[0].clone()));
    assert_eq!(bad.fault, Fault::Moved { writer_id: writers[1].clone(), seq: 1 });
}

/// What the chain alone cannot show, said so that nobody relies on it: a cut at the very end goes unnoticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_the_very_end_needs_a_checkpoint() {
    let (report, _) = after("DELETE FROM decisions WHERE seq > 4").await;
    assert_eq!(report, VerifyReport { records: 4, writers: 1, first_bad: None });
}

/// Three records that only the journal holds, its one segment changed by `change`, verified.
async fn after_in_the_journal(change: impl FnOnce(Vec<String>) -> Vec<String>) -> VerifyReport {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    for number in 1..=3 {
        audit.record(body(number), None).await.unwrap();
    }
    assert_eq!(audit.flush_and_close(BRIEFLY).await.unstored_records, 3);
    drop(store);
    let segment = place.segments().remove(0);
    let lines = std::fs::read_to_string(&segment).unwrap().lines().map(str::to_owned).collect();
    std::fs::write(
        &segment,
        change(lines).join(
            "
",
        ) + "
",
    )
    .unwrap();
    verify(&place.location()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journals_tail_is_proven_too() {
    let fault = async |change: fn(Vec<String>) -> Vec<String>| {
        after_in_the_journal(change).await.first_bad.map(|bad| (bad.seq, bad.fault))
    };
    assert_eq!(fault(|lines| lines).await, None);
    let altered = fault(|mut lines| {
        lines[1] = lines[1].replace("112 days", "12 days");
        lines
    });
    assert_eq!(altered.await, Some((2, Fault::Altered)));
    let removed = fault(|mut lines| {
        lines.remove(1);
        lines
    });
    assert_eq!(removed.await, Some((3, Fault::RemovedBefore { first: 2, last: 2 })));
    let repeated = fault(|mut lines| {
        lines.insert(1, lines[0].clone());
        lines
    });
    assert_eq!(repeated.await, Some((1, Fault::Repeated)));
    let swapped = fault(|mut lines| {
        lines.swap(1, 2);
        lines
    });
    assert_eq!(swapped.await, Some((3, Fault::RemovedBefore { first: 2, last: 2 })));
    let garbage = fault(|mut lines| {
        lines[1] = "garbage".to_owned();
        lines
    });
    let detail = "expected value at line 1 column 1".to_owned();
    assert_eq!(garbage.await, Some((2, Fault::Unreadable { detail })));
}

/// As a kill leaves it: the store has the records, and the journal their segment still.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_removed_from_the_store_while_the_journal_still_holds_it() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    for number in 1..=6 {
        audit.record(body(number), None).await.unwrap();
    }
    stored(&audit).await;
    let writer_id = audit.writer_id().to_string();
    let segment = place.segments().remove(0);
    let lines = std::fs::read(&segment).unwrap();
    close(store, audit).await;
    std::fs::write(&segment, lines).unwrap();
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None, "both hold everything");

    let mut connection = place.connect().await;
    connection.run("DELETE FROM decisions WHERE seq = 4").await;
    connection.close().await;
    assert_eq!(place.all().await.len(), 5, "it is not found any more");
    let fault = "removed from the store: the journal still holds it, and the store has later records of its writer";
    expect((verify(&place.location()).await.unwrap(), writer_id), 4, fault);

    // A tail that only the journal has is what a kill leaves as well, and no fault.
    let mut connection = place.connect().await;
    connection.run("DELETE FROM decisions WHERE seq > 3").await;
    connection.close().await;
    assert_eq!(place.all().await.len(), 6);
    assert_eq!(verify(&place.location()).await.unwrap(), VerifyReport { records: 6, writers: 1, first_bad: None });
}
