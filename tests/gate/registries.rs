//! Registries that are away, hostile, or in a hurry: a named unknown each time, in time, and nothing leaks.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use freshgate::evidence::{Cache, Fact, ResolvedImage};
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::facts::NoStore;
use freshgate::image::resolver::{Request, Resolver};
use serde_json::json;
use tokio::time::Instant;

use super::dates::{resolve, resolve_until, resolver, resolver_with};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::{Config, Image};
use crate::cluster::registry::Registry;

fn image() -> Image {
    Config::created("app", "2026-11-01T00:00:00Z").image()
}

fn unknown(found: &Fact<ResolvedImage>) -> String {
    match found {
        Fact::Unknown(unknown) => format!("{}: {}", unknown.reason.as_str(), unknown.detail),
        Fact::Known(image) => match &image.platforms[0].built {
            Fact::Unknown(unknown) => format!("{}: {}", unknown.reason.as_str(), unknown.detail),
            Fact::Known(built) => format!("known: {built:?}"),
        },
    }
}

fn docker_config(host: &str, user: &str, password: &str) -> Credentials {
    let config = json!({"auths": {host: {"username": user, "password": password}}});
    Credentials::from_docker_config(&config.to_string()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_a_named_unknown() {
    let real = Registry::distribution();
    real.push("app", "1", &image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    for (fault, expected) in [
        (
            Fault::Status(401, None),
            format!("Unauthorized: {host} wants credentials that the gate does not have: it answered 401"),
        ),
        (
            Fault::Status(403, None),
            format!("Unauthorized: {host} wants credentials that the gate does not have: it answered 403"),
        ),
        (Fault::Status(404, None), format!("NotFound: {host} has no such image: it answered 404")),
        (Fault::Status(429, None), format!("RateLimited: {host} answered 429; it is asked again in 5 seconds")),
        (
            Fault::Status(429, Some("86400".into())),
            format!("RateLimited: {host} answered 429; it is asked again in 60 seconds"),
        ),
        (Fault::Status(500, None), format!("Unreachable: {host} answered 500")),
        (Fault::Html, format!("Unreachable: {host} answered HTML where an image was expected")),
        (Fault::Truncate(20), format!("Unreachable: {host} broke off in the middle of a manifest")),
        (Fault::Endless, format!("Unreachable: {host} serves a manifest larger than 4 MiB")),
        (
            Fault::Redirect("http://169.254.169.254/latest/meta-data".into()),
            format!("NotAllowed: {host} sends us on to 169.254.169.254 without TLS"),
        ),
        (
            Fault::Redirect("https://169.254.169.254/latest/meta-data".into()),
            format!(
                "NotAllowed: 169.254.169.254, to which {host} sends on is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP"
            ),
        ),
        (
            Fault::Redirect("https://[::1]/x".into()),
            format!(
                "NotAllowed: [::1], to which {host} sends on is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP"
            ),
        ),
        (
            Fault::Redirect("https://localhost:1/x".into()),
            format!(
                "NotAllowed: localhost:1, to which {host} sends on is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP"
            ),
        ),
        (
            Fault::Challenge("Bearer realm=\"http://127.0.0.9:1/token\"".into()),
            format!("Unauthorized: {host} asks for a token of 127.0.0.9:1 without TLS"),
        ),
    ] {
        faulty.set(fault.clone());
        // A resolver of its own: nothing remembered, no circuit open.
        let found = resolve(&resolver(std::slice::from_ref(&host)), &format!("{host}/app:1")).await;
        assert_eq!(unknown(&found), expected, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_the_digest_names_are_an_integrity_failure() {
    let real = Registry::distribution();
    real.push("app", "1", &image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Corrupt);
    let reference = format!("{}/app@{}", faulty.host(), image().digest);
    let found = resolve(&resolver(&[faulty.host()]), &reference).await;
    assert_eq!(
        unknown(&found),
        format!("IntegrityFailure: {} serves other bytes than {} names", faulty.host(), image().digest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline() {
    let real = Registry::distribution();
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::BlackHole);
    let resolver = resolver(&[faulty.host()]);
    let began = Instant::now();
    let found = resolve_until(&resolver, &format!("{}/app:1", faulty.host()), Duration::from_millis(300)).await;
    assert_eq!(unknown(&found), format!("Unreachable: {} did not answer in time", faulty.host()));
    assert!(began.elapsed() < Duration::from_secs(15), "the deadline was the caller's, not the registry's");
    let closed = resolve(&resolver_of_nobody(), "127.0.0.1:1/app:1").await;
    assert_eq!(unknown(&closed), "Unreachable: 127.0.0.1:1 cannot be reached");
}

fn resolver_of_nobody() -> Resolver {
    resolver(&["127.0.0.1:1".to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_refused_without_a_socket() {
    let resolver = resolver(&[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (reference, host) in [
        ("169.254.169.254/x:y".to_owned(), "169.254.169.254".to_owned()),
        (format!("127.0.0.1:{port}/x:y"), format!("127.0.0.1:{port}")),
        (format!("localhost:{port}/x"), format!("localhost:{port}")),
        ("10.0.0.1/x".to_owned(), "10.0.0.1".to_owned()),
        (format!("127.1:{port}/x"), format!("127.1:{port}")),
        (format!("2130706433:{port}/x"), format!("2130706433:{port}")),
    ] {
        let expected = format!(
            "NotAllowed: {host} is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP"
        );
        assert_eq!(unknown(&resolve(&resolver, &reference).await), expected);
    }
    // A name of this machine, found only when it is resolved.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
    if let Ok(mut addresses) = std::net::ToSocketAddrs::to_socket_addrs(&(format!("{name}."), port))
        && addresses.any(|address| address.ip().is_loopback())
    {
        let found = unknown(&resolve(&resolver, &format!("{name}.:{port}/x")).await);
        assert!(found.starts_with("NotAllowed: ") || found.starts_with("InvalidReference: "), "{found}");
    }
    assert!(listener.accept().is_err(), "a socket was opened");
    assert!(unknown(&resolve(&resolver, "[::1]:5000/x").await).starts_with("InvalidReference: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_registries_are_asked() {
    let settings = RegistrySettings { allow: vec!["*.example".into()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), Arc::new(NoStore));
    let found = resolve(&resolver, "docker.io/library/nginx").await;
    assert_eq!(
        unknown(&found),
        "NotAllowed: the registry docker.io is not on the list of allowed registries; if it is meant, add it with --allow-registry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_realm_gets_no_credentials() {
    let real = Registry::distribution();
    let (thief, faulty) = (FaultyRegistry::before(&real.host()).await, FaultyRegistry::before(&real.host()).await);
    // Another host, as far as names go, though it is listed and may be talked to.
    let thief_host = thief.host().replace("127.0.0.1", "localhost");
    faulty.set(Fault::Challenge(format!("Bearer realm=\"http://{thief_host}/token\",service=\"x\"")));
    let settings = RegistrySettings { insecure: vec![faulty.host(), thief_host], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, docker_config(&faulty.host(), "me", "secret"), Arc::new(NoStore));
    let found = resolve(&resolver, &format!("{}/app:1", faulty.host())).await;
    assert!(unknown(&found).starts_with("Unauthorized: "), "{}", unknown(&found));
    let asked = thief.take_seen();
    assert_eq!(asked.len(), 1, "the realm is asked for an anonymous token");
    assert_eq!(asked[0].authorization, None);
    assert!(faulty.take_seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_elsewhere_carries_no_credentials() {
    let real = Registry::distribution();
    real.push("app", "1", &image());
    let elsewhere = FaultyRegistry::before(&real.host()).await;
    let faulty = FaultyRegistry::before(&real.host()).await;
    let settings = RegistrySettings { insecure: vec![faulty.host(), elsewhere.host()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, docker_config(&faulty.host(), "me", "secret"), Arc::new(NoStore));
    faulty.set(Fault::Challenge("Basic realm=\"x\"".into()));
    let _ = resolve(&resolver, &format!("{}/app:1", faulty.host())).await;
    let basic = faulty.take_seen();
    assert!(basic.iter().any(|seen| seen.authorization.is_some()), "the registry itself may have them: {basic:?}");
    faulty.set(Fault::Redirect(format!("http://{}/v2/app/manifests/1", elsewhere.host())));
    let _ = resolve(&resolver, &format!("{}/app:2", faulty.host())).await;
    let seen = elsewhere.take_seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_credentials_serve_no_other() {
    let registry = Registry::distribution_with_password();
    registry.push("team/app", "1", &image());
    let resolver = resolver(&[registry.host()]);
    let reference = format!("{}/team/app:1", registry.host());
    let with = |credentials: Option<Credentials>| {
        let (resolver, reference) = (resolver.clone(), reference.clone());
        async move {
            let deadline = Instant::now() + Duration::from_secs(20);
            let request = Request { credentials: credentials.as_ref(), platforms: &[], now: Utc::now(), deadline };
            resolver.resolve(&reference, request).await
        }
    };
    let mine = docker_config(&registry.host(), "me", "secret");
    assert!(with(Some(mine.clone())).await.known().is_some());
    let refused =
        format!("Unauthorized: {} wants credentials that the gate does not have: it answered 401", registry.host());
    assert_eq!(unknown(&with(None).await), refused);
    assert_eq!(unknown(&with(Some(docker_config(&registry.host(), "me", "wrong"))).await), refused);
    assert!(with(Some(mine)).await.known().is_some());
    // What a digest is, is no secret once it is known.
    let by_digest = format!("{}/team/app@{}", registry.host(), image().digest);
    assert!(resolve(&resolver, &by_digest).await.known().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_questions_are_one_look_up() {
    let real = Registry::distribution();
    real.push("app", "1", &image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Slow(Duration::from_millis(200)));
    let resolver = resolver(&[faulty.host()]);
    let by_digest = format!("{}/app@{}", faulty.host(), image().digest);
    let all = futures::future::join_all((0..500).map(|_| resolve(&resolver, &by_digest))).await;
    assert!(all.iter().all(|found| found.known().is_some()));
    let seen = faulty.take_seen();
    let count = |part: &str| seen.iter().filter(|seen| seen.path.contains(part)).count();
    assert_eq!((count("/manifests/"), count("/blobs/")), (1, 1), "{seen:?}");
    // A tag that means a digest which is known costs one request; asked again within a minute, none.
    let by_tag = format!("{}/app:1", faulty.host());
    let _ = futures::future::join_all((0..50).map(|_| resolve(&resolver, &by_tag))).await;
    assert_eq!(faulty.take_seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_goes_on_when_nobody_waits_any_more() {
    let real = Registry::distribution();
    real.push("app", "1", &image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Slow(Duration::from_millis(400)));
    let resolver = resolver(&[faulty.host()]);
    let reference = format!("{}/app@{}", faulty.host(), image().digest);
    assert!(resolve_until(&resolver, &reference, Duration::from_millis(50)).await.known().is_none());
    assert!(resolve(&resolver, &reference).await.known().is_some());
    assert_eq!(faulty.take_seen().len(), 2, "the first look-up was joined, not repeated");
}

/// R6: what was known before the registry went is still decided, and labelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cut_off_leaves_digests_known_and_other_registries_alone() {
    let (real, other) = (Registry::distribution(), Registry::crane());
    real.push("app", "1", &image());
    let others = other.push("app", "1", &image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    let resolver = resolver(&[faulty.host(), other.host()]);
    let by_digest = format!("{}/app@{}", faulty.host(), image().digest);
    assert!(resolve(&resolver, &by_digest).await.known().is_some());
    faulty.set(Fault::Status(503, None));
    assert_eq!(resolve(&resolver, &by_digest).await.known().map(|image| image.cache), Some(Cache::Cached));
    let unknown_tag = format!("{}/app:9", faulty.host());
    for _ in 0..8 {
        assert!(unknown(&resolve(&resolver, &unknown_tag).await).starts_with("Unreachable: "));
    }
    assert!(faulty.take_seen().len() <= 8, "no storm");
    assert!(resolve(&resolver, &others).await.known().is_some());
}
