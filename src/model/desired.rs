//! What is to be in AWS for a fan-out. Infallible: all doubt ends in [`super::fanout`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::execution::Target;
use super::fanout::{ConnectionSource, Fanout, Source};
use super::owner::{self, Tags};
use super::placement::Placement;
use super::{names, policy};

/// IAM path of every role that the operator makes.
pub const ROLE_PATH: &str = "/repofanout/";
/// Name of the role's inline policy.
pub const ROLE_POLICY: &str = "repofanout";
/// Id of our rule in a bucket's lifecycle configuration.
pub const LIFECYCLE_RULE: &str = "repofanout";

/// All own resources of a fan-out; what exists and is only used is absent.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Where CodePipeline keeps its artifacts.
    pub artifacts: BucketUse,
    /// Where the files go.
    pub destination: BucketUse,
    /// The connection.
    pub connection: ConnectionUse,
    /// The pipeline's role, once the connection's ARN is known.
    pub role: Option<Role>,
    /// The topic.
    pub topic: TopicUse,
    /// The pipeline, once the connection's ARN is known.
    pub pipeline: Option<Pipeline>,
    /// The notification rule.
    pub notification_rule: NotificationRule,
}

/// A bucket of its own, or the name of one that exists.
#[derive(Clone, Debug)]
pub enum BucketUse {
    /// Its own.
    Own(Bucket),
    /// One that exists.
    Existing(String),
}

impl BucketUse {
    /// The bucket's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(bucket) => &bucket.name,
            Self::Existing(name) => name,
        }
    }
}

/// A connection of its own, or the ARN of one that exists.
#[derive(Clone, Debug)]
pub enum ConnectionUse {
    /// Its own.
    Own(Connection),
    /// One that exists.
    Existing(String),
}

/// A topic of its own, or the ARN of one that exists.
#[derive(Clone, Debug)]
pub enum TopicUse {
    /// Its own.
    Own(Topic),
    /// One that exists.
    Existing(String),
}

impl TopicUse {
    /// The topic's ARN.
    pub fn arn(&self) -> &str {
        match self {
            Self::Own(topic) => &topic.arn,
            Self::Existing(arn) => arn,
        }
    }
}

/// An own bucket: public access blocked, owner-enforced, encrypted, TLS only.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Our statement in its policy.
    pub statement: Value,
    /// Our rule in its lifecycle configuration.
    pub lifecycle: Lifecycle,
    /// Our tags.
    pub tags: Tags,
}

/// Our lifecycle rule. Days; uploads left unfinished are always aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// After how many days an object expires, if at all.
    pub expiration_days: Option<i32>,
    /// After how many days an unfinished multipart upload is aborted.
    pub abort_days: i32,
}

/// An own connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its name, 32 characters at most.
    pub name: String,
    /// The provider, unless the host decides it.
    pub provider: Option<String>,
    /// The host's ARN.
    pub host_arn: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// An own role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its trust policy.
    pub trust: Value,
    /// Its inline policy.
    pub policy: Value,
    /// Our tags.
    pub tags: Tags,
}

/// An own topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Our statement in its policy.
    pub statement: Value,
    /// Our tags.
    pub tags: Tags,
}

/// An own pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Its structure.
    pub declaration: Declaration,
    /// Our tags.
    pub tags: Tags,
}

/// A pipeline's structure, with AWS's own defaults written out or left out alike.
/// <https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// ARN of its role.
    pub role_arn: String,
    /// Its artifacts bucket.
    pub artifacts: String,
    /// `V1` or `V2`.
    pub pipeline_type: String,
    /// `QUEUED`, `SUPERSEDED` or `PARALLEL`.
    pub execution_mode: String,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its actions.
    pub actions: Vec<Action>,
}

/// An action of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// `Source` or `Deploy`.
    pub category: String,
    /// `AWS`.
    pub owner: String,
    /// `CodeStarSourceConnection` or `S3`.
    pub provider: String,
    /// `1`.
    pub version: String,
    /// The provider's settings.
    pub configuration: BTreeMap<String, String>,
    /// Artifacts that it reads.
    pub inputs: Vec<String>,
    /// Artifacts that it writes.
    pub outputs: Vec<String>,
}

impl Declaration {
    /// What it copies from where to where, if it has our shape.
    pub fn target(&self) -> Option<Target> {
        let config = |provider: &str, key: &str| {
            let mut actions = self.stages.iter().flat_map(|s| &s.actions);
            actions.find(|a| a.provider == provider)?.configuration.get(key).cloned()
        };
        Some(Target {
            repository: config(SOURCE_PROVIDER, "FullRepositoryId")?,
            branch: config(SOURCE_PROVIDER, "BranchName")?,
            bucket: config(DEPLOY_PROVIDER, "BucketName")?,
            prefix: config(DEPLOY_PROVIDER, "ObjectKey").unwrap_or_default(),
        })
    }
}

/// An own notification rule.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationRule {
    /// Its name.
    pub name: String,
    /// ARN of the pipeline that it watches.
    pub pipeline_arn: String,
    /// ARN of the topic that it reaches.
    pub topic_arn: String,
    /// CodePipeline's event type ids.
    pub events: BTreeSet<String>,
    /// `BASIC` or `FULL`.
    pub detail: String,
    /// Our tags.
    pub tags: Tags,
    /// Makes its creation idempotent.
    pub token: String,
}

const SOURCE_PROVIDER: &str = "CodeStarSourceConnection";
const DEPLOY_PROVIDER: &str = "S3";
const ARTIFACT: &str = "SourceArtifact";

