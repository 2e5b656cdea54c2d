//! Answers in AWS's JSON protocols.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// An HTTP answer.
pub type Answer = Response<Full<Bytes>>;

/// An error of a service.
#[derive(Clone, Debug)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// The service's code.
    pub code: String,
    /// The service's words.
    pub message: String,
}

impl Failure {
    /// An error that is the caller's fault.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// What an operation answers.
pub type Reply = Result<Value, Failure>;

/// A string member that the models have already required.
pub fn text<'a>(input: &'a Value, key: &str) -> &'a str {
    input[key].as_str().unwrap_or_default()
}

/// A page of a list of the JSON protocols. The members that ask for it are spelled as the answer's
/// own one (`nextToken` beside `tags`, `NextToken` beside `Tags`). The token is where the next page
/// begins. With `empty_pages` the first one is empty, and the others hold two.
pub fn page(input: &Value, member: &str, all: &[Value], most: usize, empty_pages: bool) -> Reply {
    let lower = member.starts_with(char::is_lowercase);
    let (token, size) = match lower {
        true => ("nextToken", "maxResults"),
        false => ("NextToken", "MaxResults"),
    };
    let from = input[token].as_str();
    let size = input[size].as_u64().map_or(most, |size| size as usize);
    let size = match (empty_pages, from) {
        (false, _) => size,
        (true, None) => 0,
        (true, Some(_)) => size.min(2),
    };
    let from = from.and_then(|t| t.parse().ok()).unwrap_or(0);
    let to = (from + size).min(all.len());
    let mut reply = json!({member: all[from.min(to)..to]});
    if to < all.len() {
        reply[token] = json!(to.to_string());
    }
    Ok(reply)
}

/// As JSON, with AWS's headers.
pub fn json_answer(reply: Reply) -> Answer {
    let (status, body, code) = match reply {
        Ok(value) => (200, value, None),
        Err(f) => (
            f.status,
            json!({"__type": f.code, "message": f.message, "Message": f.message}),
            Some(f.code),
        ),
    };
    let mut builder = Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .header("content-type", "application/json")
        .header("x-amzn-requestid", uuid::Uuid::new_v4().to_string());
    if let Some(code) = code {
        builder = builder.header("x-amzn-errortype", code);
    }
    builder
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a response")
}
