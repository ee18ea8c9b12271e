//! Exceptions of a cluster: watched, and each signed into its status once it is known to have been granted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::error::{ReadError, within};
use super::watch::{Change, Task, WatchHealth, follow, list_all};
use crate::clock::Clock;
use crate::exception::api::{GateException, GateExceptionSpec, GateExceptionStatus};
use crate::exception::book::{Admitted, Book, LookUp, Proof, Seen, Wanted};
use crate::exception::signature::Granted;
use crate::exception::{Exceptions, Reason};
use crate::metrics::Metrics;
use crate::signing::Keys;

/// The name under which the gate owns the fields of a status.
const FIELD_MANAGER: &str = "freshgate";
/// How often is looked for what time alone brings about: an end, or the end of a grace. Failed writes wait for it, too.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long one write, or one question to the audit, may take.
const ACT_WITHIN: Duration = Duration::from_secs(10);
/// The same words are written again only after this, should somebody undo them: two who disagree do not fight.
const SAME_AGAIN: Duration = Duration::from_secs(60);

/// How often, and for how long, break-glass is looked for after it was admitted: the API server stores it in a moment.
const CONFIRM_EVERY: Duration = Duration::from_millis(20);
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// Finds a grant in the audit: of a gate that ended between admission and status. An error means that it could not be
/// asked, and will be again.
pub type FindGrant = Arc<dyn Fn(LookUp) -> BoxFuture<'static, Result<Option<Granted>, String>> + Send + Sync>;

/// The exceptions of a cluster.
pub struct ClusterExceptions {
    api: Api<DynamicObject>,
    shared: Arc<Shared>,
    health: Arc<WatchHealth>,
    _watch: Task,
    _reconcile: Task,
}

struct Shared {
    book: Mutex<Book>,
    in_force: Arc<ArcSwap<Exceptions>>,
    changed: Notify,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl ClusterExceptions {
    /// Begins to watch, and swaps the exceptions in force. Call it inside a tokio runtime.
    pub fn start(
        client: &Client,
        keys: Keys,
        find: FindGrant,
        in_force: Arc<ArcSwap<Exceptions>>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let resource = ApiResource::erase::<GateException>(&());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let health = Arc::new(WatchHealth::default());
        let book = Mutex::new(Book::new(keys.clone()));
        let shared = Arc::new(Shared { book, in_force, changed: Notify::new(), clock, metrics });
        let watching = Arc::clone(&shared);
        let watch = Task::spawn(follow(api.clone(), "GateExceptions", Arc::clone(&health), seen, move |change| {
            watching.apply(change);
        }));
        let reconciler =
            Reconciler { api: api.clone(), keys, find, shared: Arc::clone(&shared), written: HashMap::new() };
        Self { api, shared, health, _watch: watch, _reconcile: Task::spawn(reconciler.run()) }
    }

    /// How old the picture is, and whether there is one.
    pub fn health(&self) -> &Arc<WatchHealth> {
        &self.health
    }

    /// Remembers what was admitted. Break-glass is asked for at once, so that it need not wait for the watch.
    pub fn admit(&self, admitted: Admitted) {
        let is_urgent = admitted.spec.reason == Reason::Incident;
        let (name, uid) = (admitted.name.clone(), admitted.granted.uid.clone());
        self.shared.book().admit(admitted, (self.shared.clock)());
        if is_urgent {
            tokio::spawn(confirm(self.api.clone(), name, uid, Arc::clone(&self.shared)));
        }
    }
}

/// Asks for an object that is about to be stored, until it is there or does not come.
async fn confirm(api: Api<DynamicObject>, name: String, uid: String, shared: Arc<Shared>) {
    let give_up = Instant::now() + CONFIRM_WITHIN;
    let what = format!("GateException {name:?}");
    while Instant::now() < give_up {
        sleep(CONFIRM_EVERY).await;
        // Whatever went wrong, the next question may be answered.
        if within(give_up, &what, api.get_metadata(&name)).await.is_ok_and(|found| found.uid().as_ref() == Some(&uid)) {
            shared.book().confirm(&uid);
            shared.publish();
            return;
        }
    }
    tracing::warn!(exception = name, "break-glass was granted, and its object has not come");
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, change: Change<Seen>) {
        let now = (self.clock)();
        match change {
            Change::All(all) => self.book().replace(all, now),
            Change::Set(seen) => self.book().set(seen, now),
            Change::Gone(name) => self.book().remove(&name),
        }
        self.publish();
    }

    /// Swaps the exceptions in force for what the book says now.
    fn publish(&self) {
        let (exceptions, inert) = {
            let book = self.book();
            (book.exceptions(), book.inert((self.clock)()))
        };
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.exceptions.set(whole(exceptions.len()));
        self.metrics.exceptions_inert.set(whole(inert));
        self.in_force.store(Arc::new(exceptions));
        self.changed.notify_one();
    }
}

