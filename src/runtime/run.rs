//! Watches, queue, leader election, events: wiring only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, join, join_all, join3, select};
use futures::{FutureExt, Stream, StreamExt};
use k8s_controller::LeaderElection;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info, info_span, warn};

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::cloud::Class;
use crate::reconcile::{class, deletion, fanout, quick};
use crate::runtime::schema;
use crate::state::environment::{Context, Guarded, Served};
use crate::state::event_feed;
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
    context: Arc<Context>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), String> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (drained, drain) = tokio::sync::oneshot::channel::<()>();
    // Whoever does not lead follows: its caches are filled when it takes over.
    let serving = async {
        serve(&context, &options, stopped.map(|_| ())).await;
        let _ = drained.send(());
        std::future::pending::<()>().await
    };
    let work = async {
        if context.gate.lead() {
            context.wake_all();
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
        context.client.clone(),
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
    if context.gate.open_since().is_some()
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
    context: &Arc<Context>,
    options: &Options,
    stopped: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let stopped = stopped.shared();
    let telling = context.telling.lock().expect("no panic while held").take();
    let hear = async {
        if let Some(telling) = telling {
            event_feed::dispatch(context, telling).await;
        }
        std::future::pending::<()>().await
    };
    let (namespaces, labels) = reflector::store();
    let _ = context.namespaces.set(namespaces);
    let follow = join3(
        follow_namespaces(context, labels),
        schema::follow(context),
        hear,
    );
    let passes = async {
        schema::established(context).await;
        passes(context, options, stopped).await;
    };
    select(std::pin::pin!(passes), std::pin::pin!(follow)).await;
}

async fn passes(
    context: &Arc<Context>,
    options: &Options,
    stopped: impl Future<Output = ()> + Send + Sync + Clone + 'static,
) {
    let (classes, known) = followed(
        context,
        Api::<Guarded<RepoFanoutClass>>::all(context.client.clone()),
    );
    let _ = context.classes.set(known.clone());
    let classes = classes
        .reconcile_all_on(wakes(&context.wake_classes))
        .graceful_shutdown_on(stopped.clone())
        .run(reconcile_class, on_error, Arc::clone(context))
        .for_each(log_failed);
    let fanouts = async {
        // Without its class an object would be placed elsewhere: classes are known first.
        let _ = known.wait_until_ready().await;
        info!("serving RepoFanouts");
        let apis: Vec<Api<Guarded<RepoFanout>>> = match &*options.watch_namespaces {
            [] => vec![Api::all(context.client.clone())],
            some => some
                .iter()
                .map(|namespace| Api::namespaced(context.client.clone(), namespace))
                .collect(),
        };
        let controllers = apis.into_iter().map(|api| {
            let (controller, store) = followed(context, api);
            let (wake, mut woken) = mpsc::unbounded_channel();
            context
                .fanouts
                .lock()
                .expect("no panic while held")
                .push(Served { store, wake });
            controller
                .reconcile_on(futures::stream::poll_fn(move |task| woken.poll_recv(task)))
                .reconcile_all_on(wakes(&context.wake_fanouts))
                .graceful_shutdown_on(stopped.clone())
                .run(reconcile, on_error, Arc::clone(context))
                .for_each(move |result| {
                    if let Err(controller::Error::ObjectNotFound(gone)) = &result {
                        context
                            .turns
                            .forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                    }
                    log_failed(result)
                })
        });
        let controllers = join_all(controllers.collect::<Vec<_>>());
        let served = context.served();
        let filled = async {
            let _ = join_all(served.iter().map(|served| served.store.wait_until_ready())).await;
            if let Some(namespaces) = context.namespaces.get() {
                let _ = namespaces.wait_until_ready().await;
            }
            if context.gate.synced() {
                context.wake_all();
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
    context: &Context,
    api: Api<Guarded<K>>,
) -> (Controller<Guarded<K>>, Store<Guarded<K>>) {
    let (store, writer) = reflector::store();
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().remove(LAST_APPLIED);
        });
    let config = controller::Config::default().concurrency(context.turns.total().saturating_mul(2));
    let controller =
        Controller::for_stream(changes.reflect(writer).applied_objects(), store.clone());
    (controller.with_config(config), store)
}

/// Keeps the labels of all namespaces, and has fan-outs look at them again where they change.
async fn follow_namespaces(context: &Context, store: Writer<PartialObjectMeta<Namespace>>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(context.client.clone());
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
                    context.wake_fanouts();
                }
            }
            Err(error) => warn!(%error, "the watch of namespaces was cut; it is taken up again"),
        }
    }
}

