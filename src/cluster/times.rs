//! Kubernetes' times come as jiff's, everything else here is chrono's: they are converted once, at this edge.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The same instant.
pub(super) fn instant(time: &Time) -> Option<DateTime<Utc>> {
    let nanoseconds = u32::try_from(time.0.subsec_nanosecond()).ok()?;
    DateTime::from_timestamp(time.0.as_second(), nanoseconds)
}
