//! Policies and what goes with them as YAML text: which documents there are, and where and what is wrong in them. Pure:
//! text in, policies and budget sources out.

pub mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::UserMessageFormatter;
use thiserror::Error;

use super::compile::{CompiledPolicy, Problem};
use crate::budget::api::BudgetSourceSpec;
use crate::budget::compile::{CompiledSource, Origin};

/// The API version that policies have.
pub const API_VERSION: &str = "freshgate.dev/v1alpha1";

/// Something wrong with a policy: where, what, and what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct PolicyError {
    /// The file, or the object in the cluster.
    pub file: String,
    /// The line, where it is known.
    pub line: Option<u64>,
    /// The field, as `spec.imageAge.maxAge`; empty for the document.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(formatter, ": {}", self.field)?;
        }
        write!(formatter, ": {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(formatter, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// One YAML document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text.
    pub text: &'a str,
    /// The number of its first line.
    pub line: usize,
}

/// The documents of a text; empty ones and those of comments alone are left out.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.trim_end();
        // At the first column these three can only be a marker.
        if marker == "---" || marker.starts_with("--- ") || marker == "..." {
            documents.push(Document { text: &text[start..offset], line: start_line });
            start = offset + line.len().min(4).min(line.len());
            if marker == "---" || marker == "..." {
                start = offset + line.len();
            }
            start_line = if marker.starts_with("--- ") { index + 1 } else { index + 2 };
        }
        offset += line.len();
    }
    documents.push(Document { text: &text[start..], line: start_line });
    let says_something = |document: &Document<'_>| {
        document.text.lines().any(|line| !matches!(line.trim().chars().next(), None | Some('#' | '%')))
    };
    documents.retain(says_something);
    documents
}

impl Document<'_> {
    /// Reads the document as `T`; an error names the line in the whole file and the field.
    pub fn read<T: DeserializeOwned>(&self, file: &str) -> Result<T, PolicyError> {
        // Lines before the document count too.
        let padded = "\n".repeat(self.line - 1) + self.text;
        let mut path = String::new();
        let read = serde_saphyr::with_deserializer_from_str(&padded, |deserializer| {
            let mut track = serde_path_to_error::Track::new();
            let read = T::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track));
            path = track.path().to_string();
            read
        });
        read.map_err(|error| {
            let (message, remedy) = in_words(error.without_snippet());
            PolicyError {
                file: file.to_owned(),
                line: error.location().map(|location| location.line()).filter(|line| *line > 0),
                field: path.trim_matches(['.', '?']).to_owned(),
                message,
                remedy,
            }
        })
    }
}

/// The reader's message without its place, and for an unknown field the nearest known one.
fn in_words(error: &serde_saphyr::Error) -> (String, String) {
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown field {field:?}"), nearest(field, expected))
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("{variant:?} is no value here"), nearest(variant, expected))
        }
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_ref().map(|key| format!(" {key:?}")).unwrap_or_default();
            (format!("the key{key} stands here a second time"), "keep one of them".to_owned())
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            (format!("the field {field:?} is missing"), "add it".to_owned())
        }
        serde_saphyr::Error::NullIntoString { .. } => ("it is empty".to_owned(), "write a value".to_owned()),
        serde_saphyr::Error::Unexpected { expected, .. } => {
            (format!("expected {}", node_in_words(expected)), String::new())
        }
        // As in `namespaces: [*-production]`.
        serde_saphyr::Error::UnknownAnchor { .. } => (
            "what begins with * stands for something named with & before it, and there is none".to_owned(),
            "put it in quotes if it is a glob".to_owned(),
        ),
        other => {
            let message = other.render_with_formatter(&UserMessageFormatter);
            let message = message.lines().next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            let placed = message.split_once(": ").filter(|(place, _)| place.starts_with("line "));
            let message = placed.map_or(message, |(_, rest)| rest);
            (message.split(" at line ").next().unwrap_or_default().to_owned(), String::new())
        }
    }
}

/// What the reader calls the parts of a document, as whoever writes one knows them.
fn node_in_words(expected: &str) -> &str {
    match expected {
        "mapping start" => "a map of fields",
        "sequence start" => "a list",
        "string scalar" => "a text",
        other => other,
    }
}

