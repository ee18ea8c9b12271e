//! The decision: a pure function of subject, evidence, policies and the time. It does no IO and cannot fail.

use chrono::{DateTime, Utc};

use super::compile::PolicySet;
use super::error_budget;
use super::exceptions;
use super::image_age::{self, Judged};
use crate::evidence::{Evidence, OwnerFound};
use crate::subject::change::{self, Change};
use crate::subject::{ImageUse, Operation, Subject};
use crate::verdict::{BudgetFinding, Decision, Effect, Passed, Softened, Verdict};

/// Decides. The same arguments give the same verdict, a year later too.
pub fn evaluate(subject: &Subject, evidence: &Evidence, policies: &PolicySet, now: DateTime<Utc>) -> Verdict {
    if let Some(passed) = passes_unjudged(subject) {
        return Verdict::passed(change::classify(subject, evidence, now), passed);
    }
    let change = change::classify(subject, evidence, now);
    let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
    if matching.is_empty() {
        return Verdict::passed(change, Passed::NoPolicy);
    }
    let judged = images_to_judge(subject, evidence, change);
    let revisions = || matching.iter().map(|one| (one.policy.name.clone(), one.policy.revision.clone())).collect();
    if judged.is_empty() && owner_templates(evidence).is_some() {
        // Without them nobody could tell from the record that there was a policy for it at all.
        return Verdict { policies: revisions(), ..Verdict::passed(change, Passed::OwnerBacked) };
    }

    let unknown_owner = has_unknown_owner(subject, evidence);
    let mut findings = Vec::new();
    let mut budgets: Vec<BudgetFinding> = Vec::new();
    for one in &matching {
        if let Some(rule) = &one.policy.spec.image_age {
            let certain = one.certain;
            findings.extend(
                judged
                    .iter()
                    .flat_map(|image| image_age::judge(one.policy, rule, Judged { certain, ..*image }, evidence, now)),
            );
        }
        if let Some(rule) = one.policy.spec.error_budget.as_ref().filter(|_| is_a_deploy(subject, evidence, &judged)) {
            let found = error_budget::budgets(&one.policy.name, rule, evidence, now);
            if let Some(worst) = found.first().filter(|_| error_budget::stops(change)) {
                let unknown_owner = unknown_owner && is_made_by_controllers(subject);
                findings.extend(error_budget::judge(*one, rule, worst.clone(), unknown_owner, now));
            }
            add_worst(&mut budgets, found);
        }
    }
    for finding in findings.iter_mut().filter(|finding| finding.effect == Effect::Deny) {
        if let Some(grant) = exceptions::that_lets_pass(finding, subject, evidence, &matching, now) {
            finding.effect = Effect::Warn;
            finding.softened = Some(Softened::Exception);
            finding.exception = Some(grant.name.clone());
        }
    }
    // Stable, so that findings of one gravity stay in the order of policies and images.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.effect));
    let decision = match findings.first().map(|finding| finding.effect) {
        Some(Effect::Deny) => Decision::Deny,
        Some(Effect::Warn) => Decision::Warn,
        Some(Effect::Audit) | None => Decision::Allow,
    };
    Verdict {
        decision,
        change,
        passed: None,
        policies: revisions(),
        rules: matching.iter().map(|one| (one.policy.name.clone(), one.policy.rules())).collect(),
        findings,
        budgets,
        history_unknown: evidence.history.unknown.clone().filter(|_| decision == Decision::Deny),
    }
}

