//! The rule `imageAge`: how long ago an image was built, and what that means for one change.

use chrono::{DateTime, Utc};

use super::api::{Action, ImageAge, MaxAge, OnUnknown, PlatformRule, Platforms};
use super::compile::{AgeLimit, CompiledPolicy};
use crate::evidence::{Evidence, Fact, PlatformImage, ResolvedImage, Unknown, UnknownReason};
use crate::image::build_date::Source;
use crate::image::reference::ImageReference;
use crate::subject::ImageUse;
use crate::verdict::{Effect, Finding, Found, Rule, Softened};

/// An image to judge, and how much a finding about it may do at the most.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The image, in its place.
    pub image: &'a ImageUse,
    /// Why less than the rule says may be done, where it is so.
    pub softened: Option<Softened>,
    /// Whether the image's age counts at all; in a restart only its tag does.
    pub age_counts: bool,
    /// Whether its tag means another digest than what was admitted here.
    pub moved: bool,
}

/// What the rule of one policy has to say about one image, as of `now`.
pub fn judge(
    policy: &CompiledPolicy,
    rule: &ImageAge,
    judged: Judged<'_>,
    evidence: &Evidence,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let image = evidence.images.get(&judged.image.image);
    let limits = limits_for(rule, judged.image);
    let finding = |(most, softened): (Effect, Option<Softened>), effect: Effect, found: Found| Finding {
        policy: policy.name.clone(),
        rule: Rule::ImageAge,
        effect: effect.min(most),
        softened: softened.filter(|_| effect > most),
        image: judged.image.clone(),
        digest: image.and_then(Fact::known).map(|image| image.digest.clone()),
        found,
    };

    let most = most_effect(policy, rule, judged, now);
    // That its reference is unchanged is what makes a moved tag one, so it softens nothing here.
    let most_if_moved = most_effect(policy, rule, Judged { softened: None, ..judged }, now);
    let mut findings = Vec::new();
    if rule.require_digest == Some(true)
        && judged.age_counts
        && judged.softened.is_none()
        && ImageReference::parse(&judged.image.image).is_ok_and(|reference| reference.digest().is_none())
    {
        findings.push(finding(most, Effect::Deny, Found::NotByDigest));
    }
    if judged.moved
        && let Some(effect) = effect_of(rule.moved_tags.unwrap_or(Action::Warn))
    {
        findings.push(finding(most_if_moved, effect, Found::MovedTag));
    }
    if judged.age_counts
        && let Some(limits) = limits
        && let Some((effect, found)) = age_of(rule, &limits, image, evidence, now)
    {
        findings.push(finding(most, effect, found));
    }
    findings
}

/// What breaking the rule may do at the most to this image, and why less than the policy says.
fn most_effect(
    policy: &CompiledPolicy,
    rule: &ImageAge,
    judged: Judged<'_>,
    now: DateTime<Utc>,
) -> (Effect, Option<Softened>) {
    let full = policy.effect(rule.validation_actions.as_deref());
    let enforced = policy.spec.enforce_from.filter(|day| full == Effect::Deny && now.date_naive() < *day);
    let full_now = if enforced.is_some() { Effect::Warn } else { full };
    let allowed = match judged.softened {
        None => None,
        Some(Softened::Unchanged) => effect_of(rule.unchanged_images.unwrap_or(Action::Warn)).or(Some(Effect::Audit)),
        Some(Softened::UnknownOwner) => effect_of(rule.unknown_owners.unwrap_or(Action::Warn)).or(Some(Effect::Audit)),
        Some(Softened::Rollback | Softened::Injected | Softened::NotYet(_)) => Some(Effect::Warn),
    };
    match (allowed, enforced) {
        (Some(allowed), _) if allowed < full_now => (allowed, judged.softened),
        (_, Some(day)) => (full_now, Some(Softened::NotYet(day))),
        (Some(allowed), None) if allowed < full => (allowed, judged.softened),
        _ => (full_now, None),
    }
}

fn effect_of(action: Action) -> Option<Effect> {
    match action {
        Action::Deny => Some(Effect::Deny),
        Action::Warn => Some(Effect::Warn),
        Action::Allow => None,
    }
}

/// The limits for one image: `None` where they are off.
struct Limits<'a> {
    age: Option<AgeLimit>,
    on_unknown: Option<&'a OnUnknown>,
}

