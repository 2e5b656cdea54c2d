//! Two objects must not copy to the same keys.

use super::fanout::{Fanout, Source};
use super::names;
use super::owner::Owner;

/// Where an object copies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The bucket.
    pub bucket: String,
    /// The prefix.
    pub prefix: String,
    /// The older claim holds: creation time, then uid.
    pub since: (String, String),
    /// Whose it is.
    pub owner: Owner,
}

/// The bucket's name, where the object chose one.
pub fn bucket(fanout: &Fanout, name_prefix: &str) -> String {
    match &fanout.destination {
        Source::Existing(name) | Source::Own(Some(name)) => name.clone(),
        Source::Own(None) => {
            format!("{}-destination", names::base_name(name_prefix, fanout.name.as_deref(), &fanout.owner))
        }
    }
}

impl Claim {
    /// The older claim on keys that this one covers too, if there is one.
    pub fn beaten_by<'a>(&self, others: &'a [Claim]) -> Option<&'a Claim> {
        others.iter().find(|o| {
            o.owner != self.owner && o.bucket == self.bucket && overlap(&o.prefix, &self.prefix) && o.since < self.since
        })
    }
}

/// Whether one prefix lies in the other: `docs` and `docs/api`, but not `docs` and `docs-old`.
fn overlap(a: &str, b: &str) -> bool {
    let within =
        |inner: &str, outer: &str| inner == outer || inner.strip_prefix(outer).is_some_and(|r| r.starts_with('/'));
    within(a, b) || within(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_overlap() {
        assert!(overlap("docs", "docs") && overlap("docs", "docs/api") && overlap("docs/api", "docs"));
        assert!(!overlap("docs", "docs-old") && !overlap("docs/a", "docs/b"));
    }

    #[test]
    fn the_older_claim_holds() {
        let claim = |name: &str, since: &str, prefix: &str| Claim {
            bucket: "b".into(),
            prefix: prefix.into(),
            since: (since.into(), name.into()),
            owner: Owner { cluster: "c".into(), kind: "k".into(), namespace: "n".into(), name: name.into() },
        };
        let (older, younger) = (claim("x", "1", "docs"), claim("y", "2", "docs/api"));
        let all = [older.clone(), younger.clone()];
        assert_eq!(younger.beaten_by(&all), Some(&older));
        assert_eq!(older.beaten_by(&all), None);
    }
}
