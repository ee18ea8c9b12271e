//! The kinds of indexes: what is asked of each for a package, and how its answer is read.

mod cargo;
mod deps_dev;
mod go;
mod maven;
mod npm;
mod pypi;

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// Most releases of one package that are read; the busiest packages have a third of that.
pub const MOST_RELEASES: usize = 30_000;

/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A kind of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A sparse index of Cargo.
    Cargo,
    /// A registry of npm.
    Npm,
    /// The JSON API of `PyPI`: `/NAME/json`.
    PyPI,
    /// The simple API of Python's indexes, in JSON (PEP 691 and 700).
    PyPISimple,
    /// A proxy of Go's modules.
    Go,
    /// A repository of Maven.
    Maven,
    /// deps.dev, version 3 of its API.
    DepsDev,
}

/// One thing to ask: a path below the index's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The path, encoded, without a slash before it.
    pub path: String,
    /// Whether the headers of the answer are enough.
    pub head_only: bool,
}

impl Question {
    fn get(path: String) -> Self {
        Self { path, head_only: false }
    }
}

/// Versions that were taken back, both ends among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// The first.
    pub from: String,
    /// The last.
    pub to: String,
}

/// Why an answer cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    /// It is a page for people: a login, a portal, or an index that knows no JSON.
    #[error("it answered HTML where {0} was expected")]
    Html(&'static str),
    /// It is not what this kind of index answers.
    #[error("its answer is not what an index of this kind gives: {0}")]
    Shape(String),
}

/// How a kind of index is asked.
pub trait Protocol: Send + Sync {
    /// Whether it has packages of the ecosystem.
    fn serves(&self, ecosystem: Ecosystem) -> bool;

    /// What to ask for a package's releases; the next where one has none.
    fn questions(&self, name: &PackageName) -> Vec<Question>;

    /// The media type that is asked for.
    fn accept(&self) -> &'static str {
        "application/json"
    }

    /// Reads the releases of a package.
    fn read(&self, name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable>;

    /// What to ask for the date of a release, where the list has none.
    fn date_question(&self, _name: &PackageName, _version: &str) -> Option<Question> {
        None
    }

    /// Reads that date.
    fn read_date(&self, _body: &[u8], _last_modified: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        None
    }

    /// What to ask for the releases that were taken back, where the list does not say.
    fn withdrawn_question(&self, _name: &PackageName, _releases: &[Release]) -> Option<Question> {
        None
    }

    /// Reads which those are.
    fn read_withdrawn(&self, _body: &[u8]) -> Vec<Withdrawn> {
        Vec::new()
    }

    /// The next major, where that is a package of its own, and what to ask for its newest release.
    fn next_major(&self, _name: &PackageName) -> Option<(PackageName, Question)> {
        None
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Cargo, Self::Npm, Self::PyPI, Self::PyPISimple, Self::Go, Self::Maven, Self::DepsDev];

    /// How it is asked.
    pub fn protocol(self) -> &'static dyn Protocol {
        match self {
            Self::Cargo => &cargo::Sparse,
            Self::Npm => &npm::Registry,
            Self::PyPI => &pypi::JsonApi,
            Self::PyPISimple => &pypi::SimpleApi,
            Self::Go => &go::Proxy,
            Self::Maven => &maven::Repository,
            Self::DepsDev => &deps_dev::Api,
        }
    }
}

/// A part of a path, encoded.
fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PLAIN).to_string()
}

/// Whether a body is a page for people.
pub fn is_html(body: &[u8]) -> bool {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let beginning = body[start..].get(..64).unwrap_or(&body[start..]).to_ascii_lowercase();
    beginning.starts_with(b"<!doctype html") || beginning.starts_with(b"<html")
}

/// Reads JSON as `T`, or says what it is instead.
fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| {
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<') {
            Unreadable::Html("JSON")
        } else {
            Unreadable::Shape(error.to_string())
        }
    })
}

/// A date as indexes write it; anything else is none.
fn date(text: Option<&str>) -> Option<DateTime<Utc>> {
    let text = text?;
    let parsed = DateTime::parse_from_rfc3339(text).map(|date| date.to_utc());
    // PyPI's older fields have no zone, and are of UTC.
    parsed.or_else(|_| format!("{text}Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is asked for a package of that name.
    fn paths(kind: Kind, ecosystem: Ecosystem, name: &str) -> Vec<String> {
        let name = PackageName { ecosystem, name: name.to_owned() };
        kind.protocol().questions(&name).into_iter().map(|question| question.path).collect()
    }

    #[test]
    fn each_kind_is_asked_in_its_own_way() {
        for (kind, ecosystem, name, expected) in [
            (Kind::Cargo, Ecosystem::Cargo, "serde", vec!["se/rd/serde"]),
            (Kind::Cargo, Ecosystem::Cargo, "A", vec!["1/a"]),
            (Kind::Cargo, Ecosystem::Cargo, "cc", vec!["2/cc"]),
            (Kind::Cargo, Ecosystem::Cargo, "Url", vec!["3/u/url"]),
            (Kind::Npm, Ecosystem::Npm, "left-pad", vec!["left-pad"]),
            (Kind::Npm, Ecosystem::Npm, "@babel/core", vec!["@babel%2fcore"]),
            (Kind::PyPI, Ecosystem::PyPi, "zope-interface", vec!["zope-interface/json"]),
            (Kind::PyPISimple, Ecosystem::PyPi, "zope-interface", vec!["zope-interface/"]),
            (
                Kind::Go,
                Ecosystem::Go,
                "github.com/Azure/x",
                vec!["github.com/!azure/x/@v/list", "github.com/!azure/x/@latest"],
            ),
            (
                Kind::Maven,
                Ecosystem::Maven,
                "com.google.guava:guava",
                vec!["com/google/guava/guava/maven-metadata.xml"],
            ),
            (Kind::DepsDev, Ecosystem::Npm, "@babel/core", vec!["v3/systems/npm/packages/%40babel%2Fcore"]),
            (Kind::DepsDev, Ecosystem::Maven, "a.b:c", vec!["v3/systems/maven/packages/a.b%3Ac"]),
        ] {
            assert_eq!(paths(kind, ecosystem, name), expected, "{kind:?} {name}");
        }
    }

    #[test]
    fn a_page_is_told_from_an_answer() {
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "x".into() };
        for kind in Kind::ALL {
            let read = kind.protocol().read(&name, b" <!DOCTYPE html><html><body>Sign in</body></html>");
            assert!(matches!(read, Err(Unreadable::Html(_))), "{kind:?}: {read:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_place(
            kind in prop::sample::select(Kind::ALL.to_vec()),
            ecosystem in prop::sample::select(Ecosystem::ALL.to_vec()),
            name in "(\\PC|[./:@#?%&]){1,40}",
        ) {
            for path in paths(kind, ecosystem, &name) {
                let base = url::Url::parse("https://index.example/a/b/").unwrap();
                let joined = url::Url::parse(&format!("{base}{path}")).unwrap();
                prop_assert!(joined.as_str().starts_with(base.as_str()), "{joined}");
                prop_assert!(joined.query().is_none() && joined.fragment().is_none(), "{joined}");
            }
        }

        #[test]
        fn no_answer_does_harm(
            kind in prop::sample::select(Kind::ALL.to_vec()),
            body in "[\\[\\]{}\",:<>/a-z0-9 \\n]{0,100}",
        ) {
            let name = PackageName { ecosystem: Ecosystem::Npm, name: "x".into() };
            let _ = kind.protocol().read(&name, body.as_bytes());
        }
    }
}
