//! Kubernetes Events: what the gate says where people look first, at the workload itself.
//!
//! They are a courtesy, so they never delay anything: what is said twice, too often, or while the API server is slow is
//! dropped and counted. The audit has everything.

mod bucket;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ApiResource, PostParams};
use kube::core::{DynamicObject, GroupVersionKind, ObjectMeta};
use moka::sync::Cache;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use self::bucket::Bucket;
use super::error::{ReadError, within};
use super::resources::built_in;
use super::times::micro_time;
use super::watch::Task;
use crate::clock;
use crate::metrics::Metrics;
use crate::subject::kinds::WorkloadKinds;
use crate::webhook;

/// Where Events stand about what has no namespace.
const OF_THE_CLUSTER: &str = "default";
/// Who says it.
const CONTROLLER: &str = "freshgate.dev/gate";
/// For how long the same is not said again of the same object; controllers retry what is refused.
const SAID_FOR: Duration = Duration::from_secs(600);
const SAID_IN_MEMORY: u64 = 10_000;
/// Events at once: break-glass for the most targets that an exception can have, and some denials.
const BURST: u32 = 150;
/// Events in the long run.
const PER_SECOND: f64 = 5.0;
/// Events that wait to be written.
const WAITING: usize = 256;
/// How long one may take.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE_BYTES: usize = 1_024;
/// Longest name of an instance that the API server takes, in bytes.
const LONGEST_INSTANCE_BYTES: usize = 128;

/// A workload that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// Its namespace; none for what is the cluster's.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID, where it is known; else it is asked for, because `kubectl describe` shows by it.
    pub uid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Said {
    about: About,
    reason: &'static str,
    action: &'static str,
    note: String,
}

/// Takes Events, and writes them beside everything else.
#[derive(Clone, Debug)]
pub struct EventSink {
    waiting: mpsc::Sender<Said>,
    metrics: Arc<Metrics>,
    _task: Arc<Task>,
}

impl EventSink {
    /// Begins to write Events to an API server, as this instance of the gate.
    pub fn start(client: &Client, kinds: WorkloadKinds, instance: &str, metrics: Arc<Metrics>) -> Self {
        let (waiting, received) = mpsc::channel(WAITING);
        let instance = cut(instance, LONGEST_INSTANCE_BYTES).to_owned();
        let writer = Writer { client: client.clone(), kinds, instance, metrics: Arc::clone(&metrics) };
        Self { waiting, metrics, _task: Arc::new(Task::spawn(writer.write_all(received))) }
    }

    /// Says that a change of a workload was refused.
    pub fn denied(&self, namespace: &str, kind: &str, name: &str, uid: Option<&str>, message: &str) {
        let about = About {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.map(str::to_owned),
        };
        self.say(about, "DeployDenied", "Admission", message);
    }

    /// Says that break-glass is in force for a workload.
    pub fn broke_glass(&self, about: About, message: &str) {
        self.say(about, "BreakGlass", "GrantException", message);
    }

    /// Says that somebody else has changed the gate's webhook configuration.
    pub fn webhook_drifted(&self, name: &str, uid: Option<&str>, message: &str) {
        let about = About {
            namespace: String::new(),
            kind: webhook::KIND.to_owned(),
            name: name.to_owned(),
            uid: uid.map(str::to_owned),
        };
        self.say(about, "WebhookChanged", "CheckWebhook", message);
    }

