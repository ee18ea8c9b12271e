//! A Prometheus that misbehaves on purpose: each way has a name, comes in time, and is never healthy by mistake.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{TimeDelta, Utc};
use freshgate::budget::poll::{Kept, poll};
use freshgate::budget::state::{BudgetState, Thresholds};
use futures::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::source;
use crate::cluster::install_tls;

/// How it misbehaves.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It takes requests and never answers.
    BlackHole,
    /// It takes its time, then answers.
    Slow(Duration, String),
    /// It answers with a status, some headers and a text.
    Status(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// It answers with this.
    Body(String),
    /// It announces more than it sends.
    Truncated(String),
    /// Its body has no end.
    Endless,
}

#[derive(Clone)]
struct Shared {
    fault: Arc<Mutex<Fault>>,
    seen: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
}

/// The misbehaving Prometheus.
pub struct FaultyPrometheus {
    shared: Shared,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl FaultyPrometheus {
    pub async fn start(fault: Fault) -> Self {
        install_tls();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared { fault: Arc::new(Mutex::new(fault)), seen: Arc::default() };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { shared, address, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Paths, headers and bodies of the requests that came; forgets them.
    pub fn take_seen(&self) -> Vec<(String, HeaderMap, String)> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

impl Drop for FaultyPrometheus {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (path, headers) = (request.uri().to_string(), request.headers().clone());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    shared.seen.lock().unwrap().push((path, headers, String::from_utf8(body.to_vec()).unwrap()));
    let fault = shared.fault.lock().unwrap().clone();
    match fault {
        Fault::BlackHole => std::future::pending().await,
        Fault::Slow(delay, body) => {
            tokio::time::sleep(delay).await;
            Response::new(Body::from(body))
        }
        Fault::Status(status, headers, text) => {
            let mut answer = Response::new(Body::from(text));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                answer.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            answer
        }
        Fault::Body(body) => Response::new(Body::from(body)),
        Fault::Truncated(body) => {
            let sent = Bytes::from(body);
            let broken = stream::once(async move { Ok(sent) }).chain(stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("broken off on purpose"))
            }));
            Response::new(Body::from_stream(broken))
        }
        Fault::Endless => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            Response::new(Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()))))
        }
    }
}

/// An answer with these series, each `labels, value`.
pub fn vector(series: &[(&str, &str)]) -> String {
    let one = |(labels, value): &(&str, &str)| format!(r#"{{"metric":{{{labels}}},"value":[1719705600,"{value}"]}}"#);
    let all: Vec<String> = series.iter().map(one).collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, all.join(","))
}

fn promql(url: &str, more: &str) -> String {
    format!(
        "{{format: PromQL, maxAge: 5m, prometheus: {{url: '{url}', timeout: 2s{more}}}, promql: {{objectives: [{{slo: availability, objective: 0.999, window: 30d, errorRatio: 'my:error_ratio30d'}}]}}}}"
    )
}

/// What became of a poll: its error, or the state of the only budget and its words.
async fn outcome(faulty: &FaultyPrometheus) -> (String, String) {
    let source = source("slo", &promql(&faulty.url(), ""));
    let begun = Instant::now();
    let polled = poll(&source, &mut Kept::default(), None, Utc::now()).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    match polled {
        Err(error) => {
            let unmeasured = error.as_unmeasured();
            (unmeasured.state.as_str().to_owned(), unmeasured.detail.replace(&faulty.url(), "URL"))
        }
        Ok(polled) => {
            let budgets: Vec<_> = polled.budgets.values().flatten().collect();
            match budgets.as_slice() {
                [] => ("none".to_owned(), String::new()),
                [one] => {
                    let judged = one.budget.state(&Thresholds::default(), Utc::now());
                    (judged.state.as_str().to_owned(), judged.detail.unwrap_or_default())
                }
                more => panic!("{more:?}"),
            }
        }
    }
}

