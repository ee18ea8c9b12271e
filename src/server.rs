//! The listener that the API server calls: TLS, limits, deadlines, and an end without a dropped call.
//!
//! One route does the work, so hyper is used as it is, without a router between: on one core the layers would cost more
//! than a decision does. Handshakes run in each connection's own task; a slow or silent client holds up nobody.

pub mod callers;
pub mod certificates;
pub mod deadline;
pub mod readiness;
pub mod self_check;
pub mod signals;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use thiserror::Error;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use self::callers::{Caller, Callers};
use self::certificates::Certificates;
use self::deadline::Deadline;
use self::readiness::Readiness;
use crate::metrics::{CodeLabels, Metrics};

/// A body may be this large: an API request may be 3 MiB, and a review carries two objects.
const LARGEST_BODY_BYTES: usize = 7 << 20;
/// Bodies held at once, all together: what has arrived of a body counts, so a slow client holds up nobody.
const MOST_BODY_KIBIBYTES: u32 = 256 << 10;
/// Reviews worked on at once.
const MOST_IN_FLIGHT: usize = 256;
/// Reviews waiting for a place; their waiting counts against their deadline.
const MOST_WAITING: usize = 1_024;
/// Open connections; an API server keeps 25 idle ones.
const MOST_CONNECTIONS: usize = 4_096;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a new connection may take to ask something.
const FIRST_HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long it may then be idle, or take for other headers. An API server ends what was idle for 90 s: if the gate did it
/// first, a review that is sent at that instant would be lost, and Go's client sends no POST again.
const HEADERS_WITHIN: Duration = Duration::from_secs(120);
/// How long the answer to a request that is refused by its head alone waits for its body.
const REFUSED_BODY_WITHIN: Duration = Duration::from_secs(2);
/// What one read takes from a socket: a usual review with its TLS. rustls by itself asks for 4 KiB at a time.
const READ_BYTES: usize = 32 << 10;

/// Why the listener cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be had.
    #[error(
        "{address} cannot be listened on: {why}; name another address with --listen or --admin-listen, or end what holds it"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
    /// The authority of callers cannot be used.
    #[error(
        "the certificate authority of callers in {file} cannot be used: {why}; name a PEM file with --client-ca (FRESHGATE_CLIENT_CA)"
    )]
    Callers {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// What answers reviews: body in, body out.
pub trait Reviewer: Send + Sync + 'static {
    /// Answers one review; always, and before the deadline plus what writing an answer takes. The headers say of which
    /// trace it is.
    fn review(&self, body: Bytes, headers: &HeaderMap, deadline: Deadline) -> impl Future<Output = Answer> + Send;
}

/// A listener with its socket open and its certificate proven.
pub struct Listener {
    socket: TcpListener,
    certificates: Arc<Certificates>,
    provider: Arc<CryptoProvider>,
    callers: Option<Arc<Callers>>,
    default_timeout: Duration,
}

/// How a listener ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long new connections are still accepted, so that nobody is refused before the endpoints are updated.
    pub delay: Duration,
    /// How long what is under way may take after that.
    pub within: Duration,
}

struct Shared<R> {
    reviewer: Arc<R>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    callers: Option<Arc<Callers>>,
    default_timeout: Duration,
    places: Semaphore,
    waiting: AtomicUsize,
    /// Room for bodies, in KiB.
    room: Semaphore,
}

