//! Provenance beside an image, asked for where its config has no date.
//!
//! What an index lists is covered by its digest, and kept with it. What refers to an image is what one repository says:
//! whoever may write to another must not date this one's images, so it is kept for that repository alone.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::{EntryAction, EntryResult};

use super::facts::{DigestFact, Kept};
use super::platforms::Place;
use super::{LookUp, STALE_FOR};
use crate::image::build_date::Claim;
use crate::image::claims;
use crate::image::registry::LARGEST_CONFIG_BYTES;
use crate::image::registry::error::RegistryError;

/// Layers of an attestation that are looked at.
const MOST_ATTESTATION_LAYERS: usize = 8;
/// How long it is believed that nothing refers to an image: who attests does so right after the push.
const NONE_FOR: TimeDelta = TimeDelta::seconds(60);

const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// What refers to a digest in one repository.
#[derive(Clone, Debug)]
pub(super) struct Referring {
    claims: Vec<Claim>,
    asked_at: DateTime<Utc>,
}

impl LookUp {
    /// What provenance says of the image in its place; an error where that could not be learnt.
    pub(super) async fn provenance(&self, place: &Place) -> Result<Vec<Claim>, RegistryError> {
        match &place.index {
            None => self.referring_provenance(&place.digest).await,
            Some((index, kept)) => self.listed_provenance(index, kept, &place.digest).await,
        }
    }

    /// Provenance that refers to an image which no index brings along. It can be attached later, so none is asked again.
    async fn referring_provenance(&self, digest: &str) -> Result<Vec<Claim>, RegistryError> {
        let key = self.key(&format!("referring to {digest}"));
        let age = |known: &Referring| self.now.signed_duration_since(known.asked_at).abs();
        let known = self.inner.referring.get(&key).filter(|known| age(known) < STALE_FOR);
        if let Some(known) = known.as_ref().filter(|known| !known.claims.is_empty() || age(known) < NONE_FOR) {
            return Ok(known.claims.clone());
        }
        let (subject, remembered) = (digest.to_owned(), key.clone());
        let found = self.fly(digest, "referring to", move |look_up| async move {
            let registries = &look_up.inner.registries;
            let listed = registries.referrers(look_up.asking(), &subject, ATTESTATION_ARTIFACT).await?;
            let (claims, _) = look_up.said_by(&listed, &subject).await?;
            let referring = Referring { claims: claims.clone(), asked_at: look_up.now };
            look_up.inner.referring.insert(remembered, referring);
            Ok(claims)
        });
        match (found.await, known) {
            (Err(error), Some(known)) if error.is_passing() => Ok(known.claims),
            (found, _) => found,
        }
    }

    /// Provenance that came with an index, asked for once and then kept with the index.
    async fn listed_provenance(&self, index: &str, kept: &Kept, child: &str) -> Result<Vec<Claim>, RegistryError> {
        let DigestFact::Index { attestations, provenance, .. } = &kept.fact else {
            return Ok(Vec::new());
        };
        if let Some(known) = provenance.get(child) {
            return Ok(known.clone());
        }
        let Some(listed) = attestations.get(child).cloned() else {
            return Ok(Vec::new());
        };
        let (index, kept, subject) = (index.to_owned(), kept.clone(), child.to_owned());
        self.fly(child, &format!("listed by {index} for"), move |look_up| async move {
            let (claims, complete) = look_up.said_by(&listed, &subject).await?;
            // Copied without its attestations an index is still the same, and elsewhere they are there.
            if complete {
                look_up.keep_with_index(&index, &kept, &subject, &claims);
            }
            Ok(claims)
        })
        .await
    }

    fn keep_with_index(&self, index: &str, kept: &Kept, child: &str, claims: &[Claim]) {
        // Its other children may be kept at the same time.
        let with_it = |known: &Kept| {
            let mut with_it = known.clone();
            if let DigestFact::Index { provenance, .. } = &mut with_it.fact {
                provenance.insert(child.to_owned(), claims.to_vec());
            }
            Arc::new(with_it)
        };
        let mut latest = with_it(kept);
        let entry = self.inner.digests.entry(index, None, |_, known| {
            latest = with_it(known);
            *known = Arc::clone(&latest);
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = entry {
            // Who else wants it there has just put it there.
            let _ = place.insert(Arc::clone(&latest));
        }
        self.inner.save(index, &latest);
    }

    /// Looks something up once for all who ask, and leaves what failed alone for a moment.
    async fn fly<F>(
        &self,
        digest: &str,
        what: &str,
        look_up: impl FnOnce(Self) -> F,
    ) -> Result<Vec<Claim>, RegistryError>
    where
        F: Future<Output = Result<Vec<Claim>, RegistryError>> + Send + 'static,
    {
        let key = self.key(&format!("{what} {digest}"));
        self.recent_no(&key)?;
        let flight = self.inner.provenance_flights.join(key.clone(), || look_up(self.clone()));
        let broken_off = || Err(RegistryError::Unreachable("the look-up was broken off".to_owned()));
        let found = flight.await.unwrap_or_else(broken_off);
        if let Err(error) = &found {
            self.remember_no(key, error);
        }
        found
    }

    /// What attestations say of a digest, and whether all of them were there.
    async fn said_by(&self, attestations: &[String], subject: &str) -> Result<(Vec<Claim>, bool), RegistryError> {
        let (mut found, mut complete) = (Vec::new(), true);
        for attestation in attestations {
            match self.said_by_one(attestation, subject).await {
                Ok(claims) => found.extend(claims),
                Err(RegistryError::NotFound(_) | RegistryError::Unsupported(_)) => complete = false,
                Err(error) => return Err(error),
            }
        }
        Ok((found, complete))
    }

    async fn said_by_one(&self, attestation: &str, subject: &str) -> Result<Vec<Claim>, RegistryError> {
        let manifest = self.inner.registries.manifest(self.asking(), attestation).await?;
        let Ok(manifest) = serde_json::from_slice::<claims::Manifest>(&manifest.body) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let statements = manifest.layers.iter().filter(|layer| layer.media_type == "application/vnd.in-toto+json");
        for layer in statements.take(MOST_ATTESTATION_LAYERS) {
            let body = self.inner.registries.blob(self.asking(), &layer.digest, LARGEST_CONFIG_BYTES).await?;
            found.extend(claims::provenance(&body, subject));
        }
        Ok(found)
    }
}
