//! Asks one server of an index: at its own pace, within bounds of time and size, and never telling a secret.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::protocol::{Question, Unreadable, is_html};
use super::settings::{Endpoint, Login};
use crate::image::registry::limits::{Limits, Refused, http_date, retry_after};

/// Most bytes of one answer: the largest documents of npm have twenty million.
const LARGEST_ANSWER_BYTES: usize = 48 << 20;
/// Most bytes of a file with a password, a token or certificates.
const LARGEST_FILE_BYTES: u64 = 1 << 20;
/// Answers above this are in memory one at a time, whatever index gives them: several of the largest would be more than a
/// gate has.
const LARGE_ANSWER_BYTES: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a server that asks for patience is asked once more.
const MOST_TRIES: usize = 3;

/// A file that an index needs cannot be used.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It cannot be read.
    #[error("{what} {path} cannot be read: {why}; correct the path in the settings of the indexes")]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The client could not be set up.
    #[error("the client for {place} cannot be set up: {why}")]
    Client {
        /// Scheme, host and port.
        place: String,
        /// What happened.
        why: String,
    },
}

/// Why an index's answer cannot be used. Nothing secret is in its words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// It could not be reached.
    #[error("{place} cannot be reached: {why}")]
    Unreachable {
        /// Scheme, host and port.
        place: String,
        /// What happened.
        why: String,
    },
    /// It did not answer in time, or there was no time left to ask.
    #[error("{place} did not answer in time")]
    TimedOut {
        /// Scheme, host and port.
        place: String,
    },
    /// It asks to be left alone for longer than there is time.
    #[error("{place} asks for patience: it answers again in {seconds} seconds")]
    Busy {
        /// Scheme, host and port.
        place: String,
        /// For how long, as far as that is obeyed.
        seconds: u64,
    },
    /// It failed several times in a row.
    #[error("{place} failed several times in a row and is left alone for a moment")]
    LeftAlone {
        /// Scheme, host and port.
        place: String,
    },
    /// It wants other credentials.
    #[error("{place} refused with status {status}; check `basic` or `bearer` of the index")]
    Unauthorized {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
    },
    /// It sends on to somewhere else.
    #[error("{place} sends on to {to}, where nothing is asked; if that is meant, write it as the index's url")]
    Redirected {
        /// Scheme, host and port.
        place: String,
        /// Scheme, host and port of where to.
        to: String,
    },
    /// Its answer is too large.
    #[error("{place} answers more than {} MiB", LARGEST_ANSWER_BYTES >> 20)]
    TooLarge {
        /// Scheme, host and port.
        place: String,
    },
    /// It answers with an error.
    #[error("{place} answered with status {status}")]
    Status {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
    },
    /// Its answer is not what was asked for.
    #[error("{place}: {why}; check the index's url and kind")]
    Unreadable {
        /// Scheme, host and port.
        place: String,
        /// What it is.
        why: Unreadable,
    },
}

impl IndexError {
    /// Whether an answer from before may stand in.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Unauthorized { .. })
    }
}

/// What is known of an answer from before, so that a server need only say that it is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before<'a> {
    /// What the server called it.
    pub etag: Option<&'a str>,
    /// When it was last modified, in UTC; counts where there is no `etag`, since it is only as exact as a second.
    pub last_modified: Option<DateTime<Utc>>,
}

impl Before<'_> {
    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match (self.etag, self.last_modified) {
            (Some(etag), _) => (IF_NONE_MATCH, etag.to_owned()),
            (None, Some(modified)) => (IF_MODIFIED_SINCE, modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
            (None, None) => return None,
        };
        Some((name, HeaderValue::from_str(&value).ok()?))
    }
}

/// What a server answers.
#[derive(Debug)]
pub enum Answered {
    /// This.
    Body(AnsweredBody),
    /// The same as before.
    Unchanged,
    /// That it has no such thing.
    NotThere,
}

/// An answer's body and what its headers say.
#[derive(Debug)]
pub struct AnsweredBody {
    /// The bytes; none where the headers were enough.
    pub bytes: Vec<u8>,
    /// What the server calls this state.
    pub etag: Option<String>,
    /// When it was last modified, in UTC.
    pub last_modified: Option<DateTime<Utc>>,
    /// Held for as long as it is in memory, where it is large.
    _alone: Option<OwnedSemaphorePermit>,
}

