//! Installed on a fresh cluster: it guards, says so, stands no second beside it, and leaves what it should.

use crate::Scenario;
use crate::bed::{Bed, deployment, pod};
use crate::cluster::control_plane::wait_for;
use crate::release::{NAME, NAMESPACE, Release, chart, volume};

pub const SCENARIOS: &[Scenario] = &[
    ("helm_install_gives_a_gate_that_denies_and_admits", guards),
    ("a_second_install_is_refused_by_name", second),
    ("an_uninstall_leaves_policies_and_audit_and_with_purge_nothing", leaves),
];

fn guards(bed: &Bed) {
    let release = Release::install(bed, &[]);
    bed.node.namespace("shop", &["environment=production"]);
    let denied = bed.create("shop", &deployment("old", &bed.old));
    assert!(!denied.success);
    assert!(
        denied.stderr.contains("admission webhook \"workloads.freshgate.dev\" denied the request: binary-age: image"),
        "{}",
        denied.stderr
    );
    assert!(denied.stderr.contains("was built 112 days ago"), "{}", denied.stderr);
    let admitted = bed.create("shop", &deployment("fresh", &bed.fresh));
    assert!(admitted.success, "{}", admitted.stderr);
    assert!(!admitted.stderr.contains("Warning"), "{}", admitted.stderr);
    bed.wait_until_available("shop", "deployment/fresh");
    let warned = bed.create("shop", &deployment("ageing", &bed.ageing));
    assert!(warned.success && warned.stderr.contains("was built 80 days ago"), "{}", warned.stderr);

    // The gate has made its configuration, and it goes with the chart's ClusterRole.
    let webhook = release.webhook().unwrap();
    let owner = &webhook["metadata"]["ownerReferences"][0];
    let role = bed.node.json(&["get", "clusterrole", NAME]);
    assert_eq!((&owner["kind"], &owner["uid"]), (&"ClusterRole".into(), &role["metadata"]["uid"]));
    let pod = &release.pods()[0];
    assert_eq!(release.figures(pod, "freshgate_webhook_applied"), [1.0]);
    assert_eq!(release.figures(pod, "freshgate_webhook_drift"), [0.0]);
    assert_eq!(release.figures(pod, "freshgate_leader"), [1.0]);

    let said = bed.node.helm(&["test", NAME, "--namespace", NAMESPACE]);
    assert!(said.success, "helm test: {}{}", said.stdout, said.stderr);

    // The emergency command of the notes lets everything in.
    bed.node.get(&["delete", "validatingwebhookconfiguration", "freshgate"]);
    wait_for("the way to be free", || bed.try_to_create("shop", &deployment("old", &bed.old)).success);
    bed.node.get(&["-n", NAMESPACE, "rollout", "restart", "deployment", NAME]);
    release.wait_until_it_guards();
    bed.remove_namespace("shop");
}

fn second(bed: &Bed) {
    let release = Release::install(bed, &[]);
    let node = &bed.node;
    let said = node.helm(&["install", "another", &chart(), "--namespace", "another", "--create-namespace"]);
    assert!(!said.success);
    for words in [
        "This cluster has a gate already: release \"freshgate\" in namespace \"freshgate-system\"",
        "helm uninstall freshgate",
    ] {
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    bed.remove_namespace("another");
    assert!(!bed.try_to_create("probe", &pod("old", &bed.old)).success, "the first one goes on");
    drop(release);
}

fn leaves(bed: &Bed) {
    volume(bed, "audit");
    let with_volume = ["store.sqlite.persistent=true", "store.sqlite.size=1Gi"];
    let release = Release::install(bed, &with_volume);
    let said = release.uninstall();
    assert!(said.success, "helm uninstall: {}{}", said.stdout, said.stderr);
    release.assert_deploys_work("probe");
    assert!(bed.try_to_create("probe", &pod("old", &bed.old)).success, "nobody judges any more");
    let kept = [
        "customresourcedefinition.apiextensions.k8s.io/budgetsources.freshgate.dev",
        "customresourcedefinition.apiextensions.k8s.io/gateexceptions.freshgate.dev",
        "customresourcedefinition.apiextensions.k8s.io/gatepolicies.freshgate.dev",
        "gatepolicy.freshgate.dev/production",
        "persistentvolumeclaim/freshgate",
    ];
    // Helm does not wait for Pods that end.
    let left = || release.what_is_left().into_iter().filter(|name| !name.starts_with("pod/")).collect::<Vec<_>>();
    wait_for("the Pods to be gone", || left() == release.what_is_left());
    assert_eq!(left(), kept);

    // Installed again it finds both, and what was denied is still on record.
    let said = release.helm("install", NAMESPACE, &chart(), &with_volume);
    assert!(said.success, "helm install: {}{}", said.stdout, said.stderr);
    release.wait_until_it_guards();
    release.upgrade(&[&with_volume[..], &["purge=true"]].concat());
    let said = release.uninstall();
    assert!(said.success, "helm uninstall: {}{}", said.stdout, said.stderr);
    wait_for("everything to be gone", || release.what_is_left().is_empty());
    bed.node.get(&["delete", "persistentvolume", "audit"]);
}
