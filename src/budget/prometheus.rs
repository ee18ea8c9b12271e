//! Asks a Prometheus, or whatever speaks its language: within bounds of time and size, and never telling a secret.

pub mod error;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Response, StatusCode, Url};
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;

use self::error::SourceError;
use super::answer::{self, Answer, Unusable};
use super::api::PrometheusSettings;
use super::materials::Materials;

/// Most bytes of one answer.
const LARGEST_ANSWER_BYTES: usize = 32 << 20;
/// Most bytes of an error that are looked at.
const LARGEST_ERROR_BYTES: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a `Retry-After` is obeyed: an absurd one must not blind the gate for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Most characters of what a server says that are repeated.
const LONGEST_QUOTE: usize = 200;

/// A Prometheus that can be asked.
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    url: Url,
    /// Scheme, host and port, for words.
    place: String,
}

impl Prometheus {
    /// Sets up the client.
    pub fn new(settings: &PrometheusSettings, materials: &Materials) -> Result<Self, SourceError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name =
                HeaderName::try_from(name).map_err(|_| SourceError::settings("a header has no possible name"))?;
            headers.insert(name, header(value, false)?);
        }
        if let Some(tenant) = &settings.tenant {
            headers.insert(HeaderName::from_static("x-scope-orgid"), header(tenant, false)?);
        }
        if let Some(authorization) = authorization(settings, materials)? {
            headers.insert(AUTHORIZATION, header(&authorization, true)?);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("freshgate/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // Followed, a redirect would carry the credentials elsewhere, and lose the question.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .retry(reqwest::retry::never());
        if let Some(ca) = &materials.ca {
            let found = Certificate::from_pem_bundle(ca.bytes())
                .map_err(|_| SourceError::settings("its certificate authorities are no certificates in PEM"))?;
            if found.is_empty() {
                return Err(SourceError::settings("there is no certificate in its certificate authorities"));
            }
            builder = builder.tls_certs_merge(found);
        }
        if let Some((certificate, key)) = &materials.certificate {
            let both = [certificate.bytes(), b"\n", key.bytes()].concat();
            let identity = Identity::from_pem(&both)
                .map_err(|_| SourceError::settings("its certificate and key are none in PEM"))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|error| {
            SourceError::settings(&format!("the client cannot be set up: {}", root_cause(&error.without_url())))
        })?;
        let url =
            Url::parse(settings.url.trim_end_matches('/')).map_err(|_| SourceError::settings("its url is none"))?;
        let place = place_of(&url);
        Ok(Self { client, url, place })
    }

    /// The value of a query at a time.
    pub async fn query(&self, query: &str, at: DateTime<Utc>, deadline: Instant) -> Result<Answer, SourceError> {
        let time = rfc3339(at);
        self.ask("query", &[("query", query), ("time", &time)], deadline).await
    }

    /// The values of a query over a range of times.
    pub async fn query_range(
        &self,
        query: &str,
        (start, end): (DateTime<Utc>, DateTime<Utc>),
        step_seconds: i64,
        deadline: Instant,
    ) -> Result<Answer, SourceError> {
        let (start, end, step) = (rfc3339(start), rfc3339(end), format!("{step_seconds}s"));
        let form = [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("step", step.as_str())];
        self.ask("query_range", &form, deadline).await
    }

    async fn ask(&self, what: &str, form: &[(&str, &str)], deadline: Instant) -> Result<Answer, SourceError> {
        let timed_out = || SourceError::TimedOut { place: self.place.clone() };
        let left = deadline.saturating_duration_since(Instant::now());
        // Prometheus gives up when we do.
        let timeout = format!("{}ms", left.as_millis().max(1));
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .append_pair("timeout", &timeout)
            // Thanos would otherwise answer with what it has, and say so in words alone.
            .append_pair("partial_response", "false")
            .finish();
        let url = format!("{}/api/v1/{what}", self.url.as_str().trim_end_matches('/'));
        let sent = self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).send();
        let answered = async {
            let response = sent.await.map_err(|error| self.unreachable(error))?;
            let status = response.status();
            if !status.is_success() {
                return Err(self.refused(status, response).await);
            }
            let is_page = is_page(response.headers());
            let body = self.bounded(response, LARGEST_ANSWER_BYTES).await?;
            if is_page || body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<') {
                return Err(SourceError::WebPage { place: self.place.clone() });
            }
            Ok(body)
        };
        let body = timeout_at(deadline, answered).await.map_err(|_| timed_out())??;
        // Tens of megabytes are read beside the tasks that answer reviews.
        let read = tokio::task::spawn_blocking(move || answer::read(&body));
        let read = timeout_at(deadline, read).await.map_err(|_| timed_out())?;
        read.map_err(|error| SourceError::Unreadable { place: self.place.clone(), why: error.to_string() })?
            .map_err(|unusable| self.unusable(unusable))
    }

    fn unreachable(&self, error: reqwest::Error) -> SourceError {
        SourceError::Unreachable { place: self.place.clone(), why: root_cause(&error.without_url()) }
    }

    async fn bounded(&self, mut response: Response, most_bytes: usize) -> Result<Vec<u8>, SourceError> {
        let too_large = || SourceError::TooLarge { place: self.place.clone() };
        if response.content_length().is_some_and(|length| length > most_bytes as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken_off(error))? {
            if body.len() + chunk.len() > most_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken_off(&self, error: reqwest::Error) -> SourceError {
        SourceError::Unreadable {
            place: self.place.clone(),
            why: format!("it broke off: {}", root_cause(&error.without_url())),
        }
    }

    /// What a status that is no success means.
    async fn refused(&self, status: StatusCode, mut response: Response) -> SourceError {
        let place = self.place.clone();
        if status.is_redirection() {
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let to = location.and_then(|location| self.url.join(location).ok());
            return SourceError::Redirected { place, to: to.map_or("elsewhere".to_owned(), |to| place_of(&to)) };
        }
        let retry_after = retry_after(response.headers());
        let is_page = is_page(response.headers());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ERROR_BYTES {
                break;
            }
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let said = match answer::read(&body) {
                    Err(Unusable::Said { message, .. }) => format!(": {}", quote(&message)),
                    _ => String::new(),
                };
                SourceError::Busy { place, status: status.as_u16(), said, retry_after }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                SourceError::Unauthorized { place, status: status.as_u16() }
            }
            _ => match answer::read(&body) {
                Err(Unusable::Said { kind, message }) => SourceError::Query { place, kind, message: quote(&message) },
                _ if is_page => SourceError::WebPageStatus { place, status: status.as_u16() },
                _ => SourceError::Status { place, status: status.as_u16() },
            },
        }
    }

    fn unusable(&self, unusable: Unusable) -> SourceError {
        let place = self.place.clone();
        match unusable {
            Unusable::TooManySeries => SourceError::TooManySeries { place },
            Unusable::Said { kind, message } => SourceError::Query { place, kind, message: quote(&message) },
            Unusable::NotJson(why) => SourceError::Unreadable { place, why: quote(&why) },
            Unusable::Kind(kind) => SourceError::Kind { place, kind: quote(&kind) },
        }
    }
}

