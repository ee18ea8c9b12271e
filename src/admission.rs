//! The way of one review: decode, gather, evaluate, record, respond.

pub mod decode;
mod exceptions;
mod recording;
pub mod respond;
mod unrecorded;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound as _, Utc};
use hyper::{HeaderMap, StatusCode};
use opentelemetry::KeyValue;

use self::decode::{Review, decode};
pub use self::exceptions::Granting;
use self::exceptions::is_exception;
use self::recording::Recorded;
pub use self::recording::{RecordLevel, Recording, RecordingSettings};
use self::respond::{Annotations, Reply, respond};
pub use self::unrecorded::{AuditMode, Outcome};
use crate::clock::Clock;
use crate::evidence::gather::{Gatherer, state_of};
use crate::metrics::{DecisionLabels, ImageLabels, Metrics};
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::{evaluate, passes_unjudged};
use crate::scanner::nudges::Nudges;
use crate::server::deadline::Deadline;
use crate::server::{Answer, Reviewer, json, text};
use crate::subject::kinds::WorkloadKinds;
use crate::subject::{Operation, Subject};
use crate::telemetry::Traces;
use crate::verdict::words::MOST_WARNINGS;
use crate::verdict::{Decision, Passed, Verdict};

/// What answers the API server.
pub struct Gate {
    /// Kinds that are judged.
    pub kinds: WorkloadKinds,
    /// Policies in force; swapped as a whole.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Where evidence comes from.
    pub gatherer: Gatherer,
    /// Where decisions go.
    pub recording: Recording,
    /// Who grants exceptions; `None` where they come from files.
    pub granting: Option<Granting>,
    /// Next steps that the scanner found, for who deploys.
    pub nudges: Arc<ArcSwap<Nudges>>,
    /// What shows each review and what took its time.
    pub traces: Traces,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells the time.
    pub clock: Clock,
}

impl Reviewer for Gate {
    async fn review(&self, body: Bytes, headers: &HeaderMap, deadline: Deadline) -> Answer {
        self.traces.review(headers, || self.answer(body, deadline)).await
    }
}

impl Gate {
    async fn answer(&self, body: Bytes, deadline: Deadline) -> Answer {
        let review = match decode(&body, &self.kinds) {
            Ok(review) => review,
            Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        self.traces.describe(|| asked(&review));
        // Records keep milliseconds, so nothing finer may decide.
        let (now, policies) = ((self.clock)().trunc_subsecs(3), self.policies.load_full());
        let Some(subject) = &review.subject else {
            return json(if is_exception(&review.request) {
                Box::pin(self.exception(&review, &policies, now, deadline)).await
            } else {
                not_judged(&review)
            });
        };
        let gathering = || async {
            if passes_unjudged(subject).is_some() {
                self.gatherer.gather_unjudged(subject, now, deadline.evidence_until).await
            } else {
                self.gatherer.gather(subject, &policies, now, deadline.evidence_until).await
            }
        };
        let evidence = self.traces.step("gather evidence", gathering).await;
        let verdict = evaluate(subject, &evidence, &policies, now);
        for image in evidence.images.values() {
            self.metrics.images.get_or_create(&ImageLabels { state: state_of(image) }).inc();
        }
        self.count(&review, &verdict);
        let mut recorded = self.recording.record(&review.request, subject, &evidence, &verdict, now, deadline).await;
        if verdict.passed.is_none() {
            let room = MOST_WARNINGS.saturating_sub(recorded.warnings.len());
            recorded.warnings.extend(self.nudges.load().warnings(subject, &evidence, &policies, room, now));
        }
        self.tell(&review, subject, recorded.message.as_deref());
        self.traces.describe(|| decided(&verdict, &recorded));
        json(respond(&review, &verdict, &evidence, recorded))
    }

    async fn exception(
        &self,
        review: &Review<'_>,
        policies: &PolicySet,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Vec<u8> {
        let (granting, kinds, recording, metrics) =
            (self.granting.as_ref(), &self.kinds, &self.recording, &*self.metrics);
        exceptions::Context { granting, kinds, policies, recording, metrics, now, deadline }.review(review).await
    }

    /// Says a denial where people look first, at the workload.
    fn tell(&self, review: &Review<'_>, subject: &Subject, message: Option<&str>) {
        let (Some(granting), Some(message)) = (&self.granting, message) else {
            return;
        };
        if review.request.dry_run == Some(true) {
            return;
        }
        // What is refused creation has a UID that nothing will ever have.
        let uid = (subject.operation == Operation::Update).then_some(subject.uid.as_str());
        granting.events.denied(&subject.namespace, &subject.kind, &subject.name, uid, message);
    }

    fn count(&self, review: &Review<'_>, verdict: &Verdict) {
        let labels = DecisionLabels {
            decision: verdict.decision.as_str(),
            change: verdict.change.as_str(),
            passed: verdict.passed.map_or("", Passed::as_str),
            dry_run: if review.request.dry_run == Some(true) { "true" } else { "false" },
        };
        self.metrics.decisions.get_or_create(&labels).inc();
    }
}

/// What the span of a review says of the request. Names alone: nothing of the object that could be a secret.
fn asked(review: &Review<'_>) -> Vec<KeyValue> {
    let request = &review.request;
    // With `generateName` the request has none yet.
    let name = review.subject.as_ref().map_or(&*request.name, |subject| &subject.name);
    vec![
        KeyValue::new("request_uid", request.uid.to_string()),
        KeyValue::new("operation", review.operation.as_str()),
        KeyValue::new("namespace", request.namespace.to_string()),
        KeyValue::new("kind", request.kind.kind.to_string()),
        KeyValue::new("name", name.to_owned()),
        KeyValue::new("dry_run", request.dry_run == Some(true)),
    ]
}

/// What it says of the decision.
fn decided(verdict: &Verdict, recorded: &Recorded) -> Vec<KeyValue> {
    let refused = verdict.decision == Decision::Deny || recorded.outcome == Outcome::Refused;
    vec![
        KeyValue::new("decision_id", recorded.decision_id.clone().unwrap_or_default()),
        KeyValue::new("decision", verdict.decision.as_str()),
        KeyValue::new("allowed", !refused),
        KeyValue::new("change", verdict.change.as_str()),
        KeyValue::new("passed", verdict.passed.map_or("", Passed::as_str)),
    ]
}

/// A kind that the gate does not judge passes, and only the API server's audit log says so.
fn not_judged(review: &Review<'_>) -> Vec<u8> {
    let mut annotations = Annotations::default();
    annotations.add("not-judged", format!("the gate does not judge {}", review.request.kind.kind));
    Reply {
        uid: &review.request.uid,
        allowed: true,
        status: None,
        warnings: Vec::new(),
        audit_annotations: annotations,
    }
    .to_bytes()
}
