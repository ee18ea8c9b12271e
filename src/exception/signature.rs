//! What the gate signs of an exception: this object (by UID), as it was admitted (by hash), granted by this user at this
//! time. So a status that is copied to another object, or beside another spec, is worth nothing. Pure.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use thiserror::Error;

use super::api::{GateExceptionSpec, GateExceptionStatus, Grantor, SpecHash};
use crate::signing::{CryptoFailed, Keys, Message, NotSigned, Signature};

/// Names what is signed; another encoding needs another name.
const PURPOSE: &str = "freshgate.dev/exception-grant/v1";

/// That a spec was granted: what the gate remembers between admission and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// UID of the object.
    pub uid: String,
    /// Its spec, as it was admitted.
    pub spec_hash: SpecHash,
    /// Who granted it.
    pub by: Grantor,
    /// When, in UTC, to the second.
    pub at: DateTime<Utc>,
}

impl Granted {
    /// The grant of a spec. The time is cut to the second, as statuses have it.
    pub fn new(uid: &str, spec: &GateExceptionSpec, by: Grantor, at: DateTime<Utc>) -> Self {
        Self { uid: uid.to_owned(), spec_hash: spec.hash(), by, at: at.trunc_subsecs(0) }
    }

    fn message(&self) -> Message {
        Message::new(PURPOSE)
            .part(self.uid.as_bytes())
            .part(self.spec_hash.as_bytes())
            .part(self.by.username.as_bytes())
            .part(self.by.uid.as_bytes())
            .part(self.at.to_rfc3339_opts(SecondsFormat::Secs, true).as_bytes())
    }

    /// The status that says so, signed; its conditions are the caller's.
    pub fn sign(&self, keys: &Keys) -> Result<GateExceptionStatus, CryptoFailed> {
        let signature = keys.sign(&self.message())?;
        Ok(GateExceptionStatus {
            granted_by: Some(self.by.clone()),
            granted_at: Some(self.at),
            spec_hash: Some(self.spec_hash.to_string()),
            key_id: Some(signature.key_id.to_string()),
            signature: Some(signature.to_base64()),
            conditions: Vec::new(),
        })
    }
}

/// Why a status does not show that the exception was granted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotGranted {
    /// Nothing is signed.
    #[error("its status carries no signature")]
    Unsigned,
    /// Grantor, time or key are missing, or the signature is no base64.
    #[error("its status is incomplete")]
    Incomplete,
    /// The signature is for another spec.
    #[error("what was granted is another spec than what stands here")]
    OtherSpec,
    /// The signature is not good.
    #[error("the signature in its status is not good: {0}")]
    BadSignature(#[from] NotSigned),
}

/// What the status of this object shows to have been granted, by the gate's own keys.
pub fn granted(
    uid: &str,
    spec_hash: SpecHash,
    status: &GateExceptionStatus,
    keys: &Keys,
) -> Result<Granted, NotGranted> {
    proven(uid, spec_hash, status, |message, signature| keys.verify(message, signature))
}

