//! A fleet of fan-outs on classes: what it costs to make them, to keep them, and to hear of a push.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use serde_json::{Value, json};
use support::{ALL, Operator, OperatorConfig, Result, World, get, until};

use crate::bench::{by_operation, kubernetes_requests};

const REGION: &str = "eu-west-1";
/// AWS takes so many notification rules an account, and no more.
const PER_ACCOUNT: usize = 1000;
/// How long a call to AWS takes, and a stage of an execution.
const LATENCY: Duration = Duration::from_millis(30);
const STAGE: Duration = Duration::from_secs(2);
/// What AWS is known or taken to bear, in calls a second for each API.
const LIMITS: [(&str, u32); 5] = [
    ("codepipeline:", 5),
    ("codestar-notifications:", 10),
    ("codestar-connections:", 10),
    ("iam:", 10),
    ("sns:Tag", 10),
];
const PUSHES: usize = 100;

/// What is measured of one fleet.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// How many fan-outs.
    pub size: usize,
    /// Whether AWS throttles as it does.
    pub limits: bool,
    /// For how long it is left alone, to see what it costs while nothing happens.
    pub quiet: Duration,
}

/// What of them has been seen, and when.
#[derive(Default)]
struct Seen {
    ready: HashMap<String, bool>,
    generations: HashMap<String, (i64, SystemTime)>,
    delivered: HashMap<String, SystemTime>,
}

struct Bench<'a> {
    world: &'a World,
    fleet: Fleet,
    api: Api<DynamicObject>,
    resource: ApiResource,
    accounts: Vec<String>,
    seen: Arc<Mutex<Seen>>,
    config: OperatorConfig,
    port: u16,
}

impl Fleet {
    /// Measures it, in a world of its own.
    pub async fn measure(self, program: &Path) -> Result<Value> {
        let world = World::start(|line| eprintln!("{line}")).await?;
        world.install_crds().await?;
        let client = client(&world).await?;
        let kind = GroupVersionKind::gvk("repofanout.dev", "v1alpha1", "RepoFanout");
        let resource = ApiResource::from_gvk_with_plural(&kind, "repofanouts");
        let port = support::free_port()?;
        let mut flags = vec![
            "--cluster-id=bench".to_owned(),
            format!("--listen=127.0.0.1:{port}"),
        ];
        if !self.limits {
            flags.push("--aws-rate=*=10000".to_owned());
        }
        let accounts: Vec<String> = (0..self.size.div_ceil(PER_ACCOUNT))
            .map(|n| format!("{:012}", 500 + n))
            .collect();
        let config = OperatorConfig {
            account: accounts[0].clone(),
            region: REGION.to_owned(),
            namespace: ALL.to_owned(),
            flags,
            kubeconfig: None,
        };
        let bench = Bench {
            world: &world,
            fleet: self,
            api: Api::default_namespaced_with(client.clone(), &resource),
            resource,
            accounts,
            seen: Arc::default(),
            config,
            port,
        };
        let watch = tokio::spawn(follow(bench.api.clone(), Arc::clone(&bench.seen)));
        let figures = bench.run(program).await;
        watch.abort();
        figures
    }
}

