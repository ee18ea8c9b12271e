//! The gate in front of a real API server: what kubectl is told, and what controllers may do.
//!
//! Two control planes side by side share the scenarios, each in a namespace of its own, because most of what they do is to
//! wait. So this binary has a harness of its own: the beds end with `main`, whatever the scenarios do. Name scenarios to run
//! some of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bed;
mod budgets;
mod canary;
mod changes;
mod checkpoints;
#[path = "../cluster/mod.rs"]
mod cluster;
mod decisions;
mod exceptions;
mod freeze;
mod handover;
mod leaders;
mod lifecycle;
mod objects;
mod outages;
mod places;
mod policies;
mod registration;
mod report;
mod returns;
mod running;
mod scanner;
mod strict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bed::Bed;

type Scenario = (&'static str, fn(&Bed));

/// Control planes, each with a registry and a gate.
const BEDS: usize = 2;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let scenarios: Vec<Scenario> = [
        changes::SCENARIOS,
        objects::SCENARIOS,
        places::SCENARIOS,
        returns::SCENARIOS,
        policies::SCENARIOS,
        exceptions::SCENARIOS,
        report::SCENARIOS,
        budgets::SCENARIOS,
        freeze::SCENARIOS,
        checkpoints::SCENARIOS,
        decisions::SCENARIOS,
        outages::SCENARIOS,
        strict::SCENARIOS,
        canary::SCENARIOS,
        running::SCENARIOS,
        registration::SCENARIOS,
        leaders::SCENARIOS,
        scanner::SCENARIOS,
        handover::SCENARIOS,
    ]
    .concat();
    let chosen: Vec<&Scenario> = scenarios
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())))
        .collect();
    if std::env::args().any(|arg| arg == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let next = AtomicUsize::new(0);
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let beds: Vec<_> = (0..BEDS.min(chosen.len())).map(|_| scope.spawn(|| run(&chosen, &next))).collect();
        beds.into_iter().flat_map(|bed| bed.join().unwrap()).collect()
    });
    println!("\n{} passed, {} failed", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// Runs the next scenario that nobody has begun, until there is none; those that failed.
fn run<'a>(scenarios: &[&'a Scenario], next: &AtomicUsize) -> Vec<&'a str> {
    let bed = Bed::start();
    let mut failed = Vec::new();
    while let Some((name, scenario)) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&bed)));
        let seconds = begun.elapsed().as_secs();
        if outcome.is_ok() {
            println!("test {name} ... ok ({seconds} s)");
        } else {
            println!("test {name} ... FAILED ({seconds} s)");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        println!("the log of the gate that {} met:\n{}", failed.join(", "), bed.gate.process.log());
    }
    failed
}
