//! A decision in one line: of a table, or of JSON.

use serde_json::Value;
use serde_json::value::RawValue;

use super::VERIFY;
use crate::audit::StoredRecord;
use crate::cli::output::say;

/// Titles of [`row`].
pub const HEAD: [&str; 7] = ["time", "decision", "change", "workload", "user", "what", "id"];

/// Says which records are no JSON any more: left out, or a row of blanks, they would be passed over.
pub fn warn_of_unreadable(records: &[StoredRecord]) {
    for record in records.iter().filter(|record| serde_json::from_str::<&RawValue>(&record.whole()).is_err()) {
        say("warning", &format!("record {} of writer {} is no JSON any more; {VERIFY}", record.seq, record.writer_id));
    }
}

/// The record's cells in a table.
pub fn row(record: &StoredRecord) -> Vec<String> {
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
