//! What a registry asks for when it says 401, and where its token may be fetched.

use http_auth::ChallengeParser;
use reqwest::Url;

/// What a `WWW-Authenticate` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token of this service.
    Bearer {
        /// Where it is given out.
        realm: String,
        /// For which service.
        service: Option<String>,
    },
}

/// Reads the headers; the strongest known challenge counts.
pub fn challenge<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for asked in ChallengeParser::new(header).filter_map(Result::ok) {
            let parameter = |name: &str| {
                asked
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if asked.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm")?;
                return Some(Challenge::Bearer { realm, service: parameter("service") });
            }
            if asked.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

/// Token services that are known to belong to a registry of another host.
const KNOWN_TOKEN_HOSTS: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Whether a token service may have the registry's credentials: it is the registry itself, or known, or listed.
pub fn may_have_credentials(realm: &Url, registry: &str, listed: &[String]) -> bool {
    let Some(realm_host) = realm.host_str() else {
        return false;
    };
    let registry_host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    realm_host == registry_host
        || KNOWN_TOKEN_HOSTS.contains(&(registry, realm_host))
        || listed.iter().any(|host| host == realm_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (header, asked) in [
            (r#"Basic realm="Registry""#, Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:x:pull""#,
                Some(Challenge::Bearer {
                    realm: "https://auth.docker.io/token".into(),
                    service: Some("registry.docker.io".into()),
                }),
            ),
            ("Negotiate", None),
            ("", None),
            ("\"", None),
        ] {
            assert_eq!(challenge([header].into_iter()), asked, "{header}");
        }
    }

    #[test]
    fn credentials_go_to_the_registrys_own_token_service_alone() {
        for (realm, registry, may) in [
            ("https://registry.example/token", "registry.example", true),
            ("https://registry.example/token", "registry.example:5000", true),
            ("https://auth.docker.io/token", "docker.io", true),
            ("https://auth.docker.io/token", "registry.example", false),
            ("https://evil.example/token", "registry.example", false),
            ("https://registry.example.evil.example/token", "registry.example", false),
            ("https://listed.example/token", "registry.example", true),
        ] {
            let realm_url = Url::parse(realm).unwrap();
            assert_eq!(
                may_have_credentials(&realm_url, registry, &["listed.example".into()]),
                may,
                "{realm} {registry}"
            );
        }
    }
}
