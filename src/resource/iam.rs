//! The operator's own IAM policy: the calls that it makes, on names with its prefix.

use serde_json::{Value, json};

use crate::domain::arn;
use crate::domain::computed::ROLE_PATH;

/// What the policy is printed for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The AWS partition.
    pub partition: String,
    /// The AWS account, twelve digits.
    pub account: String,
    /// The AWS region; `*` for all.
    pub region: String,
    /// What every generated name begins with.
    pub name_prefix: String,
    /// ARN patterns of existing things that objects may refer to.
    pub allow_existing: Vec<String>,
    /// Whether files may be pruned.
    pub allow_prune: bool,
    /// Names, or ARNs, of the policies that bound the roles that the operator makes.
    pub boundaries: Vec<String>,
    /// ARNs of the roles by which classes reach other accounts.
    pub assume_roles: Vec<String>,
}

/// The policy.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
pub fn policy(scope: &Scope) -> Value {
    let Scope {
        partition,
        account,
        region,
        name_prefix,
        ..
    } = scope;
    let regional = |service: &str, resource: &str| {
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    };
    let bucket = format!("arn:{partition}:s3:::{name_prefix}*");
    let roles = format!("arn:{partition}:iam::{account}:role{ROLE_PATH}{name_prefix}*");
    let boundaries: Vec<String> = scope
        .boundaries
        .iter()
        .map(|name| arn::policy(partition, account, name))
        .collect();
    let service_role = "role/aws-service-role/codestar-notifications.amazonaws.com/*";
    let mut statements = vec![
        json!({
            "Sid": "Buckets",
            "Effect": "Allow",
            "Action": [
                "s3:CreateBucket", "s3:DeleteBucket", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy",
                "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetEncryptionConfiguration",
                "s3:GetLifecycleConfiguration", "s3:ListBucket", "s3:ListBucketVersions", "s3:PutBucketOwnershipControls",
                "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging",
                "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:TagResource",
            ],
            "Resource": bucket,
        }),
        json!({
            // An artifacts bucket is emptied before it is deleted.
            "Sid": "Artifacts",
            "Effect": "Allow",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": format!("arn:{partition}:s3:::{name_prefix}*/*"),
        }),
        json!({
            "Sid": "NewConnections",
            "Effect": "Allow",
            "Action": both(&["CreateConnection", "ListConnections"]),
            "Resource": "*",
        }),
        json!({
            "Sid": "Connections",
            "Effect": "Allow",
            "Action": both(&["DeleteConnection", "GetConnection", "ListTagsForResource", "TagResource"]),
            "Resource": [regional("codeconnections", "connection/*"), regional("codestar-connections", "connection/*")],
        }),
        json!({
            "Sid": "PassConnections",
            "Effect": "Allow",
            "Action": both(&["PassConnection"]),
            "Resource": [regional("codeconnections", "connection/*"), regional("codestar-connections", "connection/*")],
            "Condition": {"ForAllValues:StringEquals": {
                "codeconnections:PassedToService": "codepipeline.amazonaws.com",
                "codestar-connections:PassedToService": "codepipeline.amazonaws.com",
            }},
        }),
        json!({
            "Sid": "Roles",
            "Effect": "Allow",
            "Action": [
                "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:TagRole",
                "iam:UpdateAssumeRolePolicy",
            ],
            "Resource": roles,
        }),
        json!({
            // Whoever makes roles and passes them on has the permissions of all of them: they are
            // bound.
            "Sid": "BoundRoles",
            "Effect": "Allow",
            "Action": ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
            "Resource": roles,
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundaries}},
        }),
        json!({
            "Sid": "PassRoles",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": roles,
            "Condition": {"StringEquals": {"iam:PassedToService": "codepipeline.amazonaws.com"}},
        }),
        json!({
            "Sid": "ServiceLinkedRole",
            "Effect": "Allow",
            "Action": ["iam:CreateServiceLinkedRole", "iam:GetRole"],
            "Resource": format!("arn:{partition}:iam::{account}:{service_role}"),
        }),
        json!({
            "Sid": "Topics",
            "Effect": "Allow",
            "Action": [
                "sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic",
                "sns:ListTagsForResource", "sns:Publish", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource",
            ],
            "Resource": regional("sns", &format!("{name_prefix}*")),
        }),
        json!({
            // SNS knows no resource for these.
            "Sid": "Subscriptions",
            "Effect": "Allow",
            "Action": ["sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe"],
            "Resource": "*",
        }),
        json!({
            "Sid": "Queues",
            "Effect": "Allow",
            "Action": [
                "sqs:CreateQueue", "sqs:DeleteMessage", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
                "sqs:ListQueueTags", "sqs:ReceiveMessage", "sqs:SetQueueAttributes", "sqs:TagQueue",
            ],
            "Resource": regional("sqs", &format!("{name_prefix}*")),
        }),
        json!({
            "Sid": "EventRules",
            "Effect": "Allow",
            "Action": [
                "events:DeleteRule", "events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule",
                "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource",
            ],
            "Resource": regional("events", &format!("rule/{name_prefix}*")),
        }),
        json!({
            "Sid": "Pipelines",
            "Effect": "Allow",
            "Action": [
                "codepipeline:CreatePipeline", "codepipeline:DeletePipeline", "codepipeline:GetPipeline",
                "codepipeline:GetPipelineExecution", "codepipeline:ListActionExecutions",
                "codepipeline:ListPipelineExecutions", "codepipeline:ListTagsForResource",
                "codepipeline:StartPipelineExecution", "codepipeline:TagResource", "codepipeline:UpdatePipeline",
            ],
            "Resource": regional("codepipeline", &format!("{name_prefix}*")),
        }),
        json!({
            "Sid": "NotificationRules",
            "Effect": "Allow",
            "Action": [
                "codestar-notifications:CreateNotificationRule", "codestar-notifications:DeleteNotificationRule",
                "codestar-notifications:DescribeNotificationRule", "codestar-notifications:TagResource",
                "codestar-notifications:UpdateNotificationRule",
            ],
            "Resource": regional("codestar-notifications", "notificationrule/*"),
        }),
        json!({
            // How much of the quotas is used, by everybody in the account.
            "Sid": "Quotas",
            "Effect": "Allow",
            "Action": ["codepipeline:ListPipelines", "iam:GetAccountSummary"],
            "Resource": "*",
        }),
        json!({
            "Sid": "ListNotificationRules",
            "Effect": "Allow",
            "Action": ["codestar-notifications:DeleteTarget", "codestar-notifications:ListNotificationRules"],
            "Resource": "*",
        }),
    ];
    statements.extend(existing(scope));
    if scope.allow_prune {
        statements.extend(prune(scope));
    }
    if !scope.assume_roles.is_empty() {
        statements.push(json!({
            "Sid": "Accounts",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Resource": scope.assume_roles,
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// What no role that the operator makes can go beyond, whatever its own policy says: copying,
/// between buckets with the operator's prefix or that it may use, over the account's connections.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>
pub fn boundary(scope: &Scope) -> Value {
    let Scope {
        partition,
        account,
        region,
        name_prefix,
        ..
    } = scope;
    let connections = ["codeconnections", "codestar-connections"]
        .map(|service| format!("arn:{partition}:{service}:{region}:{account}:connection/*"));
    let mut buckets = vec![format!("arn:{partition}:s3:::{name_prefix}*")];
    buckets.extend(
        scope
            .allow_existing
            .iter()
            .filter(|p| p.split(':').nth(2) == Some("s3"))
            .cloned(),
    );
    let objects: Vec<String> = buckets.iter().map(|bucket| format!("{bucket}/*")).collect();
    let same_account = json!({"StringEquals": {"aws:ResourceAccount": account}});
    json!({"Version": "2012-10-17", "Statement": [
        {
            "Sid": "Connections",
            "Effect": "Allow",
            "Action": both(&["UseConnection"]),
            "Resource": connections,
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
            "Resource": format!("arn:{partition}:kms:{region}:{account}:key/*"),
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

/// What pruning takes beside the deletion of objects: to read what a delivery wrote from its source
/// artifact.
fn prune(scope: &Scope) -> [Value; 2] {
    let Scope {
        partition,
        account,
        region,
        name_prefix,
        ..
    } = scope;
    let ours = format!("arn:{partition}:s3:::{name_prefix}*");
    let existing = scope
        .allow_existing
        .iter()
        .filter(|p| p.split(':').nth(2) == Some("s3"));
    // CodePipeline's own folder of a pipeline, and the first ten characters of the artifact's name.
    let artifacts = |bucket: &String| format!("{bucket}/*/SourceArti/*");
    let read: Vec<String> = std::iter::once(&ours)
        .chain(existing)
        .map(artifacts)
        .collect();
    [
        json!({"Sid": "SourceArtifacts", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": read}),
        json!({
            "Sid": "KeysOfSourceArtifacts",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": format!("arn:{partition}:kms:{region}:{account}:key/*"),
            "Condition": {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
        }),
    ]
}

/// What looking at existing things takes, on the patterns that the settings allow.
fn existing(scope: &Scope) -> Vec<Value> {
    let mut statements = Vec::new();
    let buckets: Vec<&String> = scope
        .allow_existing
        .iter()
        .filter(|p| p.split(':').nth(2) == Some("s3"))
        .collect();
    if !buckets.is_empty() {
        // Only for objects that say `deletion.destination: Delete`, and only under their own
        // prefix.
        let objects: Vec<String> = buckets
            .iter()
            .map(|pattern| format!("{pattern}/*"))
            .collect();
        let actions = ["s3:DeleteObject", "s3:DeleteObjectVersion"];
        statements.push(json!({"Sid": "CopiedFiles", "Effect": "Allow", "Action": actions, "Resource": objects}));
        statements.push(json!({"Sid": "ListCopiedFiles", "Effect": "Allow", "Action": "s3:ListBucketVersions", "Resource": buckets}));
    }
    for (service, sid, action) in [
        (
            "s3",
            "ExistingBuckets",
            json!(["s3:GetBucketPolicy", "s3:ListBucket"]),
        ),
        (
            "sns",
            "ExistingTopics",
            json!(["sns:GetTopicAttributes", "sns:Publish"]),
        ),
    ] {
        let of = |pattern: &&String| {
            pattern
                .split(':')
                .nth(2)
                .is_none_or(|s| s == service || s == "*")
        };
        let patterns: Vec<&String> = scope.allow_existing.iter().filter(of).collect();
        if !patterns.is_empty() {
            statements.push(
                json!({"Sid": sid, "Effect": "Allow", "Action": action, "Resource": patterns}),
            );
        }
    }
    let of = |service: &str| -> Vec<&String> {
        scope
            .allow_existing
            .iter()
            .filter(|p| p.split(':').nth(2) == Some(service))
            .collect()
    };
    let (pipelines, roles) = (of("codepipeline"), of("iam"));
    if !pipelines.is_empty() {
        // To be taken over; the last one only for objects that say `deletion.default: Delete`.
        let actions = [
            "codepipeline:GetPipeline",
            "codepipeline:GetPipelineExecution",
            "codepipeline:ListActionExecutions",
            "codepipeline:ListPipelineExecutions",
            "codepipeline:ListTagsForResource",
            "codepipeline:StartPipelineExecution",
            "codepipeline:TagResource",
            "codepipeline:UpdatePipeline",
            "codepipeline:DeletePipeline",
        ];
        statements
            .push(json!({"Sid": "ExistingPipelines", "Effect": "Allow", "Action": actions, "Resource": pipelines}));
    }
    if !roles.is_empty() {
        // To such pipelines, whenever they are updated, and to SNS, which reaches delivery streams
        // by them.
        let services = ["codepipeline.amazonaws.com", "sns.amazonaws.com"];
        let to = json!({"StringEquals": {"iam:PassedToService": services}});
        statements.push(json!({
            "Sid": "PassExistingRoles", "Effect": "Allow", "Action": "iam:PassRole", "Resource": roles, "Condition": to,
        }));
    }
    statements
}

/// Both prefixes: an action's must match its connection's, and connections have either.
fn both(operations: &[&str]) -> Vec<String> {
    let prefixes = ["codeconnections", "codestar-connections"];
    prefixes
        .iter()
        .flat_map(|prefix| {
            operations
                .iter()
                .map(move |operation| format!("{prefix}:{operation}"))
        })
        .collect()
}
