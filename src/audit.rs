//! Audit: every decision becomes a record, durable and chained before its answer leaves (the journal), and is moved to
//! the store behind the answer's back (the filler), where it is found again (`query`) and proven (`verify`).

mod backlog;
pub mod boundary;
pub mod chain;
pub mod checkpoint;
pub mod checkpointer;
pub mod columns;
mod direct;
mod export;
pub mod facet;
mod filler;
mod follow;
mod grants;
pub mod history;
mod import;
mod journal;
mod listener;
pub mod prove;
pub mod query;
pub mod record;
pub mod replay;
pub mod retention;
pub mod simulate;
pub mod verify;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::{NoContext, Timestamp, Uuid};

use crate::store::ledger::LedgerUpdate;
use crate::store::{Ledger, Store};
use backlog::Backlog;
use chain::{ChainHash, NotARecordBody};
use checkpoint::Head;
use columns::Columns;
use direct::Direct;
use filler::Filler;
use journal::segment;
use journal::{Counts, FolderLock, Journal, Output, Segments};

pub use export::{Export, export};
pub use facet::Facet;
pub use follow::Follower;
pub use grants::find_grant;
pub use import::{ImportError, Imported, import};
pub use prove::{Proven, Question, Unproven, prove};
pub use query::{Count, Cursor, NotACursor, QueryFilter, ReadError, StoredRecord, count, query, show};
pub use verify::{BadRecord, Fault, VerifyReport, verify, verify_watched};

/// When a record counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on the disk: the answer waits for one fdatasync, shared with its neighbours.
    #[default]
    Journal,
    /// When it is queued: a crash loses the records of the last milliseconds.
    Async,
    /// When a store that replicas share has it: no local disk is needed, and there is no journal.
    Store,
}

/// How the audit writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// When a record counts as kept.
    pub durability: Durability,
    /// Size in bytes at which a segment of the journal is finished.
    pub segment_bytes: u64,
    /// What could not be recorded is refused. So it is not kept for a store that is away: it would be recorded later as
    /// what it was not.
    pub strict: bool,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { durability: Durability::default(), segment_bytes: 16 * 1024 * 1024, strict: false }
    }
}

/// Why a record was not kept, or the audit could not begin.
#[derive(Debug, Clone, Error)]
pub enum AuditError {
    /// The disk refused the record. The next one is tried anew.
    #[error("writing the record to the audit journal failed")]
    Write {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// More records wait for the disk than there can be requests: it hangs.
    #[error("the audit journal is overloaded: {waiting} records wait for the disk")]
    Overloaded {
        /// Records that wait.
        waiting: usize,
    },
    /// The store did not take the record; it may still do so later.
    #[error("writing the record to the store failed")]
    Store {
        /// What it said.
        source: Arc<sqlx::Error>,
    },
    /// More records wait for the store than are kept.
    #[error("the store is away for too long: {waiting} records wait for it")]
    StoreOverloaded {
        /// Records that wait.
        waiting: usize,
    },
    /// Answers cannot wait for a file that the journal is there for.
    #[error(
        "--audit-durability store is for PostgreSQL: with SQLite it is the journal that makes a record durable, so leave it at journal"
    )]
    NotShared,
    /// There is no folder for the journal.
    #[error(
        "the store {place} has no journal beside it: name a folder for it with --audit-journal (FRESHGATE_AUDIT_JOURNAL), or let answers wait for the store with --audit-durability store"
    )]
    NoJournal {
        /// The store.
        place: String,
    },
    /// The audit was closed.
    #[error("the audit journal is closed")]
    Closed,
    /// The caller's mistake.
    #[error("the record cannot be kept: {0}")]
    NotARecord(NotARecordBody),
    /// The journal's folder cannot be made, read or locked.
    #[error("the audit journal's folder {} cannot be used: {source}: check that it is a folder and can be written", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// Another process writes there.
    #[error("another freshgate writes to the audit journal {}: each replica has a journal of its own, and a SQLite store is for one replica; stop the other, or name another folder or store", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The operating system gave no thread.
    #[error("the audit journal's thread cannot be started: {source}")]
    Thread {
        /// What it said.
        source: Arc<io::Error>,
    },
}

/// A record's place in its writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its number, from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: ChainHash,
}

/// How a record was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// On the disk (or printed), at this place.
    Written(Position),
    /// Queued; its place is not known yet.
    Queued,
}

