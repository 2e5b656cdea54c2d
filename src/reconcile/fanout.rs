//! One pass over a fan-out that is not being deleted, as a table of contents.

pub mod conclude;
pub mod converge;
pub mod delete;
pub mod deliver;
pub mod observation;
pub mod observe;
pub mod preview;
pub mod quick;
pub mod report;
pub mod resolve;
pub mod retire;

use kube::runtime::controller::Action as Requeue;

use crate::api::RepoFanout;
use crate::feature::{announce, prune, subscribe};
use crate::reconcile::fanout::report::Report;
use crate::reconcile::fanout::resolve::{inputs, resolve};
use crate::state::catalog::Resolved;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::{Stop, keep};
use crate::state::target::Inputs;

/// Converges AWS to the object, as far as that is possible now, and writes its status.
///
/// # Errors
/// Returns the API server's error if it rejected a write; the object is then reconciled again.
pub async fn run(env: &Environment, object: &RepoFanout) -> Result<Requeue, kube::Error> {
    if let Some(rest) = quick::rest(env, object) {
        return Ok(rest);
    }
    let (class, refusal) = match env.catalog.resolve(object) {
        Ok(Resolved::Ours(class)) => (Some(class), None),
        Ok(_) => (None, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let inputs = inputs(env, object, class);
    let mut live = LiveObject::new(env, object);
    if object.spec.suspend == Some(true) {
        return conclude::suspend(env, live, inputs).await;
    }
    let mut report = Report::default();
    let stop = match refusal {
        Some(refusal) => Some(refusal.into()),
        None => pass(env, &mut live, &inputs, &mut report).await.err(),
    };
    conclude::run(env, live, inputs, report, stop).await
}

async fn pass(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    inputs: &Inputs,
    report: &mut Report,
) -> Result<(), Stop> {
    let target = report.target.insert(resolve(env, live, inputs).await?);
    let observed = observe::observe(env, live, inputs, target).await?;
    let converged = converge::run(env, live, target, observed).await;
    let converged = keep(&mut report.converged, converged)?;
    let (topic, full) = (converged.topic.as_deref(), converged.is_full());
    let subscribed = subscribe::run(env, live, target, topic, full).await?;
    report.subscribed = Some(subscribed);
    let delivered = deliver::run(env, live, target, converged).await;
    let delivered = keep(&mut report.delivered, delivered)?;
    let pruned = prune::run(env, live, target, &delivered.delivery).await?;
    if pruned.overtaken {
        deliver::once_more(env, live, target, delivered).await?;
    }
    let pruned = report.pruned.insert(pruned);
    let announced = announce::run(env, live, target, &delivered.delivery, pruned).await?;
    report.announced = Some(announced);
    let retired = retire::run(env, live, target, converged, delivered).await;
    keep(&mut report.retired, retired)?;
    report.complete = true;
    Ok(())
}
