//! The hash chain over one writer's records: each line names the hash of the line before it, and its own hash covers
//! that hash, its number and its bytes. So a line that is altered, removed, inserted or moved breaks every line after it.
//!
//! `hash = SHA-256(prev_hash ‖ seq ‖ SHA-256(line))`: `prev_hash` as 32 raw bytes (all zero before the first record),
//! `seq` as 8 bytes, big endian, from 1, `line` as the exact bytes of the record, without a line end.
//! What the chain cannot show by itself: records cut off at its very end, and a whole chain made anew. Both need
//! a checkpoint that somebody else keeps.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// A SHA-256 hash in the chain; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first record of a chain names as the hash before it.
    pub const ZERO: Self = Self([0; 32]);

    /// The digits of [`fmt::Display`], without an allocation.
    pub fn to_hex(self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_hex().iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a chain hash has 64 lower-case hexadecimal digits")]
pub struct NotAChainHash;

impl FromStr for ChainHash {
    type Err = NotAChainHash;

    fn from_str(text: &str) -> Result<Self, NotAChainHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAChainHash)?;
        // One hash has one spelling: what compares the text and what compares the bytes must agree.
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(NotAChainHash);
        }
        Ok(Self(bytes))
    }
}

/// The hash of the record `line` that stands at `seq`, after the record whose hash is `prev_hash`.
pub fn link(prev_hash: ChainHash, seq: u64, line: &[u8]) -> ChainHash {
    let mut hasher = Sha256::new();
    hasher.update(prev_hash.0);
    hasher.update(seq.to_be_bytes());
    hasher.update(Sha256::digest(line));
    ChainHash(hasher.finalize().into())
}

/// The body handed in cannot become a line of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotARecordBody {
    /// It does not begin with `{`, end with `}` and hold something between.
    #[error("it is not the text of a JSON object with members")]
    NotAnObject,
    /// A line holds one record, so a record holds no line end.
    #[error("it holds a line end")]
    LineEnd,
}

/// The end of one writer's chain: what the next record continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    writer_id: Uuid,
    head: ChainHash,
    seq: u64,
}

impl Chain {
    /// An empty chain: its first record gets `seq` 1.
    pub fn new(writer_id: Uuid) -> Self {
        Self { writer_id, head: ChainHash::ZERO, seq: 0 }
    }

    /// One per process start.
    pub fn writer_id(&self) -> Uuid {
        self.writer_id
    }

    /// The number of the last record, 0 if there is none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the last record.
    pub fn head(&self) -> ChainHash {
        self.head
    }

    /// Appends to `out` the line that `body` becomes as the next record, and moves on to it.
    /// On an error neither `out` nor the chain has changed.
    pub fn append(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), NotARecordBody> {
        let Some(members) = body.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
            return Err(NotARecordBody::NotAnObject);
        };
        if members.trim_ascii().is_empty() {
            return Err(NotARecordBody::NotAnObject);
        }
        if body.contains(&b'\n') {
            return Err(NotARecordBody::LineEnd);
        }
        let seq = self.seq + 1;
        let start = out.len();
        out.extend_from_slice(&body[..body.len() - 1]);
        out.extend_from_slice(br#","writer_id":""#);
        out.extend_from_slice(self.writer_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        out.extend_from_slice(br#"","seq":"#);
        out.extend_from_slice(seq.to_string().as_bytes());
        out.extend_from_slice(br#","prev_hash":""#);
        out.extend_from_slice(&self.head.to_hex());
        out.extend_from_slice(br#""}"#);
        self.head = link(self.head, seq, &out[start..]);
        self.seq = seq;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain() -> Chain {
        Chain::new(Uuid::from_u128(0x0193_5e2a_0000_7000_8000_0000_0000_0001))
    }

    fn lines(bodies: &[String]) -> Vec<(ChainHash, Vec<u8>, ChainHash)> {
        let mut chain = chain();
        bodies
            .iter()
            .map(|body| {
                let before = chain.head();
                let mut line = Vec::new();
                chain.append(body.as_bytes(), &mut line).unwrap();
                (before, line, chain.head())
            })
            .collect()
    }

    #[test]
    fn the_line_is_the_body_with_its_place_in_the_chain() {
        let mut line = Vec::new();
        chain().append(br#"{"decision":"deny"}"#, &mut line).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            format!(
                r#"{{"decision":"deny","writer_id":"01935e2a-0000-7000-8000-000000000001","seq":1,"prev_hash":"{}"}}"#,
                "0".repeat(64)
            )
        );
    }

    /// Computed apart from this code, with Python's hashlib.
    #[test]
    fn the_hash_is_the_one_defined() {
        assert_eq!(
            link(ChainHash::ZERO, 1, b"{}").to_string(),
            "11877e2e7b75bc88d35d117371131d661b930d8bc576d3a189fa753f95e10266"
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_refused_and_leaves_the_chain_as_it_was() {
        for (body, refusal) in [
            ("", NotARecordBody::NotAnObject),
            ("{", NotARecordBody::NotAnObject),
            ("}", NotARecordBody::NotAnObject),
            ("{}", NotARecordBody::NotAnObject),
            ("{ }", NotARecordBody::NotAnObject),
            ("[1]", NotARecordBody::NotAnObject),
            ("{\"a\":1}\n", NotARecordBody::NotAnObject),
            ("{\"a\":\n1}", NotARecordBody::LineEnd),
        ] {
            let (mut chain, mut out) = (chain(), b"kept".to_vec());
            assert_eq!(chain.append(body.as_bytes(), &mut out), Err(refusal), "{body:?}");
            assert_eq!((chain.seq(), chain.head(), out.as_slice()), (0, ChainHash::ZERO, b"kept".as_slice()));
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = link(ChainHash::ZERO, 1, b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse::<ChainHash>(), Err(NotAChainHash));
        assert_eq!("00".parse::<ChainHash>(), Err(NotAChainHash));
    }

    proptest! {
        #[test]
        fn every_changed_byte_number_or_predecessor_changes_the_hash(
            line in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
            seq in 1_u64..u64::MAX,
        ) {
            let hash = link(ChainHash::ZERO, seq, &line);
            let mut changed = line.clone();
            changed[at.index(line.len())] ^= 1 << bit;
            prop_assert_ne!(link(ChainHash::ZERO, seq, &changed), hash);
            prop_assert_ne!(link(ChainHash::ZERO, seq + 1, &line), hash);
            prop_assert_ne!(link(hash, seq, &line), hash);
        }

        #[test]
        fn a_chain_links_each_line_to_the_one_before(bodies in proptest::collection::vec("[a-z ]{0,20}", 1..20)) {
            let bodies: Vec<String> = bodies.iter().map(|text| format!(r#"{{"text":"{text}"}}"#)).collect();
            let mut head = ChainHash::ZERO;
            for (index, (before, line, after)) in lines(&bodies).into_iter().enumerate() {
                let seq = index as u64 + 1;
                prop_assert_eq!(before, head);
                prop_assert_eq!(link(before, seq, &line), after);
                let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
                prop_assert_eq!(&value["seq"], &serde_json::json!(seq));
                prop_assert_eq!(&value["prev_hash"], &serde_json::json!(before.to_string()));
                head = after;
            }
        }
    }
}
