//! What one review costs, part by part: decode, classify, evaluate, and the way of the whole without TLS and disk.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/cluster/image.rs"]
#[allow(dead_code)]
mod image;

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use freshgate::admission::decode::decode;
use freshgate::admission::{Gate, Recording, RecordingSettings};
use freshgate::audit::{Audit, AuditSettings};
use freshgate::clock;
use freshgate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use freshgate::image::registry::Registries;
use freshgate::image::registry::credentials::Credentials;
use freshgate::image::registry::settings::RegistrySettings;
use freshgate::image::resolver::facts::StoredFacts;
use freshgate::image::resolver::{Request, Resolver};
use freshgate::metrics::Metrics;
use freshgate::policy::compile::{CompiledPolicy, PolicySet};
use freshgate::policy::evaluate::evaluate;
use freshgate::server::Reviewer as _;
use freshgate::server::deadline::Deadline;
use freshgate::store::Store;
use freshgate::subject::change::classify;
use freshgate::subject::kinds::WorkloadKinds;
use freshgate::telemetry::Traces;
use hyper::HeaderMap;
use kube::api::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::json;
use tokio::time::Instant;

/// What an API server sent for a Deployment's first `kubectl apply`, and for the one that brought a new image.
const CREATE: &[u8] = include_bytes!("../tests/fixtures/review-create-deployment.json");
const UPDATE: &[u8] = include_bytes!("../tests/fixtures/review-update-image-of-deployment.json");

/// One policy for everything, and others for namespaces with labels of their own.
fn policies(count: usize) -> PolicySet {
    let compile = |number: usize| {
        let selector = json!({"namespaceSelector": {"matchLabels": {"team": format!("team-{number}")}}});
        let matches = if number == 0 { json!({}) } else { selector };
        let spec = json!({"match": matches, "validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}});
        CompiledPolicy::compile(&format!("policy-{number}"), serde_json::from_value(spec).unwrap()).unwrap()
    };
    PolicySet::new((0..count).map(compile).collect())
}

fn reviews(criterion: &mut Criterion) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let built = (Utc::now() - TimeDelta::days(3)).to_rfc3339();
    let image = image::Config::created("x", &built).image();
    image::write_layout(folder.path(), &[("shop/checkout:3.0", &image), ("shop/checkout:3.1", &image)]);
    let mirror = format!("registry.example=oci:{}", folder.path().display()).parse().unwrap();
    let settings = RegistrySettings { mirrors: vec![mirror], ..RegistrySettings::default() };
    let kinds = WorkloadKinds::default();

    for (name, review) in [("create", CREATE), ("update", UPDATE)] {
        criterion.bench_function(&format!("decode/{name}, kube DynamicObject (floor)"), |bencher| {
            bencher.iter(|| serde_json::from_slice::<AdmissionReview<DynamicObject>>(black_box(review)).unwrap());
        });
        criterion.bench_function(&format!("decode/{name}, ours"), |bencher| {
            bencher.iter(|| decode(black_box(review), &kinds).unwrap());
        });
    }

    let location = format!("sqlite:{}", folder.path().join("bench.db").display()).parse().unwrap();
    let (store, audit) = runtime.block_on(async {
        let store = Store::open(&location).await.unwrap();
        let audit = Audit::open(AuditSettings::default(), &store, Utc::now()).await.unwrap();
        (store, Arc::new(audit))
    });
    let resolver =
        Resolver::new(Registries::new(settings).unwrap(), Credentials::default(), Arc::new(StoredFacts(store.clone())));
    let gatherer = Gatherer {
        resolver: resolver.clone(),
        ledger: Some(store.ledger()),
        cluster: None,
        stated: StatedLabels::default(),
        budgets: Budgets::default(),
        exceptions: Arc::default(),
        traces: Traces::default(),
    };
    let subject = decode(UPDATE, &kinds).unwrap().subject.unwrap();
    let one = policies(1);
    let now = Utc::now();
    let soon = || Instant::now() + std::time::Duration::from_secs(10);
    let evidence = runtime.block_on(gatherer.gather(&subject, &one, now, soon()));

    criterion.bench_function("resolve/warm", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let request = Request { credentials: None, platforms: &[], now, deadline: soon() };
            resolver.resolve("registry.example/shop/checkout:3.0", request).await
        });
    });
    criterion.bench_function("classify", |bencher| bencher.iter(|| classify(black_box(&subject), &evidence, now)));
    let mut group = criterion.benchmark_group("evaluate");
    for count in [1, 10, 100, 1_000] {
        let set = policies(count);
        group.bench_with_input(BenchmarkId::new("policies", count), &set, |bencher, set| {
            bencher.iter(|| evaluate(black_box(&subject), &evidence, set, now));
        });
    }
    group.finish();

    let metrics = Arc::new(Metrics::default());
    let recording =
        Recording::new(Arc::clone(&audit), RecordingSettings::default(), Traces::default(), Arc::clone(&metrics));
    let gate = Gate {
        kinds,
        policies: Arc::new(ArcSwap::from_pointee(one)),
        gatherer,
        recording,
        granting: None,
        nudges: Arc::default(),
        traces: Traces::default(),
        metrics,
        clock: clock::now,
    };
    for (name, review) in [("create", CREATE), ("update", UPDATE)] {
        criterion.bench_function(&format!("review/{name}, one at a time, record on the disk"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let deadline = Deadline::new(Instant::now(), std::time::Duration::from_secs(10));
                gate.review(Bytes::from_static(review), &HeaderMap::new(), deadline).await
            });
        });
    }
    runtime.block_on(audit.flush_and_close(std::time::Duration::from_secs(60)));
}

criterion_group!(benches, reviews);
criterion_main!(benches);
