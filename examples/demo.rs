//! `make demo`: the main job, shown in a minute without a cluster, a network or root.
//!
//! Makes an image layout, starts the real gate on it, sends the reviews that an API server would send, prints what
//! kubectl would print, lets a service spend its error budget, then asks the audit, proves it,
//! tries a stricter policy on it, and tampers with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/cluster/image.rs"]
#[allow(dead_code)]
mod image;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use image::Config;
use serde_json::{Value, json};
use sqlx::Connection;

const POLICY: &str = "policies/production.yaml";
const FREEZE: &str = "policies/error-budget/freeze.yaml";

/// Budgets from a file, and which service a workload is.
const SOURCE: &str = "apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: slo}
spec:
  format: File
  file: {path: budgets.json}
  interval: 1s
  service:
    from: [Mapping]
    mapping:
    - {namespace: shop-production, name: payments, service: payments}
";

/// The gate, ended with the demo however that ends.
struct Gate {
    process: Child,
    port: u16,
    admin: u16,
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let program = program();

    heading("Five images in a local image layout: two fresh ones, an ageing, an old, and one without a date");
    let built = |days: i64| (Utc::now() - TimeDelta::days(days)).to_rfc3339();
    let fresh = Config::created("fresh", &built(3)).image();
    let ageing = Config::created("ageing", &built(80)).image();
    let next = Config::created("next", &built(1)).image();
    let old = Config::created("old", &built(112)).image();
    let dateless = Config::created("dateless", "1970-01-01T00:00:00Z").image();
    let layout = folder.join("images");
    image::write_layout(
        &layout,
        &[
            ("checkout:4.0", &next),
            ("checkout:3.0", &fresh),
            ("checkout:2.0", &ageing),
            ("checkout:1.0", &old),
            ("reports:1.0", &dateless),
        ],
    );
    run(&program, &["inspect", &format!("oci:{}:checkout:1.0", layout.display())]);

