//! T22: a secret is planted wherever the gate meets one, and then looked for wherever the gate writes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::budgets::faults::{Fault as Misbehaviour, FaultyPrometheus, vector};
use super::reviews::{PROGRAM, review};
use crate::cluster::canary::{CANARY, assert_clean, basic, docker_config, files, found_in};
use crate::cluster::collector::{Collector, body};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

/// A policy of both rules, and a source that wants a token.
fn policies(prometheus: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let written = format!(
        "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {{name: production}}
spec:
  validationActions: [Deny]
  imageAge: {{maxAge: 90d, onUnknown: Deny}}
  errorBudget: {{sources: [slo]}}
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {{name: slo}}
spec:
  format: Sloth
  interval: 1s
  prometheus: {{url: '{prometheus}', timeout: 1s, bearer: {{file: token}}}}
  service: {{from: [WorkloadLabel], workloadLabel: app.kubernetes.io/name}}
"
    );
    std::fs::write(folder.path().join("policy.yaml"), written).unwrap();
    std::fs::write(folder.path().join("token"), CANARY).unwrap();
    folder
}

/// An object with the canary wherever a secret may stand in it.
fn planted(name: &str, image: &str, version: &str) -> Value {
    let secret = |what: &str| format!("{CANARY}-{what}-{version}");
    let container = json!({
        "name": "app", "image": image, "command": ["app", format!("--token={CANARY}")], "args": [secret("argument")],
        "env": [{"name": "PASSWORD", "value": secret("env")}],
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", secret("hook")]}}},
    });
    json!({
        "metadata": {
            "name": name, "annotations": {"note": secret("annotation"), "kubectl.kubernetes.io/last-applied-configuration": secret("applied")},
            "labels": {"app.kubernetes.io/name": "checkout", "note": secret("label")},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {secret("field"): {}}}],
        },
        "spec": {"template": {
            "metadata": {"annotations": {"note": secret("template")}, "labels": {"note": secret("template")}},
            "spec": {"containers": [container], "volumes": [{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"key": secret("volume")}}}]},
        }},
    })
}

/// A review of it, asked by somebody whose token and claims are secrets as well.
fn planted_review(name: &str, image: &str) -> Value {
    let mut review = review(name, image);
    review["request"]["object"] = planted(name, image, "new");
    review["request"]["userInfo"]["extra"] = json!({"authentication.example/token": [CANARY]});
    review
}

/// Asks and gives the whole answer, head and body.
async fn ask(client: &reqwest::Client, url: &str, body: String) -> String {
    let call =
        client.post(url).header("content-type", "application/json").header("authorization", format!("Bearer {CANARY}"));
    let call = call.header("cookie", format!("session={CANARY}"));
    let answer = call.body(body).send().await.unwrap();
    let head = format!("{} {:?}\n", answer.status(), answer.headers());
    head + &answer.text().await.unwrap()
}

