//! The common ground of resources: the state that an object asks for, and the change that brings
//! it about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::domain::kind::Resource;
use crate::domain::owner::{ADOPTED, Owner, Tags};
use crate::domain::placement::Placement;
use crate::domain::refusal::Refusal;
use crate::resource::delta::Delta;

/// The part that an object has in one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Wanted<T> {
    /// Nothing.
    #[default]
    Unmanaged,
    /// Its class's, with this name or ARN: used, and left to the class.
    Shared(String),
    /// One that exists, with this name or ARN: used and looked at, never written.
    Existing(String),
    /// Its own, with this name or ARN, once its connection is known.
    Waiting(String),
    /// Its own.
    Own(T),
}

impl<T> Wanted<T> {
    /// The desired state, if it is its own and all is known.
    pub fn own(&self) -> Option<&T> {
        match self {
            Self::Own(desired) => Some(desired),
            Self::Unmanaged | Self::Shared(_) | Self::Existing(_) | Self::Waiting(_) => None,
        }
    }
}

impl<T> From<Option<T>> for Wanted<T> {
    fn from(desired: Option<T>) -> Self {
        desired.map_or(Self::Unmanaged, Self::Own)
    }
}

/// A thing in AWS that is made, compared and written as a whole, and that our tags mark as ours.
pub trait Managed: Clone + Debug + PartialEq {
    /// The thing as AWS has it.
    type Found: Clone + Debug + PartialEq;

    /// Its name or ARN, for people.
    fn label(&self) -> &str;
    /// Our tags.
    fn tags(&self) -> &Tags;
    /// Our tags, to be added to.
    fn tags_mut(&mut self) -> &mut Tags;
    /// All tags of what is found.
    fn found_tags(found: &Self::Found) -> &Tags;
    /// Name or ARN of what is found, for messages.
    fn called(&self, found: &Self::Found) -> String;
    /// The differences.
    fn diff(&self, found: &Self::Found) -> Delta;
    /// The found state once the differences are written.
    fn updated(&self, found: &Self::Found) -> Self::Found;
    /// The desired state with everything that stays as it is found, such as in a pipeline that is
    /// taken over.
    fn keeping(self, _found: &Self::Found) -> Self {
        self
    }
}

/// A change of one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<D: Managed> {
    /// Make it.
    Create(D),
    /// Change what differs.
    Update(Box<Update<D>>),
}

/// A resource that is not what it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<D: Managed> {
    /// The desired state.
    pub desired: D,
    /// The found state.
    pub found: D::Found,
    /// The differences.
    pub delta: Delta,
}

/// The plan for one resource: nothing, a change, or a refusal.
pub type Planned<T> = Result<Option<T>, Refusal>;

impl<D: Managed> Change<D> {
    /// The change from found to desired, if they differ. A resource that is taken over is marked:
    /// its tags say so from then on, and deletion keeps it.
    pub(super) fn between(
        resource: Resource,
        desired: &D,
        found: Option<&D::Found>,
        facts: &Facts<'_>,
    ) -> Option<Self> {
        let mut desired = desired.clone();
        let Some(found) = found else {
            return Some(Self::Create(desired));
        };
        if facts.adopts(resource, D::found_tags(found)) {
            let mark = (ADOPTED.to_owned(), "true".to_owned());
            desired.tags_mut().extend([mark]);
        }
        let desired = desired.keeping(found);
        let delta = desired.diff(found);
        let found = found.clone();
        (!delta.is_empty()).then(|| {
            Self::Update(Box::new(Update {
                desired,
                found,
                delta,
            }))
        })
    }
}

/// The facts that a plan needs beside desired and observed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The owner that tags have to name.
    pub owner: &'a Owner,
    /// The place of everything.
    pub place: &'a Placement,
    /// Whether an execution runs that a person did not ask to give up by changing the spec.
    pub hold_pipeline: bool,
    /// The topics that the rule reached so far, as recorded: their targets go when the topic
    /// changes.
    pub former_topics: &'a [String],
    /// The resources that may be taken over.
    pub adopt: &'a BTreeSet<Resource>,
    /// The recorded resources, once the present spec was applied in full: a difference from here on
    /// is somebody else's doing.
    pub settled: Option<&'a BTreeMap<String, String>>,
    /// Whether such a difference is only shown.
    pub detect: bool,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// The recorded resources, if the operator created one so recently that AWS may not show them
    /// yet.
    pub young: Option<&'a BTreeMap<String, String>>,
    /// Whether it is not recorded which spec was applied: a difference may then be anybody's doing.
    pub unrecorded: bool,
}

impl Facts<'_> {
    /// Whether something with these tags is to be taken over.
    pub(super) fn adopts(&self, resource: Resource, tags: &Tags) -> bool {
        self.adopt.contains(&resource) && Owner::unowned(tags)
    }

    /// Whether something with these tags may be written.
    pub(super) fn may_write(&self, resource: Resource, tags: &Tags) -> bool {
        self.owner.owns(tags) || self.adopts(resource, tags)
    }

    /// Whether this was made by the present spec.
    pub(super) fn made(&self, resource: Resource) -> bool {
        self.settled
            .is_some_and(|made| made.contains_key(resource.as_str()))
    }
}

/// Facts that all resources of one object share.
pub(super) struct Common<'a> {
    pub place: &'a Placement,
    pub tags: &'a Tags,
    pub kms_key: Option<&'a String>,
}

/// The last part of an ARN: the name of most things.
pub(super) fn last(arn: &str) -> String {
    arn.rsplit([':', '/']).next().unwrap_or_default().to_owned()
}
