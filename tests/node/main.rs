//! The gate on a real node: installed by Helm, run by a kubelet, reached by its Service, broken, upgraded, taken away.
//!
//! One node serves all scenarios; each installs what it needs and leaves nothing. Name scenarios to run some of them.
//! With `--by-hand` the bed waits to be looked at, and says how. It needs root and Linux; elsewhere it says so and does nothing, but not in CI. With `FRESHGATE_NODE_IMAGE` an archive
//! of the gate's image is used as it is, else one is built from this checkout without optimisation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bed;
mod certificates;
#[path = "../cluster/mod.rs"]
mod cluster;
mod ground;
mod install;
mod lockout;
mod outages;
mod release;
mod removal;
mod rolling;
mod running;
mod upgrade;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bed::Bed;
use cluster::node;

type Scenario = (&'static str, fn(&Bed));

/// Names the archive of the gate's image.
const IMAGE: &str = "FRESHGATE_NODE_IMAGE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    let scenarios: Vec<Scenario> = [
        ground::SCENARIOS,
        install::SCENARIOS,
        running::SCENARIOS,
        lockout::SCENARIOS,
        removal::SCENARIOS,
        rolling::SCENARIOS,
        certificates::SCENARIOS,
        outages::SCENARIOS,
        upgrade::SCENARIOS,
    ]
    .concat();
    let chosen: Vec<Scenario> = scenarios
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)))
        .collect();
    if arguments.iter().any(|arg| arg == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !node::is_inside() {
        go_inside(&arguments)
    } else if arguments.iter().any(|arg| arg == "--by-hand") {
        by_hand()
    } else {
        run(&chosen)
    }
}

fn go_inside(arguments: &[String]) -> ExitCode {
    if !is_root() {
        let in_ci = std::env::var_os("CI").is_some();
        println!("a real node needs root: {}", if in_ci { "in CI it is not left out" } else { "left out" });
        return if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let archive = std::env::var_os(IMAGE).map_or_else(build_image, PathBuf::from);
    let status = node::run_inside(arguments, &[(IMAGE, &archive)]);
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the gate's image from this checkout; its archive.
fn build_image() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = folder.join("freshgate-image.tar");
    // Buildah keeps what it builds apart from the machine's own images, and nothing of it afterwards.
    let storage = tempfile::Builder::new().prefix("buildah").tempdir_in(folder).unwrap();
    let place = |name: &str| storage.path().join(name).display().to_string();
    let options = format!("--storage-driver vfs --root {} --runroot {}", place("root"), place("run"));
    let status = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("image.sh"))
        .args(["--profile", "dev", "--archive"])
        .arg(&archive)
        .arg("freshgate:node-tests")
        .env("BUILDAH_OPTIONS", options)
        .status()
        .unwrap();
    assert!(status.success(), "the gate's image cannot be built; image.sh says why above");
    archive
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn start() -> Bed {
    Bed::start(&PathBuf::from(std::env::var_os(IMAGE).unwrap()))
}

/// Lets a person look around.
fn by_hand() -> ExitCode {
    let bed = start();
    println!(
        "
In another terminal, as root:

nsenter --net --mount --pid --target $(pgrep --newest --full -- \"$(basename {}) --by-hand\") \\
    env KUBECONFIG={} PATH={}:$PATH bash

There are kubectl, helm and crane; images {}, {} and {}, and the gate's {}. Enter ends it all.",
        std::env::current_exe().unwrap().display(),
        bed.node.kubeconfig().display(),
        cluster::programs().display(),
        bed.fresh,
        bed.ageing,
        bed.old,
        bed.gate,
    );
    let _ = std::io::stdin().read_line(&mut String::new());
    ExitCode::SUCCESS
}

fn run(scenarios: &[Scenario]) -> ExitCode {
    let bed = start();
    let mut failed = Vec::new();
    for (name, scenario) in scenarios {
        let begun = std::time::Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&bed)));
        let seconds = begun.elapsed().as_secs();
        if outcome.is_ok() {
            println!("test {name} ... ok ({seconds} s)");
        } else {
            println!("test {name} ... FAILED ({seconds} s)");
            bed.keep_what_is(name);
            bed.clear();
            failed.push(*name);
        }
    }
    println!("\n{} passed, {} failed", scenarios.len() - failed.len(), failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}
