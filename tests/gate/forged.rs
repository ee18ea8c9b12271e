//! What whoever has a registry can make of an image that another one serves: nothing.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use freshgate::image::build_date::{Source, rfc3339};
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::Resolver;
use freshgate::image::resolver::facts::{FactStore, MemoryStore};
use serde_json::{Value, json};

use super::dates::{date, day, resolve, resolve_at, resolver, resolver_with};
use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::{Config, entry, index, referring_provenance};
use crate::cluster::registry::Registry;

fn resolver_over(store: Arc<dyn FactStore>, hosts: &[String]) -> Resolver {
    let settings = RegistrySettings { insecure: hosts.to_vec(), ..RegistrySettings::default() };
    resolver_with(settings, Credentials::default(), store)
}

/// The same bytes with members added before the last brace, which say that everything else was signed.
fn forge(body: &[u8], more: &Value) -> Vec<u8> {
    let head = body.strip_suffix(b"}").unwrap();
    let protected = json!({"formatLength": head.len(), "formatTail": URL_SAFE_NO_PAD.encode("}")}).to_string();
    let mut more = more.clone();
    more["signatures"] = json!([{"protected": URL_SAFE_NO_PAD.encode(protected)}]);
    [head, b",", more.to_string().strip_prefix('{').unwrap().as_bytes()].concat()
}

/// T2 and law 2: a digest means the same wherever it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature_makes_no_digest_younger() {
    let real = Registry::crane();
    let fresh = json!({"org.opencontainers.image.created": day(2)});
    let old = Config::created("old", &day(400)).image();
    let config = old.blobs.iter().find(|(_, blob)| blob.starts_with(b"{")).unwrap();
    let undated = Config::dateless("undated").image();
    let listed = index(vec![entry("amd64", Config::dateless("listed").image())], &json!({}));
    let younger = json!({"digest": Config::created("new", &day(2)).image().digest});
    let cases = [
        ("config", &old, config.0, forge(config.1, &json!({"created": day(2)})), Ok((day(400), Source::Config))),
        (
            "manifest",
            &undated,
            &undated.digest,
            forge(&undated.body, &json!({"annotations": fresh})),
            Err("NoDate: it carries no date at all".to_owned()),
        ),
        (
            "index",
            &listed,
            &listed.digest,
            forge(&listed.body, &json!({"annotations": fresh, "manifests": [younger]})),
            Err("NoDate: it carries no date at all".to_owned()),
        ),
    ];
    for (tag, image, forged_digest, forged, truth) in cases {
        real.push("app", tag, image);
        let evil = FaultyRegistry::before(&real.host()).await;
        evil.set(Fault::Serve(forged).at(forged_digest));
        let resolver = resolver_over(Arc::new(MemoryStore::default()), &[real.host(), evil.host()]);
        let asked_there = resolve(&resolver, &format!("{}/app@{}", evil.host(), image.digest)).await;
        let refusal = format!("IntegrityFailure: {} serves other bytes than {forged_digest} names", evil.host());
        assert_eq!(date(&asked_there), Err(refusal), "{tag}");
        let asked_here = resolve(&resolver, &format!("{}/app@{}", real.host(), image.digest)).await;
        assert_eq!(date(&asked_here), truth, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn provenance_that_refers_to_an_image_counts_in_its_own_repository_alone() {
    let (trusted, evil) = (Registry::with_referrers(), Registry::with_referrers());
    let image = Config::created("app", "1970-01-01T00:00:00Z").image();
    trusted.push("app", "1", &image);
    evil.push("app", "1", &image);
    let provenance = referring_provenance(&image, &day(2));
    evil.push("app", &provenance.digest, &provenance);
    let store = Arc::new(MemoryStore::default());
    let hosts = [trusted.host(), evil.host()];
    let here = |host: String| format!("{host}/app@{}", image.digest);
    let no_date = Err(
        "NoDate: the image config says 1970-01-01T00:00:00Z: 1970 is what reproducible builds write in place of a date"
            .to_owned(),
    );
    let one = resolver_over(store.clone(), &hosts);
    assert_eq!(date(&resolve(&one, &here(evil.host())).await), Ok((day(2), Source::Provenance)));
    assert_eq!(date(&resolve(&one, &here(trusted.host())).await), no_date);
    let restarted = resolver_over(store, &hosts);
    assert_eq!(date(&resolve(&restarted, &here(trusted.host())).await), no_date);
    assert_eq!(date(&resolve(&restarted, &here(evil.host())).await), Ok((day(2), Source::Provenance)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_index_makes_what_it_lists_no_younger() {
    let registry = Registry::crane();
    let child = || entry("amd64", Config::dateless("child").image());
    let annotated = |date: &str| json!({"org.opencontainers.image.created": date});
    let first = registry.push("app", "first", &index(vec![child()], &annotated(&day(210))));
    let again = registry.push("app", "again", &index(vec![child()], &annotated(&day(1))));
    let resolver = resolver_over(Arc::new(MemoryStore::default()), &[registry.host()]);
    let then = Utc::now() - TimeDelta::days(200);
    let found = resolve_at(&resolver, &first, then, Duration::from_secs(20)).await;
    assert_eq!(date(&found), Ok((day(210), Source::IndexAnnotation)));
    assert_eq!(date(&resolve(&resolver, &again).await), Ok((rfc3339(then), Source::FirstSeen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_an_image_and_an_index_at_once_is_neither() {
    let real = Registry::crane();
    let (old, new) = (Config::created("old", &day(400)).image(), Config::created("new", &day(1)).image());
    real.push("app", "old", &old);
    real.push("app", "new", &new);
    let mut both: Value = serde_json::from_slice(&old.body).unwrap();
    both["manifests"] = json!([{"digest": new.digest, "platform": {"os": "linux", "architecture": "amd64"}}]);
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Serve(both.to_string().into_bytes()).at("/manifests/both"));
    let found = resolve(&resolver(&[faulty.host()]), &format!("{}/app:both", faulty.host())).await;
    let why = "NoDate: a manifest that is of several kinds at once is no image: which one runs would be chance";
    assert_eq!(date(&found), Err(why.to_owned()));
}
