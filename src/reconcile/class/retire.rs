//! Retires resources that a class shared before its spec changed. They are deleted once every
//! fan-out has followed the change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::RepoFanoutClass;
use crate::api::class::RepoFanoutClassStatus;
use crate::api::condition::Reason;
use crate::api::status::FormerStatus;
use crate::reconcile::class::delete::teardown_of;
use crate::reconcile::class::report::{Connections, Retired, Shares, Target};
use crate::reconcile::converge::LOOK_AGAIN;
use crate::reconcile::teardown::Outcome;
use crate::spec::class::Class;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::{Partial, Stop};

/// Returns the superseded resources, including those that this pass orphaned.
pub fn former(
    status: RepoFanoutClassStatus,
    class: &Class,
    orphaned: &BTreeMap<String, String>,
) -> Vec<FormerStatus> {
    let mut former = status.former;
    if !orphaned.is_empty() {
        let (placement, resources) = (class.place.status(), orphaned.clone());
        former.push(FormerStatus {
            placement,
            resources,
        });
    }
    former
}

/// Deletes or retains the superseded resources.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    target: &Target,
    found: &Connections,
    shares: &Shares,
) -> Result<Retired, Partial<Retired>> {
    let former = former(live.status(), &target.class, &shares.orphaned);
    let mut retired = Retired {
        former,
        ..Retired::default()
    };
    match retire(env, live, target, found, shares, &mut retired).await {
        Ok(()) => Ok(retired),
        Err(stop) => Err(Partial {
            found: retired,
            stop,
        }),
    }
}

async fn retire(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanoutClass>,
    target: &Target,
    found: &Connections,
    shares: &Shares,
    retired: &mut Retired,
) -> Result<(), Stop> {
    let Target { class, cloud, .. } = target;
    let mut known = live.status().connections;
    known.extend(found.clone());
    let is_removed = |name: &String, _: &mut _| !class.connections.contains_key(name);
    let connections: Connections = known.extract_if(.., is_removed).collect();
    if connections.is_empty() && retired.former.is_empty() {
        return Ok(());
    }
    if env.settings().read_only {
        return Err(Stop::read_only("clean up what is not shared any more"));
    }
    if env
        .fleet
        .behind(&class.name, live.current.metadata.generation)
        > 0
    {
        retired.wait = Some(env.pace.close);
        return Ok(());
    }
    let mut next = live.status();
    next.former.clone_from(&retired.former);
    next.resources.clone_from(&shares.resources);
    live.confirm_status(next).await?;
    let names: Vec<String> = connections.keys().cloned().collect();
    let mut teardowns = vec![teardown_of(
        env,
        &live.current,
        cloud,
        &BTreeMap::new(),
        &connections,
    )];
    teardowns.extend(retired.former.iter().map(|old| {
        teardown_of(
            env,
            &live.current,
            cloud,
            &old.resources,
            &Connections::new(),
        )
    }));
    for teardown in teardowns {
        match teardown.run().await? {
            Outcome::Done(kept) => {
                live.retained("not shared any more, and kept in AWS", kept)
                    .await;
            }
            Outcome::Progress(message) => {
                retired.pending = Some((Reason::CleaningUp, message));
                retired.wait = Some(Duration::ZERO);
                return Ok(());
            }
            Outcome::Unseen(message) => {
                retired.pending = Some((Reason::CleaningUp, message));
                retired.wait = Some(LOOK_AGAIN);
                return Ok(());
            }
        }
    }
    retired.former.clear();
    retired.gone = names;
    Ok(())
}
