//! Packages in an image, as package URLs name them: which ecosystem a package is of, and what its index calls it.
//!
//! An SBOM is somebody else's text: a URL that is none is counted and passed over.

pub mod behind;
pub mod go_module;
pub mod libyear;
pub mod steps;
pub mod version;

use std::fmt;

use packageurl::PackageUrl;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of a package URL; the longest ones met are of Maven, and shorter than 300.
const LONGEST_PURL_BYTES: usize = 2_048;

/// A family of packages that has indexes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Crates of Rust.
    Cargo,
    /// Packages of Node.js.
    Npm,
    /// Packages of Python.
    PyPi,
    /// Modules of Go.
    Go,
    /// Artifacts of Java.
    Maven,
}

impl Ecosystem {
    /// Every ecosystem.
    pub const ALL: [Self; 5] = [Self::Cargo, Self::Npm, Self::PyPi, Self::Go, Self::Maven];

    /// The name as settings and snapshots have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::PyPi => "pypi",
            Self::Go => "go",
            Self::Maven => "maven",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The name of a package in its ecosystem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName {
    /// Ecosystem.
    pub ecosystem: Ecosystem,
    /// The name as its index has it: `@scope/name`, `group:artifact`, a module's path.
    pub name: String,
}

impl fmt::Display for PackageName {
    /// `npm:@scope/name`, as patterns in settings are compared with.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.ecosystem, self.name)
    }
}

/// A package that an image holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Its name.
    pub name: PackageName,
    /// The version in use, as written.
    pub version: String,
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.as_str() {
            "" => self.name.fmt(formatter),
            version => write!(formatter, "{} {version}", self.name),
        }
    }
}

/// A package URL, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl {
    /// Its type, as `npm`.
    pub kind: String,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// The distribution that it is of, as `debian-12`.
    pub distribution: Option<String>,
    /// Where it comes from, if that is not the usual place.
    pub origin: Option<String>,
}

/// Why a text is no package URL.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{shown:?} is no package URL: {why}")]
pub struct InvalidPurl {
    /// Its beginning.
    pub shown: String,
    /// What is wrong with it.
    pub why: String,
}

impl Purl {
    /// Reads a package URL.
    pub fn parse(text: &str) -> Result<Self, InvalidPurl> {
        let invalid = |why: String| InvalidPurl { shown: text.chars().take(80).collect(), why };
        if text.len() > LONGEST_PURL_BYTES {
            return Err(invalid(format!("it is longer than {LONGEST_PURL_BYTES} bytes")));
        }
        let parsed: PackageUrl<'_> = text.parse().map_err(|error: packageurl::Error| invalid(error.to_string()))?;
        let qualifier = |key: &str| parsed.qualifiers().get(key).map(ToString::to_string);
        let mut purl = Self {
            kind: parsed.ty().to_owned(),
            namespace: parsed.namespace().map(str::to_owned),
            name: parsed.name().to_owned(),
            version: parsed.version().map(str::to_owned),
            distribution: qualifier("distro"),
            origin: ["repository_url", "vcs_url", "download_url"].into_iter().find_map(qualifier),
        };
        if purl.kind == "golang" {
            // The rules for these URLs make Go's names small letters, and its proxies tell letters apart.
            (purl.namespace, purl.name) = as_written(text).ok_or_else(|| invalid("it has no name".to_owned()))?;
        }
        Ok(purl)
    }

    /// The package of an ecosystem with indexes that it names, if it names one.
    pub fn package(&self) -> Option<Package> {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_str());
        let joined = |separator: &str| {
            namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}{separator}{name}"))
        };
        let (ecosystem, name) = match self.kind.as_str() {
            "cargo" => (Ecosystem::Cargo, name.to_owned()),
            "npm" => (Ecosystem::Npm, joined("/")),
            "pypi" => (Ecosystem::PyPi, normalised(name)),
            // The standard library is the toolchain's, and no module.
            "golang" if namespace.is_none() && name == "stdlib" => return None,
            "golang" => (Ecosystem::Go, joined("/")),
            "maven" => (Ecosystem::Maven, joined(":")),
            _ => return None,
        };
        let version = self.version.clone().unwrap_or_default();
        Some(Package { name: PackageName { ecosystem, name }, version })
    }
}

/// Namespace and name with the letters that they were written with.
fn as_written(text: &str) -> Option<(Option<String>, String)> {
    let rest = text.split_once(':')?.1.trim_start_matches('/');
    let path = rest.split(['#', '?']).next()?.split_once('/')?.1;
    // A version may hold an @ of its own only when it is encoded.
    let path = path.rsplit_once('@').map_or(path, |(path, _)| path).trim_matches('/');
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let (namespace, name) = match decoded.rsplit_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, &*decoded),
    };
    (!name.is_empty()).then(|| (namespace, name.to_owned()))
}

/// A name as PEP 503 compares it.
fn normalised(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        if !matches!(character, '-' | '_' | '.') {
            normal.extend(character.to_lowercase());
        } else if !normal.ends_with('-') {
            normal.push('-');
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_names_a_package_as_its_index_does() {
        for (purl, name, version) in [
            ("pkg:cargo/serde@1.0.228", "cargo:serde", "1.0.228"),
            ("pkg:npm/%40babel/core@7.0.0", "npm:@babel/core", "7.0.0"),
            ("pkg:npm/left-pad@1.3.0", "npm:left-pad", "1.3.0"),
            ("pkg:pypi/Zope.Interface@5.0", "pypi:zope-interface", "5.0"),
            ("pkg:pypi/typing__extensions@4", "pypi:typing-extensions", "4"),
            (
                "pkg:golang/github.com/Azure/go-autorest@v14.2.0%2Bincompatible",
                "go:github.com/Azure/go-autorest",
                "v14.2.0+incompatible",
            ),
            ("pkg:golang/k8s.io/api@v0.30.0?goos=linux#core/v1", "go:k8s.io/api", "v0.30.0"),
            ("pkg:maven/com.google.guava/guava@31.1-jre", "maven:com.google.guava:guava", "31.1-jre"),
            ("pkg:cargo/serde", "cargo:serde", ""),
        ] {
            let package = Purl::parse(purl).unwrap().package().unwrap();
            assert_eq!((package.name.to_string().as_str(), package.version.as_str()), (name, version), "{purl}");
        }
    }

    #[test]
    fn what_has_no_index_is_no_package() {
        for purl in
            ["pkg:golang/stdlib@1.22.3", "pkg:deb/debian/libc6@2.36?distro=debian-12", "pkg:generic/node@18.20.4"]
        {
            assert_eq!(Purl::parse(purl).unwrap().package(), None, "{purl}");
        }
        let libc = Purl::parse("pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12").unwrap();
        assert_eq!(libc.distribution.as_deref(), Some("debian-12"));
        let forked = Purl::parse("pkg:cargo/x@1.0.0?vcs_url=git%2Bhttps://git.example/x").unwrap();
        assert_eq!(forked.origin.as_deref(), Some("git+https://git.example/x"));
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for wrong in ["", "serde", "npm/left-pad", "pkg:", "pkg:npm", "pkg:npm/", "pkg:golang/@v1", "pkg:no type/x"] {
            let error = Purl::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("is no package URL"), "{wrong:?}: {error}");
        }
        assert!(Purl::parse(&format!("pkg:npm/{}", "a".repeat(3_000))).unwrap_err().why.contains("longer than 2048"));
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "(pkg:(npm|golang|pypi|maven|cargo)/)?\\PC{0,60}") {
            if let Ok(purl) = Purl::parse(&text) {
                let _ = purl.package();
            }
        }
    }
}
