//! Audit mode `strict` before real controllers: a disk that is full stops what is new, says why, and breaks nothing that
//! runs.

use std::path::Path;

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, POLICY, allowed, built_days_ago, deployment};
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::gate::{Gate, REGISTERED};

pub const SCENARIOS: &[Scenario] =
    &[("an_audit_that_is_down_refuses_what_is_new_and_breaks_nothing_that_runs", audit_down)];

/// On a control plane of its own, whose one gate loses its disk.
fn audit_down(bed: &Bed) {
    let program = Path::new(env!("CARGO_BIN_EXE_freshgate"));
    let plane = ControlPlane::start();
    let crds = std::process::Command::new(program).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    assert!(plane.apply(POLICY).success);
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, host) = (plane.kubeconfig(), bed.registry_host());
    let args = ["--kubernetes", "--insecure-registry", &host, "--audit-mode", "strict", "--contact", "#platform"];
    let args = [&args[..], &REGISTERED].concat();
    let gate = Gate::in_folder(program, folder.path(), &args, &[("KUBECONFIG", &kubeconfig)]);
    plane.namespace("shop", &["environment=production"]);
    let create = |object: &serde_json::Value, more: &[&str]| {
        let args = [&["-n", "shop", "create", "-f", "-"], more].concat();
        plane.kubectl_as("admin", &args, &object.to_string())
    };
    let old = deployment("app", &bed.old);
    wait_for("the webhook", || !create(&old, &["--dry-run=server"]).success);
    allowed(&create(&deployment("app", &bed.fresh), &[]));
    let newest = bed.push("shop/app", "5", &built_days_ago("newest", 1));
    let set_image =
        |image: &str| plane.kubectl(&["-n", "shop", "set", "image", "deployment/app", &format!("app={image}")]);
    allowed(&set_image(&bed.fresh_too));
    let pods = || {
        let said = plane.kubectl(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
        said.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("its Pods", || !pods().is_empty());

    let journal = folder.path().join("decisions.db.journal");
    std::fs::rename(&journal, folder.path().join("aside")).unwrap();
    std::fs::write(&journal, "in the way").unwrap();
    let why = "writing the record to the audit journal failed: Not a directory (os error 20)";
    let refusal = |otherwise: &str, meanwhile: &str, said: &str| {
        let id = said.rsplit_once("\ndecision ").map_or("", |(_, rest)| rest.split(',').next().unwrap());
        format!(
            "audit: {otherwise}, but the gate cannot record it, and lets in nothing unrecorded (audit mode strict): {why}.\n\
             Have the disk of the gate's audit journal looked at, then try again; neither an exception nor another failurePolicy helps. {meanwhile}\n\
             decision {id}, not recorded · ask #platform\n"
        )
    };
    let said = set_image(&newest);
    let passes = "Deletions, scaling and rollbacks to what ran before pass meanwhile.";
    let refused = refusal("no policy refuses this change", passes, &said.stderr);
    assert!(!said.success);
    assert_eq!(
        said.stderr,
        format!(
            "error: failed to patch image update to pod template: admission webhook \"workloads.freshgate.dev\" denied the request: {refused}"
        )
    );
    // An exception cannot be granted either, break-glass included.
    let exception = json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException", "metadata": {"name": "glass"},
        "spec": {
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "app"}], "rules": ["imageAge"],
            "reason": "incident", "text": "the disk is full",
            "expiresAt": (Utc::now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true),
        },
    });
    let said = create(&exception, &[]);
    let meanwhile = "What the exception is for would be refused for the same reason.";
    let refused = refusal("nothing is wrong with this exception", meanwhile, &said.stderr);
    assert_eq!(
        said.stderr,
        format!(
            "Error from server (ServiceUnavailable): error when creating \"STDIN\": admission webhook \"exceptions.freshgate.dev\" denied the request: {refused}"
        )
    );
    // What runs goes on: a Pod that is lost, a scale, a rollback and its Pods, a deletion.
    let lost = pods().remove(0);
    assert!(
        plane.kubectl(&["-n", "shop", "delete", "pod", &lost, "--wait=false", "--grace-period=0", "--force"]).success
    );
    wait_for("another Pod in its place", || pods().iter().any(|pod| *pod != lost));
    allowed(&plane.kubectl(&["-n", "shop", "scale", "deployment/app", "--replicas=3"]));
    wait_for("three Pods", || pods().len() >= 3);
    allowed(&plane.kubectl(&["-n", "shop", "rollout", "undo", "deployment/app"]));
    let images =
        || plane.kubectl(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}"]);
    wait_for("Pods of what ran before", || images().stdout.split(' ').any(|image| image == bed.fresh));

    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(folder.path().join("aside"), &journal).unwrap();
    allowed(&set_image(&newest));
    allowed(&create(&exception, &[]));
    allowed(&plane.kubectl(&["-n", "shop", "delete", "deployment/app"]));
    let (code, stdout, stderr) = gate.run(&["audit", "verify", "--store", &gate.store()]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}
