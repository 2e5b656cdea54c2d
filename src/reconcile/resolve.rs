//! Before anything is looked at: what the object asks for, where it is to be, and whether it may be
//! there.

use crate::api::condition::Reason;
use crate::api::status::{FormerStatus, PlacementStatus};
use crate::domain::computed::Computed;
use crate::domain::placement::Placement;
use crate::domain::prefix::Claim;
use crate::domain::refusal::Refusal;
use crate::reconcile::converge::Stop;
use crate::reconcile::fanout::{Pass, Ready};
use crate::spec::fanout;
use crate::spec::fanout::Fanout;
use crate::spec::source::Source;
use crate::state::catalog::Shared;
use crate::state::claims::since;
use crate::state::environment::Context;
use crate::status::Notice;

impl Pass<'_> {
    /// Decides, and takes hold of the object.
    pub(crate) async fn prepare(&mut self) -> Result<Ready, Stop> {
        let ready = self.decide().await?;
        self.object.set_finalizer(true).await?;
        if let Some(recorded) = self
            .object
            .status()
            .placement
            .filter(|r| r.class != ready.place.class)
        {
            self.depart(recorded, &ready.place).await?;
        }
        // Nothing is placed by an operator that makes nothing.
        let recorded = self.object.status().placement.is_some();
        self.saw.place =
            (recorded || !self.context.settings.read_only).then(|| ready.place.clone());
        Ok(ready)
    }

    /// Validates and decides the placement; writes nothing.
    pub(crate) async fn decide(&mut self) -> Result<Ready, Stop> {
        let Context {
            identity, clouds, ..
        } = self.context;
        let class = self
            .class
            .as_ref()
            .map(|class| self.context.parse_class(class))
            .transpose()?;
        let fanout = self.context.fanout(&self.object.current, class.as_ref())?;
        self.saw.interval = Some(fanout.interval);
        let place = fanout.place(identity);
        let recorded = self.object.status().placement;
        let ends = self
            .class
            .as_ref()
            .is_some_and(|class| class.metadata.deletion_timestamp.is_some());
        if ends && recorded.as_ref().is_none_or(|r| r.class != place.class) {
            let name = place.class.as_deref().unwrap_or_default();
            return Err(Refusal::new(
                Reason::NotAllowed,
                format!(
                    "className: RepoFanoutClass {name} is being deleted and takes no new \
                         fan-outs; name another class"
                ),
            )
            .into());
        }
        if let Some(recorded) = recorded.as_ref().filter(|r| r.class == place.class) {
            place.keep(recorded)?;
        }
        fanout.check_place(&place)?;
        let shared = match (&self.class, &class) {
            (Some(object), Some(class)) => Shared::of(object, class, &fanout)
                .map_err(|message| Stop::Wait(Reason::ClassNotReady, message, fanout.interval))?,
            _ => Shared::default(),
        };
        self.refuse_overlap(&fanout, &place)?;
        let cloud = clouds.cloud(fanout.access.as_ref(), &place.region).await;
        if recorded.is_none() {
            self.refuse_second_place(&place).await?;
        }
        Ok(Ready {
            names: Computed::new(&place),
            fanout,
            place,
            cloud,
            shared,
        })
    }

    /// An object that is placed for the first time, by a default class or by none, may have lost
    /// its status: what it has elsewhere is not built a second time.
    async fn refuse_second_place(&self, place: &Placement) -> Result<(), Stop> {
        let object = &self.object.current;
        if object.spec.class_name.is_some() {
            return Ok(());
        }
        let owner = fanout::owner(object, &self.context.settings);
        for other in self.context.places(object, place) {
            let Ok(cloud) = self.context.cloud_of(&other).await else {
                continue;
            };
            let names = Computed::new(&Placement::recorded(&other));
            // A place that cannot be looked into must not keep new objects from others.
            let Ok(Some(pipeline)) = cloud
                .pipelines
                .observe(&names.base, &names.pipeline_arn)
                .await
            else {
                continue;
            };
            if owner.owns(&pipeline.tags) {
                let class = other.class.as_ref().map_or("no class".to_owned(), |name| {
                    format!("RepoFanoutClass {name}")
                });
                return Err(Refusal::new(
                    Reason::PlacementChanged,
                    format!(
                        "the resources were made elsewhere: under {class}, in account {}, region \
                             {}; nothing is built a second time. Write the class that is meant as className",
                        other.account, other.region
                    ),
                )
                .into());
            }
        }
        Ok(())
    }

    /// The spec names another class: what was made so far is used until the new place has been
    /// delivered to.
    async fn depart(&mut self, from: PlacementStatus, to: &Placement) -> Result<(), Stop> {
        let mut next = self.object.status();
        next.former.push(FormerStatus {
            placement: from,
            resources: std::mem::take(&mut next.resources),
        });
        next.placement = Some(to.status());
        next.connection = None;
        next.applied_generation = None;
        next.applied_class_generation = None;
        next.permissions_written_at = None;
        let note = format!(
            "moving to {}: what was made before is used until the new place has been delivered to",
            to.class
                .as_ref()
                .map_or("no class".to_owned(), |name| format!(
                    "RepoFanoutClass {name}"
                ))
        );
        self.object.set_status(next).await?;
        self.object
            .notify(Notice {
                warning: false,
                reason: "ClassChanged".to_owned(),
                note,
            })
            .await;
        self.context.wake_classes();
        Ok(())
    }

    /// Of two objects that copy to the same keys the older one goes on.
    fn refuse_overlap(&self, fanout: &Fanout, place: &Placement) -> Result<(), Stop> {
        if fanout.destination == Source::Own(None) {
            // Its name has a hash of its own: nobody else copies there.
            self.context.unclaim(&fanout.owner);
            return Ok(());
        }
        let names = Computed::new(place);
        let ours = Claim {
            bucket: fanout.destination.name(&names.destination).to_owned(),
            prefix: fanout.prefix.clone(),
            since: since(&self.object.current),
            owner: fanout.owner.clone(),
        };
        let Some(older) = self.context.claim(ours.clone()) else {
            return Ok(());
        };
        let whose = if older.owner.namespace == fanout.owner.namespace {
            format!(
                "RepoFanout {}/{}, which is older, copies under prefix '{}'",
                older.owner.namespace, older.owner.name, older.prefix
            )
        } else {
            "an object of another namespace, which is older, copies under that prefix".to_owned()
        };
        Err(Refusal::new(
            Reason::Overlaps,
            format!(
                "{whose} of bucket {} already; nothing is made here. Choose a destination.prefix beside it",
                ours.bucket
            ),
        )
        .into())
    }
}