/// An answer of one service, whose sample is so many seconds old.
fn one_service(ratio: &str, age_seconds: i64) -> String {
    let at = (Utc::now() - TimeDelta::seconds(age_seconds)).timestamp().to_string();
    vector(&[
        (r#""freshgate_part":"ratio","service":"checkout""#, ratio),
        (r#""freshgate_part":"sampled","service":"checkout""#, &at),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_misbehave_has_a_name() {
    let faulty = FaultyPrometheus::start(Fault::BlackHole).await;
    let many = vec![(r#""a":"b""#, "1"); 100_001];
    let huge = format!("{}{}", vector(&[]), " ".repeat(100 << 20));
    let html = "<html><body>Please log in</body></html>";
    let cases = [
        (
            Fault::BlackHole,
            "NoData",
            "URL did not answer in time; make prometheus.timeout longer, or the source quicker",
        ),
        (
            Fault::Slow(Duration::from_secs(5), one_service("0", 0)),
            "NoData",
            "URL did not answer in time; make prometheus.timeout longer, or the source quicker",
        ),
        (Fault::Status(503, vec![], "no"), "NoData", "URL is busy: it answered with status 503"),
        (Fault::Status(429, vec![("retry-after", "7")], ""), "NoData", "URL is busy: it answered with status 429"),
        (Fault::Status(500, vec![], "no"), "NoData", "URL answered with status 500"),
        (
            Fault::Status(401, vec![], ""),
            "NoData",
            "URL refused the gate's credentials with status 401; check basic, bearer, tls and tenant",
        ),
        (
            Fault::Status(302, vec![("location", "http://user:pass@elsewhere.example/login?x")], ""),
            "NoData",
            "URL sends on to http://elsewhere.example, which is not followed; write the address where it ends as prometheus.url",
        ),
        (
            Fault::Status(422, vec![], r#"{"status":"error","errorType":"execution","error":"too many samples"}"#),
            "Invalid",
            "URL did not answer the query (execution): too many samples",
        ),
        (
            Fault::Status(200, vec![("content-type", "text/html; charset=utf-8")], html),
            "Invalid",
            "URL answered with a web page, as a login page is; write the address of its API as prometheus.url",
        ),
        (
            Fault::Body(html.to_owned()),
            "Invalid",
            "URL answered with a web page, as a login page is; write the address of its API as prometheus.url",
        ),
        (Fault::Endless, "Invalid", "the answer of URL is larger than 32 MiB; aggregate by rules, or split the source"),
        (
            Fault::Body(huge),
            "Invalid",
            "the answer of URL is larger than 32 MiB; aggregate by rules, or split the source",
        ),
        (
            Fault::Body(vector(&many)),
            "Invalid",
            "the answer of URL has more than 100,000 series; aggregate by rules, or split the source",
        ),
        (
            Fault::Body(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}"#.to_owned()),
            "Invalid",
            "the answer of URL is a scalar where series were asked for; give the query a label for each service",
        ),
        (Fault::Body(vector(&[])), "none", ""),
        (Fault::Body(one_service("0.0001", 10)), "Healthy", ""),
        (Fault::Body(one_service("0.002", 10)), "Exhausted", ""),
        (Fault::Body(one_service("NaN", 10)), "NoTraffic", "there was no event in the window"),
        (Fault::Body(one_service("+Inf", 10)), "Invalid", "its error ratio is inf, which is no part of all"),
        (Fault::Body(one_service("-1", 10)), "Invalid", "its error ratio is -1, which is no part of all"),
        (Fault::Body(one_service("0", 1_200)), "Stale", "its last sample is 20m old, more than 5m"),
    ];
    for (fault, state, words) in cases {
        let name = format!("{fault:?}").chars().take(200).collect::<String>();
        faulty.set(fault);
        assert_eq!(outcome(&faulty).await, (state.to_owned(), words.to_owned()), "{name}");
    }
    for (body, words) in [
        (one_service("0", -3_600), "which is yet to come: check the clocks"),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"met"#.to_owned(),
            "the answer of URL cannot be read: EOF",
        ),
    ] {
        faulty.set(Fault::Body(body));
        let (state, said) = outcome(&faulty).await;
        assert!(state == "Invalid" && said.contains(words), "{state}: {said}");
    }
    faulty.set(Fault::Truncated(r#"{"status":"success","data":{"resultType":"vector","result":["#.to_owned()));
    let (state, said) = outcome(&faulty).await;
    assert!(
        state == "Invalid" && said.starts_with("the answer of URL cannot be read: it broke off"),
        "{state}: {said}"
    );
    let warned =
        one_service("0", 0).replace(r#""status":"success""#, r#""status":"success","warnings":["store 3 is away"]"#);
    faulty.set(Fault::Body(warned));
    assert_eq!(outcome(&faulty).await, ("Partial".to_owned(), "the source warned: store 3 is away".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_down_is_named() {
    install_tls();
    let source = source("slo", &promql("http://127.0.0.1:1", ""));
    let error = poll(&source, &mut Kept::default(), None, Utc::now()).await.unwrap_err();
    assert!(error.to_string().starts_with("http://127.0.0.1:1 cannot be reached: "), "{error}");
    assert_eq!(error.as_unmeasured().state, BudgetState::NoData);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_series_of_one_service_are_ambiguous_or_the_worst_counts() {
    let at = Utc::now().timestamp().to_string();
    let pair = vector(&[
        (r#""freshgate_part":"ratio","service":"checkout","replica":"a""#, "0.0001"),
        (r#""freshgate_part":"ratio","service":"checkout","replica":"b""#, "0.002"),
        (r#""freshgate_part":"sampled","service":"checkout""#, &at),
    ]);
    let faulty = FaultyPrometheus::start(Fault::Body(pair)).await;
    assert_eq!(outcome(&faulty).await.0, "Ambiguous");
    let worst = promql(&faulty.url(), "").replace("format: PromQL", "format: PromQL, severalSeries: Worst");
    let polled = poll(&source("slo", &worst), &mut Kept::default(), None, Utc::now()).await.unwrap();
    let budget = &polled.budgets["checkout"][0].budget;
    assert_eq!(budget.state(&Thresholds::default(), Utc::now()).state, BudgetState::Exhausted);
    assert_eq!(budget.figures().unwrap().note.as_deref(), Some("the worst of 2 series"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_carries_tenant_and_credentials_and_no_word_shows_them() {
    const CANARY: &str = "canary-5e1f";
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, format!("{CANARY}\n")).unwrap();
    let faulty = FaultyPrometheus::start(Fault::Body(one_service("0", 0))).await;
    let more = format!(
        ", tenant: shop, headers: {{X-Extra: one}}, basic: {{username: me, passwordFile: '{}'}}",
        password.display()
    );
    let source = source("slo", &promql(&format!("{}/prometheus", faulty.url()), &more));
    let mut kept = Kept::default();
    poll(&source, &mut kept, None, Utc::now()).await.unwrap();
    let (path, headers, body) = faulty.take_seen().remove(0);
    assert_eq!(path, "/prometheus/api/v1/query");
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-scope-orgid").as_deref(), Some("shop"));
    assert_eq!(header("x-extra").as_deref(), Some("one"));
    assert_eq!(header("authorization").as_deref(), Some("Basic bWU6Y2FuYXJ5LTVlMWY="));
    for part in ["partial_response=false", "timeout=", "time=20", "query=label_replace"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    // Rotated, it is used without a restart.
    std::fs::write(&password, "other").unwrap();
    poll(&source, &mut kept, None, Utc::now()).await.unwrap();
    assert_eq!(faulty.take_seen()[0].1["authorization"], "Basic bWU6b3RoZXI=");
    std::fs::write(&password, CANARY).unwrap();
    for fault in
        [Fault::Status(401, vec![], CANARY), Fault::Status(503, vec![], CANARY), Fault::BlackHole, Fault::Endless]
    {
        faulty.set(fault);
        let error = poll(&source, &mut kept, None, Utc::now()).await.unwrap_err();
        let said = format!("{error} {error:?} {source:?}");
        assert!(!said.contains(CANARY) && !said.contains("Y2FuYXJ5"), "{said}");
    }
    std::fs::remove_file(&password).unwrap();
    let error = poll(&source, &mut kept, None, Utc::now()).await.unwrap_err().to_string();
    assert!(error.starts_with("the password ") && error.contains("cannot be read: No such file"), "{error}");
}

/// A certificate and its key, signed by the authority, in PEM.
fn issue(issuer: &rcgen::Issuer<'static, rcgen::KeyPair>, name: &str) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_behind_its_own_authority_wants_it_and_the_gates_certificate() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    install_tls();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let (certificate, key) = issue(&issuer, "127.0.0.1");
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&authority)).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&certificate)], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let url = format!("https://{}", socket.local_addr().unwrap());
    let body = one_service("0.0001", 0);
    let router = Router::new().fallback(move || async move { body });
    let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
    let serving = tokio::spawn(async move {
        axum_server::from_tcp_rustls(socket, config).unwrap().serve(router.into_make_service()).await.unwrap();
    });

    let folder = tempfile::tempdir().unwrap();
    let (own, own_key) = issue(&issuer, "freshgate");
    for (name, text) in [("ca.pem", &authority), ("own.pem", &own), ("own.key", &own_key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let asked =
        async |tls: String| poll(&source("slo", &promql(&url, &tls)), &mut Kept::default(), None, Utc::now()).await;
    let ca = format!("caFile: '{}'", path("ca.pem"));
    let both = format!("{ca}, certificateFile: '{}', keyFile: '{}'", path("own.pem"), path("own.key"));
    assert_eq!(asked(format!(", tls: {{{both}}}")).await.unwrap().budgets.len(), 1);
    let stranger = asked(String::new()).await.unwrap_err().to_string();
    assert!(stranger.contains("cannot be reached") && stranger.contains("certificate"), "{stranger}");
    assert!(asked(format!(", tls: {{{ca}}}")).await.is_err(), "without a certificate of its own it got in");
    std::fs::write(folder.path().join("ca.pem"), "none").unwrap();
    let wrong = asked(format!(", tls: {{{both}}}")).await.unwrap_err().to_string();
    assert_eq!(wrong, "the source cannot be asked: there is no certificate in its certificate authorities");
    serving.abort();
}
