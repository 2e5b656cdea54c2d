//! `spec.notifications`: the events that are announced, the topic, and its subscribers.

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Events and topic of the notifications. Write at most one of `topicName` (the object's own topic,
/// which the operator creates, configures and deletes) and `existingTopicARN`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.topicName) && has(self.existingTopicARN))")
    .message("notifications: write only one of topicName and existingTopicARN"))]
pub struct NotificationsSpec {
    /// Events to announce, as CodePipeline event type ids without `codepipeline-pipeline-`.
    /// Default: `pipeline-execution-succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 17),
        extend("items" = {"type": "string", "maxLength": 64, "enum": [
            "pipeline-execution-failed", "pipeline-execution-canceled", "pipeline-execution-started",
            "pipeline-execution-resumed", "pipeline-execution-succeeded", "pipeline-execution-superseded",
            "stage-execution-started", "stage-execution-succeeded", "stage-execution-resumed",
            "stage-execution-canceled", "stage-execution-failed",
            "action-execution-succeeded", "action-execution-failed", "action-execution-canceled",
            "action-execution-started"
        ]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub events: Option<Vec<String>>,

    /// Detail level of notifications. `FULL` adds failure messages. Default: `BASIC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["BASIC", "FULL"]))]
    pub detail: Option<String>,

    /// Name of the object's own topic. Default: the value of `status.placement.baseName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub topic_name: Option<String>,

    /// ARN of an existing topic. The operator uses it, and never configures or deletes it. The
    /// class's `allowExisting`, or without a class the operator's `--allow-existing`, must cover
    /// it.
    #[serde(
        default,
        rename = "existingTopicARN",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(max = 512),
        regex(pattern = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$")
    )]
    pub existing_topic_arn: Option<String>,

    /// Also announces each delivery in the operator's own message format, beside AWS's
    /// notification. The message has repository, branch, commit, bucket, prefix and, if the
    /// operator runs with `--allow-prune`, the keys that changed. Each delivery is announced at
    /// least once, and in order. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<bool>,

    /// Subscribers of the object's own topic. A subscriber that is removed from the list is
    /// unsubscribed; subscriptions that others made are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map"),
        extend("x-kubernetes-list-map-keys" = ["protocol", "endpoint"])
    )]
    pub subscribers: Option<Vec<SubscriberSpec>>,
}

/// A subscriber of the object's own topic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.protocol in ['sqs', 'lambda', 'firehose']) || \
         self.endpoint.startsWith('arn:')")
        .message("subscribers: write the ARN of the queue, function or delivery stream as endpoint"),
    validation = Rule::new("self.protocol != 'https' || self.endpoint.startsWith('https://')")
        .message("subscribers: write a URL that begins with https:// as endpoint"),
    validation = Rule::new("!self.protocol.startsWith('email') || self.endpoint.contains('@')")
        .message("subscribers: write a mail address as endpoint"),
    validation = Rule::new("!(has(self.rawMessageDelivery) && self.rawMessageDelivery) || \
         self.protocol in ['sqs', 'https', 'firehose']")
        .message("subscribers: rawMessageDelivery is for sqs, https and firehose; leave it out"),
    validation = Rule::new("has(self.subscriptionRoleARN) == (self.protocol == 'firehose')")
        .message("subscribers: firehose, and nothing else, takes a subscriptionRoleARN, the role \
             by which SNS reaches the delivery stream")
)]
pub struct SubscriberSpec {
    /// SNS protocol.
    #[schemars(extend("enum" = ["sqs", "lambda", "https", "email", "email-json", "firehose"]))]
    pub protocol: String,

    /// Endpoint: the ARN of a queue, function or delivery stream, a URL, or a mail address.
    #[schemars(length(min = 3, max = 2048))]
    pub endpoint: String,

    /// SNS filter policy. Default: none, so that every message is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "filter_policy")]
    pub filter_policy: Option<Value>,

    /// Part of the message that the filter policy applies to. Default: `MessageAttributes`, which
    /// only the operator's own announcements have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["MessageAttributes", "MessageBody"]))]
    pub filter_policy_scope: Option<String>,

    /// Delivers messages without the SNS envelope. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_message_delivery: Option<bool>,

    /// ARN of the IAM role that SNS assumes to write to a Firehose delivery stream. The class's
    /// `allowExisting`, or without a class the operator's `--allow-existing`, must cover it.
    #[serde(
        rename = "subscriptionRoleARN",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")
    )]
    pub subscription_role_arn: Option<String>,
}

fn filter_policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "SNS filter policy. Default: none, so that every message is delivered.",
        "type": "object", "maxProperties": 32, "x-kubernetes-preserve-unknown-fields": true,
    })
}
