//! Questions to the store, each led by the index that has the fewest records to walk over.

use super::filter::QueryFilter;
use crate::store::database::{Connection, Dialect, Query, Value};
use crate::store::decisions::{self, DecisionRow};
use crate::store::time::to_column;

/// Up to where a facet's records are counted to find the rarest; beyond it the one that is rare as a rule leads.
const COUNTED: i64 = 20_000;

/// What leads to the records. Whatever else is asked for is looked at record by record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lead {
    /// The decision's id.
    Id(String),
    /// Namespace and name of the workload, where an index has both.
    Workload(String, String),
    /// One facet.
    Facet(String),
    /// The time alone: from the newest back.
    Time,
    /// No index: the table is read whole. Only parts of images are looked for so.
    Nothing,
}

/// A lead, and the facets that are looked at record by record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    lead: Lead,
    facets: Vec<String>,
}

impl Plan {
    /// The cheapest lead for these conditions.
    pub(super) async fn of(connection: &mut Connection, filter: &QueryFilter) -> Result<Self, sqlx::Error> {
        let mut facets = filter.facets();
        if let Some(id) = &filter.decision_id {
            return Ok(Self { lead: Lead::Id(id.clone()), facets });
        }
        if let (Dialect::Sqlite, Some(namespace), Some(name)) = (connection.dialect(), &filter.namespace, &filter.name)
        {
            let by_both = QueryFilter { namespace: None, name: None, ..filter.clone() };
            return Ok(Self { lead: Lead::Workload(namespace.clone(), name.clone()), facets: by_both.facets() });
        }
        let mut rarest = 0;
        // PostgreSQL knows by its statistics which one is rare, whichever leads here.
        if facets.len() > 1 && connection.dialect() == Dialect::Sqlite {
            let mut fewest = COUNTED;
            for (index, facet) in facets.iter().enumerate() {
                let count = count_up_to(connection, facet, filter, fewest).await?;
                if count < fewest {
                    (rarest, fewest) = (index, count);
                }
            }
        }
        let lead = match (facets.is_empty(), &filter.image) {
            (false, _) => Lead::Facet(facets.swap_remove(rarest)),
            (true, None) => Lead::Time,
            (true, Some(_)) => Lead::Nothing,
        };
        Ok(Self { lead, facets })
    }

    /// Goes on after `SELECT …`: where the records come from, and every condition. The table is called `d`.
    pub(super) fn push<'a>(&'a self, select: &mut Query<'a>, dialect: Dialect, filter: &'a QueryFilter) {
        // Where a facet leads, its index has time and place, and rows are read for what is left over alone.
        let place = match &self.lead {
            Lead::Facet(facet) => {
                // CROSS JOIN keeps the order: SQLite would else begin with the other table now and then.
                let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
                select.push(format!(
                    " FROM decision_facets f {join} decisions d ON d.writer_id = f.writer_id AND d.seq = f.seq WHERE f.facet = "
                ));
                push_facet(select, dialect, facet);
                "f"
            }
            Lead::Id(id) => {
                let index = dialect.indexed_by("decisions_by_id");
                select.push(format!(" FROM decisions d{index} WHERE d.decision_id = ")).push_bind(id);
                "d"
            }
            Lead::Workload(namespace, name) => {
                let index = dialect.indexed_by("decisions_by_workload");
                select.push(format!(" FROM decisions d{index} WHERE d.namespace = ")).push_bind(namespace);
                select.push(" AND d.name = ").push_bind(name);
                "d"
            }
            Lead::Time => {
                select.push(format!(" FROM decisions d{} WHERE true", dialect.indexed_by("decisions_by_time")));
                "d"
            }
            Lead::Nothing => {
                select.push(" FROM decisions d WHERE true");
                "d"
            }
        };
        push_time(select, place, filter);
        if let Some(after) = &filter.after {
            // The first condition alone can be looked up in an index that has no more than the time.
            select.push(format!(" AND {place}.timestamp <= ")).push_bind(&after.timestamp);
            select.push(format!(" AND ({place}.timestamp, {place}.writer_id, {place}.seq) < ("));
            select.push_bind(&after.timestamp).push(", ").push_bind(Value::key(&after.writer_id)).push(", ");
            select.push_bind(Value::number(after.seq)).push(")");
        }
        for facet in &self.facets {
            select.push(" AND EXISTS (SELECT 1 FROM decision_facets o WHERE o.facet = ");
            push_facet(select, dialect, facet);
            select.push(format!(
                " AND o.timestamp = {place}.timestamp AND o.writer_id = {place}.writer_id AND o.seq = {place}.seq)"
            ));
        }
        if let Some(image) = &filter.image {
            let place_in = if dialect == Dialect::Sqlite { "instr" } else { "strpos" };
            select.push(format!(" AND {place_in}(d.images, ")).push_bind(image).push(") > 0");
        }
    }

    /// What sorts the records, the newest first.
    pub(super) fn order(&self) -> &'static str {
        match self.lead {
            Lead::Facet(_) => " ORDER BY f.timestamp DESC, f.writer_id DESC, f.seq DESC",
            _ => " ORDER BY d.timestamp DESC, d.writer_id DESC, d.seq DESC",
        }
    }
}

