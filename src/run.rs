//! `freshgate serve`: puts the parts together and nothing else. Everything that can be wrong is told before the first
//! review is answered.

pub mod indexes;
mod keeping;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::admin::decisions::DecisionsApi;
use crate::admin::{self, Admin};
use crate::admission::{AuditMode, Gate, Granting, Recording, RecordingSettings};
use crate::args::{AuditDurability, RegistryArgs, ServeArgs, StoreArg};
use crate::audit::record::Labels;
use crate::audit::{self, Audit, AuditError, AuditSettings, Durability};
use crate::background::Background;
use crate::budget::keeper::Keeper;
use crate::budget::poller::{self, Poller};
use crate::budget::snapshot::Snapshots;
use crate::clock;
use crate::cluster::authorization::Authorizer;
use crate::cluster::budget_materials::{self, ClusterMaterials};
use crate::cluster::budget_sources::ClusterBudgetSources;
use crate::cluster::events::EventSink;
use crate::cluster::exceptions::{ClusterExceptions, FindGrant};
use crate::cluster::policies::ClusterPolicies;
use crate::cluster::watch::WatchHealth;
use crate::cluster::{self, Cluster};
use crate::evidence::gather::{Budgets, Gatherer, StatedLabels};
use crate::image::registry::credentials::{Credentials, InvalidCredentials};
use crate::image::registry::settings::{MirrorLocation, RegistrySettings};
use crate::image::registry::{Registries, SettingsError};
use crate::image::resolver::Resolver;
use crate::image::resolver::facts::{FactStore, LedgerOnly, StoredFacts};
use crate::metrics::Metrics;
use crate::policy_folder::{self, FolderError, InForce};
use crate::server::certificates::{CertificateError, Certificates};
use crate::server::readiness::Readiness;
use crate::server::{Drain, Listener, ServerError, signals};
use crate::signing::{KeySource, KeySourceError};
use crate::store::{Ledger, Store, StoreError};
use crate::subject::kinds::WorkloadKinds;
use crate::telemetry::{Telemetry, TelemetryError, TelemetrySettings, Traces};

/// How long connections and the store may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long a collector may take for what is left to tell it.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// How long the first lists of a cluster may take.
const SYNC_WITHIN: Duration = Duration::from_secs(30);

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

/// Why registries cannot be asked.
#[derive(Debug, Error)]
pub enum RegistriesError {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file with credentials cannot be read.
    #[error(
        "the registry credentials in {path} cannot be read: {why}; name a docker config with --registry-auth (FRESHGATE_REGISTRY_AUTH), or leave it out"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// A folder that should stand in for a registry is no image layout: every image of it would be unreachable.
    #[error(
        "the image layout {folder} cannot be used: its index.json cannot be read: {why}; name the folder that holds index.json and blobs, as oci:DIR"
    )]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The file with credentials is not one.
    #[error("{path}: {why}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: InvalidCredentials,
    },
}

/// The resolver that the flags describe.
pub fn resolver(args: &RegistryArgs, store: Arc<dyn FactStore>) -> Result<Resolver, RegistriesError> {
    let settings = RegistrySettings {
        allow: args.allow_registry.clone(),
        insecure: args.insecure_registry.clone(),
        private: args.private_registry.clone(),
        ca_files: args.registry_ca.clone(),
        mirrors: args.mirror.clone(),
        token_hosts: args.token_host.clone(),
    };
    for mirror in &settings.mirrors {
        if let MirrorLocation::Layout(folder) = &mirror.location {
            std::fs::File::open(folder.join("index.json"))
                .map_err(|why| RegistriesError::Layout { folder: folder.clone(), why })?;
        }
    }
    let default = std::env::var_os("DOCKER_CONFIG").map(|folder| PathBuf::from(folder).join("config.json"));
    let file = args.registry_auth.clone().or(default.filter(|path| path.exists()));
    let own = match file {
        None => Credentials::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(&path).map_err(|why| RegistriesError::Read { path: path.clone(), why })?;
            Credentials::from_docker_config(&text).map_err(|why| RegistriesError::Credentials { path, why })?
        }
    };
    Ok(Resolver::new(Registries::new(settings)?, own, store))
}

