//! `freshgate audit`: decisions, found and proven.

mod export;
mod import;
mod verify;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::output::{coloured, print, print_json, print_lines, say, table};
use super::{Failure, OK, time};
use crate::args::{AuditCommand, Output, QueryArgs};
use crate::audit::{self, QueryFilter, StoredRecord};
use crate::clock;
use crate::store::StoreLocation;

/// What to do about a record that cannot be read.
const VERIFY: &str = "freshgate audit verify says whether records were changed";

pub async fn run(command: AuditCommand) -> Result<u8, Failure> {
    match command {
        AuditCommand::Query(args) => ask(args).await,
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

async fn ask(args: QueryArgs) -> Result<u8, Failure> {
    let now = clock::now();
    let filter = QueryFilter {
        since: at("--since", args.since.as_deref(), now)?,
        until: at("--until", args.until.as_deref(), now)?,
        namespace: args.namespace,
        name: args.name,
        decision: args.decision,
        rule: args.rule,
        image: args.image,
        // One more tells whether there are more.
        limit: Some(args.limit.saturating_add(1)),
    };
    let mut records = audit::query(&args.store, &filter).await.map_err(Failure::of)?;
    let more = records.len() > args.limit;
    records.truncate(args.limit);
    // Left out, or a row of blanks, they would be passed over.
    for record in records.iter().filter(|record| serde_json::from_str::<&RawValue>(&whole(record)).is_err()) {
        say("warning", &format!("record {} of writer {} is no JSON any more; {VERIFY}", record.seq, record.writer_id));
    }
    match args.output {
        Output::Json => print_array(&records)?,
        Output::Table => {
            let rows = records.iter().map(row).collect();
            print(&table(&["time", "decision", "change", "workload", "user", "what", "id"], rows))?;
        }
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

/// The line of a record with its hash, as one object.
fn whole(record: &StoredRecord) -> String {
    let open = record.line.strip_suffix('}').unwrap_or(&record.line);
    format!("{open},\"hash\":\"{}\"}}", record.hash)
}

fn print_array(records: &[StoredRecord]) -> Result<(), Failure> {
    let texts: Vec<String> = records.iter().map(whole).collect();
    let values: Vec<&RawValue> = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    print_json(&values)
}

fn row(record: &StoredRecord) -> Vec<String> {
    let line: Value = serde_json::from_str(&record.line).unwrap_or_default();
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rules = line.get("rules").and_then(Value::as_array).into_iter().flatten();
    let found = rules.filter(|rule| rule["result"] != "pass").find_map(|rule| {
        let found = rule.pointer("/properties/found")?.as_str()?;
        Some(format!("{} {found}", rule["rule"].as_str()?))
    });
    let what = match text("/repeat_of") {
        first if first.is_empty() => found.unwrap_or_default(),
        first => format!("as {first}"),
    };
    vec![
        text("/timestamp"),
        text("/decision"),
        text("/change"),
        format!("{} {}/{}", text("/request/kind/kind"), text("/request/namespace"), text("/request/name")),
        text("/request/userInfo/username"),
        what,
        text("/decision_id"),
    ]
}

async fn show(id: &str, store: &StoreLocation, output: Output) -> Result<u8, Failure> {
    let record = audit::show(store, id).await.map_err(Failure::of)?;
    let Some(record) = &record else {
        return Err(Failure::new(format!("no decision {id} is recorded in {store}"))
            .hint("dry runs are not recorded, and what passes unjudged only with --audit-level=all"));
    };
    match output {
        Output::Json => {
            let text = whole(record);
            let value: &RawValue = serde_json::from_str(&text).map_err(|error| {
                Failure::new(format!("the record of {id} in {store} cannot be read: {error}")).hint(VERIFY)
            })?;
            print_json(&value)?;
        }
        Output::Table => print_lines(&story(record))?,
    }
    Ok(OK)
}

/// A decision as a person reads it.
fn story(record: &StoredRecord) -> Vec<String> {
    let line: Value = serde_json::from_str(&record.line).unwrap_or_default();
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str| line.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut told: Vec<(&str, String)> = vec![
        ("decision", format!("{} {}", text(&line, "/decision_id"), coloured(&text(&line, "/decision")))),
        ("time", text(&line, "/timestamp")),
        (
            "change",
            format!(
                "{} of {} {}/{} ({}) by {}",
                text(&line, "/change"),
                text(&line, "/request/kind/kind"),
                text(&line, "/request/namespace"),
                text(&line, "/request/name"),
                text(&line, "/request/operation"),
                text(&line, "/request/userInfo/username"),
            ),
        ),
    ];
    let first = text(&line, "/repeat_of");
    if !first.is_empty() {
        told.push(("repeats", format!("{first}, which has the evidence")));
    }
    for (policy, revision) in line.get("policies").and_then(Value::as_object).into_iter().flatten() {
        told.push(("policy", format!("{policy} {}", revision.as_str().unwrap_or_default())));
    }
    for image in list("images") {
        told.push((
            "image",
            format!("{} ({} {:?})", text(&image, "/ref"), text(&image, "/place"), text(&image, "/container")),
        ));
        if !first.is_empty() {
            told.push(("", text(&image, "/digest")));
            continue;
        }
        let built = match text(&image, "/buildTime") {
            built if built.is_empty() => format!("unknown: {} {}", text(&image, "/reason"), text(&image, "/detail")),
            built => format!("built {built} ({})", text(&image, "/source")),
        };
        let (digest, platform, cache) = (text(&image, "/digest"), text(&image, "/platform"), text(&image, "/cache"));
        told.push(("", format!("{digest} {platform} {built}, {cache}")));
        for candidate in image.get("candidates").and_then(Value::as_array).into_iter().flatten() {
            let used = if candidate["used"] == true { "→" } else { " " };
            let (source, value) = (text(candidate, "/source"), text(candidate, "/value"));
            told.push(("", format!("{used} {source} {value}: {}", text(candidate, "/why"))));
        }
    }
    for rule in list("rules") {
        told.push(("rule", format!("{} {} {}", text(&rule, "/rule"), text(&rule, "/result"), text(&rule, "/message"))));
    }
    for said in text(&line, "/message").lines() {
        told.push(("said", said.to_owned()));
    }
    for warning in list("warnings") {
        told.push(("warned", warning.as_str().unwrap_or_default().to_owned()));
    }
    told.push(("record", format!("{} of writer {}, hash {}", line["seq"], text(&line, "/writer_id"), record.hash)));
    told.iter().map(|(name, text)| format!("{name:<9} {text}")).collect()
}
