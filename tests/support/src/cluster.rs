//! A control plane: etcd, kube-apiserver and kube-controller-manager.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::api_proxy::ApiProxy;
use crate::cache::Tools;
use crate::process::{Child, free_port};
use crate::{Result, until};

/// Token of the only user, a member of `system:masters`.
const TOKEN: &str = "repofanout-tests";

/// A Kubernetes API, with a kubeconfig that may do everything.
pub struct Cluster {
    /// The kubeconfig's file.
    pub kubeconfig: PathBuf,
    kubectl: Vec<String>,
    /// The URL of the API server; empty, if the cluster existed before.
    server: String,
    processes: Vec<Child>,
}

impl Cluster {
    /// Starts a control plane on loopback, or on this address for a node and its pods, and waits
    /// until it serves.
    pub async fn start(
        tools: &Tools,
        scratch: &Path,
        logs: &Path,
        node: Option<Ipv4Addr>,
    ) -> Result<Self> {
        let folder = scratch.join("cluster");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let port = free_port()?;
        let kubeconfig = folder.join("kubeconfig");
        certificates(&folder, node)?;
        let server = format!("https://{}:{port}", node.unwrap_or(Ipv4Addr::LOCALHOST));
        write(
            &kubeconfig,
            &self::kubeconfig(&server, Some(&folder.join("ca.crt")), TOKEN, None),
        )?;
        write(
            &folder.join("tokens.csv"),
            &format!("{TOKEN},admin,admin,system:masters\n"),
        )?;

        let (client, peer) = (free_port()?, free_port()?);
        let etcd = start(
            &tools.etcd,
            logs,
            "etcd",
            &etcd_flags(&folder, client, peer),
        )?;
        let apiserver = start(
            &tools.apiserver,
            logs,
            "kube-apiserver",
            &apiserver_flags(&folder, port, client, node),
        )?;
        let kubectl = tools.kubectl.clone();
        let mut cluster = Self {
            kubeconfig,
            kubectl,
            server,
            processes: vec![etcd, apiserver],
        };
        cluster
            .ready(port)
            .await
            .map_err(|e| format!("the API server does not serve, see {}: {e}", logs.display()))?;
        let flags = controller_manager_flags(&folder, &cluster.kubeconfig, free_port()?);
        cluster.processes.push(start(
            &tools.controller_manager,
            logs,
            "kube-controller-manager",
            &flags,
        )?);
        Ok(cluster)
    }

    /// Uses a cluster that exists.
    pub async fn existing(tools: &Tools, kubeconfig: PathBuf) -> Result<Self> {
        let cluster = Self {
            kubeconfig,
            kubectl: tools.kubectl.clone(),
            server: String::new(),
            processes: Vec::new(),
        };
        cluster.kubectl(&["get", "--raw", "/readyz"]).await?;
        Ok(cluster)
    }

    /// Starts a proxy in front of the API server; who comes through it is this user.
    pub async fn proxy(&self, name: &str, user: &str) -> Result<ApiProxy> {
        let folder = self.folder()?;
        let kubeconfig = folder.join(format!("kubeconfig-{name}-proxy"));
        ApiProxy::start(
            &self.server,
            &folder.join("ca.crt"),
            TOKEN,
            Some(user),
            kubeconfig,
        )
        .await
    }

