//! What the operator reports on a `RepoFanout`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about the fan-out. A cache: wiped, it is found again from AWS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoFanoutStatus {
    /// The generation of the spec that the status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The generation of the spec that AWS was last made to match; what differs from then on is
    /// drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,

    /// The generation of the class's spec that AWS was last made to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_class_generation: Option<i64>,

    /// The version of the pipeline's structure that matched the spec; another one in AWS is
    /// somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub pipeline_version: Option<i32>,

    /// Where the resources live; decided once, before the first write to AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,

    /// What is not used any more: deleted, or kept as `spec.deletion` says, once the present place
    /// has been delivered to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub former: Vec<FormerStatus>,

    /// The connection to the repository's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStatus>,

    /// The newest execution of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_execution: Option<ExecutionStatus>,

    /// What is in the bucket now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<DeliveredStatus>,

    /// What pruning did after the last execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<PrunedStatus>,

    /// The last execution that was announced in our own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<AnnouncedStatus>,

    /// Who subscribes to the own topic because the spec says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub subscriptions: Vec<SubscriptionStatus>,

    /// ARN of the topic that successes are announced on.
    #[serde(rename = "topicARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub topic_arn: Option<String>,

    /// ARNs by resource: artifacts, destination, connection, role, pipeline, topic,
    /// notification_rule, and readers, the bucket whose policy lets them in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,

    /// The last value of `repofanout.dev/release-requested-at` that was acted on; empty if none
    /// stood at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_release_at: Option<String>,

    /// The last value of `repofanout.dev/reconcile-requested-at` that was acted on; empty if none
    /// stood at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,

    /// When the role's permissions were last written: an execution refused before they took effect
    /// is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub permissions_written_at: Option<Timestamp>,

    /// `Ready`, `ConnectionAvailable`, `Provisioned`, `Delivered`, and kstatus's `Reconciling` and
    /// `Stalled` while they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map"), extend("x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where the resources live.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// The AWS account, twelve digits.
    #[schemars(length(max = 12))]
    pub account: String,
    /// The AWS partition, such as `aws`.
    #[schemars(length(max = 16))]
    pub partition: String,
    /// The AWS region.
    #[schemars(length(max = 32))]
    pub region: String,
    /// The `RepoFanoutClass`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub class: Option<String>,
    /// What every generated name begins with; the pipeline's name where one was taken over.
    #[schemars(length(max = 100))]
    pub base_name: String,
}

/// What belonged to the object before its spec or its class changed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FormerStatus {
    /// Where it lives.
    pub placement: PlacementStatus,
    /// ARNs by resource.
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,
}

/// The connection to the repository's provider.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// ARN of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub arn: Option<String>,
    /// `PENDING` until a person authorizes it, then `AVAILABLE`; `ERROR` while the provider refuses
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub status: Option<String>,
    /// The page of the AWS console where a person authorizes the connection.
    #[serde(rename = "authorizeURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub authorize_url: Option<String>,
    /// Set from before the connection is created until its ARN is known, so that none is made
    /// twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<ConnectionIntent>,
}

/// The word given before a connection is created.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionIntent {
    /// Value of the connection's tag `repofanout.dev/intent`.
    #[schemars(length(max = 64))]
    pub id: String,
    /// When it was given.
    #[schemars(with = "Time")]
    pub at: Timestamp,
}

/// One execution of the pipeline.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionStatus {
    /// CodePipeline's execution id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// CodePipeline's word: `InProgress`, `Succeeded`, `Failed`, `Cancelled`, `Superseded`,
    /// `Stopping` or `Stopped`.
    #[schemars(length(max = 32))]
    pub status: String,
    /// What started it, in CodePipeline's words, such as `Webhook` or `StartPipelineExecution`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub trigger: Option<String>,
    /// The commit that it copies, once its Source stage has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished_at: Option<Timestamp>,
    /// Its page in the AWS console.
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<FailureStatus>>,
}

/// Why an execution failed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// The stage that failed: `Source` or `Deploy`.
    #[schemars(length(max = 128))]
    pub stage: String,
    /// CodePipeline's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub code: Option<String>,
    /// CodePipeline's words, without the ARNs of others.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A commit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// The commit's id in full.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Its first seven characters.
    #[serde(rename = "shortID")]
    #[schemars(length(max = 7))]
    pub short_id: String,
    /// First line of the commit's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// The commit's page at the provider, where it can be told.
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
}

/// What is in the bucket now.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredStatus {
    /// The execution that delivered it.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// The commit that was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// The repository that it came from.
    #[schemars(length(max = 255))]
    pub repository: String,
    /// The branch that it came from.
    #[schemars(length(max = 255))]
    pub branch: String,
    /// The bucket that it went to.
    #[schemars(length(max = 63))]
    pub bucket: String,
    /// The prefix that it went under.
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// When the execution ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub at: Option<Timestamp>,
}

/// What pruning did after an execution.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrunedStatus {
    /// The execution whose files were compared with those in the bucket.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// The generation of the spec that said how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_generation: Option<i64>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub at: Option<Timestamp>,
    /// How many keys were deleted.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub deleted: i32,
    /// How many keys are no longer in the repository and were left, for `DryRun` or for the limit.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub left: i32,
    /// Whether the next execution began meanwhile; what it misses then is delivered once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlapped: Option<bool>,
    /// When the execution's artifact was last kept from expiring: it proves what the delivery put
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub artifact_kept_at: Option<Timestamp>,
}

/// An execution that was announced in our own words.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedStatus {
    /// CodePipeline's execution id.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// When it started; what started later is announced next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
}

/// A subscription of the own topic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// SNS's word.
    #[schemars(length(max = 16))]
    pub protocol: String,
    /// ARN, URL or address.
    #[schemars(length(max = 2048))]
    pub endpoint: String,
    /// ARN of the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub arn: Option<String>,
    /// `PENDING` until its owner confirms it, then `CONFIRMED`; `EXPIRED` if that was not in time,
    /// or is taken back.
    #[schemars(length(max = 16))]
    pub status: String,
}
