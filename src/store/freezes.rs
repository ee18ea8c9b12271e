//! Freezes that hold, kept so that a restart changes nothing; and policies as they were when they were first used.

use chrono::{DateTime, Utc};

use super::database::{Pool, Query, Row, Value};
use super::time::to_column;
use super::{Store, StoreError};
use crate::background::run_on;
use crate::budget::freeze::Freeze;
use crate::budget::freezes::{Changed, FreezeKey};
use crate::policy::compile::CompiledPolicy;

impl Store {
    /// All freezes that are kept. One that cannot be read is left out: the next measurement decides anew.
    pub async fn freezes(&self) -> Result<Vec<(FreezeKey, Freeze)>, StoreError> {
        let asked = async {
            let rows =
                self.readers().rows(Query::new("SELECT policy, source, service, slo, \"freeze\" FROM freezes")).await?;
            let texts = |row: &Row| Ok((row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?, row.text(4)?));
            rows.iter().map(texts).collect::<Result<Vec<_>, sqlx::Error>>()
        };
        let rows = asked.await.map_err(StoreError::failed("reading freezes"))?;
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
        let (store, mut changed) = (self.clone(), changed.to_vec());
        // In the order of their keys: replicas that keep the same then wait for each other, and not in a circle.
        changed.sort_by(|(one, _), (other, _)| one.cmp(other));
        run_on(self.background(), async move {
            write(store.writer(), &changed).await.map_err(StoreError::failed("keeping freezes"))
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
                let insert = Query::new(
                    "INSERT INTO policy_revisions (revision, name, spec, first_used_at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (revision) DO NOTHING",
                );
                let insert =
                    insert.bind(Value::key(&policy.revision)).bind(&policy.name).bind(spec).bind(to_column(now));
                store.writer().execute(insert).await.map_err(StoreError::failed("keeping policies"))?;
            }
            Ok(())
        })
        .await
    }
}

async fn write(writer: &Pool, changed: &[Changed]) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin().await?;
    for (key, freeze) in changed {
        let written = freeze.as_ref().and_then(|freeze| serde_json::to_string(freeze).ok());
        let query = match written {
            Some(_) => Query::new(
                "INSERT INTO freezes (policy, source, service, slo, \"freeze\") VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (policy, source, service, slo) DO UPDATE SET \"freeze\" = excluded.\"freeze\"",
            ),
            None => Query::new("DELETE FROM freezes WHERE policy = $1 AND source = $2 AND service = $3 AND slo = $4"),
        };
        let mut query = query
            .bind(Value::key(&key.policy))
            .bind(Value::key(&key.source))
            .bind(Value::key(&key.service))
            .bind(Value::key(&key.slo));
        if let Some(freeze) = written {
            query = query.bind(freeze);
        }
        transaction.execute(query).await?;
    }
    transaction.commit().await
}
