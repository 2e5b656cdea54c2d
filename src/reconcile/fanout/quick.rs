//! Quick observations: lists and events cover many objects, so that they need not be observed one
//! by one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use k8s_controller::conditions;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RepoFanout};
use crate::domain::execution::{Execution, ExecutionState};
use crate::domain::kind::Resource;
use crate::reconcile::fanout::observation::{Depth, Observation, Quick, stuck};
use crate::spec::class::name_prefix;
use crate::state::catalog::{Known, Resolved};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::{Basis, Settled, SettledPipeline};
use crate::state::stop::Stop;
use crate::state::target::{Inputs, Target};

/// Number of poll intervals per full observation in an account and region, however many objects it
/// has. Each object also keeps at least its own interval between two full observations.
const POLLS_PER_FULL_OBSERVATION: u32 = 2;
/// Maximum number of objects in an account and region whose executions are polled in one poll
/// interval.
const MAX_POLLS: usize = 60;

/// Number of poll intervals within which the executions of each pipeline are read once although no
/// event reports one: EventBridge may lose the events of the start and of the end. By default that
/// is 55 minutes, and a thousand pipelines take 18 calls a minute for it.
const POLLS_PER_ROUND: u32 = 55;
/// Minimum time between two of these reads in an account and region: 20 calls a minute.
const ROUND_STEP: Duration = Duration::from_secs(3);

/// Returns how long to rest, if there is nothing to do for the object now. It is called before the
/// object is queued.
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

/// Returns the inputs of a pass other than AWS.
pub fn basis(env: &Environment, object: &RepoFanout, class: Option<&Known>) -> Basis {
    Basis {
        resource_version: object.metadata.resource_version.clone(),
        class: class.map(|class| env.catalog.class_key(class, object)),
        feed: class
            .filter(|class| is_fed(env, object, class))
            .and_then(|class| env.feeds.interruptions(class)),
    }
}

/// Returns whether the class's event rule matches the object's pipeline. The rule matches by name
/// prefix.
fn is_fed(env: &Environment, object: &RepoFanout, class: &Known) -> bool {
    let adopted = object.spec.pipeline.as_ref().and_then(|p| p.name.as_ref());
    adopted.is_none_or(|name| name.starts_with(name_prefix(class, env.settings())))
}

