//! Argo CD's application-controller and repo-server over a git repository with RepoFanouts.

use std::process::Command;
use std::time::Duration;

use support::{Child, NodeTools, Result, free_port, root, until};

use crate::demo::{note, say};
use crate::e2e::Bench;

const LIMIT: Duration = Duration::from_secs(180);
/// Its own namespace.
const ARGOCD: &str = "argocd";
/// Where the fan-outs are that it syncs.
const TEAM: &str = "gitops";
/// The repository that the fan-out is of.
const REPOSITORY: &str = "acme/site";

/// An Application syncs, shows the fan-out's health, and prunes it.
pub async fn sync(bench: &Bench, tools: &NodeTools) -> Result<()> {
    say("Argo CD");
    let folder = bench.world.scratch.path().join("argocd");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let _processes = start(bench, tools, &folder).await?;
    let git = folder.join("fanouts");
    commit(&git, Some(&manifest("main")), "Fan the site out")?;
    let server = bench.world.cluster.server();
    let application = serde_json::json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "fanouts", "namespace": ARGOCD},
        "spec": {
            "project": "default",
            "source": {"repoURL": format!("file://{}", git.display()), "path": ".", "targetRevision": "main"},
            "destination": {"server": server, "namespace": TEAM},
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true, "allowEmpty": true},
                "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
            },
        },
    });
    let world = &bench.world;
    world.repositories.create(REPOSITORY).await?;
    let files = [("index.html", Some("<p>Hello\n"))];
    world
        .repositories
        .push(REPOSITORY, "main", &files, "Write the first page")
        .await?;
    world.cluster.apply(&application.to_string()).await?;

    let app = App { bench };
    app.wait("Synced", "Suspended").await?;
    let told = app.resource_health(".health.message").await?;
    let url = world
        .cluster
        .field(TEAM, "site", "{.status.connection.authorizeURL}")
        .await?;
    if !told.contains(&url) {
        return Err(format!("Argo CD shows '{told}', and not the link {url}"));
    }
    world.aws.hold_executions(crate::demo::ACCOUNT, true);
    world.aws.authorize(
        &world
            .cluster
            .field(TEAM, "site", "{.status.connection.arn}")
            .await?,
    )?;
    app.wait("Synced", "Progressing").await?;
    world.aws.hold_executions(crate::demo::ACCOUNT, false);
    app.wait("Synced", "Healthy").await?;

    // What the operator writes is no difference to what git has.
    let syncs = app.field("{.status.history[*].id}").await?;
    for _ in 0..2 {
        bench
            .kubectl(&[
                "annotate",
                "application",
                "fanouts",
                "-n",
                ARGOCD,
                "argocd.argoproj.io/refresh=hard",
            ])
            .await?;
        until(LIMIT, async || {
            match app
                .field(r"{.metadata.annotations.argocd\.argoproj\.io/refresh}")
                .await?
            {
                none if none.is_empty() => Ok(()),
                _ => Err("Argo CD has not looked again".to_owned()),
            }
        })
        .await?;
    }
    app.wait("Synced", "Healthy").await?;
    let now = app.field("{.status.history[*].id}").await?;
    if now != syncs {
        return Err(format!(
            "Argo CD syncs again and again: {syncs} became {now}"
        ));
    }

    commit(
        &git,
        Some(&manifest("none")),
        "Follow a branch that does not exist",
    )?;
    app.refresh().await?;
    app.wait("Synced", "Degraded").await?;
    commit(&git, Some(&manifest("main")), "Follow main again")?;
    app.refresh().await?;
    app.wait("Synced", "Healthy").await?;

    commit(&git, None, "Fan nothing out")?;
    app.refresh().await?;
    until(LIMIT, async || {
        match bench
            .kubectl(&["get", "rf", "-n", TEAM, "-o", "name"])
            .await?
        {
            none if none.is_empty() => Ok(()),
            some => Err(format!("it is still there: {some}")),
        }
    })
    .await?;
    let pipelines = world.aws.pipelines(crate::demo::ACCOUNT);
    let connections = world.aws.connections(crate::demo::ACCOUNT).len();
    // The pipeline goes; the authorization, which a person gave, stays.
    if pipelines.keys().any(|name| name.contains("site")) || connections != 2 {
        return Err(format!(
            "pruning left {:?} and {connections} connections",
            pipelines.keys()
        ));
    }
    note("pruned: the pipeline is gone, the authorization stays");
    Ok(())
}

struct App<'a> {
    bench: &'a Bench,
}

impl App<'_> {
    async fn field(&self, path: &str) -> Result<String> {
        let path = format!("jsonpath={path}");
        self.bench
            .kubectl(&["get", "application", "fanouts", "-n", ARGOCD, "-o", &path])
            .await
    }

    async fn resource_health(&self, field: &str) -> Result<String> {
        // Argo CD keeps the health of resources in the Application.
        self.field(&format!(
            r#"{{.status.resources[?(@.kind=="RepoFanout")]{field}}}"#
        ))
        .await
    }

    async fn refresh(&self) -> Result<()> {
        let refresh = "argocd.argoproj.io/refresh=normal";
        let annotate = [
            "annotate",
            "--overwrite",
            "application",
            "fanouts",
            "-n",
            ARGOCD,
            refresh,
        ];
        self.bench.kubectl(&annotate).await.map(|_| ())
    }

    async fn wait(&self, sync: &str, health: &str) -> Result<()> {
        until(LIMIT, async || {
            let found = self
                .field("{.status.sync.status} {.status.health.status}")
                .await?;
            if found == format!("{sync} {health}") {
                Ok(())
            } else {
                Err(format!(
                    "the Application is {found}, and not {sync} {health}"
                ))
            }
        })
        .await?;
        note(&format!("{sync}, {health}"));
        Ok(())
    }
}

