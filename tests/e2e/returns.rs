//! What comes back: rollbacks of every kind that keeps revisions, restores, a schedule's next run, hooks, moved tags.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, built_days_ago, deployment, job, workload};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[
    ("stateful_and_daemon_sets_roll_back", sets),
    ("a_digest_of_an_earlier_revision_comes_back_with_other_configuration", other_configuration),
    ("what_was_deleted_comes_back", restored),
    ("a_schedules_next_run_passes", schedule),
    ("a_hooks_job_counts_by_its_namespace_and_nothing_else_does", hooks),
    ("a_moved_tag_is_told_at_a_restart", moved),
];

fn image(name: &str, image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}})
}

fn sets(bed: &Bed) {
    for (namespace, kind) in [("back-stateful", "StatefulSet"), ("back-daemon", "DaemonSet")] {
        bed.with_history(namespace, &[workload("apps/v1", kind, "app", &bed.old)]);
        let target = format!("{}/app", kind.to_lowercase());
        let revisions =
            || bed.plane.kubectl(&["-n", namespace, "get", "controllerrevisions", "-o", "name"]).stdout.lines().count();
        wait_for("the first revision", || revisions() == 1);
        allowed(&bed.patch(namespace, &target, &image("app", &bed.fresh)));
        wait_for("the second revision", || revisions() == 2);
        let warnings = allowed(&bed.plane.kubectl(&["-n", namespace, "rollout", "undo", &target]));
        assert!(warnings[0].contains("a rollback passes"), "{kind}: {warnings:?}");
    }
}

fn other_configuration(bed: &Bed) {
    bed.with_history("back-other", &[deployment("app", &bed.old)]);
    allowed(&bed.patch("back-other", "deployment/app", &image("app", &bed.fresh)));
    wait_for("the second ReplicaSet", || {
        bed.plane.kubectl(&["-n", "back-other", "get", "replicasets", "-o", "name"]).stdout.lines().count() == 2
    });
    let mut back = image("app", &bed.old);
    back["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "MODE", "value": "careful"}]);
    let warnings = allowed(&bed.patch("back-other", "deployment/app", &back));
    assert!(warnings[0].contains("a rollback passes"), "{warnings:?}");
}

fn restored(bed: &Bed) {
    bed.production("restored");
    // Let in while it was young enough, and put back as `replace --force` and GitOps tools do.
    allowed(&bed.create("restored", &deployment("app", &bed.ageing)));
    assert!(bed.plane.kubectl(&["-n", "restored", "delete", "deployment/app"]).success);
    let again = bed.create("restored", &deployment("app", &bed.ageing));
    allowed(&again);
    let changes: Vec<Value> =
        bed.gate.records(&["--namespace", "restored"]).iter().map(|one| one["change"].clone()).collect();
    assert_eq!(changes, ["Rollback", "Delete", "Create"]);
    let deleted = &bed.gate.records(&["--namespace", "restored"])[1];
    assert_eq!((&deleted["decision"], &deleted["ledger"]["ran"][0]), (&json!("allow"), &json!(bed.ageing)));
    // Under another name it is something new.
    bed.denied(&bed.create("restored", &deployment("other", &bed.old)), "container", "app");
}

/// Made before the gate looked; the controller makes its Jobs with the old image.
fn schedule(bed: &Bed) {
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job("x", &bed.old)["spec"]}},
    });
    bed.with_history("schedule", &[cron]);
    let jobs = || bed.plane.kubectl(&["-n", "schedule", "get", "jobs", "-o", "name"]).stdout;
    // By hand, as `kubectl create job --from` does, it is the CronJob's too.
    allowed(&bed.plane.kubectl(&["-n", "schedule", "create", "job", "by-hand", "--from=cronjob/nightly"]));
    wait_for("the next run", || jobs().lines().any(|job| !job.ends_with("by-hand")));
    assert!(allowed(&bed.patch("schedule", "cronjob/nightly", &json!({"spec": {"suspend": true}}))).is_empty());
    let pods = || bed.plane.kubectl(&["-n", "schedule", "get", "pods", "-o", "name"]).stdout;
    wait_for("its Pods", || pods().lines().count() >= 2);
}

fn hooks(bed: &Bed) {
    let hook = |name: &str| {
        let mut object = job(name, &bed.old);
        object["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-upgrade"});
        object
    };
    bed.production("hooks");
    bed.denied(&bed.create("hooks", &hook("migrate-1")), "container", "app");
    // Once let in (here while the image was young), each release makes it anew under another name.
    let young = |name: &str| {
        let mut object = job(name, &bed.ageing);
        object["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-upgrade"});
        object
    };
    allowed(&bed.create("hooks", &young("migrate-2")));
    allowed(&bed.create("hooks", &young("migrate-3")));
    let change = |name: &str| bed.gate.records(&["--namespace", "hooks", "--name", name])[0]["change"].clone();
    assert_eq!((change("migrate-2"), change("migrate-3")), (json!("Create"), json!("Rollback")));
    // The annotation makes a hook of nothing else.
    let mut object = deployment("dressed-up", &bed.ageing);
    object["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-upgrade"});
    allowed(&bed.create("hooks", &object));
    assert_eq!(change("dressed-up"), json!("Create"));
}

fn moved(bed: &Bed) {
    bed.production("moved");
    let tag = bed.push("shop/moving", "stable", &built_days_ago("moving one", 3));
    allowed(&bed.create("moved", &deployment("app", &tag)));
    bed.push("shop/moving", "stable", &built_days_ago("moving two", 4));
    // A tag is taken as it was for a minute; a record says what it meant.
    let digests = || {
        let records = bed.gate.records(&["--namespace", "moved"]);
        records.iter().filter_map(|one| one["images"][0]["digest"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let before = digests();
    let began = Utc::now();
    wait_for("the tag's new meaning", || {
        let warnings = allowed(&bed.plane.kubectl(&["-n", "moved", "rollout", "restart", "deployment/app"]));
        let told = warnings.iter().any(|one| one.contains("is another image than this tag named before this restart"));
        if !told {
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        told || Utc::now() - began > TimeDelta::seconds(110)
    });
    assert_ne!(digests()[0], before[0]);
}
