//! Reads an AdmissionReview, borrowing from its bytes and only as far as a decision needs.
//!
//! A full parse into generic objects costs several times what a decision does, so the review is walked once, its objects
//! with it: metadata and the path to the Pod template are read, everything else is skipped.

mod object;
mod request;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use thiserror::Error;

use self::object::Object;
use self::request::{Envelope, EnvelopeSeed};
pub use self::request::{GroupVersionKind, GroupVersionResource, Request, Sent, UserInfo};
use crate::json::{self, Text, Unread};
use crate::subject::kinds::{WorkloadKind, WorkloadKinds};
use crate::subject::{Difference, Fingerprints, Operation, ServiceLabels, Subject, difference, template};

/// Why a body is no review: the place, and what is wrong there.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{place}: {problem}")]
pub struct DecodeError {
    /// Where, as `request.object.spec.template`; `body` for the JSON itself.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl DecodeError {
    fn new(place: &str, problem: impl fmt::Display) -> Self {
        Self { place: place.to_owned(), problem: problem.to_string() }
    }

    /// A line and column say nothing to whoever wrote the object elsewhere; a field does.
    fn at(place: &str, error: &serde_json::Error) -> Self {
        Self::new(place, error.to_string().split(" at line ").next().unwrap_or_default())
    }

    /// A value at `place` that could not be read as `wanted`.
    fn within<'de>(place: &str, wanted: impl DeserializeSeed<'de>, text: &'de str, error: &serde_json::Error) -> Self {
        let way = way_to_error(wanted, text.as_bytes());
        let dot = if way.is_empty() || way.starts_with('[') { "" } else { "." };
        Self::at(&format!("{place}{dot}{way}"), error)
    }
}

/// Where in `json` it is that it cannot be read as `wanted`: it is read again with an eye on the way, and fails again.
fn way_to_error<'de>(wanted: impl DeserializeSeed<'de>, json: &'de [u8]) -> String {
    let mut track = serde_path_to_error::Track::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let _ = wanted.deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    track.path().to_string().trim_matches(['.', '?']).to_owned()
}

/// A review: the request, and the subject where it is of a kind that is judged.
#[derive(Debug)]
pub struct Review<'a> {
    /// The request.
    pub request: Request<'a>,
    /// What is done to the object.
    pub operation: Operation,
    /// The workload; `None` for a kind that is not judged.
    pub subject: Option<Subject>,
}

/// Reads a review.
pub fn decode<'a>(body: &'a [u8], kinds: &WorkloadKinds) -> Result<Review<'a>, DecodeError> {
    let envelope = read_envelope(body, kinds)?;
    if envelope.kind != "AdmissionReview" {
        return Err(DecodeError::new(
            "kind",
            format!("expected \"AdmissionReview\", found {:?}", shown(&envelope.kind)),
        ));
    }
    if envelope.api_version != "admission.k8s.io/v1" {
        let found = shown(&envelope.api_version);
        return Err(DecodeError::new(
            "apiVersion",
            format!("expected \"admission.k8s.io/v1\", found {found:?}; set admissionReviewVersions: [v1]"),
        ));
    }
    let mut request =
        envelope.request.ok_or_else(|| DecodeError::new("request", "it is missing; only requests are answered"))?;
    if request.uid.is_empty() {
        return Err(DecodeError::new("request.uid", "it is empty"));
    }
    let operation = operation(&request.operation)?;
    let subject = match kinds.find(&request.kind.group, &request.kind.kind) {
        Some(kind) => Some(subject(&mut request, operation, kind)?),
        None => None,
    };
    Ok(Review { request, operation, subject })
}

fn read_envelope<'a>(body: &'a [u8], kinds: &WorkloadKinds) -> Result<Envelope<'a>, DecodeError> {
    let seed = EnvelopeSeed { kinds };
    let read = match std::str::from_utf8(body) {
        Ok(text) => json::read(text, seed),
        Err(_) => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            seed.deserialize(&mut reader).and_then(|envelope| reader.end().map(|()| envelope))
        }
    };
    read.map_err(|error| {
        let way = if error.is_data() { way_to_error(seed, body) } else { String::new() };
        if way.starts_with("request.object") || way.starts_with("request.oldObject") {
            DecodeError::at(&way, &error)
        } else {
            DecodeError::new("body", format!("it is no AdmissionReview: {error}"))
        }
    })
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn operation(written: &str) -> Result<Operation, DecodeError> {
    match written {
        "CREATE" => Ok(Operation::Create),
        "UPDATE" => Ok(Operation::Update),
        "DELETE" => Ok(Operation::Delete),
        "CONNECT" => Ok(Operation::Connect),
        other => Err(DecodeError::new(
            "request.operation",
            format!("{:?} is none of CREATE, UPDATE, DELETE and CONNECT", shown(other)),
        )),
    }
}

