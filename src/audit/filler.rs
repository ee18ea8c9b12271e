//! The filler moves records from the journal into the store, in order and in large batches, behind the answers' back.
//! While the store is away it waits and tries again; a segment goes when the store has all of it.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::backlog::{Backlog, Work};
use super::columns::{Columns, Record};
use super::facet::References;
use super::journal::Batch;
use super::journal::segment::{self, Entry, JournalRecord, Segment, SegmentReader};
use crate::background::finished;
use crate::store::Store;
use crate::store::database::Pool;
use crate::store::decisions::{self, DecisionRow};
use crate::store::ledger::{LedgerUpdate, projection};

/// Records in one transaction: large, because each ends with an fsync that competes with the journal's.
const BATCH_RECORDS: usize = 2000;

/// What arrives within this time shares a transaction.
const GATHER: Duration = Duration::from_millis(200);

/// Between attempts while the store or the segments are away, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);

pub(super) struct Filler {
    pub(super) store: Store,
    pub(super) backlog: Arc<Backlog>,
    pub(super) folder: PathBuf,
    pub(super) writer_id: Uuid,
    /// Segments of earlier writers.
    pub(super) leftovers: Vec<Segment>,
}

/// Records ready for the store.
#[derive(Default)]
pub(super) struct Rows {
    decisions: Vec<DecisionRow>,
    updates: Vec<LedgerUpdate>,
    references: References,
}

impl Filler {
    /// Runs until the journal is closed and the store has everything.
    pub(super) async fn run(mut self) {
        for segment in std::mem::take(&mut self.leftovers) {
            self.drain(segment).await;
        }
        self.backlog.leftovers_are_done();
        self.store.ledger().memory().overlay.stored_up_to(0);
        let mut reader = None;
        loop {
            match self.backlog.take(BATCH_RECORDS) {
                // The journal's last segment is finished only now, and may be stored already.
                Work::Done => return self.stored(0).await,
                Work::Nothing => {
                    self.backlog.changed().await;
                    self.gather().await;
                }
                Work::Batches(batches) => {
                    let last_seq = batches.last().map_or(0, Batch::last_seq);
                    let writer_id = self.writer_id.to_string();
                    let rows = blocking(move || Rows::of_batches(&writer_id, &batches)).await;
                    self.insert(&rows).await;
                    self.stored(last_seq).await;
                    self.gather().await;
                }
                Work::ReadBack { from, to } => {
                    let (records, last_seq) = self.read_back(&mut reader, from, to).await;
                    let rows = blocking(move || Rows::of_records(records)).await;
                    self.insert(&rows).await;
                    self.stored(last_seq).await;
                    self.gather().await;
                }
            }
        }
    }

    /// Lets a batch gather: each ends with an fsync. At the end there is nothing to wait for.
    async fn gather(&self) {
        if !self.backlog.is_closed() {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Stores an earlier writer's segment and removes it.
    async fn drain(&self, segment: Segment) {
        let path = segment.path.clone();
        let WholeSegment { mut records, damaged, torn_bytes } = self
            .until_it_works("reading an earlier writer's segment", || {
                let segment = segment.clone();
                blocking(move || read_whole(segment))
            })
            .await;
        if torn_bytes > 0 {
            tracing::info!(segment = %path.display(), bytes = torn_bytes, "a line that a crash cut off is dropped; it was never acknowledged");
        }
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(BATCH_RECORDS));
            let count = records.len() as u64;
            let rows = blocking(move || Rows::of_records(records)).await;
            self.insert(&rows).await;
            self.backlog.stored_leftovers(count);
            records = rest;
        }
        if damaged {
            // Out of the readers' way, but not thrown away.
            let aside = path.with_extension("jsonl.damaged");
            tracing::error!(segment = %path.display(), kept_as = %aside.display(), "a segment of the journal is damaged; what could be read of it is in the store");
            settle(blocking(move || std::fs::rename(path, aside)).await);
        } else {
            settle(blocking(move || std::fs::remove_file(path)).await);
        }
    }

    /// Reads back what did not fit into memory: some of `from..=to`, and the number of the last record dealt with.
    async fn read_back(&self, reader: &mut Option<SegmentReader>, from: u64, to: u64) -> (Vec<JournalRecord>, u64) {
        let read = self
            .until_it_works("reading the journal back", || {
                let (reader, folder, writer_id) = (reader.take(), self.folder.clone(), self.writer_id);
                blocking(move || read_range(reader, &folder, writer_id, from, to))
            })
            .await;
        let (next_reader, records) = read;
        *reader = next_reader;
        let last_seq = records.last().map_or(to, |last| last.seq);
        let expected = last_seq + 1 - from;
        if (records.len() as u64) < expected {
            tracing::error!(
                from,
                to = last_seq,
                missing = expected - records.len() as u64,
                "records are missing from the journal: somebody removed its segments before the store had them"
            );
        }
        (records, last_seq)
    }

    /// Stores the rows in one transaction, however long that takes.
    async fn insert(&self, rows: &Rows) {
        self.until_it_works("storing records", || rows.write(self.store.writer())).await;
    }

    async fn stored(&self, seq: u64) {
        let finished = self.backlog.stored(seq);
        self.store.ledger().memory().overlay.stored_up_to(seq);
        for path in finished {
            settle(blocking(move || std::fs::remove_file(path)).await);
        }
    }

