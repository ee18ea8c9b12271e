//! Audit mode `strict`: what cannot be recorded is refused, with words that say so; what runs goes on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::reviews::{POLICY, PROGRAM, policies, review};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

/// A gate in mode strict, on a disk that can be taken away and given back.
struct Bed {
    gate: Gate,
    journal: PathBuf,
    fresh: String,
    newer: String,
    old: String,
    _held: (tempfile::TempDir, tempfile::TempDir, Registry),
}

/// What the disk says where the journal's folder should be.
const WHY: &str = "writing the record to the audit journal failed: Not a directory (os error 20)";

impl Bed {
    fn start(more: &[&str]) -> Self {
        install_tls();
        let registry = Registry::distribution();
        let push = |tag: &str, days: i64| {
            let built = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
            registry.push("shop/app", tag, &Config::created(tag, &built).image())
        };
        let (fresh, newer, old) = (push("2", 5), push("3", 3), push("1", 112));
        let (folder, policies) = (tempfile::tempdir().unwrap(), policies(POLICY));
        let (host, path) = (registry.host(), policies.path().display().to_string());
        let args = [&["--policies", &path, "--insecure-registry", &host, "--audit-mode", "strict"], more].concat();
        // A write beyond the file size limit is then an error, not the end of the process.
        let program = folder.path().join("gate.sh");
        std::fs::write(&program, format!("#!/bin/sh\ntrap '' XFSZ\nexec {PROGRAM} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let gate = Gate::in_folder(&program, folder.path(), &args, &[]);
        let journal = folder.path().join("decisions.db.journal");
        Self { gate, journal, fresh, newer, old, _held: (folder, policies, registry) }
    }

    fn break_disk(&self) {
        std::fs::rename(&self.journal, self.journal.with_extension("aside")).unwrap();
        std::fs::write(&self.journal, "in the way").unwrap();
    }

    fn mend_disk(&self) {
        std::fs::remove_file(&self.journal).unwrap();
        std::fs::rename(self.journal.with_extension("aside"), &self.journal).unwrap();
    }

    async fn ask(&self, review: &Value) -> Value {
        let call = self.gate.client().post(self.gate.url()).header("content-type", "application/json");
        let answer = call.body(review.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "an answer that the API server understands");
        answer.json::<Value>().await.unwrap()["response"].take()
    }

    async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.gate.admin_port);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    fn recorded(&self, name: &str) -> usize {
        self.gate.records(&["--name", name]).len()
    }
}

/// From one image to another.
fn update(name: &str, from: &str, to: &str) -> Value {
    let mut changed = review(name, to);
    changed["request"]["operation"] = json!("UPDATE");
    changed["request"]["oldObject"] = review(name, from)["request"]["object"].clone();
    changed
}

fn id(response: &Value) -> &str {
    response["auditAnnotations"]["decision-id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_refused_until_the_disk_is_mended() {
    let bed = Bed::start(&["--contact", "#platform on chat"]);
    let change = update("app", &bed.fresh, &bed.newer);
    bed.break_disk();
    let refused = bed.ask(&change).await;
    let expected = json!({
        "uid": "uid-app", "allowed": false,
        "status": {"code": 503, "reason": "ServiceUnavailable", "message": format!(
            "audit: no policy refuses this change, but the gate cannot record it, and lets in nothing unrecorded (audit mode strict): {WHY}.\n\
             Have the disk of the gate's audit journal looked at, then try again; neither an exception nor another failurePolicy helps. Deletions, scaling and rollbacks to what ran before pass meanwhile.\n\
             decision {}, not recorded · ask #platform on chat", id(&refused))},
        "auditAnnotations": {
            "decision": "allow", "decision-id": id(&refused), "change": "NewImage",
            "digests": refused["auditAnnotations"]["digests"],
            "unrecorded": "the audit record could not be written", "refused": "audit mode strict",
        },
    });
    assert_eq!(refused, expected);
    let metrics = bed.metrics().await;
    for counted in ["freshgate_audit_unrecorded_total 1", "freshgate_audit_refused_total 1"] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    let log = bed.gate.process.log();
    assert!(log.contains("a request is refused, because its record could not be written"), "{log}");
    bed.mend_disk();
    let allowed = bed.ask(&change).await;
    assert_eq!((&allowed["allowed"], &allowed["status"]), (&json!(true), &Value::Null));
    let records = bed.gate.records(&["--name", "app"]);
    assert_eq!(records.iter().map(|record| &record["decision_id"]).collect::<Vec<_>>(), [id(&allowed)]);
    let (code, stdout, stderr) = bed.gate.run(&["audit", "verify", "--store", &bed.gate.store()]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_stays_one_and_says_that_it_is_unrecorded() {
    let bed = Bed::start(&[]);
    bed.break_disk();
    let denied = bed.ask(&review("app", &bed.old)).await;
    let day = (Utc::now() - TimeDelta::days(112)).format("%Y-%m-%d");
    let digest = denied["auditAnnotations"]["digests"].as_str().unwrap();
    let expected = json!({"code": 403, "reason": "Forbidden", "message": format!(
        "binary-age: image {}@{}… (container \"app\") was built 112 days ago, on {day} (image config); the limit here is 90 days (policy \"production\").\n\
         Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.\n\
         decision {} · ask whoever owns policy \"production\"\n\
         This denial could not be recorded: {WHY}.",
        bed.old, &digest[..19], id(&denied),
    )});
    assert_eq!(denied["status"], expected);
    assert_eq!(denied["auditAnnotations"]["refused"], Value::Null);
    assert!(bed.metrics().await.contains("freshgate_audit_refused_total 0"));
    // Said again when it can be recorded, it is a first one.
    bed.mend_disk();
    let again = bed.ask(&review("app", &bed.old)).await;
    assert_ne!(id(&again), id(&denied));
    assert!(!again["status"]["message"].as_str().unwrap().contains("could not be recorded"));
    assert_eq!(bed.recorded("app"), 1);
}

/// R17, by a limit on the size of files: like a full disk it lets nothing through, on this file system and any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_until_there_is_room() {
    let bed = Bed::start(&[]);
    let limit = |bytes: &str| {
        let pid = bed.gate.process.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().unwrap();
        assert!(status.success(), "prlimit {bytes}");
    };
    let allowed = async |name: &str| bed.ask(&review(name, &bed.fresh)).await["allowed"] == true;
    assert!(allowed("before").await);
    limit("0");
    let refused = bed.ask(&review("meanwhile", &bed.fresh)).await;
    assert_eq!(refused["status"]["code"], 503);
    let message = refused["status"]["message"].as_str().unwrap();
    assert!(message.contains("the audit journal failed: File too large (os error 27).\n"), "{message}");
    assert!(!allowed("meanwhile").await);
    limit("unlimited");
    assert!(allowed("after").await);
    assert_eq!(["before", "meanwhile", "after"].map(|name| bed.recorded(name)), [1, 0, 1]);
    let (code, stdout, stderr) = bed.gate.run(&["audit", "verify", "--store", &bed.gate.store()]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

/// R3: a full disk of the audit breaks nothing that runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_though_nothing_can_be_recorded() {
    let bed = Bed::start(&[]);
    for admitted in [review("app", &bed.fresh), update("app", &bed.fresh, &bed.newer)] {
        assert_eq!(bed.ask(&admitted).await["allowed"], true);
    }
    assert_eq!(bed.recorded("app"), 2);
    bed.break_disk();
    let rollback = update("app", &bed.newer, &bed.fresh);
    let mut scale = update("app", &bed.newer, &bed.newer);
    scale["request"]["object"]["spec"]["replicas"] = json!(7);
    let mut deletion = update("app", &bed.newer, &bed.newer);
    deletion["request"]["operation"] = json!("DELETE");
    deletion["request"]["object"] = Value::Null;
    let mut pod = review("app-1-x", &bed.newer);
    pod["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
    pod["request"]["object"] = json!({
        "metadata": {"name": "app-1-x", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-1", "uid": "u", "controller": true}]},
        "spec": {"containers": [{"name": "app", "image": bed.newer}]},
    });
    let mut dry_run = review("another", &bed.newer);
    dry_run["request"]["dryRun"] = json!(true);
    for (passes, unrecorded) in
        [(rollback, true), (scale, false), (deletion, true), (pod.clone(), true), (dry_run, false)]
    {
        let answer = bed.ask(&passes).await;
        assert_eq!((&answer["allowed"], &answer["status"]), (&json!(true), &Value::Null), "{passes}");
        assert_eq!(answer["auditAnnotations"]["unrecorded"].is_string(), unrecorded, "{passes}");
    }
    assert!(bed.metrics().await.contains("freshgate_audit_refused_total 0"));
    // Forward again is new, and so is a Pod of nobody's.
    pod["request"]["object"]["metadata"]["ownerReferences"] = json!([]);
    for new in [update("app", &bed.fresh, &format!("{}0", bed.newer)), review("another", &bed.newer), pod] {
        assert_eq!(bed.ask(&new).await["allowed"], false, "{new}");
    }
}
