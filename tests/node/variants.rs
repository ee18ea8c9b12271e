//! Certificates from elsewhere, a webhook configuration that the chart renders, and the other Helm: it guards all the same,
//! follows what is renewed, and goes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Scenario;
use crate::bed::{Bed, pod};
use crate::cluster::control_plane::{Authority, wait_for};
use crate::cluster::programs;
use crate::release::{FAIL, NAME, NAMESPACE, Release, WEBHOOK};
use crate::rolling::start_load;

pub const SCENARIOS: &[Scenario] = &[
    ("helm_4_installs_a_static_webhook_with_a_certificate_of_a_secret", of_a_secret),
    ("cert_manager_gives_the_certificate_and_its_authority", of_cert_manager),
];

/// The name by which the API server calls.
const SERVICE: &str = "freshgate.freshgate-system.svc";

fn of_a_secret(bed: &Bed) {
    let node = &bed.node;
    let folder = node.folder().join("serving");
    std::fs::create_dir_all(&folder).unwrap();
    let authority = Authority::new();
    std::fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
    for name in ["first", "second"] {
        authority.issue(&folder, name, "freshgate", &[], &[SERVICE]);
    }
    node.namespace(NAMESPACE, &[]);
    put(bed, &folder, "first", "first");
    let bundle = format!("webhook.caBundle={}", folder.join("ca.crt").display());
    let values = [
        "webhook.manage=false",
        "certificates.mode=existingSecret",
        "certificates.existingSecret=serving",
        bundle.as_str(),
    ];
    let release = Release::install_by("helm4", bed, &values);
    let said = node.run_helm("helm4", &["test", NAME, "--namespace", NAMESPACE]);
    assert!(said.success, "helm test: {}{}", said.stdout, said.stderr);
    let webhook = release.webhook().unwrap();
    assert_eq!(webhook["metadata"]["ownerReferences"], Value::Null, "it is Helm's, not the gate's");
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], json!(base64_of(&authority.pem)));
    let gate = release.pods().remove(0);
    let pem = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.crt"))).unwrap();
    assert_eq!(served(bed, &gate), pem("first"));

    // A pair that does not fit changes nothing but a figure; the next one is taken up.
    let failures = || release.figures(&gate, "freshgate_certificate_reload_failures_total").iter().sum::<f64>();
    assert!(failures() < 1.0);
    put(bed, &folder, "second", "first");
    wait_for("the failure to be told", || failures() >= 1.0);
    assert_eq!(served(bed, &gate), pem("first"));
    release.wait_until_it_guards();
    put(bed, &folder, "second", "second");
    wait_for("the next certificate", || served(bed, &gate) == pem("second"));
    release.wait_until_it_guards();

    // Nobody looks after a static configuration: it is as the chart has it, and comes and goes with the release.
    let (_, tag) = bed.gate_too.rsplit_once(':').unwrap();
    release.upgrade(&[&values[..], &[&format!("image.tag={tag}"), "webhook.timeoutSeconds=7"]].concat());
    assert_eq!(release.webhook().unwrap()["webhooks"][0]["timeoutSeconds"], 7);
    let gates = node.json(&["-n", NAMESPACE, "get", "deployment", NAME]);
    assert_eq!(gates["spec"]["template"]["spec"]["containers"][0]["image"], json!(bed.gate_too));
    release.wait_until_it_guards();
    let said = release.uninstall();
    assert!(said.success, "helm uninstall: {}{}", said.stdout, said.stderr);
    assert!(release.webhook().is_none());
    assert!(bed.try_to_create("probe", &pod("old", &bed.old)).success, "nobody judges any more");
    wait_for("the rest to be gone", || {
        release.what_is_left().iter().all(|name| name.starts_with("customresource") || name.starts_with("gatepolicy"))
    });
}

/// Puts a certificate and a key into the Secret, as somebody does who renews it.
fn put(bed: &Bed, folder: &Path, certificate: &str, key: &str) {
    let file = |entry: &str, name: &str| format!("--from-file={entry}={}", folder.join(name).display());
    let secret = bed.node.get(&[
        "-n",
        NAMESPACE,
        "create",
        "secret",
        "generic",
        "serving",
        &file("tls.crt", &format!("{certificate}.crt")),
        &file("tls.key", &format!("{key}.key")),
        &file("ca.crt", "ca.crt"),
        "--dry-run=client",
        "-o",
        "json",
    ]);
    bed.node.apply(&secret);
}

