//! `freshgate policy lint`: what is wrong in policy files, and what is unwise.

use std::path::{Path, PathBuf};

use super::{FAILED, Failure, OK, print};
use crate::args::PolicyCommand;
use crate::policy::file;
use crate::policy_folder::{self, FolderError};

pub fn run(command: &PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Lint { paths } => lint(paths),
    }
}

fn lint(paths: &[PathBuf]) -> Result<u8, Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(texts(path).map_err(Failure::new)?);
    }
    match file::objects(&files) {
        Err(errors) => {
            for error in &errors {
                print(&format!("{error}\n"));
            }
            print(&format!("{} wrong\n", errors.len()));
            Ok(FAILED)
        }
        Ok(objects) => {
            let mut advised = 0;
            for source in &objects.policies {
                for advice in source.policy.advice() {
                    advised += 1;
                    print(&format!(
                        "{}:{}: advice: {}: {}; {}\n",
                        source.file, source.line, advice.field, advice.message, advice.remedy
                    ));
                }
            }
            print(&format!("{} good, {advised} with advice\n", objects.policies.len() + objects.budget_sources.len()));
            Ok(OK)
        }
    }
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, FolderError> {
    if path.is_dir() {
        return policy_folder::texts(path);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })?;
    Ok(vec![(path.display().to_string(), text)])
}
