//! What a deploy is told of its next steps: from what the scanner found before, in memory, never by a look-up.
//!
//! They are prose beside a decision that stands already: nothing is recorded of them, and a replay has none.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::known::{ImageKey, Known};
use super::shelf::KnownImages;
use crate::dependency::finding::{Finding, Kind};
use crate::dependency::forecast::{self, Refusal};
use crate::dependency::rank::most_urgent;
use crate::evidence::{Evidence, Fact, History, ResolvedImage};
use crate::policy::compile::{self, PolicySet};
use crate::subject::{Difference, Operation, Subject};

/// What a warning begins with.
const PREFIX: &str = "freshgate: ";
/// Longest warning, in characters.
const LONGEST_WARNING: usize = 120;

/// A step, and what it is a step from.
#[derive(Clone, Debug, PartialEq)]
struct Nudge {
    /// The digest that it was found for: of anything else it may not be true.
    digest: String,
    finding: Finding,
    target: Option<Fact<ResolvedImage>>,
}

/// The next steps of all images that run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nudges {
    /// By reference as written, and within by namespace; the empty one is for all.
    by_image: HashMap<String, BTreeMap<String, Vec<Nudge>>>,
    /// What is true of a digest under any name.
    by_digest: HashMap<String, Vec<Nudge>>,
}

impl Nudges {
    /// The next steps among all that is known.
    pub fn of(known: &KnownImages) -> Self {
        let mut all = Self::default();
        for (key, known) in known {
            all.add(key, known);
        }
        all
    }

    fn add(&mut self, key: &ImageKey, known: &Known) {
        let Some(digest) = known.digest(key) else { return };
        let in_it = known.contents(key).map(|contents| contents.steps.as_slice()).unwrap_or_default();
        for finding in known.findings.found.iter().chain(in_it) {
            let target = finding.target.as_ref().and_then(|target| known.findings.targets.get(target)).cloned();
            let nudge = Nudge { digest: digest.to_owned(), finding: finding.clone(), target };
            let is_of_the_digest = matches!(finding.kind, Kind::BaseDrift | Kind::Package | Kind::EndOfLife);
            if is_of_the_digest && key.scope.is_empty() {
                self.by_digest.entry(digest.to_owned()).or_default().push(nudge.clone());
            }
            let of_image = self.by_image.entry(key.image.clone()).or_default();
            of_image.entry(key.scope.clone()).or_default().push(nudge);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_image.is_empty()
    }

    /// What is known of an image in a namespace, if it is this digest.
    fn find<'a>(&'a self, namespace: &str, image: &str, digest: &str) -> Vec<&'a Nudge> {
        let of_image = self.by_image.get(image);
        let scopes = ["", namespace].into_iter().filter_map(|scope| of_image?.get(scope));
        let mut found: Vec<&Nudge> = scopes.flatten().filter(|nudge| nudge.digest == digest).collect();
        if found.is_empty() {
            found.extend(self.by_digest.get(digest).into_iter().flatten());
        }
        found
    }

    /// The warnings of a deploy, at most `room` and no more than the policies that are for it ask for. What its owner answers
    /// for is told nothing.
    pub fn warnings(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        policies: &PolicySet,
        room: usize,
        now: DateTime<Utc>,
    ) -> Vec<String> {
        if self.is_empty() || subject.owner.is_some() {
            return Vec::new();
        }
        let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
        let most = compile::nudges(&matching).min(room);
        if most == 0 {
            return Vec::new();
        }
        let mut steps: Vec<(Finding, Option<&Fact<ResolvedImage>>)> = Vec::new();
        for (image, digest) in images(subject, evidence) {
            for nudge in self.find(&subject.namespace, image, digest) {
                steps.push((Finding { image: image.to_owned(), ..nudge.finding.clone() }, nudge.target.as_ref()));
            }
        }
        if steps.is_empty() {
            return Vec::new();
        }
        let (made, known) = as_made_anew(subject, evidence);
        let refusals = forecast::refusals(&made, &known, policies, now);
        let dated = steps.into_iter().map(|(step, target)| {
            let refused_on = refusals.iter().find(|refusal| refusal.image == step.image).map(Refusal::day);
            let target_refused_on = step.target.as_deref().zip(target).and_then(|(reference, fact)| {
                forecast::refused_instead(&made, &known, policies, &step.image, (reference, fact), now)
            });
            Finding { refused_on, target_refused_on, ..step }
        });
        let (shown, _) = most_urgent(dated.collect(), now.date_naive());
        shown.iter().take(most).map(|finding| in_words(finding, now)).collect()
    }
}

/// Each image of the subject, once, whose digest is known.
fn images<'a>(subject: &'a Subject, evidence: &'a Evidence) -> BTreeMap<&'a str, &'a str> {
    let digest = |image: &str| evidence.images.get(image).and_then(Fact::known).map(|found| found.digest.as_str());
    subject.images.iter().filter_map(|used| Some((used.image.as_str(), digest(&used.image)?))).collect()
}

/// The workload as if it were made now. What ran before is let in again whatever its age, and says nothing of the day on which
/// a build is refused.
fn as_made_anew(subject: &Subject, evidence: &Evidence) -> (Subject, Evidence) {
    let made = Subject {
        operation: Operation::Create,
        old_images: None,
        difference: Difference::Other,
        fingerprints: None,
        ..subject.clone()
    };
    (made, Evidence { history: History::default(), running_elsewhere: Vec::new(), ..evidence.clone() })
}

fn in_words(finding: &Finding, now: DateTime<Utc>) -> String {
    let line = format!("{PREFIX}{}", finding.in_one_line(now.date_naive()));
    if line.chars().count() <= LONGEST_WARNING {
        line
    } else {
        line.chars().take(LONGEST_WARNING - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests;
