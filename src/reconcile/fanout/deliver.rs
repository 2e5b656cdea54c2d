//! Reads the executions, and starts one if that is necessary.

use std::time::Duration;

use crate::api::RepoFanout;
use crate::api::status::{DeliveredStatus, RepoFanoutStatus, StartStatus};
use crate::domain::delivery;
use crate::domain::delivery::{Cause, Delivery, Evidence, Exhausted, Standstill, Verdict};
use crate::domain::execution::{Execution, ExecutionState, Failure, Stuck, Target as Copy};
use crate::domain::names;
use crate::reconcile::fanout::converge::Converged;
use crate::reconcile::schedule::Schedule;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::SettledPipeline;
use crate::state::recorder::Notice;
use crate::state::stop::{Partial, Stop};
use crate::state::target::Target;

/// Result of this phase.
#[derive(Debug, Default)]
pub struct Delivered {
    /// What the executions delivered.
    pub delivery: Delivery,
    /// The pipeline that the next quick observation compares with.
    pub pipeline: Option<SettledPipeline>,
    /// When to observe again.
    pub schedule: Schedule,
}

/// Reads what the executions delivered, and starts one if a change or a person requires it.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    converged: &Converged,
) -> Result<Delivered, Partial<Delivered>> {
    let provider = converged.connection.as_ref().map(|c| c.provider.clone());
    let mut found = Delivered {
        delivery: Delivery {
            executions: converged.executions.clone(),
            provider: provider.unwrap_or_default(),
            standstill: converged.stuck.clone().map(Standstill::Stuck),
            ..Delivery::default()
        },
        pipeline: converged.pipeline.clone(),
        schedule: Schedule::default(),
    };
    match observe_and_start(env, live, target, &mut found).await {
        Ok(()) => Ok(found),
        Err(stop) => Err(Partial { found, stop }),
    }
}

async fn observe_and_start(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    found: &mut Delivered,
) -> Result<(), Stop> {
    let (Some(executions), Some(pipeline)) =
        (found.delivery.executions.clone(), found.pipeline.clone())
    else {
        return Ok(());
    };
    let executions = match stop_stuck(env, live, target, found).await? {
        Some(executions) => {
            found.started(env, executions.clone());
            executions
        }
        None => executions,
    };
    let status = live.status();
    found.delivery.failure = failure(target, &status, &executions).await?;
    let provider = &found.delivery.provider;
    found.delivery.delivered = delivered(target, &status, &executions, &pipeline, provider).await?;
    let delivery = &found.delivery;
    // Drift that is only reported does not cause an execution either.
    let mut verdict = match pipeline.drifted {
        true => Verdict::Nothing,
        false => decide(env, target, &status, delivery, &executions, &pipeline),
    };
    if let (Verdict::Start(Cause::Unannounced), Some(arn)) = (&verdict, &pipeline.estimated) {
        // By AWS's own clock, the execution may have been announced in time.
        let rule = target.cloud.notification_rules.observe(arn).await?;
        let announced_since = rule.map(|rule| rule.created_at);
        let exact = SettledPipeline {
            announced_since,
            estimated: None,
            ..pipeline
        };
        verdict = decide(env, target, &status, delivery, &executions, &exact);
        found.pipeline = Some(exact);
    }
    let cause = match verdict {
        Verdict::Nothing => None,
        Verdict::Wait(until) => {
            let rest = Duration::try_from(until.duration_since(target.now)).unwrap_or_default();
            found.schedule.fully_within(rest);
            None
        }
        Verdict::Start(cause) => Some(cause),
    };
    start_one(env, live, target, &executions, cause, found).await
}

impl Delivered {
    /// Records the executions that were read after one was started or stopped.
    fn started(&mut self, env: &Environment, executions: Vec<Execution>) {
        self.delivery.executions = Some(executions);
        self.delivery.failure = None;
        self.schedule.within(env.pace.close);
    }
}

