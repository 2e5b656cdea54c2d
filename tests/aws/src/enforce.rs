//! An account whose caller has a policy: each call is let through only if IAM would, with the
//! actions, resources and condition keys of the Service Authorization Reference. Without a policy
//! the caller is root.
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::front::Caller;
use crate::iam::{Decision, Request, decide};
use crate::reply::{Answer, Failure};
use crate::state::World;
use crate::upstream::element;

/// What a call needs: action, resource, condition keys.
type Need = (String, String, HashMap<&'static str, String>);

/// IAM's actions for an operation, where the names differ.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>
pub fn actions(operation: &str) -> Vec<String> {
    let actions: &[&str] = match operation {
        "s3:HeadBucket" | "s3:ListObjects" => &["s3:ListBucket"],
        "s3:ListObjectVersions" => &["s3:ListBucketVersions"],
        "s3:DeleteObjects" => &["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "s3:CreateBucket" => &["s3:CreateBucket", "s3:TagResource"],
        "s3:GetBucketEncryption" => &["s3:GetEncryptionConfiguration"],
        "s3:PutBucketEncryption" => &["s3:PutEncryptionConfiguration"],
        "s3:GetBucketLifecycleConfiguration" => &["s3:GetLifecycleConfiguration"],
        "s3:PutBucketLifecycleConfiguration" => &["s3:PutLifecycleConfiguration"],
        "s3:GetPublicAccessBlock" => &["s3:GetBucketPublicAccessBlock"],
        "s3:PutPublicAccessBlock" => &["s3:PutBucketPublicAccessBlock"],
        "iam:CreateRole" => &["iam:CreateRole", "iam:TagRole"],
        "sns:CreateTopic" => &["sns:CreateTopic", "sns:TagResource"],
        "codepipeline:CreatePipeline" => {
            &["codepipeline:CreatePipeline", "codepipeline:TagResource"]
        }
        "codestar-connections:CreateConnection" => &[
            "codestar-connections:CreateConnection",
            "codestar-connections:TagResource",
        ],
        "codestar-notifications:CreateNotificationRule" => &[
            "codestar-notifications:CreateNotificationRule",
            "codestar-notifications:TagResource",
        ],
        "sqs:CreateQueue" => &["sqs:CreateQueue", "sqs:TagQueue"],
        "sqs:DeleteMessageBatch" => &["sqs:DeleteMessage"],
        "events:PutRule" => &["events:PutRule", "events:TagResource"],
        "sts:GetCallerIdentity" => &[],
        other => &[other],
    };
    actions.iter().map(|a| (*a).to_owned()).collect()
}

/// Refuses the call if one of the policies that hold for the account's caller does not allow it, in
/// the words that name the type of that policy.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>
pub async fn check(
    world: &World,
    caller: &Caller,
    operation: &str,
    parts: &Parts,
    body: &Bytes,
) -> Result<(), Failure> {
    let (policies, limits) =
        world.with_account(&caller.account, |a| (a.policies.clone(), a.limits.clone()));
    if policies.is_empty() && limits.is_empty() {
        return Ok(());
    }
    for (action, resource, context) in needs(world, caller, operation, parts, body).await {
        let request = Request {
            principal: None,
            action: &action,
            resource: &resource,
            context,
        };
        if let Some((type_, explicit)) = denier(&policies, &limits, &request) {
            return Err(denied(caller, &request, &type_, explicit));
        }
    }
    Ok(())
}

/// Which type of policy refuses the request, and whether by a `Deny`. Without policies of its own
/// the caller is root.
fn denier(
    policies: &[Value],
    limits: &[(String, Value)],
    request: &Request<'_>,
) -> Option<(String, bool)> {
    let own = (!policies.is_empty()).then_some(("identity-based policy", policies));
    let limits = limits
        .iter()
        .map(|(type_, policy)| (&**type_, std::slice::from_ref(policy)));
    limits.chain(own).find_map(|(type_, policies)| {
        match decide(policies, request).unwrap_or(Decision::Silent) {
            Decision::Allowed => None,
            Decision::Denied => Some((type_.to_owned(), true)),
            Decision::Silent => Some((type_.to_owned(), false)),
        }
    })
}

/// The refusal as the service puts it. SNS tells a key's refusal by a code of its own
/// (botocore's model of SNS; aws-secure-environment-accelerator#971).
fn denied(caller: &Caller, request: &Request<'_>, type_: &str, explicit: bool) -> Failure {
    let Request {
        action, resource, ..
    } = request;
    let by = match explicit {
        true => format!("with an explicit deny in a {type_}"),
        false => format!("because no {type_} allows the {action} action"),
    };
    let quote = if caller.service == "s3" { "\"" } else { "" };
    let message = format!(
        "User: arn:aws:iam::{}:user/operator is not authorized to perform: {action} on resource: \
         {quote}{resource}{quote} {by}",
        caller.account
    );
    let (status, code) = match caller.service.as_str() {
        "sns" if action.starts_with("kms:") => (400, "KMSAccessDenied"),
        "sns" => (403, "AuthorizationError"),
        "s3" | "iam" | "sts" => (403, "AccessDenied"),
        _ => (400, "AccessDeniedException"),
    };
    Failure {
        status,
        code: code.to_owned(),
        message,
    }
}

async fn needs(
    world: &World,
    caller: &Caller,
    operation: &str,
    parts: &Parts,
    body: &Bytes,
) -> Vec<Need> {
    let Caller {
        account,
        region,
        service,
    } = caller;
    // To delete a version is an action of its own, though the operation is the same.
    let query = parts.uri.query().unwrap_or_default();
    let operation = match operation {
        "s3:DeleteObject" if query.contains("versionId=") => "s3:DeleteObjectVersion",
        other => other,
    };
    let name = operation.split_once(':').map_or("", |(_, name)| name);
    let form = fields(body);
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let regional = |resource: &str| format!("arn:aws:{service}:{region}:{account}:{resource}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut context = HashMap::new();
    let mut more: Vec<Need> = Vec::new();
    let resource = match service.as_str() {
        "s3" => {
            let bucket = parts.uri.path().trim_matches('/').to_owned();
            let within = if name == "DeleteObjects" { "/any" } else { "" };
            let resource = format!("arn:aws:s3:::{bucket}{within}");
            // A deletion on the condition of an ETag reads the object's.
            // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
            let conditional = match name {
                "DeleteObjects" => element(body, "ETag").is_some(),
                "DeleteObject" => parts.headers.contains_key("if-match"),
                _ => false,
            };
            if conditional {
                more.push(("s3:GetObject".to_owned(), resource.clone(), HashMap::new()));
            }
            resource
        }
        "iam" => {
            let role = form.get("RoleName").cloned().unwrap_or_default();
            let boundary = match name {
                "CreateRole" | "PutRolePermissionsBoundary" => {
                    form.get("PermissionsBoundary").cloned()
                }
                "PutRolePolicy" => boundary(world, caller, &role).await,
                _ => None,
            };
            context.extend(boundary.map(|arn| ("iam:permissionsboundary", arn)));
            let linked = "aws-service-role/codestar-notifications.amazonaws.com/AWSServiceRoleForCodeStarNotifications";
            match name {
                "GetAccountSummary" | "SimulatePrincipalPolicy" | "SimulateCustomPolicy" => {
                    "*".to_owned()
                }
                "GetPolicy" | "GetPolicyVersion" => {
                    form.get("PolicyArn").cloned().unwrap_or_default()
                }
                "CreateServiceLinkedRole" => format!("arn:aws:iam::{account}:role/{linked}"),
                _ if linked.ends_with(&role) => format!("arn:aws:iam::{account}:role/{linked}"),
                _ => format!("arn:aws:iam::{account}:role/repofanout/{role}"),
            }
        }
        "sns" => {
            // By which SNS reaches a delivery stream of Firehose.
            let role = form
                .values()
                .find(|value| value.starts_with("arn:aws:iam:"))
                .filter(|_| name.contains("ubscri"));
            let to = HashMap::from([("iam:passedtoservice", "sns.amazonaws.com".to_owned())]);
            more.extend(role.map(|role| ("iam:PassRole".to_owned(), role.clone(), to)));
            let arn = form
                .get("TopicArn")
                .or_else(|| form.get("ResourceArn"))
                .cloned();
            // Whoever publishes to a topic with a key of the account's own uses the key.
            // <https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html>
            if name == "Publish" {
                let topic = arn.clone().unwrap_or_default();
                let key = world
                    .upstream
                    .topic_attribute(caller, &topic, "KmsMasterKeyId")
                    .await
                    .filter(|key| key.starts_with("arn:"));
                let via = format!("sns.{region}.amazonaws.com");
                let via = HashMap::from([("kms:viaservice", via)]);
                more.extend(key.iter().flat_map(|key| {
                    let actions = ["kms:GenerateDataKey", "kms:Decrypt"];
                    actions.map(|action| (action.to_owned(), key.clone(), via.clone()))
                }));
            }
            arn.unwrap_or_else(|| regional(form.get("Name").map_or("", String::as_str)))
        }
        "sqs" => {
            let queue = json["QueueUrl"]
                .as_str()
                .or_else(|| json["QueueName"].as_str())
                .unwrap_or_default();
            regional(queue.rsplit('/').next().unwrap_or_default())
        }
        "events" => match &json["ResourceARN"] {
            Value::String(arn) => arn.clone(),
            _ => regional(&format!(
                "rule/{}",
                json["Name"]
                    .as_str()
                    .or(json["Rule"].as_str())
                    .unwrap_or_default()
            )),
        },
        "codepipeline" => {
            let pipeline = &json["pipeline"];
            let passed = |key| HashMap::from([(key, "codepipeline.amazonaws.com".to_owned())]);
            if !pipeline["roleArn"].is_null() {
                more.push((
                    "iam:PassRole".to_owned(),
                    text(&pipeline["roleArn"]),
                    passed("iam:passedtoservice"),
                ));
                let connection =
                    text(&pipeline["stages"][0]["actions"][0]["configuration"]["ConnectionArn"]);
                let prefix = connection.split(':').nth(2).unwrap_or_default();
                let key = if prefix == "codeconnections" {
                    "codeconnections:passedtoservice"
                } else {
                    "codestar-connections:passedtoservice"
                };
                more.push((
                    format!("{prefix}:PassConnection"),
                    connection.clone(),
                    passed(key),
                ));
            }
            match ["resourceArn", "name", "pipelineName"]
                .iter()
                .map(|key| text(&json[key]))
                .find(|t| !t.is_empty())
            {
                Some(arn) if arn.starts_with("arn:") => arn,
                Some(name) => regional(&name),
                None if name == "ListPipelines" => "*".to_owned(),
                None => regional(&text(&pipeline["name"])),
            }
        }
        _ => {
            let arn = ["ConnectionArn", "ResourceArn", "Arn"]
                .iter()
                .map(|key| text(&json[key]))
                .find(|t| !t.is_empty());
            match name {
                "CreateConnection" => regional("connection/new"),
                "CreateNotificationRule" => regional("notificationrule/new"),
                "TagResource" if service == "codestar-notifications" => {
                    regional("notificationrule/one")
                }
                "ListNotificationRules" | "ListConnections" | "DeleteTarget" => "*".to_owned(),
                _ => arn.unwrap_or_else(|| "*".to_owned()),
            }
        }
    };
    // IAM holds the prefix of the connection's ARN against the action's.
    let prefix = resource
        .split(':')
        .nth(2)
        .filter(|prefix| *prefix == "codeconnections");
    let own = actions(operation).into_iter().map(|action| match prefix {
        Some(prefix) => format!(
            "{prefix}:{}",
            action.split_once(':').map_or("", |(_, name)| name)
        ),
        None => action,
    });
    more.extend(
        own.map(|action| (action, resource.clone(), context.clone()))
            .collect::<Vec<_>>(),
    );
    more
}

/// ARN of the boundary that a role has.
async fn boundary(world: &World, caller: &Caller, role: &str) -> Option<String> {
    let get = [
        ("Action", "GetRole"),
        ("Version", "2010-05-08"),
        ("RoleName", role),
    ];
    element(
        &world.upstream.form(caller, "iam", &get).await.ok()?.1,
        "PermissionsBoundaryArn",
    )
}

/// Answers SimulatePrincipalPolicy and SimulateCustomPolicy; the software behind knows no context
/// keys. Only the first knows what the organization and a boundary allow.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>
pub fn simulate(world: &World, caller: &Caller, operation: &str, body: &Bytes) -> Option<Answer> {
    let (mut policies, mut limits) =
        world.with_account(&caller.account, |a| (a.policies.clone(), a.limits.clone()));
    let form = fields(body);
    if operation == "SimulateCustomPolicy" {
        let document = form.get("PolicyInputList.member.1")?;
        policies = vec![serde_json::from_str(document).ok()?];
        limits.clear();
    }
    if policies.is_empty() {
        return None;
    }
    let members = |name: &str| {
        let prefix = format!("{name}.member.");
        let mut all: Vec<(&String, &String)> = form
            .iter()
            .filter(|(k, _)| k.starts_with(&prefix))
            .collect();
        all.sort();
        all.into_iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Vec<_>>()
    };
    let mut context: HashMap<&'static str, String> = HashMap::new();
    for (key, value) in members("ContextEntries")
        .iter()
        .filter(|(k, _)| k.ends_with("ContextKeyName"))
    {
        let values = key.replace("ContextKeyName", "ContextKeyValues.member.1");
        // The evaluator names its keys for good; there are a few of them.
        let known = [
            "aws:resourceaccount",
            "kms:viaservice",
            "iam:permissionsboundary",
            "iam:passedtoservice",
            "codeconnections:passedtoservice",
            "codestar-connections:passedtoservice",
        ];
        let name = known
            .into_iter()
            .find(|known| *known == value.to_ascii_lowercase())?;
        context.insert(name, form.get(&values).cloned().unwrap_or_default());
    }
    let resource = form
        .get("ResourceArns.member.1")
        .map_or("*", String::as_str);
    let results = members("ActionNames").into_iter().filter(|(k, _)| k.matches('.').count() == 2).map(|(_, action)| {
        let request = Request { principal: None, action: &action, resource, context: context.clone() };
        let decision = match denier(&policies, &limits, &request) {
            None => "allowed",
            Some((_, true)) => "explicitDeny",
            Some((_, false)) => "implicitDeny",
        };
        let within = |type_: &str| {
            let mut of = limits.iter().filter(|(t, _)| t == type_);
            of.all(|limit| denier(&[], std::slice::from_ref(limit), &request).is_none())
        };
        let (organization, boundary) = (within("service control policy"), within("permissions boundary"));
        format!("<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}</EvalDecision><OrganizationsDecisionDetail><AllowedByOrganizations>{organization}</AllowedByOrganizations></OrganizationsDecisionDetail><PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>{boundary}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail></member>")
    });
    let xml = format!(
        "<{operation}Response \
             xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><{operation}Result><IsTruncated>false</IsTruncated><EvaluationResults>{}</EvaluationResults></{operation}Result></{operation}Response>",
        results.collect::<String>()
    );
    Some(
        Response::builder()
            .header("content-type", "text/xml")
            .body(Full::new(Bytes::from(xml)))
            .expect("a response"),
    )
}

/// The fields of a form.
pub fn fields(body: &Bytes) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body).into_owned();
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}
