//! The record of an exception that somebody asked for: granted or refused, and the grant itself, from which a gate that
//! ended before it could sign finds it again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Labels, RequestRecord, instant};
use crate::admission::decode::Request;
use crate::exception::Reason;
use crate::exception::api::{GateExceptionSpec, Grantor};
use crate::exception::book::LookUp;
use crate::exception::signature::Granted;
use crate::subject::Operation;
use crate::verdict::Decision;

/// What the record of an exception is made from.
#[derive(Clone, Copy, Debug)]
pub struct ExceptionDecided<'a> {
    /// Time-ordered id of the decision.
    pub decision_id: &'a str,
    /// When it was decided, in UTC.
    pub timestamp: DateTime<Utc>,
    /// The request.
    pub request: &'a Request<'a>,
    /// What is done to the object.
    pub operation: Operation,
    /// Name of the exception.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its spec, where it can be read.
    pub spec: Option<&'a GateExceptionSpec>,
    /// The grant, where it was granted.
    pub granted: Option<&'a Granted>,
    /// What is wrong with it, where it was refused.
    pub problems: &'a [String],
    /// The refusal as it was sent.
    pub message: Option<&'a str>,
    /// The warnings as they were sent.
    pub warnings: &'a [String],
    /// Time there was for it.
    pub deadline_ms: u64,
    /// Time it took.
    pub elapsed_ms: u64,
    /// Whose record it is.
    pub labels: &'a Labels,
}

#[derive(Serialize)]
struct Record<'a> {
    decision_id: &'a str,
    timestamp: String,
    decision: Decision,
    change: &'static str,
    request: RequestRecord<'a>,
    exception: ExceptionRecord<'a>,
    rules: Vec<RuleRecord<'a>>,
    images: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(rename = "deadlineMs")]
    deadline_ms: u64,
    #[serde(rename = "elapsedMs")]
    elapsed_ms: u64,
    labels: &'a Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExceptionRecord<'a> {
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_at: Option<String>,
    /// Loud: whoever reads records looks for these first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    break_glass: bool,
    /// What was asked for; it names workloads and holds no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a GateExceptionSpec>,
}

#[derive(Serialize)]
struct RuleRecord<'a> {
    rule: &'static str,
    result: &'static str,
    message: &'a str,
}

/// A record as JSON, without what the chain adds to it.
pub fn exception_body(decided: &ExceptionDecided<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let request = decided.request;
    let granted = decided.granted;
    let problem = |message| RuleRecord { rule: "exception", result: "fail", message };
    serde_json::to_vec(&Record {
        decision_id: decided.decision_id,
        timestamp: instant(decided.timestamp),
        decision: if granted.is_some() { Decision::Allow } else { Decision::Deny },
        change: "Exception",
        request: RequestRecord {
            uid: &request.uid,
            kind: &request.kind,
            resource: &request.resource,
            sub_resource: None,
            namespace: &request.namespace,
            name: decided.name,
            operation: decided.operation.as_str(),
            dry_run: false,
            user_info: &request.user_info,
        },
        exception: ExceptionRecord {
            name: decided.name,
            uid: decided.uid,
            spec_hash: decided.spec.map(|spec| spec.hash().to_string()),
            granted_at: granted.map(|granted| instant(granted.at)),
            break_glass: granted.is_some() && decided.spec.is_some_and(|spec| spec.reason == Reason::Incident),
            spec: decided.spec,
        },
        rules: decided.problems.iter().map(|message| problem(message)).collect(),
        images: [],
        message: decided.message,
        warnings: decided.warnings,
        deadline_ms: decided.deadline_ms,
        elapsed_ms: decided.elapsed_ms,
        labels: decided.labels,
    })
}

