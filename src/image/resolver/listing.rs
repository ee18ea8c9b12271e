//! The tags beside an image: asked for by whoever looks for newer ones, and never in the way of admission.

use super::{LookUp, Request, Resolver};
use crate::evidence::Unknown;
use crate::image::reference::ImageReference;
use crate::image::registry::Asking;
use crate::image::registry::error::RegistryError;

impl Resolver {
    /// All tags of the image's repository, sorted, by the request's deadline; or why they cannot be had.
    pub async fn tags(&self, image: &ImageReference, request: Request<'_>) -> Result<Vec<String>, Unknown> {
        self.with_credentials(image, request, |look_up| Box::pin(async move { look_up.tags().await }))
            .await
            .map_err(RegistryError::into_unknown)
    }
}

impl LookUp {
    async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let asking = Asking { deadline: self.deadline, ..self.asking() };
        self.inner.registries.tags(asking).await
    }
}
