//! For `benches/scan.sh`: a scan of a large fleet on a real API server, in seconds of CPU and MiB, and what reviews feel of it.
//!
//! Usage: `bench_scan WORKLOADS IMAGES SECONDS`. Half of the workloads are Deployments, paused, so that no controller works on
//! them; half are Pods. The program is the one beside this one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use cluster::control_plane::ControlPlane;
use cluster::gate::Gate;
use cluster::image::{Config, Image, write_layout};
use serde_json::{Value, json};

/// Clock ticks in a second, as Linux tells times of processes.
const TICKS: f64 = 100.0;
const NAMESPACES: usize = 50;
/// kubectl asks fifty times a second, so several do.
const MAKERS: usize = 16;
const CALLERS: usize = 8;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| args.get(index).map_or(default, |arg| arg.parse().unwrap());
    let (workloads, images, seconds) = (number(0, 10_000), number(1, 2_000), number(2, 10));
    cluster::install_tls();
    let program = program();
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("images");
    make_layout(&layout, images);
    let plane = ControlPlane::start();
    prepare(&plane, &program);
    make_fleet(&plane, workloads, images);

    let mirrors = ["registry.example", "scan.example"].map(|host| format!("{host}=oci:{}", layout.display()));
    let kubeconfig = plane.kubeconfig();
    let start = |interval: &str| {
        let args = ["--kubernetes", "--scan-interval", interval, "--mirror", &mirrors[0], "--mirror", &mirrors[1]];
        Gate::in_folder(&program, folder.path(), &args, &[("KUBECONFIG", &kubeconfig)])
    };
    // Without a scan: what starting costs, and how reviews fare.
    let mut gate = start("0");
    std::thread::sleep(Duration::from_secs(3));
    let idle = Cost::of(&gate);
    p99_ms(&gate, 2); // its first answers are of what nothing is known of yet
    let alone = p99_ms(&gate, seconds);
    gate.process.signal("TERM");
    gate.process.wait();

    let first = scanned(&mut start("10m"));
    let again = scanned(&mut start("10m"));
    let mut gate = start("1s");
    until_scanned(&gate);
    p99_ms(&gate, 2);
    let beside = p99_ms(&gate, seconds);
    gate.process.signal("TERM");
    gate.process.wait();
    println!(
        "Scan of {workloads} workloads over {images} images: {:.2} s of CPU and {} MiB at most with facts known \
         (target 5 s and 250 MiB); {:.2} s and {} MiB when each is looked up for the first time. \
         Starting takes {:.2} s and {} MiB of these.",
        (again.cpu_seconds - idle.cpu_seconds).max(0.0),
        again.most_mib,
        (first.cpu_seconds - idle.cpu_seconds).max(0.0),
        first.most_mib,
        idle.cpu_seconds,
        idle.most_mib,
    );
    println!(
        "Reviews over {CALLERS} connections: p99 {alone:.1} ms without a scan, {beside:.1} ms while scans follow each other."
    );
}

/// What a process has cost since it began.
struct Cost {
    cpu_seconds: f64,
    most_mib: u64,
}

impl Cost {
    fn of(gate: &Gate) -> Self {
        let pid = gate.process.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = most.split_whitespace().next().unwrap().parse().unwrap();
        Self { cpu_seconds: (ticks(11) + ticks(12)) / TICKS, most_mib: kib / 1024 }
    }
}

fn scanned(gate: &mut Gate) -> Cost {
    until_scanned(gate);
    let cost = Cost::of(gate);
    gate.process.signal("TERM");
    gate.process.wait();
    cost
}

fn until_scanned(gate: &Gate) {
    let give_up = Instant::now() + Duration::from_secs(900);
    while gate.metric("freshgate_scan_last_success_seconds").unwrap_or(0.0) == 0.0 {
        assert!(Instant::now() < give_up, "no scan came to its end: {}", gate.process.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn make_layout(folder: &Path, images: usize) {
    let built =
        |seed: &str, days: i64| Config::created(seed, &(Utc::now() - TimeDelta::days(days)).to_rfc3339()).image();
    let mut all: Vec<(String, Image)> = (0..images)
        .map(|number| {
            let days = i64::try_from(number % 120).unwrap();
            (format!("app-{number}:1.0.0"), built(&number.to_string(), days))
        })
        .collect();
    all.push(("shop/checkout:3.0".to_owned(), built("checkout", 30)));
    all.push(("shop/checkout:3.1".to_owned(), built("newer checkout", 3)));
    let named: Vec<(&str, &Image)> = all.iter().map(|(name, image)| (name.as_str(), image)).collect();
    write_layout(folder, &named);
}

fn prepare(plane: &ControlPlane, program: &Path) {
    let crds = std::process::Command::new(program).arg("crds").output().unwrap();
    let reports = [
        include_str!("../tests/fixtures/reports/reports.openreports.io.yaml"),
        include_str!("../tests/fixtures/reports/policyreports.wgpolicyk8s.io.yaml"),
    ];
    for definition in [&String::from_utf8(crds.stdout).unwrap()[..], reports[0], reports[1]] {
        assert!(plane.apply(definition).success);
    }
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    let policy = json!({
        "apiVersion": "freshgate.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": "all"},
        "spec": {"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}, "dependencies": {"nudges": 1}},
    });
    assert!(plane.apply(&policy.to_string()).success);
    plane.namespace("production", &[]);
    for number in 0..NAMESPACES {
        plane.namespace(&format!("team-{number}"), &[]);
    }
}

fn make_fleet(plane: &ControlPlane, workloads: usize, images: usize) {
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            scope.spawn(move || {
                let mut text = String::new();
                for number in (maker..workloads).step_by(MAKERS) {
                    writeln!(text, "---\n{}", workload(number, images)).unwrap();
                }
                let said = plane.create(&text);
                assert!(said.success, "{}", said.stderr);
            });
        }
    });
}

fn workload(number: usize, images: usize) -> Value {
    let metadata = json!({"name": format!("app-{number}"), "namespace": format!("team-{}", number % NAMESPACES)});
    let spec = json!({
        "containers": [{
            "name": "app", "image": format!("scan.example/app-{}:1.0.0", number % images),
            "env": (0..10).map(|n| json!({"name": format!("SETTING_{n}"), "value": "some value"})).collect::<Vec<_>>(),
        }],
    });
    if number.is_multiple_of(2) {
        let template = json!({"metadata": {"labels": {"app": "app"}}, "spec": spec});
        let spec = json!({"paused": true, "selector": {"matchLabels": {"app": "app"}}, "template": template});
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    } else {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }
}

/// The 99th percentile of the time that reviews take, in milliseconds.
fn p99_ms(gate: &Gate, seconds: usize) -> f64 {
    const REVIEW: &str = include_str!("../tests/fixtures/review-create-deployment.json");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let mut took: Vec<Duration> = runtime.block_on(async {
        let caller = || async {
            let (client, url) = (gate.client(), format!("{}?timeout=10s", gate.url()));
            let mut took = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                let request = client.post(&url).header("Content-Type", "application/json").body(REVIEW);
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success());
                answer.bytes().await.unwrap();
                took.push(begun.elapsed());
            }
            took
        };
        futures::future::join_all((0..CALLERS).map(|_| caller())).await.concat()
    });
    took.sort_unstable();
    took[took.len() * 99 / 100].as_secs_f64() * 1_000.0
}

/// The gate's program, built beside this one.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("freshgate")
}
