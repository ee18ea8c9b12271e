//! Exceptions on a real API server: who may grant them, what is refused, and what has no effect.

use std::path::Path;

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, POLICY, allowed, deployment, pod};
use crate::cluster::control_plane::{ControlPlane, Said, wait_for};
use crate::cluster::gate::{Gate, REGISTERED};

pub const SCENARIOS: &[Scenario] = &[
    ("an_exception_is_granted_by_who_has_the_verb_and_recorded", granted),
    ("an_exception_lets_its_workload_in_and_no_other", deploys),
    ("an_exception_is_refused_without_the_verb_and_the_refusals_commands_give_it", without_verb),
    ("an_exception_needs_the_verb_in_every_namespace", one_of_two),
    ("an_exception_is_refused_while_nobody_can_say_who_may_grant_it", untold),
    ("an_exception_that_is_too_long_or_past_is_refused", too_long),
    ("an_exception_for_more_than_exact_workloads_is_refused", too_broad),
    ("the_spec_of_an_exception_cannot_be_changed", edited),
    ("an_exception_that_the_gate_did_not_see_is_inert_and_so_is_one_with_a_forged_status", unseen),
    ("a_grant_survives_a_restart_before_its_status_was_written", restarted),
    ("break_glass_works_at_once_and_is_loud", break_glass),
    ("a_review_without_an_object_breaks_no_glass", hearsay),
    ("a_dry_run_grants_nothing", dry_run),
    ("a_denial_is_an_event_on_the_workload", denial_event),
];

fn in_hours(hours: i64) -> String {
    (Utc::now() + TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub fn exception(name: &str, reason: &str, namespaces: &[&str], hours: i64) -> Value {
    let targets: Vec<Value> = namespaces
        .iter()
        .map(|namespace| json!({"namespace": namespace, "kind": "Deployment", "name": "app"}))
        .collect();
    json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException", "metadata": {"name": name},
        "spec": {
            "targets": targets, "rules": ["imageAge"], "reason": reason, "text": "closes a hole",
            "ticket": "OPS-1", "expiresAt": in_hours(hours),
        },
    })
}

/// A user who may create exceptions, and grant those that are named here as reason and namespace.
fn user(plane: &ControlPlane, name: &str, grants: &[(&str, &str)]) {
    plane.add_user(name, &[]);
    let mut objects = vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": format!("{name}-asks")},
            "rules": [{"apiGroups": ["freshgate.dev"], "resources": ["gateexceptions"], "verbs": ["create", "get", "update", "patch"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": format!("{name}-asks")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{name}-asks")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        }),
    ];
    for (reason, namespace) in grants {
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": format!("{name}-{reason}"), "namespace": namespace},
            "rules": [{"apiGroups": ["freshgate.dev"], "resources": ["gateexceptions"], "verbs": [format!("grant-{reason}")]}],
        }));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("{name}-{reason}"), "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{name}-{reason}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        }));
    }
    let said = plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    assert!(said.success, "{}", said.stderr);
    // The authorizer follows RBAC by watching it.
    wait_for("the user's permissions", || {
        grants.iter().all(|(reason, namespace)| {
            let verb = format!("grant-{reason}");
            plane
                .kubectl_as(name, &["auth", "can-i", &verb, "gateexceptions.freshgate.dev", "-n", namespace], "")
                .success
        }) && plane.kubectl_as(name, &["auth", "can-i", "create", "gateexceptions.freshgate.dev"], "").success
    });
}

pub fn create_as(plane: &ControlPlane, user: &str, object: &Value) -> Said {
    plane.kubectl_as(user, &["create", "-f", "-"], &object.to_string())
}

