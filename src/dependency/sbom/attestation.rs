//! Attestations that carry a bill of materials: in-toto statements, bare, in a DSSE envelope, or in a Sigstore bundle.
//!
//! A statement names what it speaks of. One that does not name the image is refused: its packages are another's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Sbom, UnreadableSbom};

/// Predicates that are bills of materials.
pub const PREDICATES: [&str; 2] = ["https://spdx.dev/Document", "https://cyclonedx.org/bom"];

/// Why an attestation gives no bill of materials.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnusableAttestation {
    /// It is no statement, or its envelope is none.
    #[error("it cannot be read: {0}")]
    Statement(String),
    /// It is about something else.
    #[error("it speaks of {spoken_of} and not of this image")]
    Subject {
        /// What it speaks of.
        spoken_of: String,
    },
    /// It is of another kind, as provenance.
    #[error("it is no bill of materials but {0:?}")]
    Predicate(String),
    /// What it carries cannot be read.
    #[error("its bill of materials: {0}")]
    Sbom(#[from] UnreadableSbom),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Option<Text<'a>>,
    #[serde(borrow)]
    dsse_envelope: Option<Dsse<'a>>,
}

/// A text that is borrowed where it stands, for it may have megabytes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Dsse<'a> {
    #[serde(borrow)]
    payload: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    predicate_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
    #[serde(borrow)]
    predicate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// The old form of cosign: the document in a field, as it is or as a text.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(rename = "Data", borrow)]
    data: Option<&'a RawValue>,
}

/// Reads the bill of materials of an attestation about one of `subjects`, the digests that the image goes by.
pub fn read(bytes: &[u8], subjects: &[&str]) -> Result<Sbom, UnusableAttestation> {
    let unreadable = |error: serde_json::Error| UnusableAttestation::Statement(error.to_string());
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
    let payload = envelope.payload.or(envelope.dsse_envelope.map(|envelope| envelope.payload));
    let decoded = payload
        .map(|Text(payload)| STANDARD.decode(payload.as_bytes()))
        .transpose()
        .map_err(|error| UnusableAttestation::Statement(format!("its payload is no base64: {error}")))?;
    let statement: Statement<'_> = serde_json::from_slice(decoded.as_deref().unwrap_or(bytes)).map_err(unreadable)?;
    if !is_bill(&statement.predicate_type) {
        return Err(UnusableAttestation::Predicate(statement.predicate_type.chars().take(120).collect()));
    }
    let named = statement.subject.iter().flat_map(|subject| subject.digest.iter());
    let named: Vec<String> = named.map(|(algorithm, hex)| format!("{algorithm}:{hex}")).collect();
    if !named.iter().any(|digest| subjects.contains(&digest.as_str())) {
        let spoken_of = named.first().map_or("nothing", String::as_str);
        return Err(UnusableAttestation::Subject { spoken_of: spoken_of.chars().take(80).collect() });
    }
    let predicate = statement.predicate.map_or("null", RawValue::get);
    let wrapped = serde_json::from_str::<Wrapped<'_>>(predicate).ok().and_then(|wrapped| wrapped.data);
    let Some(data) = wrapped else { return Ok(super::read(predicate.as_bytes())?) };
    match serde_json::from_str::<Text<'_>>(data.get()) {
        Ok(Text(text)) => Ok(super::read(text.as_bytes())?),
        Err(_) => Ok(super::read(data.get().as_bytes())?),
    }
}

/// Whether a type of predicate is a bill of materials; versions may follow it.
pub fn is_bill(predicate_type: &str) -> bool {
    PREDICATES
        .iter()
        .any(|known| predicate_type.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HEX: &str = "4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c";

    fn bill() -> Value {
        json!({"bomFormat": "CycloneDX", "components": [{"purl": "pkg:npm/left-pad@1.3.0"}]})
    }

    fn statement(predicate_type: &str, hex: &str, predicate: Value) -> Value {
        json!({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type,
               "subject": [{"name": "shop", "digest": {"sha256": hex}}], "predicate": predicate})
    }

    fn outcome(attestation: &Value) -> Result<usize, String> {
        let subject = format!("sha256:{HEX}");
        read(attestation.to_string().as_bytes(), &[&subject])
            .map(|sbom| sbom.purls.len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_wrapping_is_opened() {
        let bare = statement("https://cyclonedx.org/bom", HEX, bill());
        let enveloped = |statement: &Value| json!({"payloadType": "application/vnd.in-toto+json", "payload": STANDARD.encode(statement.to_string()), "signatures": []});
        let data = statement("https://cyclonedx.org/bom", HEX, json!({"Data": bill(), "Timestamp": ""}));
        let text = statement("https://cyclonedx.org/bom/v1.4", HEX, json!({"Data": bill().to_string()}));
        for attestation in [
            bare.clone(),
            enveloped(&bare),
            json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": enveloped(&bare)}),
            enveloped(&data),
            enveloped(&text),
        ] {
            assert_eq!(outcome(&attestation), Ok(1), "{attestation}");
        }
    }

    #[test]
    fn another_images_bill_is_refused() {
        let other = "a".repeat(64);
        let refused = outcome(&statement("https://spdx.dev/Document", &other, bill())).unwrap_err();
        assert_eq!(refused, format!("it speaks of sha256:{other} and not of this image"));
        let none = json!({"predicateType": "https://spdx.dev/Document", "predicate": bill()});
        assert_eq!(outcome(&none).unwrap_err(), "it speaks of nothing and not of this image");
    }

    #[test]
    fn what_is_none_says_what_it_is() {
        let provenance = outcome(&statement("https://slsa.dev/provenance/v1", HEX, json!({}))).unwrap_err();
        assert_eq!(provenance, "it is no bill of materials but \"https://slsa.dev/provenance/v1\"");
        let empty = outcome(&statement("https://spdx.dev/Document", HEX, json!({}))).unwrap_err();
        assert_eq!(empty, "its bill of materials: it is neither SPDX 2 nor CycloneDX in JSON");
        let broken = outcome(&json!({"payload": "!"})).unwrap_err();
        assert!(broken.contains("no base64"), "{broken}");
    }
}
