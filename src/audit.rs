//! Audit: records, journal, chain, store.
