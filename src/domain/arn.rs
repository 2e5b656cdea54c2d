//! Amazon Resource Names: their parts, and a filter that hides foreign ones in messages.

/// The parts of an ARN, borrowed.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// The partition, such as `aws` or `aws-cn`.
    pub partition: &'a str,
    /// The service, such as `sns`.
    pub service: &'a str,
    /// The region; empty for global services.
    pub region: &'a str,
    /// The account; empty for S3.
    pub account: &'a str,
    /// The resource: everything after the fifth colon.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// The parts of `text`; none if it does not have six of them.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        match [
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
        ] {
            ["arn", partition, service, region, account, resource] => Some(Self {
                partition,
                service,
                region,
                account,
                resource,
            }),
            _ => None,
        }
    }
}

/// ARN of a bucket.
pub fn bucket(partition: &str, name: &str) -> String {
    format!("arn:{partition}:s3:::{name}")
}

/// ARN of the role of a session, without the role's path, which a session does not tell. Any other
/// ARN is returned as it is.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
pub fn role_of_session(arn: &str) -> String {
    let role = Arn::parse(arn).and_then(|parsed| {
        let session = parsed.resource.strip_prefix("assumed-role/")?;
        let name = session.split('/').next()?;
        let Arn {
            partition, account, ..
        } = parsed;
        Some(format!("arn:{partition}:iam::{account}:role/{name}"))
    });
    role.unwrap_or_else(|| arn.to_owned())
}

/// The ARNs by which AWS calls whoever has this ARN: a user's; a role's, and that of its sessions
/// without their names.
pub fn called(arn: &str) -> Vec<String> {
    let role = role_of_session(arn);
    let session = Arn::parse(&role).and_then(|parsed| {
        let name = parsed.resource.strip_prefix("role/")?.rsplit('/').next()?;
        let Arn {
            partition, account, ..
        } = parsed;
        Some(format!(
            "arn:{partition}:sts::{account}:assumed-role/{name}"
        ))
    });
    std::iter::once(role).chain(session).collect()
}

/// ARN of an IAM policy of the account. A name that is an ARN already is returned as it is.
pub fn policy(partition: &str, account: &str, name: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        format!("arn:{partition}:iam::{account}:policy/{name}")
    }
}

/// The readers of a message. They decide which ARNs the message may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Readers of an object may see these ARNs, and those below them after a slash.
    Own(&'a [String]),
    /// Readers of a class may see all ARNs of this account, twelve digits, and those that name no
    /// account, such as a bucket's.
    Account(&'a str),
}

impl Audience<'_> {
    /// Whether the readers may see this ARN.
    pub fn may_see(self, arn: &str) -> bool {
        match self {
            Self::Own(all) => all.iter().any(|own| {
                arn == own || arn.strip_prefix(&**own).is_some_and(|r| r.starts_with('/'))
            }),
            Self::Account(account) => {
                Arn::parse(arn).is_some_and(|parts| [account, "", "aws"].contains(&parts.account))
            }
        }
    }
}

/// The text without the ARNs that its audience may not see. AWS's messages may name resources of
/// others.
pub fn filter(text: &str, audience: Audience<'_>) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ":/_.-*+=@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("arn:") {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c| !is_part(c)).unwrap_or(tail.len());
        let (found, after) = tail.split_at(end);
        let arn = found.trim_end_matches(['.', ':']);
        out.push_str(before);
        let seen = audience.may_see(arn);
        out.push_str(if seen { arn } else { "(another ARN)" });
        out.push_str(&found[arn.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_arn_has_six_parts_and_the_last_one_keeps_its_colons() {
        let parse = |text| {
            Arn::parse(text).map(|a| [a.partition, a.service, a.region, a.account, a.resource])
        };
        let table = [
            (
                "arn:aws:sns:eu-west-1:111122223333:t",
                Some(["aws", "sns", "eu-west-1", "111122223333", "t"]),
            ),
            (
                "arn:aws-cn:s3:::bucket/key:1",
                Some(["aws-cn", "s3", "", "", "bucket/key:1"]),
            ),
            (
                "arn:aws:iam::111122223333:role/a",
                Some(["aws", "iam", "", "111122223333", "role/a"]),
            ),
            ("arn:aws:sns:eu-west-1:111122223333", None),
            ("urn:aws:sns:eu-west-1:111122223333:t", None),
            ("", None),
        ];
        for (text, parts) in table {
            assert_eq!(parse(text), parts, "{text}");
        }
    }

    #[test]
    fn each_audience_sees_its_own_arns_alone() {
        let own = "arn:aws:iam::111122223333:role/repofanout/rf-a";
        let bucket = "arn:aws:s3:::b";
        let other = "arn:aws:sts::444455556666:assumed-role/x/y";
        let beside = "arn:aws:iam::111122223333:role/repofanout/rf-ab";
        let below = format!("{bucket}/docs/x");
        let aws = "arn:aws:iam::aws:policy/ReadOnlyAccess";
        let none: &[&str] = &[];
        let seen = [own.to_owned(), bucket.to_owned()];
        let of_object = Audience::Own(&seen);
        let of_class = Audience::Account("111122223333");
        let table: [(Audience<'_>, &[&str], &[&str]); 3] = [
            (of_object, &[own, bucket, &below], &[other, beside, aws]),
            (of_class, &[own, beside, bucket, &below, aws], &[other]),
            (Audience::Own(&[]), none, &[own, bucket, other]),
        ];
        for (audience, seen, hidden) in table {
            for arn in seen {
                let text = format!("{arn}: no PassRole on {arn}. See ({arn}), now");
                assert_eq!(filter(&text, audience), text);
            }
            for arn in hidden {
                let text = format!("User: {arn} may not. See {arn}, now");
                assert_eq!(
                    filter(&text, audience),
                    "User: (another ARN) may not. See (another ARN), now",
                    "{arn}"
                );
            }
        }
    }

    #[test]
    fn a_role_is_called_by_its_arn_and_by_that_of_its_sessions() {
        let session = "arn:aws:sts::111122223333:assumed-role/operator/botocore-1";
        let role = "arn:aws:iam::111122223333:role/operator";
        let below = "arn:aws:iam::111122223333:role/team/operator";
        let sessions = "arn:aws:sts::111122223333:assumed-role/operator";
        let user = "arn:aws:iam::111122223333:user/ann";
        assert_eq!(role_of_session(session), role);
        assert_eq!(role_of_session(user), user);
        assert_eq!(called(session), [role, sessions]);
        assert_eq!(called(below), [below, sessions]);
        assert_eq!(called(user), [user]);
        assert!(Audience::Own(&called(below)).may_see(session));
    }

    proptest! {
        #[test]
        fn no_foreign_account_passes(before in ".*", resource in "[a-z/]{1,20}", after in "[^a-z]*") {
            let foreign = format!("arn:aws:iam::444455556666:role/{resource}");
            let text = format!("{before} {foreign} {after}");
            for audience in [Audience::Account("111122223333"), Audience::Own(&[])] {
                prop_assert!(!filter(&text, audience).contains("444455556666"));
            }
        }

        #[test]
        fn text_without_arns_stays(text in "[^:]*") {
            prop_assert_eq!(filter(&text, Audience::Own(&[])), text);
        }
    }
}
