//! `repofanout run`: reconciles objects until the process is asked to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::aws::Aws;
use crate::cli::Run;
use crate::commands::{aws_options, client, cluster_id, settings};
use crate::domain::execution::StageLimits;
use crate::runtime::operator::Operator;
use crate::runtime::run::{Lease, Options};
use crate::server::ServerState;
use crate::state::environment::{Environment, Pace};
use crate::{aws, server};

/// Reconciles objects until SIGTERM or SIGINT. Reconciles that have begun are finished first.
///
/// # Errors
/// The error is one line that says what is missing, or that the Lease was lost.
pub async fn run(run: Run) -> Result<(), String> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| format!("cannot listen for SIGTERM: {e}"))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        info!("stopping: reconciles that have begun are finished first");
    };
    let server_state = Arc::new(ServerState::default());
    if let Some(address) = run.listen {
        server::start(address, Arc::clone(&server_state)).await?;
    }
    let shared = &run.shared;
    let client = client().await?;
    let cluster_id = cluster_id(shared, &client).await?;
    let options = aws::Options {
        rates: run.aws_rates.clone(),
        ..aws_options(shared, run.read_only)
    };
    let aws = Aws::connect(options, Arc::clone(&server_state.metrics)).await?;
    info!(
        account = aws.identity().account,
        region = aws.home(),
        cluster_id,
        "connected to AWS"
    );

    let lease = shared.leader_elect.then(|| Lease {
        namespace: shared
            .lease_namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        name: shared.controller_name.clone(),
        identity: run.identity.clone().unwrap_or_else(host_name),
        duration: run.lease_duration,
    });
    let settings = settings(shared, cluster_id, &aws, run.read_only);
    let pace = Pace {
        idle: run.poll_interval,
        close: run.poll_interval.min(Duration::from_secs(5)),
        settle: run.settle_time,
        stuck: run.stuck_after,
        stages: StageLimits {
            source: run.source_limit,
            deploy: run.deploy_limit,
        },
    };
    let identity = aws.identity().clone();
    let metrics = Arc::clone(&server_state.metrics);
    let env = Environment::new(client, Arc::new(aws), identity, settings, pace, metrics);
    let operator = Operator::new(env, run.concurrency);
    let _ = server_state.operator.set(Arc::clone(&operator));
    let options = Options {
        watch_namespaces: shared.watch_namespaces.clone(),
        lease,
    };
    crate::runtime::run::run(operator, options, shutdown).await
}

/// Host name and process id, by which leader election distinguishes its candidates.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", name.trim(), std::process::id())
}
