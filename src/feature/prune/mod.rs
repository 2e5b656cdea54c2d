//! What a delivery left behind: files that are no longer in the repository are deleted from the
//! destination, if that is asked for.

pub mod proof;

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::api::condition::Reason;
use crate::api::status::{DeliveredStatus, PrunedStatus};
use crate::cloud::{Class, Cloud, Error};
use crate::domain::delivery::Cause;
use crate::domain::execution::{Execution, ExecutionState};
use crate::domain::object::{Entries, Object};
use crate::feature::prune::proof::{leftovers, some, writers, wrote};
use crate::reconcile::converge::Stop;
use crate::reconcile::fanout::{Pass, Ready};
use crate::spec::prune::Prune;
use crate::spec::source::Source;

/// How many keys S3 deletes in one call.
const BATCH: usize = 1000;

/// What lies under the prefix and is not in the artifact.
#[derive(Default)]
struct Found {
    /// How many objects lie under the prefix.
    all: usize,
    /// An earlier delivery put them there.
    stale: Vec<Object>,
    /// An earlier execution ran when they were written; its artifact is gone.
    unproven: Vec<Object>,
    /// Nobody's whom we know.
    theirs: usize,
    /// How many files of the artifact are not there.
    missing: usize,
}

impl Pass<'_> {
    /// Deletes what earlier deliveries put there and the last one did not, once for each execution.
    pub(crate) async fn prune(&mut self, ready: &Ready) -> Result<(), Stop> {
        let Some(prune) = ready.fanout.prune else {
            return Ok(());
        };
        self.saw.pruning.asked = true;
        let status = self.object.status();
        let here = |d: &DeliveredStatus| {
            d.bucket == ready.fanout.destination.name(&ready.names.destination)
                && d.prefix == ready.fanout.prefix
        };
        let Some(delivered) = self.saw.delivered.clone().or(status.delivered).filter(here) else {
            return Ok(());
        };
        let generation = self.object.current.metadata.generation;
        match &status.pruned {
            Some(done)
                if done.execution == delivered.execution && done.spec_generation == generation =>
            {
                return self.keep_artifact(ready, &delivered, done.clone()).await;
            }
            _ => {}
        }
        let executions = match self.saw.executions.clone() {
            Some(executions) => executions,
            None => ready.cloud.pipelines.executions(&ready.names.base).await?,
        };
        if newest(&executions) != Some(&*delivered.execution) {
            // Another one writes, or has written a part: its own end is looked at.
            return Ok(());
        }
        match self.sweep(ready, prune, &delivered, &executions).await {
            Ok(()) => Ok(()),
            Err(Stop::Cloud(error))
                if !matches!(error.class, Class::Transient | Class::Throttled) =>
            {
                self.saw.pruning.told = Some((Reason::PruneFailed, failed(&error)));
                Ok(())
            }
            Err(stop) => Err(stop),
        }
    }

    async fn sweep(
        &mut self,
        ready: &Ready,
        prune: Prune,
        delivered: &DeliveredStatus,
        executions: &[Execution],
    ) -> Result<(), Stop> {
        let Ready { cloud, names, .. } = ready;
        let DeliveredStatus {
            bucket,
            prefix,
            execution,
            ..
        } = delivered;
        let Some(found) = look(cloud, &names.base, delivered).await? else {
            let message = format!(
                "the source artifact of execution {execution} is not there, so that it is not \
                     known which files under s3://{bucket}/{prefix} are no longer in the \
                     repository; push, or set repofanout.dev/release-requested-at, to have \
                     another one made"
            );
            self.saw.pruning.told = Some((Reason::PruneFailed, message));
            return Ok(());
        };
        let stale: Vec<&str> = found.stale.iter().map(|o| &*o.key).collect();
        let count = stale.len();
        let ours = found.all - found.theirs;
        let limited = !prune.limit.allows(count, ours);
        let dry_run = prune.dry_run || self.context.settings.read_only;
        let mut pruned = PrunedStatus {
            execution: execution.clone(),
            spec_generation: self.object.current.metadata.generation,
            at: Some(self.now),
            ..PrunedStatus::default()
        };
        let to = format!("under s3://{bucket}/{prefix}");
        let (reason, mut message) = if count > 0 && dry_run {
            (
                Reason::PruneDryRun,
                format!(
                    "{count} of {ours} keys {to} are no longer in the repository and would be deleted: {}",
                    some(&stale)
                ),
            )
        } else if limited {
            let message = format!(
                "{count} of {ours} keys {to} are no longer in the repository, which is more than \
                     destination.pruneLimit lets go at once ({} %, {} objects); nothing was \
                     deleted. See whether that is meant, and raise the limit: {}",
                prune.limit.percent,
                prune.limit.objects,
                some(&stale)
            );
            (Reason::PruneLimited, message)
        } else if count > 0 {
            self.object.confirm_status(self.object.status()).await?;
            for batch in found.stale.chunks(BATCH) {
                if newest(&cloud.pipelines.executions(&names.base).await?) != Some(&**execution) {
                    // The execution that began finds again what is left.
                    return Ok(());
                }
                pruned.deleted +=
                    i32::try_from(cloud.objects.delete(bucket, batch).await?).unwrap_or(i32::MAX);
            }
            let after = cloud.pipelines.executions(&names.base).await?;
            pruned.overlapped = (newest(&after) != Some(&**execution)).then_some(true);
            (
                Reason::Pruned,
                format!(
                    "{} keys {to} were no longer in the repository and were deleted: {}",
                    pruned.deleted,
                    some(&stale)
                ),
            )
        } else {
            (
                Reason::NothingToPrune,
                format!("every key {to} that a delivery put there is in the repository"),
            )
        };
        if dry_run || limited {
            pruned.left = i32::try_from(count).unwrap_or(i32::MAX);
        }
        let unproven: Vec<&str> = found.unproven.iter().map(|o| &*o.key).collect();
        if !unproven.is_empty() {
            message += &format!(
                "; {} keys were written while an execution ran whose artifact is gone, and stay: \
                     {}. Delete them by hand if they are not wanted",
                unproven.len(),
                some(&unproven)
            );
        }
        if found.theirs > 0 {
            message += &format!("; {} keys that no delivery put there stay", found.theirs);
        }
        let reason = if reason == Reason::NothingToPrune && !unproven.is_empty() {
            Reason::PruneUnproven
        } else {
            reason
        };
        // What was deleted while the next execution wrote it anew is delivered once more.
        let before = executions
            .iter()
            .filter(|e| e.state == ExecutionState::Succeeded)
            .nth(1);
        let undisturbed = self.object.status().pruned.is_some_and(|p| {
            p.overlapped != Some(true) && before.is_some_and(|before| before.id == p.execution)
                || p.execution == *execution
        });
        self.saw.pruned = Some(pruned);
        self.saw.pruning.told = Some((reason, message));
        if found.missing > 0 && !undisturbed && !dry_run {
            return self.start(ready, executions, Some(Cause::PrunedInto)).await;
        }
        Ok(())
    }

    /// The artifact of the last delivery proves which keys it wrote: it must not expire before the
    /// next one.
    async fn keep_artifact(
        &mut self,
        ready: &Ready,
        delivered: &DeliveredStatus,
        done: PrunedStatus,
    ) -> Result<(), Stop> {
        let half = SignedDuration::from_hours(12) * ready.fanout.retention_days;
        let since = done.artifact_kept_at.or(delivered.at).unwrap_or(self.now);
        if matches!(ready.fanout.artifacts, Source::Existing(_))
            || self.now.duration_since(since) < half
            || self.context.settings.read_only
        {
            return Ok(());
        }
        if let Some((bucket, key)) = ready
            .cloud
            .pipelines
            .artifact(&ready.names.base, &delivered.execution)
            .await?
        {
            self.object.confirm_status(self.object.status()).await?;
            ready.cloud.objects.refresh(&bucket, &key).await?;
        }
        self.saw.pruned = Some(PrunedStatus {
            artifact_kept_at: Some(self.now),
            ..done
        });
        Ok(())
    }
}