/// "did you mean …?", where something is near; else what is known.
fn nearest(unknown: &str, known: &[&str]) -> String {
    let near = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
    match near {
        Some(near) if is_slip_of(&near.to_lowercase(), &unknown.to_lowercase()) => format!("did you mean {near:?}?"),
        _ if known.is_empty() => "no field is known here".to_owned(),
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// Whether a word is another one mistyped; of a short one nothing would be left.
fn is_slip_of(known: &str, word: &str) -> bool {
    let distance = strsim::damerau_levenshtein(known, word);
    distance <= 3 && distance < word.chars().count()
}

/// What a document says that it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) kind: String,
}

impl Head {
    /// Whether it is of this kind, and of the version that is known here.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind && self.api_version == API_VERSION
    }
}

/// A whole object, whatever its spec is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectDocument<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: S,
    #[serde(default, rename = "status")]
    _status: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

/// A policy and the place it comes from.
#[derive(Clone, Debug)]
pub struct SourcePolicy {
    /// The file, or the object in the cluster.
    pub file: String,
    /// The first line of its document.
    pub line: u64,
    /// What is in force.
    pub policy: CompiledPolicy,
}

/// A budget source and the place it comes from.
#[derive(Clone, Debug)]
pub struct SourceOfBudgets {
    /// The file.
    pub file: String,
    /// The first line of its document.
    pub line: u64,
    /// What is polled.
    pub source: CompiledSource,
}

/// All that some files hold.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Policies.
    pub policies: Vec<SourcePolicy>,
    /// Where budgets come from.
    pub budget_sources: Vec<SourceOfBudgets>,
}

