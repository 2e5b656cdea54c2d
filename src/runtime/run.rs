//! Wires watches, controllers, leader election and execution events together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join, join_all, join3, select};
use futures::{FutureExt, Stream, StreamExt};
use k8s_controller::LeaderElection;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::runtime::entry::{log_failed, on_error};
use crate::runtime::operator::Operator;
use crate::runtime::{entry, schema};
use crate::state::event_dispatch;
use crate::state::fleet::{Guarded, Served};
use crate::state::live_object::Custom;

/// Annotation in which kubectl keeps a copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Options of the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces whose objects are served; all if empty.
    pub watch_namespaces: Vec<String>,
    /// Lease of leader election; no election takes place without one.
    pub lease: Option<Lease>,
}

/// The Lease of leader election.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of this process.
    pub identity: String,
    /// Time after which the Lease expires unless it is renewed.
    pub duration: Duration,
}

/// Serves objects until `shutdown`, then finishes the passes that are running.
///
/// # Errors
/// Returns a message if the Lease was lost. The process must then exit, so that nothing of it
/// outlives its leadership.
pub async fn run(
    operator: Arc<Operator>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), String> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (drained, drain) = tokio::sync::oneshot::channel::<()>();
    // A process that does not lead keeps its caches synced, so that it can take over at once.
    let serving = async {
        serve(&operator, &options, stopped.map(|_| ())).await;
        let _ = drained.send(());
        std::future::pending::<()>().await
    };
    let work = async {
        if operator.gate.lead() {
            operator.env.wake_all();
        }
        let _ = drain.await;
    };
    let Some(lease) = &options.lease else {
        tokio::spawn(async move {
            shutdown.await;
            let _ = stop.send(());
        });
        select(std::pin::pin!(serving), std::pin::pin!(work)).await;
        return Ok(());
    };
    // client-go uses the same proportions: 15 s, 10 s and 2 s.
    let election = LeaderElection::new(
        operator.env.client.clone(),
        &lease.namespace,
        &lease.name,
        &lease.identity,
    )
    .with_lease_duration(lease.duration)
    .with_renew_deadline(lease.duration * 2 / 3)
    .with_retry_period(lease.duration * 2 / 15);
    let lost = || {
        format!(
            "the Lease {}/{} was lost to another process; exiting",
            lease.namespace, lease.name
        )
    };
    tokio::pin!(serving);
    let leading = std::pin::pin!(election.with_lease(work));
    let mut leading = select(leading, serving);
    tokio::select! {
        _ = &mut leading => return Err(lost()),
        () = shutdown => {}
    }
    // A follower has nothing to finish. A leader finishes its passes, then releases the Lease.
    let _ = stop.send(());
    if operator.gate.open_since().is_some()
        && let Ok(Either::Left((None, _))) =
            tokio::time::timeout(Duration::from_secs(25), leading).await
    {
        return Err(lost());
    }
    // The Lease is still held if passes took too long. An API server that does not respond is not
    // waited for.
    let _ = tokio::time::timeout(Duration::from_secs(2), election.release()).await;
    Ok(())
}

async fn serve(
    operator: &Arc<Operator>,
    options: &Options,
    stopped: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let stopped = stopped.shared();
    let env = &operator.env;
    let dispatch_events = async {
        if let Some(events) = env.feeds.events() {
            event_dispatch::dispatch(env, events).await;
        }
        std::future::pending::<()>().await
    };
    let (namespaces, labels) = reflector::store();
    env.catalog.follow_namespaces(namespaces);
    let follow = join3(
        follow_namespaces(operator, labels),
        schema::follow(operator),
        dispatch_events,
    );
    let passes = async {
        schema::established(operator).await;
        passes(operator, options, stopped).await;
    };
    select(std::pin::pin!(passes), std::pin::pin!(follow)).await;
}

