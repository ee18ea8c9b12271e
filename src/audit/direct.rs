//! Records straight into a store that replicas share, where no local disk lasts: an answer waits until the store has
//! committed its record, and whatever arrives while one commit runs shares the next.
//!
//! After a commit of which nobody knows whether it was made, the same rows go again; those that are there are compared by
//! hash. While the store does not take them, answers are told so at once, and their records wait in memory, in the order
//! of their chain: so it has no gap, and says later what was decided meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::chain::Chain;
use super::filler::Rows;
use super::journal::{Batch, Counts};
use super::listener::Listener;
use super::{AuditError, Position};
use crate::store::Store;
use crate::store::database::Pool;
use crate::store::ledger::Memory;

/// Records that wait for the store; more means that it is away for long, and they are not kept.
const QUEUE: usize = 4096;

/// Records that share one commit.
const MAX_BATCH_RECORDS: usize = 1024;

/// Between attempts while the store is away, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

type Acknowledge = oneshot::Sender<Result<Position, AuditError>>;

enum Message {
    Record { body: Vec<u8>, acknowledge: Acknowledge },
    Close,
}

/// The handle on the task that writes.
#[derive(Debug)]
pub(super) struct Direct {
    sender: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    waiting: Arc<Waiting>,
    listener: Arc<Listener>,
}

/// What is not in the store yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    records: AtomicU64,
    since: Mutex<Option<Instant>>,
    failing: AtomicBool,
}

impl Waiting {
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn oldest_age(&self) -> Duration {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed()).unwrap_or_default()
    }

    pub(super) fn is_store_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn set(&self, records: usize) {
        self.records.store(records as u64, Ordering::Relaxed);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if records == 0 { None } else { since.or_else(|| Some(Instant::now())) };
    }
}

impl Direct {
    /// Begins a chain in the store.
    pub(super) fn start(writer_id: Uuid, store: &Store, memory: Arc<Memory>, strict: bool) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (counts, waiting) = (Arc::new(Counts::default()), Arc::new(Waiting::default()));
        let listener = Arc::new(Listener::default());
        let writer = Writer {
            chain: Chain::new(writer_id),
            pool: store.records(),
            memory,
            counts: Arc::clone(&counts),
            waiting: Arc::clone(&waiting),
            listener: Arc::clone(&listener),
            strict,
            receiver,
            kept: VecDeque::new(),
            tried: 0,
            closed: false,
        };
        (Self { sender, counts, waiting, listener }, tokio::spawn(writer.run()))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Returns when the store has the record, and with it what it adds to the ledger, or does not take it now.
    pub(super) async fn record(&self, body: Vec<u8>) -> Result<Position, AuditError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let message = Message::Record { body, acknowledge };
        self.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AuditError::StoreOverloaded { waiting: QUEUE },
            mpsc::error::TrySendError::Closed(_) => AuditError::Closed,
        })?;
        acknowledged.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Ends the task once the store has everything that was queued before.
    pub(super) fn closer(&self) -> impl Future<Output = ()> + Send + 'static {
        let sender = self.sender.clone();
        // An error means that the task has ended already.
        async move { drop(sender.send(Message::Close).await) }
    }
}

/// Rows that go together, and what is known of them.
struct Group {
    rows: Rows,
    /// The last of them.
    last: Position,
    records: usize,
    bytes: usize,
}

struct Writer {
    chain: Chain,
    pool: Pool,
    memory: Arc<Memory>,
    counts: Arc<Counts>,
    waiting: Arc<Waiting>,
    listener: Arc<Listener>,
    /// Nothing is kept that is refused for not being recorded.
    strict: bool,
    receiver: mpsc::Receiver<Message>,
    /// What the store did not take, the oldest first.
    kept: VecDeque<Group>,
    /// Records of the group that is tried again.
    tried: usize,
    closed: bool,
}

