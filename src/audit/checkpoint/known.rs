//! What a heap of checkpoints says of each writer's chain: the hashes that it had at some of its records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use thiserror::Error;

use super::{BadCheckpoint, Checkpoint, Head};
use crate::audit::chain::ChainHash;
use crate::signing::Verifier;

/// What begins a checkpoint in a line that holds more, as a log's does.
const BEGINNING: &str = r#"{"checkpoint":"#;

/// The field of a log line that holds a checkpoint.
const LOG_FIELD: &str = "/fields/checkpoint";

/// What one checkpoint says of one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last record's number.
    pub seq: u64,
    /// Its hash.
    pub hash: ChainHash,
    /// When the checkpoint was made; the first, where several say the same.
    pub made_at: DateTime<Utc>,
}

/// What many checkpoints say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoints {
    marks: BTreeMap<String, Vec<Mark>>,
    count: usize,
    damaged_lines: Vec<usize>,
    newest: Option<Checkpoint>,
}

/// A line that should be a checkpoint and is not one that counts.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum BadCheckpoints {
    /// One of them.
    #[error("the checkpoint in line {line} cannot be used: {why}")]
    Bad {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: BadCheckpoint,
    },
    /// There is none.
    #[error("there is no checkpoint in it")]
    None,
}

impl Checkpoints {
    /// Reads the checkpoints of a file: one a line, alone or within a log line. Lines without one are passed over, and so
    /// is one that a crash cut off: whoever could damage it to that end could as well have taken it away.
    pub fn read(text: &str, verifier: &Verifier) -> Result<Self, BadCheckpoints> {
        let mut all = Self::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(found) = find(line) else {
                continue;
            };
            match Checkpoint::read(&found, verifier) {
                Ok(checkpoint) => all.add(checkpoint),
                Err(BadCheckpoint::NotOne(_)) => all.damaged_lines.push(index + 1),
                Err(why) => return Err(BadCheckpoints::Bad { line: index + 1, why }),
            }
        }
        if all.count == 0 { Err(BadCheckpoints::None) } else { Ok(all) }
    }

    /// Adds one.
    pub fn add(&mut self, checkpoint: Checkpoint) {
        let made_at = checkpoint.made_at;
        for Head { writer_id, seq, hash } in checkpoint.heads.iter().cloned() {
            let marks = self.marks.entry(writer_id).or_default();
            match marks.iter_mut().find(|mark| mark.seq == seq && mark.hash == hash) {
                Some(mark) => mark.made_at = mark.made_at.min(made_at),
                None => {
                    let at = marks.partition_point(|mark| (mark.seq, mark.made_at) <= (seq, made_at));
                    marks.insert(at, Mark { seq, hash, made_at });
                }
            }
        }
        self.count += 1;
        if self.newest.as_ref().is_none_or(|newest| newest.made_at <= made_at) {
            self.newest = Some(checkpoint);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The lines that hold only part of one, from 1.
    pub fn damaged_lines(&self) -> &[usize] {
        &self.damaged_lines
    }

    /// The one that was made last.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.newest.as_ref()
    }

    /// The writers that they name.
    pub fn writers(&self) -> impl Iterator<Item = &str> {
        self.marks.keys().map(String::as_str)
    }

    /// What they say of this writer, by number.
    pub fn of(&self, writer_id: &str) -> &[Mark] {
        self.marks.get(writer_id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The checkpoint within a line: the line itself, a field of a JSON log line, or what a plain log line ends with.
fn find(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with('{')
        && !line.starts_with(BEGINNING)
        && let Ok(log) = serde_json::from_str::<Value>(line)
    {
        return log.pointer(LOG_FIELD).and_then(Value::as_str).map(str::to_owned);
    }
    let start = line.find(BEGINNING)?;
    let end = line.rfind('}').map_or(line.len(), |at| at + 1);
    line.get(start..end.max(start)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::link;
    use crate::signing::{Keys, NotSigned};

    fn checkpoint(minute: u32, heads: &[(&str, u64)]) -> Checkpoint {
        let heads = heads.iter().map(|(writer_id, seq)| Head {
            writer_id: (*writer_id).to_owned(),
            seq: *seq,
            hash: link(ChainHash::ZERO, *seq, b"x"),
        });
        let made_at = format!("2026-11-24T10:{minute:02}:00Z").parse().unwrap();
        Checkpoint { made_at, made_by: "gate".to_owned(), heads: heads.collect() }
    }

    #[test]
    fn marks_are_in_order_and_the_first_checkpoint_of_each_counts() {
        let mut all = Checkpoints::default();
        for (minute, heads) in [(5, &[("a", 9), ("b", 1)][..]), (0, &[("a", 4)]), (9, &[("a", 9)]), (1, &[("a", 9)])] {
            all.add(checkpoint(minute, heads));
        }
        let said: Vec<_> = all.of("a").iter().map(|mark| (mark.seq, mark.made_at.to_rfc3339())).collect();
        let at = |minute: u32| format!("2026-11-24T10:{minute:02}:00+00:00");
        assert_eq!(said, [(4, at(0)), (9, at(1))]);
        assert_eq!((all.of("c").len(), all.writers().collect::<Vec<_>>()), (0, vec!["a", "b"]));
        assert_eq!(all.newest().unwrap().made_at, checkpoint(9, &[]).made_at);
    }

    #[test]
    fn checkpoints_are_found_in_files_and_in_logs() {
        let pem = Keys::generate_pem().unwrap();
        let (keys, verifier) = (Keys::from_pem(&pem).unwrap(), Verifier::from_pem(&pem).unwrap());
        let line = |minute| checkpoint(minute, &[("a", u64::from(minute) + 1)]).sign(&keys).unwrap();
        let logged =
            serde_json::json!({"level": "INFO", "fields": {"message": "audit checkpoint", "checkpoint": line(2)}});
        let text = format!(
            "{}\nsomething else\n{{\"fields\":{{}}}}\n\n2026-11-24T10:01:00Z INFO audit checkpoint checkpoint={}\n{logged}\n{}",
            line(0),
            line(1),
            &line(3)[..100],
        );
        let all = Checkpoints::read(&text, &verifier).unwrap();
        assert_eq!(all.of("a").iter().map(|mark| mark.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((all.count(), all.damaged_lines()), (3, &[7][..]));
    }

    #[test]
    fn a_changed_checkpoint_is_named_by_its_line_and_none_is_told() {
        let pem = Keys::generate_pem().unwrap();
        let (keys, verifier) = (Keys::from_pem(&pem).unwrap(), Verifier::from_pem(&pem).unwrap());
        let line = checkpoint(0, &[("a", 8)]).sign(&keys).unwrap();
        let text = format!("{line}\n{}\n", line.replace("\"seq\":8", "\"seq\":7"));
        let why = BadCheckpoint::NotSigned(NotSigned::Mismatch);
        assert_eq!(Checkpoints::read(&text, &verifier), Err(BadCheckpoints::Bad { line: 2, why }));
        assert_eq!(Checkpoints::read("notes\n", &verifier), Err(BadCheckpoints::None));
    }
}
