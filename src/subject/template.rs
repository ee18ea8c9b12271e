//! Pod templates: which images they name, and when two are the same.

use serde::{Deserialize, Serialize};
use serde_json_borrow::{ObjectAsVec, Value};
use sha2::{Digest, Sha256};

/// Labels that controllers put on the templates they copy.
const CONTROLLER_LABELS: [&str; 3] = ["pod-template-hash", "controller-revision-hash", "pod-template-generation"];

/// SHA-256, in hex, of a Pod template without what controllers add to their copies of it.
///
/// So the template of a Deployment and that of the ReplicaSet made from it have one fingerprint.
pub fn fingerprint(template: &Value<'_>) -> String {
    // Gathered first: one long text is hashed faster than many short ones.
    let mut bytes = Vec::with_capacity(4_096);
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    let mut others = members(template);
    // ControllerRevisions keep their data as a patch.
    others.retain(|(key, _)| !matches!(*key, "$patch" | "metadata"));
    let mut metadata = members(metadata);
    metadata.retain(|(key, value)| {
        let is_empty = value.is_null() || value.as_object().is_some_and(ObjectAsVec::is_empty);
        !matches!(*key, "creationTimestamp" | "name" | "labels") && !is_empty
    });
    let mut labels = members(labels);
    labels.retain(|(label, _)| !CONTROLLER_LABELS.contains(label));
    for part in [others, metadata, labels] {
        add_members(&mut bytes, part);
    }
    hex::encode(Sha256::digest(&bytes))
}

/// The members of an object; what is none has none.
fn members<'v>(value: &'v Value<'v>) -> Vec<(&'v str, &'v Value<'v>)> {
    value.as_object().map(|object| object.iter().collect()).unwrap_or_default()
}

/// The same bytes for the same value, whatever the order of its members; each with its kind and length, so that no other
/// value has them.
fn add(bytes: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => bytes.push(b'n'),
        Value::Bool(value) => bytes.push(if *value { b't' } else { b'f' }),
        Value::Number(number) => add_text(bytes, b'#', &serde_json::Number::from(*number).to_string()),
        Value::Str(text) => add_text(bytes, b'"', text),
        Value::Array(items) => {
            add_count(bytes, b'[', items.len());
            for item in items {
                add(bytes, item);
            }
        }
        Value::Object(object) => add_members(bytes, object.iter().collect()),
    }
}

fn add_members<'v>(bytes: &mut Vec<u8>, mut members: Vec<(&'v str, &'v Value<'v>)>) {
    members.sort_unstable_by_key(|(key, _)| *key);
    add_count(bytes, b'{', members.len());
    for (key, value) in members {
        add_text(bytes, b'"', key);
        add(bytes, value);
    }
}

fn add_text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    add_count(bytes, kind, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// The count in groups of seven bits, the lowest first, all but the last with the eighth set (LEB128): most are short, and
/// every byte is hashed.
fn add_count(bytes: &mut Vec<u8>, kind: u8, mut count: usize) {
    bytes.push(kind);
    while count > 0x7f {
        bytes.push(count.to_le_bytes()[0] | 0x80);
        count >>= 7;
    }
    bytes.push(count.to_le_bytes()[0]);
}

/// Where in a template an image is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// `containers`.
    Container,
    /// `initContainers`.
    InitContainer,
    /// `ephemeralContainers`.
    EphemeralContainer,
    /// `volumes[].image`.
    ImageVolume,
}

impl Place {
    /// The words for a message: `container "app"`, `image volume "models"`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::InitContainer => "init container",
            Self::EphemeralContainer => "ephemeral container",
            Self::ImageVolume => "image volume",
        }
    }
}

/// An image in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageUse {
    /// Where it is named.
    pub place: Place,
    /// Name of the container or volume.
    pub name: String,
    /// The reference, as written.
    pub image: String,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    fn fingerprint(template: &Value) -> String {
        super::fingerprint(&template.into())
    }

    /// Templates of workloads and of the revisions that real controllers (1.36) made of them.
    const CAPTURED: &str = include_str!("../../tests/fixtures/revisions.json");

    #[test]
    fn a_workload_and_its_revision_have_one_fingerprint() {
        let pairs: Vec<Value> = serde_json::from_str(CAPTURED).unwrap();
        assert_eq!(pairs.len(), 3);
        for pair in pairs {
            let workload = fingerprint(&pair["workload"]);
            assert_eq!(workload, fingerprint(&pair["revision"]), "{}", pair["kind"]);
            for (pointer, changed) in [
                ("/spec/containers/0/image", "r.example/app:3"),
                ("/spec/containers/0/env/0/value", "2"),
                ("/spec/hostnameOverride", "other.example"),
                ("/metadata/labels/app", "other"),
            ] {
                let mut other = pair["workload"].clone();
                *other.pointer_mut(pointer).unwrap() = changed.into();
                assert_ne!(workload, fingerprint(&other), "{pointer}");
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_count_and_their_place_does() {
        let print = |text: &str| super::fingerprint(&serde_json::from_str(text).unwrap());
        let one = r#"{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        let other = r#"{"spec":{"containers":[{"image":"i","name":"c"}]},"metadata":{"annotations":{},"labels":{"b":"2","a":"1"}}}"#;
        assert_eq!(print(one), print(other));
        for different in [
            r#"{"metadata":{"a":"1","b":"2"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
            r#"{"metadata":{"annotations":{"a":"1","b":"2"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
            r#"{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"containers":[{"name":"c"},{"image":"i"}]}}"#,
            r#"{"metadata":{"labels":{"a":"1b","":"2"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
        ] {
            assert_ne!(print(one), print(different), "{different}");
        }
    }
}
