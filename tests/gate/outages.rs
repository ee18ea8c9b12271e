//! Registries that go away, wholly or in part, and come back: what was known still counts, what could not be learnt is
//! unknown for that reason, and nothing of it is kept.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use freshgate::evidence::{Cache, Fact, ResolvedImage, UnknownReason};
use freshgate::image::build_date::Source;
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::Resolver;
use freshgate::image::resolver::facts::{FactStore, MemoryStore, NoStore};
use serde_json::json;
use tokio::time::Instant;

use super::dates::{date, day, resolve, resolve_at, resolve_until, resolver, resolver_with};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::{Config, Image, entry, index, provenance_entry, referring_provenance};
use crate::cluster::process::READY_WITHIN;
use crate::cluster::registry::Registry;

const A_WHILE: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_secs(1);

/// Dates and sources of an image with nothing remembered but what the store keeps.
async fn afresh(store: &Arc<MemoryStore>, host: &str, reference: &str) -> super::dates::Date {
    let settings = RegistrySettings { insecure: vec![host.to_owned()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), store.clone());
    date(&resolve(&resolver, reference).await)
}

fn undated(seed: &str) -> Config {
    Config::created(seed, "1970-01-01T00:00:00Z")
}

/// R8: refusals of the gate's own are no failures of the registry, or the traffic itself would keep it shut out.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_back_is_asked_again_under_traffic() {
    let real = Registry::distribution();
    real.push("app", "1", &Config::created("app", &day(3)).image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    let resolver = resolver(&[faulty.host()]);
    let another = |number: usize| format!("{}/app-{number}:1", faulty.host());
    let unknown = |found: &Fact<ResolvedImage>| date(found).unwrap_err();
    faulty.set(Fault::Status(503, None));
    for number in 0..20 {
        assert!(unknown(&resolve(&resolver, &another(number)).await).starts_with("Unreachable: "));
    }
    assert!(faulty.take_seen().len() <= 5, "it is left alone");
    faulty.set(Fault::None);
    let give_up = Instant::now() + READY_WITHIN;
    for number in 20.. {
        let said = unknown(&resolve(&resolver, &another(number)).await);
        if said.starts_with("NotFound: ") {
            break;
        }
        assert!(said.contains("did not answer several times in a row"), "{said}");
        assert!(Instant::now() < give_up, "it is never asked again: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(date(&resolve(&resolver, &format!("{}/app:1", faulty.host())).await).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn provenance_that_cannot_be_fetched_leaves_the_date_unknown_and_is_fetched_later() {
    let real = Registry::with_referrers();
    let faulty = FaultyRegistry::before(&real.host()).await;
    let image = undated("listed").image();
    let listed = index(vec![entry("amd64", image.clone()), provenance_entry(&image, &day(4))], &json!({}));
    let attestation = listed.children[1].digest.clone();
    real.push("app", "listed", &listed);
    // A label comes after provenance, so it does not stand in for what may say otherwise.
    let labelled = undated("referring").label("org.opencontainers.image.created", &day(9)).image();
    let provenance = referring_provenance(&labelled, &day(4));
    real.push("app", "referring", &labelled);
    real.push("app", &provenance.digest, &provenance);
    for (tag, at) in [("listed", attestation.as_str()), ("referring", "/referrers/"), ("referring", &provenance.digest)]
    {
        let (store, host) = (Arc::new(MemoryStore::default()), faulty.host());
        let reference = format!("{host}/app:{tag}");
        for (fault, said) in [
            (
                Fault::Status(503, None),
                format!("Unreachable: the build provenance could not be learnt: {host} answered 503"),
            ),
            (
                Fault::Status(429, Some("7".to_owned())),
                format!(
                    "RateLimited: the build provenance could not be learnt: {host} answered 429; it is asked again in 7 seconds"
                ),
            ),
        ] {
            faulty.set(fault.at(at));
            assert_eq!(afresh(&store, &host, &reference).await, Err(said), "{tag} {at}");
        }
        faulty.set(Fault::None);
        assert_eq!(afresh(&store, &host, &reference).await, Ok((day(4), Source::Provenance)), "{tag} {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_a_list_of_referrers_is_no_outage() {
    let real = Registry::with_referrers();
    real.push("app", "1", &undated("app").label("org.opencontainers.image.created", &day(9)).image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    for status in [400, 404, 405, 501] {
        faulty.set(Fault::Status(status, None).at("/referrers/"));
        let found = resolve(&resolver(&[faulty.host()]), &format!("{}/app:1", faulty.host())).await;
        assert_eq!(date(&found), Ok((day(9), Source::Label)), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_waits_for_the_base_that_may_have_it_too() {
    let real = Registry::crane();
    let label = "org.opencontainers.image.created";
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    real.push("base", "1", &Config::created("base", &day(50)).label(label, &day(50)).image());
    let on_base = json!({"org.opencontainers.image.base.name": format!("{host}/base:1")});
    real.push("app", "1", &undated("app").label(label, &day(5)).image_with(&on_base));
    let store = Arc::new(MemoryStore::default());
    faulty.set(Fault::Status(503, None).at("/base/"));
    let open = format!("Unreachable: whether it is the base image's label could not be learnt: {host} answered 503");
    let reference = format!("{host}/app:1");
    assert_eq!(afresh(&store, &host, &reference).await, Err(open));
    faulty.set(Fault::None);
    assert_eq!(afresh(&store, &host, &reference).await, Ok((day(5), Source::Label)));
}

/// R6: what was known before the registry went is still decided, and says how old that knowledge is.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cut_off_after_warming_leaves_tags_stale_and_digests_what_they_are() {
    let real = Registry::distribution();
    let image = Config::created("app", &day(3)).image();
    real.push("app", "1", &image);
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    let (by_tag, by_digest) = (format!("{host}/app:1"), format!("{host}/app@{}", image.digest));
    let store: Arc<MemoryStore> = Arc::default();
    let settings = || RegistrySettings { insecure: vec![faulty.host()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings(), Credentials::default(), store.clone());
    let label = |found: Fact<ResolvedImage>| found.known().map(|found| (found.cache, found.fetched_at));
    let warm = Utc::now();
    let later = |seconds: i64| warm + TimeDelta::seconds(seconds);
    let ask = |resolver: &Resolver, reference: &str, seconds: i64, within: Duration| {
        let (resolver, reference, now) = (resolver.clone(), reference.to_owned(), later(seconds));
        async move { label(resolve_at(&resolver, &reference, now, within).await) }
    };
    assert_eq!(ask(&resolver, &by_tag, 0, A_WHILE).await, Some((Cache::Fetched, warm)));
    assert_eq!(ask(&resolver, &by_tag, 59, A_WHILE).await, Some((Cache::Cached, warm)));
    assert_eq!(ask(&resolver, &by_digest, 59, A_WHILE).await, Some((Cache::Cached, warm)));
    for fault in [Fault::BlackHole, Fault::Status(503, None)] {
        faulty.set(fault);
        // As an API server with a time-out of two seconds leaves it.
        let found = ask(&resolver, &by_tag, 61, Duration::from_millis(750)).await;
        assert_eq!(found, Some((Cache::Stale, warm)), "a tag may mean something else by now");
        let found = ask(&resolver, &by_digest, 3_600, BRIEFLY).await;
        assert_eq!(found, Some((Cache::Cached, warm)), "a digest never means anything else");
    }
    assert_eq!(ask(&resolver, &by_tag, 25 * 3_600, BRIEFLY).await, None, "after a day a tag stands for nothing");
    // In a new process too it says when the registry was asked.
    let restarted = resolver_with(settings(), Credentials::default(), store);
    assert_eq!(ask(&restarted, &by_digest, 3_600, A_WHILE).await, Some((Cache::Cached, warm)));
    faulty.set(Fault::None);
    let fresh = ask(&restarted, &by_tag, 7_200, A_WHILE).await;
    assert_eq!(fresh.map(|(_, fetched_at)| fetched_at), Some(later(7_200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_slow_is_unknown_alone_and_no_younger_than_its_index() {
    let real = Registry::distribution();
    let (amd64, arm64) = (Config::created("amd64", &day(400)).image(), Config::created("arm64", &day(1)).image());
    let both = index(vec![entry("amd64", amd64.clone()), entry("arm64", arm64.clone())], &json!({}));
    real.push("app", "1", &both);
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::BlackHole.at(&arm64.digest));
    let store = Arc::new(MemoryStore::default());
    let met = Utc::now() - TimeDelta::days(200);
    store.first_seen(&both.digest, met).await;
    let settings = RegistrySettings { insecure: vec![faulty.host()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), store);
    let found = resolve_until(&resolver, &format!("{}/app:1", faulty.host()), Duration::from_secs(5)).await;
    let platforms = &found.known().unwrap().platforms;
    let late = format!("{} did not answer in time", faulty.host());
    assert_eq!(platforms[0].built.known().map(|built| built.source), Some(Source::Config));
    assert_eq!(platforms[1].built, Fact::unknown(UnknownReason::Unreachable, late));
    assert_eq!(platforms[1].platform.as_deref(), Some("linux/arm64"));
    assert_eq!(platforms[1].first_seen, Some(met));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_out_of_reach_is_no_younger_than_it_was_first_seen() {
    let real = Registry::distribution();
    let image = Config::created("app", &day(3)).image();
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::BlackHole);
    let store = Arc::new(MemoryStore::default());
    let met = Utc::now() - TimeDelta::days(200);
    let settings = RegistrySettings { insecure: vec![faulty.host()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), store.clone());
    let reference = format!("{}/app@{}", faulty.host(), image.digest);
    assert!(resolve_until(&resolver, &reference, Duration::from_millis(50)).await.known().is_none());
    assert_eq!(store.first_seen_before(&image.digest).await, None, "it was named, not met");
    store.first_seen(&image.digest, met).await;
    let found = resolve_until(&resolver, &reference, Duration::from_millis(50)).await;
    let platform = &found.known().unwrap().platforms[0];
    assert_eq!((platform.first_seen, platform.built.known()), (Some(met), None));
}

/// R8: a token service that asks for patience gets it too, in seconds or until a date.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_asks_for_patience_gets_it() {
    let real = Registry::distribution();
    let (tokens, faulty) = (FaultyRegistry::before(&real.host()).await, FaultyRegistry::before(&real.host()).await);
    faulty.set(Fault::Challenge(format!("Bearer realm=\"http://{}/token\",service=\"x\"", tokens.host())));
    for patience in ["50", "Wed, 25 Nov 2126 12:00:00 GMT"] {
        let resolver = resolver(&[tokens.host(), faulty.host()]);
        tokens.set(Fault::Status(429, Some(patience.to_owned())));
        let asks = |name: &str| {
            let (resolver, reference) = (resolver.clone(), format!("{}/{name}:1", faulty.host()));
            async move { date(&resolve(&resolver, &reference).await).unwrap_err() }
        };
        let first = asks("one").await;
        assert!(
            first.starts_with("RateLimited: ") && first.contains("it answered 429; it is asked again in"),
            "{first}"
        );
        let second = asks("two").await;
        assert!(second.starts_with("RateLimited: ") && second.contains("asked to be left alone for"), "{second}");
        assert_eq!(tokens.take_seen().len(), 1, "{patience}");
    }
}

fn mirrored(registry: &str, mirror: &FaultyRegistry) -> Resolver {
    let settings = RegistrySettings {
        insecure: vec![registry.to_owned(), mirror.host()],
        mirrors: vec![format!("{registry}={}", mirror.host()).parse().unwrap()],
        ..RegistrySettings::default()
    };
    resolver_with(settings, Credentials::default(), Arc::new(NoStore))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_stands_in_and_never_in_the_way() {
    let (origin, copy) = (Registry::distribution(), Registry::distribution());
    let image: Image = Config::created("app", &day(3)).image();
    origin.push("app", "1", &image);
    copy.push("app", "1", &image);
    copy.push("app", "copied", &image);
    let mirror = FaultyRegistry::before(&copy.host()).await;
    let known = Ok((day(3), Source::Config));
    let ask = |registry: String, tag: &str| {
        let (resolver, reference) = (mirrored(&registry, &mirror), format!("{registry}/app:{tag}"));
        // Less than a look-up at a registry that says nothing may take.
        async move { date(&resolve_until(&resolver, &reference, Duration::from_secs(10)).await) }
    };
    assert_eq!(ask(origin.host(), "copied").await, known, "the mirror is asked first");
    assert!(!mirror.take_seen().is_empty());
    for fault in [Fault::BlackHole, Fault::Status(503, None), Fault::Status(404, None)] {
        mirror.set(fault.clone());
        assert_eq!(ask(origin.host(), "1").await, known, "{fault:?}");
    }
    // Behind an air gap a slow mirror is all there is.
    mirror.set(Fault::Slow(Duration::from_secs(1)));
    assert_eq!(ask("127.0.0.1:1".to_owned(), "1").await, known);
}
