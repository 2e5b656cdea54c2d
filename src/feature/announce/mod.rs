//! The operator's own announcement of each delivery, beside AWS's notification, if the spec asks
//! for it.

pub mod message;

use serde_json::{Value, json};

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::{AnnouncedStatus, DeliveredStatus, PrunedStatus};
use crate::cloud::advice::Activity;
use crate::domain::delivery::Delivery;
use crate::domain::execution::{Execution, ExecutionState};
use crate::domain::object::Entries;
use crate::feature::announce::message::{Announcement, Changes};
use crate::feature::prune::Pruned;
use crate::feature::{Outcome, failed};
use crate::resource::scope::{Scope, allow, allow_if};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;
use crate::state::target::Target;

/// Announces the executions that succeeded since the last announcement, the oldest first. An
/// execution is recorded after it was announced, so it is announced at least once.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    delivery: &Delivery,
    pruned: &Pruned,
) -> Result<Outcome, Stop> {
    if !target.fanout.notifications.announce {
        return Ok(Outcome::default());
    }
    let mut outcome = Outcome::asked();
    let status = live.status();
    let pruned = pruned.status.clone().or(status.pruned);
    let Some(delivered) = delivery.delivered.clone().or(status.delivered) else {
        return Ok(outcome);
    };
    if status
        .announced
        .as_ref()
        .is_some_and(|a| a.execution == delivered.execution)
    {
        return Ok(outcome);
    }
    let desired = target.desire(Some(""));
    let Some(topic_arn) = desired.topic_arn() else {
        return Ok(outcome);
    };
    let executions = match &delivery.executions {
        Some(executions) => executions.clone(),
        None => target.cloud.pipelines.executions(target.pipeline()).await?,
    };
    for execution in unannounced(&executions, status.announced.as_ref()) {
        let provider = &delivery.provider;
        let Some(one) = delivered_by(target, execution, &delivered, provider).await? else {
            continue;
        };
        if env.settings().read_only {
            return Err(Stop::read_only("announce a delivery"));
        }
        let changes = changes(
            env,
            target,
            execution,
            &executions,
            &one.prefix,
            pruned.as_ref(),
        )
        .await;
        let announcement = Announcement::new(&target.fanout.owner, &target.place, &one, changes);
        live.confirm_status(live.status()).await?;
        let published = target
            .cloud
            .topics
            .publish(topic_arn, &announcement.body(), &announcement.attributes())
            .await;
        match published {
            Ok(()) => {}
            Err(error) if error.class.is_passing() => {
                return Err(error.into());
            }
            Err(error) => {
                let parties = target.parties(live.operator());
                let situation = parties.situation(Activity::Announce, Some(&target.place));
                let message = failed(
                    &error,
                    &situation,
                    "this delivery is not announced yet",
                    "AWS's own notification is",
                );
                return Ok(Outcome::of(Reason::AnnounceFailed, message));
            }
        }
        let mut next = live.status();
        let started_at = Some(execution.started_at);
        next.announced = Some(AnnouncedStatus {
            execution: execution.id.clone(),
            started_at,
        });
        live.set_status(next).await?;
        let commit = one
            .commit
            .map_or_else(|| "a commit".to_owned(), |c| c.short_id);
        let message = format!(
            "{commit} of {} branch {} was announced on the topic",
            one.repository, one.branch
        );
        outcome = Outcome::of(Reason::Announced, message);
    }
    Ok(outcome)
}

/// The delivery of this execution; none if AWS no longer knows what it copied.
async fn delivered_by(
    target: &Target,
    execution: &Execution,
    newest: &DeliveredStatus,
    provider: &str,
) -> Result<Option<DeliveredStatus>, Stop> {
    if execution.id == newest.execution {
        return Ok(Some(newest.clone()));
    }
    let copied = target
        .cloud
        .pipelines
        .target(target.pipeline(), &execution.id)
        .await?;
    Ok(copied.map(|copied| execution.delivered(&copied, provider)))
}

/// The differences from the previous delivery; none if the operator cannot read both artifacts, or
/// may not.
async fn changes(
    env: &Environment,
    target: &Target,
    execution: &Execution,
    executions: &[Execution],
    prefix: &str,
    pruned: Option<&PrunedStatus>,
) -> Option<Changes> {
    if !env.settings().allow_prune {
        return None;
    }
    let older = executions
        .iter()
        .skip_while(|e| e.id != execution.id)
        .skip(1);
    let before = older
        .into_iter()
        .find(|e| e.state == ExecutionState::Succeeded)?;
    let before = entries(target, &before.id).await?;
    let after = entries(target, &execution.id).await?;
    let deletes = target.fanout.prune.is_some_and(|p| !p.dry_run);
    let gone = pruned.is_some_and(|p| p.execution == execution.id && p.left == 0);
    Some(Changes::between(&before, &after, prefix, deletes && gone))
}

/// The files of an execution's source artifact; none if they cannot be read.
async fn entries(target: &Target, execution: &str) -> Option<Entries> {
    let (pipelines, objects) = (&target.cloud.pipelines, &target.cloud.objects);
    let (bucket, key) = pipelines
        .artifact(target.pipeline(), execution)
        .await
        .ok()??;
    objects.entries(&bucket, &key).await.ok()?
}

/// The executions that succeeded after the last announced one, the oldest first. If none was ever
/// announced, only the newest.
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

/// IAM statements of the operator for announcements.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let mut topics = vec![scope.named("sns")];
    topics.extend(scope.existing("sns").into_iter().cloned());
    // SNS asks for these where the topic has a key of the account's own.
    // <https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html>
    let keys = scope.regional("kms", "key/*");
    let through_sns = json!({"StringLike": {"kms:ViaService": "sns.*.amazonaws.com*"}});
    let encrypt = ["kms:Decrypt", "kms:GenerateDataKey"];
    vec![
        allow("Announcements", "sns:Publish", topics),
        allow_if("KeysOfTopics", encrypt, keys, through_sns),
    ]
}
