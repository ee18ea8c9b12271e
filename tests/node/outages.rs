//! The API server away, and the webhook changed by others: it is seen, it is told, and things are as before afterwards.

use std::time::Duration;

use serde_json::json;

use crate::Scenario;
use crate::bed::{Bed, curl, pod};
use crate::cluster::control_plane::wait_for;
use crate::release::{NAMESPACE, Release, WEBHOOK};

pub const SCENARIOS: &[Scenario] = &[
    ("an_api_server_that_stands_still_for_30_s_leaves_the_policies_in_force", stands_still),
    ("a_registry_that_stands_still_leaves_the_gate_ready_and_what_it_knows_decided", registry),
    ("a_change_of_the_webhook_by_others_is_told_within_a_minute", drift),
    ("a_namespace_is_left_out_by_its_name_alone", left_out),
];

fn stands_still(bed: &Bed) {
    let release = Release::install(bed, &[]);
    let gate = release.pods().remove(0);
    let place = bed.node.json(&["-n", NAMESPACE, "get", "pod", &gate]);
    let address = place["status"]["podIP"].as_str().unwrap().to_owned();
    let restarts = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap();
    let review = bed.node.folder().join("review.json");
    let mut object = pod("asked", &bed.old);
    object["metadata"]["namespace"] = json!("probe");
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "probe", "name": "asked",
            "operation": "CREATE", "userInfo": {"username": "alice"}, "object": object, "oldObject": null,
        },
    });
    std::fs::write(&review, body.to_string()).unwrap();
    bed.node.stop_api_server(Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_secs(20));
        let asked = format!("https://{address}:8443/validate?timeout=5s");
        let answer = curl(&[
            "-k",
            "-H",
            "Content-Type: application/json",
            "--data-binary",
            &format!("@{}", review.display()),
            &asked,
        ]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(answer["response"]["allowed"], false, "{answer}");
        assert!(
            answer["response"]["status"]["message"].as_str().unwrap().contains("was built 112 days ago"),
            "{answer}"
        );
        assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("http://{address}:8080/readyz")]), "200");
        let page = curl(&[&format!("http://{address}:8080/metrics")]);
        let staleness =
            page.lines().find_map(|line| line.strip_prefix("freshgate_policies_staleness_seconds ")).unwrap();
        assert!(staleness.parse::<f64>().unwrap() > 5.0, "it says for how long it has heard nothing: {staleness}");
    });
    release.wait_until_it_guards();
    wait_for("the gate to hear again", || {
        release.figures(&gate, "freshgate_policies_staleness_seconds").iter().all(|&seconds| seconds < 5.0)
    });
    let after = bed.node.json(&["-n", NAMESPACE, "get", "pod", &gate]);
    assert_eq!(restarts(&after), restarts(&place), "it was never restarted");
}

fn registry(bed: &Bed) {
    let release = Release::install(bed, &[]);
    let gate = release.pods().remove(0);
    let registry = &bed.node.registry.process;
    registry.stop();
    let begun = std::time::Instant::now();
    // Longer than two probes, which would take it out of the Service.
    while begun.elapsed() < Duration::from_secs(10) {
        let said = bed.try_to_create("probe", &pod("old", &bed.old));
        assert!(said.stderr.contains("was built 112 days ago"), "{}", said.stderr);
        assert_eq!(release.pods(), std::slice::from_ref(&gate), "it is ready");
    }
    registry.signal("CONT");
    release.assert_deploys_work("probe");
}

fn drift(bed: &Bed) {
    let release = Release::install(bed, &[]);
    let gate = release.pods().remove(0);
    let differs = |expected: f64| {
        wait_for("the gate to tell", || release.figures(&gate, "freshgate_webhook_drift") == [expected]);
    };
    differs(0.0);
    let begun = std::time::Instant::now();
    let patch = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]);
    bed.node.get(&["patch", "validatingwebhookconfiguration", WEBHOOK, "--type=json", "-p", &patch.to_string()]);
    differs(1.0);
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    wait_for("an Event", || {
        let events = bed.node.get(&[
            "get",
            "events",
            "-A",
            "-o",
            "jsonpath={.items[*].involvedObject.kind} {.items[*].regarding.kind}",
        ]);
        events.contains("ValidatingWebhookConfiguration")
    });
    release.upgrade(&["webhook.manage=Enforce"]);
    let policy = |release: &Release<'_>| release.webhook().unwrap()["webhooks"][0]["failurePolicy"].clone();
    wait_for("the change to be undone", || policy(&release) == "Ignore");
    bed.node.get(&["patch", "validatingwebhookconfiguration", WEBHOOK, "--type=json", "-p", &patch.to_string()]);
    wait_for("the change to be undone again", || policy(&release) == "Ignore");
}

fn left_out(bed: &Bed) {
    let release = Release::install(bed, &["webhook.excludeMoreNamespaces={storage}"]);
    bed.node.namespace("storage", &["environment=production"]);
    let said = bed.try_to_create("storage", &pod("old", &bed.old));
    assert!(said.success, "{}", said.stderr);
    // A label of one's own leaves nobody out, and the one that counts cannot be changed.
    bed.node.namespace("tenant", &["environment=production", "admission.freshgate.dev/ignore=true"]);
    let forged =
        bed.node.kubectl(&["label", "--overwrite", "namespace", "tenant", "kubernetes.io/metadata.name=storage"]);
    wait_for("a refusal", || !bed.try_to_create("tenant", &pod("old", &bed.old)).success);
    let label =
        bed.node.json(&["get", "namespace", "tenant"])["metadata"]["labels"]["kubernetes.io/metadata.name"].clone();
    assert_eq!(label, "tenant", "{}", forged.stderr);
    bed.remove_namespace("storage");
    bed.remove_namespace("tenant");
    drop(release);
}
