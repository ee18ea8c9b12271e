//! `GatePolicy`, the object that a platform team writes: the same in a cluster and in a file.
//!
//! Shapes are checked here and by the CRD's schema; what spans fields is checked when a policy is compiled.

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::duration::PolicyDuration;
use super::percent::Percent;
use crate::budget::state::{BudgetState, Thresholds};
use crate::evidence::UnknownReason;
use crate::exception::Reason;
use crate::image::reference::{ImagePattern, glob_fits};

/// Limits what may be deployed: every policy that matches a workload applies, and the strictest answer wins.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freshgate.dev",
    version = "v1alpha1",
    kind = "GatePolicy",
    plural = "gatepolicies",
    singular = "gatepolicy",
    shortname = "gpol",
    category = "freshgate",
    status = "GatePolicyStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatePolicySpec {
    /// Which workloads this policy is for; without it, all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    /// What happens to a workload that breaks a rule: `[Deny]`, `[Warn]` or `[Audit]`. A fresh policy warns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_actions: Option<Vec<ValidationAction>>,
    /// From this day (UTC) `Deny` denies; until then it warns and names the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub enforce_from: Option<NaiveDate>,
    /// Limits how long ago an image was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_age: Option<ImageAge>,
    /// Freezes the deploys of a service that has spent its error budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_budget: Option<ErrorBudget>,
    /// Shows who deploys the next small step of what an image is made of; it never refuses anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependencies: Option<Dependencies>,
    /// Limits the exceptions for workloads that this policy is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<ExceptionLimits>,
}

/// Most nudges of one deploy: more would be a wall.
pub const MOST_NUDGES: i32 = 3;

/// Shows the next small step, long before anything is refused. What is found is in the reports, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependencies {
    /// How many next steps a deploy is told of, as warnings after those of the rules: 0 to 3, and never more than three
    /// warnings in all. Of several policies the largest number counts.
    #[schemars(range(min = 0, max = 3))]
    pub nudges: i32,
}

/// Limits exceptions. Of several policies that are for a target, the strictest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExceptionLimits {
    /// The longest time from the grant of an exception to its end, for each reason.
    pub max_duration: MaxDurations,
}

/// The longest exceptions, by reason; one that is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaxDurations {
    /// With reason `security`; default `14d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub security: Option<PolicyDuration>,
    /// With reason `incident`; default `4h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub incident: Option<PolicyDuration>,
    /// With reason `reliability-fix`; default `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reliability_fix: Option<PolicyDuration>,
    /// With reason `dependency-outage`; default `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub dependency_outage: Option<PolicyDuration>,
    /// With reason `other`; default `3d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub other: Option<PolicyDuration>,
}

impl MaxDurations {
    /// The longest time for a reason, where it is set.
    pub fn of(&self, reason: Reason) -> Option<&PolicyDuration> {
        match reason {
            Reason::Security => self.security.as_ref(),
            Reason::Incident => self.incident.as_ref(),
            Reason::ReliabilityFix => self.reliability_fix.as_ref(),
            Reason::DependencyOutage => self.dependency_outage.as_ref(),
            Reason::Other => self.other.as_ref(),
        }
    }
}

/// Which workloads a policy is for. What is left out selects all; labels of the workload itself select nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Labels that the namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces, by name or glob, that the policy is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces, by name or glob, that the policy is not for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_namespaces: Vec<String>,
    /// Kinds of workload, as `Deployment`, that the policy is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// Selects by labels, as everywhere in Kubernetes: all of `matchLabels` and all of `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels and their exact values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// The values of `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// Its value is one of the values.
    In,
    /// It is missing, or its value is none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
}

/// What happens to a workload that breaks a rule; the vocabulary of `ValidatingAdmissionPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ValidationAction {
    /// It is refused.
    Deny,
    /// It is allowed with a warning to whoever deploys.
    Warn,
    /// It is allowed; only the record and the API server's audit log say so.
    Audit,
}

