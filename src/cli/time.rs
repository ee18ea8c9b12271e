//! Times as people type them.

use chrono::{DateTime, Utc};

use crate::image::build_date::read_date;
use crate::policy::duration::PolicyDuration;

/// Reads an RFC 3339 time, a day, or how long ago (`2h`, `7d`).
pub fn read(written: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(ago) = PolicyDuration::parse(written) {
        return Ok(now - ago.delta());
    }
    read_date(written).map_err(|_| {
        format!("{written:?} is no time: write it as 2026-11-23T12:00:00Z, as 2026-11-23, or as 2h for two hours ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::build_date::rfc3339;

    #[test]
    fn times_are_read_as_people_type_them() {
        let now = read_date("2026-11-23T12:00:00Z").unwrap();
        for (written, means) in [
            ("2h", "2026-11-23T10:00:00Z"),
            ("7d", "2026-11-16T12:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
        ] {
            assert_eq!(rfc3339(read(written, now).unwrap()), means);
        }
        assert!(read("someday", now).is_err());
    }
}
