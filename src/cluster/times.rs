//! Kubernetes' times come as jiff's, everything else here is chrono's: they are converted once, at this edge.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;

/// The same instant.
pub(super) fn instant(time: &Time) -> Option<DateTime<Utc>> {
    let nanoseconds = u32::try_from(time.0.subsec_nanosecond()).ok()?;
    DateTime::from_timestamp(time.0.as_second(), nanoseconds)
}

/// The same instant, as Events have it.
pub(super) fn micro_time(instant: DateTime<Utc>) -> Option<MicroTime> {
    Timestamp::from_microsecond(instant.timestamp_micros()).ok().map(MicroTime)
}
