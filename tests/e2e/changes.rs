//! The change table, on a real API server with its controllers.

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment, job, workload};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[
    ("a_fresh_deployment_is_made_and_its_controllers_work", fresh),
    ("an_ageing_deployment_is_warned_of", ageing),
    ("an_update_to_the_old_image_is_refused", update),
    ("what_runs_the_old_image_scales_restarts_and_is_mitigated", running),
    ("a_rollback_passes_and_going_forward_again_does_not", rollback),
    ("a_jobs_retry_passes", job_retry),
    ("a_dry_run_is_refused_and_not_recorded", dry_run),
    ("the_same_denial_carries_the_first_ones_id", repeated),
];

fn fresh(bed: &Bed) {
    bed.production("fresh");
    assert_eq!(allowed(&bed.create("fresh", &deployment("app", &bed.fresh))), Vec::<String>::new());
    // Deployment, ReplicaSet and Pod: each step of the controllers passes the gate.
    wait_for("the Pod", || {
        bed.plane.kubectl(&["-n", "fresh", "get", "pods", "-o", "name"]).stdout.contains("pod/app-")
    });
    let records = bed.gate.records(&["--namespace", "fresh"]);
    assert_eq!(records.len(), 1, "what a controller makes is not recorded: {records:?}");
    assert_eq!(records[0]["decision"], "allow");
    assert_eq!(records[0]["change"], "Create");
    assert_eq!(records[0]["request"]["userInfo"]["username"], "admin");
}

fn ageing(bed: &Bed) {
    bed.production("ageing");
    let warnings = allowed(&bed.create("ageing", &deployment("app", &bed.ageing)));
    assert_eq!(
        warnings,
        ["freshgate: app:2 was built 80 days ago and will be refused in 10 days (policy \"production\")"]
    );
}

fn update(bed: &Bed) {
    bed.production("update");
    allowed(&bed.create("update", &deployment("app", &bed.fresh)));
    let said = bed.patch(
        "update",
        "deployment/app",
        &json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.old}]}}}}),
    );
    let id = bed.denied(&said, "container", "app");
    let store = bed.gate.store();
    let (code, story, _) = bed.gate.run(&["audit", "show", &id, "--store", &store]);
    assert_eq!(code, Some(0));
    assert!(story.contains("NewImage of Deployment update/app (UPDATE) by admin"), "{story}");
    assert!(story.contains(&bed.old_digest), "{story}");
}

/// Law 1: an old image stops new things, never running ones.
fn running(bed: &Bed) {
    bed.with_history("running", &[deployment("app", &bed.old)]);
    assert_eq!(
        allowed(&bed.plane.kubectl(&["-n", "running", "scale", "deployment/app", "--replicas=3"])),
        Vec::<String>::new()
    );
    wait_for("three Pods", || {
        bed.plane.kubectl(&["-n", "running", "get", "pods", "-o", "name"]).stdout.lines().count() == 3
    });
    assert_eq!(
        allowed(&bed.plane.kubectl(&["-n", "running", "rollout", "restart", "deployment/app"])),
        Vec::<String>::new()
    );
    let warned = |patch: serde_json::Value| {
        let warnings = allowed(&bed.patch("running", "deployment/app", &patch));
        assert_eq!(
            warnings,
            [
                "freshgate: app:1 was built 112 days ago, limit 90 days; it ran before, so it passes (policy \"production\")"
            ]
        );
    };
    warned(json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 45}}}}));
    warned(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.old, "env": [{"name": "A", "value": "1"}]}]}}}}),
    );
    assert!(allowed(&bed.plane.kubectl(&["-n", "running", "delete", "pods", "--all", "--wait=false"])).is_empty());
    wait_for("the Pods to come back", || {
        bed.plane.kubectl(&["-n", "running", "get", "pods", "-o", "name"]).stdout.lines().count() >= 3
    });
    assert_eq!(changes(bed, "running"), ["Config", "Mitigation", "Restart"]);
}

