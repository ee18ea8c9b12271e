//! What version a tag names, and of what shape it is: only tags of one shape can be compared.
//!
//! Whatever could be read in two ways is no version: `4f1c2d3` may be a commit, `1234567` too, `pr-12` is nobody's next
//! step. Such a tag is reported as it is and never guessed.

use std::cmp::Ordering;

use thiserror::Error;

/// The longest tag that the registries' specification allows.
const LONGEST_TAG: usize = 128;
/// Digits of an abbreviated commit, and of a whole one.
const COMMIT_DIGITS: [usize; 2] = [7, 40];
/// Shortest text that is taken for an abbreviated commit.
const SHORTEST_COMMIT: usize = 7;

/// Words that begin the name of an architecture: its digits are no version.
const ARCHITECTURES: [&str; 15] = [
    "amd64", "arm", "aarch64", "x86", "x64", "i386", "i486", "i586", "i686", "s390", "ppc", "riscv", "mips", "loong",
    "win32",
];
/// Words whose number chooses another product's line, or the hosts that an image runs on: another number is no upgrade
/// of this image but another image.
const LINES: [&str; 34] = [
    "jdk",
    "jre",
    "java",
    "openjdk",
    "temurin",
    "corretto",
    "zulu",
    "liberica",
    "semeru",
    "sapmachine",
    "graalvm",
    "python",
    "py",
    "pypy",
    "node",
    "nodejs",
    "php",
    "ruby",
    "go",
    "golang",
    "perl",
    "erlang",
    "otp",
    "dotnet",
    "cuda",
    "cudnn",
    "rocm",
    "pg",
    "postgres",
    "postgresql",
    "scala",
    "ltsc",
    "nanoserver",
    "windowsservercore",
];

/// Why a tag names no version.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoVersion {
    /// There is no number in it.
    #[error("it names no version")]
    NoNumber,
    /// It, or a part of it, may be a commit.
    #[error("a commit cannot be told from a version in it")]
    Commit,
    /// A name with a number that is not a version's.
    #[error("the number in it is not known to be a version")]
    NumberedName,
    /// No version has so long a number.
    #[error("its number is longer than any version's")]
    TooLong,
    /// It is no tag at all.
    #[error("it is not a tag")]
    NotATag,
}

/// A version, as a tag names it. The order is total: by shape, then by numbers, then by the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    tag: String,
    shape: Shape,
    numbers: Vec<u64>,
    suffix_numbers: Vec<u64>,
}

/// What two tags must have in common to be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// What stands before the number: nothing, `v`, `bookworm-`.
    prefix: String,
    /// How it counts.
    scheme: Scheme,
    /// How many numbers, separated by dots.
    components: usize,
    /// What stands behind them, `#` for each number that counts: `-alpine#.#`.
    suffix: String,
}

/// How a version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In numbers.
    Numbers,
    /// In years: `2024.1`.
    Calendar,
    /// One day, or an instant of it: `20240501`.
    Date,
}