    /// Writes a kubeconfig of this user, which may do only what that user may.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig_as(&self, name: &str, user: &str) -> Result<PathBuf> {
        let folder = self.folder()?;
        let path = folder.join(format!("kubeconfig-{name}"));
        write(
            &path,
            &self::kubeconfig(
                &self.server,
                Some(&folder.join("ca.crt")),
                TOKEN,
                Some(user),
            ),
        )?;
        Ok(path)
    }

    fn folder(&self) -> Result<&Path> {
        self.kubeconfig
            .parent()
            .ok_or_else(|| "the kubeconfig has no folder".to_owned())
    }

    /// Waits until the API server serves, and fails if it has ended.
    async fn ready(&mut self, port: u16) -> Result<()> {
        let processes = std::sync::Mutex::new(&mut self.processes);
        let limit = Duration::from_secs(120);
        until(limit, || async {
            if processes
                .lock()
                .expect("no panic while held")
                .iter_mut()
                .any(|p| p.ended().is_some())
            {
                return Ok(());
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .map(|_| ())
                .map_err(|e| e.to_string())
        })
        .await?;
        if self.processes.iter_mut().any(|p| p.ended().is_some()) {
            return Err("a process has ended".to_owned());
        }
        until(limit, || self.kubectl(&["get", "--raw", "/readyz"]))
            .await
            .map(|_| ())
    }

    /// The URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// kubectl, with its first arguments.
    pub fn program(&self) -> &[String] {
        &self.kubectl
    }

    /// The settings by which Argo CD reaches the cluster, as its cluster Secret has them.
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn argocd_config(&self) -> Result<serde_json::Value> {
        let ca = self.folder()?.join("ca.crt");
        let encode = Command::new("base64")
            .args(["-w", "0"])
            .arg(&ca)
            .output()
            .map_err(|e| format!("base64: {e}"))?;
        let data = String::from_utf8_lossy(&encode.stdout).trim().to_owned();
        Ok(serde_json::json!({"bearerToken": TOKEN, "tlsClientConfig": {"caData": data}}))
    }

    /// Runs kubectl, as a person would; answers what it printed.
    ///
    /// # Errors
    /// kubectl failed; the error is what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, None).await
    }

    /// Runs `kubectl apply` on a manifest.
    ///
    /// # Errors
    /// kubectl failed; the error is what it printed.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], Some(manifest))
            .await
    }

    /// Asks the API server whether it would accept a manifest.
    ///
    /// # Errors
    /// It would not; the error is its complaint.
    pub async fn dry_run(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "--dry-run=server", "-f", "-"], Some(manifest))
            .await
    }

    /// Waits until the API server serves these CRDs.
    ///
    /// # Errors
    /// It does not serve them in time.
    pub async fn established(&self, crds: &[&str]) -> Result<()> {
        let wait = [
            &["wait", "--for=condition=Established", "--timeout=5s"],
            crds,
        ]
        .concat();
        // kubectl fails on a CRD that has no condition yet.
        until(Duration::from_secs(60), || self.kubectl(&wait))
            .await
            .map(|_| ())
    }

    /// Reads a field of a RepoFanout by its JSON path.
    ///
    /// # Errors
    /// kubectl failed; the error is what it printed.
    pub async fn field(&self, namespace: &str, name: &str, path: &str) -> Result<String> {
        self.kubectl(&[
            "get",
            "rf",
            name,
            "-n",
            namespace,
            "-o",
            &format!("jsonpath={path}"),
        ])
        .await
    }

    /// Waits until a field of a RepoFanout has this value.
    ///
    /// # Errors
    /// The field has another value after a minute.
    pub async fn wait_field(
        &self,
        namespace: &str,
        name: &str,
        path: &str,
        value: &str,
    ) -> Result<()> {
        until(Duration::from_secs(60), || async {
            match self.field(namespace, name, path).await? {
                found if found == value => Ok(()),
                found => Err(format!("{path} is '{found}' and not '{value}'")),
            }
        })
        .await
    }

    async fn kubectl_with(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        use tokio::io::AsyncWriteExt;
        let mut command = tokio::process::Command::new(&self.kubectl[0]);
        command
            .args(&self.kubectl[1..])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("NO_PROXY", "127.0.0.1");
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("kubectl: {e}"))?;
        let mut stdin = child.stdin.take().expect("piped");
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        drop(stdin);
        let output = child
            .wait_with_output()
            .await
            .map_err(|e| format!("kubectl: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn start(program: &[String], logs: &Path, name: &str, flags: &[String]) -> Result<Child> {
    let mut command = Command::new(&program[0]);
    command
        .args(&program[1..])
        .args(flags)
        .env("NO_PROXY", "127.0.0.1");
    Child::start(command, &logs.join(format!("{name}.log")))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn etcd_flags(folder: &Path, client: u16, peer: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        // etcd does not sync to disk: nobody needs the data after a crash.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn apiserver_flags(folder: &Path, port: u16, etcd: u16, node: Option<Ipv4Addr>) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ),
        "--service-cluster-ip-range=10.255.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--cert-dir={}", file("apiserver")),
    ];
    match node {
        Some(address) => flags.extend([
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={address}"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]),
        // The Service `kubernetes` may not have a loopback address as its endpoint.
        None => {
            flags.extend(
                [
                    "--bind-address=127.0.0.1",
                    "--endpoint-reconciler-type=none",
                ]
                .map(str::to_owned),
            );
        }
    }
    flags
}

fn controller_manager_flags(folder: &Path, kubeconfig: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("controller-manager")),
        "--leader-elect=false".to_owned(),
        format!(
            "--service-account-private-key-file={}",
            file("accounts.key")
        ),
        format!("--root-ca-file={}", file("ca.crt")),
    ]
}

/// Makes a CA, the API server's certificate and the key of service accounts.
fn certificates(folder: &Path, node: Option<Ipv4Addr>) -> Result<()> {
    let failed = |e: rcgen::Error| format!("certificates: {e}");
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "repofanout tests");
    let ca = params.self_signed(&ca_key).map_err(failed)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().map_err(failed)?;
    // The last address is the first one of the services' range, which the Service `kubernetes` has.
    let mut names = [
        "127.0.0.1",
        "localhost",
        "kubernetes.default.svc",
        "10.255.0.1",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(node.map(|address| address.to_string()));
    let server = CertificateParams::new(names)
        .and_then(|p| p.signed_by(&key, &issuer))
        .map_err(failed)?;
    write(&folder.join("ca.crt"), &ca)?;
    write(&folder.join("server.crt"), &server.pem())?;
    write(&folder.join("server.key"), &key.serialize_pem())?;
    let accounts = KeyPair::generate().map_err(failed)?;
    write(&folder.join("accounts.key"), &accounts.serialize_pem())?;
    write(&folder.join("accounts.pub"), &accounts.public_key_pem())
}

/// The text of a kubeconfig for this server; if there is a user, it impersonates that one.
pub fn kubeconfig(server: &str, ca: Option<&Path>, token: &str, user: Option<&str>) -> String {
    let mut cluster = serde_json::json!({"server": server});
    if let Some(ca) = ca {
        cluster["certificate-authority"] = serde_json::json!(ca);
    }
    let mut admin = serde_json::json!({"token": token});
    if let Some(user) = user {
        admin["as"] = serde_json::json!(user);
    }
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "admin", "user": admin}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
    })
    .to_string()
}
