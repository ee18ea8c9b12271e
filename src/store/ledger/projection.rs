//! Writes what decisions admitted into the tables `admissions`, `templates` and `services`, in the transaction of those decisions.
//! Writing the same again changes nothing, so records may be moved twice.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{BelongedTo, LedgerUpdate, WorkloadKey, WorkloadLedger};
use crate::store::time::to_column;

/// `SQLite` takes 32,766 values in a statement; larger ones gain nothing.
const ROWS_PER_STATEMENT: usize = 256;

pub(crate) async fn write(
    connection: &mut SqliteConnection,
    updates: impl IntoIterator<Item = LedgerUpdate>,
) -> Result<(), sqlx::Error> {
    let mut by_workload: HashMap<WorkloadKey, WorkloadLedger> = HashMap::new();
    for update in updates {
        by_workload.entry(update.workload).or_default().merge(&update.admitted);
    }
    let digests: Vec<_> = by_workload
        .iter()
        .flat_map(|(workload, ledger)| ledger.digests.iter().map(move |admission| (workload, admission)))
        .collect();
    for rows in digests.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO admissions (namespace, kind, name, digest, reference, first_admitted_at, last_admitted_at) ",
        );
        insert.push_values(rows, |mut row, (workload, admission)| {
            row.push_bind(&workload.namespace)
                .push_bind(&workload.kind)
                .push_bind(&workload.name)
                .push_bind(&admission.digest)
                .push_bind(&admission.reference)
                .push_bind(to_column(admission.first_admitted_at))
                .push_bind(to_column(admission.last_admitted_at));
        });
        insert.push(
            " ON CONFLICT (namespace, kind, name, digest) DO UPDATE SET
                first_admitted_at = min(first_admitted_at, excluded.first_admitted_at),
                reference = iif(excluded.last_admitted_at >= last_admitted_at, excluded.reference, reference),
                last_admitted_at = max(last_admitted_at, excluded.last_admitted_at)",
        );
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    let templates: Vec<_> = by_workload
        .iter()
        .flat_map(|(workload, ledger)| ledger.templates.iter().map(move |template| (workload, template)))
        .collect();
    for rows in templates.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO templates (namespace, kind, name, fingerprint, first_admitted_at) ",
        );
        insert.push_values(rows, |mut row, (workload, (fingerprint, at))| {
            row.push_bind(&workload.namespace)
                .push_bind(&workload.kind)
                .push_bind(&workload.name)
                .push_bind(fingerprint)
                .push_bind(to_column(*at));
        });
        insert.push(
            " ON CONFLICT (namespace, kind, name, fingerprint) DO UPDATE SET
                first_admitted_at = min(first_admitted_at, excluded.first_admitted_at)",
        );
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    for (workload, ledger) in &by_workload {
        for BelongedTo { source, service, last_at } in &ledger.services {
            let insert = "INSERT INTO services (namespace, kind, name, source, service, last_at) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (namespace, kind, name, source, service) DO UPDATE SET last_at = max(last_at, excluded.last_at)";
            sqlx::query(insert)
                .bind(&workload.namespace)
                .bind(&workload.kind)
                .bind(&workload.name)
                .bind(source)
                .bind(service)
                .bind(to_column(*last_at))
                .execute(&mut *connection)
                .await?;
        }
        for (reference, until) in &ledger.ran {
            // What the reference meant when it was last admitted, as the ledger in memory takes it.
            let update = "UPDATE admissions SET last_admitted_at = max(last_admitted_at, ?1)
                WHERE (namespace, kind, name, digest) IN (
                    SELECT namespace, kind, name, digest FROM admissions
                    WHERE namespace = ?2 AND kind = ?3 AND name = ?4 AND reference = ?5
                    ORDER BY last_admitted_at DESC LIMIT 1)
                AND first_admitted_at <= ?1";
            sqlx::query(update)
                .bind(to_column(*until))
                .bind(&workload.namespace)
                .bind(&workload.kind)
                .bind(&workload.name)
                .bind(reference)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}
