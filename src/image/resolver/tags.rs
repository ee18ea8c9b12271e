//! What a tag means: remembered for a minute, then asked again, and served stale while nobody answers.

use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{LookUp, STALE_FOR};
use crate::evidence::Cache;
use crate::image::registry::error::RegistryError;

/// How long a tag's meaning is taken as it was.
const FRESH_FOR: TimeDelta = TimeDelta::seconds(60);

#[derive(Clone, Debug)]
pub(super) struct TagFact {
    digest: String,
    asked_at: DateTime<Utc>,
}

impl TagFact {
    /// Whether it was asked within this time. Decisions that run side by side may be a little before it, too.
    fn is_within(&self, time: TimeDelta, now: DateTime<Utc>) -> bool {
        now.signed_duration_since(self.asked_at).abs() < time
    }
}

/// What a tag means, and how fresh that is.
pub(super) struct Tag {
    pub digest: String,
    pub cache: Cache,
    pub asked_at: DateTime<Utc>,
}

impl Tag {
    fn of(fact: TagFact, cache: Cache) -> Self {
        Self { digest: fact.digest, cache, asked_at: fact.asked_at }
    }
}

impl LookUp {
    pub(super) async fn tag(&self, tag: &str) -> Result<Tag, RegistryError> {
        let key = self.key(tag);
        let known = self.inner.tags.get(&key).filter(|fact| fact.is_within(STALE_FOR, self.now));
        if let Some(fact) = known.as_ref().filter(|fact| fact.is_within(FRESH_FOR, self.now)) {
            return Ok(Tag::of(fact.clone(), Cache::Cached));
        }
        if known.is_none() {
            self.recent_no(&key)?;
        }
        let (look_up, tag_name, before) = (self.clone(), tag.to_owned(), known.clone());
        let flight = self.inner.tag_flights.join(key, || async move { look_up.ask_tag(&tag_name, before).await });
        let broken_off = || RegistryError::Unreachable("the look-up was broken off".to_owned());
        let answer = async { flight.await.unwrap_or_else(|| Err(broken_off())) };
        let Some(fact) = known else {
            return self.in_time(answer).await.map(|fact| Tag::of(fact, Cache::Fetched));
        };
        // While its registry is away, a tag that is known already must leave time for the rest.
        let half_the_time = self.deadline.saturating_duration_since(Instant::now()) / 2;
        match tokio::time::timeout(half_the_time, answer).await {
            Ok(Ok(fact)) => Ok(Tag::of(fact, Cache::Fetched)),
            Ok(Err(error)) if !error.is_passing() => Err(error),
            Ok(Err(_)) | Err(_) => {
                self.inner.counters.stale.fetch_add(1, Ordering::Relaxed);
                Ok(Tag::of(fact, Cache::Stale))
            }
        }
    }

    /// Asks the registry: an unknown tag by GET, which brings the manifest along; a known one by HEAD.
    async fn ask_tag(&self, tag: &str, before: Option<TagFact>) -> Result<TagFact, RegistryError> {
        let fact = |digest| TagFact { digest, asked_at: self.now };
        let key = self.key(tag);
        let answer = async {
            if before.is_some()
                && let Some(digest) = self.inner.registries.head(self.asking(), tag).await?
            {
                return Ok(fact(digest));
            }
            let manifest = self.inner.registries.manifest(self.asking(), tag).await?;
            let digest = manifest.digest.clone();
            if self.inner.remembered(&digest).await.is_none() {
                self.join_digest(&digest, Some(manifest)).await?;
            }
            Ok(fact(digest))
        };
        let answer: Result<TagFact, RegistryError> = answer.await;
        match &answer {
            Ok(fact) => {
                self.inner.noes.remove(&key);
                self.inner.tags.insert(key, fact.clone());
            }
            Err(error) => self.remember_no(key, error),
        }
        answer
    }
}
