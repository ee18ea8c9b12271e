//! What can be typed: every command, every flag, and the environment variable for each.

mod asking;
mod audit;
mod history;
mod indexes;
mod lifecycle;
mod relations;
mod report;
mod scan;
mod store;
mod telemetry;
mod values;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::admission::{AuditMode, RecordLevel};
use crate::image::registry::settings::Mirror;
use crate::store::StoreLocation;
use crate::subject::kinds::WorkloadKind;
pub use asking::{DecisionsApiArgs, FilterArgs, QueryArgs, TailArgs};
pub use audit::{Age, ExportArgs, ExportFormat, ImportArgs, KeepingArgs, VerifyArgs};
pub use history::{PolicyTestArgs, ReplayArgs, RunningArgs, SimulateArgs};
pub use indexes::{IndexArgs, SnapshotArgs};
pub use lifecycle::{LifecycleArgs, WebhookCommand, WebhookTestArgs};
pub use relations::FlagsError;
pub use report::{GroupBy, ReportArgs, ReportOutput};
pub use scan::{ScanArgs, ScanInterval};
pub use store::AskedStore;
pub use telemetry::{OtlpEndpoint, TelemetryArgs};

/// Seconds that look-ups may take: an hour is longer than anybody waits.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=3_600;

/// A deployment policy gate for Kubernetes: limits the build age of images, and audits every decision.
#[derive(Debug, Parser)]
#[command(name = "freshgate", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the reviews of an API server.
    Serve(Box<ServeArgs>),
    /// Say what admission would say to manifests: exit 0 allowed, 1 refused, 2 unreadable.
    Check(CheckArgs),
    /// Show every date that an image carries, and which one counts: exit 0 shown, 1 the image cannot be read, 2 wrong
    /// settings.
    Inspect(InspectArgs),
    /// Show what is left of error budgets: exit 1 where one is spent.
    Budgets(BudgetsArgs),
    /// Ask for recorded decisions.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Say what policies would have said to recorded decisions, or say to what runs: how many more and fewer refusals, and
    /// whose.
    Simulate(Box<SimulateArgs>),
    /// Write what package indexes say of some images' packages to a file, for where none may be asked.
    Snapshot(Box<SnapshotArgs>),
    /// Show which images will be refused when, and for each the one small next step: exit 0 shown, 2 something is
    /// unreadable.
    Report(Box<ReportArgs>),
    /// Look at policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make exceptions.
    #[command(subcommand)]
    Exception(ExceptionCommand),
    /// Look at the webhook.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Print the custom resource definitions.
    Crds,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// When a record's answer may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditDurability {
    /// When the disk has the record.
    #[default]
    Journal,
    /// At once; a crash can lose the last moments.
    Async,
    /// When PostgreSQL has committed it; no disk is needed for a journal
    Store,
}

