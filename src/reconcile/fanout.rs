//! One pass over a living object: observe → plan → apply → status.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;
use serde_json::Value;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::{DeliveredStatus, FormerStatus, PrunedStatus, SubscriptionStatus};
use crate::cloud::{Cloud, Error};
use crate::domain::computed::Computed;
use crate::domain::execution::{Execution, Failure};
use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::reconcile::converge::{Ledger, Stop, converge, intent, surely_not_made};
use crate::reconcile::quick::rest;
use crate::reconcile::record::{Resources, left, recorded};
use crate::reconcile::{observe, quick};
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::connection::ObservedConnection;
use crate::resource::plan::{Facts, Plan, Step};
use crate::spec::fanout::Fanout;
use crate::state::catalog::{ClassKey, Known, Resolved, Shared};
use crate::state::environment::Context;
use crate::state::live_object::LiveObject;
use crate::state::memory::{Basis, Settled, SettledPipeline};
use crate::status::Notice;

/// Makes AWS what the object says, as far as that goes now, and tells so on its status.
pub async fn run(context: &Context, object: &RepoFanout) -> Result<Requeue, kube::Error> {
    if let Some(rest) = rest(context, object) {
        return Ok(rest);
    }
    let (class, refusal) = match context.resolve(object) {
        Ok(Resolved::Ours(class)) => (Some(class), None),
        Ok(_) => (None, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let mut pass = Pass::new(context, object, class);
    pass.heard = context.memos.heard(&pass.object.uid());
    if object.spec.suspend == Some(true) {
        return pass.suspend().await;
    }
    let ready = match refusal {
        Some(refusal) => Err(refusal.into()),
        None => pass.prepare().await,
    };
    let stop = match ready {
        Ok(ready) => pass.work(ready).await.err(),
        Err(stop) => Some(stop),
    };
    pass.finish(stop).await
}

pub(crate) struct Pass<'a> {
    pub(crate) context: &'a Context,
    pub(crate) object: LiveObject<'a, RepoFanout>,
    pub(crate) class: Option<Known>,
    pub(crate) key: Option<ClassKey>,
    /// How executions are heard of; looked at instead if they are not.
    pub(crate) feed: Option<u64>,
    /// Receipts of what was heard of them since the last pass.
    pub(crate) heard: Vec<String>,
    pub(crate) now: Timestamp,
    pub(crate) saw: Saw,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(context: &'a Context, object: &RepoFanout, class: Option<Known>) -> Self {
        let Basis {
            class: key, feed, ..
        } = quick::basis(context, object, class.as_ref());
        Self {
            context,
            object: LiveObject::new(context, object),
            class,
            key,
            feed,
            heard: Vec::new(),
            now: Timestamp::now(),
            saw: Saw::default(),
        }
    }
}

/// What the pass saw, for the status: also of a pass that stopped on its way.
#[derive(Default)]
pub(crate) struct Saw {
    pub(crate) place: Option<Placement>,
    pub(crate) connection: Option<ObservedConnection>,
    pub(crate) executions: Option<Vec<Execution>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) resources: Option<BTreeMap<String, String>>,
    pub(crate) topic: Option<String>,
    pub(crate) interval: Option<Duration>,
    pub(crate) delivered: Option<DeliveredStatus>,
    /// What has still to happen although nothing failed.
    pub(crate) pending: Option<(Reason, String)>,
    /// What differs and is left so.
    pub(crate) drift: Option<Vec<String>>,
    /// Whether everything was looked at, and whether the next look may be a quick one.
    pub(crate) full: bool,
    pub(crate) settled: bool,
    /// What the next quick look goes by.
    pub(crate) pipeline: Option<SettledPipeline>,
    pub(crate) listed_at: Option<Instant>,
    /// What this quick look went by.
    pub(crate) before: Option<Settled>,
    pub(crate) wait: Option<Duration>,
    /// Whether this pass has given it its place.
    pub(crate) new: bool,
    /// Whether anything was written to AWS.
    pub(crate) wrote: bool,
    /// Whether AWS was made to match this generation, as far as an unauthorized connection allows.
    pub(crate) applied: bool,
    /// Whether the pass came to its end.
    pub(crate) concluded: bool,
    /// What was said of drift and adoption.
    pub(crate) told: Vec<String>,
    /// What was recorded and is not wanted any more.
    pub(crate) left: Resources,
    /// What is left of that, and of what was left before.
    pub(crate) former: Option<Vec<FormerStatus>>,
    /// What came of pruning, and what is told of it and of announcements.
    pub(crate) pruned: Option<PrunedStatus>,
    pub(crate) pruning: Told,
    pub(crate) announcements: Told,
    pub(crate) subscriptions: Option<Vec<SubscriptionStatus>>,
    pub(crate) subscribing: Told,
}

