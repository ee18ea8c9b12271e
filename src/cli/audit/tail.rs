//! `audit tail`: the newest decisions, and those to come as they are made.

use std::io;
use std::time::Duration;

use futures::future::{Either, select};

use super::row::{HEAD, row, warn_of_unreadable};
use crate::args::{Output, TailArgs};
use crate::audit::{Follower, QueryFilter, StoredRecord};
use crate::cli::output::{print_or_stop, reader_is_gone, table};
use crate::cli::{Failure, OK};

/// Between two looks: soon enough for somebody who watches, and no work to speak of.
const EVERY: Duration = Duration::from_millis(500);

pub async fn tail(args: TailArgs) -> Result<u8, Failure> {
    let filter = QueryFilter { limit: Some(args.limit), ..args.filter.into() };
    let (mut follower, mut records) = Follower::begin(&args.store, filter).await.map_err(Failure::of)?;
    let mut lines = Lines { output: args.output, with_head: true };
    if !lines.print(&records)? || !args.follow {
        return Ok(OK);
    }
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        // Somebody who closed the pipe waits for the prompt, not for the next decision.
        if reader_is_gone() {
            return Ok(OK);
        }
        let pause = tokio::time::sleep(EVERY);
        tokio::pin!(pause);
        if let Either::Left((signalled, _)) = select(&mut interrupted, pause).await {
            return signalled.map(|()| OK).map_err(|error| cannot_hear(&error));
        }
        records = follower.next().await.map_err(Failure::of)?;
        if !lines.print(&records)? {
            return Ok(OK);
        }
    }
}

fn cannot_hear(error: &io::Error) -> Failure {
    Failure::new(format!("signals cannot be received: {error}; report this as a bug"))
}

struct Lines {
    output: Output,
    with_head: bool,
}

impl Lines {
    /// False once nobody reads any more.
    fn print(&mut self, records: &[StoredRecord]) -> Result<bool, Failure> {
        warn_of_unreadable(records);
        let text = match self.output {
            Output::Json => {
                records.iter().filter(|record| is_json(record)).map(|record| record.whole() + "\n").collect()
            }
            Output::Table => {
                let rows = table(&HEAD, records.iter().map(row).collect());
                if std::mem::take(&mut self.with_head) {
                    rows
                } else {
                    rows.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned())
                }
            }
        };
        print_or_stop(&text)
    }
}

fn is_json(record: &StoredRecord) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(&record.whole()).is_ok()
}
