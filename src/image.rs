//! Images: what a reference names, and when what it names was built.
//!
//! [`reference`], [`build_date`] and [`claims`] are pure; the registries and the resolver with its caches do the IO.

pub mod build_date;
pub mod claims;
pub mod reference;
pub mod registry;
pub mod resolver;
