//! The gate asks itself, as an API server would: over TLS, by the name and the authorities that the webhook configuration
//! has. Only what answers so is registered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(5);
/// An answer is a line.
const LARGEST_ANSWER_BYTES: usize = 64 << 10;

/// Why the gate did not answer itself.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelfCheckError {
    /// No connection.
    #[error("{address} cannot be reached: {why}")]
    Connect {
        /// Where.
        address: String,
        /// What the system says.
        why: String,
    },
    /// TLS failed.
    #[error(
        "an API server that calls {name:?} would not believe the certificate: {why}; let it be for that name (--tls-name), and of an authority of the webhook configuration (--webhook-ca)"
    )]
    Tls {
        /// The name that is called.
        name: String,
        /// What rustls says.
        why: String,
    },
    /// Another answer than expected.
    #[error("the answer was not what was expected: {0}")]
    Answer(String),
    /// No answer.
    #[error("there was no answer within 5 seconds")]
    TimedOut,
}

/// How it is asked.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name that API servers call it by.
    pub name: String,
    /// Callers must show certificates, of which the gate has none: it is then the refusal that is expected.
    pub callers_are_checked: bool,
}

/// The loopback address of a socket that listens on every one.
pub fn from_here(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

impl SelfCheck {
    /// Asks once; `authorities` are those of the webhook configuration, none for the system's.
    pub async fn pass(&self, authorities: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<(), SelfCheckError> {
        let asked = async {
            let uid = uuid::Uuid::new_v4().to_string();
            let tls = connect(self.address, &self.name, authorities, provider).await?;
            let request = Request::post("/validate?timeout=5s").header(CONTENT_TYPE, "application/json");
            let answer = ask(tls, request, &self.name, review(&uid).to_string()).await?;
            if self.callers_are_checked {
                return match answer.status() {
                    StatusCode::UNAUTHORIZED => Ok(()),
                    status => Err(SelfCheckError::Answer(format!("{status} for a caller without a certificate"))),
                };
            }
            let status = answer.status();
            let answer: Value = serde_json::from_slice(answer.body())
                .map_err(|error| SelfCheckError::Answer(format!("{status}, and no review: {error}")))?;
            let response = &answer["response"];
            if response["allowed"] == true && response["uid"] == uid.as_str() {
                Ok(())
            } else {
                Err(SelfCheckError::Answer(format!("{status}, {answer}")))
            }
        };
        tokio::time::timeout(WITHIN, asked).await.unwrap_or(Err(SelfCheckError::TimedOut))
    }
}

/// Asks whichever replica answers at a name, as the Service's, whether it is ready.
pub async fn is_ready_at(
    name: &str,
    port: u16,
    authorities: Option<&str>,
    provider: &Arc<CryptoProvider>,
) -> Result<(), SelfCheckError> {
    let asked = async {
        let unreachable =
            |why: std::io::Error| SelfCheckError::Connect { address: format!("{name}:{port}"), why: why.to_string() };
        let mut addresses = tokio::net::lookup_host((name, port)).await.map_err(unreachable)?;
        let address = addresses.next().ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))?;
        let tls = connect(address, name, authorities, provider).await?;
        match ask(tls, Request::get("/readyz"), name, String::new()).await?.status() {
            StatusCode::OK => Ok(()),
            status => Err(SelfCheckError::Answer(status.to_string())),
        }
    };
    tokio::time::timeout(WITHIN, asked).await.unwrap_or(Err(SelfCheckError::TimedOut))
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(
    address: SocketAddr,
    name: &str,
    authorities: Option<&str>,
    provider: &Arc<CryptoProvider>,
) -> Result<Tls, SelfCheckError> {
    let failed = |why: String| SelfCheckError::Tls { name: name.to_owned(), why };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let config = match authorities {
        None => builder.with_platform_verifier().map_err(|error| failed(error.to_string()))?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
            builder.with_root_certificates(roots)
        }
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server_name = ServerName::try_from(bare).map_err(|error| failed(error.to_string()))?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|why| SelfCheckError::Connect { address: address.to_string(), why: why.to_string() })?;
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    connector.connect(server_name, stream).await.map_err(|error| failed(error.to_string()))
}

async fn ask(
    tls: Tls,
    request: hyper::http::request::Builder,
    name: &str,
    body: String,
) -> Result<Response<Bytes>, SelfCheckError> {
    let failed = |why: &dyn std::fmt::Display| SelfCheckError::Answer(why.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|error| failed(&error))?;
    let request = request.header(HOST, name).body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
    let answered = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER_BYTES).collect().await.map_err(|error| failed(&error))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection may end as soon as all has come.
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(failed(&error)),
        },
    }
}

/// A review of a kind that the gate does not judge: it passes, and no policy has a say.
fn review(uid: &str) -> Value {
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": kind, "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "namespace": "default", "name": "freshgate-self-check", "operation": "CREATE", "dryRun": true,
            "userInfo": {"username": "freshgate"},
            "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "freshgate-self-check"}},
        },
    })
}
