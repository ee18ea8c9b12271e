//! Attestations as the tools themselves left them in a registry (`fixtures/attestations`): cosign in its old form and in its
//! new one, and BuildKit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::sboms::{contents, missing, steps};
use super::{StaticIndex, fixture};
use crate::cluster::image::{Image, OCI_INDEX, OCI_MANIFEST, digest};
use crate::cluster::registry::Registry;

const COSIGN: &str = "cosign-3.1.3";
const BUILDKIT: &str = "buildkit-0.34.2";

fn captured(tool: &str, name: &str) -> Vec<u8> {
    let path: PathBuf = fixture(&format!("attestations/{tool}/{name}"));
    std::fs::read(path).unwrap()
}

/// A manifest and what it lists, as they were captured.
fn manifest(tool: &str, name: &str, blobs: &[&str]) -> Image {
    let body = captured(tool, name);
    let blobs: BTreeMap<String, Vec<u8>> =
        blobs.iter().map(|blob| captured(tool, blob)).map(|blob| (digest(&blob), blob)).collect();
    for named in serde_json::from_slice::<Value>(&body).unwrap()["layers"].as_array().unwrap() {
        assert!(blobs.contains_key(named["digest"].as_str().unwrap()), "{name}: {named}");
    }
    Image { digest: digest(&body), media_type: OCI_MANIFEST, body, children: Vec::new(), blobs }
}

fn image() -> Image {
    manifest(COSIGN, "image.json", &["image.config.json", "image.layer.tar.gz"])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_attested_is_read_in_both_of_its_forms() {
    let (plain, with_referrers) = (Registry::distribution(), Registry::with_referrers());
    let index = StaticIndex::start().await;
    let image = image();
    let tag = image.digest.replace(':', "-");
    let att = manifest(COSIGN, "att.json", &["att.config.json", "att.envelope.json"]);
    let bundle = manifest(COSIGN, "bundle.json", &["bundle.config.json", "bundle.bundle.json"]);
    let list = captured(COSIGN, "bundle.list.json");
    let list = Image {
        digest: digest(&list),
        media_type: OCI_INDEX,
        body: list,
        children: Vec::new(),
        blobs: BTreeMap::new(),
    };
    let mut references = Vec::new();
    for registry in [&plain, &with_referrers] {
        references.push((registry, "the tag", registry.push("by-tag", "1", &image)));
        registry.push("by-tag", &format!("{tag}.att"), &att);
        references.push((registry, "the bundle", registry.push("by-bundle", "1", &image)));
        registry.push("by-bundle", "bundle", &bundle);
    }
    plain.push("by-bundle", &tag, &list);
    for (registry, form, reference) in references {
        let found = contents(registry, &index, &reference).await;
        assert_eq!(found.compared, 3, "{form} in {reference}: {:?}", missing(&found));
        let all = steps(&found);
        for step in ["left-pad 1.1.0 → 1.1.3", "Node.js 20.20.2 → 24", "Debian 11 → 13"] {
            assert!(all.contains(&step.to_owned()), "{form} in {reference}: {all:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_attested_of_another_image_is_refused() {
    let plain = Registry::distribution();
    let index = StaticIndex::start().await;
    let other = crate::cluster::image::Config::created("other", "2026-11-01T00:00:00Z").image();
    let reference = plain.push("moved", "1", &other);
    let att = manifest(COSIGN, "att.json", &["att.config.json", "att.envelope.json"]);
    plain.push("moved", &format!("{}.att", other.digest.replace(':', "-")), &att);
    let found = contents(&plain, &index, &reference).await;
    assert_eq!(found.compared, 0);
    let why = missing(&found);
    let said = format!("a bill of materials cannot be used: it speaks of {} and not of this image", image().digest);
    assert!(why.len() == 1 && why[0].ends_with(&said), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_buildkit_attested_is_read() {
    let children = vec![
        manifest(BUILDKIT, "image.json", &["image.config.json", "image.base-layer.tar.gz", "image.layer.tar.gz"]),
        manifest(
            BUILDKIT,
            "attestations.json",
            &["attestations.config.json", "attestations.bill.json", "attestations.provenance.json"],
        ),
    ];
    let body = captured(BUILDKIT, "index.json");
    let listed = Image { digest: digest(&body), media_type: OCI_INDEX, body, children, blobs: BTreeMap::new() };
    let index = StaticIndex::start().await;
    for registry in [Registry::distribution(), Registry::with_referrers()] {
        let reference = registry.push("shop", "1", &listed);
        let found = contents(&registry, &index, &reference).await;
        assert_eq!(found.compared, 3, "{reference}: {:?}", missing(&found));
        let all = steps(&found);
        assert!(all.contains(&"left-pad 1.1.0 → 1.1.3".to_owned()), "{reference}: {all:?}");
    }
}