/// Where decisions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreArg {
    /// Into a store.
    Store(StoreLocation),
    /// To stdout, as JSON lines; nothing is kept, so nothing is known of what ran before.
    Stdout,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder with policies: its top-level *.yaml and *.yml, read again when they change
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES")]
    pub policies: Option<PathBuf>,
    /// Follow the GatePolicy objects of the cluster that the kubeconfig or the Pod's service account names
    #[arg(long, env = "FRESHGATE_KUBERNETES", value_parser = values::yes_or_no)]
    pub kubernetes: bool,
    /// Address for reviews, by TLS
    #[arg(long, value_name = "ADDR", env = "FRESHGATE_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address for /livez, /readyz and /metrics, in plain HTTP
    #[arg(long, value_name = "ADDR", env = "FRESHGATE_ADMIN_LISTEN", default_value = "127.0.0.1:8080")]
    pub admin_listen: SocketAddr,
    /// Where decisions and facts are kept: sqlite:FILE, postgres://USER@HOST:PORT/DATABASE for several replicas, or stdout
    /// to print decisions and keep nothing
    // Variables are shown in help as they stand, and an address may hold a password.
    #[arg(long, value_name = "STORE", env = "FRESHGATE_STORE", hide_env_values = true, value_parser = values::store)]
    pub store: StoreArg,
    /// Folder of this replica's journal, from which the store is filled; default FILE.journal of the store
    #[arg(long, value_name = "DIR", env = "FRESHGATE_AUDIT_JOURNAL")]
    pub audit_journal: Option<PathBuf>,
    /// File with the key that signs what the gate grants, in PEM; made where it is missing; default FILE.signing-key of
    /// the store
    #[arg(long, value_name = "FILE", env = "FRESHGATE_SIGNING_KEY", conflicts_with = "signing_secret")]
    pub signing_key: Option<PathBuf>,
    /// Secret of the gate's namespace that holds that key instead, shared by replicas; made where it is missing
    #[arg(long, value_name = "NAME", env = "FRESHGATE_SIGNING_SECRET", requires = "kubernetes")]
    pub signing_secret: Option<String>,
    /// Certificate chain, in PEM; read again when it changes
    #[arg(long, value_name = "FILE", env = "FRESHGATE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "FRESHGATE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Make a certificate, for development
    #[arg(long, env = "FRESHGATE_TLS_SELF_SIGNED", value_parser = values::yes_or_no)]
    pub tls_self_signed: bool,
    /// Names in the certificate that is made
    #[arg(long, value_name = "NAME", env = "FRESHGATE_TLS_NAMES", value_delimiter = ',', default_values = ["localhost", "127.0.0.1"])]
    pub tls_name: Vec<String>,
    /// File to write the self-made certificate to, for a caBundle
    #[arg(long, value_name = "FILE", env = "FRESHGATE_TLS_WRITE_CERT")]
    pub tls_write_cert: Option<PathBuf>,
    /// When an answer may leave: when the disk has its record, at once, or when PostgreSQL has it
    #[arg(long, value_enum, env = "FRESHGATE_AUDIT_DURABILITY", default_value_t)]
    pub audit_durability: AuditDurability,
    /// What becomes of a request whose record cannot be written: its decision goes out, or it is refused
    #[arg(long, value_enum, env = "FRESHGATE_AUDIT_MODE", default_value_t)]
    pub audit_mode: AuditMode,
    /// What is recorded: what a policy had a say in, or also what passed unjudged
    #[arg(long, value_enum, env = "FRESHGATE_AUDIT_LEVEL", default_value_t)]
    pub audit_level: RecordLevel,
    /// Whom denials tell people to ask, as "#platform on chat"; else the owners of the policy
    #[arg(long, value_name = "WORDS", env = "FRESHGATE_CONTACT")]
    pub contact: Option<String>,
    /// Address at which people read decisions; denials then carry a link
    #[arg(long, value_name = "URL", env = "FRESHGATE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Name of this gate in records; default the host's name
    #[arg(long, value_name = "NAME", env = "FRESHGATE_ID")]
    pub id: Option<String>,
    /// Name of the cluster in records
    #[arg(long, value_name = "NAME", env = "FRESHGATE_CLUSTER", default_value = "")]
    pub cluster: String,
    /// Another kind with a Pod template, as apps.kruise.io/CloneSet=spec.template (repeatable)
    #[arg(long, value_name = "GROUP/KIND=PATH", env = "FRESHGATE_WORKLOAD_KINDS", value_delimiter = ',', value_parser = WorkloadKind::parse)]
    pub workload_kind: Vec<WorkloadKind>,
    /// Read the workloads' imagePullSecrets, where RBAC grants it
    #[arg(long, env = "FRESHGATE_READ_PULL_SECRETS", value_parser = values::yes_or_no)]
    pub read_pull_secrets: bool,
    /// Namespace of the gate.
    #[arg(
        help = "Namespace of the gate: budget sources may name its Secrets; default $POD_NAMESPACE, or the Pod's own",
        long,
        value_name = "NAMESPACE",
        env = "FRESHGATE_NAMESPACE"
    )]
    pub own_namespace: Option<String>,
    /// Seconds for which new connections are still served after the signal to stop
    #[arg(long, value_name = "SECONDS", env = "FRESHGATE_DRAIN_DELAY_SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=*TIMEOUT_SECONDS.end()))]
    pub drain_delay_seconds: u64,
    /// Log as JSON lines
    #[arg(long, env = "FRESHGATE_LOG_JSON", value_parser = values::yes_or_no)]
    pub log_json: bool,
    /// The gate's life in a cluster.
    #[command(flatten)]
    pub lifecycle: LifecycleArgs,
    /// Decisions over HTTP.
    #[command(flatten)]
    pub decisions: DecisionsApiArgs,
    /// Checkpoints and retention.
    #[command(flatten)]
    pub keeping: KeepingArgs,
    /// The scan of what runs.
    #[command(flatten)]
    pub scan: ScanArgs,
    /// What a collector is told.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

