//! When was it built? Real registries, images with every kind of date.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use freshgate::evidence::{Fact, ResolvedImage, UnknownReason};
use freshgate::image::build_date::{Source, rfc3339};
use freshgate::image::registry::Registries;
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::facts::{FactStore, MemoryStore, NoStore};
use freshgate::image::resolver::{Request, Resolver};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::image::{self, Config, Image, bare_entry, entry, index, provenance_entry, schema_1};
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

pub fn resolver_with(settings: RegistrySettings, own: Credentials, store: Arc<dyn FactStore>) -> Resolver {
    install_tls();
    Resolver::new(Registries::new(settings).unwrap(), own, store)
}

pub fn resolver(insecure: &[String]) -> Resolver {
    let settings = RegistrySettings { insecure: insecure.to_vec(), ..RegistrySettings::default() };
    resolver_with(settings, Credentials::default(), Arc::new(NoStore))
}

pub async fn resolve(resolver: &Resolver, reference: &str) -> Fact<ResolvedImage> {
    resolve_until(resolver, reference, Duration::from_secs(20)).await
}

pub async fn resolve_until(resolver: &Resolver, reference: &str, within: Duration) -> Fact<ResolvedImage> {
    resolve_at(resolver, reference, Utc::now(), within).await
}

/// As a decision of this time asks.
pub async fn resolve_at(
    resolver: &Resolver,
    reference: &str,
    now: DateTime<Utc>,
    within: Duration,
) -> Fact<ResolvedImage> {
    let deadline = Instant::now() + within;
    resolver.resolve(reference, Request { credentials: None, platforms: &[], now, deadline }).await
}

/// A date and its source, or why there is none.
pub type Date = Result<(String, Source), String>;

/// The oldest date of the image's platforms with its source, or why one is unknown.
pub fn date(image: &Fact<ResolvedImage>) -> Date {
    let image = match image {
        Fact::Known(image) => image,
        Fact::Unknown(unknown) => return Err(format!("{}: {}", unknown.reason.as_str(), unknown.detail)),
    };
    let mut dates = Vec::new();
    for platform in &image.platforms {
        match &platform.built {
            Fact::Known(built) => dates.push((built.time, built.source)),
            Fact::Unknown(unknown) => return Err(format!("{}: {}", unknown.reason.as_str(), unknown.detail)),
        }
    }
    let (time, source) = dates.into_iter().min().unwrap();
    Ok((rfc3339(time), source))
}

