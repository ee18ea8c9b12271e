//! A registry that misbehaves on purpose: a small server before a real one, which notes who asked for what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How it misbehaves.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// It takes requests and never answers.
    BlackHole,
    /// It answers with a status, and perhaps `Retry-After`.
    Status(u16, Option<String>),
    /// It announces the whole body and breaks off after some bytes.
    Truncate(usize),
    /// One byte of each body is another.
    Corrupt,
    /// Its body has no end.
    Endless,
    /// It answers with a login page.
    Html,
    /// It takes its time.
    Slow(Duration),
    /// It sends on to somewhere else.
    Redirect(String),
    /// It wants to be asked with what this challenge says.
    Challenge(String),
    /// It serves other bytes than it was asked for.
    Serve(Vec<u8>),
    /// It wants a token, and gives it out at `/token` to `me` with the password `secret`.
    Token,
    /// It wants the token that is named second, and gives it out at `/token` for the authorization that is named first.
    TokenOf(String, String),
    /// It does so only where the path has this part, and behaves otherwise.
    At(String, Box<Fault>),
}

impl Fault {
    /// The same, only where the path has this part.
    pub fn at(self, part: &str) -> Self {
        Self::At(part.to_owned(), Box::new(self))
    }

    /// What becomes of a request for this path.
    fn for_path(self, path: &str) -> Self {
        match self {
            Self::At(part, fault) if path.contains(&part) => fault.for_path(path),
            Self::At(..) => Self::None,
            fault => fault,
        }
    }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    fault: Arc<Mutex<Fault>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    client: reqwest::Client,
}

/// The misbehaving registry.
pub struct FaultyRegistry {
    shared: Shared,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl FaultyRegistry {
    /// Stands before the registry at `upstream` (`host:port`).
    pub async fn before(upstream: &str) -> Self {
        super::install_tls();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared {
            upstream: upstream.to_owned(),
            fault: Arc::default(),
            seen: Arc::default(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { shared, address, serving }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// The requests that came, and forgets them.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let method = request.method().clone();
    shared.seen.lock().unwrap().push(Seen {
        method: method.to_string(),
        path: path.clone(),
        authorization: authorization.clone(),
    });
    let fault = match shared.fault.lock().unwrap().clone().for_path(&path) {
        // base64 of me:secret
        Fault::Token => Fault::TokenOf("Basic bWU6c2VjcmV0".to_owned(), "good".to_owned()),
        fault => fault,
    };
    let authorized = |value: &str| authorization.as_deref() == Some(value);
    match &fault {
        Fault::BlackHole => std::future::pending().await,
        Fault::Slow(delay) => tokio::time::sleep(*delay).await,
        Fault::Status(status, retry_after) => {
            let mut answer = plain(*status, "no");
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", HeaderValue::from_str(seconds).unwrap());
            }
            return answer;
        }
        Fault::Html => {
            let mut answer = plain(200, "<html><body>Please log in</body></html>");
            answer.headers_mut().insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
            return answer;
        }
        Fault::Redirect(target) => {
            let mut answer = plain(302, "");
            answer.headers_mut().insert("location", HeaderValue::from_str(target).unwrap());
            return answer;
        }
        Fault::Challenge(challenge) => {
            let mut answer = plain(401, "");
            answer.headers_mut().insert("www-authenticate", HeaderValue::from_str(challenge).unwrap());
            return answer;
        }
        Fault::Serve(body) => return Response::new(Body::from(body.clone())),
        Fault::TokenOf(asked_with, token) if path.starts_with("/token") && authorized(asked_with) => {
            return Response::new(Body::from(format!(r#"{{"token":"{token}","expires_in":60}}"#)));
        }
        Fault::TokenOf(..) if path.starts_with("/token") => return plain(401, ""),
        Fault::TokenOf(_, token) if !authorized(&format!("Bearer {token}")) => {
            let host = request.headers().get("host").unwrap().to_str().unwrap();
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
            let mut answer = plain(401, "");
            answer.headers_mut().insert("www-authenticate", HeaderValue::from_str(&challenge).unwrap());
            return answer;
        }
        Fault::Endless => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            return Response::new(Body::from_stream(stream::repeat_with(move || {
                Ok::<_, std::io::Error>(chunk.clone())
            })));
        }
        Fault::None | Fault::Truncate(_) | Fault::Corrupt | Fault::Token | Fault::TokenOf(..) | Fault::At(..) => {}
    }
    let mut asked = shared.client.request(method, format!("http://{}{path}", shared.upstream));
    for name in ["accept", "authorization"] {
        if let Some(value) = request.headers().get(name) {
            asked = asked.header(name, value);
        }
    }
    let upstream = asked.send().await.unwrap();
    let mut answer = plain(upstream.status().as_u16(), "");
    for name in ["content-type", "docker-content-digest", "www-authenticate"] {
        if let Some(value) = upstream.headers().get(name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    let mut body = upstream.bytes().await.unwrap().to_vec();
    match fault {
        Fault::Truncate(kept) if kept < body.len() => {
            answer.headers_mut().insert("content-length", HeaderValue::from(body.len()));
            body.truncate(kept);
            let broken = stream::once(async move { Ok(Bytes::from(body)) }).chain(stream::once(async {
                // So that the head and the first bytes are on their way before the end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("broken off on purpose"))
            }));
            *answer.body_mut() = Body::from_stream(broken);
        }
        Fault::Corrupt if !body.is_empty() => {
            // Still JSON, so that only the digest tells.
            let at = body.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
            body[at] = if body[at] == b'a' { b'b' } else { b'a' };
            *answer.body_mut() = Body::from(body);
        }
        _ => *answer.body_mut() = Body::from(body),
    }
    answer
}

fn plain(status: u16, text: &'static str) -> Response {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}
