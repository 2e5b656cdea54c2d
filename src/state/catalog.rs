//! Resolves which class an object uses, and what the class provides for it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::OnceLock;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

use crate::api::condition::Reason;
use crate::api::status::PlacementStatus;
use crate::api::{IS_DEFAULT_CLASS, RepoFanout, RepoFanoutClass};
use crate::domain::computed::Computed;
use crate::domain::names;
use crate::domain::placement::Placement;
use crate::domain::prefix::Claim;
use crate::domain::refusal::Refusal;
use crate::domain::settings::{AssumeRole, Identity, Settings};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::policy::Policy;
use crate::spec::{class, fanout};
use crate::state::claims::since;

/// A cached class that this version can read.
#[derive(Clone)]
pub struct Known(Arc<DeserializeGuard<RepoFanoutClass>>);

impl Known {
    fn of(guarded: Arc<DeserializeGuard<RepoFanoutClass>>) -> Option<Self> {
        guarded.0.is_ok().then_some(Self(guarded))
    }
}

impl Deref for Known {
    type Target = RepoFanoutClass;

    fn deref(&self) -> &RepoFanoutClass {
        self.0
            .0
            .as_ref()
            .expect("only readable classes are wrapped")
    }
}

/// The class of an object.
pub enum Resolved {
    /// The object uses no class.
    None,
    /// The object uses this class.
    Ours(Known),
    /// The object uses a class of another installation, which then serves the object, too.
    Others,
}

/// A key that changes with everything that fan-outs take from the class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassKey {
    /// Generation of its spec. Fan-outs follow a change of it over time.
    pub generation: i64,
    /// Hash of the resources that the class created, such as authorized connections and buckets.
    pub made: u64,
}

impl ClassKey {
    /// Computes the key of the class for a namespace with these labels.
    pub fn of(class: &RepoFanoutClass, labels: &BTreeMap<String, String>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&class.metadata.uid, labels).hash(&mut hasher);
        if let Some(status) = &class.status {
            status.resources.hash(&mut hasher);
            for (name, connection) in &status.connections {
                (name, &connection.arn, &connection.status).hash(&mut hasher);
            }
            status
                .destination_created_at
                .map(|at| at.as_second())
                .hash(&mut hasher);
        }
        Self {
            generation: class.metadata.generation.unwrap_or_default(),
            made: hasher.finish(),
        }
    }
}

/// The cached classes and namespace labels, and the settings under which objects are parsed.
pub struct Catalog {
    /// Settings that hold for every object.
    pub settings: Settings,
    /// Identity of the operator's credentials.
    pub identity: Identity,
    classes: OnceLock<Store<DeserializeGuard<RepoFanoutClass>>>,
    namespaces: OnceLock<Store<PartialObjectMeta<Namespace>>>,
    wake: watch::Sender<()>,
}

impl Catalog {
    /// Creates a catalog that knows no class and no namespace yet.
    pub fn new(settings: Settings, identity: Identity) -> Self {
        Self {
            settings,
            identity,
            classes: OnceLock::new(),
            namespaces: OnceLock::new(),
            wake: watch::Sender::new(()),
        }
    }

    /// Sets the cache of classes.
    pub fn follow_classes(&self, store: Store<DeserializeGuard<RepoFanoutClass>>) {
        let _ = self.classes.set(store);
    }

    /// Sets the cache of namespaces.
    pub fn follow_namespaces(&self, store: Store<PartialObjectMeta<Namespace>>) {
        let _ = self.namespaces.set(store);
    }

    /// Returns the cache of namespaces, once it is set.
    pub fn namespaces(&self) -> Option<&Store<PartialObjectMeta<Namespace>>> {
        self.namespaces.get()
    }

    /// Wakes every class, so that each counts its fan-outs.
    pub fn wake_all(&self) {
        self.wake.send_replace(());
    }

