//! What a report is made of: findings, each one small next step, and what could not be looked up.
//!
//! Sources put both into [`Findings`]. A finding is never wrong for lack of data: then it is absent, and
//! [`NotLookedUp`] says why.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::package::libyear::Libyears;
use crate::evidence::{Fact, ResolvedImage};
use crate::image::build_date::BuildDate;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A runtime or a system whose support ends, or has ended.
    EndOfLife,
    /// The same tag means another digest by now.
    Rebuilt,
    /// What the image was built on means another digest by now.
    BaseDrift,
    /// The image's repository has a newer tag of the same shape.
    NewerTag,
    /// A package in the image has a newer version.
    Package,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::EndOfLife, Self::Rebuilt, Self::BaseDrift, Self::NewerTag, Self::Package];

    /// The name as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndOfLife => "end-of-life",
            Self::Rebuilt => "rebuilt",
            Self::BaseDrift => "base-drift",
            Self::NewerTag => "newer-tag",
            Self::Package => "package",
        }
    }
}

/// How large the step is; the smaller comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The same, built anew.
    Rebuild,
    /// The newest of the same X.Y.
    Patch,
    /// The newest patch of the next minor that there is.
    Minor,
    /// The newest release of the next major that there is.
    Major,
}

impl Step {
    /// The name as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        }
    }
}

/// One small next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stays the same from report to report until the step is taken, also when its target moves on ([`stable_id`]).
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// How large the step is.
    pub step: Step,
    /// The image that it is about, as the workload writes it.
    pub image: String,
    /// What is used now: a bare tag for tags, a digest for what was rebuilt.
    pub from: String,
    /// What to use next, likewise.
    pub to: String,
    /// Days since `to` was built or published, rounded down; `None` where nobody says.
    pub age_days: Option<i64>,
    /// Why it matters, in one sentence.
    pub why: String,
    /// The line or the command to change.
    pub how: String,
    /// The day (UTC) from which on the image that is used now would be refused; `None` where none is in sight.
    pub refused_on: Option<NaiveDate>,
    /// The same of what the step leads to: a step to what would itself be refused comes last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_refused_on: Option<NaiveDate>,
    /// The reference that the step leads to, where it is an image whose facts are among [`Findings::targets`].
    #[serde(skip)]
    pub target: Option<String>,
}

impl Finding {
    /// The finding in one line, for a warning beside a deploy: at most 120 characters.
    pub fn in_one_line(&self, today: NaiveDate) -> String {
        let name = self.image.split('@').next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        let step = match (self.kind, self.step) {
            (Kind::Rebuilt, _) => format!("{name} {} was rebuilt", short(&self.to)),
            (Kind::BaseDrift, _) => format!("{name}: its base {} was rebuilt", short(&self.to)),
            (Kind::EndOfLife, _) => {
                let why = self.why.split([':', ';']).next().unwrap_or_default().trim_end_matches('.');
                format!("{name}: {why}; next is {}", self.to)
            }
            // A package is one of an image's many.
            (Kind::Package, step) => format!("{name}: {} → {} is a {}", self.from, self.to, step.as_str()),
            (_, step) => format!("{name} {} → {} is a {}", short(&self.from), short(&self.to), step.as_str()),
        };
        let age = match self.age_days.filter(|_| self.kind != Kind::EndOfLife) {
            Some(1) => ", 1 day old".to_owned(),
            Some(days) => format!(", {days} days old"),
            None => String::new(),
        };
        let refused = match self.refused_on.map(|day| (day - today).num_days()) {
            None => String::new(),
            Some(..=0) => "; this build is refused".to_owned(),
            Some(1) => "; this build is refused tomorrow".to_owned(),
            Some(days) => format!("; this build is refused in {days} days"),
        };
        let line = format!("{step}{age}{refused}");
        if line.chars().count() <= 120 { line } else { line.chars().take(119).chain(['…']).collect() }
    }
}

/// A digest without most of its digits, anything else as it is.
pub fn short(text: &str) -> String {
    match text.split_once("sha256:") {
        Some((before, hex)) if hex.len() > 12 => format!("{before}sha256:{}…", hex.get(..12).unwrap_or(hex)),
        _ => text.to_owned(),
    }
}

/// The id of a finding: its kind and twelve hexadecimal digits over what it is about.
///
/// `about` names what stays as long as the finding does: the image's name, what is used now, the size of the step; never
/// the target, which moves while nobody acts.
pub fn stable_id(kind: Kind, about: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in about {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hex = hex::encode(hash.finalize());
    format!("{}-{}", kind.as_str(), hex.get(..12).unwrap_or_default())
}

/// What could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotLookedUp {
    /// What is missing, as `newer tags of docker.io/library/node`.
    pub what: String,
    /// Why, in words without secrets.
    pub why: String,
}

/// What sources found, and what they could not look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The findings.
    pub found: Vec<Finding>,
    /// What is missing, and why.
    pub not_looked_up: Vec<NotLookedUp>,
    /// What is known of the images that steps lead to, by reference: policies are asked about them too.
    pub targets: BTreeMap<String, Fact<ResolvedImage>>,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    /// Notes what could not be looked up, and why.
    pub fn could_not(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.not_looked_up.push(NotLookedUp { what: what.into(), why: why.into() });
    }

    /// Adds all of another source.
    pub fn merge(&mut self, other: Self) {
        self.found.extend(other.found);
        self.not_looked_up.extend(other.not_looked_up);
        self.targets.extend(other.targets);
    }
}