/// The same in one run however often it is asked: whole dates are compared.
pub fn day(days_ago: i64) -> String {
    static NOW: LazyLock<DateTime<Utc>> = LazyLock::new(Utc::now);
    rfc3339(*NOW - TimeDelta::days(days_ago))
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_are_found_wherever_build_tools_leave_them() {
    let registry = Registry::crane();
    let resolver = resolver(&[registry.host()]);
    let annotation = |date: &str| json!({"org.opencontainers.image.created": date});
    let zero = || Config::created("z", "1970-01-01T00:00:00Z");
    let (young, old) = (day(10), day(100));
    let amd64 = || Config::created("amd64", &young).image();
    let arm64 = Config::created("arm64", &old).platform("arm64").image();
    let undated = || zero().image();
    let no_date = |says: &str| Err(format!("NoDate: the image config says {says}"));
    let cases: Vec<(&str, Image, Date)> = vec![
        ("config", amd64(), Ok((young.clone(), Source::Config))),
        (
            "offset",
            Config::created("o", "2026-08-03T10:00:00+02:00").image(),
            Ok(("2026-08-03T08:00:00Z".into(), Source::Config)),
        ),
        (
            "space",
            Config::created("s", "2026-08-03 10:00:00Z").image(),
            Ok(("2026-08-03T10:00:00Z".into(), Source::Config)),
        ),
        ("missing", Config::dateless("m").image(), Err("NoDate: it carries no date at all".into())),
        ("empty", Config::created("e", "").image(), Err("NoDate: the image config has an empty date".into())),
        (
            "zero",
            Config::created("0", "0001-01-01T00:00:00Z").image(),
            no_date("0001-01-01T00:00:00Z: year 1 is the zero of Go's clock, not a build date"),
        ),
        (
            "epoch",
            zero().image(),
            no_date("1970-01-01T00:00:00Z: 1970 is what reproducible builds write in place of a date"),
        ),
        (
            "future",
            Config::created("f", "2126-01-01T00:00:00Z").image(),
            no_date("2126-01-01T00:00:00Z: it lies in the future"),
        ),
        ("label", zero().label("org.opencontainers.image.created", &young).image(), Ok((young.clone(), Source::Label))),
        ("old-label", zero().label("org.label-schema.build-date", &young).image(), Ok((young.clone(), Source::Label))),
        (
            "history",
            Config::dateless("h").with("history", json!([{"created": old}, {"created": young}])).image(),
            Ok((young.clone(), Source::History)),
        ),
        (
            "jib",
            zero().with("history", json!([{"created": old}, {"created_by": "jib"}])).image(),
            no_date("1970-01-01T00:00:00Z: 1970 is what reproducible builds write in place of a date"),
        ),
        (
            "manifest-annotation",
            zero().image_with(&annotation(&young)),
            Ok((young.clone(), Source::ManifestAnnotation)),
        ),
        (
            "index-annotation",
            index(vec![entry("amd64", undated())], &annotation(&young)),
            Ok((young.clone(), Source::IndexAnnotation)),
        ),
        (
            "oldest",
            index(vec![entry("amd64", amd64()), entry("arm64", arm64.clone())], &json!({})),
            Ok((old.clone(), Source::Config)),
        ),
        ("unnamed", index(vec![bare_entry(arm64.clone())], &json!({})), Ok((old.clone(), Source::Config))),
        (
            "nested",
            index(vec![bare_entry(index(vec![entry("arm64", arm64)], &json!({})))], &json!({})),
            Ok((old.clone(), Source::Config)),
        ),
        (
            "provenance",
            index(vec![entry("amd64", undated()), provenance_entry(&undated(), &young)], &json!({})),
            Ok((young.clone(), Source::Provenance)),
        ),
        (
            "attested",
            index(vec![entry("amd64", amd64()), provenance_entry(&amd64(), &old)], &json!({})),
            Ok((young.clone(), Source::Config)),
        ),
        ("schema1", schema_1(&young, false), Ok((young.clone(), Source::History))),
        ("signed", schema_1(&old, true), Ok((old.clone(), Source::History))),
    ];
    for (tag, image, expected) in cases {
        let reference = registry.push("dates", tag, &image);
        let found = resolve(&resolver, &reference).await;
        assert_eq!(date(&found), expected, "{tag}");
        if tag != "signed" {
            assert_eq!(found.known().map(|found| found.digest.as_str()), Some(image.digest.as_str()), "{tag}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inherited_label_is_not_this_builds_date() {
    let registry = Registry::crane();
    let resolver = resolver(&[registry.host()]);
    let label = "org.opencontainers.image.created";
    let base = Config::created("base", &day(50)).label(label, &day(50)).image();
    let base_reference = registry.push("base", "1", &base);
    let on_base = json!({"org.opencontainers.image.base.name": base_reference, "org.opencontainers.image.base.digest": base.digest});
    let built =
        |seed: &str, date: &str| Config::created(seed, "1970-01-01T00:00:00Z").label(label, date).image_with(&on_base);

    let inherited = registry.push("app", "inherited", &built("i", &day(50)));
    let found = resolve(&resolver, &inherited).await;
    assert!(date(&found).is_err(), "{found:?}");
    let candidates = &found.known().unwrap().platforms[0].candidates;
    assert!(candidates.iter().any(|one| one.why == "the base image has the same label"), "{candidates:?}");

    let own = registry.push("app", "own", &built("o", &day(5)));
    assert_eq!(date(&resolve(&resolver, &own).await), Ok((day(5), Source::Label)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_met_before_its_date_is_as_old_as_that() {
    let registry = Registry::distribution();
    let store = Arc::new(MemoryStore::default());
    let image = Config::created("re-dated", &day(1)).image();
    let met: DateTime<Utc> = Utc::now() - TimeDelta::days(200);
    store.first_seen(&image.digest, met).await;
    let settings = RegistrySettings { insecure: vec![registry.host()], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), store);
    let reference = registry.push("app", "1", &image);
    assert_eq!(date(&resolve(&resolver, &reference).await), Ok((rfc3339(met), Source::FirstSeen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_stands_in_for_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Config::created("1", &day(1)).image(), Config::created("2", &day(2)).image());
    image::write_layout(folder.path(), &[("shop/app:1", &one), ("registry.example/other/app:2", &two)]);
    let mirror = format!("registry.example=oci:{}", folder.path().display()).parse().unwrap();
    let settings = RegistrySettings { mirrors: vec![mirror], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), Arc::new(NoStore));
    for (reference, found) in [
        ("registry.example/shop/app:1".to_owned(), Ok((day(1), Source::Config))),
        ("registry.example/other/app:2".to_owned(), Ok((day(2), Source::Config))),
        (format!("registry.example/any/name@{}", one.digest), Ok((day(1), Source::Config))),
        (
            "registry.example/shop/app:9".to_owned(),
            Err(format!("NotFound: the image layout {} has no shop/app:9", folder.path().display())),
        ),
    ] {
        assert_eq!(date(&resolve(&resolver, &reference).await), found, "{reference}");
    }
    // A blob that was changed is told by its digest.
    let path = folder.path().join("blobs/sha256").join(two.digest.trim_start_matches("sha256:"));
    std::fs::write(path, "{}").unwrap();
    let fresh = resolver_with(
        RegistrySettings {
            mirrors: vec![format!("registry.example=oci:{}", folder.path().display()).parse().unwrap()],
            ..RegistrySettings::default()
        },
        Credentials::default(),
        Arc::new(NoStore),
    );
    match resolve(&fresh, "registry.example/other/app:2").await {
        Fact::Unknown(unknown) => assert_eq!(unknown.reason, UnknownReason::IntegrityFailure),
        known @ Fact::Known(_) => panic!("{known:?}"),
    }
}

/// T15: what an index lists is looked at within bounds, however its levels multiply.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_of_indexes_are_looked_at_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let nested = |number: usize| {
        let image = |one: usize| bare_entry(Config::created(&format!("{number}-{one}"), &day(1)).image());
        bare_entry(index((0..60).map(image).collect(), &json!({})))
    };
    let whole = index((0..4).map(nested).collect(), &json!({}));
    image::write_layout(folder.path(), &[("app:1", &whole)]);
    let mirror = format!("registry.example/app=oci:{}", folder.path().display()).parse().unwrap();
    let settings = RegistrySettings { mirrors: vec![mirror], ..RegistrySettings::default() };
    let resolver = resolver_with(settings, Credentials::default(), Arc::new(NoStore));
    let found = resolve(&resolver, "registry.example/app:1").await;
    let platforms = &found.known().unwrap().platforms;
    let refused: Vec<_> = platforms.iter().filter(|platform| platform.built.known().is_none()).collect();
    assert_eq!((platforms.len(), refused.len()), (2 * 60 + 2, 2));
    let why = "its indexes list more than 128 images in all";
    assert!(refused.iter().all(|platform| platform.built == Fact::unknown(UnknownReason::NoDate, why)), "{refused:?}");
}
