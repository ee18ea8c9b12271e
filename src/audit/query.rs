//! Finding records again: in the store and in the journal's tail, also while a server runs or after it was killed.
//! Nothing is made or changed by asking.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Sqlite};
use thiserror::Error;

use super::columns::Columns;
use super::journal::segment::{self, Entry, JournalRecord, SegmentReader};
use crate::store::decisions::{self, DecisionRow};
use crate::store::time::to_column;
use crate::store::{ReadOnlyStore, Store, StoreError, StoreLocation};

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

/// Which records are asked for; what is not set does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryFilter {
    /// Made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Made before this time.
    pub until: Option<DateTime<Utc>>,
    /// The object's namespace, exactly.
    pub namespace: Option<String>,
    /// The object's name, exactly.
    pub name: Option<String>,
    /// `allow`, `warn` or `deny`.
    pub decision: Option<String>,
    /// A rule that did not pass.
    pub rule: Option<String>,
    /// Part of an image's reference or digest.
    pub image: Option<String>,
    /// At most so many records.
    pub limit: Option<usize>,
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
    loop {
        let store = Store::open_read_only(location).await?;
        let answer = one(location, &store, decision_id).await;
        if store.close_undisturbed().await {
            return answer;
        }
    }
}

async fn matching(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    filter: &QueryFilter,
) -> Result<Vec<StoredRecord>, ReadError> {
    // The journal first: what the filler moves meanwhile is then found in the store.
    let mut found = journal_tail(location, store, |columns| filter.matches(columns), filter.limit).await?;
    found.extend(stored(store, filter).await?);
    Ok(newest_first(found, filter.limit).into_iter().map(|(_, record)| record).collect())
}

async fn one(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    decision_id: &str,
) -> Result<Option<StoredRecord>, ReadError> {
    let tail = journal_tail(location, store, |columns| columns.decision_id == decision_id, Some(1)).await?;
    if let Some((_, record)) = tail.into_iter().next() {
        return Ok(Some(record));
    }
    let sql = format!("{} WHERE decision_id = ? LIMIT 1", decisions::SELECT);
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(decision_id)
        .fetch_optional(store.pool())
        .await
        .map_err(store.failed(ACT))?;
    let row = row.as_ref().map(DecisionRow::read).transpose().map_err(store.failed(ACT))?;
    Ok(row.map(|row| record_of(row).1))
}

/// Timestamp, which sorts as text does, and record.
pub(super) type Found = (String, StoredRecord);

fn record_of(row: DecisionRow) -> Found {
    let Columns { writer_id, seq, timestamp, .. } = row.columns;
    (timestamp, StoredRecord { writer_id, seq, hash: row.hash, line: row.line })
}

fn newest_first(mut found: Vec<Found>, limit: Option<usize>) -> Vec<Found> {
    let mut known = HashSet::new();
    found.retain(|(_, record)| known.insert((record.writer_id.clone(), record.seq)));
    found.sort_by(|(a_time, a), (b_time, b)| (b_time, &b.writer_id, b.seq).cmp(&(a_time, &a.writer_id, a.seq)));
    found.truncate(limit.unwrap_or(usize::MAX));
    found
}

