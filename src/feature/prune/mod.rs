//! Pruning: deletes files from the destination that are no longer in the repository, if the spec
//! asks for it. [`proof`] decides which files a delivery wrote.

pub mod proof;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::api::status::{DeliveredStatus, PrunedStatus};
use crate::api::{RELEASE_REQUESTED_AT, RepoFanout};
use crate::cloud::advice::Activity;
use crate::cloud::{Cloud, Error};
use crate::domain::delivery::Delivery;
use crate::domain::execution::{Execution, ExecutionState};
use crate::domain::object::{Entries, Object};
use crate::feature::prune::proof::{leftovers, some, writers, wrote};
use crate::feature::{Outcome, failed};
use crate::resource::scope::{Scope, allow, allow_if};
use crate::spec::prune::Prune;
use crate::spec::source::Source;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;
use crate::state::target::Target;

/// Number of keys that S3 deletes in one call.
const BATCH: usize = 1000;

/// The result of pruning in one pass.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The new verdict of the condition.
    pub outcome: Outcome,
    /// The new record for the status, if there is one.
    pub status: Option<PrunedStatus>,
    /// Whether files were deleted while the execution wrote them, so that it has to deliver again.
    pub overtaken: bool,
}

impl Pruned {
    fn failed(message: String) -> Self {
        Self {
            outcome: Outcome::of(Reason::PruneFailed, message),
            ..Self::default()
        }
    }
}

/// The objects under the prefix, by whether a delivery wrote them.
#[derive(Default)]
struct Found {
    /// Number of objects under the prefix.
    all: usize,
    /// Objects that an earlier delivery put there, and that the newest artifact does not contain.
    stale: Vec<Object>,
    /// Objects that were written while an earlier execution ran whose artifact is gone.
    unproven: Vec<Object>,
    /// Number of objects that no delivery put there.
    foreign: usize,
    /// Number of files of the newest artifact that are missing under the prefix.
    missing: usize,
}

/// Deletes files that an earlier delivery wrote and the last one did not, once for each execution.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    delivery: &Delivery,
) -> Result<Pruned, Stop> {
    let Some(prune) = target.fanout.prune else {
        return Ok(Pruned::default());
    };
    let nothing = Pruned {
        outcome: Outcome::asked(),
        ..Pruned::default()
    };
    let status = live.status();
    let bucket = target.fanout.destination.name(&target.names.destination);
    let here = |d: &DeliveredStatus| d.bucket == bucket && d.prefix == target.fanout.prefix;
    let delivered = delivery.delivered.clone().or(status.delivered).filter(here);
    let Some(delivered) = delivered else {
        return Ok(nothing);
    };
    let generation = live.current.metadata.generation;
    let done = status
        .pruned
        .filter(|done| done.execution == delivered.execution && done.spec_generation == generation);
    if let Some(done) = done {
        let status = keep_artifact(env, live, target, &delivered, done).await?;
        return Ok(Pruned { status, ..nothing });
    }
    let executions = match &delivery.executions {
        Some(executions) => executions.clone(),
        None => target.cloud.pipelines.executions(target.pipeline()).await?,
    };
    if newest(&executions) != Some(&*delivered.execution) {
        // A newer execution writes, or has written a part. Pruning follows once that one has ended.
        return Ok(nothing);
    }
    match sweep(env, live, target, prune, &delivered, &executions).await {
        Ok(pruned) => Ok(pruned.unwrap_or(nothing)),
        Err(Stop::Cloud(error)) if !error.class.is_passing() => {
            let parties = target.parties(live.operator());
            let situation = parties.situation(Activity::Prune, Some(&target.place));
            Ok(Pruned::failed(failed(
                &error,
                &situation,
                "pruning stopped",
                "the delivered files are",
            )))
        }
        Err(stop) => Err(stop),
    }
}

/// Finds stale files and deletes them, within the limits. Returns none if another execution began
/// meanwhile: pruning after that one finds the rest.
async fn sweep(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    prune: Prune,
    delivered: &DeliveredStatus,
    executions: &[Execution],
) -> Result<Option<Pruned>, Stop> {
    let DeliveredStatus {
        bucket,
        prefix,
        execution,
        ..
    } = delivered;
    let Some(found) = look(&target.cloud, target.pipeline(), delivered).await? else {
        return Ok(Some(Pruned::failed(format!(
            "the source artifact of execution {execution} is gone, so the operator cannot tell \
             which files under s3://{bucket}/{prefix} are no longer in the repository; nothing was \
             deleted. Push, or set the annotation {RELEASE_REQUESTED_AT}, to get a new artifact"
        ))));
    };
    let count = found.stale.len();
    let limited = !prune.limit.allows(count, found.all - found.foreign);
    let dry_run = prune.dry_run || env.settings().read_only;
    let mut pruned = PrunedStatus {
        execution: execution.clone(),
        spec_generation: live.current.metadata.generation,
        at: Some(target.now),
        ..PrunedStatus::default()
    };
    let reason = match count {
        0 => Reason::NothingToPrune,
        _ if dry_run => Reason::PruneDryRun,
        _ if limited => Reason::PruneLimited,
        _ => Reason::Pruned,
    };
    if reason == Reason::Pruned {
        live.confirm_status(live.status()).await?;
        let cloud = &target.cloud;
        for batch in found.stale.chunks(BATCH) {
            let executions = cloud.pipelines.executions(target.pipeline()).await?;
            if newest(&executions) != Some(&**execution) {
                return Ok(None);
            }
            let deleted = cloud.objects.delete(bucket, batch).await?;
            pruned.deleted += i32::try_from(deleted).unwrap_or(i32::MAX);
        }
        let after = cloud.pipelines.executions(target.pipeline()).await?;
        pruned.overlapped = (newest(&after) != Some(&**execution)).then_some(true);
    }
    if dry_run || limited {
        pruned.left = i32::try_from(count).unwrap_or(i32::MAX);
    }
    let message = describe(reason, prune, delivered, &found, pruned.deleted);
    let reason = if reason == Reason::NothingToPrune && !found.unproven.is_empty() {
        Reason::PruneUnproven
    } else {
        reason
    };
    // Files that were deleted while the next execution wrote them have to be delivered again.
    let before = executions
        .iter()
        .filter(|e| e.state == ExecutionState::Succeeded)
        .nth(1);
    let undisturbed = live.status().pruned.is_some_and(|p| {
        p.overlapped != Some(true) && before.is_some_and(|before| before.id == p.execution)
            || p.execution == *execution
    });
    Ok(Some(Pruned {
        outcome: Outcome::of(reason, message),
        status: Some(pruned),
        overtaken: found.missing > 0 && !undisturbed && !dry_run,
    }))
}

