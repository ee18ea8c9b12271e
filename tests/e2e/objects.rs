//! Every kind and every place an image can hide in, and every claim an object can make of itself.

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, deployment, job, pod, template, workload};
use crate::cluster::control_plane::wait_for;

pub const SCENARIOS: &[Scenario] = &[
    ("every_kind_is_judged", kinds),
    ("an_old_image_is_found_in_every_place", places),
    ("an_ephemeral_container_is_judged", ephemeral),
    ("a_forged_owner_does_not_help", forged),
    ("an_injected_sidecar_passes_with_its_owner", sidecar),
    ("a_terminating_object_gets_no_free_pass", terminating),
    ("a_pod_without_a_name_yet_is_judged", generated_name),
    ("labels_and_annotations_of_a_workload_loosen_nothing", labels),
    ("other_kinds_and_namespaces_pass", others),
];

fn kinds(bed: &Bed) {
    bed.production("kinds");
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "app"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job("x", &bed.old)["spec"]}},
    });
    let mut controller = workload("v1", "ReplicationController", "app", &bed.old);
    controller["spec"]["selector"] = json!({"app": "app"});
    for object in [
        deployment("app", &bed.old),
        workload("apps/v1", "ReplicaSet", "app", &bed.old),
        workload("apps/v1", "StatefulSet", "app", &bed.old),
        workload("apps/v1", "DaemonSet", "app", &bed.old),
        job("app", &bed.old),
        cron,
        controller,
        pod("app", &bed.old),
    ] {
        bed.denied(&bed.create("kinds", &object), "container", "app");
    }
}

fn places(bed: &Bed) {
    bed.production("places");
    let with = |name: &str, part: Value| {
        let mut object = deployment(name, &bed.fresh);
        let spec = object["spec"]["template"]["spec"].as_object_mut().unwrap();
        spec.extend(part.as_object().unwrap().clone());
        bed.create("places", &object)
    };
    bed.denied(
        &with("init", json!({"initContainers": [{"name": "migrate", "image": bed.old}]})),
        "init container",
        "migrate",
    );
    bed.denied(
        &with("volume", json!({"volumes": [{"name": "models", "image": {"reference": bed.old}}]})),
        "image volume",
        "models",
    );
    let second = json!({"containers": [{"name": "app", "image": bed.fresh}, {"name": "side", "image": bed.old}]});
    bed.denied(&with("second", second), "container", "side");
}

fn ephemeral(bed: &Bed) {
    bed.production("ephemeral");
    allowed(&bed.create("ephemeral", &pod("app", &bed.fresh)));
    let debug = |pod: &str, image: &str| {
        let patch =
            json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image, "targetContainerName": "app"}]}});
        bed.plane.kubectl(&[
            "-n",
            "ephemeral",
            "patch",
            pod,
            "--subresource=ephemeralcontainers",
            "--type=strategic",
            "-p",
            &patch.to_string(),
        ])
    };
    bed.denied(&debug("pod/app", &bed.old), "ephemeral container", "debug");
    allowed(&debug("pod/app", &bed.fresh_too));
    // A Pod of a Deployment is not its controller's word for what somebody puts into it.
    allowed(&bed.create("ephemeral", &deployment("owned", &bed.fresh)));
    let owned = || {
        let names = bed.plane.kubectl(&["-n", "ephemeral", "get", "pods", "-o", "name"]).stdout;
        names.lines().find(|name| name.contains("owned")).map(str::to_owned)
    };
    wait_for("the Deployment's Pod", || owned().is_some());
    bed.denied(&debug(&owned().unwrap(), &bed.old), "ephemeral container", "debug");
}

fn owned_pod(name: &str, image: &str, kind: &str, owner: &str, uid: &str) -> Value {
    let mut object = pod(name, image);
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": if kind == "Operator" { "example.com/v1" } else { "apps/v1" }, "kind": kind, "name": owner, "uid": uid, "controller": true}]);
    object
}

