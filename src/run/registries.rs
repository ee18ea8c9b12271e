//! The resolver of images that the flags describe.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::args::RegistryArgs;
use crate::image::registry::credentials::{Credentials, InvalidCredentials};
use crate::image::registry::settings::{MirrorLocation, RegistrySettings};
use crate::image::registry::{Registries, SettingsError};
use crate::image::resolver::Resolver;
use crate::image::resolver::facts::FactStore;

/// Why registries cannot be asked.
#[derive(Debug, Error)]
pub enum RegistriesError {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file with credentials cannot be read.
    #[error(
        "the registry credentials in {path} cannot be read: {why}; name a docker config with --registry-auth (FRESHGATE_REGISTRY_AUTH), or leave it out"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// A folder that should stand in for a registry is no image layout: every image of it would be unreachable.
    #[error(
        "the image layout {folder} cannot be used: its index.json cannot be read: {why}; name the folder that holds index.json and blobs, as oci:DIR"
    )]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The file with credentials is not one.
    #[error("{path}: {why}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: InvalidCredentials,
    },
}

/// The resolver that the flags describe.
pub fn resolver(args: &RegistryArgs, store: Arc<dyn FactStore>) -> Result<Resolver, RegistriesError> {
    let settings = RegistrySettings {
        allow: args.allow_registry.clone(),
        insecure: args.insecure_registry.clone(),
        private: args.private_registry.clone(),
        ca_files: args.registry_ca.clone(),
        mirrors: args.mirror.clone(),
        token_hosts: args.token_host.clone(),
    };
    for mirror in &settings.mirrors {
        if let MirrorLocation::Layout(folder) = &mirror.location {
            std::fs::File::open(folder.join("index.json"))
                .map_err(|why| RegistriesError::Layout { folder: folder.clone(), why })?;
        }
    }
    let default = std::env::var_os("DOCKER_CONFIG").map(|folder| PathBuf::from(folder).join("config.json"));
    let file = args.registry_auth.clone().or(default.filter(|path| path.exists()));
    let own = match file {
        None => Credentials::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(&path).map_err(|why| RegistriesError::Read { path: path.clone(), why })?;
            Credentials::from_docker_config(&text).map_err(|why| RegistriesError::Credentials { path, why })?
        }
    };
    Ok(Resolver::new(Registries::new(settings)?, own, store))
}
