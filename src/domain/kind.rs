//! The resources, one word each everywhere.

use std::fmt;

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