impl Bench<'_> {
    async fn run(&self, program: &Path) -> Result<Value> {
        let Fleet {
            size,
            limits,
            quiet,
        } = self.fleet;
        let (world, aws) = (self.world, &self.world.aws);
        for account in &self.accounts {
            aws.imagine_executions(account, STAGE);
            aws.slow_down(account, LATENCY);
            aws.throttle(account, if limits { &LIMITS } else { &[] });
        }
        let operator = Operator::start(world, program, &self.config)?;
        for n in 0..self.accounts.len() {
            self.class(n).await?;
        }
        eprintln!("{size} fan-outs on {} classes", self.accounts.len());
        let before = self.calls();
        let begun = Instant::now();
        let all = stream::iter(0..size)
            .map(|n| self.create(n))
            .buffer_unordered(32)
            .try_collect::<Vec<_>>();
        all.await?;
        let created = begun.elapsed();
        let limit = Duration::from_secs(120 + size as u64 / 2);
        until(limit, || async {
            let ready = self
                .seen
                .lock()
                .expect("no panic while held")
                .ready
                .values()
                .filter(|ready| **ready)
                .count();
            if ready == size {
                Ok(())
            } else {
                Err(format!("{ready} of {size} are ready"))
            }
        })
        .await?;
        let ready = begun.elapsed();
        let of_creation = self.calls_since(&before);
        let (peak, resident) = operator.memory();
        let bound = LIMITS.iter().filter(|_| limits).flat_map(|(name, rate)| {
            let most = of_creation
                .iter()
                .filter(|(call, _)| call.starts_with(name))
                .map(|(_, count)| *count)
                .max();
            most.map(|count| count as f64 / self.accounts.len() as f64 / f64::from(*rate))
        });
        let bound = bound.fold(0.0, f64::max);
        eprintln!(
            "ready after {:.1} s; {} quiet seconds",
            ready.as_secs_f32(),
            quiet.as_secs()
        );

        tokio::time::sleep(Duration::from_secs(15)).await;
        let (before, requests, cpu) = (
            self.calls(),
            kubernetes_requests(world).await?,
            cpu(operator.id()),
        );
        tokio::time::sleep(quiet).await;
        let idle = self.calls_since(&before);
        let idle_cpu = (self::cpu(operator.id()) - cpu).as_secs_f64();
        let idle_requests = difference(&kubernetes_requests(world).await?, &requests);
        let (_, idle_resident) = operator.memory();

        let pushes = self.pushes().await?;
        let picked_up = self.picked_up().await?;
        let changed = self.changed().await?;

        // Until what was pushed and changed has ended, and the class has counted its fan-outs.
        tokio::time::sleep(Duration::from_secs(90)).await;
        eprintln!("restarting");
        let ended = operator.stop().await?;
        if !ended.success() {
            return Err(format!("the operator ended with {ended}"));
        }
        let (before, requests) = (self.calls(), kubernetes_requests(world).await?);
        let begun = Instant::now();
        let operator = Operator::start(world, program, &self.config)?;
        until(Duration::from_secs(120), || async {
            match get(self.port, "/metrics").await {
                Ok((200, text)) if text.contains("repofanout_leader 1") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        let serving = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(45)).await;
        let restart = self.calls_since(&before);
        let restart_writes = difference(&kubernetes_requests(world).await?, &requests);
        let (restart_peak, _) = operator.memory();
        operator.stop().await?;

        // The endpoints by themselves: what was measured above is to be the operator's doing, not
        // theirs.
        let first = &self.accounts[0];
        aws.slow_down(first, Duration::ZERO);
        aws.throttle(first, &[]);
        let pipelines = aws.pipelines(first);
        let pipeline = pipelines.keys().next().ok_or("there is no pipeline")?;
        let bears = aws.bears(first, REGION, pipeline, 64, 100).await?;

        let places = self.accounts.len() as f64;
        let minutes = quiet.as_secs_f64() / 60.0;
        let total = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>();
        let writes = |requests: &BTreeMap<String, usize>| {
            let ours = requests
                .iter()
                .filter(|(name, _)| !name.contains("leases") && !reads(name));
            ours.map(|(_, count)| *count).sum::<usize>()
        };
        Ok(json!({
            "size": size,
            "accounts": self.accounts.len(),
            "limits": limits,
            "quiet_s": quiet.as_secs(),
            "created_s": created.as_secs_f64(),
            "ready_s": ready.as_secs_f64(),
            "lower_bound_s": bound,
            "calls_per_fan_out": total(&of_creation) as f64 / size as f64,
            "calls_of_creation": of_creation,
            "idle_calls_per_minute_and_account": total(&idle) as f64 / minutes / places,
            "idle_calls": idle,
            "idle_cpu_percent": idle_cpu / quiet.as_secs_f64() * 100.0,
            "idle_requests_per_minute": total(&idle_requests) as f64 / minutes,
            "idle_writes": writes(&idle_requests),
            "push_p50_ms": pushes[pushes.len() / 2],
            "push_p99_ms": pushes[pushes.len() * 99 / 100],
            "picked_up_ms": picked_up,
            "changed_ms": changed,
            "restart_serving_s": serving.as_secs_f64(),
            "restart_calls": restart,
            "restart_aws_calls": total(&restart),
            "restart_aws_writes": restart.iter().filter(|(name, _)| !reads(name)).map(|(_, n)| *n).sum::<usize>(),
            "restart_kubernetes_writes": writes(&restart_writes),
            "restart_kubernetes_requests": restart_writes,
            "rss_mib": idle_resident as f64 / 1024.0,
            "rss_after_creation_mib": resident as f64 / 1024.0,
            "peak_mib": peak.max(restart_peak) as f64 / 1024.0,
            "calls_per_second": total(&of_creation) as f64 / ready.as_secs_f64(),
            "endpoints_bear_per_second": bears,
        }))
    }

    async fn class(&self, n: usize) -> Result<()> {
        let account = match n {
            0 => json!({}),
            _ => {
                json!({"account": {"roleARN": format!("arn:aws:iam::{}:role/repofanout", self.accounts[n])}})
            }
        };
        let mut spec = json!({
            "artifacts": {}, "destination": {}, "pipelineRole": "Shared", "topic": "Shared",
            "connections": {"all": {"owner": "*"}}, "allowedNamespaces": {"names": ["*"]}, "allowedRepositories": ["*"],
        });
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), account.as_object()) {
            spec.extend(more.clone());
        }
        if n > 0 {
            let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.accounts[0])}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]});
            let trust = trust.to_string();
            let fields = [
                ("Action", "CreateRole"),
                ("Version", "2010-05-08"),
                ("RoleName", "repofanout"),
                ("AssumeRolePolicyDocument", trust.as_str()),
            ];
            self.world
                .aws
                .form(&self.accounts[n], REGION, "iam", &fields)
                .await?;
        }
        let name = format!("bench-{n}");
        let manifest = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass", "metadata": {"name": name}, "spec": spec,
        });
        self.world.cluster.apply(&manifest.to_string()).await?;
        let field = async |path: &str| {
            self.world
                .cluster
                .kubectl(&["get", "rfc", &name, "-o", &format!("jsonpath={path}")])
                .await
        };
        let limit = Duration::from_secs(60);
        let arn = until(limit, || async {
            let arn = field("{.status.connections.all.arn}").await?;
            if arn.is_empty() {
                Err("the class has no connection".to_owned())
            } else {
                Ok(arn)
            }
        })
        .await?;
        self.world.aws.authorize(&arn)?;
        until(limit, || async {
            let ready = field(r#"{.status.conditions[?(@.type=="Ready")].status}"#).await?;
            if ready == "True" {
                Ok(())
            } else {
                Err(format!("the class is not ready: {ready}"))
            }
        })
        .await
    }

    async fn create(&self, n: usize) -> Result<()> {
        let name = format!("site-{n:05}");
        let object = DynamicObject::new(&name, &self.resource).data(json!({"spec": {
            "repository": format!("acme/site-{n}"), "className": format!("bench-{}", n / PER_ACCOUNT % self.accounts.len()),
        }}));
        self.api
            .create(&PostParams::default(), &object)
            .await
            .map(|_| ())
            .map_err(|e| e.to_string())
    }

    /// How long it takes from the event of an execution's end to the object's status, in
    /// milliseconds.
    async fn pushes(&self) -> Result<Vec<u64>> {
        let pushes = PUSHES.min(self.fleet.size);
        for n in 0..pushes {
            self.world.aws.pushed(&format!("acme/site-{n}"), "main");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Where AWS throttles, they are read one after the other.
        until(Duration::from_secs(300), || async {
            let ended: Vec<_> = self
                .accounts
                .iter()
                .flat_map(|a| self.world.aws.ended(a, "Webhook"))
                .collect();
            let seen = self.seen.lock().expect("no panic while held");
            let mut times = Vec::new();
            for (id, ended) in &ended {
                let at = seen
                    .delivered
                    .get(id)
                    .ok_or_else(|| format!("execution {id} has not come to the status"))?;
                let took = at.duration_since(*ended).unwrap_or_default();
                times.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
            times.sort_unstable();
            if times.len() == pushes {
                Ok(times)
            } else {
                Err(format!("{} of {pushes} have ended", times.len()))
            }
        })
        .await
    }

    /// How long it takes until a new object is seen, with all others idle.
    async fn picked_up(&self) -> Result<u64> {
        let begun = SystemTime::now();
        self.create(self.fleet.size).await?;
        self.generation(self.fleet.size, 1, begun).await
    }

    /// How long it takes until a changed one is.
    async fn changed(&self) -> Result<u64> {
        let patch = Patch::Merge(json!({"spec": {"branch": "next"}}));
        let begun = SystemTime::now();
        let name = format!("site-{:05}", 0);
        self.api
            .patch(&name, &PatchParams::default(), &patch)
            .await
            .map_err(|e| e.to_string())?;
        self.generation(0, 2, begun).await
    }

    async fn generation(&self, n: usize, generation: i64, begun: SystemTime) -> Result<u64> {
        let name = format!("site-{n:05}");
        let at = until(Duration::from_secs(60), || async {
            match self
                .seen
                .lock()
                .expect("no panic while held")
                .generations
                .get(&name)
            {
                Some((seen, at)) if *seen >= generation => Ok(*at),
                other => Err(format!("{name} is seen as {other:?}")),
            }
        })
        .await?;
        Ok(
            u64::try_from(at.duration_since(begun).unwrap_or_default().as_millis())
                .unwrap_or(u64::MAX),
        )
    }

    fn calls(&self) -> Vec<usize> {
        self.accounts
            .iter()
            .map(|account| self.world.aws.calls(account).len())
            .collect()
    }

    fn calls_since(&self, before: &[usize]) -> BTreeMap<String, usize> {
        let calls = self
            .accounts
            .iter()
            .zip(before)
            .flat_map(|(account, since)| self.world.aws.calls(account).split_off(*since));
        by_operation(calls.collect())
    }
}

/// Follows the objects, and remembers when what was seen.
async fn follow(api: Api<DynamicObject>, seen: Arc<Mutex<Seen>>) {
    let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(change) = changes.next().await {
        let (Ok(watcher::Event::Apply(object)) | Ok(watcher::Event::InitApply(object))) = change
        else {
            continue;
        };
        let (name, now, status) = (
            object.metadata.name.unwrap_or_default(),
            SystemTime::now(),
            &object.data["status"],
        );
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions
            .into_iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let mut seen = seen.lock().expect("no panic while held");
        if let Some(id) = status["delivered"]["execution"].as_str() {
            seen.delivered.entry(id.to_owned()).or_insert(now);
        }
        if let Some(generation) = status["observedGeneration"].as_i64() {
            let known = seen
                .generations
                .entry(name.clone())
                .or_insert((generation, now));
            if known.0 < generation {
                *known = (generation, now);
            }
        }
        seen.ready.insert(name, ready);
    }
}

async fn client(world: &World) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(&world.cluster.kubeconfig).map_err(|e| e.to_string())?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

/// User and system time of a process.
fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field may hold spaces; after it, user and system time are the 12th and 13th, in
    // hundredths of a second.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn difference(
    now: &BTreeMap<String, usize>,
    before: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let more = now.iter().map(|(name, count)| {
        (
            name.clone(),
            count - before.get(name).copied().unwrap_or_default(),
        )
    });
    more.filter(|(_, count)| *count > 0).collect()
}

fn reads(name: &str) -> bool {
    let verbs = [
        "Get",
        "List",
        "Head",
        "Describe",
        "Receive",
        "DeleteMessage",
        "Assume",
        "GET",
        "LIST",
        "WATCH",
    ];
    let operation = name.rsplit(':').next().unwrap_or_default();
    verbs.iter().any(|verb| operation.starts_with(verb))
}
