//! Two replicas: one leads, both serve. Certificates are rotated under load, a leader is cut off, another takes over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::between::{Between, Way};
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::gate::Gate;
use crate::cluster::process::free_ports;
use crate::lifecycle::{NAMESPACE, configuration, kubeconfig_by, plane, program, wait_until_registered};

pub const SCENARIOS: &[Scenario] = &[
    ("certificates_are_rotated_twice_under_load_without_a_failed_call", rotated),
    ("a_leader_that_is_cut_off_leads_no_more_and_another_takes_over", cut_off),
];

fn leads(gate: &Gate) -> bool {
    gate.metric("freshgate_leader") == Some(1.0)
}

fn secret(plane: &ControlPlane) -> Value {
    let said = plane.kubectl(&["-n", NAMESPACE, "get", "secret", "freshgate-tls", "-o", "json", "--ignore-not-found"]);
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

fn entry(secret: &Value, name: &str) -> String {
    let bytes = STANDARD.decode(secret["data"][name].as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Two replicas that begin at once. The API server calls the one; which one leads is left to them.
fn rotated(bed: &Bed) {
    let plane = plane();
    let kubeconfig = plane.kubeconfig();
    let host = bed.registry_host();
    let (ports, other_ports): ([u16; 2], [u16; 2]) = (free_ports(), free_ports());
    let url = format!("https://127.0.0.1:{}/validate", ports[0]);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |name: &str, ports: [u16; 2], folder: &std::path::Path| {
        let args = [
            "--kubernetes",
            "--insecure-registry",
            &host,
            "--id",
            name,
            "--tls-secret",
            "freshgate-tls",
            "--tls-lifetime",
            "36s",
            "--leader-lease",
            "freshgate",
            "--webhook-configuration",
            "freshgate",
            "--webhook-url",
            &url,
            "--webhook-failure-policy",
            "fail",
            "--signing-secret",
            "freshgate-signing-key",
        ];
        Gate::on_ports(program(), folder, ports, &args, &[("KUBECONFIG", &kubeconfig)])
    };
    let (called, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| start("beside", other_ports, folders[1].path()));
        (start("called", ports, folders[0].path()), beside.join().unwrap())
    });
    wait_until_registered(&plane, &bed.old);
    // Both wrote at most once, and there is one authority.
    let first = secret(&plane);
    assert_eq!(entry(&first, "ca.crt").matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(first["type"], "Opaque");
    assert_eq!(u32::from(leads(&called)) + u32::from(leads(&beside)), 1);

    let (stop, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for caller in 0..2 {
            let (plane, stop, calls, failed) = (&plane, &stop, &calls, &failed);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("app-{caller}-{}", calls.fetch_add(1, Ordering::Relaxed));
                    let object = deployment(&name, &bed.fresh).to_string();
                    let args = ["-n", "shop", "create", "--dry-run=server", "-f", "-"];
                    let said = plane.kubectl_as("admin", &args, &object);
                    if !said.success {
                        failed.lock().unwrap().push(said.stderr);
                    }
                }
            });
        }
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut certificates = BTreeSet::from([entry(&first, "tls.crt")]);
            let mut broken = false;
            let give_up = Instant::now() + Duration::from_secs(150);
            let mut both_in_the_bundle = false;
            while certificates.len() < 3 + usize::from(broken) || !broken {
                assert!(Instant::now() < give_up, "{} certificates were seen", certificates.len());
                let secret = secret(&plane);
                both_in_the_bundle |= entry(&secret, "ca.crt").matches("BEGIN CERTIFICATE").count() == 2;
                certificates.insert(entry(&secret, "tls.crt"));
                if certificates.len() == 2 && !broken {
                    broken = true;
                    let nonsense = json!({"stringData": {"tls.key": "nonsense"}}).to_string();
                    let args = ["-n", NAMESPACE, "patch", "secret", "freshgate-tls", "--type=merge", "-p", &nonsense];
                    assert!(plane.kubectl(&args).success);
                    let failures =
                        |gate: &Gate| gate.metric("freshgate_certificate_reload_failures_total").unwrap_or(0.0);
                    wait_for("the failure to be told", || failures(&called) + failures(&beside) >= 1.0);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            assert!(both_in_the_bundle);
        }));
        stop.store(true, Ordering::Relaxed);
        watched.unwrap();
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), calls.into_inner(), failed.first());
    assert!(calls.load(Ordering::Relaxed) > 50, "{calls:?}");
    let log = called.process.log() + &beside.process.log();
    assert!(log.contains("the TLS certificate in use stays"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "keys are in no log");
    // Follower and leader end up with the same.
    let ends = |gate: &Gate| gate.metric("freshgate_certificate_not_after_seconds").unwrap_or(0.0);
    wait_for("the follower", || (ends(&called) - ends(&beside)).abs() < 0.5 && ends(&called) > 0.0);
    // Deleted, the same comes back: callers trust it.
    let before = entry(&secret(&plane), "ca.crt");
    assert!(plane.kubectl(&["-n", NAMESPACE, "delete", "secret", "freshgate-tls"]).success);
    wait_for("the Secret", || secret(&plane) != Value::Null);
    let after = entry(&secret(&plane), "ca.crt");
    let first_of = |bundle: &str| bundle.split("-----END").next().unwrap().to_owned();
    assert!(after.contains(&first_of(&before)), "callers trust what comes back");
    wait_until_registered(&plane, &bed.old);
}

