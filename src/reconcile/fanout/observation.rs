//! The observation of a pass over a fan-out: everything, or only lists, events and the connection.

use std::time::{Duration, Instant};

use crate::domain::execution::{Execution, Stuck};
use crate::resource::Observed;
use crate::resource::connection::ObservedConnection;
use crate::state::environment::Environment;
use crate::state::memory::{Settled, SettledPipeline};
use crate::state::stop::Stop;
use crate::state::target::Target;

/// Result of an observation.
#[derive(Debug, Default)]
pub struct Observation {
    /// The connection in use.
    pub connection: Option<ObservedConnection>,
    /// Executions, newest first, if they were read.
    pub executions: Option<Vec<Execution>>,
    /// The execution that runs for longer than its stage may take.
    pub stuck: Option<Stuck>,
    /// Depth of the observation.
    pub depth: Depth,
}

/// Depth of an observation.
#[derive(Debug)]
pub enum Depth {
    /// The other resources are assumed to be as the last full observation found them.
    Quick(Box<Quick>),
    /// Everything was observed.
    Full(Box<Observed>),
}

impl Default for Depth {
    fn default() -> Self {
        Self::Full(Box::default())
    }
}

/// Basis and result of a quick observation.
#[derive(Debug)]
pub struct Quick {
    /// Result of the last full observation.
    pub settled: Settled,
    /// The pipeline as lists and executions show it now.
    pub pipeline: Option<SettledPipeline>,
    /// When the lists were read, if they were.
    pub listed_at: Option<Instant>,
    /// Time until everything has to be observed because the class changed.
    pub replan_in: Option<Duration>,
}

/// Returns the execution that runs for longer than its stage may take, if there is one.
pub async fn stuck(
    env: &Environment,
    target: &Target,
    executions: &[Execution],
) -> Result<Option<Stuck>, Stop> {
    let limits = env.pace.stages;
    let Some(suspect) = limits.suspect(executions, target.now) else {
        return Ok(None);
    };
    let pipelines = &target.cloud.pipelines;
    let action = pipelines.running(target.pipeline(), &suspect.id).await?;
    Ok(action.and_then(|action| limits.stuck(suspect, action, target.now)))
}
