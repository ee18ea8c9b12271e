//! Recorded decisions over HTTP: `GET /v1/decisions`, page by page, and `GET /v1/decisions/ID`. Who asks is told by the
//! API server (`TokenReview`), and what they may see by RBAC: `list` and `get` on `decisions` of `freshgate.dev`, in the
//! namespace asked for, or in all of them where none is.

mod question;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::audit::{self, QueryFilter, StoredRecord};
use crate::cluster::authentication::Authenticator;
use crate::cluster::authorization::{Authorizer, Permission, User};
use crate::store::StoreLocation;
pub use question::BadQuestion;

/// How long one request may take, the API server's part in it included.
const WITHIN: Duration = Duration::from_secs(10);

/// Questions asked of the store at a time: those who ask wait for each other, and admission for none of them.
const AT_A_TIME: usize = 2;

/// The longest token that is passed on; those of service accounts have about a thousand characters.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Shows the decisions of a store to whom RBAC lets see them.
#[derive(Clone)]
pub struct DecisionsApi {
    store: StoreLocation,
    authenticator: Authenticator,
    authorizer: Authorizer,
    questions: Arc<Semaphore>,
}

impl DecisionsApi {
    /// Shows this store's, and asks this API server about those who ask.
    pub fn new(store: StoreLocation, client: kube::Client) -> Self {
        Self {
            store,
            authenticator: Authenticator::new(client.clone()),
            authorizer: Authorizer::new(client),
            questions: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }
}

/// The routes.
pub fn router(api: DecisionsApi) -> Router {
    Router::new()
        .route("/v1/decisions", any(list))
        .route("/v1/decisions/{id}", any(one))
        .layer(middleware::from_fn(strictly))
        .with_state(api)
}

/// Only GET, only JSON, and nothing that a browser or a cache could make of it.
async fn strictly(request: Request<Body>, next: Next) -> Response {
    let mut answer = if request.method() != Method::GET {
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "decisions can be read and nothing else: use GET");
        ([(ALLOW, "GET")], refused).into_response()
    } else if !takes_json(request.headers()) {
        Refused::new(StatusCode::NOT_ACCEPTABLE, "decisions are JSON: accept application/json").into_response()
    } else {
        next.run(request).await
    };
    let fixed: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            ["application/json", "application/*", "*/*"].iter().any(|fit| range.eq_ignore_ascii_case(fit))
        })
}

/// A request that gets no decisions, and why.
struct Refused {
    status: StatusCode,
    why: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

impl Refused {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// For whoever has asked too early.
    fn later(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut answer = (self.status, json(&Problem { error: &self.why })).into_response();
        let more = match self.status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "5")),
            _ => None,
        };
        if let Some((name, value)) = more {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    decisions: Vec<&'a RawValue>,
    /// What to give as `cursor` for those before these; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Records that are no JSON any more: somebody changed them, and `freshgate audit verify` says more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unreadable<'a> {
    writer_id: &'a str,
    seq: u64,
}

async fn list(
    State(api): State<DecisionsApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let deadline = Instant::now() + WITHIN;
    let user = api.user(&headers, deadline).await?;
    let filter = question::read(query.as_deref().unwrap_or_default())
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    // Objects without a namespace are of the whole cluster.
    let namespace = filter.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    api.allow(&user, "list", namespace, deadline).await?;
    let limit = filter.limit.unwrap_or_default();
    let mut records = api.ask(&QueryFilter { limit: Some(limit + 1), ..filter }, deadline).await?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|last| last.cursor().to_string());
    let texts: Vec<String> = records.iter().map(StoredRecord::whole).collect();
    let mut page = Page { decisions: Vec::new(), next, unreadable: Vec::new() };
    for (text, record) in texts.iter().zip(&records) {
        match serde_json::from_str(text) {
            Ok(decision) => page.decisions.push(decision),
            Err(_) => page.unreadable.push(Unreadable { writer_id: &record.writer_id, seq: record.seq }),
        }
    }
    Ok(json(&page))
}

async fn one(
    State(api): State<DecisionsApi>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let deadline = Instant::now() + WITHIN;
    let user = api.user(&headers, deadline).await?;
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "one decision takes no parameters"));
    }
    let filter = QueryFilter { decision_id: Some(id.clone()), limit: Some(1), ..QueryFilter::default() };
    let record = api.ask(&filter, deadline).await?.pop();
    // Who may not see every namespace is not told whether an id is one of another's.
    let namespace = record.as_ref().and_then(StoredRecord::namespace).filter(|namespace| !namespace.is_empty());
    api.allow(&user, "get", namespace.as_deref(), deadline).await?;
    let record = record.ok_or_else(|| {
        Refused::new(StatusCode::NOT_FOUND, format!("no decision {id} is recorded here; dry runs are not recorded"))
    })?;
    let text = record.whole();
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(decision) => Ok(json(&decision)),
        Err(_) => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the record of {id} is no JSON any more: freshgate audit verify says whether records were changed"),
        )),
    }
}

impl DecisionsApi {
    async fn user(&self, headers: &HeaderMap, deadline: Instant) -> Result<User, Refused> {
        let unknown = |why: &str| Refused::new(StatusCode::UNAUTHORIZED, why);
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(authorization), None) = (given.next(), given.next()) else {
            return Err(unknown("it is not said who asks: send one header Authorization: Bearer TOKEN"));
        };
        let token = authorization.to_str().ok().and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer")).map(|(_, token)| token.trim());
        let Some(token) = token.filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN) else {
            return Err(unknown("the header Authorization holds no bearer token: send Authorization: Bearer TOKEN"));
        };
        match self.authenticator.whose(token, deadline).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(unknown("the API server does not know this token: ask with one that has not expired")),
            Err(error) => Err(Refused::later(format!("it cannot be told who asks: {error}"))),
        }
    }

    async fn allow(&self, user: &User, verb: &str, namespace: Option<&str>, deadline: Instant) -> Result<(), Refused> {
        match self.authorizer.may_see_decisions(user, verb, namespace, deadline).await {
            Permission::Granted => Ok(()),
            Permission::Missing => {
                let name = &user.username;
                let why = match (namespace, verb) {
                    // Which namespace a decision is of is not for everybody to know.
                    (_, "get") => format!("{name:?} may not get this decision"),
                    (Some(namespace), _) => format!("{name:?} may not list decisions in namespace {namespace:?}"),
                    (None, _) => format!(
                        "{name:?} may not list decisions in all namespaces: name one with the parameter namespace"
                    ),
                };
                let role = format!("a role with the verb {verb} on decisions of freshgate.dev lets them");
                Err(Refused::new(StatusCode::FORBIDDEN, format!("{why}; {role}")))
            }
            Permission::Unknown(why) => Err(Refused::later(format!("it cannot be told what may be seen: {why}"))),
        }
    }

    async fn ask(&self, filter: &QueryFilter, deadline: Instant) -> Result<Vec<StoredRecord>, Refused> {
        let asked = timeout_at(deadline, async {
            // Never closed.
            let _turn = self.questions.acquire().await;
            audit::query(&self.store, filter).await
        });
        match asked.await {
            Ok(Ok(records)) => Ok(records),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a question about decisions could not be answered");
                Err(Refused::later("the store cannot be asked now; the gate's log says why"))
            }
            Err(_) => Err(Refused::later("the store did not answer in time: ask for fewer decisions, or later")),
        }
    }
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer about decisions cannot be written as JSON; report this as a bug");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