impl Listener {
    /// Opens the socket; the certificate is loaded already, so a bad one is told before anybody connects.
    pub async fn bind(
        address: SocketAddr,
        certificates: Arc<Certificates>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ServerError> {
        let socket = TcpListener::bind(address).await.map_err(|why| ServerError::Bind { address, why })?;
        Ok(Self { socket, certificates, provider, callers: None, default_timeout: deadline::DEFAULT_TIMEOUT })
    }

    /// Takes reviews from these callers alone.
    #[must_use]
    pub fn only_for(self, callers: Arc<Callers>) -> Self {
        Self { callers: Some(callers), ..self }
    }

    /// Gives reviews that name no time-out this one.
    #[must_use]
    pub fn with_default_timeout(self, default_timeout: Duration) -> Self {
        Self { default_timeout, ..self }
    }

    fn acceptor(&self) -> Result<TlsAcceptor, ServerError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match &self.callers {
            Some(callers) => builder.with_client_cert_verifier(callers.verifier()),
            None => builder.with_no_client_auth(),
        };
        let certificates: Arc<dyn ResolvesServerCert> = Arc::clone(&self.certificates) as _;
        let mut config = builder.with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The address, with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`, then drains. An error says that TLS could not be set up.
    pub async fn serve<R: Reviewer>(
        self,
        reviewer: Arc<R>,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
        stop: impl Future<Output = ()>,
        drain: Drain,
    ) -> Result<(), ServerError> {
        let acceptor = self.acceptor()?;
        let shared = Arc::new(Shared {
            reviewer,
            readiness: Arc::clone(&readiness),
            metrics,
            callers: self.callers,
            default_timeout: self.default_timeout,
            places: Semaphore::new(MOST_IN_FLIGHT),
            waiting: AtomicUsize::new(0),
            room: Semaphore::new(MOST_BODY_KIBIBYTES as usize),
        });
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let (ending, ended) = watch::channel(false);
        if self.certificates.are_loaded() {
            readiness.tls_is_loaded();
        }

        let mut stop = pin!(stop);
        let mut last_call: Option<Instant> = None;
        loop {
            let closing = async {
                match last_call {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stop, if last_call.is_none() => {
                    readiness.drain();
                    last_call = Some(Instant::now() + drain.delay);
                }
                () = closing => break,
                accepted = accept(&self.socket, &connections) => {
                    let Some((stream, permit)) = accepted else { continue };
                    let (acceptor, shared, ended) = (acceptor.clone(), Arc::clone(&shared), ended.clone());
                    tokio::spawn(async move {
                        shared.metrics.connections.inc();
                        connection(stream, &acceptor, &shared, ended).await;
                        shared.metrics.connections.dec();
                        drop(permit);
                    });
                }
            }
        }
        drop(self.socket);
        ending.send_replace(true);
        let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
        if tokio::time::timeout(drain.within, connections.acquire_many(all)).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        Ok(())
    }
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(socket: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of files, most likely; trying again at once would only spin.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Serves one connection to its end.
async fn connection<R: Reviewer>(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    shared: &Arc<Shared<R>>,
    mut ended: watch::Receiver<bool>,
) {
    // Under TLS: with Nagle's algorithm on, small answers wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await else {
        shared.metrics.handshake_failures.inc();
        return;
    };
    let caller = shared.callers.as_ref().map_or(Caller::Known, |callers| callers.caller(stream.get_ref().1));
    let caller = Arc::new(caller);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30)).max_concurrent_streams(250);
    let has_asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let (shared, caller) = (Arc::clone(shared), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(answer(&shared, &caller, request).await) }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_headers = pin!(tokio::time::sleep(FIRST_HEADERS_WITHIN));
    let (mut is_new, mut ending) = (true, false);
    loop {
        tokio::select! {
            // How a connection ends is the client's affair.
            _ = serving.as_mut() => return,
            () = first_headers.as_mut(), if is_new => {
                is_new = false;
                if !has_asked.load(Ordering::Relaxed) {
                    return;
                }
            }
            _ = ended.changed(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer<R: Reviewer>(shared: &Shared<R>, caller: &Caller, request: Request<Incoming>) -> Answer {
    let version = request.version();
    let mut answer = match (request.method(), request.uri().path()) {
        (&Method::POST, "/validate") => {
            let arrived = Instant::now();
            shared.metrics.in_flight.inc();
            let reviewed = async {
                match caller.refusal() {
                    Some((status, words)) => refuse(request.into_body(), text(status, words)).await,
                    None => review(shared, request, arrived).await,
                }
            };
            let answer = match AssertUnwindSafe(reviewed).catch_unwind().await {
                Ok(answer) => answer,
                Err(panic) => {
                    shared.metrics.panics.inc();
                    tracing::error!(panic = panic_in_words(&*panic), "a review panicked; the others go on");
                    text(StatusCode::INTERNAL_SERVER_ERROR, "the gate failed at this review; its log says why")
                }
            };
            shared.metrics.in_flight.dec();
            shared.metrics.answer_seconds.observe(arrived.elapsed().as_secs_f64());
            shared.metrics.answers.get_or_create(&CodeLabels { code: answer.status().as_u16() }).inc();
            answer
        }
        (_, "/validate") => text(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST"),
        (&Method::GET, "/readyz") => ready(&shared.readiness),
        _ => text(StatusCode::NOT_FOUND, "there is /validate, and /readyz"),
    };
    if version < Version::HTTP_2 && shared.readiness.is_draining() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The answer of `/readyz`, on whichever listener.
pub fn ready(readiness: &Readiness) -> Answer {
    let missing = readiness.missing();
    if missing.is_empty() {
        text(StatusCode::OK, "ready")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n"))
    }
}

async fn review<R: Reviewer>(shared: &Shared<R>, request: Request<Incoming>, arrived: Instant) -> Answer {
    let timeout = match deadline::timeout_of(request.uri().query(), shared.default_timeout) {
        Ok(timeout) => timeout,
        Err(problem) => return refuse(request.into_body(), text(StatusCode::BAD_REQUEST, problem)).await,
    };
    let deadline = Deadline::new(arrived, timeout);
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if let Some(other) = content_type.filter(|value| !value.starts_with("application/json")) {
        let words = format!("expected application/json, found {other:?}");
        return refuse(request.into_body(), text(StatusCode::UNSUPPORTED_MEDIA_TYPE, words)).await;
    }
    // A client that sends slowly has until the API server's own time-out; what it has not sent yet takes no room.
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY_BYTES);
    let (body, _room) = match tokio::time::timeout_at(arrived + timeout, read(shared, body)).await {
        Ok(Ok(read)) => read,
        Ok(Err(refusal)) => return refusal,
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    let Some(_place) = place(shared, deadline).await else {
        return busy(&shared.metrics);
    };
    shared.reviewer.review(body, &head.headers, deadline).await
}

/// Gives a refusal after what came with the request is read away: an answer before the end of a body is followed by a reset
/// over HTTP/2, and some clients then report the reset instead of the answer.
async fn refuse(body: Incoming, refusal: Answer) -> Answer {
    let mut body = Limited::new(body, LARGEST_BODY_BYTES);
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(REFUSED_BODY_WITHIN, read).await;
    refusal
}

/// Turns a review away; an API server tries again when it is told when.
fn busy(metrics: &Metrics) -> Answer {
    metrics.shed.inc();
    let mut busy = text(StatusCode::TOO_MANY_REQUESTS, "too many reviews at once; try again in a second");
    busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    busy
}

/// Reads a body as far as there is room for it; the room is held as long as the body.
async fn read<R>(
    shared: &Shared<R>,
    mut body: Limited<Incoming>,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Answer> {
    let mut whole = BytesMut::new();
    let mut held: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                text(StatusCode::PAYLOAD_TOO_LARGE, "a review may have 7 MiB")
            } else {
                text(StatusCode::BAD_REQUEST, "the body broke off")
            }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let needed = (whole.len() + data.len()).div_ceil(1 << 10);
        let more = needed - held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let room = shared.room.try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
        let Ok(room) = room else {
            return Err(busy(&shared.metrics));
        };
        match &mut held {
            Some(held) => held.merge(room),
            None => held = Some(room),
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok((data, held)); // most come in one piece
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), held))
}

fn panic_in_words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// A place among the reviews under way, or none where too many wait or the deadline comes first.
async fn place<R>(shared: &Shared<R>, deadline: Deadline) -> Option<SemaphorePermit<'_>> {
    if let Ok(permit) = shared.places.try_acquire() {
        return Some(permit);
    }
    if shared.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
        shared.waiting.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let permit = tokio::time::timeout_at(deadline.evidence_until, shared.places.acquire()).await;
    shared.waiting.fetch_sub(1, Ordering::Relaxed);
    permit.ok()?.ok()
}

/// An answer in plain words.
pub fn text(status: StatusCode, words: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(words.into() + "\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// An answer in JSON.
pub fn json(body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
