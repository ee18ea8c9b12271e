//! What is known of namespaces' labels, and a word where it is not: a policy that selects by them would silently be for
//! nothing there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::manifests::{self, Manifest};
use crate::cli::output::say;
use crate::evidence::gather::StatedLabels;
use crate::policy::api::Match;
use crate::policy::compile::{CompiledPolicy, PolicySet, needs_namespace_labels};
use crate::policy::file::place::{self, Step};
use crate::subject::Subject;

/// Labels by namespace.
pub type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// Labels of the Namespace objects among the manifests, and what is wrong with some.
pub fn of_manifests(objects: &[Manifest]) -> (Labels, Vec<String>) {
    let (mut known, mut wrong) = (Labels::new(), Vec::new());
    for manifest in objects.iter().filter(|one| one.object["kind"] == "Namespace" && one.object["apiVersion"] == "v1") {
        let Some(name) = manifest.object.pointer("/metadata/name").and_then(Value::as_str) else {
            continue;
        };
        let labels = known.entry(name.to_owned()).or_default();
        let field = place::steps("metadata.labels");
        match manifest.object.pointer("/metadata/labels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(written)) => {
                for (label, value) in written {
                    if let Value::String(value) = value {
                        labels.insert(label.clone(), value.clone());
                        continue;
                    }
                    let field = [field.as_slice(), &[Step::Key(label.clone())]].concat();
                    let found = manifests::in_words(value);
                    wrong.push(manifest.wrong(&field, format!("a label is a text, not {found}; write it in quotes")));
                }
            }
            Some(other) => {
                let found = manifests::in_words(other);
                wrong.push(manifest.wrong(&field, format!("labels are a map of texts, not {found}")));
            }
        }
    }
    (known, wrong)
}

/// Labels as `--namespace-labels` states them, for every namespace that is not among the manifests.
pub fn of_flags(written: &[String]) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let pairs = written.iter().map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!(
            "--namespace-labels {pair:?} is not KEY=VALUE, as in --namespace-labels environment=production"
        ))),
    });
    let labels: BTreeMap<_, _> = pairs.collect::<Result<_, _>>()?;
    Ok((!labels.is_empty()).then_some(labels))
}

/// Namespaces whose labels nobody stated, and the policies that would want to know them: silently such a policy would be
/// for nothing there.
pub struct UnknownLabels {
    /// Policies that select by labels, without their selectors: what else they say of whom they are for.
    selecting: Vec<CompiledPolicy>,
    found: BTreeMap<String, BTreeSet<String>>,
}

impl UnknownLabels {
    /// Nothing found yet.
    pub fn new(policies: &PolicySet) -> Self {
        let selecting = policies.iter().filter(|policy| needs_namespace_labels(&policy.spec)).map(|policy| {
            let mut without = policy.clone();
            without.spec.matches = without.spec.matches.map(|matches| Match { namespace_selector: None, ..matches });
            without
        });
        Self { selecting: selecting.collect(), found: BTreeMap::new() }
    }

    /// Notes the subject's namespace, if its labels would matter and nobody stated them.
    pub fn look_at(&mut self, subject: &Subject, stated: &StatedLabels) {
        let namespace = &subject.namespace;
        if stated.of_others.is_some() || stated.by_namespace.contains_key(namespace) || subject.images.is_empty() {
            return;
        }
        for policy in self.selecting.iter().filter(|policy| policy.is_for(namespace, &BTreeMap::new(), &subject.kind)) {
            self.found.entry(namespace.clone()).or_default().insert(format!("{:?}", policy.name));
        }
    }

    /// Warns of each namespace once.
    pub fn warn(&self) {
        for (namespace, policies) in &self.found {
            let noun = if policies.len() == 1 { "policy" } else { "policies" };
            let names = policies.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            say(
                "warning",
                &format!(
                    "the labels of namespace {namespace:?} are not known here, and {noun} {names} may be for it by them; \
                     give --namespace-labels, or its Namespace object among the manifests"
                ),
            );
        }
    }
}
