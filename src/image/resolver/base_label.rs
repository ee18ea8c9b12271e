//! Labels are inherited: one that stands on the base image too says when the base was built.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::LookUp;
use super::facts::{DigestFact, Kept};
use crate::image::build_date::{self, Claim, Source};
use crate::image::claims::Base;
use crate::image::reference::ImageReference;
use crate::image::registry::error::RegistryError;

const STRONGER_THAN_A_LABEL: [Source; 4] =
    [Source::Config, Source::Provenance, Source::ManifestAnnotation, Source::IndexAnnotation];
const OPEN: &str = "whether it is the base image's label";

impl LookUp {
    /// Bars a label that the base image has too, or may have. The base is looked at only where the label would decide; an
    /// error where that cannot be done just now.
    pub(super) async fn bar_inherited_label(&self, claims: &mut [Claim], base: &Base) -> Result<(), RegistryError> {
        let decides = build_date::is_settled_by(claims, &[Source::Label], self.now)
            && !build_date::is_settled_by(claims, &STRONGER_THAN_A_LABEL, self.now);
        if !decides {
            return Ok(());
        }
        let labels = match self.labels_of_base(base).await {
            Err(error) if error.is_passing() => return Err(error.leaving_open(OPEN)),
            labels => labels.ok().flatten(),
        };
        for claim in claims.iter_mut().filter(|claim| claim.source == Source::Label) {
            claim.passed_over = match &labels {
                Some(labels) if !labels.contains(&claim.value) => continue,
                Some(_) => Some("the base image has the same label".to_owned()),
                None => Some(format!("{OPEN} could not be learnt")),
            };
        }
        Ok(())
    }

    /// The dates among the base's labels; `None` where what it names is no image.
    async fn labels_of_base(&self, base: &Base) -> Result<Option<BTreeSet<String>>, RegistryError> {
        let name = |digest: &String| ImageReference::parse(&base.name).map(|image| image.pinned(digest));
        let written = base.digest.as_ref().map_or_else(|| Ok(base.name.clone()), name);
        let Ok(image) = written.and_then(|written| ImageReference::parse(&written)) else {
            return Ok(None);
        };
        let credential = self.inner.own.for_image(&image).next().cloned();
        let look_up = Self {
            inner: Arc::clone(&self.inner),
            image: Arc::new(image),
            credential,
            now: self.now,
            deadline: self.deadline,
        };
        let digest = match look_up.image.digest() {
            Some(digest) => digest.to_owned(),
            None => look_up.tag(look_up.image.tag().unwrap_or("latest")).await?.digest,
        };
        let (base, _) = look_up.digest(&digest).await?;
        let first = match &base.fact {
            DigestFact::Index { entries, .. } => entries.first(),
            _ => None,
        };
        let image = match first {
            Some(entry) => look_up.digest(&entry.digest).await?.0,
            None => base,
        };
        Ok(labels(&image))
    }
}

fn labels(image: &Kept) -> Option<BTreeSet<String>> {
    let DigestFact::Image { claims, .. } = &image.fact else {
        return None;
    };
    Some(claims.iter().filter(|claim| claim.source == Source::Label).map(|claim| claim.value.clone()).collect())
}
