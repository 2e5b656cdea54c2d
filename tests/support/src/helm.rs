//! Runs helm, as a person would.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::Tools;
use crate::{Result, root};

/// helm, and the chart.
#[derive(Clone, Debug)]
pub struct Helm {
    /// The path of helm.
    pub program: PathBuf,
    /// The chart's folder.
    pub chart: PathBuf,
}

impl Helm {
    /// Finds helm, or builds it.
    ///
    /// # Errors
    /// helm cannot be built.
    pub fn ready(progress: fn(&str)) -> Result<Self> {
        Ok(Self::of(&Tools::ready(progress)?))
    }

    /// The helm of these tools.
    pub fn of(tools: &Tools) -> Self {
        Self {
            program: tools.helm.clone(),
            chart: root().join("charts/repofanout"),
        }
    }

    /// Renders the chart's manifests.
    ///
    /// # Errors
    /// helm failed; the error is its complaint.
    pub fn template(&self, release: &str, namespace: &str, flags: &[&str]) -> Result<String> {
        let chart = self.chart.display().to_string();
        // A helm that is built from source does not know its Kubernetes version.
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

    /// Runs helm; answers what it printed.
    ///
    /// # Errors
    /// helm failed; the error is its complaint.
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
