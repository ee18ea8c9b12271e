//! Reads an AdmissionReview, borrowing from its bytes and only as far as a decision needs.
//!
//! A full parse into generic objects costs several times what a decision does, so the objects under review are walked
//! once: metadata and the path to the Pod template are read, everything else is skipped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json_borrow::Value;
use thiserror::Error;

use crate::subject::kinds::{WorkloadKind, WorkloadKinds};
use crate::subject::pod_spec::{PodSpecView, TemplateView};
use crate::subject::{
    Difference, Fingerprints, Operation, OwnerReference, ServiceLabels, Subject, difference, labels, template,
};

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

    /// A value at `place` that could not be read as `wanted`. It is read again with an eye on the way: a line and column
    /// of it say nothing to whoever wrote the object elsewhere, a field does.
    fn within<'de>(place: &str, wanted: impl DeserializeSeed<'de>, text: &'de str, error: &serde_json::Error) -> Self {
        let mut track = serde_path_to_error::Track::new();
        let mut reader = serde_json::Deserializer::from_str(text);
        // It fails again, and where is what matters.
        let _ = wanted.deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
        let way = track.path().to_string();
        let way = way.trim_matches(['.', '?']);
        let dot = if way.is_empty() || way.starts_with('[') { "" } else { "." };
        let problem = error.to_string();
        Self::new(&format!("{place}{dot}{way}"), problem.split(" at line ").next().unwrap_or_default())
    }
}

/// An `AdmissionReview` of `admission.k8s.io/v1`, as the API server sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// The request under review. Field names are AdmissionReview's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Identifies this call; echoed in the answer.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// Kind of the object, in the version that the webhook asked for.
    #[serde(borrow)]
    pub kind: GroupVersionKind<'a>,
    /// Resource that the request is for.
    #[serde(borrow, default)]
    pub resource: GroupVersionResource<'a>,
    /// Subresource, as `ephemeralcontainers`.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// Name; empty where it is yet to be generated.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Namespace; empty for what has none.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    /// Who asks.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// The new object, unread.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it was, unread.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Group, version and kind.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct GroupVersionKind<'a> {
    /// API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// Version.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// Kind.
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
}

/// Group, version and resource.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct GroupVersionResource<'a> {
    /// API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// Version.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// Resource, as `deployments`.
    #[serde(borrow, default)]
    pub resource: Cow<'a, str>,
}

/// Who asks, as the API server authenticated it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct UserInfo<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// UID, where the authenticator gives one.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub uid: Cow<'a, str>,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else the authenticator says. It stays unread until somebody asks whether the user may do something.
    #[serde(borrow, default, skip_serializing)]
    pub extra: Option<&'a RawValue>,
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
    let envelope: Envelope<'a> = serde_json::from_slice(body)
        .map_err(|error| DecodeError::new("body", format!("it is no AdmissionReview: {error}")))?;
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
    let request =
        envelope.request.ok_or_else(|| DecodeError::new("request", "it is missing; only requests are answered"))?;
    if request.uid.is_empty() {
        return Err(DecodeError::new("request.uid", "it is empty"));
    }
    let operation = operation(&request.operation)?;
    let subject = match kinds.find(&request.kind.group, &request.kind.kind) {
        Some(kind) => Some(subject(&request, operation, kind)?),
        None => None,
    };
    Ok(Review { request, operation, subject })
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

fn subject(request: &Request<'_>, operation: Operation, kind: &WorkloadKind) -> Result<Subject, DecodeError> {
    let runs = matches!(operation, Operation::Create | Operation::Update);
    let object = request.object.filter(|_| runs);
    let new = object.map(|raw| Object::read(raw, kind, "request.object")).transpose()?;
    if runs && new.is_none() {
        return Err(DecodeError::new("request.object", "it is missing"));
    }
    let mut new = new.unwrap_or_default();
    let mut old = match (operation, request.old_object) {
        (Operation::Update, Some(raw)) => Some(Object::read(raw, kind, "request.oldObject")?),
        (Operation::Update, None) => {
            return Err(DecodeError::new("request.oldObject", "it is missing"));
        }
        (Operation::Delete, Some(raw)) => Some(Object::read(raw, kind, "request.oldObject")?),
        _ => None,
    };

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
    let name = match &metadata.generate_name {
        Some(prefix) if operation == Operation::Create && is_generated(prefix, &request.name) => format!("{prefix}*"),
        _ if request.name.is_empty() => metadata.name.as_deref().unwrap_or_default().to_owned(),
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
        uid: metadata.uid.as_deref().unwrap_or_default().to_owned(),
        old_created_at: old.as_ref().and_then(|old| old.metadata.creation_timestamp),
        pull: pod_spec.pull_hints(),
        labels: service_labels,
        old_labels,
    })
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

