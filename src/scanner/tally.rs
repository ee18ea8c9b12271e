//! What the policies in force say to all that runs, if each workload were made today: by policy, and by namespace.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::fleet::Workload;
use crate::dependency::finding::{Finding, Findings, NotLookedUp, WorkloadReport};
use crate::dependency::package::libyear::Libyears;
use crate::dependency::workload::{Named, report_on};
use crate::evidence::Evidence;
use crate::policy::api::WorkloadCounts;
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::evaluate;
use crate::verdict::{Effect, Rule, Verdict, words};

/// How long before a refusal a report names it.
const NAMED_BEFORE: TimeDelta = TimeDelta::days(30);
/// Bounds of ages, in days.
pub const AGE_DAYS: [i64; 8] = [7, 14, 30, 60, 90, 180, 365, 730];

/// How grave it is, for a report: the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It would be refused today.
    Refused,
    /// It will be, before long.
    Soon,
    /// There is a next step.
    Step,
}

/// One thing that a report says of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How grave it is.
    pub grade: Grade,
    /// The policy; `dependencies` for a next step, which is nobody's rule.
    pub policy: String,
    /// The rule, or the kind of the finding.
    pub rule: String,
    /// What is said.
    pub message: String,
    /// What a machine may want beside it.
    pub properties: BTreeMap<&'static str, String>,
    /// Of which workload.
    pub workload: Reference,
}

/// A workload, as a report refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Its `group/version`, or `v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What is said of one namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfNamespace {
    /// Workloads of which there is nothing to say.
    pub passing: usize,
    /// Everything else.
    pub outcomes: Vec<Outcome>,
    /// Images whose age is known and at most so many days ([`AGE_DAYS`]), and all of them.
    pub ages: [i64; AGE_DAYS.len() + 1],
    /// Images whose age is not known.
    pub unknown_ages: i64,
    /// Workloads by when they would be refused.
    pub workloads: ByRefusal,
    /// Days until the first refusal; 0 where there is one today.
    pub days_until_refusal: Option<i64>,
    /// How far behind the packages of its images are, by digest: what several workloads run counts once.
    pub libyears: BTreeMap<String, Libyears>,
    /// What could not be looked up, each once.
    pub not_looked_up: BTreeSet<NotLookedUp>,
}

/// Workloads by when they would be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByRefusal {
    /// Today.
    pub today: i64,
    /// Within a week.
    pub within_a_week: i64,
    /// Later.
    pub later: i64,
    /// No day is in sight.
    pub never: i64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// By policy; also those that are for nothing that runs.
    pub policies: BTreeMap<String, WorkloadCounts>,
    /// By namespace.
    pub namespaces: BTreeMap<String, OfNamespace>,
    /// Findings by kind, each workload's own.
    pub findings: BTreeMap<&'static str, i64>,
}

impl Tally {
    /// Of nothing yet.
    pub fn new(policies: &PolicySet) -> Self {
        let none = |name: &String| (name.clone(), WorkloadCounts::default());
        Self { policies: policies.iter().map(|policy| none(&policy.name)).collect(), ..Self::default() }
    }

    /// Counts a workload in; `findings` are those of its images, by reference as written.
    pub fn add(
        &mut self,
        workload: &Workload,
        evidence: &Evidence,
        policies: &PolicySet,
        findings: &BTreeMap<String, Findings>,
        now: DateTime<Utc>,
    ) {
        let subject = &workload.subject;
        let verdict = evaluate(subject, evidence, policies, now);
        self.count(&verdict);
        let report = report_on(Named::of(subject, None), subject, evidence, policies, findings, now);
        for finding in &report.findings {
            *self.findings.entry(finding.kind.as_str()).or_default() += 1;
        }
        let reference = Reference {
            api_version: workload.api_version.clone(),
            kind: subject.kind.clone(),
            name: subject.name.clone(),
            uid: subject.uid.clone(),
        };
        let of_namespace = self.namespaces.entry(subject.namespace.clone()).or_default();
        of_namespace.add_ages(&report);
        of_namespace.add_refusal(&report, now);
        let outcomes = outcomes(&reference, &verdict, &report, now);
        if outcomes.is_empty() {
            of_namespace.passing += 1;
        }
        of_namespace.outcomes.extend(outcomes);
        of_namespace
            .not_looked_up
            .extend(findings.values().flat_map(|findings| findings.not_looked_up.iter().cloned()));
    }

