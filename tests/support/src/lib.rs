//! The world for demo, tests and benchmarks. Everything listens on free loopback ports, runs in
//! processes that end with this one, and keeps its files in a folder that is removed with it.

mod api_proxy;
mod cache;
mod cluster;
mod former;
mod generated;
mod helm;
mod image;
mod ministack;
mod node;
mod operator;
mod process;
mod repositories;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use api_proxy::{API, ApiProxy};
pub use aws_standin::{self as aws, Aws};
pub use cache::{NodeTools, aws_cli, boto3, cargo_install, debian};
pub use cluster::Cluster;
pub use former::{BEFORE, former};
pub use generated::generated;
pub use helm::Helm;
pub use image::{IMAGE, operator as build_image};
pub use node::Node;
pub use operator::{ALL, Operator, OperatorConfig, build, target};
pub use process::{Child, Scratch, free_port, logs};
pub use repositories::Repositories;

/// An error is a sentence for whoever waits.
pub type Result<T> = std::result::Result<T, String>;

/// The place of the world.
#[derive(Clone, Debug)]
pub enum Place {
    /// The loopback addresses of this machine.
    Loopback,
    /// An address that the pods of a node reach.
    Node(Ipv4Addr),
    /// The cluster of this kubeconfig; everything else is on loopback.
    Existing(PathBuf),
}

/// Control plane, AWS endpoints and git repositories.
pub struct World {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// AWS.
    pub aws: Aws,
    /// The provider of repositories.
    pub repositories: Repositories,
    /// The folder of logs.
    pub logs: PathBuf,
    /// helm, and the chart.
    pub helm: Helm,
    /// The Service Authorization Reference, in JSON.
    pub actions: PathBuf,
    /// A folder that is removed with the world.
    pub scratch: Scratch,
    _ministack: process::Child,
}

impl World {
    /// Starts everything, and builds before what is missing; `progress` reports each step.
    ///
    /// # Errors
    /// Something cannot be built or started; the error names its log.
    pub async fn start(progress: fn(&str)) -> Result<Self> {
        Self::start_at(&Place::Loopback, progress).await
    }

    /// Starts everything in another place.
    ///
    /// # Errors
    /// Something cannot be built or started; the error names its log.
    pub async fn start_at(place: &Place, progress: fn(&str)) -> Result<Self> {
        let node = if let Place::Node(address) = place {
            Some(*address)
        } else {
            None
        };
        let tools = cache::Tools::ready(progress)?;
        let scratch = Scratch::new()?;
        let logs = process::logs()?;
        let started = Instant::now();
        let (cluster, ministack) = tokio::try_join!(
            async {
                match place {
                    Place::Existing(file) => Cluster::existing(&tools, file.clone()).await,
                    _ => Cluster::start(&tools, scratch.path(), &logs, node).await,
                }
            },
            ministack::start(&tools, scratch.path(), &logs),
        )?;
        let (ministack, upstream) = ministack;
        let folder = scratch.path().join("repositories");
        let host = node.unwrap_or(Ipv4Addr::LOCALHOST);
        let config = aws::Config {
            host,
            upstream,
            models: tools.models.clone(),
            repositories: folder.clone(),
        };
        let aws = Aws::start(config).await?;
        let repositories = Repositories::new(folder, aws.address)?;
        progress(&format!(
            "the world stands after {:.1} s; its logs are in {}",
            started.elapsed().as_secs_f32(),
            logs.display()
        ));
        Ok(Self {
            cluster,
            aws,
            repositories,
            logs,
            helm: Helm::of(&tools),
            actions: tools.actions.clone(),
            _ministack: ministack,
            scratch,
        })
    }

    /// Starts a proxy in front of the API server for the operator of this name; the operator is
    /// this user.
    ///
    /// # Errors
    /// The proxy cannot be started.
    pub async fn api_proxy(&self, name: &str, user: &str) -> Result<ApiProxy> {
        self.cluster.proxy(name, user).await
    }

    /// Installs the CustomResourceDefinitions, as they are committed.
    ///
    /// # Errors
    /// The API server does not accept them.
    pub async fn install_crds(&self) -> Result<()> {
        let folder = root().join("crds");
        self.cluster
            .kubectl(&[
                "apply",
                "--server-side",
                "-k",
                &folder.display().to_string(),
            ])
            .await?;
        self.cluster
            .established(&[
                "crd/repofanouts.repofanout.dev",
                "crd/repofanoutclasses.repofanout.dev",
            ])
            .await
    }
}

/// Gets a page of an HTTP server on this machine; answers the status and the text.
///
/// # Errors
/// The server does not answer.
pub async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::client::legacy::Client;
    let client: Client<_, Empty<hyper::body::Bytes>> =
        Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let uri = format!("http://127.0.0.1:{port}{path}")
        .parse::<hyper::Uri>()
        .map_err(|e| e.to_string())?;
    let answer = client.get(uri).await.map_err(|e| format!("{path}: {e}"))?;
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the project's folder")
}

/// Asks again and again until there is an answer; fails with what was missing last.
///
/// # Errors
/// There is no answer within `limit`; the error says what was missing last.
pub async fn until<T, F: Future<Output = Result<T>>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(reason) if Instant::now() >= end => {
                return Err(format!("not within {} s: {reason}", limit.as_secs()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
