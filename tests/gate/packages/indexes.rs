//! Indexes that answer: what is behind, what is asked, and what is never asked.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use freshgate::dependency::index::cache::{AnswerStore, InFolder};
use freshgate::dependency::index::indexes::Indexes;
use freshgate::dependency::package::{Ecosystem, Package};
use tokio::time::Instant;

use super::{Fault, StaticIndex, now, open, open_with, package};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// What a package is behind, in a line.
async fn behind(indexes: &Indexes, package: &Package) -> String {
    match indexes.compare(package, now(), soon()).await {
        Err(why) => why.to_string(),
        Ok(found) => {
            let behind = found.found;
            let next = behind
                .next
                .as_ref()
                .map_or("nothing".to_owned(), |(step, release)| format!("{} {}", step.as_str(), release.version));
            let days = behind.time().map_or("unknown".to_owned(), |time| time.num_days().to_string());
            format!("{next}, newest {}, {} behind, {days} days", behind.newest.version, behind.in_words())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_index_says_how_far_a_package_is_behind() {
    let index = StaticIndex::start().await;
    let indexes = open(&index.settings()).await;
    for (package, expected) in [
        (package(Ecosystem::Cargo, "itoa", "0.4.0"), "patch 0.4.8, newest 1.0."),
        (package(Ecosystem::Npm, "left-pad", "1.1.0"), "patch 1.1.3, newest 1.3.0, 3 patches and 2 minors behind, "),
        (
            package(Ecosystem::Go, "github.com/google/uuid", "v1.3.0"),
            "patch v1.3.1, newest v1.6.0, 1 patch and 3 minors behind, ",
        ),
    ] {
        let found = behind(&indexes, &package).await;
        assert!(found.starts_with(expected) && !found.contains("unknown"), "{package}: {found}");
    }
    // Go's list has no dates: those of three releases were asked for, and no others.
    let dates = index.take_paths().into_iter().filter(|path| path.strip_suffix(".info").is_some()).collect::<Vec<_>>();
    assert_eq!(dates.len(), 3, "{dates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_go_has_neither_what_was_taken_back_nor_an_end_at_its_major() {
    let index = StaticIndex::start().await;
    let indexes = open(&index.settings()).await;
    // Its second major was an accident, and the newest go.mod says so.
    let sqlite = behind(&indexes, &package(Ecosystem::Go, "github.com/mattn/go-sqlite3", "v1.14.52")).await;
    assert_eq!(sqlite, "patch v1.14.53, newest v1.14.53, 1 patch behind, 61 days");
    let withdrawn = package(Ecosystem::Go, "github.com/mattn/go-sqlite3", "v2.0.3+incompatible");
    assert!(indexes.compare(&withdrawn, now(), soon()).await.unwrap().found.used.withdrawn);
    index.take_paths();
    let xxhash = behind(&indexes, &package(Ecosystem::Go, "github.com/cespare/xxhash", "v1.1.0")).await;
    assert_eq!(xxhash, "major v2.3.0, newest v2.3.0, 1 major behind, 2033 days");
    let asked = index.take_paths();
    assert_eq!(
        asked.iter().map(|path| path.strip_prefix("/go/github.com/cespare/xxhash/").unwrap()).collect::<Vec<_>>(),
        ["@v/list", "@v/v1.1.0.info", "@v/v1.1.0.mod", "v2/@latest"]
    );
    // Whoever may not be asked about the next major is not.
    let private =
        format!("{}\n", index.settings().replace("'npm:shop'", "'npm:shop', 'go:github.com/cespare/xxhash/v2'"));
    let xxhash = behind(&open(&private).await, &package(Ecosystem::Go, "github.com/cespare/xxhash", "v1.1.0")).await;
    assert!(xxhash.starts_with("nothing, newest v1.1.0"), "{xxhash}");
    assert!(!index.take_paths().iter().any(|path| path.contains("v2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_not_asked_again_and_then_only_whether_it_changed() {
    let index = StaticIndex::start().await;
    let folder = tempfile::tempdir().unwrap();
    let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
    let run = async |hours: i64| {
        let kept: Arc<dyn AnswerStore> = Arc::new(InFolder::open(folder.path().to_owned()).unwrap());
        let indexes = open_with(&index.settings(), kept).await;
        let found = indexes.compare(&left_pad, now() + TimeDelta::hours(hours), soon()).await;
        (found.unwrap(), index.take_seen())
    };
    let (first, asked) = run(0).await;
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].1.contains_key("if-none-match"));
    let (again, asked) = run(5).await;
    assert_eq!((again.found, asked.len()), (first.found.clone(), 0));
    let (unchanged, asked) = run(7).await;
    assert_eq!((unchanged.found, asked.len()), (first.found.clone(), 1));
    assert!(asked[0].1.contains_key("if-none-match"));
    // That it is unchanged is as good as the answer itself.
    let (kept, asked) = run(12).await;
    assert_eq!((kept.found, asked.len()), (first.found.clone(), 0));
    // While the index is away, what it said stands in, and that is told.
    index.set(Fault::Status(500, None, 9));
    let (stale, _) = run(40).await;
    assert_eq!(stale.found.newest.version, first.found.newest.version);
    assert_eq!(stale.stale_since, Some(now() + TimeDelta::hours(7)));
    // After a week it does not.
    let kept: Arc<dyn AnswerStore> = Arc::new(InFolder::open(folder.path().to_owned()).unwrap());
    let indexes = open_with(&index.settings(), kept).await;
    let why = indexes.compare(&left_pad, now() + TimeDelta::days(9), soon()).await.unwrap_err().to_string();
    assert_eq!(why, format!("{} answered with status 500", index.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_names_and_what_cannot_be_compared_are_never_asked_about() {
    let index = StaticIndex::start().await;
    let indexes = open(&index.settings()).await;
    for (package, expected) in [
        (package(Ecosystem::Npm, "@acme/checkout", "1.0.0"), "it is private, and no index is named that serves it"),
        (package(Ecosystem::Npm, "shop", "1.0.0"), "it is private, and no index is named that serves it"),
        (package(Ecosystem::PyPi, "idna", "2.10"), "no index for packages of pypi is configured"),
        (package(Ecosystem::Go, "shop.example/checkout", ""), "the SBOM gives no version"),
        (
            package(Ecosystem::Go, "shop.example/checkout", "(devel)"),
            "\"(devel)\" is no version that its ecosystem orders",
        ),
        (package(Ecosystem::Go, "internal/x", "v1.0.0"), "its name is none that an index could have"),
    ] {
        assert_eq!(behind(&indexes, &package).await, expected, "{package}");
    }
    assert_eq!(index.take_paths(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_asked_is_what_is_asked() {
    let index = StaticIndex::start().await;
    let indexes = open(&index.settings()).await;
    let packages = [
        package(Ecosystem::Npm, "left-pad", "1.1.0"),
        package(Ecosystem::Npm, "@acme/checkout", "1.0.0"),
        package(Ecosystem::Cargo, "itoa", "0.4.0"),
    ];
    let (look_ups, not_asked) = indexes.look_ups(&packages, &["nodejs"].into());
    assert_eq!(index.take_paths(), Vec::<String>::new());
    let mut shown: Vec<String> =
        look_ups.into_iter().map(|one| one.address.strip_prefix(&index.url()).unwrap().to_owned()).collect();
    shown.sort();
    assert_eq!(not_asked.len(), 1);
    for package in &packages {
        let _ = indexes.compare(package, now(), soon()).await;
    }
    indexes.product("nodejs", now(), soon()).await.unwrap();
    assert_eq!(index.take_paths(), shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_index_alone() {
    let (index, other) = (StaticIndex::start().await, StaticIndex::start().await);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cr3t\n").unwrap();
    let text = format!(
        "indexes:\n- {{kind: Npm, url: '{}/none', bearer: {{file: {}}}}}\n- {{kind: Npm, url: '{}/npm'}}\n",
        index.url(),
        token.display(),
        other.url()
    );
    let indexes = open(&text).await;
    // The first does not have it, so the second is asked.
    let found = behind(&indexes, &package(Ecosystem::Npm, "left-pad", "1.1.0")).await;
    assert!(found.starts_with("patch 1.1.3"), "{found}");
    assert_eq!(index.take_seen()[0].1.get("authorization").unwrap(), "Bearer s3cr3t");
    assert!(!other.take_seen()[0].1.contains_key("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_keep_to_the_pace_and_one_package_is_asked_once() {
    let index = StaticIndex::start().await;
    let text = format!("indexes:\n- {{kind: Npm, url: '{}/npm', requestsPerSecond: 5}}\n", index.url());
    let indexes = open(&text).await;
    let begun = std::time::Instant::now();
    let left_pad = package(Ecosystem::Npm, "left-pad", "1.1.0");
    let others: Vec<Package> = (0..5).map(|number| package(Ecosystem::Npm, &format!("p{number}"), "1.0.0")).collect();
    let all = others.iter().chain(std::iter::repeat_n(&left_pad, 20)).map(|one| indexes.compare(one, now(), soon()));
    futures::future::join_all(all).await;
    assert!(begun.elapsed() >= Duration::from_millis(950), "six requests took {:?}", begun.elapsed());
    assert_eq!(index.take_paths().len(), 6);
}
