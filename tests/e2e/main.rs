//! The gate in front of a real API server: what kubectl is told, and what controllers may do.
//!
//! One control plane serves all scenarios, each in a namespace of its own, so this binary has a harness of its own: the
//! bed ends with `main`, whatever the scenarios do. Name scenarios to run some of them.
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

use bed::Bed;

type Scenario = (&'static str, fn(&Bed));

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
    let bed = Bed::start();
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, scenario) in chosen {
        match catch_unwind(AssertUnwindSafe(|| scenario(&bed))) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(_) => {
                failed.push(*name);
                println!("test {name} ... FAILED");
            }
        }
    }
    println!("\n{passed} passed, {} failed", failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}; the gate's log:\n{}", failed.join(", "), bed.gate.process.log());
        ExitCode::FAILURE
    }
}
