//! Parses the command line and starts the runtime.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use repofanout::api;
use repofanout::aws::{self, Aws};
use repofanout::cli::{Cli, Command, Policy, Run};
use repofanout::controller::{self, Context, Lease, Options, Pace};
use repofanout::model::Settings;
use repofanout::model::permissions::{self, Scope};
use repofanout::server::{self, Told};
use repofanout::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd { output } => crd(output),
        Command::Policy(policy) => {
            println!("{:#}", permissions::policy(&scope(policy)));
            Ok(())
        }
        Command::Run(run) => telemetry::init(&run.log, run.log_format).and_then(|()| {
            rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.map_err(|e| format!("no runtime: {e}"))?.block_on(serve(*run))
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("repofanout: {message}");
            ExitCode::FAILURE
        }
    }
}

fn crd(output: Option<std::path::PathBuf>) -> Result<(), String> {
    for (file, yaml) in api::crds() {
        match &output {
            None => println!("---\n{yaml}"),
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, yaml).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn scope(policy: Policy) -> Scope {
    let Policy { account, region, partition, name_prefix, allow_existing, assume_roles } = policy;
    Scope { partition, account, region, name_prefix, allow_existing, assume_roles }
}

async fn serve(run: Run) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| format!("no signals: {e}"))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        info!("ending: passes that run are finished");
    };
    let told = Arc::new(Told::default());
    if let Some(address) = run.listen {
        server::start(address, Arc::clone(&told)).await?;
    }
    let client = Client::try_default()
        .await
        .map_err(|e| format!("no Kubernetes cluster: {e}; run it in a pod with a ServiceAccount, or set KUBECONFIG"))?;
    let cluster_id = match run.cluster_id {
        Some(id) => id,
        None => cluster_id(&client).await?,
    };
    let options = aws::Options { region: run.region, path_style: run.s3_path_style, read_only: run.read_only };
    let aws = Aws::connect(options, Arc::clone(&told.metrics)).await?;
    info!(account = aws.identity().account, region = aws.home(), cluster_id, "connected to AWS");

    let lease = run.leader_elect.then(|| Lease {
        namespace: run.lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
        name: run.controller_name.clone(),
        identity: run.identity.unwrap_or_else(host_name),
        duration: run.lease_duration,
    });
    let settings = Settings {
        cluster_id,
        name_prefix: run.name_prefix,
        allow_names: run.allow_names,
        allow_existing: run.allow_existing,
        region: aws.home().to_owned(),
        require_class: run.require_class,
        read_only: run.read_only,
        controller: run.controller_name,
    };
    let pace =
        Pace { idle: run.poll_interval, close: run.poll_interval.min(Duration::from_secs(5)), stuck: run.stuck_after };
    let identity = aws.identity().clone();
    let context = Context::new(client, Arc::new(aws), identity, settings, pace, Arc::clone(&told.metrics));
    let context = Arc::new(context);
    let _ = told.context.set(Arc::clone(&context));
    let options = Options { watch_namespaces: run.watch_namespaces, concurrency: run.concurrency, lease };
    controller::run(context, options, shutdown).await
}

/// Leader election tells its candidates apart by this.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", name.trim(), std::process::id())
}

async fn cluster_id(client: &Client) -> Result<String, String> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = api.get("kube-system").await.map_err(|e| {
        format!("the namespace kube-system tells no uid: {e}; allow it to be read, or give --cluster-id")
    })?;
    namespace.metadata.uid.ok_or_else(|| "the namespace kube-system has no uid; give --cluster-id".to_owned())
}
