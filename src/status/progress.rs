//! The progress of an object's resources, and how an error of the cloud affects it.

use jiff::{SignedDuration, Timestamp};

use crate::api::condition::{ConditionType, Reason};
use crate::cloud::{Class, Error};
use crate::domain::arn::Audience;
use crate::domain::refusal::Refusal;
use crate::status::verdict::Verdict;

/// The progress of an object's resources.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Every resource is as the spec says.
    Settled,
    /// The pass did not observe the resources: the condition stays as it was.
    Unchanged,
    /// Something has still to be created or changed, and the operator will do it.
    Waiting(Reason, String),
    /// Only a person can fix it.
    Refused(Vec<Refusal>),
}

impl Progress {
    /// The result of the pass as one word, for metrics.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Unchanged => "unchanged",
            Self::Waiting(..) => "waiting",
            Self::Refused(_) => "refused",
        }
    }

    /// The verdict on the resources; none if the pass did not observe them.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (reason, message) = match self {
            Self::Settled => (
                Reason::Provisioned,
                "everything in AWS is as the spec says".to_owned(),
            ),
            Self::Unchanged => return None,
            Self::Waiting(reason, message) => (*reason, message.clone()),
            Self::Refused(refusals) => {
                let texts: Vec<&str> = refusals.iter().map(|r| &*r.message).collect();
                (refusals.first()?.reason, texts.join("; "))
            }
        };
        Some(Verdict::new(ConditionType::Provisioned, reason, message))
    }
}

/// The progress of an object whose pass was stopped by this error.
pub fn progress(error: &Error, audience: Audience<'_>) -> Progress {
    let said = error.said(audience);
    let refused = |reason, message: String| Progress::Refused(vec![Refusal::new(reason, message)]);
    match error.class {
        Class::Denied => refused(
            Reason::AccessDenied,
            format!(
                "the operator may not call {}: {said}; allow this call in the operator's IAM \
                     policy, and check that the operator has the right credentials",
                error.call
            ),
        ),
        Class::Invalid => refused(
            Reason::InvalidSpec,
            format!(
                "AWS rejects what the spec asks for: {said}; change the spec so that AWS accepts it"
            ),
        ),
        Class::Quota => refused(
            Reason::QuotaExceeded,
            format!(
                "a quota of the AWS account is used up: {said}; delete resources that are not \
                     needed, or request a higher quota from AWS"
            ),
        ),
        Class::Throttled => Progress::Waiting(
            Reason::Throttled,
            format!("AWS throttles the operator's calls, and the operator retries later: {said}"),
        ),
        Class::IamPropagating => Progress::Waiting(
            Reason::IAMPropagating,
            format!(
                "IAM has not propagated the pipeline's new role yet, and the operator retries: {said}"
            ),
        ),
        Class::ServiceLinkedRole => Progress::Waiting(
            Reason::ServiceLinkedRoleCreating,
            format!(
                "AWS is creating the service-linked role that the account's first notification \
                     rule needs, which takes up to 15 minutes, and the operator retries: {said}"
            ),
        ),
        Class::Transient if error.lacks_credentials() => Progress::Waiting(
            Reason::AWSUnavailable,
            format!(
                "the operator has no credentials to call AWS with, and retries: {said}; check the role \
                     of its service account (IRSA, Pod Identity), its token, and the metadata service"
            ),
        ),
        Class::NotFound | Class::Conflict | Class::Transient => Progress::Waiting(
            Reason::AWSUnavailable,
            format!("a call to AWS failed, and the operator retries: {said}"),
        ),
    }
}

/// The progress of an object whose passes have been stopped by failures that may pass since this
/// time, which is too long for what was said before to stand.
pub fn not_observed(message: &str, since: Timestamp) -> Progress {
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    Progress::Waiting(
        Reason::NotObserved,
        format!(
            "AWS has not been observed since {since}, so nobody knows whether the next push arrives: \
                 {message}"
        ),
    )
}

/// Time limits for waits that AWS documents, with the advice to give once they have passed: IAM
/// propagates a new role, and AWS creates the service-linked role of notifications.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/troubleshooting.html>
const OVERDUE: [(Class, SignedDuration, &str); 2] = [
    (
        Class::IamPropagating,
        SignedDuration::from_mins(5),
        "the role was written more than five minutes ago, so this is no delay of IAM: check the \
             role's trust policy, and whether a service control policy denies sts:AssumeRole",
    ),
    (
        Class::ServiceLinkedRole,
        SignedDuration::from_mins(20),
        "AWS takes 15 minutes at most, so a policy denies it: allow \
             iam:CreateServiceLinkedRole for codestar-notifications.amazonaws.com",
    ),
];

/// The advice for a wait that has taken longer than AWS documents; none while it may still pass.
pub fn overdue(class: Class, since: Option<Timestamp>, now: Timestamp) -> Option<&'static str> {
    let (_, limit, advice) = OVERDUE.iter().find(|(c, ..)| *c == class)?;
    since
        .is_none_or(|since| now > since + *limit)
        .then_some(*advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition::Outlook;

    #[test]
    fn an_error_is_waited_out_or_says_what_a_person_can_do() {
        let error = |class| Error {
            class,
            call: "iam:GetRole",
            code: None,
            message: "no to arn:aws:iam::111122223333:role/x".to_owned(),
            request_id: None,
        };
        for (class, reason) in [
            (Class::Denied, Reason::AccessDenied),
            (Class::Invalid, Reason::InvalidSpec),
            (Class::Quota, Reason::QuotaExceeded),
            (Class::Throttled, Reason::Throttled),
            (Class::IamPropagating, Reason::IAMPropagating),
            (Class::ServiceLinkedRole, Reason::ServiceLinkedRoleCreating),
            (Class::NotFound, Reason::AWSUnavailable),
            (Class::Conflict, Reason::AWSUnavailable),
            (Class::Transient, Reason::AWSUnavailable),
        ] {
            let progress = progress(&error(class), Audience::Own(&[]));
            let verdict = progress.verdict().unwrap();
            assert_eq!(verdict.reason, reason);
            let said = "iam:GetRole said: no to (another ARN)";
            assert!(verdict.message.contains(said), "{}", verdict.message);
            // A refusal needs a person, a wait does not.
            let refused = matches!(progress, Progress::Refused(_));
            assert_eq!(refused, reason.outlook() == Outlook::Final, "{class:?}");
        }
    }

    #[test]
    fn a_wait_that_is_overdue_becomes_a_refusal() {
        let at = |minutes: i64| Timestamp::from_second(minutes * 60).unwrap();
        assert_eq!(overdue(Class::IamPropagating, Some(at(0)), at(4)), None);
        assert!(
            overdue(Class::IamPropagating, Some(at(0)), at(6))
                .unwrap()
                .contains("trust policy")
        );
        assert_eq!(overdue(Class::ServiceLinkedRole, Some(at(0)), at(15)), None);
        assert!(
            overdue(Class::ServiceLinkedRole, Some(at(0)), at(21))
                .unwrap()
                .contains("iam:CreateServiceLinkedRole")
        );
        assert_eq!(overdue(Class::Throttled, None, at(99)), None);
    }
}
