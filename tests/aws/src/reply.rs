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
