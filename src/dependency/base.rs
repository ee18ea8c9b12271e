//! What an image was built on, by annotation or provenance, and whether that means something else by now.
//!
//! Digests are compared as those of indexes and of platforms: a base that only gained a platform has not moved.

use packageurl::PackageUrl;
use serde_json::Value;
use std::str::FromStr as _;

use crate::evidence::ResolvedImage;
use crate::image::claims::Base;
use crate::image::reference::ImageReference;

/// Images of one build that are looked at.
pub const MOST_BASES: usize = 8;
/// What BuildKit itself uses in each build: it is in the provenance, and in no image.
const TOOLS: [&str; 3] = ["docker/dockerfile", "docker/dockerfile-upstream", "docker/buildkit-syft-scanner"];

/// Where it is said what an image was built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In `org.opencontainers.image.base.name` and `.digest`.
    Annotation,
    /// Among the materials of its provenance.
    Provenance,
}

impl Origin {
    /// The words for a message.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Annotation => "its annotation",
            Self::Provenance => "its build provenance",
        }
    }
}

/// What an image was built on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuiltOn {
    /// The base by tag, as it is named: `docker.io/library/debian:12`.
    pub name: String,
    /// What that meant when the image was built.
    pub digest: String,
    /// Where that is said.
    pub origin: Origin,
}

impl BuiltOn {
    /// What the annotations say, or why that does not do.
    pub fn of_annotations(base: &Base) -> Result<Self, String> {
        let name = base.name.split('@').next().unwrap_or_default();
        let digest = base.digest.as_deref().or_else(|| base.name.split_once('@').map(|(_, digest)| digest));
        let Some(digest) = digest.filter(|digest| digest.contains(':')) else {
            return Err(format!("its annotation names the base {name:?} without a digest"));
        };
        match ImageReference::parse(name) {
            Ok(_) => Ok(Self { name: name.to_owned(), digest: digest.to_owned(), origin: Origin::Annotation }),
            Err(error) => Err(format!("its annotation names a base, but {error}")),
        }
    }

    /// The base by digest.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

/// The images among the materials of a SLSA provenance that speaks of `subject` (a digest); v0.2 has `materials`, v1
/// has `buildDefinition.resolvedDependencies`. Where it tells the steps of the build too, only those that a step begins
/// with: what made a bill of materials is among the materials, and in no image.
pub fn materials(statement: &[u8], subject: &str) -> Vec<BuiltOn> {
    let Ok(statement) = serde_json::from_slice::<Value>(statement) else {
        return Vec::new();
    };
    let is_provenance = statement
        .get("predicateType")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.starts_with("https://slsa.dev/provenance/"));
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (algorithm, hex) = subject.split_once(':').unwrap_or_default();
    let speaks_of_it = list(statement.get("subject"))
        .iter()
        .any(|one| one.get("digest").and_then(|digest| digest.get(algorithm)).and_then(Value::as_str) == Some(hex));
    if !is_provenance || !speaks_of_it {
        return Vec::new();
    }
    let materials = statement
        .pointer("/predicate/materials")
        .or_else(|| statement.pointer("/predicate/buildDefinition/resolvedDependencies"));
    let mut found: Vec<BuiltOn> = list(materials).iter().filter_map(material).collect();
    if let Some(steps) = steps(&statement) {
        let is_of_a_step = |on: &BuiltOn| steps.iter().any(|step| step.ends_with(&on.digest));
        // Steps that name their images without digests tell nothing.
        if steps.is_empty() || found.iter().any(is_of_a_step) {
            found.retain(is_of_a_step);
        }
    }
    found.sort();
    found.dedup();
    found.truncate(MOST_BASES);
    found
}

/// The images that the steps of a build begin with, as `docker-image://registry.example/base:12@sha256:…`; `None` where it
/// does not tell its steps.
fn steps(statement: &Value) -> Option<Vec<&str>> {
    let definition = ["/predicate/buildDefinition/internalParameters/buildConfig", "/predicate/buildConfig"]
        .into_iter()
        .find_map(|place| statement.pointer(place)?.get("llbDefinition")?.as_array())?;
    let images = definition.iter().filter_map(|step| step.pointer("/op/Op/source/identifier")?.as_str());
    Some(images.filter(|identifier| identifier.starts_with("docker-image://")).collect())
}

