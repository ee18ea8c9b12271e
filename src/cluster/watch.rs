//! Following a resource: list it, watch it, begin again when that breaks, and always know how old the picture is.
//!
//! kube's own watcher keeps bookmarks and renewals of the watch to itself; from them a quiet cluster is told from a
//! broken watch, so this one is ours.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::error::{ReadError, within};

/// The API server is asked to end each watch after this, so that renewing it shows that it still serves us.
const WATCH_SECONDS: u32 = 30;

/// How much later than asked for a watch may end before it counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(5);

/// How long the API server may take to begin an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Objects in one page of a list.
const PAGE_OBJECTS: u32 = 500;

/// The wait after a failure doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What happened to the followed objects.
#[derive(Debug)]
pub(super) enum Change<V> {
    /// These are all.
    All(Vec<V>),
    /// This one is new or changed.
    Set(V),
    /// This one is gone.
    Gone(String),
}

/// How old the picture of a followed resource is.
#[derive(Debug)]
pub struct WatchHealth {
    started: Instant,
    /// When the API server last showed that the picture is complete; `None` until the first list is in.
    last_alive: tokio::sync::watch::Sender<Option<Instant>>,
}

impl Default for WatchHealth {
    fn default() -> Self {
        Self { started: Instant::now(), last_alive: tokio::sync::watch::Sender::new(None) }
    }
}

impl WatchHealth {
    fn alive(&self) {
        self.last_alive.send_replace(Some(Instant::now()));
    }

    /// Seconds since the API server last showed, by a list, an event or a bookmark, that the picture is complete;
    /// since the start, where it never did. Up to [`WATCH_SECONDS`] in a quiet cluster.
    pub fn staleness_seconds(&self) -> f64 {
        let since = self.last_alive.borrow().unwrap_or(self.started);
        since.elapsed().as_secs_f64()
    }

    /// Whether the picture has been complete once.
    pub fn is_synced(&self) -> bool {
        self.last_alive.borrow().is_some()
    }

    /// Waits until the picture has been complete once.
    pub async fn synced(&self) {
        let mut last_alive = self.last_alive.subscribe();
        // It cannot fail: the sender is ours.
        let _ = last_alive.wait_for(Option::is_some).await;
    }
}

/// A task that ends with what it works for.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows a resource for ever. Each object is made small by `project` as it arrives.
pub(super) async fn follow<K, V>(
    api: Api<K>,
    resource: &'static str,
    health: Arc<WatchHealth>,
    project: impl Fn(K) -> V,
    mut sink: impl FnMut(Change<V>),
) where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut version: Option<String> = None;
    let mut backoff = BACKOFF.0;
    let mut broken = false;
    loop {
        let turn = async {
            let from = if let Some(version) = &version {
                version.clone()
            } else {
                let (objects, listed_at) = list_all(&api, resource, &project).await?;
                sink(Change::All(objects));
                health.alive();
                listed_at
            };
            watch_once(&api, resource, from, &health, &project, &mut sink).await
        };
        let begun = Instant::now();
        match turn.await {
            Ok(reached) => {
                version = Some(reached);
                backoff = BACKOFF.0;
                if begun.elapsed() < backoff {
                    sleep(backoff).await; // it ended at once: something between us and the API server cuts watches
                }
                if std::mem::take(&mut broken) {
                    tracing::info!(resource, "the watch is back");
                }
            }
            Err(Broken { error, reached }) => {
                // Without a version to go on from, all is listed again.
                version = reached.filter(|_| !error.is_expired());
                if !std::mem::replace(&mut broken, true) && !error.is_expired() {
                    tracing::warn!(resource, %error, "the watch broke; what was last seen stays");
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

/// A watch that ended before its time, and how far it had come.
struct Broken {
    error: ReadError,
    reached: Option<String>,
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        Self { error, reached: None }
    }
}

/// Lists all objects, page by page, and what is kept of each; with the version that they are of.
pub(super) async fn list_all<K, V>(
    api: &Api<K>,
    resource: &str,
    project: &impl Fn(K) -> V,
) -> Result<(Vec<V>, String), ReadError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE_OBJECTS);
    loop {
        let list = within(Instant::now() + ANSWER_WITHIN, resource, api.list(&page)).await?;
        objects.extend(list.items.into_iter().map(project));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((objects, list.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// Watches until the API server ends the watch as asked; says from which version to go on.
async fn watch_once<K, V>(
    api: &Api<K>,
    resource: &str,
    from: String,
    health: &WatchHealth,
    project: &impl Fn(K) -> V,
    sink: &mut impl FnMut(Change<V>),
) -> Result<String, Broken>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut reached = from;
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let opened = within(Instant::now() + ANSWER_WITHIN, resource, api.watch(&parameters, &reached));
    let mut events = match opened.await {
        Ok(events) => Box::pin(events),
        Err(error) => {
            return Err(Broken { error, reached: Some(reached) });
        }
    };
    health.alive();
    let silence = Duration::from_secs(u64::from(WATCH_SECONDS)) + WATCH_GRACE;
    loop {
        let event = match timeout(silence, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(None) => return Ok(reached),
            Ok(Some(Err(error))) => {
                return Err(Broken { error: ReadError::of(resource, &error), reached: Some(reached) });
            }
            Err(_) => {
                return Err(Broken {
                    error: ReadError::TimedOut { what: resource.to_owned() },
                    reached: Some(reached),
                });
            }
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                reached = object.resource_version().unwrap_or(reached);
                sink(Change::Set(project(object)));
            }
            WatchEvent::Deleted(object) => {
                reached = object.resource_version().unwrap_or(reached);
                sink(Change::Gone(object.name_any()));
            }
            WatchEvent::Bookmark(bookmark) => reached = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => {
                return Err(ReadError::of(resource, &kube::Error::Api(status)).into());
            }
        }
        health.alive();
    }
}

/// An object of which only the metadata is asked for.
pub(super) type MetadataOf<K> = PartialObjectMeta<K>;
