//! `cargo xtask bench`: figures of one fan-out, and of fleets of them. It prints and fails nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::aws::Call;
use support::{Operator, OperatorConfig, Result, World, build, root, until};

use crate::fleet::Fleet;
use crate::{figures, plot};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-west-1";
const REPOSITORY: &str = "acme/bench";
const LIMIT: Duration = Duration::from_secs(60);

/// Each class's full look comes once in it.
const QUIET: Duration = Duration::from_secs(600);

/// Measures and prints: fleets of these sizes, and whether AWS throttles one of them as it does;
/// with `add` beside what was measured before.
pub fn run(sizes: &[usize], limited: Option<usize>, add: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        eprintln!("building the operator in release mode");
        let program = build(true)?;
        if !add {
            one(&program).await?;
        }
        let fleets = sizes.iter().filter(|size| **size > 0).map(|size| Fleet {
            size: *size,
            limits: false,
            quiet: QUIET,
        });
        let limited = limited.map(|size| Fleet {
            size,
            limits: true,
            quiet: QUIET,
        });
        let folder = root().join("target/bench");
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let json = folder.join("bench.json");
        let mut measured: Vec<Value> = match std::fs::read_to_string(&json) {
            Ok(text) if add => {
                serde_json::from_str(&text).map_err(|e| format!("{}: {e}", json.display()))?
            }
            _ => Vec::new(),
        };
        for fleet in fleets.chain(limited) {
            eprintln!("\n{fleet:?}");
            let figures = fleet.measure(&program).await?;
            // In the place of what was measured of such a fleet before.
            measured.retain(|m| {
                (&m["size"], &m["limits"]) != (&json!(fleet.size), &json!(fleet.limits))
            });
            measured.push(figures);
            measured.sort_by_key(|m| (m["limits"].as_bool(), m["size"].as_u64()));
            let text = serde_json::to_string_pretty(&json!(measured)).map_err(|e| e.to_string())?;
            std::fs::write(&json, text).map_err(|e| e.to_string())?;
        }
        let table = figures::table(&measured);
        println!("\n{table}");
        std::fs::write(folder.join("bench.md"), table).map_err(|e| e.to_string())?;
        plot::fleets(&measured, &folder.join("bench.svg"))
    })
}

/// Calls by operation.
pub fn by_operation(calls: Vec<Call>) -> BTreeMap<String, usize> {
    let mut by_operation = BTreeMap::new();
    for call in calls {
        *by_operation.entry(call.operation).or_insert(0) += 1;
    }
    by_operation
}

/// Requests that the API server took so far for what the operator follows, by verb and resource, as
/// it counts them itself.
pub async fn kubernetes_requests(world: &World) -> Result<BTreeMap<String, usize>> {
    let metrics = world.cluster.kubectl(&["get", "--raw", "/metrics"]).await?;
    let mut requests = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|l| l.starts_with("apiserver_request_total{"))
    {
        let label = |name: &str| {
            line.split(&format!("{name}=\""))
                .nth(1)
                .and_then(|r| r.split('"').next())
                .unwrap_or_default()
        };
        if ["repofanouts", "repofanoutclasses", "events", "leases"].contains(&label("resource")) {
            let count = line
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse::<f64>().ok())
                .unwrap_or(0.0);
            *requests
                .entry(format!("{}:{}", label("resource"), label("verb")))
                .or_insert(0) += count as usize;
        }
    }
    Ok(requests)
}

