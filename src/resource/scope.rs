//! The scope of the operator's own IAM policy: account, region, names.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::computed::ROLE_PATH;

/// The scope of the operator's own IAM policy.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The AWS partition.
    pub partition: String,
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS region; `*` for all.
    pub region: String,
    /// The prefix of every generated name.
    pub name_prefix: String,
    /// ARN patterns of existing things that objects may refer to.
    pub allow_existing: Vec<String>,
    /// Whether files may be pruned.
    pub allow_prune: bool,
    /// Names, or ARNs, of the policies that bound the roles that the operator makes.
    pub boundaries: Vec<String>,
    /// ARNs of the roles by which classes reach other accounts.
    pub assume_roles: Vec<String>,
}

impl Scope {
    /// ARN pattern of something in the region.
    pub fn regional(&self, service: &str, resource: &str) -> String {
        let Self {
            partition,
            account,
            region,
            ..
        } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }

    /// ARN pattern of what has one of our names in the region.
    pub fn named(&self, service: &str) -> String {
        self.regional(service, &format!("{}*", self.name_prefix))
    }

    /// ARN pattern of own buckets.
    pub fn buckets(&self) -> String {
        format!("arn:{}:s3:::{}*", self.partition, self.name_prefix)
    }

    /// ARN pattern of own roles.
    pub(super) fn roles(&self) -> String {
        let Self {
            partition,
            account,
            name_prefix,
            ..
        } = self;
        format!("arn:{partition}:iam::{account}:role{ROLE_PATH}{name_prefix}*")
    }

    /// ARN patterns of all connections of the account, under both prefixes. They serve all regions.
    pub fn connections(&self) -> [String; 2] {
        let Self {
            partition, account, ..
        } = self;
        CONNECTIONS.map(|service| format!("arn:{partition}:{service}:*:{account}:connection/*"))
    }

    /// The connections that may be used: the account's, and those of others that objects may refer
    /// to.
    pub fn usable_connections(&self) -> Vec<String> {
        let named = CONNECTIONS
            .iter()
            .flat_map(|service| self.existing_named(service));
        let foreign = named.filter(|pattern| {
            !pattern.contains(":host/") && pattern.split(':').nth(4) != Some(&self.account)
        });
        self.connections()
            .into_iter()
            .chain(foreign.cloned())
            .collect()
    }

    /// The patterns of existing things that may be ones of this service.
    pub fn existing(&self, service: &str) -> Vec<&String> {
        let may_be = |pattern: &&String| {
            let named = pattern.split(':').nth(2);
            named.is_none_or(|s| s == service || s == "*")
        };
        self.allow_existing.iter().filter(may_be).collect()
    }

    /// The patterns of existing things that name this service.
    pub fn existing_named(&self, service: &str) -> Vec<&String> {
        let named = |pattern: &&String| pattern.split(':').nth(2) == Some(service);
        self.allow_existing.iter().filter(named).collect()
    }
}

/// The prefixes of connections: an action's must match its connection's, and connections have
/// either.
const CONNECTIONS: [&str; 2] = ["codeconnections", "codestar-connections"];

/// The operations on connections, under both prefixes.
pub fn both(operations: &[&str]) -> Vec<String> {
    let of = |prefix| {
        operations
            .iter()
            .map(move |operation| format!("{prefix}:{operation}"))
    };
    CONNECTIONS.into_iter().flat_map(of).collect()
}

/// A statement that allows this.
pub fn allow(sid: &str, actions: impl Serialize, resources: impl Serialize) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources})
}

/// A statement that allows this where the condition holds.
pub fn allow_if(
    sid: &str,
    actions: impl Serialize,
    resources: impl Serialize,
    condition: Value,
) -> Value {
    let mut statement = allow(sid, actions, resources);
    statement["Condition"] = condition;
    statement
}
