//! One pass over a living object: observe → plan → apply → status.

mod conclude;
mod deliver;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action as Requeue;
use tracing::info;

use crate::api::condition::Reason;
use crate::api::status::{ConnectionIntent, DeliveredStatus};
use crate::api::{RECONCILE_REQUESTED_AT, RepoFanout};
use crate::apply::{self, apply};
use crate::cloud::{Class, Cloud, Error};
use crate::controller::object::Object;
use crate::controller::{Context, observe};
use crate::model::desired::{Computed, ConnectionUse, Desired};
use crate::model::execution::{Execution, ExecutionState, Failure};
use crate::model::fanout::{Fanout, Source};
use crate::model::observed::{BucketView, Observed, ObservedConnection};
use crate::model::placement::Placement;
use crate::model::prefix::{self, Claim};
use crate::model::{Refusal, Resource, Settings, names};
use crate::plan::{Action, Facts, Plan, Step, adopt, plan};
use crate::status::Notice;

/// How long a connection that may have been made is looked for in the lists
/// before another one is made.
const SETTLE: SignedDuration = SignedDuration::from_secs(15);
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
    if object.spec.suspend == Some(true) {
        return pass.suspend().await;
    }
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
    /// What differs and is left so.
    drift: Option<Vec<String>>,
    /// Whether everything was looked at, and the next look may be a quick one.
    full: bool,
    settled: bool,
    wait: Option<Duration>,
    /// Whether anything was written to AWS.
    wrote: bool,
    /// Whether AWS was made to match this generation, as far as an unauthorized connection allows.
    applied: bool,
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
        self.refuse_overlap(&fanout)?;
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
        let requested = self.object.requested(RECONCILE_REQUESTED_AT);
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
            let news = failed
                .is_some_and(|e| status.last_execution.as_ref().is_none_or(|l| l.id != e.id || l.failure.is_none()));
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
        let adopts = fanout.adopt.contains(&Resource::Connection);
        let mut observed = observe::observe(cloud, &desired, &fanout.owner, names, &status, adopts).await?;
        self.saw.connection = observed.connection.clone();

        let executions = match &observed.pipeline {
            Some(_) => cloud.pipelines.executions(&names.base).await?,
            None => Vec::new(),
        };
        let runs = executions.iter().any(|e| e.state.is_running());
        let applied = status.applied_generation;
        let spec_changed = applied != self.object.current.metadata.generation;
        self.saw.executions = observed.pipeline.is_some().then_some(executions);

        let mut told = Vec::new();
        for _ in 0..ROUNDS {
            let arn = observed.connection.as_ref().map(|c| c.arn.as_str());
            let mut desired = Desired::new(fanout, place, arn);
            adopt(&mut desired, &observed, &fanout.adopt);
            let facts = Facts {
                owner: &fanout.owner,
                place,
                hold_pipeline: runs && !spec_changed,
                former_topic: status.topic_arn.as_deref(),
                adopt: &fanout.adopt,
                settled: (!spec_changed).then_some(&status.resources),
                detect: fanout.detect_drift,
                unrecorded: applied.is_none(),
            };
            let plan = plan(&desired, &observed, facts);
            self.record(&desired, &observed);
            if !plan.refusals.is_empty() {
                return Err(Stop::Refused(plan.refusals));
            }
            if plan.held {
                self.saw.settled = false;
                self.saw.wait = Some(self.context.pace.close);
                self.saw.pending = Some((
                    Reason::Provisioning,
                    "the pipeline is corrected once its running execution has ended".to_owned(),
                ));
            }
            self.tell(&plan, fanout.detect_drift, &mut told).await;
            if plan.steps.is_empty() {
                break;
            }
            let intent = self.write_ahead(place, &plan.steps, &desired).await?;
            for step in &plan.steps {
                info!(resource = step.resource.as_str(), action = ?step.action, "step");
                let context = apply::Context { intent: &intent, now: self.now, former_topic: facts.former_topic };
                self.saw.wrote = true;
                let result = apply(cloud, &desired, &mut observed, step, context).await;
                self.record(&desired, &observed);
                self.saw.connection = observed.connection.clone();
                if step.resource == Resource::Connection && step.action == Action::Create {
                    self.connection_created(&result, &observed).await?;
                }
                result?;
            }
        }
        self.saw.applied = self.saw.pending.is_none();
        if observed.pipeline.is_none() && self.saw.drift.as_ref().is_none_or(Vec::is_empty) {
            let message = "pipeline and notification rule are made once the connection is AVAILABLE";
            self.saw.pending = Some((Reason::Provisioning, message.to_owned()));
        }
        Ok(observed)
    }

    /// Shows drift, and says what is corrected or taken over, before that is done.
    async fn tell(&mut self, plan: &Plan, detect: bool, told: &mut Vec<String>) {
        self.saw.drift = Some(if detect { plan.drift.clone() } else { Vec::new() });
        let corrected = plan.drift.iter().filter(|_| !detect && !plan.held).map(|text| ("DriftCorrected", text));
        let adopted = plan.adopted.iter().map(|text| ("Adopted", text));
        for (reason, text) in corrected.chain(adopted) {
            if !told.contains(text) {
                told.push(text.clone());
                let note = text.clone();
                self.object.notify(Notice { warning: true, reason: reason.to_owned(), note }).await;
            }
        }
    }

    /// Of two objects that copy to the same keys the older one goes on.
    fn refuse_overlap(&self, fanout: &Fanout) -> Result<(), Stop> {
        if fanout.destination == Source::Own(None) {
            // Its name has a hash of its own: nobody else copies there.
            return Ok(());
        }
        let Settings { name_prefix, .. } = &self.context.settings;
        let claim = |object: &RepoFanout, fanout: &Fanout| Claim {
            bucket: prefix::bucket(fanout, name_prefix),
            prefix: fanout.prefix.clone(),
            since: (
                object.metadata.creation_timestamp.as_ref().map(|t| t.0.to_string()).unwrap_or_default(),
                object.metadata.uid.clone().unwrap_or_default(),
            ),
            owner: fanout.owner.clone(),
        };
        let ours = claim(&self.object.current, fanout);
        let others: Vec<Claim> = self
            .context
            .objects()
            .iter()
            .filter_map(|object| Some(claim(object, &Fanout::parse(object, &self.context.settings).ok()?)))
            .collect();
        let Some(older) = ours.beaten_by(&others) else { return Ok(()) };
        let whose = if older.owner.namespace == fanout.owner.namespace {
            format!("RepoFanout {}/{}", older.owner.namespace, older.owner.name)
        } else {
            "an object of another namespace".to_owned()
        };
        Err(Stop::Refused(vec![Refusal::new(
            Reason::Overlaps,
            format!(
                "{whose}, which is older, copies under prefix '{}' of bucket {} already; nothing is made here. Choose a destination.prefix \
                 beside it",
                older.prefix, ours.bucket
            ),
        )]))
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
                    format!(
                        "a connection may have been made at {}, and AWS does not list it yet; another one is made if it does not appear",
                        given.at
                    ),
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
}
