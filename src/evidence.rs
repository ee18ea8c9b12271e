//! What a decision is made from: facts, and unknowns with a named reason, as they stood at one instant.
//!
//! Everything here can be written into an audit record and read back, so that the same inputs give the same verdict
//! a year later. Gathering it is `gather`'s work.

pub mod gather;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::budget::freeze::Freeze;
use crate::budget::measure::{Budget, Unmeasured};
use crate::budget::service::IdentityFrom;
use crate::exception::Grant;
use crate::image::build_date::{BuildDate, Candidate};
use crate::policy::compile::NamespaceLabels;

/// Something known, or unknown for a named reason; never silently a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact<T> {
    /// The fact.
    Known(T),
    /// Why there is none.
    Unknown(Unknown),
}

impl<T> Fact<T> {
    /// An unknown with its reason and the words that go with it.
    pub fn unknown(reason: UnknownReason, detail: impl Into<String>) -> Self {
        Self::Unknown(Unknown { reason, detail: detail.into() })
    }

    /// The fact, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// An unknown: the reason decides, the detail is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// What a policy can name.
    pub reason: UnknownReason,
    /// What happened, in words without secrets: `registry.example answered 503 to …`.
    pub detail: String,
}

/// Why a fact about an image is unknown; policies set an action for all, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum UnknownReason {
    /// The image carries no usable date: none, a sentinel as 1970, or one in the future.
    NoDate,
    /// The registry could not be reached in time, or what it answered could not be used.
    Unreachable,
    /// The registry wants credentials that the gate does not have.
    Unauthorized,
    /// There is no such image.
    NotFound,
    /// The registry is not one that the gate may ask.
    NotAllowed,
    /// The registry asks to be left alone for now.
    RateLimited,
    /// The reference is none that any runtime could pull.
    InvalidReference,
    /// Bytes that do not match their digest: refused whatever a policy says.
    IntegrityFailure,
}

impl UnknownReason {
    /// The name as policies and records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoDate => "NoDate",
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "NotFound",
            Self::NotAllowed => "NotAllowed",
            Self::RateLimited => "RateLimited",
            Self::InvalidReference => "InvalidReference",
            Self::IntegrityFailure => "IntegrityFailure",
        }
    }
}

/// Everything known when a review was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// One entry for each distinct reference, as written, of the new template, and where it matters of the old one
    /// and of the owner's.
    pub images: BTreeMap<String, Fact<ResolvedImage>>,
    /// Labels of the workload's namespace. `None` where there is nothing to ask: only the name is known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Platforms of the cluster's nodes, as `linux/amd64`; empty where there is no cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_platforms: Vec<String>,
    /// What was found of the object's controller, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What ran before under this name.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub history: History,
    /// Why the namespace's labels could not be learnt, where there was somebody to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_unknown: Option<String>,
    /// The services that the workload belongs to, and those it belonged to lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceIdentity>,
    /// The error budgets of these services, as they were measured last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetEvidence>,
    /// Sources of budgets that a policy names and that are missing or have not answered: why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceState>,
    /// What other workloads of the same service and namespace run at this moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running_elsewhere: Vec<RunningElsewhere>,
    /// Exceptions for this workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Grant>,
}

impl Evidence {
    /// What is known of the labels of the workload's namespace.
    pub fn labels_of_namespace(&self) -> NamespaceLabels<'_> {
        match (&self.namespace_labels, &self.namespace_unknown) {
            (Some(labels), _) => NamespaceLabels::Known(labels),
            (None, None) => NamespaceLabels::NameOnly,
            (None, Some(_)) => NamespaceLabels::Unknown,
        }
    }
}

/// A service that a workload belongs to, or belonged to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIdentity {
    /// Name of the `BudgetSource` by whose rules it does.
    pub source: String,
    /// The service.
    pub service: String,
    /// The place that names it, or named it until this change; `None` for what the ledger remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IdentityFrom>,
    /// When it last belonged to it, in UTC; `None` while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// A budget, and what went before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetEvidence {
    /// The budget.
    pub budget: Budget,
    /// Freezes that held when it was last looked at, by policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub freezes: BTreeMap<String, Freeze>,
    /// When more than so much will be left, if errors stay at the present rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifts: Vec<Lift>,
}