/// The same for whoever has other means to verify, as the public half of the gate's key.
pub fn proven(
    uid: &str,
    spec_hash: SpecHash,
    status: &GateExceptionStatus,
    verify: impl FnOnce(&Message, &Signature) -> Result<(), NotSigned>,
) -> Result<Granted, NotGranted> {
    let written = status.signature.as_ref().ok_or(NotGranted::Unsigned)?;
    let (Some(by), Some(at), Some(key_id)) = (&status.granted_by, status.granted_at, &status.key_id) else {
        return Err(NotGranted::Incomplete);
    };
    let signature = Signature::from_base64(key_id, written).ok_or(NotGranted::Incomplete)?;
    let granted = Granted { uid: uid.to_owned(), spec_hash, by: by.clone(), at };
    match verify(&granted.message(), &signature) {
        Ok(()) => Ok(granted),
        // The hash in the status decides nothing; it only tells what to say.
        Err(NotSigned::Mismatch) if status.spec_hash.as_deref() != Some(&spec_hash.to_string()) => {
            Err(NotGranted::OtherSpec)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys() -> Keys {
        Keys::from_pem(&Keys::generate_pem().unwrap()).unwrap()
    }

    fn spec(text: &str) -> GateExceptionSpec {
        serde_json::from_value(json!({
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
            "rules": ["imageAge"], "reason": "security", "text": text, "expiresAt": "2026-11-24T12:00:00Z"
        }))
        .unwrap()
    }

    fn alice() -> Grantor {
        Grantor { username: "alice".to_owned(), uid: "7".to_owned() }
    }

    fn grant(uid: &str, text: &str) -> Granted {
        Granted::new(uid, &spec(text), alice(), "2026-11-20T12:00:00.75Z".parse().unwrap())
    }

    #[test]
    fn a_status_is_good_for_its_object_and_spec_and_survives_the_api_server() {
        let (keys, given) = (keys(), grant("u1", "a"));
        let status = given.sign(&keys).unwrap();
        let stored = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        assert_eq!(granted("u1", spec("a").hash(), &stored, &keys), Ok(given));
    }

    #[test]
    fn whatever_is_changed_makes_it_worthless() {
        let keys = keys();
        let status = grant("u1", "a").sign(&keys).unwrap();
        let check = |uid: &str, text: &str, status: &GateExceptionStatus| {
            granted(uid, spec(text).hash(), status, &keys).unwrap_err()
        };
        let mismatch = NotGranted::BadSignature(NotSigned::Mismatch);
        // Copied to another exception of the same words; the same name made anew has another UID, too.
        assert_eq!(check("u2", "a", &status), mismatch);
        assert_eq!(check("u1", "b", &status), NotGranted::OtherSpec);
        let changed = |change: &dyn Fn(&mut GateExceptionStatus)| {
            let mut other = status.clone();
            change(&mut other);
            check("u1", "a", &other)
        };
        assert_eq!(
            changed(&|status| status.granted_by = Some(Grantor { username: "bob".into(), ..alice() })),
            mismatch
        );
        assert_eq!(changed(&|status| status.granted_by = Some(Grantor { uid: "8".into(), ..alice() })), mismatch);
        // One name ending where the other begins.
        assert_eq!(
            changed(&|status| status.granted_by = Some(Grantor { username: "alice7".into(), uid: String::new() })),
            mismatch
        );
        assert_eq!(changed(&|status| status.granted_at = Some("2026-11-20T12:00:01Z".parse().unwrap())), mismatch);
        assert_eq!(changed(&|status| status.signature = Some("AAAA".into())), mismatch);
        assert_eq!(changed(&|status| status.signature = Some("!".into())), NotGranted::Incomplete);
        assert_eq!(changed(&|status| status.signature = None), NotGranted::Unsigned);
        assert_eq!(changed(&|status| status.granted_by = None), NotGranted::Incomplete);
        let unknown = changed(&|status| status.key_id = Some("0123456789abcdef".into()));
        assert_eq!(unknown, NotGranted::BadSignature(NotSigned::UnknownKey("0123456789abcdef".into())));
    }

    #[test]
    fn the_hash_in_the_status_decides_nothing() {
        let keys = keys();
        let mut status = grant("u1", "a").sign(&keys).unwrap();
        status.spec_hash = Some(spec("b").hash().to_string());
        assert!(granted("u1", spec("a").hash(), &status, &keys).is_ok());
        assert_eq!(granted("u1", spec("b").hash(), &status, &keys), Err(NotGranted::BadSignature(NotSigned::Mismatch)));
    }

    #[test]
    fn another_gates_key_is_named() {
        let status = grant("u1", "a").sign(&keys()).unwrap();
        let here = granted("u1", spec("a").hash(), &status, &keys()).unwrap_err();
        assert!(here.to_string().ends_with("which this gate does not have"), "{here}");
    }
}
