//! The journal's tail: records that the store does not have yet.

use std::collections::HashMap;

use super::super::columns::Columns;
use super::super::journal::segment::{Entry, JournalRecord, SegmentReader};
use super::{ACT, ReadError};
use crate::store::database::{Connection, Query, Value};
use crate::store::{ReadOnlyStore, StoreLocation};

/// Hands every record of the tail to `each`, writer by writer in the order of their numbers, and calls `rest` after each
/// segment. Ask the store afterwards: what the filler moves meanwhile is then found there.
pub(super) async fn walk(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    visitor: &mut (impl Visitor + ?Sized),
) -> Result<(), ReadError> {
    let failed = ReadError::journal(location);
    let segments = super::segments(location)?;
    let mut stored: HashMap<String, u64> = HashMap::new();
    for segment in &segments {
        if !stored.contains_key(&segment.writer_id) {
            stored.insert(segment.writer_id.clone(), last_stored(store, &segment.writer_id).await?);
        }
    }
    for segment in segments {
        let path = segment.path.clone();
        let last_stored = stored.get(&segment.writer_id).copied().unwrap_or(0);
        let Some(mut reader) = SegmentReader::open(segment).map_err(&failed)? else {
            continue;
        };
        // The filler keeps the order, so what comes before its last record is in the store as well.
        reader.skip_to(last_stored).map_err(&failed)?;
        while let Some(entry) = reader.next().map_err(&failed)? {
            match entry {
                Entry::Record(record) => match Columns::derive(&record.line) {
                    Ok((columns, _)) => visitor.record(columns, record),
                    Err(error) => {
                        let (writer_id, seq) = (record.writer_id, record.seq);
                        tracing::warn!(writer_id, seq, %error, "a record in the journal is passed over");
                    }
                },
                Entry::Damaged { seq, detail } => {
                    tracing::warn!(segment = %path.display(), seq, detail, "a damaged line of the journal is passed over");
                }
            }
        }
        visitor.segment_read();
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Who is shown the tail.
pub(super) trait Visitor {
    /// The next record.
    fn record(&mut self, columns: Columns, record: JournalRecord);

    /// A segment was read to its end.
    fn segment_read(&mut self) {}
}

/// The number of the writer's last record in the store, or 0.
async fn last_stored(store: &ReadOnlyStore, writer_id: &str) -> Result<u64, ReadError> {
    let mut connection = store.pool().acquire().await.map_err(store.failed(ACT))?;
    Ok(last_stored_on(&mut connection, writer_id).await.map_err(store.failed(ACT))?)
}

/// The same, in somebody's transaction.
pub(super) async fn last_stored_on(connection: &mut Connection, writer_id: &str) -> Result<u64, sqlx::Error> {
    let query = Query::new("SELECT max(seq) FROM decisions WHERE writer_id = $1").bind(Value::key(writer_id));
    let row = connection.row(query).await?;
    let seq = row.map_or(Ok(None), |row| row.integer_or_null(0))?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}