    /// Repeats the act, more and more slowly, until it works; says once that it fails, and once that it works again.
    async fn until_it_works<T, E, F>(&self, act: &'static str, mut attempt: impl FnMut() -> F) -> T
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut wait = FIRST_RETRY;
        loop {
            match attempt().await {
                Ok(done) => {
                    if self.backlog.store_fails(false) {
                        tracing::info!(act, "the audit store takes records again");
                    }
                    return done;
                }
                Err(error) => {
                    if self.backlog.store_fails(true) {
                        tracing::warn!(act, %error, "the audit store takes no records; the journal keeps them until it does");
                    }
                    tokio::time::sleep(wait).await;
                    wait = if self.backlog.is_closed() { FIRST_RETRY } else { LAST_RETRY.min(wait * 2) };
                }
            }
        }
    }
}

impl Rows {
    /// What they add to the ledger.
    pub(super) fn updates(&self) -> &[LedgerUpdate] {
        &self.updates
    }

    /// The lines, as they were hashed.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.decisions.iter().map(|row| row.line.as_bytes())
    }

    /// Stores them, all or none.
    pub(super) async fn write(&self, writer: &Pool) -> Result<(), sqlx::Error> {
        let mut transaction = writer.begin().await?;
        decisions::insert(&mut transaction, &self.decisions).await?;
        projection::write(&mut transaction, self.updates.iter().cloned()).await?;
        transaction.commit().await
    }

    pub(super) fn of_batches(writer_id: &str, batches: &[Batch]) -> Self {
        let mut rows = Self::default();
        for (seq, hash, line) in batches.iter().flat_map(Batch::records) {
            // What the journal was given is UTF-8, or it would be no JSON; if it was not, the chain says so.
            rows.add(writer_id, seq, &String::from_utf8_lossy(hash), String::from_utf8_lossy(line).into_owned());
        }
        rows
    }

    fn of_records(records: Vec<JournalRecord>) -> Self {
        let mut rows = Self::default();
        for JournalRecord { writer_id, seq, hash, line } in records {
            rows.add(&writer_id, seq, &hash, line);
        }
        rows
    }

    fn add(&mut self, writer_id: &str, seq: u64, hash: &str, line: String) {
        let columns = match Record::read(&line) {
            Ok(record) => {
                self.updates.extend(record.ledger_update());
                record.columns(&mut self.references).map(Cow::into_owned)
            }
            Err(error) => {
                tracing::error!(writer_id, seq, %error, "a record is stored without its columns");
                Columns::of_unreadable(writer_id.to_owned(), seq)
            }
        };
        self.decisions.push(DecisionRow { columns, hash: hash.to_owned(), line });
    }
}

/// What a segment that nobody writes to holds.
#[derive(Default)]
pub(super) struct WholeSegment {
    pub(super) records: Vec<JournalRecord>,
    /// Whether it holds lines that are no records.
    damaged: bool,
    /// What a crash left of a line.
    torn_bytes: usize,
}

/// Reads a whole segment; nothing when the file is gone.
pub(super) fn read_whole(segment: Segment) -> io::Result<WholeSegment> {
    let mut whole = WholeSegment::default();
    if let Some(mut reader) = SegmentReader::open(segment)? {
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Record(record) => whole.records.push(record),
                Entry::Damaged { .. } => whole.damaged = true,
            }
        }
        whole.torn_bytes = reader.torn_bytes();
    }
    Ok(whole)
}

/// Up to [`BATCH_RECORDS`] of the writer's records `from..=to`, continuing with the reader if it stands there.
fn read_range(
    reader: Option<SegmentReader>,
    folder: &Path,
    writer_id: Uuid,
    from: u64,
    to: u64,
) -> io::Result<(Option<SegmentReader>, Vec<JournalRecord>)> {
    // A folder that is away may come back, with the records in it.
    std::fs::metadata(folder)?;
    let writer_id = writer_id.to_string();
    let mut segments: Vec<Segment> =
        segment::list(folder)?.into_iter().filter(|segment| segment.writer_id == writer_id).collect();
    segments.retain(|segment| segment.first_seq <= to && segment.end_seq.is_none_or(|end| end > from));
    let mut records = Vec::new();
    let mut next = from;
    let mut reader = reader;
    for segment in segments {
        // A segment may have got its end since it was opened.
        let mut open = match reader.take().filter(|open| open.is_of(&segment) && open.next_seq() == Some(next)) {
            Some(mut open) => {
                open.set_end(segment.end_seq);
                open
            }
            None => match SegmentReader::open(segment)? {
                Some(open) => open,
                None => continue,
            },
        };
        while let Some(entry) = open.next()? {
            let Entry::Record(record) = entry else {
                continue;
            };
            if record.seq < next {
                continue;
            }
            next = record.seq + 1;
            records.push(record);
            if next > to || records.len() == BATCH_RECORDS {
                return Ok((Some(open), records));
            }
        }
    }
    Ok((None, records))
}

/// File work away from the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(work)).await
}

/// A segment that stays behind is drained, without effect, by the next writer.
fn settle(removed: io::Result<()>) {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "a stored segment of the journal cannot be removed");
        }
        _ => {}
    }
}
