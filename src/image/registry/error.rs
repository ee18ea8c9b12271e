//! What goes wrong between the gate and a registry, told so that a policy can name it and a person can act on it.

use thiserror::Error;

use crate::evidence::{Unknown, UnknownReason};

/// Why a registry's answer cannot be used. Nothing secret is in its words: no token, no query, no credential.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegistryError {
    /// The registry, or its address, is none that the gate may ask.
    #[error("{0}")]
    NotAllowed(String),
    /// It could not be reached, or did not answer in time, or with what could not be used.
    #[error("{0}")]
    Unreachable(String),
    /// It answers, and does not understand what it is asked.
    #[error("{0}")]
    Unsupported(String),
    /// It wants credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// It has no such image.
    #[error("{0}")]
    NotFound(String),
    /// It asks to be left alone.
    #[error("{0}")]
    RateLimited(String),
    /// What it sent is not what the digest names.
    #[error("{0}")]
    WrongBytes(String),
}

impl RegistryError {
    /// The unknown that this leaves.
    pub fn into_unknown(self) -> Unknown {
        let (reason, detail) = match self {
            Self::NotAllowed(detail) => (UnknownReason::NotAllowed, detail),
            Self::Unreachable(detail) | Self::Unsupported(detail) => (UnknownReason::Unreachable, detail),
            Self::Unauthorized(detail) => (UnknownReason::Unauthorized, detail),
            Self::NotFound(detail) => (UnknownReason::NotFound, detail),
            Self::RateLimited(detail) => (UnknownReason::RateLimited, detail),
            Self::WrongBytes(detail) => (UnknownReason::IntegrityFailure, detail),
        };
        Unknown { reason, detail }
    }

    /// The same error, told with what could not be learnt for it.
    #[must_use]
    pub fn leaving_open(mut self, what: &str) -> Self {
        let (Self::NotAllowed(detail)
        | Self::Unreachable(detail)
        | Self::Unsupported(detail)
        | Self::Unauthorized(detail)
        | Self::NotFound(detail)
        | Self::RateLimited(detail)
        | Self::WrongBytes(detail)) = &mut self;
        detail.insert_str(0, &format!("{what} could not be learnt: "));
        self
    }

    /// Whether the registry itself is unwell, so that it should be left alone for a moment.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Whether a fact from before may stand in: the registry is away or asks for patience.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::RateLimited(_))
    }
}
