//! Watches, queue, leader election, events: wiring only.

mod claims;
mod class;
mod classes;
mod converge;
mod deletion;
mod ending;
mod memo;
mod object;
mod observe;
mod pass;
mod record;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::future::{join, join_all, select};
use futures::{FutureExt, Stream, StreamExt};
use k8s_controller::LeaderElection;
use k8s_controller::events::EventRecorder;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::Reporter;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tracing::{Instrument, info, info_span, warn};

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::cloud::{Clouds, Error};
use crate::model::{Identity, Settings, fanout};
use memo::Memos;

type Guarded<K> = DeserializeGuard<K>;

/// How often AWS is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at executions while none runs.
    pub idle: Duration,
    /// Between two looks while an execution runs or a connection was just made.
    pub close: Duration,
}

/// What every pass needs.
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// AWS, by account and region.
    pub clouds: Arc<dyn Clouds>,
    /// Whose credentials the operator has.
    pub identity: Identity,
    /// What holds for every object.
    pub settings: Settings,
    /// How often AWS is looked at.
    pub pace: Pace,
    events: EventRecorder,
    memos: Memos,
    claims: claims::Index,
    fanouts: Mutex<Vec<Store<Guarded<RepoFanout>>>>,
    classes: OnceLock<Store<Guarded<RepoFanoutClass>>>,
    namespaces: OnceLock<Store<PartialObjectMeta<Namespace>>>,
    /// Uids of objects whose finalizer is off, and that the caches may still tell of.
    released: Mutex<HashSet<String>>,
    wake_fanouts: watch::Sender<()>,
    wake_classes: watch::Sender<()>,
}

impl Context {
    /// A context that reports events under the settings' controller name.
    pub fn new(client: Client, clouds: Arc<dyn Clouds>, identity: Identity, settings: Settings, pace: Pace) -> Self {
        let reporter = Reporter { controller: format!("repofanout.dev/{}", settings.controller), instance: None };
        let events = EventRecorder::new(client.clone(), reporter);
        Self {
            client,
            clouds,
            identity,
            settings,
            pace,
            events,
            memos: Memos::default(),
            claims: claims::Index::default(),
            fanouts: Mutex::default(),
            classes: OnceLock::new(),
            namespaces: OnceLock::new(),
            released: Mutex::default(),
            wake_fanouts: watch::Sender::new(()),
            wake_classes: watch::Sender::new(()),
        }
    }

    /// All objects that are served.
    fn guarded(&self) -> Vec<Arc<Guarded<RepoFanout>>> {
        let stores = self.fanouts.lock().expect("no panic while held");
        stores.iter().flat_map(Store::state).collect()
    }

    /// Forgets an object that is gone.
    fn forget(&self, object: &RepoFanout) {
        let uid = object.uid().unwrap_or_default();
        self.memos.forget(&uid);
        self.released.lock().expect("no panic while held").insert(uid);
        self.unclaim(&fanout::owner(object, &self.settings));
    }

    /// Has every fan-out ask itself whether its class changed.
    fn wake_fanouts(&self) {
        self.wake_fanouts.send_replace(());
    }

    /// Has every class ask itself who uses it.
    fn wake_classes(&self) {
        self.wake_classes.send_replace(());
    }
}

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces whose objects are served; all if none.
    pub watch_namespaces: Vec<String>,
    /// How many objects are worked on at once.
    pub concurrency: u16,
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
    let client = context.client.clone();
    let served = serve(context, &options, async {
        let _ = stopped.await;
    });
    let Some(lease) = &options.lease else {
        tokio::spawn(async move {
            shutdown.await;
            let _ = stop.send(());
        });
        served.await;
        return Ok(());
    };
    // client-go's proportions: 15 s, 10 s and 2 s.
    let election = LeaderElection::new(client, &lease.namespace, &lease.name, &lease.identity)
        .with_lease_duration(lease.duration)
        .with_renew_deadline(lease.duration * 2 / 3)
        .with_retry_period(lease.duration * 2 / 15);
    let leading = election.with_lease(served);
    tokio::pin!(leading);
    tokio::pin!(shutdown);
    tokio::select! {
        finished = &mut leading => {
            finished.ok_or_else(|| format!("the Lease {}/{} was lost to another process; ending", lease.namespace, lease.name))
        }
        () = &mut shutdown => {
            // A follower has nothing to finish; a leader finishes its passes, then gives the Lease back.
            let _ = stop.send(());
            match tokio::time::timeout(Duration::from_secs(25), leading).await {
                Ok(finished) => finished.ok_or_else(|| "the Lease was lost while ending".to_owned()),
                Err(_) => Ok(()),
            }
        }
    }
}

