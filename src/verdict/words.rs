//! How a verdict is said: to whoever deploys, at a terminal, in a hurry.
//!
//! A denial names every refused image with what was measured, the limit, where the date comes from, the way out, whom
//! to ask and the decision's id. A warning is one short line. No word of it blames anybody.

mod budget;
mod image;
mod way_out;

use chrono::NaiveDate;

use self::way_out::ways_out;
use super::{About, Decision, Effect, Finding, Softened, Verdict};
use crate::subject::Subject;
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
    /// The workload, for the words of an exception that could be asked for.
    pub subject: Option<&'a Subject>,
}

/// Most warnings in one answer.
pub const MOST_WARNINGS: usize = 3;
/// Longest warning, in characters.
const LONGEST_WARNING: usize = 120;
/// Most findings spelled out in one denial: every refused image of what anybody deploys. The API server passes messages
/// on uncut, and an answer has to hold it.
const MOST_DENIALS: usize = 200;

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
    lines.extend(ways_out(&denials, context.subject));
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
    let said = match &finding.about {
        About::Image(about) => image::said(finding, about),
        About::Budget(about) => budget::said(finding, about),
    };
    format!("{}: {said}{}", finding.rule.in_words(), softened_in_words(finding))
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

fn softened_in_words(finding: &Finding) -> String {
    let Some(softened) = finding.softened else {
        return String::new();
    };
    match softened {
        Softened::Unchanged => ", allowed because it ran here before".to_owned(),
        Softened::Rollback => ", allowed because this goes back to what ran before".to_owned(),
        Softened::Promotion => ", allowed because it runs already in another workload of the service".to_owned(),
        Softened::Injected => ", allowed because it was added to an object of its controller".to_owned(),
        Softened::UnknownOwner => ", allowed because the object's controller could not be checked".to_owned(),
        Softened::NamespaceUnknown => {
            ", allowed because it could not be told whether the policy is for this namespace".to_owned()
        }
        Softened::Exception => {
            format!(", allowed by the exception {:?}", finding.exception.as_deref().unwrap_or_default())
        }
        Softened::NotYet(day) => format!(", allowed until {}", day_in_words(day)),
    }
}

fn day_in_words(day: NaiveDate) -> String {
    day.format("%Y-%m-%d").to_string()
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
    let (name, tail) = match &finding.about {
        About::Image(about) => (printable(image::last_component(&about.image.image)), image::briefly(about, change)),
        About::Budget(about) => (budget::name(about), budget::briefly(about)),
    };
    let softened = match finding.softened {
        Some(Softened::NotYet(day)) => format!("; refused from {}", day_in_words(day)),
        Some(Softened::Unchanged) => "; it ran before, so it passes".to_owned(),
        Some(Softened::Rollback) => "; a rollback passes".to_owned(),
        Some(Softened::Promotion) => "; it runs elsewhere, so it passes".to_owned(),
        Some(Softened::Exception) => "; an exception lets it pass".to_owned(),
        Some(Softened::Injected | Softened::UnknownOwner | Softened::NamespaceUnknown) | None => String::new(),
    };
    let tail = tail + &softened;
    let policy = format!(" (policy {:?})", finding.policy);
    let prefix = "freshgate: ";
    let room = LONGEST_WARNING.saturating_sub(prefix.len() + 1 + tail.chars().count());
    if name.chars().count() + policy.chars().count() <= room {
        format!("{prefix}{name} {tail}{policy}")
    } else {
        shortened(&format!("{prefix}{} {tail}", shortened(&name, room)), LONGEST_WARNING)
    }
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
