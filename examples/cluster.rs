//! `make cluster`: a real API server with the gate registered, to try things by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use cluster::control_plane::ControlPlane;
use cluster::gate::{Gate, REGISTERED};
use cluster::image::Config;
use cluster::registry::Registry;

fn main() {
    cluster::install_tls();
    let program = program();
    println!("starting etcd, kube-apiserver, kube-controller-manager, a registry and the gate …");
    let plane = ControlPlane::start();
    let registry = Registry::distribution();
    let built =
        |days: i64| Config::created(&days.to_string(), &(Utc::now() - TimeDelta::days(days)).to_rfc3339()).image();
    let fresh = registry.push("shop/app", "fresh", &built(3));
    let old = registry.push("shop/app", "old", &built(112));
    let crds = std::process::Command::new(&program).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    let policy = std::fs::read_to_string("policies/production.yaml").expect("run it from the project's folder");
    assert!(plane.apply(&policy).success);
    let kubeconfig = plane.kubeconfig();
    let gate = Gate::start(
        &program,
        &[&["--kubernetes", "--insecure-registry", &registry.host()][..], &REGISTERED].concat(),
        &[("KUBECONFIG", &kubeconfig)],
    );
    plane.namespace("production", &[]);
    println!(
        "
export KUBECONFIG={}
export PATH={}:$PATH

kubectl -n production create deployment fresh --image={fresh}
kubectl -n production create deployment old --image={old}
{} audit query --store {}

Enter ends it all.",
        kubeconfig.display(),
        cluster::programs().display(),
        program.display(),
        gate.store(),
    );
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// The gate's program, built beside this one.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("freshgate")
}
