//! The journal's thread: takes whatever has arrived, writes it with one fdatasync, and acknowledges it.
//! A write that fails is taken back, and the chain with it; the next one begins a new segment.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Counts;
use super::batch::Batch;
use super::lock::FolderLock;
use super::queue::{Acknowledge, Entry, Queue};
use super::segment::OpenSegment;
use uuid::Uuid;

use crate::audit::backlog::Backlog;
use crate::audit::chain::Chain;
use crate::audit::listener::Listener;
use crate::audit::{AuditError, Position};
use crate::store::ledger::{LedgerUpdate, Memory};

/// Where the records of a writer go.
pub(in crate::audit) enum Output {
    /// Segment files, with what the filler is told.
    Segments(Segments),
    /// Standard output, one line each.
    Stdout,
}

pub(in crate::audit) struct Segments {
    pub(in crate::audit) folder: PathBuf,
    /// A segment that has reached this many bytes is finished.
    pub(in crate::audit) segment_bytes: u64,
    pub(in crate::audit) backlog: Arc<Backlog>,
    /// Held as long as the writer lives.
    pub(in crate::audit) _lock: FolderLock,
}

/// The thread's state.
pub(super) struct Writer {
    chain: Chain,
    output: Output,
    segment: Option<OpenSegment>,
    memory: Arc<Memory>,
    counts: Arc<Counts>,
    listener: Arc<Listener>,
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        writer_id: Uuid,
        output: Output,
        memory: Arc<Memory>,
        counts: Arc<Counts>,
        listener: Arc<Listener>,
    ) -> Self {
        Self { chain: Chain::new(writer_id), output, segment: None, memory, counts, listener, failing: false }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        let _ended = Ended(queue);
        let mut entries = Vec::new();
        // Whatever has arrived while the disk was busy shares the next write.
        while queue.take(&mut entries) {
            self.commit(&mut entries);
        }
        if let Output::Segments(segments) = &self.output {
            if let Some(segment) = self.segment.take() {
                segments.backlog.finish_segment(segment.path().to_owned(), self.chain.seq());
                if let Err(error) = segment.finish() {
                    tracing::debug!(%error, "the room left in the journal's segment was not given back");
                }
            }
            segments.backlog.close();
        }
    }

    /// Writes the entries as one batch and acknowledges them; the chain moves on only if that succeeds.
    fn commit(&mut self, entries: &mut Vec<Entry>) {
        let body_bytes = entries.iter().map(|entry| entry.body.len()).sum();
        let before = self.chain;
        let mut batch = Batch::after(&before, entries.len(), body_bytes);
        let mut written: Vec<(Option<LedgerUpdate>, Option<Acknowledge>, Position)> = Vec::with_capacity(entries.len());
        for Entry { body, update, acknowledge } in entries.drain(..) {
            match batch.append(&mut self.chain, &body) {
                Ok(position) => written.push((update, acknowledge, position)),
                Err(refusal) => answer(acknowledge, Err(refusal)),
            }
        }
        if written.is_empty() {
            return;
        }
        match self.write(&batch, before.seq()) {
            Ok(()) => {
                self.report(None);
                self.counts.records.fetch_add(batch.len() as u64, Ordering::Relaxed);
                self.counts.bytes.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
                self.counts.head.store(Some(Arc::new(Position { seq: self.chain.seq(), hash: self.chain.head() })));
                // In this order: the filler takes off the overlay what it has stored, and whoever is answered may ask at
                // once what is recorded.
                for (update, _, position) in &mut written {
                    if let Some(update) = update.take() {
                        self.memory.overlay.admit(update, position.seq);
                    }
                }
                self.listener.tell(batch.records().map(|(_, _, line)| line));
                if let Output::Segments(segments) = &self.output {
                    segments.backlog.push(batch);
                }
                for (_, acknowledge, position) in written {
                    answer(acknowledge, Ok(position));
                }
            }
            Err(error) => {
                self.chain = before;
                self.counts.write_errors.fetch_add(1, Ordering::Relaxed);
                self.report(Some(&error));
                let source = Arc::new(error);
                for (_, acknowledge, _) in written {
                    answer(acknowledge, Err(AuditError::Write { source: Arc::clone(&source) }));
                }
            }
        }
    }

    fn write(&mut self, batch: &Batch, last_seq: u64) -> io::Result<()> {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        let segments = match &self.output {
            Output::Segments(segments) => segments,
            Output::Stdout => return print(batch),
        };
        if let Some(segment) = self.segment.take_if(|segment| !segment.is_in_place()) {
            tracing::warn!(segment = %segment.path().display(), "the journal's segment was moved or removed; a new one is begun");
        }
        if let Some(full) = self.segment.take_if(|segment| segment.length() >= segments.segment_bytes) {
            segments.backlog.finish_segment(full.path().to_owned(), last_seq);
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => OpenSegment::create(&segments.folder, self.chain.writer_id(), batch.first_seq())?,
        };
        match segment.append(batch.lines()) {
            Ok(()) => {
                self.segment = Some(segment);
                Ok(())
            }
            Err(error) => {
                // One without a durable record is made anew under its name by the next attempt.
                if segment.length() > 0 {
                    segments.backlog.finish_segment(segment.path().to_owned(), last_seq);
                }
                if let Err(error) = segment.abandon() {
                    tracing::debug!(%error, "a failed write could not be taken back; the next segment voids it");
                }
                Err(error)
            }
        }
    }

    /// Says it once when writing begins to fail, and once when it works again.
    fn report(&mut self, error: Option<&io::Error>) {
        match (std::mem::replace(&mut self.failing, error.is_some()), error) {
            (false, Some(error)) => {
                tracing::error!(%error, "the audit journal cannot be written: what is decided now is not recorded");
            }
            (true, None) => tracing::info!("the audit journal is written again"),
            _ => {}
        }
    }
}

/// Marks the queue however the thread ends.
struct Ended<'a>(&'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn print(batch: &Batch) -> io::Result<()> {
    let mut lines = Vec::with_capacity(batch.bytes());
    for (_, _, line) in batch.records() {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&lines)?;
    stdout.flush()
}

fn answer(acknowledge: Option<Acknowledge>, result: Result<Position, AuditError>) {
    match (acknowledge, result) {
        // An error here means that the caller's deadline has passed; the record is kept all the same.
        (Some(acknowledge), result) => drop(acknowledge.send(result)),
        (None, Err(error)) => tracing::debug!(%error, "a record for which nobody waits is lost"),
        (None, Ok(_)) => {}
    }
}
