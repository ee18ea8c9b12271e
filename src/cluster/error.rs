//! What can come between the gate and an answer of the API server, in words that can stand in a record.

use std::future::Future;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

/// Why something could not be read. `what` names it: `ReplicaSet "checkout-5d9c" in namespace "shop"`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The deadline came first.
    #[error("the API server did not answer in time when asked for {what}")]
    TimedOut {
        /// What was asked for.
        what: String,
    },
    /// RBAC does not let the gate read it.
    #[error("the gate may not read {what}")]
    Forbidden {
        /// What was asked for.
        what: String,
    },
    /// It does not exist.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The API server answered something else.
    #[error("the API server answered {code} when asked for {what}: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The status code.
        code: u16,
        /// What the API server said.
        message: String,
    },
    /// There was no answer, or none that can be read.
    #[error("the API server could not be asked for {what}: {cause}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What happened.
        cause: String,
    },
}

impl ReadError {
    /// Names what happened when `what` was asked for.
    pub fn of(what: &str, error: &kube::Error) -> Self {
        let what = what.to_owned();
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::NotFound { what },
                401 | 403 => Self::Forbidden { what },
                code => Self::Refused { what, code, message: status.message.clone() },
            },
            // The API server has been asked which kinds there are, and this is none of them.
            kube::Error::Discovery(_) => Self::NotFound { what },
            other => Self::Unreachable { what, cause: root_cause(other) },
        }
    }

    /// Whether the API server has changed its mind about a resource version: all must be listed again.
    pub(super) fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { code: 410, .. })
    }
}

/// The innermost error says what happened; those around it only where.
fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let words = cause.to_string();
    if words.is_empty() { error.to_string() } else { words }
}

/// Waits for an answer, but not past the deadline.
pub(crate) async fn within<T>(
    deadline: Instant,
    what: &str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, ReadError> {
    match timeout_at(deadline, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ReadError::of(what, &error)),
        Err(_) => Err(ReadError::TimedOut { what: what.to_owned() }),
    }
}
