//! `freshgate exception new`: the YAML of an exception, from flags and, on a terminal, from questions.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Serialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer as _};

use super::output::{print, say};
use super::{Failure, OK};
use crate::args::ExceptionArgs;
use crate::clock;
use crate::exception::Reason;
use crate::exception::api::{Dependency, GateExceptionSpec, Target};
use crate::exception::check::{self, Limit, default_most};
use crate::image::build_date::read_date;
use crate::policy::compile::Problem;
use crate::policy::duration::PolicyDuration;
use crate::policy::file::API_VERSION;
use crate::subject::kinds::WorkloadKinds;
use crate::verdict::Rule;

/// Asks a question; `None` where there is nobody to ask.
type Ask<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: &'a GateExceptionSpec,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

pub fn new(args: ExceptionArgs) -> Result<u8, Failure> {
    let on_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    let mut lines = io::stdin().lock().lines();
    let mut ask = move |question: &str| {
        if !on_terminal {
            return None;
        }
        // Questions go to stderr, so that stdout is the YAML alone.
        let mut stderr = io::stderr();
        write!(stderr, "{question} ").and_then(|()| stderr.flush()).ok()?;
        lines.next()?.ok()
    };
    let written = write(args, &mut ask, clock::now()).map_err(Failure::new)?;
    if let Some(warning) = written.warning {
        say("warning", &warning);
    }
    print(&written.yaml)?;
    Ok(OK)
}

/// An exception as YAML, and what may keep it from being granted.
#[derive(Debug)]
struct Written {
    yaml: String,
    warning: Option<String>,
}

/// Writes the exception, or tells everything that is wrong, a line each.
fn write(args: ExceptionArgs, ask: Ask<'_>, now: DateTime<Utc>) -> Result<Written, String> {
    let (given_name, spec) = spec(args, ask, now)?;
    let mut problems = check::shape(&spec, &WorkloadKinds::default());
    // A policy may allow more than the default, or less: only the gate knows which are for the targets.
    let limit = Limit { most: default_most(spec.reason), policy: None };
    let length = check::duration(&spec, &limit, now, now);
    let (past, too_long) = if spec.expires_at <= now { (length, None) } else { (None, length) };
    problems.extend(past);
    if !problems.is_empty() {
        return Err(problems.iter().map(in_words).collect::<Vec<_>>().join("\n"));
    }
    let name = given_name.unwrap_or_else(|| name_of(&spec));
    let document =
        Document { api_version: API_VERSION, kind: "GateException", metadata: Metadata { name: &name }, spec: &spec };
    let yaml =
        serde_saphyr::to_string(&document).map_err(|error| format!("the exception cannot be written: {error}"))?;
    let warning = too_long.map(|_| {
        let (reason, most) = (spec.reason, &limit.most);
        format!(
            "an exception with reason {reason} lasts {most} at most where no policy allows more; this one is longer"
        )
    });
    Ok(Written { yaml, warning })
}

fn spec(args: ExceptionArgs, ask: Ask<'_>, now: DateTime<Utc>) -> Result<(Option<String>, GateExceptionSpec), String> {
    let namespace = args.namespace.as_deref();
    let list = |given: Vec<String>, answer: Option<String>| -> Vec<String> {
        let asked = answer.unwrap_or_default();
        let asked = asked.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
        if given.is_empty() { asked.collect() } else { given }
    };
    let target_answer =
        args.target.is_empty().then(|| ask("Workloads, as NAMESPACE/KIND/NAME, several with commas:")).flatten();
    let targets = list(args.target, target_answer);
    let targets = missing_if_empty(targets, "--target", "as --target shop/Deployment/checkout")?;
    let targets = targets.iter().map(|written| target(written, namespace)).collect::<Result<Vec<_>, _>>()?;
    let rule_answer = args.rule.is_empty().then(|| ask("Rules (imageAge, errorBudget):")).flatten();
    let rules = missing_if_empty(list(args.rule, rule_answer), "--rule", "imageAge, errorBudget, or both")?;
    let rules = rules
        .iter()
        .map(|written| one_of::<Rule>(written, "--rule", "imageAge or errorBudget"))
        .collect::<Result<Vec<_>, _>>()?;
    let reasons = Reason::ALL.map(Reason::as_str).join(", ");
    let reason = required(args.reason, ask, &format!("Reason ({reasons}):"), "--reason", &reasons)?;
    let reason: Reason = one_of(&reason, "--reason", &reasons)?;
    let text = required(args.text, ask, "Why, in a sentence:", "--text", "say in a sentence why it is needed")?;
    let ticket = args.ticket.or_else(|| ask("Ticket (may be empty):")).filter(|ticket| !ticket.trim().is_empty());
    let most = default_most(reason);
    let question = format!("Ends when, as 4h or 2026-11-24T12:00:00Z (usually at most {most} from now):");
    let expires = required(
        args.expires,
        ask,
        &question,
        "--expires",
        &format!("a time, or how long from now, usually at most {most}"),
    )?;
    let expires_at = end(&expires, now)?;
    let dependency = match args.dependency {
        None if reason == Reason::DependencyOutage => Some(required(
            None,
            ask,
            "Service that is out:",
            "--dependency",
            "the service that is out, by the name of its error budget",
        )?),
        given => given,
    };
    let dependency = dependency.map(|service| Dependency { service });
    let spec = GateExceptionSpec { targets, rules, reason, text, ticket, expires_at, digest: args.digest, dependency };
    Ok((args.name, spec))
}

