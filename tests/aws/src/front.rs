//! The one endpoint: counts, breaks, answers or forwards every call.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::fault::{self, Effect};
use crate::reply::{Answer, Failure, Reply, json_answer};
use crate::state::World;
use crate::{connections, enforce, engine, late, notifications, pipelines, roles, rules, sts};

/// One call, as it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The account that called.
    pub account: String,
    /// Such as `s3:CreateBucket`.
    pub operation: String,
    /// Whether it changes anything.
    pub write: bool,
}

/// Who calls what, read from the signature and the request.
pub struct Caller {
    pub account: String,
    pub region: String,
    pub service: String,
}

/// A call that is cut off has no answer at all.
type Cut = Box<dyn std::error::Error + Send + Sync>;

pub async fn listen(world: Arc<World>) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((world.config.host, 0))
        .await
        .map_err(|e| format!("no port: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let service = service_fn(move |request| serve(Arc::clone(&world), request));
                // A cut call ends its connection with an error, as it should.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn serve(world: Arc<World>, request: Request<Incoming>) -> Result<Answer, Cut> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if let Some(command) = parts.uri.path().strip_prefix("/_control/") {
        return Ok(control(
            &world,
            command,
            parts.uri.query().unwrap_or_default(),
        ));
    }
    let headers = parts.headers.clone();
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = header("authorization").to_owned();
    let (key, caller) = caller(&authorization);
    let target = header("x-amz-target")
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let operation = match caller.service.as_str() {
        "s3" => s3_operation(&parts.method, parts.uri.path(), query),
        "codestar-notifications" => world
            .judge
            .operation_of_path("codestar-notifications", parts.uri.path())
            .unwrap_or_default(),
        _ if !target.is_empty() => target,
        _ => form_action(&body),
    };
    // That a message was received is none of the account's settings.
    let reads = [
        "Get",
        "List",
        "Head",
        "Describe",
        "Receive",
        "DeleteMessage",
        "Assume",
    ];
    let write = !reads.iter().any(|p| operation.starts_with(p));
    let name = format!("{}:{operation}", caller.service);
    let call = Call {
        account: caller.account.clone(),
        operation: name.clone(),
        write,
    };
    world.calls.lock().expect("no panic while held").push(call);

    let (throttled, latency) =
        world.with_account(&caller.account, |a| (a.throttles(&name), a.latency));
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if throttled {
        let (status, code) = if caller.service == "s3" {
            (503, "SlowDown")
        } else {
            (400, "ThrottlingException")
        };
        let failure = Failure {
            status,
            code: code.to_owned(),
            message: "Rate exceeded".to_owned(),
        };
        return Ok(failed(&caller.service, failure));
    }
    if sts::expired(&world, &key) {
        let message = "The security token included in the request is expired".to_owned();
        return Ok(failed(
            &caller.service,
            Failure {
                status: 403,
                code: "ExpiredToken".to_owned(),
                message,
            },
        ));
    }
    let off = world.with_account(&caller.account, |a| a.regions_off.contains(&caller.region));
    if off {
        return Ok(failed(&caller.service, unknown_credentials(&caller)));
    }
    // The software behind knows accounts by their numbers alone.
    if let Ok(known) = authorization.replacen(&key, &caller.account, 1).parse() {
        parts.headers.insert("authorization", known);
    }
    let effect = world.faults.effect(&caller.account, &name, write);
    match &effect {
        Some(Effect::Fail {
            status,
            code,
            message,
        }) => {
            let failure = Failure {
                status: *status,
                code: code.clone(),
                message: message.clone(),
            };
            return Ok(failed(&caller.service, failure));
        }
        Some(Effect::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Effect::CutBefore) => return Err("cut before".into()),
        Some(Effect::KillBefore(pid)) => {
            fault::kill(*pid);
            return Err("killed before".into());
        }
        _ => {}
    }
    if let Err(failure) = enforce::check(&world, &caller, &name, &parts, &body).await {
        return Ok(failed(&caller.service, failure));
    }
    if let Some(failure) = late::refusal(&world, &caller, &operation, &parts, &body) {
        return Ok(failed(&caller.service, failure));
    }
    let made = late::made(&caller.service, &operation, &parts, &body);
    let answer = match caller.service.as_str() {
        service @ ("codepipeline" | "codestar-connections" | "codestar-notifications") => {
            json_answer(local(&world, &caller, service, &operation, &body).await)
        }
        "sts" if operation == "AssumeRole" => {
            match sts::assume_role(&world, &caller, &body).await {
                Ok(answer) => answer,
                Err(failure) => failed("sts", failure),
            }
        }
        "iam" if operation.starts_with("Simulate") => {
            match enforce::simulate(&world, &caller, &operation, &body) {
                Some(answer) => answer,
                None => forward(&world, parts, body).await?,
            }
        }
        "iam" => match pipelines::service_linked_role(&world, &caller, &operation, &body) {
            Some(answer) => answer,
            None => match roles::check(&world, &caller, &operation, &body).await {
                Ok(()) => forward(&world, parts, body).await?,
                Err(failure) => failed("iam", failure),
            },
        },
        _ => {
            let (arrived, uri) = (parts.clone(), parts.uri.clone());
            let sent = rules::Sent {
                caller: &caller,
                operation: &name,
                parts: &arrived,
                body: &body,
            };
            if let Err(failure) = rules::refuse(&world, &sent).await {
                return Ok(failed(&caller.service, failure));
            }
            let answer = forward(&world, parts, body.clone()).await?;
            let answer = rules::complete(&world, &sent, answer).await;
            if write && ["events", "sqs"].contains(&caller.service.as_str()) {
                world.forget_routes(&caller);
            }
            if name == "s3:CreateBucket" && answer.status().is_success() {
                world
                    .upstream
                    .block_public_access(&caller, uri.path())
                    .await?;
            }
            match name.as_str() {
                "sns:ListSubscriptionsByTopic" => late::shown(&world, &caller, answer).await?,
                _ => answer,
            }
        }
    };
    if let Some(made) = made.filter(|_| answer.status().is_success()) {
        world.with_account(&caller.account, |a| a.note(&caller.service, &made));
    }
    match effect {
        Some(Effect::CutAfter) => Err("cut after".into()),
        Some(Effect::KillAfter(pid)) => {
            fault::kill(pid);
            Err("killed after".into())
        }
        _ => Ok(answer),
    }
}

