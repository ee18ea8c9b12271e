//! Admits exceptions themselves: whether one is within bounds, and whether who creates it may grant it everywhere.
//!
//! What comes in is remembered and recorded; the status is written when the object appears (`cluster/exceptions.rs`).

mod words;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::Deserialize;

use super::decode::{Request, Review};
use super::recording::Recording;
use super::respond::{Annotations, Reply, Status};
use super::unrecorded::{self, Outcome, Unrecorded};
use crate::audit::record::ExceptionDecided;
use crate::cluster::Cluster;
use crate::cluster::authorization::{Authorizer, Permission, User};
use crate::cluster::events::{About, EventSink};
use crate::cluster::exceptions::ClusterExceptions;
use crate::exception::Reason;
use crate::exception::api::{GateExceptionSpec, Grantor};
use crate::exception::book::Admitted;
use crate::exception::check;
use crate::exception::signature::Granted;
use crate::json::Unread;
use crate::metrics::{Metrics, ReasonLabels};
use crate::policy::compile::{NamespaceLabels, PolicySet};
use crate::server::deadline::Deadline;
use crate::subject::Operation;
use crate::subject::kinds::WorkloadKinds;

/// Grants exceptions in a cluster.
pub struct Granting {
    /// Says who may grant.
    pub authorizer: Authorizer,
    /// The exceptions that are known.
    pub exceptions: ClusterExceptions,
    /// Says which policies are for a namespace.
    pub cluster: Arc<Cluster>,
    /// Where break-glass is shown.
    pub events: EventSink,
}

/// What admitting an exception needs of the gate.
pub(super) struct Context<'a> {
    pub(super) granting: Option<&'a Granting>,
    pub(super) kinds: &'a WorkloadKinds,
    pub(super) policies: &'a PolicySet,
    pub(super) recording: &'a Recording,
    pub(super) metrics: &'a Metrics,
    pub(super) now: DateTime<Utc>,
    pub(super) deadline: Deadline,
}

/// Whether the request is about an exception.
pub(super) fn is_exception(request: &Request<'_>) -> bool {
    request.kind.group == "freshgate.dev" && request.kind.kind == "GateException"
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: GateExceptionSpec,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
}

/// What was found out about one request.
#[derive(Default)]
struct Asked {
    name: String,
    uid: String,
    spec: Option<GateExceptionSpec>,
    /// What is wrong, in sentences.
    problems: Vec<String>,
    /// What can be done about missing permissions.
    remedies: Vec<String>,
}

