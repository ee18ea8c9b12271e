//! Reading policies back by revision: what recorded decisions were made with.

use std::collections::HashMap;

use super::database::Query;
use super::{ReadOnlyStore, StoreError};

impl ReadOnlyStore {
    /// The JSON text of every policy that was ever in force here, by revision.
    pub async fn policy_revisions(&self) -> Result<HashMap<String, String>, StoreError> {
        let read = async {
            let rows = self.pool().rows(Query::new("SELECT revision, spec FROM policy_revisions")).await?;
            rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, _>>()
        };
        read.await.map_err(self.failed("reading the policies that were in force"))
    }
}
