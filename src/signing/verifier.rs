//! Keys that only verify: what whoever checks the gate's word needs, who is not the gate.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, ParsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::{BadKeys, KeyId, Message, NotSigned, Signature, public_der};

/// Keys that verify and do not sign.
#[derive(Clone)]
pub struct Verifier(Arc<Vec<(KeyId, ParsedPublicKey)>>);

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(id, _)| id.as_str())).finish()
    }
}

impl Verifier {
    /// Reads keys in PEM: public ones, and the public halves of private ones. There must be at least one.
    pub fn from_pem(pem: &str) -> Result<Self, BadKeys> {
        let not_pem = |error: rustls::pki_types::pem::Error| BadKeys::NotPem(error.to_string());
        let mut keys: Vec<(KeyId, ParsedPublicKey)> = Vec::new();
        let mut add = |der: &[u8]| -> Result<(), BadKeys> {
            let unusable = |why: String| BadKeys::Unusable { which: "public key", why };
            let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).map_err(|why| unusable(why.to_string()))?;
            keys.push((KeyId::of(der), parsed));
            Ok(())
        };
        for private in PrivatePkcs8KeyDer::pem_slice_iter(pem.as_bytes()) {
            let unusable = |why: String| BadKeys::Unusable { which: "private key", why };
            let private = private.map_err(not_pem)?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.secret_pkcs8_der())
                .map_err(|why| unusable(why.to_string()))?;
            add(&public_der(&pair).map_err(|error| unusable(error.to_string()))?)?;
        }
        for public in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
            add(public.map_err(not_pem)?.as_ref())?;
        }
        if keys.is_empty() {
            return Err(BadKeys::NoKey);
        }
        Ok(Self(Arc::new(keys)))
    }

    /// Whether one of these keys signed exactly this.
    pub fn verify(&self, message: &Message, signature: &Signature) -> Result<(), NotSigned> {
        let known = self.0.iter().find(|(id, _)| *id == signature.key_id);
        let (_, key) = known.ok_or_else(|| NotSigned::UnknownKey(signature.key_id.clone()))?;
        key.verify_sig(message.as_bytes(), &signature.bytes).map_err(|_| NotSigned::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keys;
    use super::*;

    #[test]
    fn either_half_of_a_key_verifies_what_the_whole_signed() {
        let pem = Keys::generate_pem().unwrap();
        let public = rcgen::KeyPair::from_pem(&pem).unwrap().public_key_pem();
        let other = Keys::generate_pem().unwrap();
        let (message, elsewhere) = (Message::new("a").part(b"1"), Message::new("a").part(b"2"));
        let signature = Keys::from_pem(&pem).unwrap().sign(&message).unwrap();
        for known in [&pem, &public, &format!("{other}{public}")] {
            let verifier = Verifier::from_pem(known).unwrap();
            assert_eq!(verifier.verify(&message, &signature), Ok(()));
            assert_eq!(verifier.verify(&elsewhere, &signature), Err(NotSigned::Mismatch));
        }
        let unknown = Verifier::from_pem(&other).unwrap().verify(&message, &signature);
        assert_eq!(unknown, Err(NotSigned::UnknownKey(signature.key_id)));
    }

    #[test]
    fn a_text_without_any_key_says_what_it_wants() {
        let said = Verifier::from_pem("my notes").unwrap_err().to_string();
        assert_eq!(
            said,
            "there is no key in it; it wants the signing key in PEM, or its public half, as `openssl pkey -pubout` writes it"
        );
    }
}
