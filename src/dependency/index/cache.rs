//! Answers of indexes, kept so that nothing is asked twice: in memory, in a folder for the command line, or in the store.
//!
//! What is kept is what was read of an answer, not its bytes; with it its `ETag` and when it was last modified, so that an
//! index need only say "unchanged".

mod in_store;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use moka::sync::Cache as Memory;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use in_store::InStore;

/// Most bytes of one answer in a folder.
const LARGEST_ANSWER_BYTES: u64 = 16 << 20;
/// Most bytes of answers in memory, roughly.
const MEMORY_BYTES: u64 = 32 << 20;

/// An answer, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// What was asked: the whole address.
    pub url: String,
    /// When it was last asked, in UTC.
    pub asked_at: DateTime<Utc>,
    /// What the index calls this state of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When that changed, in UTC, where the index says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<DateTime<Utc>>,
    /// What was read of it, in JSON; `None` where the index has no such package.
    pub answer: Option<String>,
}

/// Where answers are kept. It never fails: what cannot be read was never kept, and what cannot be kept is asked again.
pub trait AnswerStore: Send + Sync {
    /// What is kept of an address.
    fn load<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Option<Kept>>;

    /// Keeps an answer.
    fn save<'a>(&'a self, kept: &'a Kept) -> BoxFuture<'a, ()>;

    /// Writes what was gathered, where answers are not written one by one.
    fn settle(&self, _now: DateTime<Utc>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Drops answers that nobody used since then, where they would else stay for ever.
    fn forget_unused(&self, _since: DateTime<Utc>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// For as long as the process lives.
pub struct InMemory(Memory<String, Kept>);

impl Default for InMemory {
    fn default() -> Self {
        let weight = |url: &String, kept: &Kept| {
            let bytes = 2 * url.len() + kept.answer.as_ref().map_or(0, String::len) + 200;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Memory::builder().weigher(weight).max_capacity(MEMORY_BYTES).build())
    }
}

impl AnswerStore for InMemory {
    fn load<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Option<Kept>> {
        Box::pin(async move { self.0.get(url) })
    }

    fn save<'a>(&'a self, kept: &'a Kept) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.0.insert(kept.url.clone(), kept.clone()) })
    }
}

/// A file for each answer, in a folder.
pub struct InFolder(PathBuf);

impl InFolder {
    /// Answers in a folder, which is made where it is missing.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, url: &str) -> PathBuf {
        self.0.join(format!("{}.json", hex::encode(Sha256::digest(url.as_bytes()))))
    }
}

impl AnswerStore for InFolder {
    fn load<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Option<Kept>> {
        Box::pin(async move {
            let file = self.file(url);
            if tokio::fs::metadata(&file).await.ok()?.len() > LARGEST_ANSWER_BYTES {
                return None;
            }
            let kept: Kept = serde_json::from_slice(&tokio::fs::read(&file).await.ok()?).ok()?;
            (kept.url == url).then_some(kept)
        })
    }

    fn save<'a>(&'a self, kept: &'a Kept) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(bytes) = serde_json::to_vec(kept) else { return };
            // Whole or not at all: another run may read it meanwhile.
            let (file, part) = (self.file(&kept.url), self.0.join(format!("{}.part", uuid::Uuid::now_v7())));
            let written = async {
                tokio::fs::write(&part, &bytes).await?;
                tokio::fs::rename(&part, &file).await
            };
            if let Err(error) = written.await {
                tracing::warn!(folder = %self.0.display(), %error, "an index's answer cannot be kept; it will be asked again");
                let _ = tokio::fs::remove_file(&part).await; // it may not be there
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(answer: Option<&str>) -> Kept {
        Kept {
            url: "https://index.example/se/rd/serde".into(),
            asked_at: "2026-11-25T12:00:00Z".parse().unwrap(),
            etag: Some("\"abc\"".into()),
            last_modified: "2026-11-01T12:00:00Z".parse().ok(),
            answer: answer.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = InFolder::open(folder.path().join("new/answers")).unwrap();
        for store in [&InMemory::default() as &dyn AnswerStore, &folder] {
            let one = kept(Some("[]"));
            assert_eq!(store.load(&one.url).await, None);
            store.save(&one).await;
            assert_eq!(store.load(&one.url).await, Some(one.clone()));
            store.save(&kept(None)).await;
            assert_eq!(store.load(&one.url).await.unwrap().answer, None);
        }
    }

    #[tokio::test]
    async fn a_broken_file_was_never_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = InFolder::open(folder.path().to_owned()).unwrap();
        std::fs::write(store.file("https://x.example/"), "{\"url\":").unwrap();
        assert_eq!(store.load("https://x.example/").await, None);
    }
}
