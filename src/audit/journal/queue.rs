//! What waits for the disk: records in their order, taken by the journal's thread all at once.
//!
//! A thread woken by each record would change places with the answering one for each, and on one core that costs as much
//! as the record. So putting one in wakes nobody; whoever put in the first says so when those that were ready have theirs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::audit::{AuditError, Position};
use crate::store::ledger::LedgerUpdate;

/// Records that wait for the disk; more means that it hangs, and the caller is told so at once.
const MOST_WAITING: usize = 4096;

/// Records, and bytes of them, that share one write.
const MOST_TAKEN: usize = 1024;
const MOST_BYTES_TAKEN: usize = 4 * 1024 * 1024;

/// Tells the caller that its record is durable, or why not.
pub(super) type Acknowledge = oneshot::Sender<Result<Position, AuditError>>;

/// A record, and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) body: Vec<u8>,
    pub(super) update: Option<LedgerUpdate>,
    /// `None`: nobody waits.
    pub(super) acknowledge: Option<Acknowledge>,
}

/// The queue, shared by the journal's handle and its thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    thread: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// Somebody is about to tell.
    announced: bool,
    closed: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record in; whether it is the first since the last write, whose caller then has to [`Self::tell`] of it.
    pub(super) fn put(&self, entry: Entry) -> Result<bool, AuditError> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(AuditError::Closed);
        }
        if waiting.entries.len() >= MOST_WAITING {
            return Err(AuditError::Overloaded { waiting: MOST_WAITING });
        }
        waiting.entries.push(entry);
        Ok(!std::mem::replace(&mut waiting.announced, true))
    }

    /// Wakes the thread, where it waits.
    pub(super) fn tell(&self) {
        self.thread.notify_one();
    }

    /// Takes nothing more; what is in is still written.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.tell();
    }

    /// Waits for records and takes as many as share a write; none once the queue is closed and empty.
    pub(super) fn take(&self, taken: &mut Vec<Entry>) -> bool {
        let mut waiting = self.waiting();
        waiting.announced = false;
        let nothing = |waiting: &mut Waiting| waiting.entries.is_empty() && !waiting.closed;
        waiting = self.thread.wait_while(waiting, nothing).unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let fits = bytes < MOST_BYTES_TAKEN;
            bytes += entry.body.len();
            fits
        };
        let count = waiting.entries.iter().take(MOST_TAKEN).take_while(fits).count();
        taken.extend(waiting.entries.drain(..count));
        count > 0
    }

    /// For a thread that ends, however it ends: nobody waits for it in vain.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry { body: vec![b'x'; bytes], update: None, acknowledge: None }
    }

    fn taken(queue: &Queue) -> Vec<usize> {
        let mut taken = Vec::new();
        queue.take(&mut taken);
        taken.iter().map(|entry| entry.body.len()).collect()
    }

    #[test]
    fn records_come_out_in_their_order_as_many_as_share_a_write() {
        let queue = Queue::default();
        let firsts: Vec<bool> = (1..=3).map(|bytes| queue.put(entry(bytes)).unwrap()).collect();
        assert_eq!(firsts, [true, false, false]);
        assert_eq!(taken(&queue), [1, 2, 3]);
        assert!(queue.put(entry(1)).unwrap(), "the first after those that were taken");
        assert!(!queue.put(entry(MOST_BYTES_TAKEN)).unwrap());
        assert!(!queue.put(entry(2)).unwrap());
        assert_eq!(taken(&queue), [1, MOST_BYTES_TAKEN]);
        assert_eq!(taken(&queue), [2]);
    }

    #[test]
    fn a_queue_that_nobody_empties_refuses_more() {
        let queue = Queue::default();
        for _ in 0..MOST_WAITING {
            queue.put(entry(1)).unwrap();
        }
        assert!(matches!(queue.put(entry(1)), Err(AuditError::Overloaded { waiting: MOST_WAITING })));
        assert_eq!(taken(&queue).len(), MOST_TAKEN);
        assert!(queue.put(entry(1)).is_ok());
    }

    #[test]
    fn what_is_in_a_closed_queue_still_comes_out() {
        let queue = Queue::default();
        queue.put(entry(1)).unwrap();
        queue.close();
        assert!(matches!(queue.put(entry(1)), Err(AuditError::Closed)));
        assert_eq!(taken(&queue), [1]);
        assert!(!queue.take(&mut Vec::new()));
    }

    #[test]
    fn who_waits_for_a_thread_that_ended_is_told() {
        let queue = Queue::default();
        let (acknowledge, mut acknowledged) = oneshot::channel();
        queue.put(Entry { acknowledge: Some(acknowledge), ..entry(1) }).unwrap();
        queue.end();
        assert!(matches!(acknowledged.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(queue.put(entry(1)), Err(AuditError::Closed)));
    }
}
