//! Deletion of a class: it waits for its fan-outs, then its shared resources are deleted or
//! retained, and the finalizer is removed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::Reason;
use crate::api::status::ConnectionStatus;
use crate::api::{FINALIZER, RepoFanoutClass};
use crate::cloud::Cloud;
use crate::cloud::advice::{Activity, Parties};
use crate::domain::arn::Arn;
use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::placement::Placement;
use crate::reconcile::converge::LOOK_AGAIN;
use crate::reconcile::record::Resources;
use crate::reconcile::teardown::{Ending, Outcome};
use crate::resource::retention::Retention;
use crate::spec::class;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::status;

/// Maximum number of fan-outs that the message of a class in use names.
const MAX_NAMED: usize = 10;

/// Deletes the shared resources once no fan-out uses the class.
pub async fn run(env: &Environment, object: &RepoFanoutClass) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if !object.finalizers().iter().any(|f| f == FINALIZER) {
        env.memory.forget(&uid);
        return Ok(Requeue::await_change());
    }
    let mut held = LiveObject::new(env, object);
    let name = object.name_any();
    held.count("deleting");
    if held.abandoned(&held.status().resources).await {
        return release(env, held).await;
    }
    let mut users: Vec<String> = env
        .fleet
        .users(&name)
        .iter()
        .map(|user| {
            format!(
                "{}/{}",
                user.namespace().unwrap_or_default(),
                user.name_any()
            )
        })
        .collect();
    users.sort();
    let (reason, message, delay) = if !users.is_empty() {
        listen(env, object).await;
        let more = if users.len() > MAX_NAMED {
            format!(" and {} more", users.len() - MAX_NAMED)
        } else {
            String::new()
        };
        let count = if users.len() == 1 {
            "1 fan-out uses it".to_owned()
        } else {
            format!("{} fan-outs use it", users.len())
        };
        let message = format!(
            "{count}: {}{more}; delete them, or move them by spec.className, and the class goes by itself",
            users
                .iter()
                .take(MAX_NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        );
        (Reason::InUse, message, Duration::from_secs(300))
    } else if let Some(rest) = env.memory.quiet_for(&uid, &held.basis()) {
        return Ok(Requeue::requeue(rest));
    } else {
        held.confirm_status(held.status()).await?;
        env.feeds.end(&name);
        match teardown(env, object).await.run().await {
            Ok(Outcome::Done(kept)) => {
                held.retained(
                    "kept in AWS, and found again by a class of the same name",
                    kept,
                )
                .await;
                return release(env, held).await;
            }
            Ok(Outcome::Progress(message)) => (Reason::Deleting, message, Duration::ZERO),
            Ok(Outcome::Unseen(message)) => (Reason::Deleting, message, LOOK_AGAIN),
            Err(error) => {
                error.log();
                let place = held.status().placement.as_ref().map(Placement::recorded);
                let parties = Parties::new(class::access(object).as_ref(), held.operator());
                let situation = parties.situation_of_class(Activity::Delete, place.as_ref());
                let (blocked, message) = status::held_up(&error, &situation, &name);
                let reason = if blocked {
                    Reason::DeletionBlocked
                } else {
                    Reason::Deleting
                };
                (reason, message, env.memory.backoff(&uid, error.class))
            }
        }
    };
    let mut next = held.status();
    next.observed_generation = object.metadata.generation;
    status::deleting(
        &mut next.conditions,
        object.metadata.generation,
        reason,
        &message,
    );
    held.set_status(next).await?;
    // The class must be reconciled as soon as its last fan-out is deleted.
    let rest = if reason == Reason::InUse {
        Duration::ZERO
    } else {
        delay
    };
    env.memory.concluded(&uid, held.basis(), rest);
    Ok(Requeue::requeue(delay))
}

/// Keeps delivering execution events to the fan-outs that still use the class, even after a
/// restart.
async fn listen(env: &Environment, object: &RepoFanoutClass) {
    let Some(status) = &object.status else { return };
    let queue = status
        .resources
        .get(Resource::Queue.as_str())
        .and_then(|arn| Arn::parse(arn));
    if let (Some(queue), Some(place)) = (queue, &status.placement) {
        let cloud = env
            .clouds
            .cloud(class::access(object).as_ref(), &place.region)
            .await;
        env.feeds
            .listen(&object.name_any(), queue.resource, cloud.queues);
    }
}

async fn release(
    env: &Environment,
    mut held: LiveObject<'_, RepoFanoutClass>,
) -> Result<Requeue, kube::Error> {
    env.memory.forget(&held.uid());
    env.feeds.end(&held.current.name_any());
    held.set_finalizer(false).await?;
    Ok(Requeue::await_change())
}

/// Builds the teardown of all resources that the class may have, from the recorded ARNs, and from
/// computed names where none is recorded.
async fn teardown(env: &Environment, object: &RepoFanoutClass) -> Ending {
    let status = object.status.clone().unwrap_or_default();
    let place = match &status.placement {
        Some(recorded) => Placement::recorded(recorded),
        None => class::placement(object, env.settings(), &env.catalog.identity),
    };
    let cloud = env
        .clouds
        .cloud(class::access(object).as_ref(), &place.region)
        .await;
    let names = Computed::of_class(&place);
    let generated = |resource: Resource| {
        let arn = names.shared(resource, &place.partition)?;
        Some((resource.as_str().to_owned(), arn))
    };
    let mut resources: Resources = Resource::ALL.into_iter().filter_map(generated).collect();
    resources.extend(status.resources);
    let specified = object.spec.connections.iter().flatten();
    let mut connections: BTreeMap<String, ConnectionStatus> = specified
        .map(|(name, _)| (name.clone(), ConnectionStatus::default()))
        .collect();
    connections.extend(status.connections);
    teardown_of(env, object, &cloud, &resources, &connections)
}

/// Builds the teardown of resources by ARN and of connections by name.
pub fn teardown_of(
    env: &Environment,
    object: &RepoFanoutClass,
    cloud: &Cloud,
    resources: &Resources,
    connections: &BTreeMap<String, ConnectionStatus>,
) -> Ending {
    let owner = class::owner(object, env.settings());
    let prefix = class::name_prefix(object, env.settings());
    let in_aws = |name: &str| names::connection_name(prefix, &owner, name);
    let (now, status) = (Timestamp::now(), object.status.clone().unwrap_or_default());
    let is_young = env.pace.is_young(status.last_created_at, now);
    let former = status.former.iter().map(|former| &former.resources);
    let recorded: Vec<&Resources> = former.chain([&status.resources]).collect();
    let is_recorded = |arn: &&String| {
        recorded
            .iter()
            .any(|all| all.values().any(|one| one == *arn))
    };
    let young = resources
        .values()
        .filter(|arn| is_young && is_recorded(arn));
    let intended = connections.iter().filter(|(_, connection)| {
        let intent = connection.intent.as_ref();
        env.pace.is_young(intent.map(|intent| intent.at), now)
    });
    let intended = intended.map(|(name, c)| c.arn.clone().unwrap_or_else(|| in_aws(name)));
    let young = young.cloned().chain(intended).collect();
    let connections = connections
        .iter()
        .map(|(name, c)| (in_aws(name), c.arn.clone()))
        .collect();
    Ending {
        cloud: cloud.clone(),
        retention: Retention(object.spec.deletion.clone().unwrap_or_default()),
        owner,
        resources: resources.clone(),
        young,
        connections,
        subscriptions: Vec::new(),
        copied: None,
        rule: None,
        since: object.metadata.deletion_timestamp.as_ref().map(|at| at.0),
        now,
    }
}
