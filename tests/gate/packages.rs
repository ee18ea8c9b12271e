//! Packages: bills of materials that real registries hold, and indexes that answer well, badly, or not at all.
//!
//! What the index here answers was answered by real ones, and is kept under `tests/fixtures/indexes`.

mod captured;
mod faults;
mod indexes;
mod real;
mod report;
mod sboms;
mod snapshot;
mod stored;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use freshgate::dependency::index::cache::{AnswerStore, InMemory};
use freshgate::dependency::index::indexes::Indexes;
use freshgate::dependency::index::settings;
use freshgate::dependency::package::{Ecosystem, Package, PackageName};

pub use crate::cluster::index::{Fault, StaticIndex, fixture};
use crate::cluster::install_tls;

pub fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
    Package { name: PackageName { ecosystem, name: name.to_owned() }, version: version.to_owned() }
}

pub fn now() -> DateTime<Utc> {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

pub async fn open(text: &str) -> Indexes {
    open_with(text, Arc::new(InMemory::default())).await
}

pub async fn open_with(text: &str, kept: Arc<dyn AnswerStore>) -> Indexes {
    install_tls();
    Indexes::open(&settings::read("indexes.yaml", text).unwrap(), kept).await.unwrap()
}
