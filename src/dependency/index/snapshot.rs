//! A file that stands in for indexes: made where they may be asked, read where they may not. Text in, answers out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dependency::end_of_life::Product;
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// The kind that the file says it is.
pub const KIND: &str = "freshgate-snapshot-v1";

/// What indexes said at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// [`KIND`].
    pub kind: String,
    /// When it was taken, in UTC.
    pub taken_at: DateTime<Utc>,
    /// Releases, by ecosystem and name.
    #[serde(default)]
    pub packages: BTreeMap<Ecosystem, BTreeMap<String, Vec<Release>>>,
    /// Products, as endoflife.date calls them.
    #[serde(default)]
    pub end_of_life: BTreeMap<String, Product>,
}

/// Why a file is no snapshot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}: {place}: {message}; {remedy}")]
pub struct SnapshotError {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Snapshot {
    /// An empty one.
    pub fn new(taken_at: DateTime<Utc>) -> Self {
        Self { kind: KIND.to_owned(), taken_at, packages: BTreeMap::new(), end_of_life: BTreeMap::new() }
    }

    /// Reads a snapshot.
    pub fn read(file: &str, text: &str) -> Result<Self, SnapshotError> {
        let wrong = |place: String, message: String| SnapshotError {
            file: file.to_owned(),
            place,
            message,
            remedy: "make it anew with `freshgate snapshot`",
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read: Result<Self, _> = serde_path_to_error::deserialize(&mut deserializer);
        let snapshot = read.map_err(|failed| {
            let message = failed.inner().to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            // A key that is an ecosystem has no name of its own in a path.
            let place = failed.path().to_string().replace(".?", "");
            let line = format!("line {}", failed.inner().line());
            wrong(if place == "." { line } else { format!("{line}: {place}") }, message.to_owned())
        })?;
        if snapshot.kind != KIND {
            return Err(wrong("kind".to_owned(), format!("expected {KIND:?}, found {:?}", snapshot.kind)));
        }
        Ok(snapshot)
    }

    /// The releases of a package, where they were taken.
    pub fn releases(&self, name: &PackageName) -> Option<&Vec<Release>> {
        self.packages.get(&name.ecosystem)?.get(&name.name)
    }

    /// Adds the releases of a package.
    pub fn add(&mut self, name: &PackageName, releases: Vec<Release>) {
        self.packages.entry(name.ecosystem).or_default().insert(name.name.clone(), releases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut snapshot = Snapshot::new("2026-11-25T12:00:00Z".parse().unwrap());
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "@babel/core".into() };
        let release =
            Release { version: "7.0.0".into(), published: "2018-08-27T00:00:00Z".parse().ok(), withdrawn: false };
        snapshot.add(&name, vec![release.clone()]);
        let text = serde_json::to_string(&snapshot).unwrap();
        let read = Snapshot::read("s.json", &text).unwrap();
        assert_eq!(read, snapshot);
        assert_eq!(read.releases(&name), Some(&vec![release]));
        assert_eq!(read.releases(&PackageName { ecosystem: Ecosystem::Cargo, ..name }), None);
    }

    #[test]
    fn what_is_wrong_names_its_place() {
        for (text, expected) in [
            ("", "s.json: line 1: EOF while parsing a value; make it anew with `freshgate snapshot`"),
            (
                r#"{"kind":"other","takenAt":"2026-11-25T12:00:00Z"}"#,
                "s.json: kind: expected \"freshgate-snapshot-v1\", found \"other\"",
            ),
            (
                r#"{"kind":"freshgate-snapshot-v1","takenAt":"2026-11-25T12:00:00Z","packages":{"npm":{"x":[{"version":1}]}}}"#,
                "s.json: line 1: packages.x[0].version: invalid type",
            ),
        ] {
            let error = Snapshot::read("s.json", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
