//! `cargo xtask dashboard`: some minutes of an operator's life, as Prometheus hears of them and the
//! chart's dashboard asks for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{
    ALL, Child, Operator, OperatorConfig, Result, World, build, debian, free_port, get, root, until,
};

use crate::plot::{self, Line, Panel};

const ACCOUNT: &str = "111122223333";
const FANOUTS: usize = 30;

/// Lives, asks, and draws.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let program = build(true)?;
        let prometheus =
            debian("prometheus", |line| eprintln!("{line}"))?.join("usr/bin/prometheus");
        let world = World::start(|line| eprintln!("{line}")).await?;
        world.install_crds().await?;
        let port = free_port()?;
        let config = OperatorConfig {
            account: ACCOUNT.to_owned(),
            region: "eu-west-1".to_owned(),
            namespace: ALL.to_owned(),
            flags: vec![
                "--cluster-id=dashboard".to_owned(),
                format!("--listen=127.0.0.1:{port}"),
            ],
            kubeconfig: None,
        };
        let operator = Operator::start(&world, &program, &config)?;
        let (_child, server) = scrape(&world, &prometheus, port).await?;
        let begun = seconds();
        live(&world).await?;
        let panels = panels(server, begun, seconds()).await?;
        operator.stop().await?;
        plot::dashboard(&panels, &root().join("deploy/dashboards/repofanout.svg"))
    })
}

/// Prometheus beside the operator, as a ServiceMonitor would have it.
async fn scrape(world: &World, program: &Path, port: u16) -> Result<(Child, u16)> {
    let folder: PathBuf = world.scratch.path().join("prometheus");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let scrapes = json!({"job_name": "repofanout", "static_configs": [{
        "targets": [format!("127.0.0.1:{port}")], "labels": {"namespace": "repofanout-system"},
    }]});
    let config = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrapes]});
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config.to_string()).map_err(|e| e.to_string())?;
    let server = free_port()?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        folder.join("data").display()
    ));
    command.arg(format!("--web.listen-address=127.0.0.1:{server}"));
    let child = Child::start(command, &world.logs.join("prometheus.log"))?;
    until(Duration::from_secs(30), || async {
        match get(server, "/-/ready").await? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok((child, server))
}

/// A class that waits for its authorization, fan-outs that follow, pushes, a repository that is not
/// granted, and an account that throttles.
async fn live(world: &World) -> Result<()> {
    let aws = &world.aws;
    aws.imagine_executions(ACCOUNT, Duration::from_secs(2));
    aws.slow_down(ACCOUNT, Duration::from_millis(30));
    let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let class = json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass", "metadata": {"name": "acme"},
        "spec": {
            "artifacts": {}, "destination": {}, "pipelineRole": "Shared", "topic": "Shared",
            "connections": {"acme": {"owner": "*"}}, "allowedNamespaces": {"names": ["*"]}, "allowedRepositories": ["acme/*"],
        },
    });
    world.cluster.apply(&class.to_string()).await?;
    for n in 0..FANOUTS {
        fanout(world, &format!("site-{n}"), &format!("acme/site-{n}")).await?;
    }
    fanout(world, "stranger", "other/site").await?;
    pause(30).await;
    let arn = world
        .cluster
        .kubectl(&[
            "get",
            "rfc",
            "acme",
            "-o",
            "jsonpath={.status.connections.acme.arn}",
        ])
        .await?;
    aws.authorize(&arn)?;
    pause(45).await;
    for n in 0..2 * FANOUTS {
        aws.pushed(&format!("acme/site-{}", n % FANOUTS), "main");
        pause(1).await;
    }
    aws.throttle(ACCOUNT, &[("codepipeline:", 1)]);
    for n in 0..FANOUTS {
        fanout(world, &format!("more-{n}"), &format!("acme/site-{n}")).await?;
    }
    pause(60).await;
    aws.throttle(ACCOUNT, &[]);
    pause(60).await;
    Ok(())
}

async fn fanout(world: &World, name: &str, repository: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout", "metadata": {"name": name},
        "spec": {"repository": repository, "className": "acme", "destination": {"prefix": format!("default/{name}")}},
    });
    world.cluster.apply(&object.to_string()).await.map(|_| ())
}

/// What the dashboard asks for, panel by panel.
async fn panels(server: u16, begun: f64, ended: f64) -> Result<Vec<Panel>> {
    let file = root().join("charts/repofanout/files/dashboard.json");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let dashboard: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place = |key: &str| panel["gridPos"][key].as_f64().unwrap_or_default();
        let mut lines = Vec::new();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = text(&target["expr"]).replace("$namespace", ".*");
            let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let path =
                format!("/api/v1/query_range?query={query}&start={begun}&end={ended}&step=1");
            let (_, answer) = get(server, &path).await?;
            let answer: Value =
                serde_json::from_str(&answer).map_err(|e| format!("{answer}: {e}"))?;
            for series in answer["data"]["result"].as_array().into_iter().flatten() {
                let labels: Vec<String> = series["metric"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(_, v)| text(v))
                    .collect();
                let value = |pair: &Value| {
                    Some((
                        pair[0].as_f64()? - begun,
                        text(&pair[1]).parse::<f64>().ok()?,
                    ))
                };
                let points = series["values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(value);
                let points = points.filter(|(_, value)| value.is_finite()).collect();
                let name = if labels.is_empty() {
                    text(&target["legendFormat"])
                } else {
                    labels.join(" ")
                };
                lines.push(Line { name, points });
            }
        }
        panels.push(Panel {
            title: text(&panel["title"]),
            unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
            stat: panel["type"] == "stat",
            place: [place("x"), place("y"), place("w"), place("h")],
            lines,
            seconds: ended - begun,
        });
    }
    Ok(panels)
}

fn seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}
