//! Proving the records: walks every writer's chain over the store and the journal's tail, and names the first record that
//! does not fit. It cannot notice records cut off at the very end of a chain, a whole chain that is missing, nor a chain
//! made anew with all its hashes: nothing here says how long a chain was. Checkpoints outside the store close that gap
//! ([`super::prove`]).

mod report;
pub(super) mod stretch;

use std::collections::{BTreeSet, VecDeque};

use super::boundary::Boundary;
use super::chain::{ChainHash, link};
use super::checkpoint::Mark;
use super::columns::{Columns, Record};
use super::facet::References;
use super::journal::segment::{Entry, JournalRecord, Segment, SegmentReader};
use super::prove::{Proven, Question, prove};
use super::query::{ReadError, segments};
use crate::store::database::{Connection, Dialect};
use crate::store::decisions::{self, PAGE_ROWS, StoredRow};
use crate::store::{ReadOnlyStore, StoreLocation, boundaries};
pub use report::{BadRecord, Fault, VerifyReport};
use stretch::Stretch;

/// What a question that fails was for.
const ACT: &str = "reading the records";

/// Records between two words to whoever watches.
const TOLD_EVERY: u64 = 1000;

/// Walks all chains of the store and its journal. Changes nothing, and may run beside a server.
pub async fn verify(location: &StoreLocation) -> Result<VerifyReport, ReadError> {
    verify_watched(location, &|_| ()).await
}

/// The same, telling `watch` now and then how many records fitted so far.
pub async fn verify_watched(location: &StoreLocation, watch: &(dyn Fn(u64) + Sync)) -> Result<VerifyReport, ReadError> {
    prove(location, &Question::default(), watch).await.map(|Proven { report, .. }| report)
}

/// All writers of which the store or the journal holds a record.
pub(super) async fn writers(store: &ReadOnlyStore, tail: &Tail) -> Result<BTreeSet<String>, ReadError> {
    let stored = decisions::writers(store.pool()).await.map_err(store.failed(ACT))?;
    Ok(stored.into_iter().chain(tail.writers()).collect())
}

/// The way along one writer's chain.
pub(super) struct Walk<'a> {
    rows: Rows<'a>,
    tail: Tail,
    references: References,
    writer_id: &'a str,
    /// Number and hash of the last record that fitted.
    seq: u64,
    head: ChainHash,
    /// Records that fitted.
    fitted: u64,
    /// Where it begins, and where it ends before the chain does.
    stretch: Stretch,
    /// Up to where records were removed.
    removed_up_to: u64,
    /// What checkpoints say, by number; those passed are taken off.
    marks: &'a [Mark],
    /// The last number for which a checkpoint had this hash, 0 if none.
    proven_up_to: u64,
}

impl<'a> Walk<'a> {
    /// Along this stretch of a writer's chain, the beginning of which may have been removed.
    pub(super) fn along(
        store: &'a ReadOnlyStore,
        tail: Tail,
        writer_id: &'a str,
        stretch: Stretch,
        boundary: Option<&Boundary>,
        marks: &'a [Mark],
    ) -> Self {
        let whole = stretch.anchor.is_none();
        let (seq, head) = stretch
            .anchor
            .unwrap_or_else(|| boundary.map_or((0, ChainHash::ZERO), |boundary| (boundary.seq, boundary.hash)));
        // All rows, so that none in a removed one's place is passed over; else those of the stretch.
        let after = if whole { i64::MIN } else { i64::try_from(seq).unwrap_or(i64::MAX) };
        Self {
            rows: Rows::after(store, writer_id, after),
            tail,
            references: References::default(),
            writer_id,
            seq,
            head,
            fitted: 0,
            stretch,
            removed_up_to: boundary.map_or(0, |boundary| boundary.seq),
            marks,
            proven_up_to: 0,
        }
    }

    /// Records that fitted.
    pub(super) fn fitted(&self) -> u64 {
        self.fitted
    }

    /// The number of the last record that fitted.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// The last number up to which a checkpoint says the same, 0 if none.
    pub(super) fn proven_up_to(&self) -> u64 {
        self.proven_up_to
    }

