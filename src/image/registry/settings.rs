//! What an operator says about registries: which may be asked, how they are reached, and what stands in for them.

use std::path::PathBuf;
use std::str::FromStr;

use crate::image::reference::glob_fits;

/// Settings for all registries; a setting of the gate, never of a policy.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// Hosts that may be asked, as globs; empty for every public one.
    pub allow: Vec<String>,
    /// Hosts (`host[:port]`) reached by plain HTTP, allowed, and exempt from the refusal of private addresses.
    pub insecure: Vec<String>,
    /// Hosts that are allowed although their addresses are not public.
    pub private: Vec<String>,
    /// PEM files with certificate authorities beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// What stands in for a registry or a part of it.
    pub mirrors: Vec<Mirror>,
    /// Hosts whose token service may have the credentials of a registry, beside the registry's own host.
    pub token_hosts: Vec<String>,
}

/// Something that stands in for a registry or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Image names it is for: `registry.example`, or `registry.example/team`.
    pub prefix: String,
    /// Where they are instead.
    pub location: MirrorLocation,
}

/// Where a mirror's images are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorLocation {
    /// In another registry, asked first; the original is asked when it has no answer.
    Registry(String),
    /// In a local OCI image layout, which is asked alone.
    Layout(PathBuf),
}

impl FromStr for Mirror {
    type Err = String;

    /// Reads `HOST[/PATH]=oci:DIR` or `HOST[/PATH]=HOST[:PORT]`.
    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let form = || format!("{written:?} is not HOST[/PATH]=oci:DIR or HOST[/PATH]=HOST[:PORT]");
        let (prefix, location) = written.split_once('=').ok_or_else(form)?;
        if prefix.is_empty() || location.is_empty() {
            return Err(form());
        }
        let location = match location.strip_prefix("oci:") {
            Some("") => return Err(form()),
            Some(folder) => MirrorLocation::Layout(PathBuf::from(folder)),
            None if location.contains('/') => return Err(form()),
            None => MirrorLocation::Registry(location.to_ascii_lowercase()),
        };
        Ok(Self { prefix: prefix.trim_end_matches('/').to_owned(), location })
    }
}

impl RegistrySettings {
    /// Whether the host may be asked at all.
    pub fn is_allowed(&self, host: &str) -> bool {
        self.allow.is_empty() || self.is_exempt(host) || self.allow.iter().any(|glob| glob_fits(glob, host))
    }

    /// Whether the host may have any address.
    pub fn is_exempt(&self, host: &str) -> bool {
        self.insecure.iter().chain(&self.private).any(|listed| listed.eq_ignore_ascii_case(host))
    }

    /// Whether the host is reached by plain HTTP.
    pub fn is_plain_http(&self, host: &str) -> bool {
        self.insecure.iter().any(|listed| listed.eq_ignore_ascii_case(host))
    }

    /// What stands in for an image name, the longest prefix first.
    pub fn mirror_for(&self, name: &str) -> Option<&Mirror> {
        self.mirrors
            .iter()
            .filter(|mirror| {
                name.strip_prefix(mirror.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|mirror| mirror.prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_stands_in() {
        let mirrors = ["r.example=mirror.example:5000", "r.example/team=oci:images", "docker.io=hub.example"];
        let settings = RegistrySettings {
            mirrors: mirrors.iter().map(|one| one.parse().unwrap()).collect(),
            ..Default::default()
        };
        for (name, prefix) in [
            ("r.example/team/app", Some("r.example/team")),
            ("r.example/teamwork", Some("r.example")),
            ("docker.io/library/nginx", Some("docker.io")),
            ("other.example/x", None),
        ] {
            assert_eq!(settings.mirror_for(name).map(|mirror| mirror.prefix.as_str()), prefix, "{name}");
        }
    }

    #[test]
    fn a_mirror_that_is_none_says_the_form() {
        for written in ["r.example", "=oci:x", "r.example=", "r.example=oci:", "r.example=https://m.example/"] {
            assert!(written.parse::<Mirror>().unwrap_err().contains("HOST[/PATH]=oci:DIR"), "{written}");
        }
    }

    #[test]
    fn what_is_listed_is_allowed() {
        let settings = RegistrySettings {
            allow: vec!["*.example".into()],
            insecure: vec!["localhost:5000".into()],
            ..Default::default()
        };
        assert!(settings.is_allowed("registry.example") && settings.is_allowed("localhost:5000"));
        assert!(!settings.is_allowed("docker.io"));
        assert!(settings.is_plain_http("localhost:5000") && !settings.is_plain_http("localhost"));
    }
}
