//! Deciding again what a record says was decided: from its own inputs, with the policies of the revisions that it names,
//! at the time that it names. Pure.
//!
//! The verdict (decision, change, rules with their figures, budgets, exceptions) has to come out byte for byte as it was
//! recorded. Prose is left out: how something is said may change from release to release.

mod difference;
mod revisions;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use thiserror::Error;

pub use self::difference::Difference;
pub use self::revisions::Revisions;
use super::columns::UnreadableLine;
use super::record;
use crate::evidence::Evidence;
use crate::policy::evaluate::evaluate;
use crate::subject::Subject;
use crate::verdict::{Decision, Passed};

/// What a record says of a decision, as far as it can be decided again.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// It has its inputs.
    Whole(Box<Inputs>),
    /// A short record of a denial that was given before.
    Repeat {
        /// The decision's own id.
        decision_id: String,
        /// When it was made, in UTC.
        timestamp: DateTime<Utc>,
        /// The decision that has the inputs.
        repeat_of: String,
    },
    /// It is about an exception that somebody asked for: no policy judges that by inputs.
    OfAnException {
        /// The decision's id.
        decision_id: String,
    },
}

/// All that a decision was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The decision's id.
    pub decision_id: String,
    /// The `now` that it was made with, in UTC.
    pub timestamp: DateTime<Utc>,
    /// The policies that were for it, and the revision of each.
    pub policies: BTreeMap<String, String>,
    /// What was asked for.
    pub subject: Subject,
    /// What was known.
    pub evidence: Evidence,
}

/// What is missing for deciding again.
#[derive(Debug, Error)]
pub enum Missing {
    /// The line is no record as this version knows them.
    #[error(transparent)]
    Unreadable(#[from] UnreadableLine),
    /// The record has neither inputs nor a decision that it points to.
    #[error(
        "the record has no inputs to decide from: it was written by a version that kept none, or was changed; `freshgate audit verify` says which"
    )]
    Inputs,
    /// The policy was not kept.
    #[error(
        "revision {revision} of policy {policy:?} is not kept in this store: name the store of the gate that decided, or restore it from a copy"
    )]
    Revision {
        /// The policy.
        policy: String,
        /// The revision that the record names.
        revision: String,
    },
    /// What is kept under the revision is something else.
    #[error(
        "what the store keeps as revision {revision} of policy {policy:?} is another policy, because a revision is the SHA-256 of its text: restore the store from a copy"
    )]
    AnotherPolicy {
        /// The policy.
        policy: String,
        /// The revision that the record names.
        revision: String,
    },
    /// The policy cannot be read any more.
    #[error(
        "revision {revision} of policy {policy:?} cannot be read by this version: {source}; replay it with the version that decided"
    )]
    UnknownPolicy {
        /// The policy.
        policy: String,
        /// The revision that the record names.
        revision: String,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// The verdict cannot be compared.
    #[error("the verdict cannot be written as JSON: {0}; report this as a bug")]
    Unwritable(serde_json::Error),
    /// The decision that a repeat points to is not there.
    #[error(
        "the decision {repeat_of}, which it repeats and which has the inputs, is not recorded in this store: it may be past its retention"
    )]
    First {
        /// The id of the decision.
        repeat_of: String,
    },
    /// No policy judged it.
    #[error("the record is about an exception that somebody asked for, which no policy judges")]
    OfAnException,
}

#[derive(Deserialize)]
struct Line {
    decision_id: String,
    timestamp: DateTime<Utc>,
    #[serde(default)]
    policies: BTreeMap<String, String>,
    #[serde(default)]
    repeat_of: Option<String>,
    #[serde(default)]
    exception: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    inputs: Option<LineInputs>,
    decision: Decision,
    #[serde(default)]
    passed: Option<Passed>,
    #[serde(default)]
    rules: Vec<SaidRule>,
}

/// What a record says was decided, as far as another decision is compared with it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) decision: Decision,
    pub(super) passed: Option<Passed>,
    pub(super) rules: Vec<SaidRule>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SaidRule {
    pub(super) rule: String,
    pub(super) result: String,
}

#[derive(Deserialize)]
struct LineInputs {
    subject: Subject,
    evidence: Evidence,
}

/// Reads a record's line.
pub fn read(line: &str) -> Result<Recorded, Missing> {
    read_with_said(line).map(|(recorded, _)| recorded)
}

/// The same, with what was decided: a line is long, and is gone through once.
pub(super) fn read_with_said(line: &str) -> Result<(Recorded, Said), Missing> {
    let read: Line = serde_json::from_str(line).map_err(UnreadableLine::from)?;
    let Line { decision_id, timestamp, policies, repeat_of, exception, inputs, decision, passed, rules } = read;
    let recorded = match (inputs, repeat_of) {
        (Some(LineInputs { subject, evidence }), _) => {
            Ok(Recorded::Whole(Box::new(Inputs { decision_id, timestamp, policies, subject, evidence })))
        }
        (None, Some(repeat_of)) => Ok(Recorded::Repeat { decision_id, timestamp, repeat_of }),
        (None, None) if exception.is_some() => Ok(Recorded::OfAnException { decision_id }),
        (None, None) => Err(Missing::Inputs),
    };
    Ok((recorded?, Said { decision, passed, rules }))
}

/// Decides again what the record `line` has as its inputs, with the policies of its revisions, and says in what the
/// verdict differs from the recorded one: in nothing, if all is well.
pub fn replay(line: &str, inputs: &Inputs, revisions: &mut Revisions) -> Result<Vec<Difference>, Missing> {
    let policies = revisions.set(&inputs.policies)?;
    let verdict = evaluate(&inputs.subject, &inputs.evidence, &policies, inputs.timestamp);
    let today = record::judged(&inputs.evidence, &verdict).map_err(Missing::Unwritable)?;
    difference::between(line, &today).map_err(|error| Missing::Unreadable(error.into()))
}

#[cfg(test)]
mod tests;
