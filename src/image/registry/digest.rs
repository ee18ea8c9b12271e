//! Whether bytes are what a digest names: every body is hashed, and of a manifest only those bytes are read.

use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Manifest;
use super::error::RegistryError;
use crate::image::claims;

/// The manifest that a body is, with exactly the bytes that its digest is over, compared where a digest is wanted.
pub fn manifest_named(wanted: Option<&str>, body: Vec<u8>, host: &str) -> Result<Manifest, RegistryError> {
    let as_served = wanted.is_some_and(|digest| is_digest_of(digest, &body));
    let body = if as_served { body } else { claims::schema1_payload(&body).unwrap_or(body) };
    let digest = match wanted {
        Some(digest) => {
            check_digest(digest, &body, host)?;
            digest.to_owned()
        }
        None => format!("sha256:{}", hex::encode(Sha256::digest(&body))),
    };
    Ok(Manifest { digest, body })
}

/// Whether the bytes are those that the digest names.
pub fn check_digest(digest: &str, body: &[u8], host: &str) -> Result<(), RegistryError> {
    if is_digest_of(digest, body) {
        Ok(())
    } else {
        Err(RegistryError::WrongBytes(format!("{host} serves other bytes than {digest} names")))
    }
}

fn is_digest_of(digest: &str, body: &[u8]) -> bool {
    match digest.split_once(':') {
        Some(("sha256", hex)) => hex::encode(Sha256::digest(body)) == hex,
        Some(("sha384", hex)) => hex::encode(Sha384::digest(body)) == hex,
        Some(("sha512", hex)) => hex::encode(Sha512::digest(body)) == hex,
        _ => false,
    }
}
