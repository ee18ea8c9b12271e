//! The journal: makes records durable in the order of their chain, many with one fdatasync, on a thread of its own.
//! What it acknowledged survives a kill at any instant; what it could not write leaves no trace in the chain.

mod batch;
mod lock;
mod queue;
pub(crate) mod segment;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::listener::Listener;
use super::{AuditError, Position};
use crate::store::ledger::{LedgerUpdate, Memory};
pub(super) use batch::Batch;
pub(super) use lock::FolderLock;
use queue::{Entry, Queue};
use writer::Writer;
pub(super) use writer::{Output, Segments};

/// The handle on the journal's thread.
#[derive(Debug)]
pub(super) struct Journal {
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    listener: Arc<Listener>,
}

/// What the journal's thread counts.
#[derive(Debug, Default)]
pub(in crate::audit) struct Counts {
    /// Records made durable.
    pub(super) records: AtomicU64,
    /// Bytes of them, as they stand in the segments.
    pub(super) bytes: AtomicU64,
    /// Writes, of one batch each.
    pub(super) writes: AtomicU64,
    /// Writes that failed.
    pub(super) write_errors: AtomicU64,
    /// The last durable record; none before the first.
    pub(super) head: ArcSwapOption<Position>,
}

impl Journal {
    pub(super) fn start(
        writer_id: Uuid,
        output: Output,
        memory: Arc<Memory>,
    ) -> Result<(Self, JoinHandle<()>), AuditError> {
        let queue = Arc::new(Queue::default());
        let counts = Arc::new(Counts::default());
        let listener = Arc::new(Listener::default());
        let writer = Writer::new(writer_id, output, memory, Arc::clone(&counts), Arc::clone(&listener));
        let taken = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("audit-journal".to_owned())
            .spawn(move || writer.run(&taken))
            .map_err(|source| AuditError::Thread { source: Arc::new(source) })?;
        Ok((Self { queue, counts, listener }, thread))
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Queues a record; returns when it is durable.
    pub(super) async fn record(&self, body: Vec<u8>, update: Option<LedgerUpdate>) -> Result<Position, AuditError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        if self.queue.put(Entry { body, update, acknowledge: Some(acknowledge) })? {
            let tell = Tell(&self.queue);
            // Whoever is ready goes first, so that they share the write.
            tokio::task::yield_now().await;
            drop(tell);
        }
        acknowledged.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Queues a record for which nobody waits.
    pub(super) fn queue(&self, body: Vec<u8>, update: Option<LedgerUpdate>) -> Result<(), AuditError> {
        if self.queue.put(Entry { body, update, acknowledge: None })? {
            self.queue.tell();
        }
        Ok(())
    }

    /// Ends the thread once everything queued before is written.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Tells the thread of the first record, also where its caller stops waiting meanwhile.
struct Tell<'a>(&'a Queue);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        self.0.tell();
    }
}
