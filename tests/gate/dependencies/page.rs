//! The HTML report in a real browser: on a desk and on a phone, by day and by night.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cluster::browser::{Browser, Screen};
use crate::cluster::image::{self, Config, Image};
use crate::command_line::run;
use crate::reviews::{POLICY, policies};

const WORKLOADS: usize = 400;
/// Where texts stand out from what is behind them by less, some cannot read them (WCAG 2, AA).
const LEAST_CONTRAST: f64 = 4.5;
/// Smaller letters are not readable on a phone, in CSS pixels.
const SMALLEST_LETTER: f64 = 10.5;
/// A name that would run, load and break the page if it were taken as it is.
const HOSTILE: &str = "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x.png' onerror=\"document.title='ran'\"><style>@import 'http://127.0.0.1:9/x.css';</style>";

/// What is measured in the page: texts that are cut or stick out, and what a picture is made of.
const MEASURE: &str = r"(() => {
    for (const details of document.querySelectorAll('details')) details.open = true;
    const width = window.innerWidth;
    const sticksOut = one => { const box = one.getBoundingClientRect(); return box.right > width + 0.5 || box.left < -0.5; };
    const isCut = one => !one.closest('svg') && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1;
    const names = list => list.slice(0, 5).map(one => `${one.tagName} ${one.className}: ${one.textContent.slice(0, 60)}`);
    const all = [...document.querySelectorAll('body, body *')];
    const picture = document.querySelector('svg');
    const frame = picture.getBoundingClientRect();
    const behind = one => {
        for (let at = one; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (color !== 'rgba(0, 0, 0, 0)') return color;
        }
    };
    const texts = all.filter(one => !one.closest('svg') && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    const pairs = new Set(texts.map(one => getComputedStyle(one).color + '|' + behind(one)));
    for (const one of picture.querySelectorAll('text, rect')) pairs.add(getComputedStyle(one).fill + '|' + behind(picture));
    const shrunk = frame.width / picture.viewBox.baseVal.width;
    return {
        title: document.title,
        innerWidth: width,
        scrollWidth: document.documentElement.scrollWidth,
        sticksOut: names(all.filter(sticksOut)),
        isCut: names(all.filter(isCut)),
        scripts: document.scripts.length,
        handlers: all.filter(one => one.getAttributeNames().some(name => name.startsWith('on'))).length,
        links: document.querySelectorAll('[src], [href], iframe, object, embed, img, link').length,
        urgencies: [...new Set([...document.querySelectorAll('article')].map(one => one.className))].sort().join(' '),
        cards: document.querySelectorAll('article').length,
        steps: document.querySelectorAll('article ol > li').length,
        pictureHeight: frame.height,
        bars: [...picture.querySelectorAll('rect')].map(one => one.getBoundingClientRect().width),
        outsideOfPicture: [...picture.querySelectorAll('text')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.left < frame.left - 0.5 || box.right > frame.right + 0.5;
        }).length,
        letters: Math.min(
            ...texts.map(one => parseFloat(getComputedStyle(one).fontSize)),
            ...[...picture.querySelectorAll('text')].map(one => parseFloat(getComputedStyle(one).fontSize) * shrunk),
        ),
        paper: getComputedStyle(document.body).backgroundColor,
        pairs: [...pairs],
    };
})()";

fn built(seed: &str, days_ago: i64) -> Image {
    Config::created(seed, &(Utc::now() - TimeDelta::days(days_ago)).to_rfc3339()).image()
}

/// Writes a report of many workloads whose names leave no room to break a line, and some that are hostile.
fn large_report(folder: &Path) -> PathBuf {
    let repository = format!("registry.example/{}", "a-team-with-a-long-name/".repeat(8) + "checkout");
    let suffix = "withoutanyplacetobreakaline".repeat(4);
    let layout = folder.join("images");
    let images: Vec<(String, Image)> = (0..40)
        .flat_map(|number| {
            // Of every age; each with a patch and a major.
            let age = 4 + number * 12;
            let tag = |version: &str| format!("{repository}-{number}:{version}-{suffix}");
            [("1.0.0", age), ("1.0.9", age / 2), ("2.0.0", 1)]
                .map(|(version, days)| (tag(version), built(&format!("{number} {version}"), days)))
        })
        .collect();
    image::write_layout(&layout, &images.iter().map(|(name, image)| (name.as_str(), image)).collect::<Vec<_>>());
    let long = "x".repeat(250);
    let mut manifests = String::new();
    for number in 0..WORKLOADS {
        let image = format!("{repository}-{}:1.0.0-{suffix}", number % 40);
        let namespace = format!("{}-{}", "n".repeat(60), number % 9);
        let name = if number % 100 == 7 { format!("{HOSTILE}{number}") } else { format!("{long}{number:03}") };
        let name = serde_json::to_string(&name).unwrap();
        writeln!(
            manifests,
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{template: {{spec: {{containers: [{{name: app, image: '{image}'}}, {{name: side, image: 'registry.example/{long}:latest'}}]}}}}}}\n---"
        )
        .unwrap();
    }
    let file = folder.join("manifests.yaml");
    std::fs::write(&file, manifests).unwrap();
    // What is not known is not refused, so that some are refused soon, some later and some not at all.
    let policy = policies(&POLICY.replace("onUnknown: Deny", "onUnknown: Warn"));
    let (file, policy) = (file.display().to_string(), policy.path().display().to_string());
    let mirror = format!("registry.example=oci:{}", layout.display());
    let (code, page, stderr) =
        run(&["report", "-f", &file, "--policies", &policy, "--mirror", &mirror, "-o", "html"], "");
    assert_eq!(code, 0, "{stderr}");
    let at = folder.join("report.html");
    std::fs::write(&at, page).unwrap();
    at
}

