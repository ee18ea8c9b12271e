//! Reading policies back by revision: what recorded decisions were made with.

use std::collections::HashMap;

use super::{ReadOnlyStore, StoreError};

impl ReadOnlyStore {
    /// The JSON text of every policy that was ever in force here, by revision.
    pub async fn policy_revisions(&self) -> Result<HashMap<String, String>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT revision, spec FROM policy_revisions")
            .fetch_all(self.pool())
            .await
            .map_err(self.failed("reading the policies that were in force"))?;
        Ok(rows.into_iter().collect())
    }
}
