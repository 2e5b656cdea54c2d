//! What is to be in AWS for a fan-out or a class.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::domain::execution::Target;
use crate::domain::owner::Tags;
use crate::domain::pattern::Allowed;
use crate::domain::word::Found;
use crate::resource::reader_policy::Readers;
use crate::spec::notifications::Detail;
use crate::spec::pipeline::{ExecutionMode, PipelineType};
use crate::spec::source::Provider;
use crate::spec::trigger::Triggers;

/// Name of the role's inline policy.
pub const ROLE_POLICY: &str = "repofanout";
/// Id of our rule in a bucket's lifecycle configuration.
pub const LIFECYCLE_RULE: &str = "repofanout";

/// How long a message that was received stays unseen by others: it comes again if nobody has
/// handled it by then.
pub const VISIBILITY: Duration = Duration::from_secs(60);
/// How often a message is received before it goes to the dead letters.
pub const MAX_RECEIVES: u32 = 20;

/// What an object has to see to, and nothing of what it shares: for a fan-out all that its class
/// does not offer, for a class what it shares itself.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Where CodePipeline keeps its artifacts.
    pub artifacts: Option<BucketUse>,
    /// Where the files go.
    pub destination: Option<BucketUse>,
    /// The connection.
    pub connection: Option<ConnectionUse>,
    /// Name of the role, also while its policy has to wait.
    pub role_name: Option<String>,
    /// The role, once the connection's ARN is known.
    pub role: Option<Role>,
    /// The topic.
    pub topic: Option<TopicUse>,
    /// The pipeline, once the connection's ARN is known.
    pub pipeline: Option<Pipeline>,
    /// The notification rule.
    pub notification_rule: Option<NotificationRule>,
    /// Who else may read the destination.
    pub readers: Option<Readers>,
    /// Where events go that could not be handled.
    pub dead_letter_queue: Option<Queue>,
    /// Where events of executions go.
    pub queue: Option<Queue>,
    /// What sends them there.
    pub event_rule: Option<EventRule>,
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
    /// ARN of the KMS key that encrypts it; in whatever way if none.
    pub kms_key: Option<String>,
    /// Whether its name lies in the account's own namespace of S3.
    pub account_regional: bool,
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
    pub provider: Option<Provider>,
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
    /// ARN of the policy that bounds it.
    pub boundary: Option<String>,
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
    /// ARN of the KMS key that encrypts it.
    pub kms_key: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// An own queue. SQS encrypts it by itself; a class's key is none of its, as events hold names
/// alone, and EventBridge would need that key.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Our statement in its policy; nobody but its owner sends to it if there is none.
    pub statement: Option<Value>,
    /// ARN of the queue that takes what cannot be handled.
    pub dead_letters: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// An own EventBridge rule that sends events of executions to a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Which events it takes.
    pub pattern: Value,
    /// ARN of the queue.
    pub queue_arn: String,
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
    /// Of one that exists and is taken over: what its role may be.
    pub taken: Option<Allowed>,
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
    /// ARN of the KMS key of its artifacts.
    pub artifacts_key: Option<String>,
    /// Its type.
    pub pipeline_type: Found<PipelineType>,
    /// How its executions follow each other.
    pub execution_mode: Found<ExecutionMode>,
    /// What starts it in the place of every push.
    pub triggers: Option<Triggers>,
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
    /// Source and deploy action, if it has our shape, whatever they are called.
    pub fn actions(&self) -> Option<(&Action, &Action)> {
        let [source, deploy] = &*self.stages else {
            return None;
        };
        match (&*source.actions, &*deploy.actions) {
            ([source], [deploy])
                if source.provider == SOURCE_PROVIDER && deploy.provider == DEPLOY_PROVIDER =>
            {
                Some((source, deploy))
            }
            _ => None,
        }
    }

    /// What is asked for, in a pipeline that is taken over: what it says beyond that stays as it
    /// is.
    pub fn within(&self, found: &Self) -> Self {
        let mut kept = found.clone();
        let (Some(_), Some((source, deploy))) = (found.actions(), self.actions()) else {
            return self.clone();
        };
        for (stage, asked) in kept.stages.iter_mut().zip([source, deploy]) {
            let configuration = &mut stage.actions[0].configuration;
            for (key, value) in &asked.configuration {
                // What AWS takes for granted need not be written.
                if !(key == "DetectChanges" && value == "true" && !configuration.contains_key(key))
                {
                    configuration.insert(key.clone(), value.clone());
                }
            }
        }
        kept.artifacts.clone_from(&self.artifacts);
        kept.artifacts_key = self.artifacts_key.clone().or(kept.artifacts_key);
        kept.pipeline_type.clone_from(&self.pipeline_type);
        kept.execution_mode.clone_from(&self.execution_mode);
        kept.triggers = self.triggers.clone().or(kept.triggers);
        if let Some(triggers) = &mut kept.triggers {
            triggers.source.clone_from(&kept.stages[0].actions[0].name);
        }
        kept
    }

    /// What it copies from where to where, if it has our shape.
    pub fn target(&self) -> Option<Target> {
        let config = |provider: &str, key: &str| {
            let mut actions = self.stages.iter().flat_map(|s| &s.actions);
            actions
                .find(|a| a.provider == provider)?
                .configuration
                .get(key)
                .cloned()
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
    /// How much a notification tells.
    pub detail: Detail,
    /// Our tags.
    pub tags: Tags,
    /// Makes its creation idempotent.
    pub token: String,
}

impl NotificationRule {
    /// Stands for whatever rule watches the pipeline.
    pub fn watching(pipeline: &str, pipeline_arn: &str) -> Self {
        Self {
            name: pipeline.to_owned(),
            pipeline_arn: pipeline_arn.to_owned(),
            topic_arn: String::new(),
            events: BTreeSet::new(),
            detail: Detail::Basic,
            tags: Tags::new(),
            token: String::new(),
        }
    }
}

pub const SOURCE_PROVIDER: &str = "CodeStarSourceConnection";
pub const DEPLOY_PROVIDER: &str = "S3";
