//! Other people's software, found or built once and kept outside the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Result, root};

/// Kubernetes, as in `go/kube/go.mod`.
const KUBERNETES: &str = "1.37.2";
/// etcd, as in `go/etcd/go.mod`.
const ETCD: &str = "3.7.3";
/// Renders and installs the chart.
const HELM: &str = "3.22.0";
/// Answers for S3, SNS, SQS, IAM, STS and EventBridge.
const MINISTACK: &str = "1.5.33";
/// Its service models judge requests.
const BOTOCORE: &str = "1.44.5";
/// Asks a real account.
const AWS_CLI: &str = "1.46.3";

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Program and first arguments of each component of the control plane.
    pub etcd: Vec<String>,
    /// kube-apiserver.
    pub apiserver: Vec<String>,
    /// kube-controller-manager.
    pub controller_manager: Vec<String>,
    /// kubectl.
    pub kubectl: Vec<String>,
    /// helm.
    pub helm: PathBuf,
    /// The Python that has ministack.
    pub python: PathBuf,
    /// botocore's `data` folder.
    pub models: PathBuf,
}

impl Tools {
    /// Finds them: in `KUBEBUILDER_ASSETS`, in the cache, or builds them.
    pub fn ready(progress: fn(&str)) -> Result<Self> {
        let cache = folder()?;
        // Two runs at once would build the same: the second one waits.
        let lock = std::fs::File::create(cache.join("lock")).map_err(|e| format!("{}: {e}", cache.display()))?;
        if lock.try_lock().is_err() {
            progress("waiting for another run that fills the cache");
            lock.lock().map_err(|e| e.to_string())?;
        }
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let asset = |name: &str| {
            let path = assets.as_ref()?.join(name);
            path.exists().then(|| vec![path.display().to_string()])
        };
        let component = |name: &str| match asset(name) {
            Some(found) => Ok(found),
            None => Ok::<_, String>(vec![kube(&cache, progress)?.display().to_string(), name.to_owned()]),
        };
        let etcd = match asset("etcd") {
            Some(found) => found,
            None => vec![etcd(&cache, progress)?.display().to_string()],
        };
        let python = ministack(&cache, progress)?;
        Ok(Self {
            etcd,
            apiserver: component("kube-apiserver")?,
            controller_manager: component("kube-controller-manager")?,
            kubectl: component("kubectl")?,
            models: botocore(&cache, &python, progress)?,
            helm: helm(&cache, progress)?,
            python,
        })
    }
}

fn folder() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = variable("REPOFANOUT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|c| c.join("repofanout")))
        .or_else(|| variable("HOME").map(|h| h.join(".cache").join("repofanout")))
        .ok_or("no folder for the cache: set REPOFANOUT_CACHE or HOME")?;
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

/// Makes `name` by `build`, which gets a folder that takes its name only once it is whole.
fn once(
    cache: &Path,
    name: &str,
    what: &str,
    progress: fn(&str),
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = cache.join(name);
    if path.exists() {
        return Ok(path);
    }
    progress(&format!("building {what}, once; it is kept in {}", path.display()));
    let started = Instant::now();
    let partial = cache.join(format!("{name}.partial"));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()))?;
    build(&partial)?;
    std::fs::rename(&partial, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    progress(&format!("built {what} in {} s", started.elapsed().as_secs()));
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}; is it installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn go_build(module: &str, output: &Path, flags: &str) -> Result<()> {
    let module = root().join("tests/support/go").join(module);
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(output)
        .args(["-trimpath", "-ldflags", flags, "."])
        .current_dir(module))
}

fn kube(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let name = format!("kube-{KUBERNETES}");
    let what = format!("Kubernetes {KUBERNETES} (apiserver, controller-manager, kubectl; about 8 minutes on 2 cores)");
    let folder = once(cache, &name, &what, progress, |folder| {
        let (base, client) = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version");
        let (major, minor) = (1, KUBERNETES.split('.').nth(1).unwrap_or_default());
        let mut flags = "-s -w".to_owned();
        for package in [base, client] {
            flags += &format!(
                " -X {package}.gitVersion=v{KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            );
        }
        go_build("kube", &folder.join("kube"), &flags)
    })?;
    Ok(folder.join("kube"))
}

fn etcd(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("etcd {ETCD} (about a minute)");
    let folder = once(cache, &format!("etcd-{ETCD}"), &what, progress, |folder| {
        go_build("etcd", &folder.join("etcd"), "-s -w")
    })?;
    Ok(folder.join("etcd"))
}

/// A Go program of a released module, by `go install`.
fn go_install(folder: &Path, package: &str, version: &str) -> Result<()> {
    run(Command::new("go")
        .args(["install", "-trimpath", "-ldflags", "-s -w", &format!("{package}@v{version}")])
        .env("GOBIN", folder)
        .current_dir("/"))
}

fn helm(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("helm {HELM} (about 2 minutes)");
    let folder = once(cache, &format!("helm-{HELM}"), &what, progress, |folder| {
        go_install(folder, "helm.sh/helm/v3/cmd/helm", HELM)
    })?;
    Ok(folder.join("helm"))
}

fn ministack(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("a Python environment with ministack {MINISTACK}");
    let folder = once(cache, &format!("ministack-{MINISTACK}"), &what, progress, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        pip(&folder.join("bin/python"), &[&format!("ministack=={MINISTACK}")])
    })?;
    Ok(folder.join("bin/python"))
}

/// The AWS command line, for `cargo xtask verify-aws`.
///
/// # Errors
/// It cannot be installed.
pub fn aws_cli(progress: fn(&str)) -> Result<PathBuf> {
    let cache = folder()?;
    let what = format!("a Python environment with awscli {AWS_CLI}");
    let folder = once(&cache, &format!("awscli-{AWS_CLI}"), &what, progress, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        pip(&folder.join("bin/python"), &[&format!("awscli=={AWS_CLI}")])
    })?;
    // The script's first line names the folder that it was made in, which has another name now.
    Ok(folder.join("bin/python"))
}

fn botocore(cache: &Path, python: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("the service models of botocore {BOTOCORE}");
    let folder = once(cache, &format!("botocore-{BOTOCORE}"), &what, progress, |folder| {
        let target = folder.display().to_string();
        pip(python, &["--no-deps", "--target", &target, &format!("botocore=={BOTOCORE}")])
    })?;
    Ok(folder.join("botocore").join("data"))
}

fn pip(python: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new(python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(arguments))
}