impl Version {
    /// Reads a tag.
    pub fn parse(tag: &str) -> Result<Self, NoVersion> {
        let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let begins_well = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !begins_well || tag.len() > LONGEST_TAG || !tag.bytes().all(is_tag) {
            return Err(NoVersion::NotATag);
        }
        let first = tag.bytes().position(|byte| byte.is_ascii_digit()).ok_or(NoVersion::NoNumber)?;
        let (prefix, rest) = tag.split_at(first);
        if segments(tag).any(is_commit) || segments(rest).any(is_commit) {
            return Err(NoVersion::Commit);
        }
        let (written, suffix) = main_number(rest);
        let scheme = scheme(&written);
        if !matches!(prefix, "" | "v" | "V") && written.len() == 1 && scheme == Scheme::Numbers {
            return Err(NoVersion::NumberedName);
        }
        let is_ambiguous = |digits: &&str| COMMIT_DIGITS.contains(&digits.len());
        if written.len() == 1 && scheme == Scheme::Numbers && is_ambiguous(&written[0]) {
            return Err(NoVersion::Commit);
        }
        let numbers = written.iter().map(|digits| number(digits)).collect::<Result<Vec<_>, _>>()?;
        let (suffix, suffix_numbers) = suffix_shape(suffix)?;
        let shape = Shape { prefix: prefix.to_owned(), scheme, components: numbers.len(), suffix };
        Ok(Self { tag: tag.to_owned(), shape, numbers, suffix_numbers })
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether the other has the same shape, so that both can be compared.
    pub fn is_like(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    /// Whether it is newer than another of the same shape. What differs in shape, or in leading zeros alone, is not.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.is_like(other) && self.all_numbers().gt(other.all_numbers())
    }

    /// The first number; of a date all of it is one.
    pub fn major(&self) -> u64 {
        self.numbers.first().copied().unwrap_or_default()
    }

    /// The second number, where there is one.
    pub fn minor(&self) -> Option<u64> {
        self.numbers.get(1).copied()
    }

    /// How it counts.
    pub fn scheme(&self) -> Scheme {
        self.shape.scheme
    }

    fn all_numbers(&self) -> impl Iterator<Item = &u64> {
        self.numbers.iter().chain(&self.suffix_numbers)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.shape
            .cmp(&other.shape)
            .then_with(|| self.all_numbers().cmp(other.all_numbers()))
            .then_with(|| self.tag.cmp(&other.tag))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The digits of `1.2.3` and what follows them.
fn main_number(text: &str) -> (Vec<&str>, &str) {
    let mut numbers = Vec::new();
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        numbers.push(number);
        match after.strip_prefix('.') {
            Some(next) if next.starts_with(|first: char| first.is_ascii_digit()) => rest = next,
            _ => return (numbers, after),
        }
    }
}

fn scheme(written: &[&str]) -> Scheme {
    let first = written.first().copied().unwrap_or_default();
    let part = |range: std::ops::Range<usize>| first.get(range).and_then(|digits| digits.parse::<u32>().ok());
    let is_date = written.len() == 1
        && matches!(first.len(), 8 | 10 | 12 | 14)
        && part(0..2) == Some(20)
        && part(4..6).is_some_and(|month| (1..=12).contains(&month))
        && part(6..8).is_some_and(|day| (1..=31).contains(&day));
    if is_date {
        Scheme::Date
    } else if first.len() == 4 && first.starts_with("20") {
        Scheme::Calendar
    } else {
        Scheme::Numbers
    }
}

fn number(digits: &str) -> Result<u64, NoVersion> {
    digits.parse().map_err(|_| NoVersion::TooLong)
}

fn segments(text: &str) -> impl Iterator<Item = &str> {
    text.split(['-', '_', '.']).filter(|segment| !segment.is_empty())
}

/// Whether a text may be an abbreviated commit: hexadecimal, with digits and letters; `git describe` puts a `g` before it.
fn is_commit(segment: &str) -> bool {
    let hex = segment.strip_prefix('g').unwrap_or(segment);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    hex.len() >= SHORTEST_COMMIT
        && hex.bytes().all(is_hex)
        && hex.bytes().any(|byte| byte.is_ascii_digit())
        && hex.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// What stands behind the version with `#` for each number that counts, and these numbers.
fn suffix_shape(suffix: &str) -> Result<(String, Vec<u64>), NoVersion> {
    let (mut shape, mut numbers) = (String::with_capacity(suffix.len()), Vec::new());
    let mut word = String::new();
    for segment in suffix.split_inclusive(['-', '_', '.']) {
        let body = segment.trim_end_matches(['-', '_', '.']);
        if COMMIT_DIGITS.contains(&body.len()) && body.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoVersion::Commit);
        }
        let lower = body.to_ascii_lowercase();
        if ARCHITECTURES.iter().any(|known| lower.starts_with(known)) {
            shape.push_str(segment);
            continue;
        }
        let mut rest = segment;
        while let Some(first) = rest.chars().next() {
            let is_digit = first.is_ascii_digit();
            let end = rest.find(|other: char| other.is_ascii_digit() != is_digit).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            rest = after;
            if !is_digit {
                shape.push_str(run);
                let letters = run.trim_end_matches(['-', '_', '.']);
                if !letters.is_empty() {
                    word = letters.to_ascii_lowercase();
                }
            } else if LINES.contains(&word.as_str()) {
                shape.push_str(run);
            } else {
                shape.push('#');
                numbers.push(number(run)?);
            }
        }
    }
    Ok((shape, numbers))
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(tag: &str) -> Version {
        Version::parse(tag).unwrap_or_else(|why| panic!("{tag}: {why}"))
    }

    #[test]
    fn only_like_is_compared_with_like() {
        for (one, other) in [
            ("1.2.3", "1.2.4"),
            ("v1.2.3", "v1.10.0"),
            ("1.27.3-alpine3.18", "1.27.3-alpine3.20"),
            ("1.2.3-debian-10-r6", "1.2.3-debian-11-r6"),
            ("1.2.3-debian-11-r6", "1.2.3-debian-11-r16"),
            ("2023.12.1", "2024.1.0"),
            ("24.04", "24.10"),
            ("20240501", "20241102"),
            ("bookworm-20240501", "bookworm-20241102"),
            ("3.9.6-eclipse-temurin-17", "3.9.9-eclipse-temurin-17"),
            ("17.0.9_9-jdk", "17.0.10_7-jdk"),
            ("8u382-jdk", "8u392-jdk"),
            ("RELEASE.2024-05-10T01-41-38Z", "RELEASE.2024-11-07T00-52-20Z"),
            ("1.2.0-rc.2", "1.2.0-rc.10"),
            ("18", "20"),
            ("v1.29.0-gke.1234", "v1.29.0-gke.12345"),
            ("alpine3.18", "alpine3.20"),
            ("1.2.3-arm64v8", "1.2.4-arm64v8"),
            ("2019-CU15", "2019-CU27"),
            ("16.1.20240501", "16.1.20240601"),
        ] {
            let (one, other) = (version(one), version(other));
            assert!(other.is_newer_than(&one), "{one:?} {other:?}");
            assert!(!one.is_newer_than(&other) && one < other, "{one:?} {other:?}");
        }
        for (one, other) in [
            ("1.2.3", "v1.2.4"),
            ("1.2.3", "1.3"),
            ("1.2", "1.2.4"),
            ("1.2.3", "1.2.4-rc1"),
            ("1.2.3", "1.2.4-alpine"),
            ("1.2.3-alpine", "1.2.4-alpine-perl"),
            ("1.2.3-alpine", "1.2.4-alpine3.20"),
            ("1.2.3-slim", "1.2.4-slim-bookworm"),
            ("1.2.3-bookworm", "1.2.4-bullseye"),
            ("1.2.3", "20240501"),
            ("1.2.3", "3"),
            ("1.2.3", "9"),
            ("1.2.3", "2024.1.0"),
            ("23.1.0", "2024.1.0"),
            ("3.9.6-eclipse-temurin-17", "3.9.6-eclipse-temurin-21"),
            ("1.2.3-jdk17", "1.2.3-jdk21"),
            ("1.2.3-python3.11-alpine3.18", "1.2.3-python3.12-alpine3.18"),
            ("8.0-nanoserver-1809", "8.0-nanoserver-2022"),
            ("8.0-nanoserver-ltsc2019", "8.0-nanoserver-ltsc2022"),
            ("1.2.3-arm32v7", "1.2.4-arm64v8"),
            ("1.2.3-amd64", "1.2.4-arm64"),
            ("1.2.3-i386", "1.2.3-i686"),
            ("1.2.0-alpha.1", "1.2.0-beta.1"),
            ("bookworm-20240501", "trixie-20240501"),
            ("1.2.03", "1.2.3"),
            ("1.2.x", "1.2.3"),
        ] {
            let (one, other) = (version(one), version(other));
            assert!(!one.is_newer_than(&other) && !other.is_newer_than(&one), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_version() {
        for (tag, why) in [
            ("latest", NoVersion::NoNumber),
            ("stable-alpine", NoVersion::NoNumber),
            ("4f1c2d3", NoVersion::Commit),
            ("4f1c2d3e4f1c2d3e4f1c2d3e4f1c2d3e4f1c2d3e", NoVersion::Commit),
            ("1234567", NoVersion::Commit),
            ("sha-4f1c2d3", NoVersion::Commit),
            ("main-4f1c2d3", NoVersion::Commit),
            ("1.2.3-4f1c2d3", NoVersion::Commit),
            ("1.2.3-5-g4f1c2d3", NoVersion::Commit),
            ("1.2.3-1234567", NoVersion::Commit),
            ("v1.2.3-20240501-4f1c2d3", NoVersion::Commit),
            ("pr-12", NoVersion::NumberedName),
            ("build-1234", NoVersion::NumberedName),
            ("jdk17", NoVersion::NumberedName),
            ("amd64-1.2.3", NoVersion::NumberedName),
            ("99999999999999999999999999", NoVersion::TooLong),
            ("1.2.3-r99999999999999999999999999", NoVersion::TooLong),
            ("", NoVersion::NotATag),
            ("-1.2", NoVersion::NotATag),
            (".1.2", NoVersion::NotATag),
            ("1.2+3", NoVersion::NotATag),
            ("1.2 3", NoVersion::NotATag),
            ("ü1", NoVersion::NotATag),
        ] {
            assert_eq!(Version::parse(tag), Err(why), "{tag}");
        }
        assert_eq!(Version::parse(&"1".repeat(129)), Err(NoVersion::NotATag));
    }

    #[test]
    fn a_year_and_a_day_are_told_from_a_number() {
        for (tag, scheme) in [
            ("2024.1", Scheme::Calendar),
            ("2024", Scheme::Calendar),
            ("v2024.1.3", Scheme::Calendar),
            ("20240501", Scheme::Date),
            ("20240501123000", Scheme::Date),
            ("20241301", Scheme::Numbers),
            ("24.04", Scheme::Numbers),
            ("2100.1", Scheme::Numbers),
            ("1999.1", Scheme::Numbers),
        ] {
            assert_eq!(version(tag).scheme(), scheme, "{tag}");
        }
    }

    /// Tags as registries have them, and tags that only look so.
    pub fn tag() -> impl Strategy<Value = String> {
        let number = prop_oneof![0u64..30, 2019u64..2027, Just(20_240_501), Just(20_261_101)];
        let main = proptest::collection::vec(number, 1..4)
            .prop_map(|numbers| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."));
        let suffix = prop_oneof![
            4 => Just(String::new()),
            1 => (0u8..30).prop_map(|n| format!("-alpine3.{n}")),
            1 => (9u8..13, 0u8..20).prop_map(|(n, r)| format!("-debian-{n}-r{r}")),
            1 => (0u8..12).prop_map(|n| format!("-rc.{n}")),
            1 => Just("-alpine-perl".to_owned()),
            1 => Just("-4f1c2d3".to_owned()),
            1 => "[-._][a-z0-9._-]{0,8}",
        ];
        let prefix = prop_oneof![6 => Just(""), 3 => Just("v"), 1 => Just("bookworm-"), 1 => Just("pr-")];
        (prefix, main, suffix).prop_map(|(prefix, main, suffix)| format!("{prefix}{main}{suffix}"))
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "\\PC{0,40}", tagged in "[A-Za-z0-9_][A-Za-z0-9._-]{0,60}") {
            for text in [text, tagged] {
                if let Ok(version) = Version::parse(&text) {
                    prop_assert_eq!(version.tag(), text);
                    prop_assert!(version.is_like(&version) && !version.is_newer_than(&version));
                }
            }
        }

        #[test]
        fn the_order_is_total(tags in proptest::collection::vec(tag(), 3)) {
            let versions: Vec<Version> = tags.iter().filter_map(|tag| Version::parse(tag).ok()).collect();
            for one in &versions {
                for other in &versions {
                    prop_assert_eq!(one.cmp(other), other.cmp(one).reverse());
                    prop_assert_eq!(one.cmp(other) == Ordering::Equal, one.tag() == other.tag());
                    if one.is_newer_than(other) {
                        prop_assert!(one > other && !other.is_newer_than(one));
                    }
                    for third in &versions {
                        if one <= other && other <= third {
                            prop_assert!(one <= third);
                        }
                    }
                }
            }
        }

        #[test]
        fn it_agrees_with_semver(one in (0u64..40, 0u64..40, 0u64..40), other in (0u64..40, 0u64..40, 0u64..40)) {
            let written = |(x, y, z): (u64, u64, u64)| format!("{x}.{y}.{z}");
            let (one, other) = (written(one), written(other));
            let semver = semver::Version::parse(&one).unwrap() > semver::Version::parse(&other).unwrap();
            prop_assert_eq!(version(&one).is_newer_than(&version(&other)), semver);
        }
    }
}