async fn one(program: &Path) -> Result<()> {
    let size = std::fs::metadata(program).map_err(|e| e.to_string())?.len();
    let world = World::start(|line| eprintln!("{line}")).await?;
    world.install_crds().await?;
    world.repositories.create(REPOSITORY).await?;
    world
        .repositories
        .push(
            REPOSITORY,
            "main",
            &[("README.md", Some("hello\n"))],
            "Say hello",
        )
        .await?;
    let config = OperatorConfig {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        namespace: "default".to_owned(),
        flags: ["--cluster-id=bench", "--poll-interval=1s"]
            .map(str::to_owned)
            .into(),
        kubeconfig: None,
    };
    let operator = Operator::start(&world, program, &config)?;
    let bench = Bench { world: &world };

    let applied = Instant::now();
    bench.apply("main").await?;
    bench.wait("{.status.connection.status}", "PENDING").await?;
    let pending = applied.elapsed();
    let connection = bench.get("{.status.connection.arn}").await?;
    let authorized = Instant::now();
    world.aws.authorize(&connection)?;
    until(LIMIT, || async {
        if world.aws.pipelines(ACCOUNT).is_empty() {
            Err("no pipeline".to_owned())
        } else {
            Ok(())
        }
    })
    .await?;
    let pipeline = authorized.elapsed();
    bench.wait(READY, "True").await?;
    bench
        .wait("{.status.lastExecution.status}", "Succeeded")
        .await?;
    let (created, _) = bench.calls(0);

    let before = world.aws.calls(ACCOUNT).len();
    let pushed = Instant::now();
    let commit = world
        .repositories
        .push(
            REPOSITORY,
            "main",
            &[("README.md", Some("again\n"))],
            "Say it again",
        )
        .await?;
    let push = pushed.elapsed();
    bench.wait("{.status.delivered.commit.id}", &commit).await?;
    let delivered = pushed.elapsed();
    let (of_push, _) = bench.calls(before);

    world
        .repositories
        .push(REPOSITORY, "next", &[("NEXT.md", Some("next\n"))], "Go on")
        .await?;
    let before = world.aws.calls(ACCOUNT).len();
    bench.apply("next").await?;
    bench.wait("{.status.delivered.branch}", "next").await?;
    let (changed, _) = bench.calls(before);

    eprintln!("one quiet minute");
    let (before, requests) = (
        world.aws.calls(ACCOUNT).len(),
        kubernetes_requests(&world).await?,
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (quiet, writes) = bench.calls(before);
    let later = kubernetes_requests(&world).await?;
    let (peak, resident) = operator.memory();

    println!("| figure | measured |\n| --- | --- |");
    let row = |name: &str, value: String| println!("| {name} | {value} |");
    row(
        "applied → PENDING with its link",
        format!("{} ms", pending.as_millis()),
    );
    row(
        "AVAILABLE → pipeline created (looked at every second)",
        format!("{} ms", pipeline.as_millis()),
    );
    row(
        "push → delivered on the object",
        format!(
            "{} ms, of which git push {} ms",
            delivered.as_millis(),
            push.as_millis()
        ),
    );
    row(
        "AWS calls in a quiet minute (looked at every second)",
        format!("{} of which {writes} write", quiet.values().sum::<usize>()),
    );
    for (name, count) in &later {
        let more = count - requests.get(name).copied().unwrap_or(0);
        if more > 0 {
            row(
                &format!("API server, requests in a quiet minute: {name}"),
                more.to_string(),
            );
        }
    }
    row(
        "memory, resident / peak",
        format!(
            "{:.1} / {:.1} MiB",
            resident as f64 / 1024.0,
            peak as f64 / 1024.0
        ),
    );
    row(
        "binary",
        format!("{:.1} MiB", size as f64 / 1024.0 / 1024.0),
    );
    for (title, calls) in [
        ("one new fan-out", created),
        ("one push", of_push),
        ("one change of branch", changed),
    ] {
        println!(
            "\nAWS calls of {title}, {} in all:",
            calls.values().sum::<usize>()
        );
        for (operation, count) in calls {
            println!("  {count:3} {operation}");
        }
    }
    Ok(())
}

const READY: &str = r#"{.status.conditions[?(@.type=="Ready")].status}"#;

struct Bench<'a> {
    world: &'a World,
}

impl Bench<'_> {
    async fn apply(&self, branch: &str) -> Result<()> {
        let manifest = format!(
            "apiVersion: repofanout.dev/v1alpha1\nkind: RepoFanout\nmetadata: {{name: \
                 bench}}\nspec: {{repository: {REPOSITORY}, branch: {branch}}}\n"
        );
        self.world.cluster.apply(&manifest).await.map(|_| ())
    }

    async fn get(&self, path: &str) -> Result<String> {
        self.world.cluster.field("default", "bench", path).await
    }

    async fn wait(&self, path: &str, value: &str) -> Result<()> {
        self.world
            .cluster
            .wait_field("default", "bench", path, value)
            .await
    }

    /// Calls by operation since the n-th, and how many of them write.
    fn calls(&self, since: usize) -> (BTreeMap<String, usize>, usize) {
        let calls = self.world.aws.calls(ACCOUNT).split_off(since);
        let writes = calls.iter().filter(|c| c.write).count();
        (by_operation(calls), writes)
    }
}