fn required(given: Option<String>, ask: Ask<'_>, question: &str, flag: &str, form: &str) -> Result<String, String> {
    let answer = given.or_else(|| ask(question)).map(|answer| answer.trim().to_owned());
    answer.filter(|answer| !answer.is_empty()).ok_or_else(|| missing(flag, form))
}

fn missing_if_empty(list: Vec<String>, flag: &str, form: &str) -> Result<Vec<String>, String> {
    if list.is_empty() { Err(missing(flag, form)) } else { Ok(list) }
}

fn missing(flag: &str, form: &str) -> String {
    format!("{flag} is missing: {form}")
}

/// A value by the name that it has in YAML.
fn one_of<'a, T: Deserialize<'a>>(written: &'a str, flag: &str, known: &str) -> Result<T, String> {
    let deserializer: StrDeserializer<'a, ValueError> = written.into_deserializer();
    T::deserialize(deserializer).map_err(|_| format!("{flag} {written:?} is not known: write {known}"))
}

/// `shop/Deployment/checkout`, or `Deployment/checkout` in a given namespace; the kind's case is the user's own.
fn target(written: &str, namespace: Option<&str>) -> Result<Target, String> {
    let parts: Vec<&str> = written.split('/').collect();
    let (namespace, kind, name) = match (parts.as_slice(), namespace) {
        ([namespace, kind, name], _) => (*namespace, *kind, *name),
        ([kind, name], Some(namespace)) => (namespace, *kind, *name),
        ([_, _], None) => {
            return Err(format!(
                "--target {written:?} names no namespace: write NAMESPACE/KIND/NAME, or add --namespace"
            ));
        }
        _ => return Err(format!("--target {written:?} is not NAMESPACE/KIND/NAME, as shop/Deployment/checkout")),
    };
    let kinds = WorkloadKinds::default();
    let known = kinds.iter().find(|known| known.kind.eq_ignore_ascii_case(kind));
    let kind = known.map_or(kind, |known| &known.kind);
    Ok(Target { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() })
}

/// A time, or how long from now; to the second.
fn end(written: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let at = match PolicyDuration::parse(written) {
        Ok(duration) => now.checked_add_signed(duration.delta()),
        Err(_) => read_date(written).ok(),
    };
    at.map(|at| at.trunc_subsecs(0)).ok_or_else(|| {
        format!("--expires {written:?} is no time: write it as 2026-11-24T12:00:00Z, or as 4h for four hours from now")
    })
}

/// A name that nobody needs to think of: the first target, the reason and the end.
fn name_of(spec: &GateExceptionSpec) -> String {
    let target = spec.targets.first().map_or("", |target| target.name.as_str());
    let target: String = target.chars().take(200).collect();
    format!("{target}-{}-{}", spec.reason, spec.expires_at.format("%Y%m%d%H%M%S"))
}

