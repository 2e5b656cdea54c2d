//! Which class an object uses, and what the class has for it.

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

/// A class in the cache, one that this version can read.
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
        self.0.0.as_ref().expect("it was read when it was made")
    }
}

/// The class of an object.
pub enum Resolved {
    /// It uses none.
    None,
    /// It uses this one.
    Ours(Known),
    /// It uses one that another installation serves, which then serves the object, too.
    Others,
}

/// Changes whenever what fan-outs take from the class does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClassKey {
    /// Generation of its spec: what changes by it is spread over time.
    pub generation: i64,
    /// What it has made: connections that were authorized, buckets that are there.
    pub made: u64,
}

impl ClassKey {
    /// The key of the class as it is, for a namespace with these labels.
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

/// The classes and the namespaces' labels, as the caches have them, and what the settings make of
/// an object.
pub struct Catalog {
    /// What holds for every object.
    pub settings: Settings,
    /// Whose credentials the operator has.
    pub identity: Identity,
    classes: OnceLock<Store<DeserializeGuard<RepoFanoutClass>>>,
    namespaces: OnceLock<Store<PartialObjectMeta<Namespace>>>,
    wake: watch::Sender<()>,
}

impl Catalog {
    /// One that knows no class and no namespace yet.
    pub fn new(settings: Settings, identity: Identity) -> Self {
        Self {
            settings,
            identity,
            classes: OnceLock::new(),
            namespaces: OnceLock::new(),
            wake: watch::Sender::new(()),
        }
    }

    /// Looks classes up in this cache from now on.
    pub fn follow_classes(&self, store: Store<DeserializeGuard<RepoFanoutClass>>) {
        let _ = self.classes.set(store);
    }

    /// Looks labels up in this cache from now on.
    pub fn follow_namespaces(&self, store: Store<PartialObjectMeta<Namespace>>) {
        let _ = self.namespaces.set(store);
    }

    /// The cache of namespaces, once there is one.
    pub fn namespaces(&self) -> Option<&Store<PartialObjectMeta<Namespace>>> {
        self.namespaces.get()
    }

    /// Has every class ask itself who uses it.
    pub fn wake_all(&self) {
        self.wake.send_replace(());
    }

    /// Tells of each [`Self::wake_all`].
    pub fn wakes(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// All classes that this installation serves, as far as this version can read them.
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

    /// Whether the class is ours.
    pub fn serves(&self, class: &RepoFanoutClass) -> bool {
        class.spec.controller.as_deref().unwrap_or("repofanout") == self.settings.controller
    }

    /// The class with this name, whoever serves it.
    pub fn class(&self, name: &str) -> Option<Known> {
        Known::of(
            self.classes
                .get()?
                .get(&ObjectRef::<DeserializeGuard<RepoFanoutClass>>::new(name))?,
        )
    }

    /// The class that the object names, or that it was placed in, or the default one.
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

    /// What the class means, or why it cannot be used.
    pub fn parse_class(&self, class: &RepoFanoutClass) -> Result<Class, Refusal> {
        Class::parse(class, &self.settings, &self.identity).map_err(|refusal| {
            let name = class.name_any();
            Refusal::new(
                Reason::ClassNotReady,
                format!("RepoFanoutClass {name} cannot be used: {}", refusal.message),
            )
        })
    }

    /// The class's key for an object.
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

    /// What an object asks for, under the policy of its class.
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

    /// The role that reaches a placement, or why nothing does.
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

    /// Where an object copies to, as its spec says; else where it last did.
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

    /// Where else an object without a placement could have been placed: in no class, or in another
    /// one.
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

    /// Where the object would be in this class, or in none; known also where its spec makes no
    /// sense.
    pub fn place_in(&self, object: &RepoFanout, class: Option<&Class>) -> PlacementStatus {
        let prefix = class.map_or(&self.settings.name_prefix, |c| &c.name_prefix);
        let owner = fanout::owner(object, &self.settings);
        let taken = object.spec.pipeline.as_ref().and_then(|p| p.name.clone());
        let base_name =
            taken.unwrap_or_else(|| names::base_name(prefix, object.spec.name.as_deref(), &owner));
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

/// Whether the class is marked as the default one.
pub fn is_default(class: &RepoFanoutClass) -> bool {
    class
        .annotations()
        .get(IS_DEFAULT_CLASS)
        .is_some_and(|v| v == "true")
}
