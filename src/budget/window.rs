//! The time over which an error budget counts: the last so many days, or a period of the calendar.
//!
//! A calendar period is kept as the two instants at which it begins and ends, so that a record means the same when the
//! rules of a time zone have changed.

use std::str::FromStr as _;

use chrono::{DateTime, Datelike as _, Days, LocalResult, Months, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Over which time a budget counts, as it stood when it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    /// The last so many seconds.
    #[serde(rename_all = "camelCase")]
    Rolling {
        /// How many.
        seconds: i64,
    },
    /// A period of the calendar.
    #[serde(rename_all = "camelCase")]
    Calendar {
        /// As it was written: `1M`.
        written: String,
        /// When the period began, in UTC.
        starts_at: DateTime<Utc>,
        /// When it ends, and all of the budget is back, in UTC.
        ends_at: DateTime<Utc>,
    },
}

impl Window {
    /// Its whole length.
    pub fn seconds(&self) -> i64 {
        match self {
            Self::Rolling { seconds } => *seconds,
            Self::Calendar { starts_at, ends_at, .. } => ends_at.signed_duration_since(*starts_at).num_seconds(),
        }
    }

    /// How much of it has passed: all of a rolling one, a part of a period.
    pub fn elapsed_seconds(&self, now: DateTime<Utc>) -> i64 {
        match self {
            Self::Rolling { seconds } => *seconds,
            Self::Calendar { starts_at, .. } => {
                now.signed_duration_since(*starts_at).num_seconds().clamp(0, self.seconds())
            }
        }
    }

    /// `30d`, or `1M` for a period: as messages and reports have it.
    pub fn in_short(&self) -> String {
        match self {
            Self::Rolling { seconds } => short(*seconds),
            Self::Calendar { written, .. } => written.clone(),
        }
    }

    /// `the last 30 days`, `the month that ends on 2026-12-01`.
    pub fn in_words(&self) -> String {
        match self {
            Self::Rolling { seconds } => format!("the last {}", crate::policy::duration::in_words(*seconds)),
            Self::Calendar { written, ends_at, .. } => {
                let unit = match written.as_str() {
                    "1M" => "month",
                    "1w" | "1W" => "week",
                    "1Q" => "quarter",
                    "1Y" | "1y" => "year",
                    _ => "period",
                };
                format!("the {unit} that ends on {}", ends_at.format("%Y-%m-%d %H:%M UTC"))
            }
        }
    }
}

/// Seconds in the largest unit that divides them, as Prometheus writes durations; weeks stay days, as people say them.
pub fn short(seconds: i64) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds > 0 && seconds % length == 0 {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// Periods of a calendar, one after the other: each month in Berlin, each second week in New York.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarPeriods {
    written: String,
    count: u32,
    unit: Unit,
    first: NaiveDateTime,
    zone: Tz,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Minutes(i64),
    Days(u64),
    Months(u32),
}

/// Why a calendar window is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidCalendar {
    /// The length.
    #[error("{0:?} is no length of a calendar window: write a number and h, d, w, M, Q or Y, as `1M`")]
    Length(String),
    /// The first period's begin.
    #[error("{0:?} is no start time: write it as `2026-01-01 00:00:00`")]
    Start(String),
    /// The time zone.
    #[error("{0:?} is no time zone: write a name of the IANA database, as `Europe/Berlin`")]
    Zone(String),
}

