//! Questions to the store, each led by the index that has the fewest records to walk over.

use super::super::facet::signature;
use super::filter::QueryFilter;
use crate::store::database::{Connection, Dialect, Query, Value};
use crate::store::decisions::{self, DecisionRow};
use crate::store::time::to_column;

/// Up to where records are counted to tell whether there are few or many.
const COUNTED: i64 = 20_000;

/// Up to where a facet's records are counted to find the rarest.
const COMPARED: i64 = 5_000;

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
        // PostgreSQL knows by its statistics which one is rare, whichever leads here.
        let rarest = match connection.dialect() {
            Dialect::Sqlite if facets.len() > 1 => rarest(connection, &facets, filter).await?,
            _ => 0,
        };
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
        push_facets(select, dialect, place, &self.facets);
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

/// Which of the facets the fewest records have.
async fn rarest(connection: &mut Connection, facets: &[String], filter: &QueryFilter) -> Result<usize, sqlx::Error> {
    let mut rarest = (0, COMPARED, String::new());
    for (index, facet) in facets.iter().enumerate() {
        let (count, oldest) = newest_of(connection, facet, filter, rarest.1).await?;
        // Of two that many records have, the one whose newest few reach back furthest is rare.
        if index == 0 || count < rarest.1 || (rarest.1 == COMPARED && oldest < rarest.2) {
            rarest = (index, count, oldest);
        }
    }
    Ok(rarest.0)
}

/// Whether the facet is one that so many records have that reading all of an index costs less than looking them up.
pub(super) async fn is_common(
    connection: &mut Connection,
    facet: &str,
    filter: &QueryFilter,
) -> Result<bool, sqlx::Error> {
    Ok(newest_of(connection, facet, filter, COUNTED).await?.0 == COUNTED)
}

/// How many records have the facet, or `up_to` where there are as many, and the oldest of the newest so many.
async fn newest_of(
    connection: &mut Connection,
    facet: &str,
    filter: &QueryFilter,
    up_to: i64,
) -> Result<(i64, String), sqlx::Error> {
    let mut select = Query::once(
        "SELECT count(*), coalesce(min(timestamp), '') FROM (SELECT f.timestamp FROM decision_facets f WHERE f.facet = ",
    );
    push_facet(&mut select, connection.dialect(), facet);
    push_time(&mut select, "f", filter);
    select.push(" ORDER BY f.timestamp DESC LIMIT ").push_bind(up_to).push(") newest");
    connection.row(select).await?.map_or(Ok((0, String::new())), |row| Ok((row.integer(0)?, row.text(1)?)))
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

/// That the record at `place` has all these facets.
pub(super) fn push_facets<'a>(select: &mut Query<'a>, dialect: Dialect, place: &str, facets: &'a [String]) {
    // Where a facet leads, its index has the record's signature beside it: hardly any is looked up in vain.
    let is_signed = dialect == Dialect::Sqlite && place == "f" && !facets.is_empty();
    if is_signed {
        let bits = facets.iter().fold(0, |bits, facet| bits | signature::bits(facet));
        select.push(format!(" AND ({place}.signature & ")).push_bind(bits).push(" = ").push_bind(bits);
        select.push(format!(" OR {place}.signature = {})", signature::UNSIGNED));
    }
    for facet in facets {
        let known = match signature::exactly(facet) {
            Some(_) if is_signed => format!("{place}.signature <> {} OR ", signature::UNSIGNED),
            _ => String::new(),
        };
        select.push(format!(" AND ({known}EXISTS (SELECT 1 FROM decision_facets o WHERE o.facet = "));
        push_facet(select, dialect, facet);
        select.push(format!(
            " AND o.timestamp = {place}.timestamp AND o.writer_id = {place}.writer_id AND o.seq = {place}.seq))"
        ));
    }
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