async fn passes(
    operator: &Arc<Operator>,
    options: &Options,
    stopped: impl Future<Output = ()> + Send + Sync + Clone + 'static,
) {
    let (classes, cached) = followed(
        operator,
        Api::<Guarded<RepoFanoutClass>>::all(operator.env.client.clone()),
    );
    operator.env.catalog.follow_classes(cached.clone());
    let classes = classes
        .reconcile_all_on(wakes(operator.env.catalog.wakes()))
        .graceful_shutdown_on(stopped.clone())
        .run(entry::class, on_error, Arc::clone(operator))
        .for_each(log_failed);
    let fanouts = async {
        // Classes are cached first: without its class, an object would be placed elsewhere.
        let _ = cached.wait_until_ready().await;
        info!("serving RepoFanouts");
        let apis: Vec<Api<Guarded<RepoFanout>>> = match &*options.watch_namespaces {
            [] => vec![Api::all(operator.env.client.clone())],
            namespaces => namespaces
                .iter()
                .map(|namespace| Api::namespaced(operator.env.client.clone(), namespace))
                .collect(),
        };
        let controllers = apis.into_iter().map(|api| {
            let (controller, store) = followed(operator, api);
            let (wake, mut woken) = mpsc::unbounded_channel();
            operator.env.fleet.serve(Served { store, wake });
            controller
                .reconcile_on(futures::stream::poll_fn(move |task| woken.poll_recv(task)))
                .reconcile_all_on(wakes(operator.env.fleet.wakes()))
                .graceful_shutdown_on(stopped.clone())
                .run(entry::fanout, on_error, Arc::clone(operator))
                .for_each(move |result| {
                    if let Err(controller::Error::ObjectNotFound(gone)) = &result {
                        operator
                            .queue
                            .forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                    }
                    log_failed(result)
                })
        });
        let controllers = join_all(controllers.collect::<Vec<_>>());
        let served = operator.env.fleet.served();
        let sync = async {
            let _ = join_all(served.iter().map(|served| served.store.wait_until_ready())).await;
            if let Some(namespaces) = operator.env.catalog.namespaces() {
                let _ = namespaces.wait_until_ready().await;
            }
            if operator.gate.synced() {
                operator.env.wake_all();
            }
        };
        join(controllers, sync).await;
    };
    join(classes, fanouts).await;
}

/// Creates a controller of all objects of an API, and its cache. Fields that nothing reads are
/// removed before an object is cached.
///
/// The controller starts at most twice as many reconciles as there are permits, so that thousands
/// of objects after a restart do not all take memory at once. Reconciles without a permit return
/// immediately.
fn followed<K: Custom>(
    operator: &Operator,
    api: Api<Guarded<K>>,
) -> (Controller<Guarded<K>>, Store<Guarded<K>>) {
    let (store, writer) = reflector::store();
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().remove(LAST_APPLIED);
        });
    let config =
        controller::Config::default().concurrency(operator.queue.total().saturating_mul(2));
    let controller =
        Controller::for_stream(changes.reflect(writer).applied_objects(), store.clone());
    (controller.with_config(config), store)
}

/// Caches the labels of all namespaces, and wakes all fan-outs when the labels of one change.
async fn follow_namespaces(operator: &Operator, store: Writer<PartialObjectMeta<Namespace>>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(operator.env.client.clone());
    let mut labels = HashMap::new();
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(store)
        .touched_objects();
    futures::pin_mut!(changes);
    while let Some(change) = changes.next().await {
        match change {
            Ok(namespace) => {
                let current = namespace.labels().clone();
                if labels
                    .insert(namespace.name_any(), current.clone())
                    .is_none_or(|before| before != current)
                {
                    operator.env.fleet.wake_all();
                }
            }
            Err(error) => {
                warn!(%error, "the watch of namespaces was interrupted and is being restarted")
            }
        }
    }
}

/// Turns a watch channel into a stream with one item per change; changes in quick succession may
/// share an item.
fn wakes(receiver: watch::Receiver<()>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
}
