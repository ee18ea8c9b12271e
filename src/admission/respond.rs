//! Writes the answer: an AdmissionReview whose message, warnings and audit annotations say what was decided.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;

use super::decode::Review;
use super::recording::Recorded;
use super::unrecorded::Outcome;
use crate::evidence::{Evidence, Fact};
use crate::json;
use crate::verdict::{Decision, Verdict};

/// The answer to a review, as it was decided and recorded.
pub fn respond(review: &Review<'_>, verdict: &Verdict, evidence: &Evidence, recorded: Recorded) -> Vec<u8> {
    let mut annotations = Annotations::default();
    annotations.add("decision", verdict.decision.as_str());
    annotations.add("decision-id", recorded.decision_id.unwrap_or_default());
    annotations.add("change", verdict.change.as_str());
    annotations.add("passed", verdict.passed.map_or("", crate::verdict::Passed::as_str));
    annotations.add("rules", joined(verdict.findings.iter().map(|finding| finding.rule.as_str())));
    let digests = evidence.images.values().filter_map(Fact::known).map(|image| image.digest.as_str());
    annotations.add("digests", joined(digests));
    annotations.add_unrecorded(recorded.outcome);
    let status = match recorded.outcome {
        Outcome::Refused => recorded.message.map(Status::unavailable),
        Outcome::Recorded | Outcome::Unrecorded => recorded.message.map(Status::forbidden),
    };
    Reply {
        uid: &review.request.uid,
        allowed: verdict.decision != Decision::Deny && recorded.outcome != Outcome::Refused,
        status,
        warnings: recorded.warnings,
        audit_annotations: annotations,
    }
    .to_bytes()
}

/// Each text once, separated by commas.
fn joined<'a>(mut texts: impl Iterator<Item = &'a str>) -> String {
    let (Some(first), second) = (texts.next(), texts.next()) else {
        return String::new();
    };
    let Some(second) = second else {
        return first.to_owned();
    };
    [first, second].into_iter().chain(texts).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

/// Most answers have less: what has more moves once more.
const USUAL_BYTES: usize = 1_024;

/// Longest value of an audit annotation; the API server keeps them in every audit event.
const LONGEST_ANNOTATION: usize = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Reply<'a>,
}

/// The answer to one request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply<'a> {
    /// The request's UID.
    pub uid: &'a str,
    /// Whether it passes.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Lines that the client prints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What the API server's audit log keeps; keys are prefixed with the webhook's name there.
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub audit_annotations: Annotations,
}

/// Why a request is refused, as the API server passes it on.
#[derive(Debug, Serialize)]
pub struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Status {
    /// HTTP 403, `Forbidden`, with the message.
    pub fn forbidden(message: String) -> Self {
        Self { code: 403, reason: "Forbidden", message }
    }

    /// HTTP 503, `ServiceUnavailable`, with the message: nothing is wrong with the request, and the same may pass later.
    /// It says no time to try again after, so that kubectl shows the message at once instead of trying for ten seconds.
    pub fn unavailable(message: String) -> Self {
        Self { code: 503, reason: "ServiceUnavailable", message }
    }
}

/// Audit annotations, in the order they were added.
#[derive(Debug, Default)]
pub struct Annotations(Vec<(&'static str, Cow<'static, str>)>);

impl Annotations {
    /// Adds one, unless it is empty; what is too long is cut.
    pub fn add(&mut self, key: &'static str, value: impl Into<Cow<'static, str>>) {
        let mut value = value.into();
        if value.len() > LONGEST_ANNOTATION {
            let end = value.floor_char_boundary(LONGEST_ANNOTATION);
            value.to_mut().truncate(end);
        }
        if !value.is_empty() {
            self.0.push((key, value));
        }
    }

    /// Says where a record is missing, and whether the request is refused for that.
    pub fn add_unrecorded(&mut self, outcome: Outcome) {
        if outcome != Outcome::Recorded {
            self.add("unrecorded", "the audit record could not be written");
        }
        if outcome == Outcome::Refused {
            self.add("refused", "audit mode strict");
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Annotations {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Reply<'_> {
    /// The body of the answer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let envelope = Envelope { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: self };
        let mut body = Vec::with_capacity(USUAL_BYTES);
        // Strings, numbers and maps with string keys: nothing in it can fail to be written.
        match json::write(&envelope, &mut body) {
            Ok(()) => body,
            Err(_) => Vec::new(),
        }
    }
}
