//! `freshgate report`: the steps, the forecast, and what is said where something is missing.

use std::path::Path;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::{self, Config, Image, entry, index, materials_entry};
use crate::cluster::registry::Registry;
use crate::command_line::run;
use crate::reviews::{POLICY, policies};

fn built(seed: &str, days_ago: i64) -> Image {
    Config::created(seed, &(Utc::now() - TimeDelta::days(days_ago)).to_rfc3339()).image()
}

fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop, labels: {{team: checkout}}}}\nspec: {{template: {{spec: {{containers: [{{name: app, image: '{image}'}}]}}}}}}\n---\n"
    )
}

/// Runs `report -o json` over manifests; its exit code is 0.
fn report(manifests: &str, policy: &str, host: &str) -> Value {
    let folder = policies(policy);
    let folder = folder.path().display().to_string();
    let args = ["report", "-f", "-", "--policies", &folder, "--insecure-registry", host, "-o", "json"];
    let (code, stdout, stderr) = run(&args, manifests);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn steps(workload: &Value) -> Vec<(String, String, String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = workload["findings"].as_array().unwrap().iter();
    findings.map(|one| (text(one, "kind"), text(one, "step"), text(one, "from"), text(one, "to"))).collect()
}

fn missing(report: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    report["notLookedUp"].as_array().unwrap().iter().map(|one| (text(one, "what"), text(one, "why"))).collect()
}

fn newer(step: &str, from: &str, to: &str) -> (String, String, String, String) {
    ("newer-tag".to_owned(), step.to_owned(), from.to_owned(), to.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_of_a_real_repository() {
    let real = Registry::distribution();
    let same = built("1.2.3", 80);
    for (tag, days) in [
        ("1.2.3", 80),
        ("1.2.9", 75),
        ("1.2.10", 41),
        ("1.2.11-rc1", 2),
        ("1.2.12-alpine", 1),
        ("1.4.0", 30),
        ("1.4.7", 20),
        ("1.5.0", 10),
        ("3.0.0", 5),
        ("3.0.1", 4),
        ("4.0.0", 1),
        ("v9.0.0", 1),
        ("2026.1.0", 1),
        ("20261101", 1),
        ("latest", 0),
        // Newer by its name alone, the same image by another name, and gone.
        ("1.2.20", 500),
        ("1.2.21", 80),
        ("1.2.30", 1),
    ] {
        // The first of them by another name.
        let image = if matches!(tag, "1.2.3" | "1.2.21") { same.clone() } else { built(tag, days) };
        real.push("app", tag, &image);
    }
    let faulty = FaultyRegistry::before(&real.host()).await;
    faulty.set(Fault::Status(404, None).at("/manifests/1.2.30"));
    let host = faulty.host();
    let manifests =
        deployment("checkout", &format!("{host}/app:1.2.3")) + &deployment("latest", &format!("{host}/app:latest"));
    let said = report(&manifests, POLICY, &host);
    let checkout = &said["workloads"][0];
    assert_eq!((&checkout["name"], &checkout["team"]), (&json!("checkout"), &json!("checkout")));
    assert_eq!(checkout["refusedOn"], (Utc::now() + TimeDelta::days(10)).date_naive().to_string());
    assert_eq!(
        steps(checkout),
        [newer("patch", "1.2.3", "1.2.10"), newer("minor", "1.2.3", "1.4.7"), newer("major", "1.2.3", "3.0.1")]
    );
    assert_eq!(checkout["findings"][1]["ageDays"], 20);
    assert_eq!(checkout["findings"][1]["how"], format!("image: {host}/app:1.4.7"));
    let why = checkout["findings"][1]["why"].as_str().unwrap();
    assert_eq!(
        why,
        "1.4.7 is the newest patch of the next minor after 1.2.3, and was built 20 days ago; what is used now was built 80 days ago."
    );
    let said_missing = missing(&said);
    for (what, part) in [
        (format!("{host}/app:1.2.30"), "it is listed, and not there"),
        (format!("{host}/app:1.2.20"), "newer by its name alone"),
        (format!("newer tags than {host}/app:latest"), "the tag \"latest\" cannot be compared: it names no version"),
    ] {
        assert!(said_missing.iter().any(|(one, why)| *one == what && why.contains(part)), "{what}: {said_missing:?}");
    }
    assert_eq!(said_missing.len(), 3, "{said_missing:?}");

    faulty.set(Fault::None);
    let said = report(&deployment("checkout", &format!("{host}/app:1.2.3")), POLICY, &host);
    let checkout = &said["workloads"][0];
    assert_eq!(steps(checkout)[0], newer("patch", "1.2.3", "1.2.30"));
    // A step keeps its id when its target moves on.
    let id = checkout["findings"][0]["id"].clone();
    real.push("app", "1.2.31", &built("1.2.31", 0));
    let said = report(&deployment("checkout", &format!("{host}/app:1.2.3")), POLICY, &host);
    let patch = &said["workloads"][0]["findings"][0];
    assert_eq!((&patch["id"], &patch["to"]), (&id, &json!("1.2.31")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floating_tag_is_a_step_behind_only_where_it_stands_still() {
    let registry = Registry::distribution();
    let host = registry.host();
    let node = format!("{host}/node:18.20");
    let (standing, newest) = (built("18.20", 78), built("18.20.8", 41));
    registry.push("node", "18.20", &standing);
    registry.push("node", "18.20.8", &newest);
    registry.push("node", "18.20.9-rc1", &built("18.20.9-rc1", 1));
    let said = |image: &str| report(&deployment("node", image), POLICY, &host);
    let found = said(&node);
    assert_eq!(steps(&found["workloads"][0]), [newer("patch", "18.20", "18.20.8")]);
    let step = &found["workloads"][0]["findings"][0];
    assert_eq!((&step["ageDays"], &step["how"]), (&json!(41), &json!(format!("image: {host}/node:18.20.8"))));
    assert_eq!(
        step["why"],
        "18.20.8 is the newest patch of 18.20, a tag that means an older build, and was built 41 days ago; what is used now was built 78 days ago."
    );
    assert_eq!(missing(&found), []);

    // Built anew since the patch: the tag moves, and whoever is pinned to what it meant is told of that alone.
    let pinned = format!("{node}@{}", standing.digest);
    assert_eq!(steps(&said(&pinned)["workloads"][0]), [newer("patch", "18.20", "18.20.8")]);
    let rebuilt = |to: &Image| ("rebuilt".into(), "rebuild".into(), standing.digest.clone(), to.digest.clone());
    for (what, moved) in [("built after it", built("18.20 again", 7)), ("the patch itself", newest)] {
        registry.push("node", "18.20", &moved);
        assert_eq!(steps(&said(&node)["workloads"][0]), [], "{what}");
        assert_eq!(steps(&said(&pinned)["workloads"][0]), [rebuilt(&moved)], "{what}");
    }

    // Without a date nobody knows which is newer; a lower minor and another shape are nobody's patch.
    registry.push("other", "1.2", &built("1.2", 80));
    registry.push("other", "1.2.7", &Config::dateless("1.2.7").image());
    registry.push("other", "1.1.9", &built("1.1.9", 3));
    registry.push("other", "1.2.8-alpine", &built("1.2.8-alpine", 3));
    let found = said(&format!("{host}/other:1.2"));
    assert_eq!(steps(&found["workloads"][0]), []);
    let unsaid =
        (format!("whether {host}/other:1.2.7 is newer than 1.2"), "1.2.7 has no build date that is known".into());
    assert_eq!(missing(&found), [unsaid]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_registry_is_silent_nothing_is_guessed() {
    let real = Registry::distribution();
    for (tag, days) in [("1.0.0", 100), ("1.0.1", 10), ("1.1.0", 5)] {
        real.push("app", tag, &built(tag, days));
    }
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    let manifests = deployment("app", &format!("{host}/app:1.0.0"));

    faulty.set(Fault::Status(429, Some("9".into())).at("/tags/list"));
    let said = report(&manifests, POLICY, &host);
    assert_eq!(steps(&said["workloads"][0]), []);
    assert_eq!(said["workloads"][0]["refusedOn"], Utc::now().date_naive().to_string());
    let listed = (format!("newer tags of {host}/app"), format!("{host} answered 429; it is asked again in 9 seconds"));
    let said_missing = missing(&said);
    assert_eq!(said_missing.first(), Some(&listed));
    // What is asked beside it may come too late: then the registry's wish is honoured, and that is said.
    assert!(said_missing.iter().skip(1).all(|(_, why)| why.contains("asked to be left alone")), "{said_missing:?}");

    // The newest patch does not answer: an older one would be a wrong answer, the minor is not.
    faulty.set(Fault::Status(503, None).at("/manifests/1.0.1"));
    let said = report(&manifests, POLICY, &host);
    assert_eq!(steps(&said["workloads"][0]), [newer("minor", "1.0.0", "1.1.0")]);
    assert_eq!(missing(&said), [(format!("{host}/app:1.0.1"), format!("{host} answered 503"))]);

    faulty.set(Fault::Status(503, None));
    let said = report(&manifests, POLICY, &host);
    assert_eq!(steps(&said["workloads"][0]), []);
    let image = format!("{host}/app:1.0.0");
    assert_eq!(missing(&said), [(format!("the build date of {image}"), format!("{host} answered 503"))]);
    assert!(said["workloads"][0]["images"][0]["ageDays"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_vanished_is_named_and_its_tag_is_looked_up_all_the_same() {
    let real = Registry::distribution();
    let (gone, now) = (built("gone", 60), built("now", 2));
    real.push("app", "1.0.0", &gone);
    real.push("app", "1.0.0", &now);
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    faulty.set(Fault::Status(404, None).at(&format!("/manifests/{}", gone.digest)));
    let pinned = format!("{host}/app:1.0.0@{}", gone.digest);
    let said = report(&deployment("app", &pinned), POLICY, &host);
    let workload = &said["workloads"][0];
    assert!(workload["images"][0]["ageDays"].is_null() && workload["images"][0]["built"].is_null());
    let rebuilt = ("rebuilt".into(), "rebuild".into(), gone.digest.clone(), now.digest.clone());
    assert_eq!(steps(workload), [rebuilt]);
    assert_eq!(workload["findings"][0]["why"], "1.0.0 means another image by now, which was built 2 days ago.");
    let said_missing = missing(&said);
    assert_eq!(said_missing.len(), 1, "{said_missing:?}");
    assert_eq!(said_missing[0].0, format!("the build date of {pinned}"));
    assert!(said_missing[0].1.ends_with("has no such image: it answered 404"), "{said_missing:?}");
}

#[test]
fn a_clock_that_is_ahead_makes_nothing_young() {
    let registry = Registry::distribution();
    let host = registry.host();
    let ahead = |seed: &str, minutes: i64| {
        Config::created(seed, &(Utc::now() + TimeDelta::minutes(minutes)).to_rfc3339()).image()
    };
    registry.push("app", "1.0.0", &built("1.0.0", 30));
    // Built on a machine whose clock is a little ahead, and on one whose clock is wrong.
    registry.push("app", "1.0.1", &ahead("1.0.1", 2));
    registry.push("app", "1.1.0", &ahead("1.1.0", 60 * 24 * 3));
    let said = report(&deployment("app", &format!("{host}/app:1.0.0")), POLICY, &host);
    let workload = &said["workloads"][0];
    assert_eq!(steps(workload), [newer("patch", "1.0.0", "1.0.1"), newer("minor", "1.0.0", "1.1.0")]);
    assert_eq!(workload["findings"][0]["ageDays"], 0, "{workload}");
    assert!(workload["findings"][1]["ageDays"].is_null(), "{workload}");
    let said_missing = missing(&said);
    assert_eq!(said_missing[0].0, format!("the build date of {host}/app:1.1.0"));
    assert!(said_missing[0].1.contains("future"), "{said_missing:?}");
    // What runs itself is of no known age, and not of a negative one.
    let said = report(&deployment("app", &format!("{host}/app:1.1.0")), POLICY, &host);
    assert!(said["workloads"][0]["images"][0]["ageDays"].is_null());
    assert_eq!(said["workloads"][0]["refusedOn"], Utc::now().date_naive().to_string(), "the policy refuses no date");
}

#[test]
fn what_is_excepted_is_said_and_its_day_is_the_end_of_the_exception() {
    let registry = Registry::distribution();
    let host = registry.host();
    let old = registry.push("app", "1.0.0", &built("1.0.0", 112));
    let folder = policies(POLICY);
    let ends = (Utc::now() + TimeDelta::days(5)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let exception = format!(
        "apiVersion: freshgate.dev/v1alpha1\nkind: GateException\nmetadata: {{name: closes-a-hole}}\nspec:\n  targets: [{{namespace: shop, kind: Deployment, name: excepted}}]\n  rules: [imageAge]\n  reason: security\n  text: closes a hole\n  expiresAt: {ends}\n"
    );
    std::fs::write(folder.path().join("exception.yaml"), exception).unwrap();
    let manifests = deployment("excepted", &old) + &deployment("other", &old);
    let folder = folder.path().display().to_string();
    let args = |form| ["report", "-f", "-", "--policies", &folder, "--insecure-registry", &host, "-o", form];
    let (code, stdout, stderr) = run(&args("json"), &manifests);
    assert_eq!(code, 0, "{stderr}");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    let of =
        |name: &str| said["workloads"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap();
    let excepted = of("excepted");
    assert_eq!(excepted["refusedOn"], ends[..10], "{excepted}");
    let by = json!([{"name": "closes-a-hole", "policy": "production", "until": ends}]);
    assert_eq!(excepted["images"][0]["exceptions"], by);
    let other = of("other");
    assert_eq!(other["refusedOn"], Utc::now().date_naive().to_string());
    assert!(other["images"][0]["exceptions"].is_null(), "{other}");
    assert_eq!(said["summary"]["refused"], 1);
    for form in ["table", "markdown", "html"] {
        let (_, stdout, _) = run(&args(form), &manifests);
        let words = format!("built 112 days ago, excepted until {} by closes-a-hole", &ends[..10]);
        assert!(stdout.contains(&words), "{form}: {stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_rebuilt_is_told_from_one_that_gained_a_platform() {
    let registry = Registry::distribution();
    let host = registry.host();
    let platform = |architecture: &str, days| {
        let created = (Utc::now() - TimeDelta::days(days)).to_rfc3339();
        entry(architecture, Config::created(architecture, &created).platform(architecture).image())
    };
    let at = (Utc::now() - TimeDelta::days(50)).to_rfc3339();
    let amd64 = || entry("amd64", Config::created("amd64", &at).image());
    let old = index(vec![amd64()], &json!({}));
    registry.push("app", "1.0", &old);
    registry.push("app", "was", &old);
    let pinned = format!("{host}/app:1.0@{}", old.digest);
    let manifests = deployment("app", &pinned);
    assert_eq!(steps(&report(&manifests, POLICY, &host)["workloads"][0]), []);

    let more = index(vec![amd64(), platform("arm64", 1)], &json!({}));
    registry.push("app", "1.0", &more);
    assert_eq!(steps(&report(&manifests, POLICY, &host)["workloads"][0]), [], "a platform beside it is no rebuild");

    let rebuilt = index(vec![platform("amd64", 3)], &json!({}));
    registry.push("app", "1.0", &rebuilt);
    let said = report(&manifests, POLICY, &host);
    let found = &said["workloads"][0]["findings"][0];
    assert_eq!((&found["kind"], &found["step"]), (&json!("rebuilt"), &json!("rebuild")));
    assert_eq!((&found["from"], &found["to"]), (&json!(old.digest), &json!(rebuilt.digest)));
    assert_eq!(found["how"], format!("image: {host}/app:1.0@{}", rebuilt.digest));
    assert_eq!(found["ageDays"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_moved_is_known_by_annotation_and_by_provenance() {
    let registry = Registry::distribution();
    let host = registry.host();
    let (old_base, new_base) = (built("old base", 100), built("new base", 6));
    registry.push("base", "12", &old_base);
    registry.push("base", "12-old", &old_base);
    let base = format!("{host}/base:12");
    let annotated = Config::created("annotated", &(Utc::now() - TimeDelta::days(60)).to_rfc3339()).image_with(&json!({
        "org.opencontainers.image.base.name": base, "org.opencontainers.image.base.digest": old_base.digest,
    }));
    registry.push("annotated", "build-a", &annotated);
    let child = built("attested", 60);
    let material = format!("pkg:docker/{host}/base@12?platform=linux%2Famd64");
    let tool = ("pkg:docker/docker/dockerfile@1", old_base.digest.as_str());
    let attestation = materials_entry(&child, &[(&material, &old_base.digest), tool]);
    registry.push("attested", "build-b", &index(vec![entry("amd64", child), attestation], &json!({})));
    let manifests = deployment("annotated", &format!("{host}/annotated:build-a"))
        + &deployment("attested", &format!("{host}/attested:build-b"));
    let of = |said: &Value, name: &str| {
        said["workloads"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap()
    };
    let said = report(&manifests, POLICY, &host);
    for name in ["annotated", "attested"] {
        assert_eq!(steps(&of(&said, name)), [], "{name}: it has not moved yet");
    }
    registry.push("base", "12", &new_base);
    let said = report(&manifests, POLICY, &host);
    for (name, origin) in [("annotated", "its annotation"), ("attested", "its build provenance")] {
        let workload = of(&said, name);
        let found = &workload["findings"][0];
        assert_eq!((&found["kind"], &found["step"]), (&json!("base-drift"), &json!("rebuild")), "{name}");
        assert_eq!(found["from"], format!("{base}@{}", old_base.digest), "{name}");
        assert_eq!(found["to"], format!("{base}@{}", new_base.digest), "{name}");
        assert_eq!(found["ageDays"], 6, "{name}");
        assert!(found["why"].as_str().unwrap().contains(origin), "{found}");
        assert!(found["how"].as_str().unwrap().contains("docker build --pull"), "{found}");
    }
}

#[test]
fn a_list_a_folder_and_a_layout_are_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("images");
    image::write_layout(
        &layout,
        &[("checkout:1.0.0", &built("a", 112)), ("checkout:1.0.4", &built("b", 9)), ("2.0", &built("c", 3))],
    );
    let layout_arg = format!("oci:{}", layout.display());
    let policy = policies(POLICY);
    let policy = policy.path().display().to_string();
    let (code, stdout, stderr) = run(&["report", &layout_arg, "--policies", &policy, "-o", "json"], "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&stdout).unwrap();
    let names: Vec<&str> =
        said["workloads"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["checkout:1.0.0", "checkout:1.0.4", "localhost/images:2.0"]);
    assert_eq!(steps(&said["workloads"][0]), [newer("patch", "1.0.0", "1.0.4")]);
    assert_eq!(said["workloads"][0]["refusedOn"], Utc::now().date_naive().to_string());
    assert_eq!(said["summary"]["refused"], 1);

    let mirror = format!("docker.io={layout_arg}");
    let list = folder.path().join("images.txt");
    std::fs::write(&list, "# what runs\ncheckout:1.0.0 # the shop\n\ncheckout:1.0.0\n").unwrap();
    let list = list.display().to_string();
    let (code, stdout, _) = run(&["report", "--images", &list, "--mirror", &mirror, "-o", "json"], "");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, said["workloads"].as_array().unwrap().len()), (0, 1));
    assert!(said["workloads"][0]["refusedOn"].is_null(), "without policies nothing is refused");

    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("b.yaml"), deployment("b", "checkout:1.0.0")).unwrap();
    std::fs::write(manifests.join("a.yml"), deployment("a", "checkout:1.0.4")).unwrap();
    std::fs::write(manifests.join("README.md"), "no manifest").unwrap();
    let manifests = manifests.display().to_string();
    let (code, stdout, _) = run(&["report", "-f", &manifests, "--policies", &policy, "--mirror", &mirror], "");
    assert_eq!(code, 0);
    assert!(
        stdout.starts_with("2 workloads, 2 images: 1 refused today, 0 more within a week; 1 next step.\n"),
        "{stdout}"
    );
    assert!(stdout.contains("\nshop\n  Deployment shop/b — refused today\n"), "{stdout}");

    // A later report says what has changed since.
    let earlier = folder.path().join("earlier.json");
    let args = ["report", "-f", &manifests, "--policies", &policy, "--mirror", &mirror];
    std::fs::write(&earlier, run(&[&args[..], &["-o", "json"]].concat(), "").1).unwrap();
    std::fs::write(Path::new(&manifests).join("b.yaml"), deployment("b", "checkout:1.0.4")).unwrap();
    let since = earlier.display().to_string();
    let (_, stdout, _) = run(&[&args[..], &["--since", &since]].concat(), "");
    assert!(stdout.contains("1 step taken or gone, 0 new; then 1 workload was refused"), "{stdout}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("list"), "checkout:1.0\nNot An Image\n").unwrap();
    std::fs::write(path("report.json"), "{\"workloads\": 1}").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    let nobody = ["--allow-registry", "nobody.example"];
    for (args, code, said) in [
        (
            vec!["--images", &path("list")],
            2,
            format!("error: {}:2: \"Not An Image\" is not an image reference", path("list")),
        ),
        (vec!["--images", &path("none")], 2, format!("error: {} cannot be read", path("none"))),
        (vec!["-f", &path("empty")], 2, format!("error: {} has no *.yaml, *.yml or *.json at its top", path("empty"))),
        (vec![&format!("oci:{}", path("empty"))], 2, "error: the image layout".to_owned()),
        (
            vec!["-f", "-", "--since", &path("report.json")],
            2,
            format!("error: {}:1: it is no report of freshgate", path("report.json")),
        ),
        (vec!["-f", "-", "--policies", &path("nowhere")], 2, "nowhere".to_owned()),
        (
            vec!["checkout:1.0"],
            2,
            "an image layout is written oci:DIR; manifests are named with -f, images with --images".to_owned(),
        ),
        (vec![], 2, "required arguments were not provided".to_owned()),
    ]
    .map(|(args, code, said): (Vec<&str>, i32, String)| {
        (args.into_iter().map(str::to_owned).collect::<Vec<_>>(), code, said)
    }) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (got, stdout, stderr) = run(&[&["report"], &args[..], &nobody[..]].concat(), "");
        assert_eq!(got, code, "{args:?}: {stdout}{stderr}");
        assert!(stderr.contains(&said), "{args:?}: {stderr}");
    }
    // What can be read is reported all the same, with why nothing is known of it.
    let (_, stdout, _) = run(&[&["report", "--images", &path("list")], &nobody[..]].concat(), "");
    assert!(
        stdout.contains(
            "the build date of checkout:1.0: the registry docker.io is not on the list of allowed registries"
        ),
        "{stdout}"
    );
}

#[test]
fn a_hostile_name_is_inert_in_every_form() {
    let hostile = "x<script>alert(1)</script>|`y`\\u001b[31m";
    let manifest = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{hostile}\"}},\"spec\":{{\"containers\":[{{\"name\":\"app\",\"image\":\"{hostile}\"}}]}}}}"
    );
    for form in ["table", "markdown", "html"] {
        let (code, stdout, stderr) = run(&["report", "-f", "-", "-o", form], &manifest);
        assert_eq!(code, 0, "{stderr}");
        assert!(!stdout.contains('\u{1b}'), "{form}: {stdout}");
        assert!(form == "table" || !stdout.contains("<script"), "{form}: {stdout}");
    }
}
