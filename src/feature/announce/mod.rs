//! Our own announcement of each delivery, beside AWS's, if that is asked for.

pub mod message;

use crate::api::condition::Reason;
use crate::api::status::{AnnouncedStatus, DeliveredStatus};
use crate::cloud::{Class, Error};
use crate::domain::execution::{Execution, ExecutionState};
use crate::feature::announce::message::{Announcement, Changes};
use crate::reconcile::converge::{Stop, read_only};
use crate::reconcile::fanout::{Pass, Ready};
use crate::status;

impl Pass<'_> {
    /// Announces what succeeded since the last time, the oldest first. At least once: it is
    /// recorded after it was said.
    pub(crate) async fn announce(&mut self, ready: &Ready) -> Result<(), Stop> {
        if !ready.fanout.announce {
            return Ok(());
        }
        self.saw.announcements.asked = true;
        let status = self.object.status();
        let Some(delivered) = self.saw.delivered.clone().or(status.delivered) else {
            return Ok(());
        };
        if status
            .announced
            .as_ref()
            .is_some_and(|a| a.execution == delivered.execution)
        {
            return Ok(());
        }
        let desired = ready.desire(Some(""));
        let Some(topic_arn) = desired.topic_arn() else {
            return Ok(());
        };
        let executions = match self.saw.executions.clone() {
            Some(executions) => executions,
            None => ready.cloud.pipelines.executions(&ready.names.base).await?,
        };
        for execution in unannounced(&executions, status.announced.as_ref()) {
            let Some(what) = self.what(ready, execution, &delivered).await? else {
                continue;
            };
            if self.context.settings.read_only {
                return Err(read_only("announce a delivery"));
            }
            let changes = self.changes(ready, execution, &executions, &what).await;
            let announcement = Announcement::new(&ready.fanout.owner, &ready.place, &what, changes);
            self.object.confirm_status(self.object.status()).await?;
            match ready.cloud.topics.publish(topic_arn, &announcement).await {
                Ok(()) => {}
                Err(error) if matches!(error.class, Class::Transient | Class::Throttled) => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.saw.announcements.told = Some((Reason::AnnounceFailed, failed(&error)));
                    return Ok(());
                }
            }
            let mut next = self.object.status();
            let started_at = Some(execution.started_at);
            next.announced = Some(AnnouncedStatus {
                execution: execution.id.clone(),
                started_at,
            });
            self.object.set_status(next).await?;
            let commit = what
                .commit
                .map_or_else(|| "a commit".to_owned(), |c| c.short_id);
            let message = format!(
                "{commit} of {} branch {} was announced on the topic",
                what.repository, what.branch
            );
            self.saw.announcements.told = Some((Reason::Announced, message));
        }
        Ok(())
    }

    /// What the execution delivered.
    async fn what(
        &self,
        ready: &Ready,
        execution: &Execution,
        delivered: &DeliveredStatus,
    ) -> Result<Option<DeliveredStatus>, Stop> {
        if execution.id == delivered.execution {
            return Ok(Some(delivered.clone()));
        }
        let provider = self.saw.connection.as_ref().map_or("", |c| &*c.provider);
        let to = ready
            .cloud
            .pipelines
            .target(&ready.names.base, &execution.id)
            .await?;
        Ok(to.map(|to| status::delivered(execution, &to, provider)))
    }

    /// What differs from the delivery before; nothing where the operator may not, or cannot, read
    /// both artifacts.
    async fn changes(
        &self,
        ready: &Ready,
        execution: &Execution,
        executions: &[Execution],
        what: &DeliveredStatus,
    ) -> Option<Changes> {
        if !self.context.settings.allow_prune {
            return None;
        }
        let older = executions
            .iter()
            .skip_while(|e| e.id != execution.id)
            .skip(1);
        let before = older
            .into_iter()
            .find(|e| e.state == ExecutionState::Succeeded)?;
        let entries = |id: &str| {
            let (pipelines, objects, name) = (
                &ready.cloud.pipelines,
                &ready.cloud.objects,
                &ready.names.base,
            );
            let id = id.to_owned();
            async move {
                let (bucket, key) = pipelines.artifact(name, &id).await.ok()??;
                objects.entries(&bucket, &key).await.ok()?
            }
        };
        let (before, after) = (entries(&before.id).await?, entries(&execution.id).await?);
        let pruned = self
            .saw
            .pruned
            .clone()
            .or_else(|| self.object.status().pruned);
        let pruned = ready.fanout.prune.is_some_and(|p| !p.dry_run)
            && pruned.is_some_and(|p| p.execution == execution.id && p.left == 0);
        Some(Changes::between(&before, &after, &what.prefix, pruned))
    }
}

/// The successes after the last one that was announced, the oldest first; of a history that nobody
/// announced, the newest alone.
fn unannounced<'a>(
    executions: &'a [Execution],
    last: Option<&AnnouncedStatus>,
) -> Vec<&'a Execution> {
    let successes = executions
        .iter()
        .filter(|e| e.state == ExecutionState::Succeeded);
    let Some(last) = last else {
        return successes.take(1).collect();
    };
    let since = |e: &&Execution| {
        e.id != last.execution && last.started_at.is_none_or(|last| last < e.started_at)
    };
    let mut new: Vec<_> = successes.take_while(since).collect();
    new.reverse();
    new
}

fn failed(error: &Error) -> String {
    let code = error
        .code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    let advice = match error.class {
        Class::Denied => {
            "; let the operator publish to it, as `repofanout iam-policy` prints, and use the \
                 topic's KMS key if there is one"
        }
        _ => "",
    };
    format!(
        "{} was refused{code}{advice}; AWS's own notification is not touched, and ours is tried again",
        error.call
    )
}
