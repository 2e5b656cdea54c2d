//! `/metrics`, `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::info;

use crate::metrics::{Metrics, Snapshot};
use crate::runtime::operator::Operator;

/// What there is to tell of; before there is an operator, that it is on its way.
#[derive(Default)]
pub struct Told {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The operator, once it has what it needs.
    pub operator: OnceLock<Arc<Operator>>,
}

/// Answers on this address from now on.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(address: SocketAddr, told: Arc<Told>) -> Result<(), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("--listen {address}: {e}"))?;
    let address = listener
        .local_addr()
        .map_err(|e| format!("--listen {address}: {e}"))?;
    info!(%address, "answering /metrics, /livez and /readyz");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(told);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn metrics(State(told): State<Arc<Told>>) -> impl IntoResponse {
    let snapshot = told
        .operator
        .get()
        .map_or_else(Snapshot::default, |operator| operator.snapshot());
    let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content)], told.metrics.encode(&snapshot))
}

async fn livez(State(told): State<Arc<Told>>) -> impl IntoResponse {
    answer(
        told.operator
            .get()
            .map_or(Ok(()), |operator| operator.alive()),
    )
}

async fn readyz(State(told): State<Arc<Told>>) -> impl IntoResponse {
    let starting = || {
        Err(
            "starting: the cluster and AWS are asked who we are; the log says what is missing"
                .to_owned(),
        )
    };
    answer(
        told.operator
            .get()
            .map_or_else(starting, |operator| operator.ready()),
    )
}

fn answer(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
