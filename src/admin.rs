//! The listener for kubelets and Prometheus, in plain HTTP and apart from the reviews: `/livez`, `/readyz`, `/metrics`,
//! and where it is switched on, recorded decisions (`/v1/decisions`).

pub mod decisions;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use self::decisions::DecisionsApi;
use crate::metrics::Metrics;
use crate::server::readiness::Readiness;
use crate::server::{ServerError, ready};

/// The media type that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// Whether reviews should come.
    pub readiness: Arc<Readiness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Brings figures up to date that are kept elsewhere.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    /// Recorded decisions, where they are shown.
    pub decisions: Option<DecisionsApi>,
}

/// Opens the socket.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|why| ServerError::Bind { address, why })
}

/// Serves until `stop`.
pub async fn serve(socket: TcpListener, admin: Admin, stop: impl Future<Output = ()> + Send + 'static) {
    let decisions = admin.decisions.clone().map(decisions::router).unwrap_or_default();
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(|State(admin): State<Admin>| async move { ready(&admin.readiness) }))
        .route("/metrics", get(metrics))
        .with_state(admin)
        .merge(decisions);
    if let Err(error) = axum::serve(socket, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin listener ended");
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    (admin.refresh)();
    ([(CONTENT_TYPE, OPEN_METRICS)], admin.metrics.render())
}
