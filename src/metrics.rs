//! What is measured, in OpenMetrics; the only place that names a metric. No label takes values
//! without bounds.
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

type Seconds = Gauge<f64, AtomicU64>;
type SecondsCounter = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    service: &'static str,
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: String,
}

/// Objects that are told together.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Objects {
    /// `RepoFanout` or `RepoFanoutClass`.
    pub kind: &'static str,
    /// Status of the condition Ready.
    pub ready: String,
    /// Its reason; `Unread` before the first pass.
    pub reason: String,
}

/// Objects that wait for a person.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Stalled {
    /// `RepoFanout` or `RepoFanoutClass`.
    pub kind: &'static str,
    /// Reason of the condition Stalled.
    pub reason: String,
}

/// Objects that are due and not yet looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many.
    pub depth: usize,
    /// How long the one waits that is due for longest.
    pub age: Duration,
}

/// The state of the world that is told as it is when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether this process works.
    pub leader: bool,
    /// What is due, by kind.
    pub queues: BTreeMap<&'static str, Queue>,
    /// Objects by kind and by Ready; of a leader alone, so that replicas may be summed.
    pub objects: BTreeMap<Objects, usize>,
    /// Objects that wait for a person.
    pub stalled: BTreeMap<Stalled, usize>,
    /// Own connections of fan-outs and classes, by status.
    pub connections: BTreeMap<String, usize>,
    /// Queues of execution events, by whether something is heard: `listening` or `silent`.
    pub event_queues: BTreeMap<String, usize>,
    /// Fan-outs by the status of their pipeline's last execution.
    pub last_executions: BTreeMap<String, usize>,
    /// How long the connection waits for its authorization that does so for longest.
    pub oldest_pending: Duration,
    /// How long the deletion takes that does so for longest.
    pub oldest_deletion: Duration,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_duration: Family<Kind, Histogram, Buckets>,
    time_to_ready: Histogram,
    aws_calls: Family<Call, Counter>,
    aws_call_duration: Family<Service, Histogram, Buckets>,
    aws_throttles: Family<Service, Counter>,
    aws_budget_wait: Family<Service, SecondsCounter>,
    told: Mutex<Told>,
}

/// What is set when somebody asks.
#[derive(Default)]
struct Told {
    leader: Gauge,
    queue_depth: Family<Kind, Gauge>,
    queue_age: Family<Kind, Seconds>,
    objects: Family<Objects, Gauge>,
    stalled: Family<Stalled, Gauge>,
    connections: Family<Status, Gauge>,
    event_queues: Family<Status, Gauge>,
    last_executions: Family<Status, Gauge>,
    oldest_pending: Seconds,
    oldest_deletion: Seconds,
}

/// From 10 ms to 3 minutes.
#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.01, 2.5, 12))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("repofanout");
        let metrics = Self {
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(Buckets),
            // From 5 seconds to 28 hours: a person may be waited for.
            time_to_ready: Histogram::new(exponential_buckets(5.0, 2.5, 12)),
            aws_calls: Family::default(),
            aws_call_duration: Family::new_with_constructor(Buckets),
            aws_throttles: Family::default(),
            aws_budget_wait: Family::default(),
            told: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register(
            "reconciles",
            "Passes over objects, by what came of them",
            metrics.reconciles.clone(),
        );
        seconds(
            &mut registry,
            "reconcile_duration",
            "How long a pass took",
            metrics.reconcile_duration.clone(),
        );
        seconds(
            &mut registry,
            "time_to_ready",
            "From the creation of a RepoFanout until it delivered for the first time",
            metrics.time_to_ready.clone(),
        );
        registry.register(
            "aws_calls",
            "Calls of AWS; code is OK or AWS's error code",
            metrics.aws_calls.clone(),
        );
        seconds(
            &mut registry,
            "aws_call_duration",
            "How long AWS took to answer",
            metrics.aws_call_duration.clone(),
        );
        registry.register(
            "aws_throttles",
            "Attempts of calls that AWS refused as too many",
            metrics.aws_throttles.clone(),
        );
        seconds(
            &mut registry,
            "aws_budget_wait",
            "Time that calls waited for the operator's own budget",
            metrics.aws_budget_wait.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        registry.register("build_info", "The version that runs", build);
        metrics
            .told
            .lock()
            .expect("no panic while held")
            .register(&mut registry);
        Self {
            registry,
            ..metrics
        }
    }
}

