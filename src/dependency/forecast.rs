//! From which day on each policy would refuse each image of a workload, if it were deployed as it is.
//!
//! Nothing is guessed: `evaluate` is asked as of each instant at which its answer can change, so overrides, `enforceFrom`
//! and exceptions count as they will.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::evidence::{Evidence, Fact, ResolvedImage};
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::evaluate;
use crate::policy::image_age;
use crate::subject::Subject;
use crate::verdict::Rule;

/// A policy that refuses an image, and since or from when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The policy.
    pub policy: String,
    /// The image, as the workload writes it.
    pub image: String,
    /// From when on, in UTC; `now`, where it is refused already.
    pub at: DateTime<Utc>,
}

impl Refusal {
    /// The day, in UTC.
    pub fn day(&self) -> NaiveDate {
        self.at.date_naive()
    }
}

/// The first refusal of each image by each policy, the soonest first.
pub fn refusals(subject: &Subject, evidence: &Evidence, policies: &PolicySet, now: DateTime<Utc>) -> Vec<Refusal> {
    let mut first: BTreeMap<(String, String), DateTime<Utc>> = BTreeMap::new();
    for at in instants(subject, evidence, policies, now) {
        let verdict = evaluate(subject, evidence, policies, at);
        for denial in verdict.denials().filter(|denial| denial.rule == Rule::ImageAge) {
            if let Some(image) = denial.image() {
                first.entry((denial.policy.clone(), image.image.image.clone())).or_insert(at);
            }
        }
    }
    let mut refusals: Vec<Refusal> =
        first.into_iter().map(|((policy, image), at)| Refusal { policy, image, at }).collect();
    refusals.sort_by_key(|one| one.at); // stable: else by policy and image
    refusals
}

/// The day on which what a step leads to would be refused in the workload, in place of an image that it runs.
pub fn refused_instead(
    subject: &Subject,
    evidence: &Evidence,
    policies: &PolicySet,
    image: &str,
    target: (&str, &Fact<ResolvedImage>),
    now: DateTime<Utc>,
) -> Option<NaiveDate> {
    let (reference, found) = target;
    let mut subject = subject.clone();
    subject.images.retain(|used| used.image == image);
    for used in &mut subject.images {
        used.image = reference.to_owned();
    }
    let evidence = Evidence { images: [(reference.to_owned(), found.clone())].into(), ..evidence.clone() };
    refusals(&subject, &evidence, policies, now).first().map(Refusal::day)
}

/// The instants at which a policy's answer about age can change, and now.
fn instants(
    subject: &Subject,
    evidence: &Evidence,
    policies: &PolicySet,
    now: DateTime<Utc>,
) -> BTreeSet<DateTime<Utc>> {
    let mut instants: BTreeSet<DateTime<Utc>> = [now].into();
    let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
    for policy in matching.iter().map(|one| one.policy) {
        let Some(rule) = &policy.spec.image_age else { continue };
        instants.extend(policy.spec.enforce_from.map(|day| day.and_time(NaiveTime::MIN).and_utc()));
        for used in &subject.images {
            let Some(limit) = image_age::limit_seconds(rule, &used.image) else { continue };
            let image = evidence.images.get(&used.image).and_then(Fact::known);
            let dates = image.into_iter().flat_map(|image| &image.platforms).flat_map(|platform| {
                platform.built.known().map(|built| built.time).into_iter().chain(platform.first_seen)
            });
            // An age is too high when it is above the limit, in whole seconds.
            instants.extend(dates.filter_map(|date| date.checked_add_signed(TimeDelta::seconds(limit + 1))));
        }
    }
    instants.extend(evidence.exceptions.iter().map(|grant| grant.expires_at));
    instants.retain(|instant| *instant >= now);
    instants
}

/// How many of these days are today or before, and how many within the next seven.
pub fn soon(days: impl IntoIterator<Item = NaiveDate>, today: NaiveDate) -> (usize, usize) {
    let week = today.checked_add_days(Days::new(7)).unwrap_or(NaiveDate::MAX);
    days.into_iter().fold((0, 0), |(refused, within_a_week), day| {
        if day <= today {
            (refused + 1, within_a_week)
        } else if day <= week {
            (refused, within_a_week + 1)
        } else {
            (refused, within_a_week)
        }
    })
}

#[cfg(test)]
mod tests;
