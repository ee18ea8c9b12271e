//! Writes what decisions admitted into the tables `admissions`, `templates` and `services`, in the transaction of those decisions.
//! Writing the same again changes nothing, so records may be moved twice.

use std::collections::BTreeMap;

use super::{LedgerUpdate, WorkloadKey, WorkloadLedger};
use crate::store::database::{Connection, Insert, Kind, Query, Value};
use crate::store::time::to_column;

const ADMISSIONS: Insert<7> = Insert {
    table: "admissions",
    columns: [
        ("namespace", Kind::Text),
        ("kind", Kind::Text),
        ("name", Kind::Text),
        ("digest", Kind::Text),
        ("reference", Kind::Text),
        ("first_admitted_at", Kind::Text),
        ("last_admitted_at", Kind::Text),
    ],
    on_conflict: " ON CONFLICT (namespace, kind, name, digest) DO UPDATE SET
        first_admitted_at = CASE WHEN excluded.first_admitted_at < admissions.first_admitted_at
            THEN excluded.first_admitted_at ELSE admissions.first_admitted_at END,
        reference = CASE WHEN excluded.last_admitted_at >= admissions.last_admitted_at
            THEN excluded.reference ELSE admissions.reference END,
        last_admitted_at = CASE WHEN excluded.last_admitted_at > admissions.last_admitted_at
            THEN excluded.last_admitted_at ELSE admissions.last_admitted_at END",
    postgres_where: "",
    sqlite_rows: ROWS_PER_STATEMENT,
};

const TEMPLATES: Insert<5> = Insert {
    table: "templates",
    columns: [
        ("namespace", Kind::Text),
        ("kind", Kind::Text),
        ("name", Kind::Text),
        ("fingerprint", Kind::Text),
        ("first_admitted_at", Kind::Text),
    ],
    on_conflict: " ON CONFLICT (namespace, kind, name, fingerprint) DO UPDATE SET
        first_admitted_at = excluded.first_admitted_at WHERE excluded.first_admitted_at < templates.first_admitted_at",
    postgres_where: "",
    sqlite_rows: ROWS_PER_STATEMENT,
};

const SERVICES: Insert<6> = Insert {
    table: "services",
    columns: [
        ("namespace", Kind::Text),
        ("kind", Kind::Text),
        ("name", Kind::Text),
        ("source", Kind::Text),
        ("service", Kind::Text),
        ("last_at", Kind::Text),
    ],
    on_conflict: " ON CONFLICT (namespace, kind, name, source, service) DO UPDATE SET
        last_at = excluded.last_at WHERE excluded.last_at > services.last_at",
    postgres_where: "",
    sqlite_rows: ROWS_PER_STATEMENT,
};

/// `SQLite` takes 32,766 values in a statement; larger ones gain nothing.
const ROWS_PER_STATEMENT: usize = 256;

pub(crate) async fn write(
    connection: &mut Connection,
    updates: impl IntoIterator<Item = LedgerUpdate>,
) -> Result<(), sqlx::Error> {
    // In the order of their keys, here and below: replicas that admit the same then wait for each other, and not in a
    // circle.
    let mut by_workload: BTreeMap<WorkloadKey, WorkloadLedger> = BTreeMap::new();
    for update in updates {
        by_workload.entry(update.workload).or_default().merge(&update.admitted);
    }
    for ledger in by_workload.values_mut() {
        ledger.digests.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
        ledger.templates.sort_unstable();
        ledger
            .services
            .sort_unstable_by(|one, other| (&one.source, &one.service).cmp(&(&other.source, &other.service)));
    }
    let mut digests = Vec::new();
    let mut templates = Vec::new();
    let mut services = Vec::new();
    for (WorkloadKey { namespace, kind, name }, ledger) in &by_workload {
        let (namespace, kind, name) = (Value::key(namespace), Value::key(kind), Value::key(name));
        let place = || (namespace.clone(), kind.clone(), name.clone());
        for admission in &ledger.digests {
            let (namespace, kind, name) = place();
            let (first, last) = (to_column(admission.first_admitted_at), to_column(admission.last_admitted_at));
            let (digest, reference) = (Value::key(&admission.digest), Value::from(&admission.reference));
            digests.push([namespace, kind, name, digest, reference, first.into(), last.into()]);
        }
        for (fingerprint, at) in &ledger.templates {
            let (namespace, kind, name) = place();
            templates.push([namespace, kind, name, Value::key(fingerprint), to_column(*at).into()]);
        }
        for one in &ledger.services {
            let (namespace, kind, name) = place();
            let (source, service) = (Value::key(&one.source), Value::key(&one.service));
            services.push([namespace, kind, name, source, service, to_column(one.last_at).into()]);
        }
    }
    connection.insert(&ADMISSIONS, &digests).await?;
    for (workload, ledger) in &by_workload {
        for (reference, until) in &ledger.ran {
            // What the reference meant when it was last admitted, as the ledger in memory takes it.
            let update = Query::new(
                "UPDATE admissions SET last_admitted_at = $1
                 WHERE (namespace, kind, name, digest) IN (
                     SELECT namespace, kind, name, digest FROM admissions
                     WHERE namespace = $2 AND kind = $3 AND name = $4 AND reference = $5
                     ORDER BY last_admitted_at DESC LIMIT 1)
                 AND first_admitted_at <= $1 AND last_admitted_at < $1",
            );
            let update = update
                .bind(to_column(*until))
                .bind(Value::key(&workload.namespace))
                .bind(Value::key(&workload.kind))
                .bind(Value::key(&workload.name))
                .bind(reference);
            connection.execute(update).await?;
        }
    }
    connection.insert(&TEMPLATES, &templates).await?;
    connection.insert(&SERVICES, &services).await?;
    Ok(())
}
