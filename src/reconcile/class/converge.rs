//! Converges AWS to a class, and keeps its status in step with the writes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::RepoFanoutClass;
use crate::api::class::RepoFanoutClassStatus;
use crate::api::status::ConnectionStatus;
use crate::cloud::Error;
use crate::domain::kind::Resource;
use crate::reconcile::class::report::{Connections, Shares, Target};
use crate::reconcile::converge::{Ledger, converge, intent, publish_gone, surely_not_made};
use crate::reconcile::observe;
use crate::reconcile::record::{Resources, left, recorded};
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::plan::{Facts, Plan, Step};
use crate::spec::class::Class;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::recorder::Notice;
use crate::state::stop::{Partial, Stop};
use crate::status;

/// Converges each connection by itself: one that cannot be created does not block the others.
/// Returns the connections that were found.
pub async fn connections(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    target: &Target,
) -> Result<Connections, Partial<Connections>> {
    let (mut found, mut first) = (Connections::new(), None);
    for name in target.class.connections.keys() {
        match connection(env, live, target, name).await {
            Ok(Some(connection)) => {
                found.insert(name.clone(), connection);
            }
            Ok(None) => {}
            Err(stop @ Stop::Kube(_)) => return Err(Partial { found, stop }),
            Err(stop) => first = first.or(Some(stop)),
        }
    }
    match first {
        Some(stop) => Err(Partial { found, stop }),
        None => Ok(found),
    }
}

async fn connection(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    target: &Target,
    name: &str,
) -> Result<Option<ConnectionStatus>, Stop> {
    let Target { class, cloud, now } = target;
    let desired = desired_connection(class, name);
    let recorded = recorded_connection(&live.status(), name);
    let mut observed =
        observe::observe(cloud, &desired, &class.owner, &recorded, &BTreeSet::new()).await?;
    let none = BTreeSet::new();
    let before = live.status().connections.remove(name);
    let intent = before.as_ref().and_then(|before| before.intent.as_ref());
    let is_young = env.pace.is_young(intent.map(|intent| intent.at), *now);
    let young = is_young.then_some(&recorded);
    let facts = facts(env, live, class, &recorded, &none, young);
    let mut ledger = ConnectionLedger {
        env,
        live,
        class,
        name,
        now: *now,
        announced: BTreeSet::new(),
    };
    converge(
        cloud,
        |_| desired.clone(),
        &mut observed,
        facts,
        *now,
        &mut ledger,
    )
    .await?;
    let before = live.status().connections.remove(name);
    Ok(observed
        .connection
        .map(|found| status::connection_status(&class.place, &found, before.as_ref())))
}

/// Returns the desired resources of one of the class's connections.
pub fn desired_connection(class: &Class, name: &str) -> Desired {
    match class.connections.get(name) {
        Some(connection) => Desired::of_class_connection(class, name, &connection.source),
        None => Desired::default(),
    }
}

/// Returns the recorded ARN of a connection, by resource.
pub fn recorded_connection(status: &RepoFanoutClassStatus, name: &str) -> BTreeMap<String, String> {
    let arn = status.connections.get(name).and_then(|c| c.arn.clone());
    arn.into_iter()
        .map(|arn| (Resource::Connection.as_str().to_owned(), arn))
        .collect()
}

/// Returns the facts about a class that a plan depends on.
pub fn facts<'a>(
    env: &Environment,
    live: &LiveObject<'_, RepoFanoutClass>,
    class: &'a Class,
    recorded: &'a BTreeMap<String, String>,
    none: &'a BTreeSet<Resource>,
    young: Option<&'a Resources>,
) -> Facts<'a> {
    let applied = live.status().applied_generation;
    let changed = applied != live.current.metadata.generation;
    Facts {
        owner: &class.owner,
        place: &class.place,
        hold_pipeline: false,
        former_topics: &[],
        adopt: none,
        settled: (!changed).then_some(recorded),
        detect: false,
        read_only: env.settings().read_only,
        young,
        unrecorded: applied.is_none(),
    }
}

/// Returns the desired shared resources, given the known connections.
pub fn desired_shares(class: &Class, known: &Connections) -> Desired {
    let arns = class
        .connections
        .keys()
        .filter_map(|name| known.get(name)?.arn.as_deref());
    Desired::of_class(class, &arns.collect::<Vec<_>>())
}

/// Converges buckets, topic, queues, and the role that covers them and all connections.
pub async fn shares(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    target: &Target,
    found: &Connections,
) -> Result<Shares, Partial<Shares>> {
    let mut known = live.status().connections;
    known.extend(found.clone());
    let shares = Shares {
        resources: live.status().resources,
        ..Shares::default()
    };
    let mut ledger = SharesLedger {
        env,
        live,
        target,
        shares,
        young: None,
        announced: BTreeSet::new(),
    };
    match ledger.run(&known).await {
        Ok(()) => Ok(ledger.shares),
        Err(stop) => Err(Partial {
            found: ledger.shares,
            stop,
        }),
    }
}