fn describe(
    reason: Reason,
    prune: Prune,
    delivered: &DeliveredStatus,
    found: &Found,
    deleted: i32,
) -> String {
    let stale: Vec<&str> = found.stale.iter().map(|o| &*o.key).collect();
    let (count, ours) = (stale.len(), found.all - found.foreign);
    let to = format!("under s3://{}/{}", delivered.bucket, delivered.prefix);
    let mut message = match reason {
        Reason::PruneDryRun => format!(
            "{count} of {ours} keys {to} are no longer in the repository and would be deleted: {}",
            some(&stale)
        ),
        Reason::PruneLimited => format!(
            "{count} of {ours} keys {to} are no longer in the repository: {}. \
             destination.pruneLimit allows fewer deletions at once ({} %, {} objects), so nothing \
             was deleted. If these files should go, raise the limit",
            some(&stale),
            prune.limit.percent,
            prune.limit.objects
        ),
        Reason::Pruned => format!(
            "{deleted} keys {to} were no longer in the repository and were deleted: {}",
            some(&stale)
        ),
        _ => format!("every key {to} that a delivery put there is in the repository"),
    };
    let unproven: Vec<&str> = found.unproven.iter().map(|o| &*o.key).collect();
    if !unproven.is_empty() {
        message += &format!(
            "; {} keys may come from an execution whose artifact is gone, so they stay: {}. \
             Delete them by hand if nobody needs them",
            unproven.len(),
            some(&unproven)
        );
    }
    if found.foreign > 0 {
        message += &format!("; {} keys that no delivery put there stay", found.foreign);
    }
    message
}

/// Keeps the artifact of the last delivery from expiring, since it proves which keys that delivery
/// wrote. Returns the new record for the status, if the artifact was refreshed.
async fn keep_artifact(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    delivered: &DeliveredStatus,
    done: PrunedStatus,
) -> Result<Option<PrunedStatus>, Stop> {
    let half = SignedDuration::from_hours(12) * target.fanout.retention_days;
    let since = done.artifact_kept_at.or(delivered.at).unwrap_or(target.now);
    if matches!(target.fanout.artifacts, Source::Existing(_))
        || target.now.duration_since(since) < half
        || env.settings().read_only
    {
        return Ok(None);
    }
    let (pipelines, objects) = (&target.cloud.pipelines, &target.cloud.objects);
    let artifact = pipelines
        .artifact(target.pipeline(), &delivered.execution)
        .await?;
    if let Some((bucket, key)) = artifact {
        live.confirm_status(live.status()).await?;
        objects.refresh(&bucket, &key).await?;
    }
    Ok(Some(PrunedStatus {
        artifact_kept_at: Some(target.now),
        ..done
    }))
}

/// Sorts the objects under the prefix by who wrote them. None if the delivery's artifact is gone.
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
    let since = oldest - SignedDuration::from_secs(1);
    let history = cloud.pipelines.history(pipeline, since).await?;
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
            (false, false) => found.foreign += 1,
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

/// IAM statements of the operator for pruning, beside the deletion of objects: to delete a file only
/// as it was listed, and to read and keep the source artifact that a delivery wrote its files from.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    if !scope.allow_prune {
        return Vec::new();
    }
    let ours = scope.buckets();
    let buckets: Vec<&String> = std::iter::once(&ours)
        .chain(scope.existing_named("s3"))
        .collect();
    let within = |path: &str| -> Vec<String> {
        let all = buckets.iter().map(|bucket| format!("{bucket}/{path}"));
        all.collect()
    };
    let through_s3 = json!({"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}});
    let decrypt = ["kms:Decrypt", "kms:GenerateDataKey"];
    let keys = scope.regional("kms", "key/*");
    vec![
        // A deletion on the condition of an ETag needs this for the key, too.
        // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
        allow("PrunedFiles", "s3:GetObject", within("*")),
        // CodePipeline's own folder of a pipeline, and the first ten characters of the artifact's
        // name.
        allow("SourceArtifacts", "s3:PutObject", within("*/SourceArti/*")),
        allow_if("KeysOfSourceArtifacts", decrypt, keys, through_s3),
    ]
}