fn subject(request: &mut Request<'_>, operation: Operation, kind: &WorkloadKind) -> Result<Subject, DecodeError> {
    let runs = matches!(operation, Operation::Create | Operation::Update);
    let object = read_object(std::mem::take(&mut request.object), kind, "request.object")?.filter(|_| runs);
    if runs && object.is_none() {
        return Err(DecodeError::new("request.object", "it is missing"));
    }
    let mut new = object.unwrap_or_default();
    let old = read_object(std::mem::take(&mut request.old_object), kind, "request.oldObject")?;
    let mut old = old.filter(|_| matches!(operation, Operation::Update | Operation::Delete));
    if operation == Operation::Update && old.is_none() {
        return Err(DecodeError::new("request.oldObject", "it is missing"));
    }

    let (pod_spec, template_labels) = new.pod_spec(kind, "request.object")?;
    let (old_images, old_template_labels) = match &old {
        None => (None, BTreeMap::new()),
        // The same bytes name the same images.
        Some(old) if old.same_template(&new) => (Some(pod_spec.images()), template_labels.clone()),
        Some(old) => {
            let (old_spec, labels) = old.pod_spec(kind, "request.oldObject")?;
            (Some(old_spec.images()), labels)
        }
    };
    let service_labels = ServiceLabels { own: std::mem::take(&mut new.metadata.labels), template: template_labels };
    let old_labels = old
        .as_mut()
        .map(|old| ServiceLabels { own: std::mem::take(&mut old.metadata.labels), template: old_template_labels });
    let (difference, fingerprints) = match &old {
        None => (Difference::Other, None),
        Some(old) if old.same_template(&new) => (Difference::Equal, None),
        Some(_) if !runs => (Difference::Other, None),
        Some(old) => {
            let old = old.template_value(kind, "request.oldObject")?;
            let new = new.template_value(kind, "request.object")?;
            let fingerprints = Fingerprints { old: template::fingerprint(&old), new: template::fingerprint(&new) };
            (difference::between(&old, &new), Some(fingerprints))
        }
    };

    let metadata = &new.metadata;
    let text = |text: &Option<Text<'_>>| text.as_ref().map_or_else(String::new, |text| text.0.to_string());
    let name = match &metadata.generate_name {
        Some(Text(prefix)) if operation == Operation::Create && is_generated(prefix, &request.name) => {
            format!("{prefix}*")
        }
        _ if request.name.is_empty() => text(&metadata.name),
        _ => request.name.to_string(),
    };
    Ok(Subject {
        group: request.kind.group.to_string(),
        kind: request.kind.kind.to_string(),
        namespace: request.namespace.to_string(),
        name,
        operation,
        sub_resource: request.sub_resource.as_ref().filter(|name| !name.is_empty()).map(ToString::to_string),
        images: pod_spec.images(),
        old_images,
        difference,
        fingerprints,
        owner: metadata.controller(),
        mirror: kind.kind == "Pod" && metadata.has_annotation(MIRROR_ANNOTATION) && is_kubelet(&request.user_info),
        hook: (kind.group.as_str(), kind.kind.as_str()) == ("batch", "Job")
            && HOOK_ANNOTATIONS.iter().any(|annotation| metadata.has_annotation(annotation)),
        uid: text(&metadata.uid),
        old_created_at: old.as_ref().and_then(|old| old.metadata.creation_timestamp),
        pull: pod_spec.pull_hints(),
        labels: service_labels,
        old_labels,
    })
}

/// What counts of an object that came before its kind was known, as of any other.
fn read_object<'a>(sent: Sent<'a>, kind: &WorkloadKind, place: &str) -> Result<Option<Object<'a>>, DecodeError> {
    match sent {
        Sent::Nothing => Ok(None),
        Sent::Unread(unread) => Object::read(unread, kind, place).map(Some),
        Sent::Read(object) => Ok(Some(object)),
    }
}

/// Whether a name was made from a prefix (or is yet to be): whoever names an object otherwise means that name.
fn is_generated(prefix: &str, name: &str) -> bool {
    const SUFFIX: usize = 5; // random characters that the API server adds
    !prefix.is_empty() && (name.is_empty() || (name.len() == prefix.len() + SUFFIX && name.starts_with(prefix)))
}

/// What a kubelet puts on the API server's image of a static Pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// What Helm and Argo CD tell their hooks by.
const HOOK_ANNOTATIONS: [&str; 2] = ["helm.sh/hook", "argocd.argoproj.io/hook"];

/// Only a kubelet's word makes a Pod a mirror: anybody can write the annotation.
fn is_kubelet(user: &UserInfo<'_>) -> bool {
    user.username.starts_with("system:node:") && user.groups.iter().any(|group| group == "system:nodes")
}

fn read_at<'a, T: Deserialize<'a>>(unread: Unread<'a>, place: impl FnOnce() -> String) -> Result<T, DecodeError> {
    let (text, wanted) = (unread.text(), PhantomData::<T>);
    json::read(text, wanted).map_err(|error| DecodeError::within(&place(), wanted, text, &error))
}

fn template_place(kind: &WorkloadKind, place: &str) -> String {
    let path = if kind.template.is_empty() { "spec".to_owned() } else { kind.template.join(".") };
    format!("{place}.{path}")
}

#[cfg(test)]
mod tests;
