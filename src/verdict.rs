//! The answer: a decision, the rules it comes from with their figures, and (in [`words`]) how it is said.

pub mod words;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::budget::measure::Weighting;
use crate::budget::state::BudgetState;
use crate::budget::window::Window;
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The rules that each of them has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Vec<Rule>>,
    /// What broke a rule or comes near to it, the gravest first.
    pub findings: Vec<Finding>,
    /// The error budgets that were looked at, and the state of each under the strictest policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetFinding>,
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

/// What one rule of one policy has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The exception that lets it pass, with [`Softened::Exception`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// What it is about, and what was found.
    pub about: About,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum About {
    /// An image.
    Image(ImageFinding),
    /// A service's error budget.
    Budget(Box<BudgetFinding>),
}

/// What was found of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFinding {
    /// The image, in its place.
    pub image: ImageUse,
    /// The digest that was judged, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What was found.
    pub found: Found,
}

/// What was found of an error budget: the worst of those that the policy counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetFinding {
    /// Name of the `BudgetSource`.
    pub source: String,
    /// The source's format, as `Sloth`; empty where there is no such source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// The service; `None` where nobody knows which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What state it is in.
    pub state: BudgetState,
    /// What happened, where it is an unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The budget, where there is one; while the source is silent, as it was measured last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetFigures>,
    /// Since when the service is frozen, in UTC; `None` where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_since: Option<DateTime<Utc>>,
    /// Whether the freeze holds only because the source has fallen silent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// When it lifts.
    pub lift: LiftEstimate,
}

/// The figures of a budget, as words need them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetFigures {
    /// Name of the objective.
    pub slo: String,
    /// The objective, as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
    /// Over which time it counts.
    pub window: Window,
    /// The fraction that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<f64>,
    /// How many times faster than the window allows it is being spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn_rate: Option<f64>,
    /// Seconds until nothing is left at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted_in_seconds: Option<i64>,
    /// What is beyond the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Beyond>,
    /// What the ratio is a mean of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<Weighting>,
    /// When it was sampled, in UTC.
    pub sampled_at: DateTime<Utc>,
    /// How old the sample was.
    pub sample_age_seconds: i64,
}

/// What is beyond a budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Beyond {
    /// So many bad events.
    Events(f64),
    /// So many bad minutes.
    Minutes(f64),
}

/// When a freeze lifts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LiftEstimate {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Not at the present rate of errors.
    Never,
    /// Then, in UTC.
    At(DateTime<Utc>),
}

/// Why a finding does less than its rule would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Softened {
    /// The image ran here before the change.
    Unchanged,
    /// It goes back to what ran before.
    Rollback,
    /// It runs already in another workload of the service.
    Promotion,
    /// It was added to an object that is otherwise its controller's.
    Injected,
    /// The object has a controller that could not be checked.
    UnknownOwner,
    /// Somebody who may do so has made an exception.
    Exception,
    /// It could not be told whether the policy is for the namespace.
    NamespaceUnknown,
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

impl Finding {
    /// One word for machines, as records have it among a rule's properties.
    pub fn found(&self) -> &'static str {
        match &self.about {
            About::Image(image) => image.found.as_str(),
            About::Budget(budget) => budget.state.as_str(),
        }
    }

    /// What it says of an image, where it is about one.
    pub fn image(&self) -> Option<&ImageFinding> {
        match &self.about {
            About::Image(image) => Some(image),
            About::Budget(_) => None,
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
            rules: BTreeMap::new(),
            findings: Vec::new(),
            budgets: Vec::new(),
            history_unknown: None,
        }
    }

    /// The findings that refuse.
    pub fn denials(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.effect == Effect::Deny)
    }
}
