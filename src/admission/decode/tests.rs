//! What is read of a review, and what only looks as if it counted.

use serde_json::{Value, json};

use super::*;
use crate::subject::Place;

fn review(kind: (&str, &str), operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": kind.0, "version": "v1", "kind": kind.1}, "namespace": "shop",
            "name": object["metadata"]["name"].as_str().or(old["metadata"]["name"].as_str()).unwrap_or_default(),
            "operation": operation, "object": object, "oldObject": old,
            "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        },
    })
}

fn read(review: &Value, kinds: &WorkloadKinds) -> Subject {
    let body = review.to_string();
    decode(body.as_bytes(), kinds).unwrap().subject.unwrap()
}

fn subject(kind: (&str, &str), operation: &str, object: &Value, old: &Value) -> Subject {
    read(&review(kind, operation, object, old), &WorkloadKinds::default())
}

fn pod(metadata: &Value) -> Value {
    json!({"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "a:1"}]}})
}

fn deployment(metadata: &Value) -> Value {
    json!({"metadata": metadata, "spec": {"replicas": 1, "template": {
        "metadata": {"labels": {"app": "x", "number": 1}}, "spec": {"containers": [{"name": "app", "image": "a:1"}]},
    }}})
}

#[test]
fn only_a_kubelets_word_makes_a_mirror() {
    let object = pod(&json!({"name": "x", "annotations": {"kubernetes.io/config.mirror": "hash"}}));
    let by = |username: &str, groups: &Value| {
        let mut review = review(("", "Pod"), "CREATE", &object, &Value::Null);
        review["request"]["userInfo"] = json!({"username": username, "groups": groups});
        read(&review, &WorkloadKinds::default()).mirror
    };
    assert!(by("system:node:node1", &json!(["system:nodes", "system:authenticated"])));
    assert!(!by("alice", &json!(["system:authenticated"])));
    assert!(!by("system:node:node1", &json!(["system:authenticated"])));
    assert!(!by("alice", &json!(["system:nodes"])));
    let plain = subject(("", "Pod"), "CREATE", &pod(&json!({"name": "x"})), &Value::Null);
    assert!(!plain.mirror);
}

#[test]
fn only_a_job_can_be_a_hook() {
    for (annotation, is_hook) in
        [("helm.sh/hook", true), ("argocd.argoproj.io/hook", true), ("example.com/hook", false)]
    {
        let metadata = json!({"name": "x", "annotations": {annotation: "pre-upgrade"}});
        assert_eq!(
            subject(("batch", "Job"), "CREATE", &deployment(&metadata), &Value::Null).hook,
            is_hook,
            "{annotation}"
        );
        assert!(!subject(("apps", "Deployment"), "CREATE", &deployment(&metadata), &Value::Null).hook);
        assert!(!subject(("", "Pod"), "CREATE", &pod(&metadata), &Value::Null).hook);
    }
}

#[test]
fn a_name_is_what_was_given_or_the_prefix_it_was_made_from() {
    let named = |metadata: &Value, name: &str| {
        let mut review = review(("", "Pod"), "CREATE", &pod(metadata), &Value::Null);
        review["request"]["name"] = json!(name);
        read(&review, &WorkloadKinds::default()).name
    };
    assert_eq!(named(&json!({"generateName": "run-"}), ""), "run-*");
    assert_eq!(named(&json!({"generateName": "run-", "name": "run-x7k2p"}), "run-x7k2p"), "run-*");
    // Whoever names an object means that name, whatever prefix stands beside it.
    assert_eq!(named(&json!({"generateName": "run-", "name": "run-by-hand"}), "run-by-hand"), "run-by-hand");
    assert_eq!(named(&json!({"generateName": "other-", "name": "run-x7k2p"}), "run-x7k2p"), "run-x7k2p");
    assert_eq!(named(&json!({"generateName": "", "name": "x"}), "x"), "x");
}

#[test]
fn kinds_without_a_template_of_their_own_have_no_images() {
    // Argo's Rollout that refers to a Deployment: that one is judged.
    let rollout = json!({"metadata": {"name": "x"}, "spec": {"workloadRef": {"kind": "Deployment", "name": "x"}}});
    assert!(subject(("argoproj.io", "Rollout"), "CREATE", &rollout, &Value::Null).images.is_empty());
    let knative = deployment(&json!({"name": "x"}));
    assert_eq!(subject(("serving.knative.dev", "Service"), "CREATE", &knative, &Value::Null).images[0].image, "a:1");
    let body = review(("", "Service"), "CREATE", &json!({"metadata": {"name": "x"}}), &Value::Null).to_string();
    assert!(decode(body.as_bytes(), &WorkloadKinds::default()).unwrap().subject.is_none());
}

#[test]
fn other_kinds_are_read_where_their_template_stands() {
    let kinds = WorkloadKinds::with(vec![WorkloadKind::parse("example.com/Fleet=spec.inner.podTemplate").unwrap()]);
    let object = json!({"metadata": {"name": "x"}, "spec": {"inner": {"podTemplate": {"spec": {
        "initContainers": [{"name": "init", "image": "b:1"}],
    }}}}});
    let found = read(&review(("example.com", "Fleet"), "CREATE", &object, &Value::Null), &kinds);
    assert_eq!((found.images[0].place, found.images[0].image.as_str()), (Place::InitContainer, "b:1"));
}

#[test]
fn labels_are_told_from_those_that_were_there() {
    let object = |team: &str| deployment(&json!({"name": "x", "labels": {"team": team, "odd": 3}}));
    let same = subject(("apps", "Deployment"), "UPDATE", &object("a"), &object("a"));
    assert!(!same.is_relabelled() && same.template_unchanged());
    let other = subject(("apps", "Deployment"), "UPDATE", &object("b"), &object("a"));
    assert!(other.is_relabelled() && other.template_unchanged());
    let value = |labels: &ServiceLabels| labels.own.get("team").cloned();
    assert_eq!((value(&other.labels), value(other.old_labels.as_ref().unwrap())), (Some("b".into()), Some("a".into())));
    assert_eq!(other.labels.template.get("app").map(String::as_str), Some("x"));
    assert_eq!(other.labels.template.get("number"), None, "what is no text is no label");
}

#[test]
fn of_what_is_deleted_the_images_that_ran_are_known() {
    let gone = subject(("apps", "Deployment"), "DELETE", &Value::Null, &deployment(&json!({"name": "x"})));
    assert_eq!((gone.images.len(), gone.old_images.unwrap()[0].image.as_str()), (0, "a:1"));
    // A deletion that says nothing of the object is one all the same.
    let silent = subject(("apps", "Deployment"), "DELETE", &Value::Null, &Value::Null);
    assert_eq!((silent.operation, silent.old_images), (Operation::Delete, None));
}

#[test]
fn the_order_of_a_requests_members_does_not_count() {
    let object = deployment(&json!({"name": "x", "labels": {"team": "a"}})).to_string();
    let old = deployment(&json!({"name": "x"})).to_string().replace("a:1", "a:0");
    let kind = r#""kind":{"group":"apps","version":"v1","kind":"Deployment"}"#;
    let read = |members: &[&str]| {
        let body = format!(
            r#"{{"request":{{{}}},"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}}"#,
            members.join(",")
        );
        decode(body.as_bytes(), &WorkloadKinds::default()).map(|review| review.subject)
    };
    let (object, old) = (format!(r#""object":{object}"#), format!(r#""oldObject":{old}"#));
    let rest = r#""uid":"u","operation":"UPDATE","namespace":"shop","name":"x","dryRun":false,"options":{}"#;
    let first = read(&[kind, rest, &object, &old]).unwrap().unwrap();
    assert_eq!((first.images[0].image.as_str(), first.old_images.as_ref().unwrap()[0].image.as_str()), ("a:1", "a:0"));
    assert_eq!(read(&[&old, &object, rest, kind]).unwrap().unwrap(), first, "the kind may come last");

    for twice in [kind, &object, &old] {
        let error = read(&[kind, rest, &object, &old, twice]).unwrap_err();
        assert!(error.problem.contains("duplicate field"), "two readings of one review: {error}");
    }
    assert!(read(&[rest, &object, &old]).unwrap_err().problem.contains("missing field `kind`"));
    let unread = kind.replace("Deployment", "Other");
    assert!(read(&[&unread, rest, &object, &old]).unwrap().is_none());
}

#[test]
fn what_is_no_review_says_where() {
    let object = deployment(&json!({"name": "x"}));
    let good = || review(("apps", "Deployment"), "CREATE", &object, &Value::Null);
    let place = |change: &dyn Fn(&mut Value)| {
        let mut review = good();
        change(&mut review);
        decode(review.to_string().as_bytes(), &WorkloadKinds::default()).unwrap_err().place
    };
    assert_eq!(place(&|one| one["kind"] = json!("Pod")), "kind");
    assert_eq!(place(&|one| one["apiVersion"] = json!("admission.k8s.io/v1beta1")), "apiVersion");
    assert_eq!(place(&|one| one["request"] = Value::Null), "request");
    assert_eq!(place(&|one| one["request"]["uid"] = json!("")), "request.uid");
    assert_eq!(place(&|one| one["request"]["operation"] = json!("PATCH")), "request.operation");
    assert_eq!(place(&|one| one["request"]["object"] = Value::Null), "request.object");
    assert_eq!(place(&|one| one["request"]["operation"] = json!("UPDATE")), "request.oldObject");
    assert_eq!(
        place(&|one| one["request"]["object"]["spec"]["template"]["spec"] = json!(3)),
        "request.object.spec.template.spec"
    );
    assert_eq!(place(&|one| one["request"]["object"] = json!([])), "request.object");
    assert_eq!(place(&|one| one["request"]["object"]["metadata"]["name"] = json!(3)), "request.object.metadata.name");
    assert_eq!(place(&|one| one["request"]["object"]["spec"] = json!([])), "request.object.spec");
    assert_eq!(place(&|one| one["request"]["uid"] = json!(3)), "body");
}
