//! deps.dev, version 3: one API for all ecosystems.

use serde::Deserialize;

use super::{MOST_RELEASES, Protocol, Question, Unreadable, date, encoded, json};
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// Version 3 of the API.
pub struct Api;

#[derive(Deserialize)]
struct Document {
    versions: Vec<ListedVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedVersion {
    version_key: VersionKey,
    published_at: Option<String>,
    #[serde(default)]
    is_deprecated: bool,
}

#[derive(Deserialize)]
struct VersionKey {
    version: String,
}

impl Protocol for Api {
    fn serves(&self, _ecosystem: Ecosystem) -> bool {
        true
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        vec![Question::get(format!("v3/systems/{}/packages/{}", name.ecosystem, folder(&name.name)))]
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        let document: Document = json(body)?;
        let release = |listed: ListedVersion| Release {
            version: listed.version_key.version,
            published: date(listed.published_at.as_deref()),
            withdrawn: listed.is_deprecated,
        };
        Ok(document.versions.into_iter().take(MOST_RELEASES).map(release).collect())
    }
}

/// A name that is no way out of its folder.
fn folder(name: &str) -> String {
    if name.bytes().all(|byte| byte == b'.') { "-".to_owned() } else { encoded(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_their_times() {
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "left-pad".into() };
        let body = br#"{"packageKey":{"system":"NPM","name":"left-pad"},"versions":[
            {"versionKey":{"system":"NPM","name":"left-pad","version":"1.1.0"},"publishedAt":"2016-07-07T00:00:00Z","isDefault":false},
            {"versionKey":{"system":"NPM","name":"left-pad","version":"1.3.0"},"publishedAt":"2018-04-09T01:10:45Z","isDefault":true,"isDeprecated":true}]}"#;
        let releases = Api.read(&name, body).unwrap();
        assert_eq!(releases.len(), 2);
        assert!(releases[1].withdrawn && !releases[0].withdrawn);
        assert_eq!(releases[0].published.unwrap().to_rfc3339(), "2016-07-07T00:00:00+00:00");
    }
}
