//! What a person can do about AWS's words.
//!
//! What no row of the table recognizes is quoted and not guessed at.

use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::cloud::Error;
pub use crate::cloud::cause::Activity;
use crate::cloud::cause::{Cause, Said};
use crate::cloud::quota::Quota;
use crate::domain::arn;
use crate::domain::arn::Audience;
use crate::domain::denial::PolicyType;
use crate::domain::execution::{Failure, FailureKind};
use crate::domain::placement::{Placement, identity_of};
use crate::domain::prefix;
use crate::domain::settings::{AssumeRole, Identity};
use crate::domain::word::Word;

/// Where AWS said it, and who reads what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What was going on.
    pub activity: Activity<'a>,
    /// Account and region, if they are known.
    pub place: Option<&'a Placement>,
    /// ARN of the role or user that AWS refused, as policies name it; empty if it is not known.
    pub caller: &'a str,
    /// ARN of the operator's own role or user, which assumes roles; empty if it is not known.
    pub operator: &'a str,
    /// The readers of the message.
    pub audience: Audience<'a>,
}

/// The parties of calls for an object.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// ARN of the role or user that calls, as policies name it.
    pub caller: String,
    /// ARN of the operator's own role or user.
    pub operator: String,
    /// ARNs that are the object's, its class's or the operator's: messages may name them.
    pub arns: Vec<String>,
}

impl Parties {
    /// The parties of calls that the operator makes by its own identity, or by a role.
    pub fn new(access: Option<&AssumeRole>, operator: &Identity) -> Self {
        let caller = identity_of(access, operator).arn;
        Self {
            arns: [arn::called(&caller), arn::called(&operator.arn)].concat(),
            caller: arn::role_of_session(&caller),
            operator: arn::role_of_session(&operator.arn),
        }
    }

    /// The situation in which these are the parties.
    pub fn situation<'a>(
        &'a self,
        activity: Activity<'a>,
        place: Option<&'a Placement>,
    ) -> Situation<'a> {
        Situation {
            activity,
            place,
            caller: &self.caller,
            operator: &self.operator,
            audience: Audience::Own(&self.arns),
        }
    }

    /// The situation of a class: whoever may read it may see all ARNs of its account.
    pub fn situation_of_class<'a>(
        &'a self,
        activity: Activity<'a>,
        place: Option<&'a Placement>,
    ) -> Situation<'a> {
        Situation {
            audience: place.map_or(Audience::Own(&[]), |p| Audience::Account(&p.account)),
            ..self.situation(activity, place)
        }
    }
}

/// What a person can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// A sentence, without a capital letter and a full stop.
    pub text: String,
    /// The reason to give where AWS's error itself would suggest that waiting helps, and it does
    /// not.
    pub reason: Option<Reason>,
}

/// What a person can do about an error of a call.
pub fn advice(error: &Error, situation: &Situation<'_>) -> Option<Advice> {
    let code = error.code.as_deref();
    let said = Said::new(Some(error.class), error.call, code, &error.message);
    let cause = said.cause(situation.activity)?;
    Some(said.advice(cause, situation))
}

/// What a person can do about a failed execution.
pub fn of_failure(failure: &Failure, situation: &Situation<'_>) -> Option<Advice> {
    let said = Said::new(None, "", failure.code.as_deref(), &failure.message);
    let app = (failure.kind() == FailureKind::Repository).then_some(Cause::App);
    let cause = said.cause(situation.activity).or(app)?;
    Some(said.advice(cause, situation))
}

