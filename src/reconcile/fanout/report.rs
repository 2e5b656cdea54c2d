//! What the phases of a pass over a fan-out give.

use crate::feature::Outcome;
use crate::feature::prune::Pruned;
use crate::feature::subscribe::Subscribed;
use crate::reconcile::fanout::converge::Converged;
use crate::reconcile::fanout::deliver::Delivered;
use crate::reconcile::fanout::retire::Retired;
use crate::state::target::Target;

/// What the phases of a pass found, also of a pass that stopped early. Only the pass writes it, and
/// only its conclusion reads it.
#[derive(Default)]
pub struct Report {
    /// What the object asks for, and where.
    pub target: Option<Target>,
    /// What AWS is after what differed was written.
    pub converged: Option<Converged>,
    /// What came of the subscriptions.
    pub subscribed: Option<Subscribed>,
    /// What the executions did.
    pub delivered: Option<Delivered>,
    /// What came of pruning.
    pub pruned: Option<Pruned>,
    /// What came of announcements.
    pub announced: Option<Outcome>,
    /// What is left of what is not used any more.
    pub retired: Option<Retired>,
    /// Whether the pass came to its end.
    pub complete: bool,
}
