//! Images that run: a static busybox, and a config that says when it was built, which may be long ago.

use std::process::Command;
use std::sync::OnceLock;

use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::programs;
use crate::cluster::image::{Config, Image, digest};

/// What runs until it is told to end.
const WAITING: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

/// A layer with nothing but busybox and the names that are called here.
fn layer() -> &'static [u8] {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    LAYER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy(programs().join("busybox"), bin.join("busybox")).unwrap();
        for name in ["sh", "sleep", "true", "false", "cat", "wget", "nslookup"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        // The same bytes each time, whatever the day: so a digest is told by the config alone.
        let output = Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf", "-", "-C"])
            .arg(folder.path())
            .arg("bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    })
}

/// An image of busybox, built so many days ago. `seed` makes its digest its own.
pub fn built_days_ago(seed: &str, days: i64) -> Image {
    let created = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
    let mut config = Config::created(seed, &created)
        .with("rootfs", json!({"type": "layers", "diff_ids": [digest(layer())]}))
        .with("history", json!([{"created": created, "created_by": "busybox"}]));
    config.0["config"]["Entrypoint"] = json!(["/bin/sh", "-c", WAITING]);
    config.image_of(layer())
}

/// What holds a Pod's namespaces.
pub fn pause() -> Image {
    built_days_ago("pause", 1)
}