fn manifest(branch: &str) -> String {
    format!(
        "apiVersion: repofanout.dev/v1alpha1\nkind: RepoFanout\nmetadata:\n  name: site\nspec:\n  repository: {REPOSITORY}\n  branch: {branch}\n"
    )
}

/// Commits the manifest, or its removal.
fn commit(folder: &std::path::Path, manifest: Option<&str>, message: &str) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let file = folder.join("site.yaml");
    match manifest {
        Some(text) => {
            std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?
        }
        None => std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?,
    }
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
        let status = Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(folder)
            .output();
        match status {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "git {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Err(format!("git: {error}")),
        }
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--allow-empty", "-m", message])
}

/// Starts it beside the node, with the settings that `deploy/argocd` has.
async fn start(bench: &Bench, tools: &NodeTools, folder: &std::path::Path) -> Result<Vec<Child>> {
    let module = root().join("tests/support/go/argocd");
    let list = [
        "list",
        "-m",
        "-f",
        "{{.Dir}}",
        "github.com/argoproj/argo-cd/v3",
    ];
    let found = Command::new("go")
        .args(list)
        .current_dir(module)
        .output()
        .map_err(|e| format!("go: {e}"))?;
    let crds = format!(
        "{}/manifests/crds",
        String::from_utf8_lossy(&found.stdout).trim()
    );
    bench
        .kubectl(&["apply", "--server-side", "-k", &crds])
        .await?;
    bench
        .world
        .cluster
        .established(&[
            "crd/appprojects.argoproj.io",
            "crd/applications.argoproj.io",
        ])
        .await?;
    let label = serde_json::json!({"app.kubernetes.io/part-of": "argocd"});
    let kubeconfig = &bench.world.cluster.kubeconfig;
    let mut objects = vec![
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ARGOCD}}),
    ];
    for name in [
        "argocd-rbac-cm",
        "argocd-gpg-keys-cm",
        "argocd-tls-certs-cm",
        "argocd-ssh-known-hosts-cm",
    ] {
        objects.push(serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": ARGOCD, "labels": label},
        }));
    }
    objects.push(serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-secret", "namespace": ARGOCD, "labels": label},
        "stringData": {"server.secretkey": "for-tests-alone"},
    }));
    let config = bench.world.cluster.argocd_config()?;
    objects.push(serde_json::json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "cluster", "namespace": ARGOCD, "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
        "stringData": {"name": "here", "server": bench.world.cluster.server(), "config": config.to_string()},
    }));
    objects.push(serde_json::json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default", "namespace": ARGOCD},
        "spec": {
            "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }));
    let manifest: Vec<String> = objects.iter().map(ToString::to_string).collect();
    bench.world.cluster.apply(&manifest.join("\n---\n")).await?;
    bench
        .shell("kubectl apply --server-side -k deploy/argocd")
        .await?;

    let (redis, repo) = (free_port()?, free_port()?);
    let mut processes = Vec::new();
    let mut run = |program: &str, arguments: &[String], log: &str| -> Result<()> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .env("HOME", folder)
            .env("KUBECONFIG", kubeconfig);
        command
            .env("ARGOCD_GPG_ENABLED", "false")
            .env("NO_PROXY", "*")
            .env("REDIS_SERVER", format!("127.0.0.1:{redis}"));
        command
            .env("ARGOCD_TLS_DATA_PATH", folder)
            .env("ARGOCD_SSH_DATA_PATH", folder);
        processes.push(Child::start(
            command,
            &bench.world.logs.join(format!("{log}.log")),
        )?);
        Ok(())
    };
    let port = redis.to_string();
    run(
        "redis-server",
        &["--port", &port, "--save", "", "--bind", "127.0.0.1"].map(str::to_owned),
        "redis",
    )?;
    let argocd = tools.argocd.display().to_string();
    let server = [
        "repo-server".to_owned(),
        format!("--redis=127.0.0.1:{redis}"),
        "--disable-tls".to_owned(),
        format!("--port={repo}"),
        format!("--metrics-port={}", free_port()?),
    ];
    run(&argocd, &server, "argocd-repo-server")?;
    let controller = [
        "application-controller".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--namespace={ARGOCD}"),
        format!("--repo-server=127.0.0.1:{repo}"),
        "--repo-server-plaintext".to_owned(),
        format!("--redis=127.0.0.1:{redis}"),
        "--app-resync=20".to_owned(),
        // Else the health of each resource is in its cache alone, for the web page.
        "--persist-resource-health".to_owned(),
        format!("--metrics-port={}", free_port()?),
    ];
    run(&argocd, &controller, "argocd-application-controller")?;
    Ok(processes)
}