/// When a budget will be above a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lift {
    /// The fraction.
    pub unfreeze_above: f64,
    /// When, in UTC; `None` where the present rate never lets it come to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// What is known of a source of budgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// Its format, as `Sloth`; empty where there is no such source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Why it has no answer, or no new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Unmeasured>,
}

/// Another workload and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningElsewhere {
    /// As `Deployment checkout-canary`.
    pub workload: String,
    /// Digests that it runs.
    pub digests: Vec<String>,
}

/// An image, resolved once: the digest is what is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// Digest of what the reference names (of the index, for a multi-platform image).
    pub digest: String,
    /// One entry for each runnable platform.
    pub platforms: Vec<PlatformImage>,
    /// How fresh the look-up was.
    pub cache: Cache,
    /// When the registry was last asked what the tag means, or where a digest is written, what that is; in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub fetched_at: DateTime<Utc>,
}

/// An image for one platform, and when it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformImage {
    /// `os/architecture[/variant]`; `None` where neither index nor config says.
    pub platform: Option<String>,
    /// Digest of the platform's manifest.
    pub digest: String,
    /// When it was built.
    pub built: Fact<BuildDate>,
    /// When this gate first met it, in UTC: it cannot be younger, so where `built` is unknown this can still prove it
    /// too old.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "crate::instant::serialize_known")]
    pub first_seen: Option<DateTime<Utc>>,
    /// Every date that was found, with why it was used or passed over. Recorded beside the image, not among the inputs.
    #[serde(skip)]
    pub candidates: Vec<Candidate>,
}

/// How fresh a look-up was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Asked just now.
    Fetched,
    /// Remembered: what a tag means for a minute, what a digest is for ever.
    Cached,
    /// What a tag meant longer ago, used because the registry did not answer.
    Stale,
}

impl Cache {
    /// The name as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Cached => "cached",
            Self::Stale => "stale",
        }
    }
}

/// The controller that an object claims, and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Kind of the controller, as claimed.
    pub kind: String,
    /// Name of the controller, as claimed.
    pub name: String,
    /// What the look-up found.
    pub found: OwnerFound,
}

/// What the look-up of a controller found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnerFound {
    /// It exists with the claimed UID. These are the image references of its present template, and then of each
    /// revision that it owns.
    Templates(Vec<Vec<String>>),
    /// It is not there, is another object of the same name, or makes no such objects: the claim is false.
    Forged {
        /// What is there instead, in words.
        detail: String,
    },
    /// It exists, and its kind has no Pod template that the gate knows how to read.
    UnknownKind,
    /// It could not be looked up.
    NotLookedUp {
        /// Why, in words.
        detail: String,
    },
}

impl OwnerFound {
    /// The controller's templates, where they are known.
    pub fn templates(&self) -> Option<&[Vec<String>]> {
        match self {
            Self::Templates(templates) => Some(templates),
            _ => None,
        }
    }
}

/// What ran before under the workload's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Digests admitted in this workload, by the gate's ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admissions: Vec<Admission>,
    /// Whole templates that this workload had, from its ReplicaSets, ControllerRevisions, or the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
    /// Why the cluster's revisions are missing, where they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl History {
    fn is_empty(&self) -> bool {
        self.admissions.is_empty() && self.revisions.is_empty() && self.unknown.is_none()
    }
}

/// A digest that was admitted in a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// The digest.
    pub digest: String,
    /// The reference it was admitted under, as written.
    pub reference: String,
    /// When it was first admitted, in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub first_admitted_at: DateTime<Utc>,
    /// When it was last admitted, in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub last_admitted_at: DateTime<Utc>,
}

/// A whole template that a workload had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Fingerprint of the template ([`crate::subject::template::fingerprint`]).
    pub fingerprint: String,
    /// Its image references, as written; empty where only the fingerprint is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// When it came, in UTC.
    #[serde(serialize_with = "crate::instant::serialize")]
    pub created_at: DateTime<Utc>,
}
