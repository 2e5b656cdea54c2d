//! Where the resources of an object live: decided once, then kept.

use super::fanout::Fanout;
use super::{Identity, Refusal, Settings, names};
use crate::api::condition::Reason;
use crate::api::status::PlacementStatus;

/// Account, region and names of an object's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS partition.
    pub partition: String,
    /// The AWS region.
    pub region: String,
    /// What every generated name begins with.
    pub base_name: String,
}

impl Placement {
    /// Decides it, and refuses if it was decided otherwise before.
    pub fn decide(
        fanout: &Fanout,
        settings: &Settings,
        identity: &Identity,
        recorded: Option<&PlacementStatus>,
    ) -> Result<Self, Refusal> {
        let decided = Self {
            account: identity.account.clone(),
            partition: identity.partition.clone(),
            region: fanout.region.clone().unwrap_or_else(|| settings.region.clone()),
            base_name: names::base_name(&settings.name_prefix, fanout.name.as_deref(), &fanout.owner),
        };
        match recorded {
            Some(recorded) => decided.compare(recorded).map(|()| decided),
            None => Ok(decided),
        }
    }

    fn compare(&self, recorded: &PlacementStatus) -> Result<(), Refusal> {
        let differences: Vec<String> = [
            ("account", &recorded.account, &self.account),
            ("partition", &recorded.partition, &self.partition),
            ("region", &recorded.region, &self.region),
            ("base name", &recorded.base_name, &self.base_name),
        ]
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(what, was, is)| format!("{what} {was} would become {is}"))
        .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::PlacementChanged,
            format!(
                "the resources were made elsewhere: {}; nothing is built a second time. Give the operator its former \
                 credentials, region, clusterID and name prefix back, or delete this object with those and create it anew",
                differences.join(", ")
            ),
        ))
    }

    /// As it is recorded on status.
    pub fn status(&self) -> PlacementStatus {
        PlacementStatus {
            account: self.account.clone(),
            partition: self.partition.clone(),
            region: self.region.clone(),
            base_name: self.base_name.clone(),
        }
    }

    /// As it was recorded on status.
    pub fn recorded(status: &PlacementStatus) -> Self {
        Self {
            account: status.account.clone(),
            partition: status.partition.clone(),
            region: status.region.clone(),
            base_name: status.base_name.clone(),
        }
    }

    /// Start of every console link of the region.
    /// <https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-update.html>
    fn console(&self) -> String {
        let domain = match self.partition.as_str() {
            "aws-cn" => "console.amazonaws.cn",
            "aws-us-gov" => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        format!("https://{}.{domain}/codesuite", self.region)
    }

    /// The page where a person authorizes the connection.
    pub fn authorize_url(&self, connection_arn: &str) -> String {
        let id = connection_arn.rsplit('/').next().unwrap_or_default();
        format!("{}/settings/{}/{}/connections/{id}", self.console(), self.account, self.region)
    }

    /// The page of an execution.
    pub fn execution_url(&self, pipeline: &str, execution: &str) -> String {
        format!(
            "{}/codepipeline/pipelines/{pipeline}/executions/{execution}/timeline?region={}",
            self.console(),
            self.region
        )
    }
}
