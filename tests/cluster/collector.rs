//! An OTLP collector: it decodes what is sent to it, or misbehaves on purpose.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How it behaves.
#[derive(Clone, Copy, Debug, Default)]
pub enum Behaviour {
    /// It takes what it gets.
    #[default]
    Takes,
    /// It answers with a status.
    Status(u16),
    /// It takes requests and never answers.
    BlackHole,
    /// It takes its time, and then what it got.
    Slow(Duration),
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Got {
    pub logs: Vec<LogRecord>,
    pub spans: Vec<Span>,
    pub resources: Vec<Resource>,
    /// Headers of each request, one line each.
    pub headers: Vec<String>,
    /// Bodies as they came.
    pub bodies: Vec<Vec<u8>>,
    /// Requests that came, also those that got no answer.
    pub requests: usize,
}

/// The collector.
pub struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    shared: Shared,
    serving: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    got: Arc<Mutex<Got>>,
}

impl Collector {
    pub async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared::default();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { scheme: "http", address, shared, serving }
    }

    /// Behind TLS, with a certificate for loopback and its key, in PEM.
    pub async fn with_tls(certificate: &str, key: &str) -> Self {
        super::install_tls();
        let pem = |text: &str| text.as_bytes().to_vec();
        let config = axum_server::tls_rustls::RustlsConfig::from_pem(pem(certificate), pem(key)).await.unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared::default();
        let router = Router::new().fallback(answer).with_state(shared.clone()).into_make_service();
        let serving = tokio::spawn(async move {
            axum_server::from_tcp_rustls(socket, config).unwrap().serve(router).await.unwrap();
        });
        Self { scheme: "https", address, shared, serving }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn set(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// What came until now.
    pub fn got(&self) -> Got {
        self.shared.got.lock().unwrap().clone()
    }

    /// Waits until what came is enough.
    pub async fn wait_for(&self, what: &str, is_enough: impl Fn(&Got) -> bool) -> Got {
        let waited = tokio::time::timeout(super::process::READY_WITHIN, async {
            loop {
                let got = self.got();
                if is_enough(&got) {
                    return got;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what} never came: {:#?}", self.got()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    shared.got.lock().unwrap().requests += 1;
    let behaviour = *shared.behaviour.lock().unwrap();
    match behaviour {
        Behaviour::Takes => {}
        Behaviour::Status(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Behaviour::BlackHole => return std::future::pending().await,
        Behaviour::Slow(time) => tokio::time::sleep(time).await,
    }
    let (head, body) = request.into_parts();
    assert_eq!(
        (head.method.as_str(), &head.headers["content-type"]),
        ("POST", &"application/x-protobuf".parse().unwrap())
    );
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut got = shared.got.lock().unwrap();
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()));
    got.headers.push(headers.collect::<Vec<_>>().join("\n"));
    got.bodies.push(body.to_vec());
    let answer = match head.uri.path() {
        "/v1/logs" => {
            for one in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
                got.resources.extend(one.resource);
                got.logs.extend(one.scope_logs.into_iter().flat_map(|scope| scope.log_records));
            }
            ExportLogsServiceResponse::default().encode_to_vec()
        }
        "/v1/traces" => {
            for one in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                got.resources.extend(one.resource);
                got.spans.extend(one.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
            ExportTraceServiceResponse::default().encode_to_vec()
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([("content-type", "application/x-protobuf")], Bytes::from(answer)).into_response()
}

/// A text among attributes.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    attributes.iter().find(|one| one.key == key).and_then(|one| match one.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The text of a log.
pub fn body(log: &LogRecord) -> &str {
    match log.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("no text: {other:?}"),
    }
}
