//! Which class an object uses, and what the class has for it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::api::condition::Reason;
use crate::api::status::PlacementStatus;
use crate::api::{IS_DEFAULT_CLASS, RepoFanout, RepoFanoutClass};
use crate::cloud::Cloud;
use crate::domain::kind::Resource as AwsResource;
use crate::domain::owner::Tags;
use crate::domain::refusal::Refusal;
use crate::domain::settings::AssumeRole;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::spec::class;
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::policy::Terms;
use crate::spec::source::{ConnectionSource, Source};
use crate::state::environment::Context;

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

impl Context {
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

    /// What an object asks for, under the terms of its class.
    pub fn fanout(&self, object: &RepoFanout, class: Option<&Class>) -> Result<Fanout, Refusal> {
        let labels = match class {
            Some(_) => self.labels(&object.namespace().unwrap_or_default()),
            None => BTreeMap::new(),
        };
        Fanout::parse(
            object,
            &Terms {
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

    /// The cloud that a placement is in.
    pub async fn cloud_of(&self, place: &PlacementStatus) -> Result<Cloud, String> {
        let access = self.access(place)?;
        Ok(self.clouds.cloud(access.as_ref(), &place.region).await)
    }

    /// How many objects of the class do not yet match this generation of it.
    pub fn behind(&self, class: &str, generation: Option<i64>) -> usize {
        let follows = |object: &RepoFanout| {
            let status = object.status.as_ref();
            let of = status
                .and_then(|s| s.placement.as_ref())
                .and_then(|p| p.class.as_deref())
                == Some(class);
            !of || status.and_then(|s| s.applied_class_generation) == generation
        };
        self.guarded()
            .iter()
            .filter(|g| g.0.as_ref().map_or(true, |object| !follows(object)))
            .count()
    }

    /// The objects that use the class; those that this version cannot read may use it.
    pub fn users(&self, class: &str) -> Vec<Arc<DeserializeGuard<RepoFanout>>> {
        let mut all = self.guarded();
        let mut released = self.released.lock().expect("no panic while held");
        if !released.is_empty() {
            let known: HashSet<String> = all.iter().filter_map(|g| g.uid()).collect();
            released.retain(|uid| known.contains(uid));
        }
        let uses = |guarded: &DeserializeGuard<RepoFanout>| match &guarded.0 {
            Ok(object) => {
                let status = object.status.as_ref();
                let placed = status.and_then(|s| s.placement.as_ref()).into_iter();
                let former = status
                    .into_iter()
                    .flat_map(|s| s.former.iter().map(|f| &f.placement));
                placed
                    .chain(former)
                    .any(|p| p.class.as_deref() == Some(class))
            }
            Err(_) => guarded
                .meta()
                .finalizers
                .iter()
                .flatten()
                .any(|f| f == crate::api::FINALIZER),
        };
        all.retain(|guarded| {
            uses(guarded) && guarded.uid().is_none_or(|uid| !released.contains(&uid))
        });
        all
    }
}

/// Whether the class is marked as the default one.
pub fn is_default(class: &RepoFanoutClass) -> bool {
    class
        .annotations()
        .get(IS_DEFAULT_CLASS)
        .is_some_and(|v| v == "true")
}

/// What a class has made that a fan-out uses.
#[derive(Default)]
pub struct Shared {
    /// The connection, if the fan-out has none of its own.
    pub connection: Option<ObservedConnection>,
    /// When the shared destination bucket was made.
    pub destination_created_at: Option<jiff::Timestamp>,
    /// When the shared role's permissions were last written.
    pub permissions_written_at: Option<jiff::Timestamp>,
}

impl Shared {
    /// What the class has for the fan-out, or what it has not made yet.
    pub fn of(object: &RepoFanoutClass, class: &Class, fanout: &Fanout) -> Result<Self, String> {
        let status = object.status.clone().unwrap_or_default();
        let name = &class.name;
        let uses = [
            (
                AwsResource::Artifacts,
                matches!(fanout.artifacts, Source::Shared(_)),
            ),
            (
                AwsResource::Destination,
                matches!(fanout.destination, Source::Shared(_)),
            ),
            (
                AwsResource::Topic,
                matches!(fanout.topic, Source::Shared(_)),
            ),
            (AwsResource::Role, fanout.shared_role.is_some()),
        ];
        let mut missing = uses
            .iter()
            .filter(|(r, used)| *used && !status.resources.contains_key(r.as_str()));
        if let Some((resource, _)) = missing.next() {
            return Err(format!(
                "RepoFanoutClass {name} has not made its {resource} yet; its conditions say why"
            ));
        }
        let connection = match &fanout.connection {
            ConnectionSource::Shared(key) => {
                let known = status.connections.get(key);
                let (Some(arn), Some(state)) = (
                    known.and_then(|c| c.arn.clone()),
                    known.and_then(|c| c.status.clone()),
                ) else {
                    return Err(format!(
                        "RepoFanoutClass {name} has not made connection '{key}' yet; its \
                             conditions say why"
                    ));
                };
                let provider = match class.connections.get(key) {
                    Some((_, ConnectionSource::Provider(provider))) => provider.clone(),
                    _ => String::new(),
                };
                Some(ObservedConnection {
                    arn,
                    name: key.clone(),
                    state: ConnectionState::parse(&state),
                    provider,
                    tags: Tags::new(),
                })
            }
            _ => None,
        };
        let shares_destination = matches!(fanout.destination, Source::Shared(_));
        Ok(Self {
            connection,
            destination_created_at: status.destination_created_at.filter(|_| shares_destination),
            permissions_written_at: status
                .permissions_written_at
                .filter(|_| fanout.shared_role.is_some()),
        })
    }
}
