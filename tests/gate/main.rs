//! The gate against real components: registries, TLS clients, a disk, and its own command line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::duplicate_mod)] // the audit's tests run against either store

#[path = "../cluster/mod.rs"]
mod cluster;

mod access;
mod answered;
mod audit;
mod budgets;
mod callers;
mod canary;
mod command_line;
mod dates;
mod dependencies;
mod exceptions;
mod forged;
mod history;
mod killed;
mod one_core;
mod outages;
mod packages;
mod purity;
mod registries;
mod reviews;
mod server;
mod strict;
mod telemetry;
