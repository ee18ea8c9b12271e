//! How far a package is behind: the newest release, the one small next step, and how many came between.
//!
//! Only what an index says counts. A version that the index does not have, or a package without any release left, is
//! told as such and is no finding.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Package;
use super::version::{Line, Version};
use crate::dependency::finding::Step;

/// How far an index's clock may be ahead of ours.
const CLOCK_SKEW: TimeDelta = TimeDelta::hours(24);

/// A release of a package, as an index has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its version.
    pub version: String,
    /// When it was published, in UTC, where the index says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<DateTime<Utc>>,
    /// Whether it was withdrawn: yanked, retracted, deprecated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// Why it cannot be said how far a package is behind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotComparable {
    /// The SBOM gives no version.
    #[error("the SBOM gives no version")]
    NoVersion,
    /// The version cannot be read.
    #[error("{0:?} is no version that its ecosystem orders")]
    Version(String),
    /// The index does not have the version.
    #[error("the index does not have the version in use: it was withdrawn, or is of another origin")]
    NotThere,
    /// Nothing is left of the package.
    #[error("every release of it was withdrawn")]
    Withdrawn,
}

/// How far a package is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The release in use.
    pub used: Release,
    /// The newest stable release; the one in use, where there is no newer one.
    pub newest: Release,
    /// The one small next step, where there is one.
    pub next: Option<(Step, Release)>,
    /// How many newer patches there are of the minor in use.
    pub patches: usize,
    /// How many newer minors there are of the major in use.
    pub minors: usize,
    /// How many newer majors there are.
    pub majors: usize,
}

impl Behind {
    /// The time between the release in use and the newest, not below 0; `None` where either has no date.
    pub fn time(&self) -> Option<TimeDelta> {
        let (used, newest) = (self.used.published?, self.newest.published?);
        Some(newest.signed_duration_since(used).max(TimeDelta::zero()))
    }

    /// `2 patches, 1 minor and 3 majors`.
    pub fn in_words(&self) -> String {
        let count = |number: usize, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {many}")),
        };
        let parts = [
            count(self.patches, "patch", "patches"),
            count(self.minors, "minor", "minors"),
            count(self.majors, "major", "majors"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.split_last() {
            None => "nothing".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
        }
    }
}

/// How far a package is behind what its index has.
pub fn behind(package: &Package, releases: &[Release], now: DateTime<Utc>) -> Result<Behind, NotComparable> {
    let ecosystem = package.name.ecosystem;
    if package.version.is_empty() {
        return Err(NotComparable::NoVersion);
    }
    let used = Version::parse(ecosystem, &package.version)
        .ok_or_else(|| NotComparable::Version(package.version.chars().take(80).collect()))?;
    let mut known: Vec<(Version, &Release)> =
        releases.iter().filter_map(|release| Some((Version::parse(ecosystem, &release.version)?, release))).collect();
    known.sort_by(|(one, _), (other, _)| one.compare(other));
    let listed = known.iter().filter(|(version, _)| version.compare(&used) == Ordering::Equal);
    let listed = listed.max_by_key(|(version, _)| version.as_written() == used.as_written());
    let used_release = match listed {
        Some((_, release)) => dated(release, now),
        // A commit between two releases is in no list; its time stands in the version.
        None => match used.commit_time() {
            Some(time) => Release { version: package.version.clone(), published: Some(time), withdrawn: false },
            None => return Err(NotComparable::NotThere),
        },
    };
    let stable: Vec<&(Version, &Release)> =
        known.iter().filter(|(version, release)| !release.withdrawn && !version.is_pre_release()).collect();
    if stable.is_empty() && used_release.withdrawn {
        return Err(NotComparable::Withdrawn);
    }
    let newer: Vec<&(Version, &Release)> = stable
        .into_iter()
        .filter(|(version, _)| version.is_like(&used) && version.compare(&used) == Ordering::Greater)
        .collect();
    let newest = newer.last().map_or_else(|| used_release.clone(), |(_, release)| dated(release, now));
    let here = used.line();
    let patches = newer.iter().filter(|(version, _)| version.line() == here).count();
    let minors: BTreeSet<Line> = newer
        .iter()
        .map(|(version, _)| version.line())
        .filter(|line| line.major == here.major && *line != here)
        .collect();
    let majors: BTreeSet<_> =
        newer.iter().map(|(version, _)| version.line().major).filter(|major| *major != here.major).collect();
    Ok(Behind {
        used: used_release,
        newest,
        next: next(&newer, here).map(|(step, release)| (step, dated(release, now))),
        patches,
        minors: minors.len(),
        majors: majors.len(),
    })
}

/// The newest patch of this minor, else the newest of the next minor, else the newest of the next major.
fn next<'a>(newer: &[&(Version, &'a Release)], here: Line) -> Option<(Step, &'a Release)> {
    let last = |fits: &dyn Fn(Line) -> bool| newer.iter().rev().find(|(version, _)| fits(version.line()));
    if let Some((_, release)) = last(&|line| line == here) {
        return Some((Step::Patch, release));
    }
    let lines = || newer.iter().map(|(version, _)| version.line());
    if let Some(minor) = lines().filter(|line| line.major == here.major).min() {
        return last(&|line| line == minor).map(|(_, release)| (Step::Minor, *release));
    }
    let major = lines().map(|line| line.major).min()?;
    last(&|line| line.major == major).map(|(_, release)| (Step::Major, *release))
}

