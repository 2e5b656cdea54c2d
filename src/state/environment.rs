//! The environment of every pass: the cluster, the cloud, the settings and the memory.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};

use crate::api::RepoFanout;
use crate::api::status::PlacementStatus;
use crate::cloud::{Cloud, Clouds};
use crate::domain::execution::StageLimits;
use crate::domain::owner::Owner;
use crate::domain::prefix::Claim;
use crate::domain::settings::{Identity, Settings};
use crate::metrics::Metrics;
use crate::spec::fanout;
use crate::state::catalog::Catalog;
use crate::state::claims::ClaimIndex;
use crate::state::event_feed::Feeds;
use crate::state::fleet::Fleet;
use crate::state::memory::Memory;
use crate::state::recorder::Recorder;

/// How often AWS is observed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two observations of executions while none runs.
    pub idle: Duration,
    /// Time between two observations while an execution runs or a connection is new.
    pub close: Duration,
    /// Time after a creation of our own within which AWS may not show the new resource.
    pub settle: Duration,
    /// Time after which a running pass counts as stuck.
    pub stuck: Duration,
    /// Time after which a stage of an execution counts as stuck.
    pub stages: StageLimits,
}

impl Pace {
    /// Whether what was created at this time may not be shown by AWS yet.
    pub fn is_young(self, created_at: Option<Timestamp>, now: Timestamp) -> bool {
        created_at.is_some_and(|at| now.duration_since(at).unsigned_abs() < self.settle)
    }
}

/// The environment of every pass. Nothing in it decides anything: if it is lost, everything is
/// observed again.
pub struct Environment {
    /// Client of the cluster.
    pub client: Client,
    /// AWS clients by account and region.
    pub clouds: Arc<dyn Clouds>,
    /// How often AWS is observed.
    pub pace: Pace,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Publishes events.
    pub recorder: Recorder,
    /// Classes, the labels of namespaces, and the settings.
    pub catalog: Catalog,
    /// The fan-outs of this process.
    pub fleet: Fleet,
    /// Memory of each object.
    pub memory: Memory,
    /// Index of the destinations that objects claim.
    pub claims: ClaimIndex,
    /// Feeds of execution events.
    pub feeds: Feeds,
}

impl Environment {
    /// Creates an environment that knows no object yet.
    pub fn new(
        client: Client,
        clouds: Arc<dyn Clouds>,
        identity: Identity,
        settings: Settings,
        pace: Pace,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), &settings.controller),
            client,
            clouds,
            pace,
            metrics,
            catalog: Catalog::new(settings, identity),
            fleet: Fleet::default(),
            memory: Memory::default(),
            claims: ClaimIndex::default(),
            feeds: Feeds::default(),
        }
    }

    /// Settings that hold for every object.
    pub fn settings(&self) -> &Settings {
        &self.catalog.settings
    }

    /// Wakes every object, so that each checks whether something changed for it.
    pub fn wake_all(&self) {
        self.catalog.wake_all();
        self.fleet.wake_all();
    }

    /// Returns the cloud of a placement, or the cause why it cannot be reached.
    pub async fn cloud_of(&self, place: &PlacementStatus) -> Result<Cloud, String> {
        let access = self.catalog.access(place)?;
        Ok(self.clouds.cloud(access.as_ref(), &place.region).await)
    }

    /// Claims a destination for an object. Returns an older claim on the same keys, if there is
    /// one, and reconciles the owners of younger claims.
    pub fn claim(&self, claim: Claim) -> Option<Claim> {
        let claimed = self.claims.claim(claim, || self.all_claims());
        self.notify_owners(&claimed.younger);
        claimed.older
    }

    /// Releases an object's claim, and reconciles the owners of younger claims on the same keys.
    pub fn unclaim(&self, owner: &Owner) {
        let younger = self.claims.release(owner, || self.all_claims());
        self.notify_owners(&younger);
    }

    fn all_claims(&self) -> Vec<Claim> {
        let all = self.fleet.all();
        let readable = all.iter().filter_map(|g| g.0.as_ref().ok());
        readable
            .filter_map(|object| self.catalog.claim_of(object))
            .collect()
    }

    fn notify_owners(&self, owners: &[Owner]) {
        for served in self.fleet.served() {
            for owner in owners {
                let reference = ObjectRef::new(&owner.name).within(&owner.namespace);
                let Some(guarded) = served.store.get(&reference) else {
                    continue;
                };
                self.memory.notify(&guarded.uid().unwrap_or_default());
                let _ = served.wake.send(reference);
            }
        }
    }

    /// Acknowledges the execution events that a pass over the object has handled.
    pub fn acknowledge(&self, object: &RepoFanout, receipts: &[String]) {
        if receipts.is_empty() {
            return;
        }
        self.memory
            .acknowledged(&object.uid().unwrap_or_default(), receipts);
        let placement = object.status.as_ref().and_then(|s| s.placement.as_ref());
        if let Some(class) = placement.and_then(|p| p.class.as_ref()) {
            self.feeds.acknowledge(class, receipts.to_vec());
        }
    }

    /// Forgets a deleted object.
    pub fn forget(&self, object: &RepoFanout) {
        let uid = object.uid().unwrap_or_default();
        self.acknowledge(object, &self.memory.receipts(&uid));
        self.memory.forget(&uid);
        self.fleet.released(uid);
        self.unclaim(&fanout::owner(object, self.settings()));
    }
}
