//! What a pass over a class would write, without a pass.

use std::collections::BTreeSet;

use crate::api::RepoFanoutClass;
use crate::domain::kind::Resource;
use crate::reconcile::class::Pass;
use crate::reconcile::converge::Stop;
use crate::reconcile::observe;
use crate::reconcile::preview::Preview;
use crate::reconcile::record::{Resources, left, recorded};
use crate::resource::Desired;
use crate::resource::plan::plan;
use crate::state::environment::Context;

/// What is to be written for the class as it is: its connections one by one, then what it shares
/// beside them.
///
/// # Errors
/// What keeps a pass from writing anything.
pub async fn preview(context: &Context, object: &RepoFanoutClass) -> Result<Preview, Stop> {
    let mut pass = Pass::new(context, object);
    let (class, cloud) = pass.decide().await?;
    let status = pass.object.status();
    let none = BTreeSet::new();
    let nothing = Resources::new();
    let mut all = Preview::of(&class.place);
    let mut known = status.connections.clone();
    for (name, (_, source)) in &class.connections {
        let desired = Desired::of_class_connection(&class, name, source);
        let arn = known.get(name).and_then(|c| c.arn.clone());
        let recorded: Resources = arn
            .into_iter()
            .map(|arn| (Resource::Connection.as_str().to_owned(), arn))
            .collect();
        let observed =
            observe::observe(&cloud, &desired, &class.owner, &recorded, &BTreeSet::new()).await?;
        let plan = plan(&desired, &observed, pass.facts(&class, &nothing, &none));
        let entry = known.entry(name.clone()).or_default();
        entry.arn = Some(
            observed
                .connection
                .as_ref()
                .map_or_else(|| class.place.connection("NEW"), |found| found.arn.clone()),
        );
        all.add(plan, &desired, &observed, Resources::new());
    }
    pass.saw.connections = Some(known);
    let desired = pass.desire(&class);
    let observed = observe::observe(
        &cloud,
        &desired,
        &class.owner,
        &status.resources,
        &BTreeSet::new(),
    )
    .await?;
    let plan = plan(&desired, &observed, pass.facts(&class, &nothing, &none));
    let used = recorded(&desired, &observed, &class.place.partition);
    let left = left(&status.resources, &used, &desired, &class.place.partition);
    all.add(plan, &desired, &observed, left);
    Ok(all)
}
