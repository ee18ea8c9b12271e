//! Reads manifests, indexes, configs and attestations as far as dates and platforms go. Pure: bytes in, claims out.
//!
//! What a registry serves is somebody else's text: whatever is missing, doubled or of the wrong type is no claim, and
//! nothing here fails for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::build_date::{Claim, Source};

/// The annotation and label that OCI has for a date.
const CREATED: &str = "org.opencontainers.image.created";
/// Its predecessor.
const BUILD_DATE: &str = "org.label-schema.build-date";
/// Where an image names what it was built on.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// How BuildKit marks the entries of an index that are attestations, and which entry each speaks of.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// A manifest, as far as it is looked at; of whatever media type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    media_type: Option<String>,
    schema_version: u64,
    /// The entries of an index.
    manifests: Option<Vec<Descriptor>>,
    /// The config of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image or an artifact.
    pub layers: Vec<Descriptor>,
    annotations: Annotations,
    history: Vec<Schema1History>,
    architecture: Option<String>,
}

/// A descriptor, as far as it is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
    platform: Option<PlatformView>,
    annotations: Annotations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PlatformView {
    os: String,
    architecture: String,
    variant: String,
}

/// Text annotations; anything else under that name is none.
#[derive(Clone, Debug, Default)]
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let texts = value.into_iter().filter_map(|(key, value)| match value {
            Value::String(text) => Some((key, text)),
            _ => None,
        });
        Ok(Self(texts.collect()))
    }
}

impl Annotations {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn date(&self, source: Source) -> Option<Claim> {
        self.get(CREATED).or_else(|| self.get(BUILD_DATE)).map(|value| Claim::new(source, value))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema1History {
    #[serde(rename = "v1Compatibility")]
    v1_compatibility: String,
}

impl Descriptor {
    /// One of its annotations.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key)
    }
}

/// The digests in a list of referrers, each with its artifact type; those without one have none that matters.
pub fn referring(body: &[u8]) -> Vec<(String, String)> {
    let list: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = list.get("manifests").and_then(Value::as_array).into_iter().flatten();
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    entries.filter_map(|entry| Some((text(entry, "digest")?, text(entry, "artifactType")?))).collect()
}

/// What a manifest turns out to be.
#[derive(Debug)]
pub enum Shape {
    /// A list of other manifests.
    Index {
        /// The images it lists.
        entries: Vec<IndexEntry>,
        /// The attestations it lists.
        attestations: Vec<AttestationEntry>,
        /// What the index itself says of their date.
        claims: Vec<Claim>,
    },
    /// An image with a config of its own.
    Image {
        /// Its config.
        config: Descriptor,
        /// What the manifest itself says of its date.
        claims: Vec<Claim>,
        /// What it was built on, where it says so.
        base: Option<Base>,
    },
    /// An image of the old kind, without a config.
    Schema1 {
        /// `linux/<architecture>`.
        platform: Option<String>,
        /// What its newest history entry says.
        claims: Vec<Claim>,
    },
}

/// An image that an index lists.
#[derive(Debug)]
pub struct IndexEntry {
    /// Digest of its manifest.
    pub digest: String,
    /// `os/architecture[/variant]`; `None` where the index does not say, or says "unknown".
    pub platform: Option<String>,
    /// What the entry itself says of the date.
    pub claims: Vec<Claim>,
}

/// An attestation that an index lists.
#[derive(Debug)]
pub struct AttestationEntry {
    /// Digest of its manifest.
    pub digest: String,
    /// Digest of the manifest it speaks of.
    pub subject: String,
}

/// The image that another was built on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its reference, as written.
    pub name: String,
    /// Its digest, where it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Reads a manifest; `Err` says in words why it is none.
pub fn manifest(body: &[u8]) -> Result<Shape, String> {
    let manifest: Manifest = serde_json::from_slice(body).map_err(|_| not_json(body))?;
    // A runtime goes by the media type that the registry says, so it might run what was not looked at.
    let is_image = manifest.config.is_some() || !manifest.layers.is_empty();
    if [manifest.manifests.is_some(), is_image, manifest.schema_version == 1].iter().filter(|one| **one).count() > 1 {
        return Err(
            "a manifest that is of several kinds at once is no image: which one runs would be chance".to_owned()
        );
    }
    if let Some(entries) = manifest.manifests {
        let (attestations, entries): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.annotations.get(REFERENCE_TYPE) == Some("attestation-manifest"));
        return Ok(Shape::Index {
            entries: entries.into_iter().map(index_entry).collect(),
            attestations: attestations
                .into_iter()
                .filter_map(|entry| {
                    let subject = entry.annotations.get(REFERENCE_DIGEST)?.to_owned();
                    Some(AttestationEntry { digest: entry.digest, subject })
                })
                .collect(),
            claims: manifest.annotations.date(Source::IndexAnnotation).into_iter().collect(),
        });
    }
    if let Some(config) = manifest.config {
        return Ok(Shape::Image {
            config,
            claims: manifest.annotations.date(Source::ManifestAnnotation).into_iter().collect(),
            base: manifest.annotations.get(BASE_NAME).map(|name| Base {
                name: name.to_owned(),
                digest: manifest.annotations.get(BASE_DIGEST).map(str::to_owned),
            }),
        });
    }
    if manifest.schema_version == 1 {
        let newest = manifest.history.first().map(|entry| entry.v1_compatibility.as_str()).unwrap_or_default();
        let created = serde_json::from_str::<Value>(newest).ok();
        let created = created.as_ref().and_then(|entry| entry.get("created")).and_then(Value::as_str);
        return Ok(Shape::Schema1 {
            platform: manifest.architecture.map(|architecture| format!("linux/{architecture}")),
            claims: created.map(|value| Claim::new(Source::History, value)).into_iter().collect(),
        });
    }
    Err(match manifest.media_type {
        Some(media_type) => {
            format!("a manifest of the kind {:?} is no image", media_type.chars().take(80).collect::<String>())
        }
        None => "what it serves as a manifest lists neither layers nor other manifests".to_owned(),
    })
}

