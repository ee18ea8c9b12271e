//! `freshgate serve`: puts the parts together and nothing else. Everything that can be wrong is told before the first
//! review is answered.

mod certificates;
mod cluster;
mod figures;
mod granting;
pub mod indexes;
mod keeping;
mod registration;
mod registries;
mod scanning;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use self::certificates::SecretSettings;
pub use self::cluster::{client, synced};
use self::indexes::IndexesError;
pub use self::registries::{RegistriesError, resolver};
use crate::admin::decisions::DecisionsApi;
use crate::admin::{self, Admin};
use crate::admission::{AuditMode, Gate, Granting, Recording, RecordingSettings};
use crate::args::{AuditDurability, ServeArgs, StoreArg};
use crate::audit::record::Labels;
use crate::audit::{Audit, AuditError, AuditSettings, Durability};
use crate::background::Background;
use crate::budget::keeper::Keeper;
use crate::budget::poller::Poller;
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::authorization::Authorizer;
use crate::cluster::budget_materials::ClusterMaterials;
use crate::cluster::budget_sources::ClusterBudgetSources;
use crate::cluster::events::EventSink;
use crate::cluster::exceptions::ClusterExceptions;
use crate::cluster::leadership::Leadership;
use crate::cluster::lease::{Election, LeaseSettings};
use crate::cluster::owner_reference::Owner;
use crate::cluster::policies::ClusterPolicies;
use crate::cluster::webhook_configuration::WebhookConfiguration;
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::resolver::facts::{FactStore, LedgerOnly, StoredFacts};
use crate::metrics::Metrics;
use crate::policy_folder::{self, FolderError, InForce};
use crate::server::callers::Callers;
use crate::server::certificates::CertificateError;
use crate::server::readiness::Readiness;
use crate::server::{Drain, Listener, ServerError, signals};
use crate::signing::KeySourceError;
use crate::store::{Ledger, Store, StoreError};
use crate::subject::kinds::WorkloadKinds;
use crate::telemetry::{Telemetry, TelemetryError, TelemetrySettings, Traces};

/// How long connections and the store may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long a collector may take for what is left to tell it.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// How long exceptions may keep the gate from being ready: their definition may come later than the gate does.
const BESIDE_POLICIES_WITHIN: Duration = Duration::from_secs(10);

