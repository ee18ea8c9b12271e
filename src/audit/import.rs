//! Making an archive of what was exported: a store that nobody serves from, to be asked and proven.

use std::collections::BTreeMap;
use std::io::BufRead;

use chrono::{DateTime, SubsecRound as _, Utc};
use thiserror::Error;

use super::boundary::{Boundary, Reason};
use super::columns::Columns;
use super::journal::segment::{self, Entry};
use crate::store::decisions::{self, DecisionRow};
use crate::store::{Store, StoreError, StoreLocation, boundaries};

/// Records in one transaction.
const BATCH_RECORDS: usize = 2000;

/// Why no archive was made.
#[derive(Debug, Error)]
pub enum ImportError {
    /// There is one.
    #[error("there is a store at {place} already: an archive is made anew, so name another with --store")]
    Exists {
        /// The place.
        place: StoreLocation,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was exported cannot be read.
    #[error("line {line} cannot be read: {source}")]
    Read {
        /// The line, from 1.
        line: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// What was exported is something else.
    #[error("line {line} is no exported record: {why}; give a file that `freshgate audit export --format jsonl` wrote")]
    NotARecord {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Records.
    pub records: u64,
    /// Writers.
    pub writers: u64,
}

/// The first record of a writer, and the hash it names as the one before it.
type Beginning = (u64, String);

/// Makes the archive. It is not proven here: `verify` does that. Where it fails, none is left behind.
pub async fn import(
    input: &mut (dyn BufRead + Send),
    location: &StoreLocation,
    now: DateTime<Utc>,
) -> Result<Imported, ImportError> {
    if Store::exists(location).await? {
        return Err(ImportError::Exists { place: location.clone() });
    }
    let store = Store::open(location).await?;
    let imported = fill(input, &store, now).await;
    let closed = store.flush_and_close().await;
    if imported.is_err() || closed.is_err() {
        // Half an archive would pass for a whole one.
        Store::remove(location).await;
    }
    let imported = imported?;
    closed?;
    Ok(imported)
}

async fn fill(input: &mut (dyn BufRead + Send), store: &Store, now: DateTime<Utc>) -> Result<Imported, ImportError> {
    let mut beginnings: BTreeMap<String, Beginning> = BTreeMap::new();
    let (mut rows, mut records, mut line, mut buffer) = (Vec::new(), 0, 0, Vec::new());
    loop {
        line += 1;
        buffer.clear();
        let read = input.read_until(b'\n', &mut buffer).map_err(|source| ImportError::Read { line, source })?;
        if rows.len() == BATCH_RECORDS || (read == 0 && !rows.is_empty()) {
            write(store, &rows).await?;
            rows.clear();
        }
        if read == 0 {
            break;
        }
        if buffer.ends_with(b"\n") {
            buffer.pop();
        }
        if buffer.is_empty() {
            continue;
        }
        let row = row(&buffer).map_err(|why| ImportError::NotARecord { line, why })?;
        let columns = &row.columns;
        let beginning = beginnings.entry(columns.writer_id.clone()).or_insert((u64::MAX, String::new()));
        if columns.seq < beginning.0 {
            *beginning = (columns.seq, columns.prev_hash.clone());
        }
        rows.push(row);
        records += 1;
    }
    let writers = beginnings.len() as u64;
    begin(store, beginnings, now).await?;
    Ok(Imported { records, writers })
}

fn row(line: &[u8]) -> Result<DecisionRow, String> {
    match segment::parse(line)? {
        Entry::Damaged { detail, .. } => Err(detail),
        Entry::Record(record) => {
            let columns = Columns::derive(&record.line)
                .map_or_else(|_| Columns::of_unreadable(record.writer_id, record.seq), |(columns, _)| columns);
            Ok(DecisionRow { columns, hash: record.hash, line: record.line })
        }
    }
}

async fn write(store: &Store, rows: &[DecisionRow]) -> Result<(), ImportError> {
    let failed = |source| StoreError::Failed { act: "writing records into the archive", source };
    let mut transaction = store.writer().begin().await.map_err(failed)?;
    decisions::insert(&mut transaction, rows).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(())
}

/// Puts a boundary before each chain that does not begin with its first record.
async fn begin(store: &Store, beginnings: BTreeMap<String, Beginning>, now: DateTime<Utc>) -> Result<(), ImportError> {
    let failed = |source| StoreError::Failed { act: "writing boundaries into the archive", source };
    let mut connection = store.writer().acquire().await.map_err(failed)?;
    for (writer_id, (first, prev_hash)) in beginnings.into_iter().filter(|(_, (first, _))| *first > 1) {
        let boundary = Boundary {
            writer_id,
            seq: first - 1,
            hash: prev_hash.parse().unwrap_or_default(),
            removed_at: now.trunc_subsecs(6),
            reason: Reason::Import.as_str().to_owned(),
            signature: None,
        };
        boundaries::put(&mut connection, &boundary).await.map_err(failed)?;
    }
    Ok(())
}