/// What is told of something that an object may do without.
#[derive(Default)]
pub(crate) struct Told {
    /// Whether the spec asks for it.
    pub(crate) asked: bool,
    pub(crate) told: Option<(Reason, String)>,
}

/// What a pass works with.
pub(crate) struct Ready {
    pub(crate) fanout: Fanout,
    pub(crate) place: Placement,
    pub(crate) names: Computed,
    pub(crate) cloud: Cloud,
    pub(crate) shared: Shared,
}

impl Ready {
    /// What is to be in AWS, given the ARN of the connection.
    pub(crate) fn desire(&self, connection_arn: Option<&str>) -> Desired {
        Desired::new(&self.fanout, &self.place, connection_arn)
    }
}

impl Pass<'_> {
    pub(crate) async fn work(&mut self, ready: Ready) -> Result<(), Stop> {
        if !self.quick_look(&ready).await? {
            self.saw.full = true;
            self.saw.settled = true;
            let observed = self.full_look(&ready).await?;
            self.saw.pipeline = self.settled_pipeline(&ready, &observed);
            self.saw.listed_at = Some(Instant::now());
        }
        self.subscribe(&ready).await?;
        self.deliver(&ready).await?;
        self.prune(&ready).await?;
        self.announce(&ready).await?;
        self.clean_up(&ready).await?;
        self.saw.concluded = true;
        Ok(())
    }

    /// Looks at all that the object is to have.
    pub(crate) async fn observe(&self, ready: &Ready) -> Result<Observed, Stop> {
        let Ready {
            fanout,
            cloud,
            shared,
            ..
        } = ready;
        let status = self.object.status();
        let known = shared.connection.as_ref().map(|c| c.arn.as_str());
        let arn = known.or_else(|| status.connection.as_ref().and_then(|c| c.arn.as_deref()));
        let mut observed = observe::observe(
            cloud,
            &ready.desire(arn),
            &fanout.owner,
            &status.resources,
            &fanout.adopt,
        )
        .await?;
        if let Some(shared) = &shared.connection {
            observed.connection = Some(shared.clone());
        }
        Ok(observed)
    }

    /// Looks at everything and makes it what it is to be.
    pub(crate) async fn full_look(&mut self, ready: &Ready) -> Result<Observed, Stop> {
        let Ready {
            fanout,
            place,
            names,
            cloud,
            ..
        } = ready;
        let status = self.object.status();
        let mut observed = self.observe(ready).await?;
        self.saw.connection = observed.connection.clone();

        let executions = match &observed.pipeline {
            Some(_) => cloud.pipelines.executions(&names.base).await?,
            None => Vec::new(),
        };
        let runs = executions.iter().any(|e| e.state.is_running());
        let spec_changed = status.applied_generation != self.object.current.metadata.generation;
        let changed =
            spec_changed || status.applied_class_generation != self.key.map(|k| k.generation);
        self.saw.executions = observed.pipeline.is_some().then_some(executions);

        let former = status
            .former
            .iter()
            .filter_map(|f| f.resources.get(Resource::Topic.as_str()));
        let topics: Vec<String> = former.chain(&status.topic_arn).cloned().collect();
        let facts = Facts {
            owner: &fanout.owner,
            place,
            hold_pipeline: runs && !spec_changed,
            former_topics: &topics,
            adopt: &fanout.adopt,
            settled: (!changed).then_some(&status.resources),
            detect: fanout.detect_drift,
            read_only: self.context.settings.read_only,
            unrecorded: status.applied_generation.is_none(),
        };
        let made_before = observed.pipeline.is_some();
        converge(
            cloud,
            |arn| ready.desire(arn),
            &mut observed,
            facts,
            self.now,
            self,
        )
        .await?;
        self.saw.applied = self.saw.pending.is_none();
        if changed && self.saw.applied {
            self.tell_of_key(ready).await;
        }
        if self.saw.wrote && observed.pipeline.is_some() && (made_before || self.feed.is_none()) {
            // What was just written may have started or cancelled one. That a new pipeline runs is
            // heard of.
            self.saw.executions = Some(cloud.pipelines.executions(&names.base).await?);
        }
        if observed.pipeline.is_none() && self.saw.drift.as_ref().is_none_or(Vec::is_empty) {
            let message =
                "pipeline and notification rule are made once the connection is AVAILABLE";
            self.saw.pending = Some((Reason::Provisioning, message.to_owned()));
        }
        Ok(observed)
    }

    /// Who is let into a bucket that is encrypted by a class's key reads nothing without that.
    pub(crate) async fn tell_of_key(&self, ready: &Ready) {
        let desired = ready.desire(None);
        let Some(readers) = desired.readers.own() else {
            return;
        };
        let statements: Vec<String> = readers
            .decrypt(&ready.place.partition)
            .iter()
            .map(Value::to_string)
            .collect();
        if let Some(key) = readers.kms_key.as_ref().filter(|_| !statements.is_empty()) {
            let note = format!(
                "for its readers the policy of {key} needs {}",
                statements.join(", ")
            );
            self.object
                .notify(Notice {
                    warning: false,
                    reason: "ReadersNeedKey".to_owned(),
                    note,
                })
                .await;
        }
    }

    pub(crate) fn record(&mut self, desired: &Desired, observed: &Observed) {
        let partition = self.saw.place.as_ref().map_or("aws", |p| &*p.partition);
        let used = recorded(desired, observed, partition);
        self.saw.left = left(&self.object.status().resources, &used, desired, partition);
        self.saw.resources = Some(used);
        let missing = desired.topic.arn().is_some() && observed.topic.is_none();
        let topic = desired.topic_arn().filter(|_| !missing);
        self.saw.topic = topic.map(str::to_owned);
    }
}