/// A key, borrowed where it has no escapes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of annotations; what they say does not count.
#[derive(Debug)]
struct AnnotationKeys<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for AnnotationKeys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = AnnotationKeys<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<Key<'de>, IgnoredAny>()? {
                    keys.push(key.0);
                }
                Ok(AnnotationKeys(keys))
            }
        }

        deserializer.deserialize_map(Keys).map(|keys: AnnotationKeys<'de>| keys)
    }
}

/// The parts of an object that count.
#[derive(Debug, Default)]
struct Object<'a> {
    metadata: Metadata<'a>,
    template: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object's metadata")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    generate_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    creation_timestamp: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "labels::lenient")]
    labels: BTreeMap<String, String>,
    #[serde(borrow)]
    annotations: Option<AnnotationKeys<'a>>,
    #[serde(borrow)]
    owner_references: Option<Vec<OwnerView<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an owner reference")]
struct OwnerView<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    controller: Option<bool>,
}

impl Metadata<'_> {
    fn has_annotation(&self, name: &str) -> bool {
        self.annotations.as_ref().is_some_and(|annotations| annotations.0.iter().any(|key| key == name))
    }

    fn controller(&self) -> Option<OwnerReference> {
        let owner = self.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        Some(OwnerReference {
            api_version: owner.api_version.to_string(),
            kind: owner.kind.to_string(),
            name: owner.name.to_string(),
            uid: owner.uid.to_string(),
        })
    }
}

impl<'a> Object<'a> {
    fn read(raw: &'a RawValue, kind: &WorkloadKind, place: &str) -> Result<Self, DecodeError> {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        let read = ObjectSeed { kind }.deserialize(&mut deserializer);
        read.map_err(|error| DecodeError::within(place, ObjectSeed { kind }, raw.get(), &error))
    }

    /// A Pod is its own template; of it the spec alone says what runs.
    fn same_template(&self, other: &Self) -> bool {
        self.template.map(RawValue::get) == other.template.map(RawValue::get)
    }

    /// The Pod spec, and the labels of its template; what is its own template has none but its own.
    fn pod_spec(
        &self,
        kind: &WorkloadKind,
        place: &str,
    ) -> Result<(PodSpecView<'a>, BTreeMap<String, String>), DecodeError> {
        let Some(raw) = self.template else {
            return Ok((PodSpecView::default(), BTreeMap::new()));
        };
        let place = || template_place(kind, place);
        if kind.template.is_empty() {
            return read_at(raw, place).map(|spec| (spec, BTreeMap::new()));
        }
        let mut template: TemplateView<'a> = read_at(raw, place)?;
        let labels = template.take_labels();
        Ok((template.spec, labels))
    }

    /// The whole template; of what is its own template, the spec as a template's.
    fn template_value(&self, kind: &WorkloadKind, place: &str) -> Result<Value<'a>, DecodeError> {
        let Some(raw) = self.template else {
            return Ok(Value::Null);
        };
        let value: Value<'a> =
            serde_json::from_str(raw.get()).map_err(|error| DecodeError::new(&template_place(kind, place), error))?;
        Ok(if kind.template.is_empty() { Value::Object(vec![("spec", value)].into()) } else { value })
    }
}

fn read_at<'a, T: Deserialize<'a>>(raw: &'a RawValue, place: impl FnOnce() -> String) -> Result<T, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|error| DecodeError::within(&place(), PhantomData::<T>, raw.get(), &error))
}

fn template_place(kind: &WorkloadKind, place: &str) -> String {
    let path = if kind.template.is_empty() { "spec".to_owned() } else { kind.template.join(".") };
    format!("{place}.{path}")
}

/// Reads `metadata` and walks to the Pod template, skipping all else, in one pass.
struct ObjectSeed<'k> {
    kind: &'k WorkloadKind,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path: Vec<&str> = if self.kind.template.is_empty() {
            vec!["spec"]
        } else {
            self.kind.template.iter().map(String::as_str).collect()
        };
        let mut object = Object::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if key.0 == "metadata" {
                object.metadata = map.next_value()?;
            } else if path.first().is_some_and(|first| key.0 == *first) {
                object.template = map.next_value_seed(PathSeed { rest: &path[1..] })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(object)
    }
}

/// The raw value at the end of a path of keys; `None` where the path ends early.
struct PathSeed<'p> {
    rest: &'p [&'p str],
}

impl<'de> DeserializeSeed<'de> for PathSeed<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.rest.is_empty() {
            return <&RawValue>::deserialize(deserializer).map(|raw| Some(raw).filter(|raw| raw.get() != "null"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathSeed<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with {:?}", self.rest.first().copied().unwrap_or_default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if self.rest.first().is_some_and(|first| key.0 == *first) {
                found = map.next_value_seed(PathSeed { rest: &self.rest[1..] })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
