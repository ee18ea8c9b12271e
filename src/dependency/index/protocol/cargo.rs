//! A sparse index of Cargo: a line of JSON for each version.

use serde::Deserialize;

use super::{MOST_RELEASES, Protocol, Question, Unreadable, date, json};
use crate::dependency::package::behind::Release;
use crate::dependency::package::{Ecosystem, PackageName};

/// A sparse index of Cargo.
pub struct Sparse;

#[derive(Deserialize)]
struct Line {
    vers: String,
    #[serde(default)]
    yanked: bool,
    /// When it was published; indexes began to say so in 2025.
    pubtime: Option<String>,
}

impl Protocol for Sparse {
    fn serves(&self, ecosystem: Ecosystem) -> bool {
        ecosystem == Ecosystem::Cargo
    }

    fn questions(&self, name: &PackageName) -> Vec<Question> {
        let name = name.name.to_lowercase();
        // What Cargo takes as a name is what may stand in a path.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Vec::new();
        }
        let folder = match name.len() {
            0 => return Vec::new(),
            1 => "1".to_owned(),
            2 => "2".to_owned(),
            3 => format!("3/{}", &name[..1]),
            _ => format!("{}/{}", &name[..2], &name[2..4]),
        };
        vec![Question::get(format!("{folder}/{name}"))]
    }

    fn accept(&self) -> &'static str {
        "*/*"
    }

    fn read(&self, _name: &PackageName, body: &[u8]) -> Result<Vec<Release>, Unreadable> {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(MOST_RELEASES);
        lines
            .map(|line| {
                let Line { vers, yanked, pubtime } = json(line)?;
                Ok(Release { version: vers, published: date(pubtime.as_deref()), withdrawn: yanked })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_release() {
        let name = PackageName { ecosystem: Ecosystem::Cargo, name: "itoa".into() };
        let body = br#"{"name":"itoa","vers":"0.4.0","deps":[],"cksum":"c0","features":{},"yanked":false,"pubtime":"2018-01-05T18:44:15Z"}
{"name":"itoa","vers":"0.4.1","deps":[],"cksum":"c1","features":{},"yanked":true}
"#;
        let releases = Sparse.read(&name, body).unwrap();
        assert_eq!(releases.len(), 2);
        assert_eq!(releases[0].published.unwrap().to_rfc3339(), "2018-01-05T18:44:15+00:00");
        assert!(releases[1].withdrawn && releases[1].published.is_none());
    }
}
