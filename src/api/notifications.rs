//! `spec.notifications`: what is announced, where, and to whom.

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is announced, and where: one of `topicName` (made, configured and owned by the object) or
/// `existingTopicARN`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.topicName) && has(self.existingTopicARN))")
    .message("notifications: write only one of topicName and existingTopicARN"))]
pub struct NotificationsSpec {
    /// What is announced: ends of CodePipeline's event type ids, such as
    /// `pipeline-execution-succeeded` (the default).
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

    /// How much a notification tells; `FULL` adds failure messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["BASIC", "FULL"]))]
    pub detail: Option<String>,

    /// Name of the object's own topic. The common base name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub topic_name: Option<String>,

    /// ARN of a topic that exists; it is used, never configured or deleted. Only what the
    /// operator's settings allow.
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

    /// Whether each delivery is announced in the operator's own words, too, beside AWS's
    /// notification: repository, branch, commit, bucket, prefix and, where the operator runs with
    /// `--allow-prune`, the keys that changed. At least once, in order. `false` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<bool>,

    /// Who subscribes to the object's own topic. Who is taken out of the list is unsubscribed;
    /// subscriptions that others made are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map"),
        extend("x-kubernetes-list-map-keys" = ["protocol", "endpoint"])
    )]
    pub subscribers: Option<Vec<SubscriberSpec>>,
}

/// One subscriber of the object's own topic.
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
    /// How it is reached, in SNS's words.
    #[schemars(extend("enum" = ["sqs", "lambda", "https", "email", "email-json", "firehose"]))]
    pub protocol: String,

    /// ARN of the queue, function or delivery stream, URL, or mail address.
    #[schemars(length(min = 3, max = 2048))]
    pub endpoint: String,

    /// Which messages it gets, as SNS has it. All if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "filter_policy")]
    pub filter_policy: Option<Value>,

    /// What the filter looks at. The attributes, which only the operator's own announcements have,
    /// if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["MessageAttributes", "MessageBody"]))]
    pub filter_policy_scope: Option<String>,

    /// Whether it gets a message without SNS's envelope. `false` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_message_delivery: Option<bool>,

    /// ARN of the role by which SNS reaches a delivery stream of Firehose. The class's
    /// `allowExisting`, or without a class the operator's `--allow-existing`, has to cover it.
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
        "description": "Which messages it gets, as SNS has it. All if left out.",
        "type": "object", "maxProperties": 32, "x-kubernetes-preserve-unknown-fields": true,
    })
}
