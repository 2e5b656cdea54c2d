//! Runs the steps of a plan, and keeps what is observed in step with them.

use jiff::{SignedDuration, Timestamp};

use crate::cloud::{Cloud, Result};
use crate::domain::kind::Resource;
use crate::domain::owner::{CREATED_AT, INTENT};
use crate::domain::policy_document;
use crate::resource::delta;
use crate::resource::delta::{Delta, Field};
use crate::resource::desired::{Bucket, BucketUse, ConnectionUse, Desired, Queue, TopicUse};
use crate::resource::observed::{
    BucketView, Observed, ObservedBucket, ObservedQueue, ObservedRule,
};
use crate::resource::plan::{Action, Step};

/// By how much our clock may be behind AWS's: what succeeded until then may have been before the
/// rule, and AWS is asked.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// What a step needs beside desired and observed.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The word that was given before a connection is created.
    pub intent: &'a str,
    /// The time, for the tag of a bucket that is made now.
    pub now: Timestamp,
    /// The topics that the rule reached so far.
    pub former_topics: &'a [String],
}

/// Runs one step. A step whose resource has nothing desired or observed does nothing:
/// the plan makes none such.
pub async fn apply(
    cloud: &Cloud,
    desired: &Desired,
    observed: &mut Observed,
    step: &Step,
    context: Context<'_>,
) -> Result<()> {
    match (&step.action, step.resource) {
        (Action::DeleteSpare(arn), _) => {
            cloud.connections.delete(arn).await?;
            observed.spare_connections.retain(|c| c.arn != *arn);
        }
        (Action::Create, Resource::Artifacts) => {
            create_bucket(
                cloud,
                desired.artifacts.as_ref(),
                &mut observed.artifacts,
                None,
            )
            .await?;
        }
        (Action::Create, Resource::Destination) => {
            create_bucket(
                cloud,
                desired.destination.as_ref(),
                &mut observed.destination,
                Some(context.now),
            )
            .await?;
        }
        (Action::Update(delta), Resource::Artifacts) => {
            update_bucket(
                cloud,
                desired.artifacts.as_ref(),
                &mut observed.artifacts,
                delta,
            )
            .await?;
        }
        (Action::Update(delta), Resource::Destination) => {
            update_bucket(
                cloud,
                desired.destination.as_ref(),
                &mut observed.destination,
                delta,
            )
            .await?;
        }
        (Action::Create, Resource::Connection) => {
            let Some(ConnectionUse::Own(connection)) = &desired.connection else {
                return Ok(());
            };
            let mut tags = connection.tags.clone();
            tags.insert(INTENT.to_owned(), context.intent.to_owned());
            observed.connection = Some(cloud.connections.create(connection, &tags).await?);
        }
        (Action::Update(delta), Resource::Connection) => {
            let (Some(ConnectionUse::Own(connection)), Some(found)) =
                (&desired.connection, &mut observed.connection)
            else {
                return Ok(());
            };
            cloud.connections.tag(&found.arn, &delta.tags()).await?;
            *found = found.tagged(&connection.tags);
        }
        (Action::Create, Resource::ServiceLinkedRole) => {
            cloud.roles.create_service_linked_role().await?;
            observed.service_linked_role = true;
        }
        (Action::Create, Resource::Role) => {
            let Some(role) = &desired.role else {
                return Ok(());
            };
            observed.role = Some(cloud.roles.create(role).await?);
        }
        (Action::Update(delta), Resource::Role) => {
            let (Some(role), Some(found)) = (&desired.role, &observed.role) else {
                return Ok(());
            };
            cloud.roles.update(role, delta).await?;
            observed.role = Some(found.updated(role));
        }
        (Action::Create, Resource::Topic) => {
            let Some(TopicUse::Own(topic)) = &desired.topic else {
                return Ok(());
            };
            observed.topic = Some(cloud.topics.create(topic).await?);
        }
        (Action::Update(delta), Resource::Topic) => {
            let (Some(TopicUse::Own(topic)), Some(found)) = (&desired.topic, &observed.topic)
            else {
                return Ok(());
            };
            let document = policy_document::merge(found.policy.as_ref(), &topic.statement);
            cloud.topics.update(topic, &document, delta).await?;
            observed.topic = Some(found.updated(topic));
        }
        (Action::Create, Resource::Pipeline) => {
            let Some(pipeline) = &desired.pipeline else {
                return Ok(());
            };
            observed.pipeline = Some(cloud.pipelines.create(pipeline).await?);
        }
        (Action::Update(delta), Resource::Pipeline) => {
            let (Some(pipeline), Some(found)) = (&desired.pipeline, &observed.pipeline) else {
                return Ok(());
            };
            cloud.pipelines.update(pipeline, delta).await?;
            // A new structure has a version and a time of AWS's own: both are read back.
            observed.pipeline = if delta.has(Field::Declaration) {
                cloud
                    .pipelines
                    .observe(&pipeline.name, &pipeline.arn)
                    .await?
            } else {
                Some(found.tagged(pipeline))
            };
        }
        (Action::Create, Resource::NotificationRule) => {
            let Some(rule) = &desired.notification_rule else {
                return Ok(());
            };
            let arn = cloud.notification_rules.create(rule).await?;
            observed.notification_rule =
                Some(ObservedRule::created(arn, rule, Timestamp::now() + SKEW));
        }
        (Action::Update(changes), Resource::NotificationRule) => {
            let (Some(rule), Some(found)) =
                (&desired.notification_rule, &observed.notification_rule)
            else {
                return Ok(());
            };
            let targets = delta::targets(rule, found, context.former_topics);
            cloud
                .notification_rules
                .update(&found.arn, rule, &targets, changes)
                .await?;
            observed.notification_rule = Some(found.updated(rule, targets));
        }
        (Action::Create | Action::Update(_), Resource::Readers) => {
            let Some(readers) = &desired.readers else {
                return Ok(());
            };
            let written = cloud
                .buckets
                .allow(&readers.bucket, &readers.sids, &readers.statements)
                .await?;
            observed.set_policy(written);
        }
        (Action::Create, Resource::DeadLetterQueue) => {
            let Some(queue) = &desired.dead_letter_queue else {
                return Ok(());
            };
            observed.dead_letter_queue = Some(cloud.queues.create(queue).await?);
        }
        (Action::Create, Resource::Queue) => {
            let Some(queue) = &desired.queue else {
                return Ok(());
            };
            observed.queue = Some(cloud.queues.create(queue).await?);
        }
        (Action::Update(delta), Resource::DeadLetterQueue) => {
            update_queue(
                cloud,
                desired.dead_letter_queue.as_ref(),
                &mut observed.dead_letter_queue,
                delta,
            )
            .await?;
        }
        (Action::Update(delta), Resource::Queue) => {
            update_queue(cloud, desired.queue.as_ref(), &mut observed.queue, delta).await?;
        }
        (Action::Create, Resource::EventRule) => {
            let Some(rule) = &desired.event_rule else {
                return Ok(());
            };
            observed.event_rule = Some(cloud.event_rules.create(rule).await?);
        }
        (Action::Update(delta), Resource::EventRule) => {
            let (Some(rule), Some(found)) = (&desired.event_rule, &observed.event_rule) else {
                return Ok(());
            };
            cloud.event_rules.update(rule, delta).await?;
            observed.event_rule = Some(found.updated(rule));
        }
        (Action::Update(_), Resource::ServiceLinkedRole) => {}
    }
    Ok(())
}

