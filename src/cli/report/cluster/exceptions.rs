//! The exceptions of a cluster that have an effect: those whose status the gate has signed.
//!
//! Who reads a report seldom has the gate's key. Then the status is believed as it stands, and that is said: only the gate may
//! write it, and a report lets nothing in.

use std::path::Path;

use kube::Client;

use crate::cli::Failure;
use crate::cli::output::say;
use crate::cluster::error::ReadError;
use crate::cluster::exceptions;
use crate::exception::api::GateExceptionSpec;
use crate::exception::book::{Seen, grant};
use crate::exception::signature::{Granted, NotGranted, proven};
use crate::exception::{Exceptions, Grant, Target};
use crate::signing::Verifier;

/// Lists them; what has no effect is told, unless it has merely ended.
pub async fn list(client: &Client, key: Option<&Path>) -> Result<Exceptions, Failure> {
    let verifier = key.map(verifier).transpose()?;
    let all = match exceptions::list(client).await {
        Ok(all) => all,
        // A gate of policies alone may have been installed without them.
        Err(ReadError::NotFound { .. }) => Vec::new(),
        // Who may read workloads need not be one who may read these.
        Err(ReadError::Forbidden { .. }) => {
            say("warning", "no exception is counted: it takes the right to list gateexceptions.freshgate.dev");
            Vec::new()
        }
        Err(error) => return Err(Failure::of(error)),
    };
    let mut good: Vec<(Vec<Target>, Grant)> = Vec::new();
    for seen in all {
        match read(&seen, verifier.as_ref()) {
            Ok(Some(one)) => good.push(one),
            Ok(None) => {}
            Err(why) => say("warning", &format!("GateException {:?} is not counted: {why}", seen.name)),
        }
    }
    if verifier.is_none() && !good.is_empty() {
        say(
            "note",
            "exceptions are counted by what their status says; --key FILE names the gate's key, which proves it",
        );
    }
    Ok(Exceptions::new(good))
}

fn verifier(file: &Path) -> Result<Verifier, Failure> {
    let pem = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("the key in {} cannot be read: {error}", file.display())))?;
    Verifier::from_pem(&pem)
        .map_err(|error| Failure::new(format!("the key in {} cannot be used: {error}", file.display())))
}

/// The exception, where it was granted; `None` where its own status says that it has no effect.
fn read(seen: &Seen, verifier: Option<&Verifier>) -> Result<Option<(Vec<Target>, Grant)>, String> {
    let spec = seen.spec.as_ref().map_err(Clone::clone)?;
    let granted = match verifier {
        Some(verifier) => {
            proven(&seen.uid, spec.hash(), &seen.status, |message, signature| verifier.verify(message, signature))
                .map_err(|why| why.to_string())?
        }
        None => match as_stated(seen, spec) {
            Ok(Some(granted)) => granted,
            Ok(None) => return Ok(None),
            Err(why) => return Err(why.to_string()),
        },
    };
    Ok(Some((spec.targets.clone(), grant(&seen.name, spec, &granted))))
}

/// The grant as the status tells it; `None` where the gate says there that it has no effect.
fn as_stated(seen: &Seen, spec: &GateExceptionSpec) -> Result<Option<Granted>, NotGranted> {
    let status = &seen.status;
    if status.conditions.iter().any(|condition| condition.type_ == "Active" && condition.status == "False") {
        return Ok(None);
    }
    if status.signature.is_none() {
        return Err(NotGranted::Unsigned);
    }
    let (Some(by), Some(at), Some(stated)) = (&status.granted_by, status.granted_at, &status.spec_hash) else {
        return Err(NotGranted::Incomplete);
    };
    let spec_hash = spec.hash();
    if *stated != spec_hash.to_string() {
        return Err(NotGranted::OtherSpec);
    }
    Ok(Some(Granted { uid: seen.uid.clone(), spec_hash, by: by.clone(), at }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::exception::api::Grantor;
    use crate::policy::api::Condition;
    use crate::signing::Keys;

    fn spec(text: &str) -> GateExceptionSpec {
        serde_json::from_value(json!({
            "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
            "rules": ["imageAge"], "reason": "security", "text": text, "expiresAt": "2026-12-10T12:00:00Z"
        }))
        .unwrap()
    }

    fn seen(pem: &str) -> Seen {
        let by = Grantor { username: "alice".to_owned(), uid: String::new() };
        let granted = Granted::new("u1", &spec("a"), by, "2026-11-25T12:00:00Z".parse().unwrap());
        let status = granted.sign(&Keys::from_pem(pem).unwrap()).unwrap();
        Seen { name: "hole".to_owned(), uid: "u1".to_owned(), spec: Ok(spec("a")), status }
    }

    #[test]
    fn with_the_key_a_signature_decides_and_without_it_the_status() {
        let (pem, other) = (Keys::generate_pem().unwrap(), Keys::generate_pem().unwrap());
        let (key, foreign) = (Verifier::from_pem(&pem).unwrap(), Verifier::from_pem(&other).unwrap());
        let good = seen(&pem);
        for verifier in [None, Some(&key)] {
            let (targets, grant) = read(&good, verifier).unwrap().unwrap();
            assert_eq!((targets[0].name.as_str(), grant.granted_by.as_str()), ("checkout", "alice"));
            assert_eq!(grant.expires_at.to_rfc3339(), "2026-12-10T12:00:00+00:00");
        }
        let said = read(&good, Some(&foreign)).unwrap_err();
        assert!(said.starts_with("the signature in its status is not good: it was made with key"), "{said}");

        // A status of another object, or beside another spec.
        let moved = Seen { uid: "u2".to_owned(), ..good.clone() };
        assert!(read(&moved, Some(&key)).unwrap_err().contains("is not good"));
        let edited = Seen { spec: Ok(spec("b")), ..good.clone() };
        for verifier in [None, Some(&key)] {
            let said = read(&edited, verifier).unwrap_err();
            assert_eq!(said, "what was granted is another spec than what stands here");
        }
        let mut bare = good.clone();
        bare.status.signature = None;
        for verifier in [None, Some(&key)] {
            assert_eq!(read(&bare, verifier).unwrap_err(), "its status carries no signature");
        }
        assert_eq!(read(&Seen { spec: Err("spec.x: no".to_owned()), ..good.clone() }, None).unwrap_err(), "spec.x: no");

        // The gate's own word that it has no effect.
        let mut inert = good;
        inert.status.conditions.push(Condition {
            type_: "Active".to_owned(),
            status: "False".to_owned(),
            reason: "Expired".to_owned(),
            message: String::new(),
            last_transition_time: String::new(),
            observed_generation: None,
        });
        assert_eq!(read(&inert, None), Ok(None));
    }
}
