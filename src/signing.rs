//! Keys that the gate signs with, so that it knows its own word again: one signs, several may verify, so that a key can
//! be replaced without what it signed becoming worthless at once.
//!
//! ECDSA over P-256 with SHA-256, signatures in DER: what `openssl dgst -sha256 -verify` and cosign understand as well.
//! What is signed is always a [`Message`], which names its purpose, so that a signature made for one is none for another.

mod source;
mod verifier;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use self::source::{KeySource, KeySourceError};
pub use self::verifier::Verifier;

/// Why a text has no keys that can be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadKeys {
    /// There is no private key.
    #[error(
        "there is no private key in it; it wants one in PEM, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes it"
    )]
    NoPrivateKey,
    /// There is no key at all.
    #[error(
        "there is no key in it; it wants the signing key in PEM, or its public half, as `openssl pkey -pubout` writes it"
    )]
    NoKey,
    /// It is no PEM.
    #[error("it is no PEM: {0}")]
    NotPem(String),
    /// A key is of another kind.
    #[error("its {which} cannot be used: {why}; keys are ECDSA keys over P-256, private ones as PKCS#8")]
    Unusable {
        /// `private key` or `public key`.
        which: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Signing or making a key failed; the system has no randomness, or no memory.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the cryptographic library failed")]
pub struct CryptoFailed;

/// Names a key: the first 16 hexadecimal digits of the SHA-256 of its public half (`SubjectPublicKeyInfo`, DER).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    fn of(public_der: &[u8]) -> Self {
        let mut digits = hex::encode(Sha256::digest(public_der));
        digits.truncate(16);
        Self(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for KeyId {
    fn from(digits: &str) -> Self {
        Self(digits.to_owned())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is signed: a purpose and some parts, each with its length before it, so that no two messages have the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message for a purpose, as `freshgate.dev/exception-grant/v1`.
    pub fn new(purpose: &str) -> Self {
        Self(Vec::new()).part(purpose.as_bytes())
    }

    /// The same with one more part.
    #[must_use]
    pub fn part(mut self, part: &[u8]) -> Self {
        self.0.extend((part.len() as u64).to_be_bytes());
        self.0.extend(part);
        self
    }

    /// The bytes that are signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A signature, and the key that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key.
    pub key_id: KeyId,
    /// The signature, DER.
    pub bytes: Vec<u8>,
}

impl Signature {
    /// The signature in base64, as objects and files have it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// Reads what [`Self::to_base64`] wrote; `None` where it is no base64.
    pub fn from_base64(key_id: &str, written: &str) -> Option<Self> {
        Some(Self { key_id: key_id.into(), bytes: STANDARD.decode(written).ok()? })
    }
}

/// Why a signature is not good.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotSigned {
    /// The key is not one of ours.
    #[error("it was made with key {0}, which this gate does not have")]
    UnknownKey(KeyId),
    /// It was made for something else, or by nobody.
    #[error("it does not fit what it stands beside")]
    Mismatch,
}

/// The keys of this gate: the first signs, all verify.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    signer: EcdsaKeyPair,
    signer_id: KeyId,
    verifiers: Vec<(KeyId, ParsedPublicKey)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verifiers: Vec<&str> = self.0.verifiers.iter().map(|(id, _)| id.as_str()).collect();
        formatter.debug_struct("Keys").field("verifiers", &verifiers).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads keys in PEM: the first private key signs; it, every other private key and every public key verify.
    pub fn from_pem(pem: &str) -> Result<Self, BadKeys> {
        let not_pem = |error: rustls::pki_types::pem::Error| BadKeys::NotPem(error.to_string());
        let mut verifiers: Vec<(KeyId, ParsedPublicKey)> = Vec::new();
        let mut add = |der: &[u8]| -> Result<KeyId, BadKeys> {
            let id = KeyId::of(der);
            if verifiers.iter().all(|(known, _)| *known != id) {
                let unusable = |why: String| BadKeys::Unusable { which: "public key", why };
                let parsed =
                    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).map_err(|why| unusable(why.to_string()))?;
                verifiers.push((id.clone(), parsed));
            }
            Ok(id)
        };
        let mut signer = None;
        for private in PrivatePkcs8KeyDer::pem_slice_iter(pem.as_bytes()) {
            let private = private.map_err(not_pem)?;
            let unusable = |why: String| BadKeys::Unusable { which: "private key", why };
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.secret_pkcs8_der())
                .map_err(|why| unusable(why.to_string()))?;
            let id = add(&public_der(&pair).map_err(|error| unusable(error.to_string()))?)?;
            signer = signer.or(Some((pair, id)));
        }
        for public in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
            add(public.map_err(not_pem)?.as_ref())?;
        }
        let (signer, signer_id) = signer.ok_or(BadKeys::NoPrivateKey)?;
        Ok(Self(Arc::new(Inner { signer, signer_id, verifiers })))
    }

    /// Makes a key; as PEM, because it is to be kept.
    pub fn generate_pem() -> Result<String, CryptoFailed> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| CryptoFailed)?;
        Ok(key.serialize_pem())
    }

    /// The key that signs.
    pub fn signer_id(&self) -> &KeyId {
        &self.0.signer_id
    }

    /// Signs.
    pub fn sign(&self, message: &Message) -> Result<Signature, CryptoFailed> {
        let signed = self.0.signer.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| CryptoFailed)?;
        Ok(Signature { key_id: self.0.signer_id.clone(), bytes: signed.as_ref().to_vec() })
    }

    /// Whether one of these keys signed exactly this.
    pub fn verify(&self, message: &Message, signature: &Signature) -> Result<(), NotSigned> {
        let known = self.0.verifiers.iter().find(|(id, _)| *id == signature.key_id);
        let (_, key) = known.ok_or_else(|| NotSigned::UnknownKey(signature.key_id.clone()))?;
        key.verify_sig(message.as_bytes(), &signature.bytes).map_err(|_| NotSigned::Mismatch)
    }
}

