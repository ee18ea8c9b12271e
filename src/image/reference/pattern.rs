//! The globs that policies select images with: `registry.example/platform/*`. A pattern is spelled out as a reference is,
//! and compared with registry and repository.

use serde::{Deserialize, Serialize};

use super::{ImageReference, InvalidReference};

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
        fn reading_a_pattern_never_panics(written in "\\PC{0,80}") {
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
