//! What we ask of a cloud: one small trait a resource, one error type, no SDK type.

pub mod advice;
mod cause;
#[cfg(test)]
pub mod fake;
pub mod quota;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing::warn;

use crate::domain::arn;
use crate::domain::arn::Audience;
use crate::domain::execution::{Execution, Failure, RunningAction, Target};
use crate::domain::object::{Entries, Object};
use crate::domain::owner::Tags;
use crate::domain::policy_document::Gone;
use crate::domain::settings::AssumeRole;
use crate::resource::bucket::{Bucket, BucketView};
use crate::resource::connection::{Connection, ObservedConnection};
use crate::resource::delta::Delta;
use crate::resource::event_rule::{EventRule, ObservedEventRule};
use crate::resource::notification_rule::{NotificationRule, ObservedRule, RuleTarget};
use crate::resource::pipeline::{ListedPipeline, ObservedPipeline, Pipeline};
use crate::resource::queue::{ObservedQueue, Queue};
use crate::resource::role::{ObservedRole, Role};
use crate::resource::topic::{ObservedTopic, Topic};
use crate::spec::subscriber::Subscriber;

/// What went wrong, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It is not there.
    NotFound,
    /// Something with this name is there already, or changes right now.
    Conflict,
    /// The operator may not.
    Denied,
    /// Too many calls.
    Throttled,
    /// The account's quota is used up.
    Quota,
    /// AWS does not take the request.
    Invalid,
    /// AWS failed or was not reached; whether it did the work is unknown.
    Transient,
    /// A role that was just written is not yet known everywhere.
    IamPropagating,
    /// The service-linked role of notifications is still being made.
    ServiceLinkedRole,
    /// A policy names a principal that AWS does not know yet, or does not know any more.
    UnknownPrincipal,
}

impl Class {
    /// Whether AWS failed for a while, or takes no more calls now.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }
}

/// Code of an error of our own: there were no credentials to sign the call with.
pub const NO_CREDENTIALS: &str = "NoCredentials";

/// An answer of the cloud that is not what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}: {}{message}", code.as_ref().map(|c| format!("{c}: ")).unwrap_or_default())]
pub struct Error {
    /// Decides what happens next.
    pub class: Class,
    /// The call, as IAM names it, such as `s3:CreateBucket`.
    pub call: &'static str,
    /// The service's error code.
    pub code: Option<String>,
    /// The service's words, unfiltered: they may name what belongs to others.
    pub message: String,
    /// The service's id of the request, for AWS support.
    pub request_id: Option<String>,
}

impl Error {
    /// Logs the whole of what AWS said: it may name what belongs to others, and goes nowhere else.
    pub fn log(&self) {
        let Self {
            call,
            code,
            request_id,
            class,
            message,
        } = self;
        warn!(call, ?code, ?request_id, ?class, %message, "AWS");
    }

    /// The cloud's words as the object's readers may see them: without ARNs that this audience
    /// may not see.
    pub fn said(&self, audience: Audience<'_>) -> String {
        format!(
            "{} said: {}",
            self.call,
            arn::filter(&self.message, audience)
        )
    }

    /// Whether the call was not sent, because there were no credentials to sign it with.
    pub fn lacks_credentials(&self) -> bool {
        self.code.as_deref() == Some(NO_CREDENTIALS)
    }

    /// Whether the call would have changed something.
    pub fn writes(&self) -> bool {
        !reads(self.call)
    }

    /// That the call was refused, by which code, and with which words, as far as this audience may
    /// see them.
    pub fn refused(&self, audience: Audience<'_>) -> String {
        let code = self.code.as_ref().map(|code| format!(" ({code})"));
        format!(
            "{} was refused{}: {}",
            self.call,
            code.unwrap_or_default(),
            arn::filter(&self.message, audience)
        )
    }
}

