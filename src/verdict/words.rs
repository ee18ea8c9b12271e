//! How a verdict is said: to whoever deploys, at a terminal, in a hurry.
//!
//! A denial names every refused image with what was measured, the limit, where the date comes from, the way out, whom
//! to ask and the decision's id. A warning is one short line. No word of it blames anybody.

use chrono::NaiveDate;

use super::{Decision, Effect, Finding, Found, Softened, Verdict};
use crate::evidence::UnknownReason;
use crate::image::build_date::Source;
use crate::image::reference::ImageReference;
use crate::policy::duration::{in_words, left_in_words};
use crate::subject::change::Change;

/// What a message needs beside the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The id that the decision can be found again by.
    pub decision_id: &'a str,
    /// Nothing is recorded of a dry run, so there is nothing to find again.
    pub dry_run: bool,
    /// Where decisions can be read, without a slash at the end.
    pub public_url: Option<&'a str>,
    /// Whom to ask, in words; else the policies' owners are named.
    pub contact: Option<&'a str>,
}

/// Most warnings in one answer.
const MOST_WARNINGS: usize = 3;
/// Longest warning, in characters.
const LONGEST_WARNING: usize = 120;
/// Most findings spelled out in one denial; the API server passes messages on uncut, people do not read walls.
const MOST_DENIALS: usize = 20;
/// Digits of a digest that are shown; the record has them all.
const DIGEST_DIGITS: usize = 12;

/// The message of a denial; `None` where nothing is refused.
pub fn denial(verdict: &Verdict, context: &Context<'_>) -> Option<String> {
    if verdict.decision != Decision::Deny {
        return None;
    }
    let denials: Vec<&Finding> = verdict.denials().collect();
    let mut lines: Vec<String> =
        denials.iter().take(MOST_DENIALS).map(|finding| format!("{}.", sentence(finding))).collect();
    if denials.len() > MOST_DENIALS {
        lines.push(format!("And {} more, all in the record.", denials.len() - MOST_DENIALS));
    }
    let mut ways_out: Vec<String> = Vec::new();
    for way_out in denials.iter().map(|finding| way_out(finding)) {
        if !ways_out.contains(&way_out) {
            ways_out.push(way_out);
        }
    }
    lines.extend(ways_out);
    lines.push(last_line(&denials, context));
    Some(lines.join("\n"))
}

fn last_line(denials: &[&Finding], context: &Context<'_>) -> String {
    let contact = match context.contact {
        Some(contact) => contact.to_owned(),
        None => {
            let mut policies: Vec<&str> = denials.iter().map(|finding| finding.policy.as_str()).collect();
            policies.dedup();
            let named: Vec<String> = policies.iter().map(|name| format!("{name:?}")).collect();
            let noun = if named.len() == 1 { "policy" } else { "policies" };
            format!("whoever owns {noun} {}", named.join(", "))
        }
    };
    match (context.dry_run, context.public_url) {
        (true, _) => format!("dry run, not recorded · ask {contact}"),
        (false, Some(url)) => {
            format!("decision {id} · {url}/decisions/{id} · ask {contact}", id = context.decision_id)
        }
        (false, None) => format!("decision {} · ask {contact}", context.decision_id),
    }
}

