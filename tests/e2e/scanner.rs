//! The scan of what runs: its reports appear, change when an image is rebuilt, and a deploy is told its next step.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, built_days_ago, deployment};
use crate::cluster::bill::{SPDX, attested, spdx, statement};
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::gate::{Gate, REGISTERED};
use crate::cluster::index::StaticIndex;
use crate::lifecycle::{plane, program, wait_until_registered};

pub const SCENARIOS: &[Scenario] = &[
    ("what_runs_is_scanned_reported_and_nudged", scanned),
    ("what_is_in_images_is_asked_of_indexes_once", looked_into),
];

pub const REPORTS: &str = include_str!("../fixtures/reports/reports.openreports.io.yaml");
const POLICY_REPORTS: &str = include_str!("../fixtures/reports/policyreports.wgpolicyk8s.io.yaml");
/// What a tag means is remembered for a minute, so what moved is seen after that.
const SEEN_WITHIN: Duration = Duration::from_secs(150);

fn patiently(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + SEEN_WITHIN;
    while !done() {
        assert!(Instant::now() < give_up, "{what} did not come");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The report of a namespace; null where there is none.
pub fn report(plane: &ControlPlane, kind: &str, namespace: &str) -> Value {
    let said = plane.kubectl(&["-n", namespace, "get", kind, "freshgate", "-o", "json", "--ignore-not-found"]);
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

/// What a report says of a workload by a rule.
pub fn results(report: &Value, name: &str, rule: &str) -> Vec<Value> {
    let all = report["results"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["resources"][0]["name"] == name && one["rule"] == rule).collect()
}

/// Lets a Pod of a Deployment run a digest: no kubelet is here to say so.
fn runs(plane: &ControlPlane, namespace: &str, name: &str, image: &str, digest: &str) {
    let pods = || {
        let said = plane.kubectl(&["-n", namespace, "get", "pods", "-o", "json"]);
        let all: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let of =
            |pod: &&Value| pod["metadata"]["name"].as_str().is_some_and(|pod| pod.starts_with(&format!("{name}-")));
        all["items"].as_array().into_iter().flatten().find(of).map(|pod| pod["metadata"]["name"].clone())
    };
    wait_for("the Pod", || pods().is_some());
    let repository = image.rsplit_once(':').unwrap().0;
    let status = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "app", "image": image, "imageID": format!("{repository}@{digest}"), "ready": true, "restartCount": 0,
    }]}});
    let pod = pods().unwrap();
    let args = ["-n", namespace, "patch", "pod", pod.as_str().unwrap(), "--subresource=status", "--type=merge", "-p"];
    let said = plane.kubectl(&[&args[..], &[&status.to_string()]].concat());
    assert!(said.success, "{}", said.stderr);
}