fn rollback(bed: &Bed) {
    bed.with_history("rollback", &[deployment("app", &bed.old)]);
    let set =
        |image: &str| bed.plane.kubectl(&["-n", "rollback", "set", "image", "deployment/app", &format!("app={image}")]);
    std::thread::sleep(std::time::Duration::from_millis(1_100)); // Kubernetes keeps whole seconds
    allowed(&set(&bed.fresh));
    wait_for("the second ReplicaSet", || {
        bed.plane.kubectl(&["-n", "rollback", "get", "replicasets", "-o", "name"]).stdout.lines().count() == 2
    });
    let warnings = allowed(&bed.plane.kubectl(&["-n", "rollback", "rollout", "undo", "deployment/app"]));
    assert_eq!(
        warnings,
        ["freshgate: app:1 was built 112 days ago, limit 90 days; a rollback passes (policy \"production\")"]
    );
    assert_eq!(changes(bed, "rollback"), ["Rollback", "NewImage"]);
    // Forward again is no rollback; this image is young enough, so it passes as what it is.
    allowed(&set(&bed.fresh));
    assert_eq!(changes(bed, "rollback"), ["NewImage", "Rollback", "NewImage"]);
}

/// The changes recorded for a namespace, the latest first. An API server whose patch met a controller's write on the
/// same object asks again, so the same change may stand there several times in a row.
fn changes(bed: &Bed, namespace: &str) -> Vec<String> {
    let records = bed.gate.records(&["--namespace", namespace]);
    let mut changes: Vec<String> = records.iter().map(|record| record["change"].as_str().unwrap().to_owned()).collect();
    changes.dedup();
    changes
}

fn job_retry(bed: &Bed) {
    bed.with_history("retry", &[job("work", &bed.old)]);
    let pods = || bed.plane.kubectl(&["-n", "retry", "get", "pods", "-o", "name"]).stdout;
    wait_for("the first Pod", || !pods().is_empty());
    let first = pods().lines().next().unwrap().to_owned();
    let failed = json!({"status": {"phase": "Failed", "containerStatuses": [{"name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1}}}]}});
    let said = bed.plane.kubectl(&[
        "-n",
        "retry",
        "patch",
        &first,
        "--subresource=status",
        "--type=merge",
        "-p",
        &failed.to_string(),
    ]);
    assert!(said.success, "{}", said.stderr);
    // A second Pod, or the end of the first: there is no kubelet to finish it, so it is taken away by force.
    bed.plane.kubectl(&["-n", "retry", "delete", &first, "--force", "--grace-period=0"]);
    wait_for("the retry", || pods().lines().any(|pod| pod != first));
    bed.denied(&bed.create("retry", &job("new-work", &bed.old)), "container", "app");
}

fn dry_run(bed: &Bed) {
    bed.production("dry");
    let object = deployment("app", &bed.old).to_string();
    let said = bed.plane.kubectl_as("admin", &["-n", "dry", "create", "--dry-run=server", "-f", "-"], &object);
    assert!(!said.success);
    assert!(
        said.stderr.trim().ends_with("dry run, not recorded · ask whoever owns policy \"production\""),
        "{}",
        said.stderr
    );
    assert_eq!(bed.gate.records(&["--namespace", "dry"]), Vec::<serde_json::Value>::new());
    assert!(bed.gate.process.log().contains("Deployment dry/app"), "a dry run is logged");
}

fn repeated(bed: &Bed) {
    bed.production("repeated");
    let object = workload("apps/v1", "StatefulSet", "app", &bed.old);
    let first = bed.denied(&bed.create("repeated", &object), "container", "app");
    let second = bed.denied(&bed.create("repeated", &object), "container", "app");
    assert_eq!(first, second);
    let records = bed.gate.records(&["--namespace", "repeated"]);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["repeat_of"], first);
    assert_eq!(records[1]["decision_id"], first);
}
