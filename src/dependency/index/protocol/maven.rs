//! A repository of Maven: a list of versions in XML, and a date by when the file of a version was last modified.

use chrono::{DateTime, Utc};
use roxmltree::{Document, ParsingOptions};

use super::{MOST_RELEASES, Protocol, Question, Unreadable, encoded, is_html};
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// Most nodes of a list: three for each version, and a few.
const MOST_NODES: u32 = 100_000;

/// A repository of Maven.
pub struct Repository;

/// The folder of an artifact, and its name; `None` where the name is none of Maven's.
fn place(name: &PackageName) -> Option<(String, String)> {
    let (group, artifact) = name.name.split_once(':')?;
    let is_folder = |part: &str| !part.is_empty() && !part.bytes().all(|byte| byte == b'.');
    if !group.split('.').all(is_folder) || !is_folder(artifact) {
        return None;
    }
    let folders: Vec<String> = group.split('.').map(encoded).collect();
    let artifact = encoded(artifact);
    Some((format!("{}/{artifact}", folders.join("/")), artifact))
}

impl Protocol for Repository {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::Maven
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        place(name).map(|(folder, _)| Question::get(format!("{folder}/maven-metadata.xml"))).into_iter().collect()
    }

    fn accept(&self) -> &'static str {
        "application/xml, text/xml, */*"
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        if is_html(body) {
            return Err(Unreadable::Html("XML"));
        }
        let text = std::str::from_utf8(body).map_err(|_| Unreadable::Shape("it is no text".to_owned()))?;
        // Without a DTD there are no entities to unfold.
        let options = ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|error| Unreadable::Shape(error.to_string()))?;
        let versions = document.root_element().children().find(|node| node.has_tag_name("versioning"));
        let versions = versions.and_then(|node| node.children().find(|node| node.has_tag_name("versions")));
        let versions = versions.ok_or_else(|| Unreadable::Shape("it lists no versions".to_owned()))?;
        let texts = versions.children().filter(|node| node.has_tag_name("version")).filter_map(|node| node.text());
        let release = |version: &str| Release { version: version.trim().to_owned(), published: None, withdrawn: false };
        Ok(texts.take(MOST_RELEASES).map(release).collect())
    }

    fn date_question(&self, name: &PackageName, version: &str) -> Option<Question> {
        let (folder, artifact) = place(name)?;
        let version = encoded(version);
        (!version.trim_matches('.').is_empty())
            .then(|| Question { path: format!("{folder}/{version}/{artifact}-{version}.pom"), head_only: true })
    }

    fn read_date(&self, _body: &[u8], last_modified: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        last_modified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guava() -> PackageName {
        PackageName { ecosystem: Ecosystem::Maven, name: "com.google.guava:guava".into() }
    }

    #[test]
    fn a_list_has_versions_and_a_file_has_the_date() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
<metadata><groupId>com.google.guava</groupId><artifactId>guava</artifactId>
<versioning><latest>33.0-jre</latest><versions><version>31.1-jre</version><version>33.0-jre</version></versions></versioning></metadata>"#;
        let versions: Vec<_> = Repository.read(&guava(), body).unwrap().into_iter().map(|one| one.version).collect();
        assert_eq!(versions, ["31.1-jre", "33.0-jre"]);
        let question = Repository.date_question(&guava(), "31.1-jre").unwrap();
        assert_eq!(question.path, "com/google/guava/guava/31.1-jre/guava-31.1-jre.pom");
        assert!(question.head_only);
    }

    #[test]
    fn entities_are_not_unfolded() {
        let bomb = br#"<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">]><metadata><versioning><versions><version>&x;</version></versions></versioning></metadata>"#;
        assert!(matches!(Repository.read(&guava(), bomb), Err(Unreadable::Shape(_))));
    }

    #[test]
    fn what_is_no_coordinate_is_never_asked_for() {
        for name in ["guava", ":guava", "com.google:", "com..google:guava", "com.google:.."] {
            let name = PackageName { ecosystem: Ecosystem::Maven, name: name.into() };
            assert_eq!(Repository.questions(&name), [], "{name}");
        }
    }
}
