//! One pass over a living object: observe → plan → apply → status.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action as Requeue;
use tracing::info;

use super::object::Object;
use super::{Context, observe};
use crate::api::condition::{ConditionType, Reason};
use crate::api::status::{ConnectionIntent, DeliveredStatus, RepoFanoutStatus};
use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT, RepoFanout};
use crate::apply::{self, apply};
use crate::cloud::{Class, Cloud, Error};
use crate::model::desired::{Computed, ConnectionUse, Desired};
use crate::model::execution::{Execution, ExecutionState, Failure, Target};
use crate::model::fanout::Fanout;
use crate::model::observed::{BucketView, ConnectionState, Observed, ObservedConnection};
use crate::model::owner::CREATED_AT;
use crate::model::placement::Placement;
use crate::model::{Refusal, Resource, names};
use crate::plan::delivery::{self, Cause, Delivery, Verdict};
use crate::plan::{Action, Facts, Step, plan};
use crate::status::{self, Look, Notice, Progress};

/// How long a connection that may have been made is looked for in the lists
/// before another one is made.
const SETTLE: SignedDuration = SignedDuration::from_secs(15);
/// How long a new role may be unknown to CodePipeline before a person has to look.
const PROPAGATION: SignedDuration = SignedDuration::from_secs(300);
/// How often a plan is made anew within a pass: the connection's ARN makes the
/// role possible, and the pipeline the rule.
const ROUNDS: usize = 4;

/// Why a pass ended before its end.
enum Stop {
    /// The API server.
    Kube(kube::Error),
    /// The cloud.
    Cloud(Error),
    /// Something to wait for.
    Wait(Reason, String, Duration),
    /// Something for a person.
    Refused(Vec<Refusal>),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Cloud(error)
    }
}

/// Makes AWS what the object says, as far as that goes now, and tells so on its status.
pub async fn run(context: &Context, object: &RepoFanout) -> Result<Requeue, kube::Error> {
    let uid = object.metadata.uid.clone().unwrap_or_default();
    if let Some(rest) = context.memos.quiet_for(&uid, object.metadata.resource_version.as_deref()) {
        return Ok(Requeue::requeue(rest));
    }
    let mut pass = Pass { context, object: Object::new(context, object), now: Timestamp::now(), saw: Saw::default() };
    let stop = match pass.prepare().await {
        Ok(ready) => pass.work(ready).await.err(),
        Err(stop) => Some(stop),
    };
    pass.finish(stop).await
}

struct Pass<'a> {
    context: &'a Context,
    object: Object<'a>,
    now: Timestamp,
    saw: Saw,
}

/// What the pass saw, for the status: also of a pass that stopped on its way.
#[derive(Default)]
struct Saw {
    place: Option<Placement>,
    connection: Option<ObservedConnection>,
    executions: Option<Vec<Execution>>,
    failure: Option<Failure>,
    resources: Option<BTreeMap<String, String>>,
    topic: Option<String>,
    interval: Option<Duration>,
    delivered: Option<DeliveredStatus>,
    /// What has still to happen although nothing failed.
    pending: Option<(Reason, String)>,
    /// Whether everything was looked at, and the next look may be a quick one.
    full: bool,
    settled: bool,
    wait: Option<Duration>,
    /// Whether the pass came to its end.
    concluded: bool,
}

/// What a pass works with.
struct Ready {
    fanout: Fanout,
    place: Placement,
    names: Computed,
    cloud: Cloud,
}

