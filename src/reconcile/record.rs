//! What is recorded of an object's resources, and what of that it does not use any more.

use std::collections::BTreeMap;

use crate::domain::arn;
use crate::domain::kind::Resource;
use crate::resource::desired::{BucketUse, ConnectionUse, Desired, TopicUse};
use crate::resource::observed::{BucketView, Observed};

/// ARNs by resource.
pub type Resources = BTreeMap<String, String>;

/// The ARNs of what the object has to see to, as far as it is there.
pub fn recorded(desired: &Desired, observed: &Observed, partition: &str) -> Resources {
    let bucket = |bucket: &Option<BucketUse>, view: &BucketView| match (bucket, view) {
        (Some(bucket), BucketView::Present(_)) => Some(arn::bucket(partition, bucket.name())),
        _ => None,
    };
    let connection = desired
        .connection
        .as_ref()
        .and(observed.connection.as_ref());
    let topic = observed.topic.as_ref().and(desired.topic.as_ref());
    let pipeline = observed.pipeline.as_ref().and(desired.pipeline.as_ref());
    let readers = desired
        .readers
        .as_ref()
        .filter(|r| r.writable && r.any(observed.policy()));
    let all = [
        (
            Resource::Artifacts,
            bucket(&desired.artifacts, &observed.artifacts),
        ),
        (
            Resource::Destination,
            bucket(&desired.destination, &observed.destination),
        ),
        (Resource::Connection, connection.map(|c| c.arn.clone())),
        (
            Resource::Role,
            observed.role.as_ref().map(|r| r.arn.clone()),
        ),
        (Resource::Topic, topic.map(|t| t.arn().to_owned())),
        (Resource::Pipeline, pipeline.map(|p| p.arn.clone())),
        (
            Resource::NotificationRule,
            observed.notification_rule.as_ref().map(|r| r.arn.clone()),
        ),
        (
            Resource::Readers,
            readers.map(|r| arn::bucket(partition, &r.bucket)),
        ),
        (
            Resource::DeadLetterQueue,
            arn(
                &desired.dead_letter_queue,
                observed.dead_letter_queue.is_some(),
                |q| &q.arn,
            ),
        ),
        (
            Resource::Queue,
            arn(&desired.queue, observed.queue.is_some(), |q| &q.arn),
        ),
        (
            Resource::EventRule,
            arn(&desired.event_rule, observed.event_rule.is_some(), |r| {
                &r.arn
            }),
        ),
    ];
    all.into_iter()
        .filter_map(|(resource, arn)| Some((resource.as_str().to_owned(), arn?)))
        .collect()
}

fn arn<T>(desired: &Option<T>, there: bool, arn: impl Fn(&T) -> &String) -> Option<String> {
    desired.as_ref().filter(|_| there).map(|d| arn(d).clone())
}

/// What was recorded before, is not used now, and is not wanted either: what somebody deleted is
/// made anew, and not left.
pub fn left(before: &Resources, used: &Resources, desired: &Desired, partition: &str) -> Resources {
    let wanted = wanted(desired, partition);
    let mut left = before.clone();
    left.retain(|resource, arn| {
        let still = wanted
            .iter()
            .any(|(r, a)| r.as_str() == *resource && a.as_ref().is_none_or(|a| a == arn));
        !still && !used.values().any(|u| u == arn)
    });
    left
}

/// What an object has to see to, with its ARN where that can be told beforehand.
fn wanted(desired: &Desired, partition: &str) -> Vec<(Resource, Option<String>)> {
    let bucket = |bucket: &Option<BucketUse>| {
        bucket
            .as_ref()
            .map(|b| Some(arn::bucket(partition, b.name())))
    };
    let connection = desired.connection.as_ref().map(|c| match c {
        ConnectionUse::Own(_) => None,
        ConnectionUse::Existing(arn) => Some(arn.clone()),
    });
    let delivers = desired.notification_rule.as_ref().map(|_| None);
    let readers = desired.readers.as_ref().filter(|r| r.writable);
    let all = [
        (Resource::Artifacts, bucket(&desired.artifacts)),
        (Resource::Destination, bucket(&desired.destination)),
        (Resource::Connection, connection),
        (Resource::Role, desired.role_name.as_ref().map(|_| None)),
        (
            Resource::Topic,
            desired
                .topic
                .as_ref()
                .map(|t: &TopicUse| Some(t.arn().to_owned())),
        ),
        (Resource::Pipeline, delivers.clone()),
        (Resource::NotificationRule, delivers),
        (
            Resource::Readers,
            readers.map(|r| Some(arn::bucket(partition, &r.bucket))),
        ),
        (
            Resource::DeadLetterQueue,
            desired
                .dead_letter_queue
                .as_ref()
                .map(|q| Some(q.arn.clone())),
        ),
        (
            Resource::Queue,
            desired.queue.as_ref().map(|q| Some(q.arn.clone())),
        ),
        (
            Resource::EventRule,
            desired.event_rule.as_ref().map(|r| Some(r.arn.clone())),
        ),
    ];
    all.into_iter()
        .filter_map(|(resource, wanted)| Some((resource, wanted?)))
        .collect()
}
