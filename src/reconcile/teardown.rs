//! The end of what an object owns in AWS: deleted, or kept as its spec says. Needs no valid spec
//! and no authorized connection.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::status::SubscriptionStatus;
use crate::cloud::{Class, Cloud, Error, Subscription};
use crate::domain::kind::Resource;
use crate::domain::owner::{Owner, RETAINED_AT, Tags};
use crate::reconcile::observe;
use crate::reconcile::record::Resources;
use crate::resource::connection::{ConnectionState, choose};
use crate::resource::reader_policy;
use crate::resource::retention::Retention;

/// How long the notification service may refuse to forget a topic after its last rule is gone.
const RECORD_KEPT: SignedDuration = SignedDuration::from_secs(30);

/// The order in which resources end, so that nothing is left that reaches into what is gone.
const ORDER: [Resource; Resource::ALL.len()] = [
    Resource::Readers,
    Resource::NotificationRule,
    Resource::Pipeline,
    Resource::Role,
    Resource::Topic,
    Resource::EventRule,
    Resource::Queue,
    Resource::DeadLetterQueue,
    Resource::Artifacts,
    Resource::Destination,
    Resource::Connection,
    Resource::ServiceLinkedRole,
];

/// The result of a teardown.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left but what is to be kept.
    Done(Vec<String>),
    /// More to do in the next pass.
    Progress(String),
    /// AWS does not show yet what was created a short while ago: it is looked for again.
    Unseen(String),
}

/// All that may be there, and what is to become of it. What is absent is left alone.
pub struct Ending {
    /// The account and region.
    pub cloud: Cloud,
    /// The owner that its tags have to name.
    pub owner: Owner,
    /// The object's `spec.deletion`.
    pub retention: Retention,
    /// ARNs by resource. A connection has its own list.
    pub resources: Resources,
    /// Names of connections, and their ARNs as recorded.
    pub connections: Vec<(String, Option<String>)>,
    /// Recorded ARNs, and names of connections, that are so young that AWS may not show them yet.
    pub young: BTreeSet<String>,
    /// The subscriptions that the object made.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// Bucket and prefix of what was copied into a bucket of others, where that is to go.
    pub copied: Option<(String, String)>,
    /// When the object was deleted, if it was.
    pub since: Option<Timestamp>,
    /// ARN of the object's notification rule, which may go on with another topic.
    pub rule: Option<String>,
    /// The time.
    pub now: Timestamp,
}

/// What came of a teardown so far.
#[derive(Default)]
struct Tally {
    /// What is kept.
    kept: Vec<String>,
    /// What AWS does not show, and may show yet.
    unseen: Vec<String>,
}

impl Ending {
    /// Ends one resource after the other.
    pub async fn run(&self) -> Result<Outcome, Error> {
        let mut tally = Tally::default();
        for resource in ORDER {
            if let Some(message) = self.end(resource, &mut tally).await? {
                return Ok(Outcome::Progress(message));
            }
        }
        if tally.unseen.is_empty() {
            return Ok(Outcome::Done(tally.kept));
        }
        let message = format!(
            "AWS does not show what was created a short while ago, or not any more: {}; the \
             operator looks again for a while, so that nothing is left behind",
            tally.unseen.join(", ")
        );
        Ok(Outcome::Unseen(message))
    }

    /// Takes note of a recorded resource that AWS may not show yet.
    fn observed<T>(&self, resource: Resource, found: Option<T>, tally: &mut Tally) -> Option<T> {
        if let (None, Some((arn, _))) = (&found, self.recorded(resource))
            && self.young.contains(arn)
        {
            tally.unseen.push(arn.to_owned());
        }
        found
    }

    /// Ends one resource; tells how far it came if that takes another pass.
    async fn end(&self, resource: Resource, tally: &mut Tally) -> Result<Option<String>, Error> {
        match resource {
            Resource::Readers => self.readers().await?,
            Resource::NotificationRule => self.notification_rule(tally).await?,
            Resource::Pipeline => self.pipeline(tally).await?,
            Resource::Role => self.role(tally).await?,
            Resource::Topic => self.topic(tally).await?,
            Resource::EventRule => self.event_rule(tally).await?,
            Resource::Queue | Resource::DeadLetterQueue => self.queue(resource, tally).await?,
            Resource::Artifacts => {
                let keeps = |tags: &Tags| self.retention.keeps_artifacts(tags);
                return self.bucket(resource, keeps, tally).await;
            }
            Resource::Destination => {
                let keeps = |tags: &Tags| self.retention.keeps_destination(tags);
                if let Some(message) = self.bucket(resource, keeps, tally).await? {
                    return Ok(Some(message));
                }
                return match &self.copied {
                    Some((bucket, prefix)) => self.empty(bucket, &format!("{prefix}/")).await,
                    None => Ok(None),
                };
            }
            Resource::Connection => self.connections(tally).await?,
            // It is the account's, and serves others.
            Resource::ServiceLinkedRole => {}
        }
        Ok(None)
    }

