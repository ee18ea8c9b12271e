//! `freshgate policy lint`: what is wrong in policy files, and what is unwise.

use std::path::{Path, PathBuf};

use super::output::print_lines;
use super::{FAILED, Failure, OK};
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
        files.extend(texts(path).map_err(Failure::of)?);
    }
    let (said, code) = match file::objects(&files) {
        Err(errors) => {
            let wrong = format!("{} wrong", errors.len());
            (errors.iter().map(ToString::to_string).chain([wrong]).collect::<Vec<_>>(), FAILED)
        }
        Ok(objects) => {
            let advice = objects.policies.iter().flat_map(|source| {
                source.policy.advice().into_iter().map(move |advice| {
                    let (place, field) = (format!("{}:{}", source.file, source.line), advice.field);
                    format!("{place}: advice: {field}: {}; {}", advice.message, advice.remedy)
                })
            });
            let mut said: Vec<String> = advice.collect();
            let good = objects.policies.len() + objects.budget_sources.len();
            said.push(format!("{good} good, {} with advice", said.len()));
            (said, OK)
        }
    };
    print_lines(&said)?;
    Ok(code)
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, FolderError> {
    if path.is_dir() {
        return policy_folder::texts(path);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })?;
    Ok(vec![(path.display().to_string(), text)])
}
