//! One pass over a class: what it shares is made, its connections are watched, and its fan-outs are
//! told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use tracing::warn;

use crate::api::RepoFanoutClass;
use crate::api::class::{QuotaStatus, RepoFanoutClassStatus};
use crate::api::condition::{ConditionType, Reason};
use crate::api::status::{ConnectionStatus, FormerStatus};
use crate::cloud::{Class as ErrorClass, Cloud};
use crate::domain::kind::Resource;
use crate::reconcile::converge::{Stop, converge, read_only};
use crate::reconcile::deliver::created_at;
use crate::reconcile::record::{Resources, left, recorded};
use crate::reconcile::teardown::Outcome;
use crate::reconcile::{class_teardown, observe};
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::connection::ConnectionState;
use crate::resource::plan::Facts;
use crate::spec::class::Class;
use crate::state::catalog::ClassKey;
use crate::state::environment::{Context, log_error};
use crate::state::live_object::LiveObject;
use crate::state::memory::Settled;
use crate::status;
use crate::status::{ClassLook, Progress};

/// How often the number of fan-outs is written at most.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// What AWS allows by default. Connections: an account and region; pipelines: an account and
/// region; rules: an account, not to be raised; roles: an account.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/limits-connections.html>,
/// <https://docs.aws.amazon.com/general/latest/gr/codepipeline.html>
const QUOTAS: [(&str, i32); 4] = [
    ("connections", 250),
    ("notification_rules", 1000),
    ("pipelines", 1000),
    ("roles", 1000),
];

/// Makes AWS what the class says, and tells so on its status.
pub async fn run(context: &Context, object: &RepoFanoutClass) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if context
        .memos
        .class_changed(&uid, ClassKey::of(object, &BTreeMap::new()))
    {
        context.wake_fanouts();
    }
    if object.metadata.deletion_timestamp.is_some() {
        return class_teardown::run(context, object).await;
    }
    let mut pass = Pass::new(context, object);
    if let Some(rest) = context.memos.quiet_for(&uid, &pass.object.basis()) {
        return pass.count(rest).await;
    }
    let stop = match pass.prepare().await {
        Ok((class, cloud)) => {
            pass.class = Some(class.clone());
            pass.work(&class, &cloud).await.err()
        }
        Err(stop) => Some(stop),
    };
    pass.finish(stop).await
}

pub(crate) struct Pass<'a> {
    pub(crate) context: &'a Context,
    pub(crate) object: LiveObject<'a, RepoFanoutClass>,
    pub(crate) now: Timestamp,
    /// Name of the connection that is being made what it is to be.
    pub(crate) connection: Option<String>,
    pub(crate) class: Option<Class>,
    pub(crate) saw: Saw,
}

/// What the pass saw, for the status: also of a pass that stopped on its way.
#[derive(Default)]
pub(crate) struct Saw {
    pub(crate) connections: Option<BTreeMap<String, ConnectionStatus>>,
    pub(crate) resources: Option<BTreeMap<String, String>>,
    pub(crate) destination_created_at: Option<Timestamp>,
    pub(crate) quotas: Option<BTreeMap<String, QuotaStatus>>,
    /// What was recorded and is not wanted any more.
    pub(crate) left: Resources,
    /// What is left of that, and of what was left before.
    pub(crate) former: Option<Vec<FormerStatus>>,
    pub(crate) interval: Option<Duration>,
    pub(crate) pending: Option<(Reason, String)>,
    pub(crate) wait: Option<Duration>,
    pub(crate) full: bool,
    pub(crate) concluded: bool,
    pub(crate) told: BTreeSet<String>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(context: &'a Context, object: &RepoFanoutClass) -> Self {
        Self {
            context,
            object: LiveObject::new(context, object),
            now: Timestamp::now(),
            connection: None,
            class: None,
            saw: Saw::default(),
        }
    }

    pub(crate) async fn prepare(&mut self) -> Result<(Class, Cloud), Stop> {
        let decided = self.decide().await?;
        self.object.set_finalizer(true).await?;
        Ok(decided)
    }

    /// Validates and decides the placement; writes nothing.
    pub(crate) async fn decide(&mut self) -> Result<(Class, Cloud), Stop> {
        let Context {
            settings,
            identity,
            clouds,
            ..
        } = self.context;
        let class = Class::parse(&self.object.current, settings, identity)?;
        self.saw.interval = Some(class.interval);
        if let Some(recorded) = &self.object.status().placement {
            class.place.keep(recorded)?;
        }
        let cloud = clouds
            .cloud(class.access.as_ref(), &class.place.region)
            .await;
        Ok((class, cloud))
    }

