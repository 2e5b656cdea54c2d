//! The ARNs that are recorded on an object, and those of them that it does not use any more.

use std::collections::BTreeMap;

use crate::domain::kind::Resource;
use crate::resource::{Desired, Observed};

/// ARNs by resource.
pub type Resources = BTreeMap<String, String>;

/// The ARNs of what the object has to see to, as far as it is there.
pub fn recorded(desired: &Desired, observed: &Observed, partition: &str) -> Resources {
    let arn = |resource: Resource| {
        let arn = desired.arn(resource, observed, partition)?;
        Some((resource.as_str().to_owned(), arn))
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
