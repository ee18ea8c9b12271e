//! Going through recorded decisions in the order of their times, one after another, so that a hundred thousand need no
//! more memory than one; and the policies that they were made with.

use std::collections::HashSet;

use super::query::{QueryFilter, ReadError, StoredRecord, tail};
use super::replay::Revisions;
use crate::store::database::Query;
use crate::store::time::to_column;
use crate::store::{ReadOnlyStore, Store, StoreLocation};
use chrono::{DateTime, Utc};

/// What a question that fails was for.
const ACT: &str = "going through the records";

/// The time that is gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// From this time on, in UTC; from the beginning, where there is none.
    pub since: Option<DateTime<Utc>>,
    /// Before this time, in UTC; to the end, where there is none.
    pub until: Option<DateTime<Utc>>,
}

/// Adds every record of the span to what `begin` gives: those in the store by time, then those that are only in the
/// journal yet. Where a server wrote in between, it begins anew.
pub async fn fold<T>(
    location: &StoreLocation,
    span: Span,
    begin: impl Fn() -> T,
    mut add: impl FnMut(&mut T, &StoredRecord),
) -> Result<T, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let mut folded = begin();
        let gone_through = each(location, &store, span, |record| add(&mut folded, record)).await;
        if store.close_undisturbed().await {
            return gone_through.map(|()| folded);
        }
    }
}

/// The policies that were ever in force, by revision.
pub async fn revisions(location: &StoreLocation) -> Result<Revisions, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let specs = store.policy_revisions().await;
        if store.close_undisturbed().await {
            return Ok(Revisions::new(specs?));
        }
    }
}

async fn each(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    span: Span,
    mut add: impl FnMut(&StoredRecord),
) -> Result<(), ReadError> {
    let filter = QueryFilter { since: span.since, until: span.until, ..QueryFilter::default() };
    // The journal first: what the filler moves meanwhile is then found in the store, and passed over in the tail.
    let tail = tail(location, store, &filter).await?;
    let mut unstored: HashSet<(String, u64)> =
        tail.iter().map(|record| (record.writer_id.clone(), record.seq)).collect();
    let mut select = Query::once(format!(
        "SELECT writer_id, seq, hash, line, timestamp FROM decisions{} WHERE timestamp >= ",
        store.pool().dialect().indexed_by("decisions_by_time")
    ));
    // Text sorts as time does, and nothing comes before an empty one.
    select.push_bind(span.since.map(to_column).unwrap_or_default());
    if let Some(until) = span.until {
        select.push(" AND timestamp < ").push_bind(to_column(until));
    }
    select.push(" ORDER BY timestamp, writer_id, seq");
    let mut connection = store.pool().acquire().await.map_err(store.failed(ACT))?;
    let gone_through = connection.each(select, |row| {
        let record = StoredRecord {
            writer_id: row.text(0)?,
            seq: u64::try_from(row.integer(1)?).unwrap_or(0),
            hash: row.text(2)?,
            line: row.text(3)?,
            timestamp: row.text(4)?,
        };
        add(&record);
        if !unstored.is_empty() {
            unstored.remove(&(record.writer_id, record.seq));
        }
        Ok(())
    });
    gone_through.await.map_err(store.failed(ACT))?;
    // The tail is newest first.
    for record in tail.into_iter().rev() {
        if unstored.contains(&(record.writer_id.clone(), record.seq)) {
            add(&record);
        }
    }
    Ok(())
}