pub async fn local(
    world: &Arc<World>,
    caller: &Caller,
    service: &str,
    operation: &str,
    body: &Bytes,
) -> Reply {
    let input: Value = match body.is_empty() {
        true => Value::Object(Default::default()),
        false => serde_json::from_slice(body)
            .map_err(|e| Failure::new("SerializationException", e.to_string()))?,
    };
    if let Err(violation) = world.judge.validate(service, operation, &input) {
        let message = format!("1 validation error detected: {violation}");
        world.with_account(&caller.account, |a| {
            a.violations
                .push(format!("{service}:{operation}: {message}"))
        });
        return Err(Failure::new("ValidationException", message));
    }
    match service {
        "codestar-connections" => connections::handle(world, caller, operation, &input),
        "codestar-notifications" => notifications::handle(world, caller, operation, &input).await,
        _ => pipelines::handle(world, caller, operation, &input).await,
    }
}

async fn forward(
    world: &World,
    parts: hyper::http::request::Parts,
    body: Bytes,
) -> Result<Answer, Cut> {
    world.upstream.forward(parts, body).await
}

/// What a person does elsewhere: authorizing in the console, pushing at the provider.
fn control(world: &Arc<World>, command: &str, query: &str) -> Answer {
    let value = |key: &str| {
        let found = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        percent_encoding::percent_decode_str(found.unwrap_or_default())
            .decode_utf8_lossy()
            .into_owned()
    };
    let done: Result<(), String> = match command {
        "authorize" => world.set_connection(&value("arn"), "AVAILABLE"),
        "connection" => world.set_connection(&value("arn"), &value("status")),
        "pushed" => {
            engine::pushed(
                world,
                &value("repository"),
                &value("reference"),
                &value("change"),
            );
            Ok(())
        }
        other => Err(format!("no such control: {other}")),
    };
    let (status, text) = match done {
        Ok(()) => (200, "ok\n".to_owned()),
        Err(message) => (400, format!("{message}\n")),
    };
    Response::builder()
        .status(status)
        .body(Full::new(Bytes::from(text)))
        .expect("a response")
}

