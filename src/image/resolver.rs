//! From a reference to an image with its build date: each tag is resolved once, each digest is looked up once.
//!
//! What a digest is never changes, so it is kept for ever, in memory within bounds and in the store. What a tag means is
//! kept for a minute, then asked again; while a registry is away it is served for a day, and labelled stale. Tags are
//! kept apart for each credential, digests are shared.

pub mod facts;
pub mod flight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, join_all};
use moka::sync::Cache as Memory;
use tokio::time::Instant;

use self::facts::{DigestFact, Entry, FactStore};
use self::flight::Flights;
use super::build_date::{self, Claim, Source};
use super::claims::{self, Base, Shape};
use super::reference::{ImageReference, InvalidReference};
use super::registry::credentials::{Credential, Credentials};
use super::registry::error::RegistryError;
use super::registry::{Asking, LARGEST_CONFIG_BYTES, Manifest, Registries};
use crate::evidence::{Cache, Fact, PlatformImage, ResolvedImage, UnknownReason};

/// How long a tag's meaning is taken as it was.
const TAG_FRESH_FOR: Duration = Duration::from_secs(60);
/// How long it may stand in while its registry is away.
const TAG_STALE_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long a "no" is taken as it was.
const NO_FRESH_FOR: Duration = Duration::from_secs(10);
/// How long one look-up may take, whoever waits for it.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(15);
/// Digest facts in memory; a fact is a few hundred bytes.
const DIGESTS_IN_MEMORY: u64 = 20_000;
const TAGS_IN_MEMORY: u64 = 20_000;
/// Entries of an index that are looked at.
const MOST_INDEX_ENTRIES: usize = 64;
/// Indexes within indexes.
const MOST_INDEX_LEVELS: usize = 3;
/// Layers of an attestation that are looked at.
const MOST_ATTESTATION_LAYERS: usize = 8;

const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

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
    /// References as they were read: the grammar is a large one.
    references: Memory<String, Arc<Result<ImageReference, InvalidReference>>>,
    digests: Memory<String, Arc<DigestFact>>,
    tags: Memory<Key, TagFact>,
    noes: Memory<Key, (RegistryError, Instant)>,
    tag_flights: Flights<Key, Result<TagFact, RegistryError>>,
    digest_flights: Flights<Key, Result<Arc<DigestFact>, RegistryError>>,
    counters: Counters,
}

/// A tag or a digest of a repository, by credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    reference: String,
    credential: Option<String>,
}

#[derive(Clone, Debug)]
struct TagFact {
    digest: String,
    asked: Instant,
    asked_at: DateTime<Utc>,
}

impl Resolver {
    /// A resolver over registries, with the gate's own credentials and a store.
    pub fn new(registries: Registries, own: Credentials, store: Arc<dyn FactStore>) -> Self {
        Self(Arc::new(Inner {
            registries,
            own,
            store,
            references: Memory::new(TAGS_IN_MEMORY),
            digests: Memory::new(DIGESTS_IN_MEMORY),
            tags: Memory::builder().max_capacity(TAGS_IN_MEMORY).time_to_live(TAG_STALE_FOR).build(),
            noes: Memory::builder().max_capacity(TAGS_IN_MEMORY).time_to_live(NO_FRESH_FOR).build(),
            tag_flights: Flights::default(),
            digest_flights: Flights::default(),
            counters: Counters::default(),
        }))
    }

    /// How often what was needed.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The image that a reference names, and when it was built; or a named unknown. Never later than the deadline.
    pub async fn resolve(&self, reference: &str, request: Request<'_>) -> Fact<ResolvedImage> {
        let parsed = self.0.references.get_with_by_ref(reference, || Arc::new(ImageReference::parse(reference)));
        let image = match &*parsed {
            Ok(image) => image,
            Err(error) => return Fact::unknown(UnknownReason::InvalidReference, error.to_string()),
        };
        match tokio::time::timeout_at(request.deadline, self.resolve_image(image, request)).await {
            Ok(Ok(resolved)) => Fact::Known(resolved),
            Ok(Err(error)) => Fact::Unknown(error.into_unknown()),
            Err(_) => Fact::unknown(UnknownReason::Unreachable, format!("{} did not answer in time", image.registry())),
        }
    }

