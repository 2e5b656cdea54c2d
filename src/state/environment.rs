//! What every pass needs: the cluster, the cloud, the settings, and what is known of all objects.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use k8s_controller::events::{Event, EventRecorder, EventType, PublishError};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::events::Reporter;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::cloud::{Clouds, Error};
use crate::domain::settings::{Identity, Settings};
use crate::metrics::Metrics;
use crate::runtime::fair_queue::Turns;
use crate::runtime::health::Gate;
use crate::spec::fanout;
use crate::state::memory::Memos;
use crate::state::{claims, event_feed};

/// A recorder looks through all that it has published within ten minutes whenever it publishes: of
/// ten thousand objects that fail, several share that work.
const RECORDERS: usize = 32;

/// An object that this version may not be able to read.
pub type Guarded<K> = DeserializeGuard<K>;

/// How often AWS is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at executions while none runs.
    pub idle: Duration,
    /// Between two looks while an execution runs or a connection was just made.
    pub close: Duration,
    /// After which a pass counts as stuck.
    pub stuck: Duration,
}

/// The cache of some objects, and the way to have one of them looked at.
#[derive(Clone)]
pub struct Served {
    /// The cache.
    pub store: Store<Guarded<RepoFanout>>,
    /// Has an object looked at.
    pub wake: mpsc::UnboundedSender<ObjectRef<Guarded<RepoFanout>>>,
}

/// What every pass needs.
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// AWS, by account and region.
    pub clouds: Arc<dyn Clouds>,
    /// Whose credentials the operator has.
    pub identity: Identity,
    /// What holds for every object.
    pub settings: Settings,
    /// How often AWS is looked at.
    pub pace: Pace,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    pub(crate) gate: Gate,
    reporter: Reporter,
    warnings: Vec<EventRecorder>,
    pub(crate) memos: Memos,
    pub(crate) turns: Turns,
    pub(crate) claims: claims::Index,
    pub(crate) feeds: event_feed::Feeds,
    pub(crate) told: mpsc::Sender<event_feed::Told>,
    pub(crate) telling: Mutex<Option<mpsc::Receiver<event_feed::Told>>>,
    /// How many objects there are in an account and region, as counted then.
    pub(crate) crowds: Mutex<HashMap<(String, String), (Instant, u32)>>,
    pub(crate) fanouts: Mutex<Vec<Served>>,
    pub(crate) classes: OnceLock<Store<Guarded<RepoFanoutClass>>>,
    pub(crate) namespaces: OnceLock<Store<PartialObjectMeta<Namespace>>>,
    /// Uids of objects whose finalizer is off, and that the caches may still tell of.
    pub(crate) released: Mutex<HashSet<String>>,
    pub(crate) wake_fanouts: watch::Sender<()>,
    pub(crate) wake_classes: watch::Sender<()>,
}

impl Context {
    /// A context that reports events under the settings' controller name.
    pub fn new(
        client: Client,
        clouds: Arc<dyn Clouds>,
        identity: Identity,
        settings: Settings,
        pace: Pace,
        concurrency: u16,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter {
            controller: format!("repofanout.dev/{}", settings.controller),
            instance: None,
        };
        let warnings = (0..RECORDERS)
            .map(|_| EventRecorder::new(client.clone(), reporter.clone()))
            .collect();
        let (told, telling) = mpsc::channel(1);
        Self {
            client,
            clouds,
            identity,
            settings,
            pace,
            metrics,
            gate: Gate::default(),
            reporter,
            warnings,
            memos: Memos::default(),
            turns: Turns::new(concurrency),
            claims: claims::Index::default(),
            feeds: event_feed::Feeds::default(),
            told,
            telling: Mutex::new(Some(telling)),
            crowds: Mutex::default(),
            fanouts: Mutex::default(),
            classes: OnceLock::new(),
            namespaces: OnceLock::new(),
            released: Mutex::default(),
            wake_fanouts: watch::Sender::new(()),
            wake_classes: watch::Sender::new(()),
        }
    }

