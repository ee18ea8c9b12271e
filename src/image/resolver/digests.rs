//! What a digest is: from memory, else from the store, else from its registry, and then kept for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;

use super::facts::{DigestFact, Entry, Kept};
use super::platforms::MOST_INDEX_ENTRIES;
use super::{Inner, LookUp};
use crate::image::claims::{self, Shape};
use crate::image::registry::error::RegistryError;
use crate::image::registry::{LARGEST_CONFIG_BYTES, Manifest};

impl LookUp {
    /// What the digest is, and whether that was remembered; as long as there is time.
    pub(super) async fn digest(&self, digest: &str) -> Result<(Arc<Kept>, bool), RegistryError> {
        self.in_time(async {
            if let Some(kept) = self.inner.remembered(digest).await {
                return Ok((kept, true));
            }
            let key = self.key(digest);
            self.recent_no(&key)?;
            let kept = self.join_digest(digest, None).await;
            if let Err(error) = &kept {
                self.remember_no(key, error);
            }
            Ok((kept?, false))
        })
        .await
    }

    pub(super) fn join_digest(
        &self,
        digest: &str,
        manifest: Option<Manifest>,
    ) -> BoxFuture<'static, Result<Arc<Kept>, RegistryError>> {
        let (look_up, wanted) = (self.clone(), digest.to_owned());
        let flight = self.inner.digest_flights.join(self.key(digest), move || async move {
            // Another look-up may have landed while this one asked the store.
            if let Some(kept) = look_up.inner.digests.get(&wanted) {
                return Ok(kept);
            }
            let fact = look_up.fetch(&wanted, manifest).await?;
            let kept = Arc::new(Kept { fact, fetched_at: look_up.now });
            look_up.inner.remember(&wanted, &kept);
            Ok(kept)
        });
        Box::pin(async move {
            flight.await.unwrap_or_else(|| Err(RegistryError::Unreachable("the look-up was broken off".to_owned())))
        })
    }

    /// Fetches a manifest, and for an image its config.
    async fn fetch(&self, digest: &str, manifest: Option<Manifest>) -> Result<DigestFact, RegistryError> {
        self.inner.counters.looked_up.fetch_add(1, Ordering::Relaxed);
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => self.inner.registries.manifest(self.asking(), digest).await?,
        };
        match claims::manifest(&manifest.body) {
            Err(why) if manifest.body.trim_ascii_start().first() == Some(&b'{') => Ok(DigestFact::NoImage { why }),
            Err(why) => Err(RegistryError::Unreachable(format!("{}: {why}", self.image.registry()))),
            Ok(Shape::Schema1 { platform, claims }) => Ok(DigestFact::Image { platform, claims, base: None }),
            Ok(Shape::Image { config, mut claims, base }) => {
                let body = self.inner.registries.blob(self.asking(), &config.digest, LARGEST_CONFIG_BYTES).await?;
                let config = claims::config(&body);
                claims.extend(config.claims);
                Ok(DigestFact::Image { platform: config.platform, claims, base })
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
}

impl Inner {
    /// A digest's fact from memory, else from the store.
    pub(super) async fn remembered(&self, digest: &str) -> Option<Arc<Kept>> {
        if let Some(kept) = self.digests.get(digest) {
            self.counters.in_memory.fetch_add(1, Ordering::Relaxed);
            return Some(kept);
        }
        let (json, fetched_at) = self.store.load(digest).await?;
        let fact: DigestFact = serde_json::from_str(&json).ok()?;
        self.counters.in_store.fetch_add(1, Ordering::Relaxed);
        let kept = Arc::new(Kept { fact, fetched_at });
        self.digests.insert(digest.to_owned(), Arc::clone(&kept));
        Some(kept)
    }

    fn remember(&self, digest: &str, kept: &Arc<Kept>) {
        self.digests.insert(digest.to_owned(), Arc::clone(kept));
        self.save(digest, kept);
    }

    pub(super) fn save(&self, digest: &str, kept: &Kept) {
        if let Ok(json) = serde_json::to_string(&kept.fact) {
            self.store.save(digest, json, kept.fetched_at);
        }
    }
}
