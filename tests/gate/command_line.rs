//! The command line, as a newcomer and as CI use it.

mod budgets;
mod cases;
mod flags;
mod manifests;
pub mod output;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::reviews::{POLICY, PROGRAM, policies};
use crate::cluster::image::{self, Config, entry, index};
use crate::cluster::registry::Registry;

pub fn run(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(PROGRAM)
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs the program with stdout going there; its exit code and what it said on stderr.
pub fn run_into(stdout: impl Into<Stdio>, args: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).args(args).stdin(Stdio::null()).stdout(stdout).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A disk without room.
pub fn full() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads any more.
pub fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn built(seed: &str, days_ago: i64) -> image::Image {
    Config::created(seed, &(Utc::now() - TimeDelta::days(days_ago)).to_rfc3339()).image()
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: app, image: '{image}'}}]}}\n"
    )
}

#[test]
fn check_says_what_admission_would_say() {
    let registry = Registry::distribution();
    let (fresh, old) = (registry.push("app", "fresh", &built("f", 3)), registry.push("app", "old", &built("o", 112)));
    let folder = policies(POLICY);
    let folder = folder.path().display().to_string();
    let host = registry.host();
    let check = |manifests: &str, more: &[&str]| {
        let args = [&["check", "-f", "-", "--policies", &folder, "--insecure-registry", &host][..], more].concat();
        run(&args, manifests)
    };
    let (code, stdout, stderr) = check(&pod("fresh", &fresh), &["-o", "json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        said,
        serde_json::json!([{"kind": "Pod", "namespace": "default", "name": "fresh", "decision": "allow", "messages": []}])
    );

    // Several documents, a List, things without images, and JSON.
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: x}}}}\n- {}",
        pod("listed", &old).trim().replace('\n', "\n  ")
    );
    let several = format!("# Source: chart\n---\n{}---\n---\n{list}\n", pod("fresh", &fresh));
    let (code, stdout, _) = check(&several, &["-o", "json", "-n", "shop"]);
    assert_eq!(code, 1);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said[1]["name"], "listed");
    assert_eq!(said[1]["namespace"], "shop");
    assert_eq!(said[1]["decision"], "deny");
    let message = said[1]["messages"][0].as_str().unwrap();
    assert!(
        message.contains("was built 112 days ago")
            && message.ends_with("dry run, not recorded · ask whoever owns policy \"production\""),
        "{message}"
    );

    let (code, stdout, _) = check(&several, &[]);
    assert_eq!(code, 1);
    assert!(stdout.contains("deny Pod default/listed\n  binary-age: image "), "{stdout}");
    assert!(stdout.ends_with("1 allowed, 0 with warnings, 1 refused\n"), "{stdout}");

    let (code, _, stderr) = check("kind: [", &[]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: stdin:1: "), "{stderr}");
    assert_eq!(check(&format!("{}---\na: b\n", pod("old", &old)), &[]).0, 1, "refused outranks unreadable");
    let (code, _, stderr) = check("a: b\n", &[]);
    assert_eq!(
        (code, stderr.as_str()),
        (2, "error: stdin:1: it is no Kubernetes object: apiVersion or kind is missing\n")
    );
}

#[test]
fn check_knows_a_namespaces_labels_from_manifests_and_flags() {
    let registry = Registry::distribution();
    let old = registry.push("app", "old", &built("o", 112));
    let policy = POLICY.replace("spec:\n", "spec:\n  match: {namespaceSelector: {matchLabels: {tier: gold}}}\n");
    let folder = policies(&policy);
    let folder = folder.path().display().to_string();
    let host = registry.host();
    let base = ["check", "-f", "-", "--policies", &folder, "--insecure-registry", &host];
    let (code, _, stderr) = run(&base, &pod("x", &old));
    assert_eq!(code, 0);
    assert_eq!(
        stderr,
        "warning: the labels of namespace \"default\" are not known here, and policy \"production\" may be for it by them; give --namespace-labels, or its Namespace object among the manifests\n"
    );
    assert_eq!(run(&[&base[..], &["--namespace-labels", "tier=gold"]].concat(), &pod("x", &old)).0, 1);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {tier: gold}}\n---\n";
    assert_eq!(run(&base, &format!("{namespace}{}", pod("x", &old))).0, 1);
    let (code, _, stderr) = run(&["serve", "--tls-self-signed", "--store", "stdout", "--policies", &folder], "");
    assert_eq!(code, 2);
    assert!(stderr.contains("without a cluster only kubernetes.io/metadata.name is known of a namespace; select by `namespaces`, or serve with --kubernetes"), "{stderr}");
}

