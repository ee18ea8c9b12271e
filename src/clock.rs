//! The one place that reads the time: everything else is handed `now`.
//! Tests and the demo can shift it, so that ninety days need not pass.

use chrono::{DateTime, Utc};

/// The present instant, in UTC.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
