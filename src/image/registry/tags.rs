//! The tags of a repository: pages are followed to their end, within bounds, and never to anywhere else.
//!
//! Pages come in the order of the alphabet, so the first one is usually the oldest: a list that breaks off is an error,
//! not a shorter list.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::RegistryError;
use super::{Asking, Registries, layout};

/// Tags of one repository that are looked at; with more of them nothing is said of it.
pub const MOST_TAGS: usize = 200_000;
/// Tags asked for at once; a registry may give fewer.
const PAGE_TAGS: usize = 1_000;
/// Registries give a hundred at a time, or more.
const MOST_PAGES: usize = 4_000;
/// Most bytes of a page: some registries put all of it into one.
const LARGEST_PAGE_BYTES: u64 = 32 << 20;
/// Pages in a row that bring nothing new before the list is taken for one without an end.
const MOST_IDLE_PAGES: usize = 3;
/// How long one page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Registries {
    /// All tags of the image's repository, sorted; the deadline is for all pages together.
    pub async fn tags(&self, asking: Asking<'_>) -> Result<Vec<String>, RegistryError> {
        if let Some((folder, whole)) = self.layout_for(asking.image) {
            return layout::tags(&folder, asking.image, whole).await;
        }
        let path = format!("{}/tags/list", asking.image.repository());
        let mut tags: HashSet<String> = HashSet::new();
        let mut asked: HashSet<String> = HashSet::new();
        let mut query = format!("n={PAGE_TAGS}");
        // Whoever gave the first page gives the others: a mirror may count otherwise than the registry.
        let mut of_host: Option<String> = None;
        let mut idle_pages = 0;
        for _ in 0..MOST_PAGES {
            let within = Asking { deadline: asking.deadline.min(Instant::now() + PAGE_WITHIN), ..asking };
            let target = format!("{path}?{query}");
            let (host, response) = match &of_host {
                None => self.ask(within, Method::GET, &target).await?,
                Some(host) => {
                    let own = host.as_str() == asking.image.registry();
                    let within = Asking { credential: within.credential.filter(|_| own), ..within };
                    (host.clone(), self.ask_host(within, host, Method::GET, &target).await?)
                }
            };
            asked.insert(query);
            let next = next_query(response.headers(), &host)?;
            let body = self.bounded(&host, response, LARGEST_PAGE_BYTES, within.deadline, "list of tags").await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|_| RegistryError::Unsupported(format!("what {host} serves as a list of tags is none")))?;
            let before = tags.len();
            let listed = page.tags.unwrap_or_default();
            let is_full = listed.len() >= PAGE_TAGS;
            let last = listed.last().cloned().unwrap_or_default();
            tags.extend(listed);
            if tags.len() > MOST_TAGS {
                return Err(RegistryError::Unsupported(format!(
                    "{host} lists more than {MOST_TAGS} tags of {}",
                    asking.image.repository()
                )));
            }
            let brought_nothing = tags.len() == before;
            idle_pages = if brought_nothing { idle_pages + 1 } else { 0 };
            let next = match next {
                Some(next) if asked.contains(&next) || idle_pages > MOST_IDLE_PAGES => {
                    return Err(in_circles(&host, asking.image.repository()));
                }
                Some(next) => next,
                // Some registries cut a page and do not say so; one that is full is asked what comes behind it.
                None if is_full && !brought_nothing => beyond(&last),
                None => {
                    let mut tags: Vec<String> = tags.into_iter().collect();
                    tags.sort_unstable();
                    return Ok(tags);
                }
            };
            (query, of_host) = (next, Some(host));
        }
        Err(in_circles(of_host.as_deref().unwrap_or_default(), asking.image.repository()))
    }
}

/// The query for what comes behind a tag.
fn beyond(last: &str) -> String {
    url::form_urlencoded::Serializer::new(format!("n={PAGE_TAGS}")).append_pair("last", last).finish()
}

fn in_circles(host: &str, repository: &str) -> RegistryError {
    RegistryError::Unsupported(format!("the pages of {host} with the tags of {repository} lead in a circle"))
}

/// The query of the next page. Only the query: the host and the path stay, whatever the header says.
fn next_query(headers: &HeaderMap, host: &str) -> Result<Option<String>, RegistryError> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.flat_map(|header| header.split(',')).find_map(next_target) else {
        return Ok(None);
    };
    let nowhere = || RegistryError::Unsupported(format!("{host} names a next page of tags that is none"));
    let base = Url::parse("https://registry.invalid/").map_err(|_| nowhere())?;
    let url = base.join(target).map_err(|_| nowhere())?;
    url.query().filter(|query| !query.is_empty()).map(|query| Some(query.to_owned())).ok_or_else(nowhere)
}

/// The target of `<…>; rel="next"`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|one| one.eq_ignore_ascii_case("next"))
    });
    is_next.then_some(target)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_query_of_the_next_page_is_taken() {
        for (header, next) in [
            (r#"</v2/app/tags/list?last=1.2&n=100>; rel="next""#, Ok(Some("last=1.2&n=100"))),
            (r#"<https://evil.example/v2/other/tags/list?last=x>; rel="next""#, Ok(Some("last=x"))),
            (r"<?next_page=a%2Cb>; rel=next", Ok(Some("next_page=a%2Cb"))),
            (r#"</v2/app/tags/list?last=x>; title="y"; REL="next last""#, Ok(Some("last=x"))),
            (r#"</first?a=1>; rel="first", </next?a=2>; rel="next""#, Ok(Some("a=2"))),
            (r#"</v2/app/tags/list?last=x>; rel="prev""#, Ok(None)),
            ("nonsense", Ok(None)),
            (r#"</v2/app/tags/list>; rel="next""#, Err("r.example names a next page of tags that is none")),
        ] {
            let headers: HeaderMap = [(LINK, HeaderValue::from_static(header))].into_iter().collect();
            let found = next_query(&headers, "r.example").map_err(|error| error.to_string());
            assert_eq!(found, next.map(|next| next.map(str::to_owned)).map_err(str::to_owned), "{header}");
        }
        assert_eq!(next_query(&HeaderMap::new(), "r.example"), Ok(None));
    }
}
