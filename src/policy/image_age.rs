//! The rule `imageAge`: how long ago an image was built, and what that means for one change.

mod limits;

use chrono::{DateTime, TimeDelta, Utc};

use self::limits::Limits;
use super::api::{Action, ImageAge, PlatformRule, Platforms};
use super::compile::CompiledPolicy;
use crate::evidence::{Evidence, Fact, PlatformImage, ResolvedImage, Unknown, UnknownReason};
use crate::image::build_date::Source;
use crate::image::reference::ImageReference;
use crate::subject::ImageUse;
use crate::subject::change::Change;
use crate::verdict::{About, Effect, Finding, Found, ImageFinding, Rule, Softened};

/// An image to judge, and how much a finding about it may do at the most.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The image, in its place.
    pub image: &'a ImageUse,
    /// The change it is part of.
    pub change: Change,
    /// Why less than the rule says may be done, where it is so.
    pub softened: Option<Softened>,
    /// Whether the object has a controller of which nothing could be learnt; that softens too.
    pub unknown_owner: bool,
    /// Whether the policy is for it for certain.
    pub certain: bool,
    /// Whether its tag means another digest than what was admitted here.
    pub moved: bool,
}

impl Judged<'_> {
    /// In a restart only the tag counts.
    fn age_counts(&self) -> bool {
        self.change != Change::Restart
    }
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
    let finding = |(most, softened): (Effect, Option<Softened>), effect: Effect, found: Found| Finding {
        policy: policy.name.clone(),
        rule: Rule::ImageAge,
        effect: effect.min(most),
        softened: softened.filter(|_| effect > most),
        exception: None,
        about: About::Image(ImageFinding {
            image: judged.image.clone(),
            digest: image.and_then(Fact::known).map(|image| image.digest.clone()),
            found,
        }),
    };

    let most = most_effect(policy, rule, judged, now);
    let mut findings = Vec::new();
    if rule.require_digest == Some(true)
        && judged.age_counts()
        && judged.softened.is_none()
        && ImageReference::parse(&judged.image.image).is_ok_and(|reference| reference.digest().is_none())
    {
        findings.push(finding(most, Effect::Deny, Found::NotByDigest));
    }
    if judged.moved
        && let Some(effect) = effect_of(rule.moved_tags.unwrap_or(Action::Warn))
    {
        // That its reference is unchanged is what makes a moved tag one, so it softens nothing here.
        let most_if_moved = most_effect(policy, rule, Judged { softened: None, ..judged }, now);
        findings.push(finding(most_if_moved, effect, Found::MovedTag));
    }
    if judged.age_counts() {
        let limits = Limits::of(rule, &judged.image.image);
        let refuses_at = |then| most_effect(policy, rule, judged, then).0 == Effect::Deny;
        if let Some((effect, found)) = age_of(rule, &limits, image, evidence, now, refuses_at) {
            findings.push(finding(most, effect, found));
        }
    }
    findings
}

/// The longest age, in seconds, that the rule grants the image which a reference names; `None` where any age is granted.
pub fn limit_seconds(rule: &ImageAge, reference: &str) -> Option<i64> {
    Limits::of(rule, reference).age.map(|limit| limit.max_age_seconds)
}

/// What breaking the rule may do at the most to this image, and why less than the policy says.
fn most_effect(
    policy: &CompiledPolicy,
    rule: &ImageAge,
    judged: Judged<'_>,
    now: DateTime<Utc>,
) -> (Effect, Option<Softened>) {
    let full = policy.effect(rule.validation_actions.as_deref());
    let (full_now, enforced_from) = policy.effect_at(rule.validation_actions.as_deref(), now);
    let unknown_owner = judged.unknown_owner.then_some(Softened::UnknownOwner);
    let uncertain = (!judged.certain).then_some(Softened::NamespaceUnknown);
    let softest = [judged.softened, unknown_owner, uncertain]
        .into_iter()
        .flatten()
        .map(|softened| (most_if(softened, rule, judged.change), softened))
        .min_by_key(|(most, _)| *most);
    match (softest, enforced_from) {
        // What softens lasts longer than the day, so it is what is said.
        (Some((most, softened)), _) if most < full => (most.min(full_now), Some(softened)),
        (_, Some(day)) => (full_now, Some(Softened::NotYet(day))),
        _ => (full_now, None),
    }
}

