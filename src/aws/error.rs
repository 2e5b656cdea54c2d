//! Classifies SDK errors into [`Class`]. Only this module knows AWS's error codes.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::cloud::{Class, Error, NO_CREDENTIALS};

/// The SDK's error type over HTTP.
pub type SdkError<E> = aws_smithy_runtime_api::client::result::SdkError<E, HttpResponse>;

/// Classifies an error by how the operator has to react to it.
pub fn classify<E>(call: &'static str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let Some(refused) = not_assumed(&error) {
        return refused;
    }
    let status = error.raw_response().map(|r| r.status().as_u16());
    let request_id = error.raw_response().and_then(|r| {
        ["x-amzn-requestid", "x-amz-request-id"]
            .iter()
            .find_map(|h| r.headers().get(*h))
            .map(str::to_owned)
    });
    let (code, message) = match error.as_service_error() {
        Some(service) => (
            service.code().map(str::to_owned),
            service.message().map(str::to_owned),
        ),
        None if lacks_credentials(&error) => {
            return Error {
                class: Class::Transient,
                call,
                code: Some(NO_CREDENTIALS.to_owned()),
                message: chain(&error),
                request_id,
            };
        }
        None => (None, None),
    };
    let message = message.unwrap_or_else(|| match (status, &code) {
        // A response to HEAD has no body, so S3 gives only the status.
        (Some(status), None) if error.as_service_error().is_some() => {
            format!("HTTP status {status}")
        }
        (_, Some(_)) => "no message".to_owned(),
        _ => chain(&error),
    });
    let class = class(code.as_deref(), &message, status);
    Error {
        class,
        call,
        code,
        message,
        request_id,
    }
}

/// Returns STS's error if a call was not sent because the account's role could not be assumed.
fn not_assumed(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref::<SdkError<AssumeRoleError>>()
            && let Some(service) = said.as_service_error()
        {
            let code = service.code().map(str::to_owned);
            let message = service.message().unwrap_or("no message").to_owned();
            let status = said.raw_response().map(|r| r.status().as_u16());
            let class = class(code.as_deref(), &message, status);
            return Some(Error {
                class,
                call: "sts:AssumeRole",
                code,
                message,
                request_id: None,
            });
        }
        cause = error.source();
    }
    None
}

/// Returns whether a call was not sent because there were no credentials: the token of IRSA, the
/// agent of Pod Identity or the metadata service gave none.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Joins all causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn class(code: Option<&str>, message: &str, status: Option<u16>) -> Class {
    let Some(code) = code else {
        return match status {
            Some(404) => Class::NotFound,
            Some(401 | 403) => Class::Denied,
            Some(429) => Class::Throttled,
            Some(301 | 400) => Class::Invalid,
            _ => Class::Transient,
        };
    };
    match code {
        "InvalidStructureException" if message.contains("not authorized") => Class::IamPropagating,
        // AWS returns this error for half a minute after the last rule was deleted.
        "ValidationException"
            if message.contains("subscribed to one or more notification rules") =>
        {
            Class::Conflict
        }
        // A resource's policy is refused for a principal that is gone, or not known everywhere yet:
        // by S3, SNS and SQS, each in its own words; SQS has no words for the reason, and our own
        // statements are well-formed.
        "MalformedPolicy" if message.contains("Invalid principal") => Class::UnknownPrincipal,
        "InvalidParameter" if message.contains("PrincipalNotFound") => Class::UnknownPrincipal,
        "InvalidAttributeValue" if message.contains("parameter Policy") => Class::UnknownPrincipal,
        // A trust policy rejects a principal that was just created as invalid.
        "MalformedPolicyDocument" if message.contains("Invalid principal") => Class::IamPropagating,
        "ConfigurationException"
            if message.contains("managed rule") || message.contains("service-linked role") =>
        {
            Class::ServiceLinkedRole
        }
        _ => match (CODES.iter().find(|(known, _)| *known == code), status) {
            (Some((_, class)), _) => *class,
            (None, Some(500..) | None) => Class::Transient,
            (None, Some(429)) => Class::Throttled,
            (None, _) => Class::Invalid,
        },
    }
}

/// Returns whether a response of any protocol reports throttling.
pub fn throttles(status: u16, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    status == 429
        || CODES
            .iter()
            .any(|(code, class)| *class == Class::Throttled && text.contains(code))
}

