//! Registry credentials as docker and the kubelet write them: which entry is for which image.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::image::reference::{ImageReference, glob_fits};

/// A docker config that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("registry credentials cannot be read: {0}")]
pub struct InvalidCredentials(String);

/// Name and password for a registry. Never shown: not in logs, not in records.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    username: String,
    password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(…)")
    }
}

impl Credential {
    /// The value of an `Authorization` header.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }

    /// Tells credentials apart without telling them: facts and tokens of one are never served to another.
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.basic())[..8])
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

/// The credentials of one owner: the gate's own, or a workload's pull secrets.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    entries: Vec<(String, Credential)>,
}

impl Credentials {
    /// Reads a docker config (`~/.docker/config.json`, or a Secret's `.dockerconfigjson`).
    pub fn from_docker_config(text: &str) -> Result<Self, InvalidCredentials> {
        let config: DockerConfig = serde_json::from_str(text).map_err(|error| {
            InvalidCredentials(format!("no docker config at line {}, column {}", error.line(), error.column()))
        })?;
        let mut entries = Vec::new();
        for (key, auth) in config.auths {
            if let Some(credential) =
                credential(&auth).map_err(|what| InvalidCredentials(format!("the entry for {key:?} {what}")))?
            {
                entries.push((normalised(&key), credential));
            }
        }
        Ok(Self { entries }.sorted())
    }

    /// These, and where an entry of both is as exact, then those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self.sorted()
    }

    /// In the kubelet's order: by key, from the end of the alphabet. So a longer path comes before its beginning, and a
    /// star after letters and digits.
    fn sorted(mut self) -> Self {
        self.entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        self
    }

    /// The credentials for an image, the most exact first: by host (with globs) and path prefix, as the kubelet matches
    /// them, which tries one after the other.
    pub fn for_image(&self, image: &ImageReference) -> impl Iterator<Item = &Credential> {
        let fits = |key: &str| {
            let (host, path) = key.split_once('/').unwrap_or((key, ""));
            host_fits(host, image.registry())
                && (path.is_empty()
                    || image.repository() == path
                    || image.repository().strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
        };
        self.entries.iter().filter(move |(key, _)| fits(key)).map(|(_, credential)| credential)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether a host fits a pattern, whose stars stay within one part of a name: `*.example` is not for `a.b.example`.
fn host_fits(pattern: &str, host: &str) -> bool {
    let ((pattern, pattern_port), (host, host_port)) = (name_and_port(pattern), name_and_port(host));
    pattern_port == host_port
        && pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, part)| glob_fits(pattern, part))
}

fn name_and_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn credential(auth: &Auth) -> Result<Option<Credential>, &'static str> {
    if !auth.username.is_empty() {
        return Ok(Some(Credential { username: auth.username.clone(), password: auth.password.clone() }));
    }
    if auth.auth.is_empty() {
        return Ok(None); // the password is with a credential helper, which the gate does not run
    }
    let decoded = STANDARD.decode(auth.auth.trim()).map_err(|_| "has an auth that is not base64")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "has an auth that is not text")?;
    let (username, password) = decoded.split_once(':').ok_or("has an auth without a colon")?;
    Ok(Some(Credential { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

/// `https://index.docker.io/v1/` is `docker.io`; scheme and trailing slash go.
fn normalised(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    match key.split_once('/').unwrap_or((key, "")) {
        ("index.docker.io" | "registry-1.docker.io" | "docker.io", "" | "v1" | "v2") => "docker.io".to_owned(),
        (host, "" | "v1" | "v2") => host.to_ascii_lowercase(),
        (host, path) => format!("{}/{path}", host.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(auths: &serde_json::Value) -> Credentials {
        Credentials::from_docker_config(&serde_json::json!({ "auths": auths }).to_string()).unwrap()
    }

    #[test]
    fn entries_are_matched_as_the_kubelet_does() {
        let user = |name: &str| serde_json::json!({"username": name, "password": "x"});
        let credentials = config(&serde_json::json!({
            "https://index.docker.io/v1/": user("hub"),
            "*.example": user("glob"),
            "registry.example/team": user("team"),
            "other.example:5000": user("port"),
        }));
        for (image, username) in [
            ("nginx", Some("hub")),
            ("registry.example/team/app", Some("team")),
            ("registry.example/teamwork/app", Some("glob")),
            ("other.example:5000/x", Some("port")),
            ("a.other.example/x", None),
            ("other.example:5001/x", None),
            ("elsewhere.test/x", None),
        ] {
            let image = ImageReference::parse(image).unwrap();
            let found = credentials.for_image(&image).next().map(|credential| credential.username.as_str());
            assert_eq!(found, username, "{image}");
        }
    }

    #[test]
    fn all_that_fit_are_given_the_most_exact_first() {
        let user = |name: &str| serde_json::json!({"username": name, "password": "x"});
        let one = config(&serde_json::json!({"*.example": user("glob"), "registry.example": user("first")}));
        let other = config(
            &serde_json::json!({"registry.example": user("second"), "registry.example/team": user("team"), "x.example": user("other")}),
        );
        let both = one.and(other);
        let image = ImageReference::parse("registry.example/team/app").unwrap();
        let found: Vec<_> = both.for_image(&image).map(|credential| credential.username.as_str()).collect();
        assert_eq!(found, ["team", "first", "second", "glob"]);
    }

    #[test]
    fn auth_is_name_and_password_in_base64() {
        let credentials = config(&serde_json::json!({"r.example": {"auth": STANDARD.encode("me:pass:word")}}));
        let credential = credentials.for_image(&ImageReference::parse("r.example/x").unwrap()).next().unwrap();
        assert_eq!((credential.username.as_str(), credential.password.as_str()), ("me", "pass:word"));
        assert_eq!(format!("{credential:?}"), "Credential(…)");
    }

    #[test]
    fn a_broken_config_names_the_entry_and_not_the_secret() {
        let error = Credentials::from_docker_config(r#"{"auths":{"r.example":{"auth":"hunter2!"}}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"registry credentials cannot be read: the entry for "r.example" has an auth that is not base64"#
        );
        assert!(Credentials::from_docker_config("nonsense").is_err());
    }
}
