//! Documents that are attached to an image, as bills of materials are: listed first, and fetched one by one.
//!
//! Attached means: an attestation that the index lists (BuildKit), one under a tag made of the digest (cosign), or an
//! artifact that refers to the image. Nothing is verified here beyond digests: what a document says is its writer's word.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use serde::Deserialize;

use super::facts::DigestFact;
use super::{LookUp, Request, Resolver};
use crate::evidence::Unknown;
use crate::image::claims;
use crate::image::reference::ImageReference;
use crate::image::registry::Asking;
use crate::image::registry::error::RegistryError;

/// Platforms of one image whose documents are read.
const MOST_PLATFORMS: usize = 4;
/// Documents of one image that are listed.
const MOST_DOCUMENTS: usize = 16;
/// Manifests of attestations and artifacts that are looked into for one image.
const MOST_MANIFESTS: usize = 32;

/// How BuildKit, and how cosign, note what an attestation says.
const PREDICATE_ANNOTATIONS: [&str; 3] =
    ["in-toto.io/predicate-type", "predicateType", "dev.sigstore.bundle.predicateType"];
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The config of an artifact that has none. Some registries list artifacts by their config's type instead of their own: such
/// a one may be anything, and is looked into.
const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// Which documents are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whether an attestation of this predicate is.
    pub predicate: fn(&str) -> bool,
    /// Whether a bare document of this media type is.
    pub media_type: fn(&str) -> bool,
}

/// A document that is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedDocument {
    /// Digest of its bytes.
    pub digest: String,
    /// How many bytes it has, by the manifest that lists it.
    pub bytes: u64,
    /// Whether it is wrapped in an attestation.
    pub is_attestation: bool,
}

/// What is attached to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// The documents, each once.
    pub documents: BTreeSet<AttachedDocument>,
    /// The digests that the image goes by: of its index and of its platforms.
    pub subjects: BTreeSet<String>,
    /// Artifacts that say they are about another image, and are left out for it.
    pub foreign: Vec<String>,
}

/// A manifest of an artifact, as far as its subject goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    subject: Option<Subject>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: String,
}

impl Resolver {
    /// What is attached to an image, by its digest and those of its platforms.
    pub async fn attached(
        &self,
        image: &ImageReference,
        (digest, platforms): (&str, &[String]),
        wanted: Wanted,
        request: Request<'_>,
    ) -> Result<Attached, Unknown> {
        let (digest, platforms) = (digest.to_owned(), platforms.to_vec());
        let ask = move |look_up: LookUp| -> BoxFuture<'static, _> {
            let (digest, platforms) = (digest.clone(), platforms.clone());
            Box::pin(async move { Box::pin(look_up.attached(&digest, &platforms, wanted)).await })
        };
        self.with_credentials(image, request, ask).await.map_err(RegistryError::into_unknown)
    }

    /// The bytes of a document, compared with its digest.
    pub async fn document(
        &self,
        image: &ImageReference,
        document: &AttachedDocument,
        most_bytes: u64,
        request: Request<'_>,
    ) -> Result<Vec<u8>, Unknown> {
        let digest = document.digest.clone();
        let ask = move |look_up: LookUp| -> BoxFuture<'static, _> {
            let digest = digest.clone();
            Box::pin(async move {
                let registries = &look_up.inner.registries;
                look_up.in_time(Box::pin(registries.blob(look_up.patient(), &digest, most_bytes))).await
            })
        };
        self.with_credentials(image, request, ask).await.map_err(RegistryError::into_unknown)
    }
}

