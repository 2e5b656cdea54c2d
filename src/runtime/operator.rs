//! The running operator: what its passes use, whether they may run, and whose turn it is.

use std::sync::Arc;

use crate::runtime::fair_queue::FairQueue;
use crate::runtime::gate::Gate;
use crate::state::environment::Environment;

/// The running operator.
pub struct Operator {
    /// What every pass may use.
    pub env: Environment,
    /// Whether passes may run.
    pub gate: Gate,
    /// Which pass is next.
    pub queue: FairQueue,
}

impl Operator {
    /// One that runs so many passes at once.
    pub fn new(env: Environment, concurrency: u16) -> Arc<Self> {
        Arc::new(Self {
            env,
            gate: Gate::default(),
            queue: FairQueue::new(concurrency),
        })
    }
}
