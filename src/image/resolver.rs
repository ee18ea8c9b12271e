//! From a reference to an image with its build date: each tag is resolved once, each digest is looked up once.
//!
//! What a digest is never changes, so it is kept for ever, in memory within bounds and in the store. What a tag means is
//! kept for a minute, then asked again; while a registry is away it is served for a day, and labelled stale. Tags are
//! kept apart for each credential, digests are shared.

pub mod attached;
mod base_label;
mod digests;
pub mod facts;
pub mod flight;
mod listing;
mod origins;
mod platforms;
mod provenance;
mod tags;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use quick_cache::sync::Cache as Memory;
use tokio::time::Instant;

use self::facts::{FactStore, Kept};
use self::flight::Flights;
use self::provenance::Referring;
use self::tags::TagFact;
use super::build_date::Claim;
use super::reference::ImageReference;
use super::registry::credentials::{Credential, Credentials};
use super::registry::error::RegistryError;
use super::registry::{Asking, Registries};
use crate::evidence::{Cache, Fact, PlatformImage, ResolvedImage, UnknownReason};

/// How long what was learnt may stand in while its registry is away.
const STALE_FOR: TimeDelta = TimeDelta::hours(24);
/// How long a "no" is taken as it was.
const NO_FRESH_FOR: Duration = Duration::from_secs(10);
/// How long one look-up may take, whoever waits for it.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(15);
/// Digest facts in memory; a fact is a few hundred bytes.
const DIGESTS_IN_MEMORY: usize = 20_000;
const TAGS_IN_MEMORY: usize = 20_000;
/// Credentials that are tried for one image; nobody has so many.
const MOST_CREDENTIALS: usize = 16;

/// How often what was needed, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Digest facts that were in memory.
    pub in_memory: AtomicU64,
    /// Digest facts that were in the store.
    pub in_store: AtomicU64,
    /// Look-ups at registries.
    pub looked_up: AtomicU64,
    /// Tags served although their registry was away.
    pub stale: AtomicU64,
}

/// One look-up: on whose behalf, for which platforms, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Credentials that come with the workload, tried before the gate's own.
    pub credentials: Option<&'a Credentials>,
    /// Platforms that matter, as `linux/amd64`; empty for all.
    pub platforms: &'a [String],
    /// The decision's time, in UTC.
    pub now: DateTime<Utc>,
    /// When an answer comes too late.
    pub deadline: Instant,
}

/// Resolves references, with everything remembered that may be.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    registries: Registries,
    own: Credentials,
    store: Arc<dyn FactStore>,
    digests: Memory<String, Arc<Kept>>,
    tags: Memory<Key, TagFact>,
    /// What refers to a digest in one repository.
    referring: Memory<Key, Referring>,
    noes: Memory<Key, (RegistryError, Instant)>,
    tag_flights: Flights<Key, Result<TagFact, RegistryError>>,
    digest_flights: Flights<Key, Result<Arc<Kept>, RegistryError>>,
    provenance_flights: Flights<Key, Result<Vec<Claim>, RegistryError>>,
    counters: Counters,
}

/// Something asked of a repository, as a tag or a digest, by credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    reference: String,
    credential: Option<String>,
}

impl Key {
    fn of(image: &ImageReference, reference: &str, credential: Option<&Credential>) -> Self {
        Self { name: image.name(), reference: reference.to_owned(), credential: credential.map(Credential::id) }
    }
}

impl Resolver {
    /// A resolver over registries, with the gate's own credentials and a store.
    pub fn new(registries: Registries, own: Credentials, store: Arc<dyn FactStore>) -> Self {
        Self(Arc::new(Inner {
            registries,
            own,
            store,
            digests: Memory::new(DIGESTS_IN_MEMORY),
            tags: Memory::new(TAGS_IN_MEMORY),
            referring: Memory::new(TAGS_IN_MEMORY),
            noes: Memory::new(TAGS_IN_MEMORY),
            tag_flights: Flights::default(),
            digest_flights: Flights::default(),
            provenance_flights: Flights::default(),
            counters: Counters::default(),
        }))
    }

    /// How often what was needed.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The image that a reference names, and when it was built; or a named unknown. Never later than the deadline.
    pub async fn resolve(&self, reference: &str, request: Request<'_>) -> Fact<ResolvedImage> {
        let image = match ImageReference::parse(reference) {
            Ok(image) => image,
            Err(error) => return Fact::unknown(UnknownReason::InvalidReference, error.to_string()),
        };
        match self.resolve_image(&Arc::new(image), request).await {
            Ok(resolved) => Fact::Known(resolved),
            Err(error) => Fact::Unknown(error.into_unknown()),
        }
    }

    /// Tries the credentials one after the other, as the kubelet does: the workload's, then the gate's own.
    async fn resolve_image(
        &self,
        image: &Arc<ImageReference>,
        request: Request<'_>,
    ) -> Result<ResolvedImage, RegistryError> {
        let all = self.credentials(image, request)?;
        let mut left = all.into_iter();
        loop {
            let look_up = self.look_up(image, left.next(), request);
            match look_up.resolve(request.platforms).await {
                Err(RegistryError::Unauthorized(_)) if left.len() > 0 => {}
                answer => return answer,
            }
        }
    }

