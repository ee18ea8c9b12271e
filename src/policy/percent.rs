//! Percentages as people write them: `20%`, `0%`, `-5%`, `12.5%`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A part of a whole, kept as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    written: String,
    fraction: f64,
}

/// A text that is no percentage.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{written:?} is not a percentage: write a number from -100 to 100 and a percent sign, as `20%` or `2.5%`")]
pub struct InvalidPercent {
    written: String,
}

impl Percent {
    /// Reads a percentage.
    pub fn parse(written: &str) -> Result<Self, InvalidPercent> {
        let invalid = || InvalidPercent { written: written.chars().take(64).collect() };
        let number = written.strip_suffix('%').ok_or_else(invalid)?.trim_end();
        let is_plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = number.strip_prefix('-').unwrap_or(number);
        let plain = match unsigned.split_once('.') {
            Some((whole, part)) => is_plain(whole) && is_plain(part),
            None => is_plain(unsigned),
        };
        if !plain {
            return Err(invalid());
        }
        let percent: f64 = number.parse().map_err(|_| invalid())?;
        if (-100.0..=100.0).contains(&percent) {
            Ok(Self { written: written.to_owned(), fraction: percent / 100.0 })
        } else {
            Err(invalid())
        }
    }

    /// As a fraction: 0.2 for `20%`.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

impl TryFrom<String> for Percent {
    type Error = InvalidPercent;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        Self::parse(&written)
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.written
    }
}

/// A fraction in percent, as messages have it: `12.5 %`, `-140 %`, `0.14 %`; no more digits than say something.
pub fn in_words(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let digits = match percent.abs() {
        size if size >= 99.95 => 0,
        size if size >= 0.95 => 1,
        _ => 2,
    };
    format!("{} %", trimmed(percent, digits))
}

/// An objective in percent, with all its nines: `99.95 %`.
pub fn objective_in_words(fraction: f64) -> String {
    format!("{} %", trimmed(fraction * 100.0, 5))
}

/// A number without zeros that say nothing.
fn trimmed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_as_people_write_them() {
        for (written, fraction) in
            [("0%", 0.0), ("20%", 0.2), ("20 %", 0.2), ("-5%", -0.05), ("2.5%", 0.025), ("100%", 1.0)]
        {
            assert!((Percent::parse(written).unwrap().fraction() - fraction).abs() < 1e-12, "{written}");
        }
        for written in
            ["", "%", "20", "0.2", "abc%", "1e2%", "+5%", "101%", "-101%", "NaN%", "inf%", ".5%", "5.%", "5%%"]
        {
            assert!(Percent::parse(written).is_err(), "{written}");
        }
    }

    #[test]
    fn fractions_are_said_with_as_many_digits_as_say_something() {
        for (fraction, words) in [
            (0.125, "12.5 %"),
            (-1.4, "-140 %"),
            (0.001_388, "0.14 %"),
            (0.0, "0 %"),
            (-0.000_001, "0 %"),
            (0.2, "20 %"),
            (1.0, "100 %"),
            (0.05, "5 %"),
            (-0.005, "-0.5 %"),
        ] {
            assert_eq!(in_words(fraction), words);
        }
        assert_eq!(objective_in_words(0.999), "99.9 %");
        assert_eq!(objective_in_words(0.999_95), "99.995 %");
        assert_eq!(objective_in_words(1.0), "100 %");
    }
}
