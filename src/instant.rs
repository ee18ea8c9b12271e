//! Points in time as records have them: RFC 3339 in UTC with `Z`, as exact as they are. Pure.
//!
//! The same text that chrono's own `Serialize` writes; but that goes piece by piece through what JSON escapes, digit for
//! digit, and a record has ten of them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// For `serialize_with`.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// For `serialize_with`, where there may be none.
pub fn serialize_known<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Ours(
        #[serde(serialize_with = "serialize")] DateTime<Utc>,
        #[serde(serialize_with = "serialize_known")] Option<DateTime<Utc>>,
    );

    proptest! {
        #[test]
        fn they_are_written_as_chrono_writes_them(
            seconds in -100_000_000_000_i64..300_000_000_000,
            nanoseconds in prop_oneof![Just(0), (0_u32..1_000).prop_map(|ms| ms * 1_000_000), 0_u32..1_000_000_000],
            known: bool,
        ) {
            let time = DateTime::from_timestamp(seconds, nanoseconds).unwrap();
            let known = known.then_some(time);
            let ours = serde_json::to_string(&Ours(time, known)).unwrap();
            prop_assert_eq!(ours, serde_json::to_string(&(time, known)).unwrap());
        }
    }
}