impl ServeArgs {
    /// The same, with the journal at the store's location.
    #[must_use]
    pub fn with_journal(mut self) -> Self {
        self.store = match self.store {
            StoreArg::Store(location) => StoreArg::Store(location.with_journal(self.audit_journal.clone())),
            StoreArg::Stdout => StoreArg::Stdout,
        };
        self
    }
}

/// Flags about registries, on every command that asks them.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryArgs {
    /// Registry reached by plain HTTP, allowed whatever its address (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", env = "FRESHGATE_INSECURE_REGISTRIES", value_delimiter = ',', value_parser = values::host)]
    pub insecure_registry: Vec<String>,
    /// Registry that may be asked, as a glob (repeatable); none given: every public one
    #[arg(long, value_name = "GLOB", env = "FRESHGATE_ALLOW_REGISTRIES", value_delimiter = ',', value_parser = values::host)]
    pub allow_registry: Vec<String>,
    /// Registry that is allowed although its address is not public (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", env = "FRESHGATE_PRIVATE_REGISTRIES", value_delimiter = ',', value_parser = values::host)]
    pub private_registry: Vec<String>,
    /// Certificate authorities of registries beside the system's, in PEM (repeatable)
    #[arg(long, value_name = "FILE", env = "FRESHGATE_REGISTRY_CA", value_delimiter = ',')]
    pub registry_ca: Vec<PathBuf>,
    /// What stands in for a registry: an image layout (oci:DIR) or another registry (repeatable)
    #[arg(long, value_name = "HOST[/PATH]=oci:DIR|HOST", env = "FRESHGATE_MIRRORS", value_delimiter = ',')]
    pub mirror: Vec<Mirror>,
    /// Host of a token service that may have registry credentials, beside each registry's own (repeatable)
    #[arg(long, value_name = "HOST", env = "FRESHGATE_TOKEN_HOSTS", value_delimiter = ',', value_parser = values::host)]
    pub token_host: Vec<String>,
    /// Docker config with the gate's own credentials.
    // Help is printed as it is; what rustdoc wants in code marks would have them here too.
    #[arg(
        help = "Docker config with the gate's own credentials; default $DOCKER_CONFIG/config.json where that is set",
        long,
        value_name = "FILE",
        env = "FRESHGATE_REGISTRY_AUTH"
    )]
    pub registry_auth: Option<PathBuf>,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Manifests: YAML or JSON, several documents, Lists, or - for stdin (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "FILE|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Folder with policies
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES")]
    pub policies: PathBuf,
    /// Labels of every namespace that is not itself among the manifests (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub namespace_labels: Vec<String>,
    /// Namespace of manifests that name none
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Another kind with a Pod template, as apps.kruise.io/CloneSet=spec.template (repeatable)
    #[arg(long, value_name = "GROUP/KIND=PATH", env = "FRESHGATE_WORKLOAD_KINDS", value_delimiter = ',', value_parser = WorkloadKind::parse)]
    pub workload_kind: Vec<WorkloadKind>,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
    /// Seconds for all look-ups of one manifest, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(TIMEOUT_SECONDS))]
    pub timeout_seconds: u64,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image, or oci:DIR[:TAG] for a local image layout
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
    /// Seconds for all look-ups, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(TIMEOUT_SECONDS))]
    pub timeout_seconds: u64,
    /// Registries.
    #[command(flatten)]
    pub registries: RegistryArgs,
}

