//! Resolves what an object asks for, where it is placed, and whether it may be placed there. All of
//! this is decided before AWS is observed.

use jiff::Timestamp;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::{FormerStatus, PlacementStatus};
use crate::domain::computed::Computed;
use crate::domain::placement::Placement;
use crate::domain::prefix::Claim;
use crate::domain::refusal::Refusal;
use crate::reconcile::fanout::quick;
use crate::spec::fanout;
use crate::spec::fanout::Fanout;
use crate::spec::source::Source;
use crate::state::catalog::Known;
use crate::state::claims::since;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::recorder::Notice;
use crate::state::stop::Stop;
use crate::state::target::{Inputs, Shared, Target};

/// Reads the inputs of a pass.
pub fn inputs(env: &Environment, object: &RepoFanout, class: Option<Known>) -> Inputs {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    Inputs {
        now: Timestamp::now(),
        basis: quick::basis(env, object, class.as_ref()),
        receipts: env.memory.receipts(uid),
        class,
    }
}

/// Resolves the target, adds the finalizer, and begins a move if the class changed.
pub async fn resolve(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    inputs: &Inputs,
) -> Result<Target, Stop> {
    let mut target = decide(env, live, inputs).await?;
    live.set_finalizer(true).await?;
    let recorded = live.status().placement;
    if let Some(from) = recorded.filter(|recorded| recorded.class != target.place.class) {
        begin_move(env, live, from, &target.place).await?;
    }
    // A read-only operator places nothing.
    target.placed = live.status().placement.is_some() || !env.settings().read_only;
    Ok(target)
}

/// Validates the object and decides its placement. Writes nothing.
pub async fn decide(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    inputs: &Inputs,
) -> Result<Target, Stop> {
    let catalog = &env.catalog;
    let class = inputs
        .class
        .as_ref()
        .map(|class| catalog.parse_class(class))
        .transpose()?;
    let fanout = catalog.fanout(&live.current, class.as_ref())?;
    let place = fanout.place(&catalog.identity);
    let recorded = live.status().placement;
    let stays = |recorded: &&PlacementStatus| recorded.class == place.class;
    let is_deleting = |class: &Known| class.metadata.deletion_timestamp.is_some();
    if inputs.class.as_ref().is_some_and(is_deleting) && recorded.as_ref().filter(stays).is_none() {
        let name = place.class.as_deref().unwrap_or_default();
        let message = format!(
            "className: RepoFanoutClass {name} is being deleted and takes no new fan-outs; name \
             another class"
        );
        return Err(Refusal::new(Reason::NotAllowed, message).into());
    }
    if let Some(recorded) = recorded.as_ref().filter(stays) {
        place.keep(recorded)?;
    }
    fanout.check_place(&place)?;
    let shared = match (&inputs.class, &class) {
        (Some(object), Some(class)) => Shared::of(object, class, &fanout)
            .map_err(|message| Stop::Wait(Reason::ClassNotReady, message, fanout.interval))?,
        _ => Shared::default(),
    };
    refuse_overlap(env, live, &fanout, &place)?;
    let cloud = env
        .clouds
        .cloud(fanout.access.as_ref(), &place.region)
        .await;
    if recorded.is_none() {
        refuse_second_place(env, live, &place).await?;
    }
    Ok(Target {
        now: inputs.now,
        names: Computed::new(&place),
        placed: recorded.is_some(),
        class: inputs.basis.class,
        feed: inputs.basis.feed,
        notified: !inputs.receipts.is_empty(),
        fanout,
        place,
        cloud,
        shared,
    })
}

/// Refuses to create a second set of resources. An object without a recorded placement and without
/// a named class may have lost its status, and its resources may be in another place.
async fn refuse_second_place(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    place: &Placement,
) -> Result<(), Stop> {
    let object = &live.current;
    if object.spec.class_name.is_some() {
        return Ok(());
    }
    let owner = fanout::owner(object, env.settings());
    for other in env.catalog.places(object, place) {
        let Ok(cloud) = env.cloud_of(&other).await else {
            continue;
        };
        let names = Computed::new(&Placement::recorded(&other));
        // A place that cannot be observed does not block new objects in other places.
        let found = cloud
            .pipelines
            .observe(&names.base, &names.pipeline_arn)
            .await;
        let Ok(Some(pipeline)) = found else { continue };
        if owner.owns(&pipeline.tags) {
            let class = describe_class(other.class.as_deref());
            let message = format!(
                "the resources were made elsewhere: under {class}, in account {}, region {}; \
                 nothing is built a second time. Write the class that is meant as className",
                other.account, other.region
            );
            return Err(Refusal::new(Reason::PlacementChanged, message).into());
        }
    }
    Ok(())
}

/// Begins a move because the spec names another class. The existing resources stay in use until the
/// new place has a delivery.
async fn begin_move(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    from: PlacementStatus,
    to: &Placement,
) -> Result<(), Stop> {
    let mut next = live.status();
    let resources = std::mem::take(&mut next.resources);
    next.former.push(FormerStatus {
        placement: from,
        resources,
    });
    next.placement = Some(to.status());
    next.connection = None;
    next.applied_generation = None;
    next.applied_class_generation = None;
    next.permissions_written_at = None;
    let note = format!(
        "moving to {}: what was made before is used until the new place has been delivered to",
        describe_class(to.class.as_deref())
    );
    live.set_status(next).await?;
    live.notify(Notice::normal("ClassChanged", note)).await;
    env.catalog.wake_all();
    Ok(())
}

fn describe_class(class: Option<&str>) -> String {
    class.map_or_else(
        || "no class".to_owned(),
        |name| format!("RepoFanoutClass {name}"),
    )
}

/// Refuses a destination that an older object copies to already.
fn refuse_overlap(
    env: &Environment,
    live: &LiveObject<'_, RepoFanout>,
    fanout: &Fanout,
    place: &Placement,
) -> Result<(), Stop> {
    if fanout.destination == Source::Own(None) {
        // The bucket's name contains a hash of the owner, so no other object copies there.
        env.unclaim(&fanout.owner);
        return Ok(());
    }
    let names = Computed::new(place);
    let bucket = fanout.destination.name(&names.destination).to_owned();
    let claim = Claim {
        bucket: bucket.clone(),
        prefix: fanout.prefix.clone(),
        since: since(&live.current),
        owner: fanout.owner.clone(),
    };
    let Some(older) = env.claim(claim) else {
        return Ok(());
    };
    let copier = if older.owner.namespace == fanout.owner.namespace {
        format!(
            "RepoFanout {}/{}, which is older, copies under prefix '{}'",
            older.owner.namespace, older.owner.name, older.prefix
        )
    } else {
        "an object of another namespace, which is older, copies under that prefix".to_owned()
    };
    let message = format!(
        "{copier} of bucket {bucket} already; nothing is made here. Choose a destination.prefix \
         beside it"
    );
    Err(Refusal::new(Reason::Overlaps, message).into())
}
