//! Checkpoints of the audit in a cluster: in a `ConfigMap`, from where they prove the store.

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, pod};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[("checkpoints_are_kept_in_a_config_map", kept_in_a_config_map)];

/// Where the gate is, as far as it knows.
const NAMESPACE: &str = "freshgate";

fn kept_in_a_config_map(bed: &Bed) {
    bed.production("checkpoints");
    assert!(!bed.create("checkpoints", &pod("old", &bed.old)).success);
    // Until there is such a namespace they cannot be kept, and that is no reason to give up.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    assert!(bed.plane.apply(&namespace.to_string()).success);
    let entry = || {
        let path = "jsonpath={.data.checkpoints\\.jsonl}";
        bed.plane.kubectl(&["-n", NAMESPACE, "get", "configmap", "freshgate-checkpoints", "-o", path]).stdout
    };
    wait_for("the checkpoint", || entry().ends_with('\n'));
    let first = entry().lines().count();
    assert!(!bed.create("checkpoints", &pod("old-too", &bed.old)).success);
    wait_for("another checkpoint beside it", || entry().lines().count() > first);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints.jsonl");
    std::fs::write(&file, entry()).unwrap();
    let (file, store) = (file.display().to_string(), bed.gate.store());
    let (code, stdout, stderr) = bed.gate.run(&["audit", "verify", "--store", &store, "--checkpoint", &file]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains(" checkpoints say the same, the newest made at "), "{stdout}");
}
