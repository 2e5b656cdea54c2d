//! The executions: what they did, and whether one has to be started.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::status::{DeliveredStatus, RepoFanoutStatus};
use crate::domain::delivery::{Cause, Delivery, Verdict};
use crate::domain::execution::{Execution, ExecutionState, Failure, Target};
use crate::domain::owner::CREATED_AT;
use crate::domain::{delivery, names};
use crate::reconcile::converge::{Stop, read_only};
use crate::reconcile::fanout::{Pass, Ready};
use crate::resource::bucket::BucketView;
use crate::state::memory::SettledPipeline;
use crate::status;
use crate::status::Notice;

impl Pass<'_> {
    /// Reads what the executions did, and starts one where a change or a person asks for it.
    pub(crate) async fn deliver(&mut self, ready: &Ready) -> Result<(), Stop> {
        let (Some(executions), Some(pipeline)) =
            (self.saw.executions.clone(), self.saw.pipeline.clone())
        else {
            return Ok(());
        };
        let status = self.object.status();
        self.saw.failure = self.failure(ready, &status, &executions).await?;
        let delivered = self
            .delivered(ready, &status, &executions, &pipeline)
            .await?;
        self.saw.delivered = delivered.clone();

        // What is only shown is not acted on either.
        let verdict = match pipeline.drifted {
            true => Verdict::Nothing,
            false => self.verdict(ready, &status, &executions, &pipeline, delivered.as_ref()),
        };
        let verdict = match (&verdict, &pipeline.estimated) {
            (Verdict::Start(Cause::Unannounced), Some(arn)) => {
                // By AWS's own clock it may have been in time.
                let rule = ready.cloud.notification_rules.observe(arn).await?;
                let announced_since = rule.map(|rule| rule.created_at);
                let exact = SettledPipeline {
                    announced_since,
                    estimated: None,
                    ..pipeline
                };
                let verdict = self.verdict(ready, &status, &executions, &exact, delivered.as_ref());
                self.saw.pipeline = Some(exact);
                verdict
            }
            _ => verdict,
        };
        let cause = match verdict {
            Verdict::Nothing => None,
            Verdict::Wait(until) => {
                let rest = Duration::try_from(until.duration_since(self.now)).unwrap_or_default();
                self.saw.wait = Some(rest.min(self.saw.wait.unwrap_or(rest)));
                self.saw.settled = false;
                None
            }
            Verdict::Start(why) => Some(why),
        };
        self.start(ready, &executions, cause).await
    }

    fn verdict(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
        executions: &[Execution],
        pipeline: &SettledPipeline,
        delivered: Option<&DeliveredStatus>,
    ) -> Verdict {
        let delivered = delivered.map(target_of);
        delivery::verdict(&Delivery {
            target: &pipeline.target,
            delivered: delivered.as_ref(),
            executions,
            pipeline_version: pipeline.version,
            pipeline_updated_at: pipeline.updated_at,
            announced_since: pipeline.announced_since,
            bucket_created_at: pipeline
                .bucket_created_at
                .or(ready.shared.destination_created_at),
            permissions_written_at: status
                .permissions_written_at
                .max(ready.shared.permissions_written_at),
            failure: self.saw.failure.as_ref(),
            now: self.now,
        })
    }

    /// Starts an execution for a cause of ours, or for a release that a person asked for.
    pub(crate) async fn start(
        &mut self,
        ready: &Ready,
        executions: &[Execution],
        cause: Option<Cause>,
    ) -> Result<(), Stop> {
        let uid = self.object.uid();
        let newest = executions.first().map_or("none", |e| &*e.id);
        // The same token for the same cause: asked twice, CodePipeline starts one.
        let (token, why) = match (self.object.release(), cause) {
            (Some(asked), _) => (
                names::token(&[&uid, "release", &asked]),
                format!("released by annotation ({asked})"),
            ),
            (None, Some(cause)) => (
                names::token(&[&uid, cause.as_str(), newest]),
                cause.as_str().to_owned(),
            ),
            (None, None) => return Ok(()),
        };
        if self.context.settings.read_only {
            return Err(read_only(&format!("start an execution: {why}")));
        }
        self.object.confirm_status(self.object.status()).await?;
        ready
            .cloud
            .pipelines
            .start(&ready.names.base, &token)
            .await?;
        let note = format!("started an execution: {why}");
        self.object
            .notify(Notice {
                warning: false,
                reason: "ExecutionStarted".to_owned(),
                note,
            })
            .await;
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
        let Some(newest) = executions
            .first()
            .filter(|e| e.state == ExecutionState::Failed)
        else {
            return Ok(None);
        };
        let known = status
            .last_execution
            .as_ref()
            .filter(|l| l.id == newest.id)
            .and_then(|l| l.failure.as_ref());
        match known {
            Some(f) => Ok(Some(Failure {
                stage: f.stage.clone(),
                code: f.code.clone(),
                message: f.message.clone(),
            })),
            None => Ok(ready
                .cloud
                .pipelines
                .failure(&ready.names.base, &newest.id)
                .await?),
        }
    }

    /// What is in the bucket now: what the newest success put there.
    async fn delivered(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
        executions: &[Execution],
        pipeline: &SettledPipeline,
    ) -> Result<Option<DeliveredStatus>, Stop> {
        let Some(success) = executions
            .iter()
            .find(|e| e.state == ExecutionState::Succeeded)
        else {
            return Ok(status.delivered.clone());
        };
        let provider = self.saw.connection.as_ref().map_or("", |c| &*c.provider);
        if status
            .delivered
            .as_ref()
            .is_some_and(|d| d.execution == success.id)
        {
            return Ok(status.delivered.clone());
        }
        // An update cancels what runs: what started after it ran with the present structure.
        let went_to = match success.started_at >= pipeline.updated_at {
            true => Some(pipeline.target.clone()),
            false => {
                ready
                    .cloud
                    .pipelines
                    .target(&ready.names.base, &success.id)
                    .await?
            }
        };
        Ok(went_to
            .map(|to| status::delivered(success, &to, provider))
            .or_else(|| status.delivered.clone()))
    }
}

pub(crate) fn target_of(delivered: &DeliveredStatus) -> Target {
    Target {
        repository: delivered.repository.clone(),
        branch: delivered.branch.clone(),
        bucket: delivered.bucket.clone(),
        prefix: delivered.prefix.clone(),
    }
}

/// When the bucket was made, by its tag.
pub fn created_at(view: &BucketView) -> Option<Timestamp> {
    let BucketView::Present(bucket) = view else {
        return None;
    };
    bucket.tags.get(CREATED_AT)?.parse().ok()
}
