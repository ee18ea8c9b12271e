//! Answers of indexes in the gate's store: whoever leads next asks nothing again.
//!
//! What is saved is gathered and written in one go: a commit for each answer would be a write to the disk for each package
//! of an image.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{AnswerStore, Kept};
use crate::store::Store;
use crate::store::answers::AnswerRow;

/// Most bytes of one answer; what is larger is asked again after a restart.
const LARGEST_ANSWER_BYTES: usize = 4 << 20;
/// Bytes that are gathered before they are written unasked.
const MOST_GATHERED_BYTES: usize = 4 << 20;

/// Answers in the store.
#[derive(Debug)]
pub struct InStore {
    store: Store,
    gathered: Mutex<Gathered>,
    /// One question at a time: decisions ask the store by the same few connections.
    asking: Semaphore,
}

#[derive(Debug, Default)]
struct Gathered {
    answers: BTreeMap<String, Kept>,
    bytes: usize,
    /// Addresses whose answers were used, and are to be noted as such.
    used: Vec<AnswerRow>,
    /// Whether the store did not answer since something was last written: it is not asked until then.
    is_away: bool,
}

impl InStore {
    /// Answers in this store.
    pub fn new(store: Store) -> Self {
        Self { store, gathered: Mutex::default(), asking: Semaphore::new(1) }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, now: DateTime<Utc>) {
        let gathered = std::mem::take(&mut *self.gathered());
        let row = |kept: Kept| AnswerRow {
            url: kept.url,
            asked_at: kept.asked_at,
            etag: kept.etag,
            last_modified: kept.last_modified,
            answer: kept.answer,
            used_at: now,
        };
        let answers = gathered.answers.into_values().map(row).collect();
        let used = gathered.used.into_iter().filter(|row| !row.is_use_noted(now)).map(|row| row.url).collect();
        if let Err(error) = self.store.save_index_answers(answers, used, now).await {
            tracing::warn!(%error, "answers of indexes are not kept; they are asked again after a restart");
        }
    }
}

impl AnswerStore for InStore {
    fn load<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Option<Kept>> {
        Box::pin(async move {
            // Never closed.
            let _one_at_a_time = self.asking.acquire().await.ok()?;
            {
                let gathered = self.gathered();
                if let Some(kept) = gathered.answers.get(url) {
                    return Some(kept.clone());
                }
                if gathered.is_away {
                    return None;
                }
            }
            match self.store.index_answer(url).await {
                Ok(None) => None,
                Ok(Some(mut row)) => {
                    let answer = row.answer.take();
                    let kept = Kept {
                        url: url.to_owned(),
                        asked_at: row.asked_at,
                        etag: row.etag.clone(),
                        last_modified: row.last_modified,
                        answer,
                    };
                    self.gathered().used.push(row);
                    Some(kept)
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.gathered().is_away, true) {
                        tracing::warn!(%error, "what indexes answered before is not known now; they are asked again");
                    }
                    None
                }
            }
        })
    }

    fn save<'a>(&'a self, kept: &'a Kept) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let bytes = kept.url.len() + kept.answer.as_ref().map_or(0, String::len);
            if bytes > LARGEST_ANSWER_BYTES {
                return;
            }
            let is_much = {
                let mut gathered = self.gathered();
                gathered.answers.insert(kept.url.clone(), kept.clone());
                gathered.bytes += bytes;
                gathered.bytes > MOST_GATHERED_BYTES
            };
            if is_much {
                self.write(kept.asked_at).await;
            }
        })
    }

    fn settle(&self, now: DateTime<Utc>) -> BoxFuture<'_, ()> {
        Box::pin(self.write(now))
    }

    fn forget_unused(&self, since: DateTime<Utc>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match self.store.forget_index_answers(since).await {
                Ok(0) => {}
                Ok(answers) => tracing::debug!(answers, "answers of indexes that nobody used are dropped"),
                Err(error) => tracing::warn!(%error, "answers of indexes that nobody used stay for now"),
            }
        })
    }
}
