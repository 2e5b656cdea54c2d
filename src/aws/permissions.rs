//! Simulates what a principal may do, without doing it.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use serde_json::Value;

use crate::aws::{Aws, error};
use crate::cloud::Result;
use crate::domain::arn::Arn;

impl Aws {
    /// Returns the principal whose policies apply to the operator: its user, or the role of its
    /// session. The ARN of a session lacks the path of its role.
    pub async fn principal(&self) -> String {
        let Some((parsed, role)) = Arn::parse(self.arn()).and_then(|arn| {
            let role = arn
                .resource
                .strip_prefix("assumed-role/")?
                .split('/')
                .next()?;
            Some((arn, role))
        }) else {
            return self.arn().to_owned();
        };
        let got = aws_sdk_iam::Client::new(&self.config)
            .get_role()
            .role_name(role)
            .send()
            .await;
        match got.ok().and_then(|answer| answer.role) {
            Some(role) => role.arn,
            None => format!(
                "arn:{}:iam::{}:role/{role}",
                parsed.partition, parsed.account
            ),
        }
    }

    /// Returns the actions that the principal may not do on one of the resources, given values that
    /// satisfy the conditions.
    ///
    /// # Errors
    /// Returns IAM's error if the simulation fails or the caller may not run it.
    pub async fn denied(
        &self,
        principal: &str,
        actions: &[String],
        resources: &[String],
        conditions: &Value,
    ) -> Result<Vec<String>> {
        const CALL: &str = "iam:SimulatePrincipalPolicy";
        let mut denied = Vec::new();
        for resource in resources {
            let mut ask = aws_sdk_iam::Client::new(&self.config)
                .simulate_principal_policy()
                .policy_source_arn(principal)
                .set_action_names(Some(actions.to_vec()))
                .resource_arns(resource);
            for (key, value) in conditions
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(_, v)| v.as_object())
                .flatten()
            {
                let value = value
                    .as_str()
                    .or_else(|| value.as_array()?.first()?.as_str())
                    .unwrap_or_default();
                ask = ask.context_entries(
                    ContextEntry::builder()
                        .context_key_name(key)
                        .context_key_values(value)
                        .context_key_type(ContextKeyTypeEnum::String)
                        .build(),
                );
            }
            let answer = ask.send().await.map_err(|e| error::classify(CALL, e))?;
            let refused = answer
                .evaluation_results()
                .iter()
                .filter(|r| *r.eval_decision() != PolicyEvaluationDecisionType::Allowed);
            denied.extend(
                refused
                    .map(|r| r.eval_action_name().to_owned())
                    .filter(|a| !denied.contains(a))
                    .collect::<Vec<_>>(),
            );
        }
        // An action of one ARN prefix applies only to ARNs of that prefix.
        Ok(denied)
    }
}
