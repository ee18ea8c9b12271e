//! Over the wire: what could not be recorded says so, and a store has one gate.

use std::path::Path;

use serde_json::Value;

use super::reviews::{PROGRAM, review};
use crate::cluster::gate::Gate;
use crate::cluster::process::free_ports;

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
    assert_eq!(answer["response"]["auditAnnotations"]["unrecorded"], "the audit record could not be written");
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
