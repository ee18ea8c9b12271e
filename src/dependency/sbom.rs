//! Reads bills of materials, SPDX and `CycloneDX` in JSON, as far as package URLs go. Pure: bytes in, packages out.
//!
//! Whatever else such a document holds (files, licences, relationships, which may go in circles) is skipped unread, so
//! what stays in memory is bounded by the packages, and those by [`MOST_PACKAGES`].

pub mod attestation;
mod document;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use self::document::Entry;
use crate::dependency::package::Purl;

/// Most packages of one document that are read: an image of a whole desktop has a tenth of that.
pub const MOST_PACKAGES: usize = 50_000;

/// What a bill of materials says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sbom {
    /// What it lists, each once.
    pub purls: BTreeSet<Purl>,
    /// The system, as `debian` and `12`, where an entry of its own names it.
    pub system: Option<(String, String)>,
    /// How many entries have a package URL that is none.
    pub wrong_purls: usize,
    /// One of those, to be shown.
    pub wrong_purl: Option<String>,
    /// Whether there are more packages than are read.
    pub is_cut: bool,
}

/// Why a document is no bill of materials.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnreadableSbom {
    /// It is not JSON, or of other types than the formats have.
    #[error("it cannot be read as JSON: {0}")]
    Json(String),
    /// It is of neither format.
    #[error("it is neither SPDX 2 nor CycloneDX in JSON")]
    Format,
}

/// Reads a document of either format.
pub fn read(bytes: &[u8]) -> Result<Sbom, UnreadableSbom> {
    let mut sbom = Sbom::default();
    let mut systems = BTreeMap::new();
    document::read(bytes, &mut |entry| take(&mut sbom, &mut systems, entry))?;
    sbom.system = sbom.system.take().or_else(|| most_named(systems));
    Ok(sbom)
}

/// Takes one entry in; false where enough has been read.
fn take(sbom: &mut Sbom, systems: &mut BTreeMap<String, usize>, entry: Entry) -> bool {
    if let (true, Some(name), Some(version)) = (entry.is_system, &entry.name, &entry.version) {
        sbom.system = Some((name.to_lowercase(), version.clone()));
    }
    for text in &entry.purls {
        match Purl::parse(text) {
            Ok(_) if sbom.purls.len() >= MOST_PACKAGES => {
                sbom.is_cut = true;
                return false;
            }
            Ok(purl) => {
                if let Some(distribution) = &purl.distribution {
                    *systems.entry(distribution.clone()).or_default() += 1;
                }
                sbom.purls.insert(purl);
            }
            Err(wrong) => {
                sbom.wrong_purls += 1;
                sbom.wrong_purl.get_or_insert_with(|| wrong.to_string());
            }
        }
    }
    true
}

/// The distribution that most packages name, as `debian-12`.
fn most_named(systems: BTreeMap<String, usize>) -> Option<(String, String)> {
    let (named, _) = systems.into_iter().max_by_key(|(_, packages)| *packages)?;
    let (name, version) = named.rsplit_once('-')?;
    Some((name.to_lowercase(), version.to_owned()))
}