/// Keeps the class's status in step with the writes of one connection.
struct ConnectionLedger<'a, 'b> {
    env: &'a Environment,
    live: &'a mut LiveObject<'b, RepoFanoutClass>,
    class: &'a Class,
    name: &'a str,
    now: Timestamp,
    announced: BTreeSet<String>,
}

impl Ledger for ConnectionLedger<'_, '_> {
    async fn planned(&mut self, plan: &Plan, _: &Desired, _: &Observed) {
        publish_drift(self.live, plan, &mut self.announced).await;
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop> {
        let mut next = self.live.status();
        next.placement = Some(self.class.place.status());
        let recorded = next
            .connections
            .get(self.name)
            .and_then(|c| c.intent.as_ref());
        let intent = intent(steps, recorded, &self.live.uid(), self.env.pace, self.now)?;
        if let Some(intent) = &intent {
            let connection = next.connections.entry(self.name.to_owned()).or_default();
            connection.intent = Some(intent.clone());
        }
        self.live.confirm_status(next).await?;
        Ok(intent.map(|i| i.id).unwrap_or_default())
    }

    /// Records the connection's ARN at once. The intent is withdrawn only if AWS certainly created
    /// nothing.
    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        _: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop> {
        if !step.creates() {
            return Ok(());
        }
        let mut next = self.live.status();
        let connection = next.connections.entry(self.name.to_owned()).or_default();
        match (result, &observed.connection) {
            (Ok(()), Some(made)) => {
                *connection = status::connection_status(&self.class.place, made, Some(connection));
            }
            (Err(e), _) if surely_not_made(e) => connection.intent = None,
            _ => return Ok(()),
        }
        Ok(self.live.set_status(next).await?)
    }
}

/// Keeps the class's status in step with the writes of the shared resources.
struct SharesLedger<'a, 'b> {
    env: &'a Environment,
    live: &'a mut LiveObject<'b, RepoFanoutClass>,
    target: &'a Target,
    shares: Shares,
    /// The recorded resources, while they are so young that AWS may not show them yet.
    young: Option<Resources>,
    announced: BTreeSet<String>,
}

impl SharesLedger<'_, '_> {
    async fn run(&mut self, known: &Connections) -> Result<(), Stop> {
        let Target { class, cloud, now } = self.target;
        let status = self.live.status();
        let (desired, none) = (desired_shares(class, known), BTreeSet::new());
        let mut observed =
            observe::observe(cloud, &desired, &class.owner, &status.resources, &none).await?;
        let is_young = self.env.pace.is_young(status.last_created_at, *now);
        self.young = is_young.then(|| status.resources.clone());
        let young = self.young.clone();
        let (known, young) = (&status.resources, young.as_ref());
        let facts = facts(self.env, self.live, class, known, &none, young);
        converge(cloud, |_| desired.clone(), &mut observed, facts, *now, self).await?;
        self.shares.destination_created_at = observed.destination.created_at();
        match desired.queue.own() {
            Some(queue) => self
                .env
                .feeds
                .listen(&class.name, &queue.name, cloud.queues.clone()),
            None => self.env.feeds.end(&class.name),
        }
        Ok(())
    }

    /// Records the shared resources that exist and the orphaned ones.
    fn record(&mut self, desired: &Desired, observed: &Observed) {
        let partition = &self.target.class.place.partition;
        let used = recorded(desired, observed, partition, self.young.as_ref());
        self.shares.orphaned = left(&self.live.status().resources, &used, desired, partition);
        self.shares.resources = used;
    }
}

impl Ledger for SharesLedger<'_, '_> {
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed) {
        self.record(desired, observed);
        publish_drift(self.live, plan, &mut self.announced).await;
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop> {
        let mut next = self.live.status();
        next.placement = Some(self.target.class.place.status());
        if steps.iter().any(|s| s.resource() == Resource::Role) {
            next.permissions_written_at = Some(self.target.now);
        }
        if steps.iter().any(Step::creates) {
            next.last_created_at = Some(Timestamp::now());
        }
        self.live.confirm_status(next).await?;
        Ok(String::new())
    }

    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop> {
        let was_there = self
            .live
            .status()
            .resources
            .contains_key(step.resource().as_str());
        if step.resource().feeds_events() && result.is_ok() && was_there {
            // What it was to feed, or to keep, may have been lost until now.
            self.env.feeds.interrupted(&self.target.class.name);
            self.env.fleet.wake_all();
        }
        self.record(desired, observed);
        publish_gone(self.live, observed, &mut self.announced).await;
        Ok(())
    }
}

/// Publishes each correction of drift once per pass.
async fn publish_drift(
    live: &LiveObject<'_, RepoFanoutClass>,
    plan: &Plan,
    announced: &mut BTreeSet<String>,
) {
    for note in &plan.drift {
        if plan.refusals.is_empty() && announced.insert(note.clone()) {
            live.notify(Notice::warning("DriftCorrected", note.clone()))
                .await;
        }
    }
}
