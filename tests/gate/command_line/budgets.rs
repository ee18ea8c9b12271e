//! `freshgate budgets`: its JSON is a contract, and its exit code is what CI asks for.

use chrono::SecondsFormat;
use serde_json::json;
use tempfile::TempDir;

use super::*;

const SOURCE: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: slo}
spec:
  format: File
  file: {path: budgets.json}
  service:
    from: [Mapping, NamespaceLabel, WorkloadLabel]
    mapping: [{namespace: shop, name: 'checkout*', service: checkout}]
";

/// A folder with a source, its snapshot, and a policy that names it.
fn folder(budgets: &Value, policy: &str) -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    std::fs::write(folder.path().join("source.yaml"), SOURCE).unwrap();
    if !policy.is_empty() {
        std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    }
    std::fs::write(folder.path().join("budgets.json"), json!({"time": time, "budgets": budgets}).to_string()).unwrap();
    let path = folder.path().display().to_string();
    (folder, path, time)
}

fn policy(rule: &str) -> String {
    format!(
        "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {{name: p}}\nspec: {{validationActions: [Deny], errorBudget: {{sources: [slo]{rule}}}}}\n"
    )
}

fn counted(service: &str, objective: f64, total: u64, bad: u64) -> Value {
    json!({"service": service, "slo": "availability", "objective": objective, "window": "30d", "total": total, "bad": bad})
}

fn asked(path: &str, more: &[&str]) -> (i32, Vec<Value>) {
    let args: Vec<&str> =
        ["budgets", "--policies", path, "-o", "json"].into_iter().chain(more.iter().copied()).collect();
    let (code, stdout, _) = run(&args, "");
    (code, serde_json::from_str(&stdout).unwrap())
}

#[test]
fn the_json_is_as_it_was_agreed() {
    let mut soon = counted("soon", 0.999, 0, 0);
    let soon_object = soon.as_object_mut().unwrap();
    soon_object.remove("total");
    soon_object.remove("bad");
    soon_object.insert("errorRatio".into(), json!(0.001 * (1.0 - 1.0 / 720.0)));
    soon_object.insert("burnRate".into(), json!(2));
    let (_folder, path, time) = folder(&json!([counted("checkout", 0.999, 1_000_000, 400), soon]), "");
    let (code, budgets) = asked(&path, &[]);
    assert_eq!(code, 0);
    let keys: Vec<&String> = budgets[0].as_object().unwrap().keys().collect();
    let agreed = [
        "burnRate",
        "exhaustedInSeconds",
        "liftAt",
        "objective",
        "remaining",
        "sampleTime",
        "service",
        "slo",
        "source",
        "state",
        "window",
    ];
    assert_eq!(keys, agreed, "these and no others, in whatever order");
    // The graver first.
    assert_eq!((&budgets[0]["service"], &budgets[0]["state"]), (&json!("soon"), &json!("FastBurn")));
    assert_eq!((&budgets[0]["burnRate"], &budgets[0]["exhaustedInSeconds"]), (&json!(2.0), &json!(1_800)));
    let checkout = &budgets[1];
    assert!((checkout["remaining"].as_f64().unwrap() - 0.6).abs() < 1e-9);
    for (key, value) in [
        ("slo", json!("availability")),
        ("objective", json!(0.999)),
        ("window", json!("30d")),
        ("burnRate", Value::Null),
        ("exhaustedInSeconds", Value::Null),
        ("state", json!("Healthy")),
        ("liftAt", Value::Null),
        ("source", json!("slo")),
        ("sampleTime", json!(time)),
    ] {
        assert_eq!(checkout[key], value, "{key}");
    }
}

#[test]
fn an_exhausted_budget_is_exit_code_1() {
    let (_folder, path, _) =
        folder(&json!([counted("checkout", 0.999, 1_000_000, 1_125), counted("basket", 0.999, 10, 0)]), "");
    let (code, budgets) = asked(&path, &[]);
    assert_eq!((code, &budgets[0]["state"], &budgets[1]["state"]), (1, &json!("Exhausted"), &json!("LowTraffic")));
    assert_eq!(budgets[0]["exhaustedInSeconds"], 0);
    let (code, stdout, _) = run(&["budgets", "--policies", &path], "");
    assert_eq!(code, 1);
    let lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][..4], ["checkout", "availability", "30d", "░░░░░░░░░░"]);
    assert!(stdout.contains("-12.5 %") && stdout.contains("one would spend all of it"), "{stdout}");
}

#[test]
fn an_objective_of_one_is_all_or_nothing() {
    let (_folder, path, _) = folder(&json!([counted("one-bad", 1.0, 10, 1), counted("none-bad", 1.0, 10, 0)]), "");
    let (code, budgets) = asked(&path, &[]);
    let of = |service: &str| budgets.iter().find(|one| one["service"] == service).unwrap().clone();
    assert_eq!(code, 1);
    assert_eq!((&of("one-bad")["state"], &of("one-bad")["remaining"]), (&json!("Exhausted"), &Value::Null));
    assert_eq!((&of("none-bad")["state"], &of("none-bad")["remaining"]), (&json!("Healthy"), &json!(1.0)));
}

