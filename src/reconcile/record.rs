//! The ARNs that are recorded on an object, and those of them that it does not use any more.

use std::collections::BTreeMap;

use crate::domain::kind::Resource;
use crate::resource::{Desired, Observed};

/// ARNs by resource.
pub type Resources = BTreeMap<String, String>;

/// The ARNs of what the object has to see to, as far as it is there; `young` are the recorded ones
/// that AWS may not show yet.
pub fn recorded(
    desired: &Desired,
    observed: &Observed,
    partition: &str,
    young: Option<&Resources>,
) -> Resources {
    let arn = |resource: Resource| {
        let unseen = || {
            let arn = young?.get(resource.as_str())?;
            let wanted = desired.wants(resource, arn, partition);
            wanted.then(|| arn.clone())
        };
        let arn = desired.arn(resource, observed, partition);
        Some((resource.as_str().to_owned(), arn.or_else(unseen)?))
    };
    Resource::ALL.into_iter().filter_map(arn).collect()
}

/// The recorded resources that are neither used now nor wanted. One that somebody deleted is made
/// anew, and not left.
pub fn left(before: &Resources, used: &Resources, desired: &Desired, partition: &str) -> Resources {
    let mut left = before.clone();
    left.retain(|word, arn| {
        let mut same = Resource::ALL.into_iter().filter(|r| r.as_str() == word);
        let wanted = same.any(|resource| desired.wants(resource, arn, partition));
        !wanted && !used.values().any(|used| used == arn)
    });
    left
}