/// How much two colors of CSS differ, as WCAG 2 counts it: 1 to 21.
fn contrast(pair: &str) -> f64 {
    let luminance = |color: &str| {
        let digits = |part: &str| part.chars().filter(|one| one.is_ascii_digit() || *one == '.').collect::<String>();
        let channel = |part: &str| {
            let share = digits(part).parse::<f64>().unwrap_or_else(|_| panic!("{pair}")) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        let channels: Vec<f64> = color.split(',').map(channel).collect();
        assert_eq!(channels.len(), 3, "a color that is not opaque: {pair}");
        0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    };
    let (one, other) = pair.split_once('|').unwrap();
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn a_browser_shows_the_report_whole_on_a_desk_and_on_a_phone_by_day_and_by_night() {
    assert!((contrast("rgb(0, 0, 0)|rgb(255, 255, 255)") - 21.0).abs() < 0.01);
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = large_report(folder.path());
    let mut papers = Vec::new();
    for (width, is_phone) in [(1280, false), (375, true), (320, true)] {
        for is_dark in [false, true] {
            let screen = Screen { width, is_phone, is_dark };
            let loaded = browser.open(&page, screen);
            let seen = browser.evaluate(MEASURE);
            if let Some(pictures) = std::env::var_os("FRESHGATE_PICTURES") {
                let name = format!("{width}-{}.png", if is_dark { "dark" } else { "light" });
                std::fs::write(Path::new(&pictures).join(name), STANDARD.decode(browser.picture()).unwrap()).unwrap();
            }

            // A phone makes a page small that is too wide for it, and then its window is wider than the phone.
            let widths = (&seen["innerWidth"], &seen["scrollWidth"]);
            assert_eq!(widths, (&Value::from(width), &Value::from(width)), "{screen:?}: {seen:#}");
            for nothing in ["sticksOut", "isCut"] {
                assert_eq!(seen[nothing], Value::Array(Vec::new()), "{screen:?}: {nothing}");
            }
            assert_eq!(loaded.requests, [url::Url::from_file_path(&page).unwrap().to_string()], "{screen:?}");
            assert_eq!(loaded.complaints, Vec::<String>::new(), "{screen:?}");
            for none in ["scripts", "handlers", "links", "outsideOfPicture"] {
                assert_eq!(seen[none], 0, "{screen:?}: {none}");
            }
            assert!(seen["title"].as_str().unwrap().starts_with("Freshgate: 400 workloads"), "{}", seen["title"]);

            assert_eq!((&seen["cards"], &seen["urgencies"]), (&json!(WORKLOADS), &json!("later now soon")));
            assert!(seen["steps"].as_u64().unwrap() >= 2 * WORKLOADS as u64, "{}", seen["steps"]);
            let bars: Vec<f64> = seen["bars"].as_array().unwrap().iter().map(|bar| bar.as_f64().unwrap()).collect();
            assert_eq!(bars.len(), 8, "one for each span of ages");
            assert!(bars.iter().filter(|width| **width > 10.0).count() >= 5, "{bars:?}");
            assert!(seen["pictureHeight"].as_f64().unwrap() > 100.0, "{}", seen["pictureHeight"]);
            assert!(seen["letters"].as_f64().unwrap() >= SMALLEST_LETTER, "{screen:?}: {}", seen["letters"]);
            for pair in seen["pairs"].as_array().unwrap() {
                let pair = pair.as_str().unwrap();
                assert!(contrast(pair) >= LEAST_CONTRAST, "{screen:?}: {pair} is {:.2}", contrast(pair));
            }
            papers.push(seen["paper"].as_str().unwrap().to_owned());
        }
    }
    assert!(papers.chunks(2).all(|both| both[0] == "rgb(255, 255, 255)" && both[1] != both[0]), "{papers:?}");
}