/// Whether a call only reads.
pub fn reads(call: &str) -> bool {
    let operation = call
        .split_once(':')
        .map_or(call, |(_, operation)| operation);
    ["Get", "List", "Head", "Describe"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

/// A policy that was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// The document.
    pub document: serde_json::Value,
    /// The principals that were taken out of it, because AWS accepts no document that names them.
    pub gone: Vec<Gone>,
}

impl Written {
    /// A document that was written as it was to be.
    pub fn whole(document: serde_json::Value) -> Self {
        Self {
            document,
            gone: Vec::new(),
        }
    }
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// S3 buckets.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// What one sees of the bucket; `settings` reads them all, which takes six calls more.
    async fn observe(&self, name: &str, settings: bool) -> Result<BucketView>;
    /// Makes it, with its policy and lifecycle; `tags` go with the first call.
    async fn create(&self, desired: &Bucket, tags: &Tags) -> Result<()>;
    /// Writes what differs; tells who was taken out of the policy.
    async fn update(&self, desired: &Bucket, delta: &Delta) -> Result<Vec<Gone>>;
    /// Writes tags beside those that are there, and keeps those.
    async fn tag(&self, name: &str, tags: &Tags) -> Result<()>;
    /// Deletes up to some thousands of objects and versions under the prefix; tells how many, and
    /// whether any are left.
    async fn empty(&self, name: &str, prefix: &str) -> Result<(u64, bool)>;
    /// Deletes the empty bucket; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<()>;
    /// The policy of the bucket, if it has one and is there.
    async fn policy(&self, name: &str) -> Result<Option<serde_json::Value>>;
    /// Puts these statements in the place of those with our Sids in the bucket's policy, and leaves
    /// the others as they are, but for principals that are gone; answers the policy. Of a bucket
    /// that is not there nothing is to be done.
    async fn allow(
        &self,
        name: &str,
        sids: &[String],
        ours: &[serde_json::Value],
    ) -> Result<Written>;
    /// The principals of statements with our Sids that AWS lately did not know.
    fn unknown(&self, name: &str, sids: &[String]) -> BTreeSet<String>;
}

/// What lies in buckets.
#[async_trait]
pub trait Objects: Send + Sync {
    /// All objects under the prefix.
    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>>;
    /// Deletes up to 1,000 of them as long as they have these ETags; tells how many it were.
    async fn delete(&self, bucket: &str, objects: &[Object]) -> Result<usize>;
    /// The files of a zip; nothing if it is not there.
    async fn entries(&self, bucket: &str, key: &str) -> Result<Option<Entries>>;
    /// Has an object's age count from now on; answers whether it is there.
    async fn refresh(&self, bucket: &str, key: &str) -> Result<bool>;
}

/// Connections to repository providers.
#[async_trait]
pub trait Connections: Send + Sync {
    /// The connection with this ARN, without its tags.
    async fn observe(&self, arn: &str) -> Result<Option<ObservedConnection>>;
    /// All connections of the region with this name, with their tags; also the recorded one, if a
    /// list lacks it.
    async fn named(&self, name: &str, recorded: Option<&str>) -> Result<Vec<ObservedConnection>>;
    /// Makes it, in one single try: a lost answer must not make two.
    async fn create(&self, desired: &Connection, tags: &Tags) -> Result<ObservedConnection>;
    /// Writes the tags.
    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()>;
    /// Deletes it; one that is not there is fine.
    async fn delete(&self, arn: &str) -> Result<()>;
    /// How many connections account and region have, everybody's, as a list of that age tells.
    async fn count(&self, age: Duration) -> Result<usize>;
}

/// IAM roles.
#[async_trait]
pub trait Roles: Send + Sync {
    /// The role, with our inline policy.
    async fn observe(&self, name: &str) -> Result<Option<ObservedRole>>;
    /// Makes it, with its inline policy.
    async fn create(&self, desired: &Role) -> Result<ObservedRole>;
    /// Writes what differs.
    async fn update(&self, desired: &Role, delta: &Delta) -> Result<()>;
    /// Writes the tags.
    async fn tag(&self, name: &str, tags: &Tags) -> Result<()>;
    /// Deletes it with our inline policy; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<()>;
    /// Whether codestar-notifications has its service-linked role in the account.
    async fn service_linked_role(&self) -> Result<bool>;
    /// Makes the service-linked role; one that is there is fine.
    async fn create_service_linked_role(&self) -> Result<()>;
    /// How many roles the account has, everybody's.
    async fn count(&self) -> Result<usize>;
}

/// SNS topics.
#[async_trait]
pub trait Topics: Send + Sync {
    /// The topic; without its tags where it is not ours to look at.
    async fn observe(&self, arn: &str, tags: bool) -> Result<Option<ObservedTopic>>;
    /// Makes it, with our statement as its policy.
    async fn create(&self, desired: &Topic) -> Result<ObservedTopic>;
    /// Writes what differs; `policy` is the merged document. Tells who was taken out of it.
    async fn update(
        &self,
        desired: &Topic,
        policy: &serde_json::Value,
        delta: &Delta,
    ) -> Result<Vec<Gone>>;
    /// Writes the tags.
    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()>;
    /// Deletes it; one that is not there is fine.
    async fn delete(&self, arn: &str) -> Result<()>;
    /// Its subscriptions, everybody's.
    async fn subscriptions(&self, arn: &str) -> Result<Vec<Subscription>>;
    /// Subscribes; tells the subscription's ARN, if it has one before it is confirmed.
    async fn subscribe(&self, arn: &str, subscriber: &Subscriber) -> Result<Option<String>>;
    /// The attributes of a subscription.
    async fn subscription(&self, subscription: &str) -> Result<BTreeMap<String, String>>;
    /// Writes attributes of a subscription, one after another in this order.
    async fn configure(
        &self,
        subscription: &str,
        attributes: &[(&'static str, String)],
    ) -> Result<()>;
    /// Ends a subscription; one that is not there is fine.
    async fn unsubscribe(&self, subscription: &str) -> Result<()>;
    /// Publishes a message on it, with attributes that subscriptions may filter on.
    async fn publish(
        &self,
        arn: &str,
        body: &str,
        attributes: &BTreeMap<&'static str, &str>,
    ) -> Result<()>;
}

/// CodePipeline pipelines and their executions.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// The pipeline with this name and ARN.
    async fn observe(&self, name: &str, arn: &str) -> Result<Option<ObservedPipeline>>;
    /// Makes it; CodePipeline then runs it by itself.
    async fn create(&self, desired: &Pipeline) -> Result<ObservedPipeline>;
    /// Writes what differs; a changed structure cancels what runs. Tells the version then.
    async fn update(&self, desired: &Pipeline, delta: &Delta) -> Result<()>;
    /// Writes the tags.
    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()>;
    /// Deletes it; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<()>;
    /// The newest executions, newest first, and all that run or wait; nothing if there is no
    /// pipeline.
    async fn executions(&self, name: &str) -> Result<Vec<Execution>>;
    /// What the execution copied from where to where, by the version that it ran with.
    async fn target(&self, name: &str, execution: &str) -> Result<Option<Target>>;
    /// Why the execution failed.
    async fn failure(&self, name: &str, execution: &str) -> Result<Option<Failure>>;
    /// The action that the execution runs now, if it runs one.
    async fn running(&self, name: &str, execution: &str) -> Result<Option<RunningAction>>;
    /// Stops the execution; one that has ended is fine. An action that is not abandoned ends first.
    async fn stop(&self, name: &str, execution: &str, abandon: bool, reason: &str) -> Result<()>;
    /// The executions that ended at that time or later, newest first; nothing if there is no
    /// pipeline.
    async fn history(&self, name: &str, since: Timestamp) -> Result<Vec<Execution>>;
    /// Bucket and key of the artifact that the execution's source left.
    async fn artifact(&self, name: &str, execution: &str) -> Result<Option<(String, String)>>;
    /// Starts an execution, once for the same token.
    async fn start(&self, name: &str, token: &str) -> Result<()>;
    /// All pipelines of account and region, everybody's, by name; the list is at most that old.
    async fn list(&self, age: Duration) -> Result<Arc<BTreeMap<String, ListedPipeline>>>;
}

/// Notification rules.
#[async_trait]
pub trait NotificationRules: Send + Sync {
    /// The rule with this ARN.
    async fn observe(&self, arn: &str) -> Result<Option<ObservedRule>>;
    /// The rules that watch this pipeline.
    async fn watching(&self, pipeline_arn: &str) -> Result<Vec<ObservedRule>>;
    /// Makes it.
    async fn create(&self, desired: &NotificationRule) -> Result<String>;
    /// Writes what differs.
    async fn update(
        &self,
        arn: &str,
        desired: &NotificationRule,
        targets: &[RuleTarget],
        delta: &Delta,
    ) -> Result<()>;
    /// Writes the tags.
    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()>;
    /// Deletes it; one that is not there is fine.
    async fn delete(&self, arn: &str) -> Result<()>;
    /// Deletes the service's own record of a topic that no rule reaches any more.
    async fn delete_target(&self, topic_arn: &str) -> Result<()>;
    /// ARNs of the rules that send to the topic, everybody's.
    async fn targeting(&self, topic_arn: &str) -> Result<Vec<String>>;
    /// ARNs of all rules of account and region, everybody's; the list is at most that old.
    async fn list(&self, age: Duration) -> Result<Arc<BTreeSet<String>>>;
}

/// SQS queues.
#[async_trait]
pub trait Queues: Send + Sync {
    /// The queue with this name.
    async fn observe(&self, name: &str) -> Result<Option<ObservedQueue>>;
    /// Makes it, with our statement as its policy.
    async fn create(&self, desired: &Queue) -> Result<ObservedQueue>;
    /// Writes what differs; `policy` is the merged document. Tells who was taken out of it.
    async fn update(
        &self,
        desired: &Queue,
        policy: Option<&serde_json::Value>,
        delta: &Delta,
    ) -> Result<Vec<Gone>>;
    /// Writes the tags.
    async fn tag(&self, name: &str, tags: &Tags) -> Result<()>;
    /// Deletes it; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<()>;
    /// Up to ten messages; waits up to 20 seconds for the first one.
    async fn receive(&self, name: &str) -> Result<Vec<Message>>;
    /// Takes messages off it, by their receipts.
    async fn acknowledge(&self, name: &str, receipts: &[String]) -> Result<()>;
}

/// A message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its text.
    pub body: String,
    /// What it is acknowledged by.
    pub receipt: String,
}

/// EventBridge rules.
#[async_trait]
pub trait EventRules: Send + Sync {
    /// The rule with this name and ARN.
    async fn observe(&self, name: &str, arn: &str) -> Result<Option<ObservedEventRule>>;
    /// Makes it, with its target.
    async fn create(&self, desired: &EventRule) -> Result<ObservedEventRule>;
    /// Writes what differs.
    async fn update(&self, desired: &EventRule, delta: &Delta) -> Result<()>;
    /// Writes the tags.
    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()>;
    /// Deletes it and our target; one that is not there is fine.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// One account and region of a cloud.
#[derive(Clone)]
pub struct Cloud {
    /// S3 buckets.
    pub buckets: Arc<dyn Buckets>,
    /// S3 objects.
    pub objects: Arc<dyn Objects>,
    /// Connections.
    pub connections: Arc<dyn Connections>,
    /// IAM roles.
    pub roles: Arc<dyn Roles>,
    /// SNS topics.
    pub topics: Arc<dyn Topics>,
    /// Pipelines.
    pub pipelines: Arc<dyn Pipelines>,
    /// Notification rules.
    pub notification_rules: Arc<dyn NotificationRules>,
    /// SQS queues.
    pub queues: Arc<dyn Queues>,
    /// EventBridge rules.
    pub event_rules: Arc<dyn EventRules>,
}

/// Gives the cloud of an account and region.
#[async_trait]
pub trait Clouds: Send + Sync {
    /// The cloud that the role reaches, or the operator's own identity; clients and credentials are
    /// made once and shared.
    async fn cloud(&self, access: Option<&AssumeRole>, region: &str) -> Cloud;
}

/// A subscription of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its ARN; none until it is confirmed.
    pub arn: Option<String>,
    /// SNS's word.
    pub protocol: String,
    /// ARN, URL or address.
    pub endpoint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_quoted_without_the_arns_of_others() {
        let mut error = Error {
            class: Class::Denied,
            call: "sns:Publish",
            code: Some("AuthorizationError".to_owned()),
            message: "not on arn:aws:sns:eu-west-1:111122223333:a".to_owned(),
            request_id: None,
        };
        assert_eq!(
            error.said(Audience::Own(&[])),
            "sns:Publish said: not on (another ARN)"
        );
        let own = "arn:aws:sns:eu-west-1:111122223333:a";
        assert_eq!(
            error.said(Audience::Own(&[own.to_owned()])),
            format!("sns:Publish said: not on {own}")
        );
        let refused = "sns:Publish was refused (AuthorizationError): not on (another ARN)";
        assert_eq!(error.refused(Audience::Own(&[])), refused);
        error.code = None;
        let refused = "sns:Publish was refused: not on (another ARN)";
        assert_eq!(error.refused(Audience::Own(&[])), refused);
    }
}
