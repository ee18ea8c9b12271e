//! Bills of materials that are attached to images, as build tools attach them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::image::{Image, OCI_MANIFEST, attestation_entry, digest, entry, index};
use super::index::fixture;

pub const SPDX: &str = "https://spdx.dev/Document";

/// What syft says of a shop with packages of six ecosystems.
pub fn spdx() -> Value {
    let text = std::fs::read(fixture("sboms/shop-of-six-ecosystems.spdx.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// An in-toto statement about an image.
pub fn statement(subject: &str, predicate_type: &str, predicate: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type,
        "subject": [{"name": "shop", "digest": {"sha256": subject.trim_start_matches("sha256:")}}],
        "predicate": predicate,
    })
}

/// A manifest with one layer, as attestations and artifacts are.
pub fn artifact(media_type: &str, layer: Vec<u8>, layer_annotations: &Value, more: &Value) -> Image {
    let config = b"{}".to_vec();
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": media_type, "digest": digest(&layer), "size": layer.len(), "annotations": layer_annotations}],
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    let body = serde_json::to_vec(&manifest).unwrap();
    let blobs: BTreeMap<String, Vec<u8>> = [config, layer].into_iter().map(|blob| (digest(&blob), blob)).collect();
    Image { digest: digest(&body), media_type: OCI_MANIFEST, body, children: Vec::new(), blobs }
}

/// The image with a statement, as BuildKit attaches it: an index that lists image and attestation.
pub fn attested(image: Image, statement_of: impl Fn(&Image) -> Value) -> Image {
    let layer = statement_of(&image).to_string().into_bytes();
    let annotations = json!({"in-toto.io/predicate-type": SPDX});
    let attestation = artifact("application/vnd.in-toto+json", layer, &annotations, &json!({}));
    let listed = attestation_entry(&image, attestation);
    index(vec![entry("amd64", image), listed], &json!({}))
}
