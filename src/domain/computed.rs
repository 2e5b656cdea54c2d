//! Names and ARNs that follow from a placement alone.

use crate::domain::names;
use crate::domain::placement::Placement;

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
}

/// ARN of the topic with this name.
pub fn topic_arn(place: &Placement, name: &str) -> String {
    format!(
        "arn:{}:sns:{}:{}:{name}",
        place.partition, place.region, place.account
    )
}
