//! One pass over a class, as a table of contents: it converges the shared resources, observes the
//! connections, and wakes the fan-outs.

pub mod conclude;
pub mod converge;
pub mod count;
pub mod delete;
pub mod observe;
pub mod preview;
pub mod report;
pub mod retire;

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;

use crate::api::RepoFanoutClass;
use crate::reconcile::class::report::{Report, Target};
use crate::state::catalog::ClassKey;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::{Stop, keep};

/// Converges AWS to the class, and writes its status.
///
/// # Errors
/// Returns the API server's error if it rejected a write; the class is then reconciled again.
pub async fn run(env: &Environment, object: &RepoFanoutClass) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if env
        .memory
        .class_changed(&uid, ClassKey::of(object, &BTreeMap::new()))
    {
        env.fleet.wake_all();
    }
    if object.metadata.deletion_timestamp.is_some() {
        return delete::run(env, object).await;
    }
    let mut live = LiveObject::new(env, object);
    if let Some(rest) = env.memory.quiet_for(&uid, &live.basis()) {
        return count::run(env, live, rest).await;
    }
    let mut report = Report::begin();
    let stop = pass(env, &mut live, &mut report).await.err();
    conclude::run(env, live, report, stop).await
}

async fn pass(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    report: &mut Report,
) -> Result<(), Stop> {
    let target: &Target = report
        .target
        .insert(observe::resolve(env, live, report.now).await?);
    report.quick = observe::quick(env, live, target).await?;
    if report.quick.is_none() {
        report.full = true;
        // A connection that cannot be created does not block the other resources.
        let connections = converge::connections(env, live, target).await;
        let failed = keep(&mut report.connections, connections).err();
        if let Some(Stop::Kube(error)) = failed {
            return Err(Stop::Kube(error));
        }
        let known = report.connections.get_or_insert_default();
        let shares = converge::shares(env, live, target, known).await;
        let shares = keep(&mut report.shares, shares)?;
        report.quotas = count::quotas(&target.cloud, target.class.interval / 2).await;
        if let Some(stop) = failed {
            return Err(stop);
        }
        let retired = retire::run(env, live, target, known, shares).await;
        keep(&mut report.retired, retired)?;
    }
    report.complete = true;
    Ok(())
}
