//! What is asked: a workload, its images, and how they differ from what was there. Pure: no IO, no clock.
//!
//! A subject is all that a decision needs to know of the review; it goes into the audit record, so that the decision
//! can be made again.

pub mod change;
pub mod difference;
pub mod kinds;
pub mod labels;
pub mod ownership;
pub mod pod_spec;
pub mod template;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::difference::Difference;
pub use self::template::{ImageUse, Place};

/// A workload that somebody wants to create or change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// API group of the workload; empty for the core group.
    pub group: String,
    /// Kind, as `Deployment`.
    pub kind: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name; with `generateName` its prefix and `*`.
    pub name: String,
    /// What is done to it.
    pub operation: Operation,
    /// The subresource, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_resource: Option<String>,
    /// The images of the new template, in the order of the template; empty on deletion.
    pub images: Vec<ImageUse>,
    /// The images of the template that was there, also of what is deleted; `None` where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_images: Option<Vec<ImageUse>>,
    /// How the new template differs from the old one, its images aside.
    pub difference: Difference,
    /// Fingerprints of the templates, where both are there and differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprints: Option<Fingerprints>,
    /// Its controller, as the object claims it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerReference>,
    /// A kubelet's image of a static Pod: it runs already, whatever is said here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirror: bool,
    /// A Job that a deployment tool makes anew at each release (Helm's and Argo CD's hooks).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hook: bool,
    /// UID, empty before creation is far enough along to have given one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// When the old object was created, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "crate::instant::serialize_known")]
    pub old_created_at: Option<DateTime<Utc>>,
    /// Where the workload's own registry credentials are; not an input of the decision.
    #[serde(skip)]
    pub pull: PullHints,
    /// Labels that can name its service; not an input of the decision, the service that they name is one.
    #[serde(skip)]
    pub labels: ServiceLabels,
    /// The same of the object that was there.
    #[serde(skip)]
    pub old_labels: Option<ServiceLabels>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// Somebody connects to it (exec, attach, port-forward).
    Connect,
}

impl Operation {
    /// The name as AdmissionReview has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// The controller that an object claims to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name, in the same namespace.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl OwnerReference {
    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Version within the group.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// `ReplicaSet "checkout-5d9c" in namespace "shop"`.
    pub fn in_words(&self, namespace: &str) -> String {
        format!("{} {:?} in namespace {namespace:?}", self.kind, self.name)
    }
}

/// Fingerprints of the two templates of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Of the template that was there.
    pub old: String,
    /// Of the new one.
    pub new: String,
}

/// Where a workload's own registry credentials are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PullHints {
    /// Names of its `imagePullSecrets`.
    pub secrets: Vec<String>,
    /// Its service account, whose pull secrets count too; `default` where none is named.
    pub service_account: String,
}

/// Labels that can name a workload's service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceLabels {
    /// The object's own.
    pub own: BTreeMap<String, String>,
    /// Its template's.
    pub template: BTreeMap<String, String>,
}

impl Subject {
    /// Whether labels differ from what was there: it may become another service's.
    pub fn is_relabelled(&self) -> bool {
        self.old_labels.as_ref().is_some_and(|old| *old != self.labels)
    }

    /// `Deployment shop/checkout`, as people name it.
    pub fn in_words(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.kind, self.name)
        } else {
            format!("{} {}/{}", self.kind, self.namespace, self.name)
        }
    }

    /// The workload as a reference to it, to ask for what it owns.
    pub fn as_reference(&self) -> OwnerReference {
        let api_version = if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) };
        OwnerReference { api_version, kind: self.kind.clone(), name: self.name.clone(), uid: self.uid.clone() }
    }

    /// Whether nothing that runs would change: then no policy has a say.
    pub fn template_unchanged(&self) -> bool {
        self.difference == Difference::Equal && self.old_images.as_ref() == Some(&self.images)
    }
}
