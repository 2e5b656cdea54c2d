//! The software behind us: forwards requests, and does what AWS's services do among themselves.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::http::request::{Builder, Parts};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::front::Caller;
use crate::reply::Answer;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a path may hold as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client of the software that answers for S3, SNS, SQS, IAM and STS.
pub struct Upstream {
    host: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Sends the request on as it is.
    pub async fn forward(&self, mut parts: Parts, body: Bytes) -> Result<Answer, Error> {
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = format!("http://{}{path}", self.host).parse::<Uri>()?;
        let answer = self
            .client
            .request(Request::from_parts(parts, Full::new(body)))
            .await?;
        let (mut head, body) = answer.into_parts();
        head.headers.remove("transfer-encoding");
        Ok(Answer::from_parts(
            head,
            Full::new(body.collect().await?.to_bytes()),
        ))
    }

    /// Signed in form only: the software behind reads account, region and service from it.
    pub async fn send(
        &self,
        caller: &Caller,
        service: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes), Error> {
        let form = service != "s3";
        let content = if form {
            "application/x-www-form-urlencoded"
        } else {
            "application/octet-stream"
        };
        self.signed(
            caller,
            service,
            Request::builder()
                .method(method)
                .header("content-type", content),
            path,
            body,
        )
        .await
    }

    /// A call of the JSON protocol; its answer, also of an error.
    pub async fn call(&self, caller: &Caller, target: &str, input: &Value) -> Result<Value, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .header("content-type", "application/x-amz-json-1.1");
        let body = Bytes::from(input.to_string());
        let (_, body) = self
            .signed(
                caller,
                &caller.service,
                request.header("x-amz-target", target),
                "/",
                body,
            )
            .await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn signed(
        &self,
        Caller {
            account, region, ..
        }: &Caller,
        service: &str,
        request: Builder,
        path: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes), Error> {
        let request = request
            .uri(format!("http://{}{path}", self.host))
            .header("host", &self.host)
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 \
                         Credential={account}/20260101/{region}/{service}/aws4_request, \
                         SignedHeaders=host, Signature=0"
                ),
            )
            .body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// New buckets of AWS have all public access blocked, those of ministack have not.
    pub async fn block_public_access(
        &self,
        caller: &Caller,
        bucket_path: &str,
    ) -> Result<(), Error> {
        let body = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
        let path = format!("{}?publicAccessBlock", bucket_path.trim_end_matches('/'));
        self.send(caller, "s3", Method::PUT, &path, Bytes::from(body))
            .await
            .map(|_| ())
    }

    /// Puts an object; tells S3's error code if it is refused.
    pub async fn put_object(
        &self,
        caller: &Caller,
        bucket: &str,
        key: &str,
        body: Bytes,
    ) -> Result<(), String> {
        let path = format!("/{bucket}/{}", utf8_percent_encode(key, PATH));
        self.object(self.send(caller, "s3", Method::PUT, &path, body).await)
            .map(|_| ())
    }

    /// Gets an object.
    pub async fn get_object(
        &self,
        caller: &Caller,
        bucket: &str,
        key: &str,
    ) -> Result<Bytes, String> {
        let path = format!("/{bucket}/{}", utf8_percent_encode(key, PATH));
        self.object(
            self.send(caller, "s3", Method::GET, &path, Bytes::new())
                .await,
        )
    }

    fn object(&self, sent: Result<(u16, Bytes), Error>) -> Result<Bytes, String> {
        match sent {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => {
                Err(element(&body, "Code").unwrap_or_else(|| format!("HTTP status {status}")))
            }
            Err(e) => Err(e.to_string()),
        }
    }

    /// A call of the query protocol.
    pub async fn form(
        &self,
        caller: &Caller,
        service: &str,
        fields: &[(&str, &str)],
    ) -> Result<(u16, Bytes), Error> {
        let body: Vec<String> = fields
            .iter()
            .map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, NON_ALPHANUMERIC)))
            .collect();
        self.send(
            caller,
            service,
            Method::POST,
            "/",
            Bytes::from(body.join("&")),
        )
        .await
    }

    /// Trust policy and inline policies of a role.
    pub async fn role(&self, caller: &Caller, name: &str) -> Option<(Value, Vec<Value>)> {
        let version = ("Version", "2010-05-08");
        let get = self
            .form(
                caller,
                "iam",
                &[("Action", "GetRole"), version, ("RoleName", name)],
            )
            .await
            .ok()?;
        let trust = document(&get.1, "AssumeRolePolicyDocument")?;
        let list = self
            .form(
                caller,
                "iam",
                &[("Action", "ListRolePolicies"), version, ("RoleName", name)],
            )
            .await
            .ok()?;
        let mut policies = Vec::new();
        for policy in elements(&list.1, "member") {
            let get = [
                ("Action", "GetRolePolicy"),
                version,
                ("RoleName", name),
                ("PolicyName", policy.as_str()),
            ];
            policies.extend(document(
                &self.form(caller, "iam", &get).await.ok()?.1,
                "PolicyDocument",
            ));
        }
        Some((trust, policies))
    }

    /// Policy of a topic; nothing if there is no topic.
    pub async fn topic_policy(&self, caller: &Caller, arn: &str) -> Option<Value> {
        let policy = self.topic_attribute(caller, arn, "Policy").await?;
        serde_json::from_str(&policy).ok()
    }

    /// An attribute of a topic; nothing if it has none, or if there is no topic.
    pub async fn topic_attribute(&self, caller: &Caller, arn: &str, name: &str) -> Option<String> {
        let fields = [
            ("Action", "GetTopicAttributes"),
            ("Version", "2010-03-31"),
            ("TopicArn", arn),
        ];
        let (status, body) = self.form(caller, "sns", &fields).await.ok()?;
        if status != 200 {
            return None;
        }
        entries(&body).remove(name)
    }

    /// ARN of the KMS key that encrypts new objects of a bucket, if one does.
    pub async fn bucket_key(&self, caller: &Caller, bucket: &str) -> Option<String> {
        let path = format!("/{bucket}?encryption");
        let got = self
            .send(caller, "s3", Method::GET, &path, Bytes::new())
            .await;
        element(&got.ok()?.1, "KMSMasterKeyID")
    }

    /// Publishes to a topic.
    pub async fn publish(&self, caller: &Caller, arn: &str, message: &str) -> bool {
        let fields = [
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("TopicArn", arn),
            ("Message", message),
        ];
        matches!(self.form(caller, "sns", &fields).await, Ok((200, _)))
    }
}