fn not_json(body: &[u8]) -> String {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    if body[start..].first() == Some(&b'<') {
        "it answered HTML where a manifest was expected".to_owned()
    } else {
        "what it serves as a manifest is not JSON".to_owned()
    }
}

fn index_entry(entry: Descriptor) -> IndexEntry {
    IndexEntry {
        platform: entry.platform.as_ref().and_then(platform_in_words),
        claims: entry.annotations.date(Source::IndexAnnotation).into_iter().collect(),
        digest: entry.digest,
    }
}

fn platform_in_words(platform: &PlatformView) -> Option<String> {
    let known = |part: &str| !part.is_empty() && part != "unknown";
    if !known(&platform.os) || !known(&platform.architecture) {
        return None;
    }
    Some(if platform.variant.is_empty() {
        format!("{}/{}", platform.os, platform.architecture)
    } else {
        format!("{}/{}/{}", platform.os, platform.architecture, platform.variant)
    })
}

/// What an image config says: its platform, and its dates.
#[derive(Debug, Default)]
pub struct Config {
    /// `os/architecture[/variant]`, where it says so.
    pub platform: Option<String>,
    /// Its dates.
    pub claims: Vec<Claim>,
}

/// Reads an image config; what is not one has no claims.
pub fn config(body: &[u8]) -> Config {
    let Ok(config) = serde_json::from_slice::<Value>(body) else {
        return Config::default();
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mut claims = Vec::new();
    claims.extend(text(config.get("created")).map(|value| Claim::new(Source::Config, value)));
    let labels = config.pointer("/config/Labels");
    let label = [CREATED, BUILD_DATE].into_iter().find_map(|key| text(labels?.get(key)));
    claims.extend(label.map(|value| Claim::new(Source::Label, value)));
    claims.extend(last_layer_date(&config).map(|value| Claim::new(Source::History, value)));
    let platform = PlatformView {
        os: text(config.get("os")).unwrap_or_default(),
        architecture: text(config.get("architecture")).unwrap_or_default(),
        variant: text(config.get("variant")).unwrap_or_default(),
    };
    Config { platform: platform_in_words(&platform), claims }
}

/// The date of the last history entry that made a layer.
///
/// Only the last: a tool that puts undated layers on a dated base leaves the base's dates behind them.
fn last_layer_date(config: &Value) -> Option<String> {
    let history = config.get("history")?.as_array()?;
    let made_a_layer = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
    history.iter().rev().find(made_a_layer)?.get("created")?.as_str().map(str::to_owned)
}

/// When a SLSA provenance says that the build ended, where it speaks of `subject` (a digest).
///
/// v0.2 has `metadata.buildFinishedOn`, v1 has `runDetails.metadata.finishedOn`. A statement about another image, or
/// about none, is no claim.
pub fn provenance(body: &[u8], subject: &str) -> Option<Claim> {
    let statement: Value = serde_json::from_slice(body).ok()?;
    if !statement.get("predicateType")?.as_str()?.starts_with("https://slsa.dev/provenance/") {
        return None;
    }
    let (algorithm, hex) = subject.split_once(':')?;
    let speaks_of_it = statement
        .get("subject")?
        .as_array()?
        .iter()
        .any(|one| one.get("digest").and_then(|digest| digest.get(algorithm)).and_then(Value::as_str) == Some(hex));
    if !speaks_of_it {
        return None;
    }
    let predicate = statement.get("predicate")?;
    let finished = predicate
        .pointer("/metadata/buildFinishedOn")
        .or_else(|| predicate.pointer("/runDetails/metadata/finishedOn"))?;
    Some(Claim::new(Source::Provenance, finished.as_str()?))
}

/// What the digest of a signed schema 1 manifest is over: the text before the signatures, put together as the protected
/// header says. `None` where the body is no such manifest.
///
/// Whoever serves a body writes that header too, and could have it point at any text that once had a good digest. So what
/// was signed must be a manifest of schema 1 itself, the body may add nothing to it but the signatures, and the caller
/// reads what was signed, never the body.
pub fn schema1_payload(body: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let mut whole: Value = serde_json::from_slice(body).ok()?;
    let protected = whole.pointer("/signatures/0/protected")?.as_str()?;
    let protected: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(protected).ok()?).ok()?;
    let length = usize::try_from(protected.get("formatLength")?.as_u64()?).ok()?;
    let tail = URL_SAFE_NO_PAD.decode(protected.get("formatTail")?.as_str()?).ok()?;
    let mut payload = body.get(..length)?.to_vec();
    payload.extend_from_slice(&tail);
    let signed: Value = serde_json::from_slice(&payload).ok()?;
    whole.as_object_mut()?.remove("signatures");
    (signed.get("schemaVersion")?.as_u64() == Some(1) && signed == whole).then_some(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sources(claims: &[Claim]) -> Vec<(Source, &str)> {
        claims.iter().map(|claim| (claim.source, claim.value.as_str())).collect()
    }

    #[test]
    fn a_config_tells_platform_and_dates() {
        let config = config(
            json!({
                "created": "2026-08-03T10:00:00Z", "os": "linux", "architecture": "arm64", "variant": "v8",
                "config": {"Labels": {"org.opencontainers.image.created": "2026-08-02 10:00:00Z"}},
                "history": [{"created": "2026-01-01T00:00:00Z"}, {"created": "2026-08-01T00:00:00Z"},
                            {"created": "2026-08-03T00:00:00Z", "empty_layer": true}],
            })
            .to_string()
            .as_bytes(),
        );
        assert_eq!(config.platform.as_deref(), Some("linux/arm64/v8"));
        assert_eq!(
            sources(&config.claims),
            [
                (Source::Config, "2026-08-03T10:00:00Z"),
                (Source::Label, "2026-08-02 10:00:00Z"),
                (Source::History, "2026-08-01T00:00:00Z"),
            ]
        );
    }

    #[test]
    fn a_base_does_not_date_the_undated_layers_on_it() {
        let config = config(br#"{"history": [{"created": "2026-08-01T00:00:00Z"}, {"created_by": "jib"}]}"#);
        assert_eq!(sources(&config.claims), []);
    }

    #[test]
    fn attestations_are_no_platforms() {
        let index = json!({
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "annotations": {"org.opencontainers.image.created": "2026-08-01T00:00:00Z"},
            "manifests": [
                {"digest": "sha256:aa", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "sha256:bb", "annotations": {"org.opencontainers.image.created": "2026-08-02T00:00:00Z"}},
                {"digest": "sha256:cc", "platform": {"os": "unknown", "architecture": "unknown"},
                 "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "sha256:aa"}},
                {"digest": "sha256:dd", "platform": {"os": "unknown", "architecture": "unknown"}},
            ],
        });
        let Ok(Shape::Index { entries, attestations, claims }) = manifest(index.to_string().as_bytes()) else {
            panic!("an index");
        };
        let found: Vec<_> = entries.iter().map(|entry| (entry.digest.as_str(), entry.platform.as_deref())).collect();
        assert_eq!(found, [("sha256:aa", Some("linux/amd64")), ("sha256:bb", None), ("sha256:dd", None)]);
        assert_eq!(attestations[0].subject, "sha256:aa");
        assert_eq!(sources(&claims), [(Source::IndexAnnotation, "2026-08-01T00:00:00Z")]);
        assert_eq!(sources(&entries[1].claims), [(Source::IndexAnnotation, "2026-08-02T00:00:00Z")]);
    }

    #[test]
    fn what_is_no_manifest_says_why() {
        for (body, why) in [
            ("<html>", "it answered HTML where a manifest was expected"),
            ("nonsense", "what it serves as a manifest is not JSON"),
            ("{}", "what it serves as a manifest lists neither layers nor other manifests"),
            (r#"{"mediaType":"application/x"}"#, "a manifest of the kind \"application/x\" is no image"),
        ] {
            assert_eq!(manifest(body.as_bytes()).unwrap_err(), why);
        }
    }

    #[test]
    fn what_is_of_several_kinds_at_once_is_no_image() {
        let (config, layer) = (json!({"digest": "sha256:aa"}), json!({"digest": "sha256:bb"}));
        for body in [
            json!({"schemaVersion": 2, "config": config, "layers": [layer], "manifests": [{"digest": "sha256:cc"}]}),
            json!({"schemaVersion": 2, "config": config, "manifests": []}),
            json!({"schemaVersion": 2, "layers": [layer], "manifests": [{"digest": "sha256:cc"}]}),
            json!({"schemaVersion": 1, "config": config, "history": []}),
            json!({"schemaVersion": 1, "manifests": []}),
        ] {
            assert_eq!(
                manifest(body.to_string().as_bytes()).unwrap_err(),
                "a manifest that is of several kinds at once is no image: which one runs would be chance",
                "{body}"
            );
        }
    }

    /// A body whose signature says that `head` and `tail` were signed, with something added between.
    fn claiming_to_be_signed(head: &str, added: &str, tail: &str) -> Vec<u8> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;

        let protected = json!({"formatLength": head.len(), "formatTail": URL_SAFE_NO_PAD.encode(tail)}).to_string();
        let signatures = json!([{"protected": URL_SAFE_NO_PAD.encode(protected)}]);
        format!("{head},{added}\"signatures\":{signatures}}}").into_bytes()
    }

    #[test]
    fn only_a_schema_1_manifest_is_signed_and_only_with_what_was_signed() {
        let schema_1 = r#"{"schemaVersion":1,"history":[]"#;
        let signed = |head: &str, added: &str| schema1_payload(&claiming_to_be_signed(head, added, "}"));
        assert_eq!(signed(schema_1, "").as_deref(), Some(br#"{"schemaVersion":1,"history":[]}"#.as_slice()));
        assert_eq!(signed(schema_1, r#""history":[{"v1Compatibility":"{}"}],"#), None, "a history was added");
        assert_eq!(signed(schema_1, r#""config":{"digest":"sha256:aa"},"#), None, "a config was added");
        assert_eq!(signed(r#"{"schemaVersion":2,"config":{}"#, ""), None, "schema 2 is not signed");
        assert_eq!(signed(r#"{"architecture":"amd64","os":"linux""#, ""), None, "a config is no manifest");
        assert_eq!(schema1_payload(br#"{"schemaVersion":1}"#), None);
    }

    #[test]
    fn schema_1_has_its_date_in_its_newest_history() {
        let body = json!({"schemaVersion": 1, "architecture": "amd64", "history": [
            {"v1Compatibility": "{\"created\":\"2026-08-03T00:00:00Z\"}"}, {"v1Compatibility": "{\"created\":\"2020-01-01T00:00:00Z\"}"}]});
        let Ok(Shape::Schema1 { platform, claims }) = manifest(body.to_string().as_bytes()) else { panic!("schema 1") };
        assert_eq!(platform.as_deref(), Some("linux/amd64"));
        assert_eq!(sources(&claims), [(Source::History, "2026-08-03T00:00:00Z")]);
    }

    #[test]
    fn provenance_counts_only_for_what_it_speaks_of() {
        let statement = |predicate_type: &str, predicate: Value| {
            json!({"predicateType": predicate_type, "subject": [{"name": "x", "digest": {"sha256": "aa"}}], "predicate": predicate}).to_string()
        };
        let v02 = statement(
            "https://slsa.dev/provenance/v0.2",
            json!({"metadata": {"buildFinishedOn": "2026-08-03T00:00:00Z"}}),
        );
        let v1 = statement(
            "https://slsa.dev/provenance/v1",
            json!({"runDetails": {"metadata": {"finishedOn": "2026-08-04T00:00:00Z"}}}),
        );
        assert_eq!(provenance(v02.as_bytes(), "sha256:aa").unwrap().value, "2026-08-03T00:00:00Z");
        assert_eq!(provenance(v1.as_bytes(), "sha256:aa").unwrap().value, "2026-08-04T00:00:00Z");
        assert_eq!(provenance(v1.as_bytes(), "sha256:bb"), None);
        assert_eq!(provenance(statement("https://spdx.dev/Document", json!({})).as_bytes(), "sha256:aa"), None);
        // As BuildKit itself wrote it.
        let captured = include_bytes!("../../tests/fixtures/attestations/buildkit-0.34.2/attestations.provenance.json");
        let subject = "sha256:5373326b29a0e1ebcad8d17345eda118c9d2c06b111efb8ae13eb15aabaa7839";
        assert_eq!(provenance(captured, subject).unwrap().value, "2026-11-26T01:54:39.481401031Z");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-z0-9]{0,80}") {
            for body in [body.as_slice(), text.as_bytes()] {
                let _ = manifest(body);
                let _ = config(body);
                let _ = provenance(body, "sha256:aa");
                let _ = schema1_payload(body);
            }
        }
    }
}
