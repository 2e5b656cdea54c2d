//! An index of the destinations that objects claim, so that no object has to be compared with all
//! others.

use std::sync::Mutex;

use kube::ResourceExt;

use crate::api::RepoFanout;
use crate::domain::owner::Owner;
use crate::domain::prefix::{Claim, Claims, Since};

/// The index, built from all objects on first use.
#[derive(Default)]
pub struct ClaimIndex(Mutex<Option<Claims>>);

/// Result of a claim.
pub struct Claimed {
    /// An older claim on the same keys, which has precedence.
    pub older: Option<Claim>,
    /// Owners of younger claims on the same keys, for which this claim may change something.
    pub younger: Vec<Owner>,
}

impl ClaimIndex {
    /// Adds a claim, in place of the owner's previous one.
    pub fn claim(&self, claim: Claim, all: impl FnOnce() -> Vec<Claim>) -> Claimed {
        self.with(all, |claims| {
            let younger = claims.set(claim.clone());
            Claimed {
                older: claims.older(&claim).cloned(),
                younger,
            }
        })
    }

    /// Removes the owner's claim. Returns the owners of younger claims on the same keys.
    pub fn release(&self, owner: &Owner, all: impl FnOnce() -> Vec<Claim>) -> Vec<Owner> {
        self.with(all, |claims| claims.remove(owner))
    }

    fn with<T>(&self, all: impl FnOnce() -> Vec<Claim>, f: impl FnOnce(&mut Claims) -> T) -> T {
        let mut index = self.0.lock().expect("no panic while held");
        let claims = index.get_or_insert_with(|| {
            let mut claims = Claims::default();
            all().into_iter().for_each(|claim| drop(claims.set(claim)));
            claims
        });
        f(claims)
    }
}

/// Returns the age of an object's claim.
pub fn since(object: &RepoFanout) -> Since {
    let status = object.status.as_ref();
    Since {
        created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
        undelivered: status.is_none_or(|s| s.delivered.is_none()),
        uid: object.uid().unwrap_or_default(),
    }
}
