//! How many records there are by one of their facets: how many refusals in each namespace, by each rule.

use std::collections::{BTreeMap, HashMap};

use super::super::columns::Columns;
use super::super::facet::{self, Facet, signature};
use super::super::journal::segment::JournalRecord;
use super::filter::QueryFilter;
use super::journal::{self, Visitor};
use super::stored::{self, Plan};
use super::{ACT, ReadError};
use crate::store::database::{Connection, Dialect, Query};
use crate::store::{ReadOnlyStore, Store, StoreLocation};

/// How many records have one value of a facet. A record with several values (two policies, three images) is counted for
/// each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The value; empty for what has no namespace.
    pub value: String,
    /// Records.
    pub records: u64,
}

/// Counts the records that the filter lets through by a facet, the most first.
pub async fn count(location: &StoreLocation, filter: &QueryFilter, by: Facet) -> Result<Vec<Count>, ReadError> {
    loop {
        let store = Store::open_read_only(location).await?;
        let answer = counted(location, &store, filter, by).await;
        if store.close_undisturbed().await {
            return answer;
        }
    }
}

/// Counts of the tail by writer and number: how many of them the store has is known only when it is asked.
struct Tail<'a> {
    filter: &'a QueryFilter,
    prefix: String,
    found: HashMap<String, Vec<(u64, Vec<String>)>>,
}

impl Visitor for Tail<'_> {
    fn record(&mut self, columns: Columns, record: JournalRecord) {
        if self.filter.matches(&columns) {
            let values = facet::read(&columns.facets).into_iter();
            let values = values.filter_map(|facet| Some(facet.strip_prefix(&self.prefix)?.to_owned())).collect();
            self.found.entry(record.writer_id).or_default().push((record.seq, values));
        }
    }
}

async fn counted(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    filter: &QueryFilter,
    by: Facet,
) -> Result<Vec<Count>, ReadError> {
    let filter = QueryFilter { limit: None, ..filter.clone() };
    let mut tail = Tail { filter: &filter, prefix: by.of_nothing(), found: HashMap::new() };
    journal::walk(location, store, &mut tail).await?;
    let (mut counts, stored) = in_store(store, &filter, by, tail.found.keys()).await.map_err(store.failed(ACT))?;
    for (writer_id, records) in tail.found {
        let last_stored = stored.get(&writer_id).copied().unwrap_or(0);
        for value in records.into_iter().filter(|(seq, _)| *seq > last_stored).flat_map(|(_, values)| values) {
            *counts.entry(value).or_default() += 1;
        }
    }
    let mut counts: Vec<Count> = counts.into_iter().map(|(value, records)| Count { value, records }).collect();
    // Stable, so that values with the same count stay in the order of their names.
    counts.sort_by_key(|count| std::cmp::Reverse(count.records));
    Ok(counts)
}

type Counts = BTreeMap<String, u64>;

/// Counts in the store, and what of the tail was among them: both of one moment.
async fn in_store(
    store: &ReadOnlyStore,
    filter: &QueryFilter,
    by: Facet,
    writers: impl Iterator<Item = &String>,
) -> Result<(Counts, HashMap<String, u64>), sqlx::Error> {
    let mut moment = store.pool().moment().await?;
    let counts = by_facet(&mut moment, filter, by).await?;
    let mut stored = HashMap::new();
    for writer_id in writers {
        stored.insert(writer_id.clone(), journal::last_stored_on(&mut moment, writer_id).await?);
    }
    moment.commit().await?;
    Ok((counts, stored))
}

async fn by_facet(connection: &mut Connection, filter: &QueryFilter, by: Facet) -> Result<Counts, sqlx::Error> {
    let prefix = by.of_nothing();
    let after_prefix = format!("{}>", by.as_str()); // the character after "="
    let plan;
    let facets = filter.facets();
    let mut select = Query::once("");
    if is_of_an_index(connection, filter).await? {
        // The index alone, all of the facet's part of it.
        select.push("SELECT f.facet, count(*) FROM decision_facets f WHERE f.facet >= ").push_bind(&prefix);
        select.push(" AND f.facet < ").push_bind(after_prefix);
        stored::push_time(&mut select, "f", filter);
        stored::push_facets(&mut select, connection.dialect(), "f", &facets);
        select.push(" GROUP BY f.facet");
    } else {
        plan = Plan::of(connection, filter).await?;
        // A column that is no JSON any more has no facets; PostgreSQL's function says so by itself.
        let (valid, each) = match connection.dialect() {
            Dialect::Sqlite => (" AND json_valid(d.facets)", "json_each(found.facets) j"),
            Dialect::Postgres => ("", "facets_in(found.facets) j (value)"),
        };
        select.push("SELECT j.value, count(*) FROM (SELECT d.facets");
        plan.push(&mut select, connection.dialect(), filter);
        select.push(format!("{valid}) found, {each} WHERE j.value >= ")).push_bind(&prefix);
        select.push(" AND j.value < ").push_bind(after_prefix).push(" GROUP BY j.value");
    }
    let mut counts = Counts::new();
    for row in connection.rows(select).await? {
        let (facet, records) = (row.text(0)?, row.integer(1)?);
        if let Some(value) = facet.strip_prefix(&prefix) {
            counts.insert(value.to_owned(), u64::try_from(records).unwrap_or(0));
        }
    }
    Ok(counts)
}

/// Whether the index of the facet that is counted by has all that is asked: for much of what there is, or for all records
/// of one decision, which their signatures tell.
async fn is_of_an_index(connection: &mut Connection, filter: &QueryFilter) -> Result<bool, sqlx::Error> {
    let timed = QueryFilter { since: filter.since, until: filter.until, ..QueryFilter::default() };
    let of_decision = QueryFilter { decision: filter.decision.clone(), ..timed.clone() };
    if *filter == timed {
        return Ok(!stored::is_short(connection, filter).await?);
    }
    let [facet] = &filter.facets()[..] else {
        return Ok(false);
    };
    let is_told = *filter == of_decision && signature::exactly(facet).is_some();
    Ok(is_told && connection.dialect() == Dialect::Sqlite && stored::is_common(connection, facet, filter).await?)
}
