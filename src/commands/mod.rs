//! The commands. Each connects to what it needs, and hands over to the rooms below.

pub mod check;
mod check_aws;
pub mod iam_policy;
pub mod import;
pub mod plan;
pub mod print;
mod report;
pub mod run;
pub mod snapshot;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::aws;
use crate::aws::Aws;
use crate::cli::{CONTROLLER, Shared};
use crate::domain::settings::Settings;

/// Prints a line. A closed standard output is not an error.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn client() -> Result<Client, String> {
    Client::try_default().await.map_err(|e| {
        format!(
            "cannot connect to Kubernetes: {e}; run it in a pod with a ServiceAccount, or set KUBECONFIG"
        )
    })
}

/// The cluster id: the one from the command line, or else the cluster's own.
async fn cluster_id(shared: &Shared, client: &Client) -> Result<String, String> {
    if let Some(id) = &shared.cluster_id {
        return Ok(id.clone());
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = api.get("kube-system").await.map_err(|e| {
        format!(
            "cannot read the uid of the namespace kube-system: {e}; grant permission to get it, or give --cluster-id"
        )
    })?;
    namespace
        .metadata
        .uid
        .ok_or_else(|| "the namespace kube-system has no uid; give --cluster-id".to_owned())
}

fn aws_options(shared: &Shared, read_only: bool) -> aws::Options {
    aws::Options {
        region: shared.region.clone(),
        path_style: shared.s3_path_style,
        read_only,
        rates: Vec::new(),
    }
}

fn settings(shared: &Shared, cluster_id: String, aws: &Aws, read_only: bool) -> Settings {
    Settings {
        cluster_id,
        name_prefix: shared.name_prefix.clone(),
        allow_names: shared.allow_names,
        allow_existing: shared.allow_existing.clone(),
        allow_readers: shared.allow_readers.clone(),
        region: aws.home().to_owned(),
        require_class: shared.require_class,
        allow_prune: shared.allow_prune,
        read_only,
        permissions_boundary: shared.permissions_boundary.clone(),
        controller: shared.controller_name.clone(),
        classless: shared.controller_name == CONTROLLER || !shared.watch_namespaces.is_empty(),
    }
}