fn limits_for<'a>(rule: &'a ImageAge, used: &ImageUse) -> Option<Limits<'a>> {
    // Most policies have none, and reading a reference costs as much as the rest of the rule.
    let reference = if rule.overrides.is_empty() { None } else { ImageReference::parse(&used.image).ok() };
    let entry = reference.as_ref().and_then(|reference| {
        rule.overrides.iter().find(|entry| entry.images.iter().any(|pattern| pattern.fits(reference)))
    });
    let on_unknown = entry.and_then(|entry| entry.on_unknown.as_ref()).or(rule.on_unknown.as_ref());
    let (max_age, warn_before) = match entry {
        None => (&rule.max_age, rule.warn_before.as_ref()),
        Some(entry) => match &entry.max_age {
            Some(MaxAge::Off) if entry.on_unknown.is_none() => return None,
            Some(MaxAge::Off) => {
                return Some(Limits { age: None, on_unknown });
            }
            Some(MaxAge::Limit(limit)) => (limit, entry.warn_before.as_ref()),
            None => (&rule.max_age, entry.warn_before.as_ref().or(rule.warn_before.as_ref())),
        },
    };
    Some(Limits { age: Some(AgeLimit::new(max_age, warn_before)), on_unknown })
}

/// What the image's age means: nothing, or how grave it is and with which figures.
fn age_of(
    rule: &ImageAge,
    limits: &Limits<'_>,
    image: Option<&Fact<ResolvedImage>>,
    evidence: &Evidence,
    now: DateTime<Utc>,
) -> Option<(Effect, Found)> {
    let image = match image {
        Some(Fact::Known(image)) => image,
        Some(Fact::Unknown(unknown)) => return unknown_of(limits, unknown),
        None => return unknown_of(limits, &not_gathered()),
    };
    let platforms = judged_platforms(rule, image, evidence);
    let several = image.platforms.len() > 1;
    let oldest = platforms
        .iter()
        .filter_map(|platform| {
            let (built, source) = match &platform.built {
                Fact::Known(built) => (built.time, built.source),
                // Without a date it can still be known to be too old.
                Fact::Unknown(_) => (platform.first_seen?, Source::FirstSeen),
            };
            Some((built, source, *platform))
        })
        .min_by_key(|(built, ..)| *built);

    let age_of = |built: DateTime<Utc>| now.signed_duration_since(built).num_seconds();
    let named = |platform: &PlatformImage| platform.platform.clone().filter(|_| several);
    if let (Some(limit), Some((built, source, platform))) = (limits.age, oldest)
        && age_of(built) > limit.max_age_seconds
    {
        let found = Found::TooOld {
            built,
            source,
            age_seconds: age_of(built),
            limit_seconds: limit.max_age_seconds,
            platform: named(platform),
        };
        return Some((Effect::Deny, found));
    }
    for platform in &platforms {
        if let Fact::Unknown(unknown) = &platform.built {
            return unknown_of(limits, unknown);
        }
    }
    let (limit, (built, source, platform)) = (limits.age?, oldest?);
    (age_of(built) > limit.max_age_seconds - limit.warn_before_seconds).then(|| {
        let found = Found::Ageing {
            built,
            source,
            age_seconds: age_of(built),
            limit_seconds: limit.max_age_seconds,
            platform: named(platform),
        };
        (Effect::Warn, found)
    })
}

fn unknown_of(limits: &Limits<'_>, unknown: &Unknown) -> Option<(Effect, Found)> {
    let action = if unknown.reason == UnknownReason::IntegrityFailure {
        Action::Deny // wrong bytes are refused whatever the policy says of unknowns
    } else {
        limits.on_unknown.map_or(Action::Warn, |on_unknown| on_unknown.action(unknown.reason))
    };
    let found = Found::Unknown { reason: unknown.reason, detail: unknown.detail.clone() };
    effect_of(action).map(|effect| (effect, found))
}

/// A record that lacks the image it judges cannot come from the gate; it is unknown, as everything that is missing.
fn not_gathered() -> Unknown {
    Unknown { reason: UnknownReason::Unreachable, detail: "it was not looked up".to_owned() }
}

/// The platforms that the rule judges; all, where it wants none that the image has.
fn judged_platforms<'a>(rule: &ImageAge, image: &'a ResolvedImage, evidence: &Evidence) -> Vec<&'a PlatformImage> {
    let wanted: &[String] = match &rule.platforms {
        None | Some(Platforms::Named(PlatformRule::Nodes)) => &evidence.node_platforms,
        Some(Platforms::Named(PlatformRule::All)) => &[],
        Some(Platforms::List(list)) => list,
    };
    let fits = |platform: &&PlatformImage| {
        wanted.is_empty()
            || platform.platform.as_ref().is_none_or(|have| wanted.iter().any(|want| same_platform(want, have)))
    };
    let judged: Vec<_> = image.platforms.iter().filter(fits).collect();
    if judged.is_empty() { image.platforms.iter().collect() } else { judged }
}

/// Whether two platforms are one; a variant counts only where both name it.
fn same_platform(want: &str, have: &str) -> bool {
    let (mut want, mut have) = (want.split('/'), have.split('/'));
    want.next() == have.next()
        && want.next() == have.next()
        && match (want.next(), have.next()) {
            (Some(want), Some(have)) => want == have,
            _ => true,
        }
}
