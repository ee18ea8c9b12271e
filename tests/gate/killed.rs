//! R18: whatever was answered is recorded, once, however the process ends. A hundred rounds of load, each ended by SIGKILL.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use freshgate::audit::{QueryFilter, query};
use freshgate::store::StoreLocation;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::reviews::{POLICY, PROGRAM, policies, review};
use super::server::pair;
use crate::cluster::gate::Gate;
use crate::cluster::install_tls;

const ROUNDS: usize = 100;
const CONNECTIONS: usize = 8;

/// Chooses the rounds again from the seed that a failure prints.
const SEED: &str = "FRESHGATE_TEST_SEED";

/// `SplitMix64`: what follows from a seed is the same everywhere.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| Utc::now().timestamp_micros().unsigned_abs());
        println!("{SEED}={seed}");
        Self(seed)
    }

    /// From 0 to below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Reviews on connections of their own, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(round: usize, certificate: &reqwest::Certificate, url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CONNECTIONS)
            .map(|client| {
                let (stop, answered, url) = (Arc::clone(&stop), Arc::clone(&answered), url.to_owned());
                // As the API server calls: HTTP/1.1, kept alive.
                let http = reqwest::Client::builder().tls_certs_only([certificate.clone()]).http1_only().no_proxy();
                let http = http.build().unwrap();
                tokio::spawn(async move {
                    let (mut ids, mut number) = (Vec::new(), 0);
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let body = review(&format!("app-{round}-{client}-{number}"), "169.254.169.254/x:1").to_string();
                        // Only what was answered whole counts; the rest the API server would have seen fail.
                        if let Some(id) = answer(&http, &url, body).await {
                            ids.push(id);
                            answered.fetch_add(1, Ordering::Relaxed);
                        } else {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                    ids
                })
            })
            .collect();
        Self { stop, answered, clients }
    }

    /// The ids of the decisions that were answered.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ids = Vec::new();
        for client in self.clients {
            ids.extend(client.await.unwrap());
        }
        ids
    }
}

async fn answer(http: &reqwest::Client, url: &str, body: String) -> Option<String> {
    let call = http.post(url).header("content-type", "application/json").body(body);
    let answer = call.send().await.ok()?.json::<Value>().await.ok()?;
    let annotations = &answer["response"]["auditAnnotations"];
    assert_eq!(annotations["unrecorded"], Value::Null, "{answer}");
    Some(annotations["decision-id"].as_str().unwrap().to_owned())
}

/// The ids of all records that the filter lets through; none may be there twice.
async fn recorded(location: &StoreLocation, filter: &QueryFilter) -> HashSet<String> {
    let records = query(location, filter).await.unwrap();
    let ids = records
        .iter()
        .map(|record| serde_json::from_str::<Value>(&record.line).unwrap()["decision_id"].as_str().unwrap().to_owned());
    let (count, ids) = (records.len(), ids.collect::<HashSet<_>>());
    assert_eq!(ids.len(), count, "a decision is recorded twice");
    ids
}

fn missing<'a>(answered: &'a [String], recorded: &HashSet<String>) -> Vec<&'a String> {
    answered.iter().filter(|id| !recorded.contains(*id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_instant_under_load_loses_no_answered_decision() {
    install_tls();
    let mut random = Random::new();
    let (folder, policies, (certificate, key)) = (tempfile::tempdir().unwrap(), policies(POLICY), pair());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tls = [file("tls.crt", &certificate), file("tls.key", &key)];
    let policies_path = policies.path().display().to_string();
    let args = ["--policies", &policies_path, "--tls-cert", &tls[0], "--tls-key", &tls[1]];
    let mut gate = Gate::in_folder(Path::new(PROGRAM), folder.path(), &args, &[]);
    let certificate = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let location: StoreLocation = gate.store().parse().unwrap();

    let (mut answered, mut at_least) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        // Records keep milliseconds; some of the round before may be found as well.
        let began = Utc::now() - TimeDelta::seconds(1);
        let load = Load::start(round, &certificate, &gate.url());
        // Now in the middle of the load, now whatever it is doing, its own start included: what an earlier round left in
        // the journal is moved to the store then.
        let (answers, delay_ms) = if random.below(3) > 0 { (random.below(60), 20) } else { (0, 300) };
        let delay = Duration::from_micros(random.below(delay_ms * 1000));
        while (load.answered.load(Ordering::Relaxed) as u64) < answers {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        at_least += answers;
        tokio::time::sleep(delay).await;
        gate.process.kill();
        let ids = load.end().await;
        // Asked while nothing runs: some are in the store, some in the journal alone.
        let found = recorded(&location, &QueryFilter { since: Some(began), ..QueryFilter::default() }).await;
        assert_eq!(missing(&ids, &found), Vec::<&String>::new(), "round {round}, of {}", ids.len());
        answered.extend(ids);
        gate.start_again();
    }
    assert!(answered.len() as u64 >= at_least && at_least > 1_000, "there was load: {} answered", answered.len());
    gate.crash_and_restart();
    let found = recorded(&location, &QueryFilter::default()).await;
    assert_eq!(missing(&answered, &found), Vec::<&String>::new());
    for id in [answered.first(), answered.last()].into_iter().flatten() {
        let (code, stdout, stderr) = gate.run(&["audit", "show", id, "--store", &gate.store()]);
        assert!(code == Some(0) && stdout.contains(id.as_str()), "{stdout}{stderr}");
    }
    let (code, stdout, stderr) = gate.run(&["audit", "verify", "--store", &gate.store()]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    println!("{} decisions answered, {} recorded: {stdout}", answered.len(), found.len());
}
