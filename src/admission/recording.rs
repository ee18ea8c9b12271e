//! What becomes of a decision: its words, its record, and what the ledger learns.
//!
//! A dry run is logged and not stored. What passes without being judged is counted, and stored only if all is. The same
//! denial within an hour carries the first one's id, and its record points there.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::decode::Request;
use crate::audit::Audit;
use crate::audit::record::{self, Decided, ExceptionDecided, Labels};
use crate::evidence::Evidence;
use crate::metrics::Metrics;
use crate::server::deadline::Deadline;
use crate::store::ledger::WorkloadKey;
use crate::subject::{Operation, Subject};
use crate::verdict::{About, Decision, Verdict, words};

/// How long the same denial carries the first one's id.
const REPEATED_WITHIN: Duration = Duration::from_secs(3_600);
const DENIALS_IN_MEMORY: u64 = 50_000;

/// What is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordLevel {
    /// Every decision that a policy had a say in.
    #[default]
    Judged,
    /// Also what passed without being judged.
    All,
}

/// Records decisions.
pub struct Recording {
    audit: Arc<Audit>,
    level: RecordLevel,
    labels: Labels,
    contact: Option<String>,
    public_url: Option<String>,
    metrics: Arc<Metrics>,
    denials: Cache<[u8; 32], String>,
}

/// What was said and recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The id under which the decision is found; of a dry run and of what is not stored there is none.
    pub decision_id: Option<String>,
    /// The denial.
    pub message: Option<String>,
    /// The warnings.
    pub warnings: Vec<String>,
    /// Whether the decision goes out although its record could not be written.
    pub unrecorded: bool,
}

impl Recording {
    /// Records to an audit, at a level, with labels; denials name the contact and the address of decisions.
    pub fn new(
        audit: Arc<Audit>,
        level: RecordLevel,
        labels: Labels,
        contact: Option<String>,
        public_url: Option<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let denials = Cache::builder().max_capacity(DENIALS_IN_MEMORY).time_to_live(REPEATED_WITHIN).build();
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { audit, level, labels, contact, public_url, metrics, denials }
    }

