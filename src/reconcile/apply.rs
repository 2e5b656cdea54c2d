//! Runs the steps of a plan, and keeps what is observed in step with them.

use jiff::{SignedDuration, Timestamp};

use crate::cloud::{Cloud, Result};
use crate::domain::owner::{CREATED_AT, INTENT, Tags};
use crate::domain::policy_document;
use crate::domain::policy_document::Gone;
use crate::resource::Observed;
use crate::resource::bucket::{Bucket, BucketView};
use crate::resource::connection::{Connection, ObservedConnection};
use crate::resource::delta::Field;
use crate::resource::event_rule::{EventRule, ObservedEventRule};
use crate::resource::managed::{Change, Managed};
use crate::resource::notification_rule::{NotificationRule, ObservedRule};
use crate::resource::pipeline::{ObservedPipeline, Pipeline};
use crate::resource::plan::Step;
use crate::resource::queue::{ObservedQueue, Queue};
use crate::resource::role::{ObservedRole, Role};
use crate::resource::topic::{ObservedTopic, Topic};

/// By how much our clock may be behind AWS's: what succeeded until then may have been before the
/// rule, and AWS is asked.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Facts that a step needs and a plan does not know.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The intent that was recorded before a connection is created.
    pub intent: &'a str,
    /// The time, for the tag of a bucket that is made now.
    pub now: Timestamp,
}

/// Runs one step.
pub async fn apply(
    cloud: &Cloud,
    observed: &mut Observed,
    step: &Step,
    context: Context<'_>,
) -> Result<()> {
    match step {
        Step::Artifacts(change) => {
            observed.artifacts = bucket(cloud, &mut observed.gone, change, Tags::new()).await?;
        }
        Step::Destination(change) => {
            // A delivery counts only if it came after this.
            let created_at = (CREATED_AT.to_owned(), context.now.to_string());
            let more = Tags::from([created_at]);
            observed.destination = bucket(cloud, &mut observed.gone, change, more).await?;
        }
        Step::Connection(change) => {
            observed.connection = Some(connection(cloud, change, context.intent).await?);
        }
        Step::DeleteSpareConnection(arn) => {
            cloud.connections.delete(arn).await?;
            observed.spare_connections.retain(|c| c.arn != *arn);
        }
        Step::Topic(change) => {
            observed.topic = Some(topic(cloud, &mut observed.gone, change).await?)
        }
        Step::Role(change) => observed.role = Some(role(cloud, change).await?),
        Step::Pipeline(change) => observed.pipeline = pipeline(cloud, change).await?,
        Step::CreateServiceLinkedRole => {
            cloud.roles.create_service_linked_role().await?;
            observed.service_linked_role = true;
        }
        Step::NotificationRule(change) => {
            observed.notification_rule = Some(notification_rule(cloud, change).await?);
        }
        Step::Readers(write) => {
            let readers = write.readers();
            let written = cloud
                .buckets
                .allow(&readers.bucket, &readers.sids, &readers.statements)
                .await?;
            observed.unknown_readers = cloud.buckets.unknown(&readers.bucket, &readers.sids);
            observed.gone.extend(written.gone);
            observed.set_policy(written.document);
        }
        Step::DeadLetterQueue(change) => {
            observed.dead_letter_queue = Some(queue(cloud, &mut observed.gone, change).await?);
        }
        Step::Queue(change) => {
            observed.queue = Some(queue(cloud, &mut observed.gone, change).await?);
        }
        Step::EventRule(change) => observed.event_rule = Some(event_rule(cloud, change).await?),
    }
    Ok(())
}

async fn bucket(
    cloud: &Cloud,
    gone: &mut Vec<Gone>,
    change: &Change<Bucket>,
    more: Tags,
) -> Result<BucketView> {
    let written = match change {
        Change::Create(bucket) => {
            let mut tags = bucket.tags.clone();
            tags.extend(more);
            cloud.buckets.create(bucket, &tags).await?;
            bucket.created(tags)
        }
        Change::Update(update) => {
            gone.extend(cloud.buckets.update(&update.desired, &update.delta).await?);
            update.desired.updated(&update.found)
        }
    };
    Ok(BucketView::Present(Box::new(written)))
}

