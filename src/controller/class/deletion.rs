//! The end of a class: it waits for its fan-outs, then what it shared is deleted or kept, then the finalizer goes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use tracing::warn;

use crate::api::condition::Reason;
use crate::api::status::ConnectionStatus;
use crate::api::{ABANDON, FINALIZER, RepoFanoutClass};
use crate::cloud::Cloud;
use crate::controller::Context;
use crate::controller::deletion::{held_up, list};
use crate::controller::ending::{Ending, Outcome};
use crate::controller::object::Object;
use crate::model::desired::Computed;
use crate::model::placement::Placement;
use crate::model::retention::Retention;
use crate::model::{AssumeRole, Resource, class, names};
use crate::status::{self, Notice};

/// How many users of a class its message names.
const NAMED: usize = 10;

/// Deletes what the class shared, once nobody uses it.
pub async fn run(context: &Context, object: &RepoFanoutClass) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if !object.finalizers().iter().any(|f| f == FINALIZER) {
        context.memos.forget(&uid);
        return Ok(Requeue::await_change());
    }
    let mut held = Object::new(context, object);
    let name = object.name_any();
    if held.annotation(ABANDON) == Some(&*name) {
        let left = list(held.status().resources.into_values());
        warn!(left, "abandoned: these resources stay in AWS");
        let note = format!("abandoned by annotation; left in AWS: {left}");
        held.notify(Notice { warning: true, reason: "Abandoned".to_owned(), note }).await;
        return release(context, held).await;
    }
    let users = context.users(&name);
    let (reason, message, delay) = if !users.is_empty() {
        let more = if users.len() > NAMED { format!(" and {} more", users.len() - NAMED) } else { String::new() };
        let who =
            if users.len() == 1 { "1 fan-out uses it".to_owned() } else { format!("{} fan-outs use it", users.len()) };
        let message = format!(
            "{who}: {}{more}; delete them, or move them by spec.className, and the class goes by itself",
            users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
        );
        (Reason::InUse, message, Duration::from_secs(300))
    } else if let Some(rest) = context.memos.quiet_for(&uid, object.metadata.resource_version.as_deref(), None) {
        return Ok(Requeue::requeue(rest));
    } else {
        held.confirm_status(held.status()).await?;
        match ending(context, object).await.run().await {
            Ok(Outcome::Done(kept)) => {
                if !kept.is_empty() {
                    let note = format!("kept in AWS, and found again by a class of the same name: {}", list(kept));
                    held.notify(Notice { warning: false, reason: "Retained".to_owned(), note }).await;
                }
                return release(context, held).await;
            }
            Ok(Outcome::Progress(message)) => (Reason::Deleting, message, Duration::ZERO),
            Err(error) => {
                warn!(call = error.call, code = ?error.code, request_id = ?error.request_id, message = %error.message, "AWS");
                let (blocked, message) = held_up(&error, &["arn".to_owned()], &name);
                let reason = if blocked { Reason::DeletionBlocked } else { Reason::Deleting };
                (reason, message, context.memos.backoff(&uid))
            }
        }
    };
    let mut next = held.status();
    next.observed_generation = object.metadata.generation;
    status::deleting(&mut next.conditions, object.metadata.generation, reason, &message);
    held.set_status(next).await?;
    // The last user's end is not to be waited out.
    let rest = if reason == Reason::InUse { Duration::ZERO } else { delay };
    context.memos.passed(&uid, held.resource_version(), None, rest);
    Ok(Requeue::requeue(delay))
}

async fn release(context: &Context, mut held: Object<'_, RepoFanoutClass>) -> Result<Requeue, kube::Error> {
    context.memos.forget(&held.uid());
    held.set_finalizer(false).await?;
    Ok(Requeue::await_change())
}

/// All that the class may have, by what was recorded; else by what the names would be.
async fn ending(context: &Context, object: &RepoFanoutClass) -> Ending {
    let status = object.status.clone().unwrap_or_default();
    let spec = &object.spec;
    let place = match &status.placement {
        Some(recorded) => Placement::recorded(recorded),
        None => Placement::of_class(
            &class::owner(object, &context.settings),
            class::access(object).as_ref(),
            &context.identity,
            spec.region.as_ref().unwrap_or(&context.settings.region),
            spec.name_prefix.as_ref().unwrap_or(&context.settings.name_prefix),
        ),
    };
    let access: Option<AssumeRole> = class::access(object);
    let cloud = context.clouds.cloud(access.as_ref(), &place.region).await;
    let names = Computed::of_class(&place);
    let mut resources = BTreeMap::from([
        (Resource::Artifacts.as_str().to_owned(), names.artifacts),
        (Resource::Destination.as_str().to_owned(), names.destination),
        (Resource::Role.as_str().to_owned(), names.role_arn),
        (Resource::Topic.as_str().to_owned(), names.topic_arn),
    ]);
    resources.extend(status.resources);
    let specified = spec.connections.iter().flatten().map(|(name, _)| (name.clone(), ConnectionStatus::default()));
    let mut connections: BTreeMap<String, ConnectionStatus> = specified.collect();
    connections.extend(status.connections);
    let connections: Vec<_> = connections.iter().collect();
    Ending {
        connections: connections_ending(context, object, &cloud, &connections).connections,
        ..former_ending(context, object, &cloud, &resources)
    }
}

/// The end of some resources, by their ARNs.
pub fn former_ending(
    context: &Context,
    object: &RepoFanoutClass,
    cloud: &Cloud,
    resources: &BTreeMap<String, String>,
) -> Ending {
    let recorded = |resource: Resource| resources.get(resource.as_str()).cloned();
    let last = |resource| recorded(resource).and_then(|arn| arn.rsplit([':', '/']).next().map(str::to_owned));
    Ending {
        cloud: cloud.clone(),
        owner: class::owner(object, &context.settings),
        retention: Retention(object.spec.deletion.clone().unwrap_or_default()),
        pipeline: None,
        rule: None,
        role: last(Resource::Role),
        topic: recorded(Resource::Topic),
        artifacts: last(Resource::Artifacts),
        destination: last(Resource::Destination),
        connections: Vec::new(),
        copied: None,
        now: Timestamp::now(),
    }
}

/// The end of some connections, by name.
pub fn connections_ending(
    context: &Context,
    object: &RepoFanoutClass,
    cloud: &Cloud,
    connections: &[(&String, &ConnectionStatus)],
) -> Ending {
    let owner = class::owner(object, &context.settings);
    let prefix = object.spec.name_prefix.as_ref().unwrap_or(&context.settings.name_prefix);
    let in_aws = |name: &str| names::connection_name(prefix, &owner, name);
    let connections = connections.iter().map(|(name, c)| (in_aws(name), c.arn.clone())).collect();
    Ending { connections, ..former_ending(context, object, cloud, &BTreeMap::new()) }
}
