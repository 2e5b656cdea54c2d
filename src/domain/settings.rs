//! The operator's settings, and the identities with which it calls AWS.

use std::collections::BTreeMap;

use crate::domain::arn::Arn;

/// The operator's settings from its command line and environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the cluster in ownership tags. Two clusters that use one account must differ.
    pub cluster_id: String,
    /// Prefix of every generated name in AWS.
    pub name_prefix: String,
    /// Whether `spec.name`, own bucket and own topic names may be chosen.
    pub allow_names: bool,
    /// ARN patterns (`*` and `?`) of existing resources that objects may use.
    pub allow_existing: Vec<String>,
    /// Region of objects that name none.
    pub region: String,
    /// Whether an object without a class is refused.
    pub require_class: bool,
    /// Name of the IAM policy that is the permissions boundary of roles, unless a class names another
    /// one. Each account has its own policy of that name.
    pub permissions_boundary: Option<String>,
    /// Patterns (`*` and `?`) of accounts, roles and organizations that objects may admit as readers.
    pub allow_readers: Vec<String>,
    /// Whether objects may ask for pruning, which deletes files.
    pub allow_prune: bool,
    /// Whether the operator writes nothing to AWS.
    pub read_only: bool,
    /// The `spec.controller` of the classes that this installation serves.
    pub controller: String,
    /// Whether this installation serves objects without a class, too. If several installations serve
    /// all namespaces, only one of them may.
    pub classless: bool,
}

#[cfg(test)]
impl Settings {
    /// The settings of an operator without flags.
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

/// The AWS identity of the operator's credentials, as STS reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS partition, such as `aws`.
    pub partition: String,
    /// ARN of the user, the role, or the role's session.
    pub arn: String,
}

/// A role in another account that the operator assumes with its own identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssumeRole {
    /// ARN of the role.
    pub role_arn: String,
    /// The external id that the role's trust policy requires, if it does.
    pub external_id: Option<String>,
    /// Tags of the session.
    pub session_tags: BTreeMap<String, String>,
}

impl AssumeRole {
    /// The identity that the role gives, from its ARN.
    pub fn identity(&self) -> Identity {
        let parts = Arn::parse(&self.role_arn);
        Identity {
            account: parts.map(|p| p.account.to_owned()).unwrap_or_default(),
            partition: parts.map(|p| p.partition.to_owned()).unwrap_or_default(),
            arn: self.role_arn.clone(),
        }
    }
}
