//! Cases for policies: what is asked, what is known, and what is expected to be decided and said. They are decided by the
//! code that decides in a cluster, without one, and without a network. Pure: text in, results out.

mod facts;

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::facts::{Facts, When};
use crate::admission::decode::decode;
use crate::policy::compile::PolicySet;
use crate::policy::evaluate::{evaluate, passes_unjudged};
use crate::policy::file::{self, Document, Head, PolicyError, documents, place};
use crate::subject::Subject;
use crate::subject::change::Change;
use crate::subject::kinds::WorkloadKinds;
use crate::verdict::{Decision, Verdict, words};

/// The kind of a document with cases.
const KIND: &str = "PolicyTest";

/// A document with cases.
#[derive(Clone, Debug)]
pub struct Cases {
    /// The file.
    pub file: String,
    /// The first line of the document.
    pub line: u64,
    /// Files and folders with the policies that are tried, relative to the file's own folder.
    pub policies: Vec<String>,
    now: When,
    facts: Facts,
    cases: Vec<Case>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The file.
    pub file: String,
    /// The case.
    pub name: String,
    /// What was expected and not found, in words; nothing where it passes.
    pub problems: Vec<String>,
}

impl CaseResult {
    /// Whether all that was expected was found.
    pub fn passes(&self) -> bool {
        self.problems.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CasesDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default = "folder_above")]
    policies: Vec<String>,
    now: When,
    #[serde(default)]
    facts: Facts,
    cases: Vec<Case>,
}

/// Cases lie in a folder beside their policies.
fn folder_above() -> Vec<String> {
    vec!["..".to_owned()]
}

/// One case. Its facts add to those of the document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    /// What is asked for: an object that is created, or changed where `old` is the object that was there.
    #[serde(default)]
    manifest: Option<Value>,
    #[serde(default)]
    old: Option<Value>,
    /// Or a whole AdmissionReview.
    #[serde(default)]
    review: Option<Value>,
    #[serde(default)]
    now: Option<When>,
    #[serde(default)]
    facts: Facts,
    expect: Expected,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    decision: Decision,
    #[serde(default)]
    change: Option<Change>,
    /// Parts of the refusal or of a warning.
    #[serde(default)]
    words: Vec<String>,
}