#[test]
fn thresholds_are_those_of_the_strictest_policy_that_names_the_source() {
    let budgets = json!([counted("a", 0.999, 1_000_000, 750)]); // a quarter is left
    for (policies, state, code) in [
        (String::new(), "Healthy", 0),
        (policy(""), "Healthy", 0),
        (policy(", warnBelow: 30%"), "Low", 0),
        (policy(", freezeBelow: 30%"), "Exhausted", 1),
        (format!("{}---\n{}", policy(""), policy(", freezeBelow: 30%").replace("name: p", "name: q")), "Exhausted", 1),
        (policy(", freezeBelow: 30%").replace("[slo]", "[another]"), "Healthy", 0),
    ] {
        let (_folder, path, _) = folder(&budgets, &policies);
        let (found, budgets) = asked(&path, &[]);
        assert_eq!((budgets[0]["state"].as_str().unwrap(), found), (state, code), "{policies}");
    }
}

#[test]
fn what_cannot_be_asked_is_told_and_is_exit_code_2() {
    let (dir, path, _) = folder(&json!([counted("a", 0.999, 1_000_000, 1)]), "");
    let (code, _, said) = run(&["budgets", "--policies", &path, "--source", "slop"], "");
    assert_eq!((code, said), (2, format!("error: there is no BudgetSource \"slop\" in {path}; there is slo\n")));
    let (code, _, said) = run(&["budgets", "--policies", "no-such-folder"], "");
    assert!(code == 2 && said.contains("no-such-folder"), "{said}");
    let (code, _, said) = run(&["budgets"], "");
    assert!(code == 2 && said.contains("--policies <DIR>"), "{said}");
    for (text, words) in [
        ("not JSON", "budgets.json"),
        (r#"{"time": "yesterday", "budgets": []}"#, "time"),
        (r#"{"time": "2026-11-25T00:00:00Z", "budgets": [{"service": "a"}]}"#, "slo"),
        (r#"{"time": "2026-11-25T00:00:00Z", "budgets": [], "more": 1}"#, "more"),
    ] {
        std::fs::write(dir.path().join("budgets.json"), text).unwrap();
        let (code, stdout, said) = run(&["budgets", "--policies", &path, "-o", "json"], "");
        assert_eq!((code, stdout.trim()), (2, "[]"), "{text}: {said}");
        assert!(said.starts_with("error: source \"slo\": ") && said.contains(words), "{text}: {said}");
    }
    std::fs::remove_file(dir.path().join("budgets.json")).unwrap();
    let (code, _, said) = run(&["budgets", "--policies", &path], "");
    assert!(code == 2 && said.contains("budgets.json"), "{said}");
}

#[test]
fn watching_asks_again_and_ends_with_its_reader() {
    let (_folder, path, _) = folder(&json!([counted("a", 0.999, 1_000_000, 1)]), "");
    let mut child = Command::new(PROGRAM)
        .args(["budgets", "--policies", &path, "-o", "json", "--watch", "--every-seconds", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for _ in 0..2 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line[0]["service"], "a");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn explain_shows_every_place_that_can_name_a_service() {
    let (_folder, path, _) = folder(&json!([counted("checkout", 0.999, 1_000_000, 1_125)]), "");
    let manifest = |name: &str, namespace: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app.kubernetes.io/name: own}}}}\nspec: {{template: {{spec: {{containers: [{{name: app, image: x}}]}}}}}}\n"
        )
    };
    let args = ["budgets", "explain", "-f", "-", "--policies", &path];
    let (code, stdout, said) = run(&args, &manifest("checkout-api", "shop"));
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(
        stdout,
        "Deployment shop/checkout-api
  source slo: service \"checkout\"
    → Mapping \"checkout\": it counts
      NamespaceLabel –: the namespace's labels are not known here: give --namespace-labels, or a Namespace among the manifests
      WorkloadLabel \"own\": an earlier place counts
      availability Exhausted, -12.5 % left
"
    );
    let labelled: Vec<&str> = args
        .iter()
        .copied()
        .chain(["--namespace-labels", "freshgate.dev/service=by-namespace", "-o", "json"])
        .collect();
    let (_, stdout, _) = run(&labelled, &manifest("search", "bank"));
    let explained: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(explained[0]["sources"][0]["service"], "by-namespace");
    let (_, stdout, _) = run(&args, &manifest("search", "bank"));
    assert!(stdout.contains("source slo: service \"own\""), "{stdout}");
}

/// The same rule as in admission, before the push.
#[test]
fn check_says_what_a_freeze_would() {
    let (_folder, path, _) = folder(&json!([counted("checkout", 0.999, 1_000_000, 1_125)]), &policy(""));
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: checkout-api, namespace: shop}\nspec: {template: {spec: {containers: [{name: app, image: x}]}}}\n";
    let (code, stdout, _) = run(&["check", "-f", "-", "--policies", &path, "-o", "json"], manifest);
    let checked: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &checked[0]["decision"]), (1, &json!("deny")));
    let message = checked[0]["messages"][0].as_str().unwrap();
    assert!(
        message.starts_with("error-budget: service \"checkout\" has spent its error budget of SLO \"availability\""),
        "{message}"
    );
}