/// Observes lists, the connection and the executions, if nothing else is due. Returns `None` if
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
    let is_requested = status
        .last_handled_reconcile_at
        .as_ref()
        .is_some_and(|done| *done != requested);
    let changed = status.observed_generation != live.current.metadata.generation;
    let Some(recorded) = &status.connection else {
        return Ok(None);
    };
    let (Some(arn), Some(recorded_state)) = (&recorded.arn, &recorded.status) else {
        return Ok(None);
    };
    if is_requested || changed {
        return Ok(None);
    }
    let settled = match env.memory.settled(&uid) {
        Some(settled) => settled,
        None if env.memory.unobserved(&uid) => {
            match reconstruct(env, live, target, &status).await? {
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
        .is_some_and(|c| c.arn == *arn && c.state.as_str() == recorded_state)
    {
        return Ok(None);
    }
    let mut observation = Observation {
        connection,
        executions: None,
        stuck: None,
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
            // A change outside of the operator may have caused the failure.
            let failed = executions
                .first()
                .filter(|e| e.state == ExecutionState::Failed);
            let is_known = |id: &str| {
                let last = status.last_execution.as_ref();
                last.is_some_and(|l| l.id == id && l.failure.is_some())
            };
            // Only a full observation shows whether a topic is reached again.
            let last = status.last_execution.as_ref();
            let is_new = |e: &Execution| last.is_none_or(|last| last.id != e.id);
            let ended = executions.iter().find(|e| !e.state.is_running());
            if is_unreachable(&status) && ended.is_some_and(is_new) {
                return Ok(None);
            }
            if failed.is_some_and(|e| !is_known(&e.id))
                || (executions.is_empty() && target.feed.is_none())
            {
                return Ok(None);
            }
            pipeline.read_at = Some((Instant::now(), target.feed));
            observation.stuck = stuck(env, target, &executions).await?;
            observation.executions = Some(executions);
        }
        quick.pipeline = Some(pipeline);
    }
    observation.depth = Depth::Quick(Box::new(quick));
    Ok(Some(observation))
}

/// Returns the delay after which this object follows a change of its class. The delays of all
/// objects amount to ten objects per second.
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

/// Returns a fraction of a period that differs between objects.
fn phase(uid: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    (hasher.finish() % 1000) as f64 / 1000.0
}

/// An object's place in the round that reads all executions.
pub struct Round {
    /// Time since the object's turn.
    pub since: Duration,
    /// Time until its next turn.
    pub until: Duration,
}

/// Returns the object's place in the round. Its turn differs from that of other objects, and a
/// restart does not move it.
pub fn round(env: &Environment, target: &Target, uid: &str) -> Round {
    let size = env.fleet.size(&target.place.account, &target.place.region);
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let whole = (env.pace.idle * POLLS_PER_ROUND).max(ROUND_STEP.saturating_mul(size));
    let millis = u64::try_from(target.now.as_millisecond()).unwrap_or_default();
    let offset = whole.mul_f64(phase(uid));
    let time = Duration::from_millis(millis) + whole - offset;
    let since = time.as_millis() % whole.as_millis().max(1);
    let since = Duration::from_millis(u64::try_from(since).unwrap_or_default());
    let until = whole.saturating_sub(since);
    Round { since, until }
}

/// Returns how often everything is observed.
fn full_every(env: &Environment, target: &Target) -> Duration {
    let size = env.fleet.size(&target.place.account, &target.place.region);
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    target
        .fanout
        .interval
        .max(env.pace.idle * POLLS_PER_FULL_OBSERVATION * size)
}

/// Returns how often executions are polled while none runs and no feed delivers events.
pub fn poll_every(env: &Environment, target: &Target) -> Duration {
    let size = env.fleet.size(&target.place.account, &target.place.region);
    env.pace.idle * u32::try_from(size.div_ceil(MAX_POLLS).max(1)).unwrap_or(u32::MAX)
}

/// Returns whether the executions have to be read now.
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
    let round = round(env, target, &live.uid());
    target.feed.is_none()
        || target.feed != feed
        || at.elapsed() > round.since
        || target.notified
        || live.release().is_some()
        || live.stop().is_some()
        || (is_unfinished(status) && at.elapsed() >= env.pace.idle)
}

/// Returns whether the last notification did not reach its topic.
fn is_unreachable(status: &RepoFanoutStatus) -> bool {
    let reason = Reason::TopicUnreachable.as_str();
    let provisioned = ConditionType::Provisioned.find(&status.conditions);
    provisioned.is_some_and(|condition| condition.reason == reason)
}

/// Returns whether the newest execution was running when it was last read. One that was never read
/// counts as running.
pub fn is_unfinished(status: &RepoFanoutStatus) -> bool {
    let last = status.last_execution.as_ref();
    last.is_none_or(|last| ExecutionState::parse(&last.status).is_running())
}

/// Reconstructs the result of an earlier process's full observation from the status and the lists.
/// The next full observations are spread over time.
async fn reconstruct(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    target: &Target,
    status: &RepoFanoutStatus,
) -> Result<Option<Settled>, Stop> {
    let generation = live.current.metadata.generation;
    let find = |kind: ConditionType| conditions::find(&status.conditions, kind.as_str());
    let is_healthy = find(ConditionType::Ready).is_some_and(|c| c.status == "True")
        && find(ConditionType::Drifted).is_none_or(|c| c.status != "True")
        && status.applied_generation == generation
        && status.applied_class_generation == target.class.map(|key| key.generation)
        && status.former.is_empty();
    // Without events, an execution may have been missed, and with it the problem that it failed
    // for.
    let (true, Some(version), Some(_)) = (is_healthy, status.pipeline_version, target.feed) else {
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

/// Returns whether the lists show pipeline and rule as desired.
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
    // Lists and single responses may differ in fractions of a second.
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
