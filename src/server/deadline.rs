//! By when a review must be answered, from what the API server says of its own patience.

use std::time::Duration;

use tokio::time::Instant;

/// What an API server waits by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time-out a webhook can have.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The API server rounds its time-out up to whole seconds, so the true deadline may be almost this much earlier.
const ROUNDED_UP_BY: Duration = Duration::from_secs(1);
/// For the way there and back, and for the audit's disk.
const MARGIN: Duration = Duration::from_millis(250);
/// The disk's part of that: a disk that hangs longer does not hold up the answer.
const RECORD_WITHIN: Duration = Duration::from_millis(150);

/// When a review's answer comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When the request arrived.
    pub arrived: Instant,
    /// Until when evidence may be gathered; the answer leaves right after. With a time-out of a second there is no time
    /// at all: only what is in memory counts then.
    pub evidence_until: Instant,
    /// Until when the answer waits for its record.
    pub record_until: Instant,
}

impl Deadline {
    /// The deadline of a request that arrived with `?timeout=`.
    pub fn new(arrived: Instant, timeout: Duration) -> Self {
        let room = timeout.min(LONGEST_TIMEOUT).saturating_sub(ROUNDED_UP_BY).saturating_sub(MARGIN);
        Self { arrived, evidence_until: arrived + room, record_until: arrived + room + RECORD_WITHIN }
    }

    /// Time there is in all, in milliseconds.
    pub fn total_ms(&self) -> u64 {
        u64::try_from((self.evidence_until - self.arrived).as_millis()).unwrap_or(u64::MAX)
    }

    /// Time since the request arrived, in milliseconds.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Reads the time-out of a request's query, as `timeout=10s`; one that no webhook can have is the longest there is, and
/// where there is none, `otherwise` counts.
pub fn timeout_of(query: Option<&str>, otherwise: Duration) -> Result<Duration, String> {
    let written = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("timeout="));
    match written {
        None | Some("") => Ok(otherwise),
        Some(written) => humantime::parse_duration(written)
            .map(|timeout| timeout.min(LONGEST_TIMEOUT))
            .map_err(|_| format!("timeout={written:?} is no duration; write it as `timeout=10s`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_api_server_writes_them() {
        for (query, seconds) in [
            (None, 7.0),
            (Some("timeout=10s"), 10.0),
            (Some("a=b&timeout=1m30s"), 30.0),
            (Some("timeout=500ms"), 0.5),
            (Some("timeout=584000000000y"), 30.0),
        ] {
            let read = timeout_of(query, Duration::from_secs(7)).map(|timeout| timeout.as_secs_f64());
            assert_eq!(read, Ok(seconds), "{query:?}");
        }
        assert_eq!(
            timeout_of(Some("timeout=soon"), DEFAULT_TIMEOUT),
            Err(r#"timeout="soon" is no duration; write it as `timeout=10s`"#.to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_rounding_and_the_margin_are_taken_off() {
        let now = Instant::now();
        let deadline = |seconds| Deadline::new(now, Duration::from_secs(seconds)).total_ms();
        assert_eq!([deadline(10), deadline(2), deadline(1), deadline(900)], [8_750, 750, 0, 28_750]);
    }
}
