//! Audit: records, journal, chain, store.

pub mod record;
