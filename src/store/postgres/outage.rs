//! That a server did not answer a moment ago, so that not every decision waits for it anew: one asks now and then, and
//! the others are told at once.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nobody asks a server that did not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// What is known of a server; clones know the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outage {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Outage {
    /// Refuses while the server is given up; lets one through each time the pause is over.
    pub(crate) fn check(&self) -> Result<(), sqlx::Error> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *until {
            Some(over) if now < over => Err(sqlx::Error::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                "the database did not answer a moment ago",
            ))),
            Some(_) => {
                *until = Some(now + PAUSE);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the server answered.
    pub(crate) fn note(&self, answered: bool) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = if answered { None } else { Some(Instant::now() + PAUSE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_when_the_pause_is_over_and_all_when_the_server_answers() {
        let outage = Outage::default();
        outage.check().unwrap();
        outage.note(false);
        assert!(outage.check().is_err());
        *outage.until.lock().unwrap() = Some(Instant::now());
        outage.check().unwrap();
        assert!(outage.check().is_err(), "one is enough");
        outage.note(true);
        outage.check().unwrap();
        outage.check().unwrap();
    }
}