/// One finding as a sentence, without its full stop: what records and reports show too.
pub fn sentence(finding: &Finding) -> String {
    let image =
        format!("image {} ({} {:?})", image_in_words(finding), finding.image.place.in_words(), finding.image.name);
    let (rule, policy) = (finding.rule.in_words(), &finding.policy);
    let softened = finding.softened.map(softened_in_words).unwrap_or_default();
    let said = match &finding.found {
        Found::TooOld { built, source, age_seconds, limit_seconds, platform } => format!(
            "{image} was {} {} ago, on {} ({}{}); the limit here is {} (policy {policy:?})",
            verb(*source),
            in_words(*age_seconds),
            built.format("%Y-%m-%d"),
            source_in_words(*source),
            platform_in_words(platform.as_deref()),
            in_words(*limit_seconds),
        ),
        Found::Ageing { built, source, age_seconds, limit_seconds, platform } => format!(
            "{image} was built {} ago, on {} ({}{}); it will be refused in {}, at {} (policy {policy:?})",
            in_words(*age_seconds),
            built.format("%Y-%m-%d"),
            source_in_words(*source),
            platform_in_words(platform.as_deref()),
            left_in_words(limit_seconds - age_seconds),
            in_words(*limit_seconds),
        ),
        Found::Unknown { reason: UnknownReason::IntegrityFailure, detail } => {
            format!("{image} is not what its digest says: {detail} (policy {policy:?})")
        }
        Found::Unknown { reason, detail } => {
            format!("{image} has no known build date ({}): {detail} (policy {policy:?})", reason.as_str())
        }
        Found::MovedTag => format!(
            "{image} is another image than the one this tag named when it was last admitted here (policy {policy:?})"
        ),
        Found::NotByDigest => {
            format!("{image} is named by tag; here images are named by digest (policy {policy:?})")
        }
    };
    format!("{rule}: {said}{softened}")
}

fn verb(source: Source) -> &'static str {
    if source == Source::FirstSeen { "already here" } else { "built" }
}

fn source_in_words(source: Source) -> &'static str {
    if source == Source::FirstSeen { "first seen by this gate" } else { source.in_words() }
}

fn platform_in_words(platform: Option<&str>) -> String {
    platform.map(|platform| format!(", {platform}")).unwrap_or_default()
}

fn softened_in_words(softened: Softened) -> String {
    match softened {
        Softened::Unchanged => ", allowed because it ran here before".to_owned(),
        Softened::Rollback => ", allowed because this goes back to what ran before".to_owned(),
        Softened::Injected => ", allowed because it was added to an object of its controller".to_owned(),
        Softened::UnknownOwner => ", allowed because the object's controller is of an unknown kind".to_owned(),
        Softened::NotYet(day) => format!(", allowed until {}", day_in_words(day)),
    }
}

fn day_in_words(day: NaiveDate) -> String {
    day.format("%Y-%m-%d").to_string()
}

/// What its reader can do now; it fits the case.
fn way_out(finding: &Finding) -> String {
    match &finding.found {
        Found::TooOld { source: Source::FirstSeen, .. } => {
            "It has no date of its own, and a reproducible rebuild keeps its digest: update what it is built from, deploy the new digest, and let the build write its date (SOURCE_DATE_EPOCH).".to_owned()
        }
        Found::TooOld { .. } | Found::Ageing { .. } if is_of_docker_official(finding) => {
            "Deploy a newer tag of it; a rollback to a version that ran before is allowed.".to_owned()
        }
        Found::TooOld { .. } | Found::Ageing { .. } => {
            "Rebuild it and deploy the new digest; a rollback to a version that ran before is allowed.".to_owned()
        }
        Found::MovedTag => {
            "Deploy the digest that ran here before, or change the tag in the template so that the new image is judged as one.".to_owned()
        }
        Found::NotByDigest => match &finding.digest {
            Some(digest) => format!("Name it by digest: {}.", pinned(&finding.image.image, digest)),
            None => "Name it by digest: repository@sha256:….".to_owned(),
        },
        Found::Unknown { reason, .. } => match reason {
            UnknownReason::NoDate => "Give it its build date: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) with ko or BuildKit, jib.container.creationTime=USE_CURRENT_TIMESTAMP, pack build --creation-time now, or the annotation org.opencontainers.image.created; then deploy the new digest.".to_owned(),
            UnknownReason::Unreachable => "Try again when the registry answers; a version that ran here before is allowed meanwhile.".to_owned(),
            UnknownReason::Unauthorized => "Give the gate credentials for this registry (imagePullSecrets of the workload, or its own docker config).".to_owned(),
            UnknownReason::NotFound => "Push the image first, or correct its name.".to_owned(),
            UnknownReason::NotAllowed => "Use an image of a registry that is allowed here, or ask for this one to be added.".to_owned(),
            UnknownReason::RateLimited => "Try again in a few minutes: the registry limits how often it may be asked.".to_owned(),
            UnknownReason::InvalidReference => "Correct the image's name: [registry/]repository[:tag][@sha256:…].".to_owned(),
            UnknownReason::IntegrityFailure => "Have the registry looked at before anything is pulled from it: rebuilding does not help.".to_owned(),
        },
    }
}

