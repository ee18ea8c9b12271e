//! Proves that nobody changed the records: walks every writer's chain and names the first record that does not fit.
//!
//! A chain shows a record altered, removed from the middle, inserted or moved. That its end was cut off it cannot show:
//! the last records of a writer could be missing with nobody the wiser until checkpoints are kept outside the store.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::chain::{self, Hash};
use super::columns::{self, Columns};
use super::query::{self, QueryError};
use super::segments::StoredRecord;
use crate::store::{Store, StoreLocation};

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Records that were looked at.
    pub records: u64,
    /// Writers (process starts) they are from.
    pub writers: u64,
    /// Of them, records that only the journal has so far.
    pub in_journal: u64,
    /// The first record that does not fit.
    pub first_bad: Option<BadRecord>,
}

/// A record that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Its writer.
    pub writer_id: String,
    /// Its number among that writer's.
    pub seq: u64,
    /// Id of the decision, as far as it can be read.
    pub decision_id: String,
    /// Its time, as far as it can be read.
    pub timestamp: String,
    /// What is wrong, in words.
    pub problem: String,
}

/// A record as a chain has it.
struct Link {
    writer_id: String,
    seq: u64,
    record: StoredRecord,
    /// The columns of the store; a record that only the journal has has none.
    columns: Option<Columns>,
}

/// Where one writer's chain has come to.
struct Chain {
    seq: u64,
    previous: Hash,
}

/// Walks all chains, in the store and in the journal's tail.
pub async fn verify(location: &StoreLocation) -> Result<VerifyReport, QueryError> {
    let tail = query::tail(location)?;
    let store = Store::open_read_only(location).await?;
    let mut report = VerifyReport::default();
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    {
        let mut rows = sqlx::query("SELECT * FROM decisions ORDER BY writer_id, seq").fetch(store.readers());
        while let Some(row) = rows.try_next().await? {
            let link = link(&row)?;
            report.records += 1;
            if let Err(problem) = check(&mut chains, &link) {
                report.first_bad = Some(bad(&link, problem));
                break;
            }
        }
    }
    store.close().await;
    if report.first_bad.is_none() {
        check_tail(tail, &mut chains, &mut report);
    }
    report.writers = chains.len() as u64;
    Ok(report)
}

fn check_tail(tail: Vec<StoredRecord>, chains: &mut BTreeMap<String, Chain>, report: &mut VerifyReport) {
    for record in tail {
        let link = match columns::derive(&record.line) {
            Ok((columns, _)) => Link { writer_id: columns.writer_id, seq: columns.seq, record, columns: None },
            Err(_) => Link { writer_id: String::new(), seq: 0, record, columns: None },
        };
        if chains.get(&link.writer_id).is_some_and(|chain| link.seq <= chain.seq) {
            continue; // the store has it, and it was looked at there
        }
        report.records += 1;
        report.in_journal += 1;
        if let Err(problem) = check(chains, &link) {
            report.first_bad = Some(bad(&link, problem));
            return;
        }
    }
}

fn check(chains: &mut BTreeMap<String, Chain>, link: &Link) -> Result<(), String> {
    let chain = chains.entry(link.writer_id.clone()).or_insert(Chain { seq: 0, previous: chain::START });
    if link.seq != chain.seq + 1 {
        return Err(match link.seq.checked_sub(chain.seq + 1) {
            Some(1) => format!("record {} before it is missing", chain.seq + 1),
            Some(gap) => format!("the {gap} records from {} on before it are missing", chain.seq + 1),
            None => "its number was there before".to_owned(),
        });
    }
    let (derived, _) =
        columns::derive(&link.record.line).map_err(|_| "its line lacks what every record has".to_owned())?;
    if derived.writer_id != link.writer_id || derived.seq != link.seq {
        return Err("its line names another writer or number: it was altered or moved".to_owned());
    }
    if derived.prev_hash != hex::encode(chain.previous) {
        return Err("its line does not follow the record before it: one of them was altered or inserted".to_owned());
    }
    let hash = chain::link(&chain.previous, link.seq, link.record.line.as_bytes());
    if hex::encode(hash) != link.record.hash {
        return Err("its line does not match its hash: it was altered".to_owned());
    }
    if let Some(columns) = &link.columns
        && let Some(column) = differing(columns, &derived)
    {
        return Err(format!("its column {column} does not match its line: it was altered"));
    }
    *chain = Chain { seq: link.seq, previous: hash };
    Ok(())
}

/// The first column that is not what the line says.
fn differing(stored: &Columns, derived: &Columns) -> Option<&'static str> {
    [
        ("prev_hash", &stored.prev_hash, &derived.prev_hash),
        ("decision_id", &stored.decision_id, &derived.decision_id),
        ("timestamp", &stored.timestamp, &derived.timestamp),
        ("decision", &stored.decision, &derived.decision),
        ("namespace", &stored.namespace, &derived.namespace),
        ("kind", &stored.kind, &derived.kind),
        ("name", &stored.name, &derived.name),
        ("operation", &stored.operation, &derived.operation),
        ("username", &stored.username, &derived.username),
        ("rules", &stored.rules, &derived.rules),
        ("images", &stored.images, &derived.images),
        ("repeat_of", &stored.repeat_of, &derived.repeat_of),
    ]
    .into_iter()
    .find(|(_, stored, derived)| stored != derived)
    .map(|(column, ..)| column)
}

fn link(row: &SqliteRow) -> Result<Link, sqlx::Error> {
    let seq = u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or(0);
    let columns = Columns {
        writer_id: row.try_get("writer_id")?,
        seq,
        prev_hash: row.try_get("prev_hash")?,
        decision_id: row.try_get("decision_id")?,
        timestamp: row.try_get("timestamp")?,
        decision: row.try_get("decision")?,
        namespace: row.try_get("namespace")?,
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        operation: row.try_get("operation")?,
        username: row.try_get("username")?,
        rules: row.try_get("rules")?,
        images: row.try_get("images")?,
        repeat_of: row.try_get("repeat_of")?,
    };
    Ok(Link {
        writer_id: columns.writer_id.clone(),
        seq,
        record: StoredRecord { line: row.try_get("line")?, hash: row.try_get("hash")? },
        columns: Some(columns),
    })
}

fn bad(link: &Link, problem: String) -> BadRecord {
    let columns = columns::derive(&link.record.line).map(|(columns, _)| columns).ok().or_else(|| link.columns.clone());
    let columns = columns.unwrap_or_default();
    BadRecord {
        writer_id: link.writer_id.clone(),
        seq: link.seq,
        decision_id: columns.decision_id,
        timestamp: columns.timestamp,
        problem,
    }
}