async fn update_queue(
    cloud: &Cloud,
    desired: Option<&Queue>,
    observed: &mut Option<ObservedQueue>,
    delta: &Delta,
) -> Result<()> {
    let (Some(queue), Some(found)) = (desired, &observed) else {
        return Ok(());
    };
    let updated = found.updated(queue);
    cloud
        .queues
        .update(queue, updated.policy.as_ref(), delta)
        .await?;
    *observed = Some(updated);
    Ok(())
}

async fn create_bucket(
    cloud: &Cloud,
    desired: Option<&BucketUse>,
    view: &mut BucketView,
    stamp: Option<Timestamp>,
) -> Result<()> {
    let Some(BucketUse::Own(bucket)) = desired else {
        return Ok(());
    };
    let mut tags = bucket.tags.clone();
    tags.extend(stamp.map(|now| (CREATED_AT.to_owned(), now.to_string())));
    cloud.buckets.create(bucket, &tags).await?;
    let made: &Bucket = bucket;
    *view = BucketView::Present(Box::new(ObservedBucket::created(tags).updated(made)));
    Ok(())
}

async fn update_bucket(
    cloud: &Cloud,
    desired: Option<&BucketUse>,
    view: &mut BucketView,
    delta: &Delta,
) -> Result<()> {
    let (Some(BucketUse::Own(bucket)), BucketView::Present(found)) = (desired, &view) else {
        return Ok(());
    };
    cloud.buckets.update(bucket, delta).await?;
    *view = BucketView::Present(Box::new(found.updated(bucket)));
    Ok(())
}
