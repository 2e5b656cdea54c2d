//! The operator's own IAM policy, put together of what each resource and each feature needs.

use serde_json::{Value, json};

use crate::domain::kind::Resource;
pub use crate::resource::scope::Scope;
use crate::resource::scope::{allow, allow_if, both};
use crate::resource::{
    bucket, connection, event_rule, notification_rule, pipeline, queue, role, service_linked_role,
    topic,
};

/// The policy.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
pub fn policy(scope: &Scope) -> Value {
    let mut statements: Vec<Value> = Resource::ALL
        .into_iter()
        .flat_map(|resource| statements(resource, scope))
        .collect();
    // How much of the quotas is used, by everybody in the account.
    let count = ["codepipeline:ListPipelines", "iam:GetAccountSummary"];
    statements.push(allow("Quotas", count, "*"));
    if scope.allow_prune {
        statements.extend(prune(scope));
    }
    if !scope.assume_roles.is_empty() {
        let actions = ["sts:AssumeRole", "sts:TagSession"];
        statements.push(allow("Accounts", actions, &scope.assume_roles));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// IAM statements of the operator for one resource.
fn statements(resource: Resource, scope: &Scope) -> Vec<Value> {
    match resource {
        Resource::Artifacts => bucket::statements(scope),
        Resource::Destination => bucket::existing_statements(scope),
        Resource::Connection => connection::statements(scope),
        Resource::Topic => topic::statements(scope),
        Resource::Role => role::statements(scope),
        Resource::Pipeline => pipeline::statements(scope),
        Resource::ServiceLinkedRole => service_linked_role::statements(scope),
        Resource::NotificationRule => notification_rule::statements(scope),
        // They are part of the bucket's policy.
        Resource::Readers => Vec::new(),
        // Its name has the same prefix as that of the queue.
        Resource::DeadLetterQueue => Vec::new(),
        Resource::Queue => queue::statements(scope),
        Resource::EventRule => event_rule::statements(scope),
    }
}

/// The permissions boundary of every role that the operator makes: copying, between buckets with
/// the operator's prefix or that it may use, over the account's connections.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>
pub fn boundary(scope: &Scope) -> Value {
    let mut buckets = vec![scope.buckets()];
    buckets.extend(scope.existing_named("s3").into_iter().cloned());
    let objects: Vec<String> = buckets.iter().map(|bucket| format!("{bucket}/*")).collect();
    let same_account = json!({"StringEquals": {"aws:ResourceAccount": scope.account}});
    json!({"Version": "2012-10-17", "Statement": [
        {
            "Sid": "Connections",
            "Effect": "Allow",
            "Action": both(&["UseConnection"]),
            "Resource": scope.connections(),
        },
        {
            "Sid": "Buckets",
            "Effect": "Allow",
            "Action": ["s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"],
            "Resource": buckets,
            "Condition": same_account,
        },
        {
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
            "Resource": objects,
            "Condition": same_account,
        },
        {
            "Sid": "Keys",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": scope.regional("kms", "key/*"),
            "Condition": {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
        },
    ]})
}

/// A service control policy: nobody but this principal writes our ownership tags, where the service
/// tells AWS the keys.
/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html>
pub fn guard(principal: &str) -> Value {
    let mut actions = both(&["TagResource", "UntagResource"]);
    actions.extend(
        [
            "codepipeline:TagResource",
            "codepipeline:UntagResource",
            "codestar-notifications:TagResource",
            "codestar-notifications:UntagResource",
            "events:TagResource",
            "events:UntagResource",
            "iam:TagRole",
            "iam:UntagRole",
            "s3:TagResource",
            "s3:UntagResource",
            "sns:TagResource",
            "sns:UntagResource",
            "sqs:TagQueue",
            "sqs:UntagQueue",
        ]
        .map(str::to_owned),
    );
    json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "RepoFanoutOwnershipTags",
        "Effect": "Deny",
        "Action": actions,
        "Resource": "*",
        "Condition": {
            "ForAnyValue:StringLike": {"aws:TagKeys": ["repofanout.dev/*"]},
            "ArnNotLike": {"aws:PrincipalArn": principal},
        },
    }]})
}

/// IAM statements of the operator for pruning, beside the deletion of objects: to read the source
/// artifact that a delivery wrote its files from.
fn prune(scope: &Scope) -> [Value; 2] {
    let ours = scope.buckets();
    let buckets = std::iter::once(&ours).chain(scope.existing_named("s3"));
    // CodePipeline's own folder of a pipeline, and the first ten characters of the artifact's name.
    let artifacts: Vec<String> = buckets
        .map(|bucket| format!("{bucket}/*/SourceArti/*"))
        .collect();
    let through_s3 = json!({"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}});
    let decrypt = ["kms:Decrypt", "kms:GenerateDataKey"];
    let keys = scope.regional("kms", "key/*");
    [
        allow(
            "SourceArtifacts",
            ["s3:GetObject", "s3:PutObject"],
            artifacts,
        ),
        allow_if("KeysOfSourceArtifacts", decrypt, keys, through_s3),
    ]
}
