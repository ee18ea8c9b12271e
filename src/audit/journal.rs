//! The journal: makes records durable in the order of their chain, many with one fdatasync, on a thread of its own.
//! What it acknowledged survives a kill at any instant; what it could not write leaves no trace in the chain.

mod batch;
mod lock;
pub(crate) mod segment;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{AuditError, Position};
use crate::store::ledger::{LedgerUpdate, Memory};
pub(super) use batch::Batch;
pub(super) use lock::FolderLock;
use writer::Writer;
pub(super) use writer::{Output, Segments};

/// Records that wait for the disk; more means that it hangs, and the caller is told so at once.
const QUEUE: usize = 4096;

type Acknowledge = oneshot::Sender<Result<Position, AuditError>>;

struct Entry {
    body: Vec<u8>,
    update: Option<LedgerUpdate>,
    /// `None`: nobody waits.
    acknowledge: Option<Acknowledge>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a record, and a box would be an allocation for each"
)]
enum Message {
    Record(Entry),
    Close,
}

/// The handle on the journal's thread.
#[derive(Debug)]
pub(super) struct Journal {
    sender: SyncSender<Message>,
    counts: Arc<Counts>,
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
        let (sender, receiver) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let writer = Writer::new(writer_id, output, memory, Arc::clone(&counts));
        let thread = std::thread::Builder::new()
            .name("audit-journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| AuditError::Thread { source: Arc::new(source) })?;
        Ok((Self { sender, counts }, thread))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Queues a record; returns when it is durable.
    pub(super) async fn record(&self, body: Vec<u8>, update: Option<LedgerUpdate>) -> Result<Position, AuditError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        self.send(Entry { body, update, acknowledge: Some(acknowledge) })?;
        acknowledged.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Queues a record for which nobody waits.
    pub(super) fn queue(&self, body: Vec<u8>, update: Option<LedgerUpdate>) -> Result<(), AuditError> {
        self.send(Entry { body, update, acknowledge: None })
    }

    fn send(&self, entry: Entry) -> Result<(), AuditError> {
        self.sender.try_send(Message::Record(entry)).map_err(|error| match error {
            TrySendError::Full(_) => AuditError::Overloaded { waiting: QUEUE },
            TrySendError::Disconnected(_) => AuditError::Closed,
        })
    }

    /// Ends the thread once everything queued before is written. Blocks while the queue is full.
    pub(super) fn closer(&self) -> impl FnOnce() + Send + 'static {
        let sender = self.sender.clone();
        // An error means that the thread has ended already.
        move || drop(sender.send(Message::Close))
    }
}
