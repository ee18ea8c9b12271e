//! `freshgate policy test`: cases of a folder, tried on its policies.

use std::path::{Path, PathBuf};

use super::output::{print_json, print_lines};
use super::{Failure, NO, OK};
use crate::args::{Output, PolicyTestArgs};
use crate::policy::compile::PolicySet;
use crate::policy::file::{self, SourcePolicy};
use crate::policy_cases::{self, CaseResult, Cases};
use crate::policy_folder::{self, FolderError};

/// Where the cases of a folder with policies lie: the gate reads top-level files alone.
const CASES: &str = "tests";

pub fn run(args: &PolicyTestArgs) -> Result<u8, Failure> {
    let mut files = Vec::new();
    for path in &args.paths {
        files.extend(texts(path).map_err(Failure::of)?);
    }
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (file, text) in &files {
        match policy_cases::read(file, text) {
            Ok(cases) => found.extend(cases),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if !errors.is_empty() {
        return Err(Failure::of(FolderError::Policies(errors)));
    }
    let mut results = Vec::new();
    for cases in &found {
        results.extend(cases.run(&policies(cases).map_err(Failure::of)?));
    }
    if results.is_empty() {
        return Err(Failure::new("there is no case in these files").hint("write one under `cases` of a PolicyTest"));
    }
    match args.output {
        Output::Json => print_json(&results)?,
        Output::Table => print_lines(&in_words(&results))?,
    }
    Ok(if results.iter().all(CaseResult::passes) { OK } else { NO })
}

/// The files with cases: those of a folder, or of its sub-folder for them.
fn texts(path: &Path) -> Result<Vec<(String, String)>, FolderError> {
    if !path.is_dir() {
        return Ok(vec![(path.display().to_string(), text(path)?)]);
    }
    let within = path.join(CASES);
    policy_folder::texts(if within.is_dir() { &within } else { path })
}

/// The policies that a document names, together.
fn policies(cases: &Cases) -> Result<PolicySet, FolderError> {
    let folder = Path::new(&cases.file).parent().map(PathBuf::from).unwrap_or_default();
    let mut files = Vec::new();
    for named in &cases.policies {
        let path = folder.join(named);
        if path.is_dir() {
            files.extend(policy_folder::texts(&path)?);
        } else {
            files.push((path.display().to_string(), text(&path)?));
        }
    }
    let objects = file::objects(&files).map_err(FolderError::Policies)?;
    let policies: Vec<SourcePolicy> = objects.policies;
    Ok(policy_folder::set(policies))
}

fn text(path: &Path) -> Result<String, FolderError> {
    std::fs::read_to_string(path).map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })
}

fn in_words(results: &[CaseResult]) -> Vec<String> {
    let mut said = Vec::new();
    for CaseResult { file, name, problems } in results {
        let word = if problems.is_empty() { "pass" } else { "fail" };
        said.push(format!("{word} {file}: {name}"));
        said.extend(problems.iter().map(|problem| format!("  {problem}")));
    }
    let passed = results.iter().filter(|result| result.passes()).count();
    said.push(format!("{passed} passed, {} failed", results.len() - passed));
    said
}
