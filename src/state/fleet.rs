//! The caches of all fan-outs that this process serves, and the channels that wake them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use tokio::sync::{mpsc, watch};

use crate::api::{FINALIZER, RepoFanout};

/// An object that this version may not be able to read.
pub type Guarded<K> = DeserializeGuard<K>;

/// Time for which a count of the fan-outs in an account and region is valid.
const COUNT_VALID_FOR: Duration = Duration::from_secs(60);

/// The cache of one watch, and the channel to its controller.
#[derive(Clone)]
pub struct Served {
    /// The cache.
    pub store: Store<Guarded<RepoFanout>>,
    /// Every object that is sent here is reconciled.
    pub wake: mpsc::UnboundedSender<ObjectRef<Guarded<RepoFanout>>>,
}

/// All fan-outs that are served, across all watches.
#[derive(Default)]
pub struct Fleet {
    served: Mutex<Vec<Served>>,
    /// Number of fan-outs by account and region, and when they were counted.
    sizes: Mutex<HashMap<(String, String), (Instant, usize)>>,
    /// Uids of objects whose finalizer is removed, and which the caches may still hold.
    released: Mutex<HashSet<String>>,
    wake: watch::Sender<()>,
}

impl Fleet {
    /// Adds the cache of one more watch.
    pub fn serve(&self, served: Served) {
        self.served
            .lock()
            .expect("no panic while held")
            .push(served);
    }

    /// Returns the caches.
    pub fn served(&self) -> Vec<Served> {
        self.served.lock().expect("no panic while held").clone()
    }

    /// Returns all objects, including those that this version cannot read.
    pub fn all(&self) -> Vec<Arc<Guarded<RepoFanout>>> {
        self.served()
            .iter()
            .flat_map(|served| served.store.state())
            .collect()
    }

    /// Returns the object as it is cached now.
    pub fn latest(&self, object: &Arc<Guarded<RepoFanout>>) -> Arc<Guarded<RepoFanout>> {
        let reference = ObjectRef::from_obj(&**object);
        let found = self
            .served()
            .iter()
            .find_map(|served| served.store.get(&reference));
        found.unwrap_or_else(|| Arc::clone(object))
    }

    /// Wakes an object. For a deleted object, its controller then notices that it is gone.
    pub fn wake(&self, object: ObjectRef<Guarded<RepoFanout>>) {
        let served = self.served();
        let holder = served
            .iter()
            .find(|served| served.store.get(&object).is_some());
        if let Some(served) = holder.or(served.first()) {
            let _ = served.wake.send(object);
        }
    }

    /// Wakes every fan-out, so that each checks whether something changed for it.
    pub fn wake_all(&self) {
        self.wake.send_replace(());
    }

    /// Returns a channel that changes with each [`Self::wake_all`].
    pub fn wakes(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// Returns the number of fan-outs in an account and region, as counted within the last minute.
    pub fn size(&self, account: &str, region: &str) -> usize {
        let key = (account.to_owned(), region.to_owned());
        let mut sizes = self.sizes.lock().expect("no panic while held");
        if let Some((_, size)) = sizes
            .get(&key)
            .filter(|(at, _)| at.elapsed() < COUNT_VALID_FOR)
        {
            return *size;
        }
        let there = |guarded: &Arc<Guarded<RepoFanout>>| {
            let status = guarded
                .0
                .as_ref()
                .ok()
                .and_then(|object| object.status.as_ref());
            let placement = status.and_then(|s| s.placement.as_ref());
            placement.is_some_and(|p| p.account == account && p.region == region)
        };
        let size = self.all().iter().filter(|guarded| there(guarded)).count();
        sizes.insert(key, (Instant::now(), size));
        size
    }

    /// Remembers that an object released its resources, because the caches may hold it for a while
    /// longer.
    pub fn released(&self, uid: String) {
        self.released
            .lock()
            .expect("no panic while held")
            .insert(uid);
    }

    /// Returns the number of objects that do not match this generation of their class yet.
    pub fn behind(&self, class: &str, generation: Option<i64>) -> usize {
        let follows = |object: &RepoFanout| {
            let status = object.status.as_ref();
            let placement = status.and_then(|s| s.placement.as_ref());
            placement.and_then(|p| p.class.as_deref()) != Some(class)
                || status.and_then(|s| s.applied_class_generation) == generation
        };
        let behind = |g: &&Arc<Guarded<RepoFanout>>| g.0.as_ref().map_or(true, |o| !follows(o));
        self.all().iter().filter(behind).count()
    }

    /// Returns the objects that use the class or have orphaned resources in it. An object that this
    /// version cannot read counts as a user.
    pub fn users(&self, class: &str) -> Vec<Arc<Guarded<RepoFanout>>> {
        let mut all = self.all();
        let mut released = self.released.lock().expect("no panic while held");
        if !released.is_empty() {
            let known: HashSet<String> = all.iter().filter_map(|g| g.uid()).collect();
            released.retain(|uid| known.contains(uid));
        }
        let uses = |guarded: &Guarded<RepoFanout>| match &guarded.0 {
            Ok(object) => {
                let status = object.status.as_ref();
                let present = status.and_then(|s| s.placement.as_ref()).into_iter();
                let orphaned = status
                    .into_iter()
                    .flat_map(|s| s.former.iter().map(|f| &f.placement));
                present
                    .chain(orphaned)
                    .any(|p| p.class.as_deref() == Some(class))
            }
            Err(_) => guarded
                .meta()
                .finalizers
                .iter()
                .flatten()
                .any(|f| f == FINALIZER),
        };
        all.retain(|g| uses(g) && g.uid().is_none_or(|uid| !released.contains(&uid)));
        all
    }
}
