//! Deletion of a fan-out: its own resources are deleted or retained, then the finalizer is removed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::Reason;
use crate::api::status::{FormerStatus, PlacementStatus, RepoFanoutStatus};
use crate::api::{ABANDON, FINALIZER, RepoFanout};
use crate::cloud::Error;
use crate::cloud::advice::{Activity, Parties};
use crate::domain::arn;
use crate::domain::computed::{Computed, topic_arn};
use crate::domain::kind::Resource;
use crate::domain::pattern::covers;
use crate::domain::placement::Placement;
use crate::reconcile::converge::LOOK_AGAIN;
use crate::reconcile::record::Resources;
use crate::reconcile::teardown::{Ending, Outcome};
use crate::resource::retention::Retention;
use crate::spec::{class, fanout};
use crate::state::catalog::Resolved;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::status;

/// Deletes the object's resources, and reports on it what blocks the deletion.
pub async fn run(env: &Environment, object: &RepoFanout) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if !object.finalizers().iter().any(|f| f == FINALIZER) {
        env.forget(object);
        return Ok(Requeue::await_change());
    }
    if let Some(rest) = env
        .memory
        .quiet_for(&uid, &LiveObject::new(env, object).basis())
    {
        return Ok(Requeue::requeue(rest));
    }
    if matches!(env.catalog.resolve(object), Ok(Resolved::Others)) {
        return Ok(Requeue::await_change());
    }
    let mut held = LiveObject::new(env, object);
    held.count("deleting");
    env.acknowledge(object, &env.memory.receipts(&uid));
    if held.abandoned(&held.status().resources).await {
        return release(env, held).await;
    }
    // An outdated object must not delete resources that an object of the same name created since.
    held.confirm_status(held.status()).await?;
    let (blocked, message, delay) = match tear_down(env, &held).await {
        Err(Held::OutOfReach(message)) => {
            let name = object.name_any();
            let message = format!(
                "{message}; give the operator the former one back, or set the annotation \
                     {ABANDON}={name} to leave what remains in AWS and end"
            );
            (true, message, Duration::from_secs(300))
        }
        Ok(Outcome::Done(kept)) => {
            held.retained(
                "kept in AWS, and found again by an object of the same name",
                kept,
            )
            .await;
            return release(env, held).await;
        }
        Ok(Outcome::Progress(message)) => (false, message, Duration::ZERO),
        Ok(Outcome::Unseen(message)) => (false, message, LOOK_AGAIN),
        Err(Held::Cloud(error)) => {
            error.log();
            let status = held.status();
            let access = status.placement.as_ref().map(|p| env.catalog.access(p));
            let access = access.and_then(Result::ok).flatten();
            let mut parties = Parties::new(access.as_ref(), held.operator());
            parties.arns.extend(status.resources.into_values());
            let place = status.placement.as_ref().map(Placement::recorded);
            let situation = parties.situation(Activity::Delete, place.as_ref());
            let (blocked, message) = status::held_up(&error, &situation, &object.name_any());
            (blocked, message, env.memory.backoff(&uid, error.class))
        }
    };
    let reason = if blocked {
        Reason::DeletionBlocked
    } else {
        Reason::Deleting
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
    env.memory.concluded(&uid, held.basis(), delay);
    Ok(Requeue::requeue(delay))
}

async fn release(
    env: &Environment,
    mut held: LiveObject<'_, RepoFanout>,
) -> Result<Requeue, kube::Error> {
    held.set_finalizer(false).await?;
    env.forget(&held.current);
    env.catalog.wake_all();
    Ok(Requeue::await_change())
}

/// Why a teardown cannot proceed.
pub enum Held {
    /// The account or the class cannot be reached.
    OutOfReach(String),
    /// The cloud returned an error.
    Cloud(Error),
}

/// Tears down the object's present and superseded resources.
async fn tear_down(env: &Environment, held: &LiveObject<'_, RepoFanout>) -> Result<Outcome, Held> {
    let mut kept = Vec::new();
    for former in &held.status().former {
        match end_former(env, held, former).await? {
            Outcome::Done(more) => kept.extend(more),
            more @ (Outcome::Progress(_) | Outcome::Unseen(_)) => return Ok(more),
        }
    }
    let ending = present(env, held).await.map_err(Held::OutOfReach)?;
    Ok(match ending.run().await.map_err(Held::Cloud)? {
        Outcome::Done(more) => Outcome::Done([kept, more].concat()),
        more @ (Outcome::Progress(_) | Outcome::Unseen(_)) => more,
    })
}

/// Tears down superseded resources, except those that are in use now.
pub async fn end_former(
    env: &Environment,
    held: &LiveObject<'_, RepoFanout>,
    former: &FormerStatus,
) -> Result<Outcome, Held> {
    let present = held.status();
    let mut superseded = former.resources.clone();
    superseded.retain(|_, arn| !present.resources.values().any(|used| used == arn));
    let cloud = env
        .cloud_of(&former.placement)
        .await
        .map_err(Held::OutOfReach)?;
    let connection = superseded.get(Resource::Connection.as_str()).cloned();
    let named = |arn| (former.placement.base_name.clone(), Some(arn));
    let rule = Resource::NotificationRule.as_str();
    let ending = Ending {
        cloud,
        owner: fanout::owner(&held.current, env.settings()),
        retention: retention(held),
        connections: connection.map(named).into_iter().collect(),
        young: young(
            env,
            &present,
            superseded.values(),
            &former.placement.base_name,
        ),
        resources: superseded,
        subscriptions: present.subscriptions,
        copied: None,
        since: deleted_at(held),
        rule: present.resources.get(rule).cloned(),
        now: Timestamp::now(),
    };
    ending.run().await.map_err(Held::Cloud)
}