/// The turn to have a large answer in memory; clones are the same one.
#[derive(Clone, Debug)]
pub struct LargeAnswers(Arc<Semaphore>);

impl Default for LargeAnswers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// A server that can be asked.
#[derive(Debug)]
pub struct IndexClient {
    client: Client,
    base: String,
    place: String,
    timeout: Duration,
    pace: Duration,
    next_at: Mutex<Instant>,
    limits: Limits,
    large: LargeAnswers,
}

impl IndexClient {
    /// Sets up the client, with what it needs from files.
    pub async fn new(endpoint: &Endpoint, large: LargeAnswers) -> Result<Self, ClientError> {
        let place = place_of(&endpoint.url);
        let mut headers = HeaderMap::new();
        if let Some(login) = &endpoint.login {
            headers.insert(AUTHORIZATION, authorization(login).await?);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("freshgate/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // Followed, a redirect would tell names, and perhaps a password, to somebody that nobody has named.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .retry(reqwest::retry::never());
        if let Some(path) = &endpoint.ca_file {
            let pem = file("the certificate authorities in", path).await?;
            let wrong = |why: String| ClientError::File {
                what: "the certificate authorities in",
                path: path.display().to_string(),
                why,
            };
            let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if found.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_merge(found);
        }
        let client = builder
            .build()
            .map_err(|error| ClientError::Client { place: place.clone(), why: root_cause(&error.without_url()) })?;
        Ok(Self {
            client,
            base: endpoint.url.as_str().trim_end_matches('/').to_owned(),
            place,
            timeout: endpoint.timeout,
            pace: Duration::from_secs(1) / endpoint.requests_per_second.max(1),
            next_at: Mutex::new(Instant::now()),
            limits: Limits::default(),
            large,
        })
    }

    /// The whole address of a question.
    pub fn address(&self, question: &Question) -> String {
        format!("{}/{}", self.base, question.path)
    }

    /// Scheme, host and port.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Asks, and waits where the server asks for patience, as long as there is time.
    pub async fn ask(
        &self,
        question: &Question,
        accept: &'static str,
        before: Before<'_>,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Answered, IndexError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.ask_once(question, accept, before, now, deadline).await;
            let Err(IndexError::Busy { seconds, .. }) = &answer else { return answer };
            let again_at = Instant::now() + Duration::from_secs(*seconds);
            if tries >= MOST_TRIES || again_at >= deadline {
                return answer;
            }
            sleep_until(again_at).await;
        }
    }

    async fn ask_once(
        &self,
        question: &Question,
        accept: &'static str,
        before: Before<'_>,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Answered, IndexError> {
        let late = || IndexError::TimedOut { place: self.place.clone() };
        timeout_at(deadline, self.wait_for_its_turn(deadline)).await.map_err(|_| late())??;
        let entered = timeout_at(deadline, self.limits.enter()).await.map_err(|_| late())?;
        let _place = entered.map_err(|refused| match refused {
            Refused::RateLimited(seconds) => IndexError::Busy { place: self.place.clone(), seconds },
            Refused::LeftAlone(_) => IndexError::LeftAlone { place: self.place.clone() },
        })?;
        let deadline = deadline.min(Instant::now() + self.timeout);
        let answer =
            timeout_at(deadline, self.send(question, accept, before, now)).await.unwrap_or_else(|_| Err(late()));
        match &answer {
            Err(IndexError::Unreachable { .. } | IndexError::TimedOut { .. } | IndexError::Status { .. }) => {
                self.limits.failed();
            }
            _ => self.limits.answered(),
        }
        answer
    }

    /// Requests go out one after the other, at the pace that the operator set.
    async fn wait_for_its_turn(&self, deadline: Instant) -> Result<(), IndexError> {
        let turn = {
            let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next_at).max(Instant::now());
            // Who comes too late takes no turn from those to come.
            if turn >= deadline {
                return Err(IndexError::TimedOut { place: self.place.clone() });
            }
            *next_at = turn + self.pace;
            turn
        };
        sleep_until(turn).await;
        Ok(())
    }

