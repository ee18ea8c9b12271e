//! Fills the store from the journal, in large batches behind the answers' backs, and removes segments that it has.
//!
//! What the filler has not done is no loss: questions read the journal's tail, and a segment stays until the store has
//! it. So an outage of the store is no special case, only a longer tail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::SqliteConnection;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::columns::{self, Columns, LedgerLine};
use super::journal::Position;
use super::segments::{self, StoredRecord};
use crate::image::build_date::rfc3339;
use crate::store::Store;
use crate::store::facts::{self, FactWrite};
use crate::store::ledger::Ledger;

/// Bytes of the journal that go into one transaction.
const BATCH_BYTES: u64 = 1 << 20;
/// Pause between batches while there is more: the answers come first.
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);
/// How soon a lone record goes to the store.
const LINGER: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Why a batch is not in the store.
#[derive(Debug, Error)]
enum FillError {
    #[error("the journal segment {path} could not be read: {why}")]
    Read { path: PathBuf, why: std::io::Error },
    #[error("the store did not take a batch of records: {0}")]
    Store(#[from] sqlx::Error),
}

/// How the store keeps up, for metrics.
#[derive(Debug, Default)]
pub struct FillerCounters {
    /// Records that went to the store.
    pub stored: AtomicU64,
    /// Batches that the store did not take.
    pub failures: AtomicU64,
    /// Complete lines of the journal that are no records.
    pub unreadable: AtomicU64,
}

/// The task that fills the store.
#[derive(Debug)]
pub struct Filler {
    store: Store,
    ledger: Ledger,
    folder: PathBuf,
    position: watch::Receiver<Position>,
    writes: mpsc::UnboundedReceiver<FactWrite>,
    pending_writes: Vec<FactWrite>,
    counters: Arc<FillerCounters>,
    /// Segments not wholly in the store, the oldest first, with the offset up to which they are.
    behind: Vec<(PathBuf, u64)>,
}

impl Filler {
    /// A filler that follows a journal.
    pub fn new(
        store: Store,
        ledger: Ledger,
        folder: &Path,
        position: watch::Receiver<Position>,
        writes: mpsc::UnboundedReceiver<FactWrite>,
    ) -> Self {
        Self {
            store,
            ledger,
            folder: folder.to_owned(),
            position,
            writes,
            pending_writes: Vec::new(),
            counters: Arc::default(),
            behind: Vec::new(),
        }
    }

    /// How the store keeps up.
    pub fn counters(&self) -> Arc<FillerCounters> {
        Arc::clone(&self.counters)
    }

    /// Fills until `stop`, then once more to the end of the journal.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut retry = FIRST_RETRY;
        loop {
            let stopping = *stop.borrow();
            let pause = match self.drain(stopping).await {
                Ok(()) => {
                    if retry > FIRST_RETRY {
                        tracing::info!("the store takes records again");
                    }
                    retry = FIRST_RETRY;
                    LINGER
                }
                Err(error) => {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                    if retry == FIRST_RETRY {
                        tracing::error!(%error, "the journal keeps the records until the store takes them again");
                    }
                    retry = (retry * 2).min(LONGEST_RETRY);
                    retry
                }
            };
            if stopping {
                return;
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = self.wait_for_work(pause) => {}
            }
        }
    }

    /// Waits until there is something to store, and then a moment for more of it.
    async fn wait_for_work(&mut self, pause: Duration) {
        if self.pending_writes.is_empty() {
            tokio::select! {
                _ = self.position.changed() => {}
                write = self.writes.recv() => self.pending_writes.extend(write),
            }
        }
        tokio::time::sleep(pause).await;
    }

    /// Brings everything that the journal has now into the store.
    async fn drain(&mut self, stopping: bool) -> Result<(), FillError> {
        self.position.mark_unchanged();
        self.look_for_segments()?;
        for index in 0..self.behind.len() {
            while self.store_batch(index).await? {
                if !stopping {
                    tokio::time::sleep(BETWEEN_BATCHES).await;
                }
            }
        }
        self.behind.retain(|(path, _)| path.exists());
        self.take_writes();
        self.commit(&[]).await.map(|_| ())
    }

    fn take_writes(&mut self) {
        while let Ok(write) = self.writes.try_recv() {
            self.pending_writes.push(write);
        }
    }

    fn look_for_segments(&mut self) -> Result<(), FillError> {
        let found =
            segments::segments(&self.folder).map_err(|why| FillError::Read { path: self.folder.clone(), why })?;
        for path in found {
            if self.behind.iter().all(|(known, _)| *known != path) {
                self.behind.push((path, 0));
            }
        }
        Ok(())
    }