    pub(crate) async fn work(&mut self, class: &Class, cloud: &Cloud) -> Result<(), Stop> {
        if !self.quick_look(class, cloud).await? {
            self.saw.full = true;
            // One connection that cannot be made keeps nothing else from being made.
            let connections = self.connections(class, cloud).await;
            self.shared(class, cloud).await?;
            self.quotas(cloud, class.interval / 2).await;
            connections?;
            self.clean_up(class, cloud).await?;
        }
        self.saw.concluded = true;
        Ok(())
    }

    /// Looks at the connections alone, where nothing else is due. Answers `false` if everything has
    /// to be looked at.
    pub(crate) async fn quick_look(&mut self, class: &Class, cloud: &Cloud) -> Result<bool, Stop> {
        let status = self.object.status();
        let Some(settled) = self.context.memos.settled(&self.object.uid()) else {
            return Ok(false);
        };
        let changed = status.applied_generation != self.object.current.metadata.generation;
        if changed || settled.at.elapsed() >= class.interval || !status.former.is_empty() {
            return Ok(false);
        }
        let mut connections = status.connections.clone();
        for connection in connections.values_mut() {
            let Some(arn) = &connection.arn else {
                return Ok(false);
            };
            let Some(found) = cloud.connections.observe(arn).await? else {
                return Ok(false);
            };
            connection.status = Some(found.state.as_str().to_owned());
        }
        self.saw.connections = Some(connections);
        Ok(true)
    }

    /// Each connection by itself: one that cannot be made keeps no other from being made.
    pub(crate) async fn connections(&mut self, class: &Class, cloud: &Cloud) -> Result<(), Stop> {
        let mut first = None;
        for (name, (_, source)) in &class.connections {
            self.connection = Some(name.clone());
            let desired = Desired::of_class_connection(class, name, source);
            if let Err(stop) = self.one_connection(class, cloud, name, &desired).await {
                match stop {
                    Stop::Kube(error) => return Err(Stop::Kube(error)),
                    other => first = first.or(Some(other)),
                }
            }
        }
        self.connection = None;
        first.map_or(Ok(()), Err)
    }

    pub(crate) async fn one_connection(
        &mut self,
        class: &Class,
        cloud: &Cloud,
        name: &str,
        desired: &Desired,
    ) -> Result<(), Stop> {
        let known = self
            .object
            .status()
            .connections
            .get(name)
            .and_then(|c| c.arn.clone());
        let recorded: BTreeMap<String, String> = known
            .into_iter()
            .map(|arn| (Resource::Connection.as_str().to_owned(), arn))
            .collect();
        let mut observed =
            observe::observe(cloud, desired, &class.owner, &recorded, &BTreeSet::new()).await?;
        let none = BTreeSet::new();
        let facts = self.facts(class, &recorded, &none);
        converge(
            cloud,
            |_| desired.clone(),
            &mut observed,
            facts,
            self.now,
            self,
        )
        .await?;
        if let Some(found) = &observed.connection {
            let all = self
                .saw
                .connections
                .get_or_insert_with(|| self.object.status().connections);
            all.insert(
                name.to_owned(),
                ConnectionStatus {
                    arn: Some(found.arn.clone()),
                    status: Some(found.state.as_str().to_owned()),
                    authorize_url: Some(class.place.authorize_url(&found.arn)),
                    intent: None,
                },
            );
        }
        Ok(())
    }