    /// The same for whatever else is asked of an image's repository.
    async fn with_credentials<T>(
        &self,
        image: &ImageReference,
        request: Request<'_>,
        ask: impl Fn(LookUp) -> BoxFuture<'static, Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let (all, image) = (self.credentials(image, request)?, Arc::new(image.clone()));
        let mut left = all.into_iter();
        loop {
            match ask(self.look_up(&image, left.next(), request)).await {
                Err(RegistryError::Unauthorized(_)) if left.len() > 0 => {}
                answer => return answer,
            }
        }
    }

    fn look_up(&self, image: &Arc<ImageReference>, credential: Option<&Credential>, request: Request<'_>) -> LookUp {
        LookUp {
            inner: Arc::clone(&self.0),
            image: Arc::clone(image),
            credential: credential.cloned(),
            now: request.now,
            deadline: request.deadline,
        }
    }

    /// The credentials to try, in their order; an error where the registry may not be asked at all.
    fn credentials<'a>(
        &'a self,
        image: &ImageReference,
        request: Request<'a>,
    ) -> Result<Vec<&'a Credential>, RegistryError> {
        self.0.registries.check_allowed(image)?;
        let theirs = request.credentials.into_iter().flat_map(|credentials| credentials.for_image(image));
        let mut all: Vec<&Credential> = Vec::new();
        for credential in theirs.chain(self.0.own.for_image(image)) {
            if !all.contains(&credential) && all.len() < MOST_CREDENTIALS {
                all.push(credential);
            }
        }
        // One that opened before comes first: so the others cost nothing, and nothing stale is lost when the registry is away.
        let opened = |credential: &Credential| {
            let tag = image.tag().unwrap_or("latest");
            image.digest().is_none() && self.0.tags.contains_key(&Key::of(image, tag, Some(credential)))
        };
        all.sort_by_cached_key(|credential| !opened(credential));
        Ok(all)
    }
}

/// One look-up, owned, so that it can go on in a task of its own.
#[derive(Clone)]
struct LookUp {
    inner: Arc<Inner>,
    image: Arc<ImageReference>,
    credential: Option<Credential>,
    now: DateTime<Utc>,
    /// Until when somebody waits. What asks a registry goes on beyond it.
    deadline: Instant,
}

impl LookUp {
    fn asking(&self) -> Asking<'_> {
        Asking {
            image: &self.image,
            credential: self.credential.as_ref(),
            now: self.now,
            deadline: Instant::now() + LOOK_UP_WITHIN,
        }
    }

    fn key(&self, reference: &str) -> Key {
        Key::of(&self.image, reference, self.credential.as_ref())
    }

    /// Waits for one answer, and no longer than there is time: so what was learnt before still counts.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        let late = || RegistryError::Unreachable(format!("{} did not answer in time", self.image.registry()));
        tokio::time::timeout_at(self.deadline, answer).await.unwrap_or_else(|_| Err(late()))
    }

    fn recent_no(&self, key: &Key) -> Result<(), RegistryError> {
        match self.inner.noes.get(key) {
            Some((error, until)) if until > Instant::now() => Err(error),
            _ => Ok(()),
        }
    }

    fn remember_no(&self, key: Key, error: &RegistryError) {
        self.inner.noes.insert(key, (error.clone(), Instant::now() + NO_FRESH_FOR));
    }

    async fn resolve(&self, platforms: &[String]) -> Result<ResolvedImage, RegistryError> {
        let (digest, tag) = match self.image.digest() {
            Some(digest) => (digest.to_owned(), None),
            None => {
                let tag = self.tag(self.image.tag().unwrap_or("latest")).await?;
                (tag.digest.clone(), Some(tag))
            }
        };
        let (kept, remembered) = match self.digest(&digest).await {
            Ok(found) => found,
            Err(error) => return self.seen_before(digest, error).await,
        };
        // What a digest is cannot get stale; how old the gate's knowledge of it is, it says.
        let (cache, fetched_at) = match tag {
            None => (Cache::Cached, kept.fetched_at),
            Some(tag) => (tag.cache, tag.asked_at),
        };
        let cache = if remembered || cache == Cache::Stale { cache } else { Cache::Fetched };
        let platforms = self.platforms(&digest, &kept, platforms).await;
        Ok(ResolvedImage { digest, platforms, cache, fetched_at })
    }

    /// Whatever its registry does, an image that was met before cannot be younger than that.
    async fn seen_before(&self, digest: String, error: RegistryError) -> Result<ResolvedImage, RegistryError> {
        if !error.is_passing() {
            return Err(error);
        }
        let seen = self.inner.store.first_seen_before(&digest);
        let Some(seen) = tokio::time::timeout_at(self.deadline, seen).await.ok().flatten() else {
            return Err(error);
        };
        let undated = PlatformImage {
            platform: None,
            digest: digest.clone(),
            built: Fact::Unknown(error.into_unknown()),
            first_seen: Some(seen),
            candidates: Vec::new(),
        };
        Ok(ResolvedImage { digest, platforms: vec![undated], cache: Cache::Fetched, fetched_at: self.now })
    }
}
