//! Proving the records: walks every writer's chain over the store and the journal's tail, and names the first record that
//! does not fit. It cannot notice records cut off at the very end of a chain, a whole chain that is missing, nor a chain
//! made anew with all its hashes: nothing here says how long a chain was. Checkpoints outside the store close that gap.

mod report;

use std::collections::{BTreeSet, VecDeque};

use super::chain::{ChainHash, link};
use super::columns::Columns;
use super::journal::segment::{self, Entry, JournalRecord, Segment, SegmentReader};
use super::query::ReadError;
use crate::store::decisions::{self, DecisionRow};
use crate::store::{ReadOnlyStore, Store, StoreLocation};
pub use report::{BadRecord, Fault, VerifyReport};

/// What a question that fails was for.
const ACT: &str = "reading the records";

/// Rows of the store in memory at a time.
const PAGE: u64 = 1000;

/// Walks all chains of the store and its journal. Changes nothing, and may run beside a server.
pub async fn verify(location: &StoreLocation) -> Result<VerifyReport, ReadError> {
    verify_watched(location, &|_| ()).await
}

/// The same, telling `watch` now and then how many records fitted so far.
pub async fn verify_watched(location: &StoreLocation, watch: &(dyn Fn(u64) + Sync)) -> Result<VerifyReport, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let report = walk(location, &store, watch).await;
        if store.close_undisturbed().await {
            return report;
        }
    }
}

async fn walk(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<VerifyReport, ReadError> {
    let tail = Tail::list(location)?;
    let stored: Vec<String> = sqlx::query_scalar("SELECT DISTINCT writer_id FROM decisions")
        .fetch_all(store.pool())
        .await
        .map_err(store.failed(ACT))?;
    let mut writers: BTreeSet<String> = stored.into_iter().collect();
    writers.extend(tail.writers());
    let mut report = VerifyReport { records: 0, writers: 0, first_bad: None };
    for writer_id in writers {
        let mut walk = Walk {
            rows: Rows { store, writer_id: &writer_id, page: VecDeque::new(), after: i64::MIN, exhausted: false },
            tail: tail.of(&writer_id),
            writer_id: &writer_id,
            seq: 0,
            head: ChainHash::ZERO,
        };
        let before = report.records;
        report.first_bad = walk.run(&|records| watch(before + records)).await?;
        report.writers += 1;
        report.records += walk.seq;
        if report.first_bad.is_some() {
            break;
        }
    }
    Ok(report)
}

/// The way along one writer's chain.
struct Walk<'a> {
    rows: Rows<'a>,
    tail: Tail,
    writer_id: &'a str,
    /// Number and hash of the last record that fitted.
    seq: u64,
    head: ChainHash,
}

impl Walk<'_> {
    async fn run(&mut self, watch: &(dyn Fn(u64) + Sync)) -> Result<Option<BadRecord>, ReadError> {
        loop {
            if self.seq.is_multiple_of(PAGE) {
                watch(self.seq);
            }
            let row = self.rows.first().await?.map(|row| row.columns.seq);
            let tail = self.tail.first()?.map(|entry| match entry {
                Entry::Record(record) => record.seq,
                Entry::Damaged { seq, .. } => *seq,
            });
            let Some(seq) = [row, tail].into_iter().flatten().min() else {
                // A segment may have gone to the store between being listed and being opened.
                if self.rows.read_again(self.seq).await? {
                    continue;
                }
                return Ok(None);
            };
            if seq > self.seq + 1 && self.rows.read_again(self.seq).await? {
                // The filler moved records, and removed their segment, after the store was asked.
                continue;
            }
            // One question gave the rows, so where a later one is there and this one is not, it was not there. The filler
            // keeps the order: it was, once.
            let passed_over = row.is_some_and(|row| row > seq);
            let row = if row == Some(seq) { self.rows.take() } else { None };
            let (record, damage) = match if tail == Some(seq) { self.tail.take() } else { None } {
                Some(Entry::Record(record)) => (Some(record), None),
                Some(Entry::Damaged { detail, .. }) => (None, Some(detail)),
                None => (None, None),
            };
            if let Some(bad) = self.step(seq, row, record.as_ref(), passed_over) {
                return Ok(Some(bad));
            }
            if let Some(detail) = damage {
                let fault = Fault::Unreadable { detail };
                let writer_id = self.writer_id.to_owned();
                return Ok(Some(BadRecord { writer_id, seq, decision_id: None, timestamp: None, fault }));
            }
        }
    }

    /// Looks at what stands at `seq` in the store, in the journal or in both. `passed_over` says that the store has later
    /// records of this writer and not this one.
    fn step(
        &mut self,
        seq: u64,
        row: Option<DecisionRow>,
        record: Option<&JournalRecord>,
        passed_over: bool,
    ) -> Option<BadRecord> {
        let (hash, line) = match (&row, record) {
            (Some(row), _) => (&row.hash, &row.line),
            (None, Some(record)) => (&record.hash, &record.line),
            (None, None) => return None,
        };
        let derived = Columns::derive(line).map(|(columns, _)| columns).ok();
        let fault = self
            .chain_fault(seq, line, hash, derived.as_ref())
            .or_else(|| {
                let expected =
                    derived.clone().unwrap_or_else(|| Columns::of_unreadable(self.writer_id.to_owned(), seq));
                let name = expected.first_difference(&row.as_ref()?.columns)?;
                Some(Fault::Column { name })
            })
            .or_else(|| {
                let (row, record) = (row.as_ref()?, record?);
                (row.hash != record.hash || row.line != record.line).then_some(Fault::StoreAndJournalDiffer)
            })
            .or_else(|| passed_over.then_some(Fault::RemovedFromStore));
        if let Some(fault) = fault {
            // The columns help to find the record when its line does not.
            let columns = derived.or(row.map(|row| row.columns)).unwrap_or_default();
            let known = |text: String| (!text.is_empty()).then_some(text);
            return Some(BadRecord {
                writer_id: self.writer_id.to_owned(),
                seq,
                decision_id: known(columns.decision_id),
                timestamp: known(columns.timestamp),
                fault,
            });
        }
        self.head = link(self.head, seq, line.as_bytes());
        self.seq = seq;
        None
    }

    fn chain_fault(&self, seq: u64, line: &str, hash: &str, derived: Option<&Columns>) -> Option<Fault> {
        let has_hash = |prev_hash: ChainHash, seq: u64| link(prev_hash, seq, line.as_bytes()).to_string() == hash;
        // What the line says of its own place, if it is as it was written.
        let own_place =
            derived.filter(|columns| columns.prev_hash.parse().is_ok_and(|prev| has_hash(prev, columns.seq)));
        if let Some(own) = own_place
            && (own.seq != seq || own.writer_id != self.writer_id)
        {
            return Some(Fault::Moved { writer_id: own.writer_id.clone(), seq: own.seq });
        }
        if seq <= self.seq {
            return Some(Fault::Repeated);
        }
        if seq > self.seq + 1 {
            return Some(Fault::RemovedBefore { first: self.seq + 1, last: seq - 1 });
        }
        match (own_place, derived) {
            (Some(own), _) if own.prev_hash != self.head.to_string() => Some(Fault::DoesNotFollow),
            (Some(_), _) => None,
            // A line that this version cannot read still has its place and its hash.
            (None, None) if has_hash(self.head, seq) => None,
            (None, _) => Some(Fault::Altered),
        }
    }
}

