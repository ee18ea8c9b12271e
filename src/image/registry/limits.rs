//! Keeps the gate a polite and patient guest: how many requests run at once against one registry, when it asked to be
//! left alone, and when it is better left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
        self.check(Instant::now())?;
        let permit = self.at_once.acquire().await.ok(); // never closed
        self.check(Instant::now())?;
        Ok(permit)
    }

    fn check(&self, now: Instant) -> Result<(), Refused> {
        let mut state = self.state();
        let left = |until: Option<Instant>| until.filter(|until| *until > now).map(|until| (until - now).as_secs() + 1);
        if let Some(seconds) = left(state.rate_limited_until) {
            return Err(Refused::RateLimited(seconds));
        }
        if let Some(seconds) = left(state.left_alone_until) {
            return Err(Refused::LeftAlone(seconds));
        }
        if state.left_alone_until.take().is_some() {
            state.failures = FAILURES_TO_OPEN - 1; // one probe; its failure is enough
        }
        Ok(())
    }

    /// An answer came, whatever it said.
    pub fn answered(&self) {
        self.state().failures = 0;
    }

    /// None came, or none that could be used.
    pub fn failed(&self) {
        let mut state = self.state();
        state.failures += 1;
        if state.failures >= FAILURES_TO_OPEN {
            state.left_alone_until = Some(Instant::now() + OPEN_FOR);
        }
    }

    /// The registry asked for patience. Gives the seconds that it is granted.
    pub fn rate_limited(&self, retry_after_seconds: Option<u64>) -> u64 {
        let wait = retry_after_seconds.map_or(DEFAULT_RETRY_AFTER, Duration::from_secs).min(LONGEST_RETRY_AFTER);
        self.state().rate_limited_until = Some(Instant::now() + wait);
        wait.as_secs()
    }
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
        limits.answered();
        limits.failed();
        assert!(limits.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_retry_after_is_capped() {
        let limits = Limits::default();
        assert_eq!(limits.rate_limited(Some(86_400)), 60);
        assert_eq!(limits.enter().await.err(), Some(Refused::RateLimited(61)));
        tokio::time::advance(LONGEST_RETRY_AFTER).await;
        assert!(limits.enter().await.is_ok());
    }
}
