//! The gate's certificates in a Secret of its own namespace: every replica serves what stands there, the leader writes it.
//!
//! The Secret is compared every few seconds, as files are, instead of watched: nothing of it can be missed. What cannot be used
//! changes nothing: the certificate in use stays, and the leader mends the Secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::error::{ReadError, within};
use super::leadership::Leadership;
use super::owner_reference::{Owner, set};
use crate::authority::{self, Materials, Wanted, Why};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::server::certificates::Certificates;
use crate::server::readiness::Readiness;

/// How often the Secret is compared.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the API servers may take to see a new bundle in the webhook configuration.
const KNOWN_AFTER: Duration = Duration::from_secs(10);

const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The Secret, and what follows from it.
pub struct CertificateSecret {
    /// The gate's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// What is made.
    pub wanted: Wanted,
    /// Whether this replica makes it.
    pub leadership: Leadership,
    /// What the Secret goes with.
    pub owner: Arc<Owner>,
    /// What is served.
    pub certificates: Arc<Certificates>,
    /// Told when there is something to serve.
    pub readiness: Arc<Readiness>,
    /// Told the bundle.
    pub bundle: watch::Sender<Option<String>>,
    /// The bundle that the webhook configuration has; `None` where somebody else carries the bundle to callers.
    pub registered: Option<watch::Receiver<Option<String>>>,
    /// Checks what is served.
    pub provider: Arc<CryptoProvider>,
    /// Counts what could not be used.
    pub metrics: Arc<Metrics>,
    /// Says when something is due.
    pub clock: Clock,
}

/// What is remembered from look to look.
#[derive(Default)]
struct Memory {
    /// What was served last. Should the Secret be deleted it is put back: callers trust it.
    good: Option<Materials>,
    /// What was last handed in, good or not; a failure is told once.
    seen: Option<Materials>,
    /// The bundle that callers have, and since when.
    known: Option<(String, Instant)>,
}