impl Context<'_> {
    /// Answers the review of an exception.
    pub(super) async fn review(&self, review: &Review<'_>) -> Vec<u8> {
        let request = &review.request;
        let is_status = request.sub_resource.as_deref().is_some_and(|name| !name.is_empty());
        let asked = match review.operation {
            Operation::Create if !is_status => self.created(request).await,
            Operation::Update if !is_status => match updated(request) {
                Some(asked) => asked,
                None => return passed(request),
            },
            // Whoever else writes a status: the signature decides.
            _ => return passed(request),
        };
        self.answer(review, asked).await
    }

    async fn created(&self, request: &Request<'_>) -> Asked {
        let Some(granting) = self.granting else {
            return Asked {
                problems: vec![words::FROM_FILES.to_owned()],
                name: request.name.to_string(),
                ..Asked::default()
            };
        };
        let mut asked = match read(request.object.unread()) {
            Ok(Object { metadata, spec }) => {
                Asked { name: metadata.name, uid: metadata.uid, spec: Some(spec), ..Asked::default() }
            }
            Err(problem) => {
                return Asked { name: request.name.to_string(), problems: vec![problem], ..Asked::default() };
            }
        };
        let Some(spec) = &asked.spec else {
            return asked;
        };
        if asked.uid.is_empty() {
            asked.problems.push(words::NO_UID.to_owned());
        }
        asked.problems.extend(check::shape(spec, self.kinds).iter().map(words::problem));
        if !asked.problems.is_empty() {
            return asked; // what cannot be told who for needs nobody's leave
        }
        let namespaces = spec.namespaces();
        let user = match user(request) {
            Ok(user) => user,
            Err(problem) => {
                asked.problems.push(problem);
                return asked;
            }
        };
        let (verb, until) = (spec.reason.verb(), self.deadline.evidence_until);
        let labels = join_all(namespaces.iter().map(|namespace| granting.cluster.namespaces.of(namespace, until)));
        let may = granting.authorizer.may(&user, &verb, &namespaces, until);
        let (labels, permissions) = tokio::join!(labels, may);
        let labels: HashMap<&str, BTreeMap<String, String>> =
            namespaces.iter().zip(labels).filter_map(|(name, labels)| Some((*name, labels.ok()?))).collect();
        let limit = check::limit(spec, self.policies, |namespace| {
            labels.get(namespace).map_or(NamespaceLabels::Unknown, NamespaceLabels::Known)
        });
        let too_long = check::duration(spec, &limit, self.now, self.now);
        asked.problems.extend(too_long.as_ref().map(words::problem));
        let refused: Vec<(&str, Permission)> = namespaces
            .into_iter()
            .zip(permissions)
            .filter(|(_, permission)| *permission != Permission::Granted)
            .collect();
        asked
            .problems
            .extend(refused.iter().map(|(namespace, why)| words::refused(&user.username, spec.reason, namespace, why)));
        asked.remedies = words::remedies(&user.username, spec.reason, &refused);
        asked
    }

    async fn answer(&self, review: &Review<'_>, asked: Asked) -> Vec<u8> {
        let request = &review.request;
        let dry_run = request.dry_run == Some(true);
        let decision_id = uuid::Uuid::now_v7().to_string();
        let user_info = &request.user_info;
        let by = Grantor { username: user_info.username.to_string(), uid: user_info.uid.to_string() };
        let granted = asked.spec.as_ref().filter(|_| asked.problems.is_empty());
        let granted = granted.map(|spec| (spec, Granted::new(&asked.uid, spec, by, self.now)));
        let mut warnings: Vec<String> = match &granted {
            Some((spec, _)) if spec.reason == Reason::Incident => vec![words::break_glass_warning(spec)],
            _ => Vec::new(),
        };
        let mut message = (!asked.problems.is_empty()).then(|| {
            let last = self.recording.last_line(&decision_id, dry_run);
            words::message(&asked.problems, &asked.remedies, &last)
        });
        let mut outcome = Outcome::Recorded;
        if dry_run {
            tracing::info!(
                exception = asked.name, user = %user_info.username, granted = granted.is_some(), said = message, "dry run"
            );
        } else {
            let recorded = self
                .recording
                .record_exception(self.deadline, &|labels| ExceptionDecided {
                    decision_id: &decision_id,
                    timestamp: self.now,
                    request,
                    operation: review.operation,
                    name: &asked.name,
                    uid: &asked.uid,
                    spec: asked.spec.as_ref(),
                    granted: granted.as_ref().map(|(_, granted)| granted),
                    problems: &asked.problems,
                    message: message.as_deref(),
                    warnings: &warnings,
                    deadline_ms: self.deadline.total_ms(),
                    elapsed_ms: self.deadline.elapsed_ms(),
                    labels,
                })
                .await;
            if let Err(why) = recorded {
                let reason = granted.as_ref().map(|(spec, _)| spec.reason);
                (outcome, message) = self.unrecorded(reason, message, &decision_id, &why);
            }
            match &granted {
                Some((spec, granted)) if message.is_none() => self.grant(&asked.name, spec, granted),
                _ => {
                    warnings.clear();
                    self.metrics.exceptions_refused.inc();
                }
            }
        }
        let mut annotations = Annotations::default();
        annotations.add("decision", if message.is_none() { "allow" } else { "deny" });
        if !dry_run {
            annotations.add("decision-id", decision_id.clone());
        }
        if let Some((spec, _)) = &granted {
            annotations.add("spec-hash", spec.hash().to_string());
            annotations.add("break-glass", if spec.reason == Reason::Incident { "true" } else { "" });
        }
        annotations.add_unrecorded(outcome);
        let allowed = message.is_none();
        let status = if outcome == Outcome::Refused { Status::unavailable } else { Status::forbidden };
        Reply { uid: &request.uid, allowed, status: message.map(status), warnings, audit_annotations: annotations }
            .to_bytes()
    }

    /// What becomes of a decision whose record is not durable, and what is said: `reason` is that of what would be granted.
    fn unrecorded(
        &self,
        reason: Option<Reason>,
        message: Option<String>,
        decision_id: &str,
        why: &Unrecorded,
    ) -> (Outcome, Option<String>) {
        let outcome = self.recording.outcome_of_exception(reason.is_some());
        let said = match reason {
            None => message.map(|message| unrecorded::denial(&message, why)),
            Some(_) if outcome == Outcome::Refused => Some(self.recording.exception_refusal(why, decision_id)),
            // An emergency may be that the disk is full; then the log and the Events have to do.
            Some(Reason::Incident) => None,
            Some(_) => Some(words::message(&[words::UNRECORDED.to_owned()], &[], "")),
        };
        (outcome, said)
    }

    /// Remembers a grant, and makes break-glass heard.
    fn grant(&self, name: &str, spec: &GateExceptionSpec, granted: &Granted) {
        let Some(granting) = self.granting else {
            return;
        };
        let reason = spec.reason;
        self.metrics.exceptions_granted.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
        granting.exceptions.admit(Admitted { name: name.to_owned(), spec: spec.clone(), granted: granted.clone() });
        let (by, until) = (&granted.by.username, check::instant(spec.expires_at));
        if reason != Reason::Incident {
            tracing::info!(exception = name, granted_by = by, %reason, until, targets = spec.targets.len(), "an exception was granted");
            return;
        }
        tracing::warn!(
            exception = name,
            granted_by = by,
            until,
            targets = spec.targets.len(),
            text = spec.text,
            ticket = spec.ticket,
            "break-glass"
        );
        let note = words::break_glass_note(name, spec, by);
        for target in &spec.targets {
            let about = About {
                namespace: target.namespace.clone(),
                kind: target.kind.clone(),
                name: target.name.clone(),
                uid: None,
            };
            granting.events.broke_glass(about, &note);
        }
    }
}

