//! `audit query`: decisions found by any mix of what they are about, listed or counted.

use serde::Serialize;
use serde_json::value::RawValue;

use super::row::{HEAD, row, warn_of_unreadable};
use crate::args::{FilterArgs, Output, QueryArgs};
use crate::audit::{self, Count, Facet, QueryFilter, StoredRecord};
use crate::cli::output::{print, print_json, say, table};
use crate::cli::{Failure, OK, time};
use crate::clock;

pub async fn query(args: QueryArgs) -> Result<u8, Failure> {
    let now = clock::now();
    let at = |flag: &str, written: Option<&str>| {
        let read = written.map(|written| time::read(written, now)).transpose();
        read.map_err(|error| Failure::new(format!("{flag} {error}")))
    };
    let mut filter = QueryFilter {
        since: at("--since", args.since.as_deref())?,
        until: at("--until", args.until.as_deref())?,
        ..args.filter.into()
    };
    if let Some(day) = &args.on {
        let (begin, end) = time::read_day(day, now).map_err(|error| Failure::new(format!("--on {error}")))?;
        (filter.since, filter.until) = (Some(begin), Some(end));
    }
    if let Some(by) = args.count_by {
        let counts = audit::count(&args.store, &filter, by).await.map_err(Failure::of)?;
        return print_counts(counts, by, args.limit, args.output);
    }
    // One more tells whether there are more.
    filter.limit = Some(args.limit.saturating_add(1));
    let mut records = audit::query(&args.store, &filter).await.map_err(Failure::of)?;
    let more = records.len() > args.limit;
    records.truncate(args.limit);
    warn_of_unreadable(&records);
    match args.output {
        Output::Json => print_array(&records)?,
        Output::Table => print(&table(&HEAD, records.iter().map(row).collect()))?,
    }
    if more {
        let limit = args.limit;
        say(
            "note",
            &format!(
                "these are the newest {limit}, and there are more: --limit asks for more of them, --until for older ones, and the other filters for fewer"
            ),
        );
    }
    Ok(OK)
}

impl From<FilterArgs> for QueryFilter {
    fn from(args: FilterArgs) -> Self {
        Self {
            namespace: args.namespace,
            kind: args.kind,
            name: args.name,
            user: args.user,
            decision: args.decision,
            rule: args.rule,
            policy: args.policy,
            service: args.service,
            digest: args.digest,
            repository: args.repository,
            image: args.image,
            exception: args.exception,
            decision_id: args.id,
            ..Self::default()
        }
    }
}

fn print_array(records: &[StoredRecord]) -> Result<(), Failure> {
    let texts: Vec<String> = records.iter().map(StoredRecord::whole).collect();
    let values: Vec<&RawValue> = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    print_json(&values)
}

#[derive(Serialize)]
struct CountReport {
    value: String,
    decisions: u64,
}

fn print_counts(mut counts: Vec<Count>, by: Facet, limit: usize, output: Output) -> Result<u8, Failure> {
    let all = counts.len();
    counts.truncate(limit);
    match output {
        Output::Json => {
            let reports = counts.into_iter().map(|count| CountReport { value: count.value, decisions: count.records });
            print_json(&reports.collect::<Vec<_>>())?;
        }
        Output::Table => {
            // What has no namespace would be a blank.
            let named = |value: String| if value.is_empty() { "–".to_owned() } else { value };
            let rows = counts.into_iter().map(|count| vec![named(count.value), count.records.to_string()]);
            print(&table(&[by.as_str(), "decisions"], rows.collect()))?;
        }
    }
    if all > limit {
        say("note", &format!("these are the {limit} most frequent of {all}: --limit asks for more of them"));
    }
    Ok(OK)
}
