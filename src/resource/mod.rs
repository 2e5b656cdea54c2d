//! The resources in AWS: what is desired, what is found, what differs, what is planned. Pure.
//!
//! Each resource is one file. This one holds the closed list: everything here goes over
//! [`Resource`] or over all fields, so that the compiler names what a new resource lacks.

pub mod bucket;
pub mod connection;
pub mod delta;
pub mod event_rule;
pub mod iam;
pub mod managed;
pub mod notification_rule;
pub mod pipeline;
pub mod plan;
pub mod queue;
pub mod reader_policy;
pub mod retention;
pub mod role;
pub mod scope;
pub mod service_linked_role;
pub mod topic;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::arn;
use crate::domain::computed::Computed;
use crate::domain::execution::Target;
use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::domain::policy_document::Gone;
use crate::resource::bucket::{Bucket, BucketView};
use crate::resource::connection::{Connection, ObservedConnection};
use crate::resource::event_rule::{EventRule, ObservedEventRule};
use crate::resource::managed::{Common, Wanted};
use crate::resource::notification_rule::{NotificationRule, ObservedRule};
use crate::resource::pipeline::{Declaration, ObservedPipeline, Pipeline};
use crate::resource::queue::{ObservedQueue, Queue};
use crate::resource::reader_policy::Readers;
use crate::resource::role::{ObservedRole, Reach, Role};
use crate::resource::topic::{ObservedTopic, Topic};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::source::{ConnectionSource, Source};

/// The resources that an object asks for. The account's service-linked role is wanted with the
/// notification rule.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The artifacts bucket.
    pub artifacts: Wanted<Bucket>,
    /// The destination bucket.
    pub destination: Wanted<Bucket>,
    /// The connection.
    pub connection: Wanted<Connection>,
    /// The topic.
    pub topic: Wanted<Topic>,
    /// The pipeline's role.
    pub role: Wanted<Role>,
    /// The pipeline.
    pub pipeline: Wanted<Pipeline>,
    /// The notification rule.
    pub notification_rule: Wanted<NotificationRule>,
    /// The readers of the destination.
    pub readers: Wanted<Readers>,
    /// The queue of events that could not be handled.
    pub dead_letter_queue: Wanted<Queue>,
    /// The queue of events of executions.
    pub queue: Wanted<Queue>,
    /// The rule that feeds it.
    pub event_rule: Wanted<EventRule>,
}

/// The resources that were found for one object.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The artifacts bucket.
    pub artifacts: BucketView,
    /// The destination bucket.
    pub destination: BucketView,
    /// The connection in use, also one that is shared.
    pub connection: Option<ObservedConnection>,
    /// Own connections beside it that nobody authorized.
    pub spare_connections: Vec<ObservedConnection>,
    /// The topic.
    pub topic: Option<ObservedTopic>,
    /// The role.
    pub role: Option<ObservedRole>,
    /// The pipeline.
    pub pipeline: Option<ObservedPipeline>,
    /// Whether codestar-notifications has its service-linked role in the account.
    pub service_linked_role: bool,
    /// The notification rule.
    pub notification_rule: Option<ObservedRule>,
    /// Policy of the destination where that is not an own bucket.
    pub destination_policy: Option<Value>,
    /// The queue of events that could not be handled.
    pub dead_letter_queue: Option<ObservedQueue>,
    /// The queue of events of executions.
    pub queue: Option<ObservedQueue>,
    /// The rule that feeds it.
    pub event_rule: Option<ObservedEventRule>,
    /// Readers whom AWS lately did not know.
    pub unknown_readers: BTreeSet<String>,
    /// Principals of others' statements that had to be taken out of a policy.
    pub gone: Vec<Gone>,
}

impl Observed {
    /// The policy of the destination, as far as it was looked at.
    pub fn policy(&self) -> Option<&Value> {
        let own = self.destination.present();
        let own = own.and_then(|bucket| bucket.policy.as_ref());
        own.or(self.destination_policy.as_ref())
    }

    /// Takes note that the policy was written.
    pub fn set_policy(&mut self, policy: Value) {
        match &mut self.destination {
            BucketView::Present(bucket) if bucket.policy.is_some() => bucket.policy = Some(policy),
            _ => self.destination_policy = Some(policy),
        }
    }
}

