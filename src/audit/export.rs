//! Taking records out, writer by writer in the order of their chains, so that whoever has them can prove them again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::columns::Columns;
use super::journal::segment::{Entry, JournalRecord};
use super::query::{ReadError, StoredRecord};
use super::verify::stretch::{self, Stretch};
use super::verify::{self, Rows, Tail};
use crate::store::{ReadOnlyStore, Store, StoreLocation, boundaries};

/// What a question that fails was for.
const ACT: &str = "reading the records";

/// Which records are taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Export {
    /// Those made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Those made before this time.
    pub until: Option<DateTime<Utc>>,
}

/// Hands every record to `take`, until that says false; returns how many. Of each writer it is a stretch without gaps:
/// one made a moment outside the time may be among them.
///
/// False beside the count says that somebody wrote to a store that was at rest, and that what was handed over may mix old
/// and new: it is to be asked again.
pub async fn export(
    location: &StoreLocation,
    wanted: Export,
    take: &mut (dyn FnMut(&StoredRecord) -> bool + Send),
) -> Result<(u64, bool), ReadError> {
    let store = Store::open_read_only(location).await?;
    let taken = all(location, &store, wanted, take).await;
    let undisturbed = store.close_undisturbed().await;
    taken.map(|count| (count, undisturbed))
}

async fn all(
    location: &StoreLocation,
    store: &ReadOnlyStore,
    wanted: Export,
    take: &mut (dyn FnMut(&StoredRecord) -> bool + Send),
) -> Result<u64, ReadError> {
    let tail = Tail::list(location)?;
    let boundaries = boundaries::all(store.pool()).await.map_err(store.failed(ACT))?;
    let stretches: BTreeMap<String, Stretch> = match wanted {
        Export { since: None, until: None } => {
            verify::writers(store, &tail).await?.into_iter().map(|writer_id| (writer_id, Stretch::default())).collect()
        }
        Export { since, until } => stretch::within(store, &tail, &boundaries, since, until).await?,
    };
    let mut count = 0;
    for (writer_id, stretch) in stretches {
        let removed_up_to = boundaries.get(&writer_id).map_or(0, |boundary| boundary.seq);
        let mut last = stretch.anchor.map_or(removed_up_to, |(before, _)| before);
        let mut rows = Rows::after(store, &writer_id, i64::try_from(last).unwrap_or(i64::MAX));
        let mut tail = tail.of(&writer_id);
        loop {
            let row = rows.first().await?;
            let in_journal = tail.first()?.map(Entry::seq);
            if in_journal.is_some_and(|seq| seq <= last) {
                tail.take();
                continue;
            }
            let next = [row, in_journal].into_iter().flatten().min();
            // The filler may have moved records, and removed their segment, since the store was asked.
            if next.is_none_or(|next| next > last + 1) && rows.read_again(last).await? {
                continue;
            }
            let Some(seq) = next.filter(|seq| stretch.last.is_none_or(|last| *seq <= last)) else {
                break;
            };
            last = seq;
            let kept = if in_journal == Some(seq) { tail.take() } else { None };
            let record = match (rows.take_if(seq), kept) {
                (Some(row), _) => StoredRecord {
                    writer_id: writer_id.clone(),
                    seq,
                    hash: row.hash().to_owned(),
                    line: row.line().to_owned(),
                    timestamp: row.timestamp().to_owned(),
                },
                (None, Some(Entry::Record(JournalRecord { hash, line, .. }))) => {
                    let timestamp = Columns::derive(&line).map(|(columns, _)| columns.timestamp).unwrap_or_default();
                    StoredRecord { writer_id: writer_id.clone(), seq, hash, line, timestamp }
                }
                (None, _) => {
                    tracing::warn!(writer_id, seq, "a damaged line of the journal is passed over");
                    continue;
                }
            };
            count += 1;
            if !take(&record) {
                return Ok(count);
            }
        }
    }
    Ok(count)
}