fn authorization(settings: &PrometheusSettings, materials: &Materials) -> Result<Option<String>, SourceError> {
    if let Some(basic) = &settings.basic {
        let password = materials.password.as_ref().and_then(|password| password.line());
        let password = password.ok_or_else(|| SourceError::settings("its password is no text"))?;
        return Ok(Some(format!("Basic {}", STANDARD.encode(format!("{}:{password}", basic.username)))));
    }
    if settings.bearer.is_some() {
        let token = materials.token.as_ref().and_then(|token| token.line());
        let token = token.ok_or_else(|| SourceError::settings("its token is no text"))?;
        return Ok(Some(format!("Bearer {token}")));
    }
    Ok(None)
}

fn header(value: &str, is_secret: bool) -> Result<HeaderValue, SourceError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| SourceError::settings("a header, a password or a token holds what no header may"))?;
    value.set_sensitive(is_secret);
    Ok(value)
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Scheme, host and port: what may be shown.
fn place_of(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn is_page(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| kind.starts_with("text/html"))
}

/// How long the server asks to be left alone, as far as that is obeyed.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let written = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match written.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(written).ok()?;
            until.signed_duration_since(crate::clock::now()).to_std().ok()?
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// What a server says, in one short line.
fn quote(said: &str) -> String {
    let one_line: String = said.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if one_line.chars().count() <= LONGEST_QUOTE {
        return one_line;
    }
    one_line.chars().take(LONGEST_QUOTE).collect::<String>() + "…"
}

/// The innermost error says what happened; those around it only where.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_retry_after_is_capped() {
        let of = |written: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(written));
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("86400"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(of("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn what_is_shown_of_an_address_has_no_secret() {
        let url = Url::parse("https://me:secret@metrics.example:8443/prometheus?token=x").unwrap();
        assert_eq!(place_of(&url), "https://metrics.example:8443");
        assert_eq!(quote("a\nb\u{7}"), "a b ");
    }
}