fn public_der(pair: &EcdsaKeyPair) -> Result<Vec<u8>, CryptoFailed> {
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| CryptoFailed)?;
    Ok(der.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> Message {
        Message::new("test/v1").part(text.as_bytes())
    }

    fn public_pem(private_pem: &str) -> String {
        rcgen::KeyPair::from_pem(private_pem).unwrap().public_key_pem()
    }

    #[test]
    fn what_was_signed_is_known_again_and_nothing_else() {
        let keys = Keys::from_pem(&Keys::generate_pem().unwrap()).unwrap();
        let signature = keys.sign(&message("a")).unwrap();
        assert_eq!(keys.verify(&message("a"), &signature), Ok(()));
        assert_eq!(keys.verify(&message("b"), &signature), Err(NotSigned::Mismatch));
        let elsewhere = Message::new("other/v1").part(b"a");
        assert_eq!(keys.verify(&elsewhere, &signature), Err(NotSigned::Mismatch));
        let written = signature.to_base64();
        assert_eq!(Signature::from_base64(keys.signer_id().as_str(), &written), Some(signature));
        let others = Keys::from_pem(&Keys::generate_pem().unwrap()).unwrap();
        let forged = Signature { key_id: keys.signer_id().clone(), ..others.sign(&message("a")).unwrap() };
        assert_eq!(keys.verify(&message("a"), &forged), Err(NotSigned::Mismatch));
    }

    #[test]
    fn a_key_can_be_replaced_while_the_old_one_still_verifies() {
        let (old, new) = (Keys::generate_pem().unwrap(), Keys::generate_pem().unwrap());
        let before = Keys::from_pem(&old).unwrap().sign(&message("a")).unwrap();
        for overlap in [format!("{new}{old}"), format!("{new}{}", public_pem(&old))] {
            let keys = Keys::from_pem(&overlap).unwrap();
            assert_eq!(keys.verify(&message("a"), &before), Ok(()));
            assert_ne!(keys.sign(&message("a")).unwrap().key_id, before.key_id);
        }
        let after = Keys::from_pem(&new).unwrap();
        let unknown = after.verify(&message("a"), &before).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            format!("it was made with key {}, which this gate does not have", before.key_id)
        );
    }

    #[test]
    fn a_text_without_a_key_says_what_it_wants() {
        let own = Keys::generate_pem().unwrap();
        let wants = "there is no private key in it; it wants one in PEM";
        for text in ["", "no PEM", &public_pem(&own)] {
            assert!(Keys::from_pem(text).unwrap_err().to_string().starts_with(wants), "{text}");
        }
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let said = Keys::from_pem(&other).unwrap_err().to_string();
        assert!(said.starts_with("its private key cannot be used: "), "{said}");
        assert!(said.ends_with("keys are ECDSA keys over P-256, private ones as PKCS#8"), "{said}");
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let keys = Keys::from_pem(&Keys::generate_pem().unwrap()).unwrap();
        assert_eq!(format!("{keys:?}"), format!("Keys {{ verifiers: [{:?}], .. }}", keys.signer_id().as_str()));
    }

    proptest! {
        #[test]
        fn no_two_messages_have_the_same_bytes(
            one in proptest::collection::vec(".{0,4}", 0..4), other in proptest::collection::vec(".{0,4}", 0..4),
        ) {
            let bytes = |parts: &[String]| {
                parts.iter().fold(Message::new("p"), |message, part| message.part(part.as_bytes()))
            };
            prop_assert_eq!(one == other, bytes(&one) == bytes(&other));
        }
    }
}