/// Serves until a signal, then ends in order.
pub async fn serve(args: ServeArgs, provider: Arc<CryptoProvider>) -> Result<(), StartError> {
    let metrics = Arc::new(Metrics::default());
    let readiness = Arc::new(Readiness::default());
    let in_force = InForce::default();

    let args = args.with_journal();
    let background = Background::start().map_err(StartError::Background)?;
    let certificates = Arc::new(certificates(&args, &provider)?);
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
    let resolver = resolver(&args.registries, facts)?;
    let kinds = WorkloadKinds::with(args.workload_kind.clone());
    let client = if args.kubernetes { Some(client().await?) } else { None };
    let cluster = client.as_ref().map(|client| Arc::new(Cluster::start(client, kinds.clone(), args.read_pull_secrets)));
    if let Some(cluster) = &cluster {
        synced(cluster).await?;
    }

    let listener = Listener::bind(args.listen, Arc::clone(&certificates), Arc::clone(&provider)).await?;
    let admin_socket = admin::bind(args.admin_listen).await?;

    let name = args.id.clone().unwrap_or_else(host_name);
    let telemetry = telemetry(&args, &name, &metrics, &background)?;
    let traces = telemetry.as_ref().map_or_else(Traces::default, |telemetry| telemetry.traces.clone());
    if let Some(telemetry) = &telemetry {
        audit.listen(telemetry.listener());
    }
    let own_namespace = args.own_namespace.clone().or_else(budget_materials::own_namespace);
    let own_namespace = own_namespace.unwrap_or_else(|| "freshgate".to_owned());
    // Where nothing is kept and nobody asks for exceptions, nothing is signed.
    let keys = match (&store, &client) {
        (None, None) => None,
        _ => Some(key_source(&args).keys(client.as_ref()).await?),
    };
    let checkpointer = store.as_ref().zip(keys.as_ref()).map(|(store, keys)| {
        let cluster = client.clone().map(|client| (client, own_namespace.clone()));
        keeping::start(&args.keeping, (&audit, store), keys, cluster, &name, &metrics, &background.handle())
    });
    let granting = match (&client, &cluster, keys) {
        (Some(client), Some(cluster), Some(keys)) => {
            tracing::info!(key_id = %keys.signer_id(), "exceptions are signed");
            Some(Granting {
                authorizer: Authorizer::new(client.clone()),
                exceptions: ClusterExceptions::start(
                    client,
                    keys,
                    find_grant(&args.store),
                    Arc::clone(&in_force.exceptions),
                    clock::now,
                    Arc::clone(&metrics),
                ),
                cluster: Arc::clone(cluster),
                events: EventSink::start(client, kinds.clone(), &name, Arc::clone(&metrics)),
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
    let cluster_budget_sources = client
        .as_ref()
        .map(|client| ClusterBudgetSources::start(client, Arc::clone(&in_force.budget_sources), reported));
    let cluster_policies = client.as_ref().map(|client| {
        let policies = ClusterPolicies::start(client, Arc::clone(&in_force.policies), Arc::clone(&metrics));
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
    tokio::spawn(certificates.follow(provider, Arc::clone(&metrics)));

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
        traces,
        metrics: Arc::clone(&metrics),
        clock: clock::now,
    });
    let (ending, ended) = watch::channel(false);
    let admin = Admin {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        refresh: refresh(
            &metrics,
            &audit,
            resolver,
            cluster_policies.as_ref().map(|policies| Arc::clone(policies.health())),
            Arc::clone(&budgets.snapshots),
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
    listener.serve(gate, readiness, metrics, wait_for(signalled), drain).await;

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
        && let Err(error) = checkpointer.make(clock::now()).await
    {
        tracing::error!(%error, "the last checkpoint of the audit is not kept");
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

async fn wait_for(mut told: watch::Receiver<bool>) {
    // An error means that the teller is gone, and with it whatever would have been told.
    let _ = told.wait_for(|told| *told).await;
}

fn certificates(args: &ServeArgs, provider: &CryptoProvider) -> Result<Certificates, StartError> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        return Ok(Certificates::from_files(certificate, key, provider)?);
    }
    let made = Certificates::self_made(&args.tls_name, provider)?;
    if let (Some(path), Some(pem)) = (&args.tls_write_cert, made.self_made_pem()) {
        std::fs::write(path, pem).map_err(|why| StartError::Write { path: path.clone(), why })?;
    }
    Ok(made)
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

/// Where the signing key is: where a flag says, else beside the store.
fn key_source(args: &ServeArgs) -> KeySource {
    match (&args.signing_secret, &args.signing_key, &args.store) {
        (Some(secret), _, _) => KeySource::Secret(secret.clone()),
        (None, Some(file), _) => KeySource::File(file.clone()),
        (None, None, StoreArg::Store(location)) if let Some(file) = location.signing_key() => KeySource::File(file),
        (None, None, _) => {
            tracing::warn!(
                "exceptions granted now have no effect after this process; give --signing-secret or --signing-key"
            );
            KeySource::Memory
        }
    }
}

/// Decisions over HTTP, where there is a store to ask and a cluster that says who may.
fn decisions_api(store: &StoreArg, client: Option<&kube::Client>) -> Option<DecisionsApi> {
    match (store, client) {
        (StoreArg::Store(location), Some(client)) => Some(DecisionsApi::new(location.clone(), client.clone())),
        _ => None,
    }
}

/// Finds grants in the audit; what is printed alone cannot be found.
fn find_grant(store: &StoreArg) -> FindGrant {
    let location = match store {
        StoreArg::Store(location) => Some(location.clone()),
        StoreArg::Stdout => None,
    };
    Arc::new(move |asked| {
        let location = location.clone();
        Box::pin(async move {
            match location {
                Some(location) => audit::find_grant(&location, &asked).await.map_err(|error| error.to_string()),
                None => Ok(None),
            }
        })
    })
}

/// A client of the cluster that the kubeconfig or the Pod's service account names; it answers.
pub async fn client() -> Result<kube::Client, StartError> {
    let client = cluster::connect(None).await.map_err(|error| StartError::Cluster(error.to_string()))?;
    client.apiserver_version().await.map_err(|error| StartError::Cluster(error.to_string()))?;
    Ok(client)
}

/// Waits until namespaces and nodes are known: before that a policy could be taken for one that does not match.
pub async fn synced(cluster: &Cluster) -> Result<(), StartError> {
    let both = async { tokio::join!(cluster.namespaces.health().synced(), cluster.nodes.health().synced()) };
    match tokio::time::timeout(SYNC_WITHIN, both).await {
        Ok(_) => Ok(()),
        Err(_) => Err(StartError::Cluster("namespaces and nodes could not be listed within 30 seconds".to_owned())),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "freshgate".to_owned() } else { name.trim().to_owned() }
}

/// Brings figures into the metrics that are kept by their owners.
fn refresh(
    metrics: &Arc<Metrics>,
    audit: &Arc<Audit>,
    resolver: Resolver,
    policies: Option<Arc<WatchHealth>>,
    budgets: Arc<ArcSwap<Snapshots>>,
) -> Arc<dyn Fn() + Send + Sync> {
    let (metrics, audit) = (Arc::clone(metrics), Arc::downgrade(audit));
    Arc::new(move || {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(audit) = audit.upgrade() {
            let counts = audit.counts();
            metrics.audit_records.set(whole(counts.records));
            metrics.audit_writes.set(whole(counts.writes));
            metrics.audit_waiting.set(whole(counts.unstored_records));
            metrics.audit_waiting_age.set(whole(counts.oldest_unstored_age.as_secs()));
            metrics.audit_store_failing.set(i64::from(counts.store_failing));
        }
        if let Some(policies) = &policies {
            metrics.policies_staleness.set(policies.staleness_seconds());
        }
        poller::show(&budgets.load(), &metrics);
        let counters = resolver.counters();
        metrics.facts_in_memory.set(counters.in_memory.load(Ordering::Relaxed));
        metrics.facts_in_store.set(counters.in_store.load(Ordering::Relaxed));
        metrics.registry_look_ups.set(counters.looked_up.load(Ordering::Relaxed));
        metrics.stale_tags.set(counters.stale.load(Ordering::Relaxed));
    })
}