pub fn get(plane: &ControlPlane, name: &str) -> Value {
    let said = plane.kubectl(&["get", "gexc", name, "-o", "json"]);
    assert!(said.success, "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}

/// Status, reason and message of the condition `Active`.
fn active(plane: &ControlPlane, name: &str) -> (String, String, String) {
    let object = get(plane, name);
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition["type"] == "Active").cloned().unwrap_or_default();
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

pub fn wait_until_active(plane: &ControlPlane, name: &str) {
    wait_for("the exception to be active", || active(plane, name).0 == "True");
}

/// The gate's words in a refusal.
fn refusal(said: &Said) -> String {
    assert!(!said.success, "it was let in: {}", said.stdout);
    let (_, message) = said.stderr.split_once("denied the request: ").unwrap_or_else(|| panic!("{}", said.stderr));
    message.trim().to_owned()
}

fn granted(bed: &Bed) {
    let plane = &bed.plane;
    plane.namespace("ex-granted", &[]);
    user(plane, "ex-alice", &[("security", "ex-granted")]);
    let object = exception("granted", "security", &["ex-granted"], 24);
    assert_eq!(allowed(&create_as(plane, "ex-alice", &object)), Vec::<String>::new());
    wait_until_active(plane, "granted");
    let stored = get(plane, "granted");
    let (status, expires) = (&stored["status"], object["spec"]["expiresAt"].as_str().unwrap());
    assert_eq!(status["grantedBy"]["username"], "ex-alice");
    assert_eq!(active(plane, "granted").2, format!("Granted by \"ex-alice\"; it ends at {expires}."));
    assert!(status["signature"].as_str().is_some_and(|signature| signature.len() > 80), "{status}");

    let records = bed.gate.records(&["--name", "granted"]);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (&record["decision"], &record["request"]["userInfo"]["username"]),
        (&json!("allow"), &json!("ex-alice"))
    );
    assert_eq!(record["exception"]["uid"], stored["metadata"]["uid"]);
    assert_eq!(record["exception"]["specHash"], status["specHash"]);
    assert_eq!(record["exception"]["spec"]["ticket"], "OPS-1");

    let table = plane.kubectl(&["get", "gexc", "granted"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "REASON", "EXPIRES", "GRANTED-BY", "ACTIVE", "AGE"]);
    assert_eq!(lines[1][..5], ["granted", "security", expires, "ex-alice", "True"]);
    let explained = plane.kubectl(&["explain", "gateexception.spec.reason"]).stdout;
    assert!(explained.contains("grant-incident"), "{explained}");
    let (code, story, _) = bed.gate.run(&["audit", "verify", "--store", &bed.gate.store()]);
    assert_eq!(code, Some(0), "{story}");
}

fn deploys(bed: &Bed) {
    let plane = &bed.plane;
    bed.production("ex-deploy");
    let old = |name: &str| deployment(name, &bed.old);
    let refused = |name: &str| bed.denied(&bed.create("ex-deploy", &old(name)), "container", "app");
    let except = |name: &str, target: &str, change: Value| {
        let mut object = exception(name, "security", &["ex-deploy"], 24);
        object["spec"]["targets"][0]["name"] = json!(target);
        for (field, value) in change.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let said = create_as(plane, "admin", &object);
        assert!(said.success, "{}", said.stderr);
        wait_until_active(plane, name);
    };
    refused("app");
    except("deploy", "app", json!({}));
    let warnings = allowed(&bed.create("ex-deploy", &old("app")));
    assert_eq!(
        warnings,
        ["freshgate: app:1 was built 112 days ago, limit 90 days; an exception lets it pass (policy \"production\")"]
    );
    assert_eq!(bed.gate.records(&["--namespace", "ex-deploy", "--name", "app"])[0]["decision"], "warn");
    refused("other");
    bed.denied(&bed.create("ex-deploy", &pod("app", &bed.old)), "container", "app");

    except("deploy-rule", "rule", json!({"rules": ["errorBudget"]}));
    refused("rule");
    except("deploy-digest", "digest", json!({"digest": format!("sha256:{}", "0".repeat(64))}));
    refused("digest");
    except("deploy-digest-too", "digest", json!({"digest": bed.old_digest}));
    allowed(&bed.create("ex-deploy", &old("digest")));
    let soon = (Utc::now() + TimeDelta::seconds(6)).to_rfc3339_opts(SecondsFormat::Secs, true);
    except("deploy-short", "short", json!({"expiresAt": soon}));
    let dry = || {
        plane
            .kubectl_as(
                "admin",
                &["-n", "ex-deploy", "create", "--dry-run=server", "-f", "-"],
                &old("short").to_string(),
            )
            .success
    };
    assert!(dry());
    wait_for("its end", || !dry());
    refused("short");
    wait_for("its condition", || active(plane, "deploy-short").1 == "Expired");
    // What is deleted ends with it.
    except("deploy-gone", "gone", json!({}));
    assert!(plane.kubectl(&["delete", "gexc", "deploy-gone"]).success);
    let dry = || {
        let object = old("gone").to_string();
        plane.kubectl_as("admin", &["-n", "ex-deploy", "create", "--dry-run=server", "-f", "-"], &object).success
    };
    wait_for("its end", || !dry());
}

fn without_verb(bed: &Bed) {
    let plane = &bed.plane;
    plane.namespace("ex-without", &[]);
    // Another reason's verb is not this one's.
    user(plane, "ex-bob", &[("other", "ex-without")]);
    let object = exception("without", "reliability-fix", &["ex-without"], 24);
    let message = refusal(&create_as(plane, "ex-bob", &object));
    let id = message.rsplit_once("decision ").unwrap().1;
    assert_eq!(
        message,
        format!(
            "exception: \"ex-bob\" may not grant exceptions with reason reliability-fix in namespace \"ex-without\": the verb grant-reliability-fix on gateexceptions.freshgate.dev is missing there.\n\
             Whoever administers access there can give it:\n  \
             kubectl -n ex-without create role grant-reliability-fix --verb=grant-reliability-fix --resource=gateexceptions.freshgate.dev\n  \
             kubectl -n ex-without create rolebinding grant-reliability-fix-ex-bob --role=grant-reliability-fix --user=ex-bob\n\
             decision {id}"
        )
    );
    let (code, shown, _) = bed.gate.run(&["audit", "show", id, "--store", &bed.gate.store(), "-o", "json"]);
    assert_eq!(code, Some(0));
    let record: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&record["decision"], &record["exception"]["name"]), (&json!("deny"), &json!("without")));
    assert_eq!(bed.gate.records(&["--rule", "exception", "--name", "without"]).len(), 1);

    // What the refusal says is what helps.
    for command in message.lines().filter_map(|line| line.trim().strip_prefix("kubectl ")) {
        let said = plane.kubectl(&command.split(' ').collect::<Vec<_>>());
        assert!(said.success, "{command}: {}", said.stderr);
    }
    wait_for("the permission", || create_as(plane, "ex-bob", &object).success);
    wait_until_active(plane, "without");
}