    /// Walks to the end; tells the first record that does not fit.
    pub(super) async fn run(&mut self, watch: &(dyn Fn(u64) + Sync)) -> Result<Option<BadRecord>, ReadError> {
        // What was removed, or lies before the stretch, cannot be compared.
        let passed = self.marks.partition_point(|mark| mark.seq < self.seq);
        let (before, marks) = self.marks.split_at(passed);
        self.marks = marks;
        self.proven_up_to = match self.stretch.anchor {
            None => self.seq,
            Some(_) => before.last().map_or(0, |mark| mark.seq),
        };
        if let Some(fault) = self.not_as_checkpointed(self.seq, self.head) {
            return Ok(Some(self.nameless(self.seq, fault)));
        }
        self.pass_checkpoints();
        loop {
            if self.fitted.is_multiple_of(TOLD_EVERY) {
                watch(self.fitted);
            }
            let row = self.rows.first().await?;
            let tail = self.tail.first()?.map(Entry::seq);
            if let Some(seq) = tail
                && self.stretch.anchor.is_some_and(|(before, _)| seq <= before)
            {
                self.tail.take();
                continue;
            }
            let next = [row, tail].into_iter().flatten().min();
            let Some(seq) = next.filter(|seq| self.stretch.last.is_none_or(|last| *seq <= last)) else {
                // A segment may have gone to the store between being listed and being opened.
                if next.is_none() && self.rows.read_again(self.seq).await? {
                    continue;
                }
                return Ok(self.cut_off());
            };
            if seq > self.seq + 1 && (self.rows.read_again(self.seq).await? || self.pass_removed().await?) {
                // The filler moved records, and removed their segment, after the store was asked; or retention removed
                // records that this walk had not come to.
                continue;
            }
            // One question gave the rows, so where a later one is there and this one is not, it was not there. The filler
            // keeps the order: it was, once.
            let passed_over = row.is_some_and(|row| row > seq);
            let row = self.rows.take_if(seq);
            let (record, damage) = match if tail == Some(seq) { self.tail.take() } else { None } {
                Some(Entry::Record(record)) => (Some(record), None),
                Some(Entry::Damaged { detail, .. }) => (None, Some(detail)),
                None => (None, None),
            };
            if let Some(bad) = self.step(seq, row.as_ref(), record.as_ref(), passed_over) {
                return Ok(Some(bad));
            }
            if let Some(detail) = damage {
                return Ok(Some(self.nameless(seq, Fault::Unreadable { detail })));
            }
        }
    }

    /// Looks at what stands at `seq` in the store, in the journal or in both. `passed_over` says that the store has later
    /// records of this writer and not this one.
    fn step(
        &mut self,
        seq: u64,
        row: Option<&StoredRow>,
        record: Option<&JournalRecord>,
        passed_over: bool,
    ) -> Option<BadRecord> {
        let (hash, line) = match (row, record) {
            (Some(row), _) => (row.hash(), row.line()),
            (None, Some(record)) => (&*record.hash, &*record.line),
            (None, None) => return None,
        };
        let read = Record::read(line).ok();
        // Nothing is copied: this is done for every record there is.
        let derived = read.as_ref().map(|read| read.columns(&mut self.references));
        let (head, fault) = match self.chain_hash(seq, line, hash, derived.as_ref()) {
            Ok(head) => (head, None),
            Err(fault) => (self.head, Some(fault)),
        };
        let fault = fault
            .or_else(|| {
                let columns = row?.columns();
                let name = match &derived {
                    Some(expected) => decisions::first_difference(self.rows.dialect(), expected, &columns, line),
                    None => Columns::of_unreadable(self.writer_id, seq).first_difference(&columns),
                }?;
                Some(Fault::Column { name })
            })
            .or_else(|| {
                let (row, record) = (row?, record?);
                (row.hash() != record.hash || row.line() != record.line).then_some(Fault::StoreAndJournalDiffer)
            })
            .or_else(|| passed_over.then_some(Fault::RemovedFromStore))
            .or_else(|| self.not_as_checkpointed(seq, head));
        if let Some(fault) = fault {
            // The columns help to find the record when its line does not.
            let columns = derived.as_ref().map(Columns::lent).or(row.map(StoredRow::columns)).unwrap_or_default();
            let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            return Some(BadRecord {
                writer_id: self.writer_id.to_owned(),
                seq,
                decision_id: known(columns.decision_id),
                timestamp: known(columns.timestamp),
                fault,
            });
        }
        self.head = head;
        self.seq = seq;
        self.fitted += 1;
        self.pass_checkpoints();
        None
    }