fn forged(bed: &Bed) {
    bed.production("forged");
    allowed(&bed.create("forged", &workload("apps/v1", "ReplicaSet", "real", &bed.fresh)));
    let uid = bed.get("forged", "replicaset/real")["metadata"]["uid"].as_str().unwrap().to_owned();
    let nobody = "00000000-0000-0000-0000-000000000000";
    bed.denied(
        &bed.create("forged", &owned_pod("no-such-owner", &bed.old, "ReplicaSet", "absent", nobody)),
        "container",
        "app",
    );
    bed.denied(
        &bed.create("forged", &owned_pod("wrong-uid", &bed.old, "ReplicaSet", "real", nobody)),
        "container",
        "app",
    );
    // An owner of an unknown kind warns by default, but has no warnings: they would fill its controller's log.
    assert!(allowed(&bed.create("forged", &owned_pod("operators", &bed.old, "Operator", "x", nobody))).is_empty());
    let record = &bed.gate.records(&["--namespace", "forged", "--name", "operators"])[0];
    assert_eq!(record["decision"], "warn");
    allowed(&bed.create("forged", &owned_pod("genuine", &bed.fresh, "ReplicaSet", "real", &uid)));
}

fn sidecar(bed: &Bed) {
    bed.production("sidecar");
    allowed(&bed.create("sidecar", &workload("apps/v1", "ReplicaSet", "real", &bed.fresh)));
    let uid = bed.get("sidecar", "replicaset/real")["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut object = owned_pod("injected", &bed.fresh, "ReplicaSet", "real", &uid);
    object["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": bed.old}));
    assert!(allowed(&bed.create("sidecar", &object)).is_empty());
    let record = &bed.gate.records(&["--namespace", "sidecar", "--name", "injected"])[0];
    assert_eq!(record["decision"], "warn");
    assert_eq!(record["rules"][0]["properties"]["container"], "proxy");
}

fn terminating(bed: &Bed) {
    bed.production("terminating");
    let mut object = deployment("app", &bed.fresh);
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    allowed(&bed.create("terminating", &object));
    assert!(bed.plane.kubectl(&["-n", "terminating", "delete", "deployment/app", "--wait=false"]).success);
    let said = bed.plane.kubectl(&["-n", "terminating", "set", "image", "deployment/app", &format!("app={}", bed.old)]);
    bed.denied(&said, "container", "app");
    // Letting it go is no change of what runs.
    allowed(&bed.patch("terminating", "deployment/app", &json!({"metadata": {"finalizers": null}})));
}

fn generated_name(bed: &Bed) {
    bed.production("generated");
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "run-"}, "spec": template(&bed.old)["spec"]});
    bed.denied(&bed.create("generated", &object), "container", "app");
    assert_eq!(bed.gate.records(&["--namespace", "generated"])[0]["request"]["name"], "run-*");
}

fn labels(bed: &Bed) {
    bed.production("labels");
    let mut object = deployment("app", &bed.old);
    for part in ["labels", "annotations"] {
        object["metadata"][part] = json!({"freshgate.dev/ignore": "true", "freshgate.dev/verified": "true", "environment": "test",
            "kubernetes.io/config.mirror": "x", "helm.sh/hook": "pre-install"});
    }
    bed.denied(&bed.create("labels", &object), "container", "app");
    let mut mirror = pod("mirror", &bed.old);
    mirror["metadata"]["annotations"] = json!({"example.com/x": "y"});
    bed.denied(&bed.create("labels", &mirror), "container", "app");
}

fn others(bed: &Bed) {
    bed.plane.namespace("others", &[]);
    assert!(allowed(&bed.create("others", &deployment("app", &bed.old))).is_empty());
    assert!(bed.plane.kubectl(&["-n", "others", "create", "configmap", "x", "--from-literal=a=b"]).success);
}
