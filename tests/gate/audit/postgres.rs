//! The audit over a PostgreSQL server: the same tests, and those of what only a server does.

use super::*;

/// A database of the test's own, and a folder with the journal.
type Place = PlaceOn<place::Postgres>;

#[path = "answers.rs"]
mod answers;
#[path = "archived.rs"]
mod archived;
#[path = "asking.rs"]
mod asking;
#[path = "checkpoints.rs"]
mod checkpoints;
#[path = "child.rs"]
mod child;
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
#[path = "retained.rs"]
mod retained;
#[path = "scanned.rs"]
mod scanned;
#[path = "tampered.rs"]
mod tampered;
#[path = "throughput.rs"]
mod throughput;

mod direct;
mod outages;
mod program;
mod refusals;
mod replicas;
mod strange;
