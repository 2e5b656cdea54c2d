//! What a pass over a fan-out observes: everything, or only what lists, events and the connection
//! tell.

use std::time::{Duration, Instant};

use crate::api::RepoFanout;
use crate::domain::execution::Execution;
use crate::reconcile::fanout::quick;
use crate::reconcile::observe as resources;
use crate::resource::observed::{Observed, ObservedConnection};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::{Settled, SettledPipeline};
use crate::state::stop::Stop;
use crate::state::target::{Inputs, Target};

/// What was observed.
#[derive(Debug, Default)]
pub struct Observation {
    /// The connection in use.
    pub connection: Option<ObservedConnection>,
    /// Newest first, where they were read.
    pub executions: Option<Vec<Execution>>,
    /// What else was observed.
    pub depth: Depth,
}

/// How deep a pass looks.
#[derive(Debug)]
pub enum Depth {
    /// The rest is as the last full observation found it.
    Quick(Box<Quick>),
    /// Everything was observed.
    Full(Box<Observed>),
}

impl Default for Depth {
    fn default() -> Self {
        Self::Full(Box::default())
    }
}

/// What a quick observation goes by, and what it found.
#[derive(Debug)]
pub struct Quick {
    /// What the last full observation found.
    pub settled: Settled,
    /// The pipeline, as lists and executions tell it now.
    pub pipeline: Option<SettledPipeline>,
    /// When the lists were read, if they were.
    pub listed_at: Option<Instant>,
    /// When everything is to be observed because the class changed.
    pub replan_in: Option<Duration>,
}

/// Observes what is due.
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
    Ok(Observation {
        connection: observed.connection.clone(),
        executions,
        depth: Depth::Full(Box::new(observed)),
    })
}

/// Observes all that the object is to have.
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
