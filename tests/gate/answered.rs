//! Over the wire: nothing that was answered is lost, and what could not be recorded says so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::reviews::{PROGRAM, gate, review};
use crate::cluster::gate::Gate;
use crate::cluster::process::free_ports;

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
    let journal = folder.path().join("decisions.db.journal");
    assert_eq!(
        stderr,
        format!(
            "error: another freshgate writes to the audit journal {}: each replica has a journal of its own, and a SQLite store is for one replica; stop the other, or name another folder or store\n",
            journal.display()
        )
    );
}