    pub(crate) fn facts<'b>(
        &self,
        class: &'b Class,
        recorded: &'b BTreeMap<String, String>,
        none: &'b BTreeSet<Resource>,
    ) -> Facts<'b> {
        let applied = self.object.status().applied_generation;
        let changed = applied != self.object.current.metadata.generation;
        Facts {
            owner: &class.owner,
            place: &class.place,
            hold_pipeline: false,
            former_topics: &[],
            adopt: none,
            settled: (!changed).then_some(recorded),
            detect: false,
            read_only: self.context.settings.read_only,
            unrecorded: applied.is_none(),
        }
    }

    /// What it shares, with the connections that are known.
    pub(crate) fn desire(&self, class: &Class) -> Desired {
        let known = self
            .saw
            .connections
            .clone()
            .unwrap_or_else(|| self.object.status().connections);
        let arns: Vec<&str> = class
            .connections
            .keys()
            .filter_map(|n| known.get(n)?.arn.as_deref())
            .collect();
        Desired::of_class(class, &arns)
    }

    /// Buckets, topic, and the role that covers them and all connections.
    pub(crate) async fn shared(&mut self, class: &Class, cloud: &Cloud) -> Result<(), Stop> {
        let status = self.object.status();
        let desired = self.desire(class);
        let none = BTreeSet::new();
        let mut observed = observe::observe(
            cloud,
            &desired,
            &class.owner,
            &status.resources,
            &BTreeSet::new(),
        )
        .await?;
        let facts = self.facts(class, &status.resources, &none);
        converge(
            cloud,
            |_| desired.clone(),
            &mut observed,
            facts,
            self.now,
            self,
        )
        .await?;
        self.saw.destination_created_at = created_at(&observed.destination);
        let Context { feeds, told, .. } = self.context;
        match desired.queue.own() {
            Some(queue) => feeds.listen(
                &class.name,
                &queue.name,
                Arc::clone(&cloud.queues),
                told.clone(),
            ),
            None => feeds.end(&class.name),
        }
        Ok(())
    }

    /// Records what is shared and there, and what was and is not wanted any more.
    pub(crate) fn record(&mut self, desired: &Desired, observed: &Observed) {
        let Some(class) = &self.class else { return };
        let before = self.object.status().resources;
        let used = recorded(desired, observed, &class.place.partition);
        self.saw.left = left(&before, &used, desired, &class.place.partition);
        self.saw.resources = Some(used);
    }

    /// What is not shared any more, with what this pass found.
    pub(crate) fn former(&self) -> Vec<FormerStatus> {
        let mut former = self.object.status().former;
        if let Some(class) = self.class.as_ref().filter(|_| !self.saw.left.is_empty()) {
            former.push(FormerStatus {
                placement: class.place.status(),
                resources: self.saw.left.clone(),
            });
        }
        former
    }

    /// What cannot be counted is not told; it keeps nobody from working.
    pub(crate) async fn quotas(&mut self, cloud: &Cloud, age: Duration) {
        let counted = tokio::try_join!(
            cloud.connections.count(age),
            cloud.notification_rules.list(age),
            cloud.pipelines.list(age),
            cloud.roles.count(),
        );
        match counted {
            Ok((connections, rules, pipelines, roles)) => {
                let used = [connections, rules.len(), pipelines.len(), roles];
                let quotas = QUOTAS.iter().zip(used).map(|((name, limit), used)| {
                    let used = i32::try_from(used).unwrap_or(i32::MAX);
                    (
                        (*name).to_owned(),
                        QuotaStatus {
                            used,
                            limit: *limit,
                        },
                    )
                });
                self.saw.quotas = Some(quotas.collect());
            }
            Err(error) => warn!(%error, "the use of quotas is not known"),
        }
    }

    /// What the class shared before goes once every fan-out has followed the change.
    pub(crate) async fn clean_up(&mut self, class: &Class, cloud: &Cloud) -> Result<(), Stop> {
        let mut known = self
            .saw
            .connections
            .clone()
            .unwrap_or_else(|| self.object.status().connections);
        let mut former = self.former();
        let gone: Vec<String> = known
            .keys()
            .filter(|name| !class.connections.contains_key(*name))
            .cloned()
            .collect();
        if gone.is_empty() && former.is_empty() {
            return Ok(());
        }
        if self.context.settings.read_only {
            return Err(read_only("clean up what is not shared any more"));
        }
        let behind = self
            .context
            .behind(&class.name, self.object.current.metadata.generation);
        if behind > 0 {
            self.saw.wait = Some(self.context.pace.close);
            return Ok(());
        }
        let mut next = self.object.status();
        next.former.clone_from(&former);
        next.resources = self.saw.resources.clone().unwrap_or(next.resources);
        self.object.confirm_status(next).await?;
        let mut endings = Vec::new();
        let end_of = |resources: &Resources, connections| {
            class_teardown::end_of(
                self.context,
                &self.object.current,
                cloud,
                resources,
                &connections,
            )
        };
        endings.push(end_of(
            &Resources::new(),
            known
                .extract_if(.., |name, _| gone.contains(name))
                .collect(),
        ));
        endings.extend(
            std::mem::take(&mut former)
                .iter()
                .map(|old| end_of(&old.resources, BTreeMap::new())),
        );
        for ending in endings {
            match ending.run().await? {
                Outcome::Done(kept) => {
                    self.object
                        .retained("not shared any more, and kept in AWS", kept)
                        .await
                }
                Outcome::Progress(message) => {
                    self.saw.pending = Some((Reason::CleaningUp, message));
                    self.saw.wait = Some(Duration::ZERO);
                    return Ok(());
                }
            }
        }
        self.saw.connections = Some(known);
        self.saw.former = Some(former);
        Ok(())
    }

    /// Writes how many fan-outs there are, and what that means for the quotas, at most once a
    /// minute, and rests.
    pub(crate) async fn count(mut self, rest: Duration) -> Result<Requeue, kube::Error> {
        let uid = self.object.uid();
        if let Some(wait) = self.context.memos.counted_within(&uid, COUNT_EVERY) {
            return Ok(Requeue::requeue(rest.min(wait)));
        }
        let (before, users) = (self.object.status(), self.users());
        let changed = before.fanouts != Some(users);
        if !changed && !self.context.memos.counts_again(&uid) {
            return Ok(Requeue::requeue(rest));
        }
        let mut next = before.clone();
        next.fanouts = Some(users);
        if let Ok((_, cloud)) = self.decide().await {
            self.quotas(&cloud, Duration::ZERO).await;
        }
        let look = ClassLook {
            generation: self.object.current.metadata.generation,
            concluded: false,
            progress: Progress::Unchanged,
            quotas: self.saw.quotas.take(),
        };
        let next = status::class_status(&next, look);
        if next != before {
            self.object.set_status(next).await?;
        }
        self.context.memos.counted(&uid, changed);
        self.context.memos.passed(&uid, self.object.basis(), rest);
        // What a new fan-out makes is there by the next time.
        Ok(Requeue::requeue(if changed {
            rest.min(COUNT_EVERY)
        } else {
            rest
        }))
    }

    pub(crate) fn users(&self) -> i32 {
        i32::try_from(self.context.users(&self.object.current.name_any()).len()).unwrap_or(i32::MAX)
    }

    pub(crate) async fn finish(mut self, stop: Option<Stop>) -> Result<Requeue, kube::Error> {
        let uid = self.object.uid();
        let memos = &self.context.memos;
        let interval = self.saw.interval.unwrap_or(Duration::from_secs(600));
        let generation = self.object.current.metadata.generation;
        let mut next = self.object.status();
        let (progress, delay) = match stop {
            Some(Stop::Kube(error)) => {
                memos.looked(&uid, None, None);
                return Err(error);
            }
            Some(Stop::Wait(reason, message, delay)) => (Progress::Waiting(reason, message), delay),
            Some(Stop::Refused(refusals)) => (Progress::Refused(refusals), interval),
            Some(Stop::Cloud(error)) => {
                log_error(&error);
                let stumbled = matches!(error.class, ErrorClass::Transient | ErrorClass::Throttled);
                let was = k8s_controller::conditions::find(
                    &next.conditions,
                    ConditionType::Ready.as_str(),
                );
                let ready =
                    was.is_some_and(|c| c.status == "True" && c.observed_generation == generation);
                // A stumble while nothing had to change leaves the object as it was. A class's
                // readers may see all of its account.
                let progress = if stumbled && ready {
                    Progress::Unchanged
                } else {
                    status::progress(&error, &["arn"])
                };
                (progress, memos.backoff(&uid, error.class))
            }
            None if !self.saw.full => (Progress::Unchanged, self.next_look(&next)),
            None => match self.saw.pending.take() {
                Some((reason, message)) => {
                    (Progress::Waiting(reason, message), self.next_look(&next))
                }
                None => (Progress::Settled, self.next_look(&next)),
            },
        };
        self.object.count(progress.result());
        let concluded = self.saw.concluded || matches!(progress, Progress::Refused(_));
        let full = self.saw.full;
        if let Some(class) = &self.class {
            next.placement = Some(class.place.status());
        }
        next.connections = self.saw.connections.take().unwrap_or(next.connections);
        next.resources = self.saw.resources.take().unwrap_or(next.resources);
        next.former = self.saw.former.take().unwrap_or_else(|| self.former());
        if self.saw.concluded && full {
            next.applied_generation = generation;
            next.destination_created_at = self.saw.destination_created_at;
        }
        next.fanouts = next.fanouts.or(Some(self.users()));
        let look = ClassLook {
            generation,
            concluded,
            progress,
            quotas: self.saw.quotas.take(),
        };
        let next = status::class_status(&next, look);
        if full {
            memos.looked(&uid, None, None);
        }
        self.object.set_status(next).await?;
        if full {
            memos.looked(&uid, self.saw.concluded.then(|| Settled::now(None)), None);
        }
        memos.passed(&uid, self.object.basis(), delay);
        // Looks do not count, and put off no count that is due.
        let uncounted =
            memos.counts_again(&uid) || self.object.status().fanouts != Some(self.users());
        let count = uncounted.then(|| memos.counted_within(&uid, COUNT_EVERY).unwrap_or_default());
        Ok(Requeue::requeue(count.unwrap_or(delay).min(delay)))
    }

    /// Close looks at a connection that waits for a person, rarer ones the longer it does.
    pub(crate) fn next_look(&self, status: &RepoFanoutClassStatus) -> Duration {
        let pace = self.context.pace;
        let now = self.saw.connections.as_ref().unwrap_or(&status.connections);
        let waits = now
            .values()
            .any(|c| c.status.as_deref() != Some(ConnectionState::Available.as_str()));
        let usual = if waits {
            self.context.pending_delay(&status.conditions, self.now)
        } else {
            pace.idle
        };
        self.saw
            .wait
            .map_or(usual, |wait| wait.min(usual))
            .min(self.saw.interval.unwrap_or(usual))
    }
}
