//! The webhook configuration in the cluster: the leader makes it and keeps it, every replica looks at it.
//!
//! It is compared every few seconds instead of watched, so a change is told within that time, whatever becomes of watches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::error::{ReadError, within};
use super::events::EventSink;
use super::leadership::Leadership;
use super::owner_reference::Owner;
use super::served_kinds::served;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::subject::kinds::WorkloadKinds;
use crate::webhook::drift::{differences, put_back};
use crate::webhook::keeping::{Act, DriftMode, Keeping, Standing};
use crate::webhook::{self, Registration, ServedKind};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the cluster is asked which kinds it serves.
const KINDS_EVERY: Duration = Duration::from_secs(30);
/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The name under which the gate owns its fields.
const FIELD_MANAGER: &str = "freshgate";

/// The authorities that API servers are to believe.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// Those of the Secret with the gate's certificates.
    OfSecret(watch::Receiver<Option<String>>),
    /// Those of a file, in PEM; where there is no such file, those that API servers believe anyway.
    OfFile(PathBuf),
    /// These, in PEM.
    These(String),
    /// Those that API servers believe anyway.
    System,
}

impl Authorities {
    /// The bundle now, none for the system's. An error says why it is not known yet.
    pub fn now(&self) -> Result<Option<String>, String> {
        match self {
            Self::System => Ok(None),
            Self::These(pem) => Ok(Some(pem.clone())),
            Self::OfSecret(told) => match &*told.borrow() {
                Some(pem) => Ok(Some(pem.clone())),
                None => Err("the Secret with the gate's certificates has none yet".to_owned()),
            },
            Self::OfFile(file) => match std::fs::read_to_string(file) {
                Ok(pem) if pem.contains("BEGIN CERTIFICATE") => Ok(Some(pem)),
                Ok(_) => Err(format!("there is no certificate in {} (--webhook-ca)", file.display())),
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(why) => Err(format!("{} cannot be read: {why} (--webhook-ca)", file.display())),
            },
        }
    }

