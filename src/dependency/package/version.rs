//! Versions in the order of their ecosystem: semver for Cargo, npm and Go, PEP 440 for Python, Maven's for Maven.
//!
//! A version that cannot be read is none: nothing is guessed from it.

mod maven;

use std::cmp::Ordering;
use std::str::FromStr as _;

use chrono::{DateTime, NaiveDateTime, Utc};

use self::maven::MavenVersion;
use super::Ecosystem;

/// A version of a package, comparable with others of the same package.
#[derive(Clone, Debug)]
pub struct Version {
    ecosystem: Ecosystem,
    written: String,
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    Semver(semver::Version),
    Pep440(Box<pep440_rs::Version>),
    Maven(MavenVersion),
}

/// Where a version stands: what changes with it is a major, a minor or a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// What a major step changes. Where 0.x breaks with each x, that is both numbers.
    pub major: (u64, u64, u64),
    /// What a minor step changes beside it.
    pub minor: u64,
}

impl Version {
    /// Reads a version; `None` where it is none of its ecosystem.
    pub fn parse(ecosystem: Ecosystem, written: &str) -> Option<Self> {
        let order = match ecosystem {
            Ecosystem::Cargo | Ecosystem::Npm => Order::Semver(semver::Version::parse(written).ok()?),
            Ecosystem::Go => Order::Semver(semver::Version::parse(written.strip_prefix('v')?).ok()?),
            Ecosystem::PyPi => Order::Pep440(Box::new(pep440_rs::Version::from_str(written).ok()?)),
            Ecosystem::Maven => Order::Maven(MavenVersion::parse(written)?),
        };
        Some(Self { ecosystem, written: written.to_owned(), order })
    }

    /// The version as it was written.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// Whether it comes before a release: no step for whoever runs one.
    pub fn is_pre_release(&self) -> bool {
        match &self.order {
            Order::Semver(version) => !version.pre.is_empty(),
            Order::Pep440(version) => !version.is_stable(),
            Order::Maven(version) => version.is_pre_release(),
        }
    }

    /// Where it stands.
    pub fn line(&self) -> Line {
        match &self.order {
            Order::Semver(version) => {
                // A caret takes 0.4.9 for 0.4.1 and never 0.5.0; Go promises nothing below 1.
                let breaks_below_one = self.ecosystem != Ecosystem::Go && version.major == 0;
                if breaks_below_one {
                    Line { major: (0, 0, version.minor), minor: 0 }
                } else {
                    Line { major: (0, version.major, 0), minor: version.minor }
                }
            }
            Order::Pep440(version) => {
                let release = version.release();
                let number = |index: usize| release.get(index).copied().unwrap_or(0);
                Line { major: (version.epoch(), number(0), 0), minor: number(1) }
            }
            Order::Maven(version) => Line { major: (0, version.number(0), 0), minor: version.number(1) },
        }
    }

    /// Whether both are of one flavour, as `31.1-jre` and `33.0-jre`: others are no step from one another.
    pub fn is_like(&self, other: &Self) -> bool {
        match (&self.order, &other.order) {
            (Order::Maven(this), Order::Maven(other)) => this.flavour() == other.flavour(),
            (Order::Pep440(this), Order::Pep440(other)) => this.local() == other.local(),
            _ => true,
        }
    }

    /// When a version that names a commit was made: Go writes it into the version.
    pub fn commit_time(&self) -> Option<DateTime<Utc>> {
        let Order::Semver(version) = &self.order else { return None };
        if self.ecosystem != Ecosystem::Go {
            return None;
        }
        // v0.0.0-20240102150405-abcdefabcdef, or v1.2.4-0.20240102150405-abcdefabcdef
        let (before, commit) = version.pre.as_str().rsplit_once('-')?;
        let time = before.rsplit('.').next()?;
        let is_commit = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let time = NaiveDateTime::parse_from_str(time, "%Y%m%d%H%M%S").ok()?;
        is_commit.then(|| time.and_utc())
    }

    /// The order of two versions of one ecosystem; what is of two is equal to nothing and in no order that matters.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (&self.order, &other.order) {
            (Order::Semver(this), Order::Semver(other)) => this.cmp_precedence(other),
            (Order::Pep440(this), Order::Pep440(other)) => this.cmp(other),
            (Order::Maven(this), Order::Maven(other)) => this.cmp(other),
            _ => self.ecosystem.cmp(&other.ecosystem),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(ecosystem: Ecosystem, written: &str) -> Version {
        Version::parse(ecosystem, written).unwrap_or_else(|| panic!("{written} is no version of {ecosystem}"))
    }

