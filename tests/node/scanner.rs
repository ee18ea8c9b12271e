//! The scan of a real node's workloads: reports come, a newer tag is told to whoever deploys, an image that was built anew is
//! found and its rollout ends that, and a leader that goes in the middle is followed by the other.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, deployment};
use crate::cluster::control_plane::{Said, wait_for};
use crate::cluster::node::content::built_days_ago;
use crate::release::{NAME, NAMESPACE, Release};
use crate::rolling::install_two;

pub const SCENARIOS: &[Scenario] = &[("what_runs_is_scanned_and_a_lost_leader_loses_nothing", scanned)];

const REPORTS: &str = include_str!("../fixtures/reports/reports.openreports.io.yaml");
const POLICY_REPORTS: &str = include_str!("../fixtures/reports/policyreports.wgpolicyk8s.io.yaml");
/// Both kinds of reports that a cluster may have.
const KINDS: [&str; 2] = ["reports.openreports.io", "policyreports.wgpolicyk8s.io"];
const PLACE: &str = "scanned";

fn scanned(bed: &Bed) {
    let node = &bed.node;
    for definition in [REPORTS, POLICY_REPORTS] {
        node.apply(definition);
    }
    // All this ran before the gate came.
    node.namespace(PLACE, &["environment=production"]);
    let runtime = node.push("scan/node", "18.20.4", &built_days_ago("node 18.20.4", 78));
    let old = node.push("scan/old", "1.0.0", &built_days_ago("scanned old", 112));
    let (before, after) = (built_days_ago("before", 50), built_days_ago("after", 1));
    let moving = node.push("scan/moving", "1.0.0", &before);
    for (name, image) in [("node", &runtime), ("old", &old), ("moving", &moving), ("fresh", &bed.fresh)] {
        let mut object = deployment(name, image);
        // What its tag means is asked at each start.
        object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        assert!(bed.create(PLACE, &object).success);
    }
    for name in ["node", "old", "moving", "fresh"] {
        bed.wait_until_available(PLACE, &format!("deployment/{name}"));
    }
    let release = install_two(bed, &["scan.interval=10s"]);
    let nudges = json!({"spec": {"dependencies": {"nudges": 2}}}).to_string();
    node.get(&["patch", "gatepolicy", "production", "--type=merge", "-p", &nudges]);

    for kind in KINDS {
        wait_for("the report", || results(bed, kind, "old", "imageAge").len() == 1);
        let found = &results(bed, kind, "old", "imageAge")[0];
        assert_eq!((&found["result"], &found["policy"]), (&json!("fail"), &json!("production")));
        assert!(found["message"].as_str().unwrap().contains("was built 112 days ago"), "{found}");
        let due = &results(bed, kind, "node", "imageAge")[0];
        assert_eq!(due["result"], "warn", "{due}");
        for rule in ["newer-tag", "rebuilt"] {
            assert_eq!(of_rule(bed, kind, rule), Vec::<Value>::new(), "nothing newer is there");
        }
        let table = node.get(&["-n", PLACE, "get", kind]);
        assert!(table.contains("freshgate"), "{table}");
    }
    let counts = || {
        let said = node.get(&["get", "gatepolicy", "production", "-o", "jsonpath={.status.workloads}"]);
        serde_json::from_str::<Value>(&said).unwrap_or_default()
    };
    wait_for("the counts", || counts() == json!({"matched": 4, "warned": 1, "refused": 1}));

    newer_tag(bed, &runtime);
    rebuilt_while_the_leader_goes(bed, &release, &before.digest, || {
        node.push("scan/moving", "1.0.0", &after);
    });
    // Rolled out, it is what its tag means.
    node.get(&["-n", PLACE, "rollout", "restart", "deployment/moving"]);
    bed.wait_until_available(PLACE, "deployment/moving");
    for kind in KINDS {
        wait_for("the end of the finding", || of_rule(bed, kind, "rebuilt").is_empty());
        assert_eq!(of_rule(bed, kind, "newer-tag").len(), 1, "the other one stays");
    }
    assert_eq!(counts(), json!({"matched": 4, "warned": 1, "refused": 1}));
    // Where nothing runs any more there is nothing to report.
    node.get(&["-n", PLACE, "delete", "deployment", "--all"]);
    for kind in KINDS {
        wait_for("the end of the report", || report(bed, kind) == Value::Null);
    }
    bed.remove_namespace(PLACE);
    drop(release);
    node.get(&["delete", "crd", KINDS[0], KINDS[1]]);
}