/// A healthy budget of one service, or one that is spent.
fn sloth(ratio: &str) -> String {
    let at = Utc::now().timestamp().to_string();
    let labels = r#""sloth_id":"checkout-availability","sloth_service":"checkout","sloth_slo":"availability""#;
    let of = |name: &str| format!(r#""__name__":"{name}",{labels}"#);
    vector(&[
        (&of("slo:sli_error:ratio_rate30d"), ratio),
        (&of("slo:objective:ratio"), "0.999"),
        (&of("slo:time_period:days"), "30"),
        (labels, &at),
    ])
}

/// What the gate was asked and what it wrote, on this store.
async fn on(store: &[&str]) {
    install_tls();
    let (registry, open) = (Registry::distribution_with_canary(), Registry::distribution());
    let image = Config::created("app", &(Utc::now() - TimeDelta::days(3)).to_rfc3339()).image();
    let by_password = registry.push("shop/app", "1", &image);
    open.push("shop/app", "1", &image);
    let by_token = FaultyRegistry::before(&open.host()).await;
    by_token.set(Fault::TokenOf(basic("gate"), CANARY.to_owned()));
    let prometheus = FaultyPrometheus::start(Misbehaviour::Body(sloth("0.0001"))).await;
    let collector = Collector::start().await;

    let (policies, secrets, folder) =
        (policies(&prometheus.url()), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let auth = secrets.path().join("config.json");
    std::fs::write(&auth, docker_config(&[&registry.host(), &by_token.host()])).unwrap();
    let (path, auth) = (policies.path().display().to_string(), auth.display().to_string());
    let (hosts, url) = (format!("{},{}", registry.host(), by_token.host()), collector.url());
    let args = ["--policies", &path, "--registry-auth", &auth, "--insecure-registry", &hosts, "--otlp-endpoint", &url];
    let headers = format!("authorization=Bearer%20{CANARY}");
    let env = [("OTEL_EXPORTER_OTLP_HEADERS", Path::new(&headers)), ("FRESHGATE_LOG", Path::new("trace"))];
    let mut gate = Gate::in_folder(Path::new(PROGRAM), folder.path(), &[&args[..], store].concat(), &env);

    // What is let in, what is refused, what cannot be looked up, a change of everything, a dry run, what is no review.
    let mut answers = Vec::new();
    let broken = |mut review: Value| {
        review["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!(3);
        review.to_string()
    };
    let mut update = planted_review("app", &by_password);
    update["request"]["operation"] = json!("UPDATE");
    update["request"]["oldObject"] = planted("app", &by_token_reference(&by_token), "old");
    let mut dry_run = planted_review("dry", "169.254.169.254/x");
    dry_run["request"]["dryRun"] = json!(true);
    let bodies = [
        planted_review("app", &by_password).to_string(),
        planted_review("token", &by_token_reference(&by_token)).to_string(),
        planted_review("refused", "169.254.169.254/x").to_string(),
        update.to_string(),
        dry_run.to_string(),
        broken(planted_review("broken", &by_password)),
        planted_review("cut", &by_password).to_string().replace("}}}", ""),
    ];
    let certificate = || reqwest::Certificate::from_pem(&gate.certificate()).unwrap();
    let http1 = reqwest::Client::builder().tls_certs_only([certificate()]).http1_only().no_proxy().build().unwrap();
    let http2 = gate.client();
    for body in &bodies {
        for client in [&http1, &http2] {
            answers.push(ask(client, &gate.url(), body.clone()).await);
        }
    }
    let allowed = |answer: &str| answer.contains(r#""allowed":true"#);
    assert!(allowed(&answers[0]) && allowed(&answers[2]), "the passwords opened: {answers:#?}");
    // Whoever is asked echoes what it was sent, or wants something else.
    for fault in [
        Fault::Status(401, None),
        Fault::Serve(format!("{{\"errors\":[{{\"message\":\"Bearer {CANARY}\"}}]}}").into_bytes()),
        Fault::Challenge(format!("Bearer realm=\"http://elsewhere.example/?{CANARY}\",service=\"{CANARY}\"")),
        Fault::Redirect(format!("http://{CANARY}:{CANARY}@elsewhere.example/")),
    ] {
        by_token.set(fault);
        let image = format!("{}/shop/other:{}", by_token.host(), answers.len());
        answers.push(ask(&http1, &gate.url(), planted_review("fault", &image).to_string()).await);
    }
    prometheus.set(Misbehaviour::Status(401, vec![], CANARY));
    while !gate.process.log().contains("refused the gate's credentials with status 401") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let metrics = page(&gate).await;
    gate.process.signal("TERM");
    assert!(gate.process.wait().success());

    // It was really there.
    assert!(by_token.take_seen().iter().any(|seen| seen.authorization == Some(basic("gate"))));
    let asked = prometheus.take_seen();
    assert!(
        asked.iter().all(|(_, headers, _)| headers["authorization"] == format!("Bearer {CANARY}")) && !asked.is_empty()
    );
    let got = collector.got();
    assert!(got.headers.iter().all(|headers| headers.contains(&format!("authorization: Bearer {CANARY}"))));
    assert!(!got.spans.is_empty() && !got.logs.is_empty());

    let id = answers[0].split(r#""decision-id":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    for answer in &answers {
        assert_clean("an answer", answer.as_bytes(), "content-type");
    }
    assert_clean("/metrics", metrics.as_bytes(), "freshgate_decisions_total");
    let log = gate.process.log();
    assert_clean("the log and stdout", log.as_bytes(), "TRACE");
    for sent in &got.bodies {
        assert_clean("what the collector got", sent, "freshgate");
    }
    assert!(got.logs.iter().any(|log| body(log).contains(&id)));
    let kept = files(folder.path());
    for (name, bytes) in &kept {
        assert_clean(name, bytes, "");
    }
    let everything: Vec<u8> = kept.into_iter().flat_map(|(_, bytes)| bytes).collect();
    // The records are there, in whichever file.
    assert_clean("the gate's folder", &everything, &id);
    if store.is_empty() {
        let store = gate.store();
        for command in [
            &["audit", "query", "-o", "json", "--limit", "100", "--store", &store][..],
            &["audit", "show", &id, "--store", &store],
            &["audit", "export", "--store", &store],
            &["audit", "export", "--format", "csv", "--store", &store],
        ] {
            let (code, stdout, stderr) = gate.run(command);
            assert_eq!(code, Some(0), "{stderr}");
            assert_clean(&command.join(" "), format!("{stdout}{stderr}").as_bytes(), &id);
        }
    }
}

fn by_token_reference(registry: &FaultyRegistry) -> String {
    format!("{}/shop/app:1", registry.host())
}

async fn page(gate: &Gate) -> String {
    reqwest::get(format!("http://127.0.0.1:{}/metrics", gate.admin_port)).await.unwrap().text().await.unwrap()
}

#[test]
fn the_canary_is_found_in_each_form() {
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "z", "zy"] {
            let text = format!("{before}{CANARY}{after}");
            for sent in [text.clone(), hex::encode(&text), STANDARD.encode(&text)] {
                assert!(found_in(sent.as_bytes()).is_some(), "{sent}");
            }
        }
    }
    assert_eq!(found_in(b"another bird"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_store_a_log_a_metric_a_trace_or_an_answer() {
    on(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_among_records_that_are_printed() {
    on(&["--store", "stdout"]).await;
}
