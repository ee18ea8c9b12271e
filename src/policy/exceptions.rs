//! Which exception lets pass what a rule would refuse. It touches the decision, never the measurement.

use chrono::{DateTime, Utc};

use super::compile::Matching;
use crate::budget::freeze;
use crate::evidence::{BudgetEvidence, Evidence};
use crate::exception::check::default_most;
use crate::exception::{Grant, Reason};
use crate::subject::Subject;
use crate::subject::change::{digest_of, new_images};
use crate::verdict::{About, Finding};

/// The first exception, by name, that lets this finding pass.
pub fn that_lets_pass<'a>(
    finding: &Finding,
    subject: &Subject,
    evidence: &'a Evidence,
    matching: &[Matching<'_>],
    now: DateTime<Utc>,
) -> Option<&'a Grant> {
    let fits = |grant: &&Grant| {
        grant.holds(finding.rule, now)
            && is_short_enough(grant, &finding.policy, matching)
            && is_for_digests_of(grant, finding, subject, evidence)
            && is_reason_true(grant, &finding.policy, matching, evidence, now)
    };
    evidence.exceptions.iter().find(fits)
}

/// The policy whose rule it would pass may have become stricter since it was granted.
fn is_short_enough(grant: &Grant, policy: &str, matching: &[Matching<'_>]) -> bool {
    let of_policy = matching.iter().find(|one| one.policy.name == policy).and_then(|one| {
        one.policy.spec.exceptions.as_ref().and_then(|limits| limits.max_duration.of(grant.reason)).cloned()
    });
    let most = of_policy.unwrap_or_else(|| default_most(grant.reason));
    grant.expires_at.signed_duration_since(grant.granted_at) <= most.delta()
}

/// One that names a digest is for that alone: for the finding about it, or for a deploy that brings nothing else.
fn is_for_digests_of(grant: &Grant, finding: &Finding, subject: &Subject, evidence: &Evidence) -> bool {
    match &finding.about {
        _ if grant.digest.is_none() => true,
        About::Image(image) => grant.fits_digest(image.digest.as_deref()),
        About::Budget(_) => {
            let new = new_images(subject, evidence);
            !new.is_empty() && new.iter().all(|used| grant.fits_digest(digest_of(&used.image, evidence)))
        }
    }
}

/// Another team's outage is a reason only while that service is frozen too, as the policy sees it; one's own never is.
fn is_reason_true(
    grant: &Grant,
    policy: &str,
    matching: &[Matching<'_>],
    evidence: &Evidence,
    now: DateTime<Utc>,
) -> bool {
    if grant.reason != Reason::DependencyOutage {
        return true;
    }
    let rule =
        matching.iter().find(|one| one.policy.name == policy).and_then(|one| one.policy.spec.error_budget.as_ref());
    let (Some(service), Some(rule)) = (grant.dependency.as_deref(), rule) else {
        return false;
    };
    let is_own = evidence.services.iter().any(|identity| identity.service == service);
    let thresholds = rule.thresholds();
    let is_out = |one: &BudgetEvidence| {
        let state = one.budget.state(&thresholds, now).state;
        freeze::next(one.freezes.get(policy), &one.budget, &thresholds, now)
            .is_some_and(|freeze| freeze::holds(&freeze, state, rule.stale_hold_seconds(), now).is_some())
    };
    !is_own && evidence.budgets.iter().any(|one| one.budget.service == service && is_out(one))
}
