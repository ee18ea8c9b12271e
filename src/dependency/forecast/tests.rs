use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::evidence::{Cache, PlatformImage, UnknownReason};
use crate::exception::{Grant, Reason};
use crate::image::build_date::{BuildDate, Class, Source, read_date};
use crate::policy::compile::CompiledPolicy;
use crate::subject::{Difference, ImageUse, Operation, Place, PullHints, ServiceLabels};

fn now() -> DateTime<Utc> {
    read_date("2026-11-25T12:00:00Z").unwrap()
}

fn policy(name: &str, spec: Value) -> CompiledPolicy {
    CompiledPolicy::compile(name, serde_json::from_value(spec).unwrap()).unwrap()
}

fn built(days_ago: i64) -> Fact<ResolvedImage> {
    let built = BuildDate { time: now() - TimeDelta::days(days_ago), source: Source::Config, class: Class::Claim };
    platforms(vec![Fact::Known(built)])
}

fn platforms(dates: Vec<Fact<BuildDate>>) -> Fact<ResolvedImage> {
    let platform = |built| PlatformImage {
        platform: None,
        digest: "sha256:aa".to_owned(),
        built,
        first_seen: None,
        candidates: Vec::new(),
    };
    Fact::Known(ResolvedImage {
        digest: "sha256:aa".to_owned(),
        platforms: dates.into_iter().map(platform).collect(),
        cache: Cache::Fetched,
        fetched_at: now(),
    })
}

fn subject(images: &[&str]) -> Subject {
    Subject {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "checkout".into(),
        operation: Operation::Create,
        sub_resource: None,
        images: images
            .iter()
            .map(|image| ImageUse { place: Place::Container, name: "app".into(), image: (*image).into() })
            .collect(),
        old_images: None,
        difference: Difference::Other,
        fingerprints: None,
        owner: None,
        mirror: false,
        hook: false,
        uid: String::new(),
        old_created_at: None,
        pull: PullHints::default(),
        labels: ServiceLabels::default(),
        old_labels: None,
    }
}

fn days(evidence: &Evidence, policies: Vec<CompiledPolicy>, images: &[&str]) -> Vec<(String, String, String)> {
    let found = refusals(&subject(images), evidence, &PolicySet::new(policies), now());
    found.into_iter().map(|one| (one.policy.clone(), one.image.clone(), one.day().to_string())).collect()
}

fn evidence(images: &[(&str, Fact<ResolvedImage>)]) -> Evidence {
    let images = images.iter().map(|(name, found)| ((*name).to_owned(), found.clone())).collect();
    Evidence { images, ..Evidence::default() }
}

#[test]
fn the_day_is_the_policys_to_say() {
    let evidence = evidence(&[("app:1", built(80)), ("old:1", built(112)), ("fresh:1", built(0))]);
    let deny = |limit: &str| json!({"validationActions": ["Deny"], "imageAge": {"maxAge": limit}});
    let with = |mut spec: Value, key: &str, value: Value| {
        spec[key] = value;
        spec
    };
    for (what, spec, image, day) in [
        ("in ten days", deny("90d"), "app:1", Some("2026-12-05")),
        ("already", deny("90d"), "old:1", Some("2026-11-25")),
        ("far away", deny("90d"), "fresh:1", Some("2027-02-23")),
        ("never by a warning", json!({"imageAge": {"maxAge": "90d"}}), "old:1", None),
        ("from a day on", with(deny("90d"), "enforceFrom", json!("2027-01-15")), "old:1", Some("2027-01-15")),
        ("from a day long gone", with(deny("90d"), "enforceFrom", json!("2026-01-15")), "old:1", Some("2026-11-25")),
        (
            "enforced before it is too old",
            with(deny("90d"), "enforceFrom", json!("2026-12-01")),
            "app:1",
            Some("2026-12-05"),
        ),
        ("for other namespaces", with(deny("90d"), "match", json!({"namespaces": ["bank"]})), "old:1", None),
        (
            "by an override",
            json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d", "overrides": [{"images": ["app"], "maxAge": "180d"}]}}),
            "app:1",
            Some("2027-03-05"),
        ),
        (
            "by an override that is off",
            json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d", "overrides": [{"images": ["old"], "maxAge": "off"}]}}),
            "old:1",
            None,
        ),
    ] {
        let found = days(&evidence, vec![policy("p", spec)], &[image]);
        assert_eq!(found.first().map(|(_, _, day)| day.as_str()), day, "{what}");
    }
}

