//! Facts about digests in the store: read on demand, written behind the answers' backs.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use moka::sync::Cache;
use tokio::sync::mpsc::UnboundedSender;

use super::Store;
use crate::image::build_date::{read_date, rfc3339};
use crate::image::resolver::facts::FactStore;

/// First-seen times in memory.
const SEEN_IN_MEMORY: u64 = 50_000;

/// Something to be written when there is time.
#[derive(Debug)]
pub enum FactWrite {
    /// What a digest is.
    Fact {
        /// The digest.
        digest: String,
        /// The fact, as JSON.
        fact: String,
        /// When it was learnt.
        at: DateTime<Utc>,
    },
    /// When a digest was first met; an earlier time stays.
    FirstSeen {
        /// The digest.
        digest: String,
        /// When.
        at: DateTime<Utc>,
    },
}

/// Digest facts, over the store.
#[derive(Clone, Debug)]
pub struct StoredFacts {
    store: Store,
    writes: UnboundedSender<FactWrite>,
    seen: Cache<String, DateTime<Utc>>,
}

impl StoredFacts {
    /// Facts that are read from the store, and written by whoever receives `writes`.
    pub fn new(store: Store, writes: UnboundedSender<FactWrite>) -> Self {
        Self { store, writes, seen: Cache::new(SEEN_IN_MEMORY) }
    }

    fn write(&self, write: FactWrite) {
        // The receiver ends with the process; what comes later is learnt again next time.
        let _ = self.writes.send(write);
    }
}

impl FactStore for StoredFacts {
    fn load<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let found = sqlx::query_scalar("SELECT fact FROM image_facts WHERE digest = ?")
                .bind(digest)
                .fetch_optional(self.store.readers())
                .await;
            found.unwrap_or_else(|error| {
                tracing::warn!(%error, "an image fact could not be read from the store; the registry is asked instead");
                None
            })
        })
    }

    fn save(&self, digest: &str, fact: String, now: DateTime<Utc>) {
        self.write(FactWrite::Fact { digest: digest.to_owned(), fact, at: now });
    }

    fn first_seen<'a>(&'a self, digest: &'a str, now: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(async move {
            if let Some(at) = self.seen.get(digest) {
                return Some(at);
            }
            let known: Result<Option<String>, _> = sqlx::query_scalar("SELECT at FROM first_seen WHERE digest = ?")
                .bind(digest)
                .fetch_optional(self.store.readers())
                .await;
            match known {
                Ok(Some(at)) => {
                    let at = read_date(&at).ok()?;
                    self.seen.insert(digest.to_owned(), at);
                    Some(at)
                }
                Ok(None) => {
                    self.seen.insert(digest.to_owned(), now);
                    self.write(FactWrite::FirstSeen { digest: digest.to_owned(), at: now });
                    Some(now)
                }
                Err(error) => {
                    tracing::warn!(%error, "when an image was first seen could not be read from the store");
                    None
                }
            }
        })
    }
}

/// Writes facts into a transaction.
pub async fn write_all(transaction: &mut sqlx::SqliteConnection, writes: &[FactWrite]) -> Result<(), sqlx::Error> {
    for write in writes {
        match write {
            FactWrite::Fact { digest, fact, at } => {
                sqlx::query("INSERT OR REPLACE INTO image_facts (digest, fact, fetched_at) VALUES (?, ?, ?)")
                    .bind(digest)
                    .bind(fact)
                    .bind(rfc3339(*at))
                    .execute(&mut *transaction)
                    .await?;
            }
            FactWrite::FirstSeen { digest, at } => {
                sqlx::query("INSERT INTO first_seen (digest, at) VALUES (?, ?) ON CONFLICT DO UPDATE SET at = min(at, excluded.at)")
                    .bind(digest)
                    .bind(rfc3339(*at))
                    .execute(&mut *transaction)
                    .await?;
            }
        }
    }
    Ok(())
}
