//! Quick observations: what lists and events tell of many objects is not asked for of each.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use k8s_controller::conditions;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::ConditionType;
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RepoFanout};
use crate::domain::execution::ExecutionState;
use crate::domain::kind::Resource;
use crate::reconcile::fanout::observation::{Depth, Observation, Quick};
use crate::spec::class::name_prefix;
use crate::state::catalog::{Known, Resolved};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::{Basis, Settled, SettledPipeline};
use crate::state::stop::Stop;
use crate::state::target::{Inputs, Target};

/// What only a full observation tells is observed once in two poll intervals in an account and
/// region, however many objects there are: one after the other, each at least an interval after its
/// last time.
const FULL: u32 = 2;
/// Without events, so many executions are read in a poll interval in an account and region at most.
const POLLS: usize = 60;

/// How long to rest, if there is nothing to do for the object now. Asked before it queues.
pub fn rest(env: &Environment, object: &RepoFanout) -> Option<Requeue> {
    let class = match env.catalog.resolve(object) {
        Ok(Resolved::Others) => return Some(Requeue::await_change()),
        Ok(Resolved::Ours(class)) => Some(class),
        _ => None,
    };
    if object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    env.memory
        .quiet_for(uid, &basis(env, object, class.as_ref()))
        .map(Requeue::requeue)
}

/// What a pass over the object rests on beside AWS.
pub fn basis(env: &Environment, object: &RepoFanout, class: Option<&Known>) -> Basis {
    Basis {
        resource_version: object.metadata.resource_version.clone(),
        class: class.map(|class| env.catalog.class_key(class, object)),
        feed: class
            .filter(|class| is_fed(env, object, class))
            .and_then(|class| env.feeds.interruptions(class)),
    }
}

/// Whether the class's event rule takes events of the object's pipeline: it goes by the beginning
/// of names.
fn is_fed(env: &Environment, object: &RepoFanout, class: &Known) -> bool {
    let adopted = object.spec.pipeline.as_ref().and_then(|p| p.name.as_ref());
    adopted.is_none_or(|name| name.starts_with(name_prefix(class, env.settings())))
}

/// Observes lists, the connection and the executions, where nothing else is due. Answers nothing if
/// everything has to be observed.
pub async fn observe(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    inputs: &Inputs,
    target: &Target,
) -> Result<Option<Observation>, Stop> {
    let status = live.status();
    let uid = live.uid();
    let requested = live.requested(RECONCILE_REQUESTED_AT);
    let asked = status
        .last_handled_reconcile_at
        .as_ref()
        .is_some_and(|done| *done != requested);
    let changed = status.observed_generation != live.current.metadata.generation;
    let Some(recorded) = &status.connection else {
        return Ok(None);
    };
    let (Some(arn), Some(was)) = (&recorded.arn, &recorded.status) else {
        return Ok(None);
    };
    if asked || changed {
        return Ok(None);
    }
    let settled = match env.memory.settled(&uid) {
        Some(settled) => settled,
        None if env.memory.unobserved(&uid) => {
            match remembered(env, live, target, &status).await? {
                Some(settled) => settled,
                None => return Ok(None),
            }
        }
        None => return Ok(None),
    };
    if settled.at.elapsed() >= full_every(env, target) {
        return Ok(None);
    }
    let replan_in = env
        .memory
        .replan_in(&uid, target.class, spread(inputs, &uid));
    if replan_in == Some(Duration::ZERO) {
        return Ok(None);
    }
    let connection = match &target.shared.connection {
        Some(shared) => Some(shared.clone()),
        None => target.cloud.connections.observe(arn).await?,
    };
    if !connection
        .as_ref()
        .is_some_and(|c| c.arn == *arn && c.state.as_str() == was)
    {
        return Ok(None);
    }
    let mut observation = Observation {
        connection,
        executions: None,
        depth: Depth::default(),
    };
    let mut quick = Quick {
        pipeline: None,
        listed_at: None,
        replan_in,
        settled,
    };
    if let Some(mut pipeline) = quick.settled.pipeline.clone() {
        if quick.settled.listed_at.elapsed() >= target.fanout.interval {
            if !is_listed(target, &status, &mut pipeline).await? {
                return Ok(None);
            }
            quick.listed_at = Some(Instant::now());
        }
        if is_due(env, live, target, &status, &pipeline) {
            let executions = target.cloud.pipelines.executions(target.pipeline()).await?;
            // A failure may come from what somebody changed behind our back.
            let failed = executions
                .first()
                .filter(|e| e.state == ExecutionState::Failed);
            let known = |id: &str| {
                let last = status.last_execution.as_ref();
                last.is_some_and(|l| l.id == id && l.failure.is_some())
            };
            if failed.is_some_and(|e| !known(&e.id))
                || (executions.is_empty() && target.feed.is_none())
            {
                return Ok(None);
            }
            pipeline.read_at = Some((Instant::now(), target.feed));
            observation.executions = Some(executions);
        }
        quick.pipeline = Some(pipeline);
    }
    observation.depth = Depth::Quick(Box::new(quick));
    Ok(Some(observation))
}

