//! helm, as a person would run it.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::Tools;
use crate::{Result, root};

/// helm, and the chart.
#[derive(Clone, Debug)]
pub struct Helm {
    /// helm itself.
    pub program: PathBuf,
    /// The chart's folder.
    pub chart: PathBuf,
}

impl Helm {
    /// Finds it, or builds it.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn ready(progress: fn(&str)) -> Result<Self> {
        Ok(Self::of(&Tools::ready(progress)?))
    }

    /// That of the tools.
    pub fn of(tools: &Tools) -> Self {
        Self {
            program: tools.helm.clone(),
            chart: root().join("charts/repofanout"),
        }
    }

    /// The chart's manifests.
    ///
    /// # Errors
    /// What helm complains of.
    pub fn template(&self, release: &str, namespace: &str, flags: &[&str]) -> Result<String> {
        let chart = self.chart.display().to_string();
        // A helm that is built from source does not know which Kubernetes it belongs to.
        let fixed = [
            "template",
            release,
            &chart,
            "--namespace",
            namespace,
            "--kube-version",
            "1.37.0",
        ];
        self.run(&[&fixed, flags].concat())
    }

    /// Runs it; answers what it printed.
    ///
    /// # Errors
    /// What it complains of.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env(
                "HELM_CACHE_HOME",
                std::env::temp_dir().join("repofanout-helm"),
            )
            .env(
                "HELM_CONFIG_HOME",
                std::env::temp_dir().join("repofanout-helm"),
            )
            .env(
                "HELM_DATA_HOME",
                std::env::temp_dir().join("repofanout-helm"),
            )
            .output()
            .map_err(|e| format!("helm: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "helm {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}
