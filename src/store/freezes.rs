//! Freezes that hold, kept so that a restart changes nothing; and policies as they were when they were first used.

use chrono::{DateTime, Utc};
use sqlx::Connection as _;

use super::time::to_column;
use super::{Store, StoreError};
use crate::background::run_on;
use crate::budget::freeze::Freeze;
use crate::budget::freezes::{Changed, FreezeKey};
use crate::policy::compile::CompiledPolicy;

impl Store {
    /// All freezes that are kept. One that cannot be read is left out: the next measurement decides anew.
    pub async fn freezes(&self) -> Result<Vec<(FreezeKey, Freeze)>, StoreError> {
        let rows: Vec<(String, String, String, String, String)> =
            sqlx::query_as("SELECT policy, source, service, slo, freeze FROM freezes")
                .fetch_all(self.readers())
                .await
                .map_err(StoreError::failed("reading freezes"))?;
        let read = |(policy, source, service, slo, freeze): (String, String, String, String, String)| {
            match serde_json::from_str(&freeze) {
                Ok(freeze) => Some((FreezeKey { policy, source, service, slo }, freeze)),
                Err(error) => {
                    tracing::warn!(policy, source, service, slo, %error, "a freeze in the store cannot be read");
                    None
                }
            }
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Keeps what became of freezes, all or nothing.
    pub async fn save_freezes(&self, changed: &[Changed]) -> Result<(), StoreError> {
        let (store, changed) = (self.clone(), changed.to_vec());
        run_on(self.background(), async move {
            let failed = StoreError::failed("keeping freezes");
            let mut connection = store.writer().acquire().await.map_err(StoreError::failed("keeping freezes"))?;
            let written = write(&mut connection, &changed).await;
            if written.is_err() {
                Store::give_up(connection);
            }
            written.map_err(failed)
        })
        .await
    }

    /// Keeps policies by revision; those that are kept already stay as they are.
    pub async fn save_policies(&self, policies: &[CompiledPolicy], now: DateTime<Utc>) -> Result<(), StoreError> {
        let (store, policies) = (self.clone(), policies.to_vec());
        run_on(self.background(), async move {
            for policy in policies {
                // What was read from JSON or YAML can be written as JSON.
                let spec = serde_json::to_string(&policy.spec).unwrap_or_default();
                sqlx::query(
                    "INSERT INTO policy_revisions (revision, name, spec, first_used_at) VALUES (?, ?, ?, ?)
                     ON CONFLICT (revision) DO NOTHING",
                )
                .bind(&policy.revision)
                .bind(&policy.name)
                .bind(spec)
                .bind(to_column(now))
                .execute(store.writer())
                .await
                .map_err(StoreError::failed("keeping policies"))?;
            }
            Ok(())
        })
        .await
    }
}

async fn write(connection: &mut sqlx::SqliteConnection, changed: &[Changed]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (key, freeze) in changed {
        let written = freeze.as_ref().and_then(|freeze| serde_json::to_string(freeze).ok());
        let query = match &written {
            Some(freeze) => sqlx::query(
                "INSERT INTO freezes (policy, source, service, slo, freeze) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (policy, source, service, slo) DO UPDATE SET freeze = excluded.freeze",
            )
            .bind(&key.policy)
            .bind(&key.source)
            .bind(&key.service)
            .bind(&key.slo)
            .bind(freeze),
            None => sqlx::query("DELETE FROM freezes WHERE policy = ?1 AND source = ?2 AND service = ?3 AND slo = ?4")
                .bind(&key.policy)
                .bind(&key.source)
                .bind(&key.service)
                .bind(&key.slo),
        };
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
