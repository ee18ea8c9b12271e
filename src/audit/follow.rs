//! Records as they come: whatever is appended to any writer's chain, from the journal at once, or from the store where
//! the filler was faster than whoever follows.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Columns;
use super::journal::segment::{Entry, Segment, SegmentReader};
use super::query::{QueryFilter, ReadError, StoredRecord, query, segments};
use crate::store::database::{Query, Value};
use crate::store::decisions::{self, DecisionRow};
use crate::store::{ReadOnlyStore, Store, StoreLocation};

/// What a question that fails was for.
const ACT: &str = "looking for new records";

/// Follows all chains of a store.
#[derive(Debug)]
pub struct Follower {
    location: StoreLocation,
    filter: QueryFilter,
    /// The last record seen of each writer.
    seen: BTreeMap<String, u64>,
    /// Writers that had segments in the journal the last time: one that has none any more may still have gone on.
    active: BTreeSet<String>,
}

impl Follower {
    /// Begins to follow; also the newest records that are there already, the newest last, as many as the filter allows.
    pub async fn begin(location: &StoreLocation, filter: QueryFilter) -> Result<(Self, Vec<StoredRecord>), ReadError> {
        let mut follower = Self { location: location.clone(), filter, seen: BTreeMap::new(), active: BTreeSet::new() };
        loop {
            let store = Store::open_read_only(location).await?;
            let heads = follower.heads(&store).await;
            if store.close_undisturbed().await {
                (follower.seen, follower.active) = heads?;
                break;
            }
        }
        let mut newest = query(location, &follower.filter).await?;
        // What came after the heads were looked at comes again.
        newest.retain(|record| follower.seen.get(&record.writer_id).is_some_and(|seen| record.seq <= *seen));
        newest.reverse();
        Ok((follower, newest))
    }

    /// The records that came since the last call, the newest last; empty where there are none.
    pub async fn next(&mut self) -> Result<Vec<StoredRecord>, ReadError> {
        loop {
            let store = Store::open_read_only(&self.location).await?;
            let news = self.news(&store).await;
            if store.close_undisturbed().await {
                let News { mut records, seen, active } = news?;
                (self.seen, self.active) = (seen, active);
                records.sort_by(|one, other| one.timestamp.cmp(&other.timestamp));
                return Ok(records);
            }
        }
    }

    async fn heads(&self, store: &ReadOnlyStore) -> Result<(BTreeMap<String, u64>, BTreeSet<String>), ReadError> {
        // The journal first: what the filler moves meanwhile is then found in the store.
        let segments = segments(&self.location)?;
        let active = segments.iter().map(|segment| segment.writer_id.clone()).collect();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for segment in segments {
            let writer_id = segment.writer_id.clone();
            let Some(mut reader) = SegmentReader::open(segment).map_err(ReadError::journal(&self.location))? else {
                continue;
            };
            while let Some(entry) = reader.next().map_err(ReadError::journal(&self.location))? {
                if let Entry::Record(record) = entry {
                    let last = seen.entry(writer_id.clone()).or_default();
                    *last = record.seq.max(*last);
                }
            }
        }
        for (writer_id, seq, _) in decisions::heads(store.pool()).await.map_err(store.failed(ACT))? {
            let last = seen.entry(writer_id).or_default();
            *last = u64::try_from(seq).unwrap_or(0).max(*last);
        }
        Ok((seen, active))
    }

    async fn news(&self, store: &ReadOnlyStore) -> Result<News, ReadError> {
        let segments = segments(&self.location)?;
        let active: BTreeSet<String> = segments.iter().map(|segment| segment.writer_id.clone()).collect();
        let mut writers: BTreeSet<String> = active.union(&self.active).cloned().collect();
        // One that began and ended since left nothing in the journal.
        let stored = decisions::writers(store.pool()).await.map_err(store.failed(ACT))?;
        writers.extend(stored.into_iter().filter(|writer_id| !self.seen.contains_key(writer_id)));
        let mut news = News { records: Vec::new(), seen: self.seen.clone(), active };
        for writer_id in writers {
            let of_writer = segments.iter().filter(|segment| segment.writer_id == writer_id).cloned();
            self.chain(store, &writer_id, of_writer.collect(), &mut news).await?;
        }
        Ok(news)
    }

    /// What is new in one writer's chain.
    async fn chain(
        &self,
        store: &ReadOnlyStore,
        writer_id: &str,
        segments: Vec<Segment>,
        news: &mut News,
    ) -> Result<(), ReadError> {
        self.stored(store, writer_id, news).await?;
        for segment in segments {
            let seen = news.seen(writer_id);
            if segment.end_seq.is_some_and(|end| end <= seen + 1) {
                continue;
            }
            let Some(mut reader) = SegmentReader::open(segment).map_err(ReadError::journal(&self.location))? else {
                continue;
            };
            reader.skip_to(seen).map_err(ReadError::journal(&self.location))?;
            while let Some(entry) = reader.next().map_err(ReadError::journal(&self.location))? {
                let Entry::Record(record) = entry else {
                    continue;
                };
                if record.seq > news.seen(writer_id) + 1 {
                    // The filler moved records, and removed their segment, after the store was asked.
                    self.stored(store, writer_id, news).await?;
                }
                if record.seq > news.seen(writer_id) {
                    news.seen.insert(writer_id.to_owned(), record.seq);
                    if let Ok((columns, _)) = Columns::derive(&record.line)
                        && self.filter.matches(&columns)
                    {
                        let timestamp = columns.timestamp;
                        let (writer_id, seq, hash, line) = (record.writer_id, record.seq, record.hash, record.line);
                        news.records.push(StoredRecord { writer_id, seq, hash, line, timestamp });
                    }
                }
            }
        }
        Ok(())
    }

    async fn stored(&self, store: &ReadOnlyStore, writer_id: &str, news: &mut News) -> Result<(), ReadError> {
        let sql = format!("{} WHERE writer_id = $1 AND seq > $2 ORDER BY seq", decisions::SELECT);
        let query = Query::new(sql).bind(Value::key(writer_id)).bind(Value::number(news.seen(writer_id)));
        let rows = store.pool().rows(query).await.map_err(store.failed(ACT))?;
        for row in rows {
            let DecisionRow { columns, hash, line } = DecisionRow::read(&row).map_err(store.failed(ACT))?;
            news.seen.insert(writer_id.to_owned(), columns.seq);
            if self.filter.matches(&columns) {
                let Columns { writer_id, seq, timestamp, .. } = columns;
                news.records.push(StoredRecord { writer_id, seq, hash, line, timestamp });
            }
        }
        Ok(())
    }
}

struct News {
    records: Vec<StoredRecord>,
    seen: BTreeMap<String, u64>,
    active: BTreeSet<String>,
}

impl News {
    fn seen(&self, writer_id: &str) -> u64 {
        self.seen.get(writer_id).copied().unwrap_or(0)
    }
}