async fn connection(
    cloud: &Cloud,
    change: &Change<Connection>,
    intent: &str,
) -> Result<ObservedConnection> {
    match change {
        Change::Create(connection) => {
            let mut tags = connection.tags.clone();
            tags.insert(INTENT.to_owned(), intent.to_owned());
            cloud.connections.create(connection, &tags).await
        }
        Change::Update(update) => {
            let tags = update.delta.tags();
            cloud.connections.tag(&update.found.arn, &tags).await?;
            Ok(update.desired.updated(&update.found))
        }
    }
}

async fn topic(
    cloud: &Cloud,
    gone: &mut Vec<Gone>,
    change: &Change<Topic>,
) -> Result<ObservedTopic> {
    match change {
        Change::Create(topic) => cloud.topics.create(topic).await,
        Change::Update(update) => {
            let (topic, found) = (&update.desired, &update.found);
            let policy = policy_document::merge(found.policy.as_ref(), &topic.statement);
            gone.extend(cloud.topics.update(topic, &policy, &update.delta).await?);
            Ok(topic.updated(found))
        }
    }
}

async fn role(cloud: &Cloud, change: &Change<Role>) -> Result<ObservedRole> {
    match change {
        Change::Create(role) => cloud.roles.create(role).await,
        Change::Update(update) => {
            cloud.roles.update(&update.desired, &update.delta).await?;
            Ok(update.desired.updated(&update.found))
        }
    }
}

async fn pipeline(cloud: &Cloud, change: &Change<Pipeline>) -> Result<Option<ObservedPipeline>> {
    match change {
        Change::Create(pipeline) => cloud.pipelines.create(pipeline).await.map(Some),
        Change::Update(update) => {
            let pipeline = &update.desired;
            cloud.pipelines.update(pipeline, &update.delta).await?;
            if !update.delta.has(Field::Declaration) {
                return Ok(Some(pipeline.updated(&update.found)));
            }
            // A new structure has a version and a time of AWS's own: both are read back.
            cloud.pipelines.observe(&pipeline.name, &pipeline.arn).await
        }
    }
}

async fn notification_rule(
    cloud: &Cloud,
    change: &Change<NotificationRule>,
) -> Result<ObservedRule> {
    match change {
        Change::Create(rule) => {
            let arn = cloud.notification_rules.create(rule).await?;
            Ok(rule.created(arn, Timestamp::now() + SKEW))
        }
        Change::Update(update) => {
            let updated = update.desired.updated(&update.found);
            cloud
                .notification_rules
                .update(
                    &updated.arn,
                    &update.desired,
                    &updated.targets,
                    &update.delta,
                )
                .await?;
            Ok(updated)
        }
    }
}

async fn queue(
    cloud: &Cloud,
    gone: &mut Vec<Gone>,
    change: &Change<Queue>,
) -> Result<ObservedQueue> {
    match change {
        Change::Create(queue) => cloud.queues.create(queue).await,
        Change::Update(update) => {
            let updated = update.desired.updated(&update.found);
            let policy = updated.policy.as_ref();
            let written = cloud.queues.update(&update.desired, policy, &update.delta);
            gone.extend(written.await?);
            Ok(updated)
        }
    }
}

async fn event_rule(cloud: &Cloud, change: &Change<EventRule>) -> Result<ObservedEventRule> {
    match change {
        Change::Create(rule) => cloud.event_rules.create(rule).await,
        Change::Update(update) => {
            cloud
                .event_rules
                .update(&update.desired, &update.delta)
                .await?;
            Ok(update.desired.updated(&update.found))
        }
    }
}
