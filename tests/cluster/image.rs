//! Images for tests and the demo: any date in any place, indexes, nested indexes, attestations, schema 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SIGNED_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A manifest with everything that it needs.
#[derive(Clone, Debug)]
pub struct Image {
    pub digest: String,
    pub media_type: &'static str,
    pub body: Vec<u8>,
    /// Manifests that this one lists; they go to the registry first.
    pub children: Vec<Image>,
    pub blobs: BTreeMap<String, Vec<u8>>,
}

/// What an image config says.
#[derive(Clone, Debug)]
pub struct Config(pub Value);

impl Config {
    /// A config for linux/amd64 without any date. `seed` makes its digest its own.
    pub fn dateless(seed: &str) -> Self {
        Self(
            json!({"os": "linux", "architecture": "amd64", "config": {"Env": [format!("SEED={seed}")]}, "rootfs": {"type": "layers", "diff_ids": []}}),
        )
    }

    /// A config with `created`.
    pub fn created(seed: &str, created: &str) -> Self {
        Self::dateless(seed).with("created", json!(created))
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["config"]["Labels"][key] = json!(value);
        self
    }

    pub fn platform(mut self, architecture: &str) -> Self {
        self.0["architecture"] = json!(architecture);
        self
    }

    /// The image of this config.
    pub fn image(&self) -> Image {
        self.image_with(&json!({}))
    }

    /// The image of this config, with annotations on its manifest.
    pub fn image_with(&self, annotations: &Value) -> Image {
        let config = serde_json::to_vec(&self.0).unwrap();
        let layer = b"a layer".to_vec();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": annotations,
            "config": {"mediaType": OCI_CONFIG, "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": OCI_LAYER, "digest": digest(&layer), "size": layer.len()}],
        });
        let blobs = [config, layer].into_iter().map(|blob| (digest(&blob), blob)).collect();
        Image::new(OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap(), Vec::new(), blobs)
    }
}

/// An entry of an index.
pub struct Entry {
    image: Image,
    descriptor: Value,
}

/// An entry for a platform.
pub fn entry(architecture: &str, image: Image) -> Entry {
    let descriptor = json!({"platform": {"os": "linux", "architecture": architecture}});
    Entry { image, descriptor }
}

/// An entry that names no platform.
pub fn bare_entry(image: Image) -> Entry {
    Entry { image, descriptor: json!({}) }
}

/// A BuildKit attestation of `subject` that says when the build finished, as an index lists it.
pub fn provenance_entry(subject: &Image, finished: &str) -> Entry {
    Entry {
        image: attestation(subject, finished, &json!({})),
        descriptor: json!({
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.digest},
        }),
    }
}

/// A BuildKit attestation of `subject` whose materials are these: package URLs, and the digests that they meant.
pub fn materials_entry(subject: &Image, materials: &[(&str, &str)]) -> Entry {
    let materials: Vec<Value> = materials
        .iter()
        .map(|(uri, digest)| json!({"uri": uri, "digest": {"sha256": digest.trim_start_matches("sha256:")}}))
        .collect();
    Entry {
        image: attestation_of(subject, &json!({"materials": materials}), &json!({})),
        ..provenance_entry(subject, "")
    }
}

/// The same, as an artifact that refers to `subject`.
pub fn referring_provenance(subject: &Image, finished: &str) -> Image {
    let refers = json!({
        "artifactType": ATTESTATION_ARTIFACT,
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.body.len()},
    });
    attestation(subject, finished, &refers)
}

fn attestation(subject: &Image, finished: &str, more: &Value) -> Image {
    attestation_of(subject, &json!({"metadata": {"buildFinishedOn": finished}}), more)
}

fn attestation_of(subject: &Image, predicate: &Value, more: &Value) -> Image {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "x", "digest": {"sha256": subject.digest.trim_start_matches("sha256:")}}],
        "predicate": predicate,
    });
    let statement = serde_json::to_vec(&statement).unwrap();
    let config = b"{}".to_vec();
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        // The registry of crane takes a config's type for the artifact's.
        "config": {"mediaType": ATTESTATION_ARTIFACT, "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": digest(&statement), "size": statement.len(),
                    "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}],
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    let blobs = [config, statement].into_iter().map(|blob| (digest(&blob), blob)).collect();
    Image::new(OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap(), Vec::new(), blobs)
}

/// An index of some entries.
pub fn index(entries: Vec<Entry>, annotations: &Value) -> Image {
    let descriptors: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut descriptor = entry.descriptor.clone();
            descriptor["mediaType"] = json!(entry.image.media_type);
            descriptor["digest"] = json!(entry.image.digest);
            descriptor["size"] = json!(entry.image.body.len());
            descriptor
        })
        .collect();
    let body =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors, "annotations": annotations});
    let children = entries.into_iter().map(|entry| entry.image).collect();
    Image::new(OCI_INDEX, serde_json::to_vec(&body).unwrap(), children, BTreeMap::new())
}

/// A manifest of schema 1 with a date in its newest history; `signed` as registries signed them.
pub fn schema_1(created: &str, signed: bool) -> Image {
    let compatibility = json!({"created": created, "os": "linux"}).to_string();
    let body = json!({
        "schemaVersion": 1, "name": "x", "tag": "1", "architecture": "amd64",
        "fsLayers": [], "history": [{"v1Compatibility": compatibility}],
    });
    let payload = serde_json::to_vec_pretty(&body).unwrap();
    if !signed {
        return Image::new(SCHEMA_1, payload, Vec::new(), BTreeMap::new());
    }
    // The signatures stand before the last brace; what was signed is the text before them and the end.
    let head = payload.strip_suffix(b"\n}").unwrap();
    let protected = json!({"formatLength": head.len(), "formatTail": URL_SAFE_NO_PAD.encode("\n}"), "time": "2026-01-01T00:00:00Z"});
    let signatures = json!([{"header": {"alg": "ES256"}, "signature": "c2ln", "protected": URL_SAFE_NO_PAD.encode(protected.to_string())}]);
    let mut signed = head.to_vec();
    signed.extend_from_slice(format!(",\n   \"signatures\": {signatures}\n}}").as_bytes());
    let mut image = Image::new(SIGNED_SCHEMA_1, signed, Vec::new(), BTreeMap::new());
    image.digest = digest(&payload);
    image
}

impl Image {
    fn new(media_type: &'static str, body: Vec<u8>, children: Vec<Image>, blobs: BTreeMap<String, Vec<u8>>) -> Self {
        Self { digest: digest(&body), media_type, body, children, blobs }
    }

    /// Every manifest, the children before their parents.
    pub fn manifests(&self) -> Vec<&Image> {
        let mut all: Vec<&Image> = self.children.iter().flat_map(Image::manifests).collect();
        all.push(self);
        all
    }
}

/// Writes an OCI image layout with images under their names.
pub fn write_layout(folder: &Path, images: &[(&str, &Image)]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let write =
        |digest: &str, bytes: &[u8]| fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
    let mut descriptors = Vec::new();
    for (name, image) in images {
        for manifest in image.manifests() {
            write(&manifest.digest, &manifest.body);
            for (digest, blob) in &manifest.blobs {
                write(digest, blob);
            }
        }
        descriptors.push(json!({
            "mediaType": image.media_type, "digest": image.digest, "size": image.body.len(),
            "annotations": {"org.opencontainers.image.ref.name": name},
        }));
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}
