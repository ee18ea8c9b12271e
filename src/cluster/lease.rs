//! Electing a leader among the replicas, by a Lease of the gate's own namespace.
//!
//! Every write carries the version that was read, so of two that write at once one is refused. Whether the holder is gone is
//! told by how long its Lease has not changed on the clock of whoever looks: clocks of two machines are never compared.

mod record;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::record::{Candidate, Observed};
use super::error::{ReadError, within};
use super::leadership::{Leadership, Term};
use super::owner_reference::Owner;
use crate::clock::Clock;

/// After this long without a renewal another replica may take the Lease.
pub(super) const LEASE_FOR: Duration = Duration::from_secs(15);
/// After this long without a renewal the holder does not lead any more. What it was writing then has the rest of the Lease
/// to arrive or to be given up.
const LEAD_FOR: Duration = Duration::from_secs(10);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long giving it back may take at the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// Where the Lease is, and who stands for it.
pub struct LeaseSettings {
    /// The gate's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Name of this replica.
    pub identity: String,
    /// What the Lease goes with.
    pub owner: Arc<Owner>,
    /// Says when it was taken and renewed, for people: nothing is decided by it.
    pub clock: Clock,
}

/// Stands for election until it is released.
#[derive(Debug)]
pub struct Election {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Election {
    /// Begins to stand. Call it inside a tokio runtime.
    pub fn start(client: &Client, settings: LeaseSettings) -> Self {
        let (term, told) = watch::channel(Term::Not);
        let (stop, stopped) = oneshot::channel();
        let contender = Contender {
            api: Api::namespaced(client.clone(), &settings.namespace),
            what: format!("Lease {:?} in namespace {:?}", settings.name, settings.namespace),
            candidate: Candidate::new(settings.identity.clone()),
            settings,
            held: None,
            observed: Observed::default(),
            term,
        };
        Self { leadership: Leadership::of(told), stop, task: tokio::spawn(contender.stand(stopped)) }
    }

    /// Whether this process leads.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Stands no longer, and gives the Lease back where it is held, so that the next need not wait for its end.
    pub async fn release(self) {
        let _ = self.stop.send(());
        let abort = self.task.abort_handle();
        if timeout(RELEASE_WITHIN, self.task).await.is_err() {
            abort.abort();
        }
    }
}

struct Contender {
    api: Api<Lease>,
    what: String,
    candidate: Candidate,
    settings: LeaseSettings,
    /// The Lease as this process wrote it last.
    held: Option<Lease>,
    observed: Observed,
    term: watch::Sender<Term>,
}

impl Contender {
    async fn stand(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut failing = false;
        loop {
            let asked_at = Instant::now();
            let turn = tokio::select! {
                biased;
                _ = &mut stopped => break,
                turn = self.turn() => turn,
            };
            match turn {
                Ok(true) => {
                    failing = false;
                    let before = self.term.send_replace(Term::Until(asked_at + LEAD_FOR));
                    if before == Term::Not {
                        tracing::info!(lease = self.settings.name, "this replica leads");
                    }
                }
                Ok(false) => {
                    failing = false;
                    self.step_down("another replica leads");
                }
                // What holds ends by itself.
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the Lease of the leader cannot be read or written; it is tried again");
                    }
                    let over = matches!(*self.term.borrow(), Term::Until(end) if end <= Instant::now());
                    if over {
                        self.step_down("the Lease could not be renewed in time");
                    }
                }
            }
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = sleep(jittered(LOOK_EVERY)) => {}
            }
        }
        self.term.send_replace(Term::Not);
        self.give_back().await;
    }

    fn step_down(&self, why: &str) {
        if self.term.send_replace(Term::Not) != Term::Not {
            tracing::warn!(lease = self.settings.name, why, "this replica does not lead any more");
        }
    }

    /// Looks once, and takes or renews the Lease where it may; says whether it is held.
    async fn turn(&mut self) -> Result<bool, ReadError> {
        if let Some(held) = self.held.clone() {
            match self.write(held).await? {
                Some(renewed) => {
                    self.held = Some(renewed);
                    return Ok(true);
                }
                // Somebody else wrote it.
                None => self.held = None,
            }
        }
        let found = within(Instant::now() + ANSWER_WITHIN, &self.what, self.api.get_opt(&self.settings.name)).await?;
        let lease = match found {
            Some(lease) => lease,
            None => record::absent(&self.settings.name, &self.settings.namespace),
        };
        let standing_for = self.observed.look(&lease, Instant::now().into_std());
        if !self.candidate.may_take(&lease, standing_for, LEASE_FOR) {
            return Ok(false);
        }
        self.held = self.write(lease).await?;
        Ok(self.held.is_some())
    }

    /// Writes this replica into a Lease; `None` where it is another by now.
    async fn write(&self, lease: Lease) -> Result<Option<Lease>, ReadError> {
        let owner = self.settings.owner.reference().await;
        let is_new = lease.metadata.resource_version.is_none();
        let taken = self.candidate.take(lease, owner, (self.settings.clock)(), LEASE_FOR);
        let (params, until) = (PostParams::default(), Instant::now() + ANSWER_WITHIN);
        let written = if is_new {
            within(until, &self.what, self.api.create(&params, &taken)).await
        } else {
            within(until, &self.what, self.api.replace(&self.settings.name, &params, &taken)).await
        };
        match written {
            Ok(written) => Ok(Some(written)),
            Err(ReadError::Refused { code: 409, .. }) => Ok(None),
            Err(ReadError::NotFound { .. }) if !is_new => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self) {
        let Some(held) = self.held.clone() else { return };
        let released = Candidate::release(held);
        let params = PostParams::default();
        let write = self.api.replace(&self.settings.name, &params, &released);
        match within(Instant::now() + RELEASE_WITHIN, &self.what, write).await {
            Ok(_) => tracing::info!(lease = self.settings.name, "the lead is given back"),
            Err(error) => tracing::debug!(%error, "the lead is not given back; it ends by itself"),
        }
    }
}

/// A pause with up to a quarter more, so that replicas that started together do not go on together.
fn jittered(pause: Duration) -> Duration {
    let parts = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    pause + pause * parts / (4 * 256)
}