/// A newer tag comes: it is reported, and whoever deploys the other one hears of it.
fn newer_tag(bed: &Bed, image: &str) {
    let built = Utc::now() - TimeDelta::days(78);
    bed.node.push("scan/node", "18.20.8", &built_days_ago("node 18.20.8", 41));
    for kind in KINDS {
        wait_for("the newer tag", || !results(bed, kind, "node", "newer-tag").is_empty());
        let step = &results(bed, kind, "node", "newer-tag")[0];
        let (from, to) = (&step["properties"]["from"], &step["properties"]["to"]);
        assert_eq!((from, to), (&json!("18.20.4"), &json!("18.20.8")));
    }
    let apply = || -> Said {
        let object = deployment("another", image).to_string();
        bed.node.kubectl_with(&["-n", PLACE, "apply", "--dry-run=server", "-f", "-"], &object)
    };
    let nudge = || {
        let refused = (built + TimeDelta::days(90)).date_naive();
        let days = (refused - Utc::now().date_naive()).num_days();
        format!(
            "Warning: freshgate: node 18.20.4 → 18.20.8 is a patch, 41 days old; this build is refused in {days} days\n"
        )
    };
    // Each replica reads what the leader found.
    let mut in_a_row = 0;
    wait_for("both replicas to know", || {
        in_a_row = if apply().stderr.contains(&nudge()) { in_a_row + 1 } else { 0 };
        in_a_row == 6
    });
    assert!(apply().success);
}

/// The tag is built anew while the registry answers nobody, so that the leader goes in the middle of a look-up.
fn rebuilt_while_the_leader_goes(bed: &Bed, release: &Release<'_>, before: &str, build: impl FnOnce()) {
    let node = &bed.node;
    let holder = || {
        let lease = node.json(&["-n", NAMESPACE, "get", "lease", NAME]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    let first = holder();
    let last_round = |pod: &str| release.figures(pod, "freshgate_scan_last_success_seconds").into_iter().sum::<f64>();
    build();
    node.registry.process.stop();
    // Rounds are a second apart, so one that lasts for longer is held up.
    let (mut round, mut since) = (last_round(&first), Instant::now());
    wait_for("a round that stands", || {
        let now = last_round(&first);
        if now > round {
            (round, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_secs(6)
    });
    assert_eq!(holder(), first, "it leads all the while");
    let ended = Utc::now().timestamp();
    node.get(&["-n", NAMESPACE, "delete", "pod", &first, "--wait=false"]);
    wait_for("another leader", || ![String::new(), first.clone()].contains(&holder()));
    node.registry.process.signal("CONT");
    let second = holder();
    #[allow(clippy::cast_precision_loss)] // seconds since 1970
    wait_for("a round of the other", || last_round(&second) > ended as f64);
    for kind in KINDS {
        wait_for("the finding", || !results(bed, kind, "moving", "rebuilt").is_empty());
        assert_eq!(results(bed, kind, "moving", "rebuilt")[0]["properties"]["from"], before);
        // What the first one found is not looked for anew, nor lost.
        assert_eq!(results(bed, kind, "node", "newer-tag").len(), 1);
        assert_eq!(results(bed, kind, "old", "imageAge").len(), 1);
    }
    wait_for("the first to be gone", || !node.kubectl(&["-n", NAMESPACE, "get", "pod", &first]).success);
    assert_eq!(holder(), second);
    bed.wait_until_available(NAMESPACE, &format!("deployment/{NAME}"));
}

/// The report of the namespace; null where there is none.
fn report(bed: &Bed, kind: &str) -> Value {
    let said = bed.node.get(&["-n", PLACE, "get", kind, "freshgate", "-o", "json", "--ignore-not-found"]);
    serde_json::from_str(&said).unwrap_or_default()
}

/// Its results by a rule.
fn of_rule(bed: &Bed, kind: &str, rule: &str) -> Vec<Value> {
    let all = report(bed, kind)["results"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["rule"] == rule).collect()
}

/// What it says of a workload by a rule.
fn results(bed: &Bed, kind: &str, name: &str, rule: &str) -> Vec<Value> {
    of_rule(bed, kind, rule).into_iter().filter(|one| one["resources"][0]["name"] == name).collect()
}
