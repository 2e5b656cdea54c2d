//! The owner of a resource, which four tags name.

use std::collections::BTreeMap;

/// AWS tags by key.
pub type Tags = BTreeMap<String, String>;

const CLUSTER: &str = "repofanout.dev/cluster";
const KIND: &str = "repofanout.dev/kind";
const NAMESPACE: &str = "repofanout.dev/namespace";
const NAME: &str = "repofanout.dev/name";

/// Tag of a connection: the intent under which it was created.
pub const INTENT: &str = "repofanout.dev/intent";
/// Tag of a role: the region of its fan-out, as a role has none itself.
pub const REGION: &str = "repofanout.dev/region";
/// Tag of a destination bucket: the time of its creation, to tell whether a delivery came later.
pub const CREATED_AT: &str = "repofanout.dev/created-at";

/// Tag of an adopted resource: the operator did not create it.
pub const ADOPTED: &str = "repofanout.dev/adopted";
/// Tag of a retained resource: the time at which its object was deleted; empty once the resource is
/// in use again.
pub const RETAINED_AT: &str = "repofanout.dev/retained-at";

/// The object that a resource belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The operator's `clusterID`.
    pub cluster: String,
    /// `RepoFanout` or `RepoFanoutClass`.
    pub kind: String,
    /// The object's namespace; empty for a class.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Owner {
    /// The tags that name this owner.
    pub fn tags(&self) -> Tags {
        [
            (CLUSTER, &self.cluster),
            (KIND, &self.kind),
            (NAMESPACE, &self.namespace),
            (NAME, &self.name),
        ]
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| (k.to_owned(), v.clone()))
        .collect()
    }

    /// Whether `tags` name this owner.
    pub fn owns(&self, tags: &Tags) -> bool {
        self.tags().iter().all(|(k, v)| tags.get(k) == Some(v))
    }

    /// Whether the tags name no owner at all. Only a resource without an owner can be adopted.
    pub fn unowned(tags: &Tags) -> bool {
        ![CLUSTER, KIND, NAMESPACE, NAME]
            .iter()
            .any(|key| tags.contains_key(*key))
    }

    /// Describes the owner of a resource with these tags, for a message to this owner. It does not
    /// reveal names of other namespaces.
    pub fn describe_owner(&self, tags: &Tags) -> String {
        let get = |k: &str| tags.get(k).map(String::as_str);
        match (get(CLUSTER), get(KIND), get(NAMESPACE), get(NAME)) {
            (Some(c), Some(kind), Some(ns), Some(name))
                if c == self.cluster && ns == self.namespace =>
            {
                format!("it belongs to {kind} {ns}/{name}")
            }
            (Some(c), Some(_), Some(_), Some(_)) if c == self.cluster => {
                "it belongs to an object of another namespace".to_owned()
            }
            (Some(c), Some(kind), None, Some(name)) if c == self.cluster => {
                format!("it belongs to {kind} {name}")
            }
            (Some(_), ..) => "it belongs to an object of another cluster".to_owned(),
            (None, ..) => "it carries no ownership tags of this operator".to_owned(),
        }
    }
}
