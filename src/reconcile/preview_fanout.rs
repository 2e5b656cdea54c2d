//! What a pass would write, without a pass: nothing is written, in AWS or in the cluster.

use crate::api::RepoFanout;
use crate::domain::refusal::Refusal;
use crate::reconcile::converge::Stop;
use crate::reconcile::fanout::{Pass, Ready};
use crate::reconcile::preview::Preview;
use crate::reconcile::record::{left, recorded};
use crate::resource::Observed;
use crate::resource::plan::{Facts, plan};
use crate::state::catalog::Resolved;
use crate::state::environment::Context;

/// What is to be written for the object as it is.
///
/// # Errors
/// What keeps a pass from writing anything.
pub async fn preview(context: &Context, object: &RepoFanout) -> Result<Preview, Stop> {
    let class = match context.resolve(object)? {
        Resolved::Others => return Err(others().into()),
        Resolved::Ours(class) => Some(class),
        Resolved::None => None,
    };
    let mut pass = Pass::new(context, object, class);
    let ready = pass.decide().await?;
    let observed = pass.observe(&ready).await?;
    Ok(pass.preview(&ready, observed))
}

fn others() -> Refusal {
    let message = "another installation serves the class: ask that one, with its --controller-name";
    Refusal::new(crate::api::condition::Reason::NotAllowed, message)
}

impl Pass<'_> {
    fn preview(&self, ready: &Ready, observed: Observed) -> Preview {
        let status = self.object.status();
        let partition = &ready.place.partition;
        // The ARN of a connection is known once it is made.
        let made = ready.place.connection("NEW");
        let arn = observed
            .connection
            .as_ref()
            .map_or(made.as_str(), |c| &c.arn);
        let desired = ready.desire(Some(arn));
        let facts = Facts {
            owner: &ready.fanout.owner,
            place: &ready.place,
            hold_pipeline: false,
            former_topics: &[],
            adopt: &ready.fanout.adopt,
            settled: None,
            detect: false,
            read_only: true,
            unrecorded: false,
        };
        let plan = plan(&desired, &observed, facts);
        let used = recorded(&desired, &observed, partition);
        let left = left(&status.resources, &used, &desired, partition);
        let mut preview = Preview::of(&ready.place);
        preview.add(plan, &desired, &observed, left);
        preview
    }
}
