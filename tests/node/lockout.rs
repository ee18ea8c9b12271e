//! All gates gone under Fail: people wait, the cluster does not, and it comes back by itself.

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, deployment, pod, wait_until_refused};
use crate::cluster::control_plane::wait_for;
use crate::release::{FAIL, NAMESPACE, PODS, Release};

pub const SCENARIOS: &[Scenario] = &[("with_all_gates_gone_under_fail_the_cluster_goes_on_and_they_come_back", gone)];

fn gone(bed: &Bed) {
    let release = Release::install(bed, FAIL);
    let node = &bed.node;
    // Deleted at once, as a node's loss would do: what replaces them is let in.
    let before = release.pods();
    node.get(&["-n", NAMESPACE, "delete", "pods", "-l", PODS, "--force", "--grace-period=0"]);
    wait_for("another gate", || release.pods().iter().any(|pod| !before.contains(pod)));
    release.wait_until_it_guards();

    release.scale(0);
    node.namespace("shop", &["environment=production"]);
    let refused = wait_until_refused("a refusal", "failed calling webhook", || {
        bed.try_to_create("shop", &deployment("fresh", &bed.fresh))
    });
    assert!(refused.contains("workloads.freshgate.dev"), "{refused}");
    // Other kinds, other places, and the gate's own.
    for object in [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "some"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "some"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "some"}, "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "some"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "some"}, "spec": {"podSelector": {}}}),
    ] {
        let said = bed.create("shop", &object);
        assert!(said.success, "{object}: {}", said.stderr);
    }
    for namespace in ["kube-system", NAMESPACE, "kube-node-lease"] {
        let said = bed.try_to_create(namespace, &pod("some", &bed.fresh));
        assert!(said.success, "{namespace}: {}", said.stderr);
    }
    node.get(&["-n", "shop", "delete", "configmap", "some"]);

    release.scale(1);
    release.assert_deploys_work("shop");
    release.wait_until_it_guards();
    bed.remove_namespace("shop");
}