/// A report: what is used, what would be refused when, and the next steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// As of when, in UTC.
    pub generated_at: DateTime<Utc>,
    /// The workloads, those that are refused soonest first.
    pub workloads: Vec<WorkloadReport>,
    /// What could not be looked up, each once.
    pub not_looked_up: Vec<NotLookedUp>,
}

/// What is known of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReport {
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Kind, as `Deployment`; `Image` for an image that was named alone.
    pub kind: String,
    /// Name.
    pub name: String,
    /// The team, where a label names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Its images.
    pub images: Vec<ImageReport>,
    /// The day (UTC) from which on one of its images would be refused; today, where one would be now.
    pub refused_on: Option<NaiveDate>,
    /// At most three next steps, the most urgent first.
    pub findings: Vec<Finding>,
    /// How many more steps there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_findings: usize,
}

impl WorkloadReport {
    /// `Deployment shop/checkout`, as people name it.
    pub fn in_words(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.kind, self.name)
        } else {
            format!("{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// An exception by which an image passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excepted {
    /// The exception.
    pub name: String,
    /// The policy that would refuse the image.
    pub policy: String,
    /// When the exception ends, in UTC: then the policy refuses.
    pub until: DateTime<Utc>,
}

/// What is known of one image of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// The reference, as written.
    pub image: String,
    /// Its digest, where it could be resolved.
    pub digest: Option<String>,
    /// When it was built, where that is known; of several platforms the oldest.
    pub built: Option<BuildDate>,
    /// Days since then, rounded down.
    pub age_days: Option<i64>,
    /// Why its date is not known, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// The exceptions that let it pass what a policy would refuse today.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Excepted>,
    /// The day from which on it would be refused, by policy.
    pub refusals: Vec<RefusedOn>,
    /// How far its packages are behind, where indexes say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libyears: Option<Libyears>,
}

/// The day from which on a policy refuses an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedOn {
    /// The policy.
    pub policy: String,
    /// The day, in UTC.
    pub on: NaiveDate,
}

/// Whole days from one time to another, rounded down; not below 0.
pub fn days_between(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    to.signed_duration_since(from).num_days().max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, from: &str, to: &str) -> Finding {
        Finding {
            id: stable_id(kind, &["docker.io/library/node", from]),
            kind,
            step: if kind == Kind::NewerTag { Step::Patch } else { Step::Rebuild },
            image: "registry.example:5000/library/node:18.20.4".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            age_days: Some(41),
            why: String::new(),
            how: String::new(),
            refused_on: NaiveDate::from_ymd_opt(2026, 12, 7),
            target_refused_on: None,
            target: None,
        }
    }

    #[test]
    fn a_warning_is_one_short_line() {
        let today = NaiveDate::from_ymd_opt(2026, 11, 25).unwrap();
        assert_eq!(
            finding(Kind::NewerTag, "18.20.4", "18.20.8").in_one_line(today),
            "node 18.20.4 → 18.20.8 is a patch, 41 days old; this build is refused in 12 days"
        );
        let digest = format!("sha256:{}", "4f1c".repeat(16));
        assert_eq!(
            finding(Kind::Rebuilt, &digest, &digest).in_one_line(today),
            "node sha256:4f1c4f1c4f1c… was rebuilt, 41 days old; this build is refused in 12 days"
        );
        let package = Finding { step: Step::Patch, ..finding(Kind::Package, "left-pad 1.1.0", "1.1.3") };
        assert_eq!(
            package.in_one_line(today),
            "node: left-pad 1.1.0 → 1.1.3 is a patch, 41 days old; this build is refused in 12 days"
        );
        let ends = Finding {
            why: "Debian 11 has had no support since 2024-08-14: nobody mends it any more.".to_owned(),
            refused_on: None,
            ..finding(Kind::EndOfLife, "Debian 11", "13")
        };
        assert_eq!(ends.in_one_line(today), "node: Debian 11 has had no support since 2024-08-14; next is 13");
        let long = finding(Kind::NewerTag, &"1.".repeat(60), &"2.".repeat(60)).in_one_line(today);
        assert_eq!(long.chars().count(), 120);
    }

    #[test]
    fn json_is_as_the_report_promises() {
        let json = serde_json::to_value(finding(Kind::NewerTag, "18.20.4", "18.20.8")).unwrap();
        assert_eq!(json["kind"], "newer-tag");
        assert_eq!(json["step"], "patch");
        assert_eq!(json["ageDays"], 41);
        assert_eq!(json["refusedOn"], "2026-12-07");
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn an_id_is_of_its_parts_and_their_borders() {
        let id = |about: &[&str]| stable_id(Kind::Package, about);
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        assert_ne!(id(&["a", "b"]), id(&["ab"]));
        assert_ne!(id(&["a", "b"]), id(&["", "ab"]));
    }
}