fn material(material: &Value) -> Option<BuiltOn> {
    let hex = material.pointer("/digest/sha256")?.as_str()?;
    let package = PackageUrl::from_str(material.get("uri")?.as_str()?).ok()?;
    if package.ty() != "docker" || hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let repository = match package.namespace() {
        Some(namespace) => format!("{namespace}/{}", package.name()),
        None => package.name().to_owned(),
    };
    // Without a tag there is nothing that could mean something else by now.
    let name = format!("{repository}:{}", package.version()?);
    let is_image = ImageReference::parse(&name).is_ok_and(|image| image.digest().is_none());
    (is_image && !TOOLS.contains(&repository.as_str())).then(|| BuiltOn {
        name,
        digest: format!("sha256:{hex}"),
        origin: Origin::Provenance,
    })
}

/// Whether a digest is what a tag means now, for the platforms that matter.
///
/// `before` is what the digest is, where that could be learnt: then an index that changed only for other platforms than
/// `platform`, or than its own, counts as the same.
pub fn means_the_same(
    digest: &str,
    before: Option<&ResolvedImage>,
    now: &ResolvedImage,
    platform: Option<&str>,
) -> bool {
    let is_there = |digest: &str| now.digest == digest || now.platforms.iter().any(|one| one.digest == digest);
    if is_there(digest) {
        return true;
    }
    let matters = |have: Option<&str>| platform.is_none() || have.is_none() || have == platform;
    let mut earlier =
        before.into_iter().flat_map(|image| &image.platforms).filter(|one| matters(one.platform.as_deref())).peekable();
    earlier.peek().is_some() && earlier.all(|one| is_there(&one.digest))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::json;

    use super::*;
    use crate::evidence::{Cache, Fact, PlatformImage, UnknownReason};

    fn image(digest: &str, platforms: &[(&str, &str)]) -> ResolvedImage {
        let platform = |(platform, digest): &(&str, &str)| PlatformImage {
            platform: Some((*platform).to_owned()),
            digest: (*digest).to_owned(),
            built: Fact::unknown(UnknownReason::NoDate, ""),
            first_seen: None,
            candidates: Vec::new(),
        };
        ResolvedImage {
            digest: digest.to_owned(),
            platforms: platforms.iter().map(platform).collect(),
            cache: Cache::Fetched,
            fetched_at: DateTime::<Utc>::MIN_UTC,
        }
    }

    #[test]
    fn indexes_and_platforms_are_both_compared() {
        let old = image("old", &[("linux/amd64", "a1"), ("linux/arm64", "b1")]);
        let same_and_more = image("more", &[("linux/amd64", "a1"), ("linux/arm64", "b1"), ("linux/s390x", "c1")]);
        let arm_moved = image("moved", &[("linux/amd64", "a1"), ("linux/arm64", "b2")]);
        let gone = image("gone", &[("linux/s390x", "c1")]);
        for (what, digest, before, now, platform, same) in [
            ("the index", "old", None, &old, None, true),
            ("a platform of it", "b1", None, &old, None, true),
            ("a new platform beside", "old", Some(&old), &same_and_more, None, true),
            ("a new platform beside, and the old index is gone", "old", None, &same_and_more, None, false),
            ("one platform moved", "old", Some(&old), &arm_moved, None, false),
            ("another platform than ours moved", "old", Some(&old), &arm_moved, Some("linux/amd64"), true),
            ("ours moved", "old", Some(&old), &arm_moved, Some("linux/arm64"), false),
            ("a platform's digest that moved", "b1", None, &arm_moved, None, false),
            ("ours is not there any more", "old", Some(&old), &gone, Some("linux/amd64"), false),
            ("what is before has no platform of ours", "gone", Some(&gone), &old, Some("linux/amd64"), false),
        ] {
            assert_eq!(means_the_same(digest, before, now, platform), same, "{what}");
        }
    }

    #[test]
    fn annotations_name_a_base_with_its_digest() {
        let base = |name: &str, digest: Option<&str>| Base { name: name.into(), digest: digest.map(Into::into) };
        let read = |name, digest| BuiltOn::of_annotations(&base(name, digest)).map(|on| (on.name, on.digest));
        assert_eq!(read("debian:12", Some("sha256:aa")), Ok(("debian:12".into(), "sha256:aa".into())));
        assert_eq!(read("debian:12@sha256:aa", None), Ok(("debian:12".into(), "sha256:aa".into())));
        assert_eq!(read("debian:12", None), Err("its annotation names the base \"debian:12\" without a digest".into()));
        assert!(read("Not An Image", Some("sha256:aa")).unwrap_err().contains("is not an image reference"));
    }

    #[test]
    fn what_made_a_bill_of_materials_is_no_base() {
        let captured = include_bytes!("../../tests/fixtures/attestations/buildkit-0.34.2/attestations.provenance.json");
        let text = std::str::from_utf8(captured).unwrap();
        assert!(text.contains("pkg:docker/127.0.0.1:41711/scanner@1"), "the generator is among its materials");
        let subject = "sha256:5373326b29a0e1ebcad8d17345eda118c9d2c06b111efb8ae13eb15aabaa7839";
        let found = materials(captured, subject);
        let base = BuiltOn {
            name: "127.0.0.1:41711/base:12".into(),
            digest: "sha256:d98a2fbd83930704da7ec2edf92895a2618b977153191c47a35daba036752283".into(),
            origin: Origin::Provenance,
        };
        assert_eq!(found, std::slice::from_ref(&base));
        // Without its steps all that it names counts, and in the older form it stands elsewhere.
        let mut statement: Value = serde_json::from_slice(captured).unwrap();
        let steps = statement["predicate"]["buildDefinition"]["internalParameters"]["buildConfig"].take();
        assert_eq!(materials(statement.to_string().as_bytes(), subject).len(), 2);
        statement["predicate"]["buildConfig"] = steps;
        assert_eq!(materials(statement.to_string().as_bytes(), subject), [base]);
        // From nothing, it is built on nothing.
        statement["predicate"]["buildConfig"]["llbDefinition"] = json!([{"id": "step0", "op": {"Op": {}}}]);
        assert_eq!(materials(statement.to_string().as_bytes(), subject), []);
        assert_eq!(materials(captured, "sha256:aa"), []);
    }

    #[test]
    fn materials_are_images_of_the_build_and_not_its_tools() {
        let hex = "4f1c".repeat(16);
        let digest = json!({"sha256": hex});
        let uris = [
            "pkg:docker/debian@12?platform=linux%2Famd64",
            "pkg:docker/docker/dockerfile@1",
            "pkg:docker/registry.example/team/base@1.2?platform=linux%2Famd64",
            "pkg:docker/localhost:5000/base@3",
            "pkg:docker/untagged?digest=sha256:aa",
            "pkg:deb/debian/curl@8.1",
            "https://github.com/x/y.git#refs/heads/main",
        ];
        let materials_of = |key: &str, predicate_type: &str| {
            let list: Vec<Value> = uris.iter().map(|uri| json!({"uri": uri, "digest": digest})).collect();
            let predicate = if key == "materials" {
                json!({"materials": list})
            } else {
                json!({"buildDefinition": {"resolvedDependencies": list}})
            };
            let statement = json!({"predicateType": predicate_type, "predicate": predicate,
                "subject": [{"name": "x", "digest": {"sha256": "aa"}}]});
            statement.to_string()
        };
        let names = |statement: &str, subject: &str| {
            materials(statement.as_bytes(), subject).into_iter().map(|on| on.name).collect::<Vec<_>>()
        };
        let expected = ["debian:12", "localhost:5000/base:3", "registry.example/team/base:1.2"];
        let (v02, v1) = ("https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1");
        assert_eq!(names(&materials_of("materials", v02), "sha256:aa"), expected);
        assert_eq!(names(&materials_of("resolvedDependencies", v1), "sha256:aa"), expected);
        assert_eq!(names(&materials_of("materials", v02), "sha256:bb"), [""; 0], "it speaks of another image");
        assert_eq!(names(&materials_of("materials", "https://spdx.dev/Document"), "sha256:aa"), [""; 0]);
        assert_eq!(names("[", "sha256:aa"), [""; 0]);
    }
}