    async fn resolve_image(
        &self,
        image: &ImageReference,
        request: Request<'_>,
    ) -> Result<ResolvedImage, RegistryError> {
        self.0.registries.check_allowed(image)?;
        let theirs = request.credentials.and_then(|credentials| credentials.for_image(image));
        let credential = theirs.or_else(|| self.0.own.for_image(image));
        let look_up = LookUp {
            inner: Arc::clone(&self.0),
            image: image.clone(),
            credential: credential.cloned(),
            now: request.now,
        };

        let (digest, cache, fetched_at) = match image.digest() {
            Some(digest) => (digest.to_owned(), Cache::Cached, request.now),
            None => look_up.tag(image.tag().unwrap_or("latest")).await?,
        };
        let (fact, remembered) = look_up.digest(&digest, 0).await?;
        let cache = if remembered || cache == Cache::Stale { cache } else { Cache::Fetched };
        let platforms = look_up.platforms(&digest, &fact, request.platforms).await?;
        Ok(ResolvedImage { digest, platforms, cache, fetched_at })
    }
}

/// One look-up, owned, so that it can go on in a task of its own.
#[derive(Clone)]
struct LookUp {
    inner: Arc<Inner>,
    image: ImageReference,
    credential: Option<Credential>,
    now: DateTime<Utc>,
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
        Key {
            name: self.image.name(),
            reference: reference.to_owned(),
            credential: self.credential.as_ref().map(Credential::id),
        }
    }

    /// What the tag means: remembered for a minute, then asked again, served stale while nobody answers.
    async fn tag(&self, tag: &str) -> Result<(String, Cache, DateTime<Utc>), RegistryError> {
        let key = self.key(tag);
        let known = self.inner.tags.get(&key);
        if let Some(fact) = known.as_ref().filter(|fact| fact.asked.elapsed() < TAG_FRESH_FOR) {
            return Ok((fact.digest.clone(), Cache::Cached, fact.asked_at));
        }
        if known.is_none() {
            self.recent_no(&key)?;
        }
        let (look_up, tag_name, before) = (self.clone(), tag.to_owned(), known.clone());
        let flight =
            self.inner.tag_flights.join(key.clone(), || async move { look_up.ask_tag(&tag_name, before).await });
        // A tag that is known already need not cost the whole deadline when its registry is away.
        let answer = match &known {
            Some(_) => tokio::time::timeout(LOOK_UP_WITHIN / 10, flight).await.unwrap_or(None),
            None => flight.await,
        };
        match (answer, known) {
            (Some(Ok(fact)), _) => Ok((fact.digest, Cache::Fetched, fact.asked_at)),
            (Some(Err(error)), Some(fact)) if error.is_passing() => Ok(self.stale(fact)),
            (None, Some(fact)) => Ok(self.stale(fact)),
            (Some(Err(error)), _) => Err(error),
            (None, None) => Err(RegistryError::Unreachable("the look-up was broken off".to_owned())),
        }
    }

    fn stale(&self, fact: TagFact) -> (String, Cache, DateTime<Utc>) {
        self.inner.counters.stale.fetch_add(1, Ordering::Relaxed);
        (fact.digest, Cache::Stale, fact.asked_at)
    }

    fn recent_no(&self, key: &Key) -> Result<(), RegistryError> {
        match self.inner.noes.get(key) {
            Some((error, until)) if until > Instant::now() => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the registry: an unknown tag by GET, which brings the manifest along; a known one by HEAD.
    async fn ask_tag(&self, tag: &str, before: Option<TagFact>) -> Result<TagFact, RegistryError> {
        let fact = |digest| TagFact { digest, asked: Instant::now(), asked_at: self.now };
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
                self.join_digest(&digest, 0, Some(manifest)).await?;
            }
            Ok(fact(digest))
        };
        let answer: Result<TagFact, RegistryError> = answer.await;
        match &answer {
            Ok(fact) => {
                self.inner.noes.invalidate(&key);
                self.inner.tags.insert(key, fact.clone());
            }
            Err(error) => self.inner.noes.insert(key, (error.clone(), Instant::now() + NO_FRESH_FOR)),
        }
        answer
    }

    /// What the digest is, and whether that was remembered.
    async fn digest(&self, digest: &str, level: usize) -> Result<(Arc<DigestFact>, bool), RegistryError> {
        if let Some(fact) = self.inner.remembered(digest).await {
            return Ok((fact, true));
        }
        let key = self.key(digest);
        self.recent_no(&key)?;
        let fact = self.join_digest(digest, level, None).await;
        if let Err(error) = &fact {
            self.inner.noes.insert(key, (error.clone(), Instant::now() + NO_FRESH_FOR));
        }
        Ok((fact?, false))
    }

    fn join_digest(
        &self,
        digest: &str,
        level: usize,
        manifest: Option<Manifest>,
    ) -> BoxFuture<'static, Result<Arc<DigestFact>, RegistryError>> {
        let (look_up, wanted) = (self.clone(), digest.to_owned());
        let flight = self.inner.digest_flights.join(self.key(digest), move || async move {
            // Another look-up may have landed while this one asked the store.
            if let Some(fact) = look_up.inner.digests.get(&wanted) {
                return Ok(fact);
            }
            let fact = Arc::new(look_up.fetch(&wanted, level, manifest).await?);
            look_up.inner.remember(&wanted, &fact, look_up.now);
            Ok(fact)
        });
        Box::pin(async move {
            flight.await.unwrap_or_else(|| Err(RegistryError::Unreachable("the look-up was broken off".to_owned())))
        })
    }

    /// Fetches a manifest, and for an image its config.
    async fn fetch(&self, digest: &str, level: usize, manifest: Option<Manifest>) -> Result<DigestFact, RegistryError> {
        self.inner.counters.looked_up.fetch_add(1, Ordering::Relaxed);
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => self.inner.registries.manifest(self.asking(), digest).await?,
        };
        match claims::manifest(&manifest.body) {
            Err(why) if manifest.body.trim_ascii_start().first() == Some(&b'{') => Ok(DigestFact::NoImage { why }),
            Err(why) => Err(RegistryError::Unreachable(format!("{}: {why}", self.image.registry()))),
            Ok(Shape::Schema1 { platform, claims }) => Ok(DigestFact::Image { platform, claims }),
            Ok(Shape::Image { config, claims, base }) => {
                self.fetch_image(digest, level, &config.digest, claims, base).await
            }
            Ok(Shape::Index { entries, attestations, claims }) => {
                let mut subjects: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for attestation in attestations.into_iter().take(MOST_INDEX_ENTRIES) {
                    subjects.entry(attestation.subject).or_default().push(attestation.digest);
                }
                if entries.len() > MOST_INDEX_ENTRIES {
                    return Ok(DigestFact::NoImage {
                        why: format!("its index lists {} images, more than {MOST_INDEX_ENTRIES}", entries.len()),
                    });
                }
                let entries = entries
                    .into_iter()
                    .map(|entry| Entry { digest: entry.digest, platform: entry.platform, claims: entry.claims })
                    .collect();
                Ok(DigestFact::Index { entries, claims, attestations: subjects, provenance: BTreeMap::new() })
            }
        }
    }

    async fn fetch_image(
        &self,
        digest: &str,
        level: usize,
        config: &str,
        mut claims: Vec<Claim>,
        base: Option<Base>,
    ) -> Result<DigestFact, RegistryError> {
        let body = self.inner.registries.blob(self.asking(), config, LARGEST_CONFIG_BYTES).await?;
        let config = claims::config(&body);
        claims.extend(config.claims);
        if !build_date::is_settled_by(&claims, &[Source::Config], self.now) && level == 0 {
            claims.extend(self.referring_provenance(digest).await);
        }
        self.bar_inherited_label(&mut claims, base, level).await;
        Ok(DigestFact::Image { platform: config.platform, claims })
    }

    /// Provenance that refers to an image which no index brings along. Whatever fails here is no claim.
    async fn referring_provenance(&self, digest: &str) -> Vec<Claim> {
        let referring = self.inner.registries.referrers(self.asking(), digest, ATTESTATION_ARTIFACT).await;
        self.provenance_in(&referring.unwrap_or_default(), digest).await
    }

    /// What attestations say of a digest.
    async fn provenance_in(&self, attestations: &[String], subject: &str) -> Vec<Claim> {
        let mut found = Vec::new();
        for attestation in attestations {
            let Ok(manifest) = self.inner.registries.manifest(self.asking(), attestation).await else {
                continue;
            };
            let Ok(manifest) = serde_json::from_slice::<claims::Manifest>(&manifest.body) else {
                continue;
            };
            let statements = manifest.layers.iter().filter(|layer| layer.media_type == "application/vnd.in-toto+json");
            for layer in statements.take(MOST_ATTESTATION_LAYERS) {
                let body = self.inner.registries.blob(self.asking(), &layer.digest, LARGEST_CONFIG_BYTES).await;
                found.extend(body.ok().and_then(|body| claims::provenance(&body, subject)));
            }
        }
        found
    }

    /// Labels are inherited: one that stands on the base image too says when the base was built. The base is looked at
    /// only where the label would decide; if it cannot be, the label does not count.
    async fn bar_inherited_label(&self, claims: &mut [Claim], base: Option<Base>, level: usize) {
        const STRONGER: [Source; 4] =
            [Source::Config, Source::Provenance, Source::ManifestAnnotation, Source::IndexAnnotation];
        let Some(base) = base else { return };
        if level > 0 && claims.iter().all(|claim| claim.source != Source::Label) {
            return;
        }
        if build_date::is_settled_by(claims, &STRONGER, self.now) || level >= MOST_INDEX_LEVELS {
            return;
        }
        for claim in claims.iter_mut().filter(|claim| claim.source == Source::Label) {
            let why = match self.labels_of_base(&base).await {
                Some(labels) if !labels.contains(&claim.value) => continue,
                Some(_) => "the base image has the same label",
                None => "whether it is the base image's label could not be learnt",
            };
            claim.passed_over = Some(why.to_owned());
        }
    }

    async fn labels_of_base(&self, base: &Base) -> Option<BTreeSet<String>> {
        let mut image = ImageReference::parse(&base.name).ok()?;
        if let Some(digest) = &base.digest {
            image = ImageReference::parse(&image.pinned(digest)).ok()?;
        }
        let credential = self.inner.own.for_image(&image).cloned();
        let look_up = Self { inner: Arc::clone(&self.inner), image, credential, now: self.now };
        // Boxed, because this is where looking up comes back to itself.
        let (digest, ..) = match look_up.image.digest() {
            Some(digest) => (digest.to_owned(), Cache::Cached, self.now),
            None => Box::pin(look_up.tag(look_up.image.tag()?)).await.ok()?,
        };
        let (fact, _) = Box::pin(look_up.digest(&digest, MOST_INDEX_LEVELS)).await.ok()?;
        let images = match &*fact {
            DigestFact::NoImage { .. } => return None,
            DigestFact::Image { .. } => vec![fact],
            DigestFact::Index { entries, .. } => {
                let first = entries.first()?.digest.clone();
                vec![Box::pin(look_up.digest(&first, MOST_INDEX_LEVELS)).await.ok()?.0]
            }
        };
        let labels = images.iter().filter_map(|image| match &**image {
            DigestFact::Image { claims, .. } => Some(claims),
            _ => None,
        });
        Some(labels.flatten().filter(|claim| claim.source == Source::Label).map(|claim| claim.value.clone()).collect())
    }

    /// The platforms of an image, each with its date.
    async fn platforms(
        &self,
        digest: &str,
        fact: &Arc<DigestFact>,
        wanted: &[String],
    ) -> Result<Vec<PlatformImage>, RegistryError> {
        let first_seen = self.inner.store.first_seen(digest, self.now).await;
        match &**fact {
            DigestFact::NoImage { why } => {
                let built = Fact::unknown(UnknownReason::NoDate, why.clone());
                Ok(vec![PlatformImage {
                    platform: None,
                    digest: digest.to_owned(),
                    built,
                    first_seen,
                    candidates: Vec::new(),
                }])
            }
            DigestFact::Image { platform, claims } => {
                Ok(vec![self.weighed(digest, platform.clone(), claims, first_seen)])
            }
            DigestFact::Index { .. } => self.index_platforms(digest, fact, wanted, first_seen, 0).await,
        }
    }

    /// The platforms of an index, fetched side by side.
    fn index_platforms<'a>(
        &'a self,
        digest: &'a str,
        fact: &'a Arc<DigestFact>,
        wanted: &'a [String],
        first_seen: Option<DateTime<Utc>>,
        level: usize,
    ) -> BoxFuture<'a, Result<Vec<PlatformImage>, RegistryError>> {
        Box::pin(async move {
            let DigestFact::Index { entries, claims: of_index, .. } = &**fact else {
                return Ok(Vec::new());
            };
            let chosen = chosen(entries, wanted);
            if chosen.is_empty() {
                let built = Fact::unknown(UnknownReason::NoDate, "its index lists no image");
                return Ok(vec![PlatformImage {
                    platform: None,
                    digest: digest.to_owned(),
                    built,
                    first_seen,
                    candidates: Vec::new(),
                }]);
            }
            let children = join_all(
                chosen.into_iter().map(|entry| async move { (entry, self.digest(&entry.digest, level + 1).await) }),
            )
            .await;
            let mut platforms = Vec::new();
            for (entry, child) in children {
                let inherited: Vec<Claim> = entry.claims.iter().chain(of_index).cloned().collect();
                match child {
                    // Its platform is unknown; whether that makes the image unknown is the policy's question.
                    Err(error) => platforms.push(PlatformImage {
                        platform: entry.platform.clone(),
                        digest: entry.digest.clone(),
                        built: Fact::Unknown(error.into_unknown()),
                        first_seen,
                        candidates: Vec::new(),
                    }),
                    Ok((child, _)) => match &*child {
                        DigestFact::Image { platform, claims } => {
                            let mut all: Vec<Claim> = claims.iter().cloned().chain(inherited).collect();
                            if !build_date::is_settled_by(&all, &[Source::Config], self.now) {
                                all.extend(self.index_provenance(digest, fact, &entry.digest).await);
                            }
                            let platform = entry.platform.clone().or_else(|| platform.clone());
                            platforms.push(self.weighed(&entry.digest, platform, &all, first_seen));
                        }
                        DigestFact::Index { .. } if level + 1 < MOST_INDEX_LEVELS => {
                            platforms.extend(
                                self.index_platforms(&entry.digest, &child, wanted, first_seen, level + 1).await?,
                            );
                        }
                        DigestFact::Index { .. } | DigestFact::NoImage { .. } => {
                            let why = match &*child {
                                DigestFact::NoImage { why } => why.clone(),
                                _ => {
                                    format!("indexes are nested more than {MOST_INDEX_LEVELS} deep")
                                }
                            };
                            platforms.push(PlatformImage {
                                platform: entry.platform.clone(),
                                digest: entry.digest.clone(),
                                built: Fact::unknown(UnknownReason::NoDate, why),
                                first_seen,
                                candidates: Vec::new(),
                            });
                        }
                    },
                }
            }
            Ok(platforms)
        })
    }

    /// Provenance that came with an index, asked for once and then kept with the index.
    async fn index_provenance(&self, index: &str, fact: &Arc<DigestFact>, child: &str) -> Vec<Claim> {
        let DigestFact::Index { attestations, provenance, .. } = &**fact else {
            return Vec::new();
        };
        if let Some(kept) = provenance.get(child) {
            return kept.clone();
        }
        let Some(speaking) = attestations.get(child) else {
            return Vec::new();
        };
        let found = self.provenance_in(speaking, child).await;
        let mut with_it = (*self.inner.remembered(index).await.unwrap_or_else(|| Arc::clone(fact))).clone();
        if let DigestFact::Index { provenance, .. } = &mut with_it {
            provenance.insert(child.to_owned(), found.clone());
        }
        self.inner.remember(index, &Arc::new(with_it), self.now);
        found
    }

    fn weighed(
        &self,
        digest: &str,
        platform: Option<String>,
        claims: &[Claim],
        first_seen: Option<DateTime<Utc>>,
    ) -> PlatformImage {
        let (built, candidates) = build_date::weigh(claims, first_seen, self.now);
        PlatformImage { platform, digest: digest.to_owned(), built, first_seen, candidates }
    }
}

