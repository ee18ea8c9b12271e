//! `freshgate audit`: decisions, found and proven.

mod query;
mod row;
mod story;
mod tail;

use serde_json::value::RawValue;

use super::output::{print, print_json, print_lines, progress, say};
use super::{Failure, NO, OK};
use crate::args::{AuditCommand, Output};
use crate::audit::{self, VerifyReport};
use crate::store::StoreLocation;

/// What to do about a record that cannot be read.
const VERIFY: &str = "freshgate audit verify says whether records were changed";

pub async fn run(command: AuditCommand) -> Result<u8, Failure> {
    match command {
        AuditCommand::Query(args) => query::query(args).await,
        AuditCommand::Tail(args) => tail::tail(args).await,
        AuditCommand::Show { id, store, output } => show(&id, &store, output).await,
        AuditCommand::Verify { store } => prove(&store).await,
    }
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

async fn prove(store: &StoreLocation) -> Result<u8, Failure> {
    let bar = progress(None, "records fit so far:");
    let report = audit::verify_watched(store, &|records| bar.set_position(records)).await;
    bar.finish_and_clear();
    let report = report.map_err(Failure::of)?;
    if let Some(bad) = report.first_bad {
        print(&format!("the first record that does not fit is {bad}\n"))?;
        say("hint", "keep the store and its journal as they are; what follows this record was not looked at");
        return Ok(NO);
    }
    print(&format!("all records fit: {}; {}\n", counted(report.records, report.writers), VerifyReport::UNNOTICED))?;
    Ok(OK)
}

fn counted(records: u64, writers: u64) -> String {
    let noun = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    format!("{} of {}", noun(records, "record"), noun(writers, "writer"))
}
