//! Budgets measured by a real Prometheus, and by one that misbehaves.

pub mod faults;
mod measured;
mod past;
mod polled;

use freshgate::budget::compile::{CompiledSource, Origin};

/// A source as a file would have it.
fn source(name: &str, spec: &str) -> CompiledSource {
    let spec = serde_saphyr::from_str(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    CompiledSource::compile(name, spec, Origin::Folder(".".into())).unwrap_or_else(|problems| panic!("{problems:?}"))
}