impl Ledger for Pass<'_> {
    /// Shows drift, and says what is corrected or taken over, before that is done.
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed) {
        self.record(desired, observed);
        if !plan.refusals.is_empty() {
            return;
        }
        if plan.held {
            self.saw.settled = false;
            self.saw.wait = Some(self.context.pace.close);
            self.saw.pending = Some((
                Reason::Provisioning,
                "the pipeline is corrected once its running execution has ended".to_owned(),
            ));
        }
        let detect = self.object.current.spec.drift.as_deref() == Some("Detect");
        self.saw.drift = Some(if detect {
            plan.drift.clone()
        } else {
            Vec::new()
        });
        let corrected = plan
            .drift
            .iter()
            .filter(|_| !detect && !plan.held)
            .map(|text| ("DriftCorrected", text));
        let adopted = plan.adopted.iter().map(|text| ("Adopted", text));
        for (reason, text) in corrected.chain(adopted) {
            if !self.saw.told.contains(text) {
                self.saw.told.push(text.clone());
                let note = text.clone();
                self.object
                    .notify(Notice {
                        warning: true,
                        reason: reason.to_owned(),
                        note,
                    })
                    .await;
            }
        }
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop> {
        self.saw.wrote = true;
        let mut next = self.object.status();
        self.saw.new |= next.placement.is_none();
        next.placement = self.saw.place.as_ref().map(Placement::status);
        self.echo_requests(&mut next);
        let given = next.connection.as_ref().and_then(|c| c.intent.as_ref());
        let intent = intent(steps, given, &self.object.uid(), self.now)?;
        if let Some(intent) = &intent {
            next.connection.get_or_insert_default().intent = Some(intent.clone());
        }
        if steps.iter().any(|s| s.resource() == Resource::Role) {
            next.permissions_written_at = Some(self.now);
        }
        self.object.confirm_status(next).await?;
        Ok(intent.map(|i| i.id).unwrap_or_default())
    }

    /// Records the connection's ARN at once; takes the word back only where AWS has surely made
    /// nothing.
    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop> {
        self.record(desired, observed);
        self.saw.connection = observed.connection.clone();
        if step.resource() != Resource::Connection || !step.creates() {
            return Ok(());
        }
        let mut next = self.object.status();
        let mut connection = next.connection.take().unwrap_or_default();
        match (result, &observed.connection) {
            (Ok(()), Some(made)) => {
                connection.arn = Some(made.arn.clone());
                connection.status = Some(made.state.as_str().to_owned());
                connection.intent = None;
                next.resources
                    .insert(Resource::Connection.as_str().to_owned(), made.arn.clone());
            }
            (Err(e), _) if surely_not_made(e) => connection.intent = None,
            _ => return Ok(()),
        }
        next.connection = Some(connection);
        Ok(self.object.set_status(next).await?)
    }
}
