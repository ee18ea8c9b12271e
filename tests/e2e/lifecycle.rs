//! A control plane of its own for each scenario about the gate's life in a cluster, with no more than it needs.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bed::{POLICY, pod};
use crate::cluster::control_plane::{ControlPlane, wait_for};

/// Where the gate is.
pub const NAMESPACE: &str = "freshgate";

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_freshgate"))
}

/// A control plane with the definitions, the policy, the gate's namespace, and one in which the policy denies.
pub fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    let crds = std::process::Command::new(program()).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    assert!(plane.apply(POLICY).success);
    plane.namespace(NAMESPACE, &[]);
    plane.namespace("shop", &["environment=production"]);
    plane
}

/// Whether the gate refuses an old image there, as only it would.
pub fn refuses(plane: &ControlPlane, old: &str) -> bool {
    let probe = pod("probe", old).to_string();
    let said = plane.kubectl_as("admin", &["-n", "shop", "create", "--dry-run=server", "-f", "-"], &probe);
    said.stderr.contains("workloads.freshgate.dev\" denied the request")
}

pub fn wait_until_registered(plane: &ControlPlane, old: &str) {
    wait_for("the webhook", || refuses(plane, old));
}

/// The configuration as it stands; null where there is none.
pub fn configuration(plane: &ControlPlane) -> Value {
    let said =
        plane.kubectl(&["get", "validatingwebhookconfiguration", "freshgate", "-o", "json", "--ignore-not-found"]);
    assert!(said.success, "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

/// A kubeconfig of the administrator that goes by another port.
pub fn kubeconfig_by(plane: &ControlPlane, port: u16, folder: &Path) -> PathBuf {
    let direct = std::fs::read_to_string(plane.kubeconfig()).unwrap();
    let path = folder.join("kubeconfig");
    std::fs::write(&path, direct.replace(&format!("127.0.0.1:{}", plane.port()), &format!("127.0.0.1:{port}")))
        .unwrap();
    path
}
