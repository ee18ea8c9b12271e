//! What is wrong with an exception before anybody asks who grants it: over-broad, over-long, past, or malformed. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};

use super::api::{GateExceptionSpec, Reason, Target};
use crate::policy::compile::{Matching, NamespaceLabels, PolicySet, Problem};
use crate::policy::duration::{PolicyDuration, in_words};
use crate::subject::kinds::WorkloadKinds;

/// Most targets of one exception: one security fix can cover forty deployments, and nobody reads more names.
pub const MOST_TARGETS: usize = 100;
/// Longest text, in characters.
pub const LONGEST_TEXT: usize = 1_024;
/// Longest ticket and service, in characters.
pub const LONGEST_NAME: usize = 253;

/// How long an exception for this reason may last where no policy says so.
pub fn default_most(reason: Reason) -> PolicyDuration {
    match reason {
        Reason::Security => PolicyDuration::days(14),
        Reason::Incident => PolicyDuration::hours(4),
        Reason::ReliabilityFix | Reason::DependencyOutage => PolicyDuration::days(7),
        Reason::Other => PolicyDuration::days(3),
    }
}

/// How long an exception may last, and whose word that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The longest time from the grant to the end.
    pub most: PolicyDuration,
    /// The policy that says so; `None` for the default.
    pub policy: Option<String>,
}

/// The strictest limit among the policies that are for any of the targets. A policy that says nothing stands for the
/// default, so one that allows more does not loosen another. Where a namespace's labels are unknown, every policy that
/// may be for it counts.
pub fn limit<'a>(
    spec: &GateExceptionSpec,
    policies: &PolicySet,
    labels_of: impl Fn(&str) -> NamespaceLabels<'a>,
) -> Limit {
    let default = Limit { most: default_most(spec.reason), policy: None };
    let matching = spec
        .targets
        .iter()
        .flat_map(|target| policies.matching(&target.namespace, labels_of(&target.namespace), &target.kind));
    matching
        .map(|Matching { policy, .. }| {
            let set = policy.spec.exceptions.as_ref().and_then(|limits| limits.max_duration.of(spec.reason));
            match set {
                Some(most) => Limit { most: most.clone(), policy: Some(policy.name.clone()) },
                None => default.clone(),
            }
        })
        .min_by_key(|limit| limit.most.seconds())
        .unwrap_or(default)
}

/// What is wrong with its shape, whenever it is read.
pub fn shape(spec: &GateExceptionSpec, kinds: &WorkloadKinds) -> Vec<Problem> {
    let mut problems = Vec::new();
    targets(&spec.targets, kinds, &mut problems);
    let mut problem = |field: &str, message: &str, remedy: &str| problems.push(Problem::new(field, message, remedy));
    let distinct: BTreeSet<_> = spec.rules.iter().collect();
    if spec.rules.is_empty() {
        problem("spec.rules", "it names no rule", "write [imageAge], [errorBudget], or both");
    } else if distinct.len() < spec.rules.len() {
        problem("spec.rules", "a rule stands there twice", "write it once");
    }
    if spec.text.trim().is_empty() {
        problem("spec.text", "it is empty", "say in a sentence why the exception is needed");
    } else if spec.text.chars().count() > LONGEST_TEXT {
        problem("spec.text", "it is longer than 1024 characters", "say it shorter, and name a ticket that says more");
    }
    if spec.ticket.as_ref().is_some_and(|ticket| !is_name(ticket)) {
        problem("spec.ticket", "it is empty, too long or not on one line", "write the ticket's name or address");
    }
    if let Some(digest) = spec.digest.as_ref().filter(|digest| !is_digest(digest)) {
        let message = format!("{:?} is no digest", shortened(digest));
        problem("spec.digest", &message, "write sha256: and 64 lower-case hexadecimal digits, or leave it out");
    }
    match (&spec.dependency, spec.reason) {
        (None, Reason::DependencyOutage) => problem(
            "spec.dependency",
            "it is missing, and the reason is dependency-outage",
            "name the service that is out, as `dependency: {service: payments}`",
        ),
        (Some(_), reason) if reason != Reason::DependencyOutage => problem(
            "spec.dependency",
            &format!("the reason is {reason}, and a dependency goes with dependency-outage alone"),
            "leave it out, or change the reason",
        ),
        (Some(dependency), _) if !is_name(&dependency.service) => {
            problem("spec.dependency.service", "it is empty or no name", "name the service that is out");
        }
        _ => {}
    }
    problems
}

fn targets(targets: &[Target], kinds: &WorkloadKinds, problems: &mut Vec<Problem>) {
    if targets.is_empty() {
        problems.push(Problem::new(
            "spec.targets",
            "it names no workload",
            "write at least one, as {namespace: shop, kind: Deployment, name: checkout}",
        ));
    }
    if targets.len() > MOST_TARGETS {
        problems.push(Problem::new(
            "spec.targets",
            format!("there are {} targets, and one exception may have {MOST_TARGETS}", targets.len()),
            "make several exceptions, or ask for the policy to be changed",
        ));
        return; // a wall of complaints about the single ones would help nobody
    }
    let mut known = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        for (part, value) in [("namespace", &target.namespace), ("name", &target.name)] {
            let field = format!("spec.targets[{index}].{part}");
            if value.contains(['*', '?', '[']) {
                let message = format!("{:?} is a glob, and an exception is for exact workloads", shortened(value));
                problems.push(Problem::new(&field, message, "write one target for each workload"));
            } else if !is_object_name(value) {
                let message = format!("{:?} is no name of a Kubernetes object", shortened(value));
                problems.push(Problem::new(&field, message, "write the exact name"));
            }
        }
        if !kinds.iter().any(|kind| kind.kind == target.kind) {
            let names = kinds.iter().map(|kind| kind.kind.as_str());
            let nearest = names.min_by_key(|kind| strsim::damerau_levenshtein(kind, &target.kind));
            problems.push(Problem::new(
                &format!("spec.targets[{index}].kind"),
                format!("{:?} is no kind that the gate judges", shortened(&target.kind)),
                nearest.map_or_else(String::new, |kind| format!("did you mean {kind:?}?")),
            ));
        }
        if !known.insert(target) {
            problems.push(Problem::new(
                &format!("spec.targets[{index}]"),
                format!("{target} stands there twice"),
                "write it once",
            ));
        }
    }
}

/// What is wrong with its end: already past at `now`, or later than the limit allows from when it is granted.
pub fn duration(
    spec: &GateExceptionSpec,
    limit: &Limit,
    granted_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<Problem> {
    let latest = granted_at.checked_add_signed(limit.most.delta()).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let remedy = format!("write {} or earlier", instant(latest));
    if spec.expires_at <= now {
        return Some(Problem::new("spec.expiresAt", format!("{} is past", instant(spec.expires_at)), remedy));
    }
    (spec.expires_at > latest).then(|| {
        let lasts = spec.expires_at.signed_duration_since(granted_at).num_seconds();
        let (lasts, most) = (in_words(lasts), in_words(limit.most.seconds()));
        let lasts = if lasts == most { format!("just over {lasts}") } else { lasts };
        let by = limit.policy.as_ref().map_or_else(String::new, |policy| format!(" (policy {policy:?})"));
        let message =
            format!("the exception would last {lasts}, and one with reason {} may last {most} here{by}", spec.reason);
        Problem::new("spec.expiresAt", message, remedy)
    })
}

/// `2026-11-24T12:00:00Z`.
pub fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn is_object_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= LONGEST_NAME && name.chars().all(inner) && outer(name.chars().next()) && outer(name.chars().last())
}

/// One line that says something.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
