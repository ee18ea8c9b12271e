//! The gate on a real node: installed by Helm, run by a kubelet, reached by its Service, broken, upgraded, taken away.
//!
//! Two nodes side by side share the scenarios, because most of what they do is to wait; each installs what it needs and leaves
//! nothing. Name scenarios to run some of them. With `--by-hand` the bed waits to be looked at, and says how. It needs root and
//! Linux; elsewhere it says so and does nothing, but not in CI. With `FRESHGATE_NODE_IMAGE` an archive of the gate's image is
//! used as it is, else one is built from this checkout without optimisation. `FRESHGATE_NODES` says how many nodes there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bed;
mod certificates;
mod claims;
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
mod scanner;
mod upgrade;
mod variants;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bed::Bed;
use claims::Claims;
use cluster::node;

type Scenario = (&'static str, fn(&Bed));

/// Names the archive of the gate's image.
const IMAGE: &str = "FRESHGATE_NODE_IMAGE";
/// Names the folder in which nodes claim scenarios.
const CLAIMS: &str = "FRESHGATE_NODE_CLAIMS";
/// Says how many nodes there are.
const NODES: &str = "FRESHGATE_NODES";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    // Those that wait longest come first, so that the nodes are done at about the same time.
    let scenarios: Vec<Scenario> = [
        ground::SCENARIOS,
        certificates::SCENARIOS,
        running::SCENARIOS,
        scanner::SCENARIOS,
        rolling::SCENARIOS,
        variants::SCENARIOS,
        outages::SCENARIOS,
        install::SCENARIOS,
        lockout::SCENARIOS,
        removal::SCENARIOS,
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
        go_inside(&arguments, &chosen)
    } else if arguments.iter().any(|arg| arg == "--by-hand") {
        by_hand()
    } else {
        run(&chosen)
    }
}

fn go_inside(arguments: &[String], chosen: &[Scenario]) -> ExitCode {
    if !is_root() {
        let in_ci = std::env::var_os("CI").is_some();
        println!("a real node needs root: {}", if in_ci { "in CI it is not left out" } else { "left out" });
        return if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let archive = std::env::var_os(IMAGE).map_or_else(build_image, PathBuf::from);
    let claims = Claims::new();
    let by_hand = arguments.iter().any(|arg| arg == "--by-hand");
    let nodes = if by_hand { 1 } else { nodes().min(chosen.len()) };
    let environment = [(IMAGE, archive.as_path()), (CLAIMS, claims.folder())];
    let succeeded = std::thread::scope(|scope| {
        let nodes: Vec<_> =
            (0..nodes).map(|_| scope.spawn(|| node::run_inside(arguments, &environment).success())).collect();
        nodes.into_iter().all(|node| node.join().unwrap())
    });
    if by_hand || claims.tell(chosen.len()) && succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn nodes() -> usize {
    let wanted = std::env::var(NODES).ok();
    wanted.map_or(2, |wanted| wanted.parse().unwrap_or_else(|_| panic!("{NODES} is not a number: {wanted}")))
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
    let claims = Claims::of(&PathBuf::from(std::env::var_os(CLAIMS).unwrap()));
    let mut all_passed = true;
    for (name, scenario) in scenarios {
        let Some(claim) = claims.claim(name) else { continue };
        let begun = std::time::Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&bed)));
        let seconds = begun.elapsed().as_secs();
        if outcome.is_ok() {
            println!("test {name} ... ok ({seconds} s)");
        } else {
            println!("test {name} ... FAILED ({seconds} s)");
            bed.keep_what_is(name);
            bed.clear();
            all_passed = false;
        }
        claim.settle(outcome.is_ok());
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
