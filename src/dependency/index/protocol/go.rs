//! A proxy of Go's modules: a list of versions, and a date for each that is asked for.
//!
//! A major above 1 is a module of its own in Go, with a path of its own, so a list never goes beyond its major, and the
//! newest release of the next one is asked for apart. What was retracted stands in the newest `go.mod`.

mod retracted;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{MOST_RELEASES, Protocol, Question, Unreadable, Withdrawn, date, encoded, is_html, json};
use crate::dependency::package::behind::Release;
use crate::dependency::package::version::Version;
use crate::dependency::package::{Ecosystem, PackageName, go_module};

/// A proxy of Go's modules.
pub struct Proxy;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    version: String,
    time: Option<String>,
}

/// A path or a version as proxies want it: a capital is an exclamation mark and the small letter.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for part in text.split('/') {
        if !escaped.is_empty() {
            escaped.push('/');
        }
        for character in part.chars() {
            if character.is_ascii_uppercase() {
                escaped.push('!');
                escaped.push(character.to_ascii_lowercase());
            } else {
                escaped.push_str(&encoded(character.encode_utf8(&mut [0; 4])));
            }
        }
    }
    escaped
}

/// Whether a path can be a module's on a proxy: it begins with a host, and no part of it is a way out.
fn is_module(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next().is_some_and(|host| host.contains('.'))
        && path.split('/').all(|part| !part.trim_matches('.').is_empty())
}

impl Protocol for Proxy {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::Go
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        if !is_module(&name.name) {
            return Vec::new();
        }
        let module = escaped(&name.name);
        // A module without tags has an empty list, and yet a newest commit.
        vec![Question::get(format!("{module}/@v/list")), Question::get(format!("{module}/@latest"))]
    }

    fn accept(&self) -> &'static str {
        "*/*"
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        if body.trim_ascii_start().first() == Some(&b'{') {
            let Info { version, time } = json(body)?;
            return Ok(vec![Release { version, published: date(time.as_deref()), withdrawn: false }]);
        }
        let text = std::str::from_utf8(body).ok().filter(|_| !is_html(body)).ok_or(Unreadable::Html("a list"))?;
        let lines = text.lines().filter_map(|line| line.split_whitespace().next()).take(MOST_RELEASES);
        lines
            .map(|version| match version.strip_prefix('v') {
                Some(_) => Ok(Release { version: version.to_owned(), published: None, withdrawn: false }),
                None => {
                    Err(Unreadable::Shape(format!("{:?} is no version", version.chars().take(40).collect::<String>())))
                }
            })
            .collect()
    }

    fn date_question(&self, name: &PackageName, version: &str) -> Option<Question> {
        is_module(&name.name).then(|| Question::get(format!("{}/@v/{}.info", escaped(&name.name), escaped(version))))
    }

    fn read_date(&self, body: &[u8], _last_modified: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        date(json::<Info>(body).ok()?.time.as_deref())
    }

    fn withdrawn_question(&self, name: &PackageName, releases: &[Release]) -> Option<Question> {
        // A version from before modules has no `go.mod` of its own.
        let versions = releases.iter().filter(|release| !release.version.ends_with("+incompatible"));
        let versions = versions.filter_map(|release| Version::parse(Ecosystem::Go, &release.version));
        let newest = versions.filter(|version| !version.is_pre_release()).max_by(Version::compare)?;
        let path = format!("{}/@v/{}.mod", escaped(&name.name), escaped(newest.as_written()));
        is_module(&name.name).then(|| Question::get(path))
    }

    fn read_withdrawn(&self, body: &[u8]) -> Vec<Withdrawn> {
        std::str::from_utf8(body).map(retracted::retracted).unwrap_or_default()
    }

    fn next_major(&self, name: &PackageName) -> Option<(PackageName, Question)> {
        let next = go_module::at_major(&name.name, go_module::major(&name.name) + 1)?;
        let question = is_module(&next).then(|| Question::get(format!("{}/@latest", escaped(&next))))?;
        Some((PackageName { ecosystem: Ecosystem::Go, name: next }, question))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> PackageName {
        PackageName { ecosystem: Ecosystem::Go, name: path.into() }
    }

    #[test]
    fn a_list_has_versions_and_a_question_has_the_date() {
        let uuid = name("github.com/Google/uuid");
        let versions: Vec<_> =
            Proxy.read(&uuid, b"v1.3.0\nv1.6.0\nv1.0.0\n").unwrap().into_iter().map(|one| one.version).collect();
        assert_eq!(versions, ["v1.3.0", "v1.6.0", "v1.0.0"]);
        assert_eq!(Proxy.read(&uuid, b"").unwrap(), []);
        let question = Proxy.date_question(&uuid, "v2.0.0+incompatible").unwrap();
        assert_eq!(question.path, "github.com/!google/uuid/@v/v2.0.0%2Bincompatible.info");
        let date = Proxy.read_date(br#"{"Version":"v1.6.0","Time":"2024-01-23T18:54:04Z"}"#, None);
        assert_eq!(date.unwrap().to_rfc3339(), "2024-01-23T18:54:04+00:00");
    }

    #[test]
    fn what_was_taken_back_and_the_next_major_are_asked_for_apart() {
        let sqlite = name("github.com/mattn/go-sqlite3");
        let releases = Proxy.read(&sqlite, b"v1.14.9\nv1.14.53\nv2.0.3+incompatible\nv1.15.0-rc.1\n").unwrap();
        let question = Proxy.withdrawn_question(&sqlite, &releases).unwrap();
        assert_eq!(question.path, "github.com/mattn/go-sqlite3/@v/v1.14.53.mod");
        assert_eq!(Proxy.withdrawn_question(&sqlite, &[]), None);
        let (next, question) = Proxy.next_major(&name("github.com/Masterminds/semver/v3")).unwrap();
        assert_eq!(next.name, "github.com/Masterminds/semver/v4");
        assert_eq!(question.path, "github.com/!masterminds/semver/v4/@latest");
        assert_eq!(Proxy.next_major(&name("internal/x")), None);
    }

    #[test]
    fn what_is_no_module_is_never_asked_for() {
        for path in ["main", "internal/x", "example.com/../x", "example.com//x", "./x"] {
            assert_eq!(Proxy.questions(&name(path)), [], "{path}");
        }
    }
}
