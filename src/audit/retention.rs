//! Retention: removes the oldest stretch of a writer's records when they are older or more than is to be kept, and leaves
//! a signed boundary in their place.
//!
//! A stretch is looked at before it goes: a record that does not fit stays, and all after it, or whoever can write to the
//! store could make the gate remove, and vouch for, what he wants to be gone. What the journal still holds stays as well:
//! the next start would bring it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use thiserror::Error;
use tokio::task::spawn_blocking;

use super::boundary::{Boundary, Reason};
use super::chain::{ChainHash, link};
use super::columns::Columns;
use super::journal::segment;
use crate::background::finished;
use crate::metrics::Metrics;
use crate::signing::{CryptoFailed, Keys};
use crate::store::database::Dialect;
use crate::store::decisions::{DecisionRow, first_difference};
use crate::store::time::to_column;
use crate::store::{Store, StoreError};

/// Records of one stretch: few enough that the store's one writer is free again soon.
const STRETCH: u32 = 1000;

/// Between two looks.
const EVERY: Duration = Duration::from_hours(1);

/// What is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Records younger than this; `None` keeps all.
    pub age: Option<TimeDelta>,
    /// So many bytes of records' lines; `None` keeps all. The store's file holds about half as much again.
    pub bytes: Option<u64>,
}

/// Why old records stay.
#[derive(Debug, Error)]
pub enum RetentionError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal beside it.
    #[error("the audit journal cannot be read: {0}; check that its folder can be read")]
    Journal(#[from] std::io::Error),
    /// No signature.
    #[error("signing the boundary of removed records failed: {0}")]
    Sign(#[from] CryptoFailed),
    /// A record was tampered with.
    #[error(
        "record {seq} of writer {writer_id} does not fit, so it and what follows is not removed: run `freshgate audit verify`"
    )]
    DoesNotFit {
        /// The writer.
        writer_id: String,
        /// The record.
        seq: u64,
    },
}

/// Removes what is older or more than is to be kept.
pub struct Retention {
    /// From where.
    pub store: Store,
    /// What signs boundaries.
    pub keys: Keys,
    /// What is kept.
    pub limits: Limits,
    /// Counts what is removed.
    pub metrics: Arc<Metrics>,
}

/// Consecutive first records of a writer that may go.
struct Stretch {
    last: (u64, ChainHash),
    records: u64,
    bytes: u64,
}

/// How far a stretch may go.
enum Until<'a> {
    /// Records made before this time, as the store's columns have it.
    Time(&'a str),
    /// So many bytes, and the record with which they are reached.
    Bytes(u64),
}

