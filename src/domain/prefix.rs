//! Prefixes in buckets: templates, and the claims that keep two objects from copying to the same
//! keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::owner::Owner;

/// The prefix template of a class that names none.
pub const TEMPLATE: &str = "{namespace}/{owner}/{repo}";

/// Values for the placeholders of a template.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The repository, `owner/name`.
    pub repository: &'a str,
    /// The branch.
    pub branch: &'a str,
}

impl Parts<'_> {
    /// Example values, to check a template.
    pub fn example() -> Parts<'static> {
        Parts {
            namespace: "namespace",
            name: "name",
            repository: "owner/repo",
            branch: "main",
        }
    }
}

/// The owner of a repository: everything before the last slash of its name.
pub fn owner(repository: &str) -> &str {
    repository.rsplit_once('/').map_or("", |(owner, _)| owner)
}

/// The template with its placeholders filled in, or the first unknown placeholder as the error.
pub fn render(template: &str, parts: &Parts<'_>) -> Result<String, String> {
    let repo = parts.repository.rsplit('/').next().unwrap_or_default();
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let Some((key, after)) = tail.split_once('}') else {
            return Err(format!("{{{tail}"));
        };
        out.push_str(before);
        out.push_str(match key {
            "namespace" => parts.namespace,
            "name" => parts.name,
            "owner" => owner(parts.repository),
            "repo" => repo,
            "branch" => parts.branch,
            other => return Err(format!("{{{other}}}")),
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err(rest.to_owned());
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether the inner prefix lies below the outer one: `docs/api` below `docs`, but not `docs-old`.
pub fn below(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The bucket and prefix that an object copies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The bucket.
    pub bucket: String,
    /// The prefix.
    pub prefix: String,
    /// Age of the claim: the older claim holds.
    pub since: Since,
    /// The object that copies there.
    pub owner: Owner,
}

/// The age of a claim: the least value is the oldest. The fields are compared in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since {
    /// When the object was created, in whole seconds, as Kubernetes has it.
    pub created: Option<Timestamp>,
    /// Whether the object has never delivered: of two objects of the same second, one that has
    /// delivered goes first.
    pub undelivered: bool,
    /// The object's uid, which decides if the other fields are equal.
    pub uid: String,
}

/// Key of a fan-out: its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    name: String,
}

impl Key {
    fn of(owner: &Owner) -> Self {
        Self {
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
        }
    }
}

/// All claims, indexed so that the overlaps of one claim are found without reading all others.
#[derive(Debug, Default)]
pub struct Claims {
    by_owner: HashMap<Key, Arc<Claim>>,
    by_place: HashMap<String, BTreeMap<String, Vec<Arc<Claim>>>>,
}

impl Claims {
    /// Replaces the claim of its owner. Returns the owners of younger claims that overlap the old or
    /// the new one, since the change may affect them.
    pub fn set(&mut self, claim: Claim) -> Vec<Owner> {
        let key = Key::of(&claim.owner);
        if self
            .by_owner
            .get(&key)
            .is_some_and(|known| **known == claim)
        {
            return Vec::new();
        }
        let mut touched = self.remove(&claim.owner);
        touched.extend(self.younger(&claim));
        let claim = Arc::new(claim);
        let prefixes = self.by_place.entry(claim.bucket.clone()).or_default();
        // Most prefixes have one claim, and an empty list would reserve room for four.
        let beside = prefixes
            .entry(claim.prefix.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        beside.push(Arc::clone(&claim));
        self.by_owner.insert(key, claim);
        touched
    }

    /// Removes the claim of an owner. Returns the owners of younger claims that overlap it.
    pub fn remove(&mut self, owner: &Owner) -> Vec<Owner> {
        let Some(old) = self.by_owner.remove(&Key::of(owner)) else {
            return Vec::new();
        };
        let Some(prefixes) = self.by_place.get_mut(&old.bucket) else {
            return Vec::new();
        };
        if let Some(claims) = prefixes.get_mut(&old.prefix) {
            claims.retain(|c| c.owner != *owner);
            if claims.is_empty() {
                prefixes.remove(&old.prefix);
            }
        }
        self.younger(&old)
    }

    /// An older claim that overlaps this one, if there is one.
    pub fn older(&self, claim: &Claim) -> Option<&Claim> {
        self.overlapping(claim)
            .into_iter()
            .find(|other| other.since < claim.since)
    }

    fn younger(&self, claim: &Claim) -> Vec<Owner> {
        let younger = self
            .overlapping(claim)
            .into_iter()
            .filter(|other| other.since > claim.since);
        younger.map(|other| other.owner.clone()).collect()
    }

    fn overlapping(&self, claim: &Claim) -> Vec<&Claim> {
        let Some(prefixes) = self.by_place.get(&claim.bucket) else {
            return Vec::new();
        };
        let parts: Vec<&str> = claim.prefix.split('/').collect();
        let above = (1..=parts.len())
            .filter_map(|n| prefixes.get(&parts[..n].join("/")))
            .flatten();
        let within = format!("{}/", claim.prefix);
        let below = prefixes
            .range(within.clone()..)
            .take_while(|(p, _)| p.starts_with(&within))
            .flat_map(|(_, c)| c);
        above
            .chain(below)
            .map(Arc::as_ref)
            .filter(|other| other.owner != claim.owner)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(bucket: &str, name: &str, created: i64, prefix: &str) -> Claim {
        Claim {
            bucket: bucket.into(),
            prefix: prefix.into(),
            since: Since {
                created: Some(Timestamp::from_second(created).unwrap()),
                undelivered: true,
                uid: name.into(),
            },
            owner: Owner {
                cluster: "c".into(),
                kind: "k".into(),
                namespace: "n".into(),
                name: name.into(),
            },
        }
    }

    #[test]
    fn the_older_claim_was_created_or_has_delivered_or_has_the_lesser_uid() {
        let since = |created, undelivered, uid: &str| Since {
            created: Some(Timestamp::from_second(created).unwrap()),
            undelivered,
            uid: uid.into(),
        };
        let by_age = [
            since(9, true, "z"),
            since(10, false, "y"),
            since(10, false, "z"),
            since(10, true, "a"),
            since(10, true, "b"),
            since(11, false, "a"),
        ];
        assert!(by_age.is_sorted(), "{by_age:#?}");
    }

    #[test]
    fn templates_are_filled_in() {
        let parts = Parts {
            namespace: "team",
            name: "docs",
            repository: "group/sub/Repo",
            branch: "main",
        };
        assert_eq!(
            render("{namespace}/{owner}/{repo}@{branch}", &parts).unwrap(),
            "team/group/sub/Repo@main"
        );
        assert_eq!(render("{team}/x", &parts).unwrap_err(), "{team}");
        assert_eq!(render("{repo", &parts).unwrap_err(), "{repo");
        assert!(render("repo}", &parts).is_err());
    }

    #[test]
    fn of_overlapping_prefixes_the_older_claim_holds() {
        let claim = |name, created, prefix| claim("b", name, created, prefix);
        let mut claims = Claims::default();
        let older = claim("x", 1, "docs/api");
        assert_eq!(claims.set(older.clone()), []);
        for prefix in ["docs/api", "docs/api/v1", "docs"] {
            assert_eq!(
                claims.older(&claim("y", 2, prefix)),
                Some(&older),
                "{prefix}"
            );
        }
        for prefix in ["docs-old", "docs/apis", "docs/a"] {
            assert_eq!(claims.older(&claim("y", 2, prefix)), None, "{prefix}");
        }
        assert_eq!(
            claims.older(&claim("y", 0, "docs")),
            None,
            "the younger one holds nothing"
        );
        let younger = claim("y", 2, "docs");
        assert_eq!(
            claims.set(younger.clone()),
            [],
            "an older one is not touched"
        );
        assert_eq!(claims.set(older.clone()), [], "nothing changed");
        assert_eq!(
            claims.set(claim("x", 1, "elsewhere")),
            vec![younger.owner.clone()],
            "it has the keys to itself now"
        );
        assert_eq!(
            claims.set(older.clone()),
            vec![younger.owner.clone()],
            "it has them no more"
        );
        claims.remove(&younger.owner);
        claims.set(claim("x", 1, "elsewhere"));
        assert_eq!(
            claims.older(&claim("y", 2, "docs/api")),
            None,
            "a claim that moved holds its new place alone"
        );
        claims.remove(&older.owner);
        assert_eq!(claims.older(&claim("y", 2, "elsewhere")), None);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_look_at_all_claims_finds(
            steps in prop::collection::vec(
                (0..6usize, 0..2usize, "[ab](/[ab]){0,3}", 0..3i64, prop::bool::weighted(0.2)),
                1..40,
            ),
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut index = Claims::default();
            let mut all: BTreeMap<usize, Claim> = BTreeMap::new();
            for (object, bucket, prefix, created, removed) in steps {
                let claim = claim(["x", "y"][bucket], names[object], created, &prefix);
                if removed {
                    index.remove(&claim.owner);
                    all.remove(&object);
                } else {
                    index.set(claim.clone());
                    all.insert(object, claim);
                }
                for claim in all.values() {
                    let overlaps = |other: &&Claim| {
                        let (a, b) = (&claim.prefix, &other.prefix);
                        other.owner != claim.owner
                            && other.bucket == claim.bucket
                            && (a == b || below(a, b) || below(b, a))
                    };
                    let mut others = all.values().filter(overlaps);
                    let holds_before = others.any(|other| other.since < claim.since);
                    prop_assert_eq!(index.older(claim).is_some(), holds_before);
                }
            }
        }

        #[test]
        fn a_template_is_filled_in_or_refused(
            template in "[a-z{}/]{0,30}",
            repository in "[a-z]{1,5}(/[a-z]{1,5}){1,3}",
        ) {
            let parts = Parts { repository: &repository, ..Parts::example() };
            if let Ok(rendered) = render(&template, &parts) {
                let braces = rendered.contains(['{', '}']);
                prop_assert!(!braces, "{}", rendered);
            }
        }
    }
}
