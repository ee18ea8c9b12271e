//! A gate with one core to itself, which works on one thread: what waits there must hold up nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;
use crate::reviews::{POLICY, PROGRAM, policies, review};

/// A program that is the gate, on the first core that this process may use.
fn on_one_core(folder: &Path) -> std::path::PathBuf {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().split(['-', ',']).next().unwrap();
    let program = folder.join("freshgate");
    std::fs::write(&program, format!("#!/bin/sh\nexec taskset --cpu-list {first} {PROGRAM} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_registry_holds_up_nobody_on_one_core() {
    install_tls();
    let real = Registry::distribution();
    let image = Config::created("app", &(Utc::now() - TimeDelta::days(3)).to_rfc3339()).image();
    real.push("app", "1", &image);
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::BlackHole.at("/silent/"));
    let (folder, policies) = (tempfile::tempdir().unwrap(), policies(POLICY));
    let args = ["--policies", &policies.path().display().to_string(), "--insecure-registry", &faulty.host()];
    let mut gate = Gate::start(&on_one_core(folder.path()), &args, &[]);

    let client = gate.client();
    let calls = (0..100).map(|number| {
        // Who asks the registry that answers has time for a machine that is busy with other tests, but not for waiting until
        // the others have waited one after the other.
        let (image, timeout) = match number % 4 {
            0 => (format!("{}/silent/app@sha256:{number:064}", faulty.host()), "5s"),
            _ => (format!("{}/app@{}", faulty.host(), image.digest), "30s"),
        };
        let call = client.post(format!("{}?timeout={timeout}", gate.url())).header("content-type", "application/json");
        let call = call.body(review(&format!("app-{number}"), &image).to_string());
        async move { call.send().await.unwrap().json::<Value>().await.unwrap()["response"]["allowed"] == true }
    });
    let allowed = futures::future::join_all(calls).await;
    let expected: Vec<bool> = (0..100).map(|number| number % 4 != 0).collect();
    assert_eq!(allowed, expected);

    gate.process.signal("TERM");
    assert_eq!(gate.process.wait().code(), Some(0));
    assert_eq!(gate.records(&["--limit", "1000"]).len(), 100);
    let store = gate.store();
    let (code, stdout, _) = gate.run(&["audit", "verify", "--store", &store]);
    assert_eq!(code, Some(0), "{stdout}");
}
