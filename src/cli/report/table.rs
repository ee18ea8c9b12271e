//! A report for a terminal.

use super::grouped::{
    View, age_in_words, excepted_in_words, leads_nowhere, libyears_in_words, step_in_words, target_age_in_words,
};
use crate::cli::output::table;
use crate::dependency::finding::WorkloadReport;

/// Things that could not be looked up that are named; the other forms name all.
const MOST_NOT_LOOKED_UP: usize = 20;

/// The whole report as text.
pub fn render(view: &View<'_>) -> String {
    let mut said = vec![view.summary.in_words()];
    said.extend(view.trend.map(super::trend::Trend::in_words));
    for group in view.groups() {
        said.push(String::new());
        said.push(group.name);
        for workload in group.workloads {
            add_workload(view, workload, &mut said);
        }
    }
    let missing = &view.report.not_looked_up;
    if !missing.is_empty() {
        said.push(String::new());
        said.push("not looked up".to_owned());
        said.extend(missing.iter().take(MOST_NOT_LOOKED_UP).map(|one| format!("  {}: {}", one.what, one.why)));
        if missing.len() > MOST_NOT_LOOKED_UP {
            said.push(format!("  and {} more; -o json names them", missing.len() - MOST_NOT_LOOKED_UP));
        }
    }
    said.iter().map(|line| harmless(line) + "\n").collect()
}

fn add_workload(view: &View<'_>, workload: &WorkloadReport, said: &mut Vec<String>) {
    said.push(format!("  {} — {}", workload.in_words(), view.refused_in_words(workload.refused_on)));
    for image in &workload.images {
        let by = image.refusals.first().map(|refusal| format!(" (policy {:?})", refusal.policy));
        let refused = image.refusals.first().map(|refusal| view.refused_in_words(Some(refusal.on)));
        let refused = refused.map(|words| format!(", {words}{}", by.unwrap_or_default())).unwrap_or_default();
        said.push(format!("    {} {}{}{refused}", image.image, age_in_words(image), excepted_in_words(image)));
        said.extend(libyears_in_words(image).map(|words| format!("      {words}")));
    }
    let rows: Vec<Vec<String>> = workload
        .findings
        .iter()
        .map(|finding| {
            let age = match leads_nowhere(finding, view.today()) {
                Some(why) => format!("{}, {why}", target_age_in_words(finding)),
                None => target_age_in_words(finding),
            };
            vec![step_in_words(finding), age, finding.how.clone()]
        })
        .collect();
    if !rows.is_empty() {
        said.extend(table(&["step", "age", "do"], rows).lines().map(|line| format!("      {line}")));
    }
    if workload.more_findings > 0 {
        said.push(format!("      and {} more", workload.more_findings));
    }
}

/// Without what a terminal would obey: names come from whoever wrote the manifest.
pub fn harmless(line: &str) -> String {
    line.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
}
