//! The listener: TLS, limits, and an end without a dropped call.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshgate::metrics::Metrics;
use freshgate::server::certificates::Certificates;
use freshgate::server::deadline::Deadline;
use freshgate::server::readiness::Readiness;
use freshgate::server::{Answer, Drain, Listener, Reviewer, text};
use futures::StreamExt as _;
use hyper::{HeaderMap, StatusCode};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reviews::{POLICY, gate, review};
use crate::cluster::gate::Gate;
use crate::cluster::install_tls;
use crate::cluster::process::free_ports;

/// Does what its body says.
struct Obedient {
    /// Told when those that hold their place may go.
    released: watch::Receiver<bool>,
}

impl Reviewer for Obedient {
    async fn review(&self, body: Bytes, _: &HeaderMap, deadline: Deadline) -> Answer {
        match &body[..] {
            b"panic" => panic!("on purpose"),
            b"hold" => drop(self.released.clone().wait_for(|released| *released).await),
            b"slow" => tokio::time::sleep(Duration::from_millis(400)).await,
            b"deadline" => return text(StatusCode::OK, deadline.total_ms().to_string()),
            _ => {}
        }
        text(StatusCode::OK, "done")
    }
}

struct Served {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    release: watch::Sender<bool>,
    serving: JoinHandle<()>,
    pem: String,
}

async fn serve(drain_delay: Duration) -> Served {
    install_tls();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates = Arc::new(Certificates::self_made(&["127.0.0.1".to_owned()], &provider).unwrap());
    let pem = certificates.self_made_pem().unwrap().to_owned();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), certificates, provider).await.unwrap();
    let address = listener.address().unwrap();
    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let (release, released) = watch::channel(false);
    let drain = Drain { delay: drain_delay, within: Duration::from_secs(10) };
    let readiness = Arc::new(Readiness::default());
    readiness.policies_are_synced();
    let stopped = async move {
        let _ = stopped.await;
    };
    let serving = listener.serve(Arc::new(Obedient { released }), readiness, Arc::clone(&metrics), stopped, drain);
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    Served { address, metrics, stop, release, serving, pem }
}

