//! Certificates that the gate makes: replaced twice under load, kept when what is handed in is broken, asked of callers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, curl};
use crate::cluster::control_plane::wait_for;
use crate::release::{FAIL, NAMESPACE, Release};
use crate::rolling::start_load;

pub const SCENARIOS: &[Scenario] = &[
    ("certificates_rotate_twice_under_load_and_a_broken_pair_changes_nothing", rotate),
    ("only_the_api_server_may_call_where_callers_show_certificates", callers),
];

const SECRET: &str = "freshgate-tls";

fn rotate(bed: &Bed) {
    let release = Release::install(bed, &[FAIL, &["certificates.lifetime=1m"]].concat());
    let load = start_load(bed);
    let entry = |name: &str| {
        let secret = bed.node.json(&["-n", NAMESPACE, "get", "secret", SECRET]);
        secret["data"][name].as_str().unwrap().to_owned()
    };
    let (mut certificates, mut bundles) = (BTreeSet::new(), BTreeSet::new());
    // Two replacements, each at two thirds of a minute.
    let give_up = std::time::Instant::now() + Duration::from_secs(420);
    while certificates.len() < 3 {
        assert!(std::time::Instant::now() < give_up, "{} certificates were seen", certificates.len());
        certificates.insert(entry("tls.crt"));
        bundles.insert(entry("ca.crt"));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(bundles.len() > certificates.len(), "between two authorities there is a bundle with both");

    // Somebody breaks the pair: it is told, what is served stays, and the gate puts it right.
    let gate = release.pods().remove(0);
    let failures = || release.figures(&gate, "freshgate_certificate_reload_failures_total").iter().sum::<f64>();
    let before = failures();
    let broken = json!({"stringData": {"tls.key": "-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n"}});
    bed.node.get(&["-n", NAMESPACE, "patch", "secret", SECRET, "-p", &broken.to_string()]);
    wait_for("the failure to be told", || failures() > before);
    wait_for("the pair to be put right", || entry("tls.key").len() > 100);
    let ends = release.figures(&gate, "freshgate_certificate_not_after_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(ends.iter().any(|&ends| ends > now && ends < now + 120.0), "its end is told: {ends:?} at {now}");
    std::thread::sleep(Duration::from_secs(5));
    let outcomes = load.stop();
    println!("{} calls, the slowest {:.1} s", outcomes.succeeded, outcomes.slowest.as_secs_f64());
    outcomes.assert_all_judged(1_000);
    bed.remove_namespace("load");
}

fn callers(bed: &Bed) {
    let node = &bed.node;
    node.namespace(NAMESPACE, &[]);
    let authority = format!("--from-file=ca.crt={}", node.folder().join("ca.crt").display());
    node.get(&["-n", NAMESPACE, "create", "secret", "generic", "callers", &authority]);
    let release = Release::install(
        bed,
        &["webhook.clientCertificate.caSecret=callers", "webhook.clientCertificate.names={api-server-caller}"],
    );
    // It denies, so the API server was let in. Others are not, whatever certificate they have.
    let gate = release.pods().remove(0);
    let address = node.json(&["-n", NAMESPACE, "get", "pod", &gate])["status"]["podIP"].as_str().unwrap().to_owned();
    let url = format!("https://{address}:8443/validate?timeout=5s");
    let file = |name: &str| node.folder().join(name).display().to_string();
    let status = |more: &[&str]| {
        let args =
            ["-k", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "--data", "{}"];
        curl(&[&args[..], more, &[&url]].concat())
    };
    let (crt, key) = (file("caller.crt"), file("caller.key"));
    assert_eq!(status(&["--cert", &crt, "--key", &key]), "400", "it is let in, and its review is none");
    let nameless = status(&[]);
    assert!(["401", "403"].contains(&nameless.as_str()), "{nameless}");
    let (crt, key) = (file("admin.crt"), file("admin.key"));
    assert_eq!(status(&["--cert", &crt, "--key", &key]), "403", "of the same authority, with another name");
}