    /// ARN of a resource, and its last part: the name of most things.
    fn recorded(&self, resource: Resource) -> Option<(&str, &str)> {
        let arn = self.resources.get(resource.as_str())?;
        Some((arn, arn.rsplit([':', '/']).next()?))
    }

    fn owns(&self, tags: &Tags) -> bool {
        self.owner.owns(tags)
    }

    /// The tag of what is kept.
    fn retained(&self) -> Tags {
        Tags::from([(RETAINED_AT.to_owned(), self.now.to_string())])
    }

    /// Nobody is let in any more, where the bucket is another's: under that prefix, others' files
    /// may lie one day. An own bucket goes, or is kept as it is.
    async fn readers(&self) -> Result<(), Error> {
        let buckets = &self.cloud.buckets;
        if let Some((_, bucket)) = self.recorded(Resource::Readers)
            && self.own_bucket(bucket).await?.is_none()
        {
            let sids = reader_policy::sids(&self.owner);
            buckets.allow(bucket, &sids, &[]).await?;
        }
        Ok(())
    }

    async fn notification_rule(&self, tally: &mut Tally) -> Result<(), Error> {
        let rules = &self.cloud.notification_rules;
        let recorded = self
            .recorded(Resource::NotificationRule)
            .map(|(arn, _)| arn);
        let found = match (self.recorded(Resource::Pipeline), recorded) {
            (Some((arn, name)), _) => {
                observe::rule(&self.cloud, &self.owner, (name, arn), recorded, false).await?
            }
            (None, Some(arn)) => rules.observe(arn).await?,
            (None, None) => None,
        };
        let found = self.observed(Resource::NotificationRule, found, tally);
        if let Some(rule) = found.filter(|rule| self.owns(&rule.tags)) {
            if self.retention.keeps_other(&rule.tags) {
                rules.tag(&rule.arn, &self.retained()).await?;
                tally.kept.push(rule.arn);
            } else {
                rules.delete(&rule.arn).await?;
            }
        }
        Ok(())
    }

