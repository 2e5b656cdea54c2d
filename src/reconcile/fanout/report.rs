//! The report of a pass over a fan-out.

use crate::feature::Outcome;
use crate::feature::prune::Pruned;
use crate::feature::subscribe::Subscribed;
use crate::reconcile::fanout::converge::Converged;
use crate::reconcile::fanout::deliver::Delivered;
use crate::reconcile::fanout::retire::Retired;
use crate::state::target::Target;

/// Results of the phases of a pass, even of one that stopped early. Only the pass writes it, and
/// only the conclusion reads it.
#[derive(Default)]
pub struct Report {
    /// The resolved target.
    pub target: Option<Target>,
    /// State of AWS after the differences were written.
    pub converged: Option<Converged>,
    /// Result of the subscriptions.
    pub subscribed: Option<Subscribed>,
    /// What the executions delivered.
    pub delivered: Option<Delivered>,
    /// Result of pruning.
    pub pruned: Option<Pruned>,
    /// Result of the announcements.
    pub announced: Option<Outcome>,
    /// Superseded resources that still exist.
    pub retired: Option<Retired>,
    /// Whether the pass ran to its end.
    pub complete: bool,
}
