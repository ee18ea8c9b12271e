//! `freshgate audit export`: records, to be kept or read elsewhere.

use std::io::{BufWriter, Write as _, stdout};

use super::at;
use crate::args::{ExportArgs, ExportFormat};
use crate::audit::columns::Columns;
use crate::audit::{Export, StoredRecord, export};
use crate::cli::output::{say, written};
use crate::cli::{Failure, OK};
use crate::clock;

/// The columns of a table, which are those of the store.
const HEAD: [&str; 14] = [
    "decision_id",
    "timestamp",
    "decision",
    "namespace",
    "kind",
    "name",
    "operation",
    "username",
    "rules",
    "images",
    "repeat_of",
    "writer_id",
    "seq",
    "hash",
];

pub async fn take_out(args: ExportArgs) -> Result<u8, Failure> {
    let now = clock::now();
    let wanted =
        Export { since: at("--since", args.since.as_deref(), now)?, until: at("--until", args.until.as_deref(), now)? };
    let mut out = BufWriter::new(stdout());
    let mut done = match args.format {
        ExportFormat::Csv => out.write_all(csv_line(&HEAD.map(str::to_owned)).as_bytes()),
        ExportFormat::Jsonl => Ok(()),
    };
    let exported = export(&args.store, wanted, &mut |record| {
        if done.is_ok() {
            done = out.write_all(line(record, args.format).as_bytes());
        }
        done.is_ok()
    })
    .await;
    let (records, undisturbed) = exported.map_err(Failure::of)?;
    written(done.and_then(|()| out.flush()))?;
    if !undisturbed {
        return Err(Failure::new(format!("somebody wrote to {} while it was read", args.store))
            .hint("what was written to standard output may be incomplete; export again"));
    }
    say("note", &format!("{records} record{} exported", if records == 1 { " was" } else { "s were" }));
    Ok(OK)
}

fn line(record: &StoredRecord, format: ExportFormat) -> String {
    match format {
        // The journal's own form: the bytes as hashed, and their hash.
        ExportFormat::Jsonl => format!("{{\"hash\":\"{}\",\"record\":{}}}\n", record.hash, record.line),
        ExportFormat::Csv => {
            let columns = Columns::derive(&record.line)
                .map_or_else(|_| Columns::of_unreadable(record.writer_id.clone(), record.seq), |(columns, _)| columns);
            csv_line(&[
                columns.decision_id,
                columns.timestamp,
                columns.decision,
                columns.namespace,
                columns.kind,
                columns.name,
                columns.operation,
                columns.username,
                columns.rules,
                columns.images,
                columns.repeat_of.unwrap_or_default(),
                columns.writer_id,
                columns.seq.to_string(),
                record.hash.clone(),
            ])
        }
    }
}

/// A line as RFC 4180 has it.
fn csv_line(fields: &[String]) -> String {
    let quoted: Vec<String> = fields
        .iter()
        .map(|field| {
            if field.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.clone()
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_csv_is_quoted() {
        let fields = ["plain", "a,b", "say \"x\"", "two\nlines", ""].map(str::to_owned);
        assert_eq!(csv_line(&fields), "plain,\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",\r\n");
    }
}
