//! Bills of materials that are attached to images in real registries, in each way that build tools attach them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshgate::dependency::contents::{Asked, Contents, LookInto};
use freshgate::dependency::finding::Kind;
use serde_json::{Value, json};

use super::super::dates::{resolve, resolver};
use super::{StaticIndex, fixture, now, open};
pub use crate::cluster::bill::{SPDX, spdx, statement};
use crate::cluster::bill::{artifact, attested};
use crate::cluster::image::{Config, Image, OCI_MANIFEST, digest};
use crate::cluster::registry::Registry;

const CYCLONEDX: &str = "https://cyclonedx.org/bom";

fn cyclonedx() -> Value {
    let text = std::fs::read(fixture("sboms/shop-of-six-ecosystems.cyclonedx.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn envelope(statement: &Value) -> Value {
    json!({"payloadType": "application/vnd.in-toto+json", "payload": STANDARD.encode(statement.to_string()), "signatures": []})
}

fn app(seed: &str) -> Image {
    Config::created(seed, "2026-11-01T00:00:00Z").image()
}

/// As BuildKit attaches it: an index that lists image and attestation.
pub fn by_buildkit(seed: &str, statement_of: impl Fn(&Image) -> Value) -> Image {
    attested(app(seed), statement_of)
}

/// As cosign attaches it: under a tag made of the digest.
fn by_cosign(registry: &Registry, repository: &str, image: &Image, statement: &Value) {
    let annotations = json!({"predicateType": statement["predicateType"]});
    let layer = envelope(statement).to_string().into_bytes();
    let attestation = artifact("application/vnd.dsse.envelope.v1+json", layer, &annotations, &json!({}));
    registry.push(repository, &format!("{}.att", image.digest.replace(':', "-")), &attestation);
}

/// As `oras` and others attach it: an artifact that refers to the image.
fn referring(image: &Image, subject: &str, media_type: &str, document: &Value) -> Image {
    let more = json!({
        "artifactType": media_type,
        "subject": {"mediaType": image.media_type, "digest": subject, "size": image.body.len()},
    });
    let mut refers = artifact(media_type, document.to_string().into_bytes(), &json!({}), &more);
    // The registry of crane takes a config's type for the artifact's.
    let mut body: Value = serde_json::from_slice(&refers.body).unwrap();
    body["config"]["mediaType"] = json!(media_type);
    refers.body = serde_json::to_vec(&body).unwrap();
    refers.digest = digest(&refers.body);
    refers
}

pub async fn contents(registry: &Registry, index: &StaticIndex, reference: &str) -> Contents {
    let resolver = resolver(&[registry.host()]);
    let found = resolve(&resolver, reference).await;
    let digest = found.known().unwrap_or_else(|| panic!("{found:?}")).digest.clone();
    let indexes = open(&index.settings()).await;
    let look_into = LookInto::new(&resolver, &indexes, Duration::from_secs(30));
    let asked = Asked { written: reference, digest: &digest, credentials: None, platforms: &[] };
    look_into.contents(asked, now()).await
}

pub fn steps(contents: &Contents) -> Vec<String> {
    contents.findings.found.iter().map(|finding| format!("{} → {}", finding.from, finding.to)).collect()
}

pub fn missing(contents: &Contents) -> Vec<String> {
    contents.findings.not_looked_up.iter().map(|one| format!("{}: {}", one.what, one.why)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_found_however_it_is_attached() {
    let (plain, with_referrers) = (Registry::distribution(), Registry::with_referrers());
    let index = StaticIndex::start().await;
    let mut references = Vec::new();
    let buildkit = by_buildkit("buildkit", |image| statement(&image.digest, SPDX, spdx()));
    references.push((&plain, plain.push("buildkit", "1", &buildkit)));
    let signed = app("cosign");
    references.push((&plain, plain.push("cosign", "1", &signed)));
    by_cosign(&plain, "cosign", &signed, &statement(&signed.digest, CYCLONEDX, cyclonedx()));
    let old = app("old cosign");
    references.push((&plain, plain.push("old", "1", &old)));
    let wrapped = json!({"Data": cyclonedx().to_string(), "Timestamp": "2022-01-01T00:00:00Z"});
    by_cosign(&plain, "old", &old, &statement(&old.digest, CYCLONEDX, wrapped));
    for (repository, media_type, document) in
        [("spdx", "application/spdx+json", spdx()), ("cyclonedx", "application/vnd.cyclonedx+json", cyclonedx())]
    {
        let image = app(repository);
        references.push((&with_referrers, with_referrers.push(repository, "1", &image)));
        let refers = referring(&image, &image.digest, media_type, &document);
        with_referrers.push(repository, "sbom", &refers);
    }
    // Of a registry without a list of referrers, by the tag that stands in for it.
    let image = app("fallback");
    references.push((&plain, plain.push("fallback", "1", &image)));
    let refers = referring(&image, &image.digest, "application/spdx+json", &spdx());
    let mut list = crate::cluster::image::index(Vec::new(), &json!({}));
    plain.push("fallback", "sbom", &refers);
    let entries = json!({"schemaVersion": 2, "mediaType": list.media_type, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": refers.digest, "size": refers.body.len(), "artifactType": "application/spdx+json",
    }]});
    list.body = entries.to_string().into_bytes();
    list.digest = digest(&list.body);
    plain.push("fallback", &image.digest.replace(':', "-"), &list);

    for (registry, reference) in references {
        let contents = contents(registry, &index, &reference).await;
        assert_eq!(contents.compared, 3, "{reference}: {:?}", missing(&contents));
        let all = steps(&contents);
        let packages = contents.findings.found.iter().filter(|finding| finding.kind == Kind::Package).count();
        assert_eq!(packages, 3, "{reference}: {all:?}");
        assert!(all.contains(&"left-pad 1.1.0 → 1.1.3".to_owned()), "{reference}: {all:?}");
        assert!(all.contains(&"Node.js 20.20.2 → 24".to_owned()), "{reference}: {all:?}");
        assert!(all.contains(&"Debian 11 → 13".to_owned()), "{reference}: {all:?}");
        let libyears = contents.libyears.clone().unwrap();
        assert!(libyears.total > 1.0 && libyears.packages == 3, "{libyears:?}");
        let why = missing(&contents);
        let expected = [
            "end of life of go 1.26.8: ",
            "newer versions of go:shop.example/checkout: the SBOM gives no version",
            "newer versions of maven:com.google.guava:guava: no index for packages of maven is configured",
            "newer versions of npm:shop: it is private, and no index is named that serves it",
            "newer versions of pypi:idna, pypi:requests: no index for packages of pypi is configured",
        ];
        for expected in expected {
            assert!(why.iter().any(|why| why.starts_with(expected)), "{reference}: {expected}: {why:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_of_another_image_is_refused() {
    let (plain, with_referrers) = (Registry::distribution(), Registry::with_referrers());
    let index = StaticIndex::start().await;
    let other = app("other").digest;
    let attested = by_buildkit("foreign", |_| statement(&other, SPDX, spdx()));
    let attested = contents(&plain, &index, &plain.push("foreign", "1", &attested)).await;
    assert_eq!(attested.compared, 0);
    assert!(attested.findings.found.is_empty());
    let why = missing(&attested);
    assert_eq!(why.len(), 1, "{why:?}");
    assert!(
        why[0].ends_with(&format!("a bill of materials cannot be used: it speaks of {other} and not of this image")),
        "{why:?}"
    );

    // A registry that lists an artifact of another image.
    let image = app("lying list");
    let reference = plain.push("lying", "1", &image);
    let refers = referring(&image, &other, "application/spdx+json", &spdx());
    plain.push("lying", "sbom", &refers);
    let mut list = crate::cluster::image::index(Vec::new(), &json!({}));
    list.body = json!({"schemaVersion": 2, "mediaType": list.media_type, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": refers.digest, "size": refers.body.len(), "artifactType": "application/spdx+json",
    }]})
    .to_string()
    .into_bytes();
    list.digest = digest(&list.body);
    plain.push("lying", &image.digest.replace(':', "-"), &list);
    let lying = contents(&plain, &index, &reference).await;
    assert!(missing(&lying)[0].contains(&format!("speaks of {other} and not of this image")), "{:?}", missing(&lying));

    let bare = app("bare");
    let none = contents(&with_referrers, &index, &with_referrers.push("bare", "1", &bare)).await;
    assert!(
        missing(&none)[0].ends_with("no bill of materials (SPDX or CycloneDX) is attached to it"),
        "{:?}",
        missing(&none)
    );
    assert_eq!(index.take_paths(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_bill_is_read_and_one_beyond_the_bound_is_not() {
    let registry = Registry::distribution();
    let index = StaticIndex::start().await;
    // Fifty megabytes of files, relationships that go in circles, and three packages among them.
    let huge = |megabytes: usize| {
        let mut document = spdx();
        let file = json!({"fileName": "/usr/share/x", "SPDXID": "SPDXRef-File", "comment": "x".repeat(1_000)});
        let files = vec![file; megabytes * 1_000];
        document["files"] = json!(files);
        document["relationships"] = json!([
            {"spdxElementId": "SPDXRef-a", "relatedSpdxElement": "SPDXRef-b", "relationshipType": "CONTAINS"},
            {"spdxElementId": "SPDXRef-b", "relatedSpdxElement": "SPDXRef-a", "relationshipType": "CONTAINS"},
        ]);
        document
    };
    let image = by_buildkit("huge", |image| statement(&image.digest, SPDX, huge(47)));
    let read = contents(&registry, &index, &registry.push("huge", "1", &image)).await;
    assert_eq!(read.compared, 3, "{:?}", missing(&read));
    let image = by_buildkit("too huge", |image| statement(&image.digest, SPDX, huge(70)));
    let refused = contents(&registry, &index, &registry.push("huge", "2", &image)).await;
    assert!(
        missing(&refused)[0].ends_with("a bill of materials cannot be used: it is larger than 64 MiB"),
        "{:?}",
        missing(&refused)
    );
}
