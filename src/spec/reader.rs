//! `destination.readers`: who else may read what is copied.

use crate::api::repofanout::ReaderSpec;
use crate::domain::arn::Arn;
use crate::domain::pattern::covers;
use crate::domain::refusal::{Refusal, invalid};

/// Somebody who is let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// Everybody whom this account, twelve digits, lets read.
    Account(String),
    /// The role with this ARN.
    Role(String),
    /// Every account of the organization with this id that lets its own people read.
    Organization(String),
}

impl Reader {
    /// What the object says.
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

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Account(text) | Self::Role(text) | Self::Organization(text) => text,
        }
    }

    /// Whether patterns allow it; an account's allow its roles, too.
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
