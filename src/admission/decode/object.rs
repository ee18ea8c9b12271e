//! The parts of an object that count: its metadata, and its Pod template as it stands. All else is skipped in one pass.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json_borrow::Value;

use super::{DecodeError, read_at, template_place};
use crate::json::{self, Text, Unread};
use crate::subject::kinds::WorkloadKind;
use crate::subject::pod_spec::{PodSpecView, TemplateView};
use crate::subject::{OwnerReference, labels};

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
                while let Some((key, _)) = map.next_entry::<Text<'de>, IgnoredAny>()? {
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
pub struct Object<'a> {
    pub(super) metadata: Metadata<'a>,
    template: Option<Unread<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object's metadata")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) generate_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) uid: Option<Text<'a>>,
    pub(super) creation_timestamp: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "labels::lenient")]
    pub(super) labels: BTreeMap<String, String>,
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
    pub(super) fn has_annotation(&self, name: &str) -> bool {
        self.annotations.as_ref().is_some_and(|annotations| annotations.0.iter().any(|key| key == name))
    }

    pub(super) fn controller(&self) -> Option<OwnerReference> {
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
    pub(super) fn read(unread: Unread<'a>, kind: &WorkloadKind, place: &str) -> Result<Self, DecodeError> {
        let (text, seed) = (unread.text(), ObjectSeed { kind });
        json::read(text, seed).map_err(|error| DecodeError::within(place, seed, text, &error))
    }

    /// A Pod is its own template; of it the spec alone says what runs.
    pub(super) fn same_template(&self, other: &Self) -> bool {
        self.template == other.template
    }

    /// The Pod spec, and the labels of its template; what is its own template has none but its own.
    pub(super) fn pod_spec(
        &self,
        kind: &WorkloadKind,
        place: &str,
    ) -> Result<(PodSpecView<'a>, BTreeMap<String, String>), DecodeError> {
        let Some(unread) = self.template else {
            return Ok((PodSpecView::default(), BTreeMap::new()));
        };
        let place = || template_place(kind, place);
        if kind.template.is_empty() {
            return read_at(unread, place).map(|spec| (spec, BTreeMap::new()));
        }
        let mut template: TemplateView<'a> = read_at(unread, place)?;
        let labels = template.take_labels();
        Ok((template.spec, labels))
    }

    /// The whole template; of what is its own template, the spec as a template's.
    pub(super) fn template_value(&self, kind: &WorkloadKind, place: &str) -> Result<Value<'a>, DecodeError> {
        let Some(unread) = self.template else {
            return Ok(Value::Null);
        };
        let value: Value<'a> = json::read(unread.text(), PhantomData)
            .map_err(|error| DecodeError::new(&template_place(kind, place), error))?;
        Ok(if kind.template.is_empty() { Value::Object(vec![("spec", value)].into()) } else { value })
    }
}

/// Reads an object, or `null` as none.
pub(super) struct ObjectOrNull<'k> {
    pub(super) kind: &'k WorkloadKind,
}

impl<'de> DeserializeSeed<'de> for ObjectOrNull<'_> {
    type Value = Option<Object<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for ObjectOrNull<'_> {
    type Value = Option<Object<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a Kubernetes object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        ObjectSeed { kind: self.kind }.deserialize(deserializer).map(Some)
    }
}

/// Reads `metadata` and walks to the Pod template, skipping all else, in one pass.
#[derive(Clone, Copy)]
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
        while let Some(key) = map.next_key::<Text<'de>>()? {
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

/// The unread value at the end of a path of keys; `None` where the path ends early.
struct PathSeed<'p> {
    rest: &'p [&'p str],
}

impl<'de> DeserializeSeed<'de> for PathSeed<'_> {
    type Value = Option<Unread<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.rest.is_empty() {
            return Unread::deserialize(deserializer).map(|value| Some(value).filter(|value| value.text() != "null"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathSeed<'_> {
    type Value = Option<Unread<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with {:?}", self.rest.first().copied().unwrap_or_default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if self.rest.first().is_some_and(|first| key.0 == *first) {
                found = map.next_value_seed(PathSeed { rest: &self.rest[1..] })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