    heading(&format!("The gate, with {POLICY}, SQLite, and a certificate of its own making"));
    let policies = folder.join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::copy(POLICY, policies.join("production.yaml")).expect("run it from the project's folder");
    let store = format!("sqlite:{}", folder.join("decisions.db").display());
    let gate = start(&program, folder, &policies, &layout, &store).await;
    println!(
        "freshgate serve --policies policies --store sqlite:decisions.db --tls-self-signed --mirror registry.example=oci:images"
    );

    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&std::fs::read(folder.join("gate.pem")).unwrap()).unwrap()])
        .build()
        .unwrap();
    let api_server = ApiServer { client, port: gate.port };

    heading("Reviews, as an API server sends them, and what kubectl prints");
    let app = |tag: &str| deployment("checkout", &format!("registry.example/shop/checkout:{tag}"), 2);
    api_server.review("create a fresh one", "CREATE", &app("3.0"), None).await;
    api_server
        .review("create an ageing one", "CREATE", &deployment("basket", "registry.example/shop/checkout:2.0", 1), None)
        .await;
    api_server
        .review("create an old one", "CREATE", &deployment("search", "registry.example/shop/checkout:1.0", 1), None)
        .await;
    api_server
        .review(
            "create one without a date",
            "CREATE",
            &deployment("reports", "registry.example/shop/reports:1.0", 1),
            None,
        )
        .await;
    api_server.review("update to the old one", "UPDATE", &app("1.0"), Some(&app("3.0"))).await;
    let runs_old = |replicas| deployment("legacy", "registry.example/shop/checkout:1.0", replicas);
    api_server.review("scale what runs an old one", "UPDATE", &runs_old(5), Some(&runs_old(2))).await;
    // The ageing one was let in before the fresh one, so this goes back.
    let basket = |tag: &str| deployment("basket", &format!("registry.example/shop/checkout:{tag}"), 1);
    api_server.review("update to the fresh one", "UPDATE", &basket("3.0"), Some(&basket("2.0"))).await;
    api_server.review("roll back to the ageing one", "UPDATE", &basket("2.0"), Some(&basket("3.0"))).await;

    heading("A service that spends its error budget: measured here by a snapshot in JSON, in a cluster by Prometheus");
    write_budgets(folder, 400);
    std::fs::copy(FREEZE, policies.join("freeze.yaml")).unwrap();
    std::fs::write(policies.join("source.yaml"), SOURCE).unwrap();
    std::fs::rename(folder.join("budgets.json"), policies.join("budgets.json")).unwrap();
    let payments =
        |tag: &str, replicas| deployment("payments", &format!("registry.example/shop/checkout:{tag}"), replicas);
    wait_for_budgets(&gate).await;
    println!("$ cp policies/error-budget/freeze.yaml source.yaml budgets.json policies/");
    run(&program, &["budgets", "--policies", &policies.display().to_string()]);
    api_server.review("the second version, while there is budget", "CREATE", &payments("2.0", 2), None).await;
    api_server.review("the third version", "UPDATE", &payments("3.0", 2), Some(&payments("2.0", 2))).await;
    write_budgets(&policies, 1_125);
    run_for(&program, &["budgets", "--policies", &policies.display().to_string()], 1);
    wait_for_a_freeze(&gate).await;
    api_server
        .review(
            "a fourth version, after the third burnt the budget",
            "UPDATE",
            &payments("4.0", 2),
            Some(&payments("3.0", 2)),
        )
        .await;
    api_server.review("scale out", "UPDATE", &payments("3.0", 6), Some(&payments("3.0", 2))).await;
    api_server
        .review("roll back to the second version", "UPDATE", &payments("2.0", 6), Some(&payments("3.0", 6)))
        .await;

    heading("The record, asked and proven");
    run(&program, &["audit", "query", "--store", &store]);
    run(&program, &["audit", "query", "--store", &store, "--decision", "deny", "--name", "search"]);
    run(&program, &["audit", "verify", "--store", &store]);
    run(&program, &["audit", "replay", "--since", "1h", "--store", &store]);

    heading("A stricter policy, tried on what was recorded before it is in force");
    let stricter = folder.join("stricter");
    std::fs::create_dir(&stricter).unwrap();
    let production = std::fs::read_to_string(POLICY).unwrap();
    std::fs::write(stricter.join("production.yaml"), production.replace("maxAge: 90d", "maxAge: 60d")).unwrap();
    println!("$ sed 's/maxAge: 90d/maxAge: 60d/' production.yaml > stricter/production.yaml");
    let stricter = stricter.display().to_string();
    run_for(&program, &["simulate", "--policies", &stricter, "--store", &store, "--fail-on-new-denials"], 1);

    drop(gate);
    heading("Somebody changes a record by hand");
    tamper(&store, "UPDATE decisions SET line = replace(line, 'alice', 'mallory') WHERE name = 'search'").await;
    run_for(&program, &["audit", "verify", "--store", &store], 1);

    heading("Before it comes to that: what will be refused when, and the one small next step of each");
    let used = ["search:1.0", "basket:2.0", "checkout:3.0"].map(|one| {
        let (name, tag) = one.split_once(':').unwrap();
        deployment(name, &format!("registry.example/shop/checkout:{tag}"), 2)
    });
    let manifests = folder.join("manifests.json");
    std::fs::write(&manifests, json!({"apiVersion": "v1", "kind": "List", "items": used}).to_string()).unwrap();
    let (manifests, policies) = (manifests.display().to_string(), policies.display().to_string());
    let mirror = format!("registry.example=oci:{}", layout.display());
    run(&program, &["report", "-f", &manifests, "--policies", &policies, "--mirror", &mirror]);
    println!("\nThe gate is stopped; nothing is left behind. Next: README.md, \"The first policy\".");
}

/// The gate's program, built beside this one.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.parent().and_then(Path::parent).unwrap().join("freshgate");
    assert!(program.exists(), "{} is not built; run it by `make demo`", program.display());
    program
}

fn heading(text: &str) {
    println!("\n── {text}");
}

fn run(program: &Path, args: &[&str]) {
    run_for(program, args, 0);
}

/// Runs the program, which answers by this exit code.
fn run_for(program: &Path, args: &[&str], code: i32) {
    let shown: Vec<&str> = args.iter().map(|arg| arg.rsplit('/').next().unwrap_or(arg)).collect();
    println!("$ freshgate {}", shown.join(" "));
    let status = Command::new(program).args(args).status().unwrap();
    assert_eq!(status.code(), Some(code), "freshgate {args:?} ended with {status}");
}

