//! This test program started again as another process, so that it can be killed, or lose its disk.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PLACE: &str = "FRESHGATE_TEST_PLACE";
const JOURNAL: &str = "FRESHGATE_TEST_JOURNAL";
const TASK: &str = "FRESHGATE_TEST_TASK";

/// A recording process; killed when dropped.
pub(super) struct Recorder {
    pub(super) process: Child,
    pub(super) lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Recorder {
    /// What the other process prints begins with a word of its own; the rest is the test harness's.
    pub(super) fn start(place: &Place, task: &str) -> Self {
        // A write beyond the file size limit is then an error, not the end of the process.
        let mut process = Command::new("sh")
            .args(["-c", r#"trap '' XFSZ; exec "$0" --exact "$1" --ignored --nocapture"#])
            .arg(std::env::current_exe().unwrap())
            .arg(concat!(module_path!(), "::records").split_once("::").unwrap().1)
            .env(PLACE, place.url())
            .env(JOURNAL, place.journal())
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next line that begins with one of these words.
    pub(super) fn next(&mut self, words: &[&str]) -> Option<(String, String)> {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if let Some((word, rest)) = line.split_once(' ')
                && words.contains(&word)
            {
                return Some((word.to_owned(), rest.to_owned()));
            }
        }
        None
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(word: &str, rest: &str) {
    let mut out = std::io::stdout().lock();
    // The other end may be gone; then so is whoever cares.
    let _ = writeln!(out, "{word} {rest}");
    let _ = out.flush();
}

/// Not a test by itself: what the other process does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests, in a process of its own"]
async fn records() {
    let (Ok(place), Ok(task), Ok(journal)) = (std::env::var(PLACE), std::env::var(TASK), std::env::var(JOURNAL)) else {
        panic!("{PLACE}, {JOURNAL} and {TASK} say what to do");
    };
    let location = place.parse::<StoreLocation>().unwrap().with_journal(Some(journal.into()));
    if task == "print" {
        let ledger = freshgate::store::Ledger::in_memory();
        let audit = Audit::to_stdout(&ledger, at(0)).unwrap();
        for number in 1..=3 {
            let (body, admitted) = admitting(number, "checkout");
            audit.record(body, Some(admitted)).await.unwrap();
        }
        let history = ledger.history(&workload("checkout")).await.unwrap();
        say("digests", &history.digests.len().to_string());
        audit.flush_and_close(PATIENCE).await;
        return;
    }
    let store = Store::open(&location).await.unwrap();
    let settings = AuditSettings { segment_bytes: 64 * 1024, ..AuditSettings::default() };
    let audit = Arc::new(Audit::open(settings, &store, chrono::Utc::now()).await.unwrap());
    let number = Arc::new(AtomicU64::new(u64::from(std::process::id()) << 20));
    say("ready", &audit.writer_id().to_string());
    let rounds = task.parse().unwrap_or(u64::MAX);
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (audit, number) = (Arc::clone(&audit), Arc::clone(&number));
            tokio::spawn(async move {
                for _ in 0..rounds {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    match audit.record(body(number), None).await {
                        Ok(_) => say("kept", &id(number)),
                        Err(_) => say("failed", &id(number)),
                    }
                    if rounds != u64::MAX {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    // The other side now gives the disk back.
    say("recorded", &audit.counts().write_errors.to_string());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    close(store, Arc::try_unwrap(audit).unwrap()).await;
    say("closed", "");
}
