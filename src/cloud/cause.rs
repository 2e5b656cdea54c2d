//! Who, or what, is the cause of AWS's words: one table, by code, text and place.

use crate::cloud::{Class, reads};
use crate::domain::denial::{Denial, PolicyType};

/// What was going on when AWS said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity<'a> {
    /// The operator made resources as the spec says.
    Converge,
    /// The operator ended resources.
    Delete,
    /// The operator deleted files that are no longer in the repository.
    Prune,
    /// The operator announced a delivery.
    Announce,
    /// The operator looked after subscriptions.
    Subscribe,
    /// A pipeline copied this repository, and it was not the operator that was refused.
    Execution(&'a str),
}

impl<'a> Activity<'a> {
    /// The repository that an execution copied.
    pub(super) fn repository(self) -> &'a str {
        match self {
            Self::Execution(repository) => repository,
            Self::Converge | Self::Delete | Self::Prune | Self::Announce | Self::Subscribe => "",
        }
    }
}

/// AWS's words.
pub(super) struct Said<'a> {
    /// The class of a call's error.
    pub(super) class: Option<Class>,
    /// The call, as IAM names it; empty for the failure of an execution.
    pub(super) call: &'a str,
    /// The code; empty if there is none.
    pub(super) code: &'a str,
    /// The words.
    pub(super) text: &'a str,
    /// The same in lower case.
    lower: String,
    /// What they tell of a refusal.
    pub(super) denial: Denial<'a>,
}

impl<'a> Said<'a> {
    /// Reads AWS's words.
    pub(super) fn new(
        class: Option<Class>,
        call: &'a str,
        code: Option<&'a str>,
        text: &'a str,
    ) -> Self {
        Self {
            class,
            call,
            code: code.unwrap_or_default(),
            text,
            lower: text.to_ascii_lowercase(),
            denial: Denial::parse(text),
        }
    }

    /// The cause, by the first row of the table that matches; none if these words were never seen.
    pub(super) fn cause(&self, activity: Activity<'_>) -> Option<Cause> {
        let row = ROWS.iter().find(|row| row.matches(self, activity))?;
        Some(row.cause)
    }
}

/// Who, or what, is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The trust policy of a role allows no tags on sessions.
    SessionTags,
    /// The tags of a session are too long.
    PackedSession,
    /// The credentials, or the region that does not know them.
    Credentials,
    /// The credentials have expired.
    Expired,
    /// The clock of the operator's node.
    Clock,
    /// A policy of this type.
    Policy(PolicyType),
    /// The policy of a KMS key, or an IAM policy that does not allow its use.
    KeyDenied,
    /// There is no such KMS key.
    KeyMissing,
    /// The KMS key is disabled, or is about to be deleted.
    KeyUnusable,
    /// The permissions boundary does not exist.
    BoundaryMissing,
    /// Somebody has attached policies to a role.
    AttachedPolicies,
    /// A quota of the account.
    Quota,
    /// The endpoint of a subscription.
    Subscriber,
    /// What the call writes to does not exist, or not everywhere yet.
    Gone,
    /// The branch does not exist, or the provider's app may not read the repository.
    BranchOrApp,
    /// The provider's app may not read the repository.
    App,
    /// A policy, and AWS does not say which.
    Permission,
}

/// The place in which a row of the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Anywhere,
    /// A call that begins so.
    Call(&'static str),
    /// A call that would have changed something.
    Write,
    /// A call for subscriptions.
    Subscribe,
    /// A stage of an execution.
    Execution,
}

/// A row of the table. Lists that are empty match everything.
struct Row {
    cause: Cause,
    at: At,
    class: Option<Class>,
    codes: &'static [&'static str],
    /// Any of these is in AWS's words, in lower case.
    words: &'static [&'static str],
}

impl Row {
    const fn new(cause: Cause, at: At) -> Self {
        Self {
            cause,
            at,
            class: None,
            codes: &[],
            words: &[],
        }
    }

    const fn class(self, class: Class) -> Self {
        Self {
            class: Some(class),
            ..self
        }
    }

    const fn codes(self, codes: &'static [&'static str]) -> Self {
        Self { codes, ..self }
    }

    const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    fn matches(&self, said: &Said<'_>, activity: Activity<'_>) -> bool {
        let is_execution = matches!(activity, Activity::Execution(_));
        let at = match self.at {
            At::Anywhere => true,
            At::Call(call) => said.call.starts_with(call),
            At::Write => !is_execution && !reads(said.call),
            At::Subscribe => activity == Activity::Subscribe,
            At::Execution => is_execution,
        };
        at && (self.class.is_none() || self.class == said.class)
            && (self.codes.is_empty() || self.codes.contains(&said.code))
            && (self.words.is_empty() || self.words.iter().any(|w| said.lower.contains(w)))
    }
}

