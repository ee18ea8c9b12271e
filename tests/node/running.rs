//! What runs goes on: a node is drained and comes back, jobs are due, rollouts are half done, and all of it is too old.
//! Once with the gate up, once with it gone under Fail.

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment, pod, template, wait_until_refused};
use crate::cluster::control_plane::wait_for;
use crate::release::{FAIL, Release};

pub const SCENARIOS: &[Scenario] =
    &[("what_runs_comes_back_after_a_drain_with_the_gate_up_and_with_it_gone", comes_back)];

const PLACE: &str = "running";

fn comes_back(bed: &Bed) {
    let release = Release::install(bed, FAIL);
    let node = &bed.node;
    // All this ran before the policy was for its namespace.
    node.namespace(PLACE, &[]);
    inject_sidecars(bed);
    make_operator(bed);
    for object in workloads(bed) {
        let said = bed.create(PLACE, &object);
        assert!(said.success, "{}", said.stderr);
    }
    for workload in ["deployment/web", "deployment/meshed", "statefulset/data", "daemonset/agent"] {
        bed.wait_until_available(PLACE, workload);
    }
    // Half of the set is at the next image, which is as old.
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": bed.old}]}}}});
    node.get(&["-n", PLACE, "patch", "statefulset", "data", "-p", &image.to_string()]);
    wait_for("half a rollout", || images(bed, "app=data") == [bed.older.clone(), bed.old.clone()]);
    operate(bed);
    node.get(&["label", "namespace", PLACE, "environment=production"]);
    wait_until_refused("the policy to be for it", "was built 112 days ago", || {
        bed.try_to_create(PLACE, &pod("probe", &bed.old))
    });

    let judged = release.sum("freshgate_answers_total");
    // The gate itself stays, so that it is asked about all that is made meanwhile.
    survives(bed, &["--pod-selector=app.kubernetes.io/name!=freshgate"]);
    assert!(release.sum("freshgate_answers_total") > judged, "the gate was asked about what came back");
    node.get(&["-n", PLACE, "scale", "deployment", "web", "--replicas=3"]);
    bed.wait_until_available(PLACE, "deployment/web");

    release.scale(0);
    wait_until_refused("a refusal", "failed calling webhook", || bed.try_to_create(PLACE, &pod("probe", &bed.fresh)));
    survives(bed, &[]);
    node.get(&["-n", PLACE, "scale", "deployment", "web", "--replicas=2"]);
    bed.wait_until_available(PLACE, "deployment/web");
    node.get(&["-n", PLACE, "annotate", "deployment", "web", "note=some"]);

    release.scale(1);
    wait_until_refused("the gate to guard again", "was built 112 days ago", || {
        bed.try_to_create(PLACE, &pod("probe", &bed.old))
    });
    remove_sidecars(bed);
    bed.remove_namespace(PLACE);
    node.get(&["delete", "crd", "shops.example.dev"]);
}

/// Takes everything off the node and lets it come again.
fn survives(bed: &Bed, drain: &[&str]) {
    let before = all_pods(bed);
    let jobs = finished_jobs(bed);
    bed.node.drain(drain);
    wait_for("the old Pods to be gone", || {
        let now = all_pods(bed);
        // A DaemonSet's Pods are left where they are.
        before.iter().all(|(uid, name)| {
            name.starts_with("agent-") || name.starts_with("tick-") || !now.iter().any(|(other, _)| other == uid)
        })
    });
    bed.node.uncordon();
    operate(bed);
    for workload in ["deployment/web", "deployment/meshed", "statefulset/data", "daemonset/agent"] {
        bed.wait_until_available(PLACE, workload);
    }
    assert_eq!(images(bed, "app=data"), [bed.older.clone(), bed.old.clone()], "the rollout stands where it stood");
    let meshed = images(bed, "app=meshed");
    assert_eq!(meshed, [bed.old.clone(), bed.older.clone()], "with what is injected into it");
    wait_for("the Job's next try", || bed.running(PLACE, "app=long").len() == 1);
    wait_for("the operator's Pod", || bed.running(PLACE, "app=operated").len() == 1);
    wait_for("the CronJob's next run", || finished_jobs(bed) > jobs);
}

/// UIDs and names.
fn all_pods(bed: &Bed) -> Vec<(String, String)> {
    let pods = bed.node.json(&["-n", PLACE, "get", "pods"]);
    let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
    pods["items"].as_array().unwrap().iter().map(|pod| (text(pod, "uid"), text(pod, "name"))).collect()
}