    async fn send(
        &self,
        question: &Question,
        accept: &'static str,
        before: Before<'_>,
        now: DateTime<Utc>,
    ) -> Result<Answered, IndexError> {
        let method = if question.head_only { Method::HEAD } else { Method::GET };
        let mut request = self.client.request(method, self.address(question)).header(ACCEPT, accept);
        let condition = before.header();
        let is_conditional = condition.is_some();
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| IndexError::Unreachable {
            place: self.place.clone(),
            why: root_cause(&error.without_url()),
        })?;
        let place = || self.place.clone();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        match response.status() {
            StatusCode::NOT_MODIFIED if is_conditional => Ok(Answered::Unchanged),
            status if status.is_success() => {
                let etag = header(ETAG).filter(|etag| etag.len() <= 256).map(str::to_owned);
                let last_modified = header(LAST_MODIFIED).and_then(http_date);
                let (bytes, alone) =
                    if question.head_only { (Vec::new(), None) } else { self.bounded(response).await? };
                // Before it is read as anything else: a captive portal answers everything with 200.
                if is_html(&bytes) {
                    return Err(IndexError::Unreadable { place: place(), why: Unreadable::Html("an index's answer") });
                }
                Ok(Answered::Body(AnsweredBody { bytes, etag, last_modified, _alone: alone }))
            }
            status if status.is_redirection() => {
                let to = header(LOCATION).and_then(|to| response.url().join(to).ok());
                Err(IndexError::Redirected { place: place(), to: to.as_ref().map_or("elsewhere".to_owned(), place_of) })
            }
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
                Ok(Answered::NotThere)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(IndexError::Unauthorized { place: place(), status: response.status().as_u16() })
            }
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                // Compared with the answer's own date, so that clocks need not agree.
                let then = header(DATE).and_then(http_date).unwrap_or(now);
                let wait = header(RETRY_AFTER).and_then(|wait| retry_after(wait, then));
                if status == StatusCode::SERVICE_UNAVAILABLE && wait.is_none() {
                    return Err(IndexError::Status { place: place(), status: status.as_u16() });
                }
                Err(IndexError::Busy { place: place(), seconds: self.limits.rate_limited(wait) })
            }
            status => Err(IndexError::Status { place: place(), status: status.as_u16() }),
        }
    }

    async fn bounded(&self, mut response: Response) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), IndexError> {
        let too_large = || IndexError::TooLarge { place: self.place.clone() };
        if response.content_length().is_some_and(|length| length > LARGEST_ANSWER_BYTES as u64) {
            return Err(too_large());
        }
        let (mut body, mut alone) = (Vec::new(), None);
        loop {
            let chunk = response.chunk().await.map_err(|error| IndexError::Unreachable {
                place: self.place.clone(),
                why: format!("it broke off: {}", root_cause(&error.without_url())),
            })?;
            let Some(chunk) = chunk else { return Ok((body, alone)) };
            if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
                return Err(too_large());
            }
            if alone.is_none() && body.len() + chunk.len() > LARGE_ANSWER_BYTES {
                alone = Arc::clone(&self.large.0).acquire_owned().await.ok(); // never closed
            }
            body.extend_from_slice(&chunk);
        }
    }
}

async fn authorization(login: &Login) -> Result<HeaderValue, ClientError> {
    let (what, path, name) = match login {
        Login::Basic(name, path) => ("the password in", path, Some(name)),
        Login::Bearer(path) => ("the token in", path, None),
    };
    let wrong = |why: &str| ClientError::File { what, path: path.display().to_string(), why: why.to_owned() };
    let bytes = file(what, path).await?;
    let secret = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text"))?.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(wrong("it is empty"));
    }
    let written = match name {
        Some(name) => format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))),
        None => format!("Bearer {secret}"),
    };
    let mut value = HeaderValue::from_str(&written).map_err(|_| wrong("it holds what no header may"))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn file(what: &'static str, path: &std::path::Path) -> Result<Vec<u8>, ClientError> {
    let wrong = |why: String| ClientError::File { what, path: path.display().to_string(), why };
    let size = tokio::fs::metadata(path).await.map_err(|error| wrong(error.to_string()))?.len();
    if size > LARGEST_FILE_BYTES {
        return Err(wrong("it is larger than 1 MiB".to_owned()));
    }
    tokio::fs::read(path).await.map_err(|error| wrong(error.to_string()))
}

/// Scheme, host and port: what may be shown.
fn place_of(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// The innermost error says what happened; those around it only where.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
