//! Looks at AWS, for a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cloud::{Cloud, Result};
use crate::domain::kind::Resource;
use crate::domain::owner::Owner;
use crate::resource::bucket::{Bucket, BucketView};
use crate::resource::connection::{Connection, ObservedConnection};
use crate::resource::managed::Wanted;
use crate::resource::notification_rule::{NotificationRule, ObservedRule};
use crate::resource::pipeline::ObservedPipeline;
use crate::resource::queue::{ObservedQueue, Queue};
use crate::resource::reader_policy::Readers;
use crate::resource::topic::{ObservedTopic, Topic};
use crate::resource::{Desired, Observed, connection, notification_rule};

/// The greatest age of a list that tells of a pipeline that is not there yet.
const NEW: Duration = Duration::from_secs(10);

/// Looks at all that is desired, all at once; `status` are the ARNs by resource as recorded.
pub async fn observe(
    cloud: &Cloud,
    desired: &Desired,
    owner: &Owner,
    status: &BTreeMap<String, String>,
    adopts: &BTreeSet<Resource>,
) -> Result<Observed> {
    let recorded = |resource: Resource| status.get(resource.as_str()).map(String::as_str);
    // A new field of `Desired` is to be looked at here.
    let Desired {
        artifacts,
        destination,
        connection,
        topic,
        role,
        pipeline: _, // looked at with its rule, which is known before the connection is
        notification_rule,
        readers,
        dead_letter_queue,
        queue,
        event_rule,
    } = desired;
    let look_at_role = async {
        match role.name() {
            Some(name) => cloud.roles.observe(name).await,
            None => Ok(None),
        }
    };
    let look_at_event_rule = async {
        match event_rule.own() {
            Some(rule) => cloud.event_rules.observe(&rule.name, &rule.arn).await,
            None => Ok(None),
        }
    };
    let own_destination = destination.own().is_some();
    let known_connection = recorded(Resource::Connection);
    let adopts_connection = adopts.contains(&Resource::Connection);
    let (
        artifacts,
        destination,
        destination_policy,
        (connection, spare_connections),
        role,
        topic,
        pipeline,
        dead_letter_queue,
        queue,
        event_rule,
    ) = tokio::try_join!(
        look_at_bucket(cloud, artifacts),
        look_at_bucket(cloud, destination),
        look_at_policy(
            cloud,
            readers,
            own_destination,
            recorded(Resource::Readers).is_some()
        ),
        look_at_connection(
            cloud,
            connection,
            owner,
            known_connection,
            adopts_connection
        ),
        look_at_role,
        look_at_topic(cloud, topic),
        look_at_pipeline(cloud, notification_rule, recorded(Resource::Pipeline)),
        look_at_queue(cloud, dead_letter_queue),
        look_at_queue(cloud, queue),
        look_at_event_rule,
    )?;
    let mut observed = Observed {
        artifacts,
        destination,
        connection,
        spare_connections,
        topic,
        role,
        pipeline,
        service_linked_role: true,
        notification_rule: None,
        destination_policy,
        dead_letter_queue,
        queue,
        event_rule,
        unknown_readers: readers.own().map_or_else(BTreeSet::new, |readers| {
            cloud.buckets.unknown(&readers.bucket, &readers.sids)
        }),
        gone: Vec::new(),
    };
    if let Some(wanted) = notification_rule.own() {
        // A rule outlives its pipeline; without either there is nothing to ask for.
        let arn = recorded(Resource::NotificationRule);
        if observed.pipeline.is_some() || arn.is_some() {
            let adopt = adopts.contains(&Resource::NotificationRule);
            let watched = (&*wanted.name, &*wanted.pipeline_arn);
            observed.notification_rule = rule(cloud, owner, watched, arn, adopt).await?;
        }
        observed.service_linked_role =
            observed.notification_rule.is_some() || cloud.roles.service_linked_role().await?;
    }
    Ok(observed)
}

async fn look_at_bucket(cloud: &Cloud, wanted: &Wanted<Bucket>) -> Result<BucketView> {
    match wanted {
        Wanted::Own(bucket) => cloud.buckets.observe(&bucket.name, true).await,
        Wanted::Existing(name) => cloud.buckets.observe(name, false).await,
        Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => Ok(BucketView::Missing),
    }
}

/// An own bucket's policy is among its settings; that of another is asked for where readers are let
/// in, or were.
async fn look_at_policy(
    cloud: &Cloud,
    readers: &Wanted<Readers>,
    own_bucket: bool,
    recorded: bool,
) -> Result<Option<serde_json::Value>> {
    let readers = readers.own().filter(|_| !own_bucket);
    match readers.filter(|readers| recorded || !readers.statements.is_empty()) {
        Some(readers) => cloud.buckets.policy(&readers.bucket).await,
        None => Ok(None),
    }
}

async fn look_at_topic(cloud: &Cloud, wanted: &Wanted<Topic>) -> Result<Option<ObservedTopic>> {
    match wanted {
        Wanted::Own(topic) => cloud.topics.observe(&topic.arn, true).await,
        Wanted::Existing(arn) => cloud.topics.observe(arn, false).await,
        Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => Ok(None),
    }
}

/// A list tells enough of a pipeline that was never made: should it lack one, making it again is
/// refused.
async fn look_at_pipeline(
    cloud: &Cloud,
    rule: &Wanted<NotificationRule>,
    recorded: Option<&str>,
) -> Result<Option<ObservedPipeline>> {
    let Some(rule) = rule.own() else {
        return Ok(None);
    };
    if recorded.is_none() && !cloud.pipelines.list(NEW).await?.contains_key(&rule.name) {
        return Ok(None);
    }
    cloud
        .pipelines
        .observe(&rule.name, &rule.pipeline_arn)
        .await
}

async fn look_at_queue(cloud: &Cloud, wanted: &Wanted<Queue>) -> Result<Option<ObservedQueue>> {
    match wanted.own() {
        Some(queue) => cloud.queues.observe(&queue.name).await,
        None => Ok(None),
    }
}

/// The connection in use, and the spares beside it.
async fn look_at_connection(
    cloud: &Cloud,
    wanted: &Wanted<Connection>,
    owner: &Owner,
    recorded: Option<&str>,
    adopt: bool,
) -> Result<(Option<ObservedConnection>, Vec<ObservedConnection>)> {
    match wanted {
        Wanted::Own(desired) => {
            let named = cloud.connections.named(&desired.name, recorded).await?;
            Ok(connection::choose(named, owner, recorded, adopt))
        }
        Wanted::Existing(arn) => Ok((cloud.connections.observe(arn).await?, Vec::new())),
        Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => Ok((None, Vec::new())),
    }
}

/// The rule by its recorded ARN, or else by the pipeline that it watches, whose name it has.
pub async fn rule(
    cloud: &Cloud,
    owner: &Owner,
    (name, pipeline_arn): (&str, &str),
    recorded: Option<&str>,
    adopt: bool,
) -> Result<Option<ObservedRule>> {
    if let Some(arn) = recorded
        && let Some(found) = cloud.notification_rules.observe(arn).await?
    {
        return Ok(Some(found));
    }
    let rules = cloud.notification_rules.watching(pipeline_arn).await?;
    Ok(notification_rule::choose(rules, owner, name, adopt))
}
