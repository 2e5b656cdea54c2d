//! The look at AWS that a pass rests on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cloud::{Cloud, Result};
use crate::domain::kind::Resource;
use crate::domain::owner::Owner;
use crate::resource::desired::{
    BucketUse, ConnectionUse, Desired, NotificationRule, Queue, TopicUse,
};
use crate::resource::observed::{
    BucketView, ConnectionState, Observed, ObservedConnection, ObservedRule,
};

/// How old a list may be that tells of a pipeline that is not there yet.
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
    let role = async {
        match &desired.role_name {
            Some(name) => cloud.roles.observe(name).await,
            None => Ok(None),
        }
    };
    let topic = async {
        match &desired.topic {
            Some(topic) => {
                cloud
                    .topics
                    .observe(topic.arn(), matches!(topic, TopicUse::Own(_)))
                    .await
            }
            None => Ok(None),
        }
    };
    let pipeline = async {
        match &desired.notification_rule {
            // Of one that was never made a list tells enough: should it lack one, making it again
            // is refused.
            Some(rule)
                if recorded(Resource::Pipeline).is_none()
                    && !cloud.pipelines.list(NEW).await?.contains_key(&rule.name) =>
            {
                Ok(None)
            }
            Some(rule) => {
                cloud
                    .pipelines
                    .observe(&rule.name, &rule.pipeline_arn)
                    .await
            }
            None => Ok(None),
        }
    };
    let queue = async |queue: &Option<Queue>| match queue {
        Some(queue) => cloud.queues.observe(&queue.name).await,
        None => Ok(None),
    };
    let event_rule = async {
        match &desired.event_rule {
            Some(rule) => cloud.event_rules.observe(&rule.name, &rule.arn).await,
            None => Ok(None),
        }
    };
    let policy = async {
        match &desired.readers {
            // An own bucket's is among its settings.
            Some(_) if matches!(desired.destination, Some(BucketUse::Own(_))) => Ok(None),
            Some(readers)
                if !readers.statements.is_empty() || recorded(Resource::Readers).is_some() =>
            {
                cloud.buckets.policy(&readers.bucket).await
            }
            _ => Ok(None),
        }
    };
    let (
        artifacts,
        destination,
        destination_policy,
        connection,
        role,
        topic,
        pipeline,
        dead_letter_queue,
        fed_queue,
        event_rule,
    ) = tokio::try_join!(
        bucket(cloud, desired.artifacts.as_ref()),
        bucket(cloud, desired.destination.as_ref()),
        policy,
        connection(
            cloud,
            desired.connection.as_ref(),
            owner,
            recorded(Resource::Connection),
            adopts.contains(&Resource::Connection)
        ),
        role,
        topic,
        pipeline,
        queue(&desired.dead_letter_queue),
        queue(&desired.queue),
        event_rule,
    )?;
    let (notification_rule, service_linked_role) = match &desired.notification_rule {
        None => (None, true),
        Some(wanted) => {
            // A rule outlives its pipeline; without either there is nothing to ask for.
            let arn = recorded(Resource::NotificationRule);
            let there = pipeline.is_some() || arn.is_some();
            let found = if there {
                rule(
                    cloud,
                    owner,
                    wanted,
                    arn,
                    adopts.contains(&Resource::NotificationRule),
                )
                .await?
            } else {
                None
            };
            let there = found.is_some() || cloud.roles.service_linked_role().await?;
            (found, there)
        }
    };
    let (connection, spare_connections) = connection;
    Ok(Observed {
        artifacts,
        destination,
        connection,
        spare_connections,
        service_linked_role,
        role,
        topic,
        pipeline,
        notification_rule,
        destination_policy,
        dead_letter_queue,
        queue: fed_queue,
        event_rule,
    })
}

async fn bucket(cloud: &Cloud, desired: Option<&BucketUse>) -> Result<BucketView> {
    match desired {
        Some(bucket) => {
            cloud
                .buckets
                .observe(bucket.name(), matches!(bucket, BucketUse::Own(_)))
                .await
        }
        None => Ok(BucketView::Missing),
    }
}

