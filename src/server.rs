//! Serves `/metrics`, `/livez` and `/readyz`.

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

/// What the server reports on. Until the operator exists, `/readyz` says that it is starting.
#[derive(Default)]
pub struct ServerState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The operator, once it is connected to Kubernetes and AWS.
    pub operator: OnceLock<Arc<Operator>>,
}

/// Starts to serve on this address.
///
/// # Errors
/// The address cannot be bound.
pub async fn start(address: SocketAddr, state: Arc<ServerState>) -> Result<(), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("--listen {address}: {e}"))?;
    let address = listener
        .local_addr()
        .map_err(|e| format!("--listen {address}: {e}"))?;
    info!(%address, "serving /metrics, /livez and /readyz");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn metrics(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let snapshot = state
        .operator
        .get()
        .map_or_else(Snapshot::default, |operator| operator.snapshot());
    let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content)], state.metrics.encode(&snapshot))
}

async fn livez(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    answer(
        state
            .operator
            .get()
            .map_or(Ok(()), |operator| operator.alive()),
    )
}

async fn readyz(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let starting = || {
        Err("starting: connecting to Kubernetes and AWS; the log says what is missing".to_owned())
    };
    answer(
        state
            .operator
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