fn in_words(problem: &Problem) -> String {
    format!("{}: {}; {}", problem.field, problem.message, problem.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T12:00:00.5Z".parse().unwrap()
    }

    fn args() -> ExceptionArgs {
        ExceptionArgs {
            target: vec!["shop/deployment/checkout".to_owned()],
            rule: vec!["imageAge".to_owned()],
            reason: Some("security".to_owned()),
            text: Some("closes a hole: CVE-1".to_owned()),
            expires: Some("3d".to_owned()),
            ..ExceptionArgs::default()
        }
    }

    fn alone(args: ExceptionArgs) -> Result<String, String> {
        write(args, &mut |_| None, now()).map(|written| written.yaml)
    }

    #[test]
    fn what_is_written_reads_back_as_what_was_typed() {
        let yaml = alone(args()).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        let expected = serde_json::json!({
            "apiVersion": "freshgate.dev/v1alpha1", "kind": "GateException",
            "metadata": {"name": "checkout-security-20261123120000"},
            "spec": {
                "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}], "rules": ["imageAge"],
                "reason": "security", "text": "closes a hole: CVE-1", "expiresAt": "2026-11-23T12:00:00Z",
            },
        });
        assert_eq!(read, expected);
        let named =
            alone(ExceptionArgs { name: Some("fix".to_owned()), ticket: Some("OPS-1".to_owned()), ..args() }).unwrap();
        assert!(named.contains("name: fix\n") && named.contains("ticket: OPS-1\n"), "{named}");
    }

    #[test]
    fn what_is_missing_is_named_by_its_flag() {
        type Without = fn(ExceptionArgs) -> ExceptionArgs;
        let cases: [(Without, &str); 6] = [
            (
                |args| ExceptionArgs { target: Vec::new(), ..args },
                "--target is missing: as --target shop/Deployment/checkout",
            ),
            (|args| ExceptionArgs { rule: Vec::new(), ..args }, "--rule is missing: imageAge, errorBudget, or both"),
            (
                |args| ExceptionArgs { reason: None, ..args },
                "--reason is missing: security, incident, reliability-fix, dependency-outage, other",
            ),
            (|args| ExceptionArgs { text: None, ..args }, "--text is missing: say in a sentence why it is needed"),
            (
                |args| ExceptionArgs { expires: None, ..args },
                "--expires is missing: a time, or how long from now, usually at most 14d",
            ),
            (
                |args| ExceptionArgs { reason: Some("dependency-outage".to_owned()), ..args },
                "--dependency is missing: the service that is out, by the name of its error budget",
            ),
        ];
        for (without, said) in cases {
            assert_eq!(alone(without(args())).unwrap_err(), said);
        }
    }

    #[test]
    fn what_is_wrong_says_how_to_write_it() {
        type Change = fn(&mut ExceptionArgs);
        let cases: [(Change, &str); 6] = [
            (
                |args| args.target = vec!["Deployment/checkout".into()],
                r#"--target "Deployment/checkout" names no namespace: write NAMESPACE/KIND/NAME, or add --namespace"#,
            ),
            (
                |args| args.target = vec!["checkout".into()],
                r#"--target "checkout" is not NAMESPACE/KIND/NAME, as shop/Deployment/checkout"#,
            ),
            (|args| args.rule = vec!["age".into()], r#"--rule "age" is not known: write imageAge or errorBudget"#),
            (
                |args| args.expires = Some("soon".into()),
                r#"--expires "soon" is no time: write it as 2026-11-24T12:00:00Z, or as 4h for four hours from now"#,
            ),
            (|args| args.expires = Some("2026-11-20".into()), "spec.expiresAt: 2026-11-20T00:00:00Z is past; write "),
            (
                |args| args.digest = Some("sha256:1".into()),
                r#"spec.digest: "sha256:1" is no digest; write sha256: and 64 lower-case hexadecimal digits, or leave it out"#,
            ),
        ];
        for (change, said) in cases {
            let mut args = args();
            change(&mut args);
            assert!(alone(args).unwrap_err().starts_with(said), "{said}");
        }
        let in_namespace = ExceptionArgs { target: vec!["Job/bill".into()], namespace: Some("pay".into()), ..args() };
        assert!(alone(in_namespace).unwrap().contains("namespace: pay"));
    }

    #[test]
    fn one_that_is_longer_than_the_default_is_warned_of_because_a_policy_may_allow_it() {
        let long = ExceptionArgs { expires: Some("15d".to_owned()), ..args() };
        let written = write(long, &mut |_| None, now()).unwrap();
        assert_eq!(
            written.warning.unwrap(),
            "an exception with reason security lasts 14d at most where no policy allows more; this one is longer"
        );
        assert_eq!(write(args(), &mut |_| None, now()).unwrap().warning, None);
    }

    #[test]
    fn on_a_terminal_it_asks_for_what_is_missing_and_for_nothing_else() {
        let mut answers =
            ["shop/Deployment/a, shop/Deployment/b", "imageAge errorBudget", "incident", "all is on fire", "", "2h"]
                .into_iter();
        let mut asked = Vec::new();
        let mut ask = |question: &str| {
            asked.push(question.to_owned());
            answers.next().map(str::to_owned)
        };
        let yaml = write(ExceptionArgs::default(), &mut ask, now()).unwrap().yaml;
        assert_eq!(asked.len(), 6, "{asked:?}");
        assert_eq!(asked[5], "Ends when, as 4h or 2026-11-24T12:00:00Z (usually at most 4h from now):");
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read["spec"]["targets"][1]["name"], "b");
        assert_eq!(read["spec"]["rules"], serde_json::json!(["imageAge", "errorBudget"]));
        assert_eq!(
            (read["spec"].get("ticket"), &read["spec"]["expiresAt"]),
            (None, &serde_json::json!("2026-11-20T14:00:00Z"))
        );
        let mut asked = 0;
        let ticketed = ExceptionArgs { ticket: Some("OPS-1".to_owned()), ..args() };
        write(
            ticketed,
            &mut |_| {
                asked += 1;
                None
            },
            now(),
        )
        .unwrap();
        assert_eq!(asked, 0);
    }
}
