//! The end of an object: what is its own and not to be kept is deleted, then the
//! finalizer goes. Needs no valid spec and no authorized connection.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use tracing::warn;

use super::object::Object;
use super::{Context, observe};
use crate::api::{ABANDON, FINALIZER, RepoFanout};
use crate::cloud::{Class, Cloud, Error};
use crate::model::desired::{self, Computed, Connection, ConnectionUse};
use crate::model::observed::{BucketView, ConnectionState};
use crate::model::owner::{Owner, RETAINED_AT, Tags};
use crate::model::placement::Placement;
use crate::model::retention::Retention;
use crate::model::{Resource, arn, fanout, names};
use crate::status::{self, Notice};

/// What ended, or holds up, a deletion.
enum Outcome {
    /// Nothing of the object is left but what is to be kept.
    Done(Vec<String>),
    /// More to do in the next pass.
    Progress(String),
}

/// Deletes what belongs to the object, and says on it what holds that up.
pub async fn run(context: &Context, object: &RepoFanout) -> Result<Requeue, kube::Error> {
    let uid = object.uid().unwrap_or_default();
    if !object.finalizers().iter().any(|f| f == FINALIZER) {
        context.memos.forget(&uid);
        return Ok(Requeue::await_change());
    }
    if let Some(rest) = context.memos.quiet_for(&uid, object.metadata.resource_version.as_deref()) {
        return Ok(Requeue::requeue(rest));
    }
    let mut held = Object::new(context, object);
    if held.annotation(ABANDON) == Some(&*object.name_any()) {
        warn!(left = ?held.status().resources, "abandoned: these resources stay in AWS");
        let note = format!("abandoned by annotation; left in AWS: {}", list(held.status().resources.into_values()));
        held.notify(Notice { warning: true, reason: "Abandoned".to_owned(), note }).await;
        return release(context, held).await;
    }
    let (blocked, message, delay) = match Ending::of(context, &held) {
        Err(message) => (true, message, Duration::from_secs(300)),
        Ok(ending) => match ending.run().await {
            Ok(Outcome::Done(kept)) => {
                if !kept.is_empty() {
                    let note = format!("kept in AWS, and found again by an object of the same name: {}", list(kept));
                    held.notify(Notice { warning: false, reason: "Retained".to_owned(), note }).await;
                }
                return release(context, held).await;
            }
            Ok(Outcome::Progress(message)) => (false, message, Duration::ZERO),
            Err(error) => {
                warn!(call = error.call, code = ?error.code, request_id = ?error.request_id, message = %error.message, "AWS");
                let own: Vec<String> = held.status().resources.into_values().collect();
                let own: Vec<&str> = own.iter().map(String::as_str).collect();
                let said = status::said(&error, &own);
                let name = object.name_any();
                let blocked = matches!(error.class, Class::Denied | Class::Invalid | Class::Quota);
                let message = if blocked {
                    format!(
                        "{said}; mend that, or set the annotation {ABANDON}={name} to leave what remains in AWS and end"
                    )
                } else {
                    format!("trying again: {said}")
                };
                (blocked, message, context.memos.backoff(&uid))
            }
        },
    };
    let next = status::deleting(&held.status(), object.metadata.generation, blocked, &message);
    held.set_status(next).await?;
    context.memos.passed(&uid, held.resource_version(), delay);
    Ok(Requeue::requeue(delay))
}

async fn release(context: &Context, mut held: Object<'_>) -> Result<Requeue, kube::Error> {
    context.memos.forget(&held.uid());
    held.set_finalizer(false).await?;
    Ok(Requeue::await_change())
}

