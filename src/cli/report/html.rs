//! A report as one file for a browser: no script, nothing from elsewhere, light and dark, as readable on a phone.
//!
//! maud escapes every text that comes from outside; what is put in as it is are the constants of this file.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::grouped::{
    Group, View, age_in_words, excepted_in_words, leads_nowhere, libyears_in_words, step_in_words, target_age_in_words,
};
use super::table::harmless;
use crate::dependency::finding::{Finding, WorkloadReport, short};

const STYLE: &str = include_str!("report.css");
/// Nothing may run or be fetched, whatever a name says.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const ROW_HEIGHT: usize = 28;
const LABEL_WIDTH: usize = 110;
const LONGEST_BAR: usize = 170;
/// Narrow, so that its letters are no smaller than others on the narrowest phone.
const PICTURE_WIDTH: usize = 330;

/// The whole report as a page.
pub fn render(view: &View<'_>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_POLICY);
                title { "Freshgate: " (view.summary.in_words()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "What ages, and the next small step" }
                    p { (view.summary.in_words()) }
                    @if let Some(trend) = view.trend { p { (trend.in_words()) } }
                    p.quiet { "As of " (view.report.generated_at.format("%Y-%m-%d %H:%M")) " UTC" }
                }
                main {
                    section { h2 { "Ages of images" } (picture(&view.ages())) }
                    @for group in view.groups() { (section(view, &group)) }
                    @if !view.report.not_looked_up.is_empty() {
                        details {
                            summary { "Not looked up: " (view.report.not_looked_up.len()) }
                            ul { @for one in &view.report.not_looked_up {
                                li { (harmless(&one.what)) ": " (harmless(&one.why)) }
                            } }
                        }
                    }
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn section(view: &View<'_>, group: &Group<'_>) -> Markup {
    html! {
        section {
            h2 { (harmless(&group.name)) }
            @for workload in &group.workloads { (card(view, workload)) }
        }
    }
}

fn card(view: &View<'_>, workload: &WorkloadReport) -> Markup {
    let days = workload.refused_on.map(|day| (day - view.today()).num_days());
    let urgency = match days {
        Some(..=0) => "now",
        Some(..=7) => "soon",
        Some(_) => "later",
        None => "never",
    };
    html! {
        article class=(urgency) {
            h3 { (harmless(&workload.in_words())) }
            p.refused { (view.refused_in_words(workload.refused_on)) }
            ul.images { @for image in &workload.images {
                li {
                    code { (harmless(&short(&image.image))) } " " (age_in_words(image)) (harmless(&excepted_in_words(image)))
                    @if let Some(words) = libyears_in_words(image) { ", " (harmless(&words)) }
                    @if let Some(refusal) = image.refusals.first() {
                        ", " (view.refused_in_words(Some(refusal.on))) " by policy " (harmless(&refusal.policy))
                    }
                }
            } }
            @if !workload.findings.is_empty() {
                ol { @for finding in &workload.findings { (step(view, finding)) } }
            }
            @if workload.more_findings > 0 { p.quiet { "and " (workload.more_findings) " more" } }
        }
    }
}

fn step(view: &View<'_>, finding: &Finding) -> Markup {
    html! {
        li {
            strong { (harmless(&step_in_words(finding))) } ", " (target_age_in_words(finding))
            @if let Some(why) = leads_nowhere(finding, view.today()) { " (" (why) ")" }
            p { (harmless(&finding.why)) }
            pre { code { (harmless(&finding.how)) } }
        }
    }
}

/// How many images are of which age, as bars.
fn picture(ages: &[(&'static str, usize)]) -> Markup {
    let most = ages.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
    let height = ages.len() * ROW_HEIGHT;
    let words: Vec<String> = ages.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    html! {
        svg viewBox={ "0 0 " (PICTURE_WIDTH) " " (height) } role="img" aria-label={ "Images by age. " (words.join("; ")) } {
            @for (row, (name, count)) in ages.iter().enumerate() {
                @let width = count * LONGEST_BAR / most;
                text x=(LABEL_WIDTH - 8) y=(row * ROW_HEIGHT + 18) text-anchor="end" { (name) }
                rect x=(LABEL_WIDTH) y=(row * ROW_HEIGHT + 4) width=(width) height=(ROW_HEIGHT - 8) rx="3" {}
                text x=(LABEL_WIDTH + width + 8) y=(row * ROW_HEIGHT + 18) { (count) }
            }
        }
    }
}
