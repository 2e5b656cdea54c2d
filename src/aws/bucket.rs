//! S3 buckets.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketNamespace, CreateBucketConfiguration, EncodingType,
    ObjectIdentifier, ObjectOwnership, Tag, Tagging,
};

use crate::aws::bucket_settings::{LifecycleRules, read_lifecycle};
use crate::aws::error::classify;
use crate::aws::object::decoded;
use crate::aws::{Clients, found, gone, json, unbuildable};
use crate::cloud;
use crate::cloud::{Buckets, Class, Result, Written};
use crate::domain::denial::{Denial, PolicyType};
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::domain::policy_document::Gone;
use crate::resource::bucket::{Bucket, LIFECYCLE_RULE};
use crate::resource::bucket::{BucketView, ObservedBucket};
use crate::resource::delta::{Delta, Field};

/// Number of pages of 1,000 versions that one call of `empty` deletes.
const PAGES: usize = 10;

#[async_trait]
impl Buckets for Clients {
    async fn observe(&self, name: &str, settings: bool) -> Result<BucketView> {
        const CALL: &str = "s3:HeadBucket";
        let head = self
            .s3
            .head_bucket()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        self.limits.ready(&self.account, &self.region, CALL).await;
        match head.await {
            Ok(head) => match head.bucket_region() {
                Some(region) if region != self.region => {
                    return Ok(BucketView::Elsewhere(region.to_owned()));
                }
                _ => {}
            },
            Err(error) => {
                // A response to HEAD has no body, so only the status and a header describe the
                // error, and a refusal is asked for again.
                let answer = error.raw_response();
                let status = answer.map(|a| a.status().as_u16());
                let region = answer
                    .and_then(|a| a.headers().get("x-amz-bucket-region"))
                    .map(str::to_owned);
                let error = classify(CALL, error);
                return match (error.class, status, region) {
                    (Class::NotFound, ..) => Ok(BucketView::Missing),
                    (_, Some(301 | 400), Some(region)) if region != self.region => {
                        Ok(BucketView::Elsewhere(region))
                    }
                    (_, Some(301), _) => Ok(BucketView::Elsewhere(
                        "another than the operator asked in".to_owned(),
                    )),
                    (_, Some(403), Some(region)) if region != self.region => {
                        Ok(BucketView::Forbidden)
                    }
                    (_, Some(400 | 403), _) => self.explain(name, error).await,
                    _ => Err(error),
                };
            }
        }
        if !settings {
            return Ok(BucketView::Present(Box::new(ObservedBucket::created(
                Tags::new(),
            ))));
        }
        let (tags, public, ownership, encryption, policy, lifecycle) = tokio::join!(
            self.tags(name),
            self.public_access_blocked(name),
            self.owner_enforced(name),
            self.encryption(name),
            <Self as Buckets>::policy(self, name),
            self.lifecycle(name),
        );
        let encryption = encryption?;
        Ok(BucketView::Present(Box::new(ObservedBucket {
            tags: tags?,
            public_access_blocked: public?,
            owner_enforced: ownership?,
            encrypted: encryption.on,
            kms_key: encryption.kms_key,
            policy: policy?,
            lifecycle: lifecycle?
                .rules
                .iter()
                .find(|r| r.id() == Some(LIFECYCLE_RULE))
                .and_then(read_lifecycle),
        })))
    }