/// What may be done at the most to what is softened so.
fn most_if(softened: Softened, rule: &ImageAge, change: Change) -> Effect {
    let set = |action: Option<Action>| effect_of(action.unwrap_or(Action::Warn)).unwrap_or(Effect::Audit);
    match softened {
        // Beside a new image they may be refused; alone they are what runs, and its configuration must stay free.
        Softened::Unchanged if change == Change::NewImage => set(rule.unchanged_images),
        Softened::Unchanged => set(rule.unchanged_images).min(Effect::Warn),
        Softened::UnknownOwner => set(rule.unknown_owners),
        Softened::Rollback
        | Softened::Promotion
        | Softened::Injected
        | Softened::Exception
        | Softened::NamespaceUnknown
        | Softened::NotYet(_) => Effect::Warn,
    }
}

fn effect_of(action: Action) -> Option<Effect> {
    match action {
        Action::Deny => Some(Effect::Deny),
        Action::Warn => Some(Effect::Warn),
        Action::Allow => None,
    }
}

/// What the image's age means: nothing, or how grave it is and with which figures.
fn age_of(
    rule: &ImageAge,
    limits: &Limits<'_>,
    image: Option<&Fact<ResolvedImage>>,
    evidence: &Evidence,
    now: DateTime<Utc>,
    refuses_at: impl Fn(DateTime<Utc>) -> bool,
) -> Option<(Effect, Found)> {
    let image = match image {
        Some(Fact::Known(image)) => image,
        Some(Fact::Unknown(unknown)) => return unknown_of(limits, unknown),
        None => return unknown_of(limits, &missing(UnknownReason::Unreachable, "it was not looked up")),
    };
    let platforms = judged_platforms(rule, image, evidence);
    let Some(oldest) = platforms.iter().filter_map(|platform| Dated::of(platform)).min_by_key(|dated| dated.built)
    else {
        return gravest_unknown(limits, &platforms);
    };
    let several = image.platforms.len() > 1;
    let platform = oldest.platform.platform.clone().filter(|_| several);
    let Dated { built, source, .. } = oldest;
    let age_seconds = now.signed_duration_since(built).num_seconds();
    let past_limit = limits.age.filter(|limit| age_seconds > limit.max_age_seconds);
    if let Some(limit) = past_limit {
        let limit_seconds = limit.max_age_seconds;
        return Some((Effect::Deny, Found::TooOld { built, source, age_seconds, limit_seconds, platform }));
    }
    gravest_unknown(limits, &platforms).or_else(|| {
        let limit = limits.age?;
        let limit_seconds = limit.max_age_seconds;
        (age_seconds > limit_seconds - limit.warn_before_seconds).then(|| {
            let refused = built.checked_add_signed(TimeDelta::seconds(limit_seconds)).is_some_and(refuses_at);
            (Effect::Warn, Found::Ageing { built, source, age_seconds, limit_seconds, refused, platform })
        })
    })
}

/// A platform's image with the time it was built at the latest.
struct Dated<'a> {
    platform: &'a PlatformImage,
    built: DateTime<Utc>,
    source: Source,
}

impl<'a> Dated<'a> {
    /// The earlier of its date and of when it was first seen; without a date it can still be known to be too old.
    fn of(platform: &'a PlatformImage) -> Option<Self> {
        let built = platform.built.known().map(|built| (built.time, built.source));
        let seen = platform.first_seen.map(|seen| (seen, Source::FirstSeen));
        let (built, source) = built.into_iter().chain(seen).min_by_key(|(time, _)| *time)?;
        Some(Self { platform, built, source })
    }
}

/// What the unknowns among the platforms mean: the gravest of them, the first where several are alike.
fn gravest_unknown(limits: &Limits<'_>, platforms: &[&PlatformImage]) -> Option<(Effect, Found)> {
    if platforms.is_empty() {
        return unknown_of(limits, &missing(UnknownReason::NoDate, "it has no runnable platform"));
    }
    platforms
        .iter()
        .filter_map(|platform| match &platform.built {
            Fact::Known(_) => None,
            Fact::Unknown(unknown) => unknown_of(limits, unknown),
        })
        .rev()
        .max_by_key(|(effect, found)| (*effect, is_wrong_bytes(found)))
}

fn is_wrong_bytes(found: &Found) -> bool {
    matches!(found, Found::Unknown { reason: UnknownReason::IntegrityFailure, .. })
}

fn unknown_of(limits: &Limits<'_>, unknown: &Unknown) -> Option<(Effect, Found)> {
    let found = Found::Unknown { reason: unknown.reason, detail: unknown.detail.clone() };
    effect_of(limits.on_unknown(unknown.reason)).map(|effect| (effect, found))
}

/// What evidence lacks is unknown, as everything that is missing; never fresh.
fn missing(reason: UnknownReason, detail: &str) -> Unknown {
    Unknown { reason, detail: detail.to_owned() }
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
