//! codestar-notifications: rules, and the messages that they send.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::front::Caller;
use crate::iam;
use crate::reply::{Failure, Reply, page, text};
use crate::state::{Rule, World, now};

pub async fn handle(world: &Arc<World>, caller: &Caller, operation: &str, input: &Value) -> Reply {
    world.with_account(&caller.account, |account| {
        let empty_pages = account.claims.empty_pages;
        let hidden = account.hidden("codestar-notifications");
        let rules = &mut account.rules;
        let arn = input["Arn"].as_str().unwrap_or_default();
        match operation {
            "CreateNotificationRule" => {
                if !account.service_linked_role || account.rule_refusals > 0 {
                    account.rule_refusals = account.rule_refusals.saturating_sub(1);
                    return Err(Failure::new(
                        "ConfigurationException",
                        "AWS CodeStar Notifications could not create the AWS CloudWatch Events \
                             managed rule in your AWS account. If this is your first time \
                             creating a notification rule, the service-linked role for AWS \
                             CodeStar Notifications might not yet exist. Creation of this role \
                             might take up to 15 minutes.",
                    ));
                }
                let reply = create(rules, caller, input)?;
                account.note("codestar-notifications", id(text(&reply, "Arn")));
                Ok(reply)
            }
            "DescribeNotificationRule" => {
                let rule = rules.get(arn).ok_or_else(|| missing(arn))?;
                Ok(describe(arn, rule))
            }
            "ListNotificationRules" => {
                let filters: Vec<(&str, &str)> = input["Filters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|f| (text(f, "Name"), text(f, "Value")))
                    .collect();
                let shown = rules.iter().filter(|(arn, _)| !hidden.contains(id(arn)));
                let all = shown.filter(|(_, r)| {
                    filters.iter().all(|(name, value)| match *name {
                        "RESOURCE" => r.resource == *value,
                        "EVENT_TYPE_ID" => r.events.iter().any(|e| e == value),
                        "TARGET_ADDRESS" => {
                            r.targets.iter().any(|(_, address, _)| address == value)
                        }
                        _ => false,
                    })
                });
                let all: Vec<Value> = all
                    .map(|(arn, _)| json!({"Id": id(arn), "Arn": arn}))
                    .collect();
                page(input, "NotificationRules", &all, 50, empty_pages)
            }
            "UpdateNotificationRule" => {
                let rule = rules.get_mut(arn).ok_or_else(|| missing(arn))?;
                let set = |key: &str, field: &mut String| {
                    if let Some(value) = input[key].as_str() {
                        *field = value.to_owned();
                    }
                };
                set("Name", &mut rule.name);
                set("Status", &mut rule.status);
                set("DetailType", &mut rule.detail);
                if input["EventTypeIds"].is_array() {
                    rule.events = events(input);
                }
                if input["Targets"].is_array() {
                    rule.targets = targets(input);
                }
                rule.modified = now();
                Ok(json!({}))
            }
            "DeleteNotificationRule" => {
                rules.remove(arn);
                Ok(json!({"Arn": arn}))
            }
            "DeleteTarget" => {
                let address = text(input, "TargetAddress");
                let used = rules
                    .values()
                    .any(|r| r.targets.iter().any(|(_, a, _)| a == address));
                match used {
                    true => Err(Failure::new(
                        "ValidationException",
                        "The target is subscribed to one or more notification rules",
                    )),
                    false => Ok(json!({})),
                }
            }
            "TagResource" => {
                let rule = rules.get_mut(arn).ok_or_else(|| missing(arn))?;
                rule.tags.extend(tags(input));
                Ok(json!({"Tags": rule.tags}))
            }
            "ListTagsForResource" => {
                Ok(json!({"Tags": rules.get(arn).ok_or_else(|| missing(arn))?.tags}))
            }
            other => Err(Failure::new("UnknownOperationException", other)),
        }
    })
}

/// Id of a rule: the last part of its ARN.
fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn create(rules: &mut BTreeMap<String, Rule>, caller: &Caller, input: &Value) -> Reply {
    let (name, token) = (text(input, "Name"), input["ClientRequestToken"].as_str());
    if let Some((arn, rule)) = rules.iter().find(|(_, r)| r.name == name) {
        let again = token.is_some() && rule.token.as_deref() == token;
        return match again {
            true => Ok(json!({"Arn": arn})),
            false => Err(Failure::new(
                "ResourceAlreadyExistsException",
                format!("A notification rule named {name} exists already"),
            )),
        };
    }
    if rules
        .values()
        .filter(|r| r.resource == text(input, "Resource"))
        .count()
        >= 10
    {
        return Err(Failure::new(
            "LimitExceededException",
            "Ten notification rules watch this resource already",
        ));
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    let arn = format!(
        "arn:aws:codestar-notifications:{}:{}:notificationrule/{id}",
        caller.region, caller.account
    );
    let rule = Rule {
        name: name.to_owned(),
        resource: text(input, "Resource").to_owned(),
        events: events(input),
        detail: text(input, "DetailType").to_owned(),
        status: input["Status"].as_str().unwrap_or("ENABLED").to_owned(),
        targets: targets(input),
        tags: tags(input),
        token: token.map(str::to_owned),
        created: now(),
        modified: now(),
    };
    rules.insert(arn.clone(), rule);
    Ok(json!({"Arn": arn}))
}

fn missing(arn: &str) -> Failure {
    Failure::new(
        "ResourceNotFoundException",
        format!("Notification rule {arn} not found"),
    )
}

fn events(input: &Value) -> Vec<String> {
    input["EventTypeIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn targets(input: &Value) -> Vec<(String, String, String)> {
    let targets = input["Targets"].as_array().into_iter().flatten();
    targets
        .map(|t| {
            (
                text(t, "TargetType").to_owned(),
                text(t, "TargetAddress").to_owned(),
                "ACTIVE".to_owned(),
            )
        })
        .collect()
}

fn tags(input: &Value) -> BTreeMap<String, String> {
    let tags = input["Tags"].as_object().into_iter().flatten();
    tags.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn describe(arn: &str, rule: &Rule) -> Value {
    let targets = rule
        .targets
        .iter()
        .map(|(kind, address, status)| json!({"TargetType": kind, "TargetAddress": address, "TargetStatus": status}));
    let events = rule.events.iter().map(
        |e| json!({"EventTypeId": e, "ServiceName": "CodePipeline", "ResourceType": "Pipeline"}),
    );
    json!({
        "Arn": arn, "Name": rule.name, "Resource": rule.resource, "DetailType": rule.detail, "Status": rule.status,
        "EventTypes": events.collect::<Vec<_>>(), "Targets": targets.collect::<Vec<_>>(), "Tags": rule.tags,
        "CreatedTimestamp": rule.created, "LastModifiedTimestamp": rule.modified, "CreatedBy": "",
    })
}

/// Sends a pipeline's event to the targets of the rules that ask for it, if the
/// topics' policies let this service publish.
pub async fn announce(
    world: &Arc<World>,
    caller: &Caller,
    pipeline_arn: &str,
    event: &str,
    detail: Value,
) {
    let event = format!("codepipeline-pipeline-{event}");
    let asked: Vec<(String, Vec<String>)> = world.with_account(&caller.account, |account| {
        let rules = account.rules.iter().filter(|(_, r)| {
            r.resource == pipeline_arn && r.status == "ENABLED" && r.events.contains(&event)
        });
        rules
            .map(|(arn, r)| {
                (
                    arn.clone(),
                    r.targets
                        .iter()
                        .map(|(_, address, _)| address.clone())
                        .collect(),
                )
            })
            .collect()
    });
    for (rule, topics) in asked {
        for topic in topics {
            let sent = publish(world, caller, pipeline_arn, &rule, &topic, &detail).await;
            world.with_account(&caller.account, |account| {
                let targets = account
                    .rules
                    .get_mut(&rule)
                    .into_iter()
                    .flat_map(|r| &mut r.targets);
                for target in targets.filter(|(_, address, _)| *address == topic) {
                    target.2 = if sent { "ACTIVE" } else { "UNREACHABLE" }.to_owned();
                }
            });
        }
    }
}

async fn publish(
    world: &World,
    caller: &Caller,
    pipeline: &str,
    rule: &str,
    topic: &str,
    detail: &Value,
) -> bool {
    let Some(policy) = world.upstream.topic_policy(caller, topic).await else {
        return false;
    };
    let request = iam::Request {
        principal: Some("codestar-notifications.amazonaws.com"),
        action: "sns:Publish",
        resource: topic,
        context: HashMap::from([
            ("aws:sourceaccount", caller.account.clone()),
            ("aws:sourcearn", rule.to_owned()),
        ]),
    };
    if iam::allows(&[policy], &request) != Ok(true) {
        return false;
    }
    let message = json!({
        "account": caller.account, "detailType": "CodePipeline Pipeline Execution State Change", "region": caller.region,
        "source": "aws.codepipeline", "time": now(), "notificationRuleArn": rule, "detail": detail,
        "resources": [pipeline], "additionalAttributes": {},
    });
    world
        .upstream
        .publish(caller, topic, &message.to_string())
        .await
}
