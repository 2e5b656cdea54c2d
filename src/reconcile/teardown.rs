//! The end of what an object owns in AWS: deleted, or kept as its spec says. Needs no valid spec
//! and no authorized connection.

use jiff::Timestamp;

use crate::api::repofanout::DeletionSpec;
use crate::api::status::SubscriptionStatus;
use crate::cloud::{Cloud, Error, Subscription};
use crate::domain::arn;
use crate::domain::kind::Resource;
use crate::domain::owner::{Owner, RETAINED_AT, Tags};
use crate::reconcile::observe;
use crate::reconcile::record::Resources;
use crate::resource::desired::{Connection, ConnectionUse, NotificationRule};
use crate::resource::observed::{BucketView, ConnectionState};
use crate::resource::reader_policy;
use crate::resource::retention::Retention;

/// What came of it.
pub enum Outcome {
    /// Nothing is left but what is to be kept.
    Done(Vec<String>),
    /// More to do in the next pass.
    Progress(String),
}

/// All that may be there, and what is to become of it. What is absent is left alone.
pub struct Ending {
    /// Where it is.
    pub cloud: Cloud,
    /// Whose it has to be.
    pub owner: Owner,
    /// What its owner wrote.
    pub retention: Retention,
    /// Name of the pipeline, its ARN, and the ARN of the rule that watches it, where recorded.
    pub pipeline: Option<(String, String)>,
    /// ARN of the notification rule as recorded.
    pub rule: Option<String>,
    /// Name of the role.
    pub role: Option<String>,
    /// ARN of the topic.
    pub topic: Option<String>,
    /// The subscriptions that the object made.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// ARN of the event rule.
    pub event_rule: Option<String>,
    /// Names of queues.
    pub queues: Vec<String>,
    /// Name of the artifacts bucket.
    pub artifacts: Option<String>,
    /// Name of the destination bucket.
    pub destination: Option<String>,
    /// Name of the bucket whose policy lets readers in.
    pub readers: Option<String>,
    /// Names of connections, and their ARNs as recorded.
    pub connections: Vec<(String, Option<String>)>,
    /// Bucket and prefix of what was copied into a bucket of others.
    pub copied: Option<(String, String)>,
    /// The time.
    pub now: Timestamp,
}

impl Ending {
    /// Of what was recorded alone: names are not guessed at where others may have them by now.
    pub fn of(
        cloud: Cloud,
        owner: Owner,
        deletion: Option<&DeletionSpec>,
        resources: &Resources,
    ) -> Self {
        let recorded = |resource: Resource| resources.get(resource.as_str()).cloned();
        let last = |resource| {
            recorded(resource).and_then(|arn| arn.rsplit([':', '/']).next().map(str::to_owned))
        };
        Self {
            cloud,
            owner,
            retention: Retention(deletion.cloned().unwrap_or_default()),
            pipeline: recorded(Resource::Pipeline)
                .and_then(|arn| Some((last(Resource::Pipeline)?, arn))),
            rule: recorded(Resource::NotificationRule),
            role: last(Resource::Role),
            topic: recorded(Resource::Topic),
            subscriptions: Vec::new(),
            event_rule: recorded(Resource::EventRule),
            queues: [last(Resource::Queue), last(Resource::DeadLetterQueue)]
                .into_iter()
                .flatten()
                .collect(),
            artifacts: last(Resource::Artifacts),
            destination: last(Resource::Destination),
            readers: last(Resource::Readers),
            connections: Vec::new(),
            copied: None,
            now: Timestamp::now(),
        }
    }

