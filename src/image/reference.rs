//! Image references as people write them, normalised as the container runtimes do it, and the globs that policies
//! select them with. The grammar is oci-client's (`oci_spec::distribution::Reference`, which it re-exports).

use std::fmt;

use oci_spec::distribution::{ParseError, Reference};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
        let parsed = Reference::try_from(written).map_err(|error| {
            invalid(match error {
                ParseError::NameEmpty => "it is empty",
                ParseError::ReferenceInvalidFormat if has_upper_case_repository(written) => {
                    "repository names are lower case"
                }
                ParseError::NameContainsUppercase => "repository names are lower case",
                ParseError::NameTooLong => "the repository name is longer than 255 characters",
                ParseError::DigestUnsupported => "the digest's algorithm is not sha256, sha384 or sha512",
                ParseError::DigestInvalidFormat | ParseError::DigestInvalidLength => "the digest has the wrong length",
                ParseError::TagInvalidFormat => "the tag has characters a tag cannot have",
                ParseError::ReferenceInvalidFormat => "expected [registry/]repository[:tag][@algorithm:hex]",
            })
        })?;
        if let Some(digest) = parsed.digest() {
            if digest.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(invalid("digests are written in lower case"));
            }
            if digest.starts_with("sha384:") {
                return Err(invalid("the digest's algorithm is not sha256 or sha512"));
            }
        }
        Ok(Self {
            registry: parsed.registry().to_ascii_lowercase(),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest: parsed.digest().map(str::to_owned),
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

/// A glob over normalised image names: `registry.example/platform/*`.
///
/// Without a tag it fits any tag or digest; `*` stands for any characters, `/` included; a colon before a slash is
/// a port. A pattern without a registry is read as the runtimes read a reference: `nginx` is `docker.io/library/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePattern {
    written: String,
    name: String,
    tag: Option<String>,
}

impl ImagePattern {
    /// Reads a pattern.
    pub fn parse(written: &str) -> Result<Self, InvalidReference> {
        let invalid = |problem: &str| InvalidReference {
            written: written.chars().take(256).collect(),
            problem: problem.to_owned(),
        };
        if written.is_empty() {
            return Err(invalid("an image pattern cannot be empty; `*` fits every image"));
        }
        if written.contains('@') {
            return Err(invalid("an image pattern has no digest; write the repository, it fits any digest"));
        }
        if let Some(bad) = written.chars().find(|c| !c.is_ascii_alphanumeric() && !"*._-/:".contains(*c)) {
            return Err(invalid(&format!("{bad:?} cannot stand in an image pattern")));
        }
        let (name, tag) = match written.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (written, None),
        };
        let name = match name.split_once('/') {
            None if name.contains('*') => name.to_owned(),
            None => format!("docker.io/library/{name}"),
            Some((host, _)) if host.contains(['.', ':', '*']) || host == "localhost" => name.to_owned(),
            Some(_) => format!("docker.io/{name}"),
        };
        let name = match name.split_once('/') {
            Some((host, rest)) => format!("{}/{rest}", host.to_ascii_lowercase()),
            None => name,
        };
        Ok(Self { written: written.to_owned(), name, tag })
    }

    /// Whether the pattern fits the image.
    pub fn fits(&self, image: &ImageReference) -> bool {
        glob_fits(&self.name, &image.name())
            && self.tag.as_deref().is_none_or(|pattern| image.tag().is_some_and(|tag| glob_fits(pattern, tag)))
    }

    /// The pattern as its author wrote it.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl TryFrom<String> for ImagePattern {
    type Error = InvalidReference;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        Self::parse(&written)
    }
}

impl From<ImagePattern> for String {
    fn from(pattern: ImagePattern) -> Self {
        pattern.written
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters, none and `/` included.
///
/// Linear in both: after a mismatch only the last star gives way.
pub fn glob_fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            last_star = Some((at_pattern, at_text));
            at_pattern += 1;
        } else if pattern.get(at_pattern) == text.get(at_text) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some((star, taken)) = last_star {
            at_pattern = star + 1;
            at_text = taken + 1;
            last_star = Some((star, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
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
            ("x@md5:d41d8cd98f00b204e9800998ecf8427e", "the digest's algorithm is not sha256, sha384 or sha512"),
            ("https://r.example/x", "expected [registry/]repository[:tag][@algorithm:hex]"),
        ] {
            let error = ImageReference::parse(written).unwrap_err();
            assert_eq!(error.problem, problem, "{written}");
        }
        assert_eq!(ImageReference::parse(&"a".repeat(2000)).unwrap_err().problem, "it is longer than 1,024 characters");
    }

    #[test]
    fn patterns_fit_as_the_design_says() {
        for (pattern, image, fits) in [
            ("nginx", "nginx:1.27", true),
            ("nginx", "shop/nginx", false),
            ("registry.example/platform/*", "registry.example/platform/a/b:1", true),
            ("registry.example/platform/*", "registry.example/platformer/a", false),
            ("registry.example:5000/x", "registry.example:5000/x:9", true),
            ("registry.example:5000/x", "registry.example/x:9", false),
            ("registry.example/x:1.*", "registry.example/x:1.2", true),
            ("registry.example/x:1.*", "registry.example/x:2.0", false),
            ("registry.example/x:1.*", &format!("registry.example/x@sha256:{HEX}"), false),
            ("registry.example/x", &format!("registry.example/x@sha256:{HEX}"), true),
            ("*", "anything/at:all", true),
            ("*/platform/*", "r.example/platform/x", true),
            ("shop/*", "docker.io/shop/x", true),
        ] {
            let pattern = ImagePattern::parse(pattern).unwrap();
            let image = ImageReference::parse(image).unwrap();
            assert_eq!(pattern.fits(&image), fits, "{} ~ {image}", pattern.as_str());
        }
        assert!(ImagePattern::parse("x@sha256:1").is_err());
        assert!(ImagePattern::parse("").is_err());
        assert!(ImagePattern::parse("a b").is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(written in "\\PC{0,80}") {
            if let Ok(image) = ImageReference::parse(&written) {
                prop_assert_eq!(ImageReference::parse(&image.to_string()), Ok(image));
            }
            let _ = ImagePattern::parse(&written);
        }

        #[test]
        fn a_text_fits_itself_with_any_parts_starred(parts in proptest::collection::vec("[a-c/]{0,4}", 1..6), stars in any::<u8>()) {
            let pattern: Vec<&str> = parts.iter().enumerate()
                .map(|(i, part)| if stars >> i & 1 == 1 { "*" } else { part.as_str() }).collect();
            prop_assert!(glob_fits(&pattern.concat(), &parts.concat()));
        }
    }
}
