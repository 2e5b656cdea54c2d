//! Parses the command line and starts the runtime.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, Client, CustomResourceExt};
use repofanout::api::{self, RepoFanout, RepoFanoutClass};
use repofanout::aws::Aws;
use repofanout::cli::{Cli, Command, Policy, Run};
use repofanout::controller::{self, Context, Lease, Options, Pace};
use repofanout::model::Settings;
use repofanout::model::permissions::{self, Scope};
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
    let client = Client::try_default()
        .await
        .map_err(|e| format!("no Kubernetes cluster: {e}; run it in a pod with a ServiceAccount, or set KUBECONFIG"))?;
    let cluster_id = match run.cluster_id {
        Some(id) => id,
        None => cluster_id(&client).await?,
    };
    crd_established::<RepoFanoutClass>(&client).await?;
    crd_established::<RepoFanout>(&client).await?;
    let aws = Aws::connect(run.region, run.s3_path_style).await?;
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
        controller: run.controller_name,
    };
    let pace = Pace { idle: run.poll_interval, close: run.poll_interval.min(Duration::from_secs(5)) };
    let identity = aws.identity().clone();
    let context = Context::new(client, Arc::new(aws), identity, settings, pace);
    let options = Options { watch_namespaces: run.watch_namespaces, concurrency: run.concurrency, lease };
    controller::run(Arc::new(context), options, shutdown).await
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

/// Waits, visibly, until the API server knows the resource.
async fn crd_established<K: CustomResourceExt>(client: &Client) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = K::crd_name();
    let missing =
        api.get_opt(name).await.map_err(|e| format!("the API server does not tell of {name}: {e}"))?.is_none();
    if missing {
        info!("waiting for the CustomResourceDefinition {name}: apply what `repofanout crd` prints");
    }
    let established = await_condition(api, name, is_crd_established()).await;
    established.map(|_| ()).map_err(|e| format!("the API server does not tell of {name}: {e}"))
}
