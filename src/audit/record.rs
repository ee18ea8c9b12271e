//! The record of a decision: what was asked, what was known, what was decided and how it was said. Pure.
//!
//! Field names are those of OPA's decision log and of AdmissionReview, as far as they go. Under `inputs` stands all that
//! the decision was made from, so that it can be made again; no object body, no environment, no secret is in it.

mod exception;
mod judged;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

pub use self::exception::{ExceptionDecided, exception_body, granted_by};
pub use self::judged::judged;
use crate::admission::decode::{GroupVersionKind, GroupVersionResource, Request, UserInfo};
use crate::budget::measure::Weighting;
use crate::evidence::{Evidence, Fact};
use crate::exception::{Grant, Reason};
use crate::image::build_date::{BuildDate, Candidate, rfc3339};
use crate::json;
use crate::store::ledger::{LedgerUpdate, WorkloadKey, WorkloadLedger};
use crate::subject::{ImageUse, Operation, Subject};
use crate::verdict::{
    About, BudgetFinding, Decision, Effect, Finding, Found, ImageFinding, LiftEstimate, Rule, Verdict, words,
};

/// Whose records these are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labels {
    /// Name of this gate: its Pod's name in a cluster.
    pub id: String,
    /// Version of the gate.
    pub version: String,
    /// Name of the cluster, where one is set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
}

/// What a record is made from.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// Time-ordered id of the decision.
    pub decision_id: &'a str,
    /// When it was decided: the `now` that it was decided with, in UTC.
    pub timestamp: DateTime<Utc>,
    /// The request.
    pub request: &'a Request<'a>,
    /// What it asks for.
    pub subject: &'a Subject,
    /// What was known.
    pub evidence: &'a Evidence,
    /// What was decided.
    pub verdict: &'a Verdict,
    /// The denial as it was sent.
    pub message: Option<&'a str>,
    /// The warnings as they were sent.
    pub warnings: &'a [String],
    /// Time there was for it.
    pub deadline_ms: u64,
    /// Time it took.
    pub elapsed_ms: u64,
    /// Whose record it is.
    pub labels: &'a Labels,
    /// What the ledger learns from it, where it lets something in.
    pub ledger: Option<&'a LedgerEntry>,
}

#[derive(Serialize)]
struct Record<'a> {
    decision_id: &'a str,
    timestamp: String,
    decision: Decision,
    request: RequestRecord<'a>,
    change: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<&'a str>,
    policies: &'a BTreeMap<String, String>,
    rules: Vec<RuleRecord<'a>>,
    images: Vec<ImageRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<BudgetRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<ExceptionRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(rename = "deadlineMs")]
    deadline_ms: u64,
    #[serde(rename = "elapsedMs")]
    elapsed_ms: u64,
    labels: &'a Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<&'a LedgerEntry>,
    inputs: Inputs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestRecord<'a> {
    uid: &'a str,
    kind: &'a GroupVersionKind<'a>,
    resource: &'a GroupVersionResource<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_resource: Option<&'a str>,
    namespace: &'a str,
    name: &'a str,
    operation: &'a str,
    dry_run: bool,
    user_info: &'a UserInfo<'a>,
}

#[derive(Serialize)]
struct RuleRecord<'a> {
    policy: &'a str,
    rule: Rule,
    result: &'static str,
    message: String,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    properties: serde_json::Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageRecord<'a> {
    container: &'a str,
    place: &'a str,
    r#ref: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Candidate]>::is_empty")]
    candidates: &'a [Candidate],
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetRecord<'a> {
    source: &'a str,
    service: Option<&'a str>,
    slo: Option<&'a str>,
    objective: Option<f64>,
    window: Option<String>,
    remaining: Option<f64>,
    burn_rate: Option<f64>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weighting: Option<&'static str>,
    sample_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_since: Option<String>,
    lift_at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExceptionRecord<'a> {
    name: &'a str,
    reason: Reason,
    granted_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
    expires_at: String,
}

/// What the ledger learns from a decision that let something in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Digests admitted by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<LedgerDigest>,
    /// Digests that ran before it, and since when at the latest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_digests: Vec<LedgerDigest>,
    /// Fingerprints of the templates, and since when at the latest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<LedgerTemplate>,
    /// Services that it belongs to, or belonged to until now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<LedgerService>,
    /// References that ran until now, of what is deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ran: Vec<String>,
}