#[test]
fn inspect_shows_every_date_and_why() {
    let registry = Registry::crane();
    let image = index(
        vec![
            entry("amd64", built("a", 10)),
            entry("arm64", Config::created("b", "1970-01-01T00:00:00Z").platform("arm64").image()),
        ],
        &serde_json::json!({}),
    );
    let reference = registry.push("app", "1", &image);
    let (code, stdout, stderr) =
        run(&["inspect", &reference, "-o", "json", "--insecure-registry", &registry.host()], "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said["reference"], reference);
    assert_eq!(said["digest"], image.digest);
    assert_eq!(said["state"], "unknown", "one platform is");
    assert_eq!(said["reason"], "NoDate");
    assert_eq!(said["source"], "config");
    assert_eq!(said["class"], "claim");
    assert!(said["buildTime"].as_str().unwrap().ends_with('Z'));
    let age = said["ageSeconds"].as_i64().unwrap();
    assert!((864_000..864_100).contains(&age), "{age}");
    assert_eq!(said["platforms"][0]["platform"], "linux/amd64");
    assert_eq!(said["platforms"][0]["state"], "known");
    assert_eq!(said["platforms"][1]["state"], "unknown");
    assert_eq!(
        said["platforms"][1]["candidates"][0]["why"],
        "1970 is what reproducible builds write in place of a date"
    );
    assert_eq!(said["candidates"][0]["used"], true);

    let (code, stdout, _) = run(&["inspect", "127.0.0.1:1/x", "-o", "json", "--insecure-registry", "127.0.0.1:1"], "");
    assert_eq!(code, 1);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (said["state"].as_str(), said["reason"].as_str(), said["digest"].is_null()),
        (Some("unknown"), Some("Unreachable"), true)
    );
}

#[test]
fn inspect_reads_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    image::write_layout(folder.path(), &[("1.0", &built("a", 10))]);
    for reference in [format!("oci:{}:1.0", folder.path().display()), format!("oci:{}", folder.path().display())] {
        let (code, stdout, stderr) = run(&["inspect", &reference], "");
        assert_eq!(code, 0, "{reference}: {stdout}{stderr}");
        assert!(stdout.contains("(config), 10 days ago"), "{stdout}");
    }
}

#[test]
fn lint_names_file_line_field_and_remedy() {
    let folder = policies(&POLICY.replace("maxAge: 90d", "maxAge: 90d, warnbefore: 3d"));
    let path = folder.path().display().to_string();
    let (code, stdout, _) = run(&["policy", "lint", &path], "");
    assert_eq!(code, 2);
    assert_eq!(
        stdout,
        format!(
            "{path}/policy.yaml:7: spec.imageAge.warnbefore: unknown field \"warnbefore\"; did you mean \"warnBefore\"?\n1 wrong\n"
        )
    );
    std::os::unix::fs::symlink("/no/such/policy", folder.path().join("gone.yaml")).unwrap();
    let (code, _, stderr) = run(&["policy", "lint", &path], "");
    assert_eq!(code, 2);
    assert!(
        stderr.starts_with(&format!("error: the policies in {path}/gone.yaml cannot be read: No such file")),
        "{stderr}"
    );
    let ready = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let (code, stdout, _) = run(&["policy", "lint", ready.to_str().unwrap()], "");
    assert_eq!((code, stdout.as_str()), (0, "4 good, 0 with advice\n"));
    let labelled =
        policies(&POLICY.replace("spec:\n", "spec:\n  match: {namespaceSelector: {matchLabels: {tier: gold}}}\n"));
    let (code, stdout, _) = run(&["policy", "lint", labelled.path().to_str().unwrap()], "");
    assert_eq!(code, 0);
    assert!(
        stdout.contains(
            "advice: spec.match.namespaceSelector: whoever may edit a namespace's labels decides by \"tier\""
        ),
        "{stdout}"
    );
}

#[test]
fn what_is_typed_wrong_gets_a_hint() {
    for (args, said) in [
        (&["serve"][..], "required arguments were not provided"),
        (
            &["serve", "--policies", "x", "--store", "postgres:x", "--tls-self-signed"],
            "the store \"postgres:x\" is not understood: write sqlite:FILE",
        ),
        (&["inspec"], "similar subcommand exists: 'inspect'"),
        (
            &["audit", "query", "--store", "sqlite:/no/such/file"],
            "error: there is no store at /no/such/file: `freshgate serve` makes one when it starts",
        ),
        (
            &["audit", "query", "--store", "sqlite:x", "--since", "someday"],
            "error: --since \"someday\" is no time: write it as",
        ),
        (
            &["check", "-f", "x", "--policies", "/no/such/folder"],
            "error: the policies in /no/such/folder cannot be read: No such file or directory (os error 2); name a folder whose *.yaml and *.yml files can be read\n",
        ),
        (&["inspect", "x", "--mirror", "x"], "is not HOST[/PATH]=oci:DIR or HOST[/PATH]=HOST[:PORT]"),
    ] {
        let (code, _, stderr) = run(args, "");
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let (code, help, _) = run(&["serve", "--help"], "");
    assert_eq!(code, 0);
    for words in
        ["[default: 0.0.0.0:8443]", "[env: FRESHGATE_STORE]", "--insecure-registry <HOST[:PORT]>", "Seconds for which"]
    {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(run(&["--version"], "").1.starts_with("freshgate 0.1.0"));
    assert!(run(&["completions", "bash"], "").1.contains("_freshgate"));
}
