//! The request under review, read in one pass with the objects in it.
//!
//! A review's objects are nearly all of its bytes. The API server names the kind before them, so they are read where they
//! stand; where the kind comes later they are kept unread until it is known.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::object::{Object, ObjectOrNull};
use crate::json::{Text, Unread};
use crate::subject::kinds::WorkloadKinds;

/// An `AdmissionReview` of `admission.k8s.io/v1`, as the API server sends it.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) api_version: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    pub(super) request: Option<Request<'a>>,
}

/// The request under review. Field names are AdmissionReview's.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Identifies this call; echoed in the answer.
    pub uid: Cow<'a, str>,
    /// Kind of the object, in the version that the webhook asked for.
    pub kind: GroupVersionKind<'a>,
    /// Resource that the request is for.
    pub resource: GroupVersionResource<'a>,
    /// Subresource, as `ephemeralcontainers`.
    pub sub_resource: Option<Cow<'a, str>>,
    /// Name; empty where it is yet to be generated.
    pub name: Cow<'a, str>,
    /// Namespace; empty for what has none.
    pub namespace: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    /// Who asks.
    pub user_info: UserInfo<'a>,
    /// The new object.
    pub object: Sent<'a>,
    /// The object as it was.
    pub old_object: Sent<'a>,
    /// Whether nothing will be stored.
    pub dry_run: Option<bool>,
}

/// An object of a request.
#[derive(Debug, Default)]
pub enum Sent<'a> {
    /// There is none, or it is a workload's and the subject has what counts of it.
    #[default]
    Nothing,
    /// Its text.
    Unread(Unread<'a>),
    /// What counts of a workload.
    Read(Object<'a>),
}

impl<'a> Sent<'a> {
    /// Its text, where it is of a kind that is not judged.
    pub fn unread(&self) -> Option<Unread<'a>> {
        match self {
            Self::Unread(value) => Some(*value),
            Self::Nothing | Self::Read(_) => None,
        }
    }
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
    pub extra: Option<Unread<'a>>,
}

/// Reads the whole review.
#[derive(Clone, Copy)]
pub(super) struct EnvelopeSeed<'k> {
    pub(super) kinds: &'k WorkloadKinds,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                "apiVersion" => envelope.api_version = map.next_value::<Text<'de>>()?.0,
                "kind" => envelope.kind = map.next_value::<Text<'de>>()?.0,
                "request" => envelope.request = map.next_value_seed(RequestSeed { kinds: self.kinds })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(envelope)
    }
}

#[derive(Clone, Copy)]
struct RequestSeed<'k> {
    kinds: &'k WorkloadKinds,
}

impl<'de> DeserializeSeed<'de> for RequestSeed<'_> {
    type Value = Option<Request<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A member that two of would make two readings of a review.
const TWICE: [&str; 3] = ["kind", "object", "oldObject"];

impl<'de> Visitor<'de> for RequestSeed<'_> {
    type Value = Option<Request<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a request")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut request = Request::default();
        let (mut has_uid, mut has_operation, mut seen) = (false, false, [false; TWICE.len()]);
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if let Some(at) = TWICE.iter().position(|name| *name == key.0)
                && std::mem::replace(&mut seen[at], true)
            {
                return Err(A::Error::duplicate_field(TWICE[at]));
            }
            match &*key.0 {
                "uid" => (request.uid, has_uid) = (map.next_value::<Text<'de>>()?.0, true),
                "kind" => request.kind = map.next_value()?,
                "resource" => request.resource = map.next_value()?,
                "subResource" => {
                    request.sub_resource = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0);
                }
                "name" => request.name = map.next_value::<Text<'de>>()?.0,
                "namespace" => request.namespace = map.next_value::<Text<'de>>()?.0,
                "operation" => (request.operation, has_operation) = (map.next_value::<Text<'de>>()?.0, true),
                "userInfo" => request.user_info = map.next_value()?,
                "object" => request.object = self.sent(&request.kind, &mut map)?,
                "oldObject" => request.old_object = self.sent(&request.kind, &mut map)?,
                "dryRun" => request.dry_run = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        for (name, is_there) in [("uid", has_uid), ("kind", seen[0]), ("operation", has_operation)] {
            if !is_there {
                return Err(A::Error::missing_field(name));
            }
        }
        Ok(Some(request))
    }
}

impl RequestSeed<'_> {
    /// An object: read where it stands, if its kind is known by now and is a workload's.
    fn sent<'de, A: MapAccess<'de>>(self, kind: &GroupVersionKind<'_>, map: &mut A) -> Result<Sent<'de>, A::Error> {
        Ok(match self.kinds.find(&kind.group, &kind.kind) {
            Some(kind) => map.next_value_seed(ObjectOrNull { kind })?.map_or(Sent::Nothing, Sent::Read),
            None => map.next_value::<Option<Unread<'de>>>()?.map_or(Sent::Nothing, Sent::Unread),
        })
    }
}
