//! The topic that deliveries are announced on.

use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::domain::computed::topic_arn;
use crate::domain::kind::Resource;
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::domain::refusal::Refusal;
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted};
use crate::resource::retention::Retention;
use crate::resource::scope::{Scope, allow};
use crate::spec::source::Source;

/// Sid of our statement in topic policies.
const PUBLISH_SID: &str = "RepoFanoutPublish";

/// An own topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Our statement in its policy.
    pub statement: Value,
    /// ARN of the KMS key that encrypts it.
    pub kms_key: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// A topic as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedTopic {
    /// Its policy.
    pub policy: Option<Value>,
    /// ARN or id of the KMS key that encrypts it.
    pub kms_key: Option<String>,
    /// Number of its subscriptions, confirmed or pending.
    pub subscriptions: i64,
    /// All its tags.
    pub tags: Tags,
}

impl Topic {
    /// The topic with this name.
    pub(super) fn new(common: &Common<'_>, name: &str) -> Self {
        let arn = topic_arn(common.place, name);
        Self {
            statement: publish(&arn, &common.place.account),
            name: name.to_owned(),
            arn,
            kms_key: common.kms_key.cloned(),
            tags: common.tags.clone(),
        }
    }

    /// The found state once it is made.
    pub fn created(&self) -> ObservedTopic {
        ObservedTopic {
            policy: Some(policy_document::merge(None, &self.statement)),
            kms_key: self.kms_key.clone(),
            subscriptions: 0,
            tags: self.tags.clone(),
        }
    }
}

impl Managed for Topic {
    type Found = ObservedTopic;

    fn label(&self) -> &str {
        &self.arn
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedTopic) -> &Tags {
        &found.tags
    }

    fn called(&self, _: &ObservedTopic) -> String {
        self.arn.clone()
    }

    fn diff(&self, found: &ObservedTopic) -> Delta {
        let mut delta = Delta::default();
        if !policy_document::contains(found.policy.as_ref(), &self.statement) {
            let path = format!("policy.{PUBLISH_SID}");
            delta.note(Field::Policy, path, "absent or changed", "present");
        }
        delta.key(self.kms_key.as_ref(), found.kms_key.as_ref());
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedTopic) -> ObservedTopic {
        ObservedTopic {
            policy: Some(policy_document::merge(
                found.policy.as_ref(),
                &self.statement,
            )),
            kms_key: self.kms_key.clone().or_else(|| found.kms_key.clone()),
            subscriptions: found.subscriptions,
            tags: retagged(&found.tags, &self.tags),
        }
    }
}

impl Wanted<Topic> {
    /// The topic that the object's spec names or has made.
    pub(super) fn topic(common: &Common<'_>, source: &Source, generated: &str) -> Self {
        match source {
            Source::Shared(arn) => Self::Shared(arn.clone()),
            Source::Existing(arn) => Self::Existing(arn.clone()),
            Source::Own(name) => {
                Self::Own(Topic::new(common, name.as_deref().unwrap_or(generated)))
            }
        }
    }

    /// Its ARN, where the object sees to the topic itself.
    pub fn arn(&self) -> Option<&str> {
        match self {
            Self::Own(topic) => Some(&topic.arn),
            Self::Existing(arn) => Some(arn),
            Self::Unmanaged | Self::Shared(_) | Self::Waiting(_) => None,
        }
    }
}

/// Lets notification rules of the account publish to the topic.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/set-up-sns.html>
fn publish(topic: &str, account: &str) -> Value {
    json!({
        "Sid": PUBLISH_SID,
        "Effect": "Allow",
        "Principal": {"Service": "codestar-notifications.amazonaws.com"},
        "Action": "SNS:Publish",
        "Resource": topic,
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    })
}

/// The next change of the topic.
pub(super) fn plan(
    wanted: &Wanted<Topic>,
    found: Option<&ObservedTopic>,
    facts: &Facts<'_>,
) -> Planned<Change<Topic>> {
    match (wanted, found) {
        (Wanted::Own(topic), found) => Ok(Change::between(Resource::Topic, topic, found, facts)),
        (Wanted::Existing(arn), None) => Err(Refusal::new(
            Reason::NotFound,
            format!(
                "notifications.existingTopicARN: there is no topic {arn}; create it, or name another one"
            ),
        )),
        (Wanted::Existing(arn), Some(found))
            if !policy_document::lets_publish(found.policy.as_ref()) =>
        {
            Err(Refusal::new(
                Reason::AccessDenied,
                format!(
                    "notifications.existingTopicARN: the policy of {arn} does not let \
                         notification rules publish; add this statement to it: {}",
                    publish(arn, &facts.place.account)
                ),
            ))
        }
        (Wanted::Existing(_), Some(_))
        | (Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_), _) => Ok(None),
    }
}

impl Retention {
    /// Whether the own topic is kept: others may subscribe to it.
    pub fn keeps_topic(&self, tags: &Tags, subscribed: bool) -> bool {
        self.keeps(self.0.topic.as_ref(), tags, subscribed)
    }
}

/// IAM statements of the operator for own topics, and to look at those that exist.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let own = [
        "sns:CreateTopic",
        "sns:DeleteTopic",
        "sns:GetTopicAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:ListTagsForResource",
        "sns:SetTopicAttributes",
        "sns:TagResource",
    ];
    let mut statements = vec![allow("Topics", own, scope.named("sns"))];
    let existing = scope.existing("sns");
    if !existing.is_empty() {
        statements.push(allow("ExistingTopics", "sns:GetTopicAttributes", existing));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_topic_lets_us_in_or_not() {
        use policy_document::{lets_publish, merge};
        assert!(lets_publish(Some(&merge(None, &publish("t", "1")))));
        assert!(!lets_publish(None));
        let other = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish", "Resource": "t"}});
        assert!(!lets_publish(Some(&other)));
        let default = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["SNS:Publish"], "Resource": "t",
            "Condition": {"StringEquals": {"AWS:SourceOwner": "1"}}}});
        assert!(!lets_publish(Some(&default)));
    }
}
