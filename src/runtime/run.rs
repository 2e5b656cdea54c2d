//! Watches, queue, leader election, events: wiring only.

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

/// kubectl's copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces whose objects are served; all if none.
    pub watch_namespaces: Vec<String>,
    /// Who holds the Lease, and where; no election if none.
    pub lease: Option<Lease>,
}

/// The Lease of leader election.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This process.
    pub identity: String,
    /// How long it holds without being renewed.
    pub duration: Duration,
}

/// Serves objects until `shutdown`; passes that run then are finished first.
///
/// # Errors
/// Says that the Lease was lost: the process has to end, so that nothing of it
/// outlives its leadership.
pub async fn run(
    operator: Arc<Operator>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), String> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (drained, drain) = tokio::sync::oneshot::channel::<()>();
    // Whoever does not lead follows: its caches are filled when it takes over.
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
    // client-go's proportions: 15 s, 10 s and 2 s.
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
            "the Lease {}/{} was lost to another process; ending",
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
    // A follower has nothing to finish; a leader finishes its passes, then gives the Lease back.
    let _ = stop.send(());
    if operator.gate.open_since().is_some()
        && let Ok(Either::Left((None, _))) =
            tokio::time::timeout(Duration::from_secs(25), leading).await
    {
        return Err(lost());
    }
    // Passes that took too long have kept it; an API server that is away is not waited for.
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
    let hand_on = async {
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
        hand_on,
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
    let (classes, known) = followed(
        operator,
        Api::<Guarded<RepoFanoutClass>>::all(operator.env.client.clone()),
    );
    operator.env.catalog.follow_classes(known.clone());
    let classes = classes
        .reconcile_all_on(wakes(operator.env.catalog.wakes()))
        .graceful_shutdown_on(stopped.clone())
        .run(entry::class, on_error, Arc::clone(operator))
        .for_each(log_failed);
    let fanouts = async {
        // Without its class an object would be placed elsewhere: classes are known first.
        let _ = known.wait_until_ready().await;
        info!("serving RepoFanouts");
        let apis: Vec<Api<Guarded<RepoFanout>>> = match &*options.watch_namespaces {
            [] => vec![Api::all(operator.env.client.clone())],
            some => some
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
        let filled = async {
            let _ = join_all(served.iter().map(|served| served.store.wait_until_ready())).await;
            if let Some(namespaces) = operator.env.catalog.namespaces() {
                let _ = namespaces.wait_until_ready().await;
            }
            if operator.gate.synced() {
                operator.env.wake_all();
            }
        };
        join(controllers, filled).await;
    };
    join(classes, fanouts).await;
}

/// A controller of all objects of an API, and the cache of them, which holds nothing that is not
/// read.
///
/// As many passes as have turns, and as many again that find none and leave, are begun at once: for
/// a restart's thousands no room is made.
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

/// Keeps the labels of all namespaces, and has fan-outs look at them again where they change.
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
                let now = namespace.labels().clone();
                if labels
                    .insert(namespace.name_any(), now.clone())
                    .is_none_or(|before| before != now)
                {
                    operator.env.fleet.wake_all();
                }
            }
            Err(error) => warn!(%error, "the watch of namespaces was cut; it is taken up again"),
        }
    }
}

/// One item for each time, or several, that it was sent.
fn wakes(receiver: watch::Receiver<()>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
}
