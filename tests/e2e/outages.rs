//! The API server out of the gate's reach: it goes on with what it knew, says what it cannot know, and catches up.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, POLICY, pod};
use crate::cluster::between::{Between, Way};
use crate::cluster::control_plane::wait_for;
use crate::cluster::gate::Gate;

pub const SCENARIOS: &[Scenario] =
    &[("an_api_server_out_of_reach_leaves_the_policies_in_force_and_names_what_is_unknown", out_of_reach)];

fn out_of_reach(bed: &Bed) {
    bed.production("reach");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let between = runtime.block_on(Between::start(bed.plane.port()));
    // A gate of its own, which meets the API server through the proxy; it is asked as an API server asks.
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let direct = std::fs::read_to_string(bed.plane.kubeconfig()).unwrap();
    let port = |port: u16| format!("https://127.0.0.1:{port}");
    std::fs::write(&kubeconfig, direct.replace(&port(bed.plane.port()), &port(between.port))).unwrap();
    let registry = bed.registry_host();
    let gate = Gate::start(
        Path::new(env!("CARGO_BIN_EXE_freshgate")),
        &["--kubernetes", "--insecure-registry", &registry],
        &[("KUBECONFIG", &kubeconfig)],
    );
    // Each has another name: what was let in once may come back.
    let asked_before = Cell::new(0);
    let asked = |namespace: &str, image: &str| {
        asked_before.set(asked_before.get() + 1);
        let name = format!("pod-{}", asked_before.get());
        ask(&gate, &folder.path().join("review.json"), namespace, &name, image)
    };
    let (old, fresh) = (bed.old.as_str(), bed.fresh.as_str());
    let refused = |response: &Value| {
        assert_eq!(response["allowed"], false, "{response}");
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("binary-age: image {}@", bed.old)), "{message}");
        assert!(message.contains("was built 112 days ago"), "{message}");
        assert!(message.contains("(policy \"production\")"), "{message}");
    };
    refused(&asked("reach", old));

    between.set(Way::Cut);
    refused(&asked("reach", old));
    assert_eq!(asked("reach", fresh)["allowed"], true);
    let staleness = || metric(&gate, "freshgate_policies_staleness_seconds");
    let before = staleness();
    wait_for("the age of the policies to be told", || staleness() > before + 1.0);
    assert!(is_ready(&gate), "what it depends on does not take it away from everybody");
    // This namespace it has never seen, so nobody can tell whether the policy is for it.
    bed.production("reach-unseen");
    let unseen = asked("reach-unseen", old);
    assert_eq!(unseen["allowed"], true, "{unseen}");
    // Other scenarios' policies are as uncertain, and warn first; the record has all of them.
    assert_eq!(unseen["auditAnnotations"]["decision"], "warn", "{unseen}");
    let id = unseen["auditAnnotations"]["decision-id"].as_str().unwrap();
    let record = &gate.records(&["--id", id])[0];
    let mut rules = record["rules"].as_array().unwrap().iter();
    let rule = rules.find(|rule| rule["policy"] == "production" && rule["rule"] == "imageAge").unwrap();
    assert_eq!((&rule["result"], &rule["properties"]["softened"]), (&json!("warn"), &json!("namespaceUnknown")));
    let (_, story, _) = gate.run(&["audit", "show", id, "--store", &gate.store()]);
    assert!(
        story.contains("it could not be told whether the policy is for this namespace"),
        "the record says why it passed: {story}"
    );
    // What is changed meanwhile comes into force when the way is open again.
    let late = POLICY.replace("name: production", "name: late").replace("environment: production", "tier: late");
    assert!(bed.plane.apply(&late).success);
    bed.plane.namespace("reach-late", &["tier=late"]);

    between.set(Way::Open);
    wait_for("the namespace to be known", || asked("reach-unseen", old)["allowed"] == false);
    refused(&asked("reach-unseen", old));
    wait_for("the policy to come into force", || asked("reach-late", old)["allowed"] == false);
    assert!(bed.plane.kubectl(&["delete", "gpol", "late"]).success);
}

/// The answer to the creation of a Pod.
fn ask(gate: &Gate, review: &Path, namespace: &str, name: &str, image: &str) -> Value {
    let mut object = pod(name, image);
    object["metadata"]["namespace"] = json!(namespace);
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": namespace, "name": name,
            "operation": "CREATE", "userInfo": {"username": "alice"}, "object": object, "oldObject": null,
        },
    });
    std::fs::write(review, body.to_string()).unwrap();
    let output = Command::new("curl")
        .args(["-sk", "-H", "Content-Type: application/json", "--data-binary"])
        .arg(format!("@{}", review.display()))
        .arg(format!("{}?timeout=5s", gate.url()))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["response"].clone()
}

fn metric(gate: &Gate, name: &str) -> f64 {
    let url = format!("http://127.0.0.1:{}/metrics", gate.admin_port);
    let page = String::from_utf8(Command::new("curl").args(["-s", &url]).output().unwrap().stdout).unwrap();
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap()
}

fn is_ready(gate: &Gate) -> bool {
    let url = format!("http://127.0.0.1:{}/readyz", gate.admin_port);
    Command::new("curl").args(["-sf", "-o", "/dev/null", &url]).status().unwrap().success()
}
