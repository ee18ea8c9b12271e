//! What kind of change a review asks for: the table of DESIGN §2 as one pure function.
//!
//! What runs is told by digest, so another name for the same digest is nothing new, and going back is told by what the
//! gate and the cluster remember, never by what the object says of itself.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Difference, ImageUse, Operation, Subject};
use crate::evidence::{Evidence, Fact};
use crate::image::reference::ImageReference;

/// What kind of change it is; the rules say of each what they stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Something new.
    Create,
    /// A digest that did not run here before.
    NewImage,
    /// Back to what ran before.
    Rollback,
    /// To what another workload of the same service and namespace runs: from canary to primary, from blue to green.
    Promotion,
    /// The template differs in what it does: environment, arguments, volumes …
    Config,
    /// It differs only in resources, scheduling, probes, grace periods, template labels and annotations.
    Mitigation,
    /// It differs only in an annotation that says "restart".
    Restart,
    /// The template is equal, whatever else differs: scale, suspend, pause, partition, labels of the object.
    Scale,
    /// Nothing of the object differs: somebody connects to it.
    Metadata,
    /// It is deleted.
    Delete,
}

impl Change {
    /// The name as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::NewImage => "NewImage",
            Self::Rollback => "Rollback",
            Self::Promotion => "Promotion",
            Self::Config => "Config",
            Self::Mitigation => "Mitigation",
            Self::Restart => "Restart",
            Self::Scale => "Scale",
            Self::Metadata => "Metadata",
            Self::Delete => "Delete",
        }
    }
}

/// A Create counts as a restore for this long after the workload was last admitted, or deleted.
pub const RECREATE_WINDOW: TimeDelta = TimeDelta::days(30);

/// Tells what kind of change the subject is, from what is known as of `now`.
pub fn classify(subject: &Subject, evidence: &Evidence, now: DateTime<Utc>) -> Change {
    match subject.operation {
        Operation::Delete => return Change::Delete,
        Operation::Connect => return Change::Metadata,
        Operation::Create | Operation::Update => {}
    }
    let Some(old_images) = &subject.old_images else {
        let all: Vec<&ImageUse> = subject.images.iter().collect();
        return if is_restore(subject, evidence, now) {
            Change::Rollback
        } else if runs_elsewhere(&all, evidence) {
            Change::Promotion
        } else {
            Change::Create
        };
    };
    if subject.template_unchanged() {
        return Change::Scale;
    }
    if returns_to_an_earlier_template(subject, evidence) {
        return Change::Rollback;
    }
    if subject.difference == Difference::Restart && old_images == &subject.images {
        return Change::Restart;
    }
    let new = new_images(subject, evidence);
    if !new.is_empty() {
        return if returns_to_earlier_digests(&new, old_images, subject, evidence) {
            Change::Rollback
        } else if runs_elsewhere(&new, evidence) {
            Change::Promotion
        } else {
            Change::NewImage
        };
    }
    if subject.difference == Difference::Mitigation && old_images == &subject.images {
        Change::Mitigation
    } else {
        Change::Config
    }
}

/// The images of the new template whose digest did not run in the old one, those whose tag has moved included.
///
/// A digest that cannot be learnt is new unless its reference was there.
pub fn new_images<'a>(subject: &'a Subject, evidence: &Evidence) -> Vec<&'a ImageUse> {
    let Some(old_images) = &subject.old_images else {
        return subject.images.iter().collect();
    };
    let old_digests: BTreeSet<&str> =
        old_images.iter().filter_map(|used| running_digest(&used.image, evidence)).collect();
    subject
        .images
        .iter()
        .filter(|used| {
            if old_images.iter().any(|old| old.image == used.image) {
                has_moved(&used.image, evidence)
            } else {
                digest_of(&used.image, evidence).is_none_or(|digest| !old_digests.contains(digest))
            }
        })
        .collect()
}

/// Images whose reference stayed and whose digest is new to this workload: the tag has moved since it was admitted.
pub fn moved_tags<'a>(subject: &'a Subject, evidence: &Evidence) -> Vec<&'a ImageUse> {
    let Some(old_images) = &subject.old_images else {
        return Vec::new();
    };
    subject
        .images
        .iter()
        .filter(|used| old_images.iter().any(|old| old.image == used.image) && has_moved(&used.image, evidence))
        .collect()
}

/// Whether a reference was admitted here, and now means a digest that never was.
fn has_moved(reference: &str, evidence: &Evidence) -> bool {
    let admissions = &evidence.history.admissions;
    admissions.iter().any(|admission| admission.reference == reference)
        && digest_of(reference, evidence)
            .is_some_and(|digest| admissions.iter().all(|admission| admission.digest != digest))
}

/// What a reference means now. One that names its digest says so itself, also while its registry is away.
pub(crate) fn digest_of<'a>(reference: &'a str, evidence: &'a Evidence) -> Option<&'a str> {
    match evidence.images.get(reference) {
        Some(Fact::Known(image)) => Some(&image.digest),
        _ => {
            ImageReference::parse(reference).ok()?.digest()?;
            reference.rsplit_once('@').map(|(_, digest)| digest)
        }
    }
}

