//! Which node runs which scenario: whoever is free claims the next, by a file that only one of them can make.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const PASSED: &str = "passed";
const FAILED: &str = "failed";

/// A folder with a file for each scenario that was begun.
pub struct Claims {
    folder: PathBuf,
    _made: Option<TempDir>,
}

/// A scenario that is this node's.
pub struct Claim(File);

impl Claims {
    /// Nothing is claimed yet.
    pub fn new() -> Self {
        let made = tempfile::tempdir().unwrap();
        Self { folder: made.path().to_owned(), _made: Some(made) }
    }

    /// Those of another process.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _made: None }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Claims a scenario; `None` where another node has it.
    pub fn claim(&self, name: &str) -> Option<Claim> {
        match File::create_new(self.folder.join(name)) {
            Ok(file) => Some(Claim(file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
            Err(error) => panic!("{name} cannot be claimed: {error}"),
        }
    }

    /// Prints what became of all of them; whether every one was run and passed.
    pub fn tell(&self, expected: usize) -> bool {
        let files = std::fs::read_dir(&self.folder).unwrap().flatten();
        let outcomes: Vec<(String, String)> = files
            .map(|file| (file.file_name().display().to_string(), std::fs::read_to_string(file.path()).unwrap()))
            .collect();
        let passed = outcomes.iter().filter(|(_, outcome)| outcome == PASSED).count();
        println!("\n{passed} passed, {} failed", expected - passed);
        // One without an outcome took its node with it.
        let others: Vec<&str> =
            outcomes.iter().filter(|(_, outcome)| outcome != PASSED).map(|(name, _)| name.as_str()).collect();
        if !others.is_empty() {
            println!("failed: {}", others.join(", "));
        }
        passed == expected
    }
}

impl Claim {
    /// Writes down how it ended.
    pub fn settle(mut self, passed: bool) {
        self.0.write_all(if passed { PASSED } else { FAILED }.as_bytes()).unwrap();
    }
}
