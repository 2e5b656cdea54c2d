//! Names and ARNs that follow from a placement alone.

use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::domain::{arn, names};

/// IAM path of every role that the operator makes.
pub const ROLE_PATH: &str = "/repofanout/";

/// Names and ARNs that follow from the placement alone. Deletion needs them even if the spec is
/// invalid.
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
    /// ARN of the queue of execution events.
    pub queue_arn: String,
    /// ARN of the queue of events that could not be handled.
    pub dead_letter_queue_arn: String,
    /// ARN of the rule that sends the events.
    pub event_rule_arn: String,
}

impl Computed {
    /// The names and ARNs of this placement.
    pub fn new(place: &Placement) -> Self {
        Self::suffixed(place, "")
    }

    /// The names and ARNs of the resources that a class shares. Its buckets' names lie in S3's
    /// namespace of the account if the region has it.
    pub fn of_class(place: &Placement) -> Self {
        let suffix =
            names::account_regional_suffix(&place.partition, &place.account, &place.region);
        Self::suffixed(place, &suffix.unwrap_or_default())
    }

    fn suffixed(place: &Placement, suffix: &str) -> Self {
        let Placement {
            account,
            partition,
            region,
            base_name: base,
            ..
        } = place;
        Self {
            artifacts: format!("{base}-artifacts{suffix}"),
            destination: format!("{base}-destination{suffix}"),
            base: base.clone(),
            role_arn: format!("arn:{partition}:iam::{account}:role{ROLE_PATH}{base}"),
            pipeline_arn: format!("arn:{partition}:codepipeline:{region}:{account}:{base}"),
            topic_arn: topic_arn(place, base),
            queue_arn: format!("arn:{partition}:sqs:{region}:{account}:{base}-executions"),
            dead_letter_queue_arn: format!(
                "arn:{partition}:sqs:{region}:{account}:{base}-executions-dead"
            ),
            event_rule_arn: format!(
                "arn:{partition}:events:{region}:{account}:rule/{base}-executions"
            ),
        }
    }

    /// ARN of a fan-out's resource with its generated name, where that tells its ARN.
    pub fn of_fanout(&self, resource: Resource, partition: &str) -> Option<String> {
        match resource {
            Resource::Artifacts => Some(arn::bucket(partition, &self.artifacts)),
            Resource::Destination => Some(arn::bucket(partition, &self.destination)),
            Resource::Topic => Some(self.topic_arn.clone()),
            Resource::Role => Some(self.role_arn.clone()),
            Resource::Pipeline => Some(self.pipeline_arn.clone()),
            // AWS makes up their ARNs, or they have none of their own.
            Resource::Connection | Resource::NotificationRule | Resource::Readers => None,
            // They are the account's and the class's.
            Resource::ServiceLinkedRole
            | Resource::DeadLetterQueue
            | Resource::Queue
            | Resource::EventRule => None,
        }
    }

    /// ARN of a class's resource with its generated name, where that tells its ARN.
    pub fn shared(&self, resource: Resource, partition: &str) -> Option<String> {
        match resource {
            Resource::Artifacts => Some(arn::bucket(partition, &self.artifacts)),
            Resource::Destination => Some(arn::bucket(partition, &self.destination)),
            Resource::Topic => Some(self.topic_arn.clone()),
            Resource::Role => Some(self.role_arn.clone()),
            Resource::DeadLetterQueue => Some(self.dead_letter_queue_arn.clone()),
            Resource::Queue => Some(self.queue_arn.clone()),
            Resource::EventRule => Some(self.event_rule_arn.clone()),
            // AWS makes up its ARN.
            Resource::Connection => None,
            // They are the account's and the fan-outs'.
            Resource::ServiceLinkedRole
            | Resource::Pipeline
            | Resource::NotificationRule
            | Resource::Readers => None,
        }
    }
}

/// ARN of the topic with this name.
pub fn topic_arn(place: &Placement, name: &str) -> String {
    format!(
        "arn:{}:sns:{}:{}:{name}",
        place.partition, place.region, place.account
    )
}
