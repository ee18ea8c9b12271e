//! The naive floor that the gate is measured against: the usual stack (axum, axum-server with rustls, Nagle off) that
//! only decodes the review with kube's types and answers "allowed". It decides nothing and records nothing.
//!
//! Usage: `floor ADDR CERT KEY`
#![allow(clippy::unwrap_used, missing_docs)]

use axum::routing::post;
use axum::{Json, Router};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

async fn allow(Json(review): Json<AdmissionReview<DynamicObject>>) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<DynamicObject> = review.try_into().unwrap();
    Json(AdmissionResponse::from(&request).into_review())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let mut args = std::env::args().skip(1);
    let address: std::net::SocketAddr = args.next().unwrap().parse().unwrap();
    let config = RustlsConfig::from_pem_file(args.next().unwrap(), args.next().unwrap()).await.unwrap();
    let acceptor = RustlsAcceptor::new(config).acceptor(axum_server::accept::NoDelayAcceptor::new());
    let router = Router::new().route("/validate", post(allow));
    axum_server::bind(address).acceptor(acceptor).serve(router.into_make_service()).await.unwrap();
}
