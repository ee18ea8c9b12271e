//! Stretches of chains: where those records of each writer begin and end that were made within a time, or after
//! a checkpoint. A stretch is without gaps: requests run side by side, so times in a chain are only almost in order.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{ACT, ChainHash, Columns, ReadError, Tail};
use crate::audit::boundary::Boundary;
use crate::audit::journal::segment::{Entry, JournalRecord};
use crate::store::database::{Query, Value};
use crate::store::time::to_column;
use crate::store::{ReadOnlyStore, decisions};

/// A part of a writer's chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::audit) struct Stretch {
    /// Number and hash of the record before its first, if it does not begin where the chain does.
    pub(in crate::audit) anchor: Option<(u64, ChainHash)>,
    /// Its last record, if it does not end where the chain does.
    pub(in crate::audit) last: Option<u64>,
}

/// First and last record of each writer in a time.
type Spans = BTreeMap<String, (u64, u64)>;

/// The stretches that hold all records made from `since` until before `until`, by writer. What comes before such a
/// stretch is not looked at: its hash is taken as it is kept.
pub(in crate::audit) async fn within(
    store: &ReadOnlyStore,
    tail: &Tail,
    boundaries: &BTreeMap<String, Boundary>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<BTreeMap<String, Stretch>, ReadError> {
    let (since, until) = (since.map(to_column), until.map(to_column));
    let mut spans = Spans::new();
    // The journal first: what the filler moves meanwhile is then found in the store.
    for writer_id in tail.writers() {
        let mut tail = tail.of(&writer_id);
        while tail.first()?.is_some() {
            if let Some(Entry::Record(record)) = tail.take()
                && is_within(&record, since.as_deref(), until.as_deref())
            {
                extend(&mut spans, &writer_id, record.seq, record.seq);
            }
        }
    }
    let stored = async {
        let query = Query::new(format!(
            "SELECT writer_id, min(seq), max(seq) FROM decisions{} WHERE timestamp >= $1 AND timestamp < $2 GROUP BY writer_id",
            store.pool().dialect().indexed_by("decisions_by_time")
        ));
        // No time is written with a letter.
        let query = query.bind(since.as_deref().unwrap_or_default()).bind(until.as_deref().unwrap_or("z"));
        let rows = store.pool().rows(query).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.integer(1)?, row.integer(2)?))).collect::<Result<Vec<_>, _>>()
    };
    let stored = stored.await.map_err(store.failed(ACT))?;
    for (writer_id, first, last) in stored {
        extend(&mut spans, &writer_id, u64::try_from(first).unwrap_or(0), u64::try_from(last).unwrap_or(0));
    }
    let mut stretches = BTreeMap::new();
    for (writer_id, (first, last)) in spans {
        let anchor = match since {
            Some(_) if first > 1 => Some(before(store, tail, boundaries.get(&writer_id), &writer_id, first).await?),
            _ => None,
        };
        let last = until.is_some().then_some(last);
        stretches.insert(writer_id, Stretch { anchor, last });
    }
    Ok(stretches)
}

/// The empty stretch at the end of a writer's chain: for whoever wants to know how far it goes, and nothing else.
pub(in crate::audit) async fn end(
    store: &ReadOnlyStore,
    tail: &Tail,
    boundary: Option<&Boundary>,
    writer_id: &str,
) -> Result<Stretch, ReadError> {
    let mut last = boundary.map_or((0, ChainHash::ZERO), |boundary| (boundary.seq, boundary.hash));
    let mut tail = tail.of(writer_id);
    while tail.first()?.is_some() {
        if let Some(Entry::Record(record)) = tail.take() {
            last = further(last, record.seq, &record.hash);
        }
    }
    let stored = decisions::head(store.pool(), writer_id).await.map_err(store.failed(ACT))?;
    if let Some((seq, hash)) = stored {
        last = further(last, u64::try_from(seq).unwrap_or(0), &hash);
    }
    Ok(Stretch { anchor: Some(last), last: None })
}

fn further(last: (u64, ChainHash), seq: u64, hash: &str) -> (u64, ChainHash) {
    if seq > last.0 { (seq, hash.parse().unwrap_or_default()) } else { last }
}

fn is_within(record: &JournalRecord, since: Option<&str>, until: Option<&str>) -> bool {
    // One that cannot be read is looked at with its neighbours.
    Columns::derive(&record.line).is_ok_and(|(columns, _)| {
        since.is_none_or(|since| columns.timestamp.as_str() >= since)
            && until.is_none_or(|until| columns.timestamp.as_str() < until)
    })
}

fn extend(spans: &mut Spans, writer_id: &str, first: u64, last: u64) {
    let span = spans.entry(writer_id.to_owned()).or_insert((first, last));
    *span = (span.0.min(first), span.1.max(last));
}

/// Number and hash of the record before `first`. Where it is missing, such that the walk notices.
pub(in crate::audit) async fn before(
    store: &ReadOnlyStore,
    tail: &Tail,
    boundary: Option<&Boundary>,
    writer_id: &str,
    first: u64,
) -> Result<(u64, ChainHash), ReadError> {
    let wanted = first - 1;
    if let Some(boundary) = boundary.filter(|boundary| boundary.seq >= wanted) {
        return Ok((boundary.seq, boundary.hash));
    }
    let query = Query::new("SELECT hash FROM decisions WHERE writer_id = $1 AND seq = $2");
    let stored = store.pool().row(query.bind(Value::key(writer_id)).bind(Value::number(wanted))).await;
    let stored = stored.and_then(|row| row.map(|row| row.text(0)).transpose());
    let mut found = stored.map_err(store.failed(ACT))?;
    let mut tail = tail.of(writer_id);
    while found.is_none() && tail.first()?.is_some_and(|entry| entry.seq() <= wanted) {
        if let Some(Entry::Record(record)) = tail.take()
            && record.seq == wanted
        {
            found = Some(record.hash);
        }
    }
    Ok(match found.and_then(|hash| hash.parse().ok()) {
        Some(hash) => (wanted, hash),
        None => (wanted.saturating_sub(1), ChainHash::ZERO),
    })
}