impl Retention {
    /// Looks now and then, for ever; `clock` says when that is.
    pub async fn run(&self, clock: fn() -> DateTime<Utc>) {
        loop {
            match self.sweep(clock()).await {
                Ok(0) => {}
                Ok(records) => tracing::info!(records, "old records were removed from the store"),
                Err(error) => tracing::error!(%error, "old records are not removed; it is tried again in an hour"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Removes what is to go; says how many records.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<u64, RetentionError> {
        let Some(_turn) = self.store.retention_turn().await? else {
            tracing::debug!("another replica removes old records");
            return Ok(0);
        };
        let held = self.held_by_the_journal().await?;
        let mut removed = 0;
        // One writer's trouble does not keep the others' records.
        let mut trouble = None;
        if let Some(before) = self.limits.age.and_then(|age| now.checked_sub_signed(age)).map(to_column) {
            for writer_id in self.store.writers().await? {
                let held_from = held.get(&writer_id).copied();
                loop {
                    match self.remove(&writer_id, &Until::Time(&before), held_from, Reason::Age, now).await {
                        Ok(Some(stretch)) => removed += stretch.records,
                        Ok(None) => break,
                        Err(error @ RetentionError::DoesNotFit { .. }) => {
                            trouble = trouble.or(Some(error));
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if let Some(most) = self.limits.bytes {
            removed += self.shrink(most, &held, now).await?;
        }
        trouble.map_or(Ok(removed), Err)
    }

    /// Removes the oldest stretches until there are no more bytes than that.
    async fn shrink(&self, most: u64, held: &HashMap<String, u64>, now: DateTime<Utc>) -> Result<u64, RetentionError> {
        let mut bytes = self.store.record_bytes().await?;
        let mut removed = 0;
        while bytes > most {
            let mut oldest: Option<(String, String)> = None;
            for writer_id in self.store.writers().await? {
                let first = self.store.first_records(&writer_id, 1).await?.pop();
                let Some(first) =
                    first.filter(|first| held.get(&writer_id).is_none_or(|held| first.columns.seq < *held))
                else {
                    continue;
                };
                let candidate = (first.columns.timestamp, writer_id);
                oldest = Some(oldest.map_or(candidate.clone(), |oldest| oldest.min(candidate)));
            }
            let Some((_, writer_id)) = oldest else {
                break;
            };
            let (held_from, until) = (held.get(&writer_id).copied(), Until::Bytes(bytes - most));
            match self.remove(&writer_id, &until, held_from, Reason::Size, now).await? {
                Some(stretch) => (bytes, removed) = (bytes.saturating_sub(stretch.bytes), removed + stretch.records),
                None => break,
            }
        }
        Ok(removed)
    }

    /// Removes one stretch; `None` where nothing may go.
    async fn remove(
        &self,
        writer_id: &str,
        until: &Until<'_>,
        held_from: Option<u64>,
        reason: Reason,
        now: DateTime<Utc>,
    ) -> Result<Option<Stretch>, RetentionError> {
        let boundary = self.store.boundary(writer_id).await?;
        let before = boundary.map_or((0, ChainHash::ZERO), |boundary| (boundary.seq, boundary.hash));
        let rows = self.store.first_records(writer_id, STRETCH).await?;
        let Some(stretch) = stretch_of(writer_id, rows, before, until, held_from, self.store.dialect())? else {
            return Ok(None);
        };
        let (seq, hash) = stretch.last;
        let boundary = Boundary {
            writer_id: writer_id.to_owned(),
            seq,
            hash,
            removed_at: now.trunc_subsecs(6),
            reason: reason.as_str().to_owned(),
            signature: None,
        };
        self.store.remove_up_to(boundary.sign(&self.keys)?).await?;
        self.metrics.audit_removed.inc_by(stretch.records);
        Ok(Some(stretch))
    }

    /// The first record of each writer that the journal holds.
    async fn held_by_the_journal(&self) -> Result<HashMap<String, u64>, RetentionError> {
        let Some(folder) = self.store.location().journal() else {
            return Ok(HashMap::new());
        };
        let segments = finished(spawn_blocking(move || segment::list(&folder))).await?;
        let mut held = HashMap::new();
        for segment in segments {
            let first = held.entry(segment.writer_id).or_insert(segment.first_seq);
            *first = segment.first_seq.min(*first);
        }
        Ok(held)
    }
}

/// How many of these records, the first of their writer, may go: those that fit and lie before `until`.
fn stretch_of(
    writer_id: &str,
    rows: Vec<DecisionRow>,
    before: (u64, ChainHash),
    until: &Until<'_>,
    held_from: Option<u64>,
    dialect: Dialect,
) -> Result<Option<Stretch>, RetentionError> {
    let mut stretch = Stretch { last: before, records: 0, bytes: 0 };
    for DecisionRow { columns, hash, line } in rows {
        let (seq, (before, head)) = (columns.seq, stretch.last);
        if held_from.is_some_and(|held| seq >= held) {
            break;
        }
        // The time counts that the chain vouches for, which is the line's.
        let derived = Columns::derive(&line).map(|(columns, _)| columns);
        let hash_here = link(head, seq, line.as_bytes());
        let fits = seq == before + 1
            && hash == hash_here.to_string()
            && derived.as_ref().map_or(true, |derived| first_difference(dialect, derived, &columns, &line).is_none());
        if !fits {
            if stretch.records > 0 {
                break;
            }
            return Err(RetentionError::DoesNotFit { writer_id: writer_id.to_owned(), seq });
        }
        let goes = match until {
            // One that cannot be read goes with its neighbours.
            Until::Time(time) => derived.as_ref().map_or(true, |derived| derived.timestamp.as_str() < *time),
            Until::Bytes(bytes) => stretch.bytes < *bytes,
        };
        if !goes {
            break;
        }
        stretch.last = (seq, hash_here);
        stretch.records += 1;
        stretch.bytes += line.len() as u64;
    }
    Ok((stretch.records > 0).then_some(stretch))
}
