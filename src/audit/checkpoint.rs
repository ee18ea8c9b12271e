//! Checkpoints: how far every writer's chain had come at a time, signed, and kept outside the store. The chain alone cannot
//! show that its end was cut off or that it was made anew as a whole; beside a checkpoint it can.
//!
//! A checkpoint is one JSON line `{"checkpoint":{…},"keyId":"…","signature":"…"}`. What is signed are the bytes of its
//! `checkpoint` member as they stand there, so nothing needs to be written the same way twice.

mod known;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::chain::ChainHash;
use crate::signing::{CryptoFailed, Keys, Message, NotSigned, Signature, Verifier};
pub use known::{BadCheckpoints, Checkpoints, Mark};

/// What the signature is made for.
const PURPOSE: &str = "freshgate.dev/audit-checkpoint/v1";

/// How far one writer's chain had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The writer.
    pub writer_id: String,
    /// Its last durable record's number, from 1.
    pub seq: u64,
    /// That record's hash.
    pub hash: ChainHash,
}

/// How far every writer's chain had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// When it was made, to the microsecond.
    pub made_at: DateTime<Utc>,
    /// The gate that made it.
    pub made_by: String,
    /// One head per writer, by writer.
    pub heads: Vec<Head>,
}

/// Why a line is no checkpoint that counts.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum BadCheckpoint {
    /// It is none, or one of a later version.
    #[error("it is no checkpoint: {0}")]
    NotOne(String),
    /// It is signed by somebody else, or was changed since.
    #[error("its signature is not good: {0}")]
    NotSigned(NotSigned),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStatement<'a> {
    made_at: String,
    made_by: &'a str,
    heads: Vec<WrittenHead>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadStatement {
    made_at: DateTime<Utc>,
    made_by: String,
    heads: Vec<WrittenHead>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenHead {
    writer_id: String,
    seq: u64,
    hash: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    checkpoint: &'a RawValue,
    key_id: String,
    signature: String,
}

impl Checkpoint {
    /// Signs it; as the line that is kept, without a line end.
    pub fn sign(&self, keys: &Keys) -> Result<String, CryptoFailed> {
        let heads = self.heads.iter().map(|head| WrittenHead {
            writer_id: head.writer_id.clone(),
            seq: head.seq,
            hash: head.hash.to_string(),
        });
        let statement = WrittenStatement {
            made_at: self.made_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            made_by: &self.made_by,
            heads: heads.collect(),
        };
        // Texts and numbers can always be written.
        let statement = serde_json::to_string(&statement).unwrap_or_default();
        let signature = keys.sign(&message(&statement))?;
        Ok(format!(
            r#"{{"checkpoint":{statement},"keyId":"{}","signature":"{}"}}"#,
            signature.key_id,
            signature.to_base64()
        ))
    }

    /// Reads a line that one of these keys signed.
    pub fn read(line: &str, verifier: &Verifier) -> Result<Self, BadCheckpoint> {
        let not_one = |error: serde_json::Error| BadCheckpoint::NotOne(error.to_string());
        let line: Line<'_> = serde_json::from_str(line).map_err(not_one)?;
        let signature = Signature::from_base64(&line.key_id, &line.signature)
            .ok_or_else(|| BadCheckpoint::NotOne("its signature is no base64".to_owned()))?;
        verifier.verify(&message(line.checkpoint.get()), &signature).map_err(BadCheckpoint::NotSigned)?;
        let statement: ReadStatement = serde_json::from_str(line.checkpoint.get()).map_err(not_one)?;
        let heads = statement.heads.into_iter().map(|head| {
            let hash = head.hash.parse().map_err(|error| BadCheckpoint::NotOne(format!("{error}")))?;
            Ok(Head { writer_id: head.writer_id, seq: head.seq, hash })
        });
        Ok(Self { made_at: statement.made_at, made_by: statement.made_by, heads: heads.collect::<Result<_, _>>()? })
    }
}

fn message(statement: &str) -> Message {
    Message::new(PURPOSE).part(statement.as_bytes())
}

/// The heads of both, of each writer the one further on: a head that went back is one that was cut off since, and a
/// checkpoint that repeated it would excuse that.
pub fn furthest(heads: impl IntoIterator<Item = Head>) -> Vec<Head> {
    let mut all: Vec<Head> = heads.into_iter().collect();
    all.sort_by(|one, other| (&one.writer_id, other.seq).cmp(&(&other.writer_id, one.seq)));
    all.dedup_by(|later, kept| later.writer_id == kept.writer_id);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::link;

    fn head(writer_id: &str, seq: u64) -> Head {
        Head { writer_id: writer_id.to_owned(), seq, hash: link(ChainHash::ZERO, seq, writer_id.as_bytes()) }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            made_at: "2026-11-24T10:00:00.000001Z".parse().unwrap(),
            made_by: "gate \"a\"".to_owned(),
            heads: vec![head("a", 3), head("b", 7)],
        }
    }

    fn keys() -> (Keys, Verifier) {
        let pem = Keys::generate_pem().unwrap();
        (Keys::from_pem(&pem).unwrap(), Verifier::from_pem(&pem).unwrap())
    }

    #[test]
    fn what_was_signed_is_read_again() {
        let (keys, verifier) = keys();
        let line = checkpoint().sign(&keys).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Checkpoint::read(&line, &verifier), Ok(checkpoint()));
    }

    #[test]
    fn every_byte_of_what_is_signed_counts() {
        let (keys, verifier) = keys();
        let line = checkpoint().sign(&keys).unwrap();
        let statement = 14..line.find(",\"keyId\"").unwrap();
        for at in statement {
            let mut bytes = line.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Checkpoint::read(&changed, &verifier).is_err(), "{changed}");
        }
        let spaced = line.replacen("{\"checkpoint\":{", "{\"checkpoint\":{ ", 1);
        assert_eq!(Checkpoint::read(&spaced, &verifier), Err(BadCheckpoint::NotSigned(NotSigned::Mismatch)));
    }

    #[test]
    fn a_signature_for_something_else_and_another_key_are_none() {
        let (keys, verifier) = keys();
        let (others, _) = self::keys();
        let foreign = checkpoint().sign(&others).unwrap();
        let unknown = NotSigned::UnknownKey(others.signer_id().clone());
        assert_eq!(Checkpoint::read(&foreign, &verifier), Err(BadCheckpoint::NotSigned(unknown)));
        let signature = keys.sign(&Message::new("elsewhere/v1").part(b"{}")).unwrap();
        let line =
            format!(r#"{{"checkpoint":{{}},"keyId":"{}","signature":"{}"}}"#, signature.key_id, signature.to_base64());
        assert_eq!(Checkpoint::read(&line, &verifier), Err(BadCheckpoint::NotSigned(NotSigned::Mismatch)));
    }

    #[test]
    fn of_each_writer_the_furthest_head_is_kept() {
        let heads = furthest([head("b", 2), head("a", 3), head("a", 5), head("b", 1), head("a", 4)]);
        assert_eq!(heads, [head("a", 5), head("b", 2)]);
    }
}