    #[test]
    fn each_ecosystem_has_its_own_order() {
        for (ecosystem, in_order) in [
            (Ecosystem::Cargo, vec!["0.1.9", "0.1.10", "0.2.0-rc.1", "0.2.0", "1.0.0"]),
            (Ecosystem::Go, vec!["v0.9.0", "v1.2.3", "v1.2.10", "v1.10.0", "v2.0.0+incompatible"]),
            (Ecosystem::PyPi, vec!["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1!0.1"]),
            (
                Ecosystem::Maven,
                vec![
                    "1.0-alpha-1",
                    "1.0-beta-2",
                    "1.0-M3",
                    "1.0-RC1",
                    "1.0-SNAPSHOT",
                    "1.0",
                    "1.0-SP1",
                    "1.0.1",
                    "1.10",
                ],
            ),
        ] {
            for pair in in_order.windows(2) {
                let (one, other) = (version(ecosystem, pair[0]), version(ecosystem, pair[1]));
                assert_eq!(one.compare(&other), Ordering::Less, "{ecosystem}: {pair:?}");
                assert_eq!(other.compare(&one), Ordering::Greater, "{ecosystem}: {pair:?}");
            }
        }
    }

    #[test]
    fn what_comes_before_a_release_is_told() {
        for (ecosystem, written, is_pre) in [
            (Ecosystem::Npm, "1.0.0-beta.1", true),
            (Ecosystem::Npm, "1.0.0+build", false),
            (Ecosystem::PyPi, "1.0rc1", true),
            (Ecosystem::PyPi, "1.0.post1", false),
            (Ecosystem::Maven, "2.0.0-M1", true),
            (Ecosystem::Maven, "2.0.0.Final", false),
            (Ecosystem::Maven, "31.1-jre", false),
            (Ecosystem::Go, "v0.0.0-20240102150405-abcdefabcdef", true),
        ] {
            assert_eq!(version(ecosystem, written).is_pre_release(), is_pre, "{written}");
        }
    }

    #[test]
    fn below_one_each_minor_breaks_in_cargo_and_npm() {
        let lines = |ecosystem, one, other| (version(ecosystem, one).line(), version(ecosystem, other).line());
        let (old, new) = lines(Ecosystem::Cargo, "0.4.1", "0.5.0");
        assert_ne!(old.major, new.major);
        let (old, new) = lines(Ecosystem::Go, "v0.4.1", "v0.5.0");
        assert_eq!(old.major, new.major);
        let (old, new) = lines(Ecosystem::Cargo, "0.9.0", "1.0.0");
        assert!(old.major < new.major);
    }

    #[test]
    fn a_flavour_is_kept() {
        let like = |one, other| version(Ecosystem::Maven, one).is_like(&version(Ecosystem::Maven, other));
        assert!(like("31.1-jre", "33.0.0-jre"));
        assert!(!like("31.1-jre", "33.0.0-android"));
        assert!(like("5.0.0.Final", "5.0.1"));
        assert!(!version(Ecosystem::PyPi, "2.0+cpu").is_like(&version(Ecosystem::PyPi, "2.1+cu121")));
    }

    #[test]
    fn a_commit_tells_its_time() {
        let time = |written| version(Ecosystem::Go, written).commit_time().map(|time| time.to_rfc3339());
        assert_eq!(time("v0.0.0-20240102150405-abcdefabcdef").as_deref(), Some("2024-01-02T15:04:05+00:00"));
        assert_eq!(time("v1.2.4-0.20240102150405-abcdefabcdef").as_deref(), Some("2024-01-02T15:04:05+00:00"));
        assert_eq!(time("v1.2.4-rc.1"), None);
        assert_eq!(time("v1.2.4"), None);
    }

    #[test]
    fn what_is_no_version_is_none() {
        for (ecosystem, written) in [
            (Ecosystem::Go, "(devel)"),
            (Ecosystem::Go, "1.2.3"),
            (Ecosystem::Npm, "latest"),
            (Ecosystem::Npm, ""),
            (Ecosystem::PyPi, "UNKNOWN"),
            (Ecosystem::Maven, "${project.version}"),
            (Ecosystem::Maven, ""),
        ] {
            assert!(Version::parse(ecosystem, written).is_none(), "{written:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            ecosystem in prop::sample::select(Ecosystem::ALL.to_vec()),
            texts in prop::collection::vec("v?[0-9]{1,3}([.-](([0-9]{1,2})|rc|jre|sp|M|final|alpha)){0,4}", 3),
        ) {
            let versions: Vec<_> = texts.iter().filter_map(|text| Version::parse(ecosystem, text)).collect();
            for one in &versions {
                prop_assert_eq!(one.compare(one), Ordering::Equal);
                for other in &versions {
                    prop_assert_eq!(one.compare(other), other.compare(one).reverse());
                    for third in &versions {
                        if one.compare(other).is_le() && other.compare(third).is_le() {
                            prop_assert!(one.compare(third).is_le());
                        }
                    }
                }
            }
        }
    }
}
