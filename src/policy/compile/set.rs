//! All policies in force, and which of them are for a workload. An index finds those that may be, so that a thousand cost
//! little more than one.

use std::collections::{BTreeMap, HashMap};

use super::{CompiledPolicy, Matching, NAMESPACE_NAME_LABEL, NamespaceLabels, needs_namespace_labels};

/// All policies in force.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<CompiledPolicy>,
    /// Policies that want a label, under the first that they want.
    by_label: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Policies that are for namespaces named without a glob.
    by_namespace: HashMap<String, Vec<usize>>,
    /// Policies that are for namespaces by globs, under what stands before the first `*`; by its length.
    by_beginning: BTreeMap<usize, HashMap<String, Vec<usize>>>,
    /// All others.
    unindexed: Vec<usize>,
}

impl PolicySet {
    /// Indexes policies; their order, by name, is the order of their findings.
    pub fn new(mut policies: Vec<CompiledPolicy>) -> Self {
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        let mut set = Self::default();
        for (index, policy) in policies.iter().enumerate() {
            let matches = policy.spec.matches.as_ref();
            let label = matches
                .and_then(|matches| matches.namespace_selector.as_ref())
                .and_then(|selector| selector.match_labels.iter().next());
            let names = matches.map(|matches| matches.namespaces.as_slice()).unwrap_or_default();
            if let Some((key, value)) = label {
                set.by_label.entry(key.clone()).or_default().entry(value.clone()).or_default().push(index);
            } else if !names.is_empty() && names.iter().all(|name| !name.starts_with('*')) {
                for name in names {
                    let of_name = match name.split_once('*') {
                        None => set.by_namespace.entry(name.clone()),
                        Some((beginning, _)) => {
                            set.by_beginning.entry(beginning.len()).or_default().entry(beginning.to_owned())
                        }
                    };
                    of_name.or_default().push(index);
                }
            } else {
                set.unindexed.push(index);
            }
        }
        set.policies = policies;
        set
    }

    /// The policies for a workload, by name. Without a cluster only the name is known of a namespace; where there is one
    /// and its labels could not be learnt, what selects by them may be for it, and is not certain.
    pub fn matching(&self, namespace: &str, labels: NamespaceLabels<'_>, kind: &str) -> Vec<Matching<'_>> {
        let name_only = BTreeMap::new();
        let labels = match labels {
            NamespaceLabels::Known(labels) => labels,
            NamespaceLabels::NameOnly => &name_only,
            NamespaceLabels::Unknown => {
                let all = self.policies.iter().filter(|policy| policy.may_be_for(namespace, kind));
                return all.map(|policy| Matching { policy, certain: !needs_namespace_labels(&policy.spec) }).collect();
            }
        };
        let mut candidates = self.unindexed.clone();
        candidates.extend(self.by_namespace.get(namespace).into_iter().flatten());
        for (length, of_length) in &self.by_beginning {
            let found = namespace.get(..*length).and_then(|beginning| of_length.get(beginning));
            candidates.extend(found.into_iter().flatten());
        }
        let name_label = (NAMESPACE_NAME_LABEL, namespace);
        let others = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in others.filter(|(key, _)| *key != NAMESPACE_NAME_LABEL).chain([name_label]) {
            candidates.extend(self.by_label.get(key).and_then(|values| values.get(value)).into_iter().flatten());
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
            .into_iter()
            .filter_map(|index| self.policies.get(index))
            .filter(|policy| policy.is_for(namespace, labels, kind))
            .map(|policy| Matching { policy, certain: true })
            .collect()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &CompiledPolicy> {
        self.policies.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}
