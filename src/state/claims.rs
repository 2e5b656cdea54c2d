//! Who copies where: an index over all objects, so that none has to look at all others.

use std::sync::Mutex;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api::RepoFanout;
use crate::api::status::PlacementStatus;
use crate::domain::computed::Computed;
use crate::domain::names;
use crate::domain::owner::Owner;
use crate::domain::placement::Placement;
use crate::domain::prefix::{Claim, Claims, Since};
use crate::spec::class::Class;
use crate::spec::fanout;
use crate::state::catalog::Resolved;
use crate::state::environment::Context;

/// The index; made from all objects when it is first asked.
#[derive(Default)]
pub struct Index(Mutex<Option<Claims>>);

/// The age of an object's claim.
pub fn since(object: &RepoFanout) -> Since {
    let status = object.status.as_ref();
    Since {
        created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
        undelivered: status.is_none_or(|s| s.delivered.is_none()),
        uid: object.uid().unwrap_or_default(),
    }
}

impl Context {
    /// Puts the claim in, and answers an older one on the same keys. Who has a younger one looks
    /// again.
    pub fn claim(&self, claim: Claim) -> Option<Claim> {
        let (touched, older) =
            self.with_claims(|claims| (claims.set(claim.clone()), claims.older(&claim).cloned()));
        self.stir(&touched);
        older
    }

    /// Takes the owner's claim out. Who has a younger one on the same keys looks again.
    pub fn unclaim(&self, owner: &Owner) {
        let touched = self.with_claims(|claims| claims.remove(owner));
        self.stir(&touched);
    }

    fn stir(&self, owners: &[Owner]) {
        for served in self.served() {
            for owner in owners {
                let reference = ObjectRef::new(&owner.name).within(&owner.namespace);
                let Some(guarded) = served.store.get(&reference) else {
                    continue;
                };
                self.memos.stir(&guarded.uid().unwrap_or_default());
                let _ = served.wake.send(reference);
            }
        }
    }

    fn with_claims<T>(&self, f: impl FnOnce(&mut Claims) -> T) -> T {
        let mut index = self.claims.0.lock().expect("no panic while held");
        let claims = index.get_or_insert_with(|| {
            let mut claims = Claims::default();
            self.guarded()
                .iter()
                .filter_map(|g| g.0.as_ref().ok())
                .filter_map(|o| self.claim_of(o))
                .for_each(|c| drop(claims.set(c)));
            claims
        });
        f(claims)
    }

    /// Where an object copies to, as its spec says; else where it last did.
    fn claim_of(&self, object: &RepoFanout) -> Option<Claim> {
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