impl Told {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader",
            "Whether this process works: 1, or 0 of one that is ready to",
            self.leader.clone(),
        );
        registry.register(
            "queue_depth",
            "Objects that are due and not yet looked at",
            self.queue_depth.clone(),
        );
        seconds(
            registry,
            "queue_age",
            "How long the object waits that is due for longest",
            self.queue_age.clone(),
        );
        registry.register(
            "objects",
            "Objects by status and reason of Ready",
            self.objects.clone(),
        );
        registry.register(
            "stalled",
            "Objects that wait for a person, by reason",
            self.stalled.clone(),
        );
        registry.register(
            "connections",
            "Own connections, by status",
            self.connections.clone(),
        );
        let queues = "Queues of execution events, by whether they answer";
        registry.register("event_queues", queues, self.event_queues.clone());
        registry.register(
            "last_executions",
            "Pipelines, by the status of the last execution",
            self.last_executions.clone(),
        );
        seconds(
            registry,
            "connection_pending_oldest",
            "How long the connection waits for its authorization that does so for longest",
            self.oldest_pending.clone(),
        );
        seconds(
            registry,
            "deletion_oldest",
            "How long the deletion takes that does so for longest",
            self.oldest_deletion.clone(),
        );
    }

    fn set(&self, snapshot: &Snapshot) {
        self.leader.set(i64::from(snapshot.leader));
        for (kind, queue) in &snapshot.queues {
            self.queue_depth
                .get_or_create(&Kind { kind })
                .set(number(queue.depth));
            self.queue_age
                .get_or_create(&Kind { kind })
                .set(queue.age.as_secs_f64());
        }
        tell(&self.objects, &snapshot.objects, Objects::clone);
        tell(&self.stalled, &snapshot.stalled, Stalled::clone);
        let status = |status: &String| Status {
            status: status.clone(),
        };
        tell(&self.connections, &snapshot.connections, status);
        tell(&self.event_queues, &snapshot.event_queues, status);
        tell(&self.last_executions, &snapshot.last_executions, status);
        self.oldest_pending
            .set(snapshot.oldest_pending.as_secs_f64());
        self.oldest_deletion
            .set(snapshot.oldest_deletion.as_secs_f64());
    }
}

fn seconds(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register_with_unit(name, help, Unit::Seconds, metric);
}

/// Sets a family to these counts, and to no others.
fn tell<K, L>(family: &Family<L, Gauge>, counts: &BTreeMap<K, usize>, labels: impl Fn(&K) -> L)
where
    L: Clone + std::hash::Hash + Eq,
{
    family.clear();
    for (key, n) in counts {
        family.get_or_create(&labels(key)).set(number(*n));
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Metrics {
    /// A pass over an object of this kind came to this.
    pub fn reconciled(&self, kind: &'static str, result: &'static str) {
        self.reconciles
            .get_or_create(&Reconcile { kind, result })
            .inc();
    }

    /// A pass took so long.
    pub fn reconcile_took(&self, kind: &'static str, took: Duration) {
        self.reconcile_duration
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    /// A fan-out delivered for the first time, so long after it was created.
    pub fn became_ready(&self, after: Duration) {
        self.time_to_ready.observe(after.as_secs_f64());
    }

    /// A call such as `s3:HeadBucket` waited for its budget.
    pub fn aws_waited(&self, call: &'static str, waited: Duration) {
        let (service, _) = parts(call);
        self.aws_budget_wait
            .get_or_create(&Service { service })
            .inc_by(waited.as_secs_f64());
    }

    /// A call was answered: with `OK`, or with an error code that is one of a known set.
    pub fn aws_answered(&self, call: &'static str, code: &'static str, took: Duration) {
        let (service, operation) = parts(call);
        self.aws_calls
            .get_or_create(&Call {
                service,
                operation,
                code,
            })
            .inc();
        self.aws_call_duration
            .get_or_create(&Service { service })
            .observe(took.as_secs_f64());
        // Of a service that was asked there is a series, before it throttles.
        let _ = self.aws_throttles.get_or_create(&Service { service });
    }

    /// An attempt of a call was refused as one too many; the SDK may try again.
    pub fn aws_throttled(&self, service: &'static str) {
        self.aws_throttles.get_or_create(&Service { service }).inc();
    }

    /// All of it as text.
    pub fn encode(&self, snapshot: &Snapshot) -> String {
        // Two who ask at once would mix their snapshots.
        let told = self.told.lock().expect("no panic while held");
        told.set(snapshot);
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

fn parts(call: &'static str) -> (&'static str, &'static str) {
    call.split_once(':').unwrap_or((call, ""))
}