/// Names and ARNs that follow from the placement alone: what deletion needs,
/// also where the spec makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// Generated name of the artifacts bucket.
    pub artifacts: String,
    /// Generated name of the destination bucket.
    pub destination: String,
    /// Name of connection, role, pipeline and notification rule, and generated name of the topic.
    pub base: String,
    /// ARN of the role.
    pub role_arn: String,
    /// ARN of the pipeline.
    pub pipeline_arn: String,
    /// ARN of the topic with the generated name.
    pub topic_arn: String,
}

impl Computed {
    /// The names and ARNs of this placement.
    pub fn new(place: &Placement) -> Self {
        let Placement { account, partition, region, base_name: base } = place;
        Self {
            artifacts: format!("{base}-artifacts"),
            destination: format!("{base}-destination"),
            base: base.clone(),
            role_arn: format!("arn:{partition}:iam::{account}:role{ROLE_PATH}{base}"),
            pipeline_arn: format!("arn:{partition}:codepipeline:{region}:{account}:{base}"),
            topic_arn: topic_arn(place, base),
        }
    }
}

/// ARN that AWS makes of a topic's name.
pub fn topic_arn(place: &Placement, name: &str) -> String {
    format!("arn:{}:sns:{}:{}:{name}", place.partition, place.region, place.account)
}

impl Desired {
    /// What is to be, given the ARN of its own connection where that is known.
    pub fn new(fanout: &Fanout, place: &Placement, connection_arn: Option<&str>) -> Self {
        let names = Computed::new(place);
        let mut tags = fanout.tags.clone();
        tags.extend(fanout.owner.tags());

        let artifacts = bucket(&fanout.artifacts, &names.artifacts, place, &tags, Some(fanout.retention_days));
        let destination = bucket(&fanout.destination, &names.destination, place, &tags, None);
        let connection = match &fanout.connection {
            ConnectionSource::Existing(arn) => ConnectionUse::Existing(arn.clone()),
            own => ConnectionUse::Own(Connection {
                name: names.base.clone(),
                provider: if let ConnectionSource::Provider(p) = own { Some(p.clone()) } else { None },
                host_arn: if let ConnectionSource::Host(arn) = own { Some(arn.clone()) } else { None },
                tags: tags.clone(),
            }),
        };
        let topic = match &fanout.topic {
            Source::Existing(arn) => TopicUse::Existing(arn.clone()),
            Source::Own(name) => {
                let name = name.clone().unwrap_or_else(|| names.base.clone());
                let arn = topic_arn(place, &name);
                TopicUse::Own(Topic { statement: policy::publish(&arn, &place.account), name, arn, tags: tags.clone() })
            }
        };
        let connection_arn = match &connection {
            ConnectionUse::Existing(arn) => Some(arn.as_str()),
            ConnectionUse::Own(_) => connection_arn,
        };
        let role = connection_arn.map(|arn| {
            let mut tags = tags.clone();
            tags.insert(owner::REGION.to_owned(), place.region.clone());
            Role {
                name: names.base.clone(),
                trust: policy::trust(),
                policy: policy::role(
                    &place.partition,
                    &place.account,
                    arn,
                    artifacts.name(),
                    destination.name(),
                    &fanout.prefix,
                ),
                tags,
            }
        });
        let pipeline = connection_arn.map(|arn| Pipeline {
            name: names.base.clone(),
            arn: names.pipeline_arn.clone(),
            declaration: declaration(fanout, &names.role_arn, arn, artifacts.name(), destination.name()),
            tags: tags.clone(),
        });
        let notification_rule = NotificationRule {
            name: names.base.clone(),
            pipeline_arn: names.pipeline_arn.clone(),
            topic_arn: topic.arn().to_owned(),
            events: fanout.events.clone(),
            detail: fanout.detail.clone(),
            token: rule_token(fanout, topic.arn()),
            tags,
        };
        Self { artifacts, destination, connection, role, topic, pipeline, notification_rule }
    }

    /// What the pipeline is to copy from where to where.
    pub fn target(&self) -> Option<Target> {
        self.pipeline.as_ref()?.declaration.target()
    }
}

/// AWS refuses a token that comes back with other parameters, so it covers all of them.
fn rule_token(fanout: &Fanout, topic: &str) -> String {
    let mut parts = vec![&*fanout.uid, topic, &*fanout.detail];
    parts.extend(fanout.events.iter().map(String::as_str));
    parts.extend(fanout.tags.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]));
    names::token(&parts)
}

fn bucket(source: &Source, generated: &str, place: &Placement, tags: &Tags, expiration_days: Option<i32>) -> BucketUse {
    match source {
        Source::Existing(name) => BucketUse::Existing(name.clone()),
        Source::Own(name) => {
            let name = name.clone().unwrap_or_else(|| generated.to_owned());
            BucketUse::Own(Bucket {
                statement: policy::tls_only(&place.partition, &name),
                name,
                lifecycle: Lifecycle { expiration_days, abort_days: 7 },
                tags: tags.clone(),
            })
        }
    }
}

fn declaration(fanout: &Fanout, role_arn: &str, connection: &str, artifacts: &str, destination: &str) -> Declaration {
    let config = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
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
    let detect = if fanout.detect_changes { "true" } else { "false" };
    let source = action(
        "Source",
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
        config(&[("BucketName", destination), ("Extract", "true"), ("ObjectKey", &fanout.prefix)]),
        vec![ARTIFACT.to_owned()],
        vec![],
    );
    Declaration {
        role_arn: role_arn.to_owned(),
        artifacts: artifacts.to_owned(),
        pipeline_type: fanout.pipeline_type.clone(),
        execution_mode: fanout.execution_mode.clone(),
        stages: [source, deploy].map(|a| Stage { name: a.name.clone(), actions: vec![a] }).into(),
    }
}
