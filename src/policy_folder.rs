//! Policies, budget sources and exceptions from a folder: its top-level `*.yaml` and `*.yml`, read again when they change.
//!
//! A set is taken whole or not at all: while a file is bad, the last good set stays in force.

mod origin;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::sync::watch;

use crate::budget::compile::CompiledSource;
use crate::budget::poller::SourceList;
use crate::clock::Clock;
use crate::exception::api::GateExceptionSpec;
use crate::exception::{Exceptions, check, file as exception_file};
use crate::metrics::Metrics;
use crate::policy::compile::{NAMESPACE_NAME_LABEL, NamespaceLabels, PolicySet, needs_namespace_labels};
use crate::policy::file::{self, Objects, PolicyError, SourcePolicy};
use crate::subject::kinds::WorkloadKinds;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Most bytes of one file: far more than a policy, far less than what would hurt.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Why there are no policies.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder or a file cannot be read.
    #[error("the policies in {path} cannot be read: {why}; name a folder whose *.yaml and *.yml files can be read")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// There are no policies in it.
    #[error("there is no policy in {0}; it wants *.yaml or *.yml files with a GatePolicy each")]
    Empty(PathBuf),
    /// Some policies are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Policies(Vec<PolicyError>),
}

/// The text of every policy file of a folder, by name.
pub fn texts(folder: &Path) -> Result<Vec<(String, String)>, FolderError> {
    let cannot = |path: &Path, why: String| FolderError::Read { path: path.to_owned(), why };
    let entries = std::fs::read_dir(folder).map_err(|error| cannot(folder, error.to_string()))?;
    let entries: std::io::Result<Vec<_>> = entries.collect();
    let mut paths: Vec<PathBuf> = entries
        .map_err(|error| cannot(folder, error.to_string()))?
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        // A link that leads nowhere stays: what it should lead to would be missing without a word.
        .filter(|path| !path.is_dir())
        .collect();
    paths.sort();
    if paths.is_empty() {
        return Err(FolderError::Empty(folder.to_owned()));
    }
    paths
        .into_iter()
        .map(|path| {
            let size = std::fs::metadata(&path).map_err(|error| cannot(&path, error.to_string()))?.len();
            if size > LARGEST_FILE_BYTES {
                return Err(cannot(
                    &path,
                    "it is larger than 1 MiB, so write its policies to several files".to_owned(),
                ));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| cannot(&path, error.to_string()))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}

/// Reads all that a folder holds.
pub fn read(folder: &Path) -> Result<Objects, FolderError> {
    file::objects(&texts(folder)?).map_err(FolderError::Policies)
}

/// Reads a folder for a gate without a cluster: of a namespace only its name is known then.
pub fn read_without_cluster(folder: &Path) -> Result<Objects, FolderError> {
    let objects = read(folder)?;
    let wrong: Vec<PolicyError> = objects
        .policies
        .iter()
        .filter(|source| needs_namespace_labels(&source.policy.spec))
        .map(|source| PolicyError {
            file: source.file.clone(),
            line: Some(source.line),
            field: "spec.match.namespaceSelector".to_owned(),
            message: format!("without a cluster only {NAMESPACE_NAME_LABEL} is known of a namespace"),
            remedy: "select by `namespaces`, or serve with --kubernetes".to_owned(),
        })
        .collect();
    if wrong.is_empty() { Ok(objects) } else { Err(FolderError::Policies(wrong)) }
}

/// Reads the exceptions of files that were read as texts, within the limits of policies.
pub fn exceptions<'a>(
    files: &[(String, String)],
    policies: &PolicySet,
    labels_of: impl Fn(&str) -> NamespaceLabels<'a>,
    now: DateTime<Utc>,
) -> Result<Exceptions, FolderError> {
    let kinds = WorkloadKinds::default();
    let limit_of = |spec: &GateExceptionSpec| check::limit(spec, policies, &labels_of);
    let context = exception_file::Context { kinds: &kinds, limit_of: &limit_of, now };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let path = Path::new(file);
        let origin =
            origin::of(path).map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })?;
        match context.read(file, text, &origin) {
            Ok(read) => found.extend(read),
            Err(problems) => errors.extend(problems),
        }
    }
    if !errors.is_empty() {
        return Err(FolderError::Policies(errors));
    }
    exception_file::set(found).map_err(FolderError::Policies)
}

/// What a folder says to a gate without a cluster.
#[derive(Debug)]
pub struct Folder {
    /// Its policies.
    pub policies: PolicySet,
    /// Its budget sources.
    pub budget_sources: SourceList,
    /// Its exceptions.
    pub exceptions: Exceptions,
}

/// Reads all of a folder for a gate without a cluster.
pub fn read_all_without_cluster(folder: &Path, now: DateTime<Utc>) -> Result<Folder, FolderError> {
    let objects = read_without_cluster(folder)?;
    let budget_sources = sources(&objects);
    let policies = set(objects.policies);
    let exceptions = exceptions(&texts(folder)?, &policies, |_| NamespaceLabels::NameOnly, now)?;
    Ok(Folder { policies, budget_sources, exceptions })
}

/// The set of some policies.
pub fn set(policies: Vec<SourcePolicy>) -> PolicySet {
    PolicySet::new(policies.into_iter().map(|source| source.policy).collect())
}

/// The list of the budget sources.
pub fn sources(objects: &Objects) -> SourceList {
    let sources: Vec<CompiledSource> = objects.budget_sources.iter().map(|found| found.source.clone()).collect();
    Arc::new(sources)
}

/// What is in force; each swapped as a whole.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// Policies.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Budget sources.
    pub budget_sources: Arc<watch::Sender<SourceList>>,
    /// Exceptions.
    pub exceptions: Arc<ArcSwap<Exceptions>>,
}

impl InForce {
    /// Puts what a folder says into force.
    pub fn put(&self, folder: Folder, metrics: &Metrics) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.policies.set(whole(folder.policies.len()));
        metrics.exceptions.set(whole(folder.exceptions.len()));
        self.budget_sources.send_replace(folder.budget_sources);
        self.policies.store(Arc::new(folder.policies));
        self.exceptions.store(Arc::new(folder.exceptions));
    }
}

/// Follows a folder for ever.
pub async fn follow(folder: PathBuf, in_force: InForce, clock: Clock, metrics: Arc<Metrics>) {
    let mut last = texts(&folder).ok();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = texts(&folder);
        if found.as_ref().ok() == last.as_ref() {
            continue;
        }
        last = found.ok();
        match read_all_without_cluster(&folder, clock()) {
            Ok(read) => {
                let (policies, exceptions) = (read.policies.len(), read.exceptions.len());
                tracing::info!(policies, exceptions, "what the policies folder says now is in force");
                in_force.put(read, &metrics);
            }
            Err(error) => {
                metrics.policy_failures.inc();
                tracing::error!(%error, "the policies and exceptions in force stay");
            }
        }
    }
}
