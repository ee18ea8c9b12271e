//! Whether this process leads, as those ask who do what only one replica may do. Admission never asks.
//!
//! A term ends by this process's own clock, before any other replica may take over: one that is cut off, or stood still,
//! knows without being told.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// For how long this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Another does, or nobody.
    Not,
    /// It does until then, unless it is renewed.
    Until(Instant),
    /// There is nobody else.
    Always,
}

impl Term {
    fn holds(self, now: Instant) -> bool {
        match self {
            Self::Not => false,
            Self::Until(end) => now < end,
            Self::Always => true,
        }
    }
}

/// Says whether this process leads; clones say the same.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Term>);

impl Leadership {
    /// Of a process that is its own leader, because it knows of no others.
    pub fn alone() -> Self {
        Self(watch::channel(Term::Always).1)
    }

    pub(super) fn of(term: watch::Receiver<Term>) -> Self {
        Self(term)
    }

    /// Whether it leads now.
    pub fn leads(&self) -> bool {
        self.0.borrow().holds(Instant::now())
    }

    /// Waits until it leads; at once where it does.
    pub async fn gained(&self) {
        let mut term = self.0.clone();
        loop {
            if term.borrow_and_update().holds(Instant::now()) {
                return;
            }
            if term.changed().await.is_err() {
                // Whoever stood for election has ended, and so will this process.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until it does not lead any more; at once where it does not.
    pub async fn lost(&self) {
        let mut term = self.0.clone();
        loop {
            let until = match *term.borrow_and_update() {
                Term::Not => return,
                Term::Until(end) if end <= Instant::now() => return,
                Term::Until(end) => Some(end),
                Term::Always => None,
            };
            let ended = async {
                match until {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended => {}
                changed = term.changed() => if changed.is_err() {
                    // Nobody renews it any more; it ends by itself.
                    match until {
                        Some(end) => sleep_until(end).await,
                        None => std::future::pending().await,
                    }
                },
            }
        }
    }

    /// Does `work` whenever this process leads, and drops it where it stands when it does not any more; for ever.
    pub async fn whenever_leading<F: Future<Output = ()>>(&self, mut work: impl FnMut() -> F) {
        loop {
            self.gained().await;
            tokio::select! {
                biased;
                () = self.lost() => {}
                // What has nothing left to do waits for the next term.
                () = work() => self.lost().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_the_clock_without_a_word_from_anybody() {
        let (told, term) = watch::channel(Term::Not);
        let leadership = Leadership::of(term);
        assert!(!leadership.leads());
        let end = Instant::now() + Duration::from_secs(10);
        told.send_replace(Term::Until(end));
        leadership.gained().await;
        assert!(leadership.leads());
        leadership.lost().await;
        assert_eq!(Instant::now(), end);
        assert!(!leadership.leads());
        // A term that is renewed goes on.
        told.send_replace(Term::Until(end + Duration::from_secs(5)));
        let renewed = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            told.send_replace(Term::Until(end + Duration::from_secs(20)));
        };
        tokio::join!(leadership.lost(), renewed);
        assert_eq!(Instant::now(), end + Duration::from_secs(20));
        drop(told);
        assert!(Leadership::alone().leads());
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_when_the_term_ends_and_begun_again_with_the_next() {
        let (told, term) = watch::channel(Term::Not);
        let leadership = Leadership::of(term);
        let (begun, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counts = (Arc::clone(&begun), Arc::clone(&done));
        let task = tokio::spawn(async move {
            let work = || async {
                counts.0.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(60)).await;
                counts.1.fetch_add(1, Ordering::Relaxed);
            };
            leadership.whenever_leading(work).await;
        });
        let after = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        after(100).await;
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        for term in 1..=2 {
            told.send_replace(Term::Until(Instant::now() + Duration::from_secs(10)));
            after(90).await;
            assert_eq!((begun.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (term, 0));
        }
        task.abort();
    }
}
