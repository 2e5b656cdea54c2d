//! From the controllers' queues into a pass: whether it may run, in which order, and how long it
//! took.

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

/// A pass over a fan-out, once it is its turn.
///
/// # Errors
/// The API server did not take a write.
pub async fn fanout(
    object: Arc<Guarded<RepoFanout>>,
    operator: Arc<Operator>,
) -> Result<Action, kube::Error> {
    let (env, queue) = (&operator.env, &operator.queue);
    if operator.gate.open_since().is_none() {
        // Every object is reconciled once passes may run.
        return Ok(Action::await_change());
    }
    // An object that has no need of its permit any more gives it back.
    let granted = queue.granted(&object.namespace().unwrap_or_default(), &object.name_any());
    let request = match &object.0 {
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the object; it is left alone \
                 until it changes");
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
    // It may have changed while it waited.
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

/// A pass over a class.
///
/// # Errors
/// The API server did not take a write.
pub async fn class(
    object: Arc<Guarded<RepoFanoutClass>>,
    operator: Arc<Operator>,
) -> Result<Action, kube::Error> {
    let env = &operator.env;
    match &object.0 {
        Ok(class) if !env.catalog.serves(class) => Ok(Action::await_change()),
        Ok(class) => Box::pin(measured(class, &operator, class::run(env, class))).await,
        Err(invalid) => {
            warn!(error = %invalid.error, "this version cannot read the class; it is left alone \
                 until it changes");
            Ok(Action::await_change())
        }
    }
}

/// What an object asks of the queue.
fn request(env: &Environment, object: &RepoFanout) -> Request {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let status = object.status.as_ref();
    let placed = status
        .and_then(|s| s.placement.as_ref())
        .and_then(|p| p.class.clone());
    let generation = object.metadata.generation;
    let annotations = object.metadata.annotations.as_ref();
    let asked = |key: &str, handled: Option<&String>| {
        annotations.and_then(|all| all.get(key)) != handled.filter(|h| !h.is_empty())
    };
    let changed = object.metadata.deletion_timestamp.is_some()
        || status.is_none_or(|s| {
            s.observed_generation != generation
                || s.applied_generation != generation
                || asked(RECONCILE_REQUESTED_AT, s.last_handled_reconcile_at.as_ref())
                || asked(RELEASE_REQUESTED_AT, s.last_handled_release_at.as_ref())
        });
    Request {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        account: placed
            .or_else(|| object.spec.class_name.clone())
            .unwrap_or_default(),
        priority: match (env.memory.is_notified(uid), changed) {
            (true, _) => Priority::Event,
            (false, true) => Priority::Changed,
            (false, false) => Priority::Routine,
        },
    }
}

/// A pass, if passes may run: in a span of its own, and measured.
async fn measured<K: Custom>(
    object: &K,
    operator: &Operator,
    pass: impl Future<Output = Result<Action, kube::Error>>,
) -> Result<Action, kube::Error> {
    if operator.gate.open_since().is_none() {
        // Every object is reconciled once they may.
        return Ok(Action::await_change());
    }
    let env = &operator.env;
    let uid = object.uid().unwrap_or_default();
    let span = info_span!("reconcile", object = %ObjectRef::from_obj(object), uid);
    let begun = Instant::now();
    env.memory.begun(&uid);
    let result = pass.instrument(span).await;
    env.memory.ended(&uid);
    env.metrics.reconcile_took(K::KIND, begun.elapsed());
    match &result {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            env.metrics.reconciled(K::KIND, "conflict");
        }
        Err(_) => env.metrics.reconciled(K::KIND, "error"),
        Ok(_) => {}
    }
    result
}

/// When a pass is tried again that the API server ended.
pub fn on_error<K: Resource>(
    object: Arc<K>,
    error: &kube::Error,
    operator: Arc<Operator>,
) -> Action {
    let env = &operator.env;
    match error {
        // What was read is older than what is there: the watch brings the newer one.
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

/// Logs a pass that did not come to its end.
pub async fn log_failed<T, Q: std::error::Error + 'static>(
    result: Result<T, controller::Error<kube::Error, Q>>,
) {
    use controller::Error::{ObjectNotFound, QueueError, ReconcilerFailed};
    match result {
        // Deleted while it was queued.
        Ok(_) | Err(ObjectNotFound(_)) => {}
        Err(ReconcilerFailed(kube::Error::Api(status), object)) if status.is_conflict() => {
            info!(%object, "the object changed during the pass; it is reconciled again");
        }
        Err(ReconcilerFailed(error, object)) => {
            warn!(%object, %error, "the API server did not take a write; trying again");
        }
        Err(QueueError(error)) => warn!(%error, "the watch was cut; it is taken up again"),
        Err(other) => warn!(error = %other, "the controller failed"),
    }
}
