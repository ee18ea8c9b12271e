//! Durations as Prometheus writes them: `90d`, `4w`, `36h`, `1d12h`.

use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A positive span of time, kept as it was written. Seconds are the smallest unit: nothing here is quicker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyDuration {
    written: String,
    seconds: i64,
}

/// A text that is no duration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{written:?} is not a duration: write a number and a unit (y, w, d, h, m or s), as `90d` or `1d12h`")]
pub struct InvalidDuration {
    written: String,
}

/// Largest first, each at most once, as Prometheus wants them; a year is 365 days, as there.
const UNITS: [(char, i64); 6] =
    [('y', 365 * 86_400), ('w', 7 * 86_400), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A thousand years: beyond it dates overflow, and nobody means it.
const LONGEST_SECONDS: i64 = 1_000 * 365 * 86_400;

impl PolicyDuration {
    /// Reads a duration.
    pub fn parse(written: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration { written: written.chars().take(64).collect() };
        let mut units = UNITS.iter();
        let mut seconds: i64 = 0;
        let mut rest = written;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| invalid())?;
            let unit = rest[digits..].chars().next().ok_or_else(invalid)?;
            let (_, unit_seconds) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
            seconds = number
                .checked_mul(*unit_seconds)
                .and_then(|part| seconds.checked_add(part))
                .filter(|sum| *sum <= LONGEST_SECONDS)
                .ok_or_else(invalid)?;
            rest = &rest[digits + unit.len_utf8()..];
        }
        if seconds == 0 {
            return Err(invalid());
        }
        Ok(Self { written: written.to_owned(), seconds })
    }

    /// A whole number of days.
    pub fn days(days: i64) -> Self {
        Self { written: format!("{days}d"), seconds: days * 86_400 }
    }

    /// A whole number of hours.
    pub fn hours(hours: i64) -> Self {
        Self { written: format!("{hours}h"), seconds: hours * 3_600 }
    }

    /// The span in seconds.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// The span as a difference of times.
    pub fn delta(&self) -> TimeDelta {
        TimeDelta::seconds(self.seconds)
    }
}

impl fmt::Display for PolicyDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

impl TryFrom<String> for PolicyDuration {
    type Error = InvalidDuration;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        Self::parse(&written)
    }
}

impl From<PolicyDuration> for String {
    fn from(duration: PolicyDuration) -> Self {
        duration.written
    }
}

/// A span in words, as people say it: the largest unit that is not below 2, rounded down.
///
/// `112 days`, `36 hours`, `3 minutes`; below two minutes it is `a minute`, and one day is `1 day` only when exact.
pub fn in_words(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..120 => "a minute".to_owned(),
        120..7_200 => format!("{} minutes", seconds / 60),
        86_400 => "1 day".to_owned(),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Time that is left, in words: whole days to the nearest, so that ten days less a moment are ten.
pub fn left_in_words(seconds: i64) -> String {
    let days = (seconds + 43_200) / 86_400;
    if days >= 2 { format!("{days} days") } else { in_words(seconds) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        for (written, seconds) in [
            ("90d", 90 * 86_400),
            ("4w", 28 * 86_400),
            ("36h", 36 * 3_600),
            ("1d12h", 36 * 3_600),
            ("1y", 365 * 86_400),
            ("1h30m5s", 5_405),
        ] {
            assert_eq!(PolicyDuration::parse(written).unwrap().seconds(), seconds);
        }
        for written in [
            "",
            "90",
            "d",
            "90 d",
            "0d",
            "-1d",
            "1h1d",
            "1d1d",
            "90days",
            "1.5d",
            "99999999y",
            "9999999999999999999d",
            "1µ",
        ] {
            assert!(PolicyDuration::parse(written).is_err(), "{written}");
        }
    }

    #[test]
    fn spans_are_said_as_people_say_them() {
        for (seconds, words) in [
            (-5, "a minute"),
            (59, "a minute"),
            (1_800, "30 minutes"),
            (7_200, "2 hours"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (90_000, "25 hours"),
            (172_800, "2 days"),
            (112 * 86_400 + 5, "112 days"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(written in "\\PC{0,20}") {
            let _ = PolicyDuration::parse(&written);
        }
    }
}