impl Sbom {
    /// Adds what another document of the same image lists, as of another platform.
    pub fn merge(&mut self, other: Self) {
        self.purls.extend(other.purls);
        self.system = self.system.take().or(other.system);
        self.wrong_purls += other.wrong_purls;
        self.wrong_purl = self.wrong_purl.take().or(other.wrong_purl);
        self.is_cut |= other.is_cut;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn names(sbom: &Sbom) -> Vec<String> {
        let mut names: Vec<String> =
            sbom.purls.iter().filter_map(|purl| purl.package().map(|package| package.to_string())).collect();
        names.sort();
        names
    }

    #[test]
    fn spdx_is_read() {
        let document = json!({
            "spdxVersion": "SPDX-2.3",
            "packages": [
                {"SPDXID": "SPDXRef-1", "name": "serde", "versionInfo": "1.0.100", "externalRefs": [
                    {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:x"},
                    {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:cargo/serde@1.0.100"},
                ]},
                {"SPDXID": "SPDXRef-2", "name": "no references"},
                {"name": "debian", "versionInfo": "12", "primaryPackagePurpose": "OPERATING-SYSTEM"},
            ],
            "files": [{"fileName": "/x", "checksums": []}],
            "relationships": [{"spdxElementId": "SPDXRef-1", "relatedSpdxElement": "SPDXRef-1", "relationshipType": "CONTAINS"}],
        });
        let sbom = read(document.to_string().as_bytes()).unwrap();
        assert_eq!(names(&sbom), ["cargo:serde 1.0.100"]);
        assert_eq!(sbom.system, Some(("debian".into(), "12".into())));
    }

    #[test]
    fn cyclonedx_is_read_with_what_is_nested() {
        let document = json!({
            "bomFormat": "CycloneDX", "specVersion": "1.6",
            "metadata": {"component": {"type": "container", "name": "checkout", "purl": "pkg:oci/checkout@sha256:aa"}},
            "components": [
                {"type": "library", "name": "core", "purl": "pkg:npm/%40babel/core@7.0.0", "components": [
                    {"type": "library", "name": "left-pad", "purl": "pkg:npm/left-pad@1.3.0"},
                ]},
                {"type": "operating-system", "name": "Alpine", "version": "3.18.4"},
            ],
            "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b", "dependsOn": ["a"]}],
        });
        let sbom = read(document.to_string().as_bytes()).unwrap();
        assert_eq!(names(&sbom), ["npm:@babel/core 7.0.0", "npm:left-pad 1.3.0"]);
        assert_eq!(sbom.system, Some(("alpine".into(), "3.18.4".into())));
    }

    #[test]
    fn the_system_is_what_most_packages_name() {
        let component = |purl: &str| json!({"purl": purl});
        let document = json!({"bomFormat": "CycloneDX", "components": [
            component("pkg:deb/debian/a@1?distro=debian-12"), component("pkg:deb/debian/b@1?distro=debian-12"),
            component("pkg:deb/debian/c@1?distro=debian-11"),
        ]});
        assert_eq!(read(document.to_string().as_bytes()).unwrap().system, Some(("debian".into(), "12".into())));
    }

    #[test]
    fn wrong_urls_are_counted_and_passed_over() {
        let document = json!({"bomFormat": "CycloneDX", "components": [
            {"purl": "left-pad"}, {"purl": ""}, {"purl": null}, {"purl": "pkg:npm/left-pad@1.3.0"},
        ]});
        let sbom = read(document.to_string().as_bytes()).unwrap();
        assert_eq!((names(&sbom).len(), sbom.wrong_purls), (1, 2));
        assert!(sbom.wrong_purl.unwrap().contains("\"left-pad\" is no package URL"));
    }

    #[test]
    fn what_is_no_bill_of_materials_says_so() {
        assert_eq!(read(b"{}"), Err(UnreadableSbom::Format));
        assert_eq!(read(br#"{"spdxVersion": "SPDX-3.0", "packages": []}"#), Err(UnreadableSbom::Format));
        for wrong in [&b"<html>"[..], b"", b"[1, 2]", br#"{"bomFormat": "CycloneDX", "components": 7}"#] {
            assert!(matches!(read(wrong), Err(UnreadableSbom::Json(_))), "{wrong:?}");
        }
        // Nested deeper than anybody nests, it is refused and not followed.
        let deep = format!(
            r#"{{"bomFormat":"CycloneDX","components":{}{}}}"#,
            r#"[{"components":"#.repeat(500),
            "}]".repeat(500)
        );
        assert!(matches!(read(deep.as_bytes()), Err(UnreadableSbom::Json(_))));
    }

    #[test]
    fn more_packages_than_anybody_has_are_cut() {
        let components: Vec<_> =
            (0..=MOST_PACKAGES).map(|number| json!({"purl": format!("pkg:npm/p{number}@1.0.0")})).collect();
        let document = json!({"bomFormat": "CycloneDX", "components": components}).to_string();
        let sbom = read(document.as_bytes()).unwrap();
        assert_eq!((sbom.purls.len(), sbom.is_cut), (MOST_PACKAGES, true));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
