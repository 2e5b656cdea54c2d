//! How far the resources are, and what an error of the cloud means for that.

use jiff::{SignedDuration, Timestamp};

use crate::api::condition::{ConditionType, Reason};
use crate::cloud::{Class, Error};
use crate::domain::arn::Audience;
use crate::domain::refusal::Refusal;
use crate::status::verdict::Verdict;

/// How far the resources are.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Everything is as the spec says.
    Settled,
    /// Not looked at: as it was.
    Unchanged,
    /// Something has still to be made or changed, and will be.
    Waiting(Reason, String),
    /// Only a person can mend it.
    Refused(Vec<Refusal>),
}

impl Progress {
    /// What came of the pass, in a word.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Unchanged => "unchanged",
            Self::Waiting(..) => "waiting",
            Self::Refused(_) => "refused",
        }
    }

    /// The verdict on the resources; none where they were not looked at.
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

/// What an error of the cloud means for the object.
pub fn progress(error: &Error, audience: Audience<'_>) -> Progress {
    let said = error.said(audience);
    let refused = |reason, message: String| Progress::Refused(vec![Refusal::new(reason, message)]);
    match error.class {
        Class::Denied => refused(
            Reason::AccessDenied,
            format!(
                "the operator may not call {}: {said}; allow it in the operator's policy and \
                     check its credentials",
                error.call
            ),
        ),
        Class::Invalid => refused(
            Reason::InvalidSpec,
            format!(
                "AWS does not take what the spec asks for: {said}; change the spec accordingly"
            ),
        ),
        Class::Quota => refused(
            Reason::QuotaExceeded,
            format!(
                "a quota of the account is used up: {said}; delete what is not needed or have the \
                     quota raised"
            ),
        ),
        Class::Throttled => Progress::Waiting(
            Reason::Throttled,
            format!("AWS asks for fewer calls, trying again later: {said}"),
        ),
        Class::IamPropagating => Progress::Waiting(
            Reason::IAMPropagating,
            format!("the pipeline's role was just written and is not known everywhere yet: {said}"),
        ),
        Class::ServiceLinkedRole => Progress::Waiting(
            Reason::ServiceLinkedRoleCreating,
            format!(
                "the account's first notification rule waits for its service-linked role, which \
                     takes AWS up to 15 minutes: {said}"
            ),
        ),
        Class::NotFound | Class::Conflict | Class::Transient => {
            Progress::Waiting(Reason::AWSUnavailable, format!("trying again: {said}"))
        }
    }
}

/// How long IAM may take to know a new role everywhere, and notifications to have theirs.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/troubleshooting.html>
const OVERDUE: [(Class, SignedDuration, &str); 2] = [
    (
        Class::IamPropagating,
        SignedDuration::from_mins(5),
        "the role exists for minutes, so AWS means it: check its trust policy, and the account's \
             service control policies for sts:AssumeRole",
    ),
    (
        Class::ServiceLinkedRole,
        SignedDuration::from_mins(20),
        "AWS takes 15 minutes at most, so something forbids it: allow iam:CreateServiceLinkedRole \
             for codestar-notifications.amazonaws.com",
    ),
];

/// What takes no longer than AWS says is waited for; after that a person has to look.
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
            // A refusal is for a person, a wait is not.
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
