//! S3 buckets: the one that CodePipeline keeps its artifacts in, and the one that the files go to.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::domain::kind::Resource;
use crate::domain::owner::{CREATED_AT, Tags};
use crate::domain::placement::Placement;
use crate::domain::refusal::Refusal;
use crate::domain::{arn, names, policy_document};
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted};
use crate::resource::retention::Retention;
use crate::resource::scope::{Scope, allow};
use crate::spec::source::Source;

/// Id of our rule in a bucket's lifecycle configuration.
pub const LIFECYCLE_RULE: &str = "repofanout";
/// Sid of our statement in bucket policies.
const TLS_SID: &str = "RepoFanoutTLSOnly";

/// An own bucket: public access blocked, owner-enforced, encrypted, TLS only.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Our statement in its policy.
    pub statement: Value,
    /// Our rule in its lifecycle configuration.
    pub lifecycle: Lifecycle,
    /// ARN of the KMS key that encrypts it; in whatever way if none.
    pub kms_key: Option<String>,
    /// Whether its name lies in the account's own namespace of S3.
    pub account_regional: bool,
    /// Our tags.
    pub tags: Tags,
}

/// Our lifecycle rule. Days; uploads left unfinished are always aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// After how many days an object expires, if at all.
    pub expiration_days: Option<i32>,
    /// After how many days an unfinished multipart upload is aborted.
    pub abort_days: i32,
}

/// A bucket as its name shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum BucketView {
    /// There is none.
    #[default]
    Missing,
    /// There is one that this account may not look into.
    Forbidden,
    /// There is one, in the named region.
    Elsewhere(String),
    /// There is one, and these are its settings.
    Present(Box<ObservedBucket>),
}

impl BucketView {
    /// When the bucket was made, by its tag.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.present()?.tags.get(CREATED_AT)?.parse().ok()
    }

    /// Its settings, where it is there to be looked into.
    pub fn present(&self) -> Option<&ObservedBucket> {
        match self {
            Self::Present(bucket) => Some(bucket),
            Self::Missing | Self::Forbidden | Self::Elsewhere(_) => None,
        }
    }
}

/// A bucket's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedBucket {
    /// All its tags.
    pub tags: Tags,
    /// Whether all four public access blocks are on.
    pub public_access_blocked: bool,
    /// Whether ACLs are off.
    pub owner_enforced: bool,
    /// Whether new objects are encrypted, in whatever way.
    pub encrypted: bool,
    /// ARN or id of the KMS key that encrypts them.
    pub kms_key: Option<String>,
    /// Its policy.
    pub policy: Option<Value>,
    /// Our lifecycle rule.
    pub lifecycle: Option<Lifecycle>,
}

impl ObservedBucket {
    /// A bucket as AWS makes it: nothing public, no ACLs, encrypted.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html>
    pub fn created(tags: Tags) -> Self {
        Self {
            tags,
            public_access_blocked: true,
            owner_enforced: true,
            encrypted: true,
            kms_key: None,
            policy: None,
            lifecycle: None,
        }
    }
}

impl Bucket {
    /// The found state once it is made with these tags.
    pub fn created(&self, tags: Tags) -> ObservedBucket {
        self.updated(&ObservedBucket::created(tags))
    }
}

impl Managed for Bucket {
    type Found = ObservedBucket;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedBucket) -> &Tags {
        &found.tags
    }

    fn called(&self, _: &ObservedBucket) -> String {
        format!("bucket {}", self.name)
    }

    fn diff(&self, found: &ObservedBucket) -> Delta {
        let mut delta = Delta::default();
        let flags = [
            (
                Field::PublicAccessBlock,
                "publicAccessBlock",
                found.public_access_blocked,
            ),
            (Field::Ownership, "ownerEnforced", found.owner_enforced),
            (Field::Encryption, "encrypted", found.encrypted),
        ];
        for (field, path, on) in flags {
            delta.differ(field, path, &on, &true);
        }
        delta.key(self.kms_key.as_ref(), found.kms_key.as_ref());
        if !policy_document::contains(found.policy.as_ref(), &self.statement) {
            let path = format!("policy.{TLS_SID}");
            delta.note(Field::Policy, path, "absent or changed", "present");
        }
        if found.lifecycle != Some(self.lifecycle) {
            let text = |l: Option<Lifecycle>| l.map_or("none".to_owned(), |l| format!("{l:?}"));
            let (from, to) = (text(found.lifecycle), text(Some(self.lifecycle)));
            delta.note(Field::Lifecycle, "lifecycle", from, to);
        }
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedBucket) -> ObservedBucket {
        ObservedBucket {
            tags: retagged(&found.tags, &self.tags),
            public_access_blocked: true,
            owner_enforced: true,
            encrypted: true,
            kms_key: self.kms_key.clone().or_else(|| found.kms_key.clone()),
            policy: Some(policy_document::merge(
                found.policy.as_ref(),
                &self.statement,
            )),
            lifecycle: Some(self.lifecycle),
        }
    }
}