    /// Stores one batch of a segment, and removes the segment once it is wholly stored; whether there is more of it.
    async fn store_batch(&mut self, index: usize) -> Result<bool, FillError> {
        let Some((path, offset)) = self.behind.get(index).cloned() else { return Ok(false) };
        self.take_writes();
        let reading = path.clone();
        let chunk = tokio::task::spawn_blocking(move || segments::read(&reading, offset, BATCH_BYTES)).await;
        let chunk = match chunk {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(why)) if why.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Ok(Err(why)) => return Err(FillError::Read { path, why }),
            Err(_) => return Ok(false), // the runtime is ending
        };
        for at in &chunk.unreadable {
            self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
            tracing::error!(segment = %path.display(), offset = at, "a line of the audit journal is no record");
        }
        let stored_until = self.commit(&chunk.records).await?;
        if let Some(seq) = stored_until {
            self.ledger.stored_until(seq);
        }
        if let Some(segment) = self.behind.get_mut(index) {
            segment.1 = chunk.next_offset;
        }
        // Only what is older than the segment being written: one that the journal has just made is empty and newer. An
        // unfinished last line of an older one was never answered.
        let finished = path < self.position.borrow().segment;
        if chunk.at_end
            && finished
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, segment = %path.display(), "a stored journal segment could not be removed");
        }
        Ok(!chunk.at_end)
    }

    /// Writes records and facts in one transaction. Gives the number of this process's last record among them.
    async fn commit(&mut self, records: &[StoredRecord]) -> Result<Option<u64>, FillError> {
        if records.is_empty() && self.pending_writes.is_empty() {
            return Ok(None);
        }
        let mut connection = self.store.writer().acquire().await?;
        let mut transaction = connection.begin().await?;
        let mut last = None;
        let own = self.position.borrow().segment.clone();
        let own = own.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        for record in records {
            match columns::derive(&record.line) {
                Ok((columns, ledger)) => {
                    insert(&mut transaction, record, &columns).await?;
                    if let Some(ledger) = ledger {
                        project(&mut transaction, &columns, &ledger).await?;
                    }
                    if own.starts_with(&columns.writer_id) {
                        last = Some(columns.seq);
                    }
                }
                Err(error) => {
                    self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "a line of the audit journal lacks what every record has");
                }
            }
        }
        facts::write_all(&mut transaction, &self.pending_writes).await?;
        transaction.commit().await?;
        self.pending_writes.clear();
        self.counters.stored.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(last)
    }
}

async fn insert(
    transaction: &mut SqliteConnection,
    record: &StoredRecord,
    columns: &Columns,
) -> Result<(), sqlx::Error> {
    // The same record may come again after a crash between commit and removal.
    sqlx::query(
        "INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, \
         username, rules, images, repeat_of, prev_hash, hash, line) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&columns.writer_id)
    .bind(i64::try_from(columns.seq).unwrap_or(i64::MAX))
    .bind(&columns.decision_id)
    .bind(&columns.timestamp)
    .bind(&columns.decision)
    .bind(&columns.namespace)
    .bind(&columns.kind)
    .bind(&columns.name)
    .bind(&columns.operation)
    .bind(&columns.username)
    .bind(&columns.rules)
    .bind(&columns.images)
    .bind(&columns.repeat_of)
    .bind(&columns.prev_hash)
    .bind(&record.hash)
    .bind(&record.line)
    .execute(transaction)
    .await
    .map(|_| ())
}

/// Brings what a record admitted into the ledger.
async fn project(
    transaction: &mut SqliteConnection,
    columns: &Columns,
    ledger: &LedgerLine,
) -> Result<(), sqlx::Error> {
    for digest in ledger.digests.iter().chain(&ledger.earlier_digests) {
        let at = digest.first_admitted_at.map_or_else(|| columns.timestamp.clone(), rfc3339);
        sqlx::query(
            "INSERT INTO admissions (namespace, kind, name, digest, reference, first_admitted_at, last_admitted_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
             first_admitted_at = min(first_admitted_at, excluded.first_admitted_at), \
             last_admitted_at = max(last_admitted_at, excluded.last_admitted_at)",
        )
        .bind(&columns.namespace)
        .bind(&columns.kind)
        .bind(&columns.name)
        .bind(&digest.digest)
        .bind(&digest.reference)
        .bind(&at)
        .bind(&at)
        .execute(&mut *transaction)
        .await?;
    }
    for template in &ledger.templates {
        sqlx::query(
            "INSERT INTO templates (namespace, kind, name, fingerprint, first_admitted_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET first_admitted_at = min(first_admitted_at, excluded.first_admitted_at)",
        )
        .bind(&columns.namespace)
        .bind(&columns.kind)
        .bind(&columns.name)
        .bind(&template.fingerprint)
        .bind(rfc3339(template.at))
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}
