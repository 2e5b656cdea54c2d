//! Watches, queue, leader election, events: wiring only.

mod deletion;
mod memo;
mod object;
mod observe;
mod pass;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use k8s_controller::LeaderElection;
use k8s_controller::events::EventRecorder;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::Reporter;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tracing::{Instrument, info, info_span, warn};

use crate::api::RepoFanout;
use crate::cloud::Regions;
use crate::model::{Identity, Settings};
use memo::Memos;

type Guarded = DeserializeGuard<RepoFanout>;

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
    /// AWS, by region.
    pub regions: Arc<dyn Regions>,
    /// Whose credentials the operator has.
    pub identity: Identity,
    /// What holds for every object.
    pub settings: Settings,
    /// How often AWS is looked at.
    pub pace: Pace,
    events: EventRecorder,
    memos: Memos,
    store: OnceLock<Store<Guarded>>,
}

impl Context {
    /// A context that reports events as `controller_name`.
    pub fn new(
        client: Client,
        regions: Arc<dyn Regions>,
        identity: Identity,
        settings: Settings,
        pace: Pace,
        controller_name: &str,
    ) -> Self {
        let reporter = Reporter { controller: format!("repofanout.dev/{controller_name}"), instance: None };
        let events = EventRecorder::new(client.clone(), reporter);
        let (memos, store) = (Memos::default(), OnceLock::new());
        Self { client, regions, identity, settings, pace, events, memos, store }
    }

    /// All objects that are served, as far as this version can read them.
    fn objects(&self) -> Vec<RepoFanout> {
        let all = self.store.get().map(Store::state).unwrap_or_default();
        all.iter().filter_map(|guarded| guarded.0.as_ref().ok().cloned()).collect()
    }
}

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The one namespace whose objects are served; all if none.
    pub watch_namespace: Option<String>,
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
    let api: Api<Guarded> = match &options.watch_namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    info!("serving RepoFanouts");
    let controller = Controller::new(api, watcher::Config::default());
    context.store.get_or_init(|| controller.store());
    controller
        .with_config(Config::default().concurrency(options.concurrency))
        .graceful_shutdown_on(stopped)
        .run(reconcile, on_error, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                log_failure(&error);
            }
        })
        .await;
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

async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, kube::Error> {
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

fn on_error(object: Arc<Guarded>, error: &kube::Error, context: Arc<Context>) -> Action {
    let uid = object.uid().unwrap_or_default();
    match error {
        // What was read is older than what is there: the watch brings the newer one.
        kube::Error::Api(status) if status.is_conflict() => {
            Action::requeue(context.pace.close.min(Duration::from_secs(1)))
        }
        kube::Error::Api(status) if status.is_not_found() => Action::await_change(),
        _ => Action::requeue(context.memos.backoff(&uid)),
    }
}