/// Flags of `budgets`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BudgetsArgs {
    /// Another question about budgets.
    #[command(subcommand)]
    pub command: Option<BudgetsCommand>,
    /// Folder with policies and budget sources
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES", required = true)]
    pub policies: Option<PathBuf>,
    /// Only the budgets of this `BudgetSource`
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
    /// Ask again and again, until interrupted; JSON is then one line each time
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two times with --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every_seconds: u64,
}

/// Other questions about budgets.
#[derive(Debug, Subcommand)]
pub enum BudgetsCommand {
    /// Say which service a workload belongs to, by each source, and why
    Explain(ExplainArgs),
}

/// Flags of `budgets explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Manifests: YAML or JSON, several documents, Lists, or - for stdin (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "FILE|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Folder with policies and budget sources
    #[arg(long, value_name = "DIR", env = "FRESHGATE_POLICIES")]
    pub policies: PathBuf,
    /// Labels of every namespace that is not itself among the manifests (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub namespace_labels: Vec<String>,
    /// Namespace of manifests that name none
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// Commands about recorded decisions.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List decisions, the newest first
    Query(QueryArgs),
    /// List the newest decisions, the newest last, and with --follow those to come
    Tail(TailArgs),
    /// Show one decision whole
    Show {
        /// Id of the decision, as a denial names it
        id: String,
        /// The store.
        #[command(flatten)]
        store: AskedStore,
        /// How the result is printed
        #[arg(short = 'o', long, value_enum, default_value_t)]
        output: Output,
    },
    /// Decide recorded decisions again from their own inputs and policies: exit 0 as recorded, 1 different, 2 something is
    /// missing
    Replay(ReplayArgs),
    /// Prove that no record was changed; exit 1 names the first that does not fit
    Verify(VerifyArgs),
    /// Write records to stdout, of each writer in their order, to be kept or read elsewhere
    Export(ExportArgs),
    /// Make an archive of what was exported, to be asked and proven like a store
    Import(ImportArgs),
}

/// Commands about exceptions.
#[derive(Debug, Subcommand)]
pub enum ExceptionCommand {
    /// Write the YAML of an exception to stdout; on a terminal, ask for what is missing
    New(Box<ExceptionArgs>),
}

/// Flags of `exception new`.
#[derive(Clone, Debug, Default, Args)]
pub struct ExceptionArgs {
    /// Workload that it is for (repeatable); NAMESPACE may be left out with --namespace
    #[arg(long, value_name = "NAMESPACE/KIND/NAME")]
    pub target: Vec<String>,
    /// Namespace of targets that name none
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Rule that it is for (repeatable): imageAge, errorBudget
    #[arg(long, value_name = "RULE")]
    pub rule: Vec<String>,
    /// Why: security, incident, reliability-fix, dependency-outage, other
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Why, in a sentence
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// Ticket that says more
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<String>,
    /// When it ends: an RFC 3339 time, or how long from now, as 4h or 3d
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// The only digest that it is for, as sha256:…
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// Service that is out, with reason dependency-outage
    #[arg(long, value_name = "SERVICE")]
    pub dependency: Option<String>,
    /// Name of the exception; default made from target, reason and end
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check policy files: names file, line, field and remedy; exit 2 where something is wrong
    Lint {
        /// Folders with policies, or single files
        #[arg(value_name = "DIR|FILE", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Run the cases of a folder against its policies, without a cluster or a network: exit 1 where one fails
    Test(PolicyTestArgs),
}