fn one_of_two(bed: &Bed) {
    let plane = &bed.plane;
    plane.namespace("ex-one", &[]);
    plane.namespace("ex-two", &[]);
    user(plane, "ex-carol", &[("security", "ex-one")]);
    let message = refusal(&create_as(plane, "ex-carol", &exception("both", "security", &["ex-one", "ex-two"], 24)));
    assert_eq!(message.matches("exception: ").count(), 1, "{message}");
    assert!(message.contains("in namespace \"ex-two\": the verb grant-security"), "{message}");
    assert!(allowed(&create_as(plane, "ex-carol", &exception("one", "security", &["ex-one"], 24))).is_empty());
}

/// Sends the gate a review past the API server, as whoever reaches its port can.
fn send(bed: &Bed, review: &Value) -> Value {
    let output = std::process::Command::new("curl")
        .args(["-sk", "--max-time", "20", "-H", "content-type: application/json", "-d", &review.to_string()])
        .arg(format!("{}?timeout=3s", bed.gate.url()))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A review is hearsay until its object is there, so what nobody stored grants nothing.
fn hearsay(bed: &Bed) {
    bed.production("ex-hearsay");
    let mut object = exception("hearsay", "incident", &["ex-hearsay"], 2);
    object["metadata"]["uid"] = json!("u1");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r1", "operation": "CREATE", "name": "hearsay", "object": object,
        "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"},
        "userInfo": {"username": "admin", "groups": ["system:masters"]},
    }});
    assert_eq!(send(bed, &review)["response"]["allowed"], true);
    bed.denied(&bed.create("ex-hearsay", &deployment("app", &bed.old)), "container", "app");
}