impl Desired {
    /// The resources of a fan-out, given the ARN of its connection where that is known.
    pub fn new(fanout: &Fanout, place: &Placement, connection_arn: Option<&str>) -> Self {
        let names = Computed::new(place);
        let mut tags = fanout.tags.clone();
        tags.extend(fanout.owner.tags());
        let common = Common {
            place,
            tags: &tags,
            kms_key: fanout.kms_key.as_ref(),
        };
        let days = Some(fanout.retention_days);
        let connection = Wanted::connection(&common, &fanout.connection, &names.base);
        let topic = Wanted::topic(&common, &fanout.notifications.topic, &names.base);
        let topic_arn = match &topic {
            Wanted::Shared(arn) | Wanted::Existing(arn) => arn.clone(),
            own => own.arn().unwrap_or_default().to_owned(),
        };
        let connection_arn = match &connection {
            Wanted::Existing(arn) => Some(arn.as_str()),
            _ => connection_arn,
        };
        let artifacts = fanout.artifacts.name(&names.artifacts);
        let destination = fanout.destination.name(&names.destination);
        let role = match (
            &fanout.shared_role,
            &fanout.pipeline.adopted,
            connection_arn,
        ) {
            (Some(arn), ..) => Wanted::Shared(arn.clone()),
            // A pipeline that is taken over keeps the role that it has.
            (None, Some(_), _) => Wanted::Unmanaged,
            (None, None, None) => Wanted::Waiting(names.base.clone()),
            (None, None, Some(arn)) => {
                let reach = Reach {
                    connections: &[arn],
                    artifacts,
                    destination,
                    prefix: Some(&fanout.prefix),
                };
                let boundary = fanout.permissions_boundary.as_ref();
                Wanted::Own(Role::new(&common, &names.base, &reach, boundary))
            }
        };
        let pipeline = match connection_arn {
            None => Wanted::Waiting(names.pipeline_arn.clone()),
            Some(arn) => {
                let parts = pipeline::Parts {
                    role_arn: fanout.shared_role.as_ref().unwrap_or(&names.role_arn),
                    connection_arn: arn,
                    artifacts,
                    destination,
                };
                Wanted::Own(Pipeline {
                    name: names.base.clone(),
                    arn: names.pipeline_arn.clone(),
                    declaration: Declaration::new(fanout, &parts),
                    taken: fanout.pipeline.adopted.as_ref().map(|a| a.allowed.clone()),
                    tags: tags.clone(),
                })
            }
        };
        let readers = Readers {
            kms_key: fanout.kms_key.clone(),
            ..Readers::new(
                &place.partition,
                (destination, fanout.writes_policy),
                &fanout.prefix,
                &fanout.owner,
                &fanout.readers,
            )
        };
        let rule = NotificationRule::new(&common, fanout, &names, &topic_arn);
        Self {
            artifacts: Wanted::bucket(&common, &fanout.artifacts, &names.artifacts, days),
            destination: Wanted::bucket(&common, &fanout.destination, &names.destination, None),
            connection,
            topic,
            role,
            pipeline,
            notification_rule: Wanted::Own(rule),
            readers: Wanted::Own(readers),
            ..Self::default()
        }
    }

    /// The shared resources of a class beside its connections, given the ARNs of those that are
    /// known; its role waits for one.
    pub fn of_class(class: &Class, connection_arns: &[&str]) -> Self {
        let names = class.computed();
        let mut tags = class.tags.clone();
        tags.extend(class.owner.tags());
        let common = Common {
            place: &class.place,
            tags: &tags,
            kms_key: class.kms_key.as_ref(),
        };
        let bucket = |source: &Option<Source>, generated: &str, days| match source {
            None => Wanted::Unmanaged,
            Some(source) => Wanted::bucket(&common, source, generated, days),
        };
        let waiting = || match class.shared_role {
            true => Wanted::Waiting(names.base.clone()),
            false => Wanted::Unmanaged,
        };
        let role = match (class.artifacts_bucket(), class.destination_bucket()) {
            (Some(artifacts), Some(destination))
                if class.shared_role && !connection_arns.is_empty() =>
            {
                let reach = Reach {
                    connections: connection_arns,
                    artifacts: &artifacts,
                    destination: &destination,
                    prefix: None,
                };
                let boundary = class.permissions_boundary.as_ref();
                Wanted::Own(Role::new(&common, &names.base, &reach, boundary))
            }
            _ => waiting(),
        };
        let days = Some(class.retention_days);
        let topic = class.shared_topic.then(|| Topic::new(&common, &names.base));
        let dead = || Queue::dead_letters(&common, &names.dead_letter_queue_arn);
        let feed = || EventRule::new(&common, &names, &class.name_prefix);
        Self {
            artifacts: bucket(&class.artifacts, &names.artifacts, days),
            destination: bucket(&class.destination, &names.destination, None),
            role,
            topic: topic.into(),
            dead_letter_queue: class.queue.then(dead).into(),
            queue: class.queue.then(|| Queue::fed(&common, &names)).into(),
            event_rule: class.queue.then(feed).into(),
            ..Self::default()
        }
    }

    /// One of a class's connections.
    pub fn of_class_connection(class: &Class, name: &str, source: &ConnectionSource) -> Self {
        let mut tags = class.tags.clone();
        tags.extend(class.owner.tags());
        let common = Common {
            place: &class.place,
            tags: &tags,
            kms_key: None,
        };
        Self {
            connection: Wanted::connection(&common, source, &class.connection_name(name)),
            ..Self::default()
        }
    }

