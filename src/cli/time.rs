//! Times as people type them.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, Utc, Weekday};

use crate::image::build_date::read_date;
use crate::policy::duration::PolicyDuration;

/// Reads an RFC 3339 time, a day (its beginning, in UTC), or how long ago (`2h`, `7d`).
pub fn read(written: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(ago) = PolicyDuration::parse(written) {
        return Ok(now - ago.delta());
    }
    if written.trim().eq_ignore_ascii_case("now") {
        return Ok(now);
    }
    if let Some(day) = named_day(written, now.date_naive()) {
        return Ok(beginning(day));
    }
    read_date(written).map_err(|_| {
        format!(
            "{written:?} is no time: write it as 2026-11-23T12:00:00Z, as 2026-11-23, as yesterday or \"last tuesday\", or as 2h for two hours ago"
        )
    })
}

/// Reads a day: when it begins and when it ends, in UTC.
pub fn read_day(written: &str, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    let day =
        named_day(written, now.date_naive()).or_else(|| NaiveDate::parse_from_str(written.trim(), "%Y-%m-%d").ok());
    let day = day.and_then(|day| Some((day, day.checked_add_days(Days::new(1))?)));
    let (day, next) = day.ok_or_else(|| {
        format!("{written:?} is no day: write it as 2026-11-23, as today, as yesterday or as \"last tuesday\"")
    })?;
    Ok((beginning(day), beginning(next)))
}

fn beginning(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// A day by its name. That of a weekday is the last one before today: on a Tuesday, "last tuesday" is a week ago.
fn named_day(written: &str, today: NaiveDate) -> Option<NaiveDate> {
    let written = written.trim().to_lowercase();
    match written.as_str() {
        "today" => Some(today),
        "yesterday" => today.pred_opt(),
        _ => {
            let name = written.strip_prefix("last").map_or(written.as_str(), str::trim_start);
            let weekday: Weekday = name.parse().ok()?;
            let ago = today.weekday().days_since(weekday);
            today.checked_sub_days(Days::new(u64::from(if ago == 0 { 7 } else { ago })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::build_date::rfc3339;

    #[test]
    fn times_are_read_as_people_type_them() {
        let now = read_date("2026-11-23T12:00:00Z").unwrap(); // a Monday
        for (written, means) in [
            ("2h", "2026-11-23T10:00:00Z"),
            ("7d", "2026-11-16T12:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
            ("now", "2026-11-23T12:00:00Z"),
            ("today", "2026-11-23T00:00:00Z"),
            ("Yesterday", "2026-11-22T00:00:00Z"),
            ("last tuesday", "2026-11-17T00:00:00Z"),
            ("Last  Sunday", "2026-11-22T00:00:00Z"),
            ("tue", "2026-11-17T00:00:00Z"),
            ("last monday", "2026-11-16T00:00:00Z"),
        ] {
            assert_eq!(read(written, now).map(rfc3339), Ok(means.to_owned()), "{written}");
        }
        for written in ["someday", "last", "last week", "last 2026-11-20", ""] {
            let told = format!(
                "{written:?} is no time: write it as 2026-11-23T12:00:00Z, as 2026-11-23, as yesterday or \"last tuesday\", or as 2h for two hours ago"
            );
            assert_eq!(read(written, now), Err(told));
        }
    }

    #[test]
    fn a_day_has_a_beginning_and_an_end() {
        let now = read_date("2026-11-23T12:00:00Z").unwrap();
        for (written, day, next) in
            [("last tuesday", "2026-11-17", "2026-11-18"), ("2026-12-31", "2026-12-31", "2027-01-01")]
        {
            let midnight = |day: &str| read_date(day).unwrap();
            assert_eq!(read_day(written, now), Ok((midnight(day), midnight(next))));
        }
        assert_eq!(
            read_day("2h", now),
            Err("\"2h\" is no day: write it as 2026-11-23, as today, as yesterday or as \"last tuesday\"".to_owned())
        );
    }
}