impl Wanted<Bucket> {
    /// The bucket that the object's spec names or has made.
    pub(super) fn bucket(
        common: &Common<'_>,
        source: &Source,
        generated: &str,
        expiration_days: Option<i32>,
    ) -> Self {
        let name = match source {
            Source::Shared(name) => return Self::Shared(name.clone()),
            Source::Existing(name) => return Self::Existing(name.clone()),
            Source::Own(name) => name.as_deref().unwrap_or(generated),
        };
        let Placement {
            partition,
            account,
            region,
            ..
        } = common.place;
        let suffix = names::account_regional_suffix(partition, account, region);
        Self::Own(Bucket {
            name: name.to_owned(),
            statement: tls_only(partition, name),
            lifecycle: Lifecycle {
                expiration_days,
                abort_days: 7,
            },
            kms_key: common.kms_key.cloned(),
            account_regional: suffix.is_some_and(|suffix| name.ends_with(&suffix)),
            tags: common.tags.clone(),
        })
    }

    /// Its name, where the object sees to the bucket itself.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Own(bucket) => Some(&bucket.name),
            Self::Existing(name) => Some(name),
            Self::Unmanaged | Self::Shared(_) | Self::Waiting(_) => None,
        }
    }
}

/// Refuses requests to the bucket that are not encrypted in transit.
fn tls_only(partition: &str, bucket: &str) -> Value {
    let arn = arn::bucket(partition, bucket);
    json!({
        "Sid": TLS_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    })
}

/// The next change of a bucket.
pub(super) fn plan(
    resource: Resource,
    wanted: &Wanted<Bucket>,
    view: &BucketView,
    facts: &Facts<'_>,
) -> Planned<Change<Bucket>> {
    let Placement {
        region,
        account,
        partition,
        ..
    } = facts.place;
    let (reason, message) = match (wanted, view) {
        (Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_), _)
        | (Wanted::Existing(_), BucketView::Present(_)) => return Ok(None),
        (Wanted::Own(bucket), BucketView::Missing) => {
            return Ok(Change::between(resource, bucket, None, facts));
        }
        (Wanted::Own(bucket), BucketView::Present(found)) => {
            return Ok(Change::between(resource, bucket, Some(found), facts));
        }
        (Wanted::Own(bucket), BucketView::Forbidden) => (
            Reason::NotOwned,
            format!(
                "{resource} bucket {} belongs to another account, or denies this one \
                     s3:ListBucket; bucket names are shared by all of AWS, choose another one",
                bucket.name
            ),
        ),
        (Wanted::Own(bucket), BucketView::Elsewhere(other)) => (
            Reason::PlacementChanged,
            format!(
                "{resource} bucket {} exists in region {other}, and this object's region is \
                     {region}; nothing is built a second time. Give the operator its former \
                     region back, or choose another name",
                bucket.name
            ),
        ),
        (Wanted::Existing(name), BucketView::Missing) => (
            Reason::NotFound,
            format!(
                "{resource}.existingBucket: there is no bucket {name}; create it in region \
                     {region}, or name another one"
            ),
        ),
        (Wanted::Existing(name), BucketView::Forbidden) => (
            Reason::AccessDenied,
            format!(
                "{resource}.existingBucket: {name} belongs to another account, or denies the \
                     operator s3:ListBucket; name a bucket of account {account}, or allow \
                     s3:ListBucket on arn:{partition}:s3:::{name}"
            ),
        ),
        (Wanted::Existing(name), BucketView::Elsewhere(other)) => (
            Reason::InvalidSpec,
            format!(
                "{resource}.existingBucket: {name} lies in region {other}, the pipeline in \
                     {region}; name a bucket of that region"
            ),
        ),
    };
    Err(Refusal::new(reason, message))
}

impl Retention {
    /// Whether the own artifacts bucket is kept.
    pub fn keeps_artifacts(&self, tags: &Tags) -> bool {
        self.keeps(self.0.artifacts.as_ref(), tags, false)
    }

    /// Whether the own destination bucket is kept: its files are what everything was made for.
    pub fn keeps_destination(&self, tags: &Tags) -> bool {
        self.keeps(self.0.destination.as_ref(), tags, true)
    }

    /// Whether our prefix of an existing bucket is kept. The default is not enough to clear it.
    pub fn keeps_prefix(&self) -> bool {
        self.0.destination.as_deref() != Some("Delete")
    }
}

/// IAM statements of the operator for own buckets.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let actions = [
        "s3:CreateBucket",
        "s3:DeleteBucket",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketTagging",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:TagResource",
    ];
    // An artifacts bucket is emptied before it is deleted.
    let empty = ["s3:DeleteObject", "s3:DeleteObjectVersion"];
    vec![
        allow("Buckets", actions, scope.buckets()),
        allow("Artifacts", empty, format!("{}/*", scope.buckets())),
    ]
}

/// IAM statements for buckets that exist, of which the operator clears at most its own prefix, where
/// an object says `deletion.destination: Delete`.
pub(super) fn existing_statements(scope: &Scope) -> Vec<Value> {
    let mut statements = Vec::new();
    let buckets = scope.existing_named("s3");
    if !buckets.is_empty() {
        let objects: Vec<String> = buckets
            .iter()
            .map(|pattern| format!("{pattern}/*"))
            .collect();
        let delete = ["s3:DeleteObject", "s3:DeleteObjectVersion"];
        statements.push(allow("CopiedFiles", delete, objects));
        statements.push(allow("ListCopiedFiles", "s3:ListBucketVersions", buckets));
    }
    let patterns = scope.existing("s3");
    if !patterns.is_empty() {
        let look = ["s3:GetBucketPolicy", "s3:ListBucket"];
        statements.push(allow("ExistingBuckets", look, patterns));
    }
    statements
}