    fn say(&self, about: About, reason: &'static str, action: &'static str, note: &str) {
        // What has no namespace has no Events of its own, and a name that is yet to be generated names nothing.
        let belongs_nowhere = about.namespace.is_empty() && about.kind != webhook::KIND;
        if belongs_nowhere || about.name.is_empty() || about.name.ends_with('*') {
            return;
        }
        let note = cut(note, LONGEST_NOTE_BYTES).to_owned();
        match self.waiting.try_send(Said { about, reason, action, note }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.metrics.events_dropped.inc();
            }
        }
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

struct Writer {
    client: Client,
    kinds: WorkloadKinds,
    instance: String,
    metrics: Arc<Metrics>,
}

impl Writer {
    async fn write_all(self, mut received: mpsc::Receiver<Said>) {
        let said_before: Cache<Said, ()> = Cache::builder().max_capacity(SAID_IN_MEMORY).time_to_live(SAID_FOR).build();
        let mut bucket = Bucket::full(BURST, PER_SECOND, Instant::now().into_std());
        let mut failing = false;
        while let Some(said) = received.recv().await {
            if said_before.contains_key(&said) || !bucket.take(Instant::now().into_std()) {
                self.metrics.events_dropped.inc();
                continue;
            }
            said_before.insert(said.clone(), ());
            match self.write(&said).await {
                Ok(()) => {
                    failing = false;
                    self.metrics.events_written.inc();
                }
                Err(error) => {
                    self.metrics.events_dropped.inc();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "Kubernetes Events cannot be written; the audit has what they would say");
                    }
                }
            }
        }
    }

    async fn write(&self, said: &Said) -> Result<(), ReadError> {
        let deadline = Instant::now() + WRITE_WITHIN;
        let About { namespace, kind, name, uid } = &said.about;
        let resource = self.resource(kind);
        let uid = match (uid, &resource) {
            (Some(uid), _) => Some(uid.clone()),
            (None, Some(resource)) => self.uid_of(resource, namespace, name, deadline).await,
            (None, None) => None,
        };
        let regarding = ObjectReference {
            api_version: match kind.as_str() {
                webhook::KIND => Some(webhook::API_VERSION.to_owned()),
                _ => resource.map(|resource| resource.api_version),
            },
            kind: Some(kind.clone()),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(name.clone()),
            uid,
            ..ObjectReference::default()
        };
        let said_in = if namespace.is_empty() { OF_THE_CLUSTER } else { namespace };
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("freshgate.{}", uuid::Uuid::now_v7().simple())),
                namespace: Some(said_in.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: micro_time(clock::now()),
            type_: Some("Warning".to_owned()),
            reason: Some(said.reason.to_owned()),
            action: Some(said.action.to_owned()),
            note: Some(said.note.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            regarding: Some(regarding),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), said_in);
        within(deadline, "an Event", api.create(&PostParams::default(), &event)).await.map(|_| ())
    }

    /// Where a kind stands in the API. Of others than Kubernetes' own the version is a guess, and so is not given.
    fn resource(&self, kind: &str) -> Option<ApiResource> {
        let group = &self.kinds.iter().find(|known| known.kind == kind)?.group;
        built_in(group, kind)
    }

    async fn uid_of(&self, resource: &ApiResource, namespace: &str, name: &str, deadline: Instant) -> Option<String> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
        let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind).kind;
        // It may not exist yet: then it is said of the name.
        within(deadline, &kind, api.get_metadata(name)).await.ok()?.metadata.uid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_said_at_once_is_dropped_and_counted() {
        let (waiting, mut received) = mpsc::channel(1);
        let metrics = Arc::new(Metrics::default());
        let task = Arc::new(Task::spawn(std::future::pending()));
        let sink = EventSink { waiting, metrics: Arc::clone(&metrics), _task: task };
        sink.denied("shop", "Deployment", "checkout", None, &"é".repeat(LONGEST_NOTE_BYTES));
        sink.denied("shop", "Deployment", "checkout", None, "a second one");
        assert_eq!(metrics.events_dropped.get(), 1);
        let said = received.recv().await.unwrap();
        assert_eq!((said.note.len(), said.reason), (LONGEST_NOTE_BYTES, "DeployDenied"));
        // Nothing to say it of.
        sink.denied("shop", "Pod", "checkout-*", None, "x");
        sink.denied("", "Deployment", "checkout", None, "x");
        assert!(received.try_recv().is_err());
    }
}