    /// Source and destination of the pipeline.
    pub fn target(&self) -> Option<Target> {
        self.pipeline.own()?.declaration.target()
    }

    /// ARN of the topic that the notification rule reaches: an own one, one that exists, or the
    /// class's.
    pub fn topic_arn(&self) -> Option<&str> {
        Some(&self.notification_rule.own()?.topic_arn)
    }

    /// Name or ARN of a resource, for people.
    pub fn name(&self, resource: Resource) -> Option<&str> {
        match resource {
            Resource::Artifacts => self.artifacts.name(),
            Resource::Destination => self.destination.name(),
            Resource::Connection => match &self.connection {
                Wanted::Own(connection) => Some(&connection.name),
                Wanted::Existing(arn) => Some(arn),
                Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => None,
            },
            Resource::Topic => self.topic.arn(),
            Resource::Role => self.role.name(),
            Resource::Pipeline => self.pipeline.own().map(|p| &*p.name),
            Resource::ServiceLinkedRole => Some(service_linked_role::NAME),
            Resource::NotificationRule => self.notification_rule.own().map(|r| &*r.name),
            Resource::Readers => self.readers.own().map(|r| &*r.bucket),
            Resource::DeadLetterQueue => self.dead_letter_queue.own().map(|q| &*q.name),
            Resource::Queue => self.queue.own().map(|q| &*q.name),
            Resource::EventRule => self.event_rule.own().map(|r| &*r.name),
        }
    }

    /// ARN of a resource that the object has to see to, if it is there.
    pub fn arn(&self, resource: Resource, observed: &Observed, partition: &str) -> Option<String> {
        let bucket = |wanted: &Wanted<Bucket>, view: &BucketView| {
            let name = wanted.name().filter(|_| view.present().is_some());
            name.map(|name| arn::bucket(partition, name))
        };
        match resource {
            Resource::Artifacts => bucket(&self.artifacts, &observed.artifacts),
            Resource::Destination => bucket(&self.destination, &observed.destination),
            Resource::Connection => match &self.connection {
                Wanted::Own(_) | Wanted::Existing(_) => {
                    observed.connection.as_ref().map(|c| c.arn.clone())
                }
                Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => None,
            },
            Resource::Topic => there(&observed.topic, self.topic.arn()),
            Resource::Role => observed.role.as_ref().map(|r| r.arn.clone()),
            Resource::Pipeline => there(&observed.pipeline, self.pipeline.own().map(|p| &*p.arn)),
            // It is the account's.
            Resource::ServiceLinkedRole => None,
            Resource::NotificationRule => {
                observed.notification_rule.as_ref().map(|r| r.arn.clone())
            }
            Resource::Readers => {
                let readers = self.readers.own().filter(|r| r.writable);
                let written = readers.filter(|r| r.any(observed.policy()));
                written.map(|r| arn::bucket(partition, &r.bucket))
            }
            Resource::DeadLetterQueue => {
                let arn = self.dead_letter_queue.own().map(|q| &*q.arn);
                there(&observed.dead_letter_queue, arn)
            }
            Resource::Queue => there(&observed.queue, self.queue.own().map(|q| &*q.arn)),
            Resource::EventRule => {
                there(&observed.event_rule, self.event_rule.own().map(|r| &*r.arn))
            }
        }
    }

    /// Whether the object still has to see to a resource that is recorded with this ARN. One whose
    /// ARN cannot be told beforehand is made anew under the same name.
    pub fn wants(&self, resource: Resource, recorded: &str, partition: &str) -> bool {
        let bucket =
            |name: Option<&str>| name.is_some_and(|name| arn::bucket(partition, name) == recorded);
        let is = |arn: Option<&str>| arn == Some(recorded);
        match resource {
            Resource::Artifacts => bucket(self.artifacts.name()),
            Resource::Destination => bucket(self.destination.name()),
            Resource::Connection => match &self.connection {
                Wanted::Own(_) => true,
                Wanted::Existing(arn) => is(Some(arn)),
                Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_) => false,
            },
            Resource::Topic => is(self.topic.arn()),
            Resource::Role => self.role.name().is_some(),
            Resource::Pipeline | Resource::NotificationRule => {
                self.notification_rule.own().is_some()
            }
            Resource::ServiceLinkedRole => false,
            Resource::Readers => {
                let readers = self.readers.own().filter(|r| r.writable);
                bucket(readers.map(|r| &*r.bucket))
            }
            Resource::DeadLetterQueue => is(self.dead_letter_queue.own().map(|q| &*q.arn)),
            Resource::Queue => is(self.queue.own().map(|q| &*q.arn)),
            Resource::EventRule => is(self.event_rule.own().map(|r| &*r.arn)),
        }
    }
}

/// The ARN of what is there.
fn there<T>(found: &Option<T>, arn: Option<&str>) -> Option<String> {
    arn.filter(|_| found.is_some()).map(str::to_owned)
}
