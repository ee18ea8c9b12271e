//! Image references as people write them, normalised as the container runtimes do it. What they are selected with in
//! policies is in `pattern`, what a reference may look like in `grammar`.

mod grammar;
mod pattern;

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use grammar::Written;
pub use pattern::{ImagePattern, glob_fits};

/// A reference whose registry and repository are spelled out: `nginx` is `docker.io/library/nginx:latest`.
///
/// Where a tag and a digest are both written, the digest says what runs; the tag is kept to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a string is no image reference.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{written:?} is not an image reference: {problem}")]
pub struct InvalidReference {
    /// What was written, cut after 256 characters.
    pub written: String,
    /// What is wrong with it, in words.
    pub problem: String,
}

/// The longest reference looked at; the grammar's own limits are 255 characters of name, 128 of tag, 135 of digest.
const LONGEST_REFERENCE: usize = 1024;

/// Where a name without a host is.
const HUB: &str = "docker.io";

/// The longest repository, as registries and runtimes have it.
const LONGEST_REPOSITORY: usize = 255;

impl ImageReference {
    /// Reads a reference as the `image` field of a container has it.
    pub fn parse(written: &str) -> Result<Self, InvalidReference> {
        let invalid = |problem: &str| InvalidReference {
            written: written.chars().take(256).collect(),
            problem: problem.to_owned(),
        };
        if written.len() > LONGEST_REFERENCE {
            return Err(invalid("it is longer than 1,024 characters"));
        }
        if written.starts_with('[') {
            return Err(invalid("IPv6 addresses are not allowed as a registry, name the registry by a host name"));
        }
        if written.is_empty() {
            return Err(invalid("it is empty"));
        }
        let Some(read) = Written::read(written) else {
            return Err(invalid(if has_upper_case_repository(written) {
                "repository names are lower case"
            } else {
                "expected [registry/]repository[:tag][@algorithm:hex]"
            }));
        };
        let (registry, repository) = on_hub(read.name);
        if repository.len() > LONGEST_REPOSITORY {
            return Err(invalid("the repository name is longer than 255 characters"));
        }
        if let Some(digest) = read.digest {
            let (algorithm, hex) = digest.split_once(':').unwrap_or((digest, ""));
            match (algorithm, hex.len()) {
                ("sha256", 64) | ("sha512", 128) => {}
                ("sha256" | "sha512", _) => return Err(invalid("the digest has the wrong length")),
                _ => return Err(invalid("the digest's algorithm is not sha256 or sha512")),
            }
            if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(invalid("digests are written in lower case"));
            }
        }
        let tag = read.tag.or(if read.digest.is_none() { Some("latest") } else { None });
        Ok(Self {
            registry,
            repository: repository.into_owned(),
            tag: tag.map(str::to_owned),
            digest: read.digest.map(str::to_owned),
        })
    }

    /// Host and, where written, port: `docker.io`, `registry.example:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where neither a tag nor a digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, as `sha256:…` or `sha512:…` in lower case.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Registry and repository: what image patterns are matched against, e.g. `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository by digest alone: what was judged, whatever the tag means later.
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// Registry and repository of a name, as the runtimes read it: without a host it is on Docker Hub.
fn on_hub(name: &str) -> (String, Cow<'_, str>) {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host.to_ascii_lowercase(), path),
        _ => (HUB.to_owned(), name),
    };
    let host = if host == "index.docker.io" { HUB.to_owned() } else { host };
    let path = if host == HUB && !path.contains('/') { format!("library/{path}").into() } else { path.into() };
    (host, path)
}

/// Whether the part before tag and digest, and after a registry, has a capital: the commonest mistake.
fn has_upper_case_repository(written: &str) -> bool {
    let name = written.split('@').next().unwrap_or(written);
    let path = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    };
    let path = path.rsplit_once(':').map_or(path, |(path, _tag)| path);
    path.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c";

    #[test]
    fn references_are_normalised_as_the_runtimes_do_it() {
        for (written, normal) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("shop/checkout", "docker.io/shop/checkout:latest".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x:1", "localhost:5000/x:1".to_owned()),
            ("Registry.Example/x:1", "registry.example/x:1".to_owned()),
            ("registry.example:5000/a/b", "registry.example:5000/a/b:latest".to_owned()),
            ("169.254.169.254/x:y", "169.254.169.254/x:y".to_owned()),
            (&format!("r.example/x@sha256:{HEX}"), format!("r.example/x@sha256:{HEX}")),
            (&format!("r.example/x:1@sha256:{HEX}"), format!("r.example/x:1@sha256:{HEX}")),
        ] {
            assert_eq!(ImageReference::parse(written).unwrap().to_string(), normal, "{written}");
        }
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (written, problem) in [
            ("", "it is empty"),
            ("[::1]:5000/x", "IPv6 addresses are not allowed as a registry, name the registry by a host name"),
            ("r.example/App:1", "repository names are lower case"),
            ("Nginx", "repository names are lower case"),
            ("r.example/x:not a tag", "expected [registry/]repository[:tag][@algorithm:hex]"),
            ("r.example/x@sha256:abc", "expected [registry/]repository[:tag][@algorithm:hex]"),
            ("r.example/x@sha256:4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c", "the digest has the wrong length"),
            ("x@md5:d41d8cd98f00b204e9800998ecf8427e", "the digest's algorithm is not sha256 or sha512"),
            ("https://r.example/x", "expected [registry/]repository[:tag][@algorithm:hex]"),
        ] {
            let error = ImageReference::parse(written).unwrap_err();
            assert_eq!(error.problem, problem, "{written}");
        }
        assert_eq!(ImageReference::parse(&"a".repeat(2000)).unwrap_err().problem, "it is longer than 1,024 characters");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(written in "\\PC{0,80}") {
            if let Ok(image) = ImageReference::parse(&written) {
                prop_assert_eq!(ImageReference::parse(&image.to_string()), Ok(image));
            }
        }

        #[test]
        fn what_oci_client_reads_is_read_the_same(written in "(([a-zA-Z0-9.-]{1,8}|localhost|index.docker.io)(:[0-9]{1,4})?/)?[a-z0-9A._/-]{0,12}(:[A-Za-z0-9_.-]{0,9})?(@[a-z0-9+]{1,7}:[0-9a-fA]{30,66})?") {
            let theirs = Reference::try_from(written.as_str());
            let ours = ImageReference::parse(&written);
            match theirs {
                Err(_) => prop_assert!(ours.is_err(), "{ours:?}"),
                // Narrower in one thing: digests of an algorithm or in a spelling that no registry has.
                Ok(theirs) if theirs.digest().is_some_and(|digest| digest.starts_with("sha384:") || digest.bytes().any(|byte| byte.is_ascii_uppercase())) => prop_assert!(ours.is_err()),
                Ok(theirs) => {
                    let ours = ours.unwrap();
                    let same = (theirs.registry().to_ascii_lowercase(), theirs.repository(), theirs.tag(), theirs.digest());
                    prop_assert_eq!((ours.registry().to_owned(), ours.repository(), ours.tag(), ours.digest()), same);
                }
            }
        }
    }
}
