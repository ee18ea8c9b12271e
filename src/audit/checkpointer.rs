//! Makes checkpoints now and then and at the end, and takes them out of the store's reach: into the log, to a file, into
//! a `ConfigMap`. An interval in which nothing was recorded makes none: it would prove nothing new.

mod file;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use thiserror::Error;
use tokio::task::spawn_blocking;

use super::Audit;
use super::checkpoint::{Checkpoint, Head, furthest};
use crate::background::finished;
use crate::cluster::checkpoints::{ClusterCheckpoints, NotKept};
use crate::metrics::Metrics;
use crate::signing::{CryptoFailed, Keys};
use crate::store::{Store, StoreError};

/// Why a checkpoint was not made, or not taken everywhere.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The heads cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No signature.
    #[error("signing the checkpoint failed: {0}")]
    Sign(#[from] CryptoFailed),
    /// The file cannot be written.
    #[error(
        "the checkpoint cannot be written to {}: {source}: check the disk, or name another file with --checkpoint-file",
        file.display()
    )]
    File {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The cluster does not take it.
    #[error(transparent)]
    ConfigMap(#[from] NotKept),
}

/// Where checkpoints go beside the log.
#[derive(Default)]
pub struct Sinks {
    /// A file to which they are appended, one JSON line each.
    pub file: Option<PathBuf>,
    /// A `ConfigMap` that keeps the newest.
    pub cluster: Option<ClusterCheckpoints>,
}

/// Makes checkpoints.
pub struct Checkpointer {
    /// Whose records.
    pub audit: Arc<Audit>,
    /// Where they end up.
    pub store: Store,
    /// What signs.
    pub keys: Keys,
    /// The gate's name.
    pub made_by: String,
    /// Where they go.
    pub sinks: Sinks,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// The heads of the last one.
    pub last: LastHeads,
}

/// The heads of the last checkpoint, and whether it arrived everywhere.
#[derive(Default)]
pub struct LastHeads(Mutex<(Vec<Head>, bool)>);

impl Checkpointer {
    /// Makes one each time `every` has passed, for ever; `clock` says when that is.
    pub async fn run(self: Arc<Self>, every: Duration, clock: fn() -> DateTime<Utc>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(every).await;
            match self.make(clock()).await {
                Ok(_) if std::mem::take(&mut failing) => tracing::info!("checkpoints of the audit are kept again"),
                Ok(_) => {}
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::error!(%error, "a checkpoint of the audit is not kept; it is tried again");
                }
                Err(error) => tracing::debug!(%error, "a checkpoint of the audit is still not kept"),
            }
        }
    }

    /// Makes one over all heads and takes it everywhere; `None` where nothing was recorded since the last.
    /// An error tells the first place that did not take it; the others did.
    pub async fn make(&self, now: DateTime<Utc>) -> Result<Option<String>, CheckpointError> {
        let made = self.try_to_make(now).await;
        match &made {
            Ok(Some(_)) => drop(self.metrics.audit_checkpoints.inc()),
            Ok(None) => {}
            Err(_) => drop(self.metrics.audit_checkpoint_failures.inc()),
        }
        made
    }

    async fn try_to_make(&self, now: DateTime<Utc>) -> Result<Option<String>, CheckpointError> {
        let (before, arrived) = self.last.get();
        let removed = self.store.removed_up_to().await?;
        // In this order: what was signed once is not taken back for what the store says now.
        let heads = self.audit.heads().into_iter().chain(before.iter().cloned()).chain(self.store.heads().await?);
        // A writer all of whose records were removed has no chain whose end could be cut off.
        let heads = furthest(heads.filter(|head| removed.get(&head.writer_id).is_none_or(|seq| *seq < head.seq)));
        if heads.is_empty() || (arrived && heads == before) {
            return Ok(None);
        }
        // Microseconds are what is written, and read again.
        let checkpoint = Checkpoint { made_at: now.trunc_subsecs(6), made_by: self.made_by.clone(), heads };
        let line = checkpoint.sign(&self.keys)?;
        tracing::info!(checkpoint = %line, "audit checkpoint");
        let mut result = Ok(());
        if let Some(file) = self.sinks.file.clone() {
            let line = line.clone();
            let (file, written) = finished(spawn_blocking(move || {
                let written = file::append(&file, &line);
                (file, written)
            }))
            .await;
            result = result.and(written.map_err(|source| CheckpointError::File { file, source }));
        }
        if let Some(cluster) = &self.sinks.cluster {
            result = result.and(cluster.keep(&line).await.map_err(CheckpointError::from));
        }
        self.last.put(checkpoint.heads, result.is_ok());
        result.map(|()| Some(line))
    }
}

impl LastHeads {
    fn get(&self) -> (Vec<Head>, bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, heads: Vec<Head>, arrived: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (heads, arrived);
    }
}
