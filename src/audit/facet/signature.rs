//! A few bits for each facet of a record, all of them in one number beside it: a record that lacks one of a facet's bits
//! lacks the facet, and need not be looked up for it (a Bloom filter). Pure.

use std::borrow::Cow;

/// Three of these bits, chosen by a hash, stand for a facet; two facets may share some, or all.
const HASHED_BITS: u64 = 61;

/// The three decisions have one bit each above those, which nothing else has.
const DECISIONS: [(&str, i64); 3] =
    [("decision=allow", 1 << 61), ("decision=warn", 1 << 62), ("decision=deny", i64::MIN)];

/// The signature of a record that was stored before there were any: such a record may have any facet.
pub(in crate::audit) const UNSIGNED: i64 = 0;

/// The bits of a facet like `namespace=shop`.
pub(in crate::audit) fn bits(facet: &str) -> i64 {
    exactly(facet).unwrap_or_else(|| hashed(facet))
}

/// The bits of a facet that nothing else has any of: what has them has the facet.
pub(in crate::audit) fn exactly(facet: &str) -> Option<i64> {
    DECISIONS.iter().find_map(|(decision, bit)| (*decision == facet).then_some(*bit))
}

/// Changing this makes the signatures in stores wrong, and records would no longer be found.
fn hashed(facet: &str) -> i64 {
    // PostgreSQL keeps a zero character as the one for what cannot be shown, and finds it under either.
    let facet =
        if facet.as_bytes().contains(&0) { facet.replace('\0', "\u{fffd}").into() } else { Cow::Borrowed(facet) };
    let hash = u64::from(polynomial(facet.as_bytes()));
    [hash, hash / HASHED_BITS, hash / (HASHED_BITS * HASHED_BITS)]
        .iter()
        .fold(0, |bits, part| bits | (1 << (part % HASHED_BITS)))
}

/// Each byte is added to a multiple of the hash of those before it; four at a time, so that a multiplication need not wait
/// for the one before.
fn polynomial(bytes: &[u8]) -> u32 {
    const POWERS: [u32; 5] = {
        let mut powers = [1_u32; 5];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1].wrapping_mul(16_777_619);
            at += 1;
        }
        powers
    };
    let times = |value: u32, power: usize| value.wrapping_mul(POWERS[power]);
    let (fours, rest) = bytes.as_chunks::<4>();
    let hash = fours.iter().fold(0, |hash, four| {
        let [a, b, c, d] = four.map(u32::from);
        let added = times(a, 3).wrapping_add(times(b, 2)).wrapping_add(times(c, 1)).wrapping_add(d);
        times(hash, 4).wrapping_add(added)
    });
    rest.iter().fold(hash, |hash, byte| times(hash, 1).wrapping_add(u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Stores hold these.
    #[test]
    fn signatures_stay_as_they_are() {
        let of = |facet: &str| (0..64).filter(|bit| bits(facet) & (1 << bit) != 0).collect::<Vec<u32>>();
        assert_eq!(of("decision=allow"), [61]);
        assert_eq!(of("decision=warn"), [62]);
        assert_eq!(of("decision=deny"), [63]);
        // Computed apart from this code.
        assert_eq!(of("namespace=shop"), [1, 14, 22]);
        assert_eq!(of("kind=Deployment"), [7, 28, 56]);
        assert_eq!(bits("user=a\0b"), bits("user=a\u{fffd}b"));
    }

    proptest! {
        #[test]
        fn four_at_a_time_is_one_at_a_time(bytes in any::<Vec<u8>>()) {
            let one_by_one =
                bytes.iter().fold(0_u32, |hash, byte| hash.wrapping_mul(16_777_619).wrapping_add(u32::from(*byte)));
            prop_assert_eq!(polynomial(&bytes), one_by_one);
        }

        #[test]
        fn nothing_but_a_decision_has_its_bit(facet in any::<String>()) {
            prop_assume!(exactly(&facet).is_none());
            prop_assert!(bits(&facet) > 0);
            prop_assert!(DECISIONS.iter().all(|(_, bit)| bits(&facet) & bit == 0));
        }
    }

    #[test]
    fn few_facets_have_the_bits_of_a_record_that_lacks_them() {
        let record = [
            "namespace=team-7",
            "kind=Job",
            "name=app-207",
            "user=deployer-7",
            "rule=imageAge",
            "policy=p",
            "policy=team-7",
            "service=service-207",
            "repository=registry.example/team-7/app-207",
            "digest=sha256:00",
        ];
        let signature = record.iter().fold(0, |signature, facet| signature | bits(facet));
        let others = (0..1000).map(|number| bits(&format!("namespace=other-{number}")));
        let passing = others.filter(|other| signature & other == *other).count();
        assert!(passing < 150, "{passing} of 1000");
    }
}
