//! Simulates what a principal may do, without doing it.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>

use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
};
use serde_json::Value;

use crate::aws::role::document;
use crate::aws::{Aws, error, found, incomplete};
use crate::cloud::Result;
use crate::domain::arn;
use crate::domain::denial::PolicyType;

impl Aws {
    /// Returns the principal whose policies apply to the operator: its user, or the role of its
    /// session. The ARN of a session lacks the path of its role.
    pub async fn principal(&self) -> String {
        let own = &self.identity.arn;
        let role = arn::role_of_session(own);
        if role == *own {
            return role;
        }
        let name = role.rsplit('/').next().unwrap_or_default();
        let got = aws_sdk_iam::Client::new(&self.config)
            .get_role()
            .role_name(name)
            .send()
            .await;
        got.ok()
            .and_then(|answer| answer.role)
            .map_or(role, |role| role.arn)
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
    ) -> Result<Vec<Denied>> {
        const CALL: &str = "iam:SimulatePrincipalPolicy";
        let mut denied = Vec::new();
        for resource in resources {
            let ask = aws_sdk_iam::Client::new(&self.config)
                .simulate_principal_policy()
                .policy_source_arn(principal)
                .set_action_names(Some(actions.to_vec()))
                .set_context_entries(Some(context(conditions)))
                .resource_arns(resource);
            let answer = ask.send().await.map_err(|e| error::classify(CALL, e))?;
            collect(answer.evaluation_results(), &mut denied);
        }
        // An action of one ARN prefix applies only to ARNs of that prefix.
        Ok(denied)
    }

    /// Returns the actions that a policy, such as a permissions boundary, does not allow on one of
    /// the resources.
    ///
    /// # Errors
    /// Returns IAM's error if the simulation fails or the caller may not run it.
    pub async fn not_within(
        &self,
        policy: &Value,
        actions: &[String],
        resources: &[String],
        conditions: &Value,
    ) -> Result<Vec<Denied>> {
        const CALL: &str = "iam:SimulateCustomPolicy";
        let mut denied = Vec::new();
        for resource in resources {
            let ask = aws_sdk_iam::Client::new(&self.config)
                .simulate_custom_policy()
                .policy_input_list(policy.to_string())
                .set_action_names(Some(actions.to_vec()))
                .set_context_entries(Some(context(conditions)))
                .resource_arns(resource);
            let answer = ask.send().await.map_err(|e| error::classify(CALL, e))?;
            collect(answer.evaluation_results(), &mut denied);
        }
        Ok(denied)
    }

    /// Returns the document of a managed policy; none if there is no such policy.
    ///
    /// # Errors
    /// Returns IAM's error if the caller may not read it.
    pub async fn managed_policy(&self, arn: &str) -> Result<Option<Value>> {
        const POLICY: &str = "iam:GetPolicy";
        const VERSION: &str = "iam:GetPolicyVersion";
        let iam = aws_sdk_iam::Client::new(&self.config);
        let got = iam.get_policy().policy_arn(arn).send().await;
        let Some(policy) = found(got.map_err(|e| error::classify(POLICY, e)))? else {
            return Ok(None);
        };
        let version = policy
            .policy()
            .and_then(|policy| policy.default_version_id())
            .ok_or_else(|| incomplete(POLICY, "the default version"))?;
        let got = iam
            .get_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send()
            .await
            .map_err(|e| error::classify(VERSION, e))?;
        let text = got.policy_version().and_then(|version| version.document());
        document(
            VERSION,
            text.ok_or_else(|| incomplete(VERSION, "the document"))?,
        )
        .map(Some)
    }
}

/// An action that the simulator does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The action as IAM names it.
    pub action: String,
    /// What does not allow it, although the principal's own policies may.
    pub limit: Option<PolicyType>,
}

/// Values that satisfy the conditions of a statement.
fn context(conditions: &Value) -> Vec<ContextEntry> {
    let keys = conditions
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, v)| v.as_object())
        .flatten();
    let entry = |(key, value): (&String, &Value)| {
        let value = value
            .as_str()
            .or_else(|| value.as_array()?.first()?.as_str())
            .unwrap_or_default();
        ContextEntry::builder()
            .context_key_name(key)
            .context_key_values(value)
            .context_key_type(ContextKeyTypeEnum::String)
            .build()
    };
    keys.map(entry).collect()
}

fn collect(results: &[EvaluationResult], denied: &mut Vec<Denied>) {
    let refused = results
        .iter()
        .filter(|r| *r.eval_decision() != PolicyEvaluationDecisionType::Allowed);
    for result in refused {
        let organization = result
            .organizations_decision_detail()
            .is_some_and(|detail| !detail.allowed_by_organizations());
        let boundary = result
            .permissions_boundary_decision_detail()
            .is_some_and(|detail| !detail.allowed_by_permissions_boundary());
        let one = Denied {
            action: result.eval_action_name().to_owned(),
            limit: match (organization, boundary) {
                (true, _) => Some(PolicyType::ServiceControl),
                (false, true) => Some(PolicyType::Boundary),
                (false, false) => None,
            },
        };
        if !denied.contains(&one) {
            denied.push(one);
        }
    }
}