/// One item for each time, or several, that it was sent.
fn wakes(sender: &watch::Sender<()>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(sender.subscribe(), |mut receiver| async move {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
}

async fn log_failed<T, Q: std::error::Error + 'static>(
    result: Result<T, controller::Error<kube::Error, Q>>,
) {
    use controller::Error::{ObjectNotFound, QueueError, ReconcilerFailed};
    match result {
        // Deleted while it was queued.
        Ok(_) | Err(ObjectNotFound(_)) => {}
        Err(ReconcilerFailed(kube::Error::Api(status), object)) if status.is_conflict() => {
            info!(%object, "the object changed during the pass; looking again");
        }
        Err(ReconcilerFailed(error, object)) => {
            warn!(%object, %error, "the API server did not take a write; trying again");
        }
        Err(QueueError(error)) => warn!(%error, "the watch was cut; it is taken up again"),
        Err(other) => warn!(error = %other, "the controller stumbled"),
    }
}

async fn reconcile(
    object: Arc<Guarded<RepoFanout>>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    if context.gate.open_since().is_none() {
        // Everything is looked at once passes may run.
        return Ok(Action::await_change());
    }
    // An object that has no need of it any more gives it back.
    let given = context
        .turns
        .given(&object.namespace().unwrap_or_default(), &object.name_any());
    let request = match &object.0 {
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the object; it is left alone \
                 until it changes");
            return Ok(Action::await_change());
        }
        Ok(object) => match quick::rest(&context, object) {
            Some(rest) => return Ok(rest),
            None => quick::request(&context, object),
        },
    };
    let wake = {
        let (context, reference) = (Arc::clone(&context), ObjectRef::from_obj(&*object));
        move || context.wake(reference)
    };
    let Some(_turn) = given.or_else(|| context.turns.take(request, wake)) else {
        return Ok(Action::await_change());
    };
    // It may have changed while it waited.
    let object = context.latest(&object);
    let Ok(current) = &object.0 else {
        return Ok(Action::await_change());
    };
    let pass = async {
        match current.meta().deletion_timestamp {
            Some(_) => deletion::run(&context, current).await,
            None => fanout::run(&context, current).await,
        }
    };
    Box::pin(one_pass(current, &context, pass)).await
}

async fn reconcile_class(
    object: Arc<Guarded<RepoFanoutClass>>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    match &object.0 {
        Ok(class) if !context.serves(class) => Ok(Action::await_change()),
        Ok(class) => Box::pin(one_pass(class, &context, class::run(&context, class))).await,
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the class; it is left alone \
                 until it changes");
            Ok(Action::await_change())
        }
    }
}

/// A pass, if passes may run: in a span of its own, and measured.
async fn one_pass<K: Custom>(
    object: &K,
    context: &Context,
    pass: impl Future<Output = Result<Action, kube::Error>>,
) -> Result<Action, kube::Error> {
    if context.gate.open_since().is_none() {
        // Everything is looked at once they may.
        return Ok(Action::await_change());
    }
    let uid = object.uid().unwrap_or_default();
    let span = info_span!("reconcile", object = %ObjectRef::from_obj(object), uid);
    let begun = Instant::now();
    context.memos.begun(&uid);
    let result = pass.instrument(span).await;
    context.memos.ended(&uid);
    context.metrics.reconcile_took(K::KIND, begun.elapsed());
    match &result {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            context.metrics.reconciled(K::KIND, "conflict")
        }
        Err(_) => context.metrics.reconciled(K::KIND, "error"),
        Ok(_) => {}
    }
    result
}

fn on_error<K: Resource>(object: Arc<K>, error: &kube::Error, context: Arc<Context>) -> Action {
    retry(&object.uid().unwrap_or_default(), error, &context)
}

fn retry(uid: &str, error: &kube::Error, context: &Context) -> Action {
    match error {
        // What was read is older than what is there: the watch brings the newer one.
        kube::Error::Api(status) if status.is_conflict() => {
            Action::requeue(context.pace.close.min(Duration::from_secs(1)))
        }
        kube::Error::Api(status) if status.is_not_found() => Action::await_change(),
        _ => Action::requeue(context.memos.backoff(uid, Class::Transient)),
    }
}
