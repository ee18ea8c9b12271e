//! What becomes of a decision: its words, its record, and what the ledger learns.
//!
//! A dry run is logged and not stored. What passes without being judged is counted, and stored only if all is. The same
//! denial within an hour carries the first one's id, and its record points there. What could not be recorded goes out all
//! the same, or is refused, as the mode says (`unrecorded.rs`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::decode::Request;
use super::unrecorded::{self, AuditMode, Outcome, Unrecorded};
use crate::audit::Audit;
use crate::audit::record::{self, Decided, ExceptionDecided, Labels};
use crate::evidence::Evidence;
use crate::metrics::Metrics;
use crate::policy::evaluate::keeps_what_runs;
use crate::server::deadline::Deadline;
use crate::store::ledger::WorkloadKey;
use crate::subject::{Operation, Subject};
use crate::telemetry::Traces;
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

/// How decisions are said and recorded.
#[derive(Clone, Debug, Default)]
pub struct RecordingSettings {
    /// What is stored.
    pub level: RecordLevel,
    /// What becomes of a request whose record cannot be written.
    pub mode: AuditMode,
    /// Whose records these are.
    pub labels: Labels,
    /// Whom refusals tell people to ask.
    pub contact: Option<String>,
    /// Address at which people read decisions.
    pub public_url: Option<String>,
}

/// Records decisions.
pub struct Recording {
    audit: Arc<Audit>,
    settings: RecordingSettings,
    traces: Traces,
    metrics: Arc<Metrics>,
    denials: Cache<[u8; 32], String>,
}

/// What was said and recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The id under which the decision is found; of a dry run and of what is not stored there is none.
    pub decision_id: Option<String>,
    /// The denial, or why strict mode refuses what is allowed.
    pub message: Option<String>,
    /// The warnings.
    pub warnings: Vec<String>,
    /// Whether the decision goes out as it was made.
    pub outcome: Outcome,
}

impl Recording {
    /// Records to an audit.
    pub fn new(audit: Arc<Audit>, settings: RecordingSettings, traces: Traces, metrics: Arc<Metrics>) -> Self {
        let denials = Cache::builder().max_capacity(DENIALS_IN_MEMORY).time_to_live(REPEATED_WITHIN).build();
        let public_url = settings.public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { audit, settings: RecordingSettings { public_url, ..settings }, traces, metrics, denials }
    }

