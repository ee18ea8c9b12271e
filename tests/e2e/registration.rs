//! The webhook configuration that the gate makes: what reaches the gate by it, who may change it, and how it goes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment, template};
use crate::cluster::control_plane::{CALLER, ControlPlane, wait_for};
use crate::cluster::gate::{Gate, REGISTERED};
use crate::lifecycle::{configuration, plane, program, refuses, wait_until_registered};

pub const SCENARIOS: &[Scenario] = &[
    ("what_changes_neither_template_nor_labels_never_reaches_the_gate", only_what_counts),
    ("a_changed_or_deleted_webhook_configuration_is_told_and_left", reported),
    ("a_changed_or_deleted_webhook_configuration_is_put_back_where_that_is_asked_for", enforced),
    ("an_api_server_with_a_certificate_is_heard_and_nobody_else", callers),
    ("the_webhook_is_proven_by_dry_runs", proven),
];

/// Reviews that were answered.
fn answers(gate: &Gate) -> f64 {
    gate.metric("freshgate_answers_total{code=\"200\"}").unwrap_or(0.0)
}

fn only_what_counts(bed: &Bed) {
    let plane = plane();
    let kubeconfig = plane.kubeconfig();
    let host = bed.registry_host();
    let args = [
        &["--kubernetes", "--insecure-registry", &host, "--workload-kind", "example.org/Fleet=spec.unit.pod"][..],
        &REGISTERED,
    ]
    .concat();
    // A kind of its own, with its template in another place; and one that is known, whose definition comes later.
    let fleet = definition("example.org", "Fleet", "fleets");
    assert!(plane.apply(&fleet.to_string()).success);
    let gate = Gate::start(program(), &args, &[("KUBECONFIG", &kubeconfig)]);
    wait_until_registered(&plane, &bed.old);
    // The controllers' own traffic would be counted, so nothing here has any.
    let reached = |act: &dyn Fn()| {
        let before = answers(&gate);
        act();
        answers(&gate) - before
    };
    let in_shop = |args: &[&str], input: &Value| {
        let said = plane.kubectl_as("admin", &[&["-n", "shop"], args].concat(), &input.to_string());
        assert!(said.success, "{}", said.stderr);
    };
    let asked_once = |act: &dyn Fn()| assert!((reached(act) - 1.0).abs() < 0.1, "the gate was not asked once");
    let not_asked = |act: &dyn Fn()| assert!(reached(act) < 0.1, "the gate was asked");

    let mut paused = deployment("app", &bed.fresh);
    paused["spec"]["paused"] = json!(true);
    asked_once(&|| in_shop(&["create", "-f", "-"], &paused));
    not_asked(&|| in_shop(&["scale", "deployment/app", "--replicas=3"], &Value::Null));
    not_asked(&|| in_shop(&["annotate", "deployment/app", "note=one"], &Value::Null));
    asked_once(&|| in_shop(&["label", "deployment/app", "app.kubernetes.io/name=other"], &Value::Null));
    asked_once(&|| in_shop(&["set", "image", "deployment/app", &format!("app={}", bed.fresh_too)], &Value::Null));
    asked_once(&|| in_shop(&["delete", "deployment/app", "--cascade=orphan"], &Value::Null));

    let mut suspended = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "night"},
        "spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": template(&bed.fresh)}}},
    });
    suspended["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    asked_once(&|| in_shop(&["create", "-f", "-"], &suspended));
    not_asked(&|| in_shop(&["patch", "cronjob/night", "-p", r#"{"spec":{"suspend":true}}"#], &Value::Null));
    asked_once(&|| {
        let mut other = suspended.clone();
        other["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!(bed.fresh_too);
        in_shop(&["replace", "-f", "-"], &other);
    });

    let pod = crate::bed::pod("bare", &bed.fresh);
    asked_once(&|| in_shop(&["create", "-f", "-"], &pod));
    not_asked(&|| in_shop(&["annotate", "pod/bare", "note=one"], &Value::Null));
    asked_once(&|| in_shop(&["set", "image", "pod/bare", &format!("app={}", bed.fresh_too)], &Value::Null));
    let with_debugger = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"ephemeralContainers": [
        {"name": "look", "image": bed.debugger, "targetContainerName": "app"},
    ]}});
    let debug = ["patch", "pod/bare", "--subresource=ephemeralcontainers", "-p", &with_debugger.to_string()];
    asked_once(&|| in_shop(&debug, &Value::Null));

    let fleet = |replicas: u32, image: &str| {
        json!({
            "apiVersion": "example.org/v1", "kind": "Fleet", "metadata": {"name": "ships"},
            "spec": {"replicas": replicas, "unit": {"pod": template(image)}},
        })
    };
    asked_once(&|| in_shop(&["create", "-f", "-"], &fleet(1, &bed.fresh)));
    not_asked(&|| in_shop(&["apply", "-f", "-"], &fleet(2, &bed.fresh)));
    asked_once(&|| in_shop(&["apply", "-f", "-"], &fleet(2, &bed.fresh_too)));
    // A template of many containers is compared as well: what cannot be compared would be refused.
    let mut large = deployment("large", &bed.fresh);
    large["spec"]["paused"] = json!(true);
    let variables: Vec<Value> =
        (0..3_000).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(200)})).collect();
    large["spec"]["template"]["spec"]["containers"][0]["env"] = json!(variables);
    asked_once(&|| in_shop(&["create", "-f", "-"], &large));
    not_asked(&|| in_shop(&["scale", "deployment/large", "--replicas=2"], &Value::Null));

    // The definition of a known kind comes later, and its rule with it.
    let kinds = || configuration(&plane)["webhooks"][0]["rules"].to_string();
    assert!(!kinds().contains("rollouts"));
    assert!(plane.apply(&definition("argoproj.io", "Rollout", "rollouts").to_string()).success);
    wait_for("the rule for Rollouts", || kinds().contains("rollouts"));
    assert_eq!(gate.metric("freshgate_webhook_drift"), Some(0.0));
}