/// What one circumstance means. `Deny` never does more than the rule's `validationActions` allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It breaks the rule.
    Deny,
    /// It is allowed with a warning.
    Warn,
    /// It is allowed.
    Allow,
}

/// Limits how long ago an image was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageAge {
    /// The longest time since an image was built, as `90d`.
    #[schemars(with = "String")]
    pub max_age: PolicyDuration,
    /// How long before the limit a warning begins; default `14d`, and never more than half of `maxAge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub warn_before: Option<PolicyDuration>,
    /// What an unknown build date means: one action, or one for each reason (`NoDate`, `Unreachable`,
    /// `Unauthorized`, `NotFound`, `NotAllowed`, `RateLimited`, `InvalidReference`). Default `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// What an old image that ran before the change means; default `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Action")]
    pub unchanged_images: Option<Action>,
    /// What a restart means whose tag now names a digest new to the workload; default `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Action")]
    pub moved_tags: Option<Action>,
    /// What an old image means in an object whose controller is of a kind that the gate does not know; default `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Action")]
    pub unknown_owners: Option<Action>,
    /// Which platforms of an image are judged: `Nodes` (those of the cluster's nodes, the default), `All`, or a list
    /// as `[linux/amd64]`. The oldest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Platforms>,
    /// Whether new images must be named by digest; default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
    /// Other limits for some images: the first entry that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<ImageAgeOverride>,
    /// What breaking this rule means; without it the policy's `validationActions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_actions: Option<Vec<ValidationAction>>,
}

/// Another limit for some images, within one policy; it never loosens another policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageAgeOverride {
    /// Globs over normalised image names, as `registry.example/platform/*`.
    #[schemars(with = "Vec<String>")]
    pub images: Vec<ImagePattern>,
    /// The longest time since these were built, or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_age: Option<MaxAge>,
    /// How long before the limit a warning begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub warn_before: Option<PolicyDuration>,
    /// What an unknown build date of these means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
}

/// Freezes the deploys of a service that has spent its error budget: new versions and changed configuration wait;
/// rollbacks, restarts, scaling and changes of resources, probes and scheduling pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorBudget {
    /// Names of the `BudgetSource` objects that measure.
    pub sources: Vec<String>,
    /// Which objectives count, by name or glob; default all. Of several the worst decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slos: Vec<String>,
    /// A freeze begins when no more than this is left; default `0%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub freeze_below: Option<Percent>,
    /// A freeze lifts when more than this is left; default 5 points more than `freezeBelow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub unfreeze_above: Option<Percent>,
    /// A warning begins when no more than this is left; default `20%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub warn_below: Option<Percent>,
    /// A warning begins when what is left will be spent within this time; default `4h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub warn_when_exhausted_within: Option<PolicyDuration>,
    /// For how long a frozen service stays frozen after its source has fallen silent; default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub stale_hold: Option<PolicyDuration>,
    /// What each state means. Default: `Exhausted` denies, `Healthy` allows, all others warn.
    // A bare `on` is `true` in YAML 1.1, which kubectl reads.
    #[serde(default, alias = "true", skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<BudgetState, Action>,
    /// What breaking this rule means; without it the policy's `validationActions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_actions: Option<Vec<ValidationAction>>,
}

/// Points between the beginning of a freeze and its end, where the policy says nothing.
const DEFAULT_HYSTERESIS: f64 = 0.05;

impl ErrorBudget {
    /// What budgets are held to.
    pub fn thresholds(&self) -> Thresholds {
        let default = Thresholds::default();
        let fraction = |percent: &Option<Percent>| percent.as_ref().map(Percent::fraction);
        let freeze_below = fraction(&self.freeze_below).unwrap_or(default.freeze_below);
        Thresholds {
            freeze_below,
            unfreeze_above: fraction(&self.unfreeze_above).unwrap_or(freeze_below + DEFAULT_HYSTERESIS),
            warn_below: fraction(&self.warn_below).unwrap_or(default.warn_below).max(freeze_below),
            warn_when_exhausted_within_seconds: self
                .warn_when_exhausted_within
                .as_ref()
                .map_or(default.warn_when_exhausted_within_seconds, PolicyDuration::seconds),
        }
    }

