//! `status` of a `RepoFanout`: what the operator reports.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Observed state of the fan-out. It is a cache: if it is lost, the operator finds everything again
/// in AWS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoFanoutStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Generation of the spec that AWS was last made to match. A difference found after that is
    /// drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,

    /// Generation of the class's spec that AWS was last made to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_class_generation: Option<i64>,

    /// Version of the pipeline's structure that matched the spec. If AWS has another version,
    /// somebody else changed the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub pipeline_version: Option<i32>,

    /// Account, region and names of the resources. They are decided once, before the first write to
    /// AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,

    /// Resources that the object no longer uses. They are deleted, or kept as `spec.deletion` says,
    /// once a delivery has reached the present place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub former: Vec<FormerStatus>,

    /// Connection to the repository's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStatus>,

    /// Newest execution of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_execution: Option<ExecutionStatus>,

    /// Last delivery: what the bucket contains now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<DeliveredStatus>,

    /// Result of pruning after the last execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<PrunedStatus>,

    /// Last execution that was announced in the operator's own message format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<AnnouncedStatus>,

    /// Subscriptions of the object's own topic that the spec asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub subscriptions: Vec<SubscriptionStatus>,

    /// ARN of the topic that successes are announced on.
    #[serde(rename = "topicARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub topic_arn: Option<String>,

    /// ARNs by resource: artifacts, destination, connection, role, pipeline, topic,
    /// notification_rule, and readers, which is the bucket whose policy admits the readers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,

    /// Last time when the operator set out to create a resource of the object. For a while after that,
    /// AWS may not show a recorded resource yet: the operator waits for it, and creates no second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_created_at: Option<Timestamp>,

    /// Last value of the annotation `repofanout.dev/release-requested-at` that the operator acted
    /// on. It is empty if the object was created without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_release_at: Option<String>,

    /// Last value of the annotation `repofanout.dev/reconcile-requested-at` that the operator acted
    /// on. It is empty if the object was created without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,

    /// Last value of the annotation `repofanout.dev/stop-requested-at` that the operator acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_stop_at: Option<String>,

    /// Executions that the operator started by itself: at most three for a commit, as long as the
    /// spec stays the same, and ten in 24 hours. Releases by annotation do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub starts: Vec<StartStatus>,

    /// Time when the permissions of the role were last written. An execution that was refused
    /// before they took effect is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub permissions_written_at: Option<Timestamp>,

    /// Conditions: `Ready`, `ConnectionAvailable`, `Provisioned`, `Delivered`, one for each feature
    /// that the spec asks for, and kstatus's `Reconciling` and `Stalled` while they are true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map"), extend("x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Account, region and names of the resources.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// AWS account id, twelve digits.
    #[schemars(length(max = 12))]
    pub account: String,
    /// AWS partition, such as `aws`.
    #[schemars(length(max = 16))]
    pub partition: String,
    /// AWS region.
    #[schemars(length(max = 32))]
    pub region: String,
    /// The `RepoFanoutClass`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub class: Option<String>,
    /// Beginning of every generated name, or the name of the pipeline that was taken over.
    #[schemars(length(max = 100))]
    pub base_name: String,
}

/// Resources that belonged to the object before its spec or its class changed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FormerStatus {
    /// Account, region and names of these resources.
    pub placement: PlacementStatus,
    /// ARNs by resource.
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,
}

/// Connection to the repository's provider.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// ARN of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub arn: Option<String>,
    /// Status in AWS: `PENDING` until a person authorizes the connection, then `AVAILABLE`; `ERROR`
    /// while the provider rejects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub status: Option<String>,
    /// Page of the AWS console where a person authorizes the connection.
    #[serde(rename = "authorizeURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub authorize_url: Option<String>,
    /// Intent to create the connection, recorded before the call. While it is young, no second
    /// connection is created, whatever AWS shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<ConnectionIntent>,
}

/// Record of a connection that is about to be created.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionIntent {
    /// Value of the tag `repofanout.dev/intent` on the connection.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Time when the intent was recorded.
    #[schemars(with = "Time")]
    pub at: Timestamp,
}

/// One execution of the pipeline.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionStatus {
    /// CodePipeline execution id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// CodePipeline status: `InProgress`, `Succeeded`, `Failed`, `Cancelled`, `Superseded`,
    /// `Stopping` or `Stopped`.
    #[schemars(length(max = 32))]
    pub status: String,
    /// CodePipeline trigger type that started the execution, such as `Webhook` or
    /// `StartPipelineExecution`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub trigger: Option<String>,
    /// Commit that the execution copies, known once its Source stage has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// Start time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
    /// End time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished_at: Option<Timestamp>,
    /// Page of the execution in the AWS console.
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// Failure, if the execution failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<FailureStatus>>,
}

/// An execution that the operator started by itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StartStatus {
    /// Time when it was started.
    #[schemars(with = "Time")]
    pub at: Timestamp,
    /// Request token, which is the same if the same start is tried again.
    #[schemars(length(max = 128))]
    pub token: String,
    /// Newest commit that was known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub commit: Option<String>,
    /// Generation of the spec then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_generation: Option<i64>,
}

/// Failure of an execution.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// Stage that failed: `Source` or `Deploy`.
    #[schemars(length(max = 128))]
    pub stage: String,
    /// CodePipeline error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub code: Option<String>,
    /// CodePipeline error message, without ARNs of resources that belong to others.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A commit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// Full commit id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// First seven characters of the commit id.
    #[serde(rename = "shortID")]
    #[schemars(length(max = 7))]
    pub short_id: String,
    /// First line of the commit message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// Page of the commit at the provider, if its URL is known.
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
}

/// Last delivery: what the bucket contains now.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredStatus {
    /// Execution that made the delivery.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// Commit that was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// Repository that was copied.
    #[schemars(length(max = 255))]
    pub repository: String,
    /// Branch that was copied.
    #[schemars(length(max = 255))]
    pub branch: String,
    /// Bucket that the files were copied to.
    #[schemars(length(max = 63))]
    pub bucket: String,
    /// Prefix of the keys of the files.
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// End time of the execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub at: Option<Timestamp>,
}

/// Result of pruning after an execution.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrunedStatus {
    /// Execution whose files were compared with the bucket.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// Generation of the spec that pruning followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_generation: Option<i64>,
    /// Time when pruning ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub at: Option<Timestamp>,
    /// Number of keys that were deleted.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub deleted: i32,
    /// Number of keys that are no longer in the repository and were kept, because of `DryRun` or
    /// the limit.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub left: i32,
    /// True if the next execution began while pruning ran. Keys that it may have lost are then
    /// delivered once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlapped: Option<bool>,
    /// Time when the execution's artifact was last kept from expiring. The artifact proves which
    /// files the delivery put in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub artifact_kept_at: Option<Timestamp>,
}

/// An execution that was announced in the operator's own message format.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedStatus {
    /// CodePipeline execution id.
    #[schemars(length(max = 64))]
    pub execution: String,
    /// Start time. Executions that started later are announced next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
}

/// A subscription of the object's own topic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// SNS protocol.
    #[schemars(length(max = 16))]
    pub protocol: String,
    /// Endpoint: an ARN, a URL or a mail address.
    #[schemars(length(max = 2048))]
    pub endpoint: String,
    /// ARN of the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub arn: Option<String>,
    /// Status: `PENDING` until the endpoint's owner confirms the subscription, then `CONFIRMED`;
    /// `EXPIRED` if it was not confirmed in time or was cancelled.
    #[schemars(length(max = 16))]
    pub status: String,
}