/// Starts an execution, or records why none may be started.
async fn start_one(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    executions: &[Execution],
    cause: Option<Cause>,
    found: &mut Delivered,
) -> Result<(), Stop> {
    match start(env, live, target, executions, cause).await? {
        Started::Nothing => {}
        Started::Running(executions) => found.started(env, executions),
        Started::Exhausted(cause, limit) => {
            if let Exhausted::Day(until) = limit {
                let rest = Duration::try_from(until.duration_since(target.now));
                found.schedule.fully_within(rest.unwrap_or_default());
            }
            found.delivery.standstill = Some(Standstill::Exhausted(cause, limit));
        }
    }
    Ok(())
}

/// Stops the execution that does not end, if a person requested it. The request is echoed first: it
/// is acted on at most once, so that a lost answer never abandons what was to end by itself.
async fn stop_stuck(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    found: &Delivered,
) -> Result<Option<Vec<Execution>>, Stop> {
    let Some(requested) = live.stop() else {
        return Ok(None);
    };
    let Some(Standstill::Stuck(stuck)) = &found.delivery.standstill else {
        let note = "no execution runs for longer than it may, so none was stopped; \
                    repofanout.dev/stop-requested-at is for those";
        live.notify(Notice::normal("NothingToStop", note.to_owned()))
            .await;
        return Ok(None);
    };
    let Stuck {
        execution, action, ..
    } = stuck;
    if env.settings().read_only {
        return Err(Stop::read_only(&format!("stop execution {execution}")));
    }
    let mut next = live.status();
    next.last_handled_stop_at = Some(requested);
    live.confirm_status(next).await?;
    let (pipelines, abandons) = (&target.cloud.pipelines, stuck.abandons());
    let reason = "stopped by the annotation on its RepoFanout";
    pipelines
        .stop(target.pipeline(), execution, abandons, reason)
        .await?;
    let stage = &action.stage;
    let note = match abandons {
        true => format!("stopped execution {execution} and abandoned its {stage} stage"),
        false => format!("stopped execution {execution}; its {stage} stage is let end first"),
    };
    live.notify(Notice::normal("ExecutionStopped", note)).await;
    Ok(Some(pipelines.executions(target.pipeline()).await?))
}

/// Starts one more execution, because pruning may have deleted files that the last one wrote.
pub async fn once_more(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    delivered: &mut Delivered,
) -> Result<(), Stop> {
    let executions = match delivered.delivery.executions.clone() {
        Some(executions) => executions,
        None => target.cloud.pipelines.executions(target.pipeline()).await?,
    };
    let cause = Some(Cause::PrunedInto);
    start_one(env, live, target, &executions, cause, delivered).await
}

fn decide(
    env: &Environment,
    target: &Target,
    status: &RepoFanoutStatus,
    delivery: &Delivery,
    executions: &[Execution],
    pipeline: &SettledPipeline,
) -> Verdict {
    let shared = &target.shared;
    let delivered = delivery.delivered.as_ref().map(copy_of);
    delivery::verdict(&Evidence {
        target: &pipeline.target,
        delivered: delivered.as_ref(),
        executions,
        pipeline_version: pipeline.version,
        pipeline_updated_at: pipeline.updated_at,
        announced_since: pipeline.announced_since,
        bucket_created_at: pipeline.bucket_created_at.or(shared.destination_created_at),
        permissions_written_at: status
            .permissions_written_at
            .max(shared.permissions_written_at),
        failure: delivery.failure.as_ref(),
        pause: env.pace.idle.try_into().unwrap_or_default(),
        now: target.now,
    })
}

/// The result of starting an execution.
enum Started {
    /// There was nothing to start.
    Nothing,
    /// One was started, and these are the executions after that.
    Running(Vec<Execution>),
    /// One is due for this cause, and no more may be started.
    Exhausted(Cause, Exhausted),
}