    /// In the order in which nothing is left that reaches into what is gone.
    pub async fn run(&self) -> Result<Outcome, Error> {
        let mut kept = Vec::new();
        let retained = Tags::from([(RETAINED_AT.to_owned(), self.now.to_string())]);
        self.readers().await?;
        self.delivery(&retained, &mut kept).await?;
        self.role(&retained, &mut kept).await?;
        self.topic(&retained, &mut kept).await?;
        self.events(&retained, &mut kept).await?;
        for (name, destination) in [(&self.artifacts, false), (&self.destination, true)] {
            let Some(name) = name else { continue };
            let Some(tags) = self.own_bucket(name).await? else {
                continue;
            };
            let Self { retention, .. } = self;
            let keeps = if destination {
                retention.keeps_destination(&tags)
            } else {
                retention.keeps_artifacts(&tags)
            };
            if keeps {
                self.cloud.buckets.tag(name, &retained).await?;
                kept.push(arn::bucket("aws", name));
                continue;
            }
            if let Some(progress) = self.empty(name, "").await? {
                return Ok(progress);
            }
            self.cloud.buckets.delete(name).await?;
        }
        if let Some((bucket, prefix)) = &self.copied {
            // Only our prefix, and only on the field's own word.
            if let Some(progress) = self.empty(bucket, &format!("{prefix}/")).await? {
                return Ok(progress);
            }
        }
        for (name, recorded) in &self.connections {
            self.connection(name, recorded.as_deref(), &retained, &mut kept)
                .await?;
        }
        Ok(Outcome::Done(kept))
    }

