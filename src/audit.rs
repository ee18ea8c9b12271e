//! Audit: every decision becomes a record that is durable before its answer leaves, and can be found and proven later.
//!
//! Two steps, one path: the [`journal`] makes a record durable and chains it; the [`filler`] brings it into the store,
//! where questions are asked. Whoever asks reads the journal's tail too, so nothing that was answered is missing.

pub mod chain;
pub mod columns;
pub mod filler;
pub mod journal;
pub mod query;
pub mod record;
pub mod segments;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::filler::{Filler, FillerCounters};
use self::journal::{Durability, Journal, JournalCounters, JournalError};
use self::record::LedgerEntry;
use crate::store::facts::{FactWrite, StoredFacts};
use crate::store::ledger::{Ledger, WorkloadKey};
use crate::store::{Store, StoreError, StoreLocation};

/// Bytes of one journal segment.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Why the audit cannot start.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The thread that prints records.
    #[error("records cannot be printed: {0}")]
    Stdout(std::io::Error),
}

/// The audit of one process: one writer, one chain.
#[derive(Debug)]
pub struct Audit {
    journal: Journal,
    journal_counters: Arc<JournalCounters>,
    stored: Option<Stored>,
}

/// What there is beside a journal on disk.
#[derive(Debug)]
struct Stored {
    store: Store,
    ledger: Ledger,
    facts: Arc<StoredFacts>,
    filler_counters: Arc<FillerCounters>,
    filler: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// How the audit fares, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFigures {
    /// Records on the disk.
    pub recorded: u64,
    /// Records that could not be written.
    pub unrecorded: u64,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Records that the journal has and the store has not.
    pub waiting_for_store: u64,
    /// Batches that the store did not take.
    pub store_failures: u64,
}

impl Audit {
    /// Opens the store and the journal beside it; what an earlier process left in the journal goes to the store.
    pub async fn open(location: &StoreLocation, durability: Durability) -> Result<Self, AuditError> {
        let store = Store::open(location).await?;
        let journal = Journal::in_folder(&location.journal(), SEGMENT_BYTES, durability)?;
        let (writes, written) = mpsc::unbounded_channel::<FactWrite>();
        let ledger = Ledger::new(store.clone());
        let filler = Filler::new(store.clone(), ledger.clone(), &location.journal(), journal.position(), written);
        let filler_counters = filler.counters();
        let (stop, stopped) = watch::channel(false);
        Ok(Self {
            journal_counters: Arc::clone(journal.counters()),
            journal,
            stored: Some(Stored {
                facts: Arc::new(StoredFacts::new(store.clone(), writes)),
                store,
                ledger,
                filler_counters,
                filler: tokio::spawn(filler.run(stopped)),
                stop,
            }),
        })
    }

    /// Prints records on stdout, and keeps nothing.
    pub fn on_stdout() -> Result<Self, AuditError> {
        let journal = Journal::on_stdout().map_err(AuditError::Stdout)?;
        Ok(Self { journal_counters: Arc::clone(journal.counters()), journal, stored: None })
    }

    /// The ledger, where there is a store.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.stored.as_ref().map(|stored| &stored.ledger)
    }

    /// Facts that outlive the process, where there is a store.
    pub fn facts(&self) -> Option<Arc<StoredFacts>> {
        self.stored.as_ref().map(|stored| Arc::clone(&stored.facts))
    }

    /// Records a decision. Once this returns, the record is as durable as was asked for, and the ledger knows of it.
    pub async fn record(&self, body: Vec<u8>) -> Result<u64, JournalError> {
        self.journal.append(body).await
    }

    /// Tells the ledger what a recorded decision admitted.
    pub fn learn(&self, workload: WorkloadKey, entry: &LedgerEntry, seq: u64, now: DateTime<Utc>) {
        if let Some(ledger) = self.ledger() {
            ledger.learn(workload, entry, seq, now);
        }
    }

    /// How the audit fares.
    pub fn figures(&self) -> AuditFigures {
        let recorded = self.journal_counters.records.load(Ordering::Relaxed);
        let filler = self.stored.as_ref().map(|stored| &stored.filler_counters);
        let stored = filler.map_or(recorded, |filler| filler.stored.load(Ordering::Relaxed));
        AuditFigures {
            recorded,
            unrecorded: self.journal_counters.failures.load(Ordering::Relaxed),
            syncs: self.journal_counters.syncs.load(Ordering::Relaxed),
            waiting_for_store: recorded.saturating_sub(stored),
            store_failures: filler.map_or(0, |filler| filler.failures.load(Ordering::Relaxed)),
        }
    }

    /// Writes what still waits, brings it into the store within `patience`, and ends. What the store does not get in
    /// time stays in the journal.
    pub async fn close(self, patience: Duration) {
        self.journal.close().await;
        if let Some(stored) = self.stored {
            stored.stop.send_replace(true);
            let mut filler = stored.filler;
            if tokio::time::timeout(patience, &mut filler).await.is_err() {
                filler.abort();
                tracing::warn!("the store did not take all records in time; the journal keeps them");
            }
            stored.store.close().await;
        }
    }
}
