//! Whether the server's schema is known to be the present one. A gate that starts while its server is away goes on
//! without it, and until this is known nothing is read from the server nor written to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::{PostgresAddress, PostgresError, migrate};

/// The pause before a server that was away is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What is known of the schema; clones know the same.
#[derive(Clone, Debug)]
pub(in crate::store) struct SchemaCheck {
    passed: Arc<AtomicBool>,
}

impl SchemaCheck {
    pub(in crate::store) fn passed() -> Self {
        Self { passed: Arc::new(AtomicBool::new(true)) }
    }

    fn pending() -> Self {
        Self { passed: Arc::new(AtomicBool::new(false)) }
    }

    /// Brings the schema to the present version. Where the server is away that is tried again in the background; any
    /// other trouble is one that waiting does not mend.
    pub(in crate::store) async fn make(address: &PostgresAddress) -> Result<Self, PostgresError> {
        match migrate(address).await {
            Ok(()) => Ok(Self::passed()),
            Err(error) if error.is_outage() => {
                tracing::warn!(%error, "the store is away at the start; records wait until it is back");
                let check = Self::pending();
                tokio::spawn(check.clone().pass_later(address.clone()));
                Ok(check)
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses until the schema is known.
    pub(in crate::store) fn check(&self) -> Result<(), sqlx::Error> {
        if self.passed.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = "the database has not been reached since the start";
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, why)))
    }

    async fn pass_later(self, address: PostgresAddress) {
        let mut told = String::new();
        loop {
            sleep(ASK_AGAIN_AFTER).await;
            match migrate(&address).await {
                Ok(()) => break,
                Err(error) if error.is_outage() => {}
                Err(error) => {
                    let words = error.to_string();
                    if told != words {
                        tracing::error!(%error, "the store answers and cannot be used; records wait");
                        told = words;
                    }
                }
            }
        }
        self.passed.store(true, Ordering::Release);
        tracing::info!(store = %address, "the store that was away at the start is there");
    }
}
