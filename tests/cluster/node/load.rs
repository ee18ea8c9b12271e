//! A steady stream of calls to the API server, each of which must succeed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

/// Dry-run applies that go on until they are stopped.
pub struct Applies {
    runtime: Runtime,
    task: JoinHandle<Outcomes>,
    stop: Arc<AtomicBool>,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub succeeded: usize,
    /// What each of the others was told.
    pub failed: Vec<String>,
    /// Those that succeeded without a warning: nobody looked at them.
    pub unseen: usize,
    /// The longest that a call took.
    pub slowest: Duration,
}

impl Applies {
    /// Applies a Deployment by dry run, so many times in each second, as the administrator whose files are in `folder`.
    pub fn start(folder: &Path, server: &str, deployment: &Value, per_second: u32) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let identity = reqwest::Identity::from_pem(&[read("admin.crt"), read("admin.key")].concat()).unwrap();
        let authority = reqwest::Certificate::from_pem(&read("ca.crt")).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([authority])
            .identity(identity)
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let namespace = deployment["metadata"]["namespace"].as_str().unwrap();
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let url = format!(
            "{server}/apis/apps/v1/namespaces/{namespace}/deployments/{name}?dryRun=All&fieldManager=load&force=true"
        );
        let body = deployment.to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let task = runtime.spawn(go_on(client, url, body, per_second, stop.clone()));
        Self { runtime, task, stop }
    }

    /// Ends them, and gives what became of each, also of those on their way.
    pub fn stop(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.task).unwrap()
    }
}

async fn go_on(client: reqwest::Client, url: String, body: String, per_second: u32, stop: Arc<AtomicBool>) -> Outcomes {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut calls, mut outcomes) = (JoinSet::new(), Outcomes::default());
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        calls.spawn(call(client.clone(), url.clone(), body.clone()));
        while let Some(call) = calls.try_join_next() {
            outcomes.add(call.unwrap());
        }
    }
    while let Some(call) = calls.join_next().await {
        outcomes.add(call.unwrap());
    }
    outcomes
}

/// Whether somebody warned, or what went wrong; and how long it took.
async fn call(client: reqwest::Client, url: String, body: String) -> (Result<bool, String>, Duration) {
    let begun = tokio::time::Instant::now();
    let request = client.patch(url).header("Content-Type", "application/apply-patch+yaml").body(body);
    let outcome = match request.send().await {
        Ok(response) if response.status().is_success() => Ok(response.headers().contains_key("warning")),
        Ok(response) => Err(format!("{}: {}", response.status(), response.text().await.unwrap_or_default())),
        Err(error) => Err(format!("{error:?}")),
    };
    (outcome, begun.elapsed())
}

impl Outcomes {
    fn add(&mut self, (outcome, took): (Result<bool, String>, Duration)) {
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(warned) => {
                self.succeeded += 1;
                self.unseen += usize::from(!warned);
            }
            Err(error) => self.failed.push(error),
        }
    }

    /// Asserts that each call succeeded and was judged, and that there were at least so many.
    pub fn assert_all_judged(&self, at_least: usize) {
        let (failed, first) = (self.failed.len(), self.failed.first());
        assert!(failed == 0, "{failed} of {} calls failed; the first: {first:?}", self.succeeded + failed);
        assert_eq!(self.unseen, 0, "of {} calls some passed without being judged", self.succeeded);
        assert!(self.succeeded >= at_least, "only {} calls were made, {at_least} were wanted", self.succeeded);
    }
}
