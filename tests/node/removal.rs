//! Taken away while it is broken: with Helm, and by those who delete objects and know no hooks. The next deploy works.

use crate::Scenario;
use crate::bed::{Bed, deployment, wait_until_refused};
use crate::cluster::control_plane::wait_for;
use crate::release::{FAIL, NAME, NAMESPACE, Release};

pub const SCENARIOS: &[Scenario] = &[
    ("an_uninstall_with_pods_that_cannot_start_frees_the_cluster", with_helm),
    ("deleting_the_objects_without_hooks_frees_the_cluster", without_hooks),
];

/// A release under Fail whose Pods cannot start, so that nobody can deploy.
fn broken(bed: &Bed) -> Release<'_> {
    let release = Release::install(bed, FAIL);
    let said = release.try_to_upgrade(&[FAIL, &["image.tag=there-is-none"]].concat(), 10);
    assert!(!said.success, "an image that is not there cannot be waited for");
    wait_for("the gate to be gone", || release.pods().is_empty());
    bed.node.namespace("shop", &["environment=production"]);
    wait_until_refused("a refusal", "failed calling webhook", || {
        bed.try_to_create("shop", &deployment("fresh", &bed.fresh))
    });
    release
}

fn assert_free(bed: &Bed, release: &Release<'_>) {
    wait_for("a deploy that works", || bed.create("shop", &deployment("fresh", &bed.fresh)).success);
    bed.wait_until_available("shop", "deployment/fresh");
    wait_for("the rest to be gone", || {
        release.what_is_left().iter().all(|name| name.starts_with("customresource") || name.starts_with("gatepolicy"))
    });
    assert!(release.webhook().is_none());
    bed.remove_namespace("shop");
}

fn with_helm(bed: &Bed) {
    let release = broken(bed);
    let said = release.uninstall();
    assert!(said.success, "helm uninstall: {}{}", said.stdout, said.stderr);
    assert_free(bed, &release);
}

fn without_hooks(bed: &Bed) {
    let release = broken(bed);
    let manifest = bed.node.helm(&["get", "manifest", NAME, "--namespace", NAMESPACE]).stdout;
    // The CRDs and with them the policies go too: whoever deletes objects asks nobody which to keep.
    let said = bed.node.kubectl_with(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], &manifest);
    assert!(said.success, "{}", said.stderr);
    // Helm's own record of the release is no object of the release.
    bed.node.get(&["-n", NAMESPACE, "delete", "secrets", "-l", "owner=helm"]);
    assert_free(bed, &release);
}
