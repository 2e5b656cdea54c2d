//! The running operator: its environment, its gate and its fair queue.

use std::sync::Arc;

use crate::runtime::fair_queue::FairQueue;
use crate::runtime::gate::Gate;
use crate::state::environment::Environment;

/// The running operator.
pub struct Operator {
    /// Environment that every pass uses.
    pub env: Environment,
    /// Decides whether passes may run.
    pub gate: Gate,
    /// Decides which object is reconciled next.
    pub queue: FairQueue,
}

impl Operator {
    /// Creates an operator that runs up to `concurrency` passes at once.
    pub fn new(env: Environment, concurrency: u16) -> Arc<Self> {
        Arc::new(Self {
            env,
            gate: Gate::default(),
            queue: FairQueue::new(concurrency),
        })
    }
}