/// Records of the journal that the store does not have, newest first.
pub(super) async fn journal_tail(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    wanted: impl Fn(&Columns) -> bool,
    limit: Option<usize>,
) -> Result<Vec<Found>, ReadError> {
    let folder = location.journal();
    let failed = |source| ReadError::Journal { folder: folder.clone(), source };
    let mut found = Vec::new();
    let segments = segment::list(&folder).map_err(failed)?;
    let mut stored: HashMap<String, u64> = HashMap::new();
    for segment in &segments {
        if !stored.contains_key(&segment.writer_id) {
            stored.insert(segment.writer_id.clone(), last_stored(store, &segment.writer_id).await?);
        }
    }
    for segment in segments {
        let path = segment.path.clone();
        let last_stored = stored.get(&segment.writer_id).copied().unwrap_or(0);
        let Some(mut reader) = SegmentReader::open(segment).map_err(failed)? else {
            continue;
        };
        // The filler keeps the order, so what comes before its last record is in the store as well.
        reader.skip_to(last_stored).map_err(failed)?;
        while let Some(entry) = reader.next().map_err(failed)? {
            match entry {
                Entry::Record(JournalRecord { writer_id, seq, hash, line }) => match Columns::derive(&line) {
                    Ok((columns, _)) if wanted(&columns) => {
                        found.push((columns.timestamp, StoredRecord { writer_id, seq, hash, line }));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(writer_id, seq, %error, "a record in the journal is passed over");
                    }
                },
                Entry::Damaged { seq, detail } => {
                    tracing::warn!(segment = %path.display(), seq, detail, "a damaged line of the journal is passed over");
                }
            }
        }
        // After an outage of the store the tail is long; the newest are enough.
        found = newest_first(found, limit);
        tokio::task::yield_now().await;
    }
    Ok(found)
}

/// The number of the writer's last record in the store, or 0.
async fn last_stored(store: &ReadOnlyStore, writer_id: &str) -> Result<u64, ReadError> {
    let seq: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM decisions WHERE writer_id = ?")
        .bind(writer_id)
        .fetch_one(store.pool())
        .await
        .map_err(store.failed(ACT))?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

async fn stored(store: &ReadOnlyStore, filter: &QueryFilter) -> Result<Vec<Found>, ReadError> {
    let mut select = QueryBuilder::<Sqlite>::new(decisions::SELECT);
    if filter.namespace.is_none() && filter.image.is_none() {
        // Walks back from the newest until the limit is reached; left alone, `SQLite` reads and sorts the whole table.
        select.push(" INDEXED BY decisions_by_time");
    }
    let mut before = " WHERE ";
    let equal = [("namespace", &filter.namespace), ("name", &filter.name), ("decision", &filter.decision)];
    for (column, value) in equal.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?))) {
        select.push(std::mem::replace(&mut before, " AND ")).push(column).push(" = ").push_bind(value);
    }
    if let Some(since) = filter.since {
        select.push(std::mem::replace(&mut before, " AND ")).push("timestamp >= ").push_bind(to_column(since));
    }
    if let Some(until) = filter.until {
        select.push(std::mem::replace(&mut before, " AND ")).push("timestamp < ").push_bind(to_column(until));
    }
    if let Some(rule) = &filter.rule {
        select
            .push(std::mem::replace(&mut before, " AND "))
            .push("instr(',' || rules || ',', ")
            .push_bind(format!(",{rule},"))
            .push(") > 0");
    }
    if let Some(image) = &filter.image {
        select.push(before).push("instr(images, ").push_bind(image).push(") > 0");
    }
    select.push(" ORDER BY timestamp DESC, writer_id DESC, seq DESC");
    if let Some(limit) = filter.limit {
        select.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    let rows = select.build().persistent(false).fetch_all(store.pool()).await.map_err(store.failed(ACT))?;
    rows.iter().map(|row| Ok(record_of(DecisionRow::read(row).map_err(store.failed(ACT))?))).collect()
}

impl QueryFilter {
    /// The same conditions as the store's, for records that are not in it yet.
    pub(super) fn matches(&self, columns: &Columns) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        equal(&self.namespace, &columns.namespace)
            && equal(&self.name, &columns.name)
            && equal(&self.decision, &columns.decision)
            && self.since.is_none_or(|since| columns.timestamp >= to_column(since))
            && self.until.is_none_or(|until| columns.timestamp < to_column(until))
            && self.rule.as_ref().is_none_or(|rule| columns.rules.split(',').any(|name| name == rule))
            && self.image.as_ref().is_none_or(|image| columns.images.contains(image.as_str()))
    }
}