/// The API server stands still, and the gate is asked as it would have asked.
fn untold(bed: &Bed) {
    let mut object = exception("untold", "security", &["ex-untold"], 24);
    object["metadata"]["uid"] = json!("u1");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r1", "operation": "CREATE", "name": "untold", "object": object,
        "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"},
        "userInfo": {"username": "admin", "groups": ["system:masters"]},
    }});
    let ask = || send(bed, &review);
    bed.plane.api_server.stop();
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
    bed.plane.api_server.signal("CONT");
    let answer = answered.unwrap();
    let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
    assert_eq!(answer["response"]["allowed"], false);
    assert!(
        message.starts_with("exception: whether \"admin\" may grant exceptions with reason security in namespace \"ex-untold\" could not be told (the API server did not answer in time when asked for the permission grant-security in namespace \"ex-untold\"), and what cannot be told is refused; try again.\n"),
        "{message}"
    );
}

fn too_long(bed: &Bed) {
    let plane = &bed.plane;
    plane.namespace("ex-long", &["tier=ex-long"]);
    let limited = POLICY
        .replace("name: production", "name: ex-long")
        .replace("environment: production", "tier: ex-long")
        .replace("[Deny]\n", "[Deny]\n  exceptions: {maxDuration: {security: 2h}}\n");
    let said = plane.apply(&limited);
    assert!(said.success, "{}", said.stderr);
    wait_for("the policy", || {
        let object = exception("longer", "security", &["ex-long"], 24).to_string();
        !plane.kubectl_as("admin", &["create", "--dry-run=server", "-f", "-"], &object).success
    });
    for (reason, hours, words) in [
        ("security", 24, "and one with reason security may last 2 hours here (policy \"ex-long\"); write "),
        ("incident", 5, "and one with reason incident may last 4 hours here; write "),
        ("other", 24 * 4, "and one with reason other may last 3 days here; write "),
        ("other", -1, " is past; write "),
    ] {
        let message = refusal(&create_as(plane, "admin", &exception("longer", reason, &["ex-long"], hours)));
        assert!(message.starts_with("exception: spec.expiresAt: ") && message.contains(words), "{message}");
    }
    // One target elsewhere changes nothing: the strictest counts.
    plane.namespace("ex-free", &[]);
    let mixed = exception("mixed", "security", &["ex-free", "ex-long"], 24);
    assert!(refusal(&create_as(plane, "admin", &mixed)).contains("(policy \"ex-long\")"));
    assert!(allowed(&create_as(plane, "admin", &exception("free", "security", &["ex-free"], 24))).is_empty());
    assert!(plane.kubectl(&["delete", "gpol", "ex-long"]).success);
}

fn too_broad(bed: &Bed) {
    let create = |change: &dyn Fn(&mut Value)| {
        let mut object = exception("broad", "security", &["ex-broad"], 24);
        change(&mut object["spec"]);
        let said = create_as(&bed.plane, "admin", &object);
        assert!(!said.success, "{object}");
        said.stderr
    };
    let target =
        |namespace: &str, kind: &str, name: &str| json!([{"namespace": namespace, "kind": kind, "name": name}]);
    for (change, words) in [
        (
            json!({"targets": target("ex-broad", "Deployment", "*")}),
            "name: write one exact name; a glob or an empty name is for nothing",
        ),
        (
            json!({"targets": target("ex-*", "Deployment", "app")}),
            "namespace: write one exact name; a glob or an empty name is for nothing",
        ),
        (
            json!({"targets": target("ex-broad", "Deployments", "app")}),
            "\"Deployments\" is no kind that the gate judges; did you mean \"Deployment\"?",
        ),
        (json!({"targets": []}), "spec.targets"),
        (
            json!({"targets": (0..101).map(|index| json!({"namespace": "ex-broad", "kind": "Deployment", "name": format!("app-{index}")})).collect::<Vec<_>>()}),
            "must have at most 100 items",
        ),
        (json!({"targets": [target("a", "Job", "b")[0], target("a", "Job", "b")[0]]}), "Duplicate value"),
        (json!({"rules": ["licences"]}), "supported values: \"imageAge\", \"errorBudget\""),
        (
            json!({"reason": "boredom"}),
            "supported values: \"security\", \"incident\", \"reliability-fix\", \"dependency-outage\", \"other\"",
        ),
        (json!({"digest": "sha256:12"}), "digest: write sha256: and 64 lower-case hexadecimal digits"),
        (json!({"reason": "dependency-outage"}), "dependency: name the service that is out"),
        (json!({"text": " "}), "text: say in a sentence why the exception is needed"),
    ] {
        let said = create(&|spec| {
            for (field, value) in change.as_object().unwrap() {
                spec[field] = value.clone();
            }
        });
        assert!(said.contains(words), "{change}: {said}");
    }
    let hundred: Vec<Value> = (0..100)
        .map(|index| json!({"namespace": "ex-broad", "kind": "Deployment", "name": format!("app-{index}")}))
        .collect();
    let mut object = exception("hundred", "security", &[], 24);
    object["spec"]["targets"] = json!(hundred);
    assert!(allowed(&create_as(&bed.plane, "admin", &object)).is_empty());
}

