//! Facts about digests on their way to the disk: first sights and image facts are kept in memory, seen there by readers,
//! and written in batches by a task of their own. Losing one to a crash costs a fetch, never a decision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::StoreError;
use super::database::{Insert, Kind, Pool, Value};
use super::time::to_column;

/// What gathers this long is written together.
const GATHER: Duration = Duration::from_millis(100);

/// Between attempts while the store is away.
const RETRY: Duration = Duration::from_secs(2);

/// Facts of each sort in one transaction.
const BATCH: usize = 500;

/// Facts of each sort that wait while the store is away; what comes beyond is not kept and fetched again.
const MAX_WAITING: usize = 50_000;

#[derive(Debug)]
pub(super) struct WriteBehind {
    waiting: Arc<Waiting>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

#[derive(Debug)]
struct Waiting {
    facts: Mutex<Facts>,
    arrived: Notify,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Facts {
    first_seen: HashMap<String, DateTime<Utc>>,
    image: HashMap<String, (Arc<str>, DateTime<Utc>)>,
}

impl WriteBehind {
    pub(super) fn start(writer: Pool, background: &Handle) -> Self {
        let waiting = Arc::new(Waiting { facts: Mutex::default(), arrived: Notify::new() });
        let (stop, stopped) = watch::channel(false);
        let task = background.spawn(run(Arc::clone(&waiting), writer, stopped));
        Self { waiting, stop, task: Mutex::new(Some(task)) }
    }

    pub(super) fn unwritten_first_seen(&self, digest: &str) -> Option<DateTime<Utc>> {
        self.waiting.facts().first_seen.get(digest).copied()
    }

    /// Returns the earliest of this sight and one that waits already.
    pub(super) fn put_first_seen(&self, digest: &str, at: DateTime<Utc>) -> DateTime<Utc> {
        let mut facts = self.waiting.facts();
        let mut earliest = at;
        if let Some(waiting) = facts.first_seen.get_mut(digest) {
            *waiting = at.min(*waiting);
            earliest = *waiting;
        } else if facts.first_seen.len() < MAX_WAITING {
            facts.first_seen.insert(digest.to_owned(), at);
        }
        drop(facts);
        self.waiting.arrived.notify_one();
        earliest
    }

    pub(super) fn unwritten_fact(&self, digest: &str) -> Option<(String, DateTime<Utc>)> {
        self.waiting.facts().image.get(digest).map(|(fact, at)| (fact.as_ref().to_owned(), *at))
    }

    pub(super) fn put_fact(&self, digest: &str, fact: &str, at: DateTime<Utc>) {
        let mut facts = self.waiting.facts();
        if facts.image.len() < MAX_WAITING || facts.image.contains_key(digest) {
            facts.image.insert(digest.to_owned(), (fact.into(), at));
        }
        drop(facts);
        self.waiting.arrived.notify_one();
    }

    /// Makes one last attempt to write everything, and ends the task.
    pub(super) async fn flush_and_stop(&self) -> Result<(), StoreError> {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            // The task neither panics nor is aborted; if it were, there would be nothing left to report.
            Some(task) => task.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

impl Waiting {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch(&self) -> Facts {
        let facts = self.facts();
        Facts {
            first_seen: facts.first_seen.iter().take(BATCH).map(|(digest, at)| (digest.clone(), *at)).collect(),
            image: facts.image.iter().take(BATCH).map(|(digest, fact)| (digest.clone(), fact.clone())).collect(),
        }
    }

    /// Forgets what was written, but not what changed meanwhile.
    fn forget(&self, written: &Facts) {
        let mut facts = self.facts();
        facts.first_seen.retain(|digest, at| written.first_seen.get(digest) != Some(at));
        facts.image.retain(|digest, fact| written.image.get(digest) != Some(fact));
    }
}

async fn run(waiting: Arc<Waiting>, writer: Pool, mut stopped: watch::Receiver<bool>) -> Result<(), StoreError> {
    let mut failing = false;
    loop {
        if !*stopped.borrow() {
            tokio::select! {
                () = waiting.arrived.notified() => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            pause(GATHER, &mut stopped).await;
        }
        loop {
            let batch = waiting.batch();
            if batch == Facts::default() {
                break;
            }
            let is_last = *stopped.borrow();
            match write(&writer, &batch).await {
                Ok(()) => {
                    waiting.forget(&batch);
                    if std::mem::take(&mut failing) {
                        tracing::info!("facts about digests reach the store again");
                    }
                }
                Err(error) if is_last => {
                    return Err(StoreError::failed("writing facts about digests")(error));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "facts about digests do not reach the store; they wait in memory");
                    }
                    pause(RETRY, &mut stopped).await;
                }
            }
        }
        if *stopped.borrow() {
            return Ok(());
        }
    }
}

async fn pause(length: Duration, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

const FIRST_SEEN: Insert<2> = Insert {
    table: "first_seen",
    columns: [("digest", Kind::Text), ("at", Kind::Text)],
    on_conflict: " ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE excluded.at < first_seen.at",
    postgres_where: "",
    sqlite_rows: BATCH,
};

const IMAGE_FACTS: Insert<3> = Insert {
    table: "image_facts",
    columns: [("digest", Kind::Text), ("fact", Kind::Text), ("fetched_at", Kind::Text)],
    on_conflict: " ON CONFLICT (digest) DO UPDATE SET fact = excluded.fact, fetched_at = excluded.fetched_at",
    postgres_where: "",
    sqlite_rows: BATCH,
};

async fn write(writer: &Pool, batch: &Facts) -> Result<(), sqlx::Error> {
    // In the order of their keys: replicas that write the same facts then wait for each other, and not in a circle.
    let (mut first_seen, mut image): (Vec<_>, Vec<_>) =
        (batch.first_seen.iter().collect(), batch.image.iter().collect());
    first_seen.sort_unstable();
    image.sort_unstable();
    let first_seen: Vec<_> =
        first_seen.into_iter().map(|(digest, at)| [Value::key(digest), to_column(*at).into()]).collect();
    let image: Vec<_> = image
        .into_iter()
        .map(|(digest, (fact, at))| [Value::key(digest), Value::from(&**fact), to_column(*at).into()])
        .collect();
    let mut transaction = writer.begin().await?;
    transaction.insert(&FIRST_SEEN, &first_seen).await?;
    transaction.insert(&IMAGE_FACTS, &image).await?;
    transaction.commit().await
}
