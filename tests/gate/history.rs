//! Looking back: what a gate recorded is decided again, and other policies are tried on it.

mod golden;
mod simulated;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use freshgate::store::StoreLocation;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};

use super::command_line::run;
use super::reviews::{PROGRAM, review};
use crate::cluster::gate::Gate;
use crate::cluster::image::Config;
use crate::cluster::install_tls;
use crate::cluster::registry::Registry;

/// Both rules, an override, and a policy that is for one namespace alone.
const POLICIES: &str = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production}
spec:
  validationActions: [Deny]
  imageAge: {maxAge: 90d, onUnknown: {NotFound: Deny}, overrides: [{images: ['*/base/*'], maxAge: 'off'}]}
  errorBudget: {sources: [snapshot]}
---
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: shop-watched}
spec:
  match: {namespaces: [shop]}
  validationActions: [Audit]
  imageAge: {maxAge: 1d}
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: snapshot}
spec:
  format: File
  interval: 1s
  file: {path: budgets.json}
  service: {from: [Mapping], mapping: [{name: frozen, service: frozen}, {name: '*', service: sound}]}
";

/// A gate that has decided a handful of reviews, each of another kind.
struct Scene {
    gate: Gate,
    _folder: tempfile::TempDir,
    /// Decision ids by the name of the review.
    ids: BTreeMap<&'static str, String>,
}