impl Pass<'_> {
    /// Validates, decides the placement, takes hold of the object.
    async fn prepare(&mut self) -> Result<Ready, Stop> {
        let Context { settings, identity, .. } = self.context;
        let refused = |refusal| Stop::Refused(vec![refusal]);
        let fanout = Fanout::parse(&self.object.current, settings).map_err(refused)?;
        self.saw.interval = Some(fanout.interval);
        let recorded = self.object.status().placement;
        let place = Placement::decide(&fanout, settings, identity, recorded.as_ref()).map_err(refused)?;
        fanout.check_place(&place.account, &place.region).map_err(refused)?;
        self.object.set_finalizer(true).await?;
        let cloud = self.context.regions.region(&place.region);
        self.saw.place = Some(place.clone());
        Ok(Ready { names: Computed::new(&place), fanout, place, cloud })
    }

    async fn work(&mut self, ready: Ready) -> Result<(), Stop> {
        let full = !self.quick_look(&ready).await?;
        if full {
            self.saw.full = true;
            self.saw.settled = true;
            let observed = self.full_look(&ready).await?;
            self.deliver(&ready, Some(&observed)).await?;
        } else {
            self.deliver(&ready, None).await?;
        }
        self.saw.concluded = true;
        Ok(())
    }

    /// Looks at the connection and the executions alone, where nothing else is due.
    /// Answers `false` if everything has to be looked at.
    async fn quick_look(&mut self, ready: &Ready) -> Result<bool, Stop> {
        let status = self.object.status();
        let settled = self.context.memos.since_full_look(&self.object.uid());
        let requested = self.object.annotation(RECONCILE_REQUESTED_AT).unwrap_or_default().to_owned();
        let asked = status.last_handled_reconcile_at.is_some_and(|handled| handled != requested);
        let changed = status.observed_generation != self.object.current.metadata.generation;
        let (Some(since), Some(recorded)) = (settled, status.connection) else { return Ok(false) };
        let (Some(arn), Some(was)) = (recorded.arn, recorded.status) else { return Ok(false) };
        if since >= ready.fanout.interval || asked || changed {
            return Ok(false);
        }
        let connection = ready.cloud.connections.observe(&arn).await?;
        let same = connection.as_ref().is_some_and(|c| c.state.as_str() == was);
        if !same {
            return Ok(false);
        }
        self.saw.connection = connection;
        if status.resources.contains_key(Resource::Pipeline.as_str()) {
            let executions = ready.cloud.pipelines.executions(&ready.names.base).await?;
            // A failure may come from what somebody changed behind our back.
            let failed = executions.first().filter(|e| e.state == ExecutionState::Failed);
            let news = failed.is_some_and(|e| status.last_execution.as_ref().is_none_or(|l| l.id != e.id || l.failure.is_none()));
            if news || executions.is_empty() {
                return Ok(false);
            }
            self.saw.executions = Some(executions);
        }
        Ok(true)
    }

    /// Looks at everything and makes it what it is to be.
    async fn full_look(&mut self, ready: &Ready) -> Result<Observed, Stop> {
        let Ready { fanout, place, names, cloud } = ready;
        let status = self.object.status();
        let arn = status.connection.as_ref().and_then(|c| c.arn.as_deref());
        let desired = Desired::new(fanout, place, arn);
        let mut observed = observe::observe(cloud, &desired, &fanout.owner, names, &status).await?;
        self.saw.connection = observed.connection.clone();

        let executions = match &observed.pipeline {
            Some(_) => cloud.pipelines.executions(&names.base).await?,
            None => Vec::new(),
        };
        let runs = executions.iter().any(|e| e.state.is_running());
        let spec_changed = status.observed_generation != self.object.current.metadata.generation;
        self.saw.executions = observed.pipeline.is_some().then_some(executions);

        for _ in 0..ROUNDS {
            let arn = observed.connection.as_ref().map(|c| c.arn.as_str());
            let desired = Desired::new(fanout, place, arn);
            let facts = Facts {
                owner: &fanout.owner,
                place,
                hold_pipeline: runs && !spec_changed,
                former_topic: status.topic_arn.as_deref(),
            };
            let plan = plan(&desired, &observed, facts);
            self.record(&desired, &observed);
            if !plan.refusals.is_empty() {
                return Err(Stop::Refused(plan.refusals));
            }
            if plan.held {
                self.saw.settled = false;
                self.saw.wait = Some(self.context.pace.close);
                self.saw.pending = Some((Reason::Provisioning, "the pipeline is corrected once its running execution has ended".to_owned()));
            }
            if plan.steps.is_empty() {
                break;
            }
            let intent = self.write_ahead(place, &plan.steps, &desired).await?;
            for step in &plan.steps {
                info!(resource = step.resource.as_str(), action = ?step.action, "step");
                let context = apply::Context { intent: &intent, now: self.now, former_topic: facts.former_topic };
                let result = apply(cloud, &desired, &mut observed, step, context).await;
                self.record(&desired, &observed);
                self.saw.connection = observed.connection.clone();
                if step.resource == Resource::Connection && step.action == Action::Create {
                    self.connection_created(&result, &observed).await?;
                }
                result?;
            }
        }
        if observed.pipeline.is_none() {
            let message = "pipeline and notification rule are made once the connection is AVAILABLE";
            self.saw.pending = Some((Reason::Provisioning, message.to_owned()));
        }
        Ok(observed)
    }

    /// Records what must be known before the first write to AWS: the placement, the
    /// word on a connection, the time of new permissions.
    async fn write_ahead(&mut self, place: &Placement, steps: &[Step], desired: &Desired) -> Result<String, Stop> {
        let mut next = self.object.status();
        next.placement = Some(place.status());
        self.echo_requests(&mut next);
        let mut intent = String::new();
        let creates = |resource| steps.iter().any(|s| s.resource == resource && s.action == Action::Create);
        if creates(Resource::Connection) && matches!(desired.connection, ConnectionUse::Own(_)) {
            let mut connection = next.connection.take().unwrap_or_default();
            if let Some(given) = &connection.intent
                && self.now < given.at + SETTLE
            {
                let rest = (given.at + SETTLE).duration_since(self.now);
                return Err(Stop::Wait(
                    Reason::ConnectionUnconfirmed,
                    format!("a connection may have been made at {}, and AWS does not list it yet; another one is made if it does not appear", given.at),
                    Duration::try_from(rest).unwrap_or_default(),
                ));
            }
            let at = self.now.to_string();
            intent = names::token(&[&self.object.uid(), &at]);
            connection.intent = Some(ConnectionIntent { id: intent.clone(), at: self.now });
            next.connection = Some(connection);
        }
        if steps.iter().any(|s| s.resource == Resource::Role) {
            next.permissions_written_at = Some(self.now);
        }
        self.object.set_status(next).await?;
        Ok(intent)
    }

    /// Records the ARN at once; takes the word back only where AWS has surely made nothing.
    async fn connection_created(&mut self, result: &Result<(), Error>, observed: &Observed) -> Result<(), Stop> {
        let mut next = self.object.status();
        let mut connection = next.connection.take().unwrap_or_default();
        match (result, &observed.connection) {
            (Ok(()), Some(made)) => {
                connection.arn = Some(made.arn.clone());
                connection.status = Some(made.state.as_str().to_owned());
                connection.intent = None;
                next.resources.insert(Resource::Connection.as_str().to_owned(), made.arn.clone());
            }
            (Err(e), _) if e.class != Class::Transient && e.class != Class::Conflict => connection.intent = None,
            _ => return Ok(()),
        }
        next.connection = Some(connection);
        Ok(self.object.set_status(next).await?)
    }

    fn record(&mut self, desired: &Desired, observed: &Observed) {
        let mut resources = BTreeMap::new();
        let mut insert = |resource: Resource, arn: &str| resources.insert(resource.as_str().to_owned(), arn.to_owned());
        let partition = self.saw.place.as_ref().map_or("aws", |p| &*p.partition);
        for (resource, bucket, view) in [
            (Resource::Artifacts, &desired.artifacts, &observed.artifacts),
            (Resource::Destination, &desired.destination, &observed.destination),
        ] {
            if matches!(view, BucketView::Present(_)) {
                insert(resource, &crate::model::arn::bucket(partition, bucket.name()));
            }
        }
        if let Some(connection) = &observed.connection {
            insert(Resource::Connection, &connection.arn);
        }
        if let Some(role) = &observed.role {
            insert(Resource::Role, &role.arn);
        }
        if observed.topic.is_some() {
            insert(Resource::Topic, desired.topic.arn());
            self.saw.topic = Some(desired.topic.arn().to_owned());
        }
        if let (Some(_), Some(pipeline)) = (&observed.pipeline, &desired.pipeline) {
            insert(Resource::Pipeline, &pipeline.arn);
        }
        if let Some(rule) = &observed.notification_rule {
            insert(Resource::NotificationRule, &rule.arn);
        }
        self.saw.resources = Some(resources);
    }

    /// Reads what the executions did, and starts one where a change or a person asks for it.
    async fn deliver(&mut self, ready: &Ready, observed: Option<&Observed>) -> Result<(), Stop> {
        let Ready { fanout, names, cloud, .. } = ready;
        let pipeline = observed.and_then(|o| o.pipeline.as_ref());
        if observed.is_some() && pipeline.is_some() {
            // What was just written may have cancelled one.
            self.saw.executions = Some(cloud.pipelines.executions(&names.base).await?);
        }
        let Some(executions) = self.saw.executions.clone() else { return Ok(()) };
        let status = self.object.status();
        self.saw.failure = self.failure(ready, &status, &executions).await?;

        let updated_at = pipeline.map(|p| p.updated_at);
        let target = match pipeline.and_then(|p| p.declaration.target()) {
            Some(target) => Some(target),
            None => Desired::new(fanout, &ready.place, Some("")).target(),
        };
        let delivered = self.delivered(ready, &status, &executions, target.as_ref(), updated_at).await?;
        self.saw.delivered = delivered.clone();

        let mut cause = None;
        if let (Some(pipeline), Some(observed), Some(target)) = (pipeline, observed, &target) {
            let announces = fanout.events.iter().any(|e| e.ends_with("pipeline-execution-succeeded"));
            let target_delivered = delivered.as_ref().map(target_of);
            let verdict = delivery::verdict(&Delivery {
                target,
                delivered: target_delivered.as_ref(),
                executions: &executions,
                pipeline_version: pipeline.version,
                pipeline_updated_at: pipeline.updated_at,
                announced_since: observed.notification_rule.as_ref().filter(|_| announces).map(|r| r.created_at),
                bucket_created_at: created_at(&observed.destination),
                permissions_written_at: status.permissions_written_at,
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
        let requested = self.object.annotation(RELEASE_REQUESTED_AT).unwrap_or_default();
        let handled = self.object.status().last_handled_release_at;
        let released = !requested.is_empty() && handled.is_some_and(|handled| handled != requested);
        // The same token for the same cause: asked twice, CodePipeline starts one.
        let (token, why) = match (released, cause) {
            (true, _) => (names::token(&[&uid, "release", requested]), format!("released by annotation ({requested})")),
            (false, Some(cause)) => (names::token(&[&uid, cause.as_str(), newest]), cause.as_str().to_owned()),
            (false, None) => return Ok(()),
        };
        ready.cloud.pipelines.start(&ready.names.base, &token).await?;
        let note = format!("started an execution: {why}");
        self.object.notify(Notice { warning: false, reason: "ExecutionStarted".to_owned(), note }).await;
        self.saw.executions = Some(ready.cloud.pipelines.executions(&ready.names.base).await?);
        self.saw.failure = None;
        self.saw.wait = Some(self.context.pace.close);
        Ok(())
    }

    /// Why the newest execution failed; asked for once an execution.
    async fn failure(&self, ready: &Ready, status: &RepoFanoutStatus, executions: &[Execution]) -> Result<Option<Failure>, Stop> {
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

    /// A value that stands at creation, or while the echo is lost, counts as done. So
    /// does a release while there is no pipeline: its creation runs it anyway.
    fn echo_requests(&self, status: &mut RepoFanoutStatus) {
        let value = |key| Some(self.object.annotation(key).unwrap_or_default().chars().take(256).collect::<String>());
        if status.last_handled_release_at.is_none() || self.saw.concluded {
            status.last_handled_release_at = value(RELEASE_REQUESTED_AT);
        }
        if status.last_handled_reconcile_at.is_none() || (self.saw.concluded && self.saw.full) {
            status.last_handled_reconcile_at = value(RECONCILE_REQUESTED_AT);
        }
    }

    /// Close looks at first, rarer ones the longer nobody authorizes it.
    fn pending_delay(&self, status: &RepoFanoutStatus) -> Duration {
        let since = k8s_controller::conditions::find(&status.conditions, ConditionType::ConnectionAvailable.as_str());
        let age = since.map_or(Duration::ZERO, |c| {
            Duration::try_from(self.now.duration_since(c.last_transition_time.0)).unwrap_or_default()
        });
        (age / 20).clamp(self.context.pace.close, self.context.pace.idle.max(self.context.pace.close) * 5)
    }

    /// Writes the status, and says when to look again.
    async fn finish(mut self, stop: Option<Stop>) -> Result<Requeue, kube::Error> {
        let uid = self.object.uid();
        let memos = &self.context.memos;
        let own = self.own_arns();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let interval = self.saw.interval.unwrap_or(Duration::from_secs(600));
        let (progress, delay) = match stop {
            Some(Stop::Kube(error)) => {
                memos.looked(&uid, false);
                return Err(error);
            }
            Some(Stop::Wait(reason, message, delay)) => (Progress::Waiting(reason, message), delay),
            Some(Stop::Refused(refusals)) => (Progress::Refused(refusals), interval),
            Some(Stop::Cloud(error)) => self.stopped_by_cloud(&error, &own, interval),
            None if !self.saw.full => (Progress::Unchanged, self.next_look(interval)),
            None => match self.saw.pending.take() {
                Some((reason, message)) => (Progress::Waiting(reason, message), self.next_look(interval)),
                None => (Progress::Settled, self.next_look(interval)),
            },
        };
        let concluded = self.saw.concluded || matches!(progress, Progress::Refused(_));
        if !matches!(progress, Progress::Unchanged) {
            memos.looked(&uid, self.saw.concluded && self.saw.settled);
        }
        let mut before = self.object.status();
        if let Some(resources) = self.saw.resources.take() {
            before.placement = self.saw.place.as_ref().map(Placement::status);
            before.resources = resources;
        }
        before.topic_arn = self.saw.topic.take().or(before.topic_arn);
        before.delivered = self.saw.delivered.take().or(before.delivered);
        if let Some(connection) = &mut before.connection
            && self.saw.connection.is_some()
        {
            connection.intent = None;
        }
        self.echo_requests(&mut before);
        let look = Look {
            generation: self.object.current.metadata.generation,
            concluded,
            place: self.saw.place.as_ref(),
            repository: &self.object.current.spec.repository,
            connection: self.saw.connection.as_ref(),
            progress,
            executions: self.saw.executions.as_deref(),
            failure: self.saw.failure.as_ref(),
        };
        let next = status::status(&before, &look);
        self.object.set_status(next).await?;
        memos.passed(&uid, self.object.resource_version(), delay);
        Ok(Requeue::requeue(delay))
    }

    fn stopped_by_cloud(&self, error: &Error, own: &[&str], interval: Duration) -> (Progress, Duration) {
        tracing::warn!(call = error.call, code = ?error.code, request_id = ?error.request_id, class = ?error.class, message = %error.message, "AWS");
        let memos = &self.context.memos;
        let uid = self.object.uid();
        let written = self.object.status().permissions_written_at;
        match (error.class, status::progress(error, own)) {
            (Class::IamPropagating, Progress::Waiting(_, message)) if written.is_none_or(|at| self.now > at + PROPAGATION) => {
                let message = format!("{message}; the role exists for minutes, so AWS means it: check its trust policy and the account's service control policies");
                (Progress::Refused(vec![Refusal::new(Reason::AccessDenied, message)]), interval)
            }
            (Class::ServiceLinkedRole, progress) => (progress, memos.backoff(&uid).max(Duration::from_secs(5))),
            (_, progress @ Progress::Refused(_)) => (progress, memos.backoff(&uid).max(Duration::from_secs(30)).min(interval)),
            (Class::Transient | Class::Throttled, Progress::Waiting(reason, message)) => {
                // A stumble while nothing had to change leaves the object as it was.
                let ready = k8s_controller::conditions::find(&self.object.status().conditions, ConditionType::Ready.as_str())
                    .is_some_and(|c| c.status == "True" && c.observed_generation == self.object.current.metadata.generation);
                let progress = if ready { Progress::Unchanged } else { Progress::Waiting(reason, message) };
                (progress, memos.backoff(&uid))
            }
            (_, progress) => (progress, memos.backoff(&uid)),
        }
    }

    fn next_look(&self, interval: Duration) -> Duration {
        let pace = self.context.pace;
        let runs = self.saw.executions.as_ref().is_some_and(|all| all.is_empty() || all.iter().any(|e| e.state.is_running()));
        let available = self.saw.connection.as_ref().is_some_and(|c| c.state == ConnectionState::Available);
        let usual = match (runs, available) {
            (true, _) => pace.close,
            (false, true) => pace.idle,
            (false, false) => self.pending_delay(&self.object.status()),
        };
        self.saw.wait.map_or(usual, |wait| wait.min(usual)).min(interval)
    }

    /// The ARNs that this object's messages may name.
    fn own_arns(&self) -> Vec<String> {
        let mut own: Vec<String> = self.object.status().resources.into_values().collect();
        own.extend(self.saw.resources.iter().flatten().map(|(_, arn)| arn.clone()));
        if let Some(place) = &self.saw.place {
            let names = Computed::new(place);
            own.extend([names.role_arn, names.pipeline_arn, names.topic_arn]);
        }
        own
    }
}

fn target_of(delivered: &DeliveredStatus) -> Target {
    Target {
        repository: delivered.repository.clone(),
        branch: delivered.branch.clone(),
        bucket: delivered.bucket.clone(),
        prefix: delivered.prefix.clone(),
    }
}

fn created_at(view: &BucketView) -> Option<Timestamp> {
    let BucketView::Present(bucket) = view else { return None };
    bucket.tags.get(CREATED_AT)?.parse().ok()
}
