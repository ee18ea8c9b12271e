//! What decides knows no IO, no clock and no runtime; the check that says so would notice.

use std::path::Path;
use std::process::Command;

fn check(root: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/purity.sh");
    let output = Command::new(script).arg(root).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_pure_modules_are_pure() {
    let (pure, said) = check(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(pure, "{said}");
}

#[test]
fn an_impure_one_would_be_noticed() {
    for (file, line) in [
        ("verdict.rs", "use tokio::sync::Mutex;"),
        ("verdict/words.rs", "let now = Utc::now();"),
        ("policy/evaluate.rs", "let now = std::time::SystemTime::now();"),
        ("policy/new_rule.rs", "use reqwest::Client;"),
        ("subject.rs", "use kube::Client;"),
        ("subject/change.rs", "use kube::{Api, Client};"),
        ("evidence.rs", "use axum::Router;"),
        ("image/build_date.rs", "use sqlx::Row as _;"),
        ("budget/sloth.rs", "use reqwest::Client;"),
        ("budget/query.rs", "let now = Utc::now();"),
        ("image/claims.rs", "use oci_client::Reference;"),
        ("dependency/ladder.rs", "use tokio::time::Instant;"),
        ("dependency/forecast.rs", "let now = Utc::now();"),
        ("audit/checkpoint.rs", "let now = Utc::now();"),
        ("audit/boundary.rs", "use sqlx::Row as _;"),
        ("audit/chain.rs", "async fn x() { tokio::fs::read(\"x\").await; }"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("src").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("//! tokio is named in a comment, which is no use of it.\n{line}\n")).unwrap();
        let (pure, said) = check(folder.path());
        assert!(!pure, "{file} with {line:?} went unnoticed");
        assert!(said.contains(&format!("src/{file}:2")), "{said}");
    }
}