/// Reads the cases of a file. All that is wrong is told at once.
pub fn read(file: &str, text: &str) -> Result<Vec<Cases>, Vec<PolicyError>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for document in documents(text) {
        match read_one(file, &document) {
            Ok(cases) => found.push(cases),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn read_one(file: &str, document: &Document<'_>) -> Result<Cases, PolicyError> {
    let line = document.line as u64;
    let head: Head = document.read(file)?;
    if !head.is(KIND) {
        let message =
            format!("expected {KIND} of {}, found {:?} of {:?}", file::API_VERSION, head.kind, head.api_version);
        let remedy = format!("begin it with `apiVersion: {}` and `kind: {KIND}`", file::API_VERSION);
        return Err(file::error(file, Some(line), "kind", &message, &remedy));
    }
    let read: CasesDocument = document.read(file)?;
    for (index, case) in read.cases.iter().enumerate() {
        let wrong = |message: &str, remedy: &str| {
            let (field, message) = (format!("cases[{index}]"), format!("case {:?} {message}", case.name));
            let line = document.line_at(&place::steps(&field)) as u64;
            Err(file::error(file, Some(line), &field, &message, remedy))
        };
        match (&case.manifest, &case.old, &case.review) {
            (None, _, None) => return wrong("asks for nothing", "write a `manifest` or a `review`"),
            (Some(_), _, Some(_)) => return wrong("asks for two things", "write a `manifest` or a `review`, not both"),
            (None, Some(_), Some(_)) => {
                return wrong("has `old` beside a review", "write it as `oldObject` into the review's request");
            }
            _ => {}
        }
    }
    let CasesDocument { policies, now, facts, cases, .. } = read;
    Ok(Cases { file: file.to_owned(), line, policies, now, facts, cases })
}

impl Cases {
    /// Tries the policies on each case.
    pub fn run(&self, policies: &PolicySet) -> Vec<CaseResult> {
        self.cases
            .iter()
            .map(|case| CaseResult {
                file: self.file.clone(),
                name: case.name.clone(),
                problems: self.problems(case, policies),
            })
            .collect()
    }

    fn problems(&self, case: &Case, policies: &PolicySet) -> Vec<String> {
        let now = case.now.unwrap_or(self.now).0;
        match self.decide(case, policies, now) {
            Err(problem) => vec![problem],
            Ok((subject, verdict)) => case.expect.compare(&subject, &verdict),
        }
    }

    fn decide(&self, case: &Case, policies: &PolicySet, now: DateTime<Utc>) -> Result<(Subject, Verdict), String> {
        let body = case.review().to_string();
        let review = decode(body.as_bytes(), &WorkloadKinds::default()).map_err(|error| error.to_string())?;
        let Some(subject) = review.subject else {
            return Err(format!("the gate does not judge {}, so no policy has a say", review.request.kind.kind));
        };
        let facts = self.facts.and(&case.facts);
        let evidence = facts.evidence(&subject, now)?;
        let matching = policies.matching(&subject.namespace, evidence.labels_of_namespace(), &subject.kind);
        let is_judged = passes_unjudged(&subject).is_none() && !matching.is_empty();
        // A registry would be asked about these, and what it says is what the case is about.
        let missing = subject.images.iter().find(|used| is_judged && !evidence.images.contains_key(&used.image));
        if let Some(used) = missing {
            return Err(format!("nothing is known of image {:?}; write it under facts.images", used.image));
        }
        let verdict = evaluate(&subject, &evidence, policies, now);
        Ok((subject, verdict))
    }
}

impl Case {
    /// The review that an API server would send.
    fn review(&self) -> Value {
        if let Some(review) = &self.review {
            let mut review = review.clone();
            // What is the same in every review need not be written.
            for (pointer, member, value) in [
                ("", "apiVersion", "admission.k8s.io/v1"),
                ("", "kind", "AdmissionReview"),
                ("/request", "uid", "case"),
            ] {
                if let Some(Value::Object(members)) = review.pointer_mut(pointer) {
                    members.entry(member).or_insert_with(|| value.into());
                }
            }
            return review;
        }
        let object = self.manifest.clone().unwrap_or_default();
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "case",
                "kind": { "group": group, "version": version, "kind": object["kind"].as_str().unwrap_or_default() },
                "name": text("/metadata/name").unwrap_or_default(),
                "namespace": text("/metadata/namespace").unwrap_or("default"),
                "operation": if self.old.is_some() { "UPDATE" } else { "CREATE" },
                "object": object,
                "oldObject": self.old,
            },
        })
    }
}

impl Expected {
    fn compare(&self, subject: &Subject, verdict: &Verdict) -> Vec<String> {
        let context =
            words::Context { decision_id: "", dry_run: true, public_url: None, contact: None, subject: Some(subject) };
        let said: Vec<String> =
            words::denial(verdict, &context).into_iter().chain(words::warnings(verdict, &context)).collect();
        let mut problems = Vec::new();
        if verdict.decision != self.decision {
            problems.push(format!("expected decision {}, found {}", self.decision.as_str(), verdict.decision.as_str()));
        }
        if let Some(change) = self.change.filter(|change| *change != verdict.change) {
            problems.push(format!("expected change {}, found {}", change.as_str(), verdict.change.as_str()));
        }
        let missing = self.words.iter().filter(|words| said.iter().all(|said| !said.contains(words.as_str())));
        problems.extend(missing.map(|words| format!("expected the words {words:?}")));
        if !problems.is_empty() {
            problems.push(match (verdict.passed, said.is_empty()) {
                (Some(passed), _) => format!("found nothing judged: {}", passed.as_str()),
                (None, true) => "found nothing said".to_owned(),
                (None, false) => format!("found the words {:?}", said.join("\n")),
            });
        }
        problems
    }
}

#[cfg(test)]
mod tests;
