//! Sets up the package indexes that a file names.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::args::IndexArgs;
use crate::dependency::index::cache::{AnswerStore, InFolder, InMemory};
use crate::dependency::index::indexes::{Indexes, OpenError};
use crate::dependency::index::settings;
use crate::policy::file::PolicyError;

/// Why the indexes cannot be set up.
#[derive(Debug, Error)]
pub enum IndexesError {
    /// The file with the settings cannot be read.
    #[error("the settings of the indexes in {} cannot be read: {why}; correct --indexes", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}", lines(.0))]
    Settings(Vec<PolicyError>),
    /// The folder for answers cannot be used.
    #[error("the folder {} for answers cannot be made: {why}; correct --index-cache", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// What the settings name cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn lines(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The indexes that the flags name; `None` where they name none.
pub async fn indexes(args: &IndexArgs) -> Result<Option<Indexes>, IndexesError> {
    let Some(path) = &args.indexes else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await.map_err(|why| IndexesError::Read { path: path.clone(), why })?;
    let settings = settings::read(&path.display().to_string(), &text).map_err(IndexesError::Settings)?;
    let kept: Arc<dyn AnswerStore> = match &args.index_cache {
        None => Arc::new(InMemory::default()),
        Some(folder) => {
            Arc::new(InFolder::open(folder.clone()).map_err(|why| IndexesError::Cache { path: folder.clone(), why })?)
        }
    };
    Ok(Some(Indexes::open(&settings, kept).await?))
}
