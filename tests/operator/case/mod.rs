//! What a test works with: a namespace, an AWS account and an operator of its own, what it asks of
//! the API server and of AWS, and what it waits for.

mod aws;
mod client;
mod condition;
mod fixture;
mod operator;
mod wait;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use kube::{Client, ResourceExt};
use repofanout::api::RepoFanout;
use repofanout::api::status::RepoFanoutStatus;
use serde_json::{Value, json};
use support::{ApiProxy, Operator, World};

pub use condition::{assert_condition, assert_message, condition, has_reason, is_true};

pub const REGION: &str = "eu-west-1";
/// Long enough for a slow machine; nothing here waits for time to pass.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The world of all tests, on a runtime that lives as long as the process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let started = runtime.block_on(async {
                let world = World::start(|line| eprintln!("{line}")).await?;
                world.install_crds().await?;
                world.cluster.apply(&newer_crd()).await?;
                Ok::<_, String>(world)
            });
            send.send(started).expect("somebody waits");
            runtime.block_on(std::future::pending::<()>());
        });
        receive
            .recv()
            .expect("the thread answers")
            .unwrap_or_else(|e| panic!("the world does not start: {e}"))
    })
}

/// The CRD as a newer version of the operator might bring it: one more field, one more value.
fn newer_crd() -> String {
    let yaml =
        std::fs::read_to_string(support::root().join("crds/repofanouts.yaml")).expect("the CRD");
    let mut crd: Value = serde_saphyr::from_str(&yaml).expect("YAML");
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["fromTheFuture"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    spec["pipeline"]["properties"]["type"]["enum"]
        .as_array_mut()
        .expect("an enum")
        .push(json!("V3"));
    crd.to_string()
}

/// The operator of this tree.
pub fn present() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_repofanout"))
}

/// One test's own part of the world.
pub struct Case {
    pub client: Client,
    pub namespace: String,
    pub account: String,
    pub operator: Option<Operator>,
    /// The program that is started as the operator, and run as its commands.
    pub program: PathBuf,
    /// The operator's flags, from its next start.
    flags: Vec<String>,
    /// The proxy between operator and API server, if there is one.
    pub proxy: Option<ApiProxy>,
    /// The RBAC objects of the operator, as last applied.
    granted: Vec<Value>,
}

impl Drop for Case {
    fn drop(&mut self) {
        // Every request that reached the stand-in has to be one that AWS would take.
        let violations = self.aws().violations(&self.account);
        if !std::thread::panicking() {
            assert!(
                violations.is_empty(),
                "requests that AWS would not take: {violations:?}"
            );
        }
    }
}

/// The base name of the fan-out's resources, which is the name of its pipeline.
pub fn base_name(status: &RepoFanoutStatus) -> String {
    status
        .placement
        .as_ref()
        .expect("a placement")
        .base_name
        .clone()
}

/// The object's version, which changes with every write.
pub fn version(object: &RepoFanout) -> String {
    object.resource_version().expect("a version")
}
