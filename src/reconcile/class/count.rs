//! Counts the fan-outs of a class and the use of the account's quotas.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use tracing::warn;

use crate::api::RepoFanoutClass;
use crate::api::class::QuotaStatus;
use crate::cloud::Cloud;
use crate::cloud::quota;
use crate::cloud::quota::Quota;
use crate::reconcile::class::observe::decide;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::status;
use crate::status::{ClassObservation, PassOutcome, Progress};

/// Minimum time between two writes of the number of fan-outs.
pub const EVERY: Duration = Duration::from_secs(60);
/// The quotas that are counted, by their names on status.
const QUOTAS: [(&str, Quota); 4] = [
    ("connections", quota::CONNECTIONS),
    ("notification_rules", quota::NOTIFICATION_RULES),
    ("pipelines", quota::PIPELINES),
    ("roles", quota::ROLES),
];

/// Returns how much of the quotas is used, by lists that are at most `age` old. A failure is only
/// logged and blocks nothing.
pub async fn quotas(cloud: &Cloud, age: Duration) -> Option<BTreeMap<String, QuotaStatus>> {
    let counted = tokio::try_join!(
        cloud.connections.count(age),
        cloud.notification_rules.list(age),
        cloud.pipelines.list(age),
        cloud.roles.count(),
    );
    match counted {
        Ok((connections, rules, pipelines, roles)) => {
            let used = [connections, rules.len(), pipelines.len(), roles];
            let quotas = QUOTAS.iter().zip(used).map(|((name, quota), used)| {
                let used = i32::try_from(used).unwrap_or(i32::MAX);
                (
                    (*name).to_owned(),
                    QuotaStatus {
                        used,
                        limit: quota.limit.unwrap_or(i32::MAX),
                    },
                )
            });
            Some(quotas.collect())
        }
        Err(error) => {
            warn!(%error, "cannot count the use of quotas");
            None
        }
    }
}

/// Returns how many fan-outs use the class.
pub fn users(env: &Environment, live: &LiveObject<'_, RepoFanoutClass>) -> i32 {
    i32::try_from(env.fleet.users(&live.current.name_any()).len()).unwrap_or(i32::MAX)
}

/// Writes the number of fan-outs and the use of the quotas if they changed, and rests.
///
/// # Errors
/// Returns the API server's error if it rejected the status.
pub async fn run(
    env: &Environment,
    mut live: LiveObject<'_, RepoFanoutClass>,
    rest: Duration,
) -> Result<Requeue, kube::Error> {
    let uid = live.uid();
    if let Some(wait) = env.memory.counted_within(&uid, EVERY) {
        return Ok(Requeue::requeue(rest.min(wait)));
    }
    let (before, users) = (live.status(), users(env, &live));
    let changed = before.fanouts != Some(users);
    if !changed && !env.memory.counts_again(&uid) {
        return Ok(Requeue::requeue(rest));
    }
    let quotas = match decide(env, &live, Timestamp::now()).await {
        Ok(target) => quotas(&target.cloud, Duration::ZERO).await,
        Err(_) => None,
    };
    let mut next = before.clone();
    next.fanouts = Some(users);
    let outcome = PassOutcome {
        generation: live.current.metadata.generation,
        concluded: false,
        progress: Progress::Unchanged,
    };
    let next = status::class_status(&next, ClassObservation { outcome, quotas });
    if next != before {
        live.set_status(next).await?;
    }
    env.memory.counted(&uid, changed);
    env.memory.concluded(&uid, live.basis(), rest);
    // A new fan-out has created its resources by the next count.
    Ok(Requeue::requeue(if changed {
        rest.min(EVERY)
    } else {
        rest
    }))
}
