//! What all forms of a report have in common: its figures, its groups, and its words.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use super::trend::Trend;
use crate::args::GroupBy;
use crate::dependency::finding::{Excepted, Finding, ImageReport, Kind, Report, WorkloadReport, short};
use crate::dependency::forecast::soon;

/// Bounds of the ages that are counted together, in days, and how they are called.
const AGES: [(i64, &str); 7] = [
    (7, "up to 7 days"),
    (30, "8–30 days"),
    (60, "31–60 days"),
    (90, "61–90 days"),
    (180, "91–180 days"),
    (365, "181–365 days"),
    (i64::MAX, "over a year"),
];

/// The figures of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Workloads.
    pub workloads: usize,
    /// Different images.
    pub images: usize,
    /// Workloads with an image that would be refused today.
    pub refused: usize,
    /// Workloads with one that would be within the next seven days.
    pub refused_within_a_week: usize,
    /// Steps that are open, those that are left out included.
    pub findings: usize,
    /// The median of the images' ages, in days.
    pub median_age_days: Option<i64>,
}

impl Summary {
    /// Counts.
    pub fn of(report: &Report) -> Self {
        let today = report.generated_at.date_naive();
        let days = report.workloads.iter().filter_map(|workload| workload.refused_on);
        let (refused, refused_within_a_week) = soon(days, today);
        let images = images(report);
        let mut ages: Vec<i64> = images.values().filter_map(|image| image.age_days).collect();
        ages.sort_unstable();
        Self {
            workloads: report.workloads.len(),
            images: images.len(),
            refused,
            refused_within_a_week,
            findings: report.workloads.iter().map(|one| one.findings.len() + one.more_findings).sum(),
            median_age_days: ages.get(ages.len() / 2).copied(),
        }
    }

    /// `12 workloads, 20 images: 3 refused today, 5 more within a week; 14 next steps.`
    pub fn in_words(&self) -> String {
        format!(
            "{}, {}: {} refused today, {} more within a week; {}.",
            counted(self.workloads, "workload"),
            counted(self.images, "image"),
            self.refused,
            self.refused_within_a_week,
            counted(self.findings, "next step")
        )
    }
}

/// `1 image`, `2 images`.
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A report as it is to be shown.
pub struct View<'a> {
    pub report: &'a Report,
    pub summary: Summary,
    pub trend: Option<&'a Trend>,
    group_by: GroupBy,
}

/// Workloads that are shown together.
pub struct Group<'a> {
    pub name: String,
    pub workloads: Vec<&'a WorkloadReport>,
}

impl<'a> View<'a> {
    pub fn new(report: &'a Report, group_by: GroupBy, trend: Option<&'a Trend>) -> Self {
        Self { report, summary: Summary::of(report), trend, group_by }
    }

    /// As of which day it is, in UTC.
    pub fn today(&self) -> NaiveDate {
        self.report.generated_at.date_naive()
    }

    /// The groups by name, the workloads in each as they are in the report: what is refused soonest comes first.
    pub fn groups(&self) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<String, Vec<&'a WorkloadReport>> = BTreeMap::new();
        for workload in &self.report.workloads {
            match self.group_by {
                GroupBy::Namespace => {
                    let named = !workload.namespace.is_empty();
                    let name = if named { workload.namespace.clone() } else { "images".to_owned() };
                    groups.entry(name).or_default().push(workload);
                }
                GroupBy::Team => {
                    let name = workload.team.clone().unwrap_or_else(|| "no team".to_owned());
                    groups.entry(name).or_default().push(workload);
                }
                GroupBy::Image => {
                    for image in &workload.images {
                        groups.entry(image.image.clone()).or_default().push(workload);
                    }
                }
            }
        }
        groups.into_iter().map(|(name, workloads)| Group { name, workloads }).collect()
    }

    /// How many images are of which age; the last is those whose age is not known.
    pub fn ages(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = AGES.iter().map(|(_, name)| (*name, 0)).collect();
        counts.push(("not known", 0));
        for image in images(self.report).values() {
            let at = image.age_days.and_then(|days| AGES.iter().position(|(most, _)| days <= *most));
            let at = at.unwrap_or(AGES.len());
            if let Some((_, count)) = counts.get_mut(at) {
                *count += 1;
            }
        }
        counts
    }

    /// `refused today`, `refused in 12 days, on 2026-12-07`, `no refusal in sight`.
    pub fn refused_in_words(&self, on: Option<NaiveDate>) -> String {
        match on.map(|day| (day, (day - self.today()).num_days())) {
            None => "no refusal in sight".to_owned(),
            Some((_, ..=0)) => "refused today".to_owned(),
            Some((day, 1)) => format!("refused tomorrow, on {day}"),
            Some((day, days)) => format!("refused in {days} days, on {day}"),
        }
    }
}

/// Each image once.
fn images(report: &Report) -> BTreeMap<&str, &ImageReport> {
    report.workloads.iter().flat_map(|workload| &workload.images).map(|image| (image.image.as_str(), image)).collect()
}

/// `built 112 days ago`, or that it is not known.
pub fn age_in_words(image: &ImageReport) -> String {
    match (image.age_days, image.unknown.is_some()) {
        (Some(0), _) => "built today".to_owned(),
        (Some(1), _) => "built 1 day ago".to_owned(),
        (Some(days), false) => format!("built {days} days ago"),
        (Some(days), true) => format!("built {days} days ago, or longer"),
        (None, _) => "build date not known".to_owned(),
    }
}

/// `, excepted until 2026-12-10 by closes-a-hole`; nothing where no exception lets it pass.
pub fn excepted_in_words(image: &ImageReport) -> String {
    let one = |excepted: &Excepted| format!(", excepted until {} by {}", excepted.until.date_naive(), excepted.name);
    let mut all: Vec<String> = image.exceptions.iter().map(one).collect();
    all.dedup(); // of several policies
    all.concat()
}

/// `31 packages 12.3 libyears behind, 0.4 on average, 3.1 for left-pad 1.1.0`; nothing where indexes say nothing.
pub fn libyears_in_words(image: &ImageReport) -> Option<String> {
    let libyears = image.libyears.as_ref()?;
    let of = counted(libyears.packages, "package");
    Some(match &libyears.worst_package {
        None => format!("{of} up to date"),
        Some(worst) => format!(
            "{of} {:.1} libyears behind, {:.1} on average, {:.1} for {worst}",
            libyears.total, libyears.mean, libyears.worst
        ),
    })
}

/// `patch 1.27.3 → 1.27.10`, `base debian:12@sha256:4f1c… → …`.
pub fn step_in_words(finding: &Finding) -> String {
    let what = match finding.kind {
        Kind::NewerTag => finding.step.as_str().to_owned(),
        Kind::Rebuilt => "rebuilt".to_owned(),
        Kind::BaseDrift => "base".to_owned(),
        Kind::Package => format!("package, {}", finding.step.as_str()),
        Kind::EndOfLife => "end of life".to_owned(),
    };
    format!("{what} {} → {}", short(&finding.from), short(&finding.to))
}

/// `41 days old`, or nothing.
pub fn target_age_in_words(finding: &Finding) -> String {
    match finding.age_days {
        Some(1) => "1 day old".to_owned(),
        Some(days) => format!("{days} days old"),
        None => "age not known".to_owned(),
    }
}

/// Why the step is no way out, where it is none.
pub fn leads_nowhere(finding: &Finding, today: NaiveDate) -> Option<&'static str> {
    finding.target_refused_on.filter(|day| *day <= today).map(|_| "would itself be refused today")
}
