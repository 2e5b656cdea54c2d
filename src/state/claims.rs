//! Who copies where: an index over all objects, so that none has to be compared with all others.

use std::sync::Mutex;

use kube::ResourceExt;

use crate::api::RepoFanout;
use crate::domain::owner::Owner;
use crate::domain::prefix::{Claim, Claims, Since};

/// The index. It is made from all objects when it is first asked.
#[derive(Default)]
pub struct ClaimIndex(Mutex<Option<Claims>>);

/// A claim that was put in, and what that means for others.
pub struct Claimed {
    /// An older claim on the same keys, which goes first.
    pub older: Option<Claim>,
    /// The owners of younger claims on the same keys: something may have changed for them.
    pub younger: Vec<Owner>,
}

impl ClaimIndex {
    /// Puts the claim in the place of the one that its owner had.
    pub fn claim(&self, claim: Claim, all: impl FnOnce() -> Vec<Claim>) -> Claimed {
        self.with(all, |claims| {
            let younger = claims.set(claim.clone());
            Claimed {
                older: claims.older(&claim).cloned(),
                younger,
            }
        })
    }

    /// Takes the owner's claim out, and answers the owners of younger claims on the same keys.
    pub fn release(&self, owner: &Owner, all: impl FnOnce() -> Vec<Claim>) -> Vec<Owner> {
        self.with(all, |claims| claims.remove(owner))
    }

    fn with<T>(&self, all: impl FnOnce() -> Vec<Claim>, ask: impl FnOnce(&mut Claims) -> T) -> T {
        let mut index = self.0.lock().expect("no panic while held");
        let claims = index.get_or_insert_with(|| {
            let mut claims = Claims::default();
            all().into_iter().for_each(|claim| drop(claims.set(claim)));
            claims
        });
        ask(claims)
    }
}

/// The age of an object's claim.
pub fn since(object: &RepoFanout) -> Since {
    let status = object.status.as_ref();
    Since {
        created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
        undelivered: status.is_none_or(|s| s.delivered.is_none()),
        uid: object.uid().unwrap_or_default(),
    }
}
