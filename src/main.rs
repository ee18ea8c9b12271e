//! The `freshgate` program: everything is in the library.

use std::process::ExitCode;

/// A review allocates some hundred small pieces on one thread and frees some of them on another. SQLite and TLS, which are
/// C, have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    freshgate::cli::main()
}
