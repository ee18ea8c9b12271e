//! Times as the store's columns hold them: RFC 3339, UTC, always six decimals, so that text sorts as time does.

use chrono::{DateTime, SecondsFormat, Utc};

/// The text of a column.
pub(crate) fn to_column(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Reads a column; also any other RFC 3339 time.
pub(crate) fn from_column(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_sorts_as_time_does() {
        let column = |text| to_column(from_column(text).unwrap());
        assert_eq!(column("2026-11-24T10:00:00Z"), "2026-11-24T10:00:00.000000Z");
        assert_eq!(column("2026-11-24T12:00:00.5+02:00"), "2026-11-24T10:00:00.500000Z");
        assert!(column("2026-11-24T10:00:00Z") < column("2026-11-24T10:00:00.001Z"));
    }
}