/// What `report --cluster` says, as JSON and beside it.
pub fn reported(kubeconfig: &Path, more: &[&str]) -> (Value, String) {
    let output = Command::new(program())
        .args([&["report", "--cluster", "-o", "json"], more].concat())
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

/// What a report says of a workload.
pub fn workload(report: &Value, namespace: &str, name: &str) -> Value {
    let all = report["workloads"].as_array().unwrap();
    all.iter().find(|one| one["namespace"] == namespace && one["name"] == name).cloned().unwrap()
}

fn counts(plane: &ControlPlane) -> Value {
    let said = plane.kubectl(&["get", "gpol", "production", "-o", "jsonpath={.status.workloads}"]);
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

fn scanned(bed: &Bed) {
    let plane = plane();
    for definition in [REPORTS, POLICY_REPORTS] {
        let said = plane.apply(definition);
        assert!(said.success, "{}", said.stderr);
    }
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    let nudges = |number: i32| {
        let patch = json!({"spec": {"dependencies": {"nudges": number}}}).to_string();
        plane.kubectl(&["patch", "gpol", "production", "--type=merge", "-p", &patch])
    };
    let said = nudges(4);
    assert!(!said.success && said.stderr.contains("spec.dependencies.nudges"), "{}", said.stderr);
    assert!(nudges(2).success);

    // What ran before the gate came: one too old, one with a newer tag, one whose tag is about to be built anew.
    let node = bed.push("scan/node", "18.20", &built_days_ago("node 18.20", 78));
    bed.push("scan/node", "18.20.8", &built_days_ago("node 18.20.8", 41));
    let (before, after) = (built_days_ago("before", 50), built_days_ago("after", 1));
    let moving = bed.push("scan/moving", "1.0.0", &before);
    let old = bed.push("scan/old", "1.0.0", &built_days_ago("scanned old", 112));
    let fresh = bed.push("scan/fresh", "1.0.0", &built_days_ago("scanned fresh", 3));
    plane.namespace("passing-by", &[]);
    for (namespace, name, image) in [
        ("shop", "node", &node),
        ("shop", "old", &old),
        ("shop", "moving", &moving),
        ("shop", "fresh", &fresh),
        ("passing-by", "node", &node),
    ] {
        allowed(&plane.kubectl_as(
            "admin",
            &["-n", namespace, "create", "-f", "-"],
            &deployment(name, image).to_string(),
        ));
    }
    runs(&plane, "shop", "moving", &moving, &before.digest);

    let (host, kubeconfig) = (bed.registry_host(), plane.kubeconfig());
    let args = [
        "--kubernetes",
        "--insecure-registry",
        &host,
        "--scan-interval",
        "2s",
        "--leader-lease",
        "freshgate",
        "--webhook-owner",
        "cluster-admin",
    ];
    let gate = Gate::start(program(), &[&args[..], &REGISTERED].concat(), &[("KUBECONFIG", &kubeconfig)]);
    wait_until_registered(&plane, &bed.old);

    for kind in ["reports.openreports.io", "policyreports.wgpolicyk8s.io"] {
        patiently("the report", || !results(&report(&plane, kind, "shop"), "node", "newer-tag").is_empty());
        let found = report(&plane, kind, "shop");
        let step = &results(&found, "node", "newer-tag")[0];
        assert_eq!((&step["properties"]["from"], &step["properties"]["to"]), (&json!("18.20"), &json!("18.20.8")));
        assert_eq!((&step["result"], &step["source"]), (&json!("warn"), &json!("freshgate")));
        let old = &results(&found, "old", "imageAge")[0];
        assert_eq!((&old["result"], &old["policy"]), (&json!("fail"), &json!("production")));
        assert!(old["message"].as_str().unwrap().contains("was built 112 days ago"), "{old}");
        assert_eq!(results(&found, "moving", "rebuilt"), Vec::<Value>::new());
        assert_eq!(found["summary"]["fail"], 1);
        assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "freshgate");
        assert_eq!(found["metadata"]["ownerReferences"][0]["name"], "cluster-admin");
    }

    // What the policy says to what runs; the columns show it.
    wait_for("the counts", || counts(&plane) == json!({"matched": 4, "warned": 1, "refused": 1}));
    let table = plane.kubectl(&["get", "gpol"]).stdout;
    let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert!(columns.ends_with(&["ACCEPTED", "WORKLOADS", "WARNED", "REFUSED", "AGE"]), "{table}");
    assert_eq!(gate.metric("freshgate_running_workloads{namespace=\"shop\",refused=\"today\"}"), Some(1.0));
    assert_eq!(gate.metric("freshgate_running_images_by_age_days{namespace=\"shop\",le=\"+Inf\"}"), Some(4.0));
    assert_eq!(gate.metric("freshgate_days_until_refusal{namespace=\"shop\"}"), Some(0.0));
    assert_eq!(gate.metric("freshgate_findings{kind=\"newer-tag\"}"), Some(2.0));

    // Whoever deploys is told, after the rule's own warning.
    let apply = || {
        let object = deployment("another", &node).to_string();
        allowed(&plane.kubectl_as("admin", &["-n", "shop", "create", "--dry-run=server", "-f", "-"], &object))
    };
    let day = |days: i64| (Utc::now() + TimeDelta::days(days)).date_naive();
    let days = (day(12) - Utc::now().date_naive()).num_days();
    let nudge =
        format!("freshgate: node 18.20 → 18.20.8 is a patch, 41 days old; this build is refused in {days} days");
    patiently("the nudge", || apply().contains(&nudge));
    let said = apply();
    assert!(said.len() == 2 && said[1] == nudge && said[0].starts_with("freshgate: node:18.20"), "{said:?}");
    // Nobody is told who did not ask, and nothing that a controller makes.
    assert!(nudges(0).success);
    patiently("the end of the nudges", || apply().len() == 1);
    assert!(nudges(2).success);

    // From the cluster by hand: the same findings.
    let by_hand = |name: &str| {
        let found = reported(&kubeconfig, &["--insecure-registry", &host]).0;
        workload(&found, "shop", name)
    };

    // Nothing changes, so nothing is written.
    let version = || report(&plane, "reports.openreports.io", "shop")["metadata"]["resourceVersion"].clone();
    let (first, scanned_at) = (version(), gate.metric("freshgate_scan_last_success_seconds").unwrap());
    patiently("three more rounds", || {
        gate.metric("freshgate_scan_last_success_seconds").is_some_and(|now| now > scanned_at + 4.0)
    });
    assert_eq!(version(), first);

    // The tag is built anew; then the Pod runs what it means now.
    bed.push("scan/moving", "1.0.0", &after);
    let rebuilt = || results(&report(&plane, "reports.openreports.io", "shop"), "moving", "rebuilt");
    patiently("the finding", || !rebuilt().is_empty());
    assert_eq!(rebuilt()[0]["properties"]["from"], before.digest.as_str());
    // By hand, too: it is what runs that is dated, and not what the tag means by now.
    let moved = by_hand("moving");
    assert_eq!((&moved["images"][0]["digest"], &moved["images"][0]["ageDays"]), (&json!(before.digest), &json!(50)));
    assert_eq!((&moved["findings"][0]["kind"], &moved["findings"][0]["to"]), (&json!("rebuilt"), &json!(after.digest)));
    runs(&plane, "shop", "moving", &moving, &after.digest);
    patiently("the end of the finding", || rebuilt().is_empty());

    // A policy that changes is asked at once, of what is known.
    let patch = r#"{"spec": {"imageAge": {"maxAge": "200d"}}}"#;
    assert!(plane.kubectl(&["patch", "gpol", "production", "--type=merge", "-p", patch]).success);
    patiently("the new counts", || counts(&plane) == json!({"matched": 4, "warned": 0, "refused": 0}));

    assert_eq!(by_hand("node")["findings"][0]["to"], "18.20.8");
    let moved = by_hand("moving");
    assert_eq!((&moved["findings"], &moved["images"][0]["digest"]), (&json!([]), &json!(after.digest)));

    // A namespace goes; the scan goes on, and so do the others' reports.
    assert!(plane.kubectl(&["delete", "namespace", "passing-by", "--wait=false"]).success);
    let scanned_at = gate.metric("freshgate_scan_last_success_seconds").unwrap();
    patiently("more rounds", || {
        gate.metric("freshgate_scan_last_success_seconds").is_some_and(|now| now > scanned_at + 5.0)
    });
    assert_eq!(gate.metric("freshgate_scan_failures_total"), Some(0.0));
    let log = gate.process.log();
    assert!(!log.contains("reports are not written"), "{log}");
    patiently("the finding of the namespace to go", || {
        gate.metric("freshgate_findings{kind=\"newer-tag\"}") == Some(1.0)
    });
    // When nothing runs in a namespace any more, its report goes.
    assert!(plane.kubectl(&["-n", "shop", "delete", "deployment", "--all"]).success);
    patiently("the end of the report", || report(&plane, "reports.openreports.io", "shop") == Value::Null);
}

/// Waits until rounds have come to their end for so many seconds after the first one that did.
fn rounds(gate: &Gate, seconds: f64) {
    let last = || gate.metric("freshgate_scan_last_success_seconds").unwrap_or(0.0);
    patiently("a round", || last() > 0.0);
    let before = last();
    patiently("more rounds", || last() > before + seconds);
}

fn looked_into(bed: &Bed) {
    let plane = plane();
    let said = plane.apply(REPORTS);
    assert!(said.success, "{}", said.stderr);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    let patch = r#"{"spec": {"dependencies": {"nudges": 3}}}"#;
    assert!(plane.kubectl(&["patch", "gpol", "production", "--type=merge", "-p", patch]).success);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let index = runtime.block_on(StaticIndex::start());
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("indexes.yaml");
    std::fs::write(&settings, index.settings()).unwrap();

    // One image under two names, with a bill of materials; and one without.
    let built = |seed: &str| built_days_ago(seed, 10);
    let image = attested(built("with a bill"), |image| statement(&image.digest, SPDX, spdx()));
    let (packages, mirrored) = (bed.push("scan/packages", "1.0.0", &image), bed.push("scan/mirrored", "1.0.0", &image));
    let bare = bed.push("scan/bare", "1.0.0", &built("without one"));
    for (name, image) in [("packages", &packages), ("mirrored", &mirrored), ("bare", &bare)] {
        let object = deployment(name, image).to_string();
        allowed(&plane.kubectl_as("admin", &["-n", "shop", "create", "-f", "-"], &object));
    }

    let (host, kubeconfig, settings) = (bed.registry_host(), plane.kubeconfig(), settings.display().to_string());
    let args = ["--kubernetes", "--insecure-registry", &host, "--scan-interval", "2s", "--indexes", settings.as_str()];
    let mut gate = Gate::start(program(), &[&args[..], &REGISTERED].concat(), &[("KUBECONFIG", &kubeconfig)]);
    wait_until_registered(&plane, &bed.old);
    let found = || report(&plane, "reports.openreports.io", "shop");
    let of = |name: &str, rule: &str| results(&found(), name, rule);
    for name in ["packages", "mirrored"] {
        patiently("what ends", || of(name, "end-of-life").len() == 2);
        let step = &of(name, "package")[0];
        assert!(step["properties"]["image"].as_str().unwrap().contains(&format!("scan/{name}:1.0.0")), "{step}");
        assert!(step["message"].as_str().unwrap().contains(" behind "), "{step}");
    }
    let missing = |report: &Value| -> String {
        let all = report["results"].as_array().cloned().unwrap_or_default();
        let missing = all.iter().filter(|one| one["rule"] == "not-looked-up");
        missing.map(|one| one["message"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    };
    patiently("the bare one", || missing(&found()).contains("no bill of materials"));
    let (bare, said) = (format!("packages of {bare}"), missing(&found()));
    assert!(said.contains(&bare) && said.contains("newer versions of npm:shop: it is private"), "{said}");
    // Of two names of one image each package counts once.
    let libyears = || gate.metric("freshgate_running_libyears{namespace=\"shop\"}");
    patiently("libyears", || libyears().is_some_and(|years| years > 1.0));
    let (mean, worst) = (
        gate.metric("freshgate_running_libyears_mean{namespace=\"shop\"}").unwrap(),
        gate.metric("freshgate_running_libyears_worst{namespace=\"shop\"}").unwrap(),
    );
    assert!((mean * 3.0 - libyears().unwrap()).abs() < 0.01 && worst > mean, "{mean} {worst}");
    assert_eq!(gate.metric("freshgate_findings{kind=\"package\"}"), Some(2.0));
    assert_eq!(gate.metric("freshgate_findings{kind=\"end-of-life\"}"), Some(4.0));
    let asked = index.take_paths();
    assert!(!asked.is_empty() && asked.windows(2).all(|two| two[0] != two[1]), "each once: {asked:?}");
    assert!(!asked.iter().any(|path| path.contains("shop")), "private names are asked of nobody: {asked:?}");

    // Whoever deploys is told.
    let apply = || {
        let object = deployment("another", &packages).to_string();
        allowed(&plane.kubectl_as("admin", &["-n", "shop", "create", "--dry-run=server", "-f", "-"], &object))
    };
    let ends = "freshgate: packages: Debian 11 has had no support since 2024-08-14; next is 13";
    patiently("the nudges", || apply().iter().any(|line| line.starts_with(ends)));
    let said = apply();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[2].starts_with("freshgate: packages: ") && said[2].contains(" → "), "{said:?}");

    // A restart goes on with what was answered, and so do rounds that look again.
    gate.crash_and_restart();
    patiently("libyears", || gate.metric("freshgate_running_libyears{namespace=\"shop\"}").is_some());
    rounds(&gate, 5.0);
    assert_eq!(index.take_paths(), Vec::<String>::new());
    assert_eq!(of("packages", "package").len(), 1);
    drop(gate);

    // An index that is away leaves no finding and a reason, and all else as it is.
    let url = index.url();
    runtime.block_on(index.stop());
    let gate = Gate::start(program(), &args, &[("KUBECONFIG", &kubeconfig)]);
    patiently("the reason", || missing(&found()).contains(&format!("{url} ")));
    rounds(&gate, 3.0);
    let all = found();
    for kind in ["package", "end-of-life"] {
        assert_eq!(results(&all, "packages", kind), Vec::<Value>::new());
    }
    let said = missing(&all);
    assert!(said.contains("newer versions of ") && said.contains("end of life of nodejs"), "{said}");
    assert_eq!(all["summary"]["error"], 0);
    assert_eq!(gate.metric("freshgate_scan_failures_total"), Some(0.0));
    assert_eq!(gate.metric("freshgate_running_images_by_age_days{namespace=\"shop\",le=\"14\"}"), Some(3.0));
    assert!(!gate.process.log().contains("ERROR"), "{}", gate.process.log());
}