impl CalendarPeriods {
    /// Reads a length, the local time at which a period began, and the time zone in which that is meant.
    pub fn parse(length: &str, start: &str, zone: &str) -> Result<Self, InvalidCalendar> {
        let invalid = || InvalidCalendar::Length(length.chars().take(64).collect());
        let digits = length.bytes().take_while(u8::is_ascii_digit).count();
        let count: u32 =
            length[..digits].parse().ok().filter(|count| (1..=1_000).contains(count)).ok_or_else(invalid)?;
        let unit = match &length[digits..] {
            "m" => Unit::Minutes(1),
            "h" => Unit::Minutes(60),
            "d" => Unit::Days(1),
            "w" | "W" => Unit::Days(7),
            "M" => Unit::Months(1),
            "Q" => Unit::Months(3),
            "y" | "Y" => Unit::Months(12),
            _ => return Err(invalid()),
        };
        let first = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(start, form).ok())
            .ok_or_else(|| InvalidCalendar::Start(start.chars().take(64).collect()))?;
        let zone = Tz::from_str(zone).map_err(|_| InvalidCalendar::Zone(zone.chars().take(64).collect()))?;
        Ok(Self { written: length.to_owned(), count, unit, first, zone })
    }

    /// The period that `now` is in. Before the first one, it is the first.
    pub fn at(&self, now: DateTime<Utc>) -> Window {
        let local = now.with_timezone(&self.zone).naive_local();
        let mut index = self.guess(local);
        // A guess is off by one at most: months differ in length, days by what daylight saving takes or gives.
        while index > 0 && self.starts(index) > now {
            index -= 1;
        }
        while self.starts(index + 1) <= now {
            index += 1;
        }
        Window::Calendar {
            written: self.written.clone(),
            starts_at: self.starts(index),
            ends_at: self.starts(index + 1),
        }
    }

    /// About how many periods lie between the first and this local time.
    fn guess(&self, local: NaiveDateTime) -> u32 {
        let since = local.signed_duration_since(self.first);
        let count = i64::from(self.count);
        let periods = match self.unit {
            Unit::Minutes(minutes) => since.num_minutes() / (minutes * count),
            Unit::Days(days) => since.num_days() / (i64::try_from(days).unwrap_or(1) * count),
            Unit::Months(months) => {
                let years = i64::from(local.year()) - i64::from(self.first.year());
                let between = years * 12 + i64::from(local.month()) - i64::from(self.first.month());
                between / (i64::from(months) * count)
            }
        };
        u32::try_from(periods.max(0)).unwrap_or(0)
    }

    /// When a period begins. Counted from the first one: the 31st comes back after a shorter month.
    fn starts(&self, index: u32) -> DateTime<Utc> {
        let steps = u64::from(self.count) * u64::from(index);
        let local = match self.unit {
            // Hours pass at one pace, whatever clocks on walls are set to.
            Unit::Minutes(minutes) => {
                let passed = i64::try_from(steps).unwrap_or(i64::MAX).saturating_mul(minutes);
                return TimeDelta::try_minutes(passed)
                    .and_then(|passed| self.instant(self.first).checked_add_signed(passed))
                    .unwrap_or(DateTime::<Utc>::MAX_UTC);
            }
            Unit::Days(days) => self.first.checked_add_days(Days::new(steps.saturating_mul(days))),
            Unit::Months(months) => {
                let all = u32::try_from(steps.saturating_mul(u64::from(months))).unwrap_or(u32::MAX);
                self.first.checked_add_months(Months::new(all))
            }
        };
        local.map_or(DateTime::<Utc>::MAX_UTC, |local| self.instant(local))
    }

    /// A local time as an instant: of two the earlier, and where clocks skip it, the first after the gap.
    fn instant(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let mut local = local;
        // No gap that any zone had is longer than a day.
        for _ in 0..=24 * 4 {
            match self.zone.from_local_datetime(&local) {
                LocalResult::Single(found) | LocalResult::Ambiguous(found, _) => return found.with_timezone(&Utc),
                LocalResult::None => local += TimeDelta::minutes(15),
            }
        }
        local.and_utc()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[track_caller]
    fn period(length: &str, start: &str, zone: &str, now: &str, from: &str, to: &str) {
        let periods = CalendarPeriods::parse(length, start, zone).unwrap();
        let expected = Window::Calendar { written: length.into(), starts_at: at(from), ends_at: at(to) };
        assert_eq!(periods.at(at(now)), expected, "{length} from {start} in {zone} at {now}");
    }

    #[test]
    fn periods_follow_the_calendar_of_their_zone() {
        let new_year = "2026-01-01 00:00:00";
        period("1M", new_year, "UTC", "2026-11-24T12:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        period("1Q", new_year, "UTC", "2026-11-24T12:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z");
        period("1Y", new_year, "UTC", "2026-11-24T12:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        // Berlin's months begin an hour or two before those of UTC.
        period("1M", new_year, "Europe/Berlin", "2026-11-24T12:00:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
        period("1M", new_year, "Europe/Berlin", "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
        period("1M", new_year, "Europe/Berlin", "2026-10-31T22:59:59Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z");
        // The 31st falls on the last day of shorter months, and comes back.
        period(
            "1M",
            "2026-01-31 00:00:00",
            "UTC",
            "2026-03-01T00:00:00Z",
            "2026-02-28T00:00:00Z",
            "2026-03-31T00:00:00Z",
        );
        period(
            "1M",
            "2026-01-31 00:00:00",
            "UTC",
            "2026-04-01T00:00:00Z",
            "2026-03-31T00:00:00Z",
            "2026-04-30T00:00:00Z",
        );
        // Two weeks from a Monday.
        period(
            "2w",
            "2026-01-05 09:00:00",
            "UTC",
            "2026-01-20T00:00:00Z",
            "2026-01-19T09:00:00Z",
            "2026-02-02T09:00:00Z",
        );
        // Before the first period it is the first.
        period("1M", new_year, "UTC", "2020-05-05T00:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    }

    #[test]
    fn daylight_saving_makes_days_longer_shorter_and_skips_hours() {
        let day = |now: &str, from: &str, to: &str| period("1d", "2026-01-01 02:30:00", "Europe/Berlin", now, from, to);
        day("2026-03-28T12:00:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"); // 02:30 is skipped
        day("2026-03-29T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z");
        day("2026-10-25T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"); // 02:30 comes twice
        let month = CalendarPeriods::parse("1M", "2026-01-01 00:00:00", "America/New_York").unwrap();
        assert_eq!(month.at(at("2026-03-20T00:00:00Z")).seconds(), 31 * 86_400 - 3_600);
        assert_eq!(month.at(at("2026-11-20T00:00:00Z")).seconds(), 30 * 86_400 + 3_600);
    }

    #[test]
    fn what_is_no_calendar_says_why() {
        let parse = |length, start, zone| CalendarPeriods::parse(length, start, zone).unwrap_err().to_string();
        let start = "2026-01-01 00:00:00";
        for length in ["", "M", "0M", "1", "1x", "99999999999M", "1.5M"] {
            assert!(parse(length, start, "UTC").contains("is no length of a calendar window"), "{length}");
        }
        assert!(parse("1M", "yesterday", "UTC").contains("is no start time"));
        assert!(parse("1M", start, "Mars/Olympus").contains("is no time zone"));
    }

    #[test]
    fn windows_are_named_as_people_do() {
        assert_eq!(Window::Rolling { seconds: 30 * 86_400 }.in_short(), "30d");
        assert_eq!(Window::Rolling { seconds: 28 * 86_400 }.in_words(), "the last 28 days");
        assert_eq!(short(5_400), "90m");
        let month = CalendarPeriods::parse("1M", "2026-01-01 00:00:00", "UTC").unwrap().at(at("2026-11-24T12:00:00Z"));
        assert_eq!(month.in_words(), "the month that ends on 2026-12-01 00:00 UTC");
        assert_eq!(month.elapsed_seconds(at("2026-11-02T00:00:00Z")), 86_400);
    }

    proptest! {
        #[test]
        fn now_is_within_its_period_and_the_next_begins_where_it_ends(
            seconds in 1_767_225_600_i64..2_500_000_000, unit in prop::sample::select(vec!["1d", "3d", "1w", "1M", "2M", "1Q", "1Y", "36h"]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        ) {
            let periods = CalendarPeriods::parse(unit, "2025-12-31 02:30:00", zone).unwrap();
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            let Window::Calendar { starts_at, ends_at, .. } = periods.at(now) else { panic!("a period is one") };
            prop_assert!(starts_at <= now && now < ends_at);
            let Window::Calendar { starts_at: next, .. } = periods.at(ends_at) else { panic!("a period is one") };
            prop_assert_eq!(next, ends_at);
        }
    }
}
