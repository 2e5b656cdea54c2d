//! The resources, one word each everywhere: the closed list.

use std::fmt;

macro_rules! resources {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// The resources of a fan-out or a class, in the order in which they are made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Resource {
            $($(#[$doc])* $variant,)*
        }

        impl Resource {
            /// All of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word, as in status, conditions, metrics and spans.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

resources! {
    /// The bucket that CodePipeline keeps its artifacts in.
    Artifacts = "artifacts",
    /// The bucket that the files go to.
    Destination = "destination",
    /// The connection to the repository's provider.
    Connection = "connection",
    /// The topic that is announced on.
    Topic = "topic",
    /// The pipeline's role.
    Role = "role",
    /// The pipeline.
    Pipeline = "pipeline",
    /// The role that lets codestar-notifications watch pipelines, one an account.
    ServiceLinkedRole = "service_linked_role",
    /// The notification rule.
    NotificationRule = "notification_rule",
    /// The statements in the destination's policy that let others read it.
    Readers = "readers",
    /// The queue that takes events which could not be handled.
    DeadLetterQueue = "dead_letter_queue",
    /// The queue of events of executions.
    Queue = "queue",
    /// The EventBridge rule that feeds it.
    EventRule = "event_rule",
}

impl Resource {
    /// Whether events of executions are lost while it is not what it is to be.
    pub fn feeds_events(self) -> bool {
        matches!(self, Self::DeadLetterQueue | Self::Queue | Self::EventRule)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}
