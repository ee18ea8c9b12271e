//! A package index that answers as real ones did, or misbehaves on purpose. What it answers is kept under
//! `tests/fixtures/indexes`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::install_tls;

/// How an index misbehaves.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// It takes requests and never answers.
    BlackHole,
    /// It answers so many requests with this status, and perhaps `Retry-After`, and then well.
    Status(u16, Option<&'static str>, usize),
    /// It answers with a login page.
    Html,
    /// It sends on to this address.
    Redirect(String),
    /// Its body has no end.
    Endless,
    /// It breaks off.
    Truncated,
    /// It answers well, and names no state of its answer but the time at which that was last modified.
    Dated,
}

#[derive(Clone, Default)]
struct Shared {
    answers: Arc<BTreeMap<String, Vec<u8>>>,
    fault: Arc<Mutex<Fault>>,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

/// An index that answers as real ones did.
pub struct StaticIndex {
    shared: Shared,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl StaticIndex {
    /// With the answers of the fixtures, under `/cargo`, `/npm`, `/go` and `/eol`.
    pub async fn start() -> Self {
        install_tls();
        let mut answers = BTreeMap::new();
        for (path, file) in [
            ("/cargo/it/oa/itoa", "cargo-itoa.jsonl"),
            ("/npm/left-pad", "npm-left-pad.json"),
            ("/go/github.com/mattn/go-sqlite3/@v/list", "go/sqlite3.list"),
            ("/go/github.com/mattn/go-sqlite3/@v/v1.14.53.mod", "go/sqlite3-v1.14.53.mod"),
            ("/go/github.com/mattn/go-sqlite3/@v/v1.14.52.info", "go/sqlite3-v1.14.52.info.json"),
            ("/go/github.com/mattn/go-sqlite3/@v/v1.14.53.info", "go/sqlite3-v1.14.53.info.json"),
            ("/go/github.com/cespare/xxhash/@v/list", "go/xxhash.list"),
            ("/go/github.com/cespare/xxhash/@v/v1.1.0.info", "go/xxhash-v1.1.0.info.json"),
            ("/go/github.com/cespare/xxhash/v2/@latest", "go/xxhash-v2.3.0.info.json"),
            ("/go/github.com/google/uuid/@v/list", "go/uuid.list"),
            ("/go/github.com/google/uuid/@v/v1.3.0.info", "go/uuid-v1.3.0.info.json"),
            ("/go/github.com/google/uuid/@v/v1.3.1.info", "go/uuid-v1.3.1.info.json"),
            ("/go/github.com/google/uuid/@v/v1.6.0.info", "go/uuid-v1.6.0.info.json"),
        ] {
            answers.insert(path.to_owned(), std::fs::read(fixture("indexes").join(file)).unwrap());
        }
        answers.insert("/eol/products/nodejs".to_owned(), NODEJS.as_bytes().to_vec());
        answers.insert("/eol/products/debian".to_owned(), DEBIAN.as_bytes().to_vec());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared { answers: Arc::new(answers), ..Shared::default() };
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

    /// Paths and headers of the requests that came; forgets them.
    pub fn take_seen(&self) -> Vec<(String, HeaderMap)> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// The paths alone.
    pub fn take_paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.take_seen().into_iter().map(|(path, _)| path).collect();
        paths.sort();
        paths
    }

    /// Settings that name it as an index of Cargo, npm and Go, and of ends of support.
    pub fn settings(&self) -> String {
        let url = self.url();
        format!(
            "indexes:\n- {{kind: Cargo, url: '{url}/cargo', timeout: 6s, requestsPerSecond: 50}}\n- {{kind: Npm, url: '{url}/npm', timeout: 6s, requestsPerSecond: 50}}\n- {{kind: Go, url: '{url}/go', timeout: 6s, requestsPerSecond: 50}}\nprivate: ['npm:@acme/*', 'npm:shop']\nendOfLife: {{url: '{url}/eol', timeout: 6s, requestsPerSecond: 50}}\n"
        )
    }

    /// Stops it, as an index that is away.
    pub async fn stop(self) {
        self.serving.abort();
        // The socket is closed with the task.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

impl Drop for StaticIndex {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Bytes of `/npm/large-…`.
const LARGE_BYTES: usize = 12 << 20;
const MODIFIED: &str = "Sun, 01 Nov 2026 08:15:00 GMT";
const PAGE: &str = "<!doctype html><html><body>Please sign in</body></html>";

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    shared.seen.lock().unwrap().push((path.clone(), headers.clone()));
    let fault = {
        let mut fault = shared.fault.lock().unwrap();
        let now = fault.clone();
        if let Fault::Status(_, _, times) = &mut *fault {
            *times = times.saturating_sub(1);
            if *times == 0 {
                *fault = Fault::None;
            }
        }
        now
    };
    let status = |status: u16, name: &'static str, value: Option<&str>| {
        let mut response = Response::new(Body::from("{}"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = value {
            response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        response
    };
    match fault {
        Fault::None => {}
        Fault::Dated => {
            let Some(body) = shared.answers.get(&path) else { return status(404, "x-nothing", None) };
            let is_known = headers.get("if-modified-since").is_some_and(|since| since == MODIFIED);
            let mut response =
                if is_known { status(304, "last-modified", None) } else { Response::new(Body::from(body.clone())) };
            response.headers_mut().insert("last-modified", HeaderValue::from_static(MODIFIED));
            return response;
        }
        Fault::BlackHole => return std::future::pending().await,
        Fault::Status(code, retry_after, _) => return status(code, "retry-after", retry_after),
        Fault::Html => return Response::new(Body::from(PAGE)),
        Fault::Redirect(to) => return status(302, "location", Some(&to)),
        Fault::Endless => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            return Response::new(Body::from_stream(stream::repeat_with(move || {
                Ok::<_, std::io::Error>(chunk.clone())
            })));
        }
        Fault::Truncated => {
            let broken =
                stream::iter([Ok(Bytes::from("{\"name\":")), Err(std::io::Error::other("broken off on purpose"))]);
            return Response::new(Body::from_stream(broken));
        }
    }
    // Documents with much between what matters, as some of npm's are.
    let padded = path.strip_prefix("/npm/large-").and_then(|_| {
        let mut body = shared.answers.get("/npm/left-pad")?.clone();
        body.resize(LARGE_BYTES, b' ');
        Some(body)
    });
    let Some(body) = padded.as_ref().or_else(|| shared.answers.get(&path)) else {
        return status(404, "x-nothing", None);
    };
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(body)[..8]));
    let mut response = if headers.get("if-none-match").is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        status(304, "etag", Some(&etag))
    } else {
        Response::new(Body::from(body.clone()))
    };
    response.headers_mut().insert("etag", HeaderValue::from_str(&etag).unwrap());
    response
}

/// As version 1 of endoflife.date answers.
const NODEJS: &str = r#"{"schema_version":"1.2.0","result":{"name":"nodejs","label":"Node.js","releases":[
  {"name":"26","releaseDate":"2026-04-22","isEol":false,"eolFrom":"2029-04-30","latest":{"name":"26.2.0","date":"2026-10-01"}},
  {"name":"24","releaseDate":"2025-05-06","isEol":false,"eolFrom":"2028-04-30","latest":{"name":"24.11.0","date":"2025-10-28"}},
  {"name":"20","releaseDate":"2023-04-18","isEol":true,"eolFrom":"2026-04-30","latest":{"name":"20.20.2","date":"2026-03-24"}}]}}"#;
const DEBIAN: &str = r#"{"schema_version":"1.2.0","result":{"name":"debian","label":"Debian","releases":[
  {"name":"13","releaseDate":"2025-08-09","isEol":false,"eolFrom":"2028-08-09","latest":{"name":"13.2"}},
  {"name":"12","releaseDate":"2023-06-10","isEol":true,"eolFrom":"2026-06-10","latest":{"name":"12.12"}},
  {"name":"11","releaseDate":"2021-08-14","isEol":true,"eolFrom":"2024-08-14","latest":{"name":"11.11"}}]}}"#;

/// A file of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