    /// Nobody is let in any more, where the bucket is another's: under that prefix, others' files
    /// may lie one day. An own bucket goes, or is kept as it is.
    async fn readers(&self) -> Result<(), Error> {
        match &self.readers {
            Some(bucket) if self.own_bucket(bucket).await?.is_none() => self
                .cloud
                .buckets
                .allow(bucket, &reader_policy::sids(&self.owner), &[])
                .await
                .map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The notification rule, then the pipeline.
    async fn delivery(&self, retained: &Tags, kept: &mut Vec<String>) -> Result<(), Error> {
        let Self {
            cloud, retention, ..
        } = self;
        let found = match &self.pipeline {
            Some((name, arn)) => {
                let watches = NotificationRule::watching(name, arn);
                observe::rule(cloud, &self.owner, &watches, self.rule.as_deref(), false).await?
            }
            None => match &self.rule {
                Some(arn) => cloud.notification_rules.observe(arn).await?,
                None => None,
            },
        };
        if let Some(rule) = found.filter(|rule| self.owns(&rule.tags)) {
            if retention.keeps_other(&rule.tags) {
                cloud.notification_rules.tag(&rule.arn, retained).await?;
                kept.push(rule.arn);
            } else {
                cloud.notification_rules.delete(&rule.arn).await?;
            }
        }
        if let Some((name, arn)) = &self.pipeline
            && let Some(pipeline) = cloud.pipelines.observe(name, arn).await?
            && self.owns(&pipeline.tags)
        {
            if retention.keeps_other(&pipeline.tags) {
                cloud.pipelines.tag(arn, retained).await?;
                kept.push(arn.clone());
            } else {
                cloud.pipelines.delete(name).await?;
            }
        }
        Ok(())
    }

    async fn role(&self, retained: &Tags, kept: &mut Vec<String>) -> Result<(), Error> {
        let Some(name) = &self.role else {
            return Ok(());
        };
        let Some(role) = self
            .cloud
            .roles
            .observe(name)
            .await?
            .filter(|role| self.owns(&role.tags))
        else {
            return Ok(());
        };
        if self.retention.keeps_other(&role.tags) {
            self.cloud.roles.tag(name, retained).await?;
            kept.push(role.arn);
            return Ok(());
        }
        self.cloud.roles.delete(name).await
    }

    async fn topic(&self, retained: &Tags, kept: &mut Vec<String>) -> Result<(), Error> {
        let Some(arn) = &self.topic else {
            return Ok(());
        };
        let Some(topic) = self
            .cloud
            .topics
            .observe(arn, true)
            .await?
            .filter(|topic| self.owns(&topic.tags))
        else {
            return Ok(());
        };
        // Our own subscribers keep no topic; one that waits for its owner has no ARN, and ends by
        // itself.
        let mut others = topic.subscriptions > 0;
        if others && !self.subscriptions.is_empty() {
            let ours = |s: &Subscription| {
                self.subscriptions
                    .iter()
                    .any(|own| own.protocol == s.protocol && own.endpoint == s.endpoint)
            };
            let (ours, theirs): (Vec<_>, Vec<_>) = self
                .cloud
                .topics
                .subscriptions(arn)
                .await?
                .into_iter()
                .partition(ours);
            others = !theirs.is_empty();
            for subscription in ours.iter().filter_map(|s| s.arn.as_ref()) {
                self.cloud.topics.unsubscribe(subscription).await?;
            }
        }
        if self.retention.keeps_topic(&topic.tags, others) {
            self.cloud.topics.tag(arn, retained).await?;
            kept.push(arn.clone());
            return Ok(());
        }
        self.cloud.notification_rules.delete_target(arn).await?;
        self.cloud.topics.delete(arn).await
    }

    /// The rule, then the queues that it feeds.
    async fn events(&self, retained: &Tags, kept: &mut Vec<String>) -> Result<(), Error> {
        let Self {
            cloud, retention, ..
        } = self;
        if let Some(arn) = &self.event_rule {
            let name = arn.rsplit('/').next().unwrap_or_default();
            if let Some(rule) = cloud
                .event_rules
                .observe(name, arn)
                .await?
                .filter(|rule| self.owns(&rule.tags))
            {
                if retention.keeps_other(&rule.tags) {
                    cloud.event_rules.tag(arn, retained).await?;
                    kept.push(arn.clone());
                } else {
                    cloud.event_rules.delete(name).await?;
                }
            }
        }
        for name in &self.queues {
            let Some(queue) = cloud
                .queues
                .observe(name)
                .await?
                .filter(|queue| self.owns(&queue.tags))
            else {
                continue;
            };
            if retention.keeps_other(&queue.tags) {
                cloud.queues.tag(name, retained).await?;
                kept.push(format!("queue {name}"));
            } else {
                cloud.queues.delete(name).await?;
            }
        }
        Ok(())
    }

    /// Empties a bucket as far as one pass goes.
    async fn empty(&self, bucket: &str, prefix: &str) -> Result<Option<Outcome>, Error> {
        let (deleted, more) = self.cloud.buckets.empty(bucket, prefix).await?;
        Ok(more.then(|| {
            Outcome::Progress(format!(
                "emptying s3://{bucket}/{prefix}: {deleted} more objects deleted"
            ))
        }))
    }

    /// An authorization is a person's work: without a word only a connection without one is
    /// deleted.
    async fn connection(
        &self,
        name: &str,
        recorded: Option<&str>,
        retained: &Tags,
        kept: &mut Vec<String>,
    ) -> Result<(), Error> {
        let own = ConnectionUse::Own(Connection {
            name: name.to_owned(),
            provider: None,
            host_arn: None,
            tags: Tags::new(),
        });
        let (used, spares) =
            observe::connection(&self.cloud, Some(&own), &self.owner, recorded, false).await?;
        for connection in used
            .into_iter()
            .chain(spares)
            .filter(|c| self.owns(&c.tags))
        {
            let was_available = connection.state != ConnectionState::Pending;
            if self
                .retention
                .keeps_connection(&connection.tags, was_available)
            {
                self.cloud
                    .connections
                    .tag(&connection.arn, retained)
                    .await?;
                kept.push(connection.arn);
            } else {
                self.cloud.connections.delete(&connection.arn).await?;
            }
        }
        Ok(())
    }

    fn owns(&self, tags: &Tags) -> bool {
        self.owner.owns(tags)
    }

    /// Tags of the bucket, if it is ours.
    async fn own_bucket(&self, name: &str) -> Result<Option<Tags>, Error> {
        Ok(match self.cloud.buckets.observe(name, true).await? {
            BucketView::Present(bucket) if self.owns(&bucket.tags) => Some(bucket.tags),
            _ => None,
        })
    }
}
