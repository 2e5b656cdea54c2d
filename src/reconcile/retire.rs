//! What an object used before its spec or its class changed: it goes once the present place has
//! been delivered to.

use crate::api::condition::Reason;
use crate::api::status::FormerStatus;
use crate::domain::execution::ExecutionState;
use crate::reconcile::converge::{Stop, read_only};
use crate::reconcile::deletion::{Held, end_former};
use crate::reconcile::fanout::{Pass, Ready};
use crate::reconcile::teardown::Outcome;

impl Pass<'_> {
    /// What is not used any more, with what this pass found.
    pub(crate) fn former(&self) -> Vec<FormerStatus> {
        let status = self.object.status();
        let mut former = status.former;
        if let Some(placement) = status.placement.filter(|_| !self.saw.left.is_empty()) {
            former.push(FormerStatus {
                placement,
                resources: self.saw.left.clone(),
            });
        }
        former
    }

    /// Ends what is not used any more, if the present place has been delivered to.
    pub(crate) async fn clean_up(&mut self, ready: &Ready) -> Result<(), Stop> {
        let mut former = self.former();
        if former.is_empty() || !self.delivered_here(ready) {
            return Ok(());
        }
        if self.context.settings.read_only {
            return Err(read_only("clean up what is not used any more"));
        }
        // What is used now is compared with what is recorded: it has to be.
        self.record_former(&former).await?;
        while let Some(first) = former.first().cloned() {
            match end_former(self.context, &self.object, &first).await {
                Ok(Outcome::Done(kept)) => {
                    former.remove(0);
                    self.object
                        .retained("not used any more, and kept in AWS", kept)
                        .await;
                    self.context.wake_classes();
                }
                Ok(Outcome::Progress(message)) => {
                    self.saw.pending = Some((Reason::CleaningUp, message));
                    self.saw.wait = Some(std::time::Duration::ZERO);
                    self.saw.settled = false;
                    break;
                }
                Err(Held::Cloud(error)) => {
                    self.saw.former = Some(former);
                    return Err(error.into());
                }
                Err(Held::OutOfReach(message)) => {
                    let message = format!("what was used before cannot be reached: {message}");
                    self.saw.pending = Some((Reason::CleaningUp, message));
                    break;
                }
            }
        }
        self.saw.former = Some(former);
        Ok(())
    }

    /// Records what is used and what is not, before anything of it goes.
    async fn record_former(&mut self, former: &[FormerStatus]) -> Result<(), Stop> {
        let mut next = self.object.status();
        next.former = former.to_vec();
        next.resources = self.saw.resources.clone().unwrap_or(next.resources);
        Ok(self.object.confirm_status(next).await?)
    }

    /// Whether the newest execution of the present pipeline has copied to the present place.
    fn delivered_here(&self, ready: &Ready) -> bool {
        let wanted = ready.desire(Some("")).target();
        let delivered = self.saw.delivered.as_ref().map(super::deliver::target_of);
        let newest = self.saw.executions.as_ref().and_then(|all| all.first());
        self.saw.pending.is_none()
            && delivered.is_some()
            && delivered == wanted
            && newest.is_some_and(|e| e.state == ExecutionState::Succeeded)
    }
}