/// A service in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerService {
    /// Name of the `BudgetSource`.
    pub source: String,
    /// The service.
    pub service: String,
}

/// A digest in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerDigest {
    /// The digest.
    pub digest: String,
    /// The reference, as written.
    pub reference: String,
    /// When it was first admitted, in UTC; the decision's own time where it is left out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::instant::serialize_known")]
    pub first_admitted_at: Option<DateTime<Utc>>,
}

/// A template in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerTemplate {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Since when it is known, in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Inputs<'a> {
    subject: &'a Subject,
    evidence: &'a Evidence,
}

/// Room for the record of one or two images; what has more grows once or twice, and not from nothing.
const USUAL_BYTES: usize = 4_096;

/// A record as JSON, without what the chain adds to it.
pub fn body(decided: &Decided<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let Decided { subject, evidence, verdict, .. } = *decided;
    let mut body = Vec::with_capacity(USUAL_BYTES);
    let record = Record {
        decision_id: decided.decision_id,
        timestamp: instant(decided.timestamp),
        decision: verdict.decision,
        request: request_record(decided),
        change: verdict.change.as_str(),
        passed: verdict.passed.map(crate::verdict::Passed::as_str),
        policies: &verdict.policies,
        rules: rules(verdict),
        images: images(subject, evidence, decided.timestamp),
        budgets: verdict.budgets.iter().map(budget_record).collect(),
        exceptions: exceptions(evidence, verdict),
        message: decided.message,
        warnings: decided.warnings,
        deadline_ms: decided.deadline_ms,
        elapsed_ms: decided.elapsed_ms,
        labels: decided.labels,
        ledger: decided.ledger,
        inputs: Inputs { subject, evidence },
    };
    json::write(&record, &mut body)?;
    Ok(body)
}

/// The short record of a denial that was given before: it points to the first, which has the evidence.
pub fn repeat_body(decided: &Decided<'_>, repeat_of: &str) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&json!({
        "decision_id": decided.decision_id,
        "timestamp": instant(decided.timestamp),
        "decision": decided.verdict.decision,
        "repeat_of": repeat_of,
        "request": request_record(decided),
        "change": decided.verdict.change.as_str(),
        "policies": decided.verdict.policies,
        "rules": rules(decided.verdict),
        "images": named_images(decided.subject, decided.evidence),
        "deadlineMs": decided.deadline_ms,
        "elapsedMs": decided.elapsed_ms,
        "labels": decided.labels,
    }))
}

/// The images by name and digest alone: what a repeat is found by.
fn named_images(subject: &Subject, evidence: &Evidence) -> Vec<serde_json::Value> {
    let named = subject.images.iter().map(|used| {
        let mut image = json!({ "container": used.name, "place": used.place.in_words(), "ref": used.image });
        if let Some(known) = evidence.images.get(&used.image).and_then(Fact::known) {
            image["digest"] = json!(known.digest);
        }
        image
    });
    named.collect()
}

fn request_record<'a>(decided: &Decided<'a>) -> RequestRecord<'a> {
    let request = decided.request;
    RequestRecord {
        uid: &request.uid,
        kind: &request.kind,
        resource: &request.resource,
        sub_resource: request.sub_resource.as_deref().filter(|name| !name.is_empty()),
        namespace: &request.namespace,
        name: &decided.subject.name,
        operation: decided.subject.operation.as_str(),
        dry_run: request.dry_run == Some(true),
        user_info: &request.user_info,
    }
}

/// Milliseconds are kept: decisions of one second are many.
fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// One entry for each finding, and one `pass` for each rule of a policy that found nothing.
fn rules(verdict: &Verdict) -> Vec<RuleRecord<'_>> {
    let mut rules: Vec<RuleRecord<'_>> = verdict.findings.iter().map(rule_record).collect();
    for (policy, of_policy) in &verdict.rules {
        for rule in of_policy {
            if verdict.findings.iter().all(|finding| finding.policy != *policy || finding.rule != *rule) {
                rules.push(RuleRecord {
                    policy,
                    rule: *rule,
                    result: "pass",
                    message: String::new(),
                    properties: serde_json::Value::Null,
                });
            }
        }
    }
    rules
}

