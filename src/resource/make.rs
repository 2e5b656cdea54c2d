//! How what is desired follows from a fan-out or a class. Infallible: all doubt ends in
//! [`crate::spec::fanout`].

use crate::domain::computed::{Computed, topic_arn};
use crate::domain::execution::Target;
use crate::domain::names::SOURCE;
use crate::domain::owner::Tags;
use crate::domain::placement::Placement;
use crate::domain::word::{Found, Word};
use crate::domain::{arn, names, owner, policy_document};
use crate::resource::desired::{
    Action, Bucket, BucketUse, Connection, ConnectionUse, DEPLOY_PROVIDER, Declaration, Desired,
    EventRule, Lifecycle, NotificationRule, Pipeline, Queue, Role, SOURCE_PROVIDER, Stage, Topic,
    TopicUse,
};
use crate::resource::reader_policy::Readers;
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::source::{ConnectionSource, Source};

const ARTIFACT: &str = "SourceArtifact";

/// What all resources of one object have in common.
struct Common<'a> {
    place: &'a Placement,
    tags: &'a Tags,
    kms_key: Option<&'a String>,
}

impl Desired {
    /// What a fan-out has to see to, given the ARN of its connection where that is known.
    pub fn new(fanout: &Fanout, place: &Placement, connection_arn: Option<&str>) -> Self {
        let names = Computed::new(place);
        let mut tags = fanout.tags.clone();
        tags.extend(fanout.owner.tags());
        let common = Common {
            place,
            tags: &tags,
            kms_key: fanout.kms_key.as_ref(),
        };

        let artifacts = common.bucket(
            &fanout.artifacts,
            &names.artifacts,
            Some(fanout.retention_days),
        );
        let destination = common.bucket(&fanout.destination, &names.destination, None);
        let connection = common.connection(&fanout.connection, &names.base);
        let topic = match &fanout.notifications.topic {
            Source::Shared(_) => None,
            Source::Existing(arn) => Some(TopicUse::Existing(arn.clone())),
            Source::Own(name) => Some(TopicUse::Own(
                common.topic(name.as_ref().unwrap_or(&names.base)),
            )),
        };
        let topic_arn = match (&topic, &fanout.notifications.topic) {
            (None, Source::Shared(arn)) => arn.clone(),
            (topic, _) => topic.as_ref().map_or(String::new(), |t| t.arn().to_owned()),
        };
        let connection_arn = match &connection {
            Some(ConnectionUse::Existing(arn)) => Some(arn.as_str()),
            _ => connection_arn,
        };
        let buckets = (
            fanout.artifacts.name(&names.artifacts),
            fanout.destination.name(&names.destination),
        );
        let own_role = fanout.shared_role.is_none() && fanout.pipeline.adopted.is_none();
        let role = connection_arn.filter(|_| own_role).map(|arn| {
            let reach = policy_document::Reach {
                connections: &[arn],
                artifacts: buckets.0,
                destination: buckets.1,
                prefix: Some(&fanout.prefix),
                kms_key: fanout.kms_key.as_deref(),
            };
            common.role(&names.base, &reach, fanout.permissions_boundary.as_ref())
        });
        let role_arn = fanout.shared_role.as_ref().unwrap_or(&names.role_arn);
        let pipeline = connection_arn.map(|arn| Pipeline {
            name: names.base.clone(),
            arn: names.pipeline_arn.clone(),
            declaration: declaration(fanout, role_arn, arn, buckets),
            taken: fanout.pipeline.adopted.as_ref().map(|a| a.allowed.clone()),
            tags: tags.clone(),
        });
        let notification_rule = Some(NotificationRule {
            name: names.base.clone(),
            pipeline_arn: names.pipeline_arn.clone(),
            events: fanout.notifications.events.clone(),
            detail: fanout.notifications.detail,
            token: rule_token(fanout, &topic_arn),
            topic_arn,
            tags: tags.clone(),
        });
        let role_name = own_role.then(|| names.base.clone());
        let at = (buckets.1, fanout.writes_policy);
        let readers = Readers {
            kms_key: fanout.kms_key.clone(),
            ..Readers::new(
                &place.partition,
                at,
                &fanout.prefix,
                &fanout.owner,
                &fanout.readers,
            )
        };
        Self {
            artifacts,
            destination,
            connection,
            role_name,
            role,
            topic,
            pipeline,
            notification_rule,
            readers: Some(readers),
            ..Self::default()
        }
    }