    /// Returns a channel that changes with each [`Self::wake_all`].
    pub fn wakes(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// Returns all classes that this installation serves and this version can read.
    pub fn classes(&self) -> Vec<Known> {
        let all = self
            .classes
            .get()
            .map(|store| store.state())
            .unwrap_or_default();
        all.into_iter()
            .filter_map(Known::of)
            .filter(|class| self.serves(class))
            .collect()
    }

    /// Returns whether this installation serves the class.
    pub fn serves(&self, class: &RepoFanoutClass) -> bool {
        class.spec.controller.as_deref().unwrap_or("repofanout") == self.settings.controller
    }

    /// Returns the class with this name, no matter which installation serves it.
    pub fn class(&self, name: &str) -> Option<Known> {
        Known::of(
            self.classes
                .get()?
                .get(&ObjectRef::<DeserializeGuard<RepoFanoutClass>>::new(name))?,
        )
    }

    /// Returns the class that the object names, or the one that it was placed in, or the default
    /// one.
    pub fn resolve(&self, object: &RepoFanout) -> Result<Resolved, Refusal> {
        let placed = object.status.as_ref().and_then(|s| s.placement.as_ref());
        let named = object
            .spec
            .class_name
            .as_ref()
            .or_else(|| placed.and_then(|p| p.class.as_ref()));
        match (named, placed) {
            (Some(name), _) => match self.class(name) {
                Some(class) if self.serves(&class) => Ok(Resolved::Ours(class)),
                Some(_) => Ok(Resolved::Others),
                None => Err(Refusal::new(
                    Reason::ClassNotReady,
                    format!(
                        "className: there is no RepoFanoutClass {name}; create it, or name one that exists"
                    ),
                )),
            },
            (None, Some(_)) => Ok(self.classless()),
            (None, None) => self.default_class(),
        }
    }

    fn classless(&self) -> Resolved {
        if self.settings.classless {
            Resolved::None
        } else {
            Resolved::Others
        }
    }

    fn default_class(&self) -> Result<Resolved, Refusal> {
        let mut marked: Vec<_> = self
            .classes()
            .into_iter()
            .filter(|class| is_default(class))
            .collect();
        let first = marked.pop();
        if !marked.is_empty() {
            let mut names: Vec<String> =
                marked.iter().chain(&first).map(|c| c.name_any()).collect();
            names.sort();
            return Err(Refusal::new(
                Reason::ClassNotReady,
                format!(
                    "className: several RepoFanoutClasses are marked as the default one: {}; \
                         write the name of one, or have the annotation {IS_DEFAULT_CLASS} taken \
                         off all but one",
                    names.join(", ")
                ),
            ));
        }
        Ok(first.map_or_else(|| self.classless(), Resolved::Ours))
    }

    /// Parses a class, or returns the cause why it cannot be used.
    pub fn parse_class(&self, class: &RepoFanoutClass) -> Result<Class, Refusal> {
        Class::parse(class, &self.settings, &self.identity).map_err(|refusal| {
            let name = class.name_any();
            Refusal::new(
                Reason::ClassNotReady,
                format!("RepoFanoutClass {name} cannot be used: {}", refusal.message),
            )
        })
    }

    /// Computes the class's key for an object.
    pub fn class_key(&self, class: &RepoFanoutClass, object: &RepoFanout) -> ClassKey {
        let selects = class
            .spec
            .allowed_namespaces
            .as_ref()
            .is_some_and(|a| a.selector.is_some());
        let labels = if selects {
            self.labels(&object.namespace().unwrap_or_default())
        } else {
            BTreeMap::new()
        };
        ClassKey::of(class, &labels)
    }

    /// Parses an object under the policy of its class.
    pub fn fanout(&self, object: &RepoFanout, class: Option<&Class>) -> Result<Fanout, Refusal> {
        let labels = match class {
            Some(_) => self.labels(&object.namespace().unwrap_or_default()),
            None => BTreeMap::new(),
        };
        Fanout::parse(
            object,
            &Policy {
                settings: &self.settings,
                class,
                labels: &labels,
            },
        )
    }

    fn labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let found = self
            .namespaces
            .get()
            .and_then(|store| store.get(&ObjectRef::new(namespace)));
        found
            .map(|namespace| namespace.labels().clone())
            .unwrap_or_default()
    }

