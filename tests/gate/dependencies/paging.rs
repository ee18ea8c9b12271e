//! Lists of tags: long ones, wrong ones, and those that never end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use chrono::Utc;
use freshgate::image::reference::ImageReference;
use freshgate::image::resolver;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::faulty::{Fault, FaultyRegistry};
use crate::cluster::image::Config;
use crate::cluster::registry::Registry;
use crate::dates::resolver as resolver_for;

/// How it gives out its tags.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Paging {
    /// By pages, each with a link to the next.
    Linked,
    /// By pages that say nothing of a next one, as some registries cut them.
    Cut,
    /// All at once, whatever is asked for.
    Whole,
    /// The last page leads back to the first.
    Loop,
    /// Each page leads to another one, and all are the same.
    Endless,
    /// The next page is another host's.
    Elsewhere,
}

/// A server of nothing but a list of tags.
struct Pager {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Pager {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Shared {
    tags: Arc<Vec<String>>,
    paging: Paging,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pager {
    async fn serve(mut tags: Vec<String>, paging: Paging) -> Self {
        tags.sort_unstable();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = socket.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let shared = Shared { tags: Arc::new(tags), paging, asked: Arc::clone(&asked) };
        let router = Router::new().fallback(page).with_state(shared);
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { host, asked, serving }
    }

    async fn tags(&self) -> Result<Vec<String>, String> {
        tags_of(&self.host).await
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn tags_of(host: &str) -> Result<Vec<String>, String> {
    let resolver = resolver_for(&[host.to_owned()]);
    let image = ImageReference::parse(&format!("{host}/app:1.0.0")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let request = resolver::Request { credentials: None, platforms: &[], now: Utc::now(), deadline };
    let found = resolver.tags(&image, request).await;
    found.map_err(|unknown| format!("{}: {}", unknown.reason.as_str(), unknown.detail))
}

async fn page(State(shared): State<Shared>, request: Request) -> Response {
    let uri = request.uri().clone();
    shared.asked.lock().unwrap().push(uri.to_string());
    assert_eq!(uri.path(), "/v2/app/tags/list");
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let (size, last) = (value("n").unwrap().parse::<usize>().unwrap(), value("last").unwrap_or_default());
    let begin = match shared.paging {
        Paging::Whole | Paging::Endless => 0,
        _ => shared.tags.partition_point(|tag| *tag <= last),
    };
    let size = if shared.paging == Paging::Whole { shared.tags.len() } else { size };
    let listed: Vec<&String> = shared.tags.iter().skip(begin).take(size).collect();
    let is_last = begin + listed.len() >= shared.tags.len();
    let last = listed.last().map(|tag| tag.as_str()).unwrap_or_default();
    let link = match shared.paging {
        Paging::Linked if !is_last => Some(format!("</v2/app/tags/list?n={size}&last={last}>; rel=\"next\"")),
        Paging::Loop if !is_last => Some(format!("</v2/app/tags/list?n={size}&last={last}>; rel=\"next\"")),
        Paging::Loop => Some(format!("</v2/app/tags/list?n={size}>; rel=\"next\"")),
        Paging::Endless => {
            let page = shared.asked.lock().unwrap().len();
            Some(format!("</v2/app/tags/list?n={size}&last={page}>; rel=\"next\""))
        }
        Paging::Elsewhere if !is_last => {
            Some(format!("<http://127.0.0.9:1/v2/other/tags/list?n={size}&last={last}>; rel=\"next\""))
        }
        _ => None,
    };
    let mut answer = Response::new(Body::from(json!({"name": "app", "tags": listed}).to_string()));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if let Some(link) = link {
        answer.headers_mut().insert("link", HeaderValue::from_str(&link).unwrap());
    }
    answer
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("1.{}.{}", number / 1_000, number % 1_000)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_read_however_pages_are_made() {
    let mut all = numbered(2_500);
    all.sort_unstable();
    for (paging, requests) in [
        (Paging::Linked, 3),
        (Paging::Cut, 3),
        // It is asked what comes behind, says the same again, and that is the end.
        (Paging::Whole, 2),
        // Its own list goes on; the other host is never asked.
        (Paging::Elsewhere, 3),
    ] {
        let pager = Pager::serve(all.clone(), paging).await;
        assert_eq!(pager.tags().await.as_ref(), Ok(&all), "{paging:?}");
        assert_eq!(pager.requests(), requests, "{paging:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_tags_are_read_and_no_more() {
    let pager = Pager::serve(numbered(200_000), Paging::Linked).await;
    assert_eq!(pager.tags().await.map(|tags| tags.len()), Ok(200_000));
    let pager = Pager::serve(numbered(200_001), Paging::Linked).await;
    let host = &pager.host;
    assert_eq!(pager.tags().await, Err(format!("Unreachable: {host} lists more than 200000 tags of app")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_lead_in_a_circle_end() {
    for (paging, most_requests) in [(Paging::Loop, 4), (Paging::Endless, 8)] {
        let pager = Pager::serve(numbered(2_500), paging).await;
        let host = &pager.host;
        let circle = format!("Unreachable: the pages of {host} with the tags of app lead in a circle");
        assert_eq!(pager.tags().await, Err(circle), "{paging:?}");
        assert!(pager.requests() <= most_requests, "{paging:?}: {} requests", pager.requests());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_trouble_has_no_short_list_but_none() {
    let real = Registry::distribution();
    real.push("app", "1.0.0", &Config::created("app", "2026-11-01T00:00:00Z").image());
    let faulty = FaultyRegistry::before(&real.host()).await;
    let host = faulty.host();
    for (fault, expected) in [
        (Fault::None, Ok(vec!["1.0.0".to_owned()])),
        (
            Fault::Status(429, Some("7".into())),
            Err(format!("RateLimited: {host} answered 429; it is asked again in 7 seconds")),
        ),
        (Fault::Status(503, None), Err(format!("Unreachable: {host} answered 503"))),
        (Fault::Html, Err(format!("Unreachable: {host} answered HTML where an image was expected"))),
        (Fault::Serve(b"[]".to_vec()), Err(format!("Unreachable: what {host} serves as a list of tags is none"))),
        (Fault::Serve(br#"{"tags":null}"#.to_vec()), Ok(Vec::new())),
        (Fault::Endless, Err(format!("Unreachable: {host} serves a list of tags larger than 32 MiB"))),
        (
            Fault::Redirect("https://169.254.169.254/v2/x/tags/list".into()),
            Err(format!(
                "NotAllowed: 169.254.169.254, to which {host} sends on is not a public address; if it is meant, list it with --private-registry, or --insecure-registry for plain HTTP"
            )),
        ),
    ] {
        faulty.set(fault.clone());
        assert_eq!(tags_of(&host).await, expected, "{fault:?}");
    }
}
