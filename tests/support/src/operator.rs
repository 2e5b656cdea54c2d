//! Runs the operator's binary, as a pod would.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::process::Child;
use crate::{Result, World, root, until};

/// A namespace that stands for all namespaces.
pub const ALL: &str = "all";

/// The settings that the operator starts with.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// The AWS account of its credentials.
    pub account: String,
    /// Its AWS region.
    pub region: String,
    /// The namespace that it serves and holds its Lease in; with [`ALL`] the Lease is in `default`.
    pub namespace: String,
    /// Further flags.
    pub flags: Vec<String>,
    /// Its kubeconfig, if it is not the cluster's own.
    pub kubeconfig: Option<PathBuf>,
}

/// A running operator, which is killed when dropped.
pub struct Operator {
    child: Child,
    /// The path of its log.
    pub log: PathBuf,
}

impl Operator {
    /// Starts the binary at `program`.
    ///
    /// # Errors
    /// The binary cannot be started.
    pub fn start(world: &World, program: &Path, config: &OperatorConfig) -> Result<Self> {
        let log = world
            .logs
            .join(format!("operator-{}.log", config.namespace));
        let mut command = Command::new(program);
        command.arg("run").args(&config.flags).current_dir("/");
        command
            .env_clear()
            .env(
                "KUBECONFIG",
                config
                    .kubeconfig
                    .as_ref()
                    .unwrap_or(&world.cluster.kubeconfig),
            )
            .env("PATH", "/usr/bin:/bin")
            // The image sets this, too.
            .env("MALLOC_ARENA_MAX", "1");
        // The SDK refuses an empty trust store, even where nothing is encrypted.
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", world.aws.address))
            .env("AWS_REGION", &config.region);
        command
            .env("AWS_ACCESS_KEY_ID", &config.account)
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        command
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("NO_COLOR", "1");
        // The stand-in shows at once what was created, unless a test says otherwise.
        command.env("REPOFANOUT_SETTLE_TIME", "2s");
        if config.namespace != ALL {
            command.env("REPOFANOUT_WATCH_NAMESPACES", &config.namespace);
        }
        command.env(
            "POD_NAMESPACE",
            if config.namespace == ALL {
                "default"
            } else {
                &config.namespace
            },
        );
        command.env("REPOFANOUT_LOG", "info,repofanout=debug");
        Ok(Self {
            child: Child::start(command, &log)?,
            log,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the operator to end, and waits until it has.
    ///
    /// # Errors
    /// The operator does not end in time.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.child.terminate();
        self.ended().await
    }

    /// Waits until the operator has ended by itself.
    ///
    /// # Errors
    /// The operator does not end in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let log = self.log.display().to_string();
        let child = std::sync::Mutex::new(&mut self.child);
        until(Duration::from_secs(40), || async {
            child
                .lock()
                .expect("no panic while held")
                .ended()
                .ok_or_else(|| format!("it still runs, see {log}"))
        })
        .await
    }

    /// Whether the operator has ended, by itself or because it was killed.
    pub fn has_ended(&mut self) -> bool {
        self.child.ended().is_some()
    }

    /// Its peak memory and its present memory in KiB, as the kernel counts them (`VmHWM`, `VmRSS`).
    pub fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| {
                l.trim_start_matches(':')
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
        };
        (field("VmHWM"), field("VmRSS"))
    }
}

/// Builds the operator; answers the path of the binary.
///
/// # Errors
/// The operator does not compile.
pub fn build(release: bool) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--quiet",
            "--package",
            "repofanout",
            "--bin",
            "repofanout",
        ])
        .current_dir(root());
    if release {
        command.arg("--release");
    }
    let status = command.status().map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err("the operator does not compile".to_owned());
    }
    Ok(target()
        .join(if release { "release" } else { "debug" })
        .join("repofanout"))
}

/// Where cargo puts what it builds of this tree.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
