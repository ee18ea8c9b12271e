//! What goes wrong between the gate and a source, told so that a policy can name it and a person can act on it.

use std::time::Duration;

use thiserror::Error;

use super::super::file::SnapshotError;
use super::super::materials::MissingMaterial;
use super::super::measure::Unmeasured;
use super::super::query::QueryError;
use super::super::state::BudgetState;

/// Why a source's answer cannot be used. Nothing secret is in its words: no token, no password, no query.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    /// It could not be reached.
    #[error("{place} cannot be reached: {why}")]
    Unreachable {
        /// Scheme, host and port.
        place: String,
        /// What happened.
        why: String,
    },
    /// It did not answer in time.
    #[error("{place} did not answer in time; make prometheus.timeout longer, or the source quicker")]
    TimedOut {
        /// Scheme, host and port.
        place: String,
    },
    /// It asks to be left alone.
    #[error("{place} is busy: it answered with status {status}{said}")]
    Busy {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
        /// What it said, after a colon.
        said: String,
        /// For how long it asks to be left alone, as far as that is obeyed.
        retry_after: Option<Duration>,
    },
    /// It wants other credentials.
    #[error("{place} refused the gate's credentials with status {status}; check basic, bearer, tls and tenant")]
    Unauthorized {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
    },
    /// It sends on to somewhere else, where the gate does not go.
    #[error("{place} sends on to {to}, which is not followed; write the address where it ends as prometheus.url")]
    Redirected {
        /// Scheme, host and port.
        place: String,
        /// Scheme, host and port of where it sends.
        to: String,
    },
    /// It answered with a page for people.
    #[error("{place} answered with a web page, as a login page is; write the address of its API as prometheus.url")]
    WebPage {
        /// Scheme, host and port.
        place: String,
    },
    /// It answered with a page for people and a status that is no success.
    #[error("{place} answered with status {status} and a web page; write the address of its API as prometheus.url")]
    WebPageStatus {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
    },
    /// It answered with a status that is no success.
    #[error("{place} answered with status {status}")]
    Status {
        /// Scheme, host and port.
        place: String,
        /// The status.
        status: u16,
    },
    /// It did not like the question.
    #[error("{place} did not answer the query ({kind}): {message}")]
    Query {
        /// Scheme, host and port.
        place: String,
        /// Its word for it, as `bad_data`.
        kind: String,
        /// Its sentence.
        message: String,
    },
    /// What it answered cannot be read.
    #[error("the answer of {place} cannot be read: {why}")]
    Unreadable {
        /// Scheme, host and port.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its answer is too large.
    #[error("the answer of {place} is larger than 32 MiB; aggregate by rules, or split the source")]
    TooLarge {
        /// Scheme, host and port.
        place: String,
    },
    /// Its answer has too many series.
    #[error("the answer of {place} has more than 100,000 series; aggregate by rules, or split the source")]
    TooManySeries {
        /// Scheme, host and port.
        place: String,
    },
    /// Its answer is of another kind than series.
    #[error("the answer of {place} is a {kind} where series were asked for; give the query a label for each service")]
    Kind {
        /// Scheme, host and port.
        place: String,
        /// The kind.
        kind: String,
    },
    /// A query cannot be built.
    #[error(transparent)]
    Built(#[from] QueryError),
    /// A setting cannot be used.
    #[error("the source cannot be asked: {0}")]
    Settings(String),
    /// A password, a certificate or a document is missing.
    #[error(transparent)]
    Material(#[from] MissingMaterial),
    /// The snapshot file makes no sense.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl SourceError {
    /// A setting that cannot be used.
    pub fn settings(why: &str) -> Self {
        Self::Settings(why.to_owned())
    }

    /// The unknown that this leaves: no data where nothing came, invalid where what came can be nothing.
    pub fn as_unmeasured(&self) -> Unmeasured {
        let state = match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Busy { .. }
            | Self::Unauthorized { .. }
            | Self::Redirected { .. }
            | Self::Status { .. }
            | Self::Material(_) => BudgetState::NoData,
            Self::WebPage { .. }
            | Self::WebPageStatus { .. }
            | Self::Query { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::TooManySeries { .. }
            | Self::Kind { .. }
            | Self::Built(_)
            | Self::Settings(_)
            | Self::Snapshot(_) => BudgetState::Invalid,
        };
        Unmeasured::new(state, self.to_string())
    }

    /// For how long the source asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// One word, for counting.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::Busy { .. } => "busy",
            Self::Unauthorized { .. } => "unauthorized",
            Self::TooLarge { .. } | Self::TooManySeries { .. } => "too_large",
            Self::Query { .. } | Self::Kind { .. } | Self::Built(_) => "query",
            Self::Settings(_) | Self::Material(_) => "settings",
            Self::Snapshot(_)
            | Self::Redirected { .. }
            | Self::WebPage { .. }
            | Self::WebPageStatus { .. }
            | Self::Status { .. }
            | Self::Unreadable { .. } => "unreadable",
        }
    }
}