    /// Returns the role that gives access to a placement, or the cause why there is no access.
    pub fn access(&self, place: &PlacementStatus) -> Result<Option<AssumeRole>, String> {
        let access = match &place.class {
            None => None,
            Some(name) => match self.class(name) {
                Some(class) => class::access(&class),
                None => {
                    return Err(format!(
                        "RepoFanoutClass {name}, by which account {} was reached, is gone",
                        place.account
                    ));
                }
            },
        };
        let account = access.as_ref().map_or_else(
            || self.identity.account.clone(),
            |role| role.identity().account,
        );
        if account == place.account {
            return Ok(access);
        }
        Err(format!(
            "the resources are in account {}, and the operator has credentials of account {account}",
            place.account
        ))
    }

    /// Returns the destination that an object claims by its spec. If the spec is invalid, returns
    /// the destination of its last delivery.
    pub fn claim_of(&self, object: &RepoFanout) -> Option<Claim> {
        let owner = fanout::owner(object, &self.settings);
        let class = match self.resolve(object).ok()? {
            Resolved::Ours(class) => Some(self.parse_class(&class).ok()?),
            Resolved::None => None,
            Resolved::Others => return None,
        };
        let (bucket, prefix) = match self.fanout(object, class.as_ref()) {
            Ok(fanout) => {
                let names = Computed::new(&fanout.place(&self.identity));
                (
                    fanout.destination.name(&names.destination).to_owned(),
                    fanout.prefix,
                )
            }
            Err(_) => {
                let delivered = object.status.as_ref()?.delivered.as_ref()?;
                (delivered.bucket.clone(), delivered.prefix.clone())
            }
        };
        Some(Claim {
            bucket,
            prefix,
            since: since(object),
            owner,
        })
    }

    /// Returns the other places where an object without a recorded placement may have been placed:
    /// in no class, or in another class.
    pub fn places(&self, object: &RepoFanout, chosen: &Placement) -> Vec<PlacementStatus> {
        let classes = self
            .classes()
            .into_iter()
            .filter_map(|class| self.parse_class(&class).ok());
        let mut places: Vec<_> = classes
            .map(|class| self.place_in(object, Some(&class)))
            .collect();
        places.push(self.place_in(object, None));
        let here = |p: &PlacementStatus| {
            (&p.account, &p.region, &p.base_name)
                == (&chosen.account, &chosen.region, &chosen.base_name)
        };
        places.retain(|p| !here(p));
        places
    }

    /// Returns where the object would be placed in this class, or in none. The place is known even
    /// if the spec is invalid.
    pub fn place_in(&self, object: &RepoFanout, class: Option<&Class>) -> PlacementStatus {
        let prefix = class.map_or(&self.settings.name_prefix, |c| &c.name_prefix);
        let owner = fanout::owner(object, &self.settings);
        let adopted = object.spec.pipeline.as_ref().and_then(|p| p.name.clone());
        let base_name = adopted
            .unwrap_or_else(|| names::base_name(prefix, object.spec.name.as_deref(), &owner));
        match class {
            Some(class) => PlacementStatus {
                class: Some(class.name.clone()),
                base_name,
                ..class.place.status()
            },
            None => PlacementStatus {
                account: self.identity.account.clone(),
                partition: self.identity.partition.clone(),
                region: object
                    .spec
                    .region
                    .clone()
                    .unwrap_or_else(|| self.settings.region.clone()),
                class: None,
                base_name,
            },
        }
    }
}

/// Returns whether the class is marked as the default one.
pub fn is_default(class: &RepoFanoutClass) -> bool {
    class
        .annotations()
        .get(IS_DEFAULT_CLASS)
        .is_some_and(|v| v == "true")
}