fn edited(bed: &Bed) {
    let plane = &bed.plane;
    assert!(allowed(&create_as(plane, "admin", &exception("edited", "security", &["ex-edited"], 24))).is_empty());
    wait_until_active(plane, "edited");
    for patch in [
        json!({"spec": {"text": "something else"}}),
        json!({"spec": {"expiresAt": in_hours(48)}}),
        json!({"spec": {"targets": [{"namespace": "ex-edited", "kind": "Deployment", "name": "other"}]}}),
        json!({"spec": {"digest": format!("sha256:{}", "0".repeat(64))}}),
    ] {
        let said = plane.kubectl(&["patch", "gexc", "edited", "--type=merge", "-p", &patch.to_string()]);
        assert!(!said.success && said.stderr.contains("the spec of an exception cannot be changed"), "{}", said.stderr);
    }
    assert!(plane.kubectl(&["label", "gexc", "edited", "team=shop"]).success, "labels may");
}

/// Takes the webhook away while something is done, as an operator might, and puts it back.
fn while_unregistered<T>(bed: &Bed, act: impl FnOnce() -> T) -> T {
    let said = bed.plane.kubectl(&["get", "validatingwebhookconfiguration", "freshgate", "-o", "json"]);
    let mut configuration: Value = serde_json::from_str(&said.stdout).unwrap();
    let metadata = configuration["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| name == "name" || name == "labels");
    assert!(bed.plane.kubectl(&["delete", "validatingwebhookconfiguration", "freshgate"]).success);
    let glob = exception("probe", "boredom-is-refused-by-the-schema", &["x"], 24).to_string();
    assert!(!bed.plane.create(&glob).success);
    // The API server takes a moment to forget it: this one is past, which only the gate refuses.
    let past = exception("probe", "security", &["x"], -1).to_string();
    let passes = || bed.plane.kubectl_as("admin", &["create", "--dry-run=server", "-f", "-"], &past).success;
    wait_for("the webhook's end", passes);
    let done = act();
    let said = bed.plane.create(&configuration.to_string());
    assert!(said.success, "{}", said.stderr);
    wait_for("the webhook", || !passes());
    done
}

fn unseen(bed: &Bed) {
    let plane = &bed.plane;
    bed.production("ex-unseen");
    let deploy = || bed.create("ex-unseen", &deployment("app", &bed.old));
    assert!(allowed(&create_as(plane, "admin", &exception("seen", "security", &["ex-seen"], 24))).is_empty());
    wait_until_active(plane, "seen");
    while_unregistered(bed, || {
        for name in ["unseen", "copied"] {
            assert!(create_as(plane, "admin", &exception(name, "security", &["ex-unseen"], 24)).success);
        }
    });
    // The status of a good one, word for word.
    let status = get(plane, "seen")["status"].clone();
    let patch = json!({"status": status}).to_string();
    let said = plane.kubectl(&["patch", "gexc", "copied", "--subresource=status", "--type=merge", "-p", &patch]);
    assert!(said.success, "{}", said.stderr);
    for (name, reason, words) in [
        ("unseen", "NotGranted", "the gate did not see it being created, so nobody is known to have granted it"),
        ("copied", "", "Delete it and create it again while the gate runs."),
    ] {
        wait_for("the word of the gate", || active(plane, name).0 == "False");
        let (_, said, message) = active(plane, name);
        assert!(reason.is_empty() || said == reason, "{said}: {message}");
        assert!(message.starts_with("It has no effect: ") && message.contains(words), "{message}");
    }
    assert!(bed.metric("freshgate_exceptions_inert") >= 2.0);
    assert_eq!(active(plane, "seen").0, "True");
    bed.denied(&deploy(), "container", "app");
    // Created again, it is granted.
    assert!(plane.kubectl(&["delete", "gexc", "unseen", "copied"]).success);
    assert!(allowed(&create_as(plane, "admin", &exception("unseen", "security", &["ex-unseen"], 24))).is_empty());
    wait_until_active(plane, "unseen");
    allowed(&deploy());
}

/// On a control plane of its own, where the gate has only the permissions that it needs, and at first one less.
fn restarted(_: &Bed) {
    let program = Path::new(env!("CARGO_BIN_EXE_freshgate"));
    let plane = ControlPlane::start();
    let crds = std::process::Command::new(program).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    plane.add_user("gate", &[]);
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let rbac = |status_verbs: &[&str]| {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "gate"},
            "rules": [
                rule(&[""], &["namespaces", "nodes"], &["get", "list", "watch"]),
                rule(&["freshgate.dev"], &["gatepolicies", "gateexceptions"], &["get", "list", "watch"]),
                rule(&["freshgate.dev"], &["gateexceptions/status"], status_verbs),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
                rule(&[""], &["secrets"], &["get", "create"]),
                rule(
                    &["admissionregistration.k8s.io"],
                    &["validatingwebhookconfigurations"],
                    &["get", "create", "patch"],
                ),
            ],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "gate"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gate"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "gate"}],
        });
        let said = plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string());
        assert!(said.success, "{}", said.stderr);
    };
    rbac(&["get"]);
    let can = |verb: &str| {
        plane
            .kubectl_as("gate", &["auth", "can-i", verb, "gateexceptions.freshgate.dev", "--subresource=status"], "")
            .success
    };
    wait_for("the gate's permissions", || can("get"));
    let kubeconfig = plane.kubeconfig_of("gate");
    let args = ["--kubernetes", "--signing-secret", "freshgate-signing-key"];
    let registered = [&args[..], &REGISTERED].concat();
    let mut gate = Gate::start(program, &registered, &[("KUBECONFIG", &kubeconfig)]);
    let past = exception("probe", "security", &["x"], -1).to_string();
    wait_for("the webhook", || !plane.kubectl_as("admin", &["create", "--dry-run=server", "-f", "-"], &past).success);
    let said = create_as(&plane, "admin", &exception("survivor", "security", &["x"], 24));
    assert!(said.success, "{}", said.stderr);
    wait_for("the refused write", || gate.process.log().contains("the status of an exception cannot be written"));
    assert_eq!(get(&plane, "survivor").get("status"), None);

    gate.process.kill();
    rbac(&["get", "patch"]);
    wait_for("the permission", || can("patch"));
    gate.crash_and_restart();
    wait_until_active(&plane, "survivor");
    assert!(gate.process.log().contains("a grant was found in the audit"), "{}", gate.process.log());
    let status = get(&plane, "survivor")["status"].clone();
    assert_eq!(status["grantedBy"]["username"], "admin");
    // The same key signs before and after, because it is the Secret's. Its certificate is another.
    wait_for("the webhook", || {
        let said = plane.kubectl_as("admin", &["create", "--dry-run=server", "-f", "-"], &past);
        said.stderr.contains(" is past; write ")
    });
    let said = create_as(&plane, "admin", &exception("later", "security", &["x"], 24));
    assert!(said.success, "{}", said.stderr);
    wait_until_active(&plane, "later");
    assert_eq!(get(&plane, "later")["status"]["keyId"], status["keyId"]);
    let keys = gate.process.log().matches("a signing key was made").count();
    assert_eq!(keys, 1, "{}", gate.process.log());
    assert!(!gate.process.log().contains("PRIVATE KEY"));

    // Two that start at once, with no key there yet, end up with one.
    assert!(plane.kubectl(&["delete", "secret", "freshgate-signing-key"]).success);
    let key_id = || {
        let gate = Gate::start(program, &args, &[("KUBECONFIG", &kubeconfig)]);
        let log = gate.process.log();
        let (_, rest) = log.split_once("exceptions are signed key_id=").unwrap_or_else(|| panic!("{log}"));
        rest.lines().next().unwrap().to_owned()
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(key_id);
        (key_id(), other.join().unwrap())
    });
    assert_eq!(one, other);
    assert_ne!(Some(one.as_str()), status["keyId"].as_str());
}