/// The table. The first row that matches decides, so what limits everything else comes first.
const ROWS: &[Row] = &[
    // AssumeRole with tags needs sts:TagSession in the role's trust policy, and the words name it.
    // Pod Identity sends tags by itself (aws/containers-roadmap#2413).
    Row::new(Cause::SessionTags, At::Call("sts:AssumeRole")).words(&["sts:tagsession"]),
    // "Packed size of session tags consumes 138% of allotted space."
    Row::new(Cause::PackedSession, At::Anywhere)
        .codes(&["PackedPolicyTooLarge", "PackedPolicyTooLargeException"]),
    // <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    Row::new(Cause::Credentials, At::Anywhere).codes(&[
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RegionDisabledException",
        "UnrecognizedClientException",
    ]),
    // S3: "The provided token is malformed or otherwise invalid." (aws/aws-sdk-js#4129).
    Row::new(Cause::Credentials, At::Anywhere).words(&[
        "malformed or otherwise invalid",
        "security token included in the request is invalid",
    ]),
    Row::new(Cause::Expired, At::Anywhere).codes(&["ExpiredToken", "ExpiredTokenException"]),
    Row::new(Cause::Clock, At::Anywhere).codes(&["RequestTimeTooSkewed", "RequestExpired"]),
    Row::new(Cause::Clock, At::Anywhere).words(&["signature expired", "signature not yet current"]),
    Row::new(Cause::Credentials, At::Anywhere).codes(&["SignatureDoesNotMatch"]),
    // These limit whatever other policies allow, also the use of a key.
    Row::new(Cause::Policy(PolicyType::ServiceControl), At::Anywhere)
        .words(&["service control polic"]),
    Row::new(Cause::Policy(PolicyType::ResourceControl), At::Anywhere)
        .words(&["resource control polic"]),
    Row::new(Cause::Policy(PolicyType::Endpoint), At::Anywhere).words(&["vpc endpoint polic"]),
    Row::new(Cause::Policy(PolicyType::Boundary), At::Anywhere).words(&["permissions boundary"]),
    Row::new(Cause::Policy(PolicyType::Session), At::Anywhere).words(&["session polic"]),
    // SNS: KMSAccessDenied, SQS: KMS.AccessDeniedException, S3: AccessDenied with the words.
    Row::new(Cause::KeyMissing, At::Anywhere).codes(&[
        "KMS.NotFoundException",
        "KMSNotFound",
        "KMSNotFoundException",
        "KmsNotFound",
    ]),
    Row::new(Cause::KeyUnusable, At::Anywhere).codes(&[
        "KMS.DisabledException",
        "KMS.InvalidStateException",
        "KMS.KMSInvalidStateException",
        "KMSDisabled",
        "KMSDisabledException",
        "KMSInvalidState",
        "KMSInvalidStateException",
        "KMSOptInRequired",
        "KmsDisabled",
        "KmsInvalidState",
    ]),
    Row::new(Cause::KeyUnusable, At::Anywhere)
        .words(&["error code: disabledexception", "kms.disabledexception"]),
    Row::new(Cause::KeyDenied, At::Anywhere).codes(&[
        "KMS.AccessDeniedException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
    ]),
    Row::new(Cause::KeyDenied, At::Anywhere).words(&["to perform: kms:", "service: awskms"]),
    Row::new(Cause::Policy(PolicyType::Trust), At::Anywhere).words(&["role trust polic"]),
    Row::new(Cause::Policy(PolicyType::Resource), At::Anywhere).words(&["resource-based polic"]),
    Row::new(Cause::Policy(PolicyType::Identity), At::Anywhere).words(&["identity-based polic"]),
    Row::new(Cause::Policy(PolicyType::Trust), At::Call("sts:AssumeRole")).class(Class::Denied),
    // CreateRole: "Scope ARN: arn:aws:iam::111122223333:policy/x does not exist or is not
    // attachable." (openshift/rosa).
    Row::new(Cause::BoundaryMissing, At::Call("iam:")).words(&["scope arn:"]),
    // "Cannot delete entity, must detach all policies first.", or "must delete policies first."
    Row::new(Cause::AttachedPolicies, At::Call("iam:DeleteRole"))
        .codes(&["DeleteConflict", "DeleteConflictException"]),
    Row::new(Cause::Quota, At::Anywhere).class(Class::Quota),
    Row::new(Cause::Subscriber, At::Subscribe).class(Class::Invalid),
    Row::new(Cause::Subscriber, At::Subscribe).class(Class::NotFound),
    Row::new(Cause::Gone, At::Write).class(Class::NotFound),
    // "[GitHub] No Branch [main] found for FullRepositoryName [o/r]", also where the app may not
    // read the repository (aws/copilot-cli#5507).
    Row::new(Cause::BranchOrApp, At::Execution).words(&["no branch ["]),
    Row::new(Cause::Permission, At::Anywhere).class(Class::Denied),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::word::Word;

    #[test]
    fn each_type_of_policy_has_a_row() {
        for type_ in PolicyType::ALL {
            let words = format!(
                "because no {} allows the s3:GetObject action",
                type_.as_str()
            );
            let (class, call) = (Some(Class::Denied), "s3:GetObject");
            let said = Said::new(class, call, Some("AccessDenied"), &words);
            assert_eq!(said.cause(Activity::Converge), Some(Cause::Policy(*type_)));
        }
    }
}
