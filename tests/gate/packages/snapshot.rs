//! `freshgate snapshot`: taken where indexes may be asked, used where none may.

use std::time::Duration;

use freshgate::dependency::package::Ecosystem;
use tokio::time::Instant;

use super::super::command_line::run;
use super::{StaticIndex, fixture, now, open, package};

fn sbom() -> String {
    fixture("sboms/shop-of-six-ecosystems.spdx.json").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_stands_in_for_the_indexes() {
    let index = StaticIndex::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (settings, out) = (folder.path().join("indexes.yaml"), folder.path().join("snapshot.json"));
    std::fs::write(&settings, index.settings()).unwrap();
    let (settings, out) = (settings.display().to_string(), out.display().to_string());
    let args = ["snapshot", "--sbom", &sbom(), "--indexes", &settings, "--out", &out];
    let (code, said, noted) = tokio::task::block_in_place(|| run(&args, ""));
    assert_eq!((code, said.as_str()), (0, ""), "{noted}");
    assert!(noted.contains("note: npm:shop not looked up: it is private"), "{noted}");

    let (live, offline) =
        (open(&index.settings()).await, open(&format!("indexes:\n- {{kind: Snapshot, path: {out}}}\n")).await);
    index.take_paths();
    let soon = || Instant::now() + Duration::from_secs(10);
    for package in [
        package(Ecosystem::Cargo, "itoa", "0.4.0"),
        package(Ecosystem::Npm, "left-pad", "1.1.0"),
        package(Ecosystem::Go, "github.com/google/uuid", "v1.3.0"),
    ] {
        let taken = offline.compare(&package, now(), soon()).await.unwrap().found;
        assert_eq!(index.take_paths(), Vec::<String>::new(), "a snapshot asks nobody");
        assert_eq!(taken, live.compare(&package, now(), soon()).await.unwrap().found, "{package}");
        index.take_paths();
    }
    let ends = offline.product("nodejs", now(), soon()).await.unwrap().found;
    assert_eq!(ends, live.product("nodejs", now(), soon()).await.unwrap().found);
    let unknown = offline.compare(&package(Ecosystem::PyPi, "idna", "2.10"), now(), soon()).await.unwrap_err();
    assert!(unknown.to_string().starts_with("the snapshot "), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_asked_can_be_seen_first() {
    let index = StaticIndex::start().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("indexes.yaml");
    std::fs::write(&settings, index.settings()).unwrap();
    let settings = settings.display().to_string();
    let args = ["snapshot", "--sbom", &sbom(), "--indexes", &settings, "--show-lookups"];
    let (code, said, _) = tokio::task::block_in_place(|| run(&args, ""));
    assert_eq!(code, 0);
    assert!(said.contains(&format!("npm:left-pad  {}/npm/left-pad\n", index.url())), "{said}");
    assert!(said.contains(&format!("end of life of nodejs  {}/eol/products/nodejs\n", index.url())), "{said}");
    assert!(!said.contains("npm:shop"), "{said}");
    assert_eq!(index.take_paths(), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("indexes.yaml");
    let path = settings.display().to_string();
    let of = |text: &str| {
        std::fs::write(&settings, text).unwrap();
        let (code, _, said) = run(&["snapshot", "--sbom", &sbom(), "--indexes", &path], "");
        assert_eq!(code, 2, "{said}");
        said
    };
    let misspelt = of("indexes:\n- {kind: Nmp, url: 'https://npm.example'}\n");
    assert!(
        misspelt.contains("indexes.yaml:2: indexes[0].kind: \"Nmp\" is no value here; did you mean \"Npm\"?"),
        "{misspelt}"
    );
    let token = of("indexes:\n- {kind: Npm, url: 'https://npm.example', bearer: {file: nowhere}}\n");
    assert!(
        token.contains("the token in ") && token.contains("correct the path in the settings of the indexes"),
        "{token}"
    );
    let missing = of("indexes:\n- {kind: Snapshot, path: nowhere.json}\n");
    assert!(missing.contains("nowhere.json cannot be read"), "{missing}");
    let (code, _, said) = run(&["snapshot", "--sbom", &sbom()], "");
    assert_eq!(code, 2);
    assert!(said.contains("--indexes is missing: no index is built in"), "{said}");
}