fn events(bed: &Bed, namespace: &str) -> Vec<Value> {
    let said = bed.plane.kubectl(&["-n", namespace, "get", "events.events.k8s.io", "-o", "json"]);
    let list: Value = serde_json::from_str(&said.stdout).unwrap();
    let events = list["items"].as_array().cloned().unwrap_or_default();
    events.into_iter().filter(|event| event["reportingController"] == "freshgate.dev/gate").collect()
}

fn break_glass(bed: &Bed) {
    let plane = &bed.plane;
    bed.production("ex-glass");
    allowed(&bed.create("ex-glass", &deployment("app", &bed.fresh)));
    user(plane, "ex-dora", &[("incident", "ex-glass")]);
    let object = exception("glass", "incident", &["ex-glass"], 2);
    let expires = object["spec"]["expiresAt"].as_str().unwrap();
    assert_eq!(
        allowed(&create_as(plane, "ex-dora", &object)),
        [format!("freshgate: break-glass works from now until {expires}; an Event on its workload says so")]
    );
    // At once: the next request passes, whatever becomes of the status.
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.old}]}}}});
    allowed(&bed.patch("ex-glass", "deployment/app", &image));
    wait_for("the Event", || !events(bed, "ex-glass").is_empty());
    let event = events(bed, "ex-glass").remove(0);
    assert_eq!((&event["reason"], &event["type"]), (&json!("BreakGlass"), &json!("Warning")));
    assert_eq!(
        event["note"],
        format!(
            "Break-glass: \"ex-dora\" granted GateException \"glass\" for imageAge until {expires}: closes a hole (OPS-1)"
        )
    );
    // `kubectl describe` shows it.
    let described = plane.kubectl(&["-n", "ex-glass", "describe", "deployment", "app"]).stdout;
    assert!(described.contains("BreakGlass"), "{described}");
    assert!(bed.metric("freshgate_exceptions_granted_total{reason=\"incident\"}") >= 1.0);
    let log = bed.gate.process.log();
    assert!(log.lines().any(|line| line.contains("break-glass") && line.contains("ex-dora")), "{log}");
    assert_eq!(bed.gate.records(&["--name", "glass"])[0]["exception"]["breakGlass"], true);
    wait_until_active(plane, "glass");
}

