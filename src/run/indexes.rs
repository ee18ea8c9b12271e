//! Sets up the package indexes that a file names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::args::IndexArgs;
use crate::dependency::index::cache::{AnswerStore, InFolder, InMemory, InStore};
use crate::dependency::index::indexes::{Indexes, OpenError};
use crate::dependency::index::settings::{self, IndexSettings};
use crate::policy::file::PolicyError;
use crate::scanner::Asking;
use crate::store::Store;

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
    let (settings, _) = read(path).await?;
    let kept: Arc<dyn AnswerStore> = match &args.index_cache {
        None => Arc::new(InMemory::default()),
        Some(folder) => {
            Arc::new(InFolder::open(folder.clone()).map_err(|why| IndexesError::Cache { path: folder.clone(), why })?)
        }
    };
    Ok(Some(Indexes::open(&settings, kept).await?))
}

/// The indexes of a file, for the scan; what they answer is kept in the gate's store, where there is one.
pub async fn asking(path: &Path, store: Option<Store>) -> Result<Asking, IndexesError> {
    let (settings, mark) = read(path).await?;
    let kept: Arc<dyn AnswerStore> = match store {
        Some(store) => Arc::new(InStore::new(store)),
        None => Arc::new(InMemory::default()),
    };
    Ok(Asking { indexes: Indexes::open(&settings, kept).await?, mark })
}

/// The settings in a file, and what tells them from others.
async fn read(path: &Path) -> Result<(IndexSettings, String), IndexesError> {
    let text =
        tokio::fs::read_to_string(path).await.map_err(|why| IndexesError::Read { path: path.to_owned(), why })?;
    let settings = settings::read(&path.display().to_string(), &text).map_err(IndexesError::Settings)?;
    Ok((settings, settings::mark(&text)))
}
