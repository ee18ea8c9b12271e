//! By what records can be asked for and counted: each facet of a record is a text like `namespace=shop`. Pure.

pub(super) mod signature;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::image::reference::ImageReference;

/// A property of decisions by which they are found and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Facet {
    /// The object's namespace; empty for what has none.
    Namespace,
    /// Its kind.
    Kind,
    /// Its name.
    Name,
    /// Who asked.
    User,
    /// `allow`, `warn` or `deny`.
    Decision,
    /// A rule that did not pass.
    Rule,
    /// A policy that had a say.
    Policy,
    /// A service whose budgets were looked at, or that the workload belongs to.
    Service,
    /// Digest of an image, as `sha256:…`.
    Digest,
    /// An image's registry and repository, spelled out: `docker.io/library/nginx`.
    Repository,
    /// An exception that was used, asked for or granted.
    Exception,
}

impl Facet {
    /// Its name, as in flags and query parameters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Kind => "kind",
            Self::Name => "name",
            Self::User => "user",
            Self::Decision => "decision",
            Self::Rule => "rule",
            Self::Policy => "policy",
            Self::Service => "service",
            Self::Digest => "digest",
            Self::Repository => "repository",
            Self::Exception => "exception",
        }
    }

    /// What every text of it begins with.
    pub(super) fn of_nothing(self) -> String {
        format!("{}=", self.as_str())
    }

    /// The text that stands for one value of it.
    pub fn of(self, value: &str) -> String {
        let value = match self {
            Self::Repository => repository(value),
            _ => value.into(),
        };
        format!("{}={value}", self.as_str())
    }
}

/// Registry and repository, spelled out; what is no reference stands for itself.
fn repository(written: &str) -> Cow<'_, str> {
    ImageReference::parse(written).map_or(Cow::Borrowed(written), |image| image.name().into())
}

/// The facets of one record, each once, as the column holds them.
#[derive(Debug, Default)]
pub(super) struct Facets<'a>(Vec<(Facet, Cow<'a, str>)>);

impl<'a> Facets<'a> {
    pub(super) fn add(&mut self, facet: Facet, value: &'a str) {
        self.put(facet, value.into());
    }

    /// What is found under an image's reference: its repository, and its digest where one is written.
    pub(super) fn add_reference(&mut self, reference: &str, references: &mut References) {
        if let Some(Named { repository, digest }) = references.read(reference) {
            self.put(Facet::Repository, repository.clone().into());
            if let Some(digest) = digest {
                self.put(Facet::Digest, digest.clone().into());
            }
        }
    }

    fn put(&mut self, facet: Facet, value: Cow<'a, str>) {
        if !self.0.iter().any(|(known, other)| *known == facet && *other == value) {
            self.0.push((facet, value));
        }
    }

    /// A JSON list of texts, and their signature.
    pub(super) fn columns(&self) -> (String, i64) {
        let mut column = String::with_capacity(2 + self.0.iter().map(|(_, value)| value.len() + 16).sum::<usize>());
        let mut signature = signature::UNSIGNED;
        let mut text = String::new();
        for (index, (facet, value)) in self.0.iter().enumerate() {
            text.clear();
            text.extend([facet.as_str(), "=", value]);
            signature |= signature::bits(&text);
            column.push(if index == 0 { '[' } else { ',' });
            // Hardly any text has something to escape: the others are written as they are.
            // To the end of each, which goes many bytes at a time.
            let is_escaped = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
            if text.bytes().fold(false, |found, byte| found | is_escaped(byte)) {
                column.push_str(&serde_json::Value::from(&*text).to_string());
            } else {
                column.extend(["\"", &text, "\""]);
            }
        }
        column.push_str(if self.0.is_empty() { "[]" } else { "]" });
        (column, signature)
    }
}

/// References that were read lately: the records of a cluster name the same few again and again, and the grammar takes
/// as long to read one as all else takes to find it.
#[derive(Debug, Default)]
pub(crate) struct References(HashMap<String, Option<Named>>);

/// What a reference names.
#[derive(Debug)]
struct Named {
    /// With its registry, spelled out.
    repository: String,
    digest: Option<String>,
}

/// References that are remembered; when there are more, all are forgotten.
const MOST_REMEMBERED: usize = 4096;

impl References {
    /// What it names; `None` for what is no reference.
    fn read(&mut self, reference: &str) -> Option<&Named> {
        if !self.0.contains_key(reference) {
            if self.0.len() == MOST_REMEMBERED {
                self.0.clear();
            }
            let named = ImageReference::parse(reference).ok();
            let named =
                named.map(|image| Named { repository: image.name(), digest: image.digest().map(str::to_owned) });
            self.0.insert(reference.to_owned(), named);
        }
        self.0.get(reference)?.as_ref()
    }
}

/// The facets that a column holds; none where it holds no list.
pub(super) fn read(column: &str) -> Vec<String> {
    serde_json::from_str(column).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repository_is_found_however_it_is_written() {
        for written in [
            "nginx",
            "nginx:1.27",
            "docker.io/library/nginx",
            "index.docker.io/library/nginx@sha256:1111111111111111111111111111111111111111111111111111111111111111",
        ] {
            assert_eq!(Facet::Repository.of(written), "repository=docker.io/library/nginx", "{written}");
        }
        assert_eq!(Facet::Repository.of("Not A Reference"), "repository=Not A Reference");
    }

    #[test]
    fn a_column_reads_as_it_was_written_and_forged_ones_as_nothing() {
        let mut facets = Facets::default();
        facets.add(Facet::User, "jane \"j\" doe");
        facets.add(Facet::Namespace, "");
        facets.add(Facet::User, "jane \"j\" doe");
        let (column, signature) = facets.columns();
        assert_eq!(signature, signature::bits("user=jane \"j\" doe") | signature::bits("namespace="));
        assert_eq!(read(&column), ["user=jane \"j\" doe", "namespace="]);
        assert_eq!(read("forged"), [] as [&str; 0]);
        assert_eq!(Facets::default().columns(), ("[]".to_owned(), 0));
    }

    proptest! {
        /// Columns of stores that were filled before are compared with it.
        #[test]
        fn a_column_is_written_as_serde_writes_lists(values in proptest::collection::vec(any::<String>(), 0..5)) {
            let mut facets = Facets::default();
            let mut texts: Vec<String> = Vec::new();
            for value in &values {
                facets.add(Facet::User, value);
                let text = format!("user={value}");
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            prop_assert_eq!(facets.columns().0, serde_json::Value::from(texts).to_string());
        }
    }

    #[test]
    fn a_reference_that_is_remembered_names_the_same() {
        let mut references = References::default();
        let digest = format!("sha256:{}", "1".repeat(64));
        let pinned = format!("nginx@{digest}");
        for _ in 0..2 {
            for number in 0..MOST_REMEMBERED + 2 {
                let named = references.read(&format!("shop/app-{number}:1")).unwrap();
                assert_eq!((&*named.repository, &named.digest), (&*format!("docker.io/shop/app-{number}"), &None));
            }
            let named = references.read(&pinned).unwrap();
            assert_eq!((&*named.repository, named.digest.as_deref()), ("docker.io/library/nginx", Some(&*digest)));
            assert!(references.read("Not A Reference").is_none());
            assert!(references.0.len() <= MOST_REMEMBERED);
        }
    }
}
