//! Pod templates: which images they name, and when two are the same.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Labels that controllers put on the templates they copy.
const CONTROLLER_LABELS: [&str; 3] = ["pod-template-hash", "controller-revision-hash", "pod-template-generation"];

/// SHA-256, in hex, of a Pod template without what controllers add to their copies of it.
///
/// So the template of a Deployment and that of the ReplicaSet made from it have one fingerprint.
pub fn fingerprint(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(object) = template.as_object_mut() {
        object.remove("$patch"); // ControllerRevisions keep their data as a patch
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for noise in ["creationTimestamp", "name"] {
                metadata.remove(noise);
            }
            if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
                for label in CONTROLLER_LABELS {
                    labels.remove(label);
                }
            }
            metadata.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty()));
        }
    }
    hex::encode(Sha256::digest(canonical(&template)))
}

/// The same bytes for the same value: keys sorted, whatever map `serde_json` is built with.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
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
    use super::*;

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
}