/// The rule by its recorded ARN, or else by the pipeline that it watches.
pub async fn rule(
    cloud: &Cloud,
    owner: &Owner,
    wanted: &NotificationRule,
    recorded: Option<&str>,
    adopt: bool,
) -> Result<Option<ObservedRule>> {
    if let Some(arn) = recorded
        && let Some(found) = cloud.notification_rules.observe(arn).await?
    {
        return Ok(Some(found));
    }
    let rules = cloud
        .notification_rules
        .watching(&wanted.pipeline_arn)
        .await?;
    let (ours, others): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| owner.owns(&r.tags));
    let wanted = |r: &ObservedRule| r.name == wanted.name || (adopt && Owner::unowned(&r.tags));
    Ok(ours
        .into_iter()
        .next()
        .or_else(|| others.into_iter().find(wanted)))
}

/// The connection in use, and the spares beside it.
pub async fn connection(
    cloud: &Cloud,
    desired: Option<&ConnectionUse>,
    owner: &Owner,
    recorded: Option<&str>,
    adopt: bool,
) -> Result<(Option<ObservedConnection>, Vec<ObservedConnection>)> {
    let desired = match desired {
        None => return Ok((None, Vec::new())),
        Some(ConnectionUse::Existing(arn)) => {
            return Ok((cloud.connections.observe(arn).await?, Vec::new()));
        }
        Some(ConnectionUse::Own(desired)) => desired,
    };
    let named = cloud.connections.named(&desired.name).await?;
    Ok(choose(named, owner, recorded, adopt))
}

/// Of several own connections the authorized one is used, then the recorded one;
/// only one that nobody authorized is spare.
fn choose(
    named: Vec<ObservedConnection>,
    owner: &Owner,
    recorded: Option<&str>,
    adopt: bool,
) -> (Option<ObservedConnection>, Vec<ObservedConnection>) {
    let (mut own, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|c| owner.owns(&c.tags));
    own.sort_by_key(|c| {
        let rank = match c.state {
            ConnectionState::Available => 0,
            ConnectionState::Error => 1,
            ConnectionState::Pending => 2,
        };
        (rank, Some(c.arn.as_str()) != recorded, c.arn.clone())
    });
    let mut own = own.into_iter();
    match own.next() {
        Some(used) => (
            Some(used),
            own.filter(|c| c.state == ConnectionState::Pending)
                .collect(),
        ),
        // Recorded as ours, and somebody took its tags away: the plan refuses it by name, unless it
        // is to be taken over.
        None => {
            let wanted = |c: &ObservedConnection| {
                Some(c.arn.as_str()) == recorded || (adopt && Owner::unowned(&c.tags))
            };
            (others.into_iter().find(wanted), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            cluster: "c".into(),
            kind: "RepoFanout".into(),
            namespace: "n".into(),
            name: "x".into(),
        }
    }

    fn connection(arn: &str, state: ConnectionState, ours: bool) -> ObservedConnection {
        let tags = if ours {
            owner().tags()
        } else {
            Default::default()
        };
        ObservedConnection {
            arn: arn.into(),
            name: "rf".into(),
            state,
            provider: "GitHub".into(),
            tags,
        }
    }

    #[test]
    fn an_authorization_is_never_lost_to_a_spare() {
        use ConnectionState::{Available, Error, Pending};
        let (used, spare) = choose(
            vec![
                connection("a", Pending, true),
                connection("b", Available, true),
            ],
            &owner(),
            Some("a"),
            false,
        );
        assert_eq!(used.unwrap().arn, "b");
        assert_eq!(spare.iter().map(|c| &*c.arn).collect::<Vec<_>>(), ["a"]);

        let two = vec![
            connection("a", Available, true),
            connection("b", Error, true),
            connection("c", Available, true),
        ];
        let (used, spare) = choose(two, &owner(), Some("c"), false);
        assert_eq!((used.unwrap().arn.as_str(), spare), ("c", vec![]));
    }

    #[test]
    fn connections_of_others_are_neither_used_nor_spare() {
        let (used, spare) = choose(
            vec![connection("a", ConnectionState::Pending, false)],
            &owner(),
            None,
            false,
        );
        assert_eq!((used, spare), (None, vec![]));
        let (used, _) = choose(
            vec![connection("a", ConnectionState::Available, false)],
            &owner(),
            None,
            true,
        );
        assert_eq!(used.unwrap().arn, "a");
        let stripped = vec![connection("a", ConnectionState::Available, false)];
        assert_eq!(
            choose(stripped, &owner(), Some("a"), false).0.unwrap().arn,
            "a"
        );
    }
}
