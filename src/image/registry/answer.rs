//! What an answer means, or that there is none: success, or an error that a policy can name.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, DATE, RETRY_AFTER};

use super::address;
use super::error::RegistryError;
use super::limits::{self, Limits, Refused};

/// Why nothing was asked.
pub fn refused_in_words(host: &str, refused: Refused) -> RegistryError {
    match refused {
        Refused::RateLimited(seconds) => {
            RegistryError::RateLimited(format!("{host} asked to be left alone for {seconds} more seconds"))
        }
        Refused::LeftAlone(seconds) => RegistryError::Unreachable(format!(
            "{host} did not answer several times in a row; it is asked again in {seconds} seconds"
        )),
    }
}

/// Why there is no answer.
pub fn not_reached(host: &str, error: &reqwest::Error) -> RegistryError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(not_public) = inner.downcast_ref::<address::NotPublic>() {
            return RegistryError::NotAllowed(format!("{not_public}; {}", address::IF_MEANT));
        }
        cause = inner.source();
    }
    let what = if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else {
        "broke off the connection"
    };
    RegistryError::Unreachable(format!("{host} {what}"))
}

/// The answer, where it is one of success. What the registry says of its patience is noted in its limits.
pub fn success(host: &str, response: Response, limits: &Limits, now: DateTime<Utc>) -> Result<Response, RegistryError> {
    let status = response.status().as_u16();
    match status {
        200..=299 if is_html(&response) => {
            Err(RegistryError::Unreachable(format!("{host} answered HTML where an image was expected")))
        }
        200..=299 => Ok(response),
        401 | 403 => Err(RegistryError::Unauthorized(format!(
            "{host} wants credentials that the gate does not have: it answered {status}"
        ))),
        404 | 410 => Err(RegistryError::NotFound(format!("{host} has no such image: it answered {status}"))),
        429 => {
            let seconds = limits.rate_limited(retry_after(&response, now));
            Err(RegistryError::RateLimited(format!("{host} answered 429; it is asked again in {seconds} seconds")))
        }
        // It is there and does not understand the question, and so it will be next time.
        400..=499 | 501 => Err(RegistryError::Unsupported(format!("{host} answered {status}"))),
        _ => Err(RegistryError::Unreachable(format!("{host} answered {status}"))),
    }
}

/// How long an answer asks to be left alone. A date is compared with the answer's own, so that clocks need not agree.
pub fn retry_after(response: &Response, now: DateTime<Utc>) -> Option<Duration> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    limits::retry_after(header(RETRY_AFTER)?, header(DATE).and_then(limits::http_date).unwrap_or(now))
}

/// A captive portal or a login page: no registry serves an image as HTML.
fn is_html(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| content_type.trim_start().to_ascii_lowercase().starts_with("text/html"))
}
