//! Roles that are assumed across accounts: the trust policy decides, by caller and external id.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use jiff::Timestamp;

use crate::front::Caller;
use crate::reply::{Answer, Failure};
use crate::state::World;
use crate::{enforce, iam};

/// What temporary access keys begin with; ours go on with the account.
const TEMPORARY: &str = "ASIA";

/// The account of an access key.
pub fn account(key: &str) -> &str {
    key.strip_prefix(TEMPORARY)
        .and_then(|rest| rest.get(..12))
        .unwrap_or(key)
}

/// Whether the key was temporary and its time is over.
pub fn expired(world: &World, key: &str) -> bool {
    let sessions = world.sessions.lock().expect("no panic while held");
    key.starts_with(TEMPORARY)
        && sessions
            .get(key)
            .is_none_or(|until| Instant::now() > *until)
}

/// Answers AssumeRole.
pub async fn assume_role(world: &World, caller: &Caller, body: &Bytes) -> Result<Answer, Failure> {
    let fields = enforce::fields(body);
    let arn = fields.get("RoleArn").cloned().unwrap_or_default();
    let target = arn.split(':').nth(4).unwrap_or_default().to_owned();
    let name = arn.rsplit('/').next().unwrap_or_default();
    let there = Caller {
        account: target.clone(),
        region: caller.region.clone(),
        service: "iam".to_owned(),
    };
    // STS names the action: also sts:TagSession (cloudposse-terraform-components, LiteLLM's manual).
    let denied = |action: &str| Failure {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: format!(
            "User: arn:aws:iam::{}:root is not authorized to perform: {action} on resource: {arn}",
            caller.account
        ),
    };
    let role = world.upstream.role(&there, name).await;
    let (trust, _) = role.ok_or_else(|| denied("sts:AssumeRole"))?;
    let principal = format!("arn:aws:iam::{}:root", caller.account);
    let mut actions = vec!["sts:AssumeRole"];
    if fields.keys().any(|k| k.starts_with("Tags.")) {
        actions.push("sts:TagSession");
    }
    for action in actions {
        let external = fields
            .get("ExternalId")
            .map(|id| ("sts:externalid", id.clone()));
        let request = iam::Request {
            principal: Some(&principal),
            action,
            resource: "",
            context: external.into_iter().collect(),
        };
        if iam::allows(std::slice::from_ref(&trust), &request) != Ok(true) {
            return Err(denied(action));
        }
    }
    // STS takes two keys that differ in case alone for one; the code of the refusal is inferred.
    // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_know>
    let keys: Vec<String> = fields
        .iter()
        .filter(|(k, _)| k.starts_with("Tags.") && k.ends_with(".Key"))
        .map(|(_, key)| key.to_lowercase())
        .collect();
    if keys.iter().collect::<std::collections::HashSet<_>>().len() < keys.len() {
        let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        return Err(Failure::new("InvalidParameterValue", message));
    }
    let lasts = world.with_account(&target, |a| a.session);
    let key = format!("{TEMPORARY}{target}{:04}", world.next_session());
    world
        .sessions
        .lock()
        .expect("no panic while held")
        .insert(key.clone(), Instant::now() + lasts);
    let until =
        Timestamp::from_second(Timestamp::now().as_second() + lasts.as_secs().cast_signed())
            .unwrap_or_default();
    let xml = format!(
        "<AssumeRoleResponse \
             xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>{}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:repofanout</AssumedRoleId><Arn>arn:aws:sts::{target}:assumed-role/{name}/repofanout</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>",
        until
    );
    let answer = Response::builder()
        .header("content-type", "text/xml")
        .body(Full::new(Bytes::from(xml)));
    Ok(answer.expect("a response"))
}