/// The release, without a date that lies ahead of us: that is no date but a wrong clock.
fn dated(release: &Release, now: DateTime<Utc>) -> Release {
    let published = release.published.filter(|published| *published <= now + CLOCK_SKEW);
    Release { published: published.map(|published| published.min(now)), ..release.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Ecosystem, PackageName};
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn package(ecosystem: Ecosystem, version: &str) -> Package {
        Package { name: PackageName { ecosystem, name: "x".into() }, version: version.into() }
    }

    fn releases(all: &[(&str, &str)]) -> Vec<Release> {
        let one = |(version, day): &(&str, &str)| Release {
            version: version.trim_end_matches('!').to_owned(),
            published: format!("{day}T00:00:00Z").parse().ok(),
            withdrawn: version.ends_with('!'),
        };
        all.iter().map(one).collect()
    }

    fn step(ecosystem: Ecosystem, version: &str, all: &[(&str, &str)]) -> (Option<(Step, String)>, String) {
        let behind = behind(&package(ecosystem, version), &releases(all), now()).unwrap();
        (behind.next.as_ref().map(|(step, release)| (*step, release.version.clone())), behind.in_words())
    }

    #[test]
    fn the_next_step_is_the_smallest() {
        let all = [
            ("1.0.0", "2024-01-01"),
            ("1.0.4", "2024-03-01"),
            ("1.0.5!", "2024-04-01"),
            ("1.2.0", "2024-05-01"),
            ("1.2.7", "2024-06-01"),
            ("1.9.1", "2025-01-01"),
            ("2.0.0", "2025-02-01"),
            ("2.4.0", "2025-06-01"),
            ("4.0.0", "2026-01-01"),
            ("5.0.0-rc.1", "2026-10-01"),
        ];
        for (version, expected, words) in [
            ("1.0.0", Some((Step::Patch, "1.0.4")), "1 patch, 2 minors and 2 majors"),
            ("1.0.4", Some((Step::Minor, "1.2.7")), "2 minors and 2 majors"),
            ("1.9.1", Some((Step::Major, "2.4.0")), "2 majors"),
            ("4.0.0", None, "nothing"),
            ("5.0.0-rc.1", None, "nothing"),
            ("1.0.5", Some((Step::Minor, "1.2.7")), "2 minors and 2 majors"),
        ] {
            let expected = expected.map(|(step, version)| (step, version.to_owned()));
            assert_eq!(step(Ecosystem::Npm, version, &all), (expected, words.to_owned()), "{version}");
        }
    }

    #[test]
    fn libyears_are_between_the_release_in_use_and_the_newest() {
        let all = releases(&[("1.0", "2024-01-01"), ("1.1", "2023-01-01"), ("2.0", "2025-01-01")]);
        let days = |version| {
            behind(&package(Ecosystem::PyPi, version), &all, now()).unwrap().time().map(|time| time.num_days())
        };
        assert_eq!(days("1.0"), Some(366));
        assert_eq!(days("2.0"), Some(0));
        // A patch of an old line that came late: the newest is older than what is in use.
        let late = releases(&[("1.9", "2026-01-01"), ("2.0", "2025-01-01")]);
        let behind = behind(&package(Ecosystem::PyPi, "1.9"), &late, now()).unwrap();
        assert_eq!(behind.time(), Some(TimeDelta::zero()));
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let all = releases(&[("1.0.0!", "2024-01-01"), ("1.1.0!", "2024-01-01")]);
        let of = |version: &str, all: &[Release]| behind(&package(Ecosystem::Cargo, version), all, now()).unwrap_err();
        assert_eq!(of("1.0.0", &all), NotComparable::Withdrawn);
        assert_eq!(of("", &all), NotComparable::NoVersion);
        assert_eq!(of("latest", &all), NotComparable::Version("latest".into()));
        assert_eq!(of("9.9.9", &all), NotComparable::NotThere);
        assert_eq!(of("1.0.0", &[]), NotComparable::NotThere);
    }

    #[test]
    fn a_date_ahead_of_us_is_none() {
        let all = releases(&[("1.0.0", "2024-01-01"), ("1.0.1", "2031-01-01")]);
        let behind = behind(&package(Ecosystem::Cargo, "1.0.0"), &all, now()).unwrap();
        assert_eq!(behind.time(), None);
        assert_eq!(behind.next.unwrap().1.published, None);
        // A few hours are a clock that goes fast.
        let all = releases(&[("1.0.0", "2024-01-01"), ("1.0.1", "2026-11-26")]);
        let behind = super::behind(&package(Ecosystem::Cargo, "1.0.0"), &all, now()).unwrap();
        assert_eq!(behind.newest.published, Some(now()));
    }

    #[test]
    fn a_commit_of_go_is_dated_by_its_version() {
        let all = releases(&[("v1.2.0", "2023-01-01"), ("v1.3.0", "2025-01-02")]);
        let commit = package(Ecosystem::Go, "v1.2.1-0.20240102000000-abcdefabcdef");
        let behind = behind(&commit, &all, now()).unwrap();
        assert_eq!(behind.next.clone().unwrap().1.version, "v1.3.0");
        assert_eq!(behind.time().unwrap().num_days(), 366);
    }

    #[test]
    fn flavours_are_not_mixed() {
        let all = [("31.1-jre", "2024-01-01"), ("31.1-android", "2024-01-01"), ("33.0-android", "2025-01-01")];
        assert_eq!(step(Ecosystem::Maven, "31.1-jre", &all), (None, "nothing".to_owned()));
    }

    proptest! {
        #[test]
        fn a_step_is_never_to_something_older(
            used in "[0-3]\\.[0-3]\\.[0-3](-rc\\.1)?",
            all in prop::collection::vec("[0-3]\\.[0-3]\\.[0-3](-rc\\.1)?!?", 0..30),
        ) {
            let mut all: Vec<Release> = all
                .iter()
                .map(|text| Release {
                    version: text.trim_end_matches('!').to_owned(),
                    published: None,
                    withdrawn: text.ends_with('!'),
                })
                .collect();
            all.push(Release { version: used.clone(), published: None, withdrawn: false });
            let behind = behind(&package(Ecosystem::Npm, &used), &all, now()).unwrap();
            let version = |written: &str| Version::parse(Ecosystem::Npm, written).unwrap();
            prop_assert!(version(&behind.newest.version).compare(&version(&used)).is_ge());
            if let Some((_, next)) = behind.next {
                prop_assert!(version(&next.version).compare(&version(&used)).is_gt());
                prop_assert!(version(&next.version).compare(&version(&behind.newest.version)).is_le());
                prop_assert!(!next.withdrawn && !version(&next.version).is_pre_release());
            }
        }
    }
}
