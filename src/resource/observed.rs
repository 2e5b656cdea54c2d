//! What is in AWS, in our words.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::owner::{CREATED_AT, RETAINED_AT, Tags};
use crate::domain::policy_document;
use crate::domain::word::Found;
use crate::resource::desired::{
    Bucket, Declaration, EventRule, Lifecycle, NotificationRule, Pipeline, Queue, Role, Topic,
};
use crate::spec::notifications::Detail;

/// Everything that was looked at for one fan-out.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The artifacts bucket.
    pub artifacts: BucketView,
    /// The destination bucket.
    pub destination: BucketView,
    /// The connection in use.
    pub connection: Option<ObservedConnection>,
    /// Own connections beside it that nobody authorized.
    pub spare_connections: Vec<ObservedConnection>,
    /// Whether codestar-notifications has its service-linked role in the account.
    pub service_linked_role: bool,
    /// The role.
    pub role: Option<ObservedRole>,
    /// The topic.
    pub topic: Option<ObservedTopic>,
    /// The pipeline.
    pub pipeline: Option<ObservedPipeline>,
    /// The notification rule.
    pub notification_rule: Option<ObservedRule>,
    /// Policy of the destination where that is not an own bucket.
    pub destination_policy: Option<Value>,
    /// Where events go that could not be handled.
    pub dead_letter_queue: Option<ObservedQueue>,
    /// Where events of executions go.
    pub queue: Option<ObservedQueue>,
    /// What sends them there.
    pub event_rule: Option<ObservedEventRule>,
}

impl Observed {
    /// The policy of the destination, as far as it was looked at.
    pub fn policy(&self) -> Option<&Value> {
        match &self.destination {
            BucketView::Present(bucket) => {
                bucket.policy.as_ref().or(self.destination_policy.as_ref())
            }
            _ => self.destination_policy.as_ref(),
        }
    }

    /// The policy was written.
    pub fn set_policy(&mut self, policy: Value) {
        match &mut self.destination {
            BucketView::Present(bucket) if bucket.policy.is_some() => bucket.policy = Some(policy),
            _ => self.destination_policy = Some(policy),
        }
    }
}

/// What one sees of a bucket by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum BucketView {
    /// There is none.
    #[default]
    Missing,
    /// There is one that this account may not look into.
    Forbidden,
    /// There is one, in the named region.
    Elsewhere(String),
    /// There is one, and these are its settings.
    Present(Box<ObservedBucket>),
}

impl BucketView {
    /// When the bucket was made, by its tag.
    pub fn created_at(&self) -> Option<Timestamp> {
        let Self::Present(bucket) = self else {
            return None;
        };
        bucket.tags.get(CREATED_AT)?.parse().ok()
    }
}

/// All tags as they are once ours are written.
fn retagged(observed: &Tags, desired: &Tags) -> Tags {
    let mut tags = observed.clone();
    if let Some(since) = tags.get_mut(RETAINED_AT) {
        since.clear();
    }
    tags.extend(desired.clone());
    tags
}

/// A bucket's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedBucket {
    /// All its tags.
    pub tags: Tags,
    /// Whether all four public access blocks are on.
    pub public_access_blocked: bool,
    /// Whether ACLs are off.
    pub owner_enforced: bool,
    /// Whether new objects are encrypted, in whatever way.
    pub encrypted: bool,
    /// ARN or id of the KMS key that encrypts them.
    pub kms_key: Option<String>,
    /// Its policy.
    pub policy: Option<Value>,
    /// Our lifecycle rule.
    pub lifecycle: Option<Lifecycle>,
}

impl ObservedBucket {
    /// What AWS makes of a bucket that it has just made: nothing public, no ACLs, encrypted.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html>
    pub fn created(tags: Tags) -> Self {
        Self {
            tags,
            public_access_blocked: true,
            owner_enforced: true,
            encrypted: true,
            kms_key: None,
            policy: None,
            lifecycle: None,
        }
    }

    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &Bucket) -> Self {
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            tags,
            public_access_blocked: true,
            owner_enforced: true,
            encrypted: true,
            kms_key: desired.kms_key.clone().or_else(|| self.kms_key.clone()),
            policy: Some(policy_document::merge(
                self.policy.as_ref(),
                &desired.statement,
            )),
            lifecycle: Some(desired.lifecycle),
        }
    }
}

/// Statuses of a connection.
/// <https://docs.aws.amazon.com/codestar-connections/latest/APIReference/API_Connection.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// A person has to authorize it.
    Pending,
    /// It works.
    Available,
    /// The provider refuses it; AWS tries again by itself.
    Error,
}

impl ConnectionState {
    /// From AWS's word; one that is not known is no authorization.
    pub fn parse(word: &str) -> Self {
        match word {
            "AVAILABLE" => Self::Available,
            "PENDING" => Self::Pending,
            _ => Self::Error,
        }
    }

    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Available => "AVAILABLE",
            Self::Error => "ERROR",
        }
    }
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedConnection {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Its status.
    pub state: ConnectionState,
    /// Its provider, such as `GitHub`.
    pub provider: String,
    /// All its tags.
    pub tags: Tags,
}

