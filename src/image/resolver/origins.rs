//! What an image says of its making beside its date: the bases that its manifests name, and the statements of the
//! attestations that came with it.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::facts::{DigestFact, Kept};
use super::{LookUp, Request, Resolver};
use crate::evidence::Unknown;
use crate::image::claims::{self, Base};
use crate::image::reference::ImageReference;
use crate::image::registry::LARGEST_CONFIG_BYTES;
use crate::image::registry::error::RegistryError;

const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Attestations of one image, and statements of one attestation, that are looked at.
const MOST_ATTESTATIONS: usize = 8;
const MOST_STATEMENTS: usize = 8;

/// The base that one platform of an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformBase {
    /// `os/architecture[/variant]`, where it is known.
    pub platform: Option<String>,
    /// The base.
    pub base: Base,
}

/// A statement about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Platform of the image that it came with, where it is known.
    pub platform: Option<String>,
    /// Digest of what it came with; whether it speaks of that is for whoever reads it to see.
    pub subject: String,
    /// The in-toto statement, as JSON.
    pub body: Vec<u8>,
}

impl Resolver {
    /// The bases that the manifests of a digest name, one for each platform that names one.
    pub async fn bases(
        &self,
        image: &ImageReference,
        digest: &str,
        request: Request<'_>,
    ) -> Result<Vec<PlatformBase>, Unknown> {
        let digest = digest.to_owned();
        let ask = move |look_up: LookUp| -> BoxFuture<'static, _> {
            let digest = digest.clone();
            Box::pin(async move { look_up.bases(&digest).await })
        };
        self.with_credentials(image, request, ask).await.map_err(RegistryError::into_unknown)
    }

    /// The statements that came with a digest: of an index those that it lists, else those that refer to it.
    pub async fn statements(
        &self,
        image: &ImageReference,
        digest: &str,
        request: Request<'_>,
    ) -> Result<Vec<Statement>, Unknown> {
        let digest = digest.to_owned();
        let ask = move |look_up: LookUp| -> BoxFuture<'static, _> {
            let digest = digest.clone();
            Box::pin(async move { look_up.statements(&digest).await })
        };
        self.with_credentials(image, request, ask).await.map_err(RegistryError::into_unknown)
    }
}

impl LookUp {
    async fn bases(&self, digest: &str) -> Result<Vec<PlatformBase>, RegistryError> {
        let mut found = Vec::new();
        for (platform, kept) in self.images_of(digest).await? {
            if let DigestFact::Image { base: Some(base), platform: own, .. } = &kept.fact {
                found.push(PlatformBase { platform: platform.or_else(|| own.clone()), base: base.clone() });
            }
        }
        Ok(found)
    }

    /// The images under a digest, indexes within indexes left out.
    async fn images_of(&self, digest: &str) -> Result<Vec<(Option<String>, Arc<Kept>)>, RegistryError> {
        let (kept, _) = self.digest(digest).await?;
        let DigestFact::Index { entries, .. } = &kept.fact else {
            return Ok(vec![(None, kept)]);
        };
        let mut images = Vec::with_capacity(entries.len());
        for entry in entries {
            images.push((entry.platform.clone(), self.digest(&entry.digest).await?.0));
        }
        Ok(images)
    }

    async fn statements(&self, digest: &str) -> Result<Vec<Statement>, RegistryError> {
        let (kept, _) = self.digest(digest).await?;
        let listed: Vec<(Option<String>, String, String)> = match &kept.fact {
            DigestFact::Index { entries, attestations, .. } => attestations
                .iter()
                .flat_map(|(subject, listed)| listed.iter().map(move |attestation| (subject, attestation)))
                .map(|(subject, attestation)| {
                    let entry = entries.iter().find(|entry| entry.digest == *subject);
                    (entry.and_then(|entry| entry.platform.clone()), subject.clone(), attestation.clone())
                })
                .collect(),
            DigestFact::Image { platform, .. } => {
                let referring = self.inner.registries.referrers(self.asking(), digest, ATTESTATION_ARTIFACT).await?;
                referring.into_iter().map(|listed| (platform.clone(), digest.to_owned(), listed)).collect()
            }
            DigestFact::NoImage { .. } => Vec::new(),
        };
        let mut statements = Vec::new();
        for (platform, subject, attestation) in listed.into_iter().take(MOST_ATTESTATIONS) {
            for body in self.statements_of(&attestation).await? {
                statements.push(Statement { platform: platform.clone(), subject: subject.clone(), body });
            }
        }
        Ok(statements)
    }

    /// The statements of one attestation; none, where it was not copied along with the image.
    async fn statements_of(&self, attestation: &str) -> Result<Vec<Vec<u8>>, RegistryError> {
        let manifest = match self.inner.registries.manifest(self.asking(), attestation).await {
            Err(RegistryError::NotFound(_) | RegistryError::Unsupported(_)) => return Ok(Vec::new()),
            manifest => manifest?,
        };
        let Ok(manifest) = serde_json::from_slice::<claims::Manifest>(&manifest.body) else {
            return Ok(Vec::new());
        };
        let mut bodies = Vec::new();
        for layer in manifest.layers.iter().filter(|layer| layer.media_type == IN_TOTO).take(MOST_STATEMENTS) {
            bodies.push(self.inner.registries.blob(self.asking(), &layer.digest, LARGEST_CONFIG_BYTES).await?);
        }
        Ok(bodies)
    }
}