fn list(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// All that the end of an object needs to know.
struct Ending {
    cloud: Cloud,
    owner: Owner,
    names: Computed,
    artifacts: String,
    destination: String,
    topic: String,
    connection: Option<String>,
    rule: Option<String>,
    retention: Retention,
    /// What was copied into a bucket that exists.
    copied: Option<(String, String)>,
    now: Timestamp,
}

impl Ending {
    /// From what was recorded; else from what the names would be. An error if it is out of reach.
    fn of(context: &Context, held: &Object<'_>) -> Result<Self, String> {
        let status = held.status();
        let spec = &held.current.spec;
        let owner = fanout::owner(&held.current, &context.settings);
        let place = match &status.placement {
            Some(recorded) if recorded.account != context.identity.account => {
                return Err(format!(
                    "the resources are in account {}, and the operator has credentials of account {}; give it the former ones back, \
                     or set the annotation {ABANDON}={} to leave them in AWS and end",
                    recorded.account,
                    context.identity.account,
                    held.current.name_any()
                ));
            }
            Some(recorded) => Placement::recorded(recorded),
            None => Placement {
                account: context.identity.account.clone(),
                partition: context.identity.partition.clone(),
                region: spec.region.clone().unwrap_or_else(|| context.settings.region.clone()),
                base_name: names::base_name(&context.settings.name_prefix, spec.name.as_deref(), &owner),
            },
        };
        let names = Computed::new(&place);
        let recorded = |resource: Resource| status.resources.get(resource.as_str()).cloned();
        let bucket = |resource, chosen: Option<String>, computed: &str| {
            let name = recorded(resource).and_then(|arn| arn.rsplit(':').next().map(str::to_owned));
            name.or(chosen).unwrap_or_else(|| computed.to_owned())
        };
        let chosen_topic = spec.notifications.as_ref().and_then(|n| n.topic_name.as_ref());
        let topic_arn = |name: &String| desired::topic_arn(&place, name);
        Ok(Self {
            cloud: context.regions.region(&place.region),
            artifacts: bucket(
                Resource::Artifacts,
                spec.artifacts.as_ref().and_then(|a| a.bucket_name.clone()),
                &names.artifacts,
            ),
            destination: bucket(
                Resource::Destination,
                spec.destination.as_ref().and_then(|d| d.bucket_name.clone()),
                &names.destination,
            ),
            topic: recorded(Resource::Topic).or(chosen_topic.map(topic_arn)).unwrap_or_else(|| names.topic_arn.clone()),
            connection: recorded(Resource::Connection),
            rule: recorded(Resource::NotificationRule),
            retention: Retention(spec.deletion.clone().unwrap_or_default()),
            copied: copied(context, held),
            now: Timestamp::now(),
            owner,
            names,
        })
    }

    /// In the order in which nothing is left that reaches into what is gone.
    async fn run(&self) -> Result<Outcome, Error> {
        let mut kept = Vec::new();
        let Self { cloud, names, retention, .. } = self;
        let retained = Tags::from([(RETAINED_AT.to_owned(), self.now.to_string())]);
        if let Some(rule) = observe::rule(cloud, &self.owner, names, self.rule.as_deref()).await?
            && self.owns(&rule.tags)
        {
            if retention.keeps_other(&rule.tags) {
                cloud.notification_rules.tag(&rule.arn, &retained).await?;
                kept.push(rule.arn);
            } else {
                cloud.notification_rules.delete(&rule.arn).await?;
            }
        }
        if let Some(pipeline) = cloud.pipelines.observe(&names.base, &names.pipeline_arn).await?
            && self.owns(&pipeline.tags)
        {
            if retention.keeps_other(&pipeline.tags) {
                cloud.pipelines.tag(&names.pipeline_arn, &retained).await?;
                kept.push(names.pipeline_arn.clone());
            } else {
                cloud.pipelines.delete(&names.base).await?;
            }
        }
        if let Some(role) = cloud.roles.observe(&names.base).await?
            && self.owns(&role.tags)
        {
            if retention.keeps_other(&role.tags) {
                cloud.roles.tag(&names.base, &retained).await?;
                kept.push(role.arn);
            } else {
                cloud.roles.delete(&names.base).await?;
            }
        }
        if let Some(topic) = cloud.topics.observe(&self.topic, true).await?
            && self.owns(&topic.tags)
        {
            if retention.keeps_topic(&topic.tags, topic.subscriptions > 0) {
                cloud.topics.tag(&self.topic, &retained).await?;
                kept.push(self.topic.clone());
            } else {
                cloud.notification_rules.delete_target(&self.topic).await?;
                cloud.topics.delete(&self.topic).await?;
            }
        }
        for (name, destination) in [(&self.artifacts, false), (&self.destination, true)] {
            let Some(tags) = self.own_bucket(name).await? else { continue };
            let keeps = if destination { retention.keeps_destination(&tags) } else { retention.keeps_artifacts(&tags) };
            if keeps {
                cloud.buckets.tag(name, &retained).await?;
                kept.push(arn::bucket("aws", name));
                continue;
            }
            if let Some(progress) = self.empty(name, "").await? {
                return Ok(progress);
            }
            cloud.buckets.delete(name).await?;
        }
        if let Some((bucket, prefix)) = &self.copied {
            // Only our prefix, and only on the field's own word.
            if let Some(progress) = self.empty(bucket, &format!("{prefix}/")).await? {
                return Ok(progress);
            }
        }
        self.connection(&retained, &mut kept).await?;
        Ok(Outcome::Done(kept))
    }

    /// Empties a bucket as far as one pass goes.
    async fn empty(&self, bucket: &str, prefix: &str) -> Result<Option<Outcome>, Error> {
        let (deleted, more) = self.cloud.buckets.empty(bucket, prefix).await?;
        Ok(more.then(|| Outcome::Progress(format!("emptying s3://{bucket}/{prefix}: {deleted} more objects deleted"))))
    }

    /// An authorization is a person's work: without a word only a connection without one is deleted.
    async fn connection(&self, retained: &Tags, kept: &mut Vec<String>) -> Result<(), Error> {
        let own = ConnectionUse::Own(Connection {
            name: self.names.base.clone(),
            provider: None,
            host_arn: None,
            tags: Tags::new(),
        });
        let (used, spares) =
            observe::connection(&self.cloud, &own, &self.owner, self.connection.as_deref(), false).await?;
        for connection in used.into_iter().chain(spares).filter(|c| self.owns(&c.tags)) {
            let was_available = connection.state != ConnectionState::Pending;
            if self.retention.keeps_connection(&connection.tags, was_available) {
                self.cloud.connections.tag(&connection.arn, retained).await?;
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

/// Bucket and prefix to be cleared in a bucket that exists: what this object
/// copied there, if it asks for that and the settings still allow the bucket.
fn copied(context: &Context, held: &Object<'_>) -> Option<(String, String)> {
    let spec = &held.current.spec;
    let bucket = spec.destination.as_ref()?.existing_bucket.clone()?;
    let asked = !Retention(spec.deletion.clone().unwrap_or_default()).keeps_prefix();
    let allowed = arn::allowed(&context.settings.allow_existing, &arn::bucket("aws", &bucket));
    let delivered = held.status().delivered?;
    (asked && allowed && delivered.bucket == bucket && !delivered.prefix.is_empty())
        .then_some((bucket, delivered.prefix))
}