/// The rows that the filter lets through, newest first.
pub(super) async fn matching(
    connection: &mut Connection,
    filter: &QueryFilter,
) -> Result<Vec<DecisionRow>, sqlx::Error> {
    let plan = Plan::of(connection, filter).await?;
    let mut select = Query::once("SELECT ");
    select.push(decisions::COLUMNS);
    plan.push(&mut select, connection.dialect(), filter);
    select.push(plan.order());
    if let Some(limit) = filter.limit {
        select.push(" LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    connection.rows(select).await?.iter().map(DecisionRow::read).collect()
}

/// How many records have the facet, or `up_to` where there are as many.
async fn count_up_to(
    connection: &mut Connection,
    facet: &str,
    filter: &QueryFilter,
    up_to: i64,
) -> Result<i64, sqlx::Error> {
    let mut select = Query::once("SELECT count(*) FROM (SELECT 1 FROM decision_facets f WHERE f.facet = ");
    push_facet(&mut select, connection.dialect(), facet);
    push_time(&mut select, "f", filter);
    select.push(" LIMIT ").push_bind(up_to).push(") counted");
    counted(connection, select).await
}

/// Whether there are fewer records in the filter's time than one facet is counted for.
pub(super) async fn is_short(connection: &mut Connection, filter: &QueryFilter) -> Result<bool, sqlx::Error> {
    if filter.since.is_none() && filter.until.is_none() {
        return Ok(false);
    }
    let index = connection.dialect().indexed_by("decisions_by_time");
    let mut select = Query::once(format!("SELECT count(*) FROM (SELECT 1 FROM decisions d{index} WHERE true"));
    push_time(&mut select, "d", filter);
    select.push(" LIMIT ").push_bind(COUNTED).push(") counted");
    Ok(counted(connection, select).await? < COUNTED)
}

async fn counted(connection: &mut Connection, select: Query<'_>) -> Result<i64, sqlx::Error> {
    connection.row(select).await?.map_or(Ok(0), |row| row.integer(0))
}

/// A facet as the index holds it.
fn push_facet<'a>(select: &mut Query<'a>, dialect: Dialect, facet: &'a str) {
    match dialect {
        Dialect::Sqlite => select.push_bind(facet),
        Dialect::Postgres => select.push("facet_key(").push_bind(facet).push(")"),
    };
}

/// The filter's bounds of time.
pub(super) fn push_time(select: &mut Query<'_>, place: &str, filter: &QueryFilter) {
    if let Some(since) = filter.since {
        select.push(format!(" AND {place}.timestamp >= ")).push_bind(to_column(since));
    }
    if let Some(until) = filter.until {
        select.push(format!(" AND {place}.timestamp < ")).push_bind(to_column(until));
    }
}