    async fn pipeline(&self, tally: &mut Tally) -> Result<(), Error> {
        let pipelines = &self.cloud.pipelines;
        if let Some((arn, name)) = self.recorded(Resource::Pipeline)
            && let Some(pipeline) = self.observed(
                Resource::Pipeline,
                pipelines.observe(name, arn).await?,
                tally,
            )
            && self.owns(&pipeline.tags)
        {
            if self.retention.keeps_other(&pipeline.tags) {
                pipelines.tag(arn, &self.retained()).await?;
                tally.kept.push(arn.to_owned());
            } else {
                pipelines.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn role(&self, tally: &mut Tally) -> Result<(), Error> {
        let roles = &self.cloud.roles;
        if let Some((_, name)) = self.recorded(Resource::Role)
            && let Some(role) = self.observed(Resource::Role, roles.observe(name).await?, tally)
            && self.owns(&role.tags)
        {
            if self.retention.keeps_other(&role.tags) {
                roles.tag(name, &self.retained()).await?;
                tally.kept.push(role.arn);
            } else {
                roles.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn topic(&self, tally: &mut Tally) -> Result<(), Error> {
        let topics = &self.cloud.topics;
        if let Some((arn, _)) = self.recorded(Resource::Topic)
            && let Some(topic) =
                self.observed(Resource::Topic, topics.observe(arn, true).await?, tally)
            && self.owns(&topic.tags)
        {
            let subscribed = topic.subscriptions > 0 && self.unsubscribe(arn).await?;
            if self.retention.keeps_topic(&topic.tags, subscribed) {
                topics.tag(arn, &self.retained()).await?;
                tally.kept.push(arn.to_owned());
            } else if let Some(rule) = self.other_sender(arn).await? {
                topics.tag(arn, &self.retained()).await?;
                let kept = format!("{arn}, to which the notification rule {rule} sends");
                tally.kept.push(kept);
            } else {
                topics.delete(arn).await?;
            }
        }
        Ok(())
    }

    /// Deletes the notification service's record of the topic, and returns the rule of somebody else
    /// that still sends to it. For half a minute after our own rule is gone AWS may refuse. The
    /// deletion of an object then leaves the record to AWS.
    async fn other_sender(&self, topic: &str) -> Result<Option<String>, Error> {
        let rules = &self.cloud.notification_rules;
        let refusal = match rules.delete_target(topic).await {
            Err(error) if error.class == Class::Conflict => error,
            deleted => return deleted.map(|()| None),
        };
        let all = rules.targeting(topic).await?;
        let other = all
            .into_iter()
            .find(|rule| Some(rule) != self.rule.as_ref());
        let waits = self
            .since
            .is_none_or(|since| self.now < since + RECORD_KEPT);
        match other {
            None if waits => Err(refusal),
            other => Ok(other),
        }
    }

    /// Ends the object's own subscriptions, which keep no topic; tells whether others subscribe,
    /// too. One that waits for its owner has no ARN, and ends by itself.
    async fn unsubscribe(&self, topic: &str) -> Result<bool, Error> {
        if self.subscriptions.is_empty() {
            return Ok(true);
        }
        let ours = |s: &Subscription| {
            let same =
                |own: &SubscriptionStatus| own.protocol == s.protocol && own.endpoint == s.endpoint;
            self.subscriptions.iter().any(same)
        };
        let topics = &self.cloud.topics;
        let all = topics.subscriptions(topic).await?;
        let (ours, others): (Vec<_>, Vec<_>) = all.into_iter().partition(ours);
        for subscription in ours.iter().filter_map(|s| s.arn.as_ref()) {
            topics.unsubscribe(subscription).await?;
        }
        Ok(!others.is_empty())
    }

    async fn event_rule(&self, tally: &mut Tally) -> Result<(), Error> {
        let rules = &self.cloud.event_rules;
        if let Some((arn, name)) = self.recorded(Resource::EventRule)
            && let Some(rule) =
                self.observed(Resource::EventRule, rules.observe(name, arn).await?, tally)
            && self.owns(&rule.tags)
        {
            if self.retention.keeps_other(&rule.tags) {
                rules.tag(arn, &self.retained()).await?;
                tally.kept.push(arn.to_owned());
            } else {
                rules.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn queue(&self, resource: Resource, tally: &mut Tally) -> Result<(), Error> {
        let queues = &self.cloud.queues;
        if let Some((_, name)) = self.recorded(resource)
            && let Some(queue) = self.observed(resource, queues.observe(name).await?, tally)
            && self.owns(&queue.tags)
        {
            if self.retention.keeps_other(&queue.tags) {
                queues.tag(name, &self.retained()).await?;
                tally.kept.push(format!("queue {name}"));
            } else {
                queues.delete(name).await?;
            }
        }
        Ok(())
    }

    /// A bucket is emptied before it is deleted, as far as one pass goes.
    async fn bucket(
        &self,
        resource: Resource,
        keeps: impl Fn(&Tags) -> bool,
        tally: &mut Tally,
    ) -> Result<Option<String>, Error> {
        let buckets = &self.cloud.buckets;
        let Some((arn, name)) = self.recorded(resource) else {
            return Ok(None);
        };
        let view = self.cloud.buckets.observe(name, true).await?;
        let found = self.observed(resource, view.present(), tally);
        let Some(tags) = found.map(|b| &b.tags).filter(|tags| self.owns(tags)) else {
            return Ok(None);
        };
        if keeps(tags) {
            buckets.tag(name, &self.retained()).await?;
            tally.kept.push(arn.to_owned());
            return Ok(None);
        }
        let progress = self.empty(name, "").await?;
        if progress.is_none() {
            buckets.delete(name).await?;
        }
        Ok(progress)
    }

    /// Empties a bucket as far as one pass goes; tells how far that is if something is left.
    async fn empty(&self, bucket: &str, prefix: &str) -> Result<Option<String>, Error> {
        let (deleted, more) = self.cloud.buckets.empty(bucket, prefix).await?;
        let message = format!("emptying s3://{bucket}/{prefix}: {deleted} more objects deleted");
        Ok(more.then_some(message))
    }

    /// An authorization is a person's work: without a word only a connection without one is
    /// deleted.
    async fn connections(&self, tally: &mut Tally) -> Result<(), Error> {
        let connections = &self.cloud.connections;
        for (name, recorded) in &self.connections {
            let named = connections.named(name, recorded.as_deref()).await?;
            let (used, spares) = choose(named, &self.owner, recorded.as_deref(), false);
            let known = recorded.as_ref().unwrap_or(name);
            if used.is_none() && self.young.contains(known) {
                tally.unseen.push(known.clone());
            }
            for connection in used.into_iter().chain(spares) {
                if !self.owns(&connection.tags) {
                    continue;
                }
                let was_available = connection.state != ConnectionState::Pending;
                if self
                    .retention
                    .keeps_connection(&connection.tags, was_available)
                {
                    connections.tag(&connection.arn, &self.retained()).await?;
                    tally.kept.push(connection.arn);
                } else {
                    connections.delete(&connection.arn).await?;
                }
            }
        }
        Ok(())
    }

    /// Tags of the bucket, if it is ours.
    async fn own_bucket(&self, name: &str) -> Result<Option<Tags>, Error> {
        let view = self.cloud.buckets.observe(name, true).await?;
        let tags = view.present().map(|bucket| &bucket.tags);
        Ok(tags.filter(|tags| self.owns(tags)).cloned())
    }
}

#[cfg(test)]
mod tests;