/// What was granted is what stands there, for ever: a changed spec is refused, whatever the API server's own rules say.
fn updated(request: &Request<'_>) -> Option<Asked> {
    let (new, old) = (read(request.object.unread()), read(request.old_object.unread()));
    let is_same = match (&new, &old) {
        (Ok(new), Ok(old)) => new.spec.hash() == old.spec.hash(),
        // What cannot be read has no effect either, so labels and finalizers of it may change.
        (Err(_), Err(_)) => true,
        _ => false,
    };
    if is_same {
        return None;
    }
    let (metadata, spec) = new.map_or((Metadata::default(), None), |new| (new.metadata, Some(new.spec)));
    Some(Asked {
        name: request.name.to_string(),
        uid: metadata.uid,
        spec,
        problems: vec![words::CHANGED.to_owned()],
        remedies: Vec::new(),
    })
}

fn read(object: Option<Unread<'_>>) -> Result<Object, String> {
    let unread = object.ok_or_else(|| "the object is missing".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(unread.text());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let said = error.inner().to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        match error.path().to_string().as_str() {
            "." => said.to_owned(),
            path => format!("{path}: {said}"),
        }
    })
}

/// The user with all that a permission can hang on.
fn user(request: &Request<'_>) -> Result<User, String> {
    let user = &request.user_info;
    let extra = match user.extra {
        None => BTreeMap::new(),
        Some(unread) => {
            serde_json::from_str(unread.text()).map_err(|error| format!("request.userInfo.extra: {error}"))?
        }
    };
    Ok(User { username: user.username.to_string(), uid: user.uid.to_string(), groups: user.groups.clone(), extra })
}

/// What neither grants nor changes anything.
fn passed(request: &Request<'_>) -> Vec<u8> {
    Reply { uid: &request.uid, allowed: true, ..Reply::default() }.to_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::decode::decode;
    use super::*;

    fn spec(text: &str) -> Value {
        json!({
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
            "rules": ["imageAge"], "reason": "security", "text": text, "expiresAt": "2026-11-24T12:00:00Z"
        })
    }

    /// Why an update is refused, if it is.
    fn problems(new: &Value, old: &Value) -> Option<Vec<String>> {
        let object = |spec: &Value| json!({"metadata": {"name": "fix", "uid": "u1"}, "spec": spec});
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "r1", "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"},
            "name": "fix", "operation": "UPDATE", "object": object(new), "oldObject": object(old),
        }});
        let body = body.to_string();
        let review = decode(body.as_bytes(), &WorkloadKinds::default()).unwrap();
        assert!(is_exception(&review.request));
        updated(&review.request).map(|asked| asked.problems)
    }

    #[test]
    fn a_changed_spec_is_refused_and_the_same_in_other_words_is_not() {
        let mut same = spec("a");
        same["expiresAt"] = json!("2026-11-24T13:00:00+01:00");
        same["digest"] = json!(null);
        assert_eq!(problems(&same, &spec("a")), None);
        assert_eq!(problems(&spec("b"), &spec("a")), Some(vec![words::CHANGED.to_owned()]));
        // Neither into what cannot be read nor out of it.
        assert!(problems(&json!({}), &spec("a")).is_some());
        assert!(problems(&spec("a"), &json!({})).is_some());
        assert_eq!(problems(&json!({}), &json!({"x": 1})), None);
    }

    #[test]
    fn the_user_is_taken_with_all_that_rbac_may_look_at() {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "r1", "kind": {"group": "freshgate.dev", "version": "v1alpha1", "kind": "GateException"},
            "operation": "CREATE", "object": {"metadata": {}},
            "userInfo": {"username": "ann", "uid": "7", "groups": ["sre"], "extra": {"scopes.example/one": ["a", "b"]}},
        }});
        let body = body.to_string();
        let review = decode(body.as_bytes(), &WorkloadKinds::default()).unwrap();
        let extra = BTreeMap::from([("scopes.example/one".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        let expected = User { username: "ann".into(), uid: "7".into(), groups: vec!["sre".into()], extra };
        assert_eq!(user(&review.request), Ok(expected));
        assert_eq!(read(review.request.object.unread()).map(|_| ()), Err("missing field `spec`".to_owned()));
    }
}
