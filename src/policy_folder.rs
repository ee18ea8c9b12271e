//! Policies and budget sources from a folder: its top-level `*.yaml` and `*.yml`, read again when they change.
//!
//! A set is taken whole or not at all: while a file is bad, the last good set stays in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;

use crate::budget::compile::CompiledSource;
use crate::budget::poller::SourceList;
use crate::metrics::Metrics;
use crate::policy::compile::{NAMESPACE_NAME_LABEL, PolicySet, needs_namespace_labels};
use crate::policy::file::{self, Objects, PolicyError, SourcePolicy};

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Most bytes of one file: far more than a policy, far less than what would hurt.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Why there are no policies.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder or a file cannot be read.
    #[error("the policies in {path} cannot be read: {why}")]
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
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .filter(|path| path.is_file())
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
                return Err(cannot(&path, "it is larger than 1 MiB".to_owned()));
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

/// The set of some policies.
pub fn set(policies: Vec<SourcePolicy>) -> PolicySet {
    PolicySet::new(policies.into_iter().map(|source| source.policy).collect())
}

/// The list of the budget sources.
pub fn sources(objects: &Objects) -> SourceList {
    let sources: Vec<CompiledSource> = objects.budget_sources.iter().map(|found| found.source.clone()).collect();
    Arc::new(sources)
}

/// Follows a folder for ever.
pub async fn follow(
    folder: PathBuf,
    in_force: Arc<ArcSwap<PolicySet>>,
    budget_sources: watch::Sender<SourceList>,
    metrics: Arc<Metrics>,
) {
    let mut last = texts(&folder).ok();
    loop {
        metrics.policies.set(i64::try_from(in_force.load().len()).unwrap_or(i64::MAX));
        tokio::time::sleep(LOOK_EVERY).await;
        let found = texts(&folder);
        if found.as_ref().ok() == last.as_ref() {
            continue;
        }
        last = found.ok();
        match read_without_cluster(&folder) {
            Ok(objects) => {
                tracing::info!(count = objects.policies.len(), "new policies are in force");
                budget_sources.send_replace(sources(&objects));
                in_force.store(Arc::new(set(objects.policies)));
            }
            Err(error) => {
                metrics.policy_failures.inc();
                tracing::error!(%error, "the policies in force stay");
            }
        }
    }
}