/// What the audit has done and what it still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCounts {
    /// Records made durable since the start.
    pub records: u64,
    /// Bytes of them in the journal.
    pub bytes: u64,
    /// Writes to the journal, each of one group of records.
    pub writes: u64,
    /// Writes that failed; each loses the records of its group.
    pub write_errors: u64,
    /// Records in the journal that the store does not have yet: by how much it lags.
    pub unstored_records: u64,
    /// How long the oldest of them has waited, to the second.
    pub oldest_unstored_age: Duration,
    /// Whether the last attempt to store records failed.
    pub store_failing: bool,
}

/// What was left when the audit was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Records that are not in the store; the next start moves those that a journal holds.
    pub unstored_records: u64,
}

/// The audit's writing side.
#[derive(Debug)]
pub struct Audit {
    writer_id: Uuid,
    durability: Durability,
    writing: Writing,
    /// Where earlier writers' chains ended in the journal, when this began.
    leftover_heads: Vec<Head>,
    ends: Mutex<Option<Ends>>,
}

/// The way that records go.
#[derive(Debug)]
enum Writing {
    /// Into the journal, and from there into the store.
    Journal(Journal, Arc<Backlog>),
    /// Into the store.
    Direct(Direct),
}

#[derive(Debug)]
struct Ends {
    /// The journal's.
    thread: Option<std::thread::JoinHandle<()>>,
    /// The filler, or what writes into the store.
    task: Option<JoinHandle<()>>,
}

impl Audit {
    /// Begins a chain in the journal beside the store. Records that earlier writers left there count in the ledger at
    /// once, and are moved to the store first. Call it inside a tokio runtime.
    pub async fn open(settings: AuditSettings, store: &Store, now: DateTime<Utc>) -> Result<Self, AuditError> {
        if settings.durability == Durability::Store {
            return Self::open_direct(store, settings.strict, now);
        }
        let folder = store.location().journal();
        let folder = folder.ok_or_else(|| AuditError::NoJournal { place: store.location().to_string() })?;
        let memory = Arc::clone(store.ledger().memory());
        let found = {
            let (folder, memory) = (folder.clone(), Arc::clone(&memory));
            spawn_blocking(move || -> Result<_, AuditError> {
                let lock = FolderLock::take(&folder)?;
                let unreadable =
                    |source: io::Error| AuditError::Folder { folder: folder.clone(), source: Arc::new(source) };
                let leftovers = segment::list(&folder).map_err(unreadable)?;
                let (mut count, mut heads) = (0, Vec::new());
                for leftover in &leftovers {
                    let records = filler::read_whole(leftover.clone()).map_err(unreadable)?.records;
                    count += records.len() as u64;
                    heads.extend(records.last().and_then(|last| {
                        Some(Head { writer_id: last.writer_id.clone(), seq: last.seq, hash: last.hash.parse().ok()? })
                    }));
                    for record in &records {
                        // One that cannot be read is reported when it is stored.
                        if let Ok((_, Some(update))) = Columns::derive(&record.line) {
                            memory.overlay.admit(update, 0);
                        }
                    }
                }
                Ok((lock, leftovers, count, heads))
            })
            .await
        };
        let (lock, leftovers, count, leftover_heads) = found.unwrap_or(Err(AuditError::Closed))?;
        if count > 0 {
            tracing::info!(
                records = count,
                segments = leftovers.len(),
                "records of an earlier run are moved from the journal to the store"
            );
        }
        let backlog = Arc::new(Backlog::default());
        backlog.found_leftovers(count);
        let writer_id = writer_id(now);
        let output = Output::Segments(Segments {
            folder: folder.clone(),
            segment_bytes: settings.segment_bytes,
            backlog: Arc::clone(&backlog),
            _lock: lock,
        });
        let (journal, thread) = Journal::start(writer_id, output, memory)?;
        let filler = Filler { store: store.clone(), backlog: Arc::clone(&backlog), folder, writer_id, leftovers };
        let ends = Ends { thread: Some(thread), task: Some(store.background().spawn(filler.run())) };
        Ok(Self {
            writer_id,
            durability: settings.durability,
            writing: Writing::Journal(journal, backlog),
            leftover_heads,
            ends: Mutex::new(Some(ends)),
        })
    }

    /// Begins a chain in the store itself. What an earlier run left in a journal is for a run with that journal.
    fn open_direct(store: &Store, strict: bool, now: DateTime<Utc>) -> Result<Self, AuditError> {
        if !store.is_shared() {
            return Err(AuditError::NotShared);
        }
        let writer_id = writer_id(now);
        let (direct, task) = Direct::start(writer_id, store, Arc::clone(store.ledger().memory()), strict);
        let ends = Ends { thread: None, task: Some(task) };
        Ok(Self {
            writer_id,
            durability: Durability::Store,
            writing: Writing::Direct(direct),
            leftover_heads: Vec::new(),
            ends: Mutex::new(Some(ends)),
        })
    }

