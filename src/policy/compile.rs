//! Compiles what was written into what decides, and finds the policies that are for a workload.

mod set;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use sha2::{Digest, Sha256};

pub use self::set::PolicySet;
use super::api::{
    Action, ErrorBudget, GatePolicySpec, ImageAge, LabelOperator, LabelSelector, MOST_NUDGES, Match, MaxAge,
    MaxDurations, OnUnknown, Platforms, ValidationAction,
};
use super::duration::PolicyDuration;
use super::percent::Percent;
use crate::budget::state::BudgetState;
use crate::evidence::UnknownReason;
use crate::image::reference::glob_fits;
use crate::subject::kinds::WorkloadKinds;
use crate::verdict::{Effect, Rule};

/// The label that every namespace has, and nobody can set to anything but its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// One thing that is wrong with a policy, or (as advice) unwise in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `spec.imageAge.maxAge`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// A problem with a field, and what to write instead.
    pub fn new(field: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into(), remedy: remedy.into() }
    }
}

/// A policy that is in force.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    /// Its name.
    pub name: String,
    /// SHA-256, in hex, of its spec: the same rules have the same revision wherever they come from.
    pub revision: String,
    /// Its spec.
    pub spec: GatePolicySpec,
}

impl CompiledPolicy {
    /// Checks what spans fields.
    pub fn compile(name: &str, spec: GatePolicySpec) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some(matches) = &spec.matches {
            check_match(matches, &mut problems);
        }
        check_actions("spec.validationActions", spec.validation_actions.as_deref(), &mut problems);
        if let Some(rule) = &spec.image_age {
            check_image_age(rule, &mut problems);
        }
        if let Some(rule) = &spec.error_budget {
            check_error_budget(rule, &mut problems);
        }
        if let Some(nudges) = spec.dependencies.as_ref().map(|dependencies| dependencies.nudges)
            && !(0..=MOST_NUDGES).contains(&nudges)
        {
            problems.push(Problem::new(
                "spec.dependencies.nudges",
                format!("{nudges} is no number of warnings that a deploy can have"),
                format!("write 0 to {MOST_NUDGES}"),
            ));
        }
        let nudges = spec.dependencies.as_ref().is_some_and(|dependencies| dependencies.nudges > 0);
        if spec.image_age.is_none() && spec.error_budget.is_none() && !nudges {
            problems.push(Problem::new(
                "spec",
                "it has no rule, so it would do nothing",
                "add `imageAge: {maxAge: 90d}`",
            ));
        }
        if spec.exceptions.as_ref().is_some_and(|limits| limits.max_duration == MaxDurations::default()) {
            problems.push(Problem::new(
                "spec.exceptions.maxDuration",
                "it names no reason, so it changes nothing",
                "write a duration for a reason, as {security: 3d}, or leave it out",
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let written = serde_json::to_vec(&spec).map_err(|error| {
            vec![Problem::new("spec", format!("it cannot be written as JSON: {error}"), "report this")]
        })?;
        Ok(Self { name: name.to_owned(), revision: hex::encode(Sha256::digest(written)), spec })
    }

    /// The rules that it has.
    pub fn rules(&self) -> Vec<Rule> {
        let image_age = self.spec.image_age.as_ref().map(|_| Rule::ImageAge);
        let error_budget = self.spec.error_budget.as_ref().map(|_| Rule::ErrorBudget);
        image_age.into_iter().chain(error_budget).collect()
    }

    /// What is lawful but unwise: said by `policy lint`, never a refusal.
    pub fn advice(&self) -> Vec<Problem> {
        let mut advice = Vec::new();
        let selector = self.spec.matches.as_ref().and_then(|matches| matches.namespace_selector.as_ref());
        if let Some(label) =
            selector.and_then(|selector| labels_of(selector).find(|label| *label != NAMESPACE_NAME_LABEL))
        {
            advice.push(Problem::new(
                "spec.match.namespaceSelector",
                format!("whoever may edit a namespace's labels decides by {label:?} whether the policy is for it"),
                format!("make sure that tenants cannot edit namespaces, or select by {NAMESPACE_NAME_LABEL:?} or `namespaces`"),
            ));
        }
        let denies = |actions: Option<&Vec<ValidationAction>>| {
            actions.is_some_and(|actions| actions.contains(&ValidationAction::Deny))
        };
        let image_age = self.spec.image_age.as_ref().and_then(|rule| rule.validation_actions.as_ref());
        let error_budget = self.spec.error_budget.as_ref().and_then(|rule| rule.validation_actions.as_ref());
        if self.spec.enforce_from.is_some()
            && ![self.spec.validation_actions.as_ref(), image_age, error_budget].into_iter().any(denies)
        {
            advice.push(Problem::new(
                "spec.enforceFrom",
                "it has no effect, because nothing here denies",
                "add `validationActions: [Deny]`, or leave it out",
            ));
        }
        advice
    }

    /// What breaking the rule does, by its own actions or the policy's.
    pub fn effect(&self, rule: Option<&[ValidationAction]>) -> Effect {
        let actions = rule.or(self.spec.validation_actions.as_deref()).unwrap_or(&[ValidationAction::Warn]);
        if actions.contains(&ValidationAction::Deny) {
            Effect::Deny
        } else if actions.contains(&ValidationAction::Warn) {
            Effect::Warn
        } else {
            Effect::Audit
        }
    }

    /// What breaking the rule does at `now`, and the day from which on it denies, where that is yet to come.
    pub fn effect_at(&self, rule: Option<&[ValidationAction]>, now: DateTime<Utc>) -> (Effect, Option<NaiveDate>) {
        let full = self.effect(rule);
        match self.spec.enforce_from.filter(|day| full == Effect::Deny && now.date_naive() < *day) {
            Some(day) => (Effect::Warn, Some(day)),
            None => (full, None),
        }
    }

    /// Whether it is for workloads of this kind in this namespace.
    pub fn is_for(&self, namespace: &str, labels: &BTreeMap<String, String>, kind: &str) -> bool {
        let selector = self.spec.matches.as_ref().and_then(|matches| matches.namespace_selector.as_ref());
        self.is_for_names(namespace, kind) && selector.is_none_or(|selector| selects(selector, namespace, labels))
    }

    /// Whether it can be for them, when nobody knows the namespace's labels.
    fn may_be_for(&self, namespace: &str, kind: &str) -> bool {
        if needs_namespace_labels(&self.spec) {
            self.is_for_names(namespace, kind)
        } else {
            self.is_for(namespace, &BTreeMap::new(), kind)
        }
    }

    fn is_for_names(&self, namespace: &str, kind: &str) -> bool {
        let Some(matches) = &self.spec.matches else {
            return true;
        };
        let any_fits = |globs: &[String]| globs.iter().any(|glob| glob_fits(glob, namespace));
        (matches.kinds.is_empty() || matches.kinds.iter().any(|known| known == kind))
            && (matches.namespaces.is_empty() || any_fits(&matches.namespaces))
            && !any_fits(&matches.exclude_namespaces)
    }
}

/// What is known of a namespace's labels.
#[derive(Clone, Copy, Debug)]
pub enum NamespaceLabels<'a> {
    /// All of them.
    Known(&'a BTreeMap<String, String>),
    /// There is nobody to ask; only the name counts.
    NameOnly,
    /// Whoever was asked did not answer.
    Unknown,
}

/// A policy that is for a workload.
#[derive(Clone, Copy, Debug)]
pub struct Matching<'a> {
    /// The policy.
    pub policy: &'a CompiledPolicy,
    /// Whether it is for it for certain; else it may be, and then it does no more than warn.
    pub certain: bool,
}

/// How many next steps a deploy that these policies are for is told of.
pub fn nudges(matching: &[Matching<'_>]) -> usize {
    let wanted = matching.iter().filter(|one| one.certain).filter_map(|one| one.policy.spec.dependencies.as_ref());
    wanted.map(|dependencies| usize::try_from(dependencies.nudges).unwrap_or(0)).max().unwrap_or(0)
}

/// Whether a selector asks for more of a namespace than its name, which only a cluster can tell.
pub fn needs_namespace_labels(spec: &GatePolicySpec) -> bool {
    spec.matches
        .as_ref()
        .and_then(|matches| matches.namespace_selector.as_ref())
        .is_some_and(|selector| labels_of(selector).any(|label| label != NAMESPACE_NAME_LABEL))
}

fn labels_of(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    selector
        .match_labels
        .keys()
        .chain(selector.match_expressions.iter().map(|requirement| &requirement.key))
        .map(String::as_str)
}

fn selects(selector: &LabelSelector, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let value_of = |key: &str| {
        if key == NAMESPACE_NAME_LABEL { Some(namespace) } else { labels.get(key).map(String::as_str) }
    };
    selector.match_labels.iter().all(|(key, value)| value_of(key) == Some(value))
        && selector.match_expressions.iter().all(|requirement| {
            let value = value_of(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.iter().any(|one| one == value));
            match requirement.operator {
                LabelOperator::In => listed,
                LabelOperator::NotIn => !listed,
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
}

fn check_match(matches: &Match, problems: &mut Vec<Problem>) {
    let kinds = WorkloadKinds::default();
    for kind in &matches.kinds {
        if kinds.iter().any(|known| known.kind == *kind) {
            continue;
        }
        // A kind made known by a setting is allowed; a slip of the pen on a built-in one is told.
        if let Some(meant) = kinds.iter().find(|known| strsim::damerau_levenshtein(&known.kind, kind) <= 2) {
            problems.push(Problem::new(
                "spec.match.kinds",
                format!("there is no kind {kind:?}"),
                format!("did you mean {:?}?", meant.kind),
            ));
        }
    }
    for (field, globs) in
        [("spec.match.namespaces", &matches.namespaces), ("spec.match.excludeNamespaces", &matches.exclude_namespaces)]
    {
        for glob in globs {
            if glob.is_empty()
                || !glob.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*".contains(&byte))
            {
                problems.push(Problem::new(
                    field,
                    format!("{glob:?} can be no namespace's name"),
                    "write a name or a glob of lower case letters, digits, `-` and `*`",
                ));
            }
        }
    }
    for requirement in matches.namespace_selector.iter().flat_map(|selector| &selector.match_expressions) {
        let wants_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
        if wants_values == requirement.values.is_empty() {
            problems.push(Problem::new(
                "spec.match.namespaceSelector.matchExpressions",
                format!("the operator of {:?} and its values do not go together", requirement.key),
                "In and NotIn want values, Exists and DoesNotExist want none",
            ));
        }
    }
}

fn check_actions(field: &str, actions: Option<&[ValidationAction]>, problems: &mut Vec<Problem>) {
    let Some(actions) = actions else { return };
    let count = |action| actions.iter().filter(|one| **one == action).count();
    let (deny, warn, audit) =
        (count(ValidationAction::Deny), count(ValidationAction::Warn), count(ValidationAction::Audit));
    if actions.is_empty() {
        problems.push(Problem::new(field, "it is empty", "write [Deny], [Warn] or [Audit]"));
    } else if deny > 1 || warn > 1 || audit > 1 {
        problems.push(Problem::new(field, "an action stands there twice", "write it once"));
    } else if deny > 0 && warn > 0 {
        problems.push(Problem::new(
            field,
            "Deny and Warn together say everything twice",
            "write [Deny]: it warns as well while a limit comes near",
        ));
    }
}

fn check_image_age(rule: &ImageAge, problems: &mut Vec<Problem>) {
    check_actions("spec.imageAge.validationActions", rule.validation_actions.as_deref(), problems);
    let check_warning =
        |field: &str, max_age: &PolicyDuration, warn_before: Option<&PolicyDuration>, problems: &mut Vec<Problem>| {
            if let Some(warn_before) = warn_before.filter(|warn_before| warn_before.seconds() >= max_age.seconds()) {
                problems.push(Problem::new(
                    field,
                    format!("a warning {warn_before} before a limit of {max_age} would never be silent"),
                    "make warnBefore shorter than maxAge",
                ));
            }
        };
    check_warning("spec.imageAge.warnBefore", &rule.max_age, rule.warn_before.as_ref(), problems);
    check_on_unknown("spec.imageAge.onUnknown", rule.on_unknown.as_ref(), problems);
    if let Some(Platforms::List(platforms)) = &rule.platforms {
        if platforms.is_empty() {
            problems.push(Problem::new(
                "spec.imageAge.platforms",
                "the list is empty",
                "write Nodes, All, or a list as [linux/amd64]",
            ));
        }
        for platform in platforms {
            let parts: Vec<&str> = platform.split('/').collect();
            if !(2..=3).contains(&parts.len()) || parts.iter().any(|part| part.is_empty()) {
                problems.push(Problem::new(
                    "spec.imageAge.platforms",
                    format!("{platform:?} is no platform"),
                    "write os/architecture[/variant], as linux/arm64",
                ));
            }
        }
    }
    for (index, entry) in rule.overrides.iter().enumerate() {
        let field = |name: &str| format!("spec.imageAge.overrides[{index}].{name}");
        if entry.images.is_empty() {
            problems.push(Problem::new(
                &field("images"),
                "it names no image",
                "write globs, as [registry.example/platform/*]",
            ));
        }
        if entry.max_age.is_none() && entry.warn_before.is_none() && entry.on_unknown.is_none() {
            problems.push(Problem::new(
                &field("maxAge"),
                "the entry changes nothing",
                "write maxAge (a duration, or off), warnBefore or onUnknown",
            ));
        }
        let limit = match &entry.max_age {
            Some(MaxAge::Limit(limit)) => Some(limit),
            Some(MaxAge::Off) => None,
            None => Some(&rule.max_age),
        };
        if let Some(limit) = limit {
            check_warning(&field("warnBefore"), limit, entry.warn_before.as_ref(), problems);
        } else if entry.warn_before.is_some() {
            problems.push(Problem::new(
                &field("warnBefore"),
                "there is no limit to warn of, because maxAge is off",
                "leave it out, or write a limit",
            ));
        }
        check_on_unknown(&field("onUnknown"), entry.on_unknown.as_ref(), problems);
    }
}

fn check_error_budget(rule: &ErrorBudget, problems: &mut Vec<Problem>) {
    let field = |name: &str| format!("spec.errorBudget.{name}");
    check_actions(&field("validationActions"), rule.validation_actions.as_deref(), problems);
    if rule.sources.is_empty() {
        problems.push(Problem::new(
            &field("sources"),
            "it names no source, so nothing is measured",
            "write the names of BudgetSource objects, as [slo]",
        ));
    }
    for name in rule.sources.iter().filter(|name| name.is_empty()) {
        problems.push(Problem::new(&field("sources"), format!("{name:?} is no name"), "write a BudgetSource's name"));
    }
    let thresholds = rule.thresholds();
    if thresholds.unfreeze_above < thresholds.freeze_below {
        problems.push(Problem::new(
            &field("unfreezeAbove"),
            "a freeze would lift before it began",
            "make it at least freezeBelow; without it, it is 5 points more",
        ));
    }
    if thresholds.freeze_below >= 1.0 {
        problems.push(Problem::new(
            &field("freezeBelow"),
            "with all of the budget left the service would be frozen too",
            "write what may be left at the least, as 0%",
        ));
    }
    let written = |percent: &Option<Percent>| percent.as_ref().map(Percent::fraction);
    if let (Some(warn), Some(freeze)) = (written(&rule.warn_below), written(&rule.freeze_below))
        && warn < freeze
    {
        problems.push(Problem::new(
            &field("warnBelow"),
            "the warning would come after the freeze",
            "make it more than freezeBelow",
        ));
    }
    if rule.on.get(&BudgetState::Healthy).is_some_and(|action| *action == Action::Deny) {
        problems.push(Problem::new(
            &field("on.Healthy"),
            "what is healthy would be refused, so nothing could be deployed",
            "leave it out, or write Warn",
        ));
    }
}

fn check_on_unknown(field: &str, on_unknown: Option<&OnUnknown>, problems: &mut Vec<Problem>) {
    if let Some(OnUnknown::Each(actions)) = on_unknown
        && actions.get(&UnknownReason::IntegrityFailure).is_some_and(|action| *action != Action::Deny)
    {
        problems.push(Problem::new(
            &format!("{field}.IntegrityFailure"),
            "bytes that do not match their digest are refused whatever is written here",
            "leave it out",
        ));
    }
}

#[cfg(test)]
mod tests;