    /// Says and records a decision. It is durable when this returns, or the outcome says that it is not.
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
            public_url: self.settings.public_url.as_deref(),
            contact: self.settings.contact.as_deref(),
            subject: Some(subject),
        };
        let mut recorded = Recorded {
            decision_id: None,
            message: words::denial(verdict, &context),
            // A controller that is backed by its owner would only fill its log with them.
            warnings: if subject.owner.is_some() { Vec::new() } else { words::warnings(verdict, &context) },
            outcome: Outcome::Recorded,
        };
        if dry_run {
            tracing::info!(
                workload = %subject.in_words(), decision = verdict.decision.as_str(), change = verdict.change.as_str(),
                user = %request.user_info.username, said = recorded.message, "dry run"
            );
            return recorded;
        }
        if verdict.passed.is_some() && self.settings.level != RecordLevel::All && !teaches_the_ledger(subject, evidence)
        {
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
            labels: &self.settings.labels,
            ledger: ledger.as_ref(),
        };
        self.traces.remember(&own_id);
        let written = tokio::time::timeout_at(deadline.record_until, self.write(&decided, repeat_of.as_deref())).await;
        if let Err(why) = written.unwrap_or(Err(Unrecorded::Late)) {
            let id = repeat_of.as_deref().unwrap_or(&own_id);
            (recorded.outcome, recorded.message) = self.unrecorded(&decided, id, &why);
            if repeat_of.is_none() {
                // What nobody can find again is nothing for others to point to.
                self.denials.invalidate(&denial_key(subject, verdict));
            }
        }
        recorded.decision_id = Some(repeat_of.unwrap_or(own_id));
        recorded
    }

    /// Makes the record durable, and lets the ledger learn from it.
    async fn write(&self, decided: &Decided<'_>, repeat_of: Option<&str>) -> Result<(), Unrecorded> {
        let body = match repeat_of {
            Some(first) => record::repeat_body(decided, first),
            None => record::body(decided),
        }?;
        let admitted = decided.ledger.map(|entry| {
            let subject = decided.subject;
            let workload = WorkloadKey {
                namespace: subject.namespace.clone(),
                kind: subject.kind.clone(),
                name: subject.name.clone(),
            };
            entry.update(workload, decided.timestamp)
        });
        self.audit.record(body, admitted).await?;
        Ok(())
    }

    /// What becomes of a decision whose record is not durable, and what is said instead of what was.
    fn unrecorded(&self, decided: &Decided<'_>, decision_id: &str, why: &Unrecorded) -> (Outcome, Option<String>) {
        let Decided { subject, evidence, verdict, .. } = *decided;
        self.metrics.audit_unrecorded.inc();
        let outcome =
            unrecorded::outcome(self.settings.mode, verdict.decision, keeps_what_runs(subject, evidence, verdict));
        let (workload, decision) = (subject.in_words(), verdict.decision.as_str());
        if outcome == Outcome::Refused {
            self.metrics.audit_refused.inc();
            tracing::error!(error = %why, decision_id, %workload, decision, "a request is refused, because its record could not be written");
            return (outcome, Some(unrecorded::refusal(why, decision_id, self.settings.contact.as_deref())));
        }
        tracing::error!(error = %why, decision_id, %workload, decision, "a decision goes out unrecorded");
        (outcome, decided.message.map(|message| unrecorded::denial(message, why)))
    }

    /// Makes the record of an exception durable.
    pub(super) async fn record_exception<'a>(
        &'a self,
        deadline: Deadline,
        decided: &(dyn Fn(&'a Labels) -> ExceptionDecided<'a> + Sync),
    ) -> Result<(), Unrecorded> {
        let decided = decided(&self.settings.labels);
        self.traces.remember(decided.decision_id);
        let write = async {
            let body = record::exception_body(&decided)?;
            self.audit.record(body, None).await?;
            Ok(())
        };
        let written = tokio::time::timeout_at(deadline.record_until, write).await.unwrap_or(Err(Unrecorded::Late));
        written.inspect_err(|why| {
            self.metrics.audit_unrecorded.inc();
            let (decision_id, exception) = (decided.decision_id, decided.name);
            tracing::error!(error = %why, decision_id, exception, "what was decided about an exception could not be recorded");
        })
    }

    /// What becomes of an exception whose record is not durable.
    pub(super) fn outcome_of_exception(&self, granted: bool) -> Outcome {
        let decision = if granted { Decision::Allow } else { Decision::Deny };
        let outcome = unrecorded::outcome(self.settings.mode, decision, false);
        if outcome == Outcome::Refused {
            self.metrics.audit_refused.inc();
        }
        outcome
    }

    /// The refusal of an exception that would have been granted.
    pub(super) fn exception_refusal(&self, why: &Unrecorded, decision_id: &str) -> String {
        unrecorded::exception_refusal(why, decision_id, self.settings.contact.as_deref())
    }

    /// The line that ends a refusal: the decision's id, where to read it, and whom to ask.
    pub fn last_line(&self, decision_id: &str, dry_run: bool) -> String {
        let mut parts = Vec::new();
        match &self.settings.public_url {
            _ if dry_run => parts.push("dry run, not recorded".to_owned()),
            Some(url) => parts.push(format!("decision {decision_id} · {url}/decisions/{decision_id}")),
            None => parts.push(format!("decision {decision_id}")),
        }
        parts.extend(self.settings.contact.as_ref().map(|contact| format!("ask {contact}")));
        parts.join(" · ")
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