impl LookUp {
    /// Whoever looks for documents waits for as long as the request does: they are large.
    fn patient(&self) -> Asking<'_> {
        Asking { deadline: self.deadline, ..self.asking() }
    }

    async fn attached(&self, digest: &str, platforms: &[String], wanted: Wanted) -> Result<Attached, RegistryError> {
        let mut found = Attached::default();
        found.subjects.insert(digest.to_owned());
        let (kept, _) = self.digest(digest).await?;
        let mut listed = Vec::new();
        if let DigestFact::Index { entries, attestations, .. } = &kept.fact {
            let is_wanted = |platform: &String| platforms.is_empty() || platforms.contains(platform);
            let entries = entries.iter().filter(|entry| entry.platform.as_ref().is_none_or(is_wanted));
            for entry in entries.take(MOST_PLATFORMS) {
                found.subjects.insert(entry.digest.clone());
                listed.extend(attestations.get(&entry.digest).into_iter().flatten().cloned());
            }
        }
        for attestation in listed.iter().take(MOST_MANIFESTS) {
            self.look_into(attestation, wanted, &mut found).await?;
        }
        let subjects: Vec<String> = found.subjects.iter().cloned().collect();
        for subject in &subjects {
            // What came with the image is enough.
            if !found.documents.is_empty() {
                break;
            }
            let Some((algorithm, hex)) = subject.split_once(':') else { continue };
            self.look_into(&format!("{algorithm}-{hex}.att"), wanted, &mut found).await?;
            for referrer in self.referring(subject, algorithm, hex).await?.into_iter().take(MOST_MANIFESTS) {
                self.look_into(&referrer, wanted, &mut found).await?;
            }
        }
        Ok(found)
    }

    /// What refers to a digest and could carry a document; of a registry without such a list, by the tag that stands in.
    async fn referring(&self, digest: &str, algorithm: &str, hex: &str) -> Result<Vec<String>, RegistryError> {
        let mut all = self.in_time(Box::pin(self.inner.registries.referring(self.patient(), digest))).await?;
        if all.is_empty() {
            all = match self.manifest(&format!("{algorithm}-{hex}")).await? {
                Some(list) => claims::referring(&list),
                None => Vec::new(),
            };
        }
        let could_carry = |kind: &str| {
            kind.starts_with(BUNDLE_PREFIX)
                || kind == ATTESTATION_ARTIFACT
                || kind == EMPTY_CONFIG
                || kind.contains("spdx")
                || kind.contains("cyclonedx")
        };
        Ok(all.into_iter().filter(|(_, kind)| could_carry(kind)).map(|(digest, _)| digest).collect())
    }

    /// The manifest of a tag or digest; `None` where there is none. Most images have no such tag.
    async fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        match self.in_time(Box::pin(self.inner.registries.manifest(self.patient(), reference))).await {
            Ok(manifest) => Ok(Some(manifest.body)),
            Err(RegistryError::NotFound(_) | RegistryError::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds the wanted documents of an attestation's or an artifact's manifest.
    async fn look_into(&self, reference: &str, wanted: Wanted, found: &mut Attached) -> Result<(), RegistryError> {
        // Copied without its attestations an image is still the same.
        let Some(body) = self.manifest(reference).await? else { return Ok(()) };
        let Ok(manifest) = serde_json::from_slice::<claims::Manifest>(&body) else { return Ok(()) };
        let artifact: Option<Artifact> = serde_json::from_slice(&body).ok();
        let subject = artifact.as_ref().and_then(|artifact| artifact.subject.as_ref());
        if let Some(subject) = subject.filter(|subject| !found.subjects.contains(&subject.digest)) {
            found.foreign.push(subject.digest.chars().take(80).collect());
            return Ok(());
        }
        let annotations = artifact.as_ref().map(|artifact| &artifact.annotations);
        for layer in &manifest.layers {
            let on_layer = PREDICATE_ANNOTATIONS.iter().find_map(|key| layer.annotation(key));
            let on_manifest = || PREDICATE_ANNOTATIONS.iter().find_map(|key| annotations?.get(*key)?.as_str());
            let is_attestation = match on_layer.or_else(on_manifest) {
                Some(predicate) if (wanted.predicate)(predicate) => true,
                Some(_) => continue,
                // A bundle that does not say so outside is looked into.
                None if layer.media_type.starts_with(BUNDLE_PREFIX) => true,
                // A bare document is an artifact's, and only the artifact says whose.
                None if (wanted.media_type)(&layer.media_type) && subject.is_some() => false,
                None => continue,
            };
            if found.documents.len() < MOST_DOCUMENTS {
                let document = AttachedDocument { digest: layer.digest.clone(), bytes: layer.size, is_attestation };
                found.documents.insert(document);
            }
        }
        Ok(())
    }
}
