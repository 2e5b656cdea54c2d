//! Entry points of the controllers: each decides whether a pass may run, waits for a permit, and
//! measures the pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tracing::{Instrument, info, info_span, warn};

use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT, RepoFanout, RepoFanoutClass};
use crate::cloud::Class;
use crate::reconcile::fanout::{delete, quick};
use crate::reconcile::{class, fanout};
use crate::runtime::fair_queue::{Priority, Request};
use crate::runtime::operator::Operator;
use crate::state::environment::Environment;
use crate::state::fleet::Guarded;
use crate::state::live_object::Custom;

/// Runs a pass over a fan-out once it has a permit.
///
/// # Errors
/// The API server rejected a write.
pub async fn fanout(
    object: Arc<Guarded<RepoFanout>>,
    operator: Arc<Operator>,
) -> Result<Action, kube::Error> {
    let (env, queue) = (&operator.env, &operator.queue);
    if operator.gate.open_since().is_none() {
        // Every object is reconciled when the gate opens.
        return Ok(Action::await_change());
    }
    // If the object needs no pass any more, the permit is dropped and another object gets it.
    let granted = queue.granted(&object.namespace().unwrap_or_default(), &object.name_any());
    let request = match &object.0 {
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the object; the object is \
                 ignored until it changes");
            return Ok(Action::await_change());
        }
        Ok(object) => match quick::rest(env, object) {
            Some(rest) => return Ok(rest),
            None => request(env, object),
        },
    };
    let wake = {
        let (operator, reference) = (Arc::clone(&operator), ObjectRef::from_obj(&*object));
        move || operator.env.fleet.wake(reference)
    };
    let Some(_permit) = granted.or_else(|| queue.acquire(request, wake)) else {
        return Ok(Action::await_change());
    };
    // The object may have changed while it waited.
    let object = env.fleet.latest(&object);
    let Ok(current) = &object.0 else {
        return Ok(Action::await_change());
    };
    let pass = async {
        match current.meta().deletion_timestamp {
            Some(_) => delete::run(env, current).await,
            None => fanout::run(env, current).await,
        }
    };
    Box::pin(measured(current, &operator, pass)).await
}

/// Runs a pass over a class.
///
/// # Errors
/// The API server rejected a write.
pub async fn class(
    object: Arc<Guarded<RepoFanoutClass>>,
    operator: Arc<Operator>,
) -> Result<Action, kube::Error> {
    let env = &operator.env;
    match &object.0 {
        Ok(class) if !env.catalog.serves(class) => Ok(Action::await_change()),
        Ok(class) => Box::pin(measured(class, &operator, class::run(env, class))).await,
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the class; the class is \
                 ignored until it changes");
            Ok(Action::await_change())
        }
    }
}

/// Builds the object's request to the fair queue.
fn request(env: &Environment, object: &RepoFanout) -> Request {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let status = object.status.as_ref();
    let placed = status
        .and_then(|s| s.placement.as_ref())
        .and_then(|p| p.class.clone());
    let generation = object.metadata.generation;
    let annotations = object.metadata.annotations.as_ref();
    let is_requested = |key: &str, handled: Option<&String>| {
        annotations.and_then(|all| all.get(key)) != handled.filter(|h| !h.is_empty())
    };
    let changed = object.metadata.deletion_timestamp.is_some()
        || status.is_none_or(|s| {
            s.observed_generation != generation
                || s.applied_generation != generation
                || is_requested(RECONCILE_REQUESTED_AT, s.last_handled_reconcile_at.as_ref())
                || is_requested(RELEASE_REQUESTED_AT, s.last_handled_release_at.as_ref())
        });
    Request {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        class: placed
            .or_else(|| object.spec.class_name.clone())
            .unwrap_or_default(),
        priority: match (env.memory.is_notified(uid), changed) {
            (true, _) => Priority::Event,
            (false, true) => Priority::Changed,
            (false, false) => Priority::Routine,
        },
    }
}

/// Runs a pass in its own tracing span and measures it, provided the gate is open.
async fn measured<K: Custom>(
    object: &K,
    operator: &Operator,
    pass: impl Future<Output = Result<Action, kube::Error>>,
) -> Result<Action, kube::Error> {
    if operator.gate.open_since().is_none() {
        // Every object is reconciled when the gate opens.
        return Ok(Action::await_change());
    }
    let env = &operator.env;
    let uid = object.uid().unwrap_or_default();
    let span = info_span!("reconcile", object = %ObjectRef::from_obj(object), uid);
    let started = Instant::now();
    env.memory.begun(&uid);
    let result = pass.instrument(span).await;
    env.memory.ended(&uid);
    env.metrics.reconcile_took(K::KIND, started.elapsed());
    match &result {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            env.metrics.reconciled(K::KIND, "conflict");
        }
        Err(_) => env.metrics.reconciled(K::KIND, "error"),
        Ok(_) => {}
    }
    result
}

/// Decides when to retry a pass that an API server error stopped.
pub fn on_error<K: Resource>(
    object: Arc<K>,
    error: &kube::Error,
    operator: Arc<Operator>,
) -> Action {
    let env = &operator.env;
    match error {
        // The cached object is out of date. The watch delivers the newer version.
        kube::Error::Api(status) if status.is_conflict() => {
            Action::requeue(env.pace.close.min(Duration::from_secs(1)))
        }
        kube::Error::Api(status) if status.is_not_found() => Action::await_change(),
        _ => {
            let uid = object.meta().uid.clone().unwrap_or_default();
            Action::requeue(env.memory.backoff(&uid, Class::Transient))
        }
    }
}

/// Logs a pass that failed.
pub async fn log_failed<T, Q: std::error::Error + 'static>(
    result: Result<T, controller::Error<kube::Error, Q>>,
) {
    use controller::Error::{ObjectNotFound, QueueError, ReconcilerFailed};
    match result {
        // The object was deleted while it was queued.
        Ok(_) | Err(ObjectNotFound(_)) => {}
        Err(ReconcilerFailed(kube::Error::Api(status), object)) if status.is_conflict() => {
            info!(%object, "the object changed during the pass; it is reconciled again");
        }
        Err(ReconcilerFailed(error, object)) => {
            warn!(%object, %error, "the API server rejected a write; it is tried again");
        }
        Err(QueueError(error)) => warn!(%error, "the watch was interrupted and is being restarted"),
        Err(other) => warn!(error = %other, "the controller failed"),
    }
}
