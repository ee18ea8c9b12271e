//! What becomes of a decision whose record the audit did not take before the answer had to leave, and how that is said.
//!
//! In mode `best-effort` it goes out and says so; in mode `strict` the request is refused, unless it only keeps running
//! what runs.

use std::error::Error;

use thiserror::Error;

use crate::audit::AuditError;
use crate::verdict::Decision;

/// What becomes of a request whose record cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AuditMode {
    /// Its decision goes out, and the log, a metric and the API server's audit log say that it is unrecorded.
    #[default]
    BestEffort,
    /// It is refused, unless it only keeps running what runs.
    Strict,
}

/// How a decision leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Recorded, or of a kind that is not.
    #[default]
    Recorded,
    /// As it was decided, although its record could not be written.
    Unrecorded,
    /// Not as it was decided: the request is refused, because its record could not be written.
    Refused,
}

/// Why a record is not durable.
#[derive(Debug, Error)]
pub(super) enum Unrecorded {
    /// The journal refused it.
    #[error(transparent)]
    Refused(#[from] AuditError),
    /// The disk did not take it in time; it may still do so.
    #[error("the audit journal did not take the record before the answer had to leave")]
    Late,
    /// It cannot be written as JSON.
    #[error("the record cannot be written as JSON: {0}")]
    NoRecord(#[from] serde_json::Error),
}

impl Unrecorded {
    /// With its causes, on one line.
    fn in_words(&self) -> String {
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(inner) = cause {
            words = format!("{words}: {inner}");
            cause = inner.source();
        }
        words
    }
}

/// What strict mode refuses because it could not be recorded: what would be let in, and is new.
pub(super) fn outcome(mode: AuditMode, decision: Decision, keeps_what_runs: bool) -> Outcome {
    match mode {
        AuditMode::Strict if decision != Decision::Deny && !keeps_what_runs => Outcome::Refused,
        AuditMode::Strict | AuditMode::BestEffort => Outcome::Unrecorded,
    }
}

/// Whose the gate's disk is, where nobody said whom to ask.
const WHOEVER: &str = "whoever runs the gate";

/// The refusal of a workload that would have been let in.
pub(super) fn refusal(why: &Unrecorded, decision_id: &str, contact: Option<&str>) -> String {
    let meanwhile = "Deletions, scaling and rollbacks to what ran before pass meanwhile.";
    refusal_of("no policy refuses this change", meanwhile, why, decision_id, contact)
}

/// The refusal of an exception that would have been granted.
pub(super) fn exception_refusal(why: &Unrecorded, decision_id: &str, contact: Option<&str>) -> String {
    let meanwhile = "What the exception is for would be refused for the same reason.";
    refusal_of("nothing is wrong with this exception", meanwhile, why, decision_id, contact)
}

fn refusal_of(otherwise: &str, meanwhile: &str, why: &Unrecorded, decision_id: &str, contact: Option<&str>) -> String {
    format!(
        "audit: {otherwise}, but the gate cannot record it, and lets in nothing unrecorded (audit mode strict): {}.\n\
         Have the disk of the gate's audit journal looked at, then try again; neither an exception nor another failurePolicy helps. {meanwhile}\n\
         decision {decision_id}, not recorded · ask {}",
        why.in_words(),
        contact.unwrap_or(WHOEVER),
    )
}

/// A denial with a line that says of its id what it is worth.
pub(super) fn denial(message: &str, why: &Unrecorded) -> String {
    format!("{message}\nThis denial could not be recorded: {}.", why.in_words())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn strict_refuses_what_would_be_let_in_and_is_new_and_nothing_else() {
        use Decision::{Allow, Deny, Warn};
        for decision in [Allow, Warn, Deny] {
            for keeps in [true, false] {
                assert_eq!(outcome(AuditMode::BestEffort, decision, keeps), Outcome::Unrecorded);
                let refused = decision != Deny && !keeps;
                let expected = if refused { Outcome::Refused } else { Outcome::Unrecorded };
                assert_eq!(outcome(AuditMode::Strict, decision, keeps), expected, "{decision:?} {keeps}");
            }
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let full = io::Error::other("no space left");
        for (why, words) in [
            (
                Unrecorded::from(AuditError::Write { source: Arc::new(full) }),
                "writing the record to the audit journal failed: no space left",
            ),
            (
                AuditError::Overloaded { waiting: 4096 }.into(),
                "the audit journal is overloaded: 4096 records wait for the disk",
            ),
            (AuditError::Closed.into(), "the audit journal is closed"),
            (Unrecorded::Late, "the audit journal did not take the record before the answer had to leave"),
        ] {
            assert_eq!(why.in_words(), words);
            assert_eq!(denial("No.", &why), format!("No.\nThis denial could not be recorded: {words}."));
            assert!(refusal(&why, "1", None).contains(&format!("(audit mode strict): {words}.\n")));
        }
    }
}