/// Starts an execution for one of our own causes, or for a release that a person requested. Our own
/// starts are counted on status before they are made.
async fn start(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    executions: &[Execution],
    cause: Option<Cause>,
) -> Result<Started, Stop> {
    let uid = live.uid();
    let mut next = live.status();
    let newest = executions.first().map_or("none", |e| &*e.id);
    // The same cause gives the same token, so that CodePipeline starts one execution even if it is
    // called twice.
    let (token, reason) = match (live.release(), cause) {
        (Some(requested), _) => {
            let reason = format!("released by annotation ({requested})");
            (names::token(&[&uid, "release", &requested]), reason)
        }
        (None, Some(cause)) => {
            let token = names::token(&[&uid, cause.key(), newest]);
            let commit = executions.iter().find_map(|e| e.commit.as_ref());
            let start = StartStatus {
                at: target.now,
                token: token.clone(),
                commit: commit.map(|commit| commit.id.clone()),
                spec_generation: live.current.metadata.generation,
            };
            match delivery::count_start(&next.starts, start) {
                Ok(starts) => next.starts = starts,
                Err(limit) => return Ok(Started::Exhausted(cause, limit)),
            }
            (token, cause.message().to_owned())
        }
        (None, None) => return Ok(Started::Nothing),
    };
    if env.settings().read_only {
        return Err(Stop::read_only(&format!("start an execution: {reason}")));
    }
    live.confirm_status(next).await?;
    let pipelines = &target.cloud.pipelines;
    pipelines.start(target.pipeline(), &token).await?;
    let note = format!("started an execution: {reason}");
    live.notify(Notice::normal("ExecutionStarted", note)).await;
    let executions = pipelines.executions(target.pipeline()).await?;
    Ok(Started::Running(executions))
}

/// Returns why the newest execution failed. The cause is read once per execution.
async fn failure(
    target: &Target,
    status: &RepoFanoutStatus,
    executions: &[Execution],
) -> Result<Option<Failure>, Stop> {
    let newest = executions
        .first()
        .filter(|e| e.state == ExecutionState::Failed);
    let Some(newest) = newest else {
        return Ok(None);
    };
    let last = status.last_execution.as_ref().filter(|l| l.id == newest.id);
    match last.and_then(|l| l.failure.as_ref()) {
        Some(known) => Ok(Some(Failure {
            stage: known.stage.clone(),
            code: known.code.clone(),
            message: known.message.clone(),
        })),
        None => Ok(target
            .cloud
            .pipelines
            .failure(target.pipeline(), &newest.id)
            .await?),
    }
}

/// Returns what is in the bucket now: the copy of the newest successful execution.
async fn delivered(
    target: &Target,
    status: &RepoFanoutStatus,
    executions: &[Execution],
    pipeline: &SettledPipeline,
    provider: &str,
) -> Result<Option<DeliveredStatus>, Stop> {
    let recorded = || status.delivered.clone();
    let success = executions
        .iter()
        .find(|e| e.state == ExecutionState::Succeeded);
    let Some(success) = success else {
        return Ok(recorded());
    };
    if status
        .delivered
        .as_ref()
        .is_some_and(|d| d.execution == success.id)
    {
        return Ok(recorded());
    }
    // An update of the pipeline cancels running executions. An execution that started after it used
    // the present structure.
    let copied = match success.started_at >= pipeline.updated_at {
        true => Some(pipeline.target.clone()),
        false => {
            target
                .cloud
                .pipelines
                .target(target.pipeline(), &success.id)
                .await?
        }
    };
    Ok(copied
        .map(|to| success.delivered(&to, provider))
        .or_else(recorded))
}

/// Returns the source and destination of a delivery.
pub fn copy_of(delivered: &DeliveredStatus) -> Copy {
    Copy {
        repository: delivered.repository.clone(),
        branch: delivered.branch.clone(),
        bucket: delivered.bucket.clone(),
        prefix: delivered.prefix.clone(),
    }
}