    /// What a class shares beside its connections, given the ARNs of those that are known; its role
    /// waits for one.
    pub fn of_class(class: &Class, connection_arns: &[&str]) -> Self {
        let (names, tags) = (class.computed(), class_tags(class));
        let common = Common {
            place: &class.place,
            tags: &tags,
            kms_key: class.kms_key.as_ref(),
        };
        let bucket = |source: &Option<Source>, generated: &str, days| {
            source
                .as_ref()
                .and_then(|source| common.bucket(source, generated, days))
        };
        let (artifacts, destination) = (class.artifacts_bucket(), class.destination_bucket());
        let role = match (&artifacts, &destination) {
            (Some(artifacts), Some(destination))
                if class.shared_role && !connection_arns.is_empty() =>
            {
                let reach = policy_document::Reach {
                    connections: connection_arns,
                    artifacts,
                    destination,
                    prefix: None,
                    kms_key: class.kms_key.as_deref(),
                };
                Some(common.role(&names.base, &reach, class.permissions_boundary.as_ref()))
            }
            _ => None,
        };
        Self {
            artifacts: bucket(
                &class.artifacts,
                &names.artifacts,
                Some(class.retention_days),
            ),
            destination: bucket(&class.destination, &names.destination, None),
            role_name: class.shared_role.then(|| names.base.clone()),
            role,
            topic: class
                .shared_topic
                .then(|| TopicUse::Own(common.topic(&names.base))),
            dead_letter_queue: class
                .queue
                .then(|| common.queue(&names.dead_letter_queue_arn, None)),
            queue: class
                .queue
                .then(|| common.queue(&names.queue_arn, Some(&names))),
            event_rule: class.queue.then(|| EventRule {
                name: last(&names.event_rule_arn),
                arn: names.event_rule_arn.clone(),
                pattern: policy_document::executions(&class.name_prefix),
                queue_arn: names.queue_arn.clone(),
                tags: tags.clone(),
            }),
            ..Self::default()
        }
    }

    /// One of a class's connections.
    pub fn of_class_connection(class: &Class, name: &str, source: &ConnectionSource) -> Self {
        let tags = class_tags(class);
        let common = Common {
            place: &class.place,
            tags: &tags,
            kms_key: None,
        };
        Self {
            connection: common.connection(source, &class.connection_name(name)),
            ..Self::default()
        }
    }

    /// What the pipeline is to copy from where to where.
    pub fn target(&self) -> Option<Target> {
        self.pipeline.as_ref()?.declaration.target()
    }
}

fn last(arn: &str) -> String {
    arn.rsplit([':', '/']).next().unwrap_or_default().to_owned()
}

fn class_tags(class: &Class) -> Tags {
    let mut tags = class.tags.clone();
    tags.extend(class.owner.tags());
    tags
}

/// AWS refuses a token that comes back with other parameters, so it covers all of them.
fn rule_token(fanout: &Fanout, topic: &str) -> String {
    let detail = fanout.notifications.detail.as_str();
    let mut parts = vec![&*fanout.uid, topic, detail];
    parts.extend(fanout.notifications.events.iter().map(String::as_str));
    parts.extend(
        fanout
            .tags
            .iter()
            .flat_map(|(k, v)| [k.as_str(), v.as_str()]),
    );
    names::token(&parts)
}

