//! The chain that makes a changed record show: each hash covers the record and the hash before it. Pure.
//!
//! `hash = SHA-256(prev_hash ‖ seq ‖ SHA-256(line))`, with the hashes as 32 raw bytes and `seq` as 8 bytes, the highest
//! first. A writer's first record has number 1 and 32 zero bytes before it. The line is hashed as its bytes stand, so
//! no canonical form is needed.

use sha2::{Digest, Sha256};

/// A hash of the chain.
pub type Hash = [u8; 32];

/// What stands before a writer's first record.
pub const START: Hash = [0; 32];

/// The hash of record number `seq` with these bytes, after `previous`.
pub fn link(previous: &Hash, seq: u64, line: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(seq.to_be_bytes());
    hash.update(Sha256::digest(line));
    hash.finalize().into()
}

/// Makes a record's line: its body (a JSON object) with the writer, the number and the hash before it at the end.
pub fn line(body: &[u8], writer_id: &str, seq: u64, previous: &Hash) -> Vec<u8> {
    let open = body.strip_suffix(b"}").unwrap_or(body);
    let separator = if open.ends_with(b"{") { "" } else { "," };
    let tail = format!(r#"{separator}"writer_id":"{writer_id}","seq":{seq},"prev_hash":"{}"}}"#, hex::encode(previous));
    let mut line = Vec::with_capacity(open.len() + tail.len());
    line.extend_from_slice(open);
    line.extend_from_slice(tail.as_bytes());
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_json_with_the_chain_at_its_end() {
        let line = line(br#"{"decision":"deny"}"#, "w", 7, &START);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["decision"], "deny");
        assert_eq!(value["writer_id"], "w");
        assert_eq!(value["seq"], 7);
        assert_eq!(value["prev_hash"], "0".repeat(64));
        assert!(serde_json::from_slice::<serde_json::Value>(&super::line(b"{}", "w", 1, &START)).is_ok());
    }

    #[test]
    fn the_formula_is_the_documented_one() {
        // printf with xxd and sha256sum give the same.
        assert_eq!(
            hex::encode(link(&START, 1, b"{}")),
            hex::encode(Sha256::digest([&START[..], &[0, 0, 0, 0, 0, 0, 0, 1], &Sha256::digest(b"{}")[..]].concat()))
        );
    }

    proptest! {
        #[test]
        fn any_change_changes_the_hash(line in proptest::collection::vec(any::<u8>(), 1..60), seq in 1_u64..1_000, at in any::<prop::sample::Index>()) {
            let hash = link(&START, seq, &line);
            let mut changed = line.clone();
            let at = at.index(line.len());
            changed[at] ^= 1;
            prop_assert_ne!(link(&START, seq, &changed), hash);
            prop_assert_ne!(link(&START, seq + 1, &line), hash);
            prop_assert_ne!(link(&hash, seq, &line), hash);
        }
    }
}
