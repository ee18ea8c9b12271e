//! Exceptions as YAML text, beside the policies. Whoever may write the file is who grants it, so no signature is needed:
//! its owner is the grantor, and the time it was changed the time of the grant. Pure: text in, exceptions out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::api::{GateExceptionSpec, Grantor, Target};
use super::book::grant;
use super::check::{self, Limit};
use super::signature::Granted;
use super::{Exceptions, Grant};
use crate::policy::file::{Document, Head, PolicyError, documents, error, located};
use crate::subject::kinds::WorkloadKinds;

/// Whose a file is, and since when it says what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the user who owns it; the number, where it has no name here.
    pub owner: String,
    /// When it was last changed, in UTC.
    pub modified_at: DateTime<Utc>,
}

/// An exception and the place it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceException {
    /// The file.
    pub file: String,
    /// The first line of its document.
    pub line: u64,
    /// The workloads that it is for.
    pub targets: Vec<Target>,
    /// What decisions are given of it.
    pub grant: Grant,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExceptionDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: GateExceptionSpec,
    #[serde(default, rename = "status")]
    _status: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

/// What reading exceptions needs to know beside their text.
pub struct Context<'a> {
    /// Kinds that are judged.
    pub kinds: &'a WorkloadKinds,
    /// How long an exception may last.
    pub limit_of: &'a dyn Fn(&GateExceptionSpec) -> Limit,
    /// The present instant, in UTC.
    pub now: DateTime<Utc>,
}

impl Context<'_> {
    /// Reads the exceptions of a file; documents of other kinds are somebody else's. All that is wrong is told at once.
    pub fn read(&self, file: &str, text: &str, origin: &Origin) -> Result<Vec<SourceException>, Vec<PolicyError>> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for document in documents(text) {
            if document.read::<Head>(file).is_ok_and(|head| head.is("GateException")) {
                match self.one(file, &document, origin) {
                    Ok(exception) => found.push(exception),
                    Err(problems) => errors.extend(problems),
                }
            }
        }
        if errors.is_empty() { Ok(found) } else { Err(errors) }
    }

    fn one(&self, file: &str, document: &Document<'_>, origin: &Origin) -> Result<SourceException, Vec<PolicyError>> {
        let line = document.line as u64;
        let read: ExceptionDocument = document.read(file).map_err(|error| vec![error])?;
        let (name, spec) = (read.metadata.name, read.spec);
        if name.is_empty() {
            return Err(vec![error(file, Some(line), "metadata.name", "it is missing", "give the exception a name")]);
        }
        let mut problems = check::shape(&spec, self.kinds);
        // A file of tomorrow must not last a day longer.
        let granted_at = origin.modified_at.min(self.now);
        // One that has ended is no mistake: a folder that was good stays so.
        if problems.is_empty() && spec.expires_at > self.now {
            problems.extend(check::duration(&spec, &(self.limit_of)(&spec), granted_at, self.now));
        }
        if !problems.is_empty() {
            return Err(located(file, document, problems));
        }
        let by = Grantor { username: origin.owner.clone(), uid: String::new() };
        let grant = grant(&name, &spec, &Granted::new("", &spec, by, granted_at));
        Ok(SourceException { file: file.to_owned(), line, targets: spec.targets, grant })
    }
}

