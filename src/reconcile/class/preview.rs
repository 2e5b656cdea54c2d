//! Preview of a pass over a class. It writes nothing, neither in AWS nor in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::RepoFanoutClass;
use crate::reconcile::class::converge::{
    desired_connection, desired_shares, facts, recorded_connection,
};
use crate::reconcile::class::observe::decide;
use crate::reconcile::class::report::Target;
use crate::reconcile::observe;
use crate::reconcile::preview::Preview;
use crate::reconcile::record::{left, recorded};
use crate::resource::plan::plan;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;

/// Returns what would be written for the class as it is: first each connection, then the other
/// shared resources.
///
/// # Errors
/// Returns what prevents a pass from writing anything.
pub async fn preview(env: &Environment, object: &RepoFanoutClass) -> Result<Preview, Stop> {
    let live = LiveObject::new(env, object);
    let Target { class, cloud, .. } = decide(env, &live, Timestamp::now()).await?;
    let status = live.status();
    let (none, nothing) = (BTreeSet::new(), BTreeMap::new());
    let facts = facts(env, &live, &class, &nothing, &none, None);
    let mut all = Preview::of(&class.place);
    let mut known = status.connections.clone();
    for name in class.connections.keys() {
        let desired = desired_connection(&class, name);
        let recorded = recorded_connection(&status, name);
        let observed = observe::observe(&cloud, &desired, &class.owner, &recorded, &none).await?;
        let found = observed.connection.as_ref().map(|found| found.arn.clone());
        let arn = found.unwrap_or_else(|| class.place.connection("NEW"));
        known.entry(name.clone()).or_default().arn = Some(arn);
        all.add(
            plan(&desired, &observed, facts),
            &desired,
            &observed,
            BTreeMap::new(),
        );
    }
    let desired = desired_shares(&class, &known);
    let observed =
        observe::observe(&cloud, &desired, &class.owner, &status.resources, &none).await?;
    let plan = plan(&desired, &observed, facts);
    let partition = &class.place.partition;
    let used = recorded(&desired, &observed, partition, None);
    let orphaned = left(&status.resources, &used, &desired, partition);
    all.add(plan, &desired, &observed, orphaned);
    Ok(all)
}
