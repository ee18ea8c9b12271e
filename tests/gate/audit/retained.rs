//! Retention: what is old or too much goes, by whole stretches, and what is left can still be proven; what was removed by
//! anybody else is named.

use super::checkpoints::{Ended, Marked, told};
use super::*;
use std::sync::Arc;

use chrono::TimeDelta;
use freshgate::audit::retention::{Limits, Retention, RetentionError};
use freshgate::audit::{Question, prove};
use freshgate::metrics::Metrics;
use freshgate::signing::{Keys, Verifier};

fn retention(store: &Store, pem: &str, limits: Limits) -> Retention {
    Retention {
        store: store.clone(),
        keys: Keys::from_pem(pem).unwrap(),
        limits,
        metrics: Arc::new(Metrics::default()),
    }
}

/// Sweeps a store at rest at this second.
async fn sweep(ended: &Ended, limits: Limits, second: i64) -> Result<u64, RetentionError> {
    let store = Store::open(&ended.place.location()).await.unwrap();
    let swept = retention(&store, &ended.pem, limits).sweep(at(second)).await;
    store.flush_and_close().await.unwrap();
    swept
}

fn seconds(age: i64) -> Limits {
    Limits { age: Some(TimeDelta::seconds(age)), bytes: None }
}

/// Records in the store, with a checkpoint after each ten.
async fn recorded(count: u64) -> Ended {
    let marked = Marked::begin().await;
    for first in (1..=count).step_by(10) {
        marked.record(first..=(first + 9).min(count)).await.unwrap();
    }
    marked.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_what_is_left_is_proven_by_old_and_new_checkpoints() {
    let ended = recorded(30).await;
    assert_eq!(sweep(&ended, seconds(100), 115).await.unwrap(), 14, "those made before second 15");
    assert_eq!(ended.place.all().await.len(), 16);
    let proven = ended.prove().await;
    assert_eq!((proven.report.first_bad, proven.report.records), (None, 16));
    assert_eq!((proven.unproven.len(), proven.unsigned_boundaries), (0, 0));
    assert_eq!(sweep(&ended, seconds(100), 115).await.unwrap(), 0);
    assert_eq!(sweep(&ended, seconds(100), 1000).await.unwrap(), 16);
    let proven = ended.prove().await;
    assert_eq!((proven.report.first_bad, proven.report.records), (None, 0), "a chain that went as a whole");
    // Without a key it is said that nothing shows who did it.
    let proven = prove(&ended.place.location(), &Question::default(), &|_| ()).await.unwrap();
    assert_eq!((proven.report.first_bad, proven.unsigned_boundaries), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_stretch_goes() {
    let marked = Marked::begin().await;
    marked.record(1..=2_345).await.unwrap();
    let ended = marked.end().await;
    assert_eq!(sweep(&ended, seconds(1), 2_302).await.unwrap(), 2_300);
    let proven = ended.prove().await;
    assert_eq!((proven.report.first_bad, proven.report.records), (None, 45));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_until_there_is_room_and_no_more() {
    let ended = recorded(20).await;
    let bytes: Vec<u64> = ended.place.all().await.iter().map(|record| record.line.len() as u64).collect();
    let newest_five: u64 = bytes[..5].iter().sum();
    let limits = Limits { age: None, bytes: Some(newest_five) };
    assert_eq!(sweep(&ended, limits, 20).await.unwrap(), 15);
    let left = ended.place.all().await;
    assert_eq!((left.len(), left[4].seq), (5, 16));
    assert_eq!(ended.prove().await.report.first_bad, None);
    assert_eq!(sweep(&ended, limits, 20).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_goes_on_after_its_beginning_went_and_checkpoints_go_with_it() {
    let marked = Marked::begin().await;
    marked.record(1..=5).await.unwrap();
    stored(&marked.audit).await;
    let kept = retention(&marked.store, &marked.pem, seconds(1)).sweep(at(1000)).await.unwrap();
    assert_eq!(kept, 0, "the journal's segment holds them yet");
    let Ended { place, pem, .. } = marked.end().await;
    let marked = Marked::in_place(place, pem).await;
    assert_eq!(retention(&marked.store, &marked.pem, seconds(1)).sweep(at(1000)).await.unwrap(), 5);
    marked.record(6..=7).await.unwrap();
    let ended = marked.end().await;
    let checkpoints = ended.checkpoints();
    let newest = checkpoints.newest().unwrap();
    assert_eq!(newest.heads.len(), 1, "a chain that is wholly gone has no end to be cut off");
    assert_eq!(ended.prove().await.report.first_bad, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_by_hand_is_no_retention() {
    let ended = recorded(10).await;
    ended.change("DELETE FROM decisions WHERE seq <= 4").await;
    assert_eq!(ended.bad().await, (5, "removed before it: records 1 to 4 are missing".to_owned()));
    // With a boundary beside it, of the right hash even.
    let ended = recorded(10).await;
    ended
        .change(
            "INSERT INTO boundaries SELECT writer_id, seq, hash, timestamp, 'age', NULL, NULL FROM decisions WHERE seq = 4;
             DELETE FROM decisions WHERE seq <= 4",
        )
        .await;
    let said = "removed, with all before it: the store says that retention did it, and nothing shows that: ";
    assert_eq!(ended.bad().await, (4, format!("{said}it has no signature")));
    // With a signed one that was moved on.
    let ended = recorded(10).await;
    assert_eq!(sweep(&ended, seconds(1), 4).await.unwrap(), 2);
    ended
        .change(
            "UPDATE boundaries SET seq = 5, hash = (SELECT hash FROM decisions WHERE seq = 5);
             DELETE FROM decisions WHERE seq <= 5",
        )
        .await;
    assert_eq!(ended.bad().await, (5, format!("{said}it does not fit what it stands beside")));
    // A boundary that was taken away, and a record put before one.
    let ended = recorded(10).await;
    assert_eq!(sweep(&ended, seconds(1), 4).await.unwrap(), 2);
    ended.change("UPDATE decisions SET seq = 1 WHERE seq = 10").await;
    let (seq, fault) = ended.bad().await;
    assert!(seq == 1 && fault.starts_with("moved: "), "{seq}: {fault}");
    ended.change("DELETE FROM decisions WHERE seq = 1; DELETE FROM boundaries").await;
    assert_eq!(ended.bad().await, (3, "removed before it: records 1 to 2 are missing".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_removes_nothing_that_was_made_to_look_old() {
    let ended = recorded(10).await;
    // Made at second 8 and 9, and one that the forger wants gone.
    ended.change("UPDATE decisions SET timestamp = '1970-01-01T00:00:00.000000Z' WHERE seq = 1").await;
    let error = sweep(&ended, seconds(100), 105).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "record 1 of writer {} does not fit, so it and what follows is not removed: run `freshgate audit verify`",
            ended.writer_id
        )
    );
    assert_eq!(ended.place.all().await.len(), 10);
    assert_eq!(ended.bad().await, (1, "column differs: \"timestamp\" is not what the line says".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_goes_on_where_retention_removed_what_it_had_not_come_to() {
    let marked = Marked::begin().await;
    marked.record(1..=2_500).await.unwrap();
    let ended = marked.end().await;
    // Opened and not at rest, as beside a server.
    let store = Store::open(&ended.place.location()).await.unwrap();
    let verifier = Verifier::from_pem(&ended.pem).unwrap();
    let question = Question { verifier: Some(&verifier), ..Question::default() };
    let kept = retention(&store, &ended.pem, seconds(1));
    let swept = std::sync::atomic::AtomicBool::new(false);
    let proven = prove(&ended.place.location(), &question, &|records| {
        if records == 1_000 && !swept.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let removed = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(kept.sweep(at(2_401))).unwrap()
            });
            assert_eq!(removed, 2_399);
        }
    })
    .await
    .unwrap();
    assert!(swept.into_inner(), "retention came in between");
    assert_eq!(proven.report.first_bad, None, "{:?}", proven.report.first_bad.as_ref().map(|_| told(&proven)));
    store.flush_and_close().await.unwrap();
}
