//! One real node: containerd, kubelet, scheduler and kube-proxy run beside the control plane, in
//! the network namespace of this process.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cache::NodeTools;
use crate::cluster::Cluster;
use crate::process::{Child, free_port};
use crate::{Result, until};

/// The range of the pods' addresses.
const PODS: &str = "10.88.0.0/24";

/// The node, and its programs.
pub struct Node {
    _processes: Vec<Child>,
}

impl Node {
    /// Starts the node with these images (OCI archives), and waits until it is ready.
    ///
    /// # Errors
    /// A program does not start; the error names its log.
    pub async fn start(
        tools: &NodeTools,
        cluster: &Cluster,
        address: Ipv4Addr,
        scratch: &Path,
        logs: &Path,
        images: &[&Path],
    ) -> Result<Self> {
        let folder = scratch.join("node");
        let path = |name: &str| folder.join(name);
        for name in ["cni", "kubelet", "containerd"] {
            std::fs::create_dir_all(path(name))
                .map_err(|e| format!("{}: {e}", path(name).display()))?;
        }
        write(&path("cni/10-ptp.conflist"), &cni())?;
        write(&path("containerd.toml"), &containerd(&folder, tools))?;
        write(&path("kubelet.yaml"), &kubelet(&folder, address))?;
        write(&path("resolv.conf"), "")?;

        // containerd finds its shims by its PATH.
        let search = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            tools.containerd.display()
        );
        let mut command = Command::new(tools.containerd.join("containerd"));
        command
            .arg("--config")
            .arg(path("containerd.toml"))
            .env("PATH", &search);
        let mut processes = vec![Child::start(command, &logs.join("containerd.log"))?];
        let socket = path("containerd.sock");
        let ctr: Vec<String> = [
            tools.containerd.join("ctr").display().to_string(),
            "--address".to_owned(),
            socket.display().to_string(),
        ]
        .into();
        until(Duration::from_secs(60), async || {
            ran(&ctr, &["version"]).await
        })
        .await
        .map_err(|e| format!("containerd does not answer, see {}: {e}", logs.display()))?;
        for image in images {
            let image = image.display().to_string();
            let import = [
                "-n",
                "k8s.io",
                "images",
                "import",
                "--local",
                "--snapshotter",
                "native",
                "--platform",
                "linux/amd64",
                &image,
            ];
            ran(&ctr, &import).await?;
        }

        let kubeconfig = cluster.kubeconfig.display().to_string();
        let mut start = |component: &str, flags: &[String]| -> Result<()> {
            let mut command = Command::new(&tools.node);
            command
                .arg(component)
                .args(flags)
                .env("PATH", &search)
                .env("NO_PROXY", "*");
            processes.push(Child::start(
                command,
                &logs.join(format!("{component}.log")),
            )?);
            Ok(())
        };
        start(
            "kube-scheduler",
            &[
                format!("--kubeconfig={kubeconfig}"),
                format!("--authentication-kubeconfig={kubeconfig}"),
                format!("--authorization-kubeconfig={kubeconfig}"),
                "--leader-elect=false".to_owned(),
                format!("--secure-port={}", free_port()?),
            ],
        )?;
        start(
            "kube-proxy",
            &[
                format!("--kubeconfig={kubeconfig}"),
                "--proxy-mode=nftables".to_owned(),
                "--hostname-override=node".to_owned(),
                format!("--cluster-cidr={PODS}"),
                "--conntrack-max-per-core=0".to_owned(),
                "--conntrack-min=0".to_owned(),
                "--conntrack-tcp-timeout-established=0s".to_owned(),
                "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
            ],
        )?;
        start(
            "kubelet",
            &[
                format!("--config={}", path("kubelet.yaml").display()),
                format!("--kubeconfig={kubeconfig}"),
                format!("--root-dir={}", path("kubelet").display()),
                "--hostname-override=node".to_owned(),
                format!("--node-ip={address}"),
            ],
        )?;
        until(Duration::from_secs(120), async || {
            let wait = ["wait", "--for=condition=Ready", "node/node", "--timeout=5s"];
            cluster.kubectl(&wait).await
        })
        .await
        .map_err(|e| format!("the node is not ready, see {}: {e}", logs.display()))?;
        Ok(Self {
            _processes: processes,
        })
    }
}

async fn ran(program: &[String], arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new(&program[0])
        .args(&program[1..])
        .args(arguments)
        .output()
        .await
        .map_err(|e| format!("{}: {e}", program[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn cni() -> String {
    serde_json::json!({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [{
            "type": "ptp", "mtu": 1500,
            "ipam": {"type": "host-local", "subnet": PODS, "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    })
    .to_string()
}

fn containerd(folder: &Path, tools: &NodeTools) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"#,
        root = path("containerd/root"),
        state = path("containerd/state"),
        socket = path("containerd.sock"),
        cni = path("cni"),
        runc = tools.containerd.join("runc").display(),
    )
}

fn kubelet(folder: &Path, address: Ipv4Addr) -> String {
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address.to_string(),
        // Only this machine reaches the kubelet, so nobody has to authenticate.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "failCgroupV1": false, "enforceNodeAllocatable": [], "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", folder.join("containerd.sock").display()),
        "resolvConf": folder.join("resolv.conf").display().to_string(),
        "evictionHard": {"memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
    })
    .to_string()
}