    /// Counts in how far the packages of a workload's images are behind, by digest.
    pub fn add_libyears(&mut self, namespace: &str, of_images: BTreeMap<String, Libyears>) {
        if let Some(of_namespace) = self.namespaces.get_mut(namespace) {
            of_namespace.libyears.extend(of_images);
        }
    }

    fn count(&mut self, verdict: &Verdict) {
        for policy in verdict.policies.keys() {
            let counts = self.policies.entry(policy.clone()).or_default();
            counts.matched += 1;
            let gravest =
                verdict.findings.iter().filter(|finding| finding.policy == *policy).map(|finding| finding.effect).max();
            match gravest {
                Some(Effect::Deny) => counts.refused += 1,
                Some(Effect::Warn) => counts.warned += 1,
                Some(Effect::Audit) | None => {}
            }
        }
    }
}

impl OfNamespace {
    fn add_ages(&mut self, report: &WorkloadReport) {
        for image in &report.images {
            let Some(days) = image.age_days else {
                self.unknown_ages += 1;
                continue;
            };
            let bounds = AGE_DAYS.into_iter().chain([i64::MAX]);
            for (count, _) in self.ages.iter_mut().zip(bounds).filter(|(_, bound)| days <= *bound) {
                *count += 1;
            }
        }
    }

    fn add_refusal(&mut self, report: &WorkloadReport, now: DateTime<Utc>) {
        let days = report.refused_on.map(|day| (day - now.date_naive()).num_days().max(0));
        let count = match days {
            Some(0) => &mut self.workloads.today,
            Some(..=7) => &mut self.workloads.within_a_week,
            Some(_) => &mut self.workloads.later,
            None => &mut self.workloads.never,
        };
        *count += 1;
        self.days_until_refusal = [self.days_until_refusal, days].into_iter().flatten().min();
    }
}

fn outcomes(of: &Reference, verdict: &Verdict, report: &WorkloadReport, now: DateTime<Utc>) -> Vec<Outcome> {
    let refused = verdict.denials().map(|denial| Outcome {
        grade: Grade::Refused,
        policy: denial.policy.clone(),
        rule: denial.rule.as_str().to_owned(),
        message: format!("{}.", words::sentence(denial)),
        properties: denial.image().map(|about| ("image", about.image.image.clone())).into_iter().collect(),
        workload: of.clone(),
    });
    let until = (now + NAMED_BEFORE).date_naive();
    let soon = report.images.iter().flat_map(|image| {
        let ahead = image.refusals.iter().filter(move |refusal| refusal.on > now.date_naive() && refusal.on <= until);
        ahead.map(|refusal| Outcome {
            grade: Grade::Soon,
            policy: refusal.policy.clone(),
            rule: Rule::ImageAge.as_str().to_owned(),
            message: format!("From {} on image {} is refused.", refusal.on, image.image),
            properties: [("image", image.image.clone()), ("refusedOn", refusal.on.to_string())].into(),
            workload: of.clone(),
        })
    });
    let steps = report.findings.iter().map(|finding| step(of, finding));
    refused.chain(soon).chain(steps).collect()
}

fn step(of: &Reference, finding: &Finding) -> Outcome {
    let mut properties: BTreeMap<&'static str, String> = [
        ("id", finding.id.clone()),
        ("image", finding.image.clone()),
        ("step", finding.step.as_str().to_owned()),
        ("from", finding.from.clone()),
        ("to", finding.to.clone()),
        ("how", finding.how.clone()),
    ]
    .into();
    properties.extend(finding.refused_on.map(|day| ("refusedOn", day.to_string())));
    Outcome {
        grade: Grade::Step,
        policy: "dependencies".to_owned(),
        rule: finding.kind.as_str().to_owned(),
        message: finding.why.clone(),
        properties,
        workload: of.clone(),
    }
}

#[cfg(test)]
mod tests;
