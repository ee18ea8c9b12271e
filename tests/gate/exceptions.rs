//! Exceptions without a cluster: from the policies folder, for `serve` and for `check`, and the command that writes them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::reviews::{POLICY, PROGRAM, policies, review};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(PROGRAM).args(args).env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What `exception new` writes for the Deployment `checkout` in `shop`.
fn new_exception(more: &[&str]) -> String {
    let args =
        ["exception", "new", "--target", "shop/Deployment/checkout", "--rule", "imageAge", "--text", "closes a hole"];
    let (code, yaml, stderr) = run(&[&args[..], more].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    yaml
}

fn old_image(registry: &Registry) -> String {
    let built = (Utc::now() - TimeDelta::days(112)).to_rfc3339();
    registry.push("shop/checkout", "1", &Config::created("old", &built).image())
}

/// Moves a file's time into the past.
fn age(path: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 86_400);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn check_honours_an_exception_beside_the_policies() {
    let registry = Registry::distribution();
    let image = old_image(&registry);
    let folder = policies(POLICY);
    let path = folder.path().join("checkout.yaml");
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let manifest = |name: &str| {
        let file = manifests.join(format!("{name}.json"));
        let mut object = review(name, &image)["request"]["object"].clone();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("Deployment");
        std::fs::write(&file, object.to_string()).unwrap();
        file.display().to_string()
    };
    let (checkout, cart) = (manifest("checkout"), manifest("cart"));
    let folder_name = folder.path().display().to_string();
    let host = registry.host();
    let check = |file: &str| {
        run(&[
            "check",
            "-f",
            file,
            "--policies",
            &folder_name,
            "--insecure-registry",
            &host,
            "-n",
            "shop",
            "-o",
            "json",
        ])
    };
    assert_eq!(check(&checkout).0, 1);
    std::fs::write(&path, new_exception(&["--reason", "security", "--expires", "7d"])).unwrap();
    let (code, stdout, stderr) = check(&checkout);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said[0]["decision"], "warn");
    assert!(said[0]["messages"][0].as_str().unwrap().contains("an exception lets it pass"), "{said}");
    assert_eq!(check(&cart).0, 1, "it is for one workload");

    // From when the file was changed it may last 14 days.
    age(&path, 8);
    let (code, _, stderr) = check(&checkout);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("checkout.yaml:") && stderr.contains("spec.expiresAt: the exception would last "),
        "{stderr}"
    );
    let (code, stdout, _) = run(&["policy", "lint", &folder_name]);
    assert_eq!(code, 2);
    assert!(stdout.contains("and one with reason security may last 14 days here"), "{stdout}");
    let past = (Utc::now() - TimeDelta::seconds(5)).to_rfc3339();
    let expired: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut expired = expired;
    expired["spec"]["expiresAt"] = json!(past);
    std::fs::write(&path, expired.to_string()).unwrap();
    assert_eq!(check(&checkout).0, 1, "what has ended has no effect, and is no mistake");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_honours_the_folders_exceptions_and_follows_them() {
    install_tls();
    let registry = Registry::distribution();
    let image = old_image(&registry);
    let folder = policies(POLICY);
    let folder_name = folder.path().display().to_string();
    let gate =
        Gate::start(Path::new(PROGRAM), &["--policies", &folder_name, "--insecure-registry", &registry.host()], &[]);
    let client = gate.client();
    // Dry runs, or what the exception let in would count as having run here, and going back to it is allowed.
    let mut asked = review("checkout", &image);
    asked["request"]["dryRun"] = json!(true);
    let allowed = async || {
        let answer = client.post(gate.url()).json(&asked).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["response"]["allowed"] == true
    };
    assert!(!allowed().await);
    let path = folder.path().join("checkout.yaml");
    std::fs::write(&path, new_exception(&["--reason", "incident", "--expires", "1h"])).unwrap();
    let until = async |wanted: bool| {
        let give_up = std::time::Instant::now() + crate::cluster::process::READY_WITHIN;
        while allowed().await != wanted {
            assert!(std::time::Instant::now() < give_up, "{}", gate.process.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    until(true).await;
    // A bad one changes nothing; without it, all is as before.
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("checkout", "check*")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(allowed().await);
    assert!(
        gate.process.log().contains("is a glob, and an exception is for exact workloads"),
        "{}",
        gate.process.log()
    );
    std::fs::remove_file(&path).unwrap();
    until(false).await;

    // Who asks such a gate for an exception as an object is told where they go.
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "name": "fix", "dryRun": true,
        "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"}, "object": {},
    }});
    let answer = client.post(gate.url()).json(&body).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(
        answer["response"]["status"]["message"],
        "exception: this gate takes its exceptions from files and cannot ask who may grant one; put it into the policies folder, or serve with --kubernetes.\ndry run, not recorded"
    );
}

#[test]
fn exception_new_names_what_is_missing_and_prints_nothing_else() {
    let (code, stdout, stderr) =
        run(&["exception", "new", "--target", "shop/Deployment/checkout", "--rule", "imageAge"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(stderr, "error: --reason is missing: security, incident, reliability-fix, dependency-outage, other\n");
    let all = [
        "--target",
        "shop/Deployment/checkout",
        "--rule",
        "imageAge",
        "--reason",
        "other",
        "--text",
        "x",
        "--expires",
        "30d",
    ];
    let (code, stdout, stderr) = run(&[&["exception", "new"], &all[..]].concat());
    assert_eq!(code, 0);
    assert!(stdout.starts_with("apiVersion: freshgate.dev/v1alpha1\nkind: GateException\n"), "{stdout}");
    assert_eq!(
        stderr,
        "warning: an exception with reason other lasts 3d at most where no policy allows more; this one is longer\n"
    );
}
