//! How the gate gets into registries that do not let everybody in: authorities, tokens, and one secret after another.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use freshgate::evidence::{Cache, Fact, ResolvedImage};
use freshgate::image::build_date::Source;
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::facts::NoStore;
use freshgate::image::resolver::{Request, Resolver};
use serde_json::json;
use tokio::time::Instant;

use super::dates::{Date, date, day, resolve, resolver, resolver_with};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::Config;
use crate::cluster::registry::Registry;

fn secret(host: &str, user: &str, password: &str) -> Credentials {
    let config = json!({"auths": {host: {"username": user, "password": password}}});
    Credentials::from_docker_config(&config.to_string()).unwrap()
}

async fn with(resolver: &Resolver, secrets: Credentials, reference: &str) -> Date {
    date(&with_at(resolver, &secrets, reference, Utc::now()).await)
}

async fn with_at(
    resolver: &Resolver,
    secrets: &Credentials,
    reference: &str,
    now: DateTime<Utc>,
) -> Fact<ResolvedImage> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let request = Request { credentials: Some(secrets), platforms: &[], now, deadline };
    resolver.resolve(reference, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_an_own_authority_is_trusted_where_that_is_given() {
    let (registry, authority) = Registry::distribution_with_tls();
    let reference = registry.push("app", "1", &Config::created("app", &day(3)).image());
    let resolver = |ca_files| {
        let settings = RegistrySettings { private: vec![registry.host()], ca_files, ..RegistrySettings::default() };
        resolver_with(settings, Credentials::default(), Arc::new(NoStore))
    };
    let refused = format!("Unreachable: {} cannot be reached", registry.host());
    assert_eq!(date(&resolve(&resolver(Vec::new()), &reference).await), Err(refused));
    assert_eq!(date(&resolve(&resolver(vec![authority]), &reference).await), Ok((day(3), Source::Config)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_with_the_credential_and_used_again() {
    let real = Registry::distribution();
    real.push("app", "1", &Config::created("app", &day(3)).image());
    let guarded = FaultyRegistry::before(&real.host()).await;
    guarded.set(Fault::Token);
    let host = guarded.host();
    let resolver = resolver(std::slice::from_ref(&host));
    let reference = format!("{host}/app:1");
    let refused = Err(format!("Unauthorized: {host} gives no token for {host}: it answered 401"));
    assert_eq!(with(&resolver, secret(&host, "me", "wrong"), &reference).await, refused);
    guarded.take_seen();
    assert_eq!(with(&resolver, secret(&host, "me", "secret"), &reference).await, Ok((day(3), Source::Config)));
    let seen = guarded.take_seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path.split('?').next().unwrap()).collect();
    assert_eq!(paths[..3], ["/v2/app/manifests/1", "/token", "/v2/app/manifests/1"]);
    assert_eq!(paths.len(), 4, "the config is fetched with the same token: {paths:?}");
    assert!(seen[1].path.contains("service=test&scope=repository%3Aapp%3Apull"), "{}", seen[1].path);
    assert_eq!(seen[3].authorization.as_deref(), Some("Bearer good"));
}

/// As the kubelet does: a secret that does not open is no reason not to try the next.
#[tokio::test(flavor = "multi_thread")]
async fn every_pull_secret_that_fits_is_tried() {
    let registry = Registry::distribution_with_password();
    registry.push("team/app", "1", &Config::created("app", &day(3)).image());
    let (host, reference) = (registry.host(), format!("{}/team/app:1", registry.host()));
    let two = |one: Credentials, other: Credentials| one.and(other);
    let (right, wrong) = (secret(&host, "me", "secret"), secret(&host, "me", "wrong"));
    let exact = secret(&format!("{host}/team"), "me", "expired");
    let known = Ok((day(3), Source::Config));
    for secrets in [two(wrong.clone(), right.clone()), two(right.clone(), wrong.clone()), two(exact, right.clone())] {
        assert_eq!(with(&resolver(&[registry.host()]), secrets, &reference).await, known);
    }
    // Those of the gate's own come last.
    let settings = RegistrySettings { insecure: vec![host.clone()], ..RegistrySettings::default() };
    let own = resolver_with(settings, right, Arc::new(NoStore));
    assert_eq!(with(&own, wrong, &reference).await, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_that_opened_before_is_tried_first() {
    let registry = Registry::distribution_with_password();
    registry.push("app", "1", &Config::created("app", &day(3)).image());
    let faulty = FaultyRegistry::before(&registry.host()).await;
    let (host, reference) = (faulty.host(), format!("{}/app:1", faulty.host()));
    let secrets = secret(&host, "me", "wrong").and(secret(&host, "me", "secret"));
    let resolver = resolver(std::slice::from_ref(&host));
    let now = Utc::now();
    let ask = |seconds: i64| {
        let (resolver, secrets, reference) = (resolver.clone(), secrets.clone(), reference.clone());
        let then = now + TimeDelta::seconds(seconds);
        async move { with_at(&resolver, &secrets, &reference, then).await.known().map(|found| found.cache) }
    };
    assert_eq!(ask(0).await, Some(Cache::Fetched));
    faulty.take_seen();
    assert_eq!(ask(30).await, Some(Cache::Cached));
    assert_eq!(faulty.take_seen(), [], "the one that did not open is not tried again and again");
    faulty.set(Fault::Status(503, None));
    assert_eq!(ask(61).await, Some(Cache::Stale));
}
