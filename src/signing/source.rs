//! Where the keys are kept: in a file, or in a Secret of the gate's namespace. Where there are none, one is made.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;

use super::{BadKeys, CryptoFailed, Keys};

/// The Secret's entry that holds the keys.
const SECRET_KEY: &str = "signing-key.pem";

/// Where keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In this file.
    File(PathBuf),
    /// In this Secret of the gate's namespace; replicas share it.
    Secret(String),
    /// Nowhere: what is signed is worth nothing after the process has ended.
    Memory,
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeySourceError {
    /// The file cannot be read or made.
    #[error(
        "the signing key in {path} cannot be {act}: {why}; check the folder, or name another file with --signing-key"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `made`.
        act: &'static str,
        /// What the system says.
        why: std::io::Error,
    },
    /// The Secret cannot be read or made.
    #[error(
        "the signing key in Secret {name:?} of namespace {namespace:?} cannot be {act}: {why}; let the gate get and create Secrets there"
    )]
    Secret {
        /// The Secret.
        name: String,
        /// The gate's namespace.
        namespace: String,
        /// `read` or `made`.
        act: &'static str,
        /// What the API server says.
        why: String,
    },
    /// There is something, but no usable key.
    #[error("the signing key in {place} cannot be used: {why}")]
    Unusable {
        /// The file or Secret.
        place: String,
        /// What is wrong with it.
        why: BadKeys,
    },
    /// A Secret is a cluster's.
    #[error("--signing-secret {0} needs a cluster: add --kubernetes, or name a file with --signing-key")]
    NoCluster(String),
    /// No key could be made.
    #[error("a signing key could not be made: {0}")]
    Make(#[from] CryptoFailed),
}

impl KeySource {
    /// The keys that are there; where there are none, one is made and kept. The client is needed for a Secret alone.
    pub async fn keys(&self, client: Option<&kube::Client>) -> Result<Keys, KeySourceError> {
        let (pem, place) = match self {
            Self::File(path) => (from_file(path)?, path.display().to_string()),
            Self::Secret(name) => {
                let client = client.ok_or_else(|| KeySourceError::NoCluster(name.clone()))?;
                (from_secret(client, name).await?, format!("Secret {name:?}"))
            }
            Self::Memory => (Keys::generate_pem()?, "memory".to_owned()),
        };
        Keys::from_pem(&pem).map_err(|why| KeySourceError::Unusable { place, why })
    }
}

fn from_file(path: &Path) -> Result<String, KeySourceError> {
    let failed = |act, why| KeySourceError::File { path: path.to_owned(), act, why };
    match std::fs::read_to_string(path) {
        Ok(pem) => return Ok(pem),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", error)),
    }
    let pem = Keys::generate_pem()?;
    // Whoever made it first wins: two keys for one store would make each other's word worthless.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made.and_then(|mut file| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => {
            tracing::info!(file = %path.display(), "a signing key was made; keep it with the store");
            Ok(pem)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::read_to_string(path).map_err(|error| failed("read", error))
        }
        Err(error) => Err(failed("made", error)),
    }
}

async fn from_secret(client: &kube::Client, name: &str) -> Result<String, KeySourceError> {
    let namespace = client.default_namespace().to_owned();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let failed =
        |act, why: String| KeySourceError::Secret { name: name.to_owned(), namespace: namespace.clone(), act, why };
    if let Some(secret) = api.get_opt(name).await.map_err(|error| failed("read", error.to_string()))? {
        return pem_of(secret).ok_or_else(|| failed("read", format!("it has no entry {SECRET_KEY}")));
    }
    let pem = Keys::generate_pem()?;
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(SECRET_KEY.to_owned(), ByteString(pem.clone().into_bytes()))])),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            tracing::info!(secret = name, namespace, "a signing key was made");
            Ok(pem)
        }
        // Another replica was first; its key is everybody's.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let secret = api.get(name).await.map_err(|error| failed("read", error.to_string()))?;
            pem_of(secret).ok_or_else(|| failed("read", format!("it has no entry {SECRET_KEY}")))
        }
        Err(error) => Err(failed("made", error.to_string())),
    }
}

fn pem_of(secret: Secret) -> Option<String> {
    String::from_utf8(secret.data?.remove(SECRET_KEY)?.0).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_missing_file_is_made_for_its_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.key");
        let source = KeySource::File(path.clone());
        let first = source.keys(None).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(source.keys(None).await.unwrap().signer_id(), first.signer_id());
    }

    #[tokio::test]
    async fn what_is_no_key_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.key");
        std::fs::write(&path, "my notes").unwrap();
        let said = KeySource::File(path.clone()).keys(None).await.unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("the signing key in {} cannot be used: there is no private key", path.display())),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
        let nowhere = KeySource::File(folder.path().join("no/where")).keys(None).await.unwrap_err().to_string();
        assert!(nowhere.contains("cannot be made") && nowhere.contains("--signing-key"), "{nowhere}");
        let secret = KeySource::Secret("keys".to_owned()).keys(None).await.unwrap_err().to_string();
        assert_eq!(
            secret,
            "--signing-secret keys needs a cluster: add --kubernetes, or name a file with --signing-key"
        );
    }
}