/// The exceptions as they stand in the cluster now, good or not.
pub async fn list(client: &Client) -> Result<Vec<Seen>, ReadError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<GateException>(&()));
    Ok(list_all(&api, "GateExceptions", &seen).await?.0)
}

fn seen(object: DynamicObject) -> Seen {
    let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
    Seen {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        spec: serde_path_to_error::deserialize::<_, GateExceptionSpec>(part("spec"))
            .map_err(|error| format!("spec.{}: {}", error.path(), error.inner())),
        // A status that cannot be read proves nothing, as none does.
        status: serde_json::from_value(part("status")).unwrap_or_default(),
    }
}

/// Asks the audit and writes statuses, beside the watch.
struct Reconciler {
    api: Api<DynamicObject>,
    keys: Keys,
    find: FindGrant,
    shared: Arc<Shared>,
    /// By name: what was written last, and when.
    written: HashMap<String, (Wanted, Instant)>,
}

impl Reconciler {
    async fn run(mut self) {
        let (mut asking_fails, mut writing_fails) = (false, false);
        loop {
            // Either is a reason to look.
            let _ = timeout(LOOK_EVERY, self.shared.changed.notified()).await;
            match self.look_up().await {
                Ok(()) => asking_fails = false,
                Err(error) if !std::mem::replace(&mut asking_fails, true) => {
                    tracing::warn!(error, "the audit could not be asked for granted exceptions; it is asked again");
                }
                Err(_) => {}
            }
            match self.write_all().await {
                Ok(()) => writing_fails = false,
                Err(error) if !std::mem::replace(&mut writing_fails, true) => {
                    tracing::warn!(%error, "the status of an exception cannot be written; it is tried again");
                }
                Err(_) => {}
            }
        }
    }

    async fn look_up(&self) -> Result<(), String> {
        let asked_for = self.shared.book().to_look_up();
        for asked in asked_for {
            let found = timeout(ACT_WITHIN, (self.find)(asked.clone())).await;
            let found = found.map_err(|_| "it did not answer in time".to_owned())??;
            if let Some(granted) = &found {
                tracing::info!(
                    exception = asked.name,
                    granted_by = granted.by.username,
                    "a grant was found in the audit"
                );
            }
            self.shared.book().looked_up(&asked, found);
            self.shared.publish();
        }
        Ok(())
    }

    async fn write_all(&mut self) -> Result<(), ReadError> {
        let wanted = self.shared.book().wanted((self.shared.clock)());
        self.written.retain(|_, (_, at)| at.elapsed() < SAME_AGAIN);
        let mut failed = Ok(());
        for wanted in wanted {
            let is_same = |(before, _): &(Wanted, Instant)| says_the_same(before, &wanted);
            if self.written.get(&wanted.name).is_some_and(is_same) {
                continue;
            }
            match self.write(&wanted).await {
                Ok(()) => {
                    if wanted.condition.status == "False" && wanted.condition.reason != "Expired" {
                        tracing::warn!(
                            exception = wanted.name,
                            said = wanted.condition.message,
                            "an exception is inert"
                        );
                    }
                    self.written.insert(wanted.name.clone(), (wanted, Instant::now()));
                }
                // It is gone, or another by now, whose own event will come.
                Err(ReadError::NotFound { .. } | ReadError::Refused { code: 409, .. }) => {}
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    async fn write(&self, wanted: &Wanted) -> Result<(), ReadError> {
        let what = format!("the status of GateException {:?}", wanted.name);
        let mut status = match &wanted.proof {
            Proof::Keep(status) => status.as_ref().clone(),
            Proof::None => GateExceptionStatus::default(),
            Proof::Sign(granted) => granted
                .sign(&self.keys)
                .map_err(|error| ReadError::Unreachable { what: what.clone(), cause: error.to_string() })?,
        };
        status.conditions = vec![wanted.condition.clone()];
        let patch = json!({
            "apiVersion": GateException::api_version(&()),
            "kind": GateException::kind(&()),
            "metadata": {"name": wanted.name, "uid": wanted.uid},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&patch);
        let write = self.api.patch_status(&wanted.name, &parameters, &patch);
        within(Instant::now() + ACT_WITHIN, &what, write).await.map(|_| ())
    }
}

/// Whether two statuses differ in nothing but the time of their condition.
fn says_the_same(one: &Wanted, other: &Wanted) -> bool {
    let words = |wanted: &Wanted| (wanted.condition.status.clone(), wanted.condition.message.clone());
    one.uid == other.uid && one.proof == other.proof && words(one) == words(other)
}
