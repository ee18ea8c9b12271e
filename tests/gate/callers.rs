//! Who may call the webhook, and how long its certificate lasts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;

use super::reviews::{POLICY, PROGRAM, policies, review};
use crate::cluster::gate::Gate;
use crate::cluster::install_tls;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "callers");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn caller(&self, name: &str) -> reqwest::Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem() + &key.serialize_pem();
        reqwest::Identity::from_pem(pem.as_bytes()).unwrap()
    }
}

/// T23.
#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_taken_from_named_callers_alone() {
    install_tls();
    let (authority, foreign) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callers.crt");
    std::fs::write(&file, &authority.pem).unwrap();
    let policies = policies(POLICY);
    let flags = [
        "--policies",
        &policies.path().display().to_string(),
        "--client-ca",
        &file.display().to_string(),
        "--client-name",
        "kube-apiserver",
    ];
    let gate = Gate::start(Path::new(PROGRAM), &flags, &[]);
    let client = |identity: Option<reqwest::Identity>| {
        let own = reqwest::Certificate::from_pem(&gate.certificate()).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([own]).no_proxy();
        match identity {
            Some(identity) => builder.identity(identity).build().unwrap(),
            None => builder.build().unwrap(),
        }
    };
    let url = gate.url();
    let ask = |client: reqwest::Client| {
        let url = url.clone();
        async move {
            let body = review("x", "169.254.169.254/x").to_string();
            // A client does not always hear that its certificate was refused after the handshake: it waits then.
            let call = client.post(url).header("content-type", "application/json").timeout(Duration::from_secs(5));
            let answer = call.body(body).send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        }
    };
    let status = |answer: Option<(u16, String)>| answer.map(|(status, _)| status);
    assert_eq!(status(ask(client(Some(authority.caller("kube-apiserver")))).await), Some(200));
    let (code, words) = ask(client(None)).await.unwrap();
    assert_eq!((code, words.contains("--client-ca (FRESHGATE_CLIENT_CA)")), (401, true), "{words}");
    let (code, words) = ask(client(Some(authority.caller("kubelet")))).await.unwrap();
    assert_eq!((code, words.contains("not taken from \"kubelet\"")), (403, true), "{words}");
    assert_eq!(ask(client(Some(foreign.caller("kube-apiserver")))).await, None, "no handshake");
    // Over HTTP/2 too the answer is heard, and not a reset behind it, which some clients report instead.
    for _ in 0..40 {
        let output = Command::new("curl")
            .args([
                "-sk",
                "--http2",
                "--max-time",
                "10",
                "-o",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code} %{errormsg}",
            ])
            .args(["-H", "content-type: application/json", "--data", "{}", &url])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 401 ");
    }
    // Probes on the same listener need none.
    let ready = client(None).get(url.replace("/validate", "/readyz")).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 200);

    // Another authority takes over when its file does; a broken one does not.
    std::fs::write(&file, "nonsense").unwrap();
    while !gate.process.log().contains("the certificate authority of callers that is in use stays") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(ask(client(Some(authority.caller("kube-apiserver")))).await), Some(200));
    std::fs::write(&file, &foreign.pem).unwrap();
    while status(ask(client(Some(foreign.caller("kube-apiserver")))).await) != Some(200) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ask(client(Some(authority.caller("kube-apiserver")))).await, None);
}

/// R14.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_five_minutes_is_seen_to_end() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_after = OffsetDateTime::now_utc() + Duration::from_mins(5);
    let key = KeyPair::generate().unwrap();
    std::fs::write(file("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(file("tls.key"), key.serialize_pem()).unwrap();
    let policies = policies(POLICY);
    let folder = policies.path().display().to_string();
    let flags = ["--policies", &folder, "--tls-cert", &file("tls.crt"), "--tls-key", &file("tls.key")];
    let gate = Gate::start(Path::new(PROGRAM), &flags, &[]);
    let ends = gate.metric("freshgate_certificate_not_after_seconds").unwrap();
    #[allow(clippy::cast_precision_loss)]
    let left = ends - params.not_after.unix_timestamp() as f64;
    assert!(left.abs() < 1.5, "{left}");
}

/// A review that names no time-out has the webhook's.
#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_time_out_is_the_gates_own() {
    let policies = policies(POLICY);
    let folder = policies.path().display().to_string();
    let flags = ["--policies", &folder, "--webhook-timeout-seconds", "4", "--audit-level", "all"];
    let gate = Gate::start(Path::new(PROGRAM), &flags, &[]);
    let body = review("x", "169.254.169.254/x").to_string();
    let call = gate.client().post(gate.url()).header("content-type", "application/json").body(body);
    assert!(call.send().await.unwrap().status().is_success());
    assert_eq!(gate.records(&[])[0]["deadlineMs"], 2_750);
}