    /// Says and records a decision. It is durable when this returns, or `unrecorded` says that it is not.
    pub async fn record(
        &self,
        request: &Request<'_>,
        subject: &Subject,
        evidence: &Evidence,
        verdict: &Verdict,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Recorded {
        let dry_run = request.dry_run == Some(true);
        let own_id = uuid::Uuid::now_v7().to_string();
        let repeat_of =
            (verdict.decision == Decision::Deny && !dry_run).then(|| self.first_of(subject, verdict, &own_id));
        let repeat_of = repeat_of.filter(|first| *first != own_id);
        let context = words::Context {
            decision_id: repeat_of.as_deref().unwrap_or(&own_id),
            dry_run,
            public_url: self.public_url.as_deref(),
            contact: self.contact.as_deref(),
            subject: Some(subject),
        };
        let mut recorded = Recorded {
            decision_id: None,
            message: words::denial(verdict, &context),
            // A controller that is backed by its owner would only fill its log with them.
            warnings: if subject.owner.is_some() { Vec::new() } else { words::warnings(verdict, &context) },
            unrecorded: false,
        };
        if dry_run {
            tracing::info!(
                workload = %subject.in_words(), decision = verdict.decision.as_str(), change = verdict.change.as_str(),
                user = %request.user_info.username, said = recorded.message, "dry run"
            );
            return recorded;
        }
        if verdict.passed.is_some() && self.level != RecordLevel::All && !teaches_the_ledger(subject, evidence) {
            return recorded;
        }
        let ledger = (verdict.decision != Decision::Deny).then(|| record::ledger_entry(subject, evidence, now));
        let decided = Decided {
            decision_id: &own_id,
            timestamp: now,
            request,
            subject,
            evidence,
            verdict,
            message: recorded.message.as_deref(),
            warnings: &recorded.warnings,
            deadline_ms: deadline.total_ms(),
            elapsed_ms: deadline.elapsed_ms(),
            labels: &self.labels,
            ledger: ledger.as_ref(),
        };
        let written = tokio::time::timeout_at(deadline.record_until, self.write(&decided, repeat_of.as_deref())).await;
        recorded.unrecorded = match written {
            Ok(written) => !written,
            Err(_) => !self.failed(&decided, &TooSlow),
        };
        if recorded.unrecorded && repeat_of.is_none() {
            // What nobody can find again is nothing for others to point to.
            self.denials.invalidate(&denial_key(subject, verdict));
        }
        recorded.decision_id = Some(repeat_of.unwrap_or(own_id));
        recorded
    }

    /// Makes the record durable, and lets the ledger learn from it. Whether that worked.
    async fn write(&self, decided: &Decided<'_>, repeat_of: Option<&str>) -> bool {
        let body = match repeat_of {
            Some(first) => record::repeat_body(decided, first),
            None => record::body(decided),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return self.failed(decided, &error),
        };
        let admitted = decided.ledger.map(|entry| {
            let subject = decided.subject;
            let workload = WorkloadKey {
                namespace: subject.namespace.clone(),
                kind: subject.kind.clone(),
                name: subject.name.clone(),
            };
            entry.update(workload, decided.timestamp)
        });
        match self.audit.record(body, admitted).await {
            Ok(_) => true,
            Err(error) => self.failed(decided, &error),
        }
    }

    /// Makes the record of an exception durable; whether that worked in time.
    pub async fn record_exception<'a>(
        &'a self,
        deadline: Deadline,
        decided: &(dyn Fn(&'a Labels) -> ExceptionDecided<'a> + Sync),
    ) -> bool {
        let decided = decided(&self.labels);
        let failed = |error: &dyn std::error::Error| {
            self.metrics.audit_unrecorded.inc();
            let (decision_id, exception) = (decided.decision_id, decided.name);
            tracing::error!(%error, decision_id, exception, "what was decided about an exception could not be recorded");
            false
        };
        let body = match record::exception_body(&decided) {
            Ok(body) => body,
            Err(error) => return failed(&error),
        };
        match tokio::time::timeout_at(deadline.record_until, self.audit.record(body, None)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => failed(&error),
            Err(_) => failed(&TooSlow),
        }
    }

    /// The line that ends a refusal: the decision's id, where to read it, and whom to ask.
    pub fn last_line(&self, decision_id: &str, dry_run: bool) -> String {
        let mut parts = Vec::new();
        match &self.public_url {
            _ if dry_run => parts.push("dry run, not recorded".to_owned()),
            Some(url) => parts.push(format!("decision {decision_id} · {url}/decisions/{decision_id}")),
            None => parts.push(format!("decision {decision_id}")),
        }
        parts.extend(self.contact.as_ref().map(|contact| format!("ask {contact}")));
        parts.join(" · ")
    }

    fn failed(&self, decided: &Decided<'_>, error: &dyn std::error::Error) -> bool {
        self.metrics.audit_unrecorded.inc();
        tracing::error!(
            %error, decision_id = decided.decision_id, workload = %decided.subject.in_words(),
            decision = decided.verdict.decision.as_str(), "a decision goes out unrecorded"
        );
        false
    }

    /// The id of the first denial like this one within the hour: its own, where it is the first.
    fn first_of(&self, subject: &Subject, verdict: &Verdict, own_id: &str) -> String {
        self.denials.get_with(denial_key(subject, verdict), || own_id.to_owned())
    }
}

/// Whether what passes unjudged has to be remembered all the same: that what was admitted ran until now, or that the
/// workload belonged to another service until now.
fn teaches_the_ledger(subject: &Subject, evidence: &Evidence) -> bool {
    match subject.operation {
        Operation::Delete => !evidence.history.admissions.is_empty() || !evidence.services.is_empty(),
        _ => evidence.services.iter().any(|one| one.from.is_some() && one.until.is_some()),
    }
}

/// The disk did not take the record in time; it may still do so.
#[derive(Debug, Error)]
#[error("the audit journal did not take the record before the answer had to leave")]
struct TooSlow;

/// What makes two denials the same: the workload, and each finding with its policy's revision.
fn denial_key(subject: &Subject, verdict: &Verdict) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(text);
        hash.update([0]);
    };
    add(&subject.in_words());
    for finding in verdict.denials() {
        let revision = verdict.policies.get(&finding.policy).map_or("", String::as_str);
        for text in [&finding.policy, revision, finding.found()] {
            add(text);
        }
        match &finding.about {
            About::Image(about) => {
                add(&about.image.image);
                add(about.digest.as_deref().unwrap_or(""));
            }
            About::Budget(about) => {
                add(&about.source);
                add(about.service.as_deref().unwrap_or(""));
                // Each deploy into a freeze is one of its own.
                for used in &subject.images {
                    add(&used.image);
                }
                add(subject.fingerprints.as_ref().map_or("", |fingerprints| &fingerprints.new));
            }
        }
    }
    hash.finalize().into()
}
