//! Preview of a pass over a fan-out. It writes nothing, neither in AWS nor in the cluster.

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::domain::refusal::Refusal;
use crate::reconcile::fanout::observe::everything;
use crate::reconcile::fanout::resolve::{decide, inputs};
use crate::reconcile::preview::Preview;
use crate::reconcile::record::{left, recorded};
use crate::resource::plan::{Facts, plan};
use crate::state::catalog::Resolved;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;

/// Returns what would be written for the object as it is.
///
/// # Errors
/// Returns what prevents a pass from writing anything.
pub async fn preview(env: &Environment, object: &RepoFanout) -> Result<Preview, Stop> {
    let class = match env.catalog.resolve(object)? {
        Resolved::Others => return Err(served_elsewhere().into()),
        Resolved::Ours(class) => Some(class),
        Resolved::None => None,
    };
    let live = LiveObject::new(env, object);
    let target = decide(env, &live, &inputs(env, object, class)).await?;
    let observed = everything(&live, &target).await?;
    // A new connection gets its ARN when it is created; a placeholder stands in for it.
    let placeholder = target.place.connection("NEW");
    let arn = observed
        .connection
        .as_ref()
        .map_or(placeholder.as_str(), |c| &c.arn);
    let desired = target.desire(Some(arn));
    let facts = Facts {
        owner: &target.fanout.owner,
        place: &target.place,
        hold_pipeline: false,
        former_topics: &[],
        adopt: &target.fanout.adopt,
        settled: None,
        detect: false,
        read_only: true,
        young: None,
        unrecorded: false,
    };
    let plan = plan(&desired, &observed, facts);
    let partition = &target.place.partition;
    let used = recorded(&desired, &observed, partition, None);
    let orphaned = left(&live.status().resources, &used, &desired, partition);
    let mut preview = Preview::of(&target.place);
    preview.add(plan, &desired, &observed, orphaned);
    Ok(preview)
}

fn served_elsewhere() -> Refusal {
    let message = "another installation serves the class: ask that one, with its --controller-name";
    Refusal::new(Reason::NotAllowed, message)
}
