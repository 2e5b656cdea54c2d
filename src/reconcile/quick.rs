//! When and at what a pass looks: what lists and events tell of many objects is not asked for of
//! each.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use kube::runtime::controller::Action as Requeue;

use crate::api::condition::ConditionType;
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT, RepoFanout};
use crate::domain::execution::ExecutionState;
use crate::domain::kind::Resource;
use crate::reconcile::converge::Stop;
use crate::reconcile::deliver::created_at;
use crate::reconcile::fanout::{Pass, Ready};
use crate::resource::Observed;
use crate::resource::connection::ConnectionState;
use crate::runtime::fair_queue::{Request, Why};
use crate::spec::class::name_prefix;
use crate::state::catalog::{Known, Resolved};
use crate::state::environment::Context;
use crate::state::memory::{Basis, Settled, SettledPipeline};

/// What only a full look tells is looked at once in two poll intervals in an account and region,
/// however many objects there are: one after the other, each at least an interval after its last
/// time.
const FULL_LOOK: u32 = 2;
/// Without events, so many executions are looked at in a poll interval in an account and region at
/// most.
const POLLS: u32 = 60;

/// How long to rest, if there is nothing to do for the object now; asked before it gets its turn.
pub fn rest(context: &Context, object: &RepoFanout) -> Option<Requeue> {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let class = match context.resolve(object) {
        Ok(Resolved::Others) => return Some(Requeue::await_change()),
        Ok(Resolved::Ours(class)) => Some(class),
        _ => None,
    };
    if object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    context
        .memos
        .quiet_for(uid, &basis(context, object, class.as_ref()))
        .map(Requeue::requeue)
}

/// Its place in the row of those that wait for their turn.
pub fn request(context: &Context, object: &RepoFanout) -> Request {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let status = object.status.as_ref();
    let placed = status
        .and_then(|s| s.placement.as_ref())
        .and_then(|p| p.class.clone());
    let generation = object.metadata.generation;
    let asked = |key: &str, handled: Option<&String>| {
        object
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(key))
            != handled.filter(|h| !h.is_empty())
    };
    let changed = object.metadata.deletion_timestamp.is_some()
        || status.is_none_or(|s| {
            s.observed_generation != generation
                || s.applied_generation != generation
                || asked(RECONCILE_REQUESTED_AT, s.last_handled_reconcile_at.as_ref())
                || asked(RELEASE_REQUESTED_AT, s.last_handled_release_at.as_ref())
        });
    Request {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        place: placed
            .or_else(|| object.spec.class_name.clone())
            .unwrap_or_default(),
        why: match (context.memos.has_news(uid), changed) {
            (true, _) => Why::Heard,
            (false, true) => Why::Changed,
            (false, false) => Why::Look,
        },
    }
}

/// Whether the class's event rule tells of the object's pipeline: it goes by the beginning of
/// names.
fn told_of(context: &Context, object: &RepoFanout, class: &Known) -> bool {
    let taken = object.spec.pipeline.as_ref().and_then(|p| p.name.as_ref());
    taken.is_none_or(|name| name.starts_with(name_prefix(class, &context.settings)))
}

pub(crate) fn basis(context: &Context, object: &RepoFanout, class: Option<&Known>) -> Basis {
    Basis {
        resource_version: object.metadata.resource_version.clone(),
        class: class.map(|class| context.class_key(class, object)),
        feed: class
            .filter(|class| told_of(context, object, class))
            .and_then(|class| context.feeds.heard_of(class)),
    }
}

