//! The audit on a real disk: nothing acknowledged is lost, whatever is killed, full, locked or moved, and whatever is
//! tampered with is named.

mod place;
mod postgres;
mod sqlite;

use std::time::Duration;

use chrono::{DateTime, Utc};
use freshgate::audit::{Audit, AuditSettings, QueryFilter, Recorded, StoredRecord, query};
use freshgate::store::ledger::{LedgerUpdate, WorkloadKey, WorkloadLedger};
use freshgate::store::{Store, StoreLocation};
use place::PlaceOn;
use serde_json::json;

/// Long enough for any machine; nothing waits this long unless it is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// For closing while the store is locked for good: the journal's thread ends in this time, the filler never would.
const BRIEFLY: Duration = Duration::from_millis(500);

async fn close(store: Store, audit: Audit) {
    assert_eq!(audit.flush_and_close(PATIENCE).await.unstored_records, 0);
    store.flush_and_close().await.unwrap();
}

/// `second` seconds after the tests' beginning of time.
fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

fn id(number: u64) -> String {
    format!("019a0000-0000-7000-8000-{number:012x}")
}

/// The body of a record as the gate writes them, made at second `number`.
fn body(number: u64) -> Vec<u8> {
    body_of(number, "deny", "shop", "checkout")
}

fn body_of(number: u64, decision: &str, namespace: &str, name: &str) -> Vec<u8> {
    let result = if decision == "allow" { "pass" } else { "fail" };
    json!({
        "decision_id": id(number),
        "timestamp": at(i64::try_from(number).unwrap()).to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "decision": decision,
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "namespace": namespace, "name": name, "operation": "UPDATE", "dryRun": false,
            "userInfo": {"username": "jane"},
        },
        "change": "NewImage",
        "policies": {"production": "7"},
        "rules": [{"policy": "production", "rule": "imageAge", "result": result,
            "message": "image registry.example/shop/checkout was built 112 days ago, on 2026-08-03 (image config)",
            "properties": {"ageSeconds": 9_676_800, "limitSeconds": 7_776_000}}],
        "images": [{"container": "app", "ref": format!("registry.example/shop/checkout:{number}"),
            "digest": format!("sha256:{number:064x}"), "platform": "linux/amd64", "buildTime": "2026-08-03T00:00:00Z",
            "source": "config", "class": "claim", "candidates": [], "ageSeconds": 9_676_800, "cache": "memory"}],
    })
    .to_string()
    .into_bytes()
}

fn workload(name: &str) -> WorkloadKey {
    WorkloadKey { namespace: "shop".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
}

/// A record that admits one digest and one template, and what it adds to the ledger.
fn admitting(number: u64, name: &str) -> (Vec<u8>, LedgerUpdate) {
    let time = at(i64::try_from(number).unwrap());
    let mut record: serde_json::Value = serde_json::from_slice(&body_of(number, "allow", "shop", name)).unwrap();
    let (digest, reference) = (format!("sha256:{number:064x}"), format!("registry.example/shop/{name}:{number}"));
    record["ledger"] = json!({
        "digests": [{"digest": digest, "reference": reference}],
        "earlierDigests": [{"digest": "sha256:old", "reference": "old:1", "firstAdmittedAt": at(-1000)}],
        "templates": [{"fingerprint": format!("t{number}"), "at": time}],
    });
    let mut admitted = WorkloadLedger::default();
    admitted.admit("sha256:old", "old:1", at(-1000));
    admitted.admit(&digest, &reference, time);
    admitted.admit_template(&format!("t{number}"), time);
    (record.to_string().into_bytes(), LedgerUpdate { workload: workload(name), admitted })
}

fn seq(recorded: Recorded) -> u64 {
    match recorded {
        Recorded::Written(position) => position.seq,
        Recorded::Queued => panic!("queued, not written"),
    }
}

fn decision_id(record: &StoredRecord) -> String {
    let line: serde_json::Value = serde_json::from_str(&record.line).unwrap();
    line["decision_id"].as_str().unwrap().to_owned()
}

/// Waits until the store has everything.
async fn stored(audit: &Audit) {
    tokio::time::timeout(PATIENCE, async {
        while audit.counts().unstored_records > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the store never took the records");
}
