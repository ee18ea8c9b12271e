//! `freshgate report --indexes`: packages and ends of life beside everything else, on the command line.

use serde_json::Value;

use super::super::command_line::run;
use super::sboms::{by_buildkit, spdx, statement};
use super::{Fault, StaticIndex};
use crate::cluster::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_packages_and_ends_of_life() {
    let (registry, index) = (Registry::distribution(), StaticIndex::start().await);
    let image = by_buildkit("report", |image| statement(&image.digest, "https://spdx.dev/Document", spdx()));
    let reference = registry.push("shop", "1", &image);
    let folder = tempfile::tempdir().unwrap();
    let (images, settings) = (folder.path().join("images.txt"), folder.path().join("indexes.yaml"));
    std::fs::write(&images, &reference).unwrap();
    std::fs::write(&settings, index.settings()).unwrap();
    let (images, settings, host) = (images.display().to_string(), settings.display().to_string(), registry.host());
    let base = ["report", "--images", &images, "--insecure-registry", &host, "-o", "json"];
    let with = |more: &[&str]| {
        let args: Vec<&str> = base.iter().chain(more).copied().collect();
        let (code, said, noted) = tokio::task::block_in_place(|| run(&args, ""));
        assert_eq!(code, 0, "{noted}");
        said
    };
    let report = |said: &str| serde_json::from_str::<Value>(said).unwrap();

    // Off until indexes are named.
    let off = report(&with(&[]));
    assert_eq!(off["workloads"][0]["findings"].as_array().map_or(0, Vec::len), 0, "{off}");
    assert!(off["workloads"][0]["images"][0].get("libyears").is_none());

    // Seen first, and nothing asked.
    let shown = with(&["--indexes", &settings, "--show-lookups"]);
    assert!(shown.contains(&format!("npm:left-pad  {}/npm/left-pad\n", index.url())), "{shown}");
    assert_eq!(index.take_paths(), Vec::<String>::new());

    let on = report(&with(&["--indexes", &settings]));
    let workload = &on["workloads"][0];
    let kinds: Vec<&str> =
        workload["findings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    // Three at most, the ends of life first, and the rest is counted.
    assert_eq!(kinds, ["end-of-life", "end-of-life", "package"], "{on}");
    assert_eq!(workload["moreFindings"], 2, "{on}");
    assert_eq!(workload["images"][0]["libyears"]["packages"], 3, "{on}");
    let missing: Vec<String> =
        on["notLookedUp"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap().to_owned()).collect();
    assert!(missing.contains(&"newer versions of npm:shop".to_owned()), "{missing:?}");

    // An index that is away leaves no finding, and a reason.
    index.set(Fault::Status(500, None, 1_000));
    let away = report(&with(&["--indexes", &settings]));
    assert_eq!(away["workloads"][0]["findings"].as_array().map_or(0, Vec::len), 0, "{away}");
    let reasons = away["notLookedUp"].to_string();
    assert!(reasons.contains("answered with status 500"), "{reasons}");
}