fn dry_run(bed: &Bed) {
    let plane = &bed.plane;
    let object = exception("dry", "incident", &["ex-dry"], 1).to_string();
    let before = bed.metric("freshgate_exceptions_granted_total{reason=\"incident\"}");
    let said = plane.kubectl_as("admin", &["create", "--dry-run=server", "-f", "-"], &object);
    assert!(said.success, "{}", said.stderr);
    assert_eq!(bed.gate.records(&["--name", "dry"]), Vec::<Value>::new());
    assert!((bed.metric("freshgate_exceptions_granted_total{reason=\"incident\"}") - before).abs() < 0.5);
    user(plane, "ex-eve", &[]);
    let said = plane.kubectl_as("ex-eve", &["create", "--dry-run=server", "-f", "-"], &object);
    assert!(refusal(&said).ends_with("dry run, not recorded"), "{}", said.stderr);
}

fn denial_event(bed: &Bed) {
    bed.production("ex-denied");
    let first = bed.denied(&bed.create("ex-denied", &deployment("app", &bed.old)), "container", "app");
    wait_for("the Event", || !events(bed, "ex-denied").is_empty());
    let event = events(bed, "ex-denied").remove(0);
    assert_eq!((&event["reason"], &event["regarding"]["name"]), (&json!("DeployDenied"), &json!("app")));
    assert!(event["note"].as_str().unwrap().contains(&first), "{event}");
    // The same denial is said once.
    bed.denied(&bed.create("ex-denied", &deployment("app", &bed.old)), "container", "app");
    bed.denied(&bed.create("ex-denied", &pod("other", &bed.old)), "container", "app");
    wait_for("the other Event", || events(bed, "ex-denied").iter().any(|event| event["regarding"]["name"] == "other"));
    assert_eq!(events(bed, "ex-denied").len(), 2);
}
