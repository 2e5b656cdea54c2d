//! The readers of what is copied: statements of ours in the policy of the destination bucket. They
//! carry no tags: their Sids, made of the owner, say whose they are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::domain::owner::Owner;
use crate::domain::refusal::Refusal;
use crate::domain::{arn, names, policy_document};
use crate::resource::delta::{Delta, Field};
use crate::resource::managed::{Planned, Wanted};
use crate::spec::reader::Reader;

/// The longest bucket policy that Amazon S3 takes, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html>
const LONGEST_POLICY: usize = 20 * 1024;

/// The statements, as they are to be in the bucket's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Readers {
    /// Name of the bucket.
    pub bucket: String,
    /// Whether its policy is the operator's to write.
    pub writable: bool,
    /// The Sids that are ours, whether or not a statement has them now.
    pub sids: Vec<String>,
    /// The statements; none where nobody is let in.
    pub statements: Vec<Value>,
    /// ARN of the KMS key that encrypts the bucket.
    pub kms_key: Option<String>,
}

impl Readers {
    /// Lets `readers` list and get what is under the prefix.
    pub fn new(
        partition: &str,
        (bucket, writable): (&str, bool),
        prefix: &str,
        owner: &Owner,
        readers: &[Reader],
    ) -> Self {
        let sids = sids(owner);
        let arn = arn::bucket(partition, bucket);
        let mut principals = Vec::new();
        let mut organizations = Vec::new();
        for reader in readers {
            match reader {
                Reader::Account(account) => {
                    principals.push(format!("arn:{partition}:iam::{account}:root"))
                }
                Reader::Role(arn) => principals.push(arn.clone()),
                Reader::Organization(id) => organizations.push(id.clone()),
            }
        }
        let mut statements = Vec::new();
        let groups = [(json!({"AWS": principals}), principals.is_empty(), None), {
            let of = json!({"aws:PrincipalOrgID": organizations});
            (json!("*"), organizations.is_empty(), Some(of))
        }];
        for ((principal, nobody, of), sids) in groups.into_iter().zip(sids.chunks(2)) {
            let [get, list] = sids else { continue };
            if nobody {
                continue;
            }
            let mut get = json!({
                "Sid": get, "Effect": "Allow", "Principal": principal, "Action": "s3:GetObject",
                "Resource": format!("{arn}/{prefix}/*"),
            });
            let mut list = json!({
                "Sid": list, "Effect": "Allow", "Principal": principal, "Action": "s3:ListBucket", "Resource": arn,
                "Condition": {"StringLike": {"s3:prefix": format!("{prefix}/*")}},
            });
            if let Some(of) = of {
                get["Condition"]["StringEquals"] = of.clone();
                list["Condition"]["StringEquals"] = of;
            }
            statements.extend([get, list]);
        }
        Self {
            bucket: bucket.to_owned(),
            writable,
            sids,
            statements,
            kms_key: None,
        }
    }

    /// Statements that the policy of the bucket's key needs, so that readers can decrypt; the key is
    /// its owner's to configure.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html#bucket-key-changes>
    pub fn decrypt(&self, partition: &str) -> Vec<Value> {
        let bucket = arn::bucket(partition, &self.bucket);
        let gets = self
            .statements
            .iter()
            .filter(|s| s["Action"] == "s3:GetObject");
        let decrypt = gets.map(|get| {
            let context = json!({"kms:EncryptionContext:aws:s3:arn": [bucket, get["Resource"]]});
            let mut decrypt = json!({
                "Effect": "Allow", "Principal": get["Principal"], "Action": "kms:Decrypt", "Resource": "*",
                "Condition": {"StringLike": context},
            });
            if let Some(of) = get.pointer("/Condition/StringEquals") {
                decrypt["Condition"]["StringEquals"] = of.clone();
            }
            decrypt
        });
        if self.kms_key.is_some() {
            decrypt.collect()
        } else {
            Vec::new()
        }
    }

    /// The differences in the bucket's policy. Where the operator may not write it, a statement too
    /// many is none.
    fn diff(&self, policy: Option<&Value>) -> Delta {
        let mut delta = Delta::default();
        let path = format!("policy of {}", self.bucket);
        if !self.writable {
            for statement in policy_document::missing(policy, &self.statements) {
                delta.note(Field::Policy, &path, "nothing", statement);
            }
        } else if !policy_document::holds(policy, &self.sids, &self.statements) {
            let from = match self.any(policy) {
                true => "other statements",
                false => "no statements",
            };
            let to = match self.statements.is_empty() {
                true => "no statements",
                false => "the readers' statements",
            };
            delta.note(Field::Policy, path, from, to);
        }
        delta
    }

    /// Without those whom AWS does not know: it takes no policy that names them.
    fn without(&self, unknown: &BTreeSet<String>) -> Self {
        let unknown = |one: &str| unknown.contains(one);
        Self {
            statements: policy_document::leave_out(&self.statements, unknown).0,
            ..self.clone()
        }
    }

