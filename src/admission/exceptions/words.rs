//! How the answer to an exception is said: what is wrong with it, where, and what to do now.

use crate::cluster::authorization::Permission;
use crate::exception::Reason;
use crate::exception::api::GateExceptionSpec;
use crate::exception::check::instant;
use crate::policy::compile::Problem;

/// Problems spelled out in one answer, and commands given.
const MOST_PROBLEMS: usize = 20;
const MOST_COMMANDS: usize = 5;

/// A gate without a cluster has nobody to ask who may grant.
pub(super) const FROM_FILES: &str = "this gate takes its exceptions from files and cannot ask who may grant one; put it into the policies folder, or serve with --kubernetes";
/// The signature needs it.
pub(super) const NO_UID: &str = "metadata.uid is missing; the API server gives one to what it creates";
/// Nothing of a spec can be changed.
pub(super) const CHANGED: &str =
    "spec: what was granted cannot be changed; delete the exception and create another, which is granted anew";
/// A grant without a record could not be found again.
pub(super) const UNRECORDED: &str =
    "the grant could not be recorded, so nothing was granted; try again, and have the gate's disk looked at";

/// One thing that is wrong, with its place and remedy.
pub(super) fn problem(problem: &Problem) -> String {
    format!("{}: {}; {}", problem.field, problem.message, problem.remedy)
}

/// That the user may not grant in a namespace, or that it could not be told.
pub(super) fn refused(username: &str, reason: Reason, namespace: &str, permission: &Permission) -> String {
    match permission {
        Permission::Unknown(why) => format!(
            "whether {username:?} may grant exceptions with reason {reason} in namespace {namespace:?} could not be told ({why}), and what cannot be told is refused; try again"
        ),
        _ => format!(
            "{username:?} may not grant exceptions with reason {reason} in namespace {namespace:?}: the verb {} on gateexceptions.freshgate.dev is missing there",
            reason.verb()
        ),
    }
}

/// The commands that would give the missing permissions.
pub(super) fn remedies(username: &str, reason: Reason, refused: &[(&str, Permission)]) -> Vec<String> {
    let missing: Vec<&str> = refused
        .iter()
        .filter(|(_, permission)| *permission == Permission::Missing)
        .map(|(namespace, _)| *namespace)
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let verb = reason.verb();
    let subject = match username.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("--serviceaccount={}", quoted(account)),
        None => format!("--user={}", quoted(username)),
    };
    let name = quoted(&format!("{verb}-{}", username.replace(['/', '%'], "-")));
    let commands = missing.iter().take(MOST_COMMANDS).map(|namespace| {
        format!(
            "  kubectl -n {namespace} create role {verb} --verb={verb} --resource=gateexceptions.freshgate.dev\n  \
             kubectl -n {namespace} create rolebinding {name} --role={verb} {subject}"
        )
    });
    let mut lines = vec!["Whoever administers access there can give it:".to_owned()];
    lines.extend(commands);
    if missing.len() > MOST_COMMANDS {
        lines.push(format!("  and likewise in {} more namespaces", missing.len() - MOST_COMMANDS));
    }
    lines
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The whole refusal.
pub(super) fn message(problems: &[String], remedies: &[String], last_line: &str) -> String {
    let left_out = problems.len().saturating_sub(MOST_PROBLEMS);
    let mut lines: Vec<String> =
        problems.iter().take(MOST_PROBLEMS).map(|problem| format!("exception: {problem}.")).collect();
    if left_out > 0 {
        lines.push(format!("And {left_out} more, all in the record."));
    }
    lines.extend(remedies.iter().cloned());
    if !last_line.is_empty() {
        lines.push(last_line.to_owned());
    }
    lines.join("\n")
}

/// What whoever breaks the glass is told; at most 120 characters.
pub(super) fn break_glass_warning(spec: &GateExceptionSpec) -> String {
    let targets = spec.targets.len();
    let workloads = if targets == 1 { "its workload".to_owned() } else { format!("its {targets} workloads") };
    format!("freshgate: break-glass works from now until {}; an Event on {workloads} says so", instant(spec.expires_at))
}

/// What the Event on each workload says.
pub(super) fn break_glass_note(name: &str, spec: &GateExceptionSpec, by: &str) -> String {
    let rules: Vec<&str> = spec.rules.iter().map(|rule| rule.as_str()).collect();
    let ticket = spec.ticket.as_ref().map_or_else(String::new, |ticket| format!(" ({ticket})"));
    format!(
        "Break-glass: {by:?} granted GateException {name:?} for {} until {}: {}{ticket}",
        rules.join(" and "),
        instant(spec.expires_at),
        spec.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_missing_where_and_how_to_get_it() {
        let refused = [
            ("pay", Permission::Missing),
            ("shop", Permission::Unknown("the API server did not answer in time".to_owned())),
        ];
        let reason = Reason::ReliabilityFix;
        let problems: Vec<String> =
            refused.iter().map(|(namespace, why)| super::refused("dev", reason, namespace, why)).collect();
        let said = message(&problems, &remedies("dev", reason, &refused), "decision 1");
        assert_eq!(
            said,
            "exception: \"dev\" may not grant exceptions with reason reliability-fix in namespace \"pay\": the verb grant-reliability-fix on gateexceptions.freshgate.dev is missing there.\n\
             exception: whether \"dev\" may grant exceptions with reason reliability-fix in namespace \"shop\" could not be told (the API server did not answer in time), and what cannot be told is refused; try again.\n\
             Whoever administers access there can give it:\n  \
               kubectl -n pay create role grant-reliability-fix --verb=grant-reliability-fix --resource=gateexceptions.freshgate.dev\n  \
               kubectl -n pay create rolebinding grant-reliability-fix-dev --role=grant-reliability-fix --user=dev\n\
             decision 1"
        );
    }

    #[test]
    fn names_are_written_as_a_shell_takes_them() {
        for (username, words) in [
            (
                "ann@example.org",
                "create rolebinding grant-other-ann@example.org --role=grant-other --user=ann@example.org",
            ),
            ("system:serviceaccount:ci:bot", "--serviceaccount=ci:bot"),
            ("a'b; c", r"--user='a'\''b; c'"),
            ("corp/ann", "create rolebinding grant-other-corp-ann --role=grant-other --user='corp/ann'"),
        ] {
            let said = remedies(username, Reason::Other, &[("shop", Permission::Missing)]).join("\n");
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn walls_are_cut() {
        let names: Vec<String> = (0..30).map(|index| format!("n{index}")).collect();
        let refused: Vec<(&str, Permission)> = names.iter().map(|name| (name.as_str(), Permission::Missing)).collect();
        let problems: Vec<String> =
            refused.iter().map(|(namespace, why)| super::refused("dev", Reason::Other, namespace, why)).collect();
        let said = message(&problems, &remedies("dev", Reason::Other, &refused), "");
        assert_eq!(said.matches("may not grant").count(), 20);
        assert!(said.contains("\nAnd 10 more, all in the record.\n"), "{said}");
        assert!(said.ends_with("  and likewise in 25 more namespaces"), "{said}");
    }
}