impl Inner {
    /// A digest's fact from memory, else from the store.
    async fn remembered(&self, digest: &str) -> Option<Arc<DigestFact>> {
        if let Some(fact) = self.digests.get(digest) {
            self.counters.in_memory.fetch_add(1, Ordering::Relaxed);
            return Some(fact);
        }
        let fact: DigestFact = serde_json::from_str(&self.store.load(digest).await?).ok()?;
        self.counters.in_store.fetch_add(1, Ordering::Relaxed);
        let fact = Arc::new(fact);
        self.digests.insert(digest.to_owned(), Arc::clone(&fact));
        Some(fact)
    }

    fn remember(&self, digest: &str, fact: &Arc<DigestFact>, now: DateTime<Utc>) {
        self.digests.insert(digest.to_owned(), Arc::clone(fact));
        if let Ok(json) = serde_json::to_string(&**fact) {
            self.store.save(digest, json, now);
        }
    }
}

/// The entries for the wanted platforms; all, where none of them is. An entry that names no platform is always looked at.
fn chosen<'a>(entries: &'a [Entry], wanted: &[String]) -> Vec<&'a Entry> {
    let fits = |entry: &&Entry| {
        wanted.is_empty()
            || entry.platform.as_ref().is_none_or(|have| {
                wanted.iter().any(|want| {
                    have == want || have.starts_with(&format!("{want}/")) || want.starts_with(&format!("{have}/"))
                })
            })
    };
    let chosen: Vec<_> = entries.iter().filter(fits).collect();
    if chosen.is_empty() { entries.iter().collect() } else { chosen }
}