/// Texts of all elements with this name.
pub fn elements(body: &[u8], name: &str) -> Vec<String> {
    let Some(text) = std::str::from_utf8(body).ok() else {
        return Vec::new();
    };
    let Ok(xml) = roxmltree::Document::parse(text) else {
        return Vec::new();
    };
    xml.descendants()
        .filter(|n| n.tag_name().name() == name)
        .filter_map(|n| n.text().map(str::to_owned))
        .collect()
}

/// Text of the first element with this name.
pub fn element(body: &[u8], name: &str) -> Option<String> {
    elements(body, name).into_iter().next()
}

/// The attributes that an answer of SNS lists, by name.
pub fn entries(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let Ok(xml) = roxmltree::Document::parse(&text) else {
        return BTreeMap::new();
    };
    let entries = xml.descendants().filter(|n| n.tag_name().name() == "entry");
    let text = |entry: &roxmltree::Node<'_, '_>, name: &str| {
        let part = entry.children().find(|c| c.tag_name().name() == name);
        part.and_then(|part| part.text()).map(str::to_owned)
    };
    entries
        .filter_map(|entry| Some((text(&entry, "key")?, text(&entry, "value")?)))
        .collect()
}

fn document(body: &[u8], name: &str) -> Option<Value> {
    let text = element(body, name)?;
    serde_json::from_str(&percent_decode_str(&text).decode_utf8_lossy()).ok()
}