fn is_of_docker_official(finding: &Finding) -> bool {
    ImageReference::parse(&finding.image.image).is_ok_and(|image| image.name().starts_with("docker.io/library/"))
}

fn pinned(written: &str, digest: &str) -> String {
    ImageReference::parse(written).map_or_else(|_| digest.to_owned(), |image| image.pinned(digest))
}

/// The image as written, with the digest that was judged, shortened.
fn image_in_words(finding: &Finding) -> String {
    let written = &finding.image.image;
    let shown: String = written.split('@').next().unwrap_or(written).chars().take(256).collect();
    match finding.digest.as_deref().or_else(|| written.split_once('@').map(|(_, digest)| digest)) {
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

/// The warnings of an answer: at most three, each at most 120 characters.
pub fn warnings(verdict: &Verdict, context: &Context<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for finding in verdict.findings.iter().filter(|finding| finding.effect == Effect::Warn) {
        let warning = warning(finding, verdict.change);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    if warnings.len() > MOST_WARNINGS {
        let left_out = warnings.len() - (MOST_WARNINGS - 1);
        warnings.truncate(MOST_WARNINGS - 1);
        warnings.push(if context.dry_run {
            format!("freshgate: {left_out} more warnings")
        } else {
            format!("freshgate: {left_out} more warnings, see decision {}", context.decision_id)
        });
    }
    warnings
}

/// One finding as a line of at most 120 characters: the figures stay, names are shortened.
fn warning(finding: &Finding, change: Change) -> String {
    let tail = match &finding.found {
        Found::TooOld { age_seconds, limit_seconds, source, .. } => {
            let measured =
                format!("was {} {} ago, limit {}", verb(*source), in_words(*age_seconds), in_words(*limit_seconds));
            match finding.softened {
                Some(Softened::NotYet(day)) => {
                    format!("{measured}; refused from {}", day_in_words(day))
                }
                Some(Softened::Unchanged) => format!("{measured}; it ran before, so it passes"),
                Some(Softened::Rollback) => format!("{measured}; a rollback passes"),
                _ => measured,
            }
        }
        Found::Ageing { age_seconds, limit_seconds, .. } => format!(
            "was built {} ago and will be refused in {}",
            in_words(*age_seconds),
            left_in_words(limit_seconds - age_seconds)
        ),
        Found::Unknown { reason: UnknownReason::IntegrityFailure, .. } => "is not what its digest says".to_owned(),
        Found::Unknown { reason, .. } => format!("has no known build date ({})", reason.as_str()),
        Found::MovedTag => {
            format!("is another image than this tag named before this {}", change.as_str().to_lowercase())
        }
        Found::NotByDigest => "is named by tag, here images are named by digest".to_owned(),
    };
    let policy = format!(" (policy {:?})", finding.policy);
    let prefix = "freshgate: ";
    let room = LONGEST_WARNING.saturating_sub(prefix.len() + 1 + tail.chars().count());
    let name = last_component(&finding.image.image);
    if name.chars().count() + policy.chars().count() <= room {
        format!("{prefix}{name} {tail}{policy}")
    } else {
        format!("{prefix}{} {tail}", shortened(&name, room))
    }
}

/// `checkout:1.2` of `registry.example/shop/checkout:1.2@sha256:…`.
fn last_component(written: &str) -> String {
    let name = written.split('@').next().unwrap_or(written);
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        let kept: String = text.chars().take(most.saturating_sub(1)).collect();
        format!("{kept}…")
    }
}

#[cfg(test)]
mod tests;
