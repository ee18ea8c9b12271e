//! Where each writer's chain begins and ends in the store.

use std::collections::BTreeMap;

use super::{Store, StoreError, boundaries, decisions};
use crate::audit::checkpoint::Head;

impl Store {
    /// Each writer's last record. One whose hash cannot be read any more is left out: `verify` names it.
    pub(crate) async fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let heads =
            decisions::heads(self.unhurried()).await.map_err(StoreError::failed("reading the ends of the chains"))?;
        let read = |(writer_id, seq, hash): (String, i64, String)| {
            Some(Head { writer_id, seq: u64::try_from(seq).ok()?, hash: hash.parse().ok()? })
        };
        Ok(heads.into_iter().filter_map(read).collect())
    }

    /// The last record of each writer that retention removed.
    pub(crate) async fn removed_up_to(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let boundaries = boundaries::all(self.unhurried())
            .await
            .map_err(StoreError::failed("reading up to where records were removed"))?;
        Ok(boundaries.into_iter().map(|(writer_id, boundary)| (writer_id, boundary.seq)).collect())
    }
}
