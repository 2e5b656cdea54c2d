//! What the custom resources mean: validated spec, placement, names, policy
//! documents, desired and observed resources. Pure: no client, no clock.

pub mod announcement;
pub mod arn;
pub mod class;
pub mod desired;
pub mod execution;
pub mod fanout;
pub mod import;
pub mod names;
pub mod observed;
pub mod owner;
pub mod permissions;
pub mod placement;
pub mod policy;
pub mod prefix;
pub mod prune;
pub mod reader;
pub mod retention;
pub mod subscriber;
pub mod terms;
pub mod terraform;
pub mod trigger;

use std::collections::BTreeMap;
use std::fmt;

use wildmatch::WildMatch;

use crate::api::condition::Reason;

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
        let parts = arn::Arn::parse(&self.role_arn);
        Identity {
            account: parts.map(|p| p.account.to_owned()).unwrap_or_default(),
            partition: parts.map(|p| p.partition.to_owned()).unwrap_or_default(),
        }
    }
}

/// The resources of a fan-out, one word each everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// The bucket that CodePipeline keeps its artifacts in.
    Artifacts,
    /// The bucket that the files go to.
    Destination,
    /// The connection to the repository's provider.
    Connection,
    /// The role that lets codestar-notifications watch pipelines, one an account.
    ServiceLinkedRole,
    /// The pipeline's role.
    Role,
    /// The topic that is announced on.
    Topic,
    /// The pipeline.
    Pipeline,
    /// The notification rule.
    NotificationRule,
    /// Who else may read the destination: statements in its policy.
    Readers,
    /// The queue that takes events which could not be handled.
    DeadLetterQueue,
    /// The queue of events of executions.
    Queue,
    /// The EventBridge rule that feeds it.
    EventRule,
}

impl Resource {
    /// The word, as in status, conditions, metrics and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Destination => "destination",
            Self::Connection => "connection",
            Self::ServiceLinkedRole => "service_linked_role",
            Self::Role => "role",
            Self::Topic => "topic",
            Self::Pipeline => "pipeline",
            Self::NotificationRule => "notification_rule",
            Self::Readers => "readers",
            Self::DeadLetterQueue => "dead_letter_queue",
            Self::Queue => "queue",
            Self::EventRule => "event_rule",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// Something that only a person can mend: the object is `Stalled` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with this reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Whether one of the patterns (`*`, `?`) covers the text.
pub fn covers(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|p| WildMatch::new(p).matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_arns_only() {
        let patterns = ["arn:aws:s3:::team-*".to_owned()];
        assert!(covers(&patterns, "arn:aws:s3:::team-a"));
        assert!(!covers(&patterns, "arn:aws:s3:::other"));
        assert!(!covers(&[], "arn:aws:s3:::team-a"));
    }
}
