//! Keeps the gate a polite and patient guest: how many requests run at once against one registry, when it asked to be
//! left alone, and when it is better left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Requests under way at once against one registry.
const REQUESTS_AT_ONCE: usize = 16;
/// Failures in a row after which a registry is left alone for a while.
const FAILURES_TO_OPEN: u32 = 5;
/// That while.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// The longest a `Retry-After` is obeyed: an absurd one must not blind the gate for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long a 429 without `Retry-After` counts.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The state of one registry.
#[derive(Debug)]
pub struct Limits {
    at_once: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    left_alone_until: Option<Instant>,
    rate_limited_until: Option<Instant>,
}

impl State {
    fn check_failures(&self, now: Instant) -> Result<(), Refused> {
        seconds_left(self.left_alone_until, now).map_or(Ok(()), |seconds| Err(Refused::LeftAlone(seconds)))
    }
}

/// Why no request may be sent just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The registry asked for patience, for this many seconds more.
    RateLimited(u64),
    /// It failed several times in a row and is left alone, for this many seconds more.
    LeftAlone(u64),
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: Semaphore::new(REQUESTS_AT_ONCE), state: Mutex::default() }
    }
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place among the requests under way; refuses at once while the registry is to be left alone.
    pub async fn enter(&self) -> Result<Option<SemaphorePermit<'_>>, Refused> {
        self.check_patience(Instant::now())?;
        self.state().check_failures(Instant::now())?;
        let permit = self.at_once.acquire().await.ok(); // never closed
        let now = Instant::now();
        self.check_patience(now)?;
        let mut state = self.state();
        state.check_failures(now)?;
        if state.left_alone_until.is_some() {
            // One probe: until it is answered the others are refused, and its failure is enough.
            state.left_alone_until = Some(now + OPEN_FOR);
            state.failures = FAILURES_TO_OPEN - 1;
        }
        Ok(permit)
    }

    /// Whether the registry asked for patience that is not over yet.
    pub fn check_patience(&self, now: Instant) -> Result<(), Refused> {
        match seconds_left(self.state().rate_limited_until, now) {
            Some(seconds) => Err(Refused::RateLimited(seconds)),
            None => Ok(()),
        }
    }

    /// An answer came, whatever it said.
    pub fn answered(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.left_alone_until = None;
    }

    /// None came, or none that could be used.
    pub fn failed(&self) {
        let mut state = self.state();
        state.failures += 1;
        if state.failures >= FAILURES_TO_OPEN {
            state.left_alone_until = Some(Instant::now() + OPEN_FOR);
        }
    }

    /// It is better left alone for a while, without waiting for more failures.
    pub fn leave_alone(&self) {
        self.state().left_alone_until = Some(Instant::now() + OPEN_FOR);
    }

    /// The registry asked for patience. Gives the seconds that it is granted.
    pub fn rate_limited(&self, retry_after: Option<Duration>) -> u64 {
        let wait = retry_after.unwrap_or(DEFAULT_RETRY_AFTER).min(LONGEST_RETRY_AFTER);
        self.state().rate_limited_until = Some(Instant::now() + wait);
        wait.as_secs()
    }
}

fn seconds_left(until: Option<Instant>, now: Instant) -> Option<u64> {
    until.filter(|until| *until > now).map(|until| (until - now).as_secs() + 1)
}

/// How long a `Retry-After` asks to wait: seconds, or the time between `now` (by the clock of whoever asks for it) and a
/// date as HTTP writes it. `None` where it is neither.
pub fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = http_date(header)?;
    Some(then.signed_duration_since(now).to_std().unwrap_or_default())
}

/// A date as HTTP writes it: `Wed, 25 Nov 2026 12:00:00 GMT`.
pub fn http_date(header: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(header.trim()).ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_fails_is_left_alone_and_probed_once() {
        let limits = Limits::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(limits.enter().await.is_ok());
            limits.failed();
        }
        assert!(matches!(limits.enter().await, Err(Refused::LeftAlone(_))));
        tokio::time::advance(OPEN_FOR).await;
        assert!(limits.enter().await.is_ok());
        limits.failed();
        assert!(matches!(limits.enter().await, Err(Refused::LeftAlone(_))));
        tokio::time::advance(OPEN_FOR).await;
        assert!(limits.enter().await.is_ok());
        assert!(matches!(limits.enter().await, Err(Refused::LeftAlone(_))), "one probe at a time");
        limits.answered();
        limits.failed();
        assert!(limits.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_retry_after_is_capped() {
        let limits = Limits::default();
        assert_eq!(limits.rate_limited(Some(Duration::from_secs(86_400))), 60);
        assert_eq!(limits.enter().await.err(), Some(Refused::RateLimited(61)));
        tokio::time::advance(LONGEST_RETRY_AFTER).await;
        assert!(limits.enter().await.is_ok());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = http_date("Wed, 25 Nov 2026 12:00:00 GMT").unwrap();
        for (header, seconds) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("Wed, 25 Nov 2026 12:00:42 GMT", Some(42)),
            ("Wed, 25 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now).map(|wait| wait.as_secs()), seconds, "{header:?}");
        }
    }
}