fn definition(group: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    })
}

fn owner(plane: &ControlPlane) -> String {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "gate"}, "rules": [],
    });
    assert!(plane.apply(&role.to_string()).success);
    plane.kubectl(&["get", "clusterrole", "gate", "-o", "jsonpath={.metadata.uid}"]).stdout
}

fn drift(gate: &Gate) -> bool {
    gate.metric("freshgate_webhook_drift") == Some(1.0)
}

fn ignore_failures(plane: &ControlPlane) {
    let patch = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    let args = ["patch", "validatingwebhookconfiguration", "freshgate", "--type=json", "-p", patch];
    assert!(plane.kubectl(&args).success);
}

fn failure_policy(plane: &ControlPlane) -> Value {
    configuration(plane)["webhooks"][0]["failurePolicy"].clone()
}

fn delete(plane: &ControlPlane) {
    assert!(plane.kubectl(&["delete", "validatingwebhookconfiguration", "freshgate"]).success);
}

fn reported(bed: &Bed) {
    let plane = plane();
    let uid = owner(&plane);
    let kubeconfig = plane.kubeconfig();
    let host = bed.registry_host();
    let more = ["--kubernetes", "--insecure-registry", &host, "--webhook-owner", "gate"];
    let args = [&more[..], &REGISTERED].concat();
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Gate::in_folder(program(), folder.path(), &args, &[("KUBECONFIG", &kubeconfig)]);
    wait_until_registered(&plane, &bed.old);
    let made = configuration(&plane);
    let reference = json!([
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "gate", "uid": uid},
    ]);
    assert_eq!(made["metadata"]["ownerReferences"], reference);
    assert_eq!(gate.metric("freshgate_webhook_applied"), Some(1.0));
    // Looks do not write: nothing is fought over.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(configuration(&plane)["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(!drift(&gate));

    let changed_at = Instant::now();
    ignore_failures(&plane);
    wait_for("the metric", || drift(&gate));
    let event = || {
        let said = plane.kubectl(&["-n", "default", "get", "events.events.k8s.io", "-o", "json"]);
        let list: Value = serde_json::from_str(&said.stdout).unwrap();
        let mut events = list["items"].as_array().cloned().unwrap_or_default().into_iter();
        events.find(|event| event["reason"] == "WebhookChanged")
    };
    wait_for("the Event", || event().is_some());
    assert!(changed_at.elapsed() < Duration::from_secs(60), "{:?}", changed_at.elapsed());
    let event = event().unwrap();
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("webhooks[workloads.freshgate.dev].failurePolicy is \"Ignore\"; the gate set \"Fail\""),
        "{note}"
    );
    assert!(note.contains("last by kubectl-patch at "), "{note}");
    assert_eq!(event["regarding"]["name"], "freshgate");
    assert!(gate.process.log().contains("was changed by somebody else"), "{}", gate.process.log());
    assert_eq!(failure_policy(&plane), "Ignore", "it is only told");
    // Whoever did it undoes it.
    let undo = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]"#;
    let args = ["patch", "validatingwebhookconfiguration", "freshgate", "--type=json", "-p", undo];
    assert!(plane.kubectl(&args).success);
    wait_for("the end of the drift", || !drift(&gate));

    // The emergency command.
    delete(&plane);
    wait_for("the metric", || drift(&gate));
    wait_for("the webhook's end", || !refuses(&plane, &bed.old));
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(configuration(&plane), Value::Null, "it is not made again");
    assert_eq!(gate.metric("freshgate_webhook_applied"), Some(0.0));
    // The next start makes it.
    gate.crash_and_restart();
    wait_until_registered(&plane, &bed.old);
    wait_for("the metric", || !drift(&gate));
}

