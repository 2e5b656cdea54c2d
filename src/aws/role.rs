//! IAM roles.

use async_trait::async_trait;
use aws_sdk_iam::types::{SummaryKeyType, Tag};
use percent_encoding::percent_decode_str;

use crate::aws::{Clients, found, gone, incomplete, json};
use crate::cloud;
use crate::cloud::{Class, Result, Roles};
use crate::domain::computed::ROLE_PATH;
use crate::domain::owner::Tags;
use crate::resource::delta::{Delta, Field};
use crate::resource::role::ObservedRole;
use crate::resource::role::{ROLE_POLICY, Role};

/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/using-service-linked-roles.html>
const SERVICE_LINKED_ROLE: &str = "AWSServiceRoleForCodeStarNotifications";
const SERVICE: &str = "codestar-notifications.amazonaws.com";

#[async_trait]
impl Roles for Clients {
    async fn observe(&self, name: &str) -> Result<Option<ObservedRole>> {
        const CALL: &str = "iam:GetRole";
        let get = self.iam.get_role().role_name(name).send();
        let Some(role) = found(self.call(CALL, get).await)?.and_then(|a| a.role) else {
            return Ok(None);
        };
        const POLICY: &str = "iam:GetRolePolicy";
        let get = self
            .iam
            .get_role_policy()
            .role_name(name)
            .policy_name(ROLE_POLICY)
            .send();
        let policy = found(self.call(POLICY, get).await)?;
        Ok(Some(ObservedRole {
            arn: role.arn().to_owned(),
            trust: document(
                CALL,
                role.assume_role_policy_document()
                    .ok_or_else(|| incomplete(CALL, "a trust policy"))?,
            )?,
            policy: policy
                .map(|p| document(POLICY, p.policy_document()))
                .transpose()?,
            boundary: role
                .permissions_boundary()
                .and_then(|b| b.permissions_boundary_arn())
                .map(str::to_owned),
            tags: role
                .tags()
                .iter()
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect(),
        }))
    }

    async fn create(&self, desired: &Role) -> Result<ObservedRole> {
        const CALL: &str = "iam:CreateRole";
        let create = self
            .iam
            .create_role()
            .role_name(&desired.name)
            .path(ROLE_PATH)
            .assume_role_policy_document(desired.trust.to_string())
            .set_permissions_boundary(desired.boundary.clone())
            .description("Runs a pipeline of the RepoFanout operator")
            .set_tags(Some(tag_set!(Tag, CALL, &desired.tags)?))
            .send();
        let role = self
            .call(CALL, create)
            .await?
            .role
            .ok_or_else(|| incomplete(CALL, "the role"))?;
        self.put_inline_policy(desired).await?;
        Ok(desired.created(role.arn))
    }

    async fn update(&self, desired: &Role, delta: &Delta) -> Result<()> {
        let name = &desired.name;
        if delta.has(Field::Trust) {
            let update = self
                .iam
                .update_assume_role_policy()
                .role_name(name)
                .policy_document(desired.trust.to_string());
            self.call("iam:UpdateAssumeRolePolicy", update.send())
                .await?;
        }
        if delta.has(Field::Boundary) {
            let put = self.iam.put_role_permissions_boundary().role_name(name);
            let put = put.set_permissions_boundary(desired.boundary.clone());
            self.call("iam:PutRolePermissionsBoundary", put.send())
                .await?;
        }
        if delta.has(Field::Policy) {
            self.put_inline_policy(desired).await?;
        }
        if delta.has(Field::Tags) {
            Roles::tag(self, name, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, name: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "iam:TagRole";
        let tag = self
            .iam
            .tag_role()
            .role_name(name)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?))
            .send();
        self.call(CALL, tag).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let delete = self
            .iam
            .delete_role_policy()
            .role_name(name)
            .policy_name(ROLE_POLICY)
            .send();
        gone(self.call("iam:DeleteRolePolicy", delete).await)?;
        let delete = self.iam.delete_role().role_name(name).send();
        match gone(self.call("iam:DeleteRole", delete).await) {
            Err(error) if error.class == Class::Conflict => Err(self.attached(name, error).await),
            other => other,
        }
    }

    async fn count(&self) -> Result<usize> {
        const CALL: &str = "iam:GetAccountSummary";
        let summary = self
            .call(CALL, self.iam.get_account_summary().send())
            .await?
            .summary_map
            .unwrap_or_default();
        let roles = summary
            .get(&SummaryKeyType::Roles)
            .and_then(|n| usize::try_from(*n).ok());
        roles.ok_or_else(|| incomplete(CALL, "the number of roles"))
    }

    async fn service_linked_role(&self) -> Result<bool> {
        let mut there = self.service_linked_role.lock().await;
        if !*there {
            let get = self.iam.get_role().role_name(SERVICE_LINKED_ROLE).send();
            *there = found(self.call("iam:GetRole", get).await)?.is_some();
        }
        Ok(*there)
    }

    async fn create_service_linked_role(&self) -> Result<()> {
        let mut there = self.service_linked_role.lock().await;
        if *there {
            return Ok(());
        }
        let create = self
            .iam
            .create_service_linked_role()
            .aws_service_name(SERVICE)
            .send();
        match self.call("iam:CreateServiceLinkedRole", create).await {
            // IAM has no specific error code for a service-linked role that exists already.
            Err(e) if e.class == Class::Invalid && e.message.contains("has been taken") => {}
            other => other.map(|_| ())?,
        }
        *there = true;
        Ok(())
    }
}

impl Clients {
    /// Adds the names of a role's policies to the error that does not let the role be deleted; the
    /// error itself, if they cannot be listed.
    async fn attached(&self, name: &str, error: cloud::Error) -> cloud::Error {
        let inline = self.iam.list_role_policies().role_name(name).send();
        let inline = self.call("iam:ListRolePolicies", inline).await;
        let managed = self.iam.list_attached_role_policies().role_name(name);
        let managed = self
            .call("iam:ListAttachedRolePolicies", managed.send())
            .await;
        let (Ok(inline), Ok(managed)) = (inline, managed) else {
            return error;
        };
        let mut names: Vec<&str> = inline.policy_names().iter().map(String::as_str).collect();
        names.extend(
            managed
                .attached_policies()
                .iter()
                .filter_map(|policy| policy.policy_name()),
        );
        let message = format!("{} Policies of {name}: {}", error.message, names.join(", "));
        cloud::Error { message, ..error }
    }

    async fn put_inline_policy(&self, desired: &Role) -> Result<()> {
        let put = self
            .iam
            .put_role_policy()
            .role_name(&desired.name)
            .policy_name(ROLE_POLICY);
        self.call(
            "iam:PutRolePolicy",
            put.policy_document(desired.policy.to_string()).send(),
        )
        .await
        .map(|_| ())
    }
}

/// Decodes a policy document; IAM returns it URL-encoded (RFC 3986).
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRolePolicy.html>
pub(super) fn document(call: &'static str, text: &str) -> Result<serde_json::Value> {
    json(call, &percent_decode_str(text).decode_utf8_lossy())
}