impl Common<'_> {
    fn bucket(
        &self,
        source: &Source,
        generated: &str,
        expiration_days: Option<i32>,
    ) -> Option<BucketUse> {
        let name = match source {
            Source::Shared(_) => return None,
            Source::Existing(name) => return Some(BucketUse::Existing(name.clone())),
            Source::Own(name) => name.as_deref().unwrap_or(generated),
        };
        let Placement {
            partition,
            account,
            region,
            ..
        } = self.place;
        let suffix = names::account_regional_suffix(partition, account, region);
        Some(BucketUse::Own(Bucket {
            name: name.to_owned(),
            statement: policy_document::tls_only(partition, name),
            lifecycle: Lifecycle {
                expiration_days,
                abort_days: 7,
            },
            kms_key: self.kms_key.cloned(),
            account_regional: suffix.is_some_and(|suffix| name.ends_with(&suffix)),
            tags: self.tags.clone(),
        }))
    }

    fn connection(&self, source: &ConnectionSource, name: &str) -> Option<ConnectionUse> {
        let (provider, host_arn) = match source {
            ConnectionSource::Shared(_) => return None,
            ConnectionSource::Existing(arn) => return Some(ConnectionUse::Existing(arn.clone())),
            ConnectionSource::Provider(provider) => (Some(*provider), None),
            ConnectionSource::Host(arn) => (None, Some(arn.clone())),
        };
        Some(ConnectionUse::Own(Connection {
            name: name.to_owned(),
            provider,
            host_arn,
            tags: self.tags.clone(),
        }))
    }

    fn topic(&self, name: &str) -> Topic {
        let arn = topic_arn(self.place, name);
        Topic {
            statement: policy_document::publish(&arn, &self.place.account),
            name: name.to_owned(),
            arn,
            kms_key: self.kms_key.cloned(),
            tags: self.tags.clone(),
        }
    }

    /// A queue that the class's event rule may send to, with its dead letters; or the one that
    /// takes those.
    fn queue(&self, arn: &str, fed: Option<&Computed>) -> Queue {
        Queue {
            name: last(arn),
            arn: arn.to_owned(),
            statement: fed.map(|names| policy_document::send(arn, &names.event_rule_arn)),
            dead_letters: fed.map(|names| names.dead_letter_queue_arn.clone()),
            tags: self.tags.clone(),
        }
    }

    fn role(
        &self,
        name: &str,
        reach: &policy_document::Reach<'_>,
        boundary: Option<&String>,
    ) -> Role {
        let mut tags = self.tags.clone();
        tags.insert(owner::REGION.to_owned(), self.place.region.clone());
        Role {
            name: name.to_owned(),
            trust: policy_document::trust(),
            policy: policy_document::role(&self.place.partition, &self.place.account, reach),
            boundary: boundary
                .map(|name| arn::policy(&self.place.partition, &self.place.account, name)),
            tags,
        }
    }
}

fn declaration(
    fanout: &Fanout,
    role_arn: &str,
    connection: &str,
    (artifacts, destination): (&str, &str),
) -> Declaration {
    let config = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let action = |name: &str, provider: &str, configuration, inputs, outputs| Action {
        name: name.to_owned(),
        category: name.to_owned(),
        owner: "AWS".to_owned(),
        provider: provider.to_owned(),
        version: "1".to_owned(),
        configuration,
        inputs,
        outputs,
    };
    let detect = if fanout.pipeline.detect_changes {
        "true"
    } else {
        "false"
    };
    let source = action(
        SOURCE,
        SOURCE_PROVIDER,
        config(&[
            ("ConnectionArn", connection),
            ("FullRepositoryId", &fanout.repository),
            ("BranchName", &fanout.branch),
            ("DetectChanges", detect),
        ]),
        vec![],
        vec![ARTIFACT.to_owned()],
    );
    let deploy = action(
        "Deploy",
        DEPLOY_PROVIDER,
        config(&[
            ("BucketName", destination),
            ("Extract", "true"),
            ("ObjectKey", &fanout.prefix),
        ]),
        vec![ARTIFACT.to_owned()],
        vec![],
    );
    Declaration {
        role_arn: role_arn.to_owned(),
        artifacts: artifacts.to_owned(),
        artifacts_key: fanout.kms_key.clone(),
        pipeline_type: Found::Known(fanout.pipeline.kind),
        execution_mode: Found::Known(fanout.pipeline.execution_mode),
        triggers: fanout.pipeline.triggers.clone(),
        stages: [source, deploy]
            .map(|a| Stage {
                name: a.name.clone(),
                actions: vec![a],
            })
            .into(),
    }
}