impl Writer {
    async fn run(mut self) {
        let mut messages = Vec::new();
        while !self.closed {
            if self.receiver.recv_many(&mut messages, MAX_BATCH_RECORDS).await == 0 {
                break;
            }
            let (group, acknowledges) = self.append(messages.drain(..));
            let Some(group) = group else {
                continue;
            };
            self.waiting.set(group.records);
            match self.attempt(&group).await {
                Ok(()) => {
                    self.stored(&group);
                    for (acknowledge, position) in acknowledges {
                        // An error here means that the caller's deadline has passed; the record is kept all the same.
                        drop(acknowledge.send(Ok(position)));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the store takes no records: decisions go out unrecorded, and are recorded later if it comes back in time");
                    self.waiting.failing.store(true, Ordering::Relaxed);
                    // In this order: whoever is answered may ask at once what is known.
                    self.keep(group);
                    let error = AuditError::Store { source: error };
                    self.tell(acknowledges.into_iter().map(|(acknowledge, _)| acknowledge), &error);
                    self.until_it_works().await;
                    tracing::info!("the store takes records again");
                    self.waiting.failing.store(false, Ordering::Relaxed);
                }
            }
        }
    }

    /// Makes records of what arrived, as the next of the chain.
    fn append(&mut self, messages: impl Iterator<Item = Message>) -> (Option<Group>, Vec<(Acknowledge, Position)>) {
        let mut batch = Batch::after(&self.chain, 0, 0);
        let mut acknowledges = Vec::new();
        for message in messages {
            match message {
                Message::Close => self.closed = true,
                Message::Record { body, acknowledge } => match batch.append(&mut self.chain, &body) {
                    Ok(position) => acknowledges.push((acknowledge, position)),
                    Err(refusal) => drop(acknowledge.send(Err(refusal))),
                },
            }
        }
        let group = acknowledges.last().map(|(_, last)| Group {
            last: *last,
            records: batch.len(),
            bytes: batch.bytes(),
            rows: Rows::of_batches(&self.chain.writer_id().to_string(), &[batch]),
        });
        (group, acknowledges)
    }

    async fn attempt(&self, group: &Group) -> Result<(), Arc<sqlx::Error>> {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        group.rows.write(&self.pool).await.map_err(Arc::new)
    }

    fn stored(&self, group: &Group) {
        self.counts.records.fetch_add(group.records as u64, Ordering::Relaxed);
        self.counts.bytes.fetch_add(group.bytes as u64, Ordering::Relaxed);
        self.counts.head.store(Some(Arc::new(group.last)));
        self.memory.overlay.stored_up_to(group.last.seq);
        self.listener.tell(group.rows.lines());
        self.waiting.set(self.kept_records());
    }

    fn kept_records(&self) -> usize {
        self.tried + self.kept.iter().map(|kept| kept.records).sum::<usize>()
    }

    fn tell(&self, acknowledges: impl Iterator<Item = Acknowledge>, error: &AuditError) {
        self.counts.write_errors.fetch_add(1, Ordering::Relaxed);
        for acknowledge in acknowledges {
            drop(acknowledge.send(Err(error.clone())));
        }
    }

    /// Keeps rows for the next attempt; the ledger knows at once what they admitted.
    fn keep(&mut self, group: Group) {
        for update in group.rows.updates() {
            self.memory.overlay.admit(update.clone(), group.last.seq);
        }
        self.kept.push_back(group);
        self.waiting.set(self.kept_records());
    }

    /// Tries until the store has everything that was kept. Who comes meanwhile does not wait.
    async fn until_it_works(&mut self) {
        let mut wait = FIRST_RETRY;
        while let Some(group) = self.kept.pop_front() {
            self.tried = group.records;
            self.meanwhile(tokio::time::sleep(wait)).await;
            let pool = self.pool.clone();
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
            let (group, written) = self
                .meanwhile(async move {
                    let written = group.rows.write(&pool).await;
                    (group, written)
                })
                .await;
            self.tried = 0;
            match written {
                Ok(()) => {
                    self.stored(&group);
                    wait = Duration::ZERO;
                }
                Err(error) => {
                    tracing::debug!(%error, "the store still takes no records");
                    self.counts.write_errors.fetch_add(1, Ordering::Relaxed);
                    self.kept.push_front(group);
                    wait = LAST_RETRY.min(wait.max(FIRST_RETRY) * 2);
                }
            }
        }
    }

    /// Does the work, and tells whoever comes meanwhile that the store takes nothing now.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                done = &mut work => return done,
                received = self.receiver.recv_many(&mut messages, MAX_BATCH_RECORDS), if !self.closed => {
                    if received == 0 {
                        self.closed = true;
                    }
                    self.refuse(messages.drain(..));
                }
            }
        }
    }

    fn refuse(&mut self, messages: impl Iterator<Item = Message>) {
        let mut room = if self.strict { 0 } else { QUEUE.saturating_sub(self.kept_records()) };
        let mut taken = Vec::new();
        for message in messages {
            match message {
                Message::Record { acknowledge, .. } if room == 0 => {
                    let error = if self.strict { away() } else { AuditError::StoreOverloaded { waiting: QUEUE } };
                    drop(acknowledge.send(Err(error)));
                }
                message => {
                    room -= usize::from(matches!(message, Message::Record { .. }));
                    taken.push(message);
                }
            }
        }
        let (group, acknowledges) = self.append(taken.into_iter());
        if let Some(group) = group {
            self.keep(group);
        }
        self.tell(acknowledges.into_iter().map(|(acknowledge, _)| acknowledge), &away());
    }
}

/// What those are told who come while the store takes nothing.
fn away() -> AuditError {
    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "the store takes no records now");
    AuditError::Store { source: Arc::new(sqlx::Error::Io(error)) }
}
