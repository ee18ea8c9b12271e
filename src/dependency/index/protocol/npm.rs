//! A registry of npm: one document with all versions and their times.

use std::collections::HashMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{MOST_RELEASES, Protocol, Question, Unreadable, date, encoded, json};
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// A registry of npm.
pub struct Registry;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    versions: Versions,
    time: HashMap<String, Value>,
}

/// Versions, and whether each is deprecated; the rest of each is large, and skipped.
#[derive(Default)]
struct Versions(Vec<(String, bool)>);

#[derive(Deserialize)]
struct Manifest {
    /// A text for those who install it; an empty one, or `false`, takes it back.
    deprecated: Option<Value>,
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Versions;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("versions by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Versions, A::Error> {
                let mut versions = Vec::new();
                while let Some(version) = map.next_key::<String>()? {
                    if versions.len() < MOST_RELEASES {
                        let manifest: Manifest = map.next_value()?;
                        let is_deprecated = match manifest.deprecated {
                            None | Some(Value::Null | Value::Bool(false)) => false,
                            Some(Value::String(text)) => !text.is_empty(),
                            Some(_) => true,
                        };
                        versions.push((version, is_deprecated));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Versions(versions))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl Protocol for Registry {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::Npm
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        // The @ of a scope stands as it is, the slash after it does not.
        let path = match name.name.strip_prefix('@').and_then(|scoped| scoped.split_once('/')) {
            Some((scope, name)) => format!("@{}%2f{}", encoded(scope), encoded(name)),
            None if name.name.bytes().all(|byte| byte == b'.') => return Vec::new(),
            None => encoded(&name.name),
        };
        vec![Question::get(path)]
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        let document: Document = json(body)?;
        let release = |(version, withdrawn): (String, bool)| Release {
            published: date(document.time.get(&version).and_then(Value::as_str)),
            version,
            withdrawn,
        };
        Ok(document.versions.0.into_iter().map(release).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_their_times() {
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "left-pad".into() };
        let body = br#"{"name":"left-pad","dist-tags":{"latest":"1.3.0"},
            "versions":{"1.1.0":{"name":"left-pad","dist":{}},"1.3.0":{"deprecated":"use String.prototype.padStart()"},"1.2.0":{"deprecated":""}},
            "time":{"created":"2014-03-14T09:09:05.128Z","1.1.0":"2016-07-07T00:00:00.000Z","1.3.0":"2018-04-09T01:10:45.796Z","1.4.0":"2019-01-01T00:00:00Z"}}"#;
        let mut releases = Registry.read(&name, body).unwrap();
        releases.sort_by(|one, other| one.version.cmp(&other.version));
        let versions: Vec<_> = releases.iter().map(|one| (one.version.as_str(), one.withdrawn)).collect();
        // 1.4.0 has a time and is not there any more.
        assert_eq!(versions, [("1.1.0", false), ("1.2.0", false), ("1.3.0", true)]);
        assert_eq!(releases[2].published.unwrap().timestamp_millis(), 1_523_236_245_796);
    }

    #[test]
    fn what_was_unpublished_has_no_release() {
        let name = PackageName { ecosystem: Ecosystem::Npm, name: "gone".into() };
        let body = br#"{"name":"gone","time":{"unpublished":{"time":"2016-03-22T00:00:00Z","versions":["1.0.0"]}}}"#;
        assert_eq!(Registry.read(&name, body).unwrap(), []);
    }
}
