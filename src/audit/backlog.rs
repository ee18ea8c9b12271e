//! What is between the journal and the store: records that are durable but not yet in the store, counted always, and kept
//! in memory as far as the bounds allow. The journal's thread puts in, the filler takes out.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::journal::Batch;

/// Bytes of records kept in memory for the filler; what does not fit it reads back from the segments.
const MAX_BYTES_IN_MEMORY: usize = 32 * 1024 * 1024;

/// How exactly the age of the oldest unstored record is known.
const AGE_STEP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Batch>,
    queued_bytes: usize,
    /// The last record that is durable.
    written_seq: u64,
    /// The last record that the store has.
    stored_seq: u64,
    /// Records that earlier writers left.
    leftover_records: u64,
    /// Segments that are not written to any more, and their last record.
    finished: Vec<(PathBuf, u64)>,
    /// First records written in each [`AGE_STEP`], oldest first.
    marks: VecDeque<(u64, Instant)>,
    /// When the leftovers were found, until they are stored.
    leftover_since: Option<Instant>,
    closed: bool,
    store_failing: bool,
}

/// What the filler has to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Store these.
    Batches(Vec<Batch>),
    /// Read these back from the segments: they did not fit into memory.
    ReadBack { from: u64, to: u64 },
    /// Wait.
    Nothing,
    /// The journal is closed and the store has everything.
    Done,
}

impl Backlog {
    /// Records of earlier writers wait to be stored.
    pub(super) fn found_leftovers(&self, records: u64) {
        let mut state = self.state();
        state.leftover_records = records;
        state.leftover_since = (records > 0).then(Instant::now);
    }

    pub(super) fn stored_leftovers(&self, records: u64) {
        let mut state = self.state();
        state.leftover_records = state.leftover_records.saturating_sub(records);
    }

    pub(super) fn leftovers_are_done(&self) {
        let mut state = self.state();
        state.leftover_records = 0;
        state.leftover_since = None;
    }

    /// A batch is durable.
    pub(super) fn push(&self, batch: Batch) {
        let mut state = self.state();
        let now = Instant::now();
        if state.marks.back().is_none_or(|(_, last)| now.duration_since(*last) >= AGE_STEP) {
            state.marks.push_back((batch.first_seq(), now));
        }
        state.written_seq = batch.last_seq();
        if state.queued_bytes + batch.bytes() <= MAX_BYTES_IN_MEMORY {
            state.queued_bytes += batch.bytes();
            state.queue.push_back(batch);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing more is written to this segment; it can go when the store has `last_seq`.
    pub(super) fn finish_segment(&self, path: PathBuf, last_seq: u64) {
        self.state().finished.push((path, last_seq));
    }

    /// No batch follows.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until something was put in or the backlog was closed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the next batches, up to `max_records` or one batch.
    pub(super) fn take(&self, max_records: usize) -> Work {
        let mut state = self.state();
        let next = state.stored_seq + 1;
        if state.written_seq < next {
            return if state.closed { Work::Done } else { Work::Nothing };
        }
        match state.queue.front().map(Batch::first_seq) {
            Some(first) if first <= next => {}
            Some(first) => {
                return Work::ReadBack { from: next, to: first - 1 };
            }
            None => {
                return Work::ReadBack { from: next, to: state.written_seq };
            }
        }
        let (mut batches, mut records, mut follows) = (Vec::new(), 0, None);
        while let Some(batch) = state.queue.front() {
            let in_order = follows.is_none_or(|seq| seq == batch.first_seq());
            if !in_order || (records > 0 && records + batch.len() > max_records) {
                break;
            }
            records += batch.len();
            follows = Some(batch.last_seq() + 1);
            state.queued_bytes -= batch.bytes();
            batches.extend(state.queue.pop_front());
        }
        Work::Batches(batches)
    }

    /// The store has everything up to `seq`. Returns the segments that can go.
    pub(super) fn stored(&self, seq: u64) -> Vec<PathBuf> {
        let mut state = self.state();
        state.stored_seq = state.stored_seq.max(seq);
        let stored = state.stored_seq;
        while state.marks.get(1).is_some_and(|(first, _)| *first <= stored + 1) {
            state.marks.pop_front();
        }
        if stored == state.written_seq {
            state.marks.clear();
        }
        let (gone, kept) = std::mem::take(&mut state.finished).into_iter().partition(|(_, last)| *last <= stored);
        state.finished = kept;
        Vec::into_iter(gone).map(|(path, _)| path).collect()
    }

    /// Returns whether this is news.
    pub(super) fn store_fails(&self, failing: bool) -> bool {
        std::mem::replace(&mut self.state().store_failing, failing) != failing
    }

    pub(super) fn is_store_failing(&self) -> bool {
        self.state().store_failing
    }

    /// Records that are durable but not in the store.
    pub(super) fn records(&self) -> u64 {
        let state = self.state();
        state.leftover_records + (state.written_seq - state.stored_seq)
    }

    /// How long the oldest of them has waited, to the second.
    pub(super) fn oldest_age(&self) -> Duration {
        let state = self.state();
        let own = state.marks.front().map(|(_, since)| *since);
        [state.leftover_since, own].into_iter().flatten().min().map(|since| since.elapsed()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
