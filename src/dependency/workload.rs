//! From what is known of images to what is said of a workload: its forecast, and its three most urgent findings.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::finding::{
    Excepted, Finding, Findings, ImageReport, NotLookedUp, RefusedOn, Report, WorkloadReport, days_between,
};
use super::forecast::{self, Refusal};
use super::rank::most_urgent;
use crate::evidence::{Evidence, Fact, PlatformImage, ResolvedImage};
use crate::image::build_date::BuildDate;
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::evaluate;
use crate::subject::Subject;

/// Whose report it is, under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// The team, where a label names one.
    pub team: Option<String>,
}

impl Named {
    /// The subject's own names.
    pub fn of(subject: &Subject, team: Option<String>) -> Self {
        Self { namespace: subject.namespace.clone(), kind: subject.kind.clone(), name: subject.name.clone(), team }
    }
}

/// What is said of a workload as of `now`: `findings` are those of images, by reference as written.
pub fn report_on(
    named: Named,
    subject: &Subject,
    evidence: &Evidence,
    policies: &PolicySet,
    findings: &BTreeMap<String, Findings>,
    now: DateTime<Utc>,
) -> WorkloadReport {
    let refusals = forecast::refusals(subject, evidence, policies, now);
    let excepted = excepted(subject, evidence, policies, now);
    let mut references: Vec<&str> = Vec::new();
    for used in &subject.images {
        if !references.contains(&used.image.as_str()) {
            references.push(&used.image);
        }
    }
    let mut steps = Vec::new();
    for reference in &references {
        let Some(of_image) = findings.get(*reference) else { continue };
        let refused_on = refusals.iter().find(|refusal| refusal.image == *reference).map(Refusal::day);
        for finding in &of_image.found {
            let target = finding.target.as_deref().and_then(|target| Some((target, of_image.targets.get(target)?)));
            let target_refused_on = target
                .and_then(|target| forecast::refused_instead(subject, evidence, policies, reference, target, now));
            steps.push(Finding { refused_on, target_refused_on, ..finding.clone() });
        }
    }
    let (findings, more_findings) = most_urgent(steps, now.date_naive());
    WorkloadReport {
        namespace: named.namespace,
        kind: named.kind,
        name: named.name,
        team: named.team,
        images: references
            .into_iter()
            .map(|reference| {
                let exceptions = excepted.get(reference).cloned().unwrap_or_default();
                ImageReport { exceptions, ..image_report(reference, evidence, &refusals, now) }
            })
            .collect(),
        refused_on: refusals.first().map(Refusal::day),
        findings,
        more_findings,
    }
}

/// The exceptions by which images pass now, by reference as written.
fn excepted(
    subject: &Subject,
    evidence: &Evidence,
    policies: &PolicySet,
    now: DateTime<Utc>,
) -> BTreeMap<String, Vec<Excepted>> {
    let mut excepted: BTreeMap<String, Vec<Excepted>> = BTreeMap::new();
    if evidence.exceptions.is_empty() {
        return excepted;
    }
    for finding in evaluate(subject, evidence, policies, now).findings {
        let (Some(name), Some(about)) = (&finding.exception, finding.image()) else { continue };
        let Some(grant) = evidence.exceptions.iter().find(|grant| grant.name == *name) else { continue };
        let one = Excepted { name: name.clone(), policy: finding.policy.clone(), until: grant.expires_at };
        let of_image = excepted.entry(about.image.image.clone()).or_default();
        if !of_image.contains(&one) {
            of_image.push(one);
        }
    }
    excepted
}

fn image_report(reference: &str, evidence: &Evidence, refusals: &[Refusal], now: DateTime<Utc>) -> ImageReport {
    let found = evidence.images.get(reference);
    let resolved = found.and_then(Fact::known);
    let built = resolved.and_then(oldest).cloned();
    ImageReport {
        image: reference.to_owned(),
        digest: resolved.map(|image| image.digest.clone()),
        age_days: built.as_ref().map(|built| days_between(built.time, now)),
        built,
        unknown: found.and_then(unknown_in_words),
        refusals: refusals
            .iter()
            .filter(|refusal| refusal.image == reference)
            .map(|refusal| RefusedOn { policy: refusal.policy.clone(), on: refusal.day() })
            .collect(),
        exceptions: Vec::new(),
        libyears: None,
    }
}

/// The date of the oldest platform whose date is known.
pub fn oldest(image: &ResolvedImage) -> Option<&BuildDate> {
    image.platforms.iter().filter_map(|platform| platform.built.known()).min_by_key(|built| built.time)
}

/// Why a date is not known: of the image, or else of one of its platforms.
pub fn unknown_in_words(found: &Fact<ResolvedImage>) -> Option<String> {
    let of_platform = |platform: &PlatformImage| match &platform.built {
        Fact::Unknown(unknown) => {
            let name = platform.platform.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
            Some(format!("{name}{}", unknown.detail))
        }
        Fact::Known(_) => None,
    };
    match found {
        Fact::Unknown(unknown) => Some(unknown.detail.clone()),
        Fact::Known(image) => image.platforms.iter().find_map(of_platform),
    }
}

/// The whole report: the workloads that are refused soonest first, and each thing that could not be looked up once.
pub fn whole(mut workloads: Vec<WorkloadReport>, mut not_looked_up: Vec<NotLookedUp>, now: DateTime<Utc>) -> Report {
    for image in workloads.iter().flat_map(|workload| &workload.images) {
        if let Some(why) = &image.unknown {
            not_looked_up.push(NotLookedUp { what: format!("the build date of {}", image.image), why: why.clone() });
        }
    }
    workloads.sort_by_cached_key(|workload| {
        let refused_on = workload.refused_on.unwrap_or(chrono::NaiveDate::MAX);
        (refused_on, workload.namespace.clone(), workload.kind.clone(), workload.name.clone())
    });
    not_looked_up.sort();
    not_looked_up.dedup();
    Report { generated_at: now, workloads, not_looked_up }
}