/// Why the gate cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Policies.
    #[error(transparent)]
    Policies(#[from] FolderError),
    /// Certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file cannot be written.
    #[error(
        "the certificate cannot be written to {path}: {why}; name another file with --tls-write-cert (FRESHGATE_TLS_WRITE_CERT)"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Registries.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// Package indexes.
    #[error(transparent)]
    Indexes(#[from] IndexesError),
    /// A socket.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The cluster.
    #[error("the cluster cannot be reached: {0}; check KUBECONFIG, or the Pod's service account")]
    Cluster(String),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeySourceError),
    /// Threads.
    #[error("the threads for background work cannot be started: {0}")]
    Background(std::io::Error),
    /// OpenTelemetry.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Signals.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// Serves until a signal, then ends in order.
pub async fn serve(args: ServeArgs, provider: Arc<CryptoProvider>) -> Result<(), StartError> {
    let metrics = Arc::new(Metrics::default());
    let readiness = Arc::new(Readiness::default());
    let in_force = InForce::default();

    let args = args.with_journal();
    let background = Background::start().map_err(StartError::Background)?;
    let certificates = Arc::new(certificates::certificates(&args, &provider)?);
    if let Some(folder) = &args.policies {
        in_force.put(policy_folder::read_all_without_cluster(folder, clock::now())?, &metrics);
        readiness.policies_are_synced();
    }
    let durability = match args.audit_durability {
        AuditDurability::Journal => Durability::Journal,
        AuditDurability::Async => Durability::Async,
        AuditDurability::Store => Durability::Store,
    };
    let (store, ledger, facts): (Option<Store>, Ledger, Arc<dyn FactStore>) = match &args.store {
        StoreArg::Store(location) => {
            let store = Store::open_on(location, &background.handle()).await?;
            (Some(store.clone()), store.ledger(), Arc::new(StoredFacts(store)))
        }
        StoreArg::Stdout => {
            let ledger = Ledger::in_memory();
            (None, ledger.clone(), Arc::new(LedgerOnly(ledger)))
        }
    };
    let audit = Arc::new(match &store {
        Some(store) => {
            let settings =
                AuditSettings { durability, strict: args.audit_mode == AuditMode::Strict, ..AuditSettings::default() };
            Audit::open(settings, store, clock::now()).await?
        }
        None => Audit::to_stdout(&ledger, clock::now())?,
    });
    let resolver = resolver(&args.registries, Arc::clone(&facts))?;
    let asking = match &args.scan.indexes {
        Some(path) => Some(indexes::asking(path, store.clone()).await?),
        None => None,
    };
    let kinds = WorkloadKinds::with(args.workload_kind.clone());
    let client = if args.kubernetes { Some(client().await?) } else { None };
    let name = args.id.clone().unwrap_or_else(cluster::host_name);
    let own_namespace = cluster::own_namespace(&args);
    let owner = Arc::new(owner(&args, client.as_ref()));
    let scan_owner = Arc::clone(&owner);
    let election = election(&args, client.as_ref(), &name, &own_namespace, &owner);
    let leadership = election.as_ref().map_or_else(Leadership::alone, |election| election.leadership().clone());
    let registration = registration::registration(&args.lifecycle, &own_namespace);
    let (registered, told) = watch::channel(None);
    let secret = SecretSettings {
        namespace: own_namespace.clone(),
        leadership: leadership.clone(),
        owner: Arc::clone(&owner),
        certificates: Arc::clone(&certificates),
        readiness: Arc::clone(&readiness),
        provider: Arc::clone(&provider),
        metrics: Arc::clone(&metrics),
        registered: registration.is_some().then_some(told),
    };
    let authorities = certificates::follow_secret(&args, client.as_ref(), secret);
    let cluster = client.as_ref().map(|client| Arc::new(Cluster::start(client, kinds.clone(), args.read_pull_secrets)));
    if let Some(cluster) = &cluster {
        synced(cluster).await?;
    }

    let timeout = Duration::from_secs(args.lifecycle.webhook_timeout_seconds.into());
    let mut listener = Listener::bind(args.listen, Arc::clone(&certificates), Arc::clone(&provider))
        .await?
        .with_default_timeout(timeout);
    if let Some(file) = &args.lifecycle.client_ca {
        let callers = Arc::new(Callers::from_file(file, args.lifecycle.client_name.clone(), &provider)?);
        tokio::spawn(Arc::clone(&callers).follow(Arc::clone(&provider)));
        listener = listener.only_for(callers);
    }
    let admin_socket = admin::bind(args.admin_listen).await?;

    let telemetry = telemetry(&args, &name, &metrics, &background)?;
    let traces = telemetry.as_ref().map_or_else(Traces::default, |telemetry| telemetry.traces.clone());
    if let Some(telemetry) = &telemetry {
        audit.listen(telemetry.listener());
    }
    // Where nothing is kept and nobody asks for exceptions, nothing is signed.
    let keys = match (&store, &client) {
        (None, None) => None,
        _ => Some(granting::key_source(&args).keys(client.as_ref()).await?),
    };
    let checkpointer = store.as_ref().zip(keys.as_ref()).map(|(store, keys)| {
        let cluster = client.clone().map(|client| (client, own_namespace.clone()));
        keeping::start(
            &args.keeping,
            (&audit, store),
            keys,
            cluster,
            (&name, &leadership),
            &metrics,
            &background.handle(),
        )
    });
    let events = client.as_ref().map(|client| EventSink::start(client, kinds.clone(), &name, Arc::clone(&metrics)));
    let granting = match (&client, &cluster, keys, &events) {
        (Some(client), Some(cluster), Some(keys), Some(events)) => {
            tracing::info!(key_id = %keys.signer_id(), "exceptions are signed");
            Some(Granting {
                authorizer: Authorizer::new(client.clone()),
                exceptions: ClusterExceptions::start(
                    client,
                    keys,
                    granting::find_grant(&args.store),
                    Arc::clone(&in_force.exceptions),
                    clock::now,
                    Arc::clone(&metrics),
                ),
                cluster: Arc::clone(cluster),
                events: events.clone(),
            })
        }
        _ => None,
    };
    // What all budget sources said last: whatever judges budgets reads this, and asks nobody.
    let budgets = Budgets::default();
    let (reports, reported) = mpsc::unbounded_channel();
    let materials =
        client.as_ref().map(|client| Arc::new(ClusterMaterials::new(client.clone(), own_namespace.clone())));
    let poller = {
        // Tens of thousands of series are read there, and no review waits for it.
        let background = background.handle();
        let _entered = background.enter();
        Poller::start(
            in_force.budget_sources.subscribe(),
            materials,
            Arc::clone(&budgets.snapshots),
            Arc::clone(&metrics),
            client.is_some().then_some(reports),
        )
    };
    let keeper = Keeper {
        snapshots: Arc::clone(&budgets.snapshots),
        freezes: Arc::clone(&budgets.freezes),
        policies: Arc::clone(&in_force.policies),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        clock: clock::now,
    };
    keeper.take_up().await;
    let cluster_budget_sources = client.as_ref().map(|client| {
        ClusterBudgetSources::start(client, Arc::clone(&in_force.budget_sources), reported, leadership.clone())
    });
    let cluster_policies = client.as_ref().map(|client| {
        let policies =
            ClusterPolicies::start(client, Arc::clone(&in_force.policies), leadership.clone(), Arc::clone(&metrics));
        let (health, readiness) = (Arc::clone(policies.health()), Arc::clone(&readiness));
        let exceptions = granting.as_ref().map(|granting| Arc::clone(granting.exceptions.health()));
        let sources = cluster_budget_sources.as_ref().map(|sources| Arc::clone(sources.health()));
        tokio::spawn(async move {
            health.synced().await;
            for (beside, what) in [(exceptions, "exceptions"), (sources, "budget sources")] {
                if let Some(beside) = beside
                    && tokio::time::timeout(BESIDE_POLICIES_WITHIN, beside.synced()).await.is_err()
                {
                    tracing::warn!("{what} could not be listed in time; none has an effect until they are");
                }
            }
            readiness.policies_are_synced();
        });
        policies
    });
    let keeper = {
        // What no policy names any more lifts, so the policies must be known first.
        let (polls, policies) =
            (poller.polls(), cluster_policies.as_ref().map(|policies| Arc::clone(policies.health())));
        async move {
            if let Some(policies) = policies {
                policies.synced().await;
            }
            keeper.run(polls).await;
        }
    };
    background.handle().spawn(keeper);
    if let Some(folder) = args.policies.clone() {
        tokio::spawn(policy_folder::follow(folder, in_force.clone(), clock::now, Arc::clone(&metrics)));
    }
    tokio::spawn(certificates.follow(Arc::clone(&provider), Arc::clone(&metrics)));
    if let (Some(registration), Some(client), Some(events), Ok(address)) =
        (registration, client.clone(), events, listener.address())
    {
        readiness.await_self_check();
        let configuration = WebhookConfiguration {
            registration,
            drift: args.lifecycle.webhook_drift,
            authorities,
            kinds: kinds.clone(),
            leadership: leadership.clone(),
            owner,
            events,
            metrics: Arc::clone(&metrics),
            registered,
            clock: clock::now,
        };
        let callers_are_checked = args.lifecycle.client_ca.is_some();
        tokio::spawn(registration::register(
            configuration,
            address,
            callers_are_checked,
            client,
            Arc::clone(&readiness),
            provider,
        ));
    }

    let labels = Labels { id: name, version: env!("CARGO_PKG_VERSION").to_owned(), cluster: args.cluster };
    let gate = Arc::new(Gate {
        kinds,
        policies: in_force.policies,
        gatherer: Gatherer {
            resolver: resolver.clone(),
            ledger: Some(ledger),
            cluster,
            stated: StatedLabels::default(),
            budgets: budgets.clone(),
            exceptions: in_force.exceptions,
            traces: traces.clone(),
        },
        recording: Recording::new(
            Arc::clone(&audit),
            RecordingSettings {
                level: args.audit_level,
                mode: args.audit_mode,
                labels,
                contact: args.contact,
                public_url: args.public_url,
            },
            traces.clone(),
            Arc::clone(&metrics),
        ),
        granting,
        nudges: Arc::default(),
        traces,
        metrics: Arc::clone(&metrics),
        clock: clock::now,
    });
    if let (Some(interval), true) = (args.scan.scan_interval.0, client.is_some()) {
        let started = scanning::Scanning {
            interval,
            left_out: args.lifecycle.webhook_exclude_namespace.iter().cloned().chain([own_namespace]).collect(),
            gatherer: Gatherer {
                // What admission asks registries, and what it waits for, stays its own.
                resolver: crate::run::resolver(&args.registries, facts)?,
                ledger: None,
                traces: Traces::default(),
                ..gate.gatherer.clone()
            },
            asking,
            kinds: gate.kinds.clone(),
            policies: Arc::clone(&gate.policies),
            nudges: Arc::clone(&gate.nudges),
            store: store.clone(),
            leadership: leadership.clone(),
            owner: scan_owner,
            policies_known: cluster_policies.as_ref().map(|policies| Arc::clone(policies.health())),
            metrics: Arc::clone(&gate.metrics),
        };
        scanning::start(started, &background.handle());
    }
    let (ending, ended) = watch::channel(false);
    let admin = Admin {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        refresh: figures::refresh(
            &metrics,
            &audit,
            resolver,
            cluster_policies.as_ref().map(|policies| Arc::clone(policies.health())),
            Arc::clone(&budgets.snapshots),
            leadership.clone(),
        ),
        decisions: decisions_api(&args.store, client.as_ref().filter(|_| args.decisions.decisions_api)),
    };
    let admin = tokio::spawn(admin::serve(admin_socket, admin, wait_for(ended)));

    if let Ok(address) = listener.address() {
        tracing::info!(%address, admin = %args.admin_listen, version = env!("CARGO_PKG_VERSION"), "reviews are answered");
    }
    let (signal, signalled) = watch::channel(false);
    tokio::spawn(async move {
        if let Err(error) = signals::first_signal().await {
            tracing::error!(%error, "signals cannot be received; only killing ends this process");
            return;
        }
        tracing::info!("a signal to stop: what is under way is answered first");
        signal.send_replace(true);
        std::future::pending::<()>().await;
    });
    let drain = Drain { delay: Duration::from_secs(args.drain_delay_seconds), within: END_WITHIN };
    listener.serve(gate, readiness, metrics, wait_for(signalled), drain).await?;

    ending.send_replace(true);
    let _ = tokio::time::timeout(END_WITHIN, admin).await;
    let closed = audit.flush_and_close(END_WITHIN).await;
    if closed.unstored_records > 0 {
        let records = closed.unstored_records;
        match durability {
            Durability::Store => {
                tracing::error!(
                    records,
                    "records are lost that the store did not take; their decisions were said to be unrecorded"
                );
            }
            _ => tracing::warn!(records, "the store gets what it did not take in time at the next start"),
        }
    }
    if let Some(checkpointer) = checkpointer
        && leadership.leads()
        && let Err(error) = checkpointer.make(clock::now()).await
    {
        tracing::error!(%error, "the last checkpoint of the audit is not kept");
    }
    if let Some(election) = election {
        election.release().await;
    }
    if let Some(store) = store
        && let Err(error) = store.flush_and_close().await
    {
        tracing::error!(%error, "the store was not closed in order");
    }
    // Last: a collector that hangs may cost what it would have got, and nothing else of the end.
    if let Some(telemetry) = telemetry {
        telemetry.close(TELL_WITHIN).await;
    }
    tracing::info!("ended in order");
    Ok(())
}

/// What the gate's own objects go with.
fn owner(args: &ServeArgs, client: Option<&kube::Client>) -> Owner {
    match (&args.lifecycle.webhook_owner, client) {
        (Some(name), Some(client)) => Owner::named(client.clone(), name.clone()),
        _ => Owner::default(),
    }
}

/// Stands for election, where there is one.
fn election(
    args: &ServeArgs,
    client: Option<&kube::Client>,
    identity: &str,
    namespace: &str,
    owner: &Arc<Owner>,
) -> Option<Election> {
    let (name, client) = args.lifecycle.leader_lease.clone().zip(client)?;
    let settings = LeaseSettings {
        namespace: namespace.to_owned(),
        name,
        identity: identity.to_owned(),
        owner: Arc::clone(owner),
        clock: clock::now,
    };
    Some(Election::start(client, settings))
}

async fn wait_for(mut told: watch::Receiver<bool>) {
    // An error means that the teller is gone, and with it whatever would have been told.
    let _ = told.wait_for(|told| *told).await;
}

/// What a collector is told, where one is named.
fn telemetry(
    args: &ServeArgs,
    name: &str,
    metrics: &Arc<Metrics>,
    background: &Background,
) -> Result<Option<Telemetry>, StartError> {
    let Some(endpoint) = args.telemetry.endpoint() else {
        return Ok(None);
    };
    let (timeout, cluster) = (args.telemetry.timeout(), args.cluster.clone());
    let ca = args.telemetry.otlp_ca.clone().filter(|path| !path.as_os_str().is_empty());
    let settings = TelemetrySettings { endpoint, ca, timeout, id: name.to_owned(), cluster };
    let telemetry = Telemetry::start(&settings, metrics, &background.handle())?;
    tracing::info!(endpoint = %settings.endpoint, "records and reviews are told to an OTLP collector");
    Ok(Some(telemetry))
}

/// Decisions over HTTP, where there is a store to ask and a cluster that says who may.
fn decisions_api(store: &StoreArg, client: Option<&kube::Client>) -> Option<DecisionsApi> {
    match (store, client) {
        (StoreArg::Store(location), Some(client)) => Some(DecisionsApi::new(location.clone(), client.clone())),
        _ => None,
    }
}
