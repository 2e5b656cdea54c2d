//! The pipeline's role: its trust, what it reaches, and what bounds it.

use serde_json::{Value, json};

use crate::domain::kind::Resource;
use crate::domain::owner::{REGION, Tags};
use crate::domain::{arn, policy_document};
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted};
use crate::resource::scope::{Scope, allow, allow_if};

/// Name of the role's inline policy.
pub const ROLE_POLICY: &str = "repofanout";

/// An own role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its trust policy.
    pub trust: Value,
    /// Its inline policy.
    pub policy: Value,
    /// ARN of the policy that bounds it.
    pub boundary: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// A role as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRole {
    /// Its ARN.
    pub arn: String,
    /// Its trust policy.
    pub trust: Value,
    /// Our inline policy.
    pub policy: Option<Value>,
    /// ARN of the policy that bounds it.
    pub boundary: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

/// The reach of a pipeline's role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    /// ARNs of the connections.
    pub connections: &'a [&'a str],
    /// Name of the artifacts bucket.
    pub artifacts: &'a str,
    /// Name of the destination bucket.
    pub destination: &'a str,
    /// The prefix that it writes under in the destination; everywhere if none.
    pub prefix: Option<&'a str>,
}

impl Role {
    /// The role with this name. Its tag tells the region that it serves, as it has none itself.
    pub(super) fn new(
        common: &Common<'_>,
        name: &str,
        reach: &Reach<'_>,
        boundary: Option<&String>,
    ) -> Self {
        let place = common.place;
        let mut tags = common.tags.clone();
        tags.insert(REGION.to_owned(), place.region.clone());
        Self {
            name: name.to_owned(),
            trust: trust(),
            policy: policy(common, reach),
            boundary: boundary.map(|name| arn::policy(&place.partition, &place.account, name)),
            tags,
        }
    }

    /// The found state once it is made.
    pub fn created(&self, arn: String) -> ObservedRole {
        ObservedRole {
            arn,
            trust: self.trust.clone(),
            policy: Some(self.policy.clone()),
            boundary: self.boundary.clone(),
            tags: self.tags.clone(),
        }
    }
}

impl Managed for Role {
    type Found = ObservedRole;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedRole) -> &Tags {
        &found.tags
    }

    fn called(&self, found: &ObservedRole) -> String {
        found.arn.clone()
    }

    fn diff(&self, found: &ObservedRole) -> Delta {
        let mut delta = Delta::default();
        if !policy_document::same(&self.trust, &found.trust) {
            delta.note(Field::Trust, "trust", &found.trust, &self.trust);
        }
        let policy = found.policy.as_ref();
        if !policy.is_some_and(|p| policy_document::same(&self.policy, p)) {
            let found = policy.map_or("none".to_owned(), ToString::to_string);
            delta.note(Field::Policy, "policy", found, &self.policy);
        }
        // A boundary that nobody asked us for may be another's rule of the account: it stays.
        if let Some(boundary) = &self.boundary
            && found.boundary.as_ref() != Some(boundary)
        {
            let found = found.boundary.as_deref().unwrap_or("none");
            delta.note(Field::Boundary, "permissionsBoundary", found, boundary);
        }
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedRole) -> ObservedRole {
        ObservedRole {
            arn: found.arn.clone(),
            trust: self.trust.clone(),
            policy: Some(self.policy.clone()),
            boundary: self.boundary.clone().or_else(|| found.boundary.clone()),
            tags: retagged(&found.tags, &self.tags),
        }
    }
}

impl Wanted<Role> {
    /// The role's name, where the object has one of its own.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Own(role) => Some(&role.name),
            Self::Waiting(name) => Some(name),
            Self::Unmanaged | Self::Shared(_) | Self::Existing(_) => None,
        }
    }
}

/// Lets CodePipeline assume the role.
fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "codepipeline.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }],
    })
}

/// Allows the pipeline's two actions, on its connections and its buckets.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/how-to-custom-role.html>
fn policy(common: &Common<'_>, reach: &Reach<'_>) -> Value {
    let bucket = |name: &str| arn::bucket(&common.place.partition, name);
    let same_account = json!({"StringEquals": {"aws:ResourceAccount": common.place.account}});
    let below = reach
        .prefix
        .map_or("*".to_owned(), |prefix| format!("{prefix}/*"));
    let mut statements = vec![
        json!({
            "Sid": "Connection",
            "Effect": "Allow",
            // CodePipeline asks for both, whichever prefix the connection's ARN has.
            "Action": ["codeconnections:UseConnection", "codestar-connections:UseConnection"],
            "Resource": reach.connections,
        }),
        json!({
            "Sid": "Buckets",
            "Effect": "Allow",
            "Action": ["s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"],
            "Resource": [bucket(reach.artifacts), bucket(reach.destination)],
            "Condition": same_account,
        }),
        json!({
            "Sid": "Artifacts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
            "Resource": format!("{}/*", bucket(reach.artifacts)),
            "Condition": same_account,
        }),
        json!({
            "Sid": "Destination",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
            "Resource": format!("{}/{below}", bucket(reach.destination)),
            "Condition": same_account,
        }),
    ];
    statements.extend(common.kms_key.map(|key| {
        json!({"Sid": "Key", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key})
    }));
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The next change of the role.
pub(super) fn plan(
    wanted: &Wanted<Role>,
    found: Option<&ObservedRole>,
    facts: &Facts<'_>,
) -> Planned<Change<Role>> {
    Ok(match wanted {
        Wanted::Own(role) => Change::between(Resource::Role, role, found, facts),
        Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Existing(_) | Wanted::Waiting(_) => None,
    })
}

/// IAM statements of the operator for own roles, and to pass roles on.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let Scope {
        partition, account, ..
    } = scope;
    let roles = scope.roles();
    let boundaries: Vec<String> = scope
        .boundaries
        .iter()
        .map(|name| arn::policy(partition, account, name))
        .collect();
    let own = [
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:GetRole",
        "iam:GetRolePolicy",
        // They name the policies that somebody has attached to a role that is to be deleted.
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:TagRole",
        "iam:UpdateAssumeRolePolicy",
    ];
    // A principal that makes roles and passes them on has the permissions of all of them: they are
    // bound.
    let bound = [
        "iam:CreateRole",
        "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy",
    ];
    let to_pipelines = json!({"iam:PassedToService": "codepipeline.amazonaws.com"});
    let mut statements = vec![
        allow("Roles", own, &roles),
        allow_if(
            "BoundRoles",
            bound,
            &roles,
            json!({"StringEquals": {"iam:PermissionsBoundary": boundaries}}),
        ),
        allow_if(
            "PassRoles",
            "iam:PassRole",
            &roles,
            json!({"StringEquals": to_pipelines}),
        ),
    ];
    let existing = scope.existing_named("iam");
    if !existing.is_empty() {
        // To pipelines that are taken over, whenever they are updated, and to SNS, which reaches
        // delivery streams by them.
        let services = ["codepipeline.amazonaws.com", "sns.amazonaws.com"];
        let to = json!({"StringEquals": {"iam:PassedToService": services}});
        statements.push(allow_if("PassExistingRoles", "iam:PassRole", existing, to));
    }
    statements
}
