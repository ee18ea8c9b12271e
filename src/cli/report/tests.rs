//! The forms of one report, as they are printed.

use chrono::{NaiveDate, TimeDelta};
use insta::assert_snapshot;

use super::*;
use crate::args::GroupBy;
use crate::dependency::finding::{
    Finding, ImageReport, Kind, NotLookedUp, RefusedOn, Step, WorkloadReport, short, stable_id,
};
use crate::image::build_date::{BuildDate, Class, Source, read_date};

const DIGEST: &str = "sha256:4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c";
const HOSTILE: &str = "<script>alert(1)</script>|`@all`\u{1b}[31m";

fn now() -> DateTime<Utc> {
    read_date("2026-11-25T12:00:00Z").unwrap()
}

fn day(in_days: i64) -> NaiveDate {
    (now() + TimeDelta::days(in_days)).date_naive()
}

fn image(name: &str, age_days: Option<i64>, refused_in: Option<i64>) -> ImageReport {
    let built = age_days.map(|days| BuildDate {
        time: now() - TimeDelta::days(days),
        source: Source::Config,
        class: Class::Claim,
    });
    ImageReport {
        image: name.to_owned(),
        digest: Some(DIGEST.to_owned()),
        built,
        age_days,
        unknown: age_days.is_none().then(|| "registry.example answered 503".to_owned()),
        refusals: refused_in
            .map(|days| RefusedOn { policy: "production".to_owned(), on: day(days) })
            .into_iter()
            .collect(),
        exceptions: Vec::new(),
        libyears: None,
    }
}

fn finding(image: &str, kind: Kind, step: Step, from: &str, to: &str) -> Finding {
    Finding {
        id: stable_id(kind, &[image, from, step.as_str()]),
        kind,
        step,
        image: image.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        age_days: Some(41),
        why: format!("{} is what comes after {}, and was built 41 days ago.", short(to), short(from)),
        how: match kind {
            Kind::Rebuilt => format!("image: node:18.20.4@{to}"),
            Kind::BaseDrift => "rebuild it with `docker build --pull`".to_owned(),
            _ => format!("image: node:{to}"),
        },
        refused_on: Some(day(12)),
        target_refused_on: None,
        target: None,
    }
}

fn workload(namespace: &str, name: &str, images: Vec<ImageReport>, findings: Vec<Finding>) -> WorkloadReport {
    WorkloadReport {
        namespace: namespace.to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        team: (namespace == "shop").then(|| "checkout".to_owned()),
        refused_on: images.iter().filter_map(|image| image.refusals.first()).map(|refusal| refusal.on).min(),
        images,
        findings,
        more_findings: 0,
    }
}

fn report() -> Report {
    let node = "node:18.20.4";
    let mut with_packages = image(node, Some(78), Some(12));
    let worst_package = Some("left|pad 1.1.0".to_owned());
    with_packages.libyears = Some(Libyears { total: 12.345, mean: 0.398, worst: 3.1, worst_package, packages: 31 });
    let mut newest = image("sidecar:1.0", Some(3), Some(87));
    newest.libyears = Some(Libyears { packages: 1, ..Libyears::default() });
    let mut leads_nowhere = finding("old:1", Kind::NewerTag, Step::Major, "1", "2");
    leads_nowhere.target_refused_on = Some(day(0));
    let mut many = workload(
        "shop",
        "checkout",
        vec![with_packages, newest],
        vec![
            finding(node, Kind::Rebuilt, Step::Rebuild, DIGEST, DIGEST),
            finding(node, Kind::NewerTag, Step::Patch, "18.20.4", "18.20.8"),
            finding(
                node,
                Kind::BaseDrift,
                Step::Rebuild,
                &format!("debian:12@{DIGEST}"),
                &format!("debian:12@{DIGEST}"),
            ),
        ],
    );
    many.more_findings = 2;
    let workloads = vec![
        workload("bank", "ledger", vec![image("old:1", Some(112), Some(0))], vec![leads_nowhere]),
        many,
        workload("bank", HOSTILE, vec![image(HOSTILE, None, None)], Vec::new()),
    ];
    let missing = NotLookedUp { what: format!("newer tags of {HOSTILE}"), why: "registry.example answered 503".into() };
    whole(workloads, vec![missing.clone(), missing], now())
}

#[test]
fn the_table_is_for_people() {
    assert_snapshot!(table::render(&View::new(&report(), GroupBy::Namespace, None)));
}

#[test]
fn the_comment_is_short_and_is_no_markup_of_others() {
    let said = markdown::render(&View::new(&report(), GroupBy::Team, None));
    assert_snapshot!(said);
    assert!(!said.contains("<script") && !said.contains('\u{1b}'));
    assert_eq!(said.lines().filter(|line| line.starts_with('<')).count(), 2, "the one details element: {said}");
}

#[test]
fn the_page_needs_nothing_else_and_runs_nothing() {
    let page = html::render(&View::new(&report(), GroupBy::Image, None));
    assert_snapshot!(page);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for from_elsewhere in ["src=", "href=", "url(", "@import", "http://", "https://", " onload", " onerror"] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
    assert!(
        page.contains("prefers-color-scheme: dark") && page.contains("<svg") && page.contains("width=device-width")
    );
}

#[test]
fn json_has_the_promised_fields_and_reads_back() {
    let report = report();
    let printed = Printed { report: &report, summary: Summary::of(&report), since: None };
    let json = serde_json::to_value(&printed).unwrap();
    let first = &json["workloads"][1];
    assert_eq!(first["namespace"], "shop");
    assert_eq!(first["refusedOn"], "2026-12-07");
    for field in ["id", "kind", "step", "from", "to", "ageDays", "why", "how"] {
        assert!(!first["findings"][0][field].is_null(), "{field}");
    }
    assert!(json["workloads"][2]["refusedOn"].is_null() && json["workloads"][2]["images"][0]["ageDays"].is_null());
    assert_eq!(json["notLookedUp"].as_array().unwrap().len(), 2, "each once");
    assert_eq!(serde_json::from_value::<Report>(json.clone()).unwrap(), report);
    assert_eq!(
        json["summary"],
        serde_json::json!({"workloads": 3, "images": 4, "refused": 1, "refusedWithinAWeek": 0, "findings": 6, "medianAgeDays": 78})
    );
}

#[test]
fn a_trend_says_what_has_gone_and_come() {
    let earlier = report();
    let mut later = report();
    let shop = later.workloads.iter_mut().find(|workload| workload.namespace == "shop").unwrap();
    shop.findings.remove(0);
    shop.findings.push(finding("node:18.20.4", Kind::NewerTag, Step::Minor, "18.20.4", "18.21.1"));
    // Its target moved on, and so it is the same step still.
    shop.findings[0].to = "18.20.9".to_owned();
    let trend = Trend::between(&earlier, &later);
    assert_eq!((trend.gone, trend.new), (1, 1));
    assert_eq!(
        trend.in_words(),
        "Since 2026-11-25: 1 step taken or gone, 1 new; then 1 workload was refused, the median image was 78 days old."
    );
}

#[test]
fn ages_are_counted_each_image_once() {
    let report = report();
    let ages = View::new(&report, GroupBy::Image, None).ages();
    let counts: Vec<usize> = ages.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 0, 0, 1, 1, 0, 0, 1]);
}