impl CertificateSecret {
    /// Follows the Secret for ever.
    pub async fn follow(self, client: Client) {
        let api: Api<Secret> = Api::namespaced(client, &self.namespace);
        let what = format!("Secret {:?} in namespace {:?}", self.name, self.namespace);
        let (mut memory, mut failing) = (Memory::default(), false);
        loop {
            match self.turn(&api, &what, &mut memory).await {
                Ok(changed) => {
                    failing = false;
                    // What was written is read back at once; what a first start waits for is not waited for longer.
                    if !changed {
                        sleep(self.pause(&memory)).await;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error,
                            "the certificate's Secret cannot be read or written; the certificate in use stays"
                        );
                    }
                    sleep(self.pause(&memory)).await;
                }
            }
        }
    }

    /// Short where nothing is served yet, and where lives are short.
    fn pause(&self, memory: &Memory) -> Duration {
        if memory.good.is_none() {
            return Duration::from_millis(500);
        }
        let life = self.wanted.lifetime.to_std().unwrap_or(LOOK_EVERY);
        (life / 60).clamp(Duration::from_millis(500), LOOK_EVERY)
    }

    /// Looks once; says whether something was written.
    async fn turn(&self, api: &Api<Secret>, what: &str, memory: &mut Memory) -> Result<bool, String> {
        let words = |error: ReadError| error.to_string();
        let found = within(Instant::now() + ANSWER_WITHIN, what, api.get_opt(&self.name)).await.map_err(words)?;
        let standing = found.as_ref().map(materials);
        if let Some(standing) = &standing {
            self.take(standing, memory);
        }
        if !self.leadership.leads() {
            return Ok(false);
        }
        let is_known = standing.as_ref().is_some_and(|standing| self.is_known(standing, memory));
        let next = match (&standing, &memory.good) {
            // Somebody deleted it; what is served is what callers trust.
            (None, Some(good)) => Some((Why::First, good.clone())),
            _ => authority::next(standing.as_ref(), &self.wanted, is_known, (self.clock)())
                .map_err(|error| error.to_string())?,
        };
        let Some((why, next)) = next else { return Ok(false) };
        let written = self.write(api, what, found, &next).await.map_err(words)?;
        if written {
            tracing::info!(secret = self.name, why = why.as_str(), "certificates were written");
        }
        Ok(true)
    }

    /// Serves what stands there, and tells its bundle.
    fn take(&self, standing: &Materials, memory: &mut Memory) {
        if memory.seen.as_ref() == Some(standing) {
            return;
        }
        memory.seen = Some(standing.clone());
        let place = |entry: &str| format!("entry {entry} of Secret {:?}", self.name);
        let (pair, places) = ((&*standing.certificate, &*standing.key), (&*place(CERTIFICATE), &*place(KEY)));
        match self.certificates.hand_in(pair, &standing.authorities, places, &self.provider) {
            Ok(()) => {
                memory.good = Some(standing.clone());
                self.metrics.certificate_not_after.set(self.certificates.not_after());
                self.readiness.tls_is_loaded();
                // The bundle is told only with a certificate that it vouches for: a broken one would be believed by nobody.
                self.bundle.send_if_modified(|told| {
                    let differs = told.as_ref() != Some(&standing.authorities);
                    *told = Some(standing.authorities.clone());
                    differs
                });
                tracing::info!(secret = self.name, "a TLS certificate of the Secret is in use");
            }
            Err(error) => {
                self.metrics.certificate_reload_failures.inc();
                tracing::error!(%error, "the TLS certificate in use stays");
            }
        }
    }

    /// Whether callers have had this bundle for long enough.
    fn is_known(&self, standing: &Materials, memory: &mut Memory) -> bool {
        let (carried, after) = match &self.registered {
            Some(registered) => {
                let twelfth = (self.wanted.lifetime / 12).to_std().unwrap_or(KNOWN_AFTER);
                (registered.borrow().clone(), KNOWN_AFTER.min(twelfth))
            }
            // Whoever carries it is given a quarter of the time until the certificate ends.
            None => (Some(standing.authorities.clone()), (self.wanted.lifetime / 12).to_std().unwrap_or(Duration::MAX)),
        };
        if carried.as_ref() != Some(&standing.authorities) {
            memory.known = None;
            return false;
        }
        let since = match &memory.known {
            Some((bundle, since)) if *bundle == standing.authorities => *since,
            _ => {
                let now = Instant::now();
                memory.known = Some((standing.authorities.clone(), now));
                now
            }
        };
        since.elapsed() >= after
    }

    /// Writes it over what was read; whether it was still that.
    async fn write(
        &self,
        api: &Api<Secret>,
        what: &str,
        found: Option<Secret>,
        next: &Materials,
    ) -> Result<bool, ReadError> {
        let (params, until) = (PostParams::default(), Instant::now() + ANSWER_WITHIN);
        let is_new = found.is_none();
        let mut secret = found.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        set(&mut secret.metadata, self.owner.reference().await);
        let data = secret.data.get_or_insert_with(BTreeMap::new);
        for (entry, text) in [
            (AUTHORITIES, &next.authorities),
            (AUTHORITY_KEY, &next.authority_key),
            (CERTIFICATE, &next.certificate),
            (KEY, &next.key),
        ] {
            data.insert(entry.to_owned(), ByteString(text.clone().into_bytes()));
        }
        // Time may have passed, and with it the lead.
        if !self.leadership.leads() {
            return Ok(false);
        }
        let written = if is_new {
            within(until, what, api.create(&params, &secret)).await
        } else {
            // It was read with its version: what somebody else wrote since is not written over.
            within(until, what, api.replace(&self.name, &params, &secret)).await
        };
        match written {
            Ok(_) => Ok(true),
            // Another was first; what it wrote is read back.
            Err(ReadError::Refused { code: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn materials(secret: &Secret) -> Materials {
    let entry = |name: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(name));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    Materials {
        authorities: entry(AUTHORITIES),
        authority_key: entry(AUTHORITY_KEY),
        certificate: entry(CERTIFICATE),
        key: entry(KEY),
    }
}
