//! Resolves the target of a class, and observes its connections.

use jiff::Timestamp;

use crate::api::RepoFanoutClass;
use crate::reconcile::class::report::{Connections, Target};
use crate::spec::class::Class;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;

/// Validates the class, decides its placement, and adds the finalizer.
pub async fn resolve(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    now: Timestamp,
) -> Result<Target, Stop> {
    let target = decide(env, live, now).await?;
    live.set_finalizer(true).await?;
    Ok(target)
}

/// Validates the class and decides its placement. Writes nothing.
pub async fn decide(
    env: &Environment,
    live: &LiveObject<'_, RepoFanoutClass>,
    now: Timestamp,
) -> Result<Target, Stop> {
    let class = Class::parse(&live.current, env.settings(), &env.catalog.identity)?;
    if let Some(recorded) = &live.status().placement {
        class.place.keep(recorded)?;
    }
    let cloud = env
        .clouds
        .cloud(class.access.as_ref(), &class.place.region)
        .await;
    Ok(Target { now, class, cloud })
}

/// Observes only the connections, if nothing else is due. Returns `None` if everything has to be
/// observed.
pub async fn quick(
    env: &Environment,
    live: &LiveObject<'_, RepoFanoutClass>,
    target: &Target,
) -> Result<Option<Connections>, Stop> {
    let status = live.status();
    let Some(settled) = env.memory.settled(&live.uid()) else {
        return Ok(None);
    };
    let changed = status.applied_generation != live.current.metadata.generation;
    let due = settled.at.elapsed() >= target.class.interval;
    if changed || due || !status.former.is_empty() {
        return Ok(None);
    }
    let mut connections = status.connections;
    for connection in connections.values_mut() {
        let Some(arn) = &connection.arn else {
            return Ok(None);
        };
        let Some(found) = target.cloud.connections.observe(arn).await? else {
            return Ok(None);
        };
        connection.status = Some(found.state.as_str().to_owned());
    }
    Ok(Some(connections))
}
