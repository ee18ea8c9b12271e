//! What signs, and what remembers whom something was granted to.

use std::sync::Arc;

use crate::args::{ServeArgs, StoreArg};
use crate::audit;
use crate::cluster::exceptions::FindGrant;
use crate::signing::KeySource;

/// Where the signing key is: where a flag says, else beside the store.
pub(super) fn key_source(args: &ServeArgs) -> KeySource {
    match (&args.signing_secret, &args.signing_key, &args.store) {
        (Some(secret), _, _) => KeySource::Secret(secret.clone()),
        (None, Some(file), _) => KeySource::File(file.clone()),
        (None, None, StoreArg::Store(location)) if let Some(file) = location.signing_key() => KeySource::File(file),
        (None, None, _) => {
            tracing::warn!(
                "exceptions granted now have no effect after this process; give --signing-secret or --signing-key"
            );
            KeySource::Memory
        }
    }
}

/// Finds grants in the audit; what is printed alone cannot be found.
pub(super) fn find_grant(store: &StoreArg) -> FindGrant {
    let location = match store {
        StoreArg::Store(location) => Some(location.clone()),
        StoreArg::Stdout => None,
    };
    Arc::new(move |asked| {
        let location = location.clone();
        Box::pin(async move {
            match location {
                Some(location) => audit::find_grant(&location, &asked).await.map_err(|error| error.to_string()),
                None => Ok(None),
            }
        })
    })
}
