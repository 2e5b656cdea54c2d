//! `cargo xtask e2e`: the image, the chart and Argo CD on a real node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{IMAGE, Node, NodeTools, Place, Result, World, build_image, logs, root, until};

use crate::argocd;
use crate::demo::{ACCOUNT, REGION, note, say};

/// The node's address, in a network namespace of its own.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where the chart is installed.
pub const SYSTEM: &str = "repofanout-system";
/// Where the fan-outs are.
const TEAM: &str = "team-docs";
const REPOSITORY: &str = "acme/docs";
const LIMIT: Duration = Duration::from_secs(180);

/// Builds all that is needed, then goes on in namespaces of the kernel that end with this process.
pub fn run(image: Option<PathBuf>) -> Result<()> {
    // SAFETY: it has no preconditions.
    if !std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .contains("\nUid:\t0\t")
    {
        return Err(
            "e2e runs a real node: it needs root, for containers and for a network namespace of its own".to_owned()
        );
    }
    NodeTools::ready(note)?;
    let image = match image {
        Some(image) => image,
        None => build_image(note)?,
    };
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    // What runs in them ends with them: containers, mounts, addresses.
    let status = Command::new("unshare")
        .args([
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--mount-proc",
            "--",
        ])
        .arg(program)
        .args(["e2e", "--inside", "--image"])
        .arg(image)
        .env("REPOFANOUT_LOGS", logs()?)
        .status()
        .map_err(|e| format!("unshare: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("the cluster test failed".to_owned())
    }
}

/// The test itself.
pub fn inside(image: &Path) -> Result<()> {
    for command in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"],
        &[
            "route",
            "add",
            "default",
            "dev",
            "lo",
            "src",
            &ADDRESS.to_string(),
        ],
    ] {
        let status = Command::new("ip")
            .args(command)
            .status()
            .map_err(|e| format!("ip: {e}"))?;
        if !status.success() {
            return Err(format!("ip {}: {status}", command.join(" ")));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(test(image))
}

/// What the steps share.
pub struct Bench {
    /// The world, with a node in it.
    pub world: World,
    _node: Node,
    /// A folder with `kubectl`, `helm` and what a person would write.
    folder: PathBuf,
}

async fn test(image: &Path) -> Result<()> {
    let started = Instant::now();
    say("A real node");
    let tools = NodeTools::ready(note)?;
    let world = World::start_at(&Place::Node(ADDRESS), note).await?;
    let pause = tools.pause();
    let images = [pause.as_path(), image];
    let node = Node::start(
        &tools,
        &world.cluster,
        ADDRESS,
        world.scratch.path(),
        &world.logs,
        &images,
    )
    .await?;
    note(&format!(
        "the node is Ready after {:.0} s",
        started.elapsed().as_secs_f32()
    ));
    let bench = Bench::new(world, node)?;
    let steps = async {
        bench.install().await?;
        bench.fan_out().await?;
        bench.leader_killed().await?;
        bench.upgrade_and_rollback().await?;
        bench.uninstall_and_move().await?;
        argocd::sync(&bench, &tools).await
    };
    let result = steps.await;
    if let Err(error) = &result {
        bench.describe(error).await;
    }
    result?;
    println!("\nDone in {:.0} s.", started.elapsed().as_secs_f32());
    Ok(())
}

/// Kills the operator of a pod, which is a process of ours here: nothing of it is told to end.
fn kill(pod: &str) -> Result<()> {
    let wanted = format!("POD_NAME={pod}");
    for process in std::fs::read_dir("/proc")
        .map_err(|e| e.to_string())?
        .flatten()
    {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            let id = process.file_name().to_string_lossy().into_owned();
            let status = Command::new("kill")
                .args(["-9", &id])
                .status()
                .map_err(|e| format!("kill: {e}"))?;
            return if status.success() {
                Ok(())
            } else {
                Err(format!("kill -9 {id}: {status}"))
            };
        }
    }
    Err(format!("no process of pod {pod}"))
}

impl Bench {
    fn new(world: World, node: Node) -> Result<Self> {
        let folder = world.scratch.path().join("person");
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).map_err(|e| format!("{}: {e}", bin.display()))?;
        let bench = Self {
            world,
            _node: node,
            folder,
        };
        // In the project's folder, beside values of one's own.
        for name in ["charts", "crds", "deploy"] {
            std::os::unix::fs::symlink(root().join(name), bench.folder.join(name))
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let kubectl = bench.world.cluster.program().join("\" \"");
        bench.write(
            "bin/kubectl",
            &format!("#!/bin/sh\nexec \"{kubectl}\" \"$@\"\n"),
        )?;
        let helm = bench.world.helm.program.display().to_string();
        bench.write("bin/helm", &format!("#!/bin/sh\nexec \"{helm}\" \"$@\"\n"))?;
        for name in ["kubectl", "helm"] {
            use std::os::unix::fs::PermissionsExt;
            let file = bin.join(name);
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
                .map_err(|e| e.to_string())?;
        }
        // What a person puts in: where the image is, and, here, which AWS.
        let (repository, tag) = IMAGE.rsplit_once(':').expect("a tag");
        let values = serde_json::json!({
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "operator": {
                "endpointURL": format!("http://{}", bench.world.aws.address), "s3PathStyle": true, "region": REGION,
                "pollInterval": "1s", "clusterID": "e2e",
            },
            "leaderElection": {"leaseDuration": "5s"},
            "extraEnv": [
                {"name": "AWS_ACCESS_KEY_ID", "value": ACCOUNT}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "secret"},
                {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},
            ],
        });
        bench.write("values.yaml", &values.to_string())?;
        Ok(bench)
    }

    /// Writes a file into the person's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Runs a script as a person would, in a folder with the project's; answers what it printed.
    pub async fn shell(&self, script: &str) -> Result<String> {
        for line in script.lines() {
            println!("$ {line}");
        }
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.folder.join("bin").display()
        );
        let output = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("KUBECONFIG", &self.world.cluster.kubeconfig)
            .env("HOME", &self.folder)
            .env("NO_PROXY", "*")
            .output()
            .await
            .map_err(|e| format!("bash: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!(
            "{script}: {}{}",
            text,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.world.cluster.kubectl(arguments).await
    }

    async fn rolled_out(&self) -> Result<()> {
        let rollout = [
            "rollout",
            "status",
            "deployment",
            "-n",
            SYSTEM,
            "--timeout=180s",
            "repofanout",
        ];
        self.kubectl(&rollout).await.map(|_| ())
    }

    /// Waits for a field of the fan-out.
    async fn wait(&self, path: &str, value: &str) -> Result<()> {
        until(LIMIT, async || {
            match self.world.cluster.field(TEAM, "docs", path).await? {
                found if found == value => Ok(()),
                found => Err(format!("{path} is '{found}' and not '{value}'")),
            }
        })
        .await
    }

    async fn push(&self, file: &str) -> Result<String> {
        let files = [(file, Some("text\n"))];
        self.world
            .repositories
            .push(REPOSITORY, "main", &files, &format!("Write {file}"))
            .await
    }

    async fn delivers(&self, file: &str) -> Result<()> {
        let commit = self.push(file).await?;
        self.wait("{.status.delivered.commit.id}", &commit).await
    }

    fn writes(&self) -> usize {
        self.world
            .aws
            .calls(ACCOUNT)
            .iter()
            .filter(|c| c.write)
            .count()
    }

    fn once(&self) -> Result<()> {
        let aws = &self.world.aws;
        let found = (
            aws.connections(ACCOUNT).len(),
            aws.pipelines(ACCOUNT).len(),
            aws.rules(ACCOUNT).len(),
        );
        if found == (1, 1, 1) {
            Ok(())
        } else {
            Err(format!(
                "connections, pipelines and rules: {found:?}, and not one each"
            ))
        }
    }

    /// The README's section, word for word.
    async fn install(&self) -> Result<()> {
        say("The README's install section");
        let readme = std::fs::read_to_string(root().join("README.md"))
            .map_err(|e| format!("README.md: {e}"))?;
        let section = readme
            .split("<!-- e2e: install -->")
            .nth(1)
            .and_then(|rest| rest.split("<!-- e2e: end -->").next());
        let section = section.ok_or("README.md has no install section for e2e")?;
        for block in section
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
        {
            self.shell(block.trim_end()).await?;
            if block.contains("helm install") {
                self.rolled_out().await?;
            }
        }
        let pods = self
            .kubectl(&[
                "get",
                "pods",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=operator",
            ])
            .await?;
        print!("{pods}");
        let enforced = [
            "get",
            "namespace",
            SYSTEM,
            "-o",
            r"jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}",
        ];
        match self.kubectl(&enforced).await?.as_str() {
            "restricted" if pods.matches("1/1").count() == 2 => Ok(()),
            other => Err(format!(
                "two pods are to be Ready under restricted Pod Security, and not under '{other}': {pods}"
            )),
        }
    }

    async fn fan_out(&self) -> Result<()> {
        say("A fan-out goes the whole way");
        self.world.repositories.create(REPOSITORY).await?;
        let commit = self.push("README.md").await?;
        self.shell(&format!(
            "kubectl create namespace {TEAM}\nkubectl apply -n {TEAM} -f \
                 deploy/samples/repofanout.yaml"
        ))
        .await?;
        self.wait(
            r#"{.status.conditions[?(@.type=="Ready")].reason}"#,
            "ConnectionPending",
        )
        .await?;
        self.world.aws.authorize(
            &self
                .world
                .cluster
                .field(TEAM, "docs", "{.status.connection.arn}")
                .await?,
        )?;
        self.wait("{.status.delivered.commit.id}", &commit).await?;
        print!("{}", self.kubectl(&["get", "rf", "-n", TEAM]).await?);
        self.once()
    }

    async fn holder(&self) -> Result<String> {
        self.kubectl(&[
            "get",
            "lease",
            "repofanout",
            "-n",
            SYSTEM,
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ])
        .await
    }

    async fn changes_hands(&self, leader: &str) -> Result<()> {
        until(LIMIT, async || match self.holder().await? {
            now if now == leader || now.is_empty() => Err(format!("the Lease is still {leader}'s")),
            _ => Ok(()),
        })
        .await
    }

    async fn leader_killed(&self) -> Result<()> {
        say("The leader's pod is killed");
        let leader = self.holder().await?;
        let killed = Instant::now();
        kill(&leader)?;
        self.kubectl(&[
            "delete",
            "pod",
            &leader,
            "-n",
            SYSTEM,
            "--force",
            "--grace-period=0",
        ])
        .await?;
        self.changes_hands(&leader).await?;
        note(&format!(
            "taken over after {:.1} s; the Lease holds for 5 s",
            killed.elapsed().as_secs_f32()
        ));
        self.delivers("killed.md").await?;
        self.once()?;
        say("The leader is told to end");
        let leader = self.holder().await?;
        let writes = self.writes();
        self.kubectl(&["delete", "pod", &leader, "-n", SYSTEM, "--wait=false"])
            .await?;
        let told = Instant::now();
        self.changes_hands(&leader).await?;
        note(&format!(
            "handed over after {:.1} s",
            told.elapsed().as_secs_f32()
        ));
        self.rolled_out().await?;
        if self.writes() != writes {
            return Err("a new leader wrote to AWS, and nothing had changed".to_owned());
        }
        self.delivers("ended.md").await
    }

    async fn upgrade_and_rollback(&self) -> Result<()> {
        say("An upgrade with other values and a newer CRD, and back");
        let newer = self.folder.join("newer");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&self.world.helm.chart)
            .arg(&newer)
            .status();
        if !copied.is_ok_and(|status| status.success()) {
            return Err("cp: the chart".to_owned());
        }
        let file = newer.join("files/crds/repofanouts.yaml");
        let crd = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let schema = [
            "get",
            "crd",
            "repofanouts.repofanout.dev",
            "-o",
            r"jsonpath={.metadata.annotations.repofanout\.dev/schema}",
        ];
        let (before, after) = (self.kubectl(&schema).await?, "1000");
        let number = |n: &str| format!("repofanout.dev/schema: \"{n}\"");
        std::fs::write(&file, crd.replacen(&number(&before), &number(after), 1))
            .map_err(|e| format!("{}: {e}", file.display()))?;
        self.shell(&format!(
            "helm upgrade repofanout {} -n {SYSTEM} --values values.yaml --set log.level=debug --wait",
            newer.display()
        ))
        .await?;
        if self.kubectl(&schema).await? != after {
            return Err("the upgrade did not bring its CRD".to_owned());
        }
        self.rolled_out().await?;
        self.delivers("upgraded.md").await?;
        self.shell(&format!("helm rollback repofanout -n {SYSTEM} --wait"))
            .await?;
        if self.kubectl(&schema).await? != before {
            return Err("the rollback did not bring its CRD back".to_owned());
        }
        self.rolled_out().await?;
        self.delivers("back.md").await?;
        self.once()
    }

    async fn uninstall_and_move(&self) -> Result<()> {
        say("Uninstalled, everything stays; installed by kustomize, it goes on; and back to helm");
        let writes = self.writes();
        self.shell(&format!("helm uninstall repofanout -n {SYSTEM} --wait"))
            .await?;
        self.kubectl(&["get", "rf", "docs", "-n", TEAM]).await?;
        self.once()?;
        let base = root().join("deploy/base").display().to_string();
        let up = "../".repeat(self.folder.components().count());
        std::fs::create_dir_all(self.folder.join("overlay")).map_err(|e| e.to_string())?;
        let values: serde_json::Value = serde_json::from_str(
            &std::fs::read_to_string(self.folder.join("values.yaml")).unwrap_or_default(),
        )
        .unwrap_or_default();
        let mut env = values["extraEnv"].clone();
        let more = [
            (
                "AWS_ENDPOINT_URL",
                format!("http://{}", self.world.aws.address),
            ),
            ("REPOFANOUT_S3_PATH_STYLE", "true".to_owned()),
            ("REPOFANOUT_REGION", REGION.to_owned()),
            ("REPOFANOUT_CLUSTER_ID", "e2e".to_owned()),
        ];
        let list = env.as_array_mut().ok_or("the values have no extraEnv")?;
        list.extend(more.map(|(name, value)| serde_json::json!({"name": name, "value": value})));
        let patch = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "repofanout", "namespace": SYSTEM},
            "spec": {"template": {"spec": {"containers": [{"name": "operator", "env": list}]}}},
        });
        self.write("overlay/patch.yaml", &patch.to_string())?;
        let (name, tag) = IMAGE.rsplit_once(':').expect("a tag");
        let overlay = serde_json::json!({
            "resources": [format!("{up}{}", base.trim_start_matches('/'))],
            "patches": [{"path": "patch.yaml"}],
            "images": [{"name": "repofanout", "newName": name, "newTag": tag}],
        });
        self.write("overlay/kustomization.yaml", &overlay.to_string())?;
        self.shell(&format!(
            "kubectl apply --server-side -k {}/overlay",
            self.folder.display()
        ))
        .await?;
        self.rolled_out().await?;
        if self.writes() != writes {
            return Err("nothing had changed, and AWS was written to".to_owned());
        }
        self.delivers("kustomized.md").await?;
        // Helm takes over what another way of installing made.
        self.shell(&format!(
            "helm install repofanout charts/repofanout -n {SYSTEM} --values values.yaml \
                 --take-ownership --wait"
        ))
        .await?;
        self.rolled_out().await?;
        self.delivers("helm.md").await?;
        self.once()
    }

    /// What a person would look at after a failure.
    async fn describe(&self, error: &str) {
        eprintln!("failed: {error}");
        for arguments in [
            &[
                "get",
                "pods,rf,applications.argoproj.io",
                "-A",
                "-o",
                "wide",
            ][..],
            &["get", "events", "-n", SYSTEM, "--sort-by=.lastTimestamp"],
            &[
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=operator",
                "--tail=30",
                "--prefix",
            ],
            &["get", "rf", "-A", "-o", "yaml"],
        ] {
            let told = self.kubectl(arguments).await.unwrap_or_else(|e| e);
            eprintln!("$ kubectl {}\n{told}", arguments.join(" "));
        }
        eprintln!("logs: {}", self.world.logs.display());
    }
}
