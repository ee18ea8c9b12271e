//! What a registry asks for when it says 401, and where its token may be fetched.

use std::sync::PoisonError;
use std::time::Duration;

use http_auth::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use tokio::time::Instant;

use super::answer::{refused_in_words, retry_after};
use super::credentials::Credential;
use super::error::RegistryError;
use super::{Asking, Registries, authority};

const LARGEST_TOKEN_BYTES: u64 = 64 << 10;
/// A token is used for this long unless its answer says less; a minute is what the protocol grants at least.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// For what a token is: never for another repository, and never for whoever has another credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub host: String,
    pub repository: String,
    pub credential: Option<String>,
}

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

impl Registries {
    pub(super) fn remembered_token(&self, key: &TokenKey) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|(_, until)| *until > Instant::now()).map(|(token, _)| token.clone())
    }

    fn remember_token(&self, key: &TokenKey, authorization: &str, life: Duration) {
        let now = Instant::now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, until)| *until > now);
        tokens.insert(key.clone(), (authorization.to_owned(), now + life));
    }

    /// What the challenge asks for; `None` where there is nothing to give.
    pub(super) async fn authorization(
        &self,
        asking: Asking<'_>,
        host: &str,
        key: &TokenKey,
        headers: &HeaderMap,
    ) -> Result<Option<String>, RegistryError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        match challenge(challenges) {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let basic = asking.credential.map(Credential::basic);
                if let Some(basic) = &basic {
                    self.remember_token(key, basic, TOKEN_LIFE);
                }
                Ok(basic)
            }
            Some(Challenge::Bearer { realm, service }) => {
                let (token, life) = self.token(asking, host, &realm, service.as_deref()).await?;
                let bearer = format!("Bearer {token}");
                self.remember_token(key, &bearer, life);
                Ok(Some(bearer))
            }
        }
    }

    /// Fetches a token, with the credential only where the realm may have it.
    async fn token(
        &self,
        asking: Asking<'_>,
        host: &str,
        realm: &str,
        service: Option<&str>,
    ) -> Result<(String, Duration), RegistryError> {
        let unusable = |what: &str| RegistryError::Unauthorized(format!("{host} asks for a token of {what}"));
        let mut url = Url::parse(realm).map_err(|_| unusable("no address"))?;
        let target = authority(&url);
        if url.scheme() != "https" && !self.settings.is_plain_http(&target) {
            return Err(unusable(&format!("{target} without TLS")));
        }
        self.check_address(&target, host)?;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &format!("repository:{}:pull", asking.image.repository()));
        }
        let basic = asking
            .credential
            .filter(|_| may_have_credentials(&url, host, &self.settings.token_hosts))
            .map(Credential::basic);
        // No place among its requests is taken: where the service is the registry itself, there may be none left.
        let limits = self.limits_of(&target);
        limits.check_patience(Instant::now()).map_err(|refused| refused_in_words(&target, refused))?;
        let response = self.send(&target, Method::GET, url, basic).await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(match status {
                429 => {
                    let seconds = limits.rate_limited(retry_after(&response, asking.now));
                    RegistryError::RateLimited(format!(
                        "{target} gives no token for {host} just now: it answered 429; it is asked again in {seconds} seconds"
                    ))
                }
                500..=599 => {
                    RegistryError::Unreachable(format!("{target} gives no token for {host}: it answered {status}"))
                }
                _ => RegistryError::Unauthorized(format!("{target} gives no token for {host}: it answered {status}")),
            });
        }
        let body = self.bounded(&target, response, LARGEST_TOKEN_BYTES, asking.deadline, "token").await?;
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = answer.get("token").or_else(|| answer.get("access_token")).and_then(serde_json::Value::as_str);
        let life = answer.get("expires_in").and_then(serde_json::Value::as_u64).map(Duration::from_secs);
        match token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(token) => Ok((token.to_owned(), life.unwrap_or(TOKEN_LIFE).min(5 * TOKEN_LIFE).mul_f32(0.9))),
            None => Err(unusable(&format!("{target}, whose answer has none"))),
        }
    }
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
