//! How a verdict is said: to whoever deploys, at a terminal, in a hurry.
//!
//! A denial names every refused image with what was measured, the limit, where the date comes from, the way out, whom
//! to ask and the decision's id. A warning is one short line. No word of it blames anybody.

mod way_out;

use chrono::NaiveDate;

use self::way_out::ways_out;
use super::{Decision, Effect, Finding, Found, Softened, Verdict};
use crate::evidence::UnknownReason;
use crate::image::build_date::Source;
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
/// Most findings spelled out in one denial: every refused image of what anybody deploys. The API server passes messages
/// on uncut, and an answer has to hold it.
const MOST_DENIALS: usize = 200;
/// Digits of a digest that are shown; the record has them all.
const DIGEST_DIGITS: usize = 12;

/// The message of a denial; `None` where nothing is refused.
pub fn denial(verdict: &Verdict, context: &Context<'_>) -> Option<String> {
    if verdict.decision != Decision::Deny {
        return None;
    }
    let mut denials: Vec<&Finding> = verdict.denials().collect();
    let left_out = denials.len().saturating_sub(MOST_DENIALS);
    denials.truncate(MOST_DENIALS);
    let mut lines: Vec<String> = denials.iter().map(|finding| format!("{}.", sentence(finding))).collect();
    if left_out > 0 {
        // Of a dry run there is no record.
        let found_in = if context.dry_run { "" } else { ", all in the record" };
        lines.push(format!("And {left_out} more{found_in}."));
    }
    lines.extend(ways_out(&denials));
    if let Some(why) = &verdict.history_unknown {
        lines.push(format!(
            "If it goes back to what ran before, try again: what ran is not known now ({}).",
            printable(why)
        ));
    }
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
    };
    format!("{rule}: {said}{softened}")
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

/// A text from outside, on one line and without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut said, c| {
        match c {
            '"' | '\'' | '\\' => said.push(c),
            _ => said.extend(c.escape_debug()),
        }
        said
    })
}

fn softened_in_words(softened: Softened) -> String {
    match softened {
        Softened::Unchanged => ", allowed because it ran here before".to_owned(),
        Softened::Rollback => ", allowed because this goes back to what ran before".to_owned(),
        Softened::Injected => ", allowed because it was added to an object of its controller".to_owned(),
        Softened::UnknownOwner => ", allowed because the object's controller could not be checked".to_owned(),
        Softened::NotYet(day) => format!(", allowed until {}", day_in_words(day)),
    }
}

fn day_in_words(day: NaiveDate) -> String {
    day.format("%Y-%m-%d").to_string()
}

/// The image as written, with the digest that was judged, shortened.
fn image_in_words(finding: &Finding) -> String {
    let written = &finding.image.image;
    let shown: String = written.split('@').next().unwrap_or(written).chars().take(256).collect();
    let shown = printable(&shown);
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
    };
    let softened = match finding.softened {
        Some(Softened::NotYet(day)) => format!("; refused from {}", day_in_words(day)),
        Some(Softened::Unchanged) => "; it ran before, so it passes".to_owned(),
        Some(Softened::Rollback) => "; a rollback passes".to_owned(),
        Some(Softened::Injected | Softened::UnknownOwner) | None => String::new(),
    };
    let tail = tail + &softened;
    let policy = format!(" (policy {:?})", finding.policy);
    let prefix = "freshgate: ";
    let room = LONGEST_WARNING.saturating_sub(prefix.len() + 1 + tail.chars().count());
    let name = printable(last_component(&finding.image.image));
    if name.chars().count() + policy.chars().count() <= room {
        format!("{prefix}{name} {tail}{policy}")
    } else {
        format!("{prefix}{} {tail}", shortened(&name, room))
    }
}

/// `checkout:1.2` of `registry.example/shop/checkout:1.2@sha256:…`.
fn last_component(written: &str) -> &str {
    let name = written.split('@').next().unwrap_or(written);
    name.rsplit('/').next().unwrap_or(name)
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