impl Said<'_> {
    fn advice(&self, cause: Cause, situation: &Situation<'_>) -> Advice {
        Advice {
            text: self.sentence(cause, situation),
            reason: match cause {
                Cause::BoundaryMissing => Some(Reason::NotFound),
                Cause::AttachedPolicies => Some(Reason::DeletionBlocked),
                Cause::KeyMissing | Cause::KeyUnusable => Some(Reason::AccessDenied),
                _ => None,
            },
        }
    }

    fn sentence(&self, cause: Cause, situation: &Situation<'_>) -> String {
        let caller = match (situation.caller, situation.operator) {
            (_, operator) if !operator.is_empty() && self.call == "sts:AssumeRole" => operator,
            ("", _) => "the operator's role",
            (caller, _) => caller,
        };
        match cause {
            Cause::SessionTags => format!(
                "the trust policy of the role has to allow sts:TagSession, beside sts:AssumeRole, to \
                 {caller}: the session has tags, because the class has sessionTags or because EKS \
                 Pod Identity adds them"
            ),
            Cause::PackedSession => "the tags of the session are too long together: shorten the \
                 class's sessionTags, or turn off the session tags of the EKS Pod Identity \
                 association (disableSessionTags)"
                .to_owned(),
            Cause::Credentials => self.credentials(situation),
            Cause::Expired => "the operator's credentials have expired: check that its role \
                 (IRSA, EKS Pod Identity) renews them, or replace the access key"
                .to_owned(),
            Cause::Clock => "the clock of the operator's node is wrong: let it follow a time \
                 server"
                .to_owned(),
            Cause::Policy(type_) => self.denied(type_, caller, situation),
            Cause::KeyDenied => self.key(caller, situation),
            Cause::KeyMissing => "there is no such KMS key in this region: correct kmsKeyARN of \
                 the class, or encrypt by another key"
                .to_owned(),
            Cause::KeyUnusable => "the KMS key cannot be used: enable it, or cancel its deletion; \
                 if it is gone for good, encrypt by another key"
                .to_owned(),
            Cause::BoundaryMissing => format!(
                "the permissions boundary {} does not exist in this account: create the policy, as \
                 `repofanout iam-policy --only boundary` prints it, or name another one",
                self.boundary(situation.audience)
            ),
            Cause::AttachedPolicies => {
                "somebody else gave the role these policies, so they are not \
                 the operator's to take away: detach or delete them"
                    .to_owned()
            }
            Cause::Quota => match Quota::of(self.call) {
                Some(quota) => quota.advice(situation.place),
                None => "delete what is not needed, or request a higher quota in Service Quotas"
                    .to_owned(),
            },
            Cause::Subscriber => {
                "check that the endpoint exists and that its ARN or URL is right".to_owned()
            }
            Cause::Gone => "what this call names does not exist: if it was created seconds ago, \
                 AWS does not know it everywhere yet; if somebody deleted it, the operator creates \
                 again what is its own; if the spec names it, create it or name another one"
                .to_owned(),
            Cause::BranchOrApp => {
                let repository = situation.activity.repository();
                format!(
                    "AWS says this where the branch does not exist, and also where the AWS Connector \
                     app behind the connection may not read the repository: correct spec.branch or \
                     push that branch, or else install the app in `{}` and grant it access to \
                     {repository} in the provider's settings of installed apps",
                    prefix::owner(repository)
                )
            }
            Cause::App => format!(
                "grant the AWS Connector app access to {} in the provider's settings of installed \
                 apps, or correct spec.repository (upper and lower case matter)",
                situation.activity.repository()
            ),
            Cause::Permission => self.permission(situation),
        }
    }

    fn credentials(&self, situation: &Situation<'_>) -> String {
        match situation.place {
            // A role is assumed in the operator's own region, wherever its resources are.
            _ if self.call == "sts:AssumeRole" => "AWS STS does not take the operator's \
                 credentials: check its role (IRSA, EKS Pod Identity) or its access key, and that \
                 STS is active for its account in its own region"
                .to_owned(),
            Some(place) if place.is_opt_in() => format!(
                "region {} is off in account {}, or the operator's credentials are not valid: turn \
                 the region on in that account (Account, AWS Regions), and give the operator \
                 credentials of a regional STS endpoint (AWS_STS_REGIONAL_ENDPOINTS=regional), \
                 because those of the global one do not work in regions that have to be turned on",
                place.region, place.account
            ),
            _ => "AWS does not know the operator's credentials: check its role (IRSA, EKS Pod \
                  Identity) or its access key"
                .to_owned(),
        }
    }

    /// The action that was denied: AWS's word for it, or else the call.
    fn action(&self) -> &str {
        match self.denial.action {
            Some(action) => action,
            None if self.call.is_empty() => "it",
            None => self.call,
        }
    }

    fn denied(&self, type_: PolicyType, caller: &str, situation: &Situation<'_>) -> String {
        let is_explicit = self.denial.is_explicit;
        let action = self.action();
        let who = situation.who();
        match (type_, is_explicit) {
            (PolicyType::ServiceControl | PolicyType::ResourceControl, _) => {
                let account = situation
                    .place
                    .map(|place| format!(" for account {}", place.account));
                format!(
                    "a {} of the AWS organization denies {action}, and no policy of the account can \
                     allow it: ask whoever manages the organization to allow it{}",
                    type_.as_str(),
                    account.unwrap_or_default()
                )
            }
            (PolicyType::Endpoint, _) => format!(
                "the policy of the VPC endpoint that the call goes through denies {action}: allow it \
                 in the policy of that endpoint"
            ),
            (PolicyType::Boundary, _) => format!(
                "the permissions boundary of {who} denies {action}: allow it in the boundary{}",
                match situation.activity {
                    Activity::Execution(_) =>
                        ", as `repofanout iam-policy --only boundary` prints it",
                    _ => "",
                }
            ),
            (PolicyType::Session, _) => format!(
                "the session policy of {who}'s credentials denies {action}: change how those \
                 credentials are made, because a session policy limits what the role may do"
            ),
            (PolicyType::Trust, true) => format!(
                "the trust policy of the role denies {action} to {caller}: change its Deny statement"
            ),
            (PolicyType::Trust, false) => format!(
                "the trust policy of the role does not let {caller} in: allow sts:AssumeRole to it \
                 there, with the class's external id, and allow it in that role's or user's own IAM \
                 policy"
            ),
            (PolicyType::Resource, true) => format!(
                "the policy of the resource itself denies {action} to {who}: change its Deny \
                 statement"
            ),
            (PolicyType::Resource, false) => format!(
                "the policy of the resource itself has to allow {action} to {who} ({caller})"
            ),
            (PolicyType::Identity, true) => {
                format!("an IAM policy of {who} denies {action}: change its Deny statement")
            }
            (PolicyType::Identity, false) => match situation.activity {
                Activity::Execution(_) => format!(
                    "the operator writes the permissions of roles that it owns and then starts \
                     another execution by itself; if {caller} is not its own, allow {action} there"
                ),
                _ => format!(
                    "allow {action} in the operator's IAM policy, as {} prints it",
                    situation.printer()
                ),
            },
        }
    }

    fn permission(&self, situation: &Situation<'_>) -> String {
        let subscriber = match situation.activity {
            Activity::Subscribe => ", and check that the endpoint's own policy lets SNS in",
            _ => "",
        };
        format!(
            "allow {} in the operator's IAM policy, as {} prints it{subscriber}; AWS does not say \
             which policy denies it: if that one allows it, look at those of the resource, of the \
             VPC endpoint and of the organization",
            self.action(),
            situation.printer()
        )
    }

    /// The key that denies its use, with the statement to add.
    fn key(&self, caller: &str, situation: &Situation<'_>) -> String {
        let denial = self.denial;
        let key = denial.resource.map_or_else(
            || "the KMS key".to_owned(),
            |arn| format!("KMS key {}", arn::filter(arn, situation.audience)),
        );
        let (service, data_key) = match self.call.split_once(':') {
            Some(("sns", _)) => ("sns", "kms:GenerateDataKey*"),
            Some(("sqs", _)) => ("sqs", "kms:GenerateDataKey"),
            _ => ("s3", "kms:GenerateDataKey"),
        };
        let mut statement = json!({
            "Effect": "Allow",
            "Action": ["kms:Decrypt", data_key],
            "Condition": {"StringLike": {"kms:ViaService": format!("{service}.*.amazonaws.com*")}},
        });
        let who = situation.who();
        let policy = match denial.by {
            Some(PolicyType::Identity) if !matches!(situation.activity, Activity::Execution(_)) => {
                let own = denial
                    .resource
                    .filter(|arn| situation.audience.may_see(arn));
                statement["Resource"] = own.unwrap_or("the key's ARN").into();
                format!("the IAM policy of {who}")
            }
            _ => {
                statement["Principal"] = json!({"AWS": caller});
                statement["Resource"] = Value::from("*");
                "the policy of the key".to_owned()
            }
        };
        format!("{key} does not let {who} in: {policy} has to contain {statement}")
    }

    /// ARN of the boundary that AWS names, as far as it may be shown.
    fn boundary(&self, audience: Audience<'_>) -> String {
        let named = self.text.split_whitespace().find(|w| w.starts_with("arn:"));
        arn::filter(named.unwrap_or_default(), audience)
    }
}