/// All exceptions of a folder; a name may stand there once.
pub fn set(found: Vec<SourceException>) -> Result<Exceptions, Vec<PolicyError>> {
    let mut names: BTreeMap<&str, &SourceException> = BTreeMap::new();
    let mut errors = Vec::new();
    for exception in &found {
        if let Some(first) = names.insert(&exception.grant.name, exception) {
            let message =
                format!("there is an exception {:?} already, in {}:{}", exception.grant.name, first.file, first.line);
            errors.push(error(
                &exception.file,
                Some(exception.line),
                "metadata.name",
                &message,
                "give it another name",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Exceptions::new(found.into_iter().map(|exception| (exception.targets, exception.grant))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::duration::PolicyDuration;

    const GOOD: &str = "apiVersion: freshgate.dev/v1alpha1
kind: GateException
metadata: {name: fix}
spec:
  targets:
  - {namespace: shop, kind: Deployment, name: checkout}
  rules: [imageAge]
  reason: security
  text: closes a hole
  expiresAt: 2026-11-24T12:00:00Z
";

    fn at(written: &str) -> DateTime<Utc> {
        written.parse().unwrap()
    }

    fn read_at(text: &str, modified_at: &str, now: &str) -> Result<Vec<SourceException>, Vec<String>> {
        let kinds = WorkloadKinds::default();
        let limit_of = |_: &GateExceptionSpec| Limit { most: PolicyDuration::days(7), policy: Some("p".to_owned()) };
        let context = Context { kinds: &kinds, limit_of: &limit_of, now: at(now) };
        let origin = Origin { owner: "ann".to_owned(), modified_at: at(modified_at) };
        context.read("e.yaml", text, &origin).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn read(text: &str) -> Result<Vec<SourceException>, Vec<String>> {
        read_at(text, "2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z")
    }

    #[test]
    fn the_files_owner_grants_it_when_the_file_is_changed() {
        let found = read(GOOD).unwrap().remove(0);
        assert_eq!(found.grant.granted_by, "ann");
        assert_eq!(found.grant.granted_at, at("2026-11-20T12:00:00Z"));
        let set = set(vec![found]).unwrap();
        assert_eq!(set.of("shop", "Deployment", "checkout")[0].expires_at, at("2026-11-24T12:00:00Z"));
    }

    #[test]
    fn it_may_last_its_limit_from_when_the_file_was_changed() {
        let now = "2026-11-21T12:00:00Z";
        assert!(read_at(GOOD, "2026-11-17T12:00:00Z", now).is_ok());
        assert_eq!(
            read_at(GOOD, "2026-11-17T11:59:59Z", now).unwrap_err(),
            [
                r#"e.yaml:10: spec.expiresAt: the exception would last just over 7 days, and one with reason security may last 7 days here (policy "p"); write 2026-11-24T11:59:59Z or earlier"#
            ]
        );
        // A time of tomorrow is no day more.
        assert!(read_at(GOOD, "2026-11-20T12:00:00Z", "2026-11-10T12:00:00Z").is_err());
        assert!(
            read_at(GOOD, "2026-11-17T11:59:59Z", "2026-11-24T12:00:00Z").is_ok(),
            "one that has ended is no mistake"
        );
    }

    #[test]
    fn what_is_wrong_names_file_line_field_and_remedy() {
        for (text, said) in [
            (
                GOOD.replace("name: checkout", "name: check*"),
                r#"e.yaml:6: spec.targets[0].name: "check*" is a glob, and an exception is for exact workloads; write one target for each workload"#,
            ),
            (
                GOOD.replace("[imageAge]", "[imageage]"),
                r#"e.yaml:7: spec.rules[0]: "imageage" is no value here; did you mean "imageAge"?"#,
            ),
            (
                GOOD.replace("reason: security", "reason: securty"),
                r#"e.yaml:8: spec.reason: "securty" is no value here; did you mean "security"?"#,
            ),
            (GOOD.replace("  text:", "  txt:"), r#"e.yaml:9: spec.txt: unknown field "txt"; did you mean "text"?"#),
            (GOOD.replace("{name: fix}", "{}"), "e.yaml:1: metadata.name: it is missing; give the exception a name"),
        ] {
            assert_eq!(read(&text).unwrap_err(), [said]);
        }
    }

    #[test]
    fn other_kinds_are_passed_over_and_names_stand_once() {
        let policy = "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: a}\nspec: {imageAge: {maxAge: 90d}}\n";
        assert_eq!(read(policy).unwrap(), []);
        let twice = read(&format!("{policy}---\n{GOOD}---\n{GOOD}")).unwrap();
        let errors = set(twice).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            r#"e.yaml:17: metadata.name: there is an exception "fix" already, in e.yaml:6; give it another name"#
        );
    }
}
