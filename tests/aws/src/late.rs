//! Things that were made a short while ago are shown late, where a test asks for that: AWS's reads
//! and lists are eventually consistent, those of one service more than those of another.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::front::Caller;
use crate::reply::{Answer, Failure};
use crate::state::World;

/// Name of what a call to one of the services behind makes.
pub fn made(service: &str, operation: &str, parts: &Parts, body: &Bytes) -> Option<String> {
    let field = |name: &str| {
        let json = serde_json::from_slice::<Value>(body).ok();
        let json = json.and_then(|input| input[name].as_str().map(str::to_owned));
        json.or_else(|| form_field(body, name))
    };
    match (service, operation) {
        ("s3", "CreateBucket") => Some(parts.uri.path().trim_matches('/').to_owned()),
        ("iam", "CreateRole") => field("RoleName"),
        ("sns", "CreateTopic") | ("events", "PutRule") => field("Name"),
        ("sns", "Subscribe") => field("Endpoint"),
        ("sqs", "CreateQueue") => field("QueueName"),
        _ => None,
    }
}

/// The refusal of a read that names something that is not shown yet.
pub fn refusal(
    world: &World,
    caller: &Caller,
    operation: &str,
    parts: &Parts,
    body: &Bytes,
) -> Option<Failure> {
    let reads = ["Get", "List", "Head", "Describe"];
    if !reads.iter().any(|verb| operation.starts_with(verb)) {
        return None;
    }
    let hidden = world.with_account(&caller.account, |a| a.hidden(&caller.service));
    if hidden.is_empty() {
        return None;
    }
    let body = percent_decode_str(&String::from_utf8_lossy(body))
        .decode_utf8_lossy()
        .into_owned();
    let text = format!("{} {body}", parts.uri.path());
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let name = words.find(|word| hidden.contains(*word))?;
    let (status, code) = match &*caller.service {
        "s3" => (404, "NoSuchBucket"),
        "iam" => (404, "NoSuchEntity"),
        "sns" => (404, "NotFound"),
        "sqs" => (400, "QueueDoesNotExist"),
        "codepipeline" if operation != "ListTagsForResource" => (400, "PipelineNotFoundException"),
        _ => (400, "ResourceNotFoundException"),
    };
    Some(Failure {
        status,
        code: code.to_owned(),
        message: format!("{name} is not shown yet"),
    })
}

/// A list of subscriptions without those that are not shown yet.
pub async fn shown(world: &World, caller: &Caller, answer: Answer) -> Result<Answer, Infallible> {
    let hidden = world.with_account(&caller.account, |a| a.hidden("sns"));
    if hidden.is_empty() {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    let mut shown = text.clone();
    for member in text.split("<member>").skip(1) {
        let member = member.split("</member>").next().unwrap_or_default();
        if hidden.iter().any(|endpoint| member.contains(endpoint)) {
            shown = shown.replace(&format!("<member>{member}</member>"), "");
        }
    }
    head.headers.remove("content-length");
    Ok(Answer::from_parts(head, Full::new(Bytes::from(shown))))
}

fn form_field(body: &Bytes, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}