    /// Waits until they may be others.
    async fn changed(&mut self) {
        if let Self::OfSecret(told) = self
            && told.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// The configuration, and what follows from it.
pub struct WebhookConfiguration {
    /// What is registered.
    pub registration: Registration,
    /// What becomes of others' changes.
    pub drift: DriftMode,
    /// What API servers are to believe.
    pub authorities: Authorities,
    /// The kinds that are judged.
    pub kinds: WorkloadKinds,
    /// Whether this replica acts.
    pub leadership: Leadership,
    /// What the configuration goes with.
    pub owner: Arc<Owner>,
    /// Told of others' changes.
    pub events: EventSink,
    /// Likewise.
    pub metrics: Arc<Metrics>,
    /// Told the authorities that the configuration has in the cluster.
    pub registered: watch::Sender<Option<String>>,
    /// Says what was there before this process.
    pub clock: Clock,
}

/// What is remembered from look to look.
struct Memory {
    keeping: Keeping,
    began: Instant,
    served: Vec<ServedKind>,
    asked_for_kinds: Option<Instant>,
    /// What was told last, so that it is told once.
    told: Standing,
}

impl WebhookConfiguration {
    /// Looks for ever.
    pub async fn keep(mut self, client: Client) {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", webhook::KIND);
        let resource = ApiResource::from_gvk_with_plural(&kind, "validatingwebhookconfigurations");
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let mut memory = Memory {
            keeping: Keeping::new(self.drift, (self.clock)()),
            began: Instant::now(),
            served: Vec::new(),
            asked_for_kinds: None,
            told: Standing::default(),
        };
        let mut trouble = String::new();
        loop {
            let looked = self.look(&client, &api, &mut memory).await;
            let pause = match looked {
                Ok(()) => {
                    trouble.clear();
                    LOOK_EVERY
                }
                Err(why) => {
                    if trouble != why {
                        tracing::warn!(
                            why,
                            "the webhook configuration cannot be kept; it is tried again (the gate needs get, create and patch on it)"
                        );
                        trouble = why;
                    }
                    LOOK_EVERY / 2
                }
            };
            // Whoever begins to lead looks at once, and so does whoever has new authorities to tell.
            let leads = self.leadership.leads();
            let leadership = self.leadership.clone();
            let sooner = async {
                tokio::select! {
                    () = leadership.gained(), if !leads => {}
                    () = self.authorities.changed() => {}
                }
            };
            let _ = timeout(pause, sooner).await;
        }
    }

    async fn look(&self, client: &Client, api: &Api<DynamicObject>, memory: &mut Memory) -> Result<(), String> {
        let authorities = self.authorities.now()?;
        if memory.asked_for_kinds.is_none_or(|at| at.elapsed() >= KINDS_EVERY) {
            match served(client, &self.kinds).await {
                Ok(served) => {
                    (memory.served, memory.asked_for_kinds) = (served, Some(Instant::now()));
                }
                // What was known stays; before anything is known there would be too few rules.
                Err(error) if memory.asked_for_kinds.is_none() => return Err(error.to_string()),
                Err(error) => tracing::debug!(%error, "the kinds that the cluster serves are not known anew"),
            }
        }
        let owner = self.owner.reference().await;
        let wanted = self.registration.manifest(authorities.as_deref(), &memory.served, owner.as_ref());
        let live = self.read(api).await?;
        let act = memory.keeping.look(&wanted, live.as_ref(), self.leadership.leads(), memory.began.elapsed());
        let live = match act {
            Act::Nothing => live,
            Act::Delete(uid) => {
                self.delete(api, uid).await?;
                tracing::info!("what was left of an earlier removal of the webhook configuration is deleted");
                None
            }
            Act::Apply(manifest) => {
                let applied = self.apply(api, &manifest).await?;
                memory.keeping.applied(&wanted);
                tracing::info!(name = self.registration.name, "the webhook configuration is applied");
                Some(applied)
            }
        };
        self.tell(memory, live.as_ref());
        Ok(())
    }

    fn what(&self) -> String {
        format!("ValidatingWebhookConfiguration {:?}", self.registration.name)
    }

    async fn read(&self, api: &Api<DynamicObject>) -> Result<Option<Value>, String> {
        let read = within(Instant::now() + ANSWER_WITHIN, &self.what(), api.get_opt(&self.registration.name)).await;
        let found = read.map_err(|error| error.to_string())?;
        found.map(|object| serde_json::to_value(object).map_err(|error| error.to_string())).transpose()
    }

    async fn apply(&self, api: &Api<DynamicObject>, manifest: &Value) -> Result<Value, String> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let (name, patch) = (&self.registration.name, Patch::Apply(manifest));
        let written = api.patch(name, &parameters, &patch);
        let applied = within(Instant::now() + ANSWER_WITHIN, &self.what(), written).await;
        let applied = serde_json::to_value(applied.map_err(|error| error.to_string())?);
        let applied = applied.map_err(|error| error.to_string())?;
        if differences(manifest, &applied).is_empty() {
            return Ok(applied);
        }
        // With its version: what somebody writes meanwhile is looked at first.
        let whole = json!({
            "metadata": {"resourceVersion": applied["metadata"]["resourceVersion"]},
            "webhooks": put_back(manifest, &applied),
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&whole);
        let written = api.patch(name, &parameters, &patch);
        let replaced = within(Instant::now() + ANSWER_WITHIN, &self.what(), written).await;
        serde_json::to_value(replaced.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    async fn delete(&self, api: &Api<DynamicObject>, uid: String) -> Result<(), String> {
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        let deleted = api.delete(&self.registration.name, &parameters);
        match within(Instant::now() + ANSWER_WITHIN, &self.what(), deleted).await {
            // It is gone, or another by now.
            Ok(_) | Err(ReadError::NotFound { .. } | ReadError::Refused { code: 409, .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Says how it stands: in metrics always, in the log and by an Event when that is another way than before.
    fn tell(&self, memory: &mut Memory, live: Option<&Value>) {
        let standing = &memory.keeping.standing;
        let stands = live.is_some() && matches!(standing, Standing::AsWanted | Standing::Drifted(_));
        self.metrics.webhook_applied.set(i64::from(stands));
        let told = matches!(standing, Standing::Drifted(_)) && self.leadership.leads();
        self.metrics.webhook_drift.set(i64::from(told));
        self.registered.send_replace(live.and_then(webhook::authorities_in));
        if memory.told == *standing {
            return;
        }
        match standing {
            Standing::Drifted(words) => {
                if !self.leadership.leads() {
                    return;
                }
                let by = live.and_then(last_writer).map_or_else(String::new, |by| format!(", last by {by}"));
                let then = match self.drift {
                    DriftMode::Report => "it is left so (--webhook-drift report)",
                    DriftMode::Enforce => "it is put back (--webhook-drift enforce)",
                };
                let note = format!("The webhook configuration was changed by somebody else{by}: {words}; {then}.");
                tracing::warn!(name = self.registration.name, "{note}");
                let uid = live.and_then(|live| live["metadata"]["uid"].as_str());
                self.events.webhook_drifted(&self.registration.name, uid, &note);
            }
            Standing::Removed => {
                tracing::info!(name = self.registration.name, "the webhook configuration is being removed; left alone");
            }
            Standing::AsWanted if matches!(memory.told, Standing::Drifted(_)) => {
                tracing::info!(
                    name = self.registration.name,
                    "the webhook configuration is as the gate wants it again"
                );
            }
            Standing::AsWanted | Standing::Absent => {}
        }
        memory.told = standing.clone();
    }
}

/// Who wrote it last beside the gate, as the API server noted.
fn last_writer(live: &Value) -> Option<String> {
    let writers = live["metadata"]["managedFields"].as_array()?;
    let others = writers.iter().filter(|writer| writer["manager"] != FIELD_MANAGER);
    let last = others.max_by_key(|writer| writer["time"].as_str().unwrap_or_default().to_owned())?;
    Some(format!("{} at {}", last["manager"].as_str()?, last["time"].as_str()?))
}
