//! A registry that stands in for another: asked first, and never in the way.

use std::time::Duration;

use futures::future::{Either, select};
use reqwest::{Method, Response};

use super::error::RegistryError;
use super::settings::MirrorLocation;
use super::{Asking, Registries};

/// How long a mirror is waited for alone; then the registry itself is asked too.
const HEAD_START: Duration = Duration::from_millis(500);

impl Registries {
    /// Asks the mirror, where there is one, then the registry. Gives the host that answered with success.
    pub(super) async fn ask(
        &self,
        asking: Asking<'_>,
        method: Method,
        path: &str,
    ) -> Result<(String, Response), RegistryError> {
        self.check_allowed(asking.image)?;
        let registry = asking.image.registry();
        let origin = async {
            self.ask_host(asking, registry, method.clone(), path).await.map(|response| (registry.to_owned(), response))
        };
        match self.settings.mirror_for(&asking.image.name()).map(|mirror| &mirror.location) {
            Some(MirrorLocation::Registry(mirror)) if self.check_address(mirror, registry).is_ok() => {
                let without_credential = Asking { credential: None, ..asking };
                let answer = self.ask_host(without_credential, mirror, method.clone(), path);
                self.ask_either(mirror, answer, origin).await
            }
            _ => origin.await,
        }
    }

    /// The mirror's answer, or the registry's. A mirror has a head start; one that does not use it costs no more than
    /// that, and is then left alone for a while.
    async fn ask_either(
        &self,
        mirror: &str,
        of_mirror: impl Future<Output = Result<Response, RegistryError>>,
        of_registry: impl Future<Output = Result<(String, Response), RegistryError>>,
    ) -> Result<(String, Response), RegistryError> {
        let named = |response| (mirror.to_owned(), response);
        let (mut of_mirror, of_registry) = (std::pin::pin!(of_mirror), std::pin::pin!(of_registry));
        match tokio::time::timeout(HEAD_START, &mut of_mirror).await {
            Ok(Ok(response)) => return Ok(named(response)),
            Ok(Err(_)) => return of_registry.await,
            Err(_) => {}
        }
        match select(of_mirror, of_registry).await {
            Either::Left((Ok(response), _)) => Ok(named(response)),
            Either::Left((Err(_), of_registry)) => of_registry.await,
            Either::Right((Ok(answer), _)) => {
                self.limits_of(mirror).leave_alone();
                Ok(answer)
            }
            // Where the registry is out of reach, as behind an air gap, a slow mirror is what there is.
            Either::Right((Err(error), of_mirror)) => of_mirror.await.map(named).map_err(|_| error),
        }
    }
}