/// The images of Pods that are there to stay, by their names; each once where all are the same.
fn images(bed: &Bed, selector: &str) -> Vec<String> {
    let pods = bed.node.json(&["-n", PLACE, "get", "pods", "-l", selector]);
    let mut pods: Vec<&Value> = pods["items"].as_array().unwrap().iter().collect();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
    let containers = pods.iter().flat_map(|pod| pod["spec"]["containers"].as_array().unwrap());
    containers.map(|container| container["image"].as_str().unwrap().to_owned()).collect()
}

fn finished_jobs(bed: &Bed) -> usize {
    let jobs = bed.node.json(&["-n", PLACE, "get", "jobs", "-l", "app=tick"]);
    jobs["items"].as_array().unwrap().iter().filter(|job| job["status"]["succeeded"] == 1).count()
}

fn workloads(bed: &Bed) -> Vec<Value> {
    let old = bed.old.as_str();
    let mut web = deployment("web", old);
    web["spec"]["replicas"] = json!(2);
    let mut meshed = deployment("meshed", old);
    meshed["spec"]["template"]["metadata"]["labels"]["mesh"] = json!("yes");
    let selector = |app: &str| json!({"matchLabels": {"app": app}});
    let data = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "data"},
        "spec": {
            "replicas": 2, "serviceName": "data", "selector": selector("data"), "template": template("data", &bed.older),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
        },
    });
    let agent = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": selector("agent"), "template": template("agent", old)},
    });
    let mut trying = template("long", old);
    trying["spec"]["restartPolicy"] = json!("Never");
    // Whoever ends it has it fail, so that it is tried again.
    let working = "trap 'exit 1' TERM; while :; do sleep 1 & wait $!; done";
    trying["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", working]);
    let long = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "long"},
        "spec": {"template": trying, "backoffLimit": 100},
    });
    let mut due = template("tick", old);
    due["spec"]["restartPolicy"] = json!("Never");
    due["spec"]["containers"][0]["command"] = json!(["/bin/true"]);
    let tick = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
        "spec": {
            "schedule": "* * * * *", "successfulJobsHistoryLimit": 20,
            "jobTemplate": {"metadata": {"labels": {"app": "tick"}}, "spec": {"template": due}},
        },
    });
    vec![web, meshed, data, agent, long, tick]
}

/// A mesh as an API server has it: what it puts into Pods stands in no template.
fn inject_sidecars(bed: &Bed) {
    let sidecar = format!(
        "Object{{spec: Object.spec{{containers: [Object.spec.containers{{name: 'sidecar', image: '{}'}}]}}}}",
        bed.older
    );
    let policy = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "mesh"},
         "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "matchConditions": [{"name": "meshed", "expression": "object.metadata.?labels[?'mesh'].orValue('') == 'yes'"}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": sidecar}}],
         }},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "mesh"},
         "spec": {"policyName": "mesh"}},
    ]});
    bed.node.apply(&policy.to_string());
    let mut meshed = pod("meshed", &bed.fresh);
    meshed["metadata"]["labels"]["mesh"] = json!("yes");
    wait_for("the mesh", || {
        let args = ["-n", PLACE, "create", "--dry-run=server", "-o", "json", "-f", "-"];
        let said = bed.node.kubectl_with(&args, &meshed.to_string());
        said.success && said.stdout.contains("sidecar")
    });
}

fn remove_sidecars(bed: &Bed) {
    bed.node.get(&["delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", "mesh"]);
}

/// A kind of which the gate knows nothing, and one object of it.
fn make_operator(bed: &Bed) {
    bed.node.apply(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "shops.example.dev"},
        "spec": {
            "group": "example.dev", "scope": "Namespaced", "names": {"kind": "Shop", "plural": "shops", "singular": "shop"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }).to_string());
    let shop = json!({"apiVersion": "example.dev/v1", "kind": "Shop", "metadata": {"name": "corner"}});
    wait_for("the operator's kind", || bed.create(PLACE, &shop).success);
}

/// What its operator does: where its Pod is not there, it makes one.
fn operate(bed: &Bed) {
    if !bed.node.kubectl(&["-n", PLACE, "get", "pod", "operated"]).success {
        let shop = bed.node.json(&["-n", PLACE, "get", "shop", "corner"]);
        let mut operated = pod("operated", &bed.old);
        operated["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "example.dev/v1", "kind": "Shop", "name": "corner", "uid": shop["metadata"]["uid"], "controller": true,
        }]);
        let said = bed.create(PLACE, &operated);
        assert!(said.success, "the operator's Pod was refused: {}", said.stderr);
    }
}
