//! Conditions, in CEL, that keep from the gate what it has no say in. An API server that cannot evaluate one under `Fail`
//! refuses the request, so nothing here can be an error: fields are asked for with `?`, which is none where there is none.

use crate::subject::kinds::WorkloadKind;

/// No controller has made it.
pub const NO_CONTROLLER: &str = "(request.operation == \"DELETE\" ? oldObject : object).metadata.?ownerReferences.orValue([]).all(o, !o.?controller.orValue(false))";

/// A controller has made it.
pub const CONTROLLER: &str = "(request.operation == \"DELETE\" ? oldObject : object).metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false))";

/// Where most kinds have their Pod template.
const USUAL: [&str; 2] = ["spec", "template"];

/// An update changes the Pod template or the labels; anything else always passes, so nobody waits for it. `served` are the
/// kinds beside Kubernetes' own.
pub fn changed(served: &[&WorkloadKind]) -> String {
    let (pod, cron_job) = (["spec"], ["spec", "jobTemplate", "spec", "template"]);
    let mut template = differs(&USUAL);
    let unusual = served
        .iter()
        .filter(|kind| kind.template != USUAL)
        .map(|kind| (kind.group.as_str(), kind.kind.as_str(), kind.template.iter().map(String::as_str).collect()));
    let own = [("batch", "CronJob", cron_job.to_vec()), ("", "Pod", pod.to_vec())];
    for (group, kind, path) in unusual.chain(own) {
        let is_that = format!("request.kind.group == {} && request.kind.kind == {}", text(group), text(kind));
        template = format!("({is_that} ? {} : {template})", differs(&path));
    }
    format!("request.operation != \"UPDATE\" || object.metadata.?labels != oldObject.metadata.?labels || {template}")
}

fn differs(path: &[&str]) -> String {
    let at = |object: &str| path.iter().fold(object.to_owned(), |place, part| place + &field(part));
    format!("{} != {}", at("object"), at("oldObject"))
}

/// Words of the language cannot be fields after a dot.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
];

fn field(name: &str) -> String {
    let is_word = name
        .chars()
        .enumerate()
        .all(|(place, one)| one == '_' || one.is_ascii_alphabetic() || (place > 0 && one.is_ascii_digit()));
    if is_word && !name.is_empty() && !RESERVED.contains(&name) && name != "while" {
        format!(".?{name}")
    } else {
        format!("[?{}]", text(name))
    }
}

/// A text as CEL writes it.
fn text(value: &str) -> String {
    let escaped: String = value
        .chars()
        .map(|one| match one {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}
