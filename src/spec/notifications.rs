//! `spec.notifications`: what is announced, where, and to whom.

use std::collections::BTreeSet;

use crate::api::notifications::NotificationsSpec;
use crate::domain::refusal::{Refusal, invalid, known_or};
use crate::domain::word::words;
use crate::spec::policy::Policy;
use crate::spec::source::Source;
use crate::spec::subscriber::Subscriber;

/// Every generated event type id begins so.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html>
const EVENT_PREFIX: &str = "codepipeline-pipeline-";

words! {
    /// How much a notification tells.
    /// <https://docs.aws.amazon.com/codestar-notifications/latest/APIReference/API_CreateNotificationRule.html>
    Detail {
        /// That it happened.
        Basic = "BASIC",
        /// Failure messages, too.
        Full = "FULL",
    }
}

/// What is announced, where, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifications {
    /// CodePipeline's event type ids, such as `codepipeline-pipeline-pipeline-execution-failed`.
    pub events: BTreeSet<String>,
    /// How much AWS's notifications tell.
    pub detail: Detail,
    /// The topic.
    pub topic: Source,
    /// Whether deliveries are announced in our own words, too.
    pub announce: bool,
    /// The subscribers of its own topic.
    pub subscribers: Vec<Subscriber>,
}

impl Notifications {
    /// What the object asks for.
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
                "notifications.subscribers: the topic is not the object's own, and its \
                 subscriptions are not the object's to make; subscribe to it where it \
                 belongs, or have a topic of one's own",
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