/// Whether it brings a service something new to run: not what a controller makes of what was judged, with what is injected
/// into it, and not a container that somebody looks into a running Pod with.
fn is_a_deploy(subject: &Subject, evidence: &Evidence, judged: &[Judged<'_>]) -> bool {
    let beyond_its_owner = || judged.iter().any(|image| image.softened != Some(Softened::Injected));
    subject.sub_resource.as_deref() != Some("ephemeralcontainers")
        && (owner_templates(evidence).is_none() || beyond_its_owner())
}

/// Whether objects of this kind are what controllers make: of those alone one that is not known may be the maker.
fn is_made_by_controllers(subject: &Subject) -> bool {
    matches!(subject.kind.as_str(), "Pod" | "ReplicaSet" | "Job")
}

/// Of several policies' views of one budget the worst is kept.
fn add_worst(budgets: &mut Vec<BudgetFinding>, found: Vec<BudgetFinding>) {
    let slo = |finding: &BudgetFinding| finding.budget.as_ref().map(|budget| budget.slo.clone());
    let gravity = |finding: &BudgetFinding| (finding.frozen_since.is_some(), finding.state.gravity());
    for new in found {
        let same = |known: &&mut BudgetFinding| {
            known.source == new.source && known.service == new.service && slo(known) == slo(&new)
        };
        match budgets.iter_mut().find(same) {
            Some(known) if gravity(&new) > gravity(known) => *known = new,
            Some(_) => {}
            None => budgets.push(new),
        }
    }
}

/// Whether the subject passes whatever the policies say. It needs no evidence, so none is gathered for it.
pub fn passes_unjudged(subject: &Subject) -> Option<Passed> {
    if matches!(subject.operation, Operation::Delete | Operation::Connect) {
        Some(Passed::NothingRuns)
    } else if subject.mirror {
        Some(Passed::MirrorPod)
    } else if subject.images.is_empty() {
        Some(Passed::NoImages)
    } else if subject.template_unchanged() {
        Some(Passed::TemplateUnchanged)
    } else {
        None
    }
}

/// Whether it only keeps a service running, or brings it back to what ran: what law 1 never breaks, whatever else is
/// broken. A restart is not among it, because its tags may mean something new by now.
pub fn keeps_what_runs(subject: &Subject, evidence: &Evidence, verdict: &Verdict) -> bool {
    verdict.passed.is_some() || verdict.change == Change::Rollback || comes_from_its_controller(subject, evidence)
}

/// Whether it is what a controller makes of what was admitted with the controller, sidecars included, or could be.
fn comes_from_its_controller(subject: &Subject, evidence: &Evidence) -> bool {
    match owner_templates(evidence) {
        Some(templates) => is_injected_into(subject, templates, evidence),
        None => {
            subject.operation == Operation::Create
                && is_made_by_controllers(subject)
                && has_unknown_owner(subject, evidence)
        }
    }
}

/// The images that rules look at for this change, each with what softens a finding about it.
fn images_to_judge<'a>(subject: &'a Subject, evidence: &Evidence, change: Change) -> Vec<Judged<'a>> {
    let new = change::new_images(subject, evidence);
    let is_new = |image: &ImageUse| new.iter().any(|used| used.image == image.image);
    let moved = change::moved_tags(subject, evidence);
    let from_owner = owner_templates(evidence);
    let is_injected = from_owner.is_some_and(|templates| is_injected_into(subject, templates, evidence));
    let unknown_owner = has_unknown_owner(subject, evidence);
    subject
        .images
        .iter()
        .filter_map(|image| {
            let softened = if let Some(templates) = from_owner {
                if is_among(image, templates, evidence) || !is_new(image) {
                    return None; // its controller answers for it, and was judged
                }
                is_injected.then_some(Softened::Injected)
            } else if change == Change::Rollback {
                Some(Softened::Rollback)
            } else if change == Change::Promotion {
                Some(Softened::Promotion)
            } else {
                (subject.old_images.is_some() && !is_new(image)).then_some(Softened::Unchanged)
            };
            let moved = change == Change::Restart && moved.contains(&image);
            Some(Judged { image, change, softened, unknown_owner, moved, certain: true })
        })
        .collect()
}

/// Whether images beyond the controller's are sidecars that something injects as a Pod is made: only beside all that one
/// of the controller's templates has. What is added later is somebody's doing, and so is what stands in any other object.
fn is_injected_into(subject: &Subject, templates: &[Vec<String>], evidence: &Evidence) -> bool {
    let has = |owned: &String| subject.images.iter().any(|image| is_same(image, owned, evidence));
    subject.operation == Operation::Create
        && subject.kind == "Pod"
        && templates.iter().any(|template| !template.is_empty() && template.iter().all(has))
}

/// Whether the controller's word can be neither believed nor refuted. No controller adds ephemeral containers: people
/// do, so there it makes no difference.
fn has_unknown_owner(subject: &Subject, evidence: &Evidence) -> bool {
    subject.sub_resource.as_deref() != Some("ephemeralcontainers")
        && evidence
            .owner
            .as_ref()
            .is_some_and(|owner| matches!(owner.found, OwnerFound::UnknownKind | OwnerFound::NotLookedUp { .. }))
}

/// The templates of the controller, where it was found.
fn owner_templates(evidence: &Evidence) -> Option<&[Vec<String>]> {
    evidence.owner.as_ref()?.found.templates()
}

/// Whether the controller runs this image, by reference or by digest.
fn is_among(image: &ImageUse, templates: &[Vec<String>], evidence: &Evidence) -> bool {
    templates.iter().flatten().any(|owned| is_same(image, owned, evidence))
}

fn is_same(image: &ImageUse, reference: &str, evidence: &Evidence) -> bool {
    let digest = change::digest_of(&image.image, evidence);
    image.image == reference || digest.is_some_and(|of| change::digest_of(reference, evidence) == Some(of))
}

#[cfg(test)]
mod tests;
