//! Python's indexes: `PyPI`'s own JSON, and the simple API in JSON, which mirrors have.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{MOST_RELEASES, Protocol, Question, Unreadable, date, encoded, json};
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// `/NAME/json`.
pub struct JsonApi;

/// `/NAME/`, as PEP 691 has it in JSON and PEP 700 with times.
pub struct SimpleApi;

#[derive(Deserialize)]
struct Document {
    releases: BTreeMap<String, Vec<ReleaseFile>>,
}

#[derive(Deserialize)]
struct ReleaseFile {
    upload_time_iso_8601: Option<String>,
    #[serde(default)]
    yanked: bool,
}

#[derive(Deserialize)]
struct Simple {
    #[serde(default)]
    versions: Vec<String>,
    files: Vec<SimpleFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SimpleFile {
    filename: String,
    upload_time: Option<String>,
    /// False, or true, or why.
    yanked: Option<Value>,
}

/// The files of one version: it was published with the first, and is withdrawn when all are.
#[derive(Default)]
struct Files {
    first: Option<DateTime<Utc>>,
    any: bool,
    any_stays: bool,
}

impl Files {
    fn add(&mut self, uploaded: Option<DateTime<Utc>>, yanked: bool) {
        self.any = true;
        self.any_stays |= !yanked;
        self.first = match (self.first, uploaded) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Without a file there is nothing to install.
    fn release(self, version: String) -> Option<Release> {
        self.any.then_some(Release { version, published: self.first, withdrawn: !self.any_stays })
    }
}

impl Protocol for JsonApi {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::PyPi
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        vec![Question::get(format!("{}/json", folder(&name.name)))]
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        let document: Document = json(body)?;
        let releases = document.releases.into_iter().take(MOST_RELEASES).filter_map(|(version, listed)| {
            let mut files = Files::default();
            for file in &listed {
                files.add(date(file.upload_time_iso_8601.as_deref()), file.yanked);
            }
            files.release(version)
        });
        Ok(releases.collect())
    }
}

impl Protocol for SimpleApi {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::PyPi
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        vec![Question::get(format!("{}/", folder(&name.name)))]
    }

    fn accept(&self) -> &'static str {
        "application/vnd.pypi.simple.v1+json"
    }

    fn read(&self, name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        let document: Simple = json(body).map_err(|error| match error {
            Unreadable::Html(_) => Unreadable::Html("the simple API in JSON (PEP 691)"),
            Unreadable::Shape(why) => Unreadable::Shape(why),
        })?;
        let mut versions: BTreeMap<String, Files> =
            document.versions.into_iter().take(MOST_RELEASES).map(|version| (version, Files::default())).collect();
        for file in document.files {
            let Some(version) = version_of(&file.filename, &name.name) else { continue };
            let yanked = !matches!(file.yanked, None | Some(Value::Null | Value::Bool(false)));
            if versions.len() < MOST_RELEASES || versions.contains_key(version) {
                versions.entry(version.to_owned()).or_default().add(date(file.upload_time.as_deref()), yanked);
            }
        }
        Ok(versions.into_iter().filter_map(|(version, files)| files.release(version)).collect())
    }
}

/// The version in the name of a file: of a wheel the second part, of an archive what follows the package's name.
fn version_of<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    if let Some(wheel) = file.strip_suffix(".whl") {
        return wheel.split('-').nth(1);
    }
    let archive = [".tar.gz", ".zip", ".tar.bz2", ".tgz"].into_iter().find_map(|suffix| file.strip_suffix(suffix))?;
    // Both may hold dashes. The name is as long as it is in the index, whatever stands for its dashes.
    archive.get(name.len()..)?.strip_prefix('-').or_else(|| archive.rsplit_once('-').map(|(_, version)| version))
}

/// A name that is no way out of its folder.
fn folder(name: &str) -> String {
    if name.bytes().all(|byte| byte == b'.') { "-".to_owned() } else { encoded(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> PackageName {
        PackageName { ecosystem: Ecosystem::PyPi, name: "zope-interface".into() }
    }

    fn in_words(releases: &[Release]) -> Vec<String> {
        let day = |release: &Release| release.published.map(|date| date.date_naive().to_string()).unwrap_or_default();
        releases.iter().map(|one| format!("{} {} {}", one.version, day(one), one.withdrawn)).collect()
    }

    #[test]
    fn a_version_is_as_old_as_its_first_file() {
        let body = br#"{"info":{"name":"x"},"releases":{
            "1.0":[{"upload_time_iso_8601":"2020-01-02T00:00:00.5Z","yanked":false},{"upload_time_iso_8601":"2020-01-01T00:00:00Z","yanked":true}],
            "1.1":[{"upload_time_iso_8601":"2021-01-01T00:00:00Z","yanked":true}],
            "1.2":[]}}"#;
        assert_eq!(in_words(&JsonApi.read(&name(), body).unwrap()), ["1.0 2020-01-01 false", "1.1 2021-01-01 true"]);
    }

    #[test]
    fn the_simple_api_tells_versions_by_files() {
        let body = br#"{"meta":{"api-version":"1.1"},"name":"zope-interface","versions":["5.0","5.1","6.0"],"files":[
            {"filename":"zope.interface-5.0.tar.gz","upload-time":"2020-01-01T00:00:00.000000Z","yanked":false},
            {"filename":"zope_interface-5.1-cp39-cp39-manylinux1_x86_64.whl","upload-time":"2021-01-01T00:00:00Z","yanked":"broken"},
            {"filename":"zope.interface-5.0.exe"}]}"#;
        assert_eq!(in_words(&SimpleApi.read(&name(), body).unwrap()), ["5.0 2020-01-01 false", "5.1 2021-01-01 true"]);
    }

    #[test]
    fn a_file_tells_its_version() {
        for (file, name, version) in [
            ("requests-2.25.0.tar.gz", "requests", Some("2.25.0")),
            ("requests-2.25.0-py2.py3-none-any.whl", "requests", Some("2.25.0")),
            ("zope.interface-5.0-1.zip", "zope-interface", Some("5.0-1")),
            ("requests-2.25.0.exe", "requests", None),
            ("x.whl", "x", None),
        ] {
            assert_eq!(version_of(file, name), version, "{file}");
        }
    }
}