    /// For how long silence holds a freeze, in seconds.
    pub fn stale_hold_seconds(&self) -> i64 {
        self.stale_hold.as_ref().map_or(3_600, PolicyDuration::seconds)
    }

    /// What a state means.
    pub fn action(&self, state: BudgetState) -> Action {
        self.on.get(&state).copied().unwrap_or(match state {
            BudgetState::Exhausted => Action::Deny,
            BudgetState::Healthy => Action::Allow,
            _ => Action::Warn,
        })
    }

    /// Whether an objective of this name counts.
    pub fn counts(&self, slo: &str) -> bool {
        self.slos.is_empty() || self.slos.iter().any(|glob| glob_fits(glob, slo))
    }
}

/// A limit, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MaxAge {
    /// These images may be of any age.
    Off,
    /// The longest time since they were built.
    Limit(PolicyDuration),
}

impl TryFrom<String> for MaxAge {
    type Error = String;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        if written == "off" {
            return Ok(Self::Off);
        }
        PolicyDuration::parse(&written).map(Self::Limit).map_err(|error| format!("{error}, or `off`"))
    }
}

impl From<MaxAge> for String {
    fn from(limit: MaxAge) -> Self {
        match limit {
            MaxAge::Off => "off".to_owned(),
            MaxAge::Limit(duration) => duration.into(),
        }
    }
}

/// What unknowns mean: one action for all, or one for each reason; a reason not named warns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OnUnknown {
    /// One action whatever the reason.
    Any(Action),
    /// One action for each reason.
    Each(BTreeMap<UnknownReason, Action>),
}

impl OnUnknown {
    /// What an unknown of this reason means.
    pub fn action(&self, reason: UnknownReason) -> Action {
        match self {
            Self::Any(action) => *action,
            Self::Each(actions) => actions.get(&reason).copied().unwrap_or(Action::Warn),
        }
    }
}

/// Which platforms of an image are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Platforms {
    /// A rule.
    Named(PlatformRule),
    /// These: `os/architecture[/variant]`.
    List(Vec<String>),
}

/// A rule that chooses platforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlatformRule {
    /// Those of the cluster's nodes; all, where there is no cluster.
    Nodes,
    /// Every runnable one.
    All,
}

/// What the gate says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatePolicyStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted` says whether the policy is in force, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What the policy says to what runs, by the last scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,
}

/// What a policy says to what runs, if each workload were deployed today as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCounts {
    /// Workloads that the policy is for.
    #[schemars(range(min = 0))]
    pub matched: i64,
    /// Those of them that would be let in with a warning.
    #[schemars(range(min = 0))]
    pub warned: i64,
    /// Those of them that would be refused.
    #[schemars(range(min = 0))]
    pub refused: i64,
}

/// One thing that is true or false of an object, as everywhere in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is spoken of, as `Accepted`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What is left open by the types, because two shapes are allowed: a structural schema cannot say "string or object".
fn either_shape(description: &str) -> schemars::Schema {
    schemars::json_schema!({
        "description": description,
        "x-kubernetes-preserve-unknown-fields": true
    })
}

/// Reads either shape with an error that says which are possible; serde's own for untagged ones says nothing.
impl<'de> Deserialize<'de> for OnUnknown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OnUnknown;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("Deny, Warn or Allow, or one of these for each reason")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Action::deserialize(text.into_deserializer()).map(OnUnknown::Any)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(OnUnknown::Each)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Platforms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Platforms;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("Nodes, All, or a list as [linux/amd64]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                PlatformRule::deserialize(text.into_deserializer()).map(Platforms::Named)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(Platforms::List)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for OnUnknown {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OnUnknown".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        either_shape("`Deny`, `Warn` or `Allow`, or one of these for each reason, as `{NoDate: Warn, NotFound: Deny}`.")
    }
}

impl JsonSchema for Platforms {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platforms".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        either_shape("`Nodes`, `All`, or a list as `[linux/amd64, linux/arm64]`.")
    }
}
