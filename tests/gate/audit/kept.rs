//! Killed at any instant, the gate has lost nothing that it answered for.

use super::child::Recorder;
use super::*;
use freshgate::audit::verify;
use std::collections::HashSet;
use std::io::Write;

/// How many acknowledgements each process lives to give: from none to many segments.
const ROUNDS: [usize; 10] = [0, 1, 5, 30, 400, 77, 1500, 3, 900, 2500];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_missing_after_kills_under_load() {
    let place = Place::new();
    let mut acknowledged = HashSet::new();
    for round in ROUNDS {
        let mut recorder = Recorder::start(&place, "until killed");
        assert_eq!(recorder.next(&["ready"]).map(|(word, _)| word).as_deref(), Some("ready"), "round {round}");
        for _ in 0..round {
            acknowledged.extend(recorder.next(&["kept"]).map(|(_, id)| id));
        }
        recorder.process.kill().unwrap();
        // What it said before it died counts; a line that the kill cut off was not said.
        while let Some((_, id)) = recorder.next(&["kept"]) {
            if id.len() == super::id(0).len() {
                acknowledged.insert(id);
            }
        }
        drop(recorder);
        let found: HashSet<String> = place.all().await.iter().map(decision_id).collect();
        let missing: Vec<_> = acknowledged.difference(&found).collect();
        assert_eq!(missing, Vec::<&String>::new(), "after a kill at {round} acknowledgements");
        let report = verify(&place.location()).await.unwrap();
        assert_eq!((report.first_bad, report.records), (None, found.len() as u64), "after a kill at {round}");
    }
    assert!(acknowledged.len() >= ROUNDS.iter().sum());
    // The next start moves what they left, and nothing is lost or doubled on the way.
    let before = place.all().await;
    let (store, audit) = place.open().await;
    close(store, audit).await;
    assert_eq!(place.segments(), [] as [std::path::PathBuf; 0]);
    assert_eq!(place.all().await, before);
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
}

/// The filler moves records and removes segments while they are read: nothing may seem lost or broken for that.
#[tokio::test(flavor = "multi_thread")]
async fn asking_beside_a_busy_server_misses_nothing() {
    let place = Place::new();
    let mut recorder = Recorder::start(&place, "until killed");
    let mut acknowledged = HashSet::new();
    for round in 0..10 {
        for _ in 0..300 {
            acknowledged.insert(recorder.next(&["kept"]).expect("it records on").1);
        }
        let found: HashSet<String> = place.all().await.iter().map(decision_id).collect();
        let missing: Vec<_> = acknowledged.difference(&found).collect();
        assert_eq!(missing, Vec::<&String>::new(), "round {round}");
        let report = verify(&place.location()).await.unwrap();
        assert_eq!(report.first_bad, None, "round {round}");
        assert!(report.records >= acknowledged.len() as u64, "round {round}");
    }
}

/// Three records of a writer that is gone, in its one segment alone.
async fn left_behind(place: &Place) -> std::path::PathBuf {
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    for number in 1..=3 {
        audit.record(body(number), None).await.unwrap();
    }
    assert_eq!(audit.flush_and_close(BRIEFLY).await.unstored_records, 3);
    drop(store);
    place.segments().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_torn_by_the_crash_is_cut_off_and_the_rest_is_moved() {
    let place = Place::new();
    let segment = left_behind(&place).await;
    let mut file = std::fs::OpenOptions::new().append(true).open(&segment).unwrap();
    file.write_all(br#"{"hash":"0123456789","record":{"decision_id":"019"#).unwrap();
    let numbers = |records: Vec<StoredRecord>| records.iter().map(|record| record.seq).collect::<Vec<_>>();
    assert_eq!(numbers(place.all().await), [3, 2, 1]);
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
    let (store, audit) = place.open().await;
    stored(&audit).await;
    close(store, audit).await;
    assert_eq!(numbers(place.all().await), [3, 2, 1]);
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None);
    assert_eq!(place.segments(), [] as [std::path::PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_moved_as_far_as_it_can_be_read_and_kept_aside() {
    let place = Place::new();
    let segment = left_behind(&place).await;
    let text = std::fs::read_to_string(&segment).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&segment, format!("{}\ngarbage\n{}\n", lines[0], lines[2])).unwrap();
    let (store, audit) = place.open().await;
    close(store, audit).await;
    assert_eq!(place.all().await.iter().map(|record| record.seq).collect::<Vec<_>>(), [3, 1]);
    assert!(segment.with_extension("jsonl.damaged").exists());
    let bad = verify(&place.location()).await.unwrap().first_bad.unwrap();
    assert_eq!((bad.seq, bad.fault.to_string().as_str()), (3, "removed before it: record 2 is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_every_record_is_printed_and_the_ledger_remembers() {
    let place = Place::new();
    let mut recorder = Recorder::start(&place, "print");
    let printed: Vec<String> = recorder
        .lines
        .by_ref()
        .map(Result::unwrap)
        .filter(|line| line.starts_with('{') || line.starts_with("digests"))
        .collect();
    assert_eq!(printed.len(), 4);
    let mut prev_hash = freshgate::audit::chain::ChainHash::ZERO;
    for (number, line) in (1..=3).zip(&printed) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&record["seq"], &record["decision_id"]), (&json!(number), &json!(id(number))));
        assert_eq!(record["prev_hash"], json!(prev_hash.to_string()));
        prev_hash = freshgate::audit::chain::link(prev_hash, number, line.as_bytes());
    }
    assert_eq!(printed[3], "digests 4", "three of its own and the earlier one");
    assert!(!place.file().exists());
}
