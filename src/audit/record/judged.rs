//! The members of a record that tell the verdict, as this version writes them: what a replay compares with the record.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{BudgetRecord, ExceptionRecord, RuleRecord, budget_record, exceptions, rules};
use crate::evidence::Evidence;
use crate::verdict::{Decision, Passed, Verdict};

/// The same members, under the same names, as in [`super::Record`].
#[derive(Serialize)]
struct Judged<'a> {
    decision: Decision,
    change: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<&'a str>,
    policies: &'a BTreeMap<String, String>,
    rules: Vec<RuleRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<BudgetRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<ExceptionRecord<'a>>,
}

/// What a record of this verdict would say of it, as JSON.
pub fn judged(evidence: &Evidence, verdict: &Verdict) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Judged {
        decision: verdict.decision,
        change: verdict.change.as_str(),
        passed: verdict.passed.map(Passed::as_str),
        policies: &verdict.policies,
        rules: rules(verdict),
        budgets: verdict.budgets.iter().map(budget_record).collect(),
        exceptions: exceptions(evidence, verdict),
    })
}
