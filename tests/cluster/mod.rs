//! The test bed: a real API server with its controllers, real registries, images with any date, and the gate itself.
//!
//! Everything listens on free loopback ports and ends, by pid, with the value that stands for it, also when a test fails.
#![allow(dead_code)] // each test binary uses its part

pub mod between;
pub mod bill;
pub mod browser;
pub mod canary;
pub mod collector;
pub mod control_plane;
pub mod exposition;
pub mod faulty;
pub mod gate;
pub mod image;
pub mod index;
pub mod node;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod registry;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with the programs of the bed; built where they are missing.
pub fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os(node::PROGRAMS) {
        Some(folder) => folder.into(),
        None => build("loopback"),
    })
}

/// Builds what is missing of a bed, and gives its folder.
fn build(what: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build.sh");
    let output = Command::new(&script).arg(what).stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the test bed cannot be built; {} says why above", script.display());
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// One rustls provider, as in the program.
pub fn install_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