fn rule_record(finding: &Finding) -> RuleRecord<'_> {
    let is_unknown = match &finding.about {
        About::Image(about) => matches!(about.found, Found::Unknown { .. }),
        About::Budget(about) => !about.state.is_measured(),
    };
    let result = match finding.effect {
        Effect::Deny => "fail",
        Effect::Warn => "warn",
        Effect::Audit if is_unknown => "error",
        Effect::Audit => "skip",
    };
    let mut properties = match &finding.about {
        About::Image(about) => image_properties(about),
        About::Budget(about) => json!({ "service": about.service, "source": about.source }),
    };
    properties["found"] = finding.found().into();
    if let Some(softened) = finding.softened {
        properties["softened"] = json!(softened);
    }
    if let Some(exception) = &finding.exception {
        properties["exception"] = exception.as_str().into();
    }
    RuleRecord { policy: &finding.policy, rule: finding.rule, result, message: words::sentence(finding), properties }
}

fn image_properties(about: &ImageFinding) -> serde_json::Value {
    let mut properties = json!({ "container": about.image.name, "image": about.image.image });
    let figures = match &about.found {
        Found::TooOld { built, age_seconds, limit_seconds, .. }
        | Found::Ageing { built, age_seconds, limit_seconds, .. } => json!({
            "buildTime": rfc3339(*built), "ageSeconds": age_seconds, "limitSeconds": limit_seconds,
        }),
        Found::Unknown { reason, .. } => json!({ "reason": reason.as_str() }),
        Found::MovedTag | Found::NotByDigest => json!({}),
    };
    if let (Some(properties), serde_json::Value::Object(figures)) = (properties.as_object_mut(), figures) {
        properties.extend(figures);
    }
    properties
}

/// What is recorded of a budget that was looked at.
fn budget_record(finding: &BudgetFinding) -> BudgetRecord<'_> {
    let budget = finding.budget.as_ref();
    BudgetRecord {
        source: &finding.source,
        service: finding.service.as_deref(),
        slo: budget.map(|budget| budget.slo.as_str()),
        objective: budget.and_then(|budget| budget.objective),
        window: budget.map(|budget| budget.window.in_short()),
        remaining: budget.and_then(|budget| budget.remaining),
        burn_rate: budget.and_then(|budget| budget.burn_rate),
        state: finding.state.as_str(),
        detail: finding.detail.as_deref(),
        weighting: budget.and_then(|budget| budget.weighting).map(Weighting::as_str),
        sample_time: budget.map(|budget| rfc3339(budget.sampled_at)),
        frozen_since: finding.frozen_since.map(rfc3339),
        lift_at: match finding.lift {
            LiftEstimate::At(at) => Some(rfc3339(at)),
            LiftEstimate::Never | LiftEstimate::Unknown => None,
        },
    }
}

/// The exceptions that let something pass.
fn exceptions<'a>(evidence: &'a Evidence, verdict: &Verdict) -> Vec<ExceptionRecord<'a>> {
    let used = |grant: &&Grant| verdict.findings.iter().any(|finding| finding.exception.as_ref() == Some(&grant.name));
    evidence
        .exceptions
        .iter()
        .filter(used)
        .map(|grant| ExceptionRecord {
            name: &grant.name,
            reason: grant.reason,
            granted_by: &grant.granted_by,
            ticket: grant.ticket.as_deref(),
            expires_at: rfc3339(grant.expires_at),
        })
        .collect()
}

/// One entry for each image in its place and each platform of it.
fn images<'a>(subject: &'a Subject, evidence: &'a Evidence, now: DateTime<Utc>) -> Vec<ImageRecord<'a>> {
    subject.images.iter().flat_map(|used| image_records(used, evidence, now)).collect()
}

