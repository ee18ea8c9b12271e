//! Package indexes: which releases a package has, and when each was published.
//!
//! Each kind is a [`protocol::Protocol`], which is pure: what is asked, and how the answer is read. [`client`] asks,
//! within limits; [`indexes`] says which index is asked for what, and what is never asked. No host is built in: nothing is
//! asked of anybody that an operator has not named.

pub mod cache;
pub mod client;
pub mod indexes;
pub mod protocol;
pub mod settings;
pub mod snapshot;
