//! Real indexes: those that this machine's own clients are set up for. Where none is, there is nothing to ask.

use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use freshgate::dependency::package::Ecosystem;
use tokio::time::Instant;

use super::{open, package};

/// What a client says that it is set up for.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let address = text.split([',', '|', '\n']).next()?.trim().trim_end_matches('/').to_owned();
    (output.status.success() && address.starts_with("http")).then_some(address)
}

/// The index that pip is set up for, else the one that it comes with.
fn pip() -> Option<String> {
    let built_in = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
    said("pip", &["config", "get", "global.index-url"]).or_else(|| said("python3", &["-c", built_in]))
}

/// The sparse index whose answers Cargo keeps: the folder is named for its host.
fn cargo() -> Option<String> {
    let home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo"))).ok()?;
    let folders = std::fs::read_dir(format!("{home}/registry/index")).ok()?;
    let names = folders.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let host = names
        .filter_map(|name| name.rsplit_once('-').map(|(host, _)| host.to_owned()))
        .find(|host| host.contains('.'))?;
    Some(format!("https://{host}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_own_indexes_are_read() {
    let indexes = [
        ("Cargo", Ecosystem::Cargo, "itoa", "0.4.0", cargo()),
        ("Npm", Ecosystem::Npm, "left-pad", "1.1.0", said("npm", &["config", "get", "registry"])),
        ("Go", Ecosystem::Go, "github.com/google/uuid", "v1.3.0", said("go", &["env", "GOPROXY"])),
        ("PyPISimple", Ecosystem::PyPi, "idna", "2.10", pip()),
    ];
    for (kind, ecosystem, name, used, address) in indexes {
        let Some(address) = address else {
            println!("no client here is set up for an index of {kind}");
            continue;
        };
        let index = open(&format!("indexes:\n- {{kind: {kind}, url: '{address}'}}\n")).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        match index.compare(&package(ecosystem, name, used), Utc::now(), deadline).await {
            Ok(found) => {
                let behind = found.found;
                assert!(behind.next.is_some(), "{kind}: {behind:?}");
                assert!(behind.used.published.is_some() && behind.newest.published.is_some(), "{kind}: {behind:?}");
            }
            // Without a way out there is none to ask; whatever else it answers must be understood.
            Err(why) => {
                let why = why.to_string();
                assert!(why.contains("cannot be reached") || why.contains("in time"), "{kind}: {why}");
            }
        }
    }
}