/// What a reference of the old template runs: what it meant when it was last admitted here, else what it means now.
fn running_digest<'a>(reference: &'a str, evidence: &'a Evidence) -> Option<&'a str> {
    evidence
        .history
        .admissions
        .iter()
        .filter(|admission| admission.reference == reference)
        .max_by_key(|admission| admission.last_admitted_at)
        .map_or_else(|| digest_of(reference, evidence), |admission| Some(&admission.digest))
}

/// Whether the whole template is one that this workload had before the present one came.
fn returns_to_an_earlier_template(subject: &Subject, evidence: &Evidence) -> bool {
    let Some(fingerprints) = &subject.fingerprints else {
        return false;
    };
    let came = |fingerprint: &str| {
        evidence
            .history
            .revisions
            .iter()
            .filter(|revision| revision.fingerprint == fingerprint)
            .map(|revision| revision.created_at)
            .min()
    };
    match (came(&fingerprints.new), came(&fingerprints.old)) {
        // Kubernetes keeps whole seconds: of two that came in one, nobody knows which was first.
        (Some(new), Some(old)) => new <= old && fingerprints.new != fingerprints.old,
        _ => false,
    }
}

/// Whether every new image first ran here before what it takes the place of.
fn returns_to_earlier_digests(
    new: &[&ImageUse],
    old_images: &[ImageUse],
    subject: &Subject,
    evidence: &Evidence,
) -> bool {
    let first_admitted = |digest: &str| first_ran(digest, evidence);
    // What is replaced, by the name of its container; a container that is new replaces all that goes.
    let replaced_by = |used: &ImageUse| -> Vec<&ImageUse> {
        let same_place: Vec<_> =
            old_images.iter().filter(|old| old.place == used.place && old.name == used.name).collect();
        if same_place.is_empty() {
            old_images.iter().filter(|old| !subject.images.contains(old)).collect()
        } else {
            same_place
        }
    };
    new.iter().all(|used| {
        let Some(before) = digest_of(&used.image, evidence).and_then(first_admitted) else {
            return false;
        };
        let running: Vec<_> = replaced_by(used)
            .into_iter()
            .map(|old| running_digest(&old.image, evidence).and_then(first_admitted))
            .collect();
        !running.is_empty() && running.iter().all(|admitted| admitted.is_some_and(|admitted| before < admitted))
    })
}

/// When a digest first ran here: when it was first admitted, or (by whole seconds) when the first revision came that has
/// it.
///
/// A tag in a revision counts as what it means now, unless it is known to have meant something else.
fn first_ran(digest: &str, evidence: &Evidence) -> Option<DateTime<Utc>> {
    let admissions = &evidence.history.admissions;
    let admitted = admissions.iter().filter(|admission| admission.digest == digest).map(|one| one.first_admitted_at);
    let meant_another =
        |reference: &str| admissions.iter().any(|one| one.reference == reference && one.digest != digest);
    let has_it = |reference: &String| digest_of(reference, evidence) == Some(digest) && !meant_another(reference);
    let revisions = evidence.history.revisions.iter().filter(|revision| revision.images.iter().any(has_it));
    admitted.min().or_else(|| revisions.map(|revision| revision.created_at).min())
}

/// Whether every image runs at this moment in another workload of the same service and namespace.
fn runs_elsewhere(images: &[&ImageUse], evidence: &Evidence) -> bool {
    let runs =
        |digest: &str| evidence.running_elsewhere.iter().any(|other| other.digests.iter().any(|one| one == digest));
    !images.is_empty() && images.iter().all(|used| digest_of(&used.image, evidence).is_some_and(runs))
}

/// Whether a Create puts back what was admitted under this name (or, for a hook's Job, in this namespace) not long ago.
fn is_restore(subject: &Subject, evidence: &Evidence, now: DateTime<Utc>) -> bool {
    // Forward again to what came after what ran last is no restore, by whatever way.
    let admissions = &evidence.history.admissions;
    let last = admissions.iter().map(|admission| admission.last_admitted_at).max();
    let of_last = admissions.iter().filter(|admission| Some(admission.last_admitted_at) == last);
    let ran_last = of_last.map(|admission| admission.first_admitted_at).max();
    !subject.images.is_empty()
        && (subject.hook || !subject.name.ends_with('*'))
        && subject.images.iter().all(|used| {
            digest_of(&used.image, evidence).is_some_and(|digest| {
                evidence.history.admissions.iter().any(|admission| {
                    admission.digest == digest
                        && now.signed_duration_since(admission.last_admitted_at) <= RECREATE_WINDOW
                        && ran_last.is_none_or(|ran_last| admission.first_admitted_at <= ran_last)
                })
            })
        })
}

#[cfg(test)]
mod tests;
