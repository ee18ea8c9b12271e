//! Reviews over the wire: bad bodies, bad references, many at once.

use std::path::Path;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::gate::Gate;
use crate::cluster::image::{Config, entry, index};
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_freshgate");

pub const POLICY: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production}
spec:
  validationActions: [Deny]
  imageAge: {maxAge: 90d, onUnknown: Deny}
";

/// A folder with one policy.
pub fn policies(policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    folder
}

pub fn gate(policy: &str, insecure: &[String]) -> (Gate, tempfile::TempDir) {
    install_tls();
    let folder = policies(policy);
    let mut args = vec!["--policies".to_owned(), folder.path().display().to_string()];
    for host in insecure {
        args.extend(["--insecure-registry".to_owned(), host.clone()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    (Gate::start(Path::new(PROGRAM), &args, &[]), folder)
}

pub fn review(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": format!("uid-{name}"), "operation": "CREATE", "name": name, "namespace": "shop",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "userInfo": {"username": "alice", "groups": ["developers"]},
            "object": {"metadata": {"name": name}, "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}},
        },
    })
}

async fn post(gate: &Gate, body: impl Into<reqwest::Body>) -> (u16, String) {
    let client = gate.client();
    let answer = client.post(gate.url()).header("content-type", "application/json").body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn decide(gate: &Gate, review: &Value) -> Value {
    let (status, body) = post(gate, review.to_string()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_review_gets_400_with_the_place() {
    let (gate, _policies) = gate(POLICY, &[]);
    let good = review("x", "registry.example/x:1");
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string()
    };
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_object = good
        .to_string()
        .replace("\"containers\"", &format!("\"x\":{},\"containers\"", "[".repeat(500) + &"]".repeat(500)));
    for (body, said) in [
        ("{".to_owned(), "body: it is no AdmissionReview: EOF while parsing an object at line 1 column 1"),
        (String::new(), "body: it is no AdmissionReview: EOF while parsing a value at line 1 column 0"),
        ("{}".to_owned(), "kind: expected \"AdmissionReview\", found \"\""),
        (
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "apiVersion: expected \"admission.k8s.io/v1\", found \"admission.k8s.io/v1beta1\"; set admissionReviewVersions: [v1]",
        ),
        (with("/request", json!(null)), "request: it is missing; only requests are answered"),
        (with("/request/uid", json!("")), "request.uid: it is empty"),
        (
            with("/request/operation", json!("PATCH")),
            "request.operation: \"PATCH\" is none of CREATE, UPDATE, DELETE and CONNECT",
        ),
        (with("/request/object", json!(null)), "request.object: it is missing"),
        (with("/request/operation", json!("UPDATE")), "request.oldObject: it is missing"),
        (with("/request/object", json!([])), "request.object: invalid type: sequence, expected a Kubernetes object"),
        (
            with("/request/object/spec/template", json!({"spec": 3})),
            "request.object.spec.template.spec: invalid type: integer `3`, expected a Pod spec",
        ),
        (
            deep,
            "body: it is no AdmissionReview: invalid type: sequence, expected an AdmissionReview at line 1 column 0",
        ),
    ] {
        assert_eq!(post(&gate, body).await, (400, format!("{said}\n")));
    }
    let (status, _) = post(&gate, deep_object).await;
    assert!(status == 200 || status == 400, "deep nesting is an answer, not a crash: {status}");
    assert_eq!(post(&gate, vec![b' '; 8 << 20]).await, (413, "a review may have 7 MiB\n".to_owned()));
    assert_eq!(decide(&gate, &good).await["response"]["uid"], "uid-x", "it still answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_not_judged_passes_with_an_annotation() {
    let (gate, _policies) = gate(POLICY, &[]);
    let mut other = review("x", "registry.example/x:1");
    other["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let expected = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": "uid-x", "allowed": true, "auditAnnotations": {"not-judged": "the gate does not judge ConfigMap"}},
    });
    assert_eq!(decide(&gate, &other).await, expected);
    assert_eq!(gate.records(&[]), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_are_nonsense_are_refused_in_words() {
    let (gate, _policies) = gate(POLICY, &[]);
    for (image, words) in [
        (
            "not a reference",
            "has no known build date (InvalidReference): \"not a reference\" is not an image reference: expected [registry/]repository[:tag][@algorithm:hex]",
        ),
        (
            "[::1]:5000/x",
            "is not an image reference: IPv6 addresses are not allowed as a registry, name the registry by a host name",
        ),
        ("registry.example/App:1", "is not an image reference: repository names are lower case"),
        (
            "169.254.169.254/x",
            "has no known build date (NotAllowed): 169.254.169.254 is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP",
        ),
        (
            "localhost/x",
            "has no known build date (NotAllowed): localhost is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP",
        ),
    ] {
        let answer = decide(&gate, &review("x", image)).await;
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(answer["response"]["status"]["code"], 403);
        assert_eq!(answer["response"]["status"]["reason"], "Forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn integrity_failures_are_refused_whatever_the_policy_says_of_unknowns() {
    let real = Registry::distribution();
    let image = Config::created("app", "2026-11-01T00:00:00Z").image();
    real.push("app", "1", &image);
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Corrupt);
    let (gate, _policies) = gate(&POLICY.replace("onUnknown: Deny", "onUnknown: Allow"), &[faulty.host()]);
    let reference = format!("{}/app@{}", faulty.host(), image.digest);
    let answer = decide(&gate, &review("x", &reference)).await;
    let id = answer["response"]["auditAnnotations"]["decision-id"].as_str().unwrap();
    assert_eq!(
        answer["response"]["status"]["message"],
        format!(
            "binary-age: image {host}/app@{short}… (container \"app\") is not what its digest says: {host} serves other bytes than {digest} names (policy \"production\").\n\
             Have the registry looked at before anything is pulled from it: rebuilding does not help.\n\
             decision {id} · ask whoever owns policy \"production\"",
            host = faulty.host(),
            digest = image.digest,
            short = &image.digest[..19],
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_reviews_of_one_unknown_digest_cost_one_look_up() {
    let real = Registry::distribution();
    let image = Config::created("app", &(Utc::now() - TimeDelta::days(3)).to_rfc3339()).image();
    real.push("app", "1", &image);
    let faulty = FaultyRegistry::before(&real.host()).await;
    let (gate, _policies) = gate(POLICY, &[faulty.host()]);
    let reference = format!("{}/app@{}", faulty.host(), image.digest);
    let client = gate.client();
    let calls = (0..500).map(|number| {
        let (client, url, body) =
            (client.clone(), gate.url(), review(&format!("app-{number}"), &reference).to_string());
        async move {
            let answer = client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
            answer.json::<Value>().await.unwrap()["response"]["allowed"] == true
        }
    });
    let allowed = futures::future::join_all(calls).await;
    assert!(allowed.iter().all(|allowed| *allowed));
    let seen = faulty.take_seen();
    let count = |part: &str| seen.iter().filter(|seen| seen.path.contains(part)).count();
    assert_eq!((count("/manifests/"), count("/blobs/")), (1, 1));
    assert_eq!(gate.records(&["--limit", "1000"]).len(), 500);
    let store = gate.store();
    let (code, stdout, _) = gate.run(&["audit", "verify", "--store", &store]);
    assert_eq!(code, Some(0), "{stdout}");
}

/// R6 over the wire: a registry that went away leaves what is known of a digest, and the record says since when.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_went_away_leaves_what_is_known_of_a_digest() {
    let real = Registry::distribution();
    let image = Config::created("app", &(Utc::now() - TimeDelta::days(3)).to_rfc3339()).image();
    real.push("app", "1", &image);
    let faulty = FaultyRegistry::before(&real.host()).await;
    let (gate, _policies) = gate(POLICY, &[faulty.host()]);
    let known = format!("{}/app@{}", faulty.host(), image.digest);
    assert_eq!(decide(&gate, &review("warm", &known)).await["response"]["allowed"], true);
    faulty.set(Fault::BlackHole);
    assert_eq!(decide(&gate, &review("known", &known)).await["response"]["allowed"], true);
    let recorded = |name: &str| {
        let record = gate.records(&["--name", name]).remove(0);
        let fetched_at = record["inputs"]["evidence"]["images"][&known]["known"]["fetchedAt"].clone();
        assert!(fetched_at.is_string(), "{record}");
        (record["images"][0]["cache"].clone(), fetched_at)
    };
    let (warm, after) = (recorded("warm"), recorded("known"));
    // A digest never comes to mean anything else, so what is known of it does not get stale.
    assert_eq!((&warm.0, &after.0), (&json!("fetched"), &json!("cached")));
    assert_eq!(warm.1, after.1, "it was asked once");
}

/// R1: an answer comes before the API server gives up, though the registry never gives one.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_nothing_costs_no_answer() {
    let real = Registry::distribution();
    let (old, new) = (Utc::now() - TimeDelta::days(400), Utc::now() - TimeDelta::days(3));
    let amd64 = Config::created("amd64", &old.to_rfc3339()).image();
    let arm64 = Config::created("arm64", &new.to_rfc3339()).image();
    let both = index(vec![entry("amd64", amd64), entry("arm64", arm64.clone())], &json!({}));
    real.push("app", "1", &both);
    let (silent, slow) = (FaultyRegistry::before(&real.host()).await, FaultyRegistry::before(&real.host()).await);
    silent.set(Fault::BlackHole);
    slow.set(Fault::BlackHole.at(&arm64.digest));
    let (gate, _policies) = gate(POLICY, &[silent.host(), slow.host()]);
    let answers = [2, 5, 10].map(|seconds| {
        let (gate, unknown) = (&gate, format!("{}/app@sha256:{seconds:064}", silent.host()));
        async move {
            let body = review(&format!("within-{seconds}"), &unknown).to_string();
            let call = gate.client().post(format!("{}?timeout={seconds}s", gate.url()));
            // As the API server does, which then calls it failed.
            let call = call.timeout(Duration::from_secs(seconds)).header("content-type", "application/json").body(body);
            call.send().await.unwrap().json::<Value>().await.unwrap()
        }
    });
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.contains("(Unreachable)"), "{message}");
        assert!(message.contains("Try again when the registry answers"), "{message}");
    }
    // One platform that says nothing does not hide that another is too old.
    let answer = decide(&gate, &review("both", &format!("{}/app@{}", slow.host(), both.digest))).await;
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("was built 400 days ago"), "{message}");
}