/// The certificate that a gate shows to whoever connects, in PEM.
fn served(bed: &Bed, gate: &str) -> String {
    let pod = bed.node.json(&["-n", NAMESPACE, "get", "pod", gate]);
    let address = format!("{}:8443", pod["status"]["podIP"].as_str().unwrap());
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", SERVICE])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let certificate = text.find("-----BEGIN").and_then(|begin| {
        const END: &str = "-----END CERTIFICATE-----\n";
        text[begin..].find(END).map(|length| text[begin..begin + length + END.len()].to_owned())
    });
    certificate.unwrap_or_default()
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn of_cert_manager(bed: &Bed) {
    let node = &bed.node;
    let definitions: PathBuf = programs().join("cert-manager.crds.yaml");
    node.get(&["create", "-f", &definitions.display().to_string()]);
    node.get(&["wait", "--for=condition=Established", "-f", &definitions.display().to_string()]);
    let kubeconfig = format!("--kubeconfig={}", node.kubeconfig().display());
    let mut manager = node.run_beside("cert-manager", &[&kubeconfig]);
    let corporate = corporate_issuer(bed);
    let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    manager.wait_until(|| node.get(&["get", "clusterissuer", "corporate", "-o", ready]) == "True");
    let secret = |entry: &str| {
        let said = node.get(&["-n", NAMESPACE, "get", "secret", "freshgate-tls", "-o", "json"]);
        let secret: Value = serde_json::from_str(&said).unwrap();
        secret["data"][entry].as_str().unwrap_or_default().to_owned()
    };
    let bundles = |release: &Release<'_>| -> Vec<Value> {
        let webhook = release.webhook().unwrap();
        let entries = webhook["webhooks"].as_array().unwrap().iter();
        entries.map(|entry| entry["clientConfig"]["caBundle"].clone()).collect()
    };

    // An authority of the release's own, and a configuration into which cert-manager puts it. Not a call fails while the
    // certificate is renewed.
    let by_itself = [FAIL, &["certificates.mode=certManager", "webhook.manage=false"]].concat();
    let release = Release::install(bed, &by_itself);
    let (first, authority) = (secret("tls.crt"), secret("ca.crt"));
    assert!(bundles(&release).iter().all(|bundle| *bundle == json!(authority)), "each entry has the authority");
    let gate = release.pods().remove(0);
    assert_eq!(base64_of(&served(bed, &gate)), first);
    let load = start_load(bed);
    renew(bed);
    wait_for("a renewed certificate", || secret("tls.crt") != first);
    wait_for("the gate to serve it", || base64_of(&served(bed, &gate)) == secret("tls.crt"));
    std::thread::sleep(Duration::from_secs(2));
    load.stop().assert_all_judged(100);
    assert_eq!(secret("ca.crt"), authority);
    bed.remove_namespace("load");

    // The cluster's own authority, and a configuration that the gate makes.
    let by_the_cluster = [
        "certificates.mode=certManager",
        "webhook.manage=Enforce",
        "certificates.certManager.issuerRef.name=corporate",
        "certificates.certManager.issuerRef.kind=ClusterIssuer",
    ];
    release.upgrade(&[FAIL, &by_the_cluster].concat());
    let corporate = json!(base64_of(&corporate.pem));
    wait_for("the authority of the cluster", || json!(secret("ca.crt")) == corporate);
    wait_for("the gate's own configuration", || {
        release.webhook().is_some_and(|webhook| {
            webhook["metadata"]["ownerReferences"][0]["kind"] == "ClusterRole"
                && webhook["webhooks"][0]["clientConfig"]["caBundle"] == corporate
        })
    });
    release.wait_until_it_guards();
    release.assert_deploys_work("probe");

    drop(release);
    node.get(&["delete", "clusterissuer", "corporate"]);
    bed.remove_namespace("cert-manager");
    drop(manager);
    node.get(&["delete", "-f", &definitions.display().to_string()]);
    assert!(!node.kubectl(&["get", "validatingwebhookconfiguration", WEBHOOK]).success);
}

/// An authority of the cluster's, as an issuer.
fn corporate_issuer(bed: &Bed) -> Authority {
    let node = &bed.node;
    let folder = node.folder().join("corporate");
    std::fs::create_dir_all(&folder).unwrap();
    let corporate = Authority::new();
    std::fs::write(folder.join("tls.crt"), &corporate.pem).unwrap();
    std::fs::write(folder.join("tls.key"), corporate.key()).unwrap();
    let file = |name: &str| format!("--from-file={}", folder.join(name).display());
    node.namespace("cert-manager", &[]);
    node.get(&["-n", "cert-manager", "create", "secret", "generic", "corporate", &file("tls.crt"), &file("tls.key")]);
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "corporate"},
        "spec": {"ca": {"secretName": "corporate"}},
    });
    node.apply(&issuer.to_string());
    corporate
}

/// Asks for a new certificate before its time, as `cmctl renew` does.
fn renew(bed: &Bed) {
    let condition = json!({"status": {"conditions": [{
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "asked for by a test",
        "lastTransitionTime": chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }]}});
    let args = ["-n", NAMESPACE, "patch", "certificate", NAME, "--subresource=status", "--type=merge", "-p"];
    bed.node.get(&[&args[..], &[&condition.to_string()]].concat());
}
