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

    /// Whether it is one of the patches that a tag of two numbers stands for: `18.20.8` of `18.20`, `2024.1.3` of `2024.1`.
    /// Prefix and suffix are of the same shape, and no number of the suffix is lower. What a tag of one number stands for is
    /// not asked: of it no minor is known.
    pub fn is_patch_of(&self, floating: &Self) -> bool {
        let (mine, theirs) = (&self.shape, &floating.shape);
        let are_alike = mine.prefix == theirs.prefix && mine.scheme == theirs.scheme && mine.suffix == theirs.suffix;
        let suffix_is_lower =
            self.suffix_numbers.iter().zip(&floating.suffix_numbers).any(|(mine, theirs)| mine < theirs);
        are_alike
            && theirs.components == 2
            && mine.components == 3
            && self.numbers.starts_with(&floating.numbers)
            && !suffix_is_lower
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
#[allow(missing_docs)] // its property tests are the ladder's, too
pub(super) mod tests;
