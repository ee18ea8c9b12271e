//! The answer: a decision, the rules it comes from with their figures, and (in [`words`]) how it is said.

pub mod words;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::evidence::UnknownReason;
use crate::image::build_date::Source;
use crate::subject::ImageUse;
use crate::subject::change::Change;

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It passes.
    Allow,
    /// It passes, and somebody should know something.
    Warn,
    /// It is refused.
    Deny,
}

impl Decision {
    /// The name as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// A decision and what it comes from. The same inputs give the same verdict byte for byte; its prose may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What becomes of the request.
    pub decision: Decision,
    /// What kind of change it is.
    pub change: Change,
    /// Why nothing was judged, where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Passed>,
    /// Policies that apply, and the revision of each.
    pub policies: BTreeMap<String, String>,
    /// What broke a rule or comes near to it, the gravest first.
    pub findings: Vec<Finding>,
    /// Why it could not be told whether this goes back to what ran before, where it is refused and that would free it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_unknown: Option<String>,
}

/// Why a request passes without being judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Passed {
    /// It deletes, connects, or touches nothing that runs.
    NothingRuns,
    /// Template and images are equal.
    TemplateUnchanged,
    /// It names no image.
    NoImages,
    /// A kubelet's image of a static Pod.
    MirrorPod,
    /// Its controller exists and runs the same images.
    OwnerBacked,
    /// No policy is for it.
    NoPolicy,
}

impl Passed {
    /// The name as metrics and annotations have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingRuns => "NothingRuns",
            Self::TemplateUnchanged => "TemplateUnchanged",
            Self::NoImages => "NoImages",
            Self::MirrorPod => "MirrorPod",
            Self::OwnerBacked => "OwnerBacked",
            Self::NoPolicy => "NoPolicy",
        }
    }
}

/// A rule of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// How long ago an image was built.
    ImageAge,
    /// How much of its error budget a service has left.
    ErrorBudget,
}

impl Rule {
    /// The name as policies, exceptions and records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageAge => "imageAge",
            Self::ErrorBudget => "errorBudget",
        }
    }

    /// The name as messages have it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::ImageAge => "binary-age",
            Self::ErrorBudget => "error-budget",
        }
    }
}

/// What a finding does to the decision; the gravest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It is only recorded.
    Audit,
    /// It warns.
    Warn,
    /// It refuses.
    Deny,
}

/// One image that one rule of one policy has something to say about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: Rule,
    /// What it does to the decision.
    pub effect: Effect,
    /// Why it does less than the rule would, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub softened: Option<Softened>,
    /// The image, in its place.
    pub image: ImageUse,
    /// The digest that was judged, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What was found.
    pub found: Found,
}

/// Why a finding does less than its rule would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Softened {
    /// The image ran here before the change.
    Unchanged,
    /// It goes back to what ran before.
    Rollback,
    /// It was added to an object that is otherwise its controller's.
    Injected,
    /// The object has a controller that could not be checked.
    UnknownOwner,
    /// The policy denies from this day on.
    NotYet(NaiveDate),
}

/// What a rule found, with its figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Found {
    /// It was built longer ago than the limit.
    #[serde(rename_all = "camelCase")]
    TooOld {
        /// When it was built, in UTC.
        built: DateTime<Utc>,
        /// Where that date comes from.
        source: Source,
        /// Time since then.
        age_seconds: i64,
        /// The limit.
        limit_seconds: i64,
        /// The platform that counts, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
    },
    /// It will soon be too old.
    #[serde(rename_all = "camelCase")]
    Ageing {
        /// When it was built, in UTC.
        built: DateTime<Utc>,
        /// Where that date comes from.
        source: Source,
        /// Time since then.
        age_seconds: i64,
        /// The limit.
        limit_seconds: i64,
        /// Whether it will be refused then; else it is only said to be too old.
        refused: bool,
        /// The platform that counts, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
    },
    /// When it was built is not known.
    #[serde(rename_all = "camelCase")]
    Unknown {
        /// Why, for policies.
        reason: UnknownReason,
        /// Why, for people.
        detail: String,
    },
    /// A restart whose tag names another digest than what was admitted here.
    MovedTag,
    /// It is named by tag, and the policy wants digests.
    NotByDigest,
}

impl Found {
    /// One word for machines, as records have it among a rule's properties.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooOld { .. } => "TooOld",
            Self::Ageing { .. } => "Ageing",
            Self::Unknown { .. } => "Unknown",
            Self::MovedTag => "MovedTag",
            Self::NotByDigest => "NotByDigest",
        }
    }
}

impl Verdict {
    /// A verdict on what is not judged.
    pub fn passed(change: Change, why: Passed) -> Self {
        Self {
            decision: Decision::Allow,
            change,
            passed: Some(why),
            policies: BTreeMap::new(),
            findings: Vec::new(),
            history_unknown: None,
        }
    }

    /// The findings that refuse.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.effect == Effect::Deny)
    }
}
