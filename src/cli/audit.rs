//! `freshgate audit`: decisions, found and proven.

mod export;
mod import;
mod query;
mod row;
mod story;
mod tail;
mod verify;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::output::{print_json, print_lines};
use super::{Failure, OK, time};
use crate::args::{AuditCommand, Output};
use crate::audit;
use crate::store::StoreLocation;

/// What to do about a record that cannot be read.
const VERIFY: &str = "freshgate audit verify says whether records were changed";

pub async fn run(command: AuditCommand) -> Result<u8, Failure> {
    match command {
        AuditCommand::Query(args) => query::query(args).await,
        AuditCommand::Tail(args) => tail::tail(args).await,
        AuditCommand::Show { id, store, output } => show(&id, &store, output).await,
        AuditCommand::Replay(args) => super::replay::run(args).await,
        AuditCommand::Verify(args) => verify::verify(args).await,
        AuditCommand::Export(args) => export::take_out(args).await,
        AuditCommand::Import(args) => import::make(args).await,
    }
}

/// The time that a flag names.
fn at(flag: &str, written: Option<&str>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
    let read = written.map(|written| time::read(written, now)).transpose();
    read.map_err(|error| Failure::new(format!("{flag} {error}")))
}

async fn show(id: &str, store: &StoreLocation, output: Output) -> Result<u8, Failure> {
    let record = audit::show(store, id).await.map_err(Failure::of)?;
    let Some(record) = &record else {
        return Err(Failure::new(format!("no decision {id} is recorded in {store}"))
            .hint("dry runs are not recorded, and what passes unjudged only with --audit-level=all"));
    };
    match output {
        Output::Json => {
            let text = record.whole();
            let value: &RawValue = serde_json::from_str(&text).map_err(|error| {
                Failure::new(format!("the record of {id} in {store} cannot be read: {error}")).hint(VERIFY)
            })?;
            print_json(&value)?;
        }
        Output::Table => print_lines(&story::story(record))?,
    }
    Ok(OK)
}