/// Builds the teardown of the present resources from the recorded ARNs, and from computed names
/// where none is recorded. Returns a message if the account cannot be reached.
async fn present(env: &Environment, held: &LiveObject<'_, RepoFanout>) -> Result<Ending, String> {
    let status = held.status();
    let spec = &held.current.spec;
    let place = match &status.placement {
        Some(recorded) => recorded.clone(),
        None => unrecorded(env, &held.current),
    };
    let cloud = env.cloud_of(&place).await?;
    let place = Placement::recorded(&place);
    let names = Computed::new(&place);
    let generated = |resource: Resource| {
        let arn = names.of_fanout(resource, &place.partition)?;
        Some((resource.as_str().to_owned(), arn))
    };
    let mut resources: Resources = Resource::ALL.into_iter().filter_map(generated).collect();
    let bucket = |name: &String| arn::bucket(&place.partition, name);
    let artifacts = spec.artifacts.as_ref();
    let artifacts = artifacts.and_then(|a| a.bucket_name.as_ref());
    let destination = spec.destination.as_ref();
    let topic = spec.notifications.as_ref();
    let topic = topic.and_then(|n| n.topic_name.as_ref());
    let readers = destination.filter(|d| d.readers.is_some());
    let readers = readers.and_then(|_| shared_destination(env, held));
    let destination = destination.and_then(|d| d.bucket_name.as_ref());
    let chosen = [
        (Resource::Artifacts, artifacts.map(bucket)),
        (Resource::Destination, destination.map(bucket)),
        (Resource::Readers, readers.as_ref().map(bucket)),
        (Resource::Topic, topic.map(|name| topic_arn(&place, name))),
    ];
    let chosen = chosen
        .into_iter()
        .filter_map(|(resource, arn)| Some((resource.as_str().to_owned(), arn?)));
    resources.extend(chosen);
    resources.extend(status.resources.clone());
    // Their names follow from the place alone, whatever is recorded.
    let fixed = [Resource::Role, Resource::Pipeline];
    resources.extend(fixed.into_iter().filter_map(generated));
    let connection = status.resources.get(Resource::Connection.as_str());
    let rule = Resource::NotificationRule.as_str();
    Ok(Ending {
        cloud,
        owner: fanout::owner(&held.current, env.settings()),
        retention: retention(held),
        young: young(env, &status, status.resources.values(), &names.base),
        connections: vec![(names.base, connection.cloned())],
        resources,
        subscriptions: status.subscriptions,
        copied: copied(env, held),
        since: deleted_at(held),
        rule: status.resources.get(rule).cloned(),
        now: Timestamp::now(),
    })
}

/// The time when the object was deleted, if it was.
fn deleted_at(held: &LiveObject<'_, RepoFanout>) -> Option<Timestamp> {
    let at = held.current.metadata.deletion_timestamp.as_ref()?;
    Some(at.0)
}

/// The recorded ARNs, if AWS may not show them all yet; and the connection's name, if one may have
/// been created and its ARN is not known.
fn young<'a>(
    env: &Environment,
    status: &RepoFanoutStatus,
    recorded: impl Iterator<Item = &'a String>,
    base_name: &str,
) -> BTreeSet<String> {
    let now = Timestamp::now();
    let intent = status.connection.as_ref().and_then(|c| c.intent.as_ref());
    let intended = env.pace.is_young(intent.map(|intent| intent.at), now);
    let name = intended.then(|| base_name.to_owned());
    let is_young = env.pace.is_young(status.last_created_at, now);
    recorded.filter(|_| is_young).cloned().chain(name).collect()
}

fn retention(held: &LiveObject<'_, RepoFanout>) -> Retention {
    Retention(*held.current.spec.deletion.clone().unwrap_or_default())
}

/// Where the resources would be that a status no longer tells of.
fn unrecorded(env: &Environment, object: &RepoFanout) -> PlacementStatus {
    let class = match env.catalog.resolve(object) {
        Ok(Resolved::Ours(class)) => env.catalog.parse_class(&class).ok(),
        _ => None,
    };
    env.catalog.place_in(object, class.as_ref())
}

/// Returns the bucket and prefix to clear in a bucket that is not the object's own: what the object
/// copied there, if its spec asks for that and its class or the settings still allow the bucket.
fn copied(env: &Environment, held: &LiveObject<'_, RepoFanout>) -> Option<(String, String)> {
    let spec = &held.current.spec;
    if retention(held).keeps_prefix() {
        return None;
    }
    let status = held.status();
    let class = class_of(env, held);
    let existing = spec
        .destination
        .as_ref()
        .and_then(|d| d.existing_bucket.clone());
    let bucket = match existing {
        Some(bucket) => {
            let patterns = class
                .as_ref()
                .map_or(&env.settings().allow_existing, |c| &c.allow_existing);
            covers(patterns, &arn::bucket("aws", &bucket)).then_some(bucket)?
        }
        None => shared_destination(env, held)?,
    };
    let delivered = status.delivered?;
    (delivered.bucket == bucket && !delivered.prefix.is_empty())
        .then_some((bucket, delivered.prefix))
}

/// Returns the destination bucket that the object's class shares.
fn shared_destination(env: &Environment, held: &LiveObject<'_, RepoFanout>) -> Option<String> {
    class_of(env, held)?.destination_bucket()
}

fn class_of(env: &Environment, held: &LiveObject<'_, RepoFanout>) -> Option<class::Class> {
    let class = held
        .status()
        .placement
        .and_then(|p| env.catalog.class(p.class.as_ref()?))?;
    env.catalog.parse_class(&class).ok()
}