fn enforced(bed: &Bed) {
    let plane = plane();
    let kubeconfig = plane.kubeconfig();
    let host = bed.registry_host();
    let more = ["--kubernetes", "--insecure-registry", &host, "--webhook-drift", "enforce"];
    let args = [&more[..], &REGISTERED].concat();
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Gate::in_folder(program(), folder.path(), &args, &[("KUBECONFIG", &kubeconfig)]);
    wait_until_registered(&plane, &bed.old);
    ignore_failures(&plane);
    wait_for("it to be put back", || failure_policy(&plane) == "Fail");
    wait_for("the log", || gate.process.log().contains("was changed by somebody else"));
    let never = r#"[{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "never", "expression": "false"}}]"#;
    let args = ["patch", "validatingwebhookconfiguration", "freshgate", "--type=json", "-p", never];
    assert!(plane.kubectl(&args).success);
    wait_for("the condition's end", || {
        configuration(&plane)["webhooks"][0]["matchConditions"].as_array().unwrap().len() == 2
    });
    wait_until_registered(&plane, &bed.old);

    let deleted_at = Instant::now();
    delete(&plane);
    wait_for("it to be made again", || configuration(&plane) != Value::Null);
    assert!(deleted_at.elapsed() >= Duration::from_secs(5), "whoever replaces it has time to");
    wait_until_registered(&plane, &bed.old);

    // What an uninstall puts in its place stays, and so does what follows.
    delete(&plane);
    let tombstone = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "freshgate", "annotations": {"freshgate.dev/removed": "true"}},
    });
    assert!(plane.create(&tombstone.to_string()).success);
    wait_for("the log", || gate.process.log().contains("is being removed; left alone"));
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(configuration(&plane).get("webhooks"), None);
    assert!(!drift(&gate));
    delete(&plane);
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(configuration(&plane), Value::Null, "this process makes it no more");
    // One that broke off is cleaned up by the next start.
    assert!(plane.create(&tombstone.to_string()).success);
    std::thread::sleep(Duration::from_secs(2));
    gate.crash_and_restart();
    wait_until_registered(&plane, &bed.old);
    assert_eq!(configuration(&plane)["metadata"]["annotations"].get("freshgate.dev/removed"), None);
}

/// T23, by an API server that has a certificate to show.
fn callers(bed: &Bed) {
    let plane = plane();
    let (kubeconfig, authority) = (plane.kubeconfig(), plane.authority().display().to_string());
    let host = bed.registry_host();
    let start = |name: &str| {
        let more = ["--kubernetes", "--insecure-registry", &host, "--client-ca", &authority, "--client-name", name];
        Gate::start(program(), &[&more[..], &REGISTERED].concat(), &[("KUBECONFIG", &kubeconfig)])
    };
    let gate = start(CALLER);
    assert!(gate.process.log().contains("the gate has answered itself"), "that it refuses is an answer as well");
    wait_until_registered(&plane, &bed.old);
    let status = |gate: &Gate| {
        let output = std::process::Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", &gate.url()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(status(&gate), "401");
    drop(gate);
    let gate = start("another");
    let create =
        || plane.kubectl_as("admin", &["-n", "shop", "create", "-f", "-"], &deployment("app", &bed.fresh).to_string());
    wait_for("the API server to be turned away", || create().stderr.contains("reviews are not taken from"));
    drop(gate);
}

fn proven(bed: &Bed) {
    let plane = &bed.plane;
    plane.namespace("freshgate-test", &[]);
    let policy = json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": "freshgate-test"},
        "spec": {
            "match": {"namespaces": ["freshgate-test"]}, "validationActions": ["Deny"],
            "imageAge": {"maxAge": "90d", "requireDigest": true, "onUnknown": "Allow"},
        },
    });
    let test = |user: &str, more: &[&str]| {
        let output = std::process::Command::new(program())
            .args(["webhook", "test", "--namespace", "freshgate-test", "--policy", "freshgate-test"])
            .args(more)
            .env("KUBECONFIG", plane.kubeconfig_of(user))
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = test("admin", &["--timeout-seconds", "2"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("not refused within 2 seconds, as it must be: it was admitted\n"), "{said}");
    plane.add_user("nobody", &[]);
    let (code, _, told) = test("nobody", &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("cannot create resource \"deployments\""), "{told}");
    assert!(told.contains("let the account create deployments.apps in \"freshgate-test\""), "{told}");
    assert!(plane.apply(&policy.to_string()).success);
    let (code, said, told) = test("admin", &[]);
    assert_eq!(code, Some(0), "{said}{told}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("refused, as it must be: ") && lines[0].contains("workloads.freshgate.dev"), "{said}");
    assert_eq!(lines[1..], ["admitted, as it must be"]);
    assert!(plane.kubectl(&["delete", "gpol", "freshgate-test"]).success);
    allowed(&plane.kubectl(&["delete", "namespace", "freshgate-test", "--wait=false"]));
}
