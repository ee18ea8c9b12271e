//! The disk and the store fail and come back: an error or a lag, never a lost record or a broken chain.

use super::child::Recorder;
use super::*;
use freshgate::audit::verify;
use std::collections::HashSet;
use std::io::Write;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_is_an_error_and_recovers_by_itself() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let (journal, aside) = (place.journal(), place.folder.path().join("aside"));
    audit.record(body(1), None).await.unwrap();
    stored(&audit).await;
    std::fs::rename(&journal, &aside).unwrap();
    std::fs::write(&journal, "in the way").unwrap();
    for number in [90, 91] {
        let error = audit.record(body(number), None).await.unwrap_err();
        assert_eq!(error.to_string(), "writing the record to the audit journal failed");
    }
    assert_eq!(audit.counts().write_errors, 2);
    std::fs::remove_file(&journal).unwrap();
    // The folder itself is made again.
    assert_eq!(seq(audit.record(body(2), None).await.unwrap()), 2, "the chain goes on where it was");
    assert_eq!(place.all().await.iter().map(decision_id).collect::<Vec<_>>(), [id(2), id(1)]);
    // Removed while it is open: what is written must not vanish with it.
    std::fs::remove_dir_all(&journal).unwrap();
    assert_eq!(seq(audit.record(body(3), None).await.unwrap()), 3);
    assert_eq!(place.segments().len(), 1);
    close(store, audit).await;
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (3, None));
}

/// The file size limit stands in for a full disk: like it, it lets part of a write through and refuses the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_what_it_refused_and_nothing_else() {
    let place = Place::new();
    drop(Store::open(&place.location()).await.unwrap());
    let mut recorder = Recorder::start(&place, "400");
    recorder.next(&["ready"]).expect("the other process starts");
    let limit = |bytes: &str| {
        let pid = recorder.process.id().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().unwrap();
        assert!(status.success(), "prlimit {bytes}");
    };
    // Segments are finished at 64 KiB, so each of them meets the limit before that; so does the store.
    limit("50001");
    let (mut kept, mut failed, mut write_errors) = (HashSet::new(), HashSet::new(), 0);
    while let Some((word, rest)) = recorder.next(&["kept", "failed", "recorded"]) {
        match word.as_str() {
            "kept" => kept.insert(rest),
            "failed" => failed.insert(rest),
            _ => {
                write_errors = rest.parse().unwrap();
                break;
            }
        };
    }
    assert_eq!(kept.len() + failed.len(), 8 * 400);
    assert!(write_errors > 10 && !failed.is_empty() && kept.len() > 1000, "{write_errors} errors, {} kept", kept.len());
    let found: HashSet<String> = place.all().await.iter().map(decision_id).collect();
    assert_eq!(found, kept, "while the disk is full");
    assert_eq!(verify(&place.location()).await.unwrap().first_bad, None, "while the disk is full");
    let pid = recorder.process.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status().unwrap().success());
    recorder.process.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    recorder.next(&["closed"]).expect("the store takes the rest");
    assert_eq!(place.segments(), [] as [std::path::PathBuf; 0]);
    let found: HashSet<String> = place.all().await.iter().map(decision_id).collect();
    assert_eq!(found, kept);
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (kept.len() as u64, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_delays_no_record_and_gets_them_all_later() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    for number in 1..=50 {
        audit.record(body(number), None).await.unwrap();
    }
    assert_eq!(audit.counts().unstored_records, 50);
    assert_eq!(place.all().await.len(), 50, "found while the store has none");
    assert_eq!(audit.counts().unstored_records, 50, "the lock still holds");
    lock.release().await;
    lock.close().await;
    stored(&audit).await;
    assert!(!audit.counts().store_failing);
    assert_eq!(audit.counts().oldest_unstored_age, Duration::ZERO);
    close(store, audit).await;
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (50, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_is_read_back_from_the_segments() {
    let place = Place::new();
    let (store, audit) = place.open_with(AuditSettings { segment_bytes: 2_000_000, ..AuditSettings::default() }).await;
    let mut lock = place.connect().await;
    lock.hold().await;
    // 48 MB: half as much again as the memory's bound.
    for number in 1..=80 {
        let mut record: serde_json::Value = serde_json::from_slice(&body(number)).unwrap();
        record["padding"] = json!("x".repeat(600_000));
        audit.record(record.to_string().into_bytes(), None).await.unwrap();
    }
    assert!(place.segments().len() > 15);
    lock.release().await;
    lock.close().await;
    stored(&audit).await;
    close(store, audit).await;
    assert_eq!(place.segments(), [] as [std::path::PathBuf; 0]);
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.first_bad), (80, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_audit_leaves_to_the_next_what_a_locked_store_did_not_take() {
    let place = Place::new();
    let (store, audit) = place.open().await;
    let mut lock = place.connect().await;
    lock.hold().await;
    audit.record(body(1), None).await.unwrap();
    assert_eq!(audit.flush_and_close(BRIEFLY).await.unstored_records, 1);
    drop((store, audit));
    lock.close().await;
    let (store, audit) = place.open().await;
    audit.record(body(2), None).await.unwrap();
    close(store, audit).await;
    assert_eq!(place.all().await.iter().map(decision_id).collect::<Vec<_>>(), [id(2), id(1)]);
    let report = verify(&place.location()).await.unwrap();
    assert_eq!((report.records, report.writers, report.first_bad), (2, 2, None));
}