impl Served {
    fn client(&self) -> reqwest::ClientBuilder {
        let certificate = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([certificate]).no_proxy()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    async fn post(&self, client: &reqwest::Client, body: &'static str) -> (u16, String) {
        let answer = client.post(self.url("/validate?timeout=10s")).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_and_both_versions_of_tls_are_served() {
    let served = serve(Duration::ZERO).await;
    for (client, version) in [
        (served.client().http1_only(), reqwest::Version::HTTP_11),
        (served.client(), reqwest::Version::HTTP_2),
        (served.client().tls_version_max(reqwest::tls::Version::TLS_1_2), reqwest::Version::HTTP_2),
        (served.client().tls_version_min(reqwest::tls::Version::TLS_1_3), reqwest::Version::HTTP_2),
    ] {
        let client = client.build().unwrap();
        for _ in 0..3 {
            let answer = client.post(served.url("/validate")).body("x").send().await.unwrap();
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_told_so() {
    let served = serve(Duration::ZERO).await;
    let client = served.client().build().unwrap();
    let get = |path: &str| client.get(served.url(path)).send();
    assert_eq!(get("/validate").await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get("/nothing").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(get("/readyz").await.unwrap().text().await.unwrap(), "ready\n");
    let post =
        |path: &str, kind: &str| client.post(served.url(path)).header("content-type", kind).body("deadline").send();
    let answer = post("/validate?timeout=soon", "application/json").await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(answer.text().await.unwrap(), "timeout=\"soon\" is no duration; write it as `timeout=10s`\n");
    assert_eq!(post("/validate", "text/yaml").await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(post("/validate?timeout=5s", "application/json").await.unwrap().text().await.unwrap(), "3750\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_request_alone() {
    let served = serve(Duration::ZERO).await;
    let client = served.client().build().unwrap();
    let (slow, panicked) = tokio::join!(served.post(&client, "slow"), served.post(&client, "panic"));
    assert_eq!(panicked, (500, "the gate failed at this review; its log says why\n".to_owned()));
    assert_eq!(slow, (200, "done\n".to_owned()));
    assert_eq!(served.post(&client, "x").await.0, 200);
    assert!(served.metrics.render().contains("freshgate_reviews_panicked_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_hold_up_nobody() {
    let served = serve(Duration::ZERO).await;
    // Connections that never shake hands.
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    let client = served.client().build().unwrap();
    assert_eq!(served.post(&client, "x").await.0, 200);
    drop(silent);
}

/// An API server keeps connections for 90 s: one that asked before stays for longer than a new one may be silent.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_asked_may_be_idle_and_who_never_does_is_sent_away() {
    let served = serve(Duration::ZERO).await;
    let connect = || async {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(served.pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap()
    };
    let ask = async |stream: &mut TlsStream<tokio::net::TcpStream>| {
        let request = "POST /validate HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\n\r\nx";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        let rest = stream.read(&mut [0; 1_024]).await.unwrap();
        assert!(rest > 0 && answer == b"HTTP/1.1 200 OK", "{answer:?}");
    };
    let (mut asking, mut silent, mut slow) = (connect().await, connect().await, connect().await);
    ask(&mut asking).await;
    slow.write_all(b"POST /validate HTTP/1.1\r\nHost: ").await.unwrap();
    // These two are told by their end that ten seconds are over.
    for stream in [&mut silent, &mut slow] {
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 16])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    // It began to be idle a little after those two came.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ask(&mut asking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_turned_away_and_passes() {
    let served = serve(Duration::ZERO).await;
    // One connection carries 250 calls at once; 256 are worked on and 1,024 wait.
    let clients: Vec<_> = (0..8).map(|_| served.client().build().unwrap()).collect();
    let url = served.url("/validate?timeout=30s");
    let call = |number: usize, body: &'static str| {
        let call = clients[number % 8].post(&url).body(body).send();
        tokio::spawn(async move { call.await.unwrap().status() })
    };
    let held: Vec<_> = (0..1_280).map(|number| call(number, "hold")).collect();
    let answer = || async {
        let answer = clients[0].post(served.url("/validate")).body("x").send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    while !served.metrics.render().contains("freshgate_reviews_in_flight 1280") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The last of them may still be on its way to its place.
    let mut turned_away = answer().await;
    while turned_away.0 == StatusCode::OK {
        turned_away = answer().await;
    }
    let busy = "too many reviews at once; try again in a second\n".to_owned();
    assert_eq!(turned_away, (StatusCode::TOO_MANY_REQUESTS, busy));
    served.release.send_replace(true);
    for call in held {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(served.post(&clients[0], "x").await.0, 200);
}

/// T15: bodies that never end take no place from those that do, however long their senders would wait.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_hold_up_nobody() {
    let served = serve(Duration::ZERO).await;
    let clients: Vec<_> = (0..3).map(|_| served.client().build().unwrap()).collect();
    let (held, _) = tokio::sync::broadcast::channel::<()>(1);
    let unfinished: Vec<_> = (0..600)
        .map(|number| {
            let mut end = held.subscribe();
            let body = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) }).chain(
                futures::stream::once(async move {
                    let _ = end.recv().await;
                    Ok(Bytes::from_static(b"}"))
                }),
            );
            let url = served.url("/validate?timeout=100000s");
            let call = clients[number % 3].post(url).body(reqwest::Body::wrap_stream(body)).send();
            tokio::spawn(async move { call.await.map(|answer| answer.status()) })
        })
        .collect();
    while !served.metrics.render().contains("freshgate_reviews_in_flight 600") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let client = served.client().build().unwrap();
    for _ in 0..20 {
        assert_eq!(served.post(&client, "x").await.0, 200);
    }
    drop(held);
    for call in unfinished {
        assert_eq!(call.await.unwrap().unwrap(), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_out_is_too_long_to_be_answered() {
    let served = serve(Duration::ZERO).await;
    let client = served.client().build().unwrap();
    for timeout in ["31s", "100000s", "584000000000y"] {
        let url = served.url(&format!("/validate?timeout={timeout}"));
        let answer = client.post(url).body("deadline").send().await.unwrap();
        assert_eq!(
            (answer.status(), answer.text().await.unwrap()),
            (StatusCode::OK, "28750\n".to_owned()),
            "{timeout}"
        );
    }
    assert!(served.metrics.render().contains("freshgate_reviews_in_flight 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_drops_no_call() {
    let served = serve(Duration::from_millis(300)).await;
    let client = served.client().http1_only().build().unwrap();
    assert_eq!(served.post(&client, "x").await.0, 200);
    let url = served.url("/validate");
    let slow = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { client.post(url).body("slow").send().await.unwrap().status() }
    });
    // Over HTTP/2 a GOAWAY says the same, and what is under way on the connection ends first.
    let multiplexed = served.client().build().unwrap();
    assert_eq!(served.post(&multiplexed, "x").await.0, 200);
    let slow_stream = tokio::spawn({
        let (client, url) = (multiplexed.clone(), url.clone());
        async move { client.post(url).body("slow").send().await.unwrap().status() }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Still served while endpoints are updated, on a connection that is told to end.
    let late = client.post(&url).body("x").send().await.unwrap();
    assert_eq!(late.status(), StatusCode::OK);
    assert_eq!(late.headers()["connection"], "close");
    assert_eq!(slow.await.unwrap(), StatusCode::OK);
    assert_eq!(slow_stream.await.unwrap(), StatusCode::OK);
    served.serving.await.unwrap();
    assert!(multiplexed.post(&url).body("x").send().await.is_err(), "the connection was told to go away");
    assert!(client.post(&url).body("x").send().await.is_err(), "the socket is closed");
}

/// Writes a pair as a Secret's volume does: a new folder, and a symlink that is swapped.
fn swap(folder: &Path, generation: u32, certificate: &str, key: &str) {
    let version = folder.join(format!("..{generation}"));
    std::fs::create_dir(&version).unwrap();
    std::fs::write(version.join("tls.crt"), certificate).unwrap();
    std::fs::write(version.join("tls.key"), key).unwrap();
    let fresh = folder.join("..data_tmp");
    symlink(&version, &fresh).unwrap();
    std::fs::rename(&fresh, folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let link = folder.join(name);
        if !link.exists() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
}

/// A certificate for loopback and its key, in PEM.
pub fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// R13: swapped twice, with a pair between that does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_swapped_without_a_dropped_call() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let pairs = [pair(), pair(), pair()];
    swap(&path, 0, &pairs[0].0, &pairs[0].1);
    let policies = super::reviews::policies(POLICY);
    let file = |name: &str| path.join(name).display().to_string();
    let gate = Gate::start(
        Path::new(super::reviews::PROGRAM),
        &[
            "--policies",
            &policies.path().display().to_string(),
            "--tls-cert",
            &file("tls.crt"),
            "--tls-key",
            &file("tls.key"),
        ],
        &[],
    );
    let trusted = |certificates: &[&str]| {
        let certificates = certificates.iter().map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
        reqwest::Client::builder().tls_certs_only(certificates).pool_max_idle_per_host(0).no_proxy().build().unwrap()
    };
    let url = gate.url();
    let works = |client: reqwest::Client| {
        let url = url.clone();
        async move {
            let body = review("x", "169.254.169.254/x").to_string();
            client.post(url).header("content-type", "application/json").body(body).send().await.is_ok()
        }
    };
    let all = trusted(&[&pairs[0].0, &pairs[1].0, &pairs[2].0]);
    let metrics = || async {
        reqwest::get(format!("http://127.0.0.1:{}/metrics", gate.admin_port)).await.unwrap().text().await.unwrap()
    };
    swap(&path, 1, &pairs[1].0, &pairs[1].1);
    while !works(trusted(&[&pairs[1].0])).await {
        assert!(works(all.clone()).await, "a call was dropped");
    }
    swap(&path, 2, &pairs[2].0, &pairs[0].1);
    while !metrics().await.contains("freshgate_certificate_reload_failures_total 1") {
        assert!(works(trusted(&[&pairs[1].0])).await, "the last good pair stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    swap(&path, 3, &pairs[2].0, &pairs[2].1);
    while !works(trusted(&[&pairs[2].0])).await {
        assert!(works(all.clone()).await, "a call was dropped");
    }
    assert!(!metrics().await.contains("freshgate_certificate_not_after_seconds 0"), "{}", metrics().await);
}

#[test]
fn a_bad_pair_is_told_before_the_socket_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (pair(), pair());
    let policies = super::reviews::policies(POLICY);
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let [port, admin] = free_ports();
    let said = |certificate_pem: &str, key_pem: &str| {
        std::fs::write(&certificate, certificate_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
        let output = std::process::Command::new(super::reviews::PROGRAM)
            .args([
                "serve",
                "--store",
                "stdout",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--admin-listen",
                &format!("127.0.0.1:{admin}"),
            ])
            .arg("--policies")
            .arg(policies.path())
            .arg("--tls-cert")
            .arg(&certificate)
            .arg("--tls-key")
            .arg(&key)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let (certificate, key) = (certificate.display(), key.display());
    assert!(
        said(&one.0, &other.1)
            .starts_with(&format!("error: the TLS certificate in {certificate} and the key in {key} are not a pair: "))
    );
    assert_eq!(
        said("", &one.1),
        format!("error: the TLS file {certificate} cannot be used: there is no certificate in it\n")
    );
    assert!(said(&one.0, "nonsense").starts_with(&format!("error: the TLS file {key} cannot be used: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_in_order_and_a_second_at_once() {
    let (mut first, _policies) = gate(POLICY, &[]);
    let call = first
        .client()
        .post(first.url())
        .header("content-type", "application/json")
        .body(review("x", "169.254.169.254/x").to_string());
    assert!(call.send().await.unwrap().status().is_success());
    first.process.signal("TERM");
    assert_eq!(first.process.wait().code(), Some(0));
    assert!(first.process.log().contains("ended in order"));
    let store = first.store();
    let (_, stdout, _) = first.run(&["audit", "verify", "--store", &store]);
    assert_eq!(
        stdout,
        format!("all records fit: 1 record of 1 writer; {}\n", freshgate::audit::VerifyReport::UNNOTICED)
    );

    let policies = super::reviews::policies(POLICY);
    let args = ["--policies", &policies.path().display().to_string(), "--drain-delay-seconds", "60"];
    let mut second = Gate::start(Path::new(super::reviews::PROGRAM), &args, &[]);
    second.process.signal("TERM");
    while !second.process.log().contains("a signal to stop") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready = reqwest::get(format!("http://127.0.0.1:{}/readyz", second.admin_port)).await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.text().await.unwrap(), "the gate is shutting down\n");
    second.process.signal("TERM");
    assert_eq!(second.process.wait().code(), Some(143));
}

/// The folder is read again; a bad file leaves the last good set in force, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn policies_follow_their_folder_and_a_bad_one_changes_nothing() {
    let (gate, folder) = gate(POLICY, &[]);
    let page = |path: &'static str| {
        let url = format!("http://127.0.0.1:{}{path}", gate.admin_port);
        async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
    };
    assert_eq!(page("/livez").await, "alive\n");
    assert_eq!(page("/readyz").await, "ready\n");
    let has = |line: &'static str| {
        let page = page("/metrics");
        async move { page.await.lines().any(|one| one == line) }
    };
    assert!(has("freshgate_policies 1").await);
    let second = folder.path().join("second.yaml");
    std::fs::write(&second, POLICY.replace("name: p", "name: second")).unwrap();
    while !has("freshgate_policies 2").await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::write(&second, "kind: Nonsense\n").unwrap();
    while !has("freshgate_policy_failures_total 1").await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(has("freshgate_policies 2").await, "the last good set stays");
    assert!(gate.process.log().contains("second.yaml"), "{}", gate.process.log());
    std::fs::remove_file(&second).unwrap();
    while !has("freshgate_policies 1").await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn plain_text_on_the_tls_port_is_no_crash() {
    let (gate, _policies) = gate(POLICY, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", gate.port)).unwrap();
    stream.write_all(b"POST /validate HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "nothing is served in plain text");
    assert!(crate::cluster::process::listens(gate.port));
}