impl ObservedConnection {
    /// As it is once its tags are what was desired.
    pub fn tagged(&self, desired: &Tags) -> Self {
        Self {
            tags: retagged(&self.tags, desired),
            ..self.clone()
        }
    }
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRole {
    /// Its ARN.
    pub arn: String,
    /// Its trust policy.
    pub trust: Value,
    /// Our inline policy.
    pub policy: Option<Value>,
    /// ARN of the policy that bounds it.
    pub boundary: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

impl ObservedRole {
    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &Role) -> Self {
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            arn: self.arn.clone(),
            trust: desired.trust.clone(),
            policy: Some(desired.policy.clone()),
            boundary: desired.boundary.clone(),
            tags,
        }
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedTopic {
    /// Its policy.
    pub policy: Option<Value>,
    /// ARN or id of the KMS key that encrypts it.
    pub kms_key: Option<String>,
    /// How many subscriptions it has, confirmed or pending.
    pub subscriptions: i64,
    /// All its tags.
    pub tags: Tags,
}

impl ObservedTopic {
    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &Topic) -> Self {
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            policy: Some(policy_document::merge(
                self.policy.as_ref(),
                &desired.statement,
            )),
            kms_key: desired.kms_key.clone().or_else(|| self.kms_key.clone()),
            subscriptions: self.subscriptions,
            tags,
        }
    }
}

/// A pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedPipeline {
    /// Its structure.
    pub declaration: Declaration,
    /// Counts its updates from 1.
    pub version: i32,
    /// When its structure last changed, by AWS's clock.
    pub updated_at: Timestamp,
    /// All its tags.
    pub tags: Tags,
}

/// What a list tells of a pipeline: another version or time is another structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPipeline {
    /// Counts its updates from 1.
    pub version: i32,
    /// When its structure last changed, by AWS's clock.
    pub updated_at: Timestamp,
}

impl ObservedPipeline {
    /// As it is once only its tags are what was desired.
    pub fn tagged(&self, desired: &Pipeline) -> Self {
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            tags,
            ..self.clone()
        }
    }
}

/// A notification rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRule {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Its event type ids.
    pub events: BTreeSet<String>,
    /// How much a notification tells.
    pub detail: Found<Detail>,
    /// Its targets.
    pub targets: Vec<RuleTarget>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether that is by our clock, and not by AWS's.
    pub estimated: bool,
    /// All its tags.
    pub tags: Tags,
}

/// A target of a notification rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTarget {
    /// `SNS`, or a kind of chat client.
    pub kind: String,
    /// Its ARN.
    pub address: String,
    /// `UNREACHABLE` if the last notification could not be sent.
    pub status: Option<String>,
}

impl ObservedRule {
    /// What AWS has made of what was desired; its time is asked for where it matters.
    pub fn created(arn: String, desired: &NotificationRule, now: Timestamp) -> Self {
        let target = RuleTarget {
            kind: "SNS".to_owned(),
            address: desired.topic_arn.clone(),
            status: None,
        };
        Self {
            arn,
            name: desired.name.clone(),
            enabled: true,
            events: desired.events.clone(),
            detail: Found::Known(desired.detail),
            targets: vec![target],
            created_at: now,
            estimated: true,
            tags: desired.tags.clone(),
        }
    }

    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &NotificationRule, targets: Vec<RuleTarget>) -> Self {
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            arn: self.arn.clone(),
            name: desired.name.clone(),
            enabled: true,
            events: desired.events.clone(),
            detail: Found::Known(desired.detail),
            targets,
            created_at: self.created_at,
            estimated: self.estimated,
            tags,
        }
    }
}

/// A queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedQueue {
    /// Its policy.
    pub policy: Option<Value>,
    /// ARN of its dead-letter queue.
    pub dead_letters: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

impl ObservedQueue {
    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &Queue) -> Self {
        let merged = desired
            .statement
            .as_ref()
            .map(|statement| policy_document::merge(self.policy.as_ref(), statement));
        Self {
            policy: merged.or_else(|| self.policy.clone()),
            dead_letters: desired
                .dead_letters
                .clone()
                .or_else(|| self.dead_letters.clone()),
            tags: retagged(&self.tags, &desired.tags),
        }
    }
}

/// An EventBridge rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedEventRule {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Which events it takes.
    pub pattern: Option<Value>,
    /// ARNs of its targets.
    pub targets: Vec<String>,
    /// All its tags.
    pub tags: Tags,
}

impl ObservedEventRule {
    /// As it is once it is what was desired.
    pub fn updated(&self, desired: &EventRule) -> Self {
        let mut targets = self.targets.clone();
        targets.retain(|arn| *arn != desired.queue_arn);
        targets.push(desired.queue_arn.clone());
        let tags = retagged(&self.tags, &desired.tags);
        Self {
            enabled: true,
            pattern: Some(desired.pattern.clone()),
            targets,
            tags,
        }
    }
}