async fn serve(context: Arc<Context>, options: &Options, stopped: impl Future<Output = ()> + Send + Sync + 'static) {
    let stopped = stopped.shared();
    let config = Config::default().concurrency(options.concurrency);
    let classes =
        Controller::new(Api::<Guarded<RepoFanoutClass>>::all(context.client.clone()), watcher::Config::default());
    let known = context.classes.get_or_init(|| classes.store()).clone();
    let classes = classes
        .with_config(config.clone())
        .reconcile_all_on(wakes(&context.wake_classes))
        .graceful_shutdown_on(stopped.clone())
        .run(reconcile_class, on_class_error, Arc::clone(&context))
        .for_each(|result| async move {
            if let Err(error) = result {
                log_failure(&error);
            }
        });
    let fanouts = async {
        // Without its class an object would be placed elsewhere: classes are known first.
        let _ = known.wait_until_ready().await;
        info!("serving RepoFanouts");
        let apis: Vec<Api<Guarded<RepoFanout>>> = match &*options.watch_namespaces {
            [] => vec![Api::all(context.client.clone())],
            some => some.iter().map(|namespace| Api::namespaced(context.client.clone(), namespace)).collect(),
        };
        let controllers = apis.into_iter().map(|api| {
            let controller = Controller::new(api, watcher::Config::default());
            context.fanouts.lock().expect("no panic while held").push(controller.store());
            controller
                .with_config(config.clone())
                .reconcile_all_on(wakes(&context.wake_fanouts))
                .graceful_shutdown_on(stopped.clone())
                .run(reconcile, on_error, Arc::clone(&context))
                .for_each(|result| async move {
                    if let Err(error) = result {
                        log_failure(&error);
                    }
                })
        });
        join_all(controllers.collect::<Vec<_>>()).await;
    };
    let passes = join(classes, fanouts);
    futures::pin_mut!(passes);
    select(passes, Box::pin(follow_namespaces(&context))).await;
}

/// Keeps the labels of all namespaces, and has fan-outs look at them again where they change.
async fn follow_namespaces(context: &Context) {
    let (reader, writer) = reflector::store();
    context.namespaces.get_or_init(|| reader);
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(context.client.clone());
    let mut labels = HashMap::new();
    let changes = watcher(api, watcher::Config::default()).default_backoff().reflect(writer).touched_objects();
    futures::pin_mut!(changes);
    while let Some(change) = changes.next().await {
        match change {
            Ok(namespace) => {
                let now = namespace.labels().clone();
                if labels.insert(namespace.name_any(), now.clone()).is_none_or(|before| before != now) {
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

/// The full text of what AWS said is for the log alone: it may name what belongs to others.
fn log_error(error: &Error) {
    let Error { call, code, request_id, class, message, .. } = error;
    warn!(call, ?code, ?request_id, ?class, %message, "AWS");
}

fn log_failure(error: &kube::runtime::controller::Error<kube::Error, watcher::Error>) {
    use kube::runtime::controller::Error::{ObjectNotFound, QueueError, ReconcilerFailed};
    match error {
        // Deleted while it was queued.
        ObjectNotFound(_) => {}
        ReconcilerFailed(kube::Error::Api(status), object) if status.is_conflict() => {
            info!(%object, "the object changed during the pass; looking again");
        }
        ReconcilerFailed(error, object) => warn!(%object, %error, "the API server did not take a write; trying again"),
        QueueError(error) => warn!(%error, "the watch was cut; it is taken up again"),
        other => warn!(error = %other, "the controller stumbled"),
    }
}

async fn reconcile(object: Arc<Guarded<RepoFanout>>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    let span = info_span!("reconcile", object = %ObjectRef::from_obj(&*object), uid);
    async move {
        match &object.0 {
            Ok(object) if object.meta().deletion_timestamp.is_some() => deletion::run(&context, object).await,
            Ok(object) => pass::run(&context, object).await,
            Err(invalid) => {
                warn!(error = %invalid.error, "this version cannot read the object; it is left alone until it changes");
                Ok(Action::await_change())
            }
        }
    }
    .instrument(span)
    .await
}

async fn reconcile_class(object: Arc<Guarded<RepoFanoutClass>>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    let span = info_span!("reconcile", object = %ObjectRef::from_obj(&*object), uid);
    async move {
        match &object.0 {
            Ok(class) if !context.serves(class) => Ok(Action::await_change()),
            Ok(class) => class::run(&context, class).await,
            Err(invalid) => {
                warn!(error = %invalid.error, "this version cannot read the class; it is left alone until it changes");
                Ok(Action::await_change())
            }
        }
    }
    .instrument(span)
    .await
}

fn on_class_error(object: Arc<Guarded<RepoFanoutClass>>, error: &kube::Error, context: Arc<Context>) -> Action {
    retry(&object.uid().unwrap_or_default(), error, &context)
}

fn on_error(object: Arc<Guarded<RepoFanout>>, error: &kube::Error, context: Arc<Context>) -> Action {
    retry(&object.uid().unwrap_or_default(), error, &context)
}

fn retry(uid: &str, error: &kube::Error, context: &Context) -> Action {
    match error {
        // What was read is older than what is there: the watch brings the newer one.
        kube::Error::Api(status) if status.is_conflict() => {
            Action::requeue(context.pace.close.min(Duration::from_secs(1)))
        }
        kube::Error::Api(status) if status.is_not_found() => Action::await_change(),
        _ => Action::requeue(context.memos.backoff(uid)),
    }
}
