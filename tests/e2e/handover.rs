//! A leader that is lost in the middle of a scan, before a PostgreSQL that both replicas share: the other goes on where it
//! ended, and what it found is told by a replica that never scanned.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, allowed, built_days_ago, deployment};
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::faulty::{Fault, FaultyRegistry, Seen};
use crate::cluster::gate::Gate;
use crate::cluster::postgres::Postgres;
use crate::lifecycle::{plane, program};
use crate::scanner::{REPORTS, report, results};

pub const SCENARIOS: &[Scenario] =
    &[("a_leader_that_is_lost_in_the_middle_of_a_scan_is_followed_where_it_ended", followed)];

/// What a scan keeps together, and so what at most is lost with a leader.
const KEPT_TOGETHER: usize = 50;
/// Images whose registry answers, and those on which the first leader spends its time.
const EARLY: usize = 55;
const LATE: usize = 60;

/// Waits for what another leader does, which begins when the lead of the first has run out.
fn patiently(what: &str, gate: &Gate, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(150);
    while !done() {
        assert!(Instant::now() < give_up, "{what} did not come:\n{}", gate.process.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn leads(gate: &Gate) -> bool {
    gate.metric("freshgate_leader") == Some(1.0)
}

/// What a gate says to a deploy, asked past any API server: the warnings.
fn warnings(gate: &Gate, folder: &Path, image: &str) -> Vec<String> {
    let mut object = deployment("another", image);
    object["metadata"]["namespace"] = json!("shop");
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "namespace": "shop",
            "name": "another", "operation": "CREATE", "userInfo": {"username": "alice"}, "object": object,
            "oldObject": null, "dryRun": true,
        },
    });
    let review = folder.join("review.json");
    std::fs::write(&review, body.to_string()).unwrap();
    let output = std::process::Command::new("curl")
        .args(["-sk", "-H", "Content-Type: application/json", "--data-binary"])
        .arg(format!("@{}", review.display()))
        .arg(format!("{}?timeout=5s", gate.url()))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let all = answer["response"]["warnings"].as_array().cloned().unwrap_or_default();
    all.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

/// The tags that somebody asked for.
fn tags(seen: &[Seen]) -> BTreeSet<String> {
    seen.iter().filter_map(|one| one.path.rsplit_once("/manifests/")).map(|(_, tag)| tag.to_owned()).collect()
}

fn prepared(bed: &Bed, plane: &ControlPlane, host: &str) -> String {
    assert!(plane.apply(REPORTS).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    let patch = json!({"spec": {"dependencies": {"nudges": 1}}}).to_string();
    assert!(plane.kubectl(&["patch", "gpol", "production", "--type=merge", "-p", &patch]).success);
    let ageing = built_days_ago("handed over", 50);
    let names = (0..EARLY).map(|number| format!("early-{number:02}")).chain((0..LATE).map(|n| format!("late-{n:02}")));
    let mut objects = Vec::new();
    for name in names {
        bed.push("handover/app", &name, &ageing);
        objects.push(deployment(&name, &format!("{host}/handover/app:{name}")));
    }
    // By its name it is among the first that are looked up.
    bed.push("handover/a/node", "18.20", &built_days_ago("handed over node", 78));
    bed.push("handover/a/node", "18.20.8", &built_days_ago("handed over 18.20.8", 41));
    let node = format!("{host}/handover/a/node:18.20");
    objects.push(deployment("node", &node));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    allowed(&plane.kubectl_as("admin", &["-n", "shop", "create", "-f", "-"], &list));
    node
}

fn followed(bed: &Bed) {
    let (plane, postgres) = (plane(), Postgres::shared());
    let database = postgres.database();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(FaultyRegistry::before(&bed.registry_host()));
    let (host, kubeconfig) = (registry.host(), plane.kubeconfig());
    let node = prepared(bed, &plane, &host);
    registry.set(Fault::Slow(Duration::from_secs(4)).at("/manifests/late-"));

    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |name: &str, folder: &Path| {
        let journal = folder.join("journal").display().to_string();
        let args = [
            "--kubernetes",
            "--insecure-registry",
            &host,
            "--id",
            name,
            "--store",
            &database.url(),
            "--audit-journal",
            &journal,
            "--signing-secret",
            "freshgate-signing-key",
            "--leader-lease",
            "freshgate",
            "--scan-interval",
            "20m",
        ];
        Gate::in_folder(program(), folder, &args, &[("KUBECONFIG", &kubeconfig)])
    };
    let one = start("one", folders[0].path());
    let other = start("other", folders[1].path());
    assert!(leads(&one) && !leads(&other), "the first leads");
    let sql = |text: &str| postgres.psql(&database.name, text).unwrap();
    let kept = || sql("SELECT count(*) FROM freshgate.image_findings").parse::<usize>().unwrap();
    patiently("the first half of the scan", &one, || kept() >= KEPT_TOGETHER);
    let stands = || report(&plane, "reports.openreports.io", "shop");
    assert_eq!(stands(), Value::Null, "nothing is said before all of it is known");

    // Who follows and never scanned tells the next step all the same.
    let nudge = "freshgate: node 18.20 → 18.20.8 is a patch, 41 days old; this build is refused in 12 days";
    let told = || warnings(&other, folders[1].path(), &node);
    patiently("the nudge", &other, || told().last().is_some_and(|last| last == nudge));
    assert!(leads(&one) && !leads(&other));

    // In the middle of its look-ups the first stands still. One of what it kept was written by a clock that was ahead.
    one.process.stop();
    let ahead = "early-07";
    sql(&format!(
        "UPDATE freshgate.image_findings SET scanned_at = '2199-01-01T00:00:00.000000Z' WHERE image LIKE '%:{ahead}'"
    ));
    let known: BTreeSet<String> = sql("SELECT image FROM freshgate.image_findings")
        .lines()
        .filter_map(|image| image.rsplit_once("handover/app:"))
        .map(|(_, tag)| tag.to_owned())
        .collect();
    assert!((KEPT_TOGETHER - 1..EARLY + LATE).contains(&known.len()) && known.contains(ahead), "{known:?}");
    registry.take_seen();
    registry.set(Fault::None);
    patiently("the other to lead", &other, || leads(&other));
    patiently("its report", &other, || stands() != Value::Null);

    let found = stands();
    assert_eq!(results(&found, "node", "newer-tag").len(), 1, "{found}");
    assert_eq!((&found["summary"]["pass"], &found["summary"]["warn"]), (&json!(EARLY + LATE), &json!(2)), "{found}");
    assert_eq!(found["metadata"]["generation"], 1, "it is written once");
    assert_eq!(kept(), EARLY + LATE + 1);
    let asked = tags(&registry.take_seen());
    let again: Vec<&String> = asked.intersection(&known).collect();
    assert_eq!(again, [ahead], "what the first had kept is not asked for again");
    let missing = (0..LATE).map(|number| format!("late-{number:02}")).filter(|tag| !known.contains(tag));
    for tag in missing {
        assert!(asked.contains(&tag), "{tag}");
    }

    // The first wakes up, and does not believe that it leads.
    let version = |found: &Value| found["metadata"]["resourceVersion"].clone();
    one.process.signal("CONT");
    wait_for("the first to answer again", || one.metric("freshgate_leader").is_some());
    for _ in 0..5 {
        assert!(!leads(&one) && leads(&other));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(version(&stands()), version(&found), "nobody writes it again");
    assert!(!one.process.log().contains("reports are not written"), "{}", one.process.log());
}