    /// The record's hash, if it is the one kept with it and the record follows the one before.
    fn chain_hash(
        &self,
        seq: u64,
        line: &str,
        hash: &str,
        derived: Option<&Columns<impl AsRef<str>>>,
    ) -> Result<ChainHash, Fault> {
        let derived = derived.map(Columns::lent);
        let has_hash = |prev_hash: ChainHash, seq: u64| {
            // Compared as it is written, which costs less than reading it.
            Some(link(prev_hash, seq, line.as_bytes())).filter(|own| own.to_hex() == hash.as_bytes())
        };
        // What the line says of its own place, if it is as it was written.
        let own_place = derived.as_ref().and_then(|columns| {
            let follows = self.head.to_hex() == columns.prev_hash.as_bytes();
            let prev_hash = if follows { self.head } else { columns.prev_hash.parse().ok()? };
            Some((columns, prev_hash, has_hash(prev_hash, columns.seq)?))
        });
        if let Some((own, ..)) = own_place
            && (own.seq != seq || own.writer_id != self.writer_id)
        {
            return Err(Fault::Moved { writer_id: own.writer_id.to_owned(), seq: own.seq });
        }
        if seq <= self.removed_up_to {
            return Err(Fault::BeforeBoundary);
        }
        if seq <= self.seq {
            return Err(Fault::Repeated);
        }
        if seq > self.seq + 1 {
            return Err(Fault::RemovedBefore { first: self.seq + 1, last: seq - 1 });
        }
        match (own_place, &derived) {
            (Some((_, prev_hash, _)), _) if prev_hash != self.head => Err(Fault::DoesNotFollow),
            (Some((.., own_hash)), _) => Ok(own_hash),
            // A line that this version cannot read still has its place and its hash.
            (None, None) => has_hash(self.head, seq).ok_or(Fault::Altered),
            (None, Some(_)) => Err(Fault::Altered),
        }
    }

    /// Whether a checkpoint gives another hash for this number.
    fn not_as_checkpointed(&self, seq: u64, hash: ChainHash) -> Option<Fault> {
        let here = self.marks.iter().take_while(|mark| mark.seq <= seq);
        let other = here.filter(|mark| mark.seq == seq).find(|mark| mark.hash != hash)?;
        Some(Fault::NotAsCheckpointed { made_at: other.made_at, first_suspect: self.proven_up_to + 1 })
    }

    /// Takes off the checkpoints that said the same as what was found.
    fn pass_checkpoints(&mut self) {
        while let Some((mark, rest)) = self.marks.split_first()
            && mark.seq <= self.seq
        {
            self.proven_up_to = mark.seq;
            self.marks = rest;
        }
    }

    /// Whether a checkpoint counted records beyond the end of the chain.
    fn cut_off(&self) -> Option<BadRecord> {
        if self.stretch.last.is_some() {
            return None;
        }
        let last = self.marks.last()?;
        // The first checkpoint that counted the first missing record knew it longest.
        let first = self.marks.first()?;
        Some(self.nameless(self.seq + 1, Fault::CutOff { last: last.seq, made_at: first.made_at }))
    }

    /// Goes on after records that retention removed since the walk began; false if it did not.
    async fn pass_removed(&mut self) -> Result<bool, ReadError> {
        let boundary =
            boundaries::of(self.rows.store.pool(), self.writer_id).await.map_err(self.rows.store.failed(ACT))?;
        let Some(boundary) = boundary.filter(|boundary| boundary.seq > self.seq) else {
            return Ok(false);
        };
        (self.seq, self.head, self.removed_up_to) = (boundary.seq, boundary.hash, boundary.seq);
        let passed = self.marks.partition_point(|mark| mark.seq < boundary.seq);
        self.marks = &self.marks[passed..];
        Ok(true)
    }

