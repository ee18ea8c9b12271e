//! Finding records again: in the store and in the journal's tail, also while a server runs or after it was killed.
//! Nothing is made or changed by asking.

mod count;
mod filter;
mod journal;
mod stored;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::columns::Columns;
use super::journal::segment::{self, JournalRecord, Segment};
use crate::store::decisions::DecisionRow;
use crate::store::{ReadOnlyStore, Store, StoreError, StoreLocation};
pub use count::{Count, count};
pub use filter::{Cursor, NotACursor, QueryFilter};
use journal::Visitor;

/// What a question that fails was for.
const ACT: &str = "looking for records";

/// Why a question could not be answered.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal beside it.
    #[error("reading the audit journal {} failed: {source}: check that it is a folder and can be read", folder.display())]
    Journal {
        /// The folder.
        folder: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl ReadError {
    /// What reading the journal of this store failed as.
    pub(super) fn journal(location: &StoreLocation) -> impl Fn(io::Error) -> Self + use<> {
        let folder = location.journal().unwrap_or_default();
        move |source| Self::Journal { folder: folder.clone(), source }
    }
}

/// The segments of the store's journal; none where it has no journal, or none that is known of.
pub(super) fn segments(location: &StoreLocation) -> Result<Vec<Segment>, ReadError> {
    match location.journal() {
        Some(folder) => segment::list(&folder).map_err(ReadError::journal(location)),
        None => Ok(Vec::new()),
    }
}

/// A record, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Whose chain it is in.
    pub writer_id: String,
    /// Its number in that chain.
    pub seq: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
    /// The JSON text that was hashed.
    pub line: String,
    /// When it was made, in UTC, with six decimals; empty for a line that could not be read when it came.
    pub timestamp: String,
}

/// What a line says of the namespace.
#[derive(Deserialize)]
struct Line {
    request: LineRequest,
}

#[derive(Deserialize)]
struct LineRequest {
    #[serde(default)]
    namespace: Option<String>,
}

impl StoredRecord {
    /// The line with its hash, as one JSON object; something else where the line is none any more.
    pub fn whole(&self) -> String {
        let open = self.line.strip_suffix('}').unwrap_or(&self.line);
        format!("{open},\"hash\":\"{}\"}}", self.hash)
    }

    /// The namespace that it is about, as the line says; `None` where it says none.
    pub fn namespace(&self) -> Option<String> {
        serde_json::from_str::<Line>(&self.line).ok()?.request.namespace
    }

    /// Its place on the way from the newest to the oldest.
    pub fn cursor(&self) -> Cursor {
        let Self { timestamp, writer_id, seq, .. } = self.clone();
        Cursor { timestamp, writer_id, seq }
    }
}

/// The records that the filter lets through, newest first.
pub async fn query(location: &StoreLocation, filter: &QueryFilter) -> Result<Vec<StoredRecord>, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let answer = matching(location, &store, filter).await;
        if store.close_undisturbed().await {
            return answer;
        }
    }
}

/// The record of the decision with this id.
pub async fn show(location: &StoreLocation, decision_id: &str) -> Result<Option<StoredRecord>, ReadError> {
    let filter = QueryFilter { decision_id: Some(decision_id.to_owned()), limit: Some(1), ..QueryFilter::default() };
    Ok(query(location, &filter).await?.pop())
}

async fn matching(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    filter: &QueryFilter,
) -> Result<Vec<StoredRecord>, ReadError> {
    // The journal first: what the filler moves meanwhile is then found in the store.
    let mut found = tail(location, store, filter).await?;
    let mut connection = store.pool().acquire().await.map_err(store.failed(ACT))?;
    let rows = stored::matching(&mut connection, filter).await.map_err(store.failed(ACT))?;
    found.extend(rows.into_iter().map(record_of));
    Ok(newest_first(found, filter.limit))
}

/// Records of the journal that the store does not have and the filter lets through, newest first.
pub(super) async fn tail(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    filter: &QueryFilter,
) -> Result<Vec<StoredRecord>, ReadError> {
    let mut newest = Newest { filter, found: Vec::new() };
    journal::walk(location, store, &mut newest).await?;
    Ok(newest.found)
}

fn record_of(row: DecisionRow) -> StoredRecord {
    let Columns { writer_id, seq, timestamp, .. } = row.columns;
    StoredRecord { writer_id, seq, hash: row.hash, line: row.line, timestamp }
}

fn newest_first(mut found: Vec<StoredRecord>, limit: Option<usize>) -> Vec<StoredRecord> {
    let mut known = HashSet::new();
    found.retain(|record| known.insert((record.writer_id.clone(), record.seq)));
    let place = |record: &StoredRecord| (record.timestamp.clone(), record.writer_id.clone(), record.seq);
    found.sort_by_cached_key(|record| std::cmp::Reverse(place(record)));
    found.truncate(limit.unwrap_or(usize::MAX));
    found
}

/// The records of the tail that the filter lets through; the newest are enough, after an outage of the store it is long.
struct Newest<'a> {
    filter: &'a QueryFilter,
    found: Vec<StoredRecord>,
}

impl Visitor for Newest<'_> {
    fn record(&mut self, columns: Columns, record: JournalRecord) {
        if self.filter.matches(&columns) {
            let JournalRecord { writer_id, seq, hash, line } = record;
            self.found.push(StoredRecord { writer_id, seq, hash, line, timestamp: columns.timestamp });
        }
    }

    fn segment_read(&mut self) {
        self.found = newest_first(std::mem::take(&mut self.found), self.filter.limit);
    }
}
