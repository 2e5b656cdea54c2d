//! The progress of an object's resources, and how an error of the cloud affects it.

use jiff::{SignedDuration, Timestamp};

use crate::api::ABANDON;
use crate::api::condition::{ConditionType, Reason};
use crate::cloud::advice::{Advice, Situation, advice};
use crate::cloud::{Class, Error};
use crate::domain::refusal::Refusal;
use crate::status::verdict::Verdict;

/// The progress of an object's resources.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Every resource is as the spec says.
    Settled,
    /// Every resource is as the spec says, but for what AWS cannot do, in these words.
    SettledBut(String),
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
            Self::Settled | Self::SettledBut(_) => "settled",
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
            Self::SettledBut(exception) => (
                Reason::Provisioned,
                format!("everything in AWS is as the spec says, but {exception}"),
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
pub fn progress(error: &Error, situation: &Situation<'_>) -> Progress {
    let said = error.said(situation.audience);
    let refused = |reason, message: String| Progress::Refused(vec![Refusal::new(reason, message)]);
    let advice = advice(error, situation);
    if let Some(Advice {
        text,
        reason: Some(reason),
    }) = advice
    {
        return refused(reason, format!("{said}; {text}"));
    }
    let text = advice.map(|advice| advice.text);
    let advice = |otherwise: &str| text.clone().unwrap_or_else(|| otherwise.to_owned());
    match error.class {
        Class::Denied => refused(
            Reason::AccessDenied,
            format!(
                "the operator may not call {}: {said}; {}",
                error.call,
                advice("check the operator's credentials and its IAM policy")
            ),
        ),
        Class::Invalid => refused(
            Reason::InvalidSpec,
            format!(
                "AWS rejects what the spec asks for: {said}; {}",
                advice("change the spec so that AWS accepts it")
            ),
        ),
        Class::Quota => refused(
            Reason::QuotaExceeded,
            format!(
                "a quota of the AWS account is used up: {said}; {}",
                advice("delete what is not needed, or request a higher quota from AWS")
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
        Class::UnknownPrincipal => {
            let advice = match error.call {
                "s3:PutBucketPolicy" => {
                    "; check that the roles and accounts that destination.readers names exist"
                }
                _ => "",
            };
            Progress::Waiting(
                Reason::IAMPropagating,
                format!(
                    "the policy names a role or user that AWS does not know, because it was just \
                         made or is gone, and the operator retries: {said}{advice}"
                ),
            )
        }
        Class::Transient if error.lacks_credentials() => Progress::Waiting(
            Reason::AWSUnavailable,
            format!(
                "the operator has no credentials to call AWS with, and retries: {said}; check the role \
                     of its service account (IRSA, Pod Identity), its token, and the metadata service"
            ),
        ),
        // To send it again would not help: everything is observed again first.
        Class::NotFound if error.writes() => Progress::Waiting(
            Reason::Provisioning,
            format!(
                "{said}; {}",
                advice("the operator observes everything again")
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

/// What an error means for a deletion: whether a person has to act, and the message.
pub fn held_up(error: &Error, situation: &Situation<'_>, name: &str) -> (bool, String) {
    let said = error.said(situation.audience);
    let advice = advice(error, situation);
    let blocked = matches!(error.class, Class::Denied | Class::Invalid | Class::Quota)
        || advice.as_ref().is_some_and(|a| a.reason.is_some());
    let text = advice.map(|advice| advice.text);
    let message = match (blocked, text) {
        (true, text) => format!(
            "{said}; {}, or set the annotation {ABANDON}={name} to leave what remains in AWS and end",
            text.unwrap_or_else(|| "mend that".to_owned())
        ),
        (false, Some(text)) => format!("{said}; {text}"),
        (false, None) => format!("trying again: {said}"),
    };
    (blocked, message)
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
    use crate::cloud::advice::Activity;
    use crate::domain::arn::Audience;

    fn situation() -> Situation<'static> {
        Situation {
            activity: Activity::Converge,
            place: None,
            caller: "",
            operator: "",
            audience: Audience::Own(&[]),
        }
    }

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
            (Class::UnknownPrincipal, Reason::IAMPropagating),
            (Class::NotFound, Reason::AWSUnavailable),
            (Class::Conflict, Reason::AWSUnavailable),
            (Class::Transient, Reason::AWSUnavailable),
        ] {
            let progress = progress(&error(class), &situation());
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
    fn what_a_write_does_not_find_is_not_called_a_failure_that_passes() {
        let error = |call, code: &str, class, message: &str| Error {
            class,
            call,
            code: Some(code.to_owned()),
            message: message.to_owned(),
            request_id: None,
        };
        let gone = error(
            "s3:PutBucketPolicy",
            "NoSuchBucket",
            Class::NotFound,
            "The specified bucket does not exist",
        );
        let verdict = progress(&gone, &situation()).verdict().unwrap();
        assert_eq!(verdict.reason, Reason::Provisioning);
        assert!(verdict.message.contains("does not know it everywhere yet"));
        let (blocked, message) = held_up(&gone, &situation(), "docs");
        assert!(!blocked && !message.contains("trying again"), "{message}");

        // To create a role again without its boundary would never end.
        let boundary = error(
            "iam:CreateRole",
            "NoSuchEntity",
            Class::NotFound,
            "Scope ARN: arn:aws:iam::111122223333:policy/bound does not exist or is not attachable.",
        );
        let refused = progress(&boundary, &situation());
        assert!(matches!(refused, Progress::Refused(_)), "{refused:?}");
        assert_eq!(refused.verdict().unwrap().reason, Reason::NotFound);

        // Nobody but a person detaches what a person attached.
        let attached = error(
            "iam:DeleteRole",
            "DeleteConflict",
            Class::Conflict,
            "Cannot delete entity, must detach all policies first.",
        );
        let (blocked, message) = held_up(&attached, &situation(), "docs");
        assert!(blocked && message.contains("detach"), "{message}");
        let other = error("s3:DeleteBucket", "BucketNotEmpty", Class::Conflict, "no");
        let (blocked, message) = held_up(&other, &situation(), "docs");
        assert!(!blocked && message.starts_with("trying again"), "{message}");
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
