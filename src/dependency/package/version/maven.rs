//! Versions of Maven: numbers, then words that come before a release, mean one, or name a flavour of it.
//!
//! Maven itself puts `-android` before `-jre`; that is an order of names, and no step. So flavours are told apart
//! ([`MavenVersion::flavour`]) and only like is compared with like.

use std::cmp::Ordering;

/// A version of Maven.
#[derive(Clone, Debug)]
pub struct MavenVersion {
    numbers: Vec<u64>,
    rank: Rank,
    /// The numbers after the word, as of `RC2`.
    after: Vec<u64>,
    flavour: String,
}

/// What a word says of the release that it is beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Alpha,
    Beta,
    Milestone,
    Candidate,
    Snapshot,
    Release,
    ServicePack,
}

impl MavenVersion {
    /// Reads a version; it begins with a number.
    pub fn parse(written: &str) -> Option<Self> {
        let written = written.to_ascii_lowercase();
        if written.len() > 200 || !written.bytes().next()?.is_ascii_digit() {
            return None;
        }
        let mut version = Self { numbers: Vec::new(), rank: Rank::Release, after: Vec::new(), flavour: String::new() };
        let mut in_numbers = true;
        for token in tokens(&written) {
            match token.parse::<u64>() {
                Ok(number) if in_numbers => version.numbers.push(number),
                Ok(number) => version.after.push(number),
                Err(_) if token.bytes().all(|byte| byte.is_ascii_digit()) => return None,
                Err(_) => {
                    in_numbers = false;
                    match word(token) {
                        // Of several words the one that comes earliest counts: 1.0-rc1-snapshot is no release.
                        Some(Rank::ServicePack) if version.rank == Rank::Release => version.rank = Rank::ServicePack,
                        Some(rank) => version.rank = version.rank.min(rank),
                        None if !version.flavour.is_empty() => version.flavour = format!("{}-{token}", version.flavour),
                        None => token.clone_into(&mut version.flavour),
                    }
                }
            }
        }
        while version.numbers.len() > 1 && version.numbers.last() == Some(&0) {
            version.numbers.pop();
        }
        Some(version)
    }

    /// One of its leading numbers; 0 where there is none.
    pub fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }

    /// Whether it comes before a release.
    pub fn is_pre_release(&self) -> bool {
        self.rank < Rank::Release
    }

    /// What it is a variant of, as `jre`; empty for most.
    pub fn flavour(&self) -> &str {
        &self.flavour
    }
}

/// Runs of digits and runs of letters.
fn tokens(written: &str) -> impl Iterator<Item = &str> {
    let mut rest = written;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|character: char| !character.is_alphanumeric());
        let is_digit = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .find(|character: char| !character.is_alphanumeric() || character.is_ascii_digit() != is_digit)
            .unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

fn word(token: &str) -> Option<Rank> {
    Some(match token {
        "alpha" | "a" => Rank::Alpha,
        "beta" | "b" => Rank::Beta,
        "milestone" | "m" => Rank::Milestone,
        "rc" | "cr" => Rank::Candidate,
        "snapshot" => Rank::Snapshot,
        "final" | "ga" | "release" => Rank::Release,
        "sp" => Rank::ServicePack,
        _ => return None,
    })
}

impl PartialEq for MavenVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for MavenVersion {}

impl PartialOrd for MavenVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MavenVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| self.rank.cmp(&other.rank))
            .then_with(|| self.after.cmp(&other.after))
            .then_with(|| self.flavour.cmp(&other.flavour))
    }
}
