//! The executions: what they did, and whether one has to be started.

use std::time::Duration;

use jiff::Timestamp;

use super::{Pass, Ready, Stop};
use crate::api::RELEASE_REQUESTED_AT;
use crate::api::status::{DeliveredStatus, RepoFanoutStatus};
use crate::controller::converge::read_only;
use crate::model::execution::{Execution, ExecutionState, Failure, Target};
use crate::model::names;
use crate::model::observed::{BucketView, Observed};
use crate::model::owner::CREATED_AT;
use crate::plan::delivery::{self, Cause, Delivery, Verdict};
use crate::status::{self, Notice};

impl Pass<'_> {
    /// Reads what the executions did, and starts one where a change or a person asks for it.
    pub(super) async fn deliver(&mut self, ready: &Ready, observed: Option<&Observed>) -> Result<(), Stop> {
        let Ready { fanout, names, cloud, .. } = ready;
        let pipeline = observed.and_then(|o| o.pipeline.as_ref());
        if self.saw.wrote && pipeline.is_some() {
            // What was just written may have started or cancelled one.
            self.saw.executions = Some(cloud.pipelines.executions(&names.base).await?);
        }
        let Some(executions) = self.saw.executions.clone() else { return Ok(()) };
        let status = self.object.status();
        self.saw.failure = self.failure(ready, &status, &executions).await?;

        let updated_at = pipeline.map(|p| p.updated_at);
        let target = match pipeline.and_then(|p| p.declaration.target()) {
            Some(target) => Some(target),
            None => ready.desire(Some("")).target(),
        };
        let delivered = self.delivered(ready, &status, &executions, target.as_ref(), updated_at).await?;
        self.saw.delivered = delivered.clone();

        let mut cause = None;
        // What is only shown is not acted on either.
        let shown = self.saw.drift.as_ref().is_some_and(|drift| !drift.is_empty());
        if let (Some(pipeline), Some(observed), Some(target), false) = (pipeline, observed, &target, shown) {
            let announces = fanout.events.iter().any(|e| e.ends_with("pipeline-execution-succeeded"));
            let target_delivered = delivered.as_ref().map(target_of);
            let verdict = delivery::verdict(&Delivery {
                target,
                delivered: target_delivered.as_ref(),
                executions: &executions,
                pipeline_version: pipeline.version,
                pipeline_updated_at: pipeline.updated_at,
                announced_since: observed.notification_rule.as_ref().filter(|_| announces).map(|r| r.created_at),
                bucket_created_at: created_at(&observed.destination).or(ready.shared.destination_created_at),
                permissions_written_at: status.permissions_written_at.max(ready.shared.permissions_written_at),
                failure: self.saw.failure.as_ref(),
                now: self.now,
            });
            match verdict {
                Verdict::Nothing => {}
                Verdict::Wait(until) => {
                    let rest = Duration::try_from(until.duration_since(self.now)).unwrap_or_default();
                    self.saw.wait = Some(rest.min(self.saw.wait.unwrap_or(rest)));
                    self.saw.settled = false;
                }
                Verdict::Start(why) => cause = Some(why),
            }
        }
        self.start(ready, &executions, cause).await
    }

    /// Starts an execution for a cause of ours, or for a release that a person asked for.
    async fn start(&mut self, ready: &Ready, executions: &[Execution], cause: Option<Cause>) -> Result<(), Stop> {
        let uid = self.object.uid();
        let newest = executions.first().map_or("none", |e| &*e.id);
        let requested = self.object.requested(RELEASE_REQUESTED_AT);
        let handled = self.object.status().last_handled_release_at;
        let released = !requested.is_empty() && handled.is_some_and(|handled| handled != requested);
        // The same token for the same cause: asked twice, CodePipeline starts one.
        let (token, why) = match (released, cause) {
            (true, _) => {
                (names::token(&[&uid, "release", &requested]), format!("released by annotation ({requested})"))
            }
            (false, Some(cause)) => (names::token(&[&uid, cause.as_str(), newest]), cause.as_str().to_owned()),
            (false, None) => return Ok(()),
        };
        if self.context.settings.read_only {
            return Err(read_only(&format!("start an execution: {why}")));
        }
        self.object.confirm_status(self.object.status()).await?;
        ready.cloud.pipelines.start(&ready.names.base, &token).await?;
        let note = format!("started an execution: {why}");
        self.object.notify(Notice { warning: false, reason: "ExecutionStarted".to_owned(), note }).await;
        self.saw.executions = Some(ready.cloud.pipelines.executions(&ready.names.base).await?);
        self.saw.failure = None;
        self.saw.wait = Some(self.context.pace.close);
        Ok(())
    }

    /// Why the newest execution failed; asked for once an execution.
    async fn failure(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
        executions: &[Execution],
    ) -> Result<Option<Failure>, Stop> {
        let Some(newest) = executions.first().filter(|e| e.state == ExecutionState::Failed) else { return Ok(None) };
        let known = status.last_execution.as_ref().filter(|l| l.id == newest.id).and_then(|l| l.failure.as_ref());
        match known {
            Some(f) => Ok(Some(Failure { stage: f.stage.clone(), code: f.code.clone(), message: f.message.clone() })),
            None => Ok(ready.cloud.pipelines.failure(&ready.names.base, &newest.id).await?),
        }
    }

    /// What is in the bucket now: what the newest success put there.
    async fn delivered(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
        executions: &[Execution],
        target: Option<&Target>,
        pipeline_updated_at: Option<Timestamp>,
    ) -> Result<Option<DeliveredStatus>, Stop> {
        let Some(success) = executions.iter().find(|e| e.state == ExecutionState::Succeeded) else {
            return Ok(status.delivered.clone());
        };
        let provider = self.saw.connection.as_ref().map_or("", |c| &*c.provider);
        if status.delivered.as_ref().is_some_and(|d| d.execution == success.id) {
            return Ok(status.delivered.clone());
        }
        // An update cancels what runs: what started after it ran with the present structure.
        let present = pipeline_updated_at.is_some_and(|at| success.started_at >= at);
        let went_to = match target {
            Some(target) if present => Some(target.clone()),
            _ => ready.cloud.pipelines.target(&ready.names.base, &success.id).await?,
        };
        Ok(went_to.map(|to| status::delivered(success, &to, provider)).or_else(|| status.delivered.clone()))
    }
}

pub(super) fn target_of(delivered: &DeliveredStatus) -> Target {
    Target {
        repository: delivered.repository.clone(),
        branch: delivered.branch.clone(),
        bucket: delivered.bucket.clone(),
        prefix: delivered.prefix.clone(),
    }
}

/// When the bucket was made, by its tag.
pub fn created_at(view: &BucketView) -> Option<Timestamp> {
    let BucketView::Present(bucket) = view else { return None };
    bucket.tags.get(CREATED_AT)?.parse().ok()
}
