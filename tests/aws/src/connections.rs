//! codestar-connections: PENDING until a person authorizes it; no idempotency.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::front::Caller;
use crate::reply::{Failure, Reply, page, text};
use crate::state::{Account, Connection, World};

/// Connections are global: each region shows and uses those of all, and an account may use one that
/// another shares with it. What changes a connection, and its tags, belong to its own region.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/welcome-connections-how-it-works-global.html>
pub fn handle(world: &World, caller: &Caller, operation: &str, input: &Value) -> Reply {
    let named = ["ConnectionArn", "ResourceArn"].map(|key| text(input, key));
    let arn = named.into_iter().find(|arn| !arn.is_empty());
    let part = |index| arn.and_then(|arn| arn.split(':').nth(index));
    let (region, owner) = (part(3), part(4));
    if let Some(arn) = arn {
        let elsewhere = region != Some(&caller.region) && operation != "GetConnection";
        let shared = world.with_account(&caller.account, |a| a.shared_connections.contains(arn));
        let foreign = owner != Some(&caller.account) && !(shared && operation == "GetConnection");
        if elsewhere || foreign {
            return Err(missing(arn));
        }
    }
    let owner = owner.unwrap_or(&caller.account);
    world.with_account(owner, |account| match operation {
        "CreateConnection" => create(account, caller, input),
        "GetConnection" => {
            let arn = text(input, "ConnectionArn");
            Ok(json!({"Connection": describe(arn, find(account, arn)?)}))
        }
        "ListConnections" => {
            let provider = input["ProviderTypeFilter"].as_str();
            let hidden = account.hidden("codestar-connections");
            let all = account.connections.iter().filter(|(arn, c)| {
                provider.is_none_or(|p| p == c.provider)
                    && !hidden.iter().any(|id| arn.ends_with(id))
            });
            let all: Vec<Value> = all.map(|(arn, c)| describe(arn, c)).collect();
            page(input, "Connections", &all, 50, account.claims.empty_pages)
        }
        "DeleteConnection" => match account.connections.remove(text(input, "ConnectionArn")) {
            Some(_) => Ok(json!({})),
            None => Err(missing(text(input, "ConnectionArn"))),
        },
        "ListTagsForResource" => {
            let connection = find(account, text(input, "ResourceArn"))?;
            let tags: Vec<Value> = connection
                .tags
                .iter()
                .map(|(k, v)| json!({"Key": k, "Value": v}))
                .collect();
            Ok(json!({"Tags": tags}))
        }
        "TagResource" => {
            let arn = text(input, "ResourceArn");
            let connection = account
                .connections
                .get_mut(arn)
                .ok_or_else(|| missing(arn))?;
            connection.tags.extend(tags(input));
            Ok(json!({}))
        }
        "UntagResource" => {
            let arn = text(input, "ResourceArn");
            let connection = account
                .connections
                .get_mut(arn)
                .ok_or_else(|| missing(arn))?;
            for key in input["TagKeys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                connection.tags.remove(key);
            }
            Ok(json!({}))
        }
        other => Err(Failure::new("UnknownOperationException", other)),
    })
}

fn create(account: &mut Account, caller: &Caller, input: &Value) -> Reply {
    let name = text(input, "ConnectionName");
    let here = |arn: &str| arn.split(':').nth(3) == Some(&caller.region);
    let known = account.connections.iter();
    let known: Vec<&Connection> = known.filter(|(arn, _)| here(arn)).map(|(_, c)| c).collect();
    if known.len() >= 250 {
        return Err(Failure::new(
            "LimitExceededException",
            "Connections limit exceeded",
        ));
    }
    let taken = known.iter().any(|c| c.name == name);
    if taken && !account.claims.duplicate_connection_names {
        return Err(Failure::new(
            "InvalidInputException",
            format!("A connection named {name} exists already"),
        ));
    }
    let provider = match (input["ProviderType"].as_str(), input["HostArn"].as_str()) {
        (Some(provider), None) => provider,
        (None, Some(_)) => "GitHubEnterpriseServer",
        _ => {
            return Err(Failure::new(
                "ValidationException",
                "Specify either ProviderType or HostArn",
            ));
        }
    };
    let prefix = if account.claims.older_connection_arns {
        "codestar-connections"
    } else {
        "codeconnections"
    };
    let arn = format!(
        "arn:aws:{prefix}:{}:{}:connection/{}",
        caller.region,
        caller.account,
        uuid::Uuid::new_v4()
    );
    let connection = Connection {
        name: name.to_owned(),
        provider: provider.to_owned(),
        host: input["HostArn"].as_str().map(str::to_owned),
        status: "PENDING".to_owned(),
        tags: tags(input),
    };
    account.connections.insert(arn.clone(), connection);
    account.note("codestar-connections", id(&arn));
    Ok(json!({"ConnectionArn": arn, "Tags": input["Tags"]}))
}

fn find<'a>(account: &'a Account, arn: &str) -> Result<&'a Connection, Failure> {
    account.connections.get(arn).ok_or_else(|| missing(arn))
}

/// Id of a connection: the last part of its ARN.
fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn missing(arn: &str) -> Failure {
    Failure::new(
        "ResourceNotFoundException",
        format!("Connection {arn} not found"),
    )
}

fn describe(arn: &str, connection: &Connection) -> Value {
    let mut value = json!({
        "ConnectionName": connection.name, "ConnectionArn": arn, "ProviderType": connection.provider,
        "OwnerAccountId": arn.split(':').nth(4), "ConnectionStatus": connection.status,
    });
    if let Some(host) = &connection.host {
        value["HostArn"] = json!(host);
    }
    value
}

fn tags(input: &Value) -> BTreeMap<String, String> {
    let tags = input["Tags"].as_array().into_iter().flatten();
    tags.map(|t| (text(t, "Key").to_owned(), text(t, "Value").to_owned()))
        .collect()
}