    /// Prints every record to standard output, one JSON line each, and keeps nothing but the ledger's memory.
    pub fn to_stdout(ledger: &Ledger, now: DateTime<Utc>) -> Result<Self, AuditError> {
        let writer_id = writer_id(now);
        let (journal, thread) = Journal::start(writer_id, Output::Stdout, Arc::clone(ledger.memory()))?;
        let ends = Ends { thread: Some(thread), task: None };
        Ok(Self {
            writer_id,
            durability: Durability::Journal,
            writing: Writing::Journal(journal, Arc::default()),
            leftover_heads: Vec::new(),
            ends: Mutex::new(Some(ends)),
        })
    }

    /// Has somebody told each record's line, as it was hashed, once it is durable. Only the first is; it must not wait.
    pub fn listen(&self, listener: impl Fn(&[u8]) + Send + Sync + 'static) {
        match &self.writing {
            Writing::Journal(journal, _) => journal.listener().set(listener),
            Writing::Direct(direct) => direct.listener().set(listener),
        }
    }

    /// Whose chain this process writes.
    pub fn writer_id(&self) -> Uuid {
        self.writer_id
    }

    /// Where this writer's chain ends on the disk, and where earlier writers' ended in the journal when this began.
    pub(crate) fn heads(&self) -> Vec<Head> {
        let own = self.written().head.load();
        let own = own.as_ref().map(|position| Head {
            writer_id: self.writer_id.to_string(),
            seq: position.seq,
            hash: position.hash,
        });
        self.leftover_heads.iter().cloned().chain(own).collect()
    }

    /// Keeps a record: `body` is the text of one JSON object, without line ends, and `admitted` what its `ledger` member
    /// says, so that the ledger knows it when this returns. A caller that stops waiting does not take the record back.
    pub async fn record(&self, body: Vec<u8>, admitted: Option<LedgerUpdate>) -> Result<Recorded, AuditError> {
        match &self.writing {
            Writing::Journal(journal, _) if self.durability == Durability::Async => {
                journal.queue(body, admitted).map(|()| Recorded::Queued)
            }
            Writing::Journal(journal, _) => journal.record(body, admitted).await.map(Recorded::Written),
            Writing::Direct(direct) => direct.record(body).await.map(Recorded::Written),
        }
    }

    fn written(&self) -> &Counts {
        match &self.writing {
            Writing::Journal(journal, _) => journal.counts(),
            Writing::Direct(direct) => direct.counts(),
        }
    }

    fn unstored_records(&self) -> u64 {
        match &self.writing {
            Writing::Journal(_, backlog) => backlog.records(),
            Writing::Direct(direct) => direct.waiting().records(),
        }
    }

    /// Counts since the start, and the store's lag now.
    pub fn counts(&self) -> AuditCounts {
        let counts = self.written();
        let (oldest_unstored_age, store_failing) = match &self.writing {
            Writing::Journal(_, backlog) => (backlog.oldest_age(), backlog.is_store_failing()),
            Writing::Direct(direct) => (direct.waiting().oldest_age(), direct.waiting().is_store_failing()),
        };
        AuditCounts {
            records: counts.records.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
            writes: counts.writes.load(Ordering::Relaxed),
            write_errors: counts.write_errors.load(Ordering::Relaxed),
            unstored_records: self.unstored_records(),
            oldest_unstored_age,
            store_failing,
        }
    }

    /// Writes what is queued, ends the journal, and waits up to `within` for the store to take everything.
    /// What it does not take stays in the journal for the next start. Close the store after this.
    pub async fn flush_and_close(&self, within: Duration) -> Closed {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ends { thread, task }) = ends else {
            return Closed { unstored_records: self.unstored_records() };
        };
        let aborter = task.as_ref().map(JoinHandle::abort_handle);
        let finished = tokio::time::timeout(within, async {
            match (&self.writing, thread) {
                (Writing::Journal(journal, _), Some(thread)) => {
                    journal.close();
                    let written = spawn_blocking(move || thread.join());
                    if !matches!(written.await, Ok(Ok(()))) {
                        tracing::error!("the audit journal's thread ended in a panic");
                    }
                }
                (Writing::Direct(direct), _) => direct.closer().await,
                (Writing::Journal(..), None) => {}
            }
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(%error, "what brings records into the store ended early");
            }
        });
        if finished.await.is_err()
            && let Some(aborter) = aborter
        {
            aborter.abort();
        }
        Closed { unstored_records: self.unstored_records() }
    }
}

/// A version 7 UUID, so that writers sort by their start.
fn writer_id(now: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}
