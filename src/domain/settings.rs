//! What the command line settles for every object, and the identities that reach AWS.

use std::collections::BTreeMap;

use crate::domain::arn::Arn;

/// What the operator's command line and environment settle for every object.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which cluster the ownership tags name; two clusters in one account must differ.
    pub cluster_id: String,
    /// What every generated AWS name begins with.
    pub name_prefix: String,
    /// Whether `spec.name`, own bucket and own topic names may be chosen.
    pub allow_names: bool,
    /// ARN patterns (`*` and `?`) of existing things that objects may refer to.
    pub allow_existing: Vec<String>,
    /// The region of objects that name none.
    pub region: String,
    /// Whether an object without a class is refused.
    pub require_class: bool,
    /// Name of the IAM policy that bounds the roles of those that name no boundary themselves; each
    /// account has its own.
    pub permissions_boundary: Option<String>,
    /// Patterns (`*` and `?`) of accounts, roles and organizations that objects may let read.
    pub allow_readers: Vec<String>,
    /// Whether objects may have files deleted that are no longer in the repository.
    pub allow_prune: bool,
    /// Whether nothing may be written to AWS.
    pub read_only: bool,
    /// Which classes are ours: their `spec.controller`.
    pub controller: String,
    /// Whether objects without a class are ours, too: of several installations that serve all
    /// namespaces, those of one alone.
    pub classless: bool,
}

#[cfg(test)]
impl Settings {
    /// Those of an operator without flags.
    pub fn example() -> Self {
        Self {
            cluster_id: "c".into(),
            name_prefix: "rf-".into(),
            allow_names: false,
            allow_existing: vec![],
            allow_readers: vec![],
            region: "eu-west-1".into(),
            require_class: false,
            permissions_boundary: None,
            allow_prune: false,
            read_only: false,
            controller: "repofanout".into(),
            classless: true,
        }
    }
}

/// Whose credentials the operator has, as STS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS partition, such as `aws`.
    pub partition: String,
}

/// A role by which another account is reached, chained from the operator's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssumeRole {
    /// ARN of the role.
    pub role_arn: String,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// Tags of the session.
    pub session_tags: BTreeMap<String, String>,
}

impl AssumeRole {
    /// Whose resources it reaches: the role's ARN says so.
    pub fn identity(&self) -> Identity {
        let parts = Arn::parse(&self.role_arn);
        Identity {
            account: parts.map(|p| p.account.to_owned()).unwrap_or_default(),
            partition: parts.map(|p| p.partition.to_owned()).unwrap_or_default(),
        }
    }
}