impl Situation<'_> {
    /// The principal that was refused.
    fn who(&self) -> &'static str {
        match self.activity {
            Activity::Execution(_) => "the pipeline's role",
            Activity::Converge
            | Activity::Delete
            | Activity::Prune
            | Activity::Announce
            | Activity::Subscribe => "the operator",
        }
    }

    /// The command that prints the operator's policy.
    fn printer(&self) -> &'static str {
        match self.activity {
            Activity::Prune => "`repofanout iam-policy --allow-prune`",
            Activity::Converge
            | Activity::Delete
            | Activity::Announce
            | Activity::Subscribe
            | Activity::Execution(_) => "`repofanout iam-policy`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Class;

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234";
    const ROLE: &str = "arn:aws:iam::111122223333:role/operator";
    const USER: &str = "User: arn:aws:sts::111122223333:assumed-role/operator/s is not authorized \
                        to perform: ";

    fn place(region: &str) -> Placement {
        Placement {
            account: "111122223333".into(),
            partition: "aws".into(),
            region: region.into(),
            class: None,
            base_name: "rf-docs".into(),
        }
    }

    fn error(class: Class, call: &'static str, code: &str, message: &str) -> Error {
        Error {
            class,
            call,
            code: Some(code.to_owned()),
            message: message.to_owned(),
            request_id: None,
        }
    }

    fn advised(error: &Error, activity: Activity<'_>, region: &str) -> Option<Advice> {
        let place = place(region);
        let parties = Parties {
            caller: ROLE.to_owned(),
            operator: ROLE.to_owned(),
            arns: vec![KEY.to_owned()],
        };
        advice(error, &parties.situation(activity, Some(&place)))
    }

    /// AWS's words, or those that people report, and who is named as the cause. The sources stand
    /// beside the rows of the table.
    #[test]
    fn each_words_of_aws_name_the_culprit_and_what_to_do() {
        use Activity::{Announce, Converge, Delete, Prune, Subscribe};
        use Class::{Conflict, Denied, Invalid, NotFound, Quota as Used};
        let user = |rest: &str| format!("{USER}{rest}");
        let table = [
            (
                error(
                    Denied,
                    "sts:AssumeRole",
                    "AccessDenied",
                    &user("sts:TagSession on resource: arn:aws:iam::444455556666:role/fanout"),
                ),
                Converge,
                &[
                    "the trust policy of the role has to allow sts:TagSession",
                    ROLE,
                ][..],
            ),
            (
                error(
                    Denied,
                    "sts:AssumeRole",
                    "AccessDenied",
                    &user("sts:AssumeRole on resource: arn:aws:iam::444455556666:role/fanout"),
                ),
                Converge,
                &[
                    "the trust policy of the role does not let arn:aws:iam::111122223333:role/operator in",
                    "external id",
                ],
            ),
            (
                error(
                    Denied,
                    "sts:AssumeRole",
                    "PackedPolicyTooLarge",
                    "Packed size of session tags consumes 138% of allotted space.",
                ),
                Converge,
                &["sessionTags", "disableSessionTags"],
            ),
            (
                error(
                    Denied,
                    "sns:CreateTopic",
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ),
                Converge,
                &["credentials have expired", "IRSA"],
            ),
            (
                error(
                    Denied,
                    "s3:ListBucket",
                    "RequestTimeTooSkewed",
                    "The difference between the request time and the current time is too large.",
                ),
                Converge,
                &["clock"],
            ),
            (
                error(
                    Denied,
                    "codepipeline:CreatePipeline",
                    "AccessDeniedException",
                    &user(
                        "codepipeline:CreatePipeline with an explicit deny in a service control policy",
                    ),
                ),
                Converge,
                &[
                    "a service control policy of the AWS organization denies codepipeline:CreatePipeline",
                    "account 111122223333",
                ],
            ),
            (
                error(
                    Denied,
                    "s3:ListBucket",
                    "AccessDenied",
                    &user(
                        "s3:ListBucket on resource: \"arn:aws:s3:::b\" with an explicit deny in a resource control policy",
                    ),
                ),
                Converge,
                &["a resource control policy of the AWS organization denies s3:ListBucket"],
            ),
            (
                error(
                    Denied,
                    "s3:ListBucket",
                    "AccessDenied",
                    &user(
                        "s3:ListBucket because no VPC endpoint policy allows the s3:ListBucket action",
                    ),
                ),
                Converge,
                &["the policy of the VPC endpoint", "s3:ListBucket"],
            ),
            (
                error(
                    Denied,
                    "iam:CreateRole",
                    "AccessDenied",
                    &user(
                        "iam:CreateRole because no permissions boundary allows the iam:CreateRole action",
                    ),
                ),
                Converge,
                &["the permissions boundary of the operator denies iam:CreateRole"],
            ),
            (
                error(
                    Denied,
                    "iam:CreateRole",
                    "AccessDenied",
                    &user(
                        "iam:CreateRole because no session policy allows the iam:CreateRole action",
                    ),
                ),
                Converge,
                &["the session policy of the operator's credentials"],
            ),
            (
                error(
                    Denied,
                    "sns:SetTopicAttributes",
                    "AuthorizationError",
                    &user(
                        "SNS:SetTopicAttributes on resource: arn:aws:sns:eu-west-1:111122223333:t because no resource-based policy allows the SNS:SetTopicAttributes action",
                    ),
                ),
                Converge,
                &["the policy of the resource itself has to allow SNS:SetTopicAttributes"],
            ),
            (
                error(
                    Denied,
                    "s3:PutBucketPolicy",
                    "AccessDenied",
                    &user(
                        "s3:PutBucketPolicy on resource: \"arn:aws:s3:::b\" with an explicit deny in a resource-based policy",
                    ),
                ),
                Converge,
                &[
                    "the policy of the resource itself denies s3:PutBucketPolicy",
                    "Deny statement",
                ],
            ),
            (
                error(
                    Denied,
                    "s3:DeleteObject",
                    "AccessDenied",
                    &user(
                        "s3:GetObject on resource: \"arn:aws:s3:::b/x\" because no identity-based policy allows the s3:GetObject action",
                    ),
                ),
                Prune,
                &[
                    "allow s3:GetObject in the operator's IAM policy, as `repofanout iam-policy --allow-prune` prints it",
                ],
            ),
            (
                error(Denied, "s3:DeleteBucket", "AccessDenied", "Access Denied"),
                Delete,
                &[
                    "allow s3:DeleteBucket in the operator's IAM policy",
                    "AWS does not say which policy",
                ],
            ),
            (
                error(
                    Denied,
                    "sns:Publish",
                    "KMSAccessDenied",
                    &user(&format!(
                        "kms:GenerateDataKey on resource: {KEY} because no identity-based policy allows the kms:GenerateDataKey action (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException)"
                    )),
                ),
                Announce,
                &[
                    "KMS key arn:aws:kms:eu-west-1:111122223333:key/1234",
                    "the IAM policy of the operator has to contain {",
                    "sns.*.amazonaws.com*",
                    "kms:GenerateDataKey*",
                    r#""Resource":"arn:aws:kms"#,
                ],
            ),
            (
                error(
                    Denied,
                    "sns:Publish",
                    "KMSAccessDenied",
                    "null (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException)",
                ),
                Announce,
                &[
                    "the KMS key does not let the operator in: the policy of the key has to contain {",
                    r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/operator"}"#,
                ],
            ),
            (
                error(
                    Denied,
                    "s3:PutObject",
                    "AccessDenied",
                    &user(
                        "kms:GenerateDataKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
                    ),
                ),
                Prune,
                &[
                    "the policy of the key has to contain {",
                    "s3.*.amazonaws.com*",
                ],
            ),
            (
                error(
                    Denied,
                    "sns:Publish",
                    "KMSAccessDenied",
                    &user("kms:GenerateDataKey with an explicit deny in a service control policy"),
                ),
                Announce,
                &["a service control policy of the AWS organization denies kms:GenerateDataKey"],
            ),
            (
                error(Invalid, "sns:Publish", "KMSDisabled", "the key is disabled"),
                Announce,
                &["enable it"],
            ),
            (
                error(Invalid, "sns:Publish", "KMSNotFound", "there is no key"),
                Announce,
                &["there is no such KMS key in this region"],
            ),
            (
                error(
                    NotFound,
                    "iam:CreateRole",
                    "NoSuchEntity",
                    "Scope ARN: arn:aws:iam::111122223333:policy/bound does not exist or is not attachable.",
                ),
                Converge,
                &[
                    "the permissions boundary (another ARN) does not exist",
                    "--only boundary",
                ],
            ),
            (
                error(
                    Conflict,
                    "iam:DeleteRole",
                    "DeleteConflict",
                    "Cannot delete entity, must detach all policies first.",
                ),
                Delete,
                &["detach or delete them"],
            ),
            (
                error(
                    Used,
                    "codepipeline:CreatePipeline",
                    "LimitExceededException",
                    "no more",
                ),
                Converge,
                &[
                    "AWS allows 1000 pipelines per account and region",
                    "https://eu-west-1.console.aws.amazon.com/servicequotas/home/services/codepipeline/quotas",
                ],
            ),
            (
                error(
                    Used,
                    "iam:CreateRole",
                    "LimitExceeded",
                    "Cannot exceed quota for RolesPerAccount: 1000",
                ),
                Converge,
                &[
                    "1000 roles",
                    "https://us-east-1.console.aws.amazon.com/servicequotas/home/services/iam/quotas",
                ],
            ),
            (
                error(
                    Used,
                    "codestar-notifications:CreateNotificationRule",
                    "LimitExceededException",
                    "no more",
                ),
                Converge,
                &["1000 notification rules", "AWS does not raise it"],
            ),
            (
                error(
                    Used,
                    "sns:Subscribe",
                    "FilterPolicyLimitExceeded",
                    "no more",
                ),
                Subscribe,
                &["filter policies", "services/sns/quotas"],
            ),
            (
                error(
                    Invalid,
                    "sns:Subscribe",
                    "InvalidParameter",
                    "Invalid parameter: SQS endpoint ARN",
                ),
                Subscribe,
                &["check that the endpoint exists"],
            ),
            (
                error(
                    NotFound,
                    "s3:PutBucketTagging",
                    "NoSuchBucket",
                    "The specified bucket does not exist",
                ),
                Delete,
                &["what this call names does not exist"],
            ),
        ];
        for (error, activity, expected) in table {
            let advice = advised(&error, activity, "eu-west-1");
            let Advice { text, .. } = advice.unwrap_or_else(|| panic!("no advice: {error}"));
            for words in expected {
                assert!(text.contains(words), "{error}\n  {text}\n  lacks {words}");
            }
            assert!(!text.contains("444455556666"), "{text}");
        }
    }

    #[test]
    fn what_passes_or_was_never_seen_gets_no_advice() {
        for error in [
            error(Class::Transient, "sns:Publish", "InternalError", "sorry"),
            error(
                Class::Throttled,
                "sns:Publish",
                "Throttling",
                "Rate exceeded",
            ),
            error(Class::Conflict, "s3:DeleteBucket", "BucketNotEmpty", "full"),
            error(Class::NotFound, "iam:GetRole", "NoSuchEntity", "none"),
            error(
                Class::Invalid,
                "s3:CreateBucket",
                "InvalidBucketName",
                "bad",
            ),
        ] {
            assert_eq!(advised(&error, Activity::Converge, "eu-west-1"), None);
        }
    }

    #[test]
    fn credentials_that_a_region_does_not_know_point_to_the_region_where_it_may_be_off() {
        for (call, code, words) in [
            (
                "s3:ListBucket",
                "InvalidToken",
                "The provided token is malformed or otherwise invalid.",
            ),
            (
                "sns:CreateTopic",
                "InvalidClientTokenId",
                "The security token included in the request is invalid",
            ),
            (
                "codepipeline:CreatePipeline",
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
        ] {
            let error = error(Class::Denied, call, code, words);
            let text = |region| advised(&error, Activity::Converge, region).unwrap().text;
            let off = "region af-south-1 is off in account 111122223333";
            assert!(
                text("af-south-1").starts_with(off),
                "{}",
                text("af-south-1")
            );
            let known = text("eu-west-1");
            assert!(
                known.contains("AWS does not know the operator's"),
                "{known}"
            );
        }
        let words = "STS is not activated in this region for account:111122223333.";
        let error = error(
            Class::Denied,
            "sts:AssumeRole",
            "RegionDisabledException",
            words,
        );
        let text = advised(&error, Activity::Converge, "af-south-1");
        assert!(text.unwrap().text.contains("in its own region"));
    }

    #[test]
    fn failed_executions_name_the_app_the_branch_the_key_or_the_boundary() {
        let session = "User: arn:aws:sts::111122223333:assumed-role/rf-docs/codepipeline is not \
                       authorized to perform: ";
        let role = "arn:aws:iam::111122223333:role/repofanout/rf-docs";
        let failure = |stage: &str, message: String| Failure {
            stage: stage.to_owned(),
            code: None,
            message,
        };
        for (failure, expected) in [
            (
                failure(
                    "Source",
                    "[GitHub] No Branch [main] found for FullRepositoryName [acme/docs]".into(),
                ),
                &[
                    "correct spec.branch or push that branch",
                    "install the app in `acme` and grant it access to acme/docs",
                ][..],
            ),
            (
                failure(
                    "Source",
                    "Could not access the repository acme/docs through the connection".into(),
                ),
                &["grant the AWS Connector app access to acme/docs"],
            ),
            (
                failure(
                    "Deploy",
                    format!(
                        "{session}kms:GenerateDataKey on resource: {KEY} because no identity-based policy allows the kms:GenerateDataKey action"
                    ),
                ),
                &[
                    "KMS key (another ARN) does not let the pipeline's role in: the policy of the key has to contain {",
                    role,
                    "s3.*.amazonaws.com*",
                ],
            ),
            (
                failure(
                    "Deploy",
                    format!(
                        "{session}s3:PutObject because no permissions boundary allows the s3:PutObject action"
                    ),
                ),
                &[
                    "the permissions boundary of the pipeline's role denies s3:PutObject",
                    "--only boundary",
                ],
            ),
        ] {
            let situation = Situation {
                activity: Activity::Execution("acme/docs"),
                place: None,
                caller: role,
                operator: ROLE,
                audience: Audience::Own(&[]),
            };
            let text = of_failure(&failure, &situation).unwrap().text;
            for words in expected {
                assert!(text.contains(words), "{text}\n  lacks {words}");
            }
        }
        // What was never seen is quoted and not guessed at.
        let situation = Parties::default();
        let situation = situation.situation(Activity::Execution("acme/docs"), None);
        let other = failure("Deploy", "the file is too large".into());
        assert_eq!(of_failure(&other, &situation), None);
    }
}
