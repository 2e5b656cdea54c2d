//! Retires resources that an object used before its spec or class changed. They are deleted once
//! the present place has a delivery.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::{FormerStatus, RepoFanoutStatus};
use crate::domain::execution::ExecutionState;
use crate::reconcile::converge::LOOK_AGAIN;
use crate::reconcile::fanout::converge::Converged;
use crate::reconcile::fanout::delete::{Held, end_former};
use crate::reconcile::fanout::deliver::{Delivered, copy_of};
use crate::reconcile::schedule::Schedule;
use crate::reconcile::teardown::Outcome;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::{Partial, Stop};
use crate::state::target::Target;

/// Result of this phase.
#[derive(Debug, Default)]
pub struct Retired {
    /// Superseded resources that still exist.
    pub former: Vec<FormerStatus>,
    /// What is still outstanding although nothing failed.
    pub pending: Option<(Reason, String)>,
    /// When to continue.
    pub schedule: Schedule,
}

/// Returns the superseded resources, including those that this pass orphaned.
pub fn former(status: RepoFanoutStatus, orphaned: &BTreeMap<String, String>) -> Vec<FormerStatus> {
    let mut former = status.former;
    if let Some(placement) = status.placement.filter(|_| !orphaned.is_empty()) {
        former.push(FormerStatus {
            placement,
            resources: orphaned.clone(),
        });
    }
    former
}

/// Deletes or retains the superseded resources, if the present place has a delivery.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    converged: &Converged,
    delivered: &Delivered,
) -> Result<Retired, Partial<Retired>> {
    let former = former(live.status(), &converged.orphaned);
    let mut retired = Retired {
        former,
        ..Retired::default()
    };
    if retired.former.is_empty() || !is_delivered(target, converged, delivered) {
        return Ok(retired);
    }
    match retire(env, live, converged, &mut retired).await {
        Ok(()) => Ok(retired),
        Err(stop) => Err(Partial {
            found: retired,
            stop,
        }),
    }
}

async fn retire(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    converged: &Converged,
    retired: &mut Retired,
) -> Result<(), Stop> {
    if env.settings().read_only {
        return Err(Stop::read_only("clean up what is not used any more"));
    }
    // Superseded resources are compared with the recorded ones, so the present ones are recorded
    // first.
    let mut next = live.status();
    next.former.clone_from(&retired.former);
    next.resources = converged.resources.clone().unwrap_or(next.resources);
    live.confirm_status(next).await?;
    while let Some(first) = retired.former.first().cloned() {
        match end_former(env, live, &first).await {
            Ok(Outcome::Done(kept)) => {
                retired.former.remove(0);
                live.retained("not used any more, and kept in AWS", kept)
                    .await;
                env.catalog.wake_all();
            }
            Ok(Outcome::Progress(message)) => {
                retired.pending = Some((Reason::CleaningUp, message));
                retired.schedule.fully_within(Duration::ZERO);
                return Ok(());
            }
            Ok(Outcome::Unseen(message)) => {
                retired.pending = Some((Reason::CleaningUp, message));
                retired.schedule.fully_within(LOOK_AGAIN);
                return Ok(());
            }
            Err(Held::Cloud(error)) => return Err(error.into()),
            Err(Held::OutOfReach(message)) => {
                let message = format!("what was used before cannot be reached: {message}");
                retired.pending = Some((Reason::CleaningUp, message));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns whether the newest execution of the present pipeline copied to the present place.
fn is_delivered(target: &Target, converged: &Converged, delivered: &Delivered) -> bool {
    let delivery = &delivered.delivery;
    let copied = delivery.delivered.as_ref().map(copy_of);
    let newest = delivery.executions.as_ref().and_then(|all| all.first());
    converged.pending.is_none()
        && copied.is_some()
        && copied == target.copy()
        && newest.is_some_and(|e| e.state == ExecutionState::Succeeded)
}
