//! The one place that reads the time: everything else is handed `now`, or the function that tells it.

use chrono::{DateTime, Utc};

/// Tells the present instant.
pub type Clock = fn() -> DateTime<Utc>;

/// The present instant, in UTC, by the system.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