    fn nameless(&self, seq: u64, fault: Fault) -> BadRecord {
        BadRecord { writer_id: self.writer_id.to_owned(), seq, decision_id: None, timestamp: None, fault }
    }
}

/// One writer's rows in the store, in the order of their numbers.
pub(super) struct Rows<'a> {
    store: &'a ReadOnlyStore,
    writer_id: &'a str,
    /// Kept from page to page: handing it back and asking for it again takes as long as reading a page. One on which
    /// something failed is not.
    connection: Option<Connection>,
    page: VecDeque<StoredRow>,
    after: i64,
    /// The last page was not full. More may have come since, but only [`Self::read_again`] looks.
    exhausted: bool,
}

impl<'a> Rows<'a> {
    /// Those after this number.
    pub(super) fn after(store: &'a ReadOnlyStore, writer_id: &'a str, after: i64) -> Self {
        Self { store, writer_id, connection: None, page: VecDeque::new(), after, exhausted: false }
    }

    fn dialect(&self) -> Dialect {
        self.store.pool().dialect()
    }

    /// The number of the next one.
    pub(super) async fn first(&mut self) -> Result<Option<u64>, ReadError> {
        if self.page.is_empty() && !self.exhausted {
            self.read_page().await?;
        }
        Ok(self.page.front().map(StoredRow::seq))
    }

    /// Takes the next row if it is this one.
    pub(super) fn take_if(&mut self, seq: u64) -> Option<StoredRow> {
        if self.begins_with(seq) { self.page.pop_front() } else { None }
    }

    /// Looks again for what follows `seq`; true if the record right after it has come.
    pub(super) async fn read_again(&mut self, seq: u64) -> Result<bool, ReadError> {
        if self.begins_with(seq + 1) {
            return Ok(false);
        }
        self.after = i64::try_from(seq).unwrap_or(i64::MAX);
        self.read_page().await?;
        Ok(self.begins_with(seq + 1))
    }

    fn begins_with(&self, seq: u64) -> bool {
        self.page.front().is_some_and(|row| row.seq() == seq)
    }

    async fn read_page(&mut self) -> Result<(), ReadError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.store.pool().acquire().await.map_err(self.store.failed(ACT))?,
        };
        let page = decisions::page(&mut connection, self.writer_id, self.after).await;
        self.page = page.map_err(self.store.failed(ACT))?;
        self.connection = Some(connection);
        self.exhausted = self.page.len() < PAGE_ROWS;
        if let Some(last) = self.page.back() {
            self.after = i64::try_from(last.seq()).unwrap_or(i64::MAX);
        }
        Ok(())
    }
}

/// What the journal holds, of all writers or of one, in the order of its segments.
pub(super) struct Tail {
    location: StoreLocation,
    segments: VecDeque<Segment>,
    reader: Option<SegmentReader>,
    next: Option<Entry>,
}

impl Tail {
    pub(super) fn list(location: &StoreLocation) -> Result<Self, ReadError> {
        let segments = segments(location)?.into();
        Ok(Self { location: location.clone(), segments, reader: None, next: None })
    }

    fn writers(&self) -> impl Iterator<Item = String> {
        self.segments.iter().map(|segment| segment.writer_id.clone())
    }

    pub(super) fn of(&self, writer_id: &str) -> Self {
        let segments = self.segments.iter().filter(|segment| segment.writer_id == writer_id).cloned().collect();
        Self { location: self.location.clone(), segments, reader: None, next: None }
    }

    pub(super) fn first(&mut self) -> Result<Option<&Entry>, ReadError> {
        while self.next.is_none() {
            if let Some(reader) = &mut self.reader {
                self.next = reader.next().map_err(ReadError::journal(&self.location))?;
                if self.next.is_some() {
                    break;
                }
            }
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            self.reader = SegmentReader::open(segment).map_err(ReadError::journal(&self.location))?;
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn take(&mut self) -> Option<Entry> {
        self.next.take()
    }
}