/// What is under the prefix, and who put it there; nothing if the delivery's artifact is gone.
async fn look(
    cloud: &Cloud,
    pipeline: &str,
    delivered: &DeliveredStatus,
) -> Result<Option<Found>, Error> {
    let DeliveredStatus {
        bucket,
        prefix,
        execution,
        ..
    } = delivered;
    let Some(artifact) = entries(cloud, pipeline, execution).await? else {
        return Ok(None);
    };
    let objects = cloud.objects.list(bucket, &format!("{prefix}/")).await?;
    let (left, missing) = leftovers(&objects, prefix, &artifact);
    let mut found = Found {
        all: objects.len(),
        missing,
        ..Found::default()
    };
    let Some(oldest) = left.iter().map(|o| o.modified).min() else {
        return Ok(Some(found));
    };
    let history = cloud
        .pipelines
        .history(pipeline, oldest - SignedDuration::from_secs(1))
        .await?;
    let mut artifacts: BTreeMap<&str, Option<Entries>> = BTreeMap::new();
    for object in left {
        let (mut proved, mut unknown) = (false, false);
        for writer in writers(&history, object).filter(|e| e.id != *execution) {
            if !artifacts.contains_key(&*writer.id) {
                artifacts.insert(&writer.id, entries(cloud, pipeline, &writer.id).await?);
            }
            match &artifacts[&*writer.id] {
                Some(artifact) => proved |= wrote(artifact, prefix, object),
                None => unknown = true,
            }
        }
        match (proved, unknown) {
            (true, _) => found.stale.push(object.clone()),
            (false, true) => found.unproven.push(object.clone()),
            (false, false) => found.theirs += 1,
        }
    }
    Ok(Some(found))
}

async fn entries(cloud: &Cloud, pipeline: &str, execution: &str) -> Result<Option<Entries>, Error> {
    match cloud.pipelines.artifact(pipeline, execution).await? {
        Some((bucket, key)) => cloud.objects.entries(&bucket, &key).await,
        None => Ok(None),
    }
}

fn newest(executions: &[Execution]) -> Option<&str> {
    executions.first().map(|e| &*e.id)
}

fn failed(error: &Error) -> String {
    let advice = match error.class {
        Class::Denied => {
            "; give the operator what `repofanout iam-policy --allow-prune` prints, and let it \
                 use the bucket's KMS key if there is one"
        }
        _ => "",
    };
    let refused = error.refused();
    format!(
        "{refused}{advice}; nothing more is deleted until it is not, and the delivery itself is \
             not touched"
    )
}