impl Pass<'_> {
    /// Looks at what lists, the connection and the executions tell, where nothing else is due.
    /// Answers `false` if everything has to be looked at.
    pub(crate) async fn quick_look(&mut self, ready: &Ready) -> Result<bool, Stop> {
        let status = self.object.status();
        let uid = self.object.uid();
        let requested = self.object.requested(RECONCILE_REQUESTED_AT);
        let asked = status
            .last_handled_reconcile_at
            .as_ref()
            .is_some_and(|handled| *handled != requested);
        let changed = status.observed_generation != self.object.current.metadata.generation;
        let Some(recorded) = &status.connection else {
            return Ok(false);
        };
        let (Some(arn), Some(was)) = (&recorded.arn, &recorded.status) else {
            return Ok(false);
        };
        if asked || changed {
            return Ok(false);
        }
        let settled = match self.context.memos.settled(&uid) {
            Some(settled) => settled,
            None if self.context.memos.unknown(&uid) => {
                match self.remembered(ready, &status).await? {
                    Some(settled) => settled,
                    None => return Ok(false),
                }
            }
            None => return Ok(false),
        };
        if settled.at.elapsed() >= self.full_look_every(ready) {
            return Ok(false);
        }
        match self.context.memos.replan_in(&uid, self.key, self.spread()) {
            Some(Duration::ZERO) => return Ok(false),
            rest => self.saw.wait = rest,
        }
        let connection = match &ready.shared.connection {
            Some(shared) => Some(shared.clone()),
            None => ready.cloud.connections.observe(arn).await?,
        };
        let same = connection
            .as_ref()
            .is_some_and(|c| c.arn == *arn && c.state.as_str() == was);
        if !same {
            return Ok(false);
        }
        self.saw.connection = connection;
        self.saw.before = Some(settled.clone());
        let Some(mut pipeline) = settled.pipeline else {
            return Ok(true);
        };
        if settled.listed_at.elapsed() >= ready.fanout.interval {
            if !self.listed(ready, &status, &mut pipeline).await? {
                return Ok(false);
            }
            self.saw.listed_at = Some(Instant::now());
        }
        if self.due(&status, &pipeline) {
            let executions = ready.cloud.pipelines.executions(&ready.names.base).await?;
            // A failure may come from what somebody changed behind our back.
            let failed = executions
                .first()
                .filter(|e| e.state == ExecutionState::Failed);
            let news = failed.is_some_and(|e| {
                status
                    .last_execution
                    .as_ref()
                    .is_none_or(|l| l.id != e.id || l.failure.is_none())
            });
            if news || (executions.is_empty() && self.feed.is_none()) {
                return Ok(false);
            }
            pipeline.read_at = Some((Instant::now(), self.feed));
            self.saw.executions = Some(executions);
        }
        self.saw.pipeline = Some(pipeline);
        Ok(true)
    }

    /// When this object follows a change of its class: ten objects a second, each at its own time.
    fn spread(&self) -> Duration {
        let status = self.class.as_ref().and_then(|class| class.status.as_ref());
        let fanouts = status
            .and_then(|s| s.fanouts)
            .unwrap_or_default()
            .max(1)
            .unsigned_abs();
        Duration::from_millis(u64::from(fanouts) * 100).mul_f64(self.phase())
    }

    /// A fraction of a period, of its own for each object.
    fn phase(&self) -> f64 {
        let mut hasher = DefaultHasher::new();
        self.object.uid().hash(&mut hasher);
        (hasher.finish() % 1000) as f64 / 1000.0
    }

    /// How often everything is looked at.
    pub(crate) fn full_look_every(&self, ready: &Ready) -> Duration {
        let crowd = self
            .context
            .crowd(&ready.place.account, &ready.place.region);
        ready
            .fanout
            .interval
            .max(self.context.pace.idle * FULL_LOOK * crowd)
    }

    /// How often executions are looked at while none runs and nothing tells of them.
    pub(crate) fn poll_every(&self) -> Duration {
        let crowd = self
            .saw
            .place
            .as_ref()
            .map_or(0, |place| self.context.crowd(&place.account, &place.region));
        self.context.pace.idle * crowd.div_ceil(POLLS).max(1)
    }

    /// When to look again, if nothing is heard before.
    pub(crate) fn next_look(&self, interval: Duration) -> Duration {
        let pace = self.context.pace;
        let available = self
            .saw
            .connection
            .as_ref()
            .is_some_and(|c| c.state == ConnectionState::Available);
        let usual = match (self.runs(), available, self.feed) {
            // Its end is heard of, unless that is lost.
            (true, _, Some(_)) => pace.idle,
            (true, _, None) => pace.close,
            (false, true, Some(_)) => interval,
            (false, true, None) => self.poll_every(),
            // The class looks at its connections, and wakes its fan-outs.
            (false, false, _) if self.shares_connection() => interval,
            (false, false, _) => self
                .context
                .pending_delay(&self.object.status().conditions, self.now),
        };
        self.saw
            .wait
            .map_or(usual, |wait| wait.min(usual))
            .min(interval)
    }

    /// Whether an execution runs, as far as this pass knows; a new pipeline's does.
    fn runs(&self) -> bool {
        match &self.saw.executions {
            Some(all) => all.is_empty() || all.iter().any(|e| e.state.is_running()),
            None => self.saw.pipeline.is_some() && unfinished(&self.object.status()),
        }
    }

    fn shares_connection(&self) -> bool {
        let own = self
            .object
            .status()
            .resources
            .contains_key(Resource::Connection.as_str());
        self.class.is_some() && !own
    }

    /// Whether the executions have to be looked at now.
    pub(crate) fn due(&self, status: &RepoFanoutStatus, pipeline: &SettledPipeline) -> bool {
        let Some((at, feed)) = pipeline.read_at else {
            return true;
        };
        self.feed.is_none()
            || self.feed != feed
            || !self.heard.is_empty()
            || self.object.release().is_some()
            || (unfinished(status) && at.elapsed() >= self.context.pace.idle)
    }

    /// What a process before this one found settled: by status, and by what lists tell. Its full
    /// looks come in their turn.
    pub(crate) async fn remembered(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
    ) -> Result<Option<Settled>, Stop> {
        let generation = self.object.current.metadata.generation;
        let find = |kind: ConditionType| {
            k8s_controller::conditions::find(&status.conditions, kind.as_str())
        };
        let well = find(ConditionType::Ready).is_some_and(|c| c.status == "True")
            && find(ConditionType::Drifted).is_none_or(|c| c.status != "True")
            && status.applied_generation == generation
            && status.applied_class_generation == self.key.map(|key| key.generation)
            && status.former.is_empty();
        // Without events, an execution may have gone unnoticed, and with it whatever it was refused
        // for.
        let (true, Some(version), Some(_)) = (well, status.pipeline_version, self.feed) else {
            return Ok(None);
        };
        let Some(target) = ready.desire(Some("")).target() else {
            return Ok(None);
        };
        let every = self.full_look_every(ready);
        let phase = every.mul_f64(self.phase());
        let mut pipeline = SettledPipeline {
            target,
            version,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            announced_since: None,
            estimated: None,
            bucket_created_at: None,
            drifted: false,
            read_at: Some((Instant::now(), self.feed)),
        };
        if !self.listed(ready, status, &mut pipeline).await? {
            return Ok(None);
        }
        let now = Instant::now();
        let at = now.checked_sub(phase).unwrap_or(now);
        Ok(Some(Settled {
            at,
            listed_at: now,
            pipeline: Some(pipeline),
        }))
    }

    /// Whether the lists have pipeline and rule as they are to be.
    pub(crate) async fn listed(
        &self,
        ready: &Ready,
        status: &RepoFanoutStatus,
        pipeline: &mut SettledPipeline,
    ) -> Result<bool, Stop> {
        let age = ready.fanout.interval / 2;
        let (pipelines, rules) = tokio::try_join!(
            ready.cloud.pipelines.list(age),
            ready.cloud.notification_rules.list(age)
        )?;
        let Some(found) = pipelines.get(&ready.names.base) else {
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

    /// What quick looks go by from now on.
    pub(crate) fn settled_pipeline(
        &self,
        ready: &Ready,
        observed: &Observed,
    ) -> Option<SettledPipeline> {
        let pipeline = observed.pipeline.as_ref()?;
        let announces = ready
            .fanout
            .events
            .iter()
            .any(|e| e.ends_with("pipeline-execution-succeeded"));
        let rule = observed.notification_rule.as_ref().filter(|_| announces);
        Some(SettledPipeline {
            target: pipeline
                .declaration
                .target()
                .or_else(|| ready.desire(Some("")).target())?,
            version: pipeline.version,
            updated_at: pipeline.updated_at,
            announced_since: rule.map(|rule| rule.created_at),
            estimated: rule
                .filter(|rule| rule.estimated)
                .map(|rule| rule.arn.clone()),
            bucket_created_at: created_at(&observed.destination),
            // What is only shown is not acted on either.
            drifted: self
                .saw
                .drift
                .as_ref()
                .is_some_and(|drift| !drift.is_empty()),
            read_at: Some((Instant::now(), self.feed)),
        })
    }
}

/// Whether the newest execution was running when it was last looked at; one that nobody has looked
/// at yet is.
fn unfinished(status: &RepoFanoutStatus) -> bool {
    status
        .last_execution
        .as_ref()
        .is_none_or(|last| ExecutionState::parse(&last.status).is_running())
}
