//! T22 in a cluster: a secret is planted in pull secrets, a source's Secret, workloads and requests, and looked for in all
//! that the gate writes there: Events and statuses as well.

use std::path::Path;
use std::process::Command;

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, POLICY, built_days_ago, deployment};
use crate::cluster::canary::{CANARY, assert_clean, docker_config, files};
use crate::cluster::collector::Collector;
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::gate::{Gate, REGISTERED};
use crate::cluster::registry::Registry;

pub const SCENARIOS: &[Scenario] = &[("no_secret_is_in_an_event_a_status_or_any_other_sink", planted)];

/// A Deployment with the canary in it, whose images are pulled with one.
fn planted_deployment(name: &str, image: &str) -> Value {
    let mut object = deployment(name, image);
    object["metadata"]["annotations"] = json!({"note": CANARY});
    let template = &mut object["spec"]["template"];
    template["metadata"]["annotations"] = json!({"note": CANARY});
    template["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    template["spec"]["containers"][0]["env"] = json!([{"name": "PASSWORD", "value": CANARY}]);
    object
}

/// On a control plane of its own: this gate says all that it can, which nobody else could read.
fn planted(_: &Bed) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let collector = runtime.block_on(Collector::start());
    // What stands in for a Prometheus that wants a token, and is content with none.
    let prometheus = runtime.block_on(FaultyRegistry::before("127.0.0.1:1"));
    prometheus.set(Fault::Status(401, None));
    let registry = Registry::distribution_with_canary();
    let (fresh, old) = (
        registry.push("shop/app", "2", &built_days_ago("fresh", 3)),
        registry.push("shop/app", "1", &built_days_ago("old", 112)),
    );

    let program = Path::new(env!("CARGO_BIN_EXE_freshgate"));
    let plane = ControlPlane::start();
    let crds = Command::new(program).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    assert!(plane.apply(POLICY).success);
    for namespace in ["freshgate", "shop"] {
        plane.namespace(namespace, &["environment=production"]);
    }
    let secrets = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": "shop"},
         "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": docker_config(&[&registry.host()])}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "slo", "namespace": "freshgate"}, "stringData": {"token": CANARY}},
        {"apiVersion": "freshgate.dev/v1alpha1", "kind": "BudgetSource", "metadata": {"name": "slo"}, "spec": {
            "format": "Sloth", "interval": "1s",
            "prometheus": {"url": format!("http://{}", prometheus.host()), "bearer": {"secret": {"name": "slo", "key": "token"}}}}},
    ]});
    let said = plane.apply(&secrets.to_string());
    assert!(said.success, "{}", said.stderr);

    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, host, url) = (plane.kubeconfig(), registry.host(), collector.url());
    let headers = format!("authorization=Bearer%20{CANARY}");
    let args = [
        "--kubernetes",
        "--read-pull-secrets",
        "--decisions-api",
        "--own-namespace",
        "freshgate",
        "--insecure-registry",
        &host,
        "--otlp-endpoint",
        &url,
        "--checkpoint-every",
        "1s",
        "--checkpoint-config-map",
        "freshgate-checkpoints",
        "--signing-secret",
        "freshgate-signing-key",
    ];
    let args = [&args[..], &REGISTERED].concat();
    let env = [
        ("KUBECONFIG", &*kubeconfig),
        ("FRESHGATE_LOG", Path::new("trace")),
        ("OTEL_EXPORTER_OTLP_HEADERS", Path::new(&headers)),
    ];
    let mut gate = Gate::in_folder(program, folder.path(), &args, &env);
    let create = |object: &Value, more: &[&str]| {
        plane.kubectl_as("admin", &[&["-n", "shop", "create", "-f", "-"], more].concat(), &object.to_string())
    };
    wait_for("the webhook", || !create(&planted_deployment("old", &old), &["--dry-run=server"]).success);
    // The pull secret opened, or neither would be known.
    let allowed = create(&planted_deployment("app", &fresh), &[]);
    assert!(allowed.success, "{}", allowed.stderr);
    let denied = create(&planted_deployment("old", &old), &[]);
    assert!(denied.stderr.contains("was built 112 days ago"), "{}", denied.stderr);
    let exception = json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException",
        "metadata": {"name": "fix", "annotations": {"note": CANARY}},
        "spec": {
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "old"}], "rules": ["imageAge"],
            "reason": "incident", "text": "closes a hole",
            "expiresAt": (Utc::now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true),
        },
    });
    let granted = create(&exception, &[]);
    assert!(granted.success, "{}", granted.stderr);
    wait_for("the signed status", || {
        plane.kubectl(&["get", "gexc", "fix", "-o", "jsonpath={.status.signature}"]).stdout.len() > 10
    });
    wait_for("the source's word", || {
        let status = plane.kubectl(&["get", "budgetsource", "slo", "-o", "jsonpath={.status}"]).stdout;
        status.contains("refused the gate's credentials")
    });
    // Whoever asks for decisions has a token too.
    assert!(plane.kubectl(&["-n", "shop", "create", "serviceaccount", "reader"]).success);
    let token = plane.kubectl(&["-n", "shop", "create", "token", "reader"]).stdout.trim().to_owned();
    let decisions = format!("http://127.0.0.1:{}/v1/decisions?namespace=shop", gate.admin_port);
    let curl = |args: &[&str]| Command::new("curl").arg("-s").args(args).output().unwrap().stdout;
    let forbidden = curl(&["-H", &format!("Authorization: Bearer {token}"), &decisions]);
    let unknown = curl(&["-H", &format!("Authorization: Bearer {CANARY}"), &decisions]);
    let events = || plane.kubectl(&["get", "events.events.k8s.io", "-A", "-o", "json"]).stdout;
    wait_for("the Events", || events().contains("Break-glass") && events().contains("was built 112 days ago"));
    let metrics = curl(&[&format!("http://127.0.0.1:{}/metrics", gate.admin_port)]);
    wait_for("a checkpoint", || {
        plane
            .kubectl(&["-n", "freshgate", "get", "configmap", "freshgate-checkpoints", "-o", "json"])
            .stdout
            .contains("heads")
    });
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());

    assert!(prometheus.take_seen().iter().any(|seen| seen.authorization == Some(format!("Bearer {CANARY}"))));
    let got = collector.got();
    assert!(!got.logs.is_empty() && got.headers.iter().all(|one| one.contains(&format!("Bearer {CANARY}"))));
    let status = |kind: &str, name: &str| plane.kubectl(&["get", kind, name, "-o", "jsonpath={.status}"]).stdout;
    let config_map =
        plane.kubectl(&["-n", "freshgate", "get", "configmap", "freshgate-checkpoints", "-o", "json"]).stdout;
    for (sink, text, known) in [
        ("kubectl, of what was refused", denied.stderr, "admission webhook"),
        ("kubectl, of what was granted", granted.stdout + &granted.stderr, "created"),
        ("the Events", events(), "Break-glass"),
        ("an exception's status", status("gexc", "fix"), "grantedBy"),
        ("a source's status", status("budgetsource", "slo"), "refused the gate's credentials"),
        ("a policy's status", status("gatepolicy", "production"), "conditions"),
        ("the checkpoints", config_map, "heads"),
        ("/metrics", String::from_utf8(metrics).unwrap(), "freshgate_decisions_total"),
        ("the decisions API, of a token that may not", String::from_utf8(forbidden).unwrap(), "may not list"),
        ("the decisions API, of no token", String::from_utf8(unknown).unwrap(), "does not know this token"),
        ("the log", gate.process.log(), "TRACE"),
    ] {
        assert_clean(sink, text.as_bytes(), known);
        assert!(!text.contains(&token), "{sink} shows a caller's token");
    }
    for sent in &got.bodies {
        assert_clean("what the collector got", sent, "freshgate");
    }
    for (name, bytes) in files(folder.path()) {
        assert_clean(&name, &bytes, "");
    }
}