fn image_records<'a>(used: &'a ImageUse, evidence: &'a Evidence, now: DateTime<Utc>) -> Vec<ImageRecord<'a>> {
    let unjudged = ImageRecord {
        container: &used.name,
        place: used.place.in_words(),
        r#ref: &used.image,
        digest: None,
        platform: None,
        build_time: None,
        source: None,
        class: None,
        age_seconds: None,
        reason: None,
        detail: None,
        candidates: &[],
        cache: None,
    };
    match evidence.images.get(&used.image) {
        None => vec![unjudged],
        Some(Fact::Unknown(unknown)) => {
            vec![ImageRecord { reason: Some(unknown.reason.as_str()), detail: Some(&unknown.detail), ..unjudged }]
        }
        Some(Fact::Known(image)) => image
            .platforms
            .iter()
            .map(|platform| {
                let built: Option<&BuildDate> = platform.built.known();
                let unknown = match &platform.built {
                    Fact::Known(_) => None,
                    Fact::Unknown(unknown) => Some(unknown),
                };
                ImageRecord {
                    container: &used.name,
                    place: used.place.in_words(),
                    r#ref: &used.image,
                    digest: Some(&image.digest),
                    platform: platform.platform.as_deref(),
                    build_time: built.map(|built| rfc3339(built.time)),
                    source: built.map(|built| built.source.as_str()),
                    class: built.map(|built| built.class.as_str()),
                    age_seconds: built.map(|built| now.signed_duration_since(built.time).num_seconds()),
                    reason: unknown.map(|unknown| unknown.reason.as_str()),
                    detail: unknown.map(|unknown| unknown.detail.as_str()),
                    candidates: &platform.candidates,
                    cache: Some(image.cache.as_str()),
                }
            })
            .collect(),
    }
}

impl LedgerEntry {
    /// The same, as the ledger takes it in.
    pub fn update(&self, workload: WorkloadKey, now: DateTime<Utc>) -> LedgerUpdate {
        let mut admitted = WorkloadLedger::default();
        for digest in self.digests.iter().chain(&self.earlier_digests) {
            admitted.admit(&digest.digest, &digest.reference, digest.first_admitted_at.unwrap_or(now));
        }
        for template in &self.templates {
            admitted.admit_template(&template.fingerprint, template.at);
        }
        for LedgerService { source, service } in &self.services {
            admitted.belongs_to(source, service, now);
        }
        for reference in &self.ran {
            admitted.ran_until(reference, now);
        }
        LedgerUpdate { workload, admitted }
    }
}

/// What the ledger learns: what is admitted now, and what must have been here before it.
pub fn ledger_entry(subject: &Subject, evidence: &Evidence, now: DateTime<Utc>) -> LedgerEntry {
    let known = |used: &ImageUse, first_admitted_at: Option<DateTime<Utc>>| {
        let digest = evidence.images.get(&used.image)?.known()?.digest.clone();
        Some(LedgerDigest { digest, reference: used.image.clone(), first_admitted_at })
    };
    let revision_with = |image: &str| {
        let revisions = evidence.history.revisions.iter();
        revisions.filter(|revision| revision.images.iter().any(|one| one == image)).map(|r| r.created_at).min()
    };
    let old_images = subject.old_images.as_deref().unwrap_or_default();
    let earlier_digests = old_images
        .iter()
        .filter(|used| evidence.history.admissions.iter().all(|admission| admission.reference != used.image))
        .filter_map(|used| known(used, Some(revision_with(&used.image).or(subject.old_created_at)?)))
        .collect();
    let templates = subject.fingerprints.iter().flat_map(|fingerprints| {
        let came = evidence.history.revisions.iter();
        let came = came.filter(|revision| revision.fingerprint == fingerprints.old).map(|r| r.created_at).min();
        let old =
            came.or(subject.old_created_at).map(|at| LedgerTemplate { fingerprint: fingerprints.old.clone(), at });
        old.into_iter().chain([LedgerTemplate { fingerprint: fingerprints.new.clone(), at: now }])
    });
    let services = evidence.services.iter().filter(|identity| identity.from.is_some());
    let deleted = subject.operation == Operation::Delete;
    LedgerEntry {
        digests: subject.images.iter().filter_map(|used| known(used, None)).collect(),
        earlier_digests,
        templates: templates.collect(),
        services: services
            .map(|identity| LedgerService { source: identity.source.clone(), service: identity.service.clone() })
            .collect(),
        ran: old_images.iter().filter(|_| deleted).map(|used| used.image.clone()).collect(),
    }
}