#[test]
fn each_policy_and_image_has_its_day_the_soonest_first() {
    let evidence = evidence(&[("app:1", built(80)), ("old:1", built(100))]);
    let deny = |limit: &str| json!({"validationActions": ["Deny"], "imageAge": {"maxAge": limit}});
    let policies = vec![policy("lax", deny("180d")), policy("strict", deny("90d"))];
    let found = days(&evidence, policies, &["app:1", "old:1"]);
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(policy, image, day)| (policy.as_str(), image.as_str(), day.as_str())).collect();
    assert_eq!(
        found,
        [
            ("strict", "old:1", "2026-11-25"),
            ("strict", "app:1", "2026-12-05"),
            ("lax", "old:1", "2027-02-13"),
            ("lax", "app:1", "2027-03-05"),
        ]
    );
}

#[test]
fn an_unknown_date_is_refused_only_where_the_policy_says_so() {
    let evidence = evidence(&[("app:1", platforms(vec![Fact::unknown(UnknownReason::NoDate, "1970")]))]);
    let spec = |on_unknown: &str| json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d", "onUnknown": on_unknown}});
    assert_eq!(days(&evidence, vec![policy("p", spec("Warn"))], &["app:1"]), []);
    assert_eq!(days(&evidence, vec![policy("p", spec("Deny"))], &["app:1"])[0].2, "2026-11-25");
}

#[test]
fn what_a_step_leads_to_is_asked_about_in_its_place() {
    let evidence = evidence(&[("app:1", built(100)), ("other:1", built(200))]);
    let set = PolicySet::new(vec![policy("p", json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}}))]);
    let instead = |days_ago| {
        let target = built(days_ago);
        refused_instead(&subject(&["app:1", "other:1"]), &evidence, &set, "app:1", ("app:2", &target), now())
    };
    assert_eq!(instead(95).map(|day| day.to_string()).as_deref(), Some("2026-11-25"));
    assert_eq!(instead(10).map(|day| day.to_string()).as_deref(), Some("2027-02-13"));
}

#[test]
fn soon_is_today_and_a_week() {
    let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
    assert_eq!(soon([day(1), day(25), day(26), day(30)], day(25)), (2, 2));
    assert_eq!(soon([NaiveDate::from_ymd_opt(2026, 12, 3).unwrap()], day(25)), (0, 0));
}

proptest! {
    /// Before the day it is not refused, from then on it is, and what has no day never is.
    #[test]
    fn the_instant_is_exact(
        ages_seconds in proptest::collection::vec(0i64..400 * 86_400, 1..4),
        limits_days in proptest::collection::vec(1i64..300, 1..4),
        enforced in proptest::option::of(-100i64..200),
        denies in any::<bool>(),
        off in any::<bool>(),
    ) {
        let dates = ages_seconds.iter().map(|age| {
            let time = now() - TimeDelta::seconds(*age);
            Fact::Known(BuildDate { time, source: Source::Config, class: Class::Claim })
        });
        let evidence = evidence(&[("app:1", platforms(dates.collect()))]);
        let policies = limits_days.iter().enumerate().map(|(index, days)| {
            let actions = if denies || index == 0 { "Deny" } else { "Warn" };
            let mut spec = json!({"validationActions": [actions], "imageAge": {"maxAge": format!("{days}d")}});
            if let Some(enforced) = enforced {
                spec["enforceFrom"] = json!((now() + TimeDelta::days(enforced)).date_naive());
            }
            if off && index == 0 {
                spec["imageAge"]["overrides"] = json!([{"images": ["app"], "maxAge": "off"}]);
            }
            policy(&format!("p{index}"), spec)
        });
        let set = PolicySet::new(policies.collect());
        let subject = subject(&["app:1"]);
        let refuses = |policy: &str, at: DateTime<Utc>| {
            evaluate(&subject, &evidence, &set, at).denials().any(|denial| denial.policy == policy)
        };
        let found = refusals(&subject, &evidence, &set, now());
        prop_assert!(found.is_sorted_by_key(|refusal| refusal.at));
        for policy in set.iter().map(|policy| policy.name.as_str()) {
            match found.iter().find(|refusal| refusal.policy == policy) {
                Some(refusal) => {
                    prop_assert!(refuses(policy, refusal.at));
                    let just_before = refusal.at - TimeDelta::seconds(1);
                    prop_assert!(just_before < now() || !refuses(policy, just_before));
                }
                None => prop_assert!(!refuses(policy, now() + TimeDelta::days(2_000))),
            }
        }
    }
}

#[test]
fn an_exception_counts_until_it_ends() {
    let grant = Grant {
        name: "until-monday".into(),
        rules: vec![Rule::ImageAge],
        reason: Reason::Security,
        digest: None,
        dependency: None,
        ticket: None,
        granted_by: "alice".into(),
        granted_at: now() - TimeDelta::days(1),
        expires_at: now() + TimeDelta::days(5),
    };
    let evidence = Evidence { exceptions: vec![grant], ..evidence(&[("old:1", built(112))]) };
    let spec = json!({"validationActions": ["Deny"], "imageAge": {"maxAge": "90d"}});
    assert_eq!(days(&evidence, vec![policy("p", spec)], &["old:1"])[0].2, "2026-11-30");
}
