//! What a pass over a fan-out observes: everything, or only what lists, events and the connection
//! tell.

use std::time::{Duration, Instant};

use crate::domain::execution::Execution;
use crate::resource::Observed;
use crate::resource::connection::ObservedConnection;
use crate::state::memory::{Settled, SettledPipeline};

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
