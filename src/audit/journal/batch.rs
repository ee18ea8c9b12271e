//! A batch: consecutive records of one chain in the journal's own form, one line `{"hash":"…","record":<line>}` each,
//! as they go to the disk with one write and on to the filler.

use std::ops::Range;

use crate::audit::chain::Chain;
use crate::audit::{AuditError, Position};

/// The first bytes of a line; the hash follows.
const BEFORE_HASH: &[u8] = br#"{"hash":""#;
/// Between hash and record.
const BEFORE_RECORD: &[u8] = br#"","record":"#;
/// After the record.
const AFTER_RECORD: &[u8] = b"}\n";

/// What the chain and the journal add to a body, and some.
const PER_RECORD_BYTES: usize = 320;

/// Digits of a hash.
const HASH_DIGITS: usize = 64;

/// Where hash and record stand in a line.
const HASH: Range<usize> = BEFORE_HASH.len()..BEFORE_HASH.len() + HASH_DIGITS;
const RECORD_START: usize = HASH.end + BEFORE_RECORD.len();

/// Consecutive records in the journal's own form, as written.
#[derive(Debug)]
pub(in crate::audit) struct Batch {
    first_seq: u64,
    lines: Vec<u8>,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Batch {
    pub(in crate::audit) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    pub(in crate::audit) fn last_seq(&self) -> u64 {
        self.first_seq + self.starts.len() as u64 - 1
    }

    pub(in crate::audit) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The lines, as they go to the disk.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    pub(in crate::audit) fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Number, hash and line of each record.
    pub(in crate::audit) fn records(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let ends = self.starts.iter().skip(1).copied().chain([self.lines.len()]);
        self.starts.iter().zip(ends).zip(self.first_seq..).map(|((start, end), seq)| {
            let line = &self.lines[*start..end];
            (seq, &line[HASH], &line[RECORD_START..line.len() - AFTER_RECORD.len()])
        })
    }
}

impl Batch {
    /// Room for about so many records and bytes of them, the first of which continues `chain`.
    pub(in crate::audit) fn after(chain: &Chain, records: usize, body_bytes: usize) -> Self {
        Self {
            first_seq: chain.seq() + 1,
            lines: Vec::with_capacity(body_bytes + records * PER_RECORD_BYTES),
            starts: Vec::with_capacity(records),
        }
    }

    /// Adds the record that `body` becomes as the next of the chain; an error leaves both as they were.
    pub(in crate::audit) fn append(&mut self, chain: &mut Chain, body: &[u8]) -> Result<Position, AuditError> {
        let start = self.lines.len();
        self.lines.extend_from_slice(BEFORE_HASH);
        self.lines.extend_from_slice(&[b'0'; HASH_DIGITS]);
        self.lines.extend_from_slice(BEFORE_RECORD);
        if let Err(refusal) = chain.append(body, &mut self.lines) {
            self.lines.truncate(start);
            return Err(AuditError::NotARecord(refusal));
        }
        let hash = chain.head();
        self.lines[start..][HASH].copy_from_slice(&hash.to_hex());
        self.lines.extend_from_slice(AFTER_RECORD);
        self.starts.push(start);
        Ok(Position { seq: chain.seq(), hash })
    }
}