/// What services answer in a region that the account has not turned on: its credentials are not
/// known there (aws/aws-sdk-js#4129, aws/aws-sdk-ruby#2850, cloud-custodian#9793).
fn unknown_credentials(caller: &Caller) -> Failure {
    let (status, code, message) = match caller.service.as_str() {
        "s3" => (
            400,
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
        ),
        "iam" | "sns" | "sts" => (
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid",
        ),
        _ => (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
    };
    Failure {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn failed(service: &str, failure: Failure) -> Answer {
    let Failure {
        status,
        code,
        message,
    } = &failure;
    let xml = match service {
        "s3" => format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        ),
        "iam" | "sns" | "sts" => {
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            )
        }
        _ => return json_answer(Err(failure)),
    };
    Response::builder()
        .status(*status)
        .header("content-type", "text/xml")
        .body(Full::new(Bytes::from(xml)))
        .expect("a response")
}

/// Access key and caller, from `AWS4-HMAC-SHA256
/// Credential=ACCOUNT/DATE/REGION/SERVICE/aws4_request, …`.
fn caller(authorization: &str) -> (String, Caller) {
    let scope = authorization
        .split("Credential=")
        .nth(1)
        .unwrap_or_default();
    let mut parts = scope
        .split([',', ' '])
        .next()
        .unwrap_or_default()
        .split('/');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (key, _date, region, service) = (next(), next(), next(), next());
    let account = sts::account(&key).to_owned();
    (
        key,
        Caller {
            account,
            region,
            service,
        },
    )
}

fn form_action(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .find_map(|pair| pair.strip_prefix("Action="))
        .unwrap_or_default()
        .to_owned()
}

fn s3_operation(method: &Method, path: &str, query: &str) -> String {
    let object = path
        .trim_start_matches('/')
        .split_once('/')
        .is_some_and(|(_, key)| !key.is_empty());
    let sub = |name: &str| {
        query
            .split('&')
            .any(|pair| pair == name || pair.strip_prefix(name).is_some_and(|r| r.starts_with('=')))
    };
    let verb = match *method {
        Method::GET => "Get",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        Method::HEAD => "Head",
        _ => "Post",
    };
    for (name, operation) in [
        ("tagging", "BucketTagging"),
        ("policy", "BucketPolicy"),
        ("lifecycle", "BucketLifecycleConfiguration"),
        ("publicAccessBlock", "PublicAccessBlock"),
        ("ownershipControls", "BucketOwnershipControls"),
        ("encryption", "BucketEncryption"),
    ] {
        if sub(name) {
            return format!("{verb}{operation}");
        }
    }
    match (object, verb) {
        _ if sub("versions") => "ListObjectVersions".to_owned(),
        _ if sub("delete") => "DeleteObjects".to_owned(),
        (true, verb) => format!("{verb}Object"),
        (false, "Put") => "CreateBucket".to_owned(),
        (false, "Get") if path == "/" => "ListBuckets".to_owned(),
        (false, "Get") => "ListObjects".to_owned(),
        (false, verb) => format!("{verb}Bucket"),
    }
}
