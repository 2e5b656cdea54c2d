//! `spec.notifications`: events, topic and subscribers.

use std::collections::BTreeSet;

use crate::api::notifications::NotificationsSpec;
use crate::domain::refusal::{Refusal, invalid, known_or};
use crate::domain::word::words;
use crate::spec::policy::Policy;
use crate::spec::source::Source;
use crate::spec::subscriber::Subscriber;

/// Prefix of CodePipeline's event type ids, which the spec leaves out.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html>
const EVENT_PREFIX: &str = "codepipeline-pipeline-";

words! {
    /// The level of detail of AWS's notifications.
    /// <https://docs.aws.amazon.com/codestar-notifications/latest/APIReference/API_CreateNotificationRule.html>
    Detail {
        /// The event alone.
        Basic = "BASIC",
        /// The event and, for example, failure messages.
        Full = "FULL",
    }
}

/// The events, the topic and its subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifications {
    /// CodePipeline's event type ids, such as `codepipeline-pipeline-pipeline-execution-failed`.
    pub events: BTreeSet<String>,
    /// The level of detail of AWS's notifications.
    pub detail: Detail,
    /// Source of the topic.
    pub topic: Source,
    /// Whether the operator publishes its own announcement of each delivery, too.
    pub announce: bool,
    /// Subscribers of the object's own topic.
    pub subscribers: Vec<Subscriber>,
}

impl Notifications {
    /// Parses the options.
    pub fn parse(spec: NotificationsSpec, policy: &Policy<'_>) -> Result<Self, Refusal> {
        let succeeded = || vec!["pipeline-execution-succeeded".to_owned()];
        let events = spec.events.unwrap_or_else(succeeded);
        let detail = known_or(
            "notifications.detail",
            spec.detail.as_deref(),
            Detail::Basic,
        )?;
        let subscribers = spec.subscribers.unwrap_or_default().into_iter();
        let subscribers: Vec<Subscriber> = subscribers
            .map(|subscriber| policy.subscriber(subscriber))
            .collect::<Result<_, _>>()?;
        let topic = policy.topic(spec.topic_name, spec.existing_topic_arn)?;
        if !subscribers.is_empty() && !matches!(topic, Source::Own(_)) {
            return Err(invalid(
                "notifications.subscribers: the topic is not the object's own, and an object \
                 manages subscriptions of its own topic only; leave subscribers out and subscribe \
                 to that topic yourself, or let the object create a topic of its own",
            ));
        }
        Ok(Self {
            events: events
                .iter()
                .map(|event| format!("{EVENT_PREFIX}{event}"))
                .collect(),
            detail,
            topic,
            announce: spec.announce.unwrap_or(false),
            subscribers,
        })
    }
}
