//! A report as a comment on a pull request: short, and nothing in it can be markup of somebody else's.

use std::fmt::Write as _;

use super::grouped::{
    View, age_in_words, counted, excepted_in_words, leads_nowhere, libyears_in_words, step_in_words,
    target_age_in_words,
};
use crate::dependency::finding::{WorkloadReport, short};

/// Workloads and missing look-ups that are named: comments are at most 65,536 characters long.
const MOST_WORKLOADS: usize = 60;
const MOST_NOT_LOOKED_UP: usize = 50;
/// Longest text of one cell.
const LONGEST_CELL: usize = 240;

/// The whole report as Markdown.
pub fn render(view: &View<'_>) -> String {
    let mut said = format!("### Freshgate: {}\n", view.summary.in_words().trim_end_matches('.'));
    if let Some(trend) = view.trend {
        let _ = write!(said, "\n{}\n", trend.in_words()); // a String takes anything
    }
    let mut left = MOST_WORKLOADS;
    let mut left_out = 0;
    for group in view.groups() {
        left_out += group.workloads.len().saturating_sub(left);
        if left == 0 {
            continue;
        }
        let _ = write!(said, "\n#### {}\n\n", text(&group.name));
        said.push_str("| workload | image | refused | next step | change |\n|---|---|---|---|---|\n");
        for workload in group.workloads.iter().take(left) {
            add_rows(view, workload, &mut said);
        }
        left = left.saturating_sub(group.workloads.len());
    }
    if left_out > 0 {
        let _ = write!(said, "\n… and {}.\n", counted(left_out, "more workload"));
    }
    let missing = &view.report.not_looked_up;
    if !missing.is_empty() {
        let _ = write!(said, "\n<details><summary>Not looked up: {}</summary>\n\n", missing.len());
        for one in missing.iter().take(MOST_NOT_LOOKED_UP) {
            let _ = writeln!(said, "- {}: {}", text(&one.what), text(&one.why));
        }
        if missing.len() > MOST_NOT_LOOKED_UP {
            let _ = writeln!(said, "- … and {} more", missing.len() - MOST_NOT_LOOKED_UP);
        }
        said.push_str("\n</details>\n");
    }
    said
}

fn add_rows(view: &View<'_>, workload: &WorkloadReport, said: &mut String) {
    let images: Vec<String> = workload
        .images
        .iter()
        .map(|image| {
            let behind = libyears_in_words(image).map(|words| format!(", {}", text(&words))).unwrap_or_default();
            let (age, excepted) = (age_in_words(image), excepted_in_words(image));
            format!("{}, {}{behind}", code(&short(&image.image)), text(&format!("{age}{excepted}")))
        })
        .collect();
    let refused = view.refused_in_words(workload.refused_on);
    let refused = if refused == "refused today" { "**refused today**".to_owned() } else { text(&refused) };
    let name = text(&workload.in_words());
    if workload.findings.is_empty() {
        let _ = writeln!(said, "| {name} | {} | {refused} | – | – |", images.join("<br>"));
    }
    for (index, finding) in workload.findings.iter().enumerate() {
        let nowhere = leads_nowhere(finding, view.today()).map(|why| format!(", {why}")).unwrap_or_default();
        let step = format!("{}, {}{nowhere}", text(&step_in_words(finding)), text(&target_age_in_words(finding)));
        let how = code(&finding.how);
        let row = if index == 0 {
            format!("| {name} | {} | {refused} | {step} | {how} |", images.join("<br>"))
        } else {
            format!("| | | | {step} | {how} |")
        };
        let _ = writeln!(said, "{row}");
    }
    if workload.more_findings > 0 {
        let _ = writeln!(said, "| | | | and {} more | |", workload.more_findings);
    }
}

/// A text that is nothing but text, in a cell too: no markup, no table, no mention of anybody.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in cut(text).chars() {
        match one {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(one);
            }
            one if one.is_control() => escaped.push(' '),
            one => escaped.push(one),
        }
    }
    escaped
}

/// A text as code, in a cell too.
fn code(text: &str) -> String {
    let harmless: String =
        cut(text).chars().map(|one| if one.is_control() || "`<>".contains(one) { ' ' } else { one }).collect();
    format!("`{}`", harmless.replace('|', "\\|"))
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_CELL).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(text("<script>|@all [x](y) `z`"), r"&lt;script&gt;\|&#64;all \[x\](y) \`z\`");
        assert_eq!(code("a`b|c\nd<e"), r"`a b\|c d e`");
        assert_eq!(text(&"x".repeat(300)).chars().count(), LONGEST_CELL + 1);
    }
}
