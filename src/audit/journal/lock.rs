//! One process writes to a journal's folder: the operating system holds the lock, so it goes with the process, however
//! that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::segment;
use crate::audit::AuditError;

/// That no other process writes to the folder: it would take this one's segments for leftovers, and remove them.
pub(in crate::audit) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if it is missing.
    pub(in crate::audit) fn take(folder: &Path) -> Result<Self, AuditError> {
        let failed = |source: io::Error| AuditError::Folder { folder: folder.to_owned(), source: Arc::new(source) };
        segment::make_folder(folder).map_err(failed)?;
        let file = File::create(folder.join("writer.lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(AuditError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