/// When this object follows a change of its class: ten objects a second, each at its own time.
fn spread(inputs: &Inputs, uid: &str) -> Duration {
    let status = inputs
        .class
        .as_ref()
        .and_then(|class| class.status.as_ref());
    let fanouts = status
        .and_then(|s| s.fanouts)
        .unwrap_or_default()
        .max(1)
        .unsigned_abs();
    Duration::from_millis(u64::from(fanouts) * 100).mul_f64(phase(uid))
}

/// A fraction of a period, of its own for each object.
fn phase(uid: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    (hasher.finish() % 1000) as f64 / 1000.0
}

/// How often everything is observed.
fn full_every(env: &Environment, target: &Target) -> Duration {
    let size = env.fleet.size(&target.place.account, &target.place.region);
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    target.fanout.interval.max(env.pace.idle * FULL * size)
}

/// How often executions are read while none runs and no event tells of them.
pub fn poll_every(env: &Environment, target: &Target) -> Duration {
    let size = env.fleet.size(&target.place.account, &target.place.region);
    env.pace.idle * u32::try_from(size.div_ceil(POLLS).max(1)).unwrap_or(u32::MAX)
}

/// Whether the executions have to be read now.
fn is_due(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    target: &Target,
    status: &RepoFanoutStatus,
    pipeline: &SettledPipeline,
) -> bool {
    let Some((at, feed)) = pipeline.read_at else {
        return true;
    };
    target.feed.is_none()
        || target.feed != feed
        || target.notified
        || live.release().is_some()
        || (is_unfinished(status) && at.elapsed() >= env.pace.idle)
}

/// Whether the newest execution was running when it was last read. One that nobody has read yet
/// runs.
pub fn is_unfinished(status: &RepoFanoutStatus) -> bool {
    let last = status.last_execution.as_ref();
    last.is_none_or(|last| ExecutionState::parse(&last.status).is_running())
}

/// What a process before this one found settled, by the status and by what lists tell. Its full
/// observations come in their turn.
async fn remembered(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    target: &Target,
    status: &RepoFanoutStatus,
) -> Result<Option<Settled>, Stop> {
    let generation = live.current.metadata.generation;
    let find = |kind: ConditionType| conditions::find(&status.conditions, kind.as_str());
    let well = find(ConditionType::Ready).is_some_and(|c| c.status == "True")
        && find(ConditionType::Drifted).is_none_or(|c| c.status != "True")
        && status.applied_generation == generation
        && status.applied_class_generation == target.class.map(|key| key.generation)
        && status.former.is_empty();
    // Without events, an execution may have gone unnoticed, and with it whatever it was refused for.
    let (true, Some(version), Some(_)) = (well, status.pipeline_version, target.feed) else {
        return Ok(None);
    };
    let Some(copy) = target.copy() else {
        return Ok(None);
    };
    let mut pipeline = SettledPipeline {
        target: copy,
        version,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        announced_since: None,
        estimated: None,
        bucket_created_at: None,
        drifted: false,
        read_at: Some((Instant::now(), target.feed)),
    };
    if !is_listed(target, status, &mut pipeline).await? {
        return Ok(None);
    }
    let now = Instant::now();
    let age = full_every(env, target).mul_f64(phase(&live.uid()));
    let at = now.checked_sub(age).unwrap_or(now);
    Ok(Some(Settled {
        at,
        listed_at: now,
        pipeline: Some(pipeline),
    }))
}

/// Whether the lists have pipeline and rule as they are to be.
async fn is_listed(
    target: &Target,
    status: &RepoFanoutStatus,
    pipeline: &mut SettledPipeline,
) -> Result<bool, Stop> {
    let age = target.fanout.interval / 2;
    let cloud = &target.cloud;
    let (pipelines, rules) = tokio::try_join!(
        cloud.pipelines.list(age),
        cloud.notification_rules.list(age)
    )?;
    let Some(found) = pipelines.get(target.pipeline()) else {
        return Ok(false);
    };
    // Lists and single answers need not tell fractions of a second alike.
    let (then, now) = (
        pipeline.updated_at.as_second(),
        found.updated_at.as_second(),
    );
    if found.version != pipeline.version || (then != 0 && then != now) {
        return Ok(false);
    }
    pipeline.updated_at = found.updated_at;
    let rule = status.resources.get(Resource::NotificationRule.as_str());
    Ok(rule.is_some_and(|arn| rules.contains(arn)))
}
