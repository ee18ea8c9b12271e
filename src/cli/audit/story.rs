//! `audit show`: a decision as a person reads it, from what was asked to what was said.

use serde_json::Value;

use crate::audit::StoredRecord;
use crate::cli::output::coloured;
use crate::policy::percent;

/// The whole story, line by line.
pub fn story(record: &StoredRecord) -> Vec<String> {
    let line: Value = serde_json::from_str(&record.line).unwrap_or_default();
    let mut story = Story(Vec::new());
    story.change(&line);
    story.policies(&line);
    story.images(&line);
    story.budgets(&line);
    story.exceptions(&line);
    story.rules(&line);
    story.said(&line);
    story.tell("record", format!("{} of writer {}, hash {}", record.seq, record.writer_id, record.hash));
    story.0
}

struct Story(Vec<String>);

impl Story {
    fn tell(&mut self, name: &str, what: impl AsRef<str>) {
        self.0.push(format!("{name:<9} {}", what.as_ref()));
    }

    fn change(&mut self, line: &Value) {
        self.tell("decision", format!("{} {}", text(line, "/decision_id"), coloured(text(line, "/decision"))));
        let (elapsed, deadline) = (line["elapsedMs"].as_u64(), line["deadlineMs"].as_u64());
        self.tell(
            "time",
            match (elapsed, deadline) {
                (Some(elapsed), Some(deadline)) => {
                    format!("{}, after {elapsed} ms of the {deadline} ms there were", text(line, "/timestamp"))
                }
                _ => text(line, "/timestamp").to_owned(),
            },
        );
        let labels = ["id", "version", "cluster"].map(|name| text(line, &format!("/labels/{name}")));
        if let [gate, version, cluster] = labels
            && !gate.is_empty()
        {
            let cluster = if cluster.is_empty() { String::new() } else { format!(" in cluster {cluster}") };
            self.tell("gate", format!("{gate}, version {version}{cluster}"));
        }
        let change = ["change", "request/kind/kind", "request/namespace", "request/name", "request/operation"];
        let [change, kind, namespace, name, operation] = change.map(|name| text(line, &format!("/{name}")));
        let user = text(line, "/request/userInfo/username");
        self.tell("change", format!("{change} of {kind} {namespace}/{name} ({operation}) by {user}"));
        let groups: Vec<&str> = list(line, "/request/userInfo/groups").filter_map(Value::as_str).collect();
        if !groups.is_empty() {
            self.tell("", format!("in groups {}", groups.join(", ")));
        }
        let passed = text(line, "/passed");
        if !passed.is_empty() {
            self.tell("passed", format!("unjudged: {passed}"));
        }
        let first = text(line, "/repeat_of");
        if !first.is_empty() {
            self.tell("repeats", format!("{first}, which has the evidence"));
        }
    }

    fn policies(&mut self, line: &Value) {
        for (policy, revision) in line.get("policies").and_then(Value::as_object).into_iter().flatten() {
            self.tell("policy", format!("{policy} {}", revision.as_str().unwrap_or_default()));
        }
    }

    fn images(&mut self, line: &Value) {
        let repeats = !text(line, "/repeat_of").is_empty();
        for image in list(line, "/images") {
            self.tell(
                "image",
                format!("{} ({} {:?})", text(image, "/ref"), text(image, "/place"), text(image, "/container")),
            );
            let digest = text(image, "/digest");
            if repeats {
                self.tell("", digest);
                continue;
            }
            let built = match text(image, "/buildTime") {
                "" => format!("unknown: {} {}", text(image, "/reason"), text(image, "/detail")),
                built => {
                    let age =
                        image["ageSeconds"].as_i64().map_or_else(String::new, |age| format!(", {} old", days(age)));
                    format!("built {built} ({}){age}", text(image, "/source"))
                }
            };
            let known = [digest, text(image, "/platform"), &built]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>();
            let cache = text(image, "/cache");
            let cache = if cache.is_empty() { String::new() } else { format!(", {cache}") };
            self.tell("", format!("{}{cache}", known.join(" ")));
            for candidate in list(image, "/candidates") {
                let used = if candidate["used"] == true { "→" } else { " " };
                let (source, value) = (text(candidate, "/source"), text(candidate, "/value"));
                self.tell("", format!("{used} {source} {value}: {}", text(candidate, "/why")));
            }
        }
    }

