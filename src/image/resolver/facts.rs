//! What is kept of a digest for ever: facts, never verdicts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::image::build_date::Claim;
use crate::image::claims::Base;
use crate::store::{Ledger, Store};

/// What a digest is. It never changes, so it is kept for ever and shared by all; so everything in it is told by bytes that
/// the digest covers, and by nothing that a registry says beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DigestFact {
    /// An image for one platform.
    #[serde(rename_all = "camelCase")]
    Image {
        /// `os/architecture[/variant]`, where the config says so.
        platform: Option<String>,
        /// Every date that it carries itself.
        claims: Vec<Claim>,
        /// What it was built on, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<Base>,
    },
    /// A list of images.
    #[serde(rename_all = "camelCase")]
    Index {
        /// The images, nested indexes flattened.
        entries: Vec<Entry>,
        /// What the index says of their date.
        claims: Vec<Claim>,
        /// Manifests of attestations, by the digest they speak of.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attestations: BTreeMap<String, Vec<String>>,
        /// What provenance that came with this index says, by the digest it speaks of; there once it was asked for. It
        /// belongs to the index, not to a child that another index may share.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        provenance: BTreeMap<String, Vec<Claim>>,
    },
    /// Something that is no image: kept too, so that it is not fetched again and again.
    NoImage {
        /// Why not, in words.
        why: String,
    },
}

/// An image that an index lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Digest of its manifest.
    pub digest: String,
    /// `os/architecture[/variant]`, where the index says so.
    pub platform: Option<String>,
    /// What the entry itself says of the date.
    pub claims: Vec<Claim>,
}

/// A fact, and when it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The fact.
    pub fact: DigestFact,
    /// When a registry was asked for it, in UTC.
    pub fetched_at: DateTime<Utc>,
}

/// Where facts outlive the process. What fails here costs a look-up, never a decision: errors are the store's to log.
pub trait FactStore: Send + Sync {
    /// The fact of a digest, as JSON, and when it was fetched.
    fn load<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<(String, DateTime<Utc>)>>;

    /// Keeps the fact of a digest, fetched at this time.
    fn save(&self, digest: &str, fact: String, fetched_at: DateTime<Utc>);

    /// When this gate first met the digest: `now`, where it never did before.
    fn first_seen<'a>(&'a self, digest: &'a str, now: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>>;

    /// The same, where it did; what is merely named and was never fetched is not noted.
    fn first_seen_before<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<DateTime<Utc>>>;
}

/// Keeps nothing: for commands that look once. What was never seen before has no first-seen bound either.
#[derive(Debug, Default)]
pub struct NoStore;

impl FactStore for NoStore {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<(String, DateTime<Utc>)>> {
        Box::pin(std::future::ready(None))
    }

    fn save(&self, _: &str, _: String, _: DateTime<Utc>) {}

    fn first_seen<'a>(&'a self, _: &'a str, _: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(std::future::ready(None))
    }

    fn first_seen_before<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(std::future::ready(None))
    }
}

/// Facts in the gate's own store.
#[derive(Clone, Debug)]
pub struct StoredFacts(pub Store);

impl FactStore for StoredFacts {
    fn load<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<(String, DateTime<Utc>)>> {
        Box::pin(self.0.image_fact(digest))
    }

    fn save(&self, digest: &str, fact: String, fetched_at: DateTime<Utc>) {
        self.0.put_image_fact(digest, &fact, fetched_at);
    }

    fn first_seen<'a>(&'a self, digest: &'a str, now: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(async move { Some(self.0.ledger().first_seen(digest, now).await) })
    }

    fn first_seen_before<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(async move { self.0.ledger().first_seen_before(digest).await })
    }
}

/// First sights alone, for as long as the process lives: for a gate without a store.
#[derive(Clone, Debug)]
pub struct LedgerOnly(pub Ledger);

impl FactStore for LedgerOnly {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<(String, DateTime<Utc>)>> {
        Box::pin(std::future::ready(None))
    }

    fn save(&self, _: &str, _: String, _: DateTime<Utc>) {}

    fn first_seen<'a>(&'a self, digest: &'a str, now: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(async move { Some(self.0.first_seen(digest, now).await) })
    }

    fn first_seen_before<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(self.0.first_seen_before(digest))
    }
}

/// Keeps facts in memory: a store for tests and benches.
#[derive(Debug, Default)]
pub struct MemoryStore {
    facts: Mutex<BTreeMap<String, (String, DateTime<Utc>)>>,
    seen: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

impl FactStore for MemoryStore {
    fn load<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<(String, DateTime<Utc>)>> {
        let found = self.facts.lock().ok().and_then(|facts| facts.get(digest).cloned());
        Box::pin(std::future::ready(found))
    }

    fn save(&self, digest: &str, fact: String, fetched_at: DateTime<Utc>) {
        if let Ok(mut facts) = self.facts.lock() {
            facts.insert(digest.to_owned(), (fact, fetched_at));
        }
    }

    fn first_seen<'a>(&'a self, digest: &'a str, now: DateTime<Utc>) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        let seen = self.seen.lock().ok().map(|mut seen| *seen.entry(digest.to_owned()).or_insert(now));
        Box::pin(std::future::ready(seen))
    }

    fn first_seen_before<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<DateTime<Utc>>> {
        Box::pin(std::future::ready(self.seen.lock().ok().and_then(|seen| seen.get(digest).copied())))
    }
}
