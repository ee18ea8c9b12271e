//! By what records can be asked for and counted: each facet of a record is a text like `namespace=shop`. Pure.

use std::borrow::Cow;

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
pub(super) struct Facets(Vec<String>);

impl Facets {
    pub(super) fn add(&mut self, facet: Facet, value: &str) {
        self.put(facet.of(value));
    }

    /// What is found under an image's reference: its repository, and its digest where one is written.
    pub(super) fn add_reference(&mut self, reference: &str) {
        // Parsed once: `verify` does this for every record.
        if let Ok(image) = ImageReference::parse(reference) {
            self.put(format!("{}{}", Facet::Repository.of_nothing(), image.name()));
            if let Some(digest) = image.digest() {
                self.add(Facet::Digest, digest);
            }
        }
    }

    fn put(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// A JSON list of texts.
    pub(super) fn column(self) -> String {
        serde_json::Value::from(self.0).to_string()
    }
}

/// The facets that a column holds; none where it holds no list.
pub(super) fn read(column: &str) -> Vec<String> {
    serde_json::from_str(column).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let column = facets.column();
        assert_eq!(read(&column), ["user=jane \"j\" doe", "namespace="]);
        assert_eq!(read("forged"), [] as [&str; 0]);
    }
}
