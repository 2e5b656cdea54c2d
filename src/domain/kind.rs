//! The kinds of resources in AWS. Each has the same word everywhere.

use std::fmt;

/// The kinds of resources of fan-outs and classes. Each has the same word everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// The bucket in which CodePipeline keeps its artifacts.
    Artifacts,
    /// The bucket to which files are copied.
    Destination,
    /// The connection to the repository's provider.
    Connection,
    /// The role with which codestar-notifications watches pipelines, one per account.
    ServiceLinkedRole,
    /// The pipeline's role.
    Role,
    /// The topic for notifications and announcements.
    Topic,
    /// The pipeline.
    Pipeline,
    /// The notification rule.
    NotificationRule,
    /// Statements in the destination's policy that let others read.
    Readers,
    /// The queue for events that could not be handled.
    DeadLetterQueue,
    /// The queue for events of executions.
    Queue,
    /// The EventBridge rule that sends events to the queue.
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
