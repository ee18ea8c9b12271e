//! `simulate --cluster`: other policies, tried on what runs in a real cluster, beside those that are in force there.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, POLICY, allowed, built_days_ago, deployment, job, pod, workload};
use crate::cluster::control_plane::{ControlPlane, wait_for};
use crate::cluster::registry::Registry;

pub const SCENARIOS: &[Scenario] = &[("other_policies_are_tried_on_what_runs", tried)];

/// On a control plane of its own, so that nothing else runs. No gate is there: what runs came before it.
fn tried(_: &Bed) {
    let plane = ControlPlane::start();
    let program = Path::new(env!("CARGO_BIN_EXE_freshgate"));
    let kubeconfig = plane.kubeconfig();
    let registry = Registry::distribution();
    let push = |tag: &str, days: i64| registry.push("shop/app", tag, &built_days_ago(tag, days));
    let (fresh, ageing, old) = (push("3", 3), push("2", 80), push("1", 112));
    let folder = tempfile::tempdir().unwrap();
    let simulate = |policies: &str, more: &[&str]| {
        std::fs::write(folder.path().join("policy.yaml"), policies).unwrap();
        let mut command = Command::new(program);
        command.args(["simulate", "--cluster", "--policies"]).arg(folder.path());
        command
            .args(["--insecure-registry", &registry.host()])
            .args(more)
            .env("KUBECONFIG", &*kubeconfig)
            .env("NO_COLOR", "1");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };

    // A cluster that has not heard of the gate: nothing is in force.
    plane.namespace("shop", &["environment=production"]);
    plane.namespace("lab", &[]);
    let create = |namespace: &str, object: &Value| {
        allowed(&plane.kubectl_as("admin", &["-n", namespace, "create", "-f", "-"], &object.to_string()));
    };
    create("shop", &deployment("fresh", &fresh));
    create("shop", &deployment("ageing", &ageing));
    create("shop", &workload("apps/v1", "StatefulSet", "old", &old));
    create("shop", &pod("bare", &old));
    create("lab", &deployment("old", &old));
    // Neither stopped nor scheduled work, nor what others answer for, counts.
    let mut stopped = deployment("stopped", &old);
    stopped["spec"]["replicas"] = json!(0);
    create("shop", &stopped);
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job("x", &old)["spec"]}},
    });
    create("shop", &cron);
    wait_for("the Pods", || {
        let said = plane.kubectl(&["-n", "shop", "get", "pods", "-o", "name"]);
        said.stdout.lines().count() >= 4
    });
    let figures = |found: &Value| {
        ["decisions", "deniedThen", "deniedNow", "newDenials", "liftedDenials"]
            .map(|name| found[name].as_u64().unwrap())
    };
    let (code, stdout, stderr) = simulate(POLICY, &["-o", "json"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stderr,
        "warning: the cluster has no GatePolicies: nothing is in force there\nwarning: the cluster has no BudgetSources: nothing is in force there\n"
    );
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(figures(&found), [5, 0, 2, 2, 0], "{found}");

    // Beside the policy in force, a stricter one for all, and one that is for nobody here.
    let crds = Command::new(program).arg("crds").output().unwrap();
    assert!(plane.apply(&String::from_utf8(crds.stdout).unwrap()).success);
    assert!(plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).success);
    assert!(plane.apply(POLICY).success);
    let stricter = POLICY
        .replace(
            "match: {namespaceSelector: {matchLabels: {environment: production}}}",
            "match: {excludeNamespaces: [none]}",
        )
        .replace("90d", "60d");
    let (code, stdout, stderr) = simulate(&stricter, &["-o", "json", "--fail-on-new-denials"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(figures(&found), [5, 2, 4, 2, 0], "{found}");
    assert_eq!(
        found["byRule"],
        json!([
            {"namespace": "lab", "rule": "imageAge", "newDenials": 1, "liftedDenials": 0},
            {"namespace": "shop", "rule": "imageAge", "newDenials": 1, "liftedDenials": 0},
        ])
    );
    let hit = found["firstHit"].as_array().unwrap();
    let workloads: Vec<&str> = hit.iter().map(|hit| hit["workload"].as_str().unwrap()).collect();
    assert_eq!(workloads, ["Deployment lab/old", "Deployment shop/ageing"]);
    assert!(hit[1]["why"].as_str().unwrap().contains("was built 80 days ago"), "{hit:?}");
    assert_eq!(hit[0].get("decisionId"), None);
    let (code, stdout, _) = simulate(&stricter, &[]);
    assert_eq!(code, 0, "it only fails when it is asked to");
    let head = "5 workloads that run: 2 refusals by the policies in force, 4 by these; 1 warning by those in force, 0 by these\n2 more refused, 0 no longer refused, if each were made today\n";
    assert!(stdout.starts_with(head) && stdout.contains("Deployment shop/ageing"), "{stdout}");
    let (code, stdout, _) =
        simulate(&POLICY.replace("production}}", "moon}}"), &["-o", "json", "--fail-on-new-denials"]);
    assert_eq!((code, figures(&serde_json::from_str(&stdout).unwrap())), (0, [5, 2, 0, 0, 2]));

    // From where the registry may not be asked, nobody takes that for an answer.
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let mut command = Command::new(program);
    command.args(["simulate", "--cluster", "--policies"]).arg(folder.path()).env("KUBECONFIG", &*kubeconfig);
    let stdout = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        stdout.contains(
            "of 4 workloads an image could not be looked up from here (NotAllowed), and onUnknown was applied\n"
        ),
        "{stdout}"
    );
}