/// Who made the newest checkpoint.
fn checkpoint_by(plane: &ControlPlane) -> Option<String> {
    let path = "jsonpath={.data.checkpoints\\.jsonl}";
    let said =
        plane.kubectl(&["-n", NAMESPACE, "get", "configmap", "checkpoints", "-o", path, "--ignore-not-found"]).stdout;
    let newest: Value = serde_json::from_str(said.lines().last()?).unwrap();
    let text = newest.to_string();
    ["one", "other"].into_iter().find(|name| text.contains(&format!("\"{name}\""))).map(str::to_owned)
}

fn cut_off(bed: &Bed) {
    let plane = plane();
    let host = bed.registry_host();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let between = runtime.block_on(Between::start(plane.port()));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |name: &str, kubeconfig: &std::path::Path, folder: &std::path::Path| {
        let args = [
            "--kubernetes",
            "--insecure-registry",
            &host,
            "--id",
            name,
            "--tls-secret",
            "freshgate-tls",
            "--tls-name",
            "127.0.0.1",
            "--leader-lease",
            "freshgate",
            "--signing-secret",
            "freshgate-signing-key",
            "--checkpoint-every",
            "1s",
            "--checkpoint-config-map",
            "checkpoints",
            "--webhook-owner",
            "cluster-admin",
        ];
        Gate::in_folder(program(), folder, &args, &[("KUBECONFIG", kubeconfig)])
    };
    let through = kubeconfig_by(&plane, between.port, folders[0].path());
    let one = start("one", &through, folders[0].path());
    let mut other = start("other", &plane.kubeconfig(), folders[1].path());
    assert!(leads(&one) && !leads(&other), "the first leads");
    let lease = || {
        let said = plane.kubectl(&["-n", NAMESPACE, "get", "lease", "freshgate", "-o", "json"]);
        serde_json::from_str::<Value>(&said.stdout).unwrap()
    };
    assert_eq!(lease()["spec"]["holderIdentity"], "one");
    assert_eq!(lease()["metadata"]["ownerReferences"][0]["name"], "cluster-admin");
    assert_eq!(secret(&plane)["metadata"]["ownerReferences"][0]["name"], "cluster-admin");
    assert_eq!(configuration(&plane), Value::Null, "nobody asked for one");
    // Both have something to make checkpoints of; the leader alone does.
    let review = |gate: &Gate, name: &str| ask(gate, folders[0].path(), name, &bed.old);
    review(&one, "a");
    review(&other, "a");
    wait_for("a checkpoint", || checkpoint_by(&plane).as_deref() == Some("one"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(checkpoint_by(&plane).as_deref(), Some("one"));

    between.set(Way::Hole);
    let give_up = Instant::now() + Duration::from_secs(40);
    while !leads(&other) {
        assert!(Instant::now() < give_up, "nobody took over: {}", other.process.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!leads(&one), "two lead");
    assert_eq!(
        (&lease()["spec"]["holderIdentity"], &lease()["spec"]["leaseTransitions"]),
        (&json!("other"), &json!(1))
    );
    review(&one, "b");
    review(&other, "b");
    wait_for("a checkpoint by the new leader", || checkpoint_by(&plane).as_deref() == Some("other"));
    // A policy whose status it alone can write.
    let patch = r#"{"spec": {"imageAge": {"maxAge": "91d"}}}"#;
    assert!(plane.kubectl(&["patch", "gpol", "production", "--type=merge", "-p", patch]).success);
    let observed = || {
        let path = "jsonpath={.metadata.generation} {.status.observedGeneration}";
        plane.kubectl(&["get", "gpol", "production", "-o", path]).stdout
    };
    wait_for("the status", || observed() == "2 2");

    // Back again it follows: the Lease and the checkpoints stay the other's.
    between.set(Way::Open);
    let version = || lease()["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    for step in 0..5 {
        review(&one, &format!("c{step}"));
        review(&other, &format!("c{step}"));
        std::thread::sleep(Duration::from_secs(1));
        assert!(leads(&other) && !leads(&one));
        assert_eq!(version(), "other");
        assert_eq!(checkpoint_by(&plane).as_deref(), Some("other"));
    }
    // One that ends in order hands over at once.
    let asked_at = Instant::now();
    other.process.signal("TERM");
    assert_eq!(other.process.wait().code(), Some(0));
    assert!(other.process.log().contains("the lead is given back"), "{}", other.process.log());
    wait_for("the other to lead", || leads(&one));
    assert!(asked_at.elapsed() < Duration::from_secs(12), "{:?}", asked_at.elapsed());
}

/// Asks a gate itself, past any API server.
fn ask(gate: &Gate, folder: &std::path::Path, name: &str, image: &str) -> Value {
    let mut object = crate::bed::pod(name, image);
    object["metadata"]["namespace"] = json!("shop");
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop", "name": name,
            "operation": "CREATE", "userInfo": {"username": "alice"}, "object": object, "oldObject": null,
        },
    });
    let review = folder.join("review.json");
    std::fs::write(&review, body.to_string()).unwrap();
    let output = std::process::Command::new("curl")
        .args(["-sk", "-H", "Content-Type: application/json", "--data-binary"])
        .arg(format!("@{}", review.display()))
        .arg(format!("{}?timeout=5s", gate.url()))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["response"]["allowed"], false, "{answer}");
    answer
}
