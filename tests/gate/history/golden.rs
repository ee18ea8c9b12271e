//! Golden records: what a gate of each release recorded, with its policies, is decided the same by every later one.
//!
//! To write those of this release: `FRESHGATE_WRITE_GOLDEN=tests/fixtures/golden/VERSION cargo test --test gate golden`.
//! Those of a release that is out stay as they are.

use freshgate::audit::replay::{self, Recorded, Revisions};

use super::*;

const VARIABLE: &str = "FRESHGATE_WRITE_GOLDEN";

#[tokio::test(flavor = "multi_thread")]
async fn golden_records_are_decided_as_they_were() {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        write(Path::new(&folder)).await;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let mut releases = 0;
    for release in std::fs::read_dir(golden).unwrap() {
        let folder = release.unwrap().path();
        let policies = std::fs::read_to_string(folder.join("policies.json")).unwrap();
        let mut revisions = Revisions::new(serde_json::from_str(&policies).unwrap());
        let (mut whole, mut repeats, mut decisions) = (0, 0, BTreeMap::new());
        for line in std::fs::read_to_string(folder.join("records.jsonl")).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            *decisions.entry(record["decision"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            match replay::read(line).unwrap() {
                Recorded::Whole(inputs) => {
                    let differences = replay::replay(line, &inputs, &mut revisions).unwrap();
                    assert_eq!(differences, [], "{}: {line}", folder.display());
                    whole += 1;
                }
                Recorded::Repeat { .. } => repeats += 1,
                Recorded::OfAnException { .. } => {}
            }
        }
        // An empty file would be replayed well too.
        assert!(whole >= 10 && repeats >= 1 && decisions.len() == 3, "{}: {decisions:?}", folder.display());
        releases += 1;
    }
    assert!(releases >= 1);
}

async fn write(folder: &Path) {
    let scene = Scene::play().await;
    let filter = freshgate::audit::QueryFilter::default();
    let location: StoreLocation = scene.gate.store().parse().unwrap();
    let mut records = freshgate::audit::query(&location, &filter).await.unwrap();
    records.reverse();
    let lines: String = records.iter().map(|record| record.line.clone() + "\n").collect();
    let policies = serde_json::to_string_pretty(&scene.policies(2).await).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("records.jsonl"), lines).unwrap();
    std::fs::write(folder.join("policies.json"), policies + "\n").unwrap();
}
