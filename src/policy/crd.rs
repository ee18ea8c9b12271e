//! The custom resource definitions, as `kubectl apply` wants them: that of `GatePolicy` is here.

use kube::CustomResourceExt as _;
use serde_json::Value;

use super::api::GatePolicy;
use crate::budget::state::BudgetState;

/// Most characters of a text, and most entries of a list: so that the cost of checks stays within the API server's limits.
const LONGEST_TEXT: u64 = 512;
const LONGEST_LIST: u64 = 100;
/// A condition's message tells every problem at once; this is the bound that Kubernetes' own conditions have.
const LONGEST_MESSAGE: u64 = 32_768;
/// A duration as Prometheus writes it.
pub(crate) const DURATION: &str =
    "^([0-9]{1,6}y)?([0-9]{1,6}w)?([0-9]{1,6}d)?([0-9]{1,8}h)?([0-9]{1,10}m)?([0-9]{1,12}s)?$";

/// A percentage.
const PERCENT: &str = "^-?[0-9]{1,3}([.][0-9]{1,6})? ?%$";

/// Fields that hold a duration.
const DURATIONS: [&str; 9] = [
    "maxAge",
    "warnBefore",
    "warnWhenExhaustedWithin",
    "staleHold",
    "security",
    "incident",
    "reliability-fix",
    "dependency-outage",
    "other",
];

/// The definitions of all kinds as YAML, one document each.
pub fn yaml() -> Result<String, serde_saphyr::SerializeError> {
    let definitions = [definition(), crate::budget::crd::definition(), crate::exception::crd::definition()];
    let documents = definitions.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

/// The definition as a tree.
pub fn definition() -> Value {
    // What serde writes it also reads; a definition that could not be written would fail each test.
    let mut crd = serde_json::to_value(GatePolicy::crd()).unwrap_or_default();
    if let Some(version) = crd.pointer_mut("/spec/versions/0") {
        version["additionalPrinterColumns"] = serde_json::json!([
            {"name": "Actions", "type": "string", "jsonPath": ".spec.validationActions"},
            {"name": "Max-Age", "type": "string", "jsonPath": ".spec.imageAge.maxAge"},
            {"name": "Enforce-From", "type": "string", "jsonPath": ".spec.enforceFrom", "priority": 1},
            {"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"},
            {"name": "Workloads", "type": "integer", "jsonPath": ".status.workloads.matched"},
            {"name": "Warned", "type": "integer", "jsonPath": ".status.workloads.warned"},
            {"name": "Refused", "type": "integer", "jsonPath": ".status.workloads.refused"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]);
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
            bound(schema);
            accept_a_bare_on(schema);
            for place in [
                "/properties/spec",
                "/properties/spec/properties/imageAge",
                "/properties/spec/properties/imageAge/properties/overrides/items",
                "/properties/spec/properties/errorBudget",
                "/properties/spec/properties/exceptions/properties/maxDuration",
            ] {
                if let Some(level) = schema.pointer_mut(place) {
                    add_rules(level);
                }
            }
        }
    }
    crd
}

/// Bounds every text and list, gives durations their form, and drops what a structural schema may not have.
pub(crate) fn bound(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
    match object.get("type").and_then(Value::as_str) {
        Some("string") if !object.contains_key("enum") && !object.contains_key("format") => {
            object.entry("maxLength").or_insert(LONGEST_TEXT.into());
        }
        Some("array") => {
            object.entry("maxItems").or_insert(LONGEST_LIST.into());
        }
        Some("object") if object.contains_key("additionalProperties") => {
            object.entry("maxProperties").or_insert(LONGEST_LIST.into());
        }
        _ => {}
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties.iter_mut() {
            bound(property);
            if name == "message" {
                property["maxLength"] = LONGEST_MESSAGE.into();
            }
            let is_short = DURATIONS.contains(&name.as_str())
                || ["freezeBelow", "unfreezeAbove", "warnBelow"].contains(&name.as_str());
            if is_short
                && property["type"] == "string"
                && let Some(property) = property.as_object_mut()
            {
                property.insert("maxLength".to_owned(), 64.into());
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            bound(inner);
        }
    }
}

/// YAML 1.1, which kubectl reads, takes a bare `on` for `true`: so a field of that name is the same.
fn accept_a_bare_on(schema: &mut Value) {
    let rule = schema.pointer_mut("/properties/spec/properties/errorBudget/properties").and_then(Value::as_object_mut);
    if let Some(properties) = rule
        && let Some(mut on) = properties.get("on").cloned()
    {
        on["description"] = "`on`, as kubectl reads it where it is not in quotes.".into();
        properties.insert("true".to_owned(), on);
    }
}

/// Shape checks that a schema's keywords cannot say, with words for whoever meets them.
fn add_rules(level: &mut Value) {
    let mut rules = Vec::new();
    let mut rule = |rule: String, message: &str| rules.push(serde_json::json!({ "rule": rule, "message": message }));
    let properties = level.get("properties").and_then(Value::as_object);
    let has = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
    if has("validationActions") {
        rule(
            "!has(self.validationActions) || (size(self.validationActions) > 0 && !('Deny' in self.validationActions && 'Warn' in self.validationActions) && self.validationActions.all(a, self.validationActions.exists_one(b, a == b)))".to_owned(),
            "validationActions: write [Deny], [Warn] or [Audit], or one of the first two with Audit, each once",
        );
    }
    if has("imageAge") {
        rule(
            "has(self.imageAge) || has(self.errorBudget) || (has(self.dependencies) && self.dependencies.nudges > 0)"
                .to_owned(),
            "a policy needs a rule: add imageAge with a maxAge, or errorBudget with its sources",
        );
    }
    for name in DURATIONS.into_iter().filter(|name| has(name)) {
        // CEL has no dashes in names.
        let field = name.replace('-', "__dash__");
        // Only an override may be without a limit.
        let off = if name == "maxAge" && has("images") { " || self.maxAge == 'off'" } else { "" };
        rule(
            format!("!has(self.{field}) || (size(self.{field}) > 0 && self.{field}.matches('{DURATION}')){off}"),
            &format!("{name}: write a number and a unit (y, w, d, h, m or s), as 90d or 1d12h"),
        );
    }
    for name in ["freezeBelow", "unfreezeAbove", "warnBelow"].into_iter().filter(|name| has(name)) {
        rule(
            format!("!has(self.{name}) || self.{name}.matches('{PERCENT}')"),
            &format!("{name}: write a number and a percent sign, as 20% or 2.5%"),
        );
    }
    if has("on") {
        let states: Vec<String> = BudgetState::ALL.iter().map(|state| format!("'{}'", state.as_str())).collect();
        // `__true__` is what CEL calls a field of that name.
        for name in ["on", "__true__"] {
            rule(
                format!("!has(self.{name}) || self.{name}.all(state, state in [{}])", states.join(", ")),
                "on: name states of budgets, as {FastBurn: Deny, Stale: Warn}",
            );
        }
    }
    if has("sources") {
        rule("size(self.sources) > 0".to_owned(), "sources: name at least one BudgetSource");
    }
    level["x-kubernetes-validations"] = rules.into();
}