    /// Publishes an event. A warning counts as one more of the last one of its kind where they are
    /// alike; anything else happens once, and nothing is kept of it.
    pub(crate) async fn publish<K>(&self, object: &K, event: &Event) -> Result<(), PublishError>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        if event.type_ == EventType::Normal {
            return EventRecorder::new(self.client.clone(), self.reporter.clone())
                .publish(object, event)
                .await;
        }
        let mut hasher = DefaultHasher::new();
        object.meta().uid.hash(&mut hasher);
        self.warnings[hasher.finish() as usize % RECORDERS]
            .publish(object, event)
            .await
    }

    /// The caches of what is served.
    pub(crate) fn served(&self) -> Vec<Served> {
        self.fanouts.lock().expect("no panic while held").clone()
    }

    /// All objects that are served.
    pub(crate) fn guarded(&self) -> Vec<Arc<Guarded<RepoFanout>>> {
        self.served()
            .iter()
            .flat_map(|served| served.store.state())
            .collect()
    }

    /// The object as the caches have it now.
    pub(crate) fn latest(&self, object: &Arc<Guarded<RepoFanout>>) -> Arc<Guarded<RepoFanout>> {
        let reference = ObjectRef::from_obj(&**object);
        let found = self
            .served()
            .iter()
            .find_map(|served| served.store.get(&reference));
        found.unwrap_or_else(|| Arc::clone(object))
    }

    /// Has an object looked at; one that is gone is found to be so.
    pub(crate) fn wake(&self, object: ObjectRef<Guarded<RepoFanout>>) {
        let served = self.served();
        let its = served
            .iter()
            .find(|served| served.store.get(&object).is_some());
        if let Some(served) = its.or(served.first()) {
            let _ = served.wake.send(object);
        }
    }

    /// How many objects there are in that account and region, as counted within the last minute.
    pub(crate) fn crowd(&self, account: &str, region: &str) -> u32 {
        const COUNTED: Duration = Duration::from_secs(60);
        let key = (account.to_owned(), region.to_owned());
        let mut crowds = self.crowds.lock().expect("no panic while held");
        if let Some((_, count)) = crowds.get(&key).filter(|(at, _)| at.elapsed() < COUNTED) {
            return *count;
        }
        let there = |guarded: &Arc<Guarded<RepoFanout>>| {
            let status = guarded
                .0
                .as_ref()
                .ok()
                .and_then(|object| object.status.as_ref());
            status
                .and_then(|s| s.placement.as_ref())
                .is_some_and(|p| p.account == account && p.region == region)
        };
        let count = self
            .guarded()
            .iter()
            .filter(|guarded| there(guarded))
            .count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        crowds.insert(key, (Instant::now(), count));
        count
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, object: &RepoFanout) {
        let uid = object.uid().unwrap_or_default();
        self.heeded(object, &uid, &self.memos.heard(&uid));
        self.memos.forget(&uid);
        self.released
            .lock()
            .expect("no panic while held")
            .insert(uid);
        self.unclaim(&fanout::owner(object, &self.settings));
    }

    /// What was heard of the object was looked into.
    pub(crate) fn heeded(&self, object: &RepoFanout, uid: &str, receipts: &[String]) {
        if receipts.is_empty() {
            return;
        }
        self.memos.heeded(uid, receipts);
        let placement = object.status.as_ref().and_then(|s| s.placement.as_ref());
        if let Some(class) = placement.and_then(|p| p.class.as_ref()) {
            self.feeds.heeded(class, receipts.to_vec());
        }
    }

    /// Has every fan-out ask itself whether its class changed.
    pub(crate) fn wake_fanouts(&self) {
        self.wake_fanouts.send_replace(());
    }

    /// Has every class ask itself who uses it.
    pub(crate) fn wake_classes(&self) {
        self.wake_classes.send_replace(());
    }

    /// Has everything looked at: what came before passes might run was let go.
    pub(crate) fn wake_all(&self) {
        self.wake_classes();
        self.wake_fanouts();
    }
}

/// The full text of what AWS said is for the log alone: it may name what belongs to others.
pub fn log_error(error: &Error) {
    let Error {
        call,
        code,
        request_id,
        class,
        message,
        ..
    } = error;
    warn!(call, ?code, ?request_id, ?class, %message, "AWS");
}