/// Maps the code to one of a closed set, for use in metrics.
pub fn code(error: &Error) -> &'static str {
    let Some(code) = error.code.as_deref() else {
        return match error.class {
            Class::NotFound => "NotFound",
            Class::Denied => "Denied",
            Class::Transient => "NoAnswer",
            _ => "Other",
        };
    };
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("Other", |(known, _)| known)
}

/// Classifies error codes. The HTTP status decides for codes that are not listed.
const CODES: &[(&str, Class)] = &[
    ("NoSuchBucket", Class::NotFound),
    ("NoSuchKey", Class::NotFound),
    ("NotFound", Class::NotFound),
    ("NoSuchEntity", Class::NotFound),
    ("NoSuchEntityException", Class::NotFound),
    ("PipelineNotFoundException", Class::NotFound),
    ("ResourceNotFoundException", Class::NotFound),
    ("ResourceNotFound", Class::NotFound),
    ("QueueDoesNotExist", Class::NotFound),
    ("AWS.SimpleQueueService.NonExistentQueue", Class::NotFound),
    ("NoSuchBucketPolicy", Class::NotFound),
    ("NoSuchTagSet", Class::NotFound),
    ("NoSuchLifecycleConfiguration", Class::NotFound),
    ("NoSuchPublicAccessBlockConfiguration", Class::NotFound),
    ("OwnershipControlsNotFoundError", Class::NotFound),
    ("PipelineExecutionNotFoundException", Class::NotFound),
    ("PipelineVersionNotFoundException", Class::NotFound),
    // An execution that has ended cannot be stopped any more.
    ("PipelineExecutionNotStoppableException", Class::NotFound),
    (
        "ServerSideEncryptionConfigurationNotFoundError",
        Class::NotFound,
    ),
    ("BucketAlreadyOwnedByYou", Class::Conflict),
    ("BucketAlreadyExists", Class::Conflict),
    ("BucketNotEmpty", Class::Conflict),
    ("EntityAlreadyExists", Class::Conflict),
    ("EntityAlreadyExistsException", Class::Conflict),
    ("DeleteConflict", Class::Conflict),
    ("DeleteConflictException", Class::Conflict),
    ("PipelineNameInUseException", Class::Conflict),
    ("ResourceAlreadyExistsException", Class::Conflict),
    ("ConcurrentModificationException", Class::Conflict),
    ("ConcurrentModification", Class::Conflict),
    ("ConcurrentAccess", Class::Conflict),
    ("ConcurrentAccessException", Class::Conflict),
    ("ConflictException", Class::Conflict),
    ("DuplicatedStopRequestException", Class::Conflict),
    ("OperationAborted", Class::Conflict),
    ("ConditionalRequestConflict", Class::Conflict),
    ("EntityTemporarilyUnmodifiable", Class::Conflict),
    ("EntityTemporarilyUnmodifiableException", Class::Conflict),
    // The name of a deleted queue cannot be used again for a minute.
    ("QueueDeletedRecently", Class::Conflict),
    (
        "AWS.SimpleQueueService.QueueDeletedRecently",
        Class::Conflict,
    ),
    ("QueueAlreadyExists", Class::Conflict),
    ("QueueNameExists", Class::Conflict),
    ("ResourceUnavailableException", Class::Conflict),
    ("AccessDenied", Class::Denied),
    ("AccessDeniedException", Class::Denied),
    ("AuthorizationError", Class::Denied),
    ("AuthorizationErrorException", Class::Denied),
    ("UnauthorizedOperation", Class::Denied),
    ("ExpiredToken", Class::Denied),
    ("ExpiredTokenException", Class::Denied),
    ("InvalidClientTokenId", Class::Denied),
    ("UnrecognizedClientException", Class::Denied),
    ("SignatureDoesNotMatch", Class::Denied),
    ("InvalidAccessKeyId", Class::Denied),
    ("AllAccessDisabled", Class::Denied),
    ("InvalidToken", Class::Denied),
    ("RegionDisabledException", Class::Denied),
    ("RequestTimeTooSkewed", Class::Denied),
    ("RequestExpired", Class::Denied),
    ("PackedPolicyTooLarge", Class::Denied),
    // SNS, SQS over the query protocol, and SQS over JSON.
    ("KMSAccessDenied", Class::Denied),
    ("KMSAccessDeniedException", Class::Denied),
    ("KMS.AccessDeniedException", Class::Denied),
    ("KmsAccessDenied", Class::Denied),
    ("Throttling", Class::Throttled),
    ("ThrottlingException", Class::Throttled),
    ("ThrottledException", Class::Throttled),
    ("Throttled", Class::Throttled),
    ("TooManyRequestsException", Class::Throttled),
    ("RequestLimitExceeded", Class::Throttled),
    ("SlowDown", Class::Throttled),
    ("RequestThrottled", Class::Throttled),
    ("RequestThrottledException", Class::Throttled),
    ("KMSThrottling", Class::Throttled),
    ("KMSThrottlingException", Class::Throttled),
    ("KMS.ThrottlingException", Class::Throttled),
    ("KmsThrottled", Class::Throttled),
    ("ServiceUnavailable", Class::Throttled),
    (
        "ConcurrentPipelineExecutionsLimitExceededException",
        Class::Throttled,
    ),
    ("LimitExceeded", Class::Quota),
    ("LimitExceededException", Class::Quota),
    ("TooManyBuckets", Class::Quota),
    ("TopicLimitExceeded", Class::Quota),
    ("FilterPolicyLimitExceeded", Class::Quota),
    ("SubscriptionLimitExceeded", Class::Quota),
    // S3 gave up waiting for the request, which it says with status 400.
    ("RequestTimeout", Class::Transient),
    ("InvalidStructureException", Class::Invalid),
    ("ValidationException", Class::Invalid),
    ("MalformedPolicyDocument", Class::Invalid),
    ("ConfigurationException", Class::Invalid),
    ("InvalidInputException", Class::Invalid),
    ("InvalidParameter", Class::Invalid),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_class_that_decides_what_happens_next() {
        let cases = [
            (Some("NoSuchBucketPolicy"), "", 404, Class::NotFound),
            (None, "", 404, Class::NotFound),
            (None, "", 403, Class::Denied),
            (None, "", 301, Class::Invalid),
            (Some("ResourceNotFoundException"), "", 400, Class::NotFound),
            (
                Some("InvalidStructureException"),
                "CodePipeline is not authorized to perform AssumeRole on role r",
                400,
                Class::IamPropagating,
            ),
            (
                Some("InvalidStructureException"),
                "Pipeline should have at least 2 stages",
                400,
                Class::Invalid,
            ),
            (
                Some("ConfigurationException"),
                "could not create the AWS CloudWatch Events managed rule",
                400,
                Class::ServiceLinkedRole,
            ),
            (
                Some("ValidationException"),
                "The target is subscribed to one or more notification rules",
                400,
                Class::Conflict,
            ),
            (
                Some("MalformedPolicy"),
                "Invalid principal in policy",
                400,
                Class::UnknownPrincipal,
            ),
            (
                Some("MalformedPolicy"),
                "Action does not apply to any resource(s) in statement",
                400,
                Class::Invalid,
            ),
            (
                Some("InvalidParameter"),
                "Invalid parameter: Policy Error: PrincipalNotFound",
                400,
                Class::UnknownPrincipal,
            ),
            (
                Some("InvalidAttributeValue"),
                "Invalid value for the parameter Policy.",
                400,
                Class::UnknownPrincipal,
            ),
            (Some("BucketNotEmpty"), "", 409, Class::Conflict),
            (Some("PipelineNameInUseException"), "", 400, Class::Conflict),
            (Some("AccessDenied"), "", 403, Class::Denied),
            (Some("ExpiredToken"), "", 400, Class::Denied),
            (Some("ThrottlingException"), "", 400, Class::Throttled),
            (Some("SlowDown"), "", 503, Class::Throttled),
            (Some("LimitExceededException"), "", 400, Class::Quota),
            (Some("ValidationException"), "", 400, Class::Invalid),
            (Some("InternalError"), "", 500, Class::Transient),
            (Some("RequestTimeout"), "", 400, Class::Transient),
            (Some("FilterPolicyLimitExceeded"), "", 403, Class::Quota),
            (Some("SubscriptionLimitExceeded"), "", 403, Class::Quota),
            (Some("KMSThrottling"), "", 400, Class::Throttled),
            (Some("RequestThrottled"), "", 403, Class::Throttled),
            (Some("RequestThrottledException"), "", 400, Class::Throttled),
            (Some("ConditionalRequestConflict"), "", 409, Class::Conflict),
            (
                Some("EntityTemporarilyUnmodifiable"),
                "",
                409,
                Class::Conflict,
            ),
            (Some("KMSAccessDenied"), "", 400, Class::Denied),
            (Some("InvalidToken"), "", 400, Class::Denied),
        ];
        for (code, message, status, expected) in cases {
            assert_eq!(
                class(code, message, Some(status)),
                expected,
                "{code:?} {message} {status}"
            );
        }
        assert_eq!(class(None, "", None), Class::Transient);
    }
}
