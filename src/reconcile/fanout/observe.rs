//! Observes a fan-out: everything, or only lists, events and the connection.

use crate::api::RepoFanout;
use crate::reconcile::fanout::observation::{Depth, Observation, stuck};
use crate::reconcile::fanout::quick;
use crate::reconcile::observe as resources;
use crate::resource::Observed;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;
use crate::state::target::{Inputs, Target};

/// Observes as much as is due.
pub async fn observe(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    inputs: &Inputs,
    target: &Target,
) -> Result<Observation, Stop> {
    if let Some(quick) = quick::observe(env, live, inputs, target).await? {
        return Ok(quick);
    }
    let observed = everything(live, target).await?;
    let executions = match &observed.pipeline {
        Some(_) => Some(target.cloud.pipelines.executions(target.pipeline()).await?),
        None => None,
    };
    let stuck = match &executions {
        Some(executions) => stuck(env, target, executions).await?,
        None => None,
    };
    Ok(Observation {
        connection: observed.connection.clone(),
        executions,
        stuck,
        depth: Depth::Full(Box::new(observed)),
    })
}

/// Observes all desired resources.
pub async fn everything(
    live: &LiveObject<'_, RepoFanout>,
    target: &Target,
) -> Result<Observed, Stop> {
    let Target {
        fanout,
        cloud,
        shared,
        ..
    } = target;
    let status = live.status();
    let recorded = status.connection.as_ref().and_then(|c| c.arn.as_deref());
    let arn = shared
        .connection
        .as_ref()
        .map(|c| c.arn.as_str())
        .or(recorded);
    let (desired, adopt) = (target.desire(arn), &fanout.adopt);
    let mut observed =
        resources::observe(cloud, &desired, &fanout.owner, &status.resources, adopt).await?;
    if let Some(shared) = &shared.connection {
        observed.connection = Some(shared.clone());
    }
    Ok(observed)
}
