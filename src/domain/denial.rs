//! Which policy denied a request, as far as AWS's words tell it.

use crate::domain::word::{Word, words};

words! {
    /// The types of policies that deny a request, in AWS's words. Where several deny, AWS names one.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>
    PolicyType {
        /// Limits all accounts of an organization, or some.
        ServiceControl = "service control policy",
        /// Limits the resources of an organization's accounts.
        ResourceControl = "resource control policy",
        /// Limits what goes through an endpoint of a VPC.
        Endpoint = "VPC endpoint policy",
        /// Limits one role or user.
        Boundary = "permissions boundary",
        /// Limits one session of a role.
        Session = "session policy",
        /// Says who may assume a role.
        Trust = "role trust policy",
        /// Says who may use a resource.
        Resource = "resource-based policy",
        /// Says what a role or user may do.
        Identity = "identity-based policy",
    }
}

/// A refusal for want of permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// The type of the policy that decided. Some services do not say.
    pub by: Option<PolicyType>,
    /// Whether a `Deny` statement decided; else no statement allows it.
    pub is_explicit: bool,
    /// The action as IAM names it. It may differ from the call: `HeadBucket` needs `s3:ListBucket`.
    pub action: Option<&'a str>,
    /// ARN of the resource.
    pub resource: Option<&'a str>,
}

impl<'a> Denial<'a> {
    /// Reads AWS's words: `User: ARN is not authorized to perform: ACTION on resource: ARN because no
    /// TYPE allows the ACTION action`, or `... with an explicit deny in a TYPE`. S3 quotes the ARN,
    /// and KMS writes `no resource-based policies allow access`.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html>
    pub fn parse(text: &'a str) -> Self {
        let lower = text.to_ascii_lowercase();
        // `polic` covers the plural, too. No ARN has a space.
        let names = |type_: &PolicyType| {
            let name = type_.as_str().to_ascii_lowercase();
            lower.contains(name.strip_suffix('y').unwrap_or(&name))
        };
        Self {
            by: PolicyType::ALL.iter().copied().find(names),
            is_explicit: lower.contains("explicit deny"),
            action: word_after(text, "to perform: "),
            resource: word_after(text, "on resource: ").filter(|arn| arn.starts_with("arn:")),
        }
    }
}

/// The word that follows these, without quotes and punctuation.
fn word_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let word = rest.split_whitespace().next()?;
    let word = word.trim_matches(['"', '\'', ',', '.', ';']);
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are those of AWS's pages, and of reports where a line says so.
    #[test]
    fn awss_words_name_the_policy_that_denies() {
        use PolicyType::{
            Boundary, Endpoint, Identity, Resource, ResourceControl, ServiceControl, Session, Trust,
        };
        const USER: &str = "User: arn:aws:iam::777788889999:user/MaryMajor is not authorized to \
                            perform: ";
        const OBJECT: &str = "on resource: \"arn:aws:s3:::bucket/name\" ";
        let table = [
            (
                format!(
                    "{USER}s3:GetObject because no service control policy allows the s3:GetObject action"
                ),
                (Some(ServiceControl), false),
            ),
            (
                format!("{USER}s3:GetObject with an explicit deny in a service control policy"),
                (Some(ServiceControl), true),
            ),
            (
                format!(
                    "{USER}s3:GetObject {OBJECT}with an explicit deny in a resource control policy"
                ),
                (Some(ResourceControl), true),
            ),
            (
                format!(
                    "{USER}s3:GetObject because no VPC endpoint policy allows the s3:GetObject action"
                ),
                (Some(Endpoint), false),
            ),
            (
                format!(
                    "{USER}s3:GetObject {OBJECT}with an explicit deny in a VPC endpoint policy"
                ),
                (Some(Endpoint), true),
            ),
            (
                format!(
                    "{USER}s3:GetObject {OBJECT}because no permissions boundary allows the s3:GetObject action"
                ),
                (Some(Boundary), false),
            ),
            (
                format!("{USER}s3:GetObject with an explicit deny in a permissions boundary"),
                (Some(Boundary), true),
            ),
            (
                format!(
                    "{USER}s3:GetObject because no session policy allows the s3:GetObject action"
                ),
                (Some(Session), false),
            ),
            (
                format!(
                    "{USER}s3:GetObject {OBJECT}because no resource-based policy allows the s3:GetObject action"
                ),
                (Some(Resource), false),
            ),
            (
                format!(
                    "{USER}s3:GetObject {OBJECT}because no identity-based policy allows the s3:GetObject action"
                ),
                (Some(Identity), false),
            ),
            (
                format!(
                    "{USER}sts:AssumeRole because no role trust policy allows the sts:AssumeRole action"
                ),
                (Some(Trust), false),
            ),
            // KMS, as reported to LangSmith's support.
            (
                format!(
                    "{USER}kms:GenerateDataKey on this resource because the resource does not exist \
                     in this Region, no resource-based policies allow access, or a resource-based \
                     policy explicitly denies access"
                ),
                (Some(Resource), false),
            ),
            ("Access Denied".to_owned(), (None, false)),
            (format!("{USER}sts:AssumeRole"), (None, false)),
        ];
        for (text, (by, is_explicit)) in table {
            let denial = Denial::parse(&text);
            assert_eq!((denial.by, denial.is_explicit), (by, is_explicit), "{text}");
            let action = text.contains("perform").then(|| denial.action.unwrap());
            assert!(action.is_none_or(|a| a.contains(':')), "{text}: {action:?}");
            let names = text.contains(OBJECT);
            assert_eq!(
                denial.resource,
                names.then_some("arn:aws:s3:::bucket/name"),
                "{text}"
            );
        }
    }
}