impl Scene {
    async fn play() -> Self {
        install_tls();
        let registry = tokio::task::spawn_blocking(Registry::distribution).await.unwrap();
        let push = |repository: &str, tag: &str, days: i64| {
            let created = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
            registry.push(repository, tag, &Config::created(&format!("{repository}{tag}"), &created).image())
        };
        let (old, fresh, newer, ageing) =
            (push("app", "old", 112), push("app", "fresh", 3), push("app", "newer", 2), push("app", "ageing", 80));
        let undated = registry.push("app", "undated", &Config::dateless("undated").image());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policies.yaml"), POLICIES).unwrap();
        let objective = |service: &str, ratio: f64| json!({"service": service, "slo": "availability", "objective": 0.999, "window": "30d", "errorRatio": ratio});
        let budgets =
            json!({"time": Utc::now(), "budgets": [objective("frozen", 0.001_3), objective("sound", 0.000_1)]});
        std::fs::write(folder.path().join("budgets.json"), budgets.to_string()).unwrap();
        let (path, host) = (folder.path().display().to_string(), registry.host());
        let start = move || {
            let args = ["--policies", &path, "--insecure-registry", &host, "--id", "golden", "--audit-level", "all"];
            Gate::start(Path::new(PROGRAM), &args, &[])
        };
        let gate = tokio::task::spawn_blocking(start).await.unwrap();
        wait_for(&gate, r#"freshgate_budgets{source="snapshot",state="Exhausted"} 1"#).await;

        let mut scene = Self { gate, _folder: folder, ids: BTreeMap::new() };
        let missing = format!("{}/app:missing", registry.host());
        for (name, image, expected) in [
            ("fresh", &fresh, "allow"),
            ("old", &old, "deny"),
            ("ageing", &ageing, "warn"),
            ("undated", &undated, "warn"),
            ("missing", &missing, "deny"),
            ("frozen", &fresh, "deny"),
        ] {
            scene.decide(name, &review(name, image), expected).await;
        }
        // A controller that tries again: the short record of a repeat.
        scene.decide("old", &review("old", &old), "deny").await;
        // Back to what ran before is let in although it is too old by now.
        scene.decide("web", &review("web", &ageing), "warn").await;
        let update = |from: &str, to: &str| {
            let (old, mut new) = (review("web", from), review("web", to));
            new["request"]["operation"] = json!("UPDATE");
            new["request"]["oldObject"] = old["request"]["object"].clone();
            new
        };
        scene.decide("web forward", &update(&ageing, &newer), "allow").await;
        scene.decide("web back", &update(&newer, &ageing), "warn").await;
        // What passes unjudged is recorded too.
        let mut unchanged = update(&newer, &newer);
        unchanged["request"]["object"]["metadata"]["labels"] = json!({"x": "y"});
        scene.decide("unchanged", &unchanged, "allow").await;
        // What was used lately is in the store within a second; until then a revision would be missing.
        scene.policies(2).await;
        scene
    }

    async fn decide(&mut self, name: &'static str, review: &Value, expected: &str) {
        let client = self.gate.client();
        let call = client.post(self.gate.url()).header("content-type", "application/json").body(review.to_string());
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        let said = &answer["response"]["auditAnnotations"];
        assert_eq!(said["decision"], expected, "{name}: {answer}");
        self.ids.insert(name, said["decision-id"].as_str().unwrap().to_owned());
    }

    /// The policies that are kept, by revision; waits until there are so many.
    async fn policies(&self, least: usize) -> BTreeMap<String, String> {
        let give_up = Instant::now() + Duration::from_mins(1);
        loop {
            let mut connection = self.connect().await;
            let rows: Vec<(String, String)> =
                sqlx::query_as("SELECT revision, spec FROM policy_revisions").fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            if rows.len() >= least {
                return rows.into_iter().collect();
            }
            assert!(Instant::now() < give_up, "policies are not kept: {}", self.gate.process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        let location: StoreLocation = self.gate.store().parse().unwrap();
        sqlx::sqlite::SqliteConnectOptions::new().filename(location.file().unwrap()).connect().await.unwrap()
    }

    /// The id of the short record that repeats the first refusal.
    fn repeat(&self) -> String {
        let records = self.gate.records(&["--name", "old"]);
        let repeat = records.iter().find(|record| record["repeat_of"].is_string()).unwrap();
        assert_eq!(repeat["repeat_of"], self.ids["old"].as_str());
        repeat["decision_id"].as_str().unwrap().to_owned()
    }

    fn replay(&self, args: &[&str]) -> (i32, String, String) {
        let store = self.gate.store();
        run(&[&["audit", "replay", "--store", &store], args].concat(), "")
    }
}

async fn wait_for(gate: &Gate, line: &str) {
    let give_up = Instant::now() + Duration::from_mins(1);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let page = client.get(format!("http://127.0.0.1:{}/metrics", gate.admin_port)).send().await;
        let page = match page {
            Ok(page) => page.text().await.unwrap(),
            Err(error) => error.to_string(),
        };
        if page.contains(line) {
            return;
        }
        assert!(Instant::now() < give_up, "{line} did not come: {page}{}", gate.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gate_recorded_is_decided_again_byte_for_byte() {
    let scene = Scene::play().await;
    let (code, stdout, stderr) = scene.replay(&["--since", "1h"]);
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (
            0,
            "10 as recorded, byte for byte; 0 different; 0 not replayed because something is missing; 1 repeats of these\n",
            ""
        )
    );
    let (code, stdout, _) = scene.replay(&[&scene.ids["frozen"], "-o", "json"]);
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said, json!({"identical": 1, "repeats": 0, "exceptions": 0, "different": [], "missing": []}));

    // A repeat has no inputs: what it points to is decided again.
    let repeat = scene.repeat();
    let (code, stdout, stderr) = scene.replay(&[&repeat]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stderr,
        format!("note: {repeat} repeats {}, whose record has the inputs; that one is replayed\n", scene.ids["old"])
    );
    let (code, _, stderr) = scene.replay(&["019a0000-0000-7000-8000-000000000000"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("no decision 019a0000-0000-7000-8000-000000000000 is recorded in"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_shown_and_what_is_missing_is_told() {
    let scene = Scene::play().await;
    let old = &scene.ids["old"];
    let mut connection = scene.connect().await;
    // Until the filler has brought it into the store, the record is in the journal alone.
    let give_up = Instant::now() + Duration::from_mins(1);
    loop {
        let changed = sqlx::query(
            "UPDATE decisions SET line = replace(line, '\"limitSeconds\":7776000', '\"limitSeconds\":7776001') WHERE decision_id = ?",
        )
        .bind(old)
        .execute(&mut connection)
        .await
        .unwrap();
        if changed.rows_affected() == 1 {
            break;
        }
        assert!(Instant::now() < give_up, "the record does not come: {}", scene.gate.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, stdout, _) = scene.replay(&[old]);
    assert_eq!(code, 1);
    assert!(
        stdout.starts_with(&format!(
            "different {old} Deployment shop/old\n  rules[0].properties.limitSeconds: recorded 7776001, now 7776000\n"
        )),
        "{stdout}"
    );
    let (code, stdout, _) = scene.replay(&["--since", "1h"]);
    assert_eq!(code, 1, "{stdout}");

    let kept = scene.policies(2).await;
    let (revision, _) = kept.iter().find(|(_, spec)| spec.contains("errorBudget")).unwrap();
    sqlx::query("DELETE FROM policy_revisions WHERE revision = ?")
        .bind(revision)
        .execute(&mut connection)
        .await
        .unwrap();
    let (code, stdout, _) = scene.replay(&[&scene.ids["fresh"]]);
    assert_eq!(code, 2);
    assert!(
        stdout.starts_with(&format!(
            "missing {}: revision {revision} of policy \"production\" is not kept in this store: ",
            scene.ids["fresh"]
        )),
        "{stdout}"
    );
    // What passed unjudged needs no policy.
    assert_eq!(scene.replay(&[&scene.ids["unchanged"]]).0, 0);

    let repeat = scene.repeat();
    sqlx::query("DELETE FROM decisions WHERE decision_id = ?").bind(old).execute(&mut connection).await.unwrap();
    let (code, stdout, _) = scene.replay(&[&repeat]);
    assert_eq!(code, 2);
    assert!(stdout.contains(&format!("the decision {old}, which it repeats and which has the inputs")), "{stdout}");
}
