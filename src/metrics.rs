//! Metrics in OpenMetrics format. Only this file names metrics. Every label has a bounded set of
//! values.
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

/// Labels of `repofanout_objects`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Objects {
    /// `RepoFanout` or `RepoFanoutClass`.
    pub kind: &'static str,
    /// Status of the condition Ready.
    pub ready: String,
    /// Reason of the condition Ready; `Unread` before the first reconcile.
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

/// The objects of one kind that are due and not yet reconciled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Number of objects.
    pub depth: usize,
    /// Time that the longest waiting object has been due.
    pub age: Duration,
}

/// Values that are read at the time of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether this process is the leader.
    pub leader: bool,
    /// Objects that are due, by kind.
    pub queues: BTreeMap<&'static str, Queue>,
    /// Objects by kind and by Ready. Only the leader counts them, so that replicas may be summed.
    pub objects: BTreeMap<Objects, usize>,
    /// Objects that wait for a person.
    pub stalled: BTreeMap<Stalled, usize>,
    /// Own connections of fan-outs and classes, by status.
    pub connections: BTreeMap<String, usize>,
    /// Queues of execution events, by whether they can be received from: `listening` or `silent`.
    pub event_queues: BTreeMap<String, usize>,
    /// Fan-outs by the status of their pipeline's last execution.
    pub last_executions: BTreeMap<String, usize>,
    /// Longest time that a connection has waited for its authorization.
    pub oldest_pending: Duration,
    /// Longest time that a deletion has taken.
    pub oldest_deletion: Duration,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_duration: Family<Kind, Histogram, Buckets>,
    time_to_ready: Histogram,
    aws_calls: Family<Call, Counter>,
    aws_call_duration: Family<Service, Histogram, Buckets>,
    aws_throttles: Family<Service, Counter>,
    aws_budget_wait: Family<Service, SecondsCounter>,
    gauges: Mutex<Gauges>,
}

/// Gauges that are set from a [`Snapshot`] at the time of a scrape.
#[derive(Default)]
struct Gauges {
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

/// Buckets from 10 ms to 3 minutes.
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
            // Buckets from 5 seconds to 28 hours, because a person may have to authorize a
            // connection.
            time_to_ready: Histogram::new(exponential_buckets(5.0, 2.5, 12)),
            aws_calls: Family::default(),
            aws_call_duration: Family::new_with_constructor(Buckets),
            aws_throttles: Family::default(),
            aws_budget_wait: Family::default(),
            gauges: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register(
            "reconciles",
            "Reconciles, by kind and result",
            metrics.reconciles.clone(),
        );
        seconds(
            &mut registry,
            "reconcile_duration",
            "Duration of reconciles",
            metrics.reconcile_duration.clone(),
        );
        seconds(
            &mut registry,
            "time_to_ready",
            "Time from the creation of a RepoFanout to its first delivery",
            metrics.time_to_ready.clone(),
        );
        registry.register(
            "aws_calls",
            "Calls to AWS, by service, operation and code; code is OK or AWS's error code",
            metrics.aws_calls.clone(),
        );
        seconds(
            &mut registry,
            "aws_call_duration",
            "Duration of calls to AWS",
            metrics.aws_call_duration.clone(),
        );
        registry.register(
            "aws_throttles",
            "Attempts of calls that AWS throttled",
            metrics.aws_throttles.clone(),
        );
        seconds(
            &mut registry,
            "aws_budget_wait",
            "Time that calls to AWS waited for the operator's own rate limits",
            metrics.aws_budget_wait.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        registry.register("build_info", "Version of the operator; always 1", build);
        metrics
            .gauges
            .lock()
            .expect("no panic while held")
            .register(&mut registry);
        Self {
            registry,
            ..metrics
        }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader",
            "1 if this process is the leader, 0 if it is a standby",
            self.leader.clone(),
        );
        registry.register(
            "queue_depth",
            "Objects that are due and not yet reconciled",
            self.queue_depth.clone(),
        );
        seconds(
            registry,
            "queue_age",
            "Time that the longest waiting object has been due",
            self.queue_age.clone(),
        );
        registry.register(
            "objects",
            "Objects, by kind and by status and reason of Ready",
            self.objects.clone(),
        );
        registry.register(
            "stalled",
            "Objects that wait for a person, by kind and reason",
            self.stalled.clone(),
        );
        registry.register(
            "connections",
            "Connections that the operator owns, by status",
            self.connections.clone(),
        );
        let queues = "Queues of execution events, by status: listening or silent";
        registry.register("event_queues", queues, self.event_queues.clone());
        registry.register(
            "last_executions",
            "Pipelines, by status of the last execution",
            self.last_executions.clone(),
        );
        seconds(
            registry,
            "connection_pending_oldest",
            "Longest time that a connection has waited for its authorization",
            self.oldest_pending.clone(),
        );
        seconds(
            registry,
            "deletion_oldest",
            "Longest time that a deletion has taken",
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
        set_family(&self.objects, &snapshot.objects, Objects::clone);
        set_family(&self.stalled, &snapshot.stalled, Stalled::clone);
        let status = |status: &String| Status {
            status: status.clone(),
        };
        set_family(&self.connections, &snapshot.connections, status);
        set_family(&self.event_queues, &snapshot.event_queues, status);
        set_family(&self.last_executions, &snapshot.last_executions, status);
        self.oldest_pending
            .set(snapshot.oldest_pending.as_secs_f64());
        self.oldest_deletion
            .set(snapshot.oldest_deletion.as_secs_f64());
    }
}

fn seconds(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register_with_unit(name, help, Unit::Seconds, metric);
}

/// Sets a family to these counts and removes all other series.
fn set_family<K, L>(
    family: &Family<L, Gauge>,
    counts: &BTreeMap<K, usize>,
    labels: impl Fn(&K) -> L,
) where
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
    /// Counts a reconcile of an object of this kind, with this result.
    pub fn reconciled(&self, kind: &'static str, result: &'static str) {
        self.reconciles
            .get_or_create(&Reconcile { kind, result })
            .inc();
    }

    /// Records the duration of a reconcile.
    pub fn reconcile_took(&self, kind: &'static str, took: Duration) {
        self.reconcile_duration
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    /// Records the time from the creation of a fan-out to its first delivery.
    pub fn became_ready(&self, after: Duration) {
        self.time_to_ready.observe(after.as_secs_f64());
    }

    /// Records the time that a call such as `s3:HeadBucket` waited for its rate limit.
    pub fn aws_waited(&self, call: &'static str, waited: Duration) {
        let (service, _) = parts(call);
        self.aws_budget_wait
            .get_or_create(&Service { service })
            .inc_by(waited.as_secs_f64());
    }

    /// Records the answer to a call: `OK`, or an error code from a known set.
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
        // Creates the series of a service with its first call, before AWS throttles it.
        let _ = self.aws_throttles.get_or_create(&Service { service });
    }

    /// Counts an attempt that AWS throttled. The SDK may retry it.
    pub fn aws_throttled(&self, service: &'static str) {
        self.aws_throttles.get_or_create(&Service { service }).inc();
    }

    /// All metrics as text.
    pub fn encode(&self, snapshot: &Snapshot) -> String {
        // Held while encoding: concurrent scrapes would mix their snapshots.
        let gauges = self.gauges.lock().expect("no panic while held");
        gauges.set(snapshot);
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

fn parts(call: &'static str) -> (&'static str, &'static str) {
    call.split_once(':').unwrap_or((call, ""))
}