    /// The policy with these statements in the place of those that were ours.
    pub fn updated(&self, policy: Option<&Value>) -> Value {
        policy_document::replace(policy, &self.sids, &self.statements)
    }

    /// Whether any statement of ours is in the policy.
    pub fn any(&self, document: Option<&Value>) -> bool {
        policy_document::has_sid(document, &self.sids)
    }
}

/// The Sids of an owner's statements: get and list, by principals and by organizations.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html>
pub fn sids(owner: &Owner) -> Vec<String> {
    let Owner {
        cluster,
        kind,
        namespace,
        name,
    } = owner;
    let id = names::token(&[cluster, kind, namespace, name]);
    ["Get", "List", "OrgGet", "OrgList"]
        .iter()
        .map(|what| format!("RepoFanoutRead{id}{what}"))
        .collect()
}

/// The statements that are to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// For the first time.
    Create(Readers),
    /// In the place of others of ours, which differ so.
    Update(Readers, Delta),
}

impl Write {
    /// The statements.
    pub fn readers(&self) -> &Readers {
        match self {
            Self::Create(readers) | Self::Update(readers, _) => readers,
        }
    }
}

/// The next change, once all else is made: whoever is let in finds something there, and a refusal
/// here keeps nothing else from being made.
pub(super) fn plan(
    wanted: &Wanted<Readers>,
    policy: Option<&Value>,
    unknown: &BTreeSet<String>,
    all_else_is_made: bool,
) -> Planned<Write> {
    let Some(readers) = wanted.own() else {
        return Ok(None);
    };
    let readers = &readers.without(unknown);
    let delta = readers.diff(policy);
    let new = !readers.any(policy);
    if delta.is_empty() || (new && !all_else_is_made) {
        return Ok(None);
    }
    let bucket = &readers.bucket;
    if !readers.writable {
        let missing = policy_document::missing(policy, &readers.statements);
        let missing: Vec<String> = missing.into_iter().map(Value::to_string).collect();
        return Err(Refusal::new(
            Reason::AccessDenied,
            format!(
                "destination.readers: bucket {bucket} is not the operator's to configure, and \
                     its policy does not let them in; add these statements to it, or leave \
                     readers out: {}",
                missing.join(", ")
            ),
        ));
    }
    let size = readers.updated(policy).to_string().len();
    if size > LONGEST_POLICY {
        return Err(Refusal::new(
            Reason::QuotaExceeded,
            format!(
                "destination.readers: the policy of bucket {bucket} would have {size} bytes, \
                     and Amazon S3 takes {LONGEST_POLICY}; name fewer readers, or an \
                     organization in the place of many, or have a bucket of one's own"
            ),
        ));
    }
    Ok(Some(match new {
        true => Write::Create(readers.clone()),
        false => Write::Update(readers.clone(), delta),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_let_in_under_the_prefix_alone() {
        let owner = Owner {
            cluster: "c".into(),
            kind: "RepoFanout".into(),
            namespace: "n".into(),
            name: "x".into(),
        };
        let role = "arn:aws:iam::444455556666:role/site";
        let all = [
            Reader::Account("111122223333".into()),
            Reader::Role(role.into()),
            Reader::Organization("o-abcdefghij".into()),
        ];
        let readers = Readers::new("aws", ("b", true), "acme/docs", &owner, &all);
        assert_eq!(readers.statements.len(), 4);
        assert_eq!(
            readers.statements[0]["Principal"]["AWS"],
            json!(["arn:aws:iam::111122223333:root", role])
        );
        assert_eq!(
            readers.statements[0]["Resource"],
            "arn:aws:s3:::b/acme/docs/*"
        );
        assert_eq!(
            readers.statements[1]["Condition"]["StringLike"]["s3:prefix"],
            "acme/docs/*"
        );
        assert_eq!(
            readers.statements[2]["Condition"]["StringEquals"]["aws:PrincipalOrgID"],
            json!(["o-abcdefghij"])
        );
        assert!(
            readers
                .statements
                .iter()
                .all(|s| readers.sids.iter().any(|sid| s["Sid"] == **sid))
        );
        assert!(
            readers.decrypt("aws").is_empty(),
            "Amazon S3's own key needs no word"
        );
        let keyed = Readers {
            kms_key: Some("k".into()),
            ..readers.clone()
        };
        let decrypt = keyed.decrypt("aws");
        assert_eq!(decrypt[0]["Principal"], readers.statements[0]["Principal"]);
        assert_eq!(
            decrypt[1]["Condition"]["StringEquals"]["aws:PrincipalOrgID"],
            json!(["o-abcdefghij"])
        );
        let nobody = Readers::new("aws", ("b", true), "acme/docs", &owner, &[]);
        assert!(nobody.statements.is_empty() && nobody.sids == readers.sids);
        let patterns = ["444455556666".to_owned()];
        assert!(
            all[1].covered(&patterns) && !all[0].covered(&patterns) && !all[2].covered(&patterns)
        );
    }
}
