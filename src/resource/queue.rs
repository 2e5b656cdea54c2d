//! The queues of a class: the one of events of executions, and the one that takes those which could
//! not be handled.

use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted, last};
use crate::resource::scope::{Scope, allow};

/// Visibility timeout: a message that was received comes again if nobody has handled it by then.
pub const VISIBILITY: Duration = Duration::from_secs(60);
/// Number of times that a message is received before it goes to the dead letters.
pub const MAX_RECEIVES: u32 = 20;
/// Sid of our statement in queue policies.
const SEND_SID: &str = "RepoFanoutEvents";

/// An own queue. SQS encrypts it by itself; a class's key is not used, as events hold names alone,
/// and EventBridge would need that key.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Our statement in its policy; nobody but its owner sends to it if there is none.
    pub statement: Option<Value>,
    /// ARN of the queue that takes what cannot be handled.
    pub dead_letters: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// A queue as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedQueue {
    /// Its policy.
    pub policy: Option<Value>,
    /// ARN of its dead-letter queue.
    pub dead_letters: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

impl Queue {
    /// The queue that the class's event rule may send to.
    pub(super) fn fed(common: &Common<'_>, names: &Computed) -> Self {
        let arn = &names.queue_arn;
        Self {
            statement: Some(send(arn, &names.event_rule_arn)),
            dead_letters: Some(names.dead_letter_queue_arn.clone()),
            ..Self::dead_letters(common, arn)
        }
    }

    /// The queue that takes dead letters.
    pub(super) fn dead_letters(common: &Common<'_>, arn: &str) -> Self {
        Self {
            name: last(arn),
            arn: arn.to_owned(),
            statement: None,
            dead_letters: None,
            tags: common.tags.clone(),
        }
    }

    /// The found state once it is made.
    pub fn created(&self) -> ObservedQueue {
        let merge = |statement| policy_document::merge(None, statement);
        ObservedQueue {
            policy: self.statement.as_ref().map(merge),
            dead_letters: self.dead_letters.clone(),
            tags: self.tags.clone(),
        }
    }
}

impl Managed for Queue {
    type Found = ObservedQueue;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedQueue) -> &Tags {
        &found.tags
    }

    fn called(&self, _: &ObservedQueue) -> String {
        self.arn.clone()
    }

    fn diff(&self, found: &ObservedQueue) -> Delta {
        let mut delta = Delta::default();
        if let Some(statement) = &self.statement
            && !policy_document::contains(found.policy.as_ref(), statement)
        {
            let path = format!("policy.{SEND_SID}");
            delta.note(Field::Policy, path, "absent or changed", "present");
        }
        if let Some(arn) = &self.dead_letters
            && found.dead_letters.as_ref() != Some(arn)
        {
            let found = found.dead_letters.as_deref().unwrap_or("none");
            delta.note(Field::Redrive, "deadLetterTargetArn", found, arn);
        }
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedQueue) -> ObservedQueue {
        let merge = |statement| policy_document::merge(found.policy.as_ref(), statement);
        let merged = self.statement.as_ref().map(merge);
        let dead_letters = self.dead_letters.clone();
        ObservedQueue {
            policy: merged.or_else(|| found.policy.clone()),
            dead_letters: dead_letters.or_else(|| found.dead_letters.clone()),
            tags: retagged(&found.tags, &self.tags),
        }
    }
}

/// Lets this EventBridge rule, and nothing else, send to the queue.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions>
fn send(queue: &str, rule: &str) -> Value {
    json!({
        "Sid": SEND_SID,
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    })
}

/// The next change of a queue.
pub(super) fn plan(
    resource: Resource,
    wanted: &Wanted<Queue>,
    found: Option<&ObservedQueue>,
    facts: &Facts<'_>,
) -> Planned<Change<Queue>> {
    let own = wanted.own();
    Ok(own.and_then(|queue| Change::between(resource, queue, found, facts)))
}

/// IAM statements of the operator for queues.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let actions = [
        "sqs:CreateQueue",
        "sqs:DeleteMessage",
        "sqs:DeleteQueue",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ListQueueTags",
        "sqs:ReceiveMessage",
        "sqs:SetQueueAttributes",
        "sqs:TagQueue",
    ];
    vec![allow("Queues", actions, scope.named("sqs"))]
}