/// The members of a record that show a grant.
#[derive(Deserialize)]
struct Line {
    decision: Decision,
    request: LineRequest,
    #[serde(default)]
    exception: Option<LineException>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineRequest {
    kind: LineKind,
    user_info: Grantor,
}

#[derive(Deserialize)]
struct LineKind {
    group: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineException {
    uid: String,
    #[serde(default)]
    spec_hash: Option<String>,
    #[serde(default)]
    granted_at: Option<DateTime<Utc>>,
}

/// The grant that a record's line shows, if it is the one that is looked for.
pub fn granted_by(line: &str, asked: &LookUp) -> Option<Granted> {
    let line: Line = serde_json::from_str(line).ok()?;
    let exception = line.exception?;
    let fits = line.decision == Decision::Allow
        && line.request.kind.group == "freshgate.dev"
        && line.request.kind.kind == "GateException"
        && exception.uid == asked.uid
        && exception.spec_hash == Some(asked.spec_hash.to_string());
    let at = exception.granted_at.filter(|_| fits)?;
    Some(Granted { uid: exception.uid, spec_hash: asked.spec_hash, by: line.request.user_info, at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::decode::decode;
    use crate::subject::kinds::WorkloadKinds;

    fn spec(text: &str, reason: &str) -> GateExceptionSpec {
        serde_json::from_value(json!({
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
            "rules": ["imageAge"], "reason": reason, "text": text, "expiresAt": "2026-11-24T12:00:00Z"
        }))
        .unwrap()
    }

    fn line(spec: &GateExceptionSpec, is_granted: bool) -> serde_json::Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "r1", "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"},
            "operation": "CREATE", "userInfo": {"username": "alice", "uid": "7", "groups": ["sre"], "extra": {"k": ["canary-secret"]}},
        }});
        let review = review.to_string();
        let review = decode(review.as_bytes(), &WorkloadKinds::default()).unwrap();
        let by = Grantor { username: "alice".into(), uid: "7".into() };
        let granted = Granted::new("u1", spec, by, "2026-11-20T12:00:00.9Z".parse().unwrap());
        let problems = if is_granted { Vec::new() } else { vec!["spec.text: it is empty".to_owned()] };
        let body = exception_body(&ExceptionDecided {
            decision_id: "d1",
            timestamp: "2026-11-20T12:00:00.9Z".parse().unwrap(),
            request: &review.request,
            operation: review.operation,
            name: "fix",
            uid: "u1",
            spec: Some(spec),
            granted: is_granted.then_some(&granted),
            problems: &problems,
            message: None,
            warnings: &[],
            deadline_ms: 8_750,
            elapsed_ms: 3,
            labels: &Labels::default(),
        });
        serde_json::from_slice(&body.unwrap()).unwrap()
    }

    #[test]
    fn a_grant_is_found_again_by_uid_and_spec_and_by_nothing_less() {
        let spec = spec("a", "security");
        let asked = LookUp { name: "fix".into(), uid: "u1".into(), spec_hash: spec.hash() };
        let line = line(&spec, true);
        let found = granted_by(&line.to_string(), &asked).unwrap();
        assert_eq!((found.by.username.as_str(), found.by.uid.as_str()), ("alice", "7"));
        assert_eq!(found.at, "2026-11-20T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(granted_by(&line.to_string(), &LookUp { uid: "u2".into(), ..asked.clone() }), None);
        let other = self::spec("b", "security").hash();
        assert_eq!(granted_by(&line.to_string(), &LookUp { spec_hash: other, ..asked.clone() }), None);
        let refused = self::line(&spec, false);
        assert_eq!(refused["rules"][0]["message"], "spec.text: it is empty");
        assert_eq!(granted_by(&refused.to_string(), &asked), None);
        let mut elsewhere = line;
        elsewhere["request"]["kind"]["kind"] = json!("Deployment");
        assert_eq!(granted_by(&elsewhere.to_string(), &asked), None);
        assert_eq!(granted_by("{}", &asked), None);
    }

    #[test]
    fn break_glass_is_flagged_and_what_the_authenticator_adds_is_not_kept() {
        let glass = line(&spec("a", "incident"), true);
        assert_eq!(glass["exception"]["breakGlass"], true);
        assert!(!glass.to_string().contains("canary-secret"));
        assert_eq!(line(&spec("a", "security"), true)["exception"].get("breakGlass"), None);
    }
}
