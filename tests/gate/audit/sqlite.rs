//! The audit over a `SQLite` file.

use super::*;

/// A folder with a store in it.
type Place = PlaceOn<place::Sqlite>;

#[path = "answers.rs"]
mod answers;
#[path = "archived.rs"]
mod archived;
#[path = "asked.rs"]
mod asked;
#[path = "asking.rs"]
mod asking;
#[path = "checkpoints.rs"]
mod checkpoints;
#[path = "child.rs"]
mod child;
#[path = "earlier.rs"]
mod earlier;
#[path = "ended.rs"]
mod ended;
#[path = "faults.rs"]
mod faults;
#[path = "found.rs"]
mod found;
#[path = "kept.rs"]
mod kept;
#[path = "late.rs"]
mod late;
#[path = "ledger.rs"]
mod ledger;
#[path = "million.rs"]
mod million;
#[path = "refused.rs"]
mod refused;
#[path = "retained.rs"]
mod retained;
#[path = "scanned.rs"]
mod scanned;
#[path = "signed.rs"]
mod signed;
#[path = "tampered.rs"]
mod tampered;
#[path = "throughput.rs"]
mod throughput;
#[path = "told.rs"]
mod told;
