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
    ("an_operators_own_objects_are_judged_mildly", operators),
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
    let api_version = match kind {
        "Operator" => "example.com/v1",
        "ConfigMap" => "v1",
        _ => "apps/v1",
    };
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": kind, "name": owner, "uid": uid, "controller": true}]);
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
    // No such kind, and kinds that control no Pods.
    for (name, kind, owner) in [
        ("made-up", "Operator", "x"),
        ("config-map", "ConfigMap", "kube-root-ca.crt"),
        ("deployment", "Deployment", "real"),
    ] {
        let object = owned_pod(name, &bed.old, kind, owner, &uid);
        bed.denied(&bed.create("forged", &object), "container", "app");
    }
    allowed(&bed.create("forged", &owned_pod("genuine", &bed.fresh, "ReplicaSet", "real", &uid)));
    // A workload that names another one, which runs the old image already, as its controller.
    bed.with_history("forged-too", &[deployment("running", &bed.old)]);
    let uid = bed.get("forged-too", "deployment/running")["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut copy = deployment("copy", &bed.old);
    copy["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "running", "uid": uid, "controller": true}]);
    bed.denied(&bed.create("forged-too", &copy), "container", "app");
    // A ReplicaSet may be its Deployment's, a Pod with other images is not.
    let set = bed.plane.kubectl(&["-n", "forged-too", "get", "replicasets", "-o", "jsonpath={.items[0].metadata}"]);
    let set: Value = serde_json::from_str(&set.stdout).unwrap();
    let (name, uid) = (set["name"].as_str().unwrap(), set["uid"].as_str().unwrap());
    let mut swapped = owned_pod("swapped", &bed.old, "ReplicaSet", name, uid);
    swapped["spec"]["containers"][0]["image"] = json!(bed.old.replace("shop/app", "shop/other"));
    assert!(
        !bed.create("forged-too", &swapped).success || {
            // What cannot be found is an unknown, which warns: it must not pass as the ReplicaSet's.
            bed.gate.records(&["--namespace", "forged-too", "--name", "swapped"])[0]["decision"] == "warn"
        }
    );
}

/// An operator's object that exists makes its Pods under `unknownOwners`.
fn operators(bed: &Bed) {
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "operators.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "operators", "kind": "Operator"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    assert!(bed.plane.apply(&crd.to_string()).success);
    assert!(bed.plane.kubectl(&["wait", "--for=condition=Established", "crd/operators.example.com"]).success);
    bed.production("operators");
    let object = json!({"apiVersion": "example.com/v1", "kind": "Operator", "metadata": {"name": "x"}});
    wait_for("the new kind", || bed.create("operators", &object).success);
    let uid = bed.get("operators", "operator/x")["metadata"]["uid"].as_str().unwrap().to_owned();
    // It warns by default, but has no warnings: they would fill its controller's log.
    assert!(allowed(&bed.create("operators", &owned_pod("genuine", &bed.old, "Operator", "x", &uid))).is_empty());
    let record = &bed.gate.records(&["--namespace", "operators", "--name", "genuine"])[0];
    assert_eq!(record["decision"], "warn");
    let nobody = "00000000-0000-0000-0000-000000000000";
    bed.denied(&bed.create("operators", &owned_pod("forged", &bed.old, "Operator", "x", nobody)), "container", "app");
    bed.denied(&bed.create("operators", &owned_pod("absent", &bed.old, "Operator", "y", &uid)), "container", "app");
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
    // In the place of what the controller runs it is no sidecar.
    let alone = owned_pod("alone", &bed.old, "ReplicaSet", "real", &uid);
    bed.denied(&bed.create("sidecar", &alone), "container", "app");
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
