//! `freshgate policy lint`: what is wrong in policy files, and what is unwise.

use std::path::{Path, PathBuf};

use super::{FAILED, Failure, OK, print};
use crate::args::PolicyCommand;
use crate::clock;
use crate::policy::compile::NamespaceLabels;
use crate::policy::file::{self, PolicyError};
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
    match file::policies(&files) {
        Err(errors) => Ok(tell_all(&errors)),
        Ok(policies) => {
            let set = policy_folder::set(policies.clone());
            // Whose labels a namespace has is not known here, so the strictest policy that may be for it counts.
            let exceptions = policy_folder::exceptions(&files, &set, |_| NamespaceLabels::Unknown, clock::now());
            match exceptions {
                Ok(_) => {}
                Err(FolderError::Policies(errors)) => return Ok(tell_all(&errors)),
                Err(error) => return Err(Failure::new(error)),
            }
            let mut advised = 0;
            for source in &policies {
                for advice in source.policy.advice() {
                    advised += 1;
                    print(&format!(
                        "{}:{}: advice: {}: {}; {}\n",
                        source.file, source.line, advice.field, advice.message, advice.remedy
                    ));
                }
            }
            print(&format!("{} good, {advised} with advice\n", policies.len()));
            Ok(OK)
        }
    }
}

fn tell_all(errors: &[PolicyError]) -> u8 {
    for error in errors {
        print(&format!("{error}\n"));
    }
    print(&format!("{} wrong\n", errors.len()));
    FAILED
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, FolderError> {
    if path.is_dir() {
        return policy_folder::texts(path);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })?;
    Ok(vec![(path.display().to_string(), text)])
}
