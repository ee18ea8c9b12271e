//! How a finding about an image is said.

use super::printable;
use crate::evidence::UnknownReason;
use crate::image::build_date::Source;
use crate::policy::duration::{in_words, left_in_words};
use crate::subject::change::Change;
use crate::verdict::{Finding, Found, ImageFinding};

/// Digits of a digest that are shown; the record has them all.
const DIGEST_DIGITS: usize = 12;

/// What was found of an image, as a part of a sentence.
pub fn said(finding: &Finding, about: &ImageFinding) -> String {
    let image = format!("image {} ({} {:?})", image_in_words(about), about.image.place.in_words(), about.image.name);
    let policy = &finding.policy;
    match &about.found {
        Found::TooOld { built, source, age_seconds, limit_seconds, platform } => format!(
            "{image} {}, on {} ({}); the limit here is {} (policy {policy:?})",
            past_limit(*source, *age_seconds, *limit_seconds),
            built.format("%Y-%m-%d"),
            source_in_words(*source, platform.as_deref()),
            in_words(*limit_seconds),
        ),
        Found::Ageing { built, source, age_seconds, limit_seconds, refused, platform } => format!(
            "{image} was {} {} ago, on {} ({}); it will be {} in {}, at {} (policy {policy:?})",
            verb(*source),
            in_words(*age_seconds),
            built.format("%Y-%m-%d"),
            source_in_words(*source, platform.as_deref()),
            fate(*refused),
            left_in_words(limit_seconds - age_seconds),
            in_words(*limit_seconds),
        ),
        Found::Unknown { reason: UnknownReason::IntegrityFailure, detail } => {
            format!("{image} is not what its digest says: {} (policy {policy:?})", printable(detail))
        }
        Found::Unknown { reason, detail } => {
            format!("{image} has no known build date ({}): {} (policy {policy:?})", reason.as_str(), printable(detail))
        }
        Found::MovedTag => format!(
            "{image} is another image than the one this tag named when it was last admitted here (policy {policy:?})"
        ),
        Found::NotByDigest => {
            format!("{image} is named by tag; here images are named by digest (policy {policy:?})")
        }
    }
}

fn verb(source: Source) -> &'static str {
    if source == Source::FirstSeen { "already here" } else { "built" }
}

/// `was built 112 days ago`; what is past its limit by less than the words can tell is said to be so.
fn past_limit(source: Source, age_seconds: i64, limit_seconds: i64) -> String {
    let (age, limit) = (in_words(age_seconds), in_words(limit_seconds));
    let just_over = if age == limit { "just over " } else { "" };
    format!("was {} {just_over}{age} ago", verb(source))
}

/// What becomes of an image when it reaches the limit.
fn fate(refused: bool) -> &'static str {
    if refused { "refused" } else { "too old" }
}

fn source_in_words(source: Source, platform: Option<&str>) -> String {
    let source = if source == Source::FirstSeen { "first seen by this gate" } else { source.in_words() };
    platform.map_or_else(|| source.to_owned(), |platform| format!("{source}, {platform}"))
}

/// What was found, as a part of a warning.
pub fn briefly(about: &ImageFinding, change: Change) -> String {
    match &about.found {
        Found::TooOld { age_seconds, limit_seconds, source, .. } => {
            format!("{}, limit {}", past_limit(*source, *age_seconds, *limit_seconds), in_words(*limit_seconds))
        }
        Found::Ageing { age_seconds, limit_seconds, source, refused, .. } => format!(
            "was {} {} ago and will be {} in {}",
            verb(*source),
            in_words(*age_seconds),
            fate(*refused),
            left_in_words(limit_seconds - age_seconds)
        ),
        Found::Unknown { reason: UnknownReason::IntegrityFailure, .. } => "is not what its digest says".to_owned(),
        Found::Unknown { reason, .. } => format!("has no known build date ({})", reason.as_str()),
        Found::MovedTag => {
            format!("is another image than this tag named before this {}", change.as_str().to_lowercase())
        }
        Found::NotByDigest => "is named by tag, here images are named by digest".to_owned(),
    }
}

/// The image as written, with the digest that was judged, shortened.
fn image_in_words(about: &ImageFinding) -> String {
    let written = &about.image.image;
    let shown: String = written.split('@').next().unwrap_or(written).chars().take(256).collect();
    let shown = printable(&shown);
    match about.digest.as_deref().or_else(|| written.split_once('@').map(|(_, digest)| digest)) {
        Some(digest) => format!("{shown}@{}", short_digest(digest)),
        None => shown,
    }
}

fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) if hex.len() > DIGEST_DIGITS && hex.is_ascii() => {
            format!("{algorithm}:{}…", &hex[..DIGEST_DIGITS])
        }
        _ => digest.to_owned(),
    }
}

/// `checkout:1.2` of `registry.example/shop/checkout:1.2@sha256:…`.
pub fn last_component(written: &str) -> &str {
    let name = written.split('@').next().unwrap_or(written);
    name.rsplit('/').next().unwrap_or(name)
}
