//! `freshgate policy lint`: what is wrong in policy files, and what is unwise.

use std::path::{Path, PathBuf};

use super::output::print_lines;
use super::{FAILED, Failure, OK};
use crate::args::PolicyCommand;
use crate::clock;
use crate::policy::compile::NamespaceLabels;
use crate::policy::file::{self, Objects, PolicyError};
use crate::policy_folder::{self, FolderError};

pub fn run(command: &PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Lint { paths } => lint(paths),
        PolicyCommand::Test(args) => super::policy_test::run(args),
    }
}

fn lint(paths: &[PathBuf]) -> Result<u8, Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(texts(path).map_err(Failure::of)?);
    }
    let (said, code) = match policies_and_exceptions(&files)? {
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

/// The policies, where they and the exceptions beside them are good.
fn policies_and_exceptions(files: &[(String, String)]) -> Result<Result<Objects, Vec<PolicyError>>, Failure> {
    let objects = match file::objects(files) {
        Ok(objects) => objects,
        Err(errors) => return Ok(Err(errors)),
    };
    if let Some(errors) = missing_sources(&objects) {
        return Ok(Err(errors));
    }
    let set = policy_folder::set(objects.policies.clone());
    // Which labels a namespace has is not known here, so the strictest policy that may be for it counts.
    match policy_folder::exceptions(files, &set, |_| NamespaceLabels::Unknown, clock::now()) {
        Ok(_) => Ok(Ok(objects)),
        Err(FolderError::Policies(errors)) => Ok(Err(errors)),
        Err(error) => Err(Failure::of(error)),
    }
}

/// Sources that a policy names and that none of the files has.
fn missing_sources(objects: &Objects) -> Option<Vec<PolicyError>> {
    let known: Vec<&str> = objects.budget_sources.iter().map(|found| found.source.name.as_str()).collect();
    let named = objects.policies.iter().flat_map(|policy| {
        let rule = policy.policy.spec.error_budget.iter();
        rule.flat_map(|rule| &rule.sources).map(move |source| (policy, source))
    });
    let missing = named.filter(|(_, source)| !known.contains(&source.as_str()));
    let errors: Vec<PolicyError> = missing
        .map(|(policy, source)| PolicyError {
            file: policy.file.clone(),
            line: Some(policy.line),
            field: "spec.errorBudget.sources".to_owned(),
            message: format!("there is no BudgetSource {source:?} in these files"),
            remedy: if known.is_empty() {
                "write one beside the policy".to_owned()
            } else {
                format!("there is {}", known.join(", "))
            },
        })
        .collect();
    (!errors.is_empty()).then_some(errors)
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, FolderError> {
    if path.is_dir() {
        return policy_folder::texts(path);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| FolderError::Read { path: path.to_owned(), why: error.to_string() })?;
    Ok(vec![(path.display().to_string(), text)])
}
