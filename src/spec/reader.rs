//! `destination.readers`: others who may read the copied files.

use crate::api::repofanout::ReaderSpec;
use crate::domain::arn::Arn;
use crate::domain::pattern::covers;
use crate::domain::refusal::{Refusal, invalid};

/// An account, a role or an organization that may read the copied files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// This account, twelve digits; its own policies decide which of its principals read.
    Account(String),
    /// The role with this ARN.
    Role(String),
    /// Every account of the organization with this id; their own policies decide who reads.
    Organization(String),
}

impl Reader {
    /// Parses one entry.
    pub fn parse(spec: ReaderSpec) -> Result<Self, Refusal> {
        match (spec.account, spec.role_arn, spec.organization) {
            (Some(account), None, None) => Ok(Self::Account(account)),
            (None, Some(arn), None) => Ok(Self::Role(arn)),
            (None, None, Some(id)) => Ok(Self::Organization(id)),
            _ => Err(invalid(
                "destination.readers: write one of account, roleARN and organization in each entry",
            )),
        }
    }

    /// The entry as the spec has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Account(text) | Self::Role(text) | Self::Organization(text) => text,
        }
    }

    /// Whether a pattern covers it. A pattern that covers an account covers its roles, too.
    pub fn covered(&self, patterns: &[String]) -> bool {
        let account = match self {
            Self::Role(arn) => Arn::parse(arn).map(|arn| arn.account),
            _ => None,
        };
        covers(patterns, self.as_str()) || account.is_some_and(|account| covers(patterns, account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_covers_its_roles_and_one_of_three_is_named() {
        let account = || Some("111122223333".to_owned());
        let role = || Some("arn:aws:iam::111122223333:role/r".to_owned());
        let organization = || Some("o-abcdefghij".to_owned());
        let parse = |account, role_arn, organization| {
            Reader::parse(ReaderSpec {
                account,
                role_arn,
                organization,
            })
        };
        let readers = [
            parse(account(), None, None),
            parse(None, role(), None),
            parse(None, None, organization()),
        ]
        .map(Result::unwrap);
        let table = [
            ("111122223333", [true, true, false]),
            ("arn:aws:iam::111122223333:role/*", [false, true, false]),
            ("o-*", [false, false, true]),
            ("*", [true; 3]),
            ("444455556666", [false; 3]),
        ];
        for (pattern, expected) in table {
            let covered = readers.each_ref().map(|r| r.covered(&[pattern.to_owned()]));
            assert_eq!(covered, expected, "{pattern}");
        }
        assert!(parse(None, None, None).is_err());
        assert!(parse(account(), role(), None).is_err());
    }
}
