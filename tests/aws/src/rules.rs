//! Rules of AWS that the software behind does not know: what is refused before it gets there, and
//! what its answers lack.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Captures;
use serde_json::Value;

use crate::enforce::fields;
use crate::front::Caller;
use crate::reply::{Answer, Failure};
use crate::state::{Account, World};
use crate::upstream::{element, entries};

/// What S3 leaves as it is in a key of a list that is asked for in URL encoding.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*');

/// A request as it arrived, and what it is called.
pub struct Sent<'a> {
    pub caller: &'a Caller,
    pub operation: &'a str,
    pub parts: &'a Parts,
    pub body: &'a Bytes,
}

/// Refuses what AWS refuses.
pub async fn refuse(world: &World, sent: &Sent<'_>) -> Result<(), Failure> {
    match sent.operation {
        "sns:Subscribe" | "sns:SetSubscriptionAttributes" => filter_scope(world, sent).await,
        "s3:CreateBucket" => bucket_tags(world, sent),
        _ => world.principals.refuse(sent),
    }
}

/// Completes what AWS would have answered.
pub async fn complete(world: &World, sent: &Sent<'_>, answer: Answer) -> Answer {
    let encoded = sent
        .parts
        .uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "encoding-type=url"));
    match sent.operation {
        "s3:ListObjects" if encoded => rewritten(answer, |body| body.replace("%20", "+")).await,
        "s3:ListObjectVersions" if encoded => rewritten(answer, |body| encode_keys(&body)).await,
        "s3:PutBucketLifecycleConfiguration" | "s3:GetBucketLifecycleConfiguration"
            if answer.status().is_success() =>
        {
            with_minimum_size(world, sent, answer)
        }
        "s3:GetBucketPolicy" | "sns:GetTopicAttributes" | "sqs:GetQueueAttributes" => {
            rewritten(answer, |body| world.principals.shown(sent, body)).await
        }
        _ => answer,
    }
}

/// Some partitions take no tags with a new bucket: terraform-provider-aws#45566 (eusc).
fn bucket_tags(world: &World, sent: &Sent<'_>) -> Result<(), Failure> {
    let takes = world.with_account(&sent.caller.account, |a| a.bucket_tags);
    if !takes && element(sent.body, "Key").is_some() {
        return Err(Failure::new(
            "UnsupportedArgument",
            "The request contained an unsupported argument.",
        ));
    }
    Ok(())
}

/// SNS takes a nested filter policy for the body of a message alone, and looks at scope and policy
/// as they are once the request is done: of a pair that is set one by one, the order counts.
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-filtering-scope.html>; the order as in
/// terraform-provider-aws, `putSubscriptionAttributes`.
async fn filter_scope(world: &World, sent: &Sent<'_>) -> Result<(), Failure> {
    let form = fields(sent.body);
    let mut attributes = BTreeMap::new();
    if let Some(arn) = form.get("SubscriptionArn") {
        let get = [
            ("Action", "GetSubscriptionAttributes"),
            ("Version", "2010-03-31"),
            ("SubscriptionArn", arn),
        ];
        if let Ok((200, body)) = world.upstream.form(sent.caller, "sns", &get).await {
            attributes = entries(&body);
        }
        let value = form.get("AttributeValue").cloned().unwrap_or_default();
        attributes.extend(form.get("AttributeName").map(|name| (name.clone(), value)));
    }
    for (key, name) in form.iter().filter(|(key, _)| key.ends_with(".key")) {
        let value = form.get(&key.replace(".key", ".value"));
        attributes.insert(name.clone(), value.cloned().unwrap_or_default());
    }
    let policy: Value = attributes
        .get("FilterPolicy")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let scope = attributes
        .get("FilterPolicyScope")
        .map_or("MessageAttributes", String::as_str);
    if nested(&policy) && scope == "MessageAttributes" {
        return Err(Failure::new(
            "InvalidParameter",
            "Invalid parameter: Attributes Reason: FilterPolicy: Filter policy scope \
             MessageAttributes does not support nested filter policy",
        ));
    }
    Ok(())
}

fn nested(policy: &Value) -> bool {
    policy.as_object().is_some_and(|keys| {
        keys.iter().any(|(key, value)| match value.as_array() {
            Some(all) => key == "$or" && all.iter().any(nested),
            None => value.is_object(),
        })
    })
}

/// Lists of versions are asked for in URL encoding as lists of objects are, as XML 1.0 has no way
/// to say some keys at all; a space becomes a plus, as in a form.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
fn encode_keys(body: &str) -> String {
    let keys = regex::Regex::new("<(Key|KeyMarker|NextKeyMarker|Prefix)>([^<]*)<").expect("valid");
    keys.replace_all(body, |found: &Captures<'_>| {
        let key = [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
            .iter()
            .fold(found[2].to_owned(), |key, (entity, character)| {
                key.replace(entity, character)
            });
        let key = utf8_percent_encode(&key, KEY).to_string();
        format!("<{}>{}<", &found[1], key.replace("%20", "+"))
    })
    .into_owned()
}

/// What S3 calls the size of its own choice.
const DEFAULT_SIZE: &str = "all_storage_classes_128K";

/// From which size on objects of a bucket change their storage class.
pub fn minimum_size(account: &Account, bucket: &str) -> String {
    let size = account.minimum_sizes.get(bucket).map(String::as_str);
    size.unwrap_or(DEFAULT_SIZE).to_owned()
}

/// A lifecycle configuration that is written without the size sets it back.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html>,
/// terraform-provider-aws, `bucket_lifecycle_configuration.go`
fn with_minimum_size(world: &World, sent: &Sent<'_>, mut answer: Answer) -> Answer {
    const HEADER: &str = "x-amz-transition-default-minimum-object-size";
    let bucket = sent.parts.uri.path().trim_matches('/');
    let asked = sent.parts.headers.get(HEADER).and_then(|v| v.to_str().ok());
    let size = world.with_account(&sent.caller.account, |a| {
        if sent.operation.starts_with("s3:Put") {
            let asked = asked.unwrap_or(DEFAULT_SIZE).to_owned();
            a.minimum_sizes.insert(bucket.to_owned(), asked);
        }
        minimum_size(a, bucket)
    });
    let size = size.parse().expect("a header's value");
    answer.headers_mut().insert(HEADER, size);
    answer
}

async fn rewritten(answer: Answer, rewrite: impl FnOnce(String) -> String) -> Answer {
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes());
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    head.headers.remove("content-length");
    Answer::from_parts(head, Full::new(Bytes::from(rewrite(body))))
}
