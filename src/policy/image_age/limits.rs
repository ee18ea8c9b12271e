//! The limits of one rule for one image: its first fitting override, and what that one leaves to the rule.

use crate::evidence::UnknownReason;
use crate::image::reference::ImageReference;
use crate::policy::api::{Action, ImageAge, ImageAgeOverride, MaxAge, OnUnknown};
use crate::policy::duration::PolicyDuration;

/// How long before a limit the warning begins, where the policy says nothing.
const DEFAULT_WARN_BEFORE_SECONDS: i64 = 14 * 86_400;

/// What one image is held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// How old it may be; `None` where it may be of any age.
    pub age: Option<AgeLimit>,
    on_unknown: Option<&'a OnUnknown>,
}

/// How old an image may be, and from when on that is said to come near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeLimit {
    /// The longest age.
    pub max_age_seconds: i64,
    /// How long before it the warning begins.
    pub warn_before_seconds: i64,
}

impl<'a> Limits<'a> {
    /// The limits for the image that a reference names.
    pub fn of(rule: &'a ImageAge, reference: &str) -> Self {
        // Most policies have no overrides, and reading a reference costs as much as the rest of the rule.
        let image = if rule.overrides.is_empty() { None } else { ImageReference::parse(reference).ok() };
        let entry = image.and_then(|image| first_that_fits(rule, &image));
        let on_unknown = entry.and_then(|entry| entry.on_unknown.as_ref());
        let own_warning = entry.and_then(|entry| entry.warn_before.as_ref());
        let of_rule = rule.warn_before.as_ref();
        let age = match entry.and_then(|entry| entry.max_age.as_ref()) {
            // Where no age is too old, no date is missed, unless the entry asks for one itself.
            Some(MaxAge::Off) => return Self { age: None, on_unknown },
            Some(MaxAge::Limit(limit)) => AgeLimit::new(limit, own_warning, of_rule),
            None => AgeLimit::new(&rule.max_age, own_warning.or(of_rule), None),
        };
        Self { age: Some(age), on_unknown: on_unknown.or(rule.on_unknown.as_ref()) }
    }

    /// What it means that the image's date is unknown.
    pub fn on_unknown(&self, reason: UnknownReason) -> Action {
        match (reason, self.on_unknown) {
            // Wrong bytes are refused whatever the policy says of unknowns.
            (UnknownReason::IntegrityFailure, _) => Action::Deny,
            (_, Some(on_unknown)) => on_unknown.action(reason),
            (_, None) if self.age.is_none() => Action::Allow,
            (_, None) => Action::Warn,
        }
    }
}

impl AgeLimit {
    /// The limit with the warning written for it; else another limit's, or 14 days, neither for more than half of it.
    fn new(max_age: &PolicyDuration, own: Option<&PolicyDuration>, of_another: Option<&PolicyDuration>) -> Self {
        let max_age_seconds = max_age.seconds();
        let warn_before_seconds = match own {
            Some(own) => own.seconds(),
            None => of_another.map_or(DEFAULT_WARN_BEFORE_SECONDS, PolicyDuration::seconds).min(max_age_seconds / 2),
        };
        Self { max_age_seconds, warn_before_seconds }
    }
}

fn first_that_fits<'a>(rule: &'a ImageAge, image: &ImageReference) -> Option<&'a ImageAgeOverride> {
    rule.overrides.iter().find(|entry| entry.images.iter().any(|pattern| pattern.fits(image)))
}