    async fn create(&self, desired: &Bucket, tags: &Tags) -> Result<()> {
        const CALL: &str = "s3:CreateBucket";
        let mut configuration = CreateBucketConfiguration::builder();
        // The location constraint must be left out in us-east-1, and only there.
        if self.region != "us-east-1" {
            configuration = configuration
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()));
        }
        let tag_set = tag_set!(Tag, CALL, tags)?;
        let create = self
            .s3
            .create_bucket()
            .bucket(&desired.name)
            .set_bucket_namespace(
                desired
                    .account_regional
                    .then_some(BucketNamespace::AccountRegional),
            )
            .object_ownership(ObjectOwnership::BucketOwnerEnforced);
        let tagged = configuration.clone().set_tags(Some(tag_set)).build();
        let tagged = create.clone().create_bucket_configuration(tagged);
        match self.call(CALL, tagged.send()).await {
            Ok(_) => {}
            // Some partitions take no tags with this call.
            // <https://github.com/hashicorp/terraform-provider-aws/issues/45566>
            Err(error) if error.code.as_deref() == Some("UnsupportedArgument") => {
                let place = (self.region != "us-east-1").then(|| configuration.build());
                let create = create.set_create_bucket_configuration(place);
                self.call(CALL, create.send()).await?;
                self.tag_new(&desired.name, tags).await?;
            }
            Err(error) => return Err(error),
        }
        if desired.kms_key.is_some() {
            self.put_encryption(desired).await?;
        }
        // A new bucket has neither a policy nor lifecycle rules.
        self.put_statement(desired, None).await?;
        self.put_lifecycle(desired, LifecycleRules::default()).await
    }

    async fn update(&self, desired: &Bucket, delta: &Delta) -> Result<Vec<Gone>> {
        let name = &desired.name;
        let mut gone = Vec::new();
        if delta.has(Field::Tags) {
            Buckets::tag(self, name, &delta.tags()).await?;
        }
        if delta.has(Field::PublicAccessBlock) {
            self.block_public_access(name).await?;
        }
        if delta.has(Field::Ownership) {
            self.enforce_owner(name).await?;
        }
        if delta.has(Field::Encryption) {
            self.put_encryption(desired).await?;
        }
        if delta.has(Field::Policy) {
            let _alone = self.policies.lock().await;
            let present = <Self as Buckets>::policy(self, name).await?;
            gone = self.put_statement(desired, present.as_ref()).await?;
        }
        if delta.has(Field::Lifecycle) {
            let present = self.lifecycle(name).await?;
            self.put_lifecycle(desired, present).await?;
        }
        Ok(gone)
    }

    async fn policy(&self, name: &str) -> Result<Option<serde_json::Value>> {
        const CALL: &str = "s3:GetBucketPolicy";
        let get = self
            .s3
            .get_bucket_policy()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let answer = found(self.call(CALL, get).await)?;
        answer
            .and_then(|a| a.policy)
            .map(|text| json(CALL, &text))
            .transpose()
    }

    async fn allow(
        &self,
        name: &str,
        sids: &[String],
        ours: &[serde_json::Value],
    ) -> Result<Written> {
        // A bucket policy is written as a whole, and the policy of a class's bucket serves many
        // objects, so the writes take place one after another.
        let _alone = self.policies.lock().await;
        let present = <Self as Buckets>::policy(self, name).await?;
        if policy_document::holds(present.as_ref(), sids, ours) {
            return Ok(Written::whole(present.unwrap_or_default()));
        }
        let put = self.put_of(name);
        self.refusals
            .put_ours(name, present.as_ref(), (sids, ours), &put)
            .await
    }

    fn unknown(&self, name: &str, sids: &[String]) -> BTreeSet<String> {
        let sid = sids.first().map_or("", String::as_str);
        self.refusals.unknown(name, sid)
    }

    async fn tag(&self, name: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "s3:PutBucketTagging";
        // PutBucketTagging replaces all tags, so the existing tags are read again and kept.
        let mut all = self.tags(name).await?;
        all.extend(tags.clone());
        let set = tag_set!(Tag, CALL, &all)?;
        let tagging = Tagging::builder()
            .set_tag_set(Some(set))
            .build()
            .map_err(unbuildable(CALL))?;
        let put = self
            .s3
            .put_bucket_tagging()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .tagging(tagging);
        self.call(CALL, put.send()).await.map(|_| ())
    }

    async fn empty(&self, name: &str, prefix: &str) -> Result<(u64, bool)> {
        let mut deleted = 0;
        for _ in 0..PAGES {
            let list = self
                .s3
                .list_object_versions()
                .bucket(name)
                .prefix(prefix)
                .encoding_type(EncodingType::Url)
                .expected_bucket_owner(&self.account)
                .send();
            let Some(page) = found(self.call("s3:ListBucketVersions", list).await)? else {
                return Ok((deleted, false));
            };
            const CALL: &str = "s3:DeleteObjectVersion";
            let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
            let markers = page
                .delete_markers()
                .iter()
                .map(|m| (m.key(), m.version_id()));
            let objects = versions
                .chain(markers)
                .filter_map(|(key, version)| {
                    Some(
                        ObjectIdentifier::builder()
                            .key(decoded(key?))
                            .set_version_id(version.map(str::to_owned))
                            .build(),
                    )
                })
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(unbuildable(CALL))?;
            if objects.is_empty() {
                return Ok((deleted, false));
            }
            let count = objects.len();
            let kept = self.delete_keys(CALL, name, objects).await?;
            if let Some(first) = kept.first() {
                return Err(first.error(CALL, kept.len(), count));
            }
            deleted += count as u64;
            if page.is_truncated() != Some(true) {
                return Ok((deleted, false));
            }
        }
        Ok((deleted, true))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let delete = self
            .s3
            .delete_bucket()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        gone(self.call("s3:DeleteBucket", delete).await)
    }
}

impl Clients {
    /// Asks for the words of a refusal that HeadBucket told by its status alone, by a call that
    /// needs the same permission. A refusal that may come from another account, whose bucket this
    /// would be, leaves a bucket that one may not look into.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
    async fn explain(&self, name: &str, head: cloud::Error) -> Result<BucketView> {
        let list = self
            .s3
            .list_objects_v2()
            .bucket(name)
            .max_keys(1)
            .expected_bucket_owner(&self.account)
            .send();
        let Err(error) = self.call("s3:ListBucket", list).await else {
            return Err(cloud::Error {
                class: Class::Transient,
                ..head
            });
        };
        let is_permission = ["AccessDenied", "AllAccessDisabled"]
            .iter()
            .any(|code| error.code.as_deref() == Some(*code));
        match Denial::parse(&error.message).by {
            None | Some(PolicyType::Resource) if is_permission => Ok(BucketView::Forbidden),
            _ if error.class == Class::NotFound => Ok(BucketView::Missing),
            _ => Err(error),
        }
    }

    /// Tags a bucket that was just made without. One that cannot be tagged is deleted again: without
    /// its tags nobody would know it as ours at the next look.
    async fn tag_new(&self, name: &str, tags: &Tags) -> Result<()> {
        let tagged = Buckets::tag(self, name, tags).await;
        // In us-east-1 the answer to a creation does not tell whether the bucket was there before.
        if tagged.is_err() && self.region != "us-east-1" {
            // What keeps the tags away is what a person has to hear of.
            if let Err(error) = Buckets::delete(self, name).await {
                error.log();
            }
        }
        tagged
    }
}