/// The place of each object, by kind and name: no two of a kind may have one name.
#[derive(Default)]
struct Names(BTreeMap<(&'static str, String), (String, u64)>);

impl Names {
    fn take(&mut self, kind: &'static str, word: &str, name: &str, file: &str, line: u64) -> Option<PolicyError> {
        let place = (file.to_owned(), line);
        let (first, first_line) = self.0.insert((kind, name.to_owned()), place)?;
        let message = format!("there is a {word} {name:?} already, in {first}:{first_line}");
        Some(error(file, Some(line), "metadata.name", &message, "give it another name"))
    }
}

/// Reads every object of some files, given as name and text. All that is wrong is told at once.
pub fn objects(files: &[(String, String)]) -> Result<Objects, Vec<PolicyError>> {
    let (mut found, mut errors, mut names) = (Objects::default(), Vec::new(), Names::default());
    for (file, text) in files {
        let documents = documents(text);
        if documents.is_empty() {
            errors.push(error(file, None, "", "there is no policy in it", "write one, or remove the file"));
        }
        for document in documents {
            // Exceptions stand beside policies, and are read by `exception::file`.
            if document.read::<Head>(file).is_ok_and(|head| head.is("GateException")) {
                continue;
            }
            if let Err(problems) = object(file, &document, &mut found, &mut names) {
                errors.extend(problems);
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// Reads one object into what was found.
fn object(file: &str, document: &Document<'_>, found: &mut Objects, names: &mut Names) -> Result<(), Vec<PolicyError>> {
    let line = document.line as u64;
    let head: Head = document.read(file).map_err(|error| vec![error])?;
    let (file_name, taken) =
        (file.to_owned(), |error: Option<PolicyError>| error.map_or(Ok(()), |error| Err(vec![error])));
    match head.kind.as_str() {
        "GatePolicy" if head.api_version == API_VERSION => {
            let (name, spec) = named(file, document, "policy")?;
            let policy = CompiledPolicy::compile(&name, spec).map_err(|found| located(file, document, found))?;
            found.policies.push(SourcePolicy { file: file_name, line, policy });
            taken(names.take("GatePolicy", "policy", &name, file, line))
        }
        "BudgetSource" if head.api_version == API_VERSION => {
            let (name, spec) = named::<BudgetSourceSpec>(file, document, "budget source")?;
            let folder = Path::new(file).parent().map(PathBuf::from).unwrap_or_default();
            let source = CompiledSource::compile(&name, spec, Origin::Folder(folder))
                .map_err(|found| located(file, document, found))?;
            found.budget_sources.push(SourceOfBudgets { file: file_name, line, source });
            taken(names.take("BudgetSource", "budget source", &name, file, line))
        }
        _ => Err(vec![foreign(file, line, &head)]),
    }
}

/// The name and the spec of an object.
fn named<S: DeserializeOwned>(
    file: &str,
    document: &Document<'_>,
    what: &str,
) -> Result<(String, S), Vec<PolicyError>> {
    let read: ObjectDocument<S> = document.read(file).map_err(|error| vec![error])?;
    if read.metadata.name.is_empty() {
        let remedy = format!("give the {what} a name");
        return Err(vec![error(file, Some(document.line as u64), "metadata.name", "it is missing", &remedy)]);
    }
    Ok((read.metadata.name, read.spec))
}

/// The kinds that a policy folder may hold.
const KINDS: [&str; 3] = ["GatePolicy", "BudgetSource", "GateException"];

/// A document that is none of these, or one of a version that is not known here.
fn foreign(file: &str, line: u64, head: &Head) -> PolicyError {
    let begin = format!("begin it with `apiVersion: {API_VERSION}` and `kind: GatePolicy`");
    if head.kind.is_empty() || head.api_version.is_empty() {
        let missing = if head.kind.is_empty() { "kind" } else { "apiVersion" };
        return error(file, Some(line), missing, "it is missing", &begin);
    }
    if KINDS.contains(&head.kind.as_str()) {
        let message = format!("expected {API_VERSION}, found {:?}", head.api_version);
        return error(file, Some(line), "apiVersion", &message, &format!("write `apiVersion: {API_VERSION}`"));
    }
    let message = format!(
        "expected one of {} of {API_VERSION}, found {:?} of {:?}",
        KINDS.join(", "),
        head.kind,
        head.api_version
    );
    error(file, Some(line), "kind", &message, "a policy folder holds these alone")
}

/// Problems that span fields, each with the line of its field.
pub fn located(file: &str, document: &Document<'_>, problems: Vec<Problem>) -> Vec<PolicyError> {
    let place = |problem: Problem| PolicyError {
        line: Some(line_of(document, &problem.field)),
        file: file.to_owned(),
        field: problem.field,
        message: problem.message,
        remedy: problem.remedy,
    };
    problems.into_iter().map(place).collect()
}

/// The line of a field: the first after its parent's on which its name is a key.
fn line_of(document: &Document<'_>, field: &str) -> u64 {
    let mut at = 0;
    let lines: Vec<&str> = document.text.lines().collect();
    for part in field.split('.') {
        let (key, index) = part
            .split_once('[')
            .map_or((part, 0), |(key, rest)| (key, rest.trim_end_matches(']').parse().unwrap_or(0)));
        let is_key = |line: &&str| line.trim_start_matches([' ', '-', '{', ',']).starts_with(&format!("{key}:"));
        let Some(offset) = lines[at..].iter().position(|line| is_key(line) || line.contains(&format!("{{{key}:")))
        else {
            continue;
        };
        at += offset;
        // Into a list: its items begin with a dash.
        for _ in 0..=index {
            if part.contains('[')
                && let Some(item) = lines[at + 1..].iter().position(|line| line.trim_start().starts_with("- "))
            {
                at += item + 1;
            }
        }
    }
    (document.line + at) as u64
}

pub(crate) fn error(file: &str, line: Option<u64>, field: &str, message: &str, remedy: &str) -> PolicyError {
    PolicyError {
        file: file.to_owned(),
        line,
        field: field.to_owned(),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let files = [("p.yaml".to_owned(), text.to_owned())];
        objects(&files).unwrap_err().iter().map(ToString::to_string).collect()
    }

    const GOOD: &str =
        "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: a}\nspec: {imageAge: {maxAge: 90d}}\n";

    #[test]
    fn documents_keep_their_lines() {
        let text = "# head\n---\na: 1\n---\n# nothing\n---\nb: 2\n";
        let found: Vec<_> = documents(text).iter().map(|one| (one.line, one.text.trim().to_owned())).collect();
        assert_eq!(found, [(3, "a: 1".to_owned()), (7, "b: 2".to_owned())]);
    }

    #[test]
    fn a_policy_is_read_with_all_its_fields() {
        let text = "
apiVersion: freshgate.dev/v1alpha1
kind: GatePolicy
metadata: {name: production, labels: {a: b}}
spec:
  match: {namespaceSelector: {matchLabels: {environment: production}}}
  validationActions: [Deny]
  enforceFrom: 2027-01-15
  imageAge:
    maxAge: 90d
    warnBefore: 14d
    onUnknown: {NoDate: Warn, NotFound: Deny}
    unchangedImages: Warn
    movedTags: Deny
    unknownOwners: Allow
    platforms: [linux/amd64]
    requireDigest: true
    overrides:
    - {images: [\"registry.example/platform/*\"], maxAge: 180d}
    - {images: [\"registry.example/old/*\"], maxAge: off}
";
        let read = objects(&[("p.yaml".to_owned(), text.to_owned())]).unwrap().policies;
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].policy.name, "production");
        assert_eq!(read[0].policy.spec.image_age.as_ref().unwrap().overrides.len(), 2);
    }

    #[test]
    fn what_is_wrong_names_file_line_field_and_remedy() {
        let with = |spec: &str| {
            format!(
                "apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {{name: a}}\nspec:\n  imageAge:\n    maxAge: 90d\n{spec}"
            )
        };
        for (text, said) in [
            (
                with("    maxage: 1d\n"),
                r#"p.yaml:7: spec.imageAge.maxage: unknown field "maxage"; did you mean "maxAge"?"#,
            ),
            (with("  dependencies: {}\n"), r#"p.yaml:7: spec.dependencies: the field "nudges" is missing; add it"#),
            (
                with("  dependencies: {nudge: 1}\n"),
                r#"p.yaml:7: spec.dependencies.nudge: unknown field "nudge"; did you mean "nudges"?"#,
            ),
            (
                with("  dependencies: {nudges: 4}\n"),
                "p.yaml:7: spec.dependencies.nudges: 4 is no number of warnings that a deploy can have; write 0 to 3",
            ),
            (
                with("  errorBudget: {sources: [slo], on: {Exausted: Deny}}\n"),
                r#"p.yaml:7: spec.errorBudget.on: "Exausted" is no value here; did you mean "Exhausted"?"#,
            ),
            (
                with("  errorBudget: {sources: [slo], freezeBelow: 0.1}\n"),
                r#"p.yaml:7: spec.errorBudget.freezeBelow: "0.1" is not a percentage: write a number from -100 to 100 and a percent sign, as `20%` or `2.5%`"#,
            ),
            (
                with("  errorBudget: {sources: []}\n"),
                "p.yaml:7: spec.errorBudget.sources: it names no source, so nothing is measured; write the names of BudgetSource objects, as [slo]",
            ),
            (
                with("  errorBudget: {sources: [slo], freezeBelow: 10%, unfreezeAbove: 5%}\n"),
                "p.yaml:7: spec.errorBudget.unfreezeAbove: a freeze would lift before it began; make it at least freezeBelow; without it, it is 5 points more",
            ),
            (
                with("  validationActions: [Forbid]\n"),
                r#"p.yaml:7: spec.validationActions[0]: "Forbid" is no value here; known here: Deny, Warn, Audit"#,
            ),
            (
                with("    warnBefore: 90d\n"),
                "p.yaml:7: spec.imageAge.warnBefore: a warning 90d before a limit of 90d would never be silent; make warnBefore shorter than maxAge",
            ),
            (
                with("    warnBefore: soon\n"),
                r#"p.yaml:7: spec.imageAge.warnBefore: "soon" is not a duration: write a number and a unit (y, w, d, h, m or s), as `90d` or `1d12h`"#,
            ),
            (
                with("    onUnknown: {NoDat: Warn}\n"),
                r#"p.yaml:7: spec.imageAge.onUnknown: "NoDat" is no value here; did you mean "NoDate"?"#,
            ),
            (
                with("    onUnknown: 3\n"),
                "p.yaml:7: spec.imageAge.onUnknown: invalid type: integer `3`, expected Deny, Warn or Allow, or one of these for each reason",
            ),
            (
                with("    maxAge: 30d\n"),
                r#"p.yaml:7: spec.imageAge: the key "maxAge" stands here a second time; keep one of them"#,
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\n".to_owned(),
                r#"p.yaml:1: kind: expected one of GatePolicy, BudgetSource, GateException of freshgate.dev/v1alpha1, found "ConfigMap" of "v1"; a policy folder holds these alone"#,
            ),
            (
                "kind: GatePolicy\n".to_owned(),
                "p.yaml:1: apiVersion: it is missing; begin it with `apiVersion: freshgate.dev/v1alpha1` and `kind: GatePolicy`",
            ),
            (
                GOOD.replace("v1alpha1", "v1"),
                r#"p.yaml:1: apiVersion: expected freshgate.dev/v1alpha1, found "freshgate.dev/v1"; write `apiVersion: freshgate.dev/v1alpha1`"#,
            ),
            (GOOD.replace("metadata: {name: a}\n", ""), r#"p.yaml:3: the field "metadata" is missing; add it"#),
            (GOOD.replace("maxAge: 90d", ""), r#"p.yaml:4: spec.imageAge: the field "maxAge" is missing; add it"#),
            (GOOD.replace("90d", ""), "p.yaml:4: spec.imageAge.maxAge: it is empty; write a value"),
            (GOOD.replace("{name: a}", "a"), "p.yaml:3: metadata: expected a map of fields"),
            (
                GOOD.replace("90d", "90d, platforms: x"),
                r#"p.yaml:4: spec.imageAge.platforms: "x" is no value here; known here: Nodes, All"#,
            ),
            (
                GOOD.replace("spec: {", "spec: {match: {namespaces: [*-production]}, "),
                "p.yaml:4: spec.match.namespaces: what begins with * stands for something named with & before it, and there is none; put it in quotes if it is a glob",
            ),
            (GOOD.replace("{name: a}", "{}"), "p.yaml:1: metadata.name: it is missing; give the policy a name"),
            (
                GOOD.replace("{imageAge: {maxAge: 90d}}", "{}"),
                "p.yaml:4: spec: it has no rule, so it would do nothing; add `imageAge: {maxAge: 90d}`",
            ),
            ("# nothing\n".to_owned(), "p.yaml: there is no policy in it; write one, or remove the file"),
            (
                format!("{GOOD}---\n{GOOD}"),
                r#"p.yaml:6: metadata.name: there is a policy "a" already, in p.yaml:1; give it another name"#,
            ),
        ] {
            assert_eq!(errors(&text), [said]);
        }
    }

    const SOURCE: &str = "apiVersion: freshgate.dev/v1alpha1\nkind: BudgetSource\nmetadata: {name: slo}\nspec:\n  format: Sloth\n  prometheus:\n    url: http://prometheus:9090\n";

    #[test]
    fn policies_and_budget_sources_stand_side_by_side() {
        let file = format!("{GOOD}---\n{SOURCE}---\n{}", SOURCE.replace("name: slo", "name: a"));
        let read = objects(&[("policies/p.yaml".to_owned(), file)]).unwrap();
        assert_eq!(read.policies.len(), 1);
        let sources: Vec<_> = read.budget_sources.iter().map(|one| (one.source.name.as_str(), one.line)).collect();
        assert_eq!(sources, [("slo", 6), ("a", 14)]);
        assert_eq!(read.budget_sources[0].source.origin, Origin::Folder("policies".into()));
    }

    #[test]
    fn what_is_wrong_with_a_source_names_file_line_field_and_remedy() {
        for (text, said) in [
            (
                SOURCE.replace("url:", "ulr:"),
                r#"p.yaml:7: spec.prometheus.ulr: unknown field "ulr"; did you mean "url"?"#,
            ),
            (
                SOURCE.replace("Sloth", "Slot"),
                r#"p.yaml:5: spec.format: "Slot" is no value here; did you mean "Sloth"?"#,
            ),
            (
                SOURCE.replace("http://prometheus:9090", "prometheus"),
                "p.yaml:7: spec.prometheus.url: it is no address: relative URL without a base; write http:// or https:// and a host, as http://prometheus.monitoring.svc:9090",
            ),
            (
                format!("{SOURCE}  promql: {{objectives: []}}\n"),
                "p.yaml:8: spec.promql: it has no effect, because the format is Sloth; leave it out, or write format: PromQL",
            ),
            (
                SOURCE.replace("{name: slo}", "{}"),
                "p.yaml:1: metadata.name: it is missing; give the budget source a name",
            ),
            (
                format!("{SOURCE}---\n{SOURCE}"),
                r#"p.yaml:9: metadata.name: there is a budget source "slo" already, in p.yaml:1; give it another name"#,
            ),
        ] {
            assert_eq!(errors(&text), [said]);
        }
    }

    #[test]
    fn text_that_is_no_yaml_says_where() {
        let said = errors("apiVersion: [\n");
        assert!(said[0].starts_with("p.yaml:"), "{said:?}");
    }
}