/// One writer's rows in the store, in the order of their numbers.
struct Rows<'a> {
    store: &'a ReadOnlyStore,
    writer_id: &'a str,
    page: VecDeque<DecisionRow>,
    after: i64,
    /// The last page was not full. More may have come since, but only [`Self::read_again`] looks.
    exhausted: bool,
}

impl Rows<'_> {
    async fn first(&mut self) -> Result<Option<&DecisionRow>, ReadError> {
        if self.page.is_empty() && !self.exhausted {
            self.read_page().await?;
        }
        Ok(self.page.front())
    }

    fn take(&mut self) -> Option<DecisionRow> {
        self.page.pop_front()
    }

    /// Looks again for what follows `seq`; true if the record right after it has come.
    async fn read_again(&mut self, seq: u64) -> Result<bool, ReadError> {
        if self.page.front().is_some_and(|row| row.columns.seq == seq + 1) {
            return Ok(false);
        }
        self.after = i64::try_from(seq).unwrap_or(i64::MAX);
        self.read_page().await?;
        Ok(self.page.front().is_some_and(|row| row.columns.seq == seq + 1))
    }

    async fn read_page(&mut self) -> Result<(), ReadError> {
        let sql = format!("{} WHERE writer_id = ? AND seq > ? ORDER BY seq LIMIT {PAGE}", decisions::SELECT);
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.writer_id)
            .bind(self.after)
            .fetch_all(self.store.pool())
            .await
            .map_err(self.store.failed(ACT))?;
        self.page = rows.iter().map(DecisionRow::read).collect::<Result<_, _>>().map_err(self.store.failed(ACT))?;
        self.exhausted = (self.page.len() as u64) < PAGE;
        if let Some(last) = self.page.back() {
            self.after = i64::try_from(last.columns.seq).unwrap_or(i64::MAX);
        }
        Ok(())
    }
}

/// What the journal holds, of all writers or of one, in the order of its segments.
struct Tail {
    location: StoreLocation,
    segments: VecDeque<Segment>,
    reader: Option<SegmentReader>,
    next: Option<Entry>,
}

impl Tail {
    fn list(location: &StoreLocation) -> Result<Self, ReadError> {
        let segments = segment::list(&location.journal()).map_err(unreadable(location))?.into();
        Ok(Self { location: location.clone(), segments, reader: None, next: None })
    }

    fn writers(&self) -> impl Iterator<Item = String> {
        self.segments.iter().map(|segment| segment.writer_id.clone())
    }

    fn of(&self, writer_id: &str) -> Self {
        let segments = self.segments.iter().filter(|segment| segment.writer_id == writer_id).cloned().collect();
        Self { location: self.location.clone(), segments, reader: None, next: None }
    }

    fn first(&mut self) -> Result<Option<&Entry>, ReadError> {
        while self.next.is_none() {
            if let Some(reader) = &mut self.reader {
                self.next = reader.next().map_err(unreadable(&self.location))?;
                if self.next.is_some() {
                    break;
                }
            }
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            self.reader = SegmentReader::open(segment).map_err(unreadable(&self.location))?;
        }
        Ok(self.next.as_ref())
    }

    fn take(&mut self) -> Option<Entry> {
        self.next.take()
    }
}

fn unreadable(location: &StoreLocation) -> impl FnOnce(std::io::Error) -> ReadError {
    let folder = location.journal();
    move |source| ReadError::Journal { folder, source }
}
