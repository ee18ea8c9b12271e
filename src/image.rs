//! Images: what a reference names, and when what it names was built.
//!
//! [`reference`] and [`build_date`] are pure; the registry transport, the resolver and its caches do the IO.

pub mod build_date;
pub mod reference;