/// Changes the store behind the gate's back.
async fn tamper(store: &str, statement: &'static str) {
    println!("$ sqlite3 decisions.db \"{statement}\"");
    let file = store.strip_prefix("sqlite:").unwrap();
    let mut connection =
        sqlx::SqliteConnection::connect_with(&sqlx::sqlite::SqliteConnectOptions::new().filename(file)).await.unwrap();
    assert!(sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected() > 0);
    connection.close().await.unwrap();
}

/// A million requests to payments, so many of them bad, as of now.
fn write_budgets(folder: &Path, bad: u64) {
    let snapshot = json!({"time": Utc::now().to_rfc3339(), "budgets": [
        {"service": "payments", "slo": "availability", "objective": 0.999, "window": "30d", "total": 1_000_000, "bad": bad},
    ]});
    // Whole or not at all: the gate may be reading it.
    std::fs::write(folder.join("budgets.new"), snapshot.to_string()).unwrap();
    std::fs::rename(folder.join("budgets.new"), folder.join("budgets.json")).unwrap();
}

/// Waits until the gate's figures say so.
async fn wait_for_metric(gate: &Gate, line: &str) {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        let page =
            reqwest::get(format!("http://127.0.0.1:{}/metrics", gate.admin)).await.unwrap().text().await.unwrap();
        if page.lines().any(|one| one == line) {
            return;
        }
        assert!(Instant::now() < give_up, "the gate's metrics never said {line:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_for_budgets(gate: &Gate) {
    wait_for_metric(gate, "freshgate_budgets{source=\"slo\",state=\"Healthy\"} 1").await;
}

async fn wait_for_a_freeze(gate: &Gate) {
    wait_for_metric(gate, "freshgate_freezes 1").await;
}

async fn start(program: &Path, folder: &Path, policies: &Path, layout: &Path, store: &str) -> Gate {
    let [port, admin] = free_ports();
    let log = std::fs::File::create(folder.join("gate.log")).unwrap();
    let process = Command::new(program)
        .args(["serve", "--tls-self-signed", "--store", store])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .arg("--policies")
        .arg(policies)
        .arg("--tls-write-cert")
        .arg(folder.join("gate.pem"))
        .arg("--mirror")
        .arg(format!("registry.example=oci:{}", layout.display()))
        .args(["--contact", "#platform on chat"])
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let mut gate = Gate { process, port, admin };
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{admin}/readyz")).await
            && answer.status().is_success()
        {
            return gate;
        }
        let ended = gate.process.try_wait().unwrap();
        assert!(
            ended.is_none() && Instant::now() < give_up,
            "the gate did not start:\n{}",
            std::fs::read_to_string(folder.join("gate.log")).unwrap_or_default()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn free_ports() -> [u16; 2] {
    // Both are open at once, so they differ.
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop-production", "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": image}]},
        }},
    })
}

struct ApiServer {
    client: reqwest::Client,
    port: u16,
}

impl ApiServer {
    async fn review(&self, what: &str, operation: &str, object: &Value, old: Option<&Value>) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": uuid::Uuid::now_v7(), "operation": operation, "name": name, "namespace": "shop-production",
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "userInfo": {"username": "alice", "groups": ["developers"]},
                "object": object, "oldObject": old, "dryRun": false,
            },
        });
        let url = format!("https://127.0.0.1:{}/validate?timeout=10s", self.port);
        let answer = self.client.post(url).json(&review).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let response = &answer["response"];
        println!("\n# {what}\n$ kubectl apply -f {name}.yaml");
        for warning in response["warnings"].as_array().into_iter().flatten() {
            println!("Warning: {}", warning.as_str().unwrap());
        }
        if response["allowed"] == true {
            println!("deployment.apps/{name} {}", if operation == "CREATE" { "created" } else { "configured" });
        } else {
            println!(
                "Error from server (Forbidden): error when {} \"{name}.yaml\": admission webhook \"workloads.freshgate.dev\" denied the request: {}",
                if operation == "CREATE" { "creating" } else { "applying patch" },
                response["status"]["message"].as_str().unwrap()
            );
        }
    }
}