    fn budgets(&mut self, line: &Value) {
        for service in list(line, "/inputs/evidence/services") {
            let until = match text(service, "/until") {
                "" => String::new(),
                until => format!(", until {until}"),
            };
            self.tell(
                "service",
                format!("{} by source {}{until}", text(service, "/service"), text(service, "/source")),
            );
        }
        for budget in list(line, "/budgets") {
            let or_else = |pointer: &str, missing: &'static str| match text(budget, pointer) {
                "" => missing.to_owned(),
                known => known.to_owned(),
            };
            self.tell(
                "budget",
                format!(
                    "{} of service {} ({}): {}",
                    or_else("/slo", "no objective"),
                    or_else("/service", "unknown"),
                    text(budget, "/source"),
                    text(budget, "/state"),
                ),
            );
            let figure = |name: &str| budget[name].as_f64();
            let figures: Vec<String> = [
                figure("remaining").map(|remaining| format!("{} left", percent::in_words(remaining))),
                figure("objective").map(|objective| format!("objective {}", percent::in_words(objective))),
                budget["window"].as_str().map(|window| format!("over {window}")),
                figure("burnRate").map(|rate| format!("burning at {rate:.1}")),
            ]
            .into_iter()
            .flatten()
            .collect();
            let moments: Vec<String> =
                [("sampleTime", "sampled at"), ("frozenSince", "frozen since"), ("liftAt", "lifts at")]
                    .into_iter()
                    .filter_map(|(name, words)| Some(format!("{words} {}", budget[name].as_str()?)))
                    .collect();
            for told in [figures.join(", "), moments.join(", "), text(budget, "/detail").to_owned()] {
                if !told.is_empty() {
                    self.tell("", told);
                }
            }
        }
        for evidence in list(line, "/inputs/evidence/budgets") {
            let freezes = evidence.get("freezes").and_then(Value::as_object).into_iter().flatten();
            for (policy, freeze) in freezes {
                let [slo, service] = ["/budget/slo", "/budget/service"].map(|name| text(evidence, name));
                let since = text(freeze, "/since");
                self.tell("freeze", format!("{slo} of service {service} since {since}, by policy {policy}"));
            }
        }
    }

    fn exceptions(&mut self, line: &Value) {
        for exception in list(line, "/exceptions") {
            let ticket = match text(exception, "/ticket") {
                "" => String::new(),
                ticket => format!(", ticket {ticket}"),
            };
            self.tell(
                "exception",
                format!(
                    "{} ({}) granted by {}, until {}{ticket}",
                    text(exception, "/name"),
                    text(exception, "/reason"),
                    text(exception, "/grantedBy"),
                    text(exception, "/expiresAt"),
                ),
            );
        }
        let Some(asked) = line.get("exception") else {
            return;
        };
        let loud = if asked["breakGlass"] == true { ", BREAK-GLASS" } else { "" };
        self.tell("exception", format!("{} ({}){loud}", text(asked, "/name"), text(asked, "/spec/reason")));
        for target in list(asked, "/spec/targets") {
            self.tell(
                "",
                format!("for {} {}/{}", text(target, "/kind"), text(target, "/namespace"), text(target, "/name")),
            );
        }
        for (pointer, words) in [
            ("/spec/text", "because"),
            ("/spec/ticket", "ticket"),
            ("/spec/expiresAt", "until"),
            ("/grantedAt", "granted at"),
        ] {
            if !text(asked, pointer).is_empty() {
                self.tell("", format!("{words} {}", text(asked, pointer)));
            }
        }
    }

    fn rules(&mut self, line: &Value) {
        for rule in list(line, "/rules") {
            let policy = match text(rule, "/policy") {
                "" => String::new(),
                policy => format!(" (policy {policy})"),
            };
            let told = format!("{} {}{policy} {}", text(rule, "/rule"), text(rule, "/result"), text(rule, "/message"));
            self.tell("rule", told.trim_end());
        }
    }

    fn said(&mut self, line: &Value) {
        for said in text(line, "/message").lines() {
            self.tell("said", said);
        }
        for warning in list(line, "/warnings").filter_map(Value::as_str) {
            self.tell("warned", warning);
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// An age in whole days, as denials give it.
fn days(seconds: i64) -> String {
    let days = seconds / 86_400;
    format!("{days} day{}", if days == 1 { "" } else { "s" })
}
