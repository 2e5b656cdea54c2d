//! S3 buckets.

use async_trait::async_trait;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    BucketNamespace, CreateBucketConfiguration, Delete, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter, ObjectIdentifier, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    Tag, Tagging,
};

use crate::aws::error::classify;
use crate::aws::object::not_deleted;
use crate::aws::{Clients, found, gone, json, unbuildable};
use crate::cloud;
use crate::cloud::{Buckets, Class, Result};
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::resource::bucket::{Bucket, LIFECYCLE_RULE, Lifecycle};
use crate::resource::bucket::{BucketView, ObservedBucket};
use crate::resource::delta::{Delta, Field};

/// How many pages of 1,000 versions one call of `empty` deletes.
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
                // Answers to HEAD have no words: what went wrong is told by status and header
                // alone.
                let answer = error.raw_response();
                let status = answer.map(|a| a.status().as_u16());
                let region = answer
                    .and_then(|a| a.headers().get("x-amz-bucket-region"))
                    .map(str::to_owned);
                let error = classify(CALL, error);
                return match (error.class, status, region) {
                    (Class::NotFound, ..) => Ok(BucketView::Missing),
                    (Class::Denied, ..) => Ok(BucketView::Forbidden),
                    (_, Some(301 | 400), Some(region)) if region != self.region => {
                        Ok(BucketView::Elsewhere(region))
                    }
                    (_, Some(301), _) => Ok(BucketView::Elsewhere(
                        "another than the operator asked in".to_owned(),
                    )),
                    (_, Some(400), _) => Err(cloud::Error {
                        class: Class::Denied,
                        message: "HTTP status 400, as a rule because credentials have expired"
                            .to_owned(),
                        ..error
                    }),
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
            self.lifecycle_rules(name),
        );
        let encryption = encryption?;
        Ok(BucketView::Present(Box::new(ObservedBucket {
            tags: tags?,
            public_access_blocked: public?,
            owner_enforced: ownership?,
            encrypted: encryption.0,
            kms_key: encryption.1,
            policy: policy?,
            lifecycle: lifecycle?
                .iter()
                .find(|r| r.id() == Some(LIFECYCLE_RULE))
                .and_then(read_lifecycle),
        })))
    }

    async fn create(&self, desired: &Bucket, tags: &Tags) -> Result<()> {
        const CALL: &str = "s3:CreateBucket";
        let mut configuration = CreateBucketConfiguration::builder();
        // us-east-1 is the one region that must not be named.
        if self.region != "us-east-1" {
            configuration = configuration
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()));
        }
        for tag in tag_set!(Tag, CALL, tags)? {
            configuration = configuration.tags(tag);
        }
        let create = self
            .s3
            .create_bucket()
            .bucket(&desired.name)
            .set_bucket_namespace(
                desired
                    .account_regional
                    .then_some(BucketNamespace::AccountRegional),
            )
            .create_bucket_configuration(configuration.build())
            .object_ownership(ObjectOwnership::BucketOwnerEnforced)
            .send();
        self.call(CALL, create).await?;
        if desired.kms_key.is_some() {
            self.put_encryption(desired).await?;
        }
        // A bucket that was just made has neither policy nor rules.
        self.put_statement(desired, None).await?;
        self.put_lifecycle(desired, Vec::new()).await
    }

    async fn update(&self, desired: &Bucket, delta: &Delta) -> Result<()> {
        let name = &desired.name;
        if delta.has(Field::Tags) {
            Buckets::tag(self, name, &delta.tags()).await?;
        }
        if delta.has(Field::PublicAccessBlock) {
            let block = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true)
                .block_public_policy(true)
                .restrict_public_buckets(true)
                .build();
            let put = self
                .s3
                .put_public_access_block()
                .bucket(name)
                .expected_bucket_owner(&self.account);
            self.call(
                "s3:PutBucketPublicAccessBlock",
                put.public_access_block_configuration(block).send(),
            )
            .await?;
        }
        if delta.has(Field::Ownership) {
            const CALL: &str = "s3:PutBucketOwnershipControls";
            let rule = OwnershipControlsRule::builder()
                .object_ownership(ObjectOwnership::BucketOwnerEnforced)
                .build();
            let controls = OwnershipControls::builder()
                .rules(rule.map_err(unbuildable(CALL))?)
                .build()
                .map_err(unbuildable(CALL))?;
            let put = self
                .s3
                .put_bucket_ownership_controls()
                .bucket(name)
                .expected_bucket_owner(&self.account);
            self.call(CALL, put.ownership_controls(controls).send())
                .await?;
        }
        if delta.has(Field::Encryption) {
            self.put_encryption(desired).await?;
        }
        if delta.has(Field::Policy) {
            let _alone = self.policies.lock().await;
            let present = <Self as Buckets>::policy(self, name).await?;
            self.put_statement(desired, present.as_ref()).await?;
        }
        if delta.has(Field::Lifecycle) {
            let rules = self.lifecycle_rules(name).await?;
            self.put_lifecycle(desired, rules).await?;
        }
        Ok(())
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
    ) -> Result<serde_json::Value> {
        // A policy is written as a whole, and that of a class's bucket for many objects: one after
        // the other.
        let _alone = self.policies.lock().await;
        let present = <Self as Buckets>::policy(self, name).await?;
        let next = policy_document::replace(present.as_ref(), sids, ours);
        if !policy_document::holds(present.as_ref(), sids, ours) {
            self.put_policy(name, &next).await?;
        }
        Ok(next)
    }

    async fn tag(&self, name: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "s3:PutBucketTagging";
        // PutBucketTagging replaces all tags: those that are there are read anew and kept.
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
                            .key(key?)
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
            let delete = Delete::builder()
                .set_objects(Some(objects))
                .quiet(true)
                .build()
                .map_err(unbuildable(CALL))?;
            let delete = self
                .s3
                .delete_objects()
                .bucket(name)
                .expected_bucket_owner(&self.account)
                .delete(delete)
                .send();
            let answer = self.call(CALL, delete).await?;
            if let Some(first) = answer.errors().first() {
                return Err(not_deleted(CALL, answer.errors().len(), count, first));
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
    async fn tags(&self, name: &str) -> Result<Tags> {
        let get = self
            .s3
            .get_bucket_tagging()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let tags = found(self.call("s3:GetBucketTagging", get).await)?;
        Ok(tags
            .iter()
            .flat_map(|t| t.tag_set())
            .map(|t| (t.key().to_owned(), t.value().to_owned()))
            .collect())
    }

    async fn public_access_blocked(&self, name: &str) -> Result<bool> {
        let get = self
            .s3
            .get_public_access_block()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let answer = found(self.call("s3:GetBucketPublicAccessBlock", get).await)?;
        Ok(answer
            .and_then(|a| a.public_access_block_configuration)
            .is_some_and(|c| {
                [
                    c.block_public_acls,
                    c.ignore_public_acls,
                    c.block_public_policy,
                    c.restrict_public_buckets,
                ] == [Some(true); 4]
            }))
    }

    async fn owner_enforced(&self, name: &str) -> Result<bool> {
        let get = self
            .s3
            .get_bucket_ownership_controls()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let answer = found(self.call("s3:GetBucketOwnershipControls", get).await)?;
        let controls = answer.and_then(|a| a.ownership_controls);
        Ok(controls.is_some_and(|c| {
            c.rules
                .iter()
                .any(|r| r.object_ownership == ObjectOwnership::BucketOwnerEnforced)
        }))
    }

    /// Whether it is encrypted, and by which KMS key.
    async fn encryption(&self, name: &str) -> Result<(bool, Option<String>)> {
        let get = self
            .s3
            .get_bucket_encryption()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let answer = found(self.call("s3:GetEncryptionConfiguration", get).await)?;
        let configuration = answer.and_then(|a| a.server_side_encryption_configuration);
        let rules = configuration.map(|c| c.rules).unwrap_or_default();
        let default = rules
            .into_iter()
            .find_map(|r| r.apply_server_side_encryption_by_default);
        Ok((default.is_some(), default.and_then(|d| d.kms_master_key_id)))
    }

    async fn lifecycle_rules(&self, name: &str) -> Result<Vec<LifecycleRule>> {
        let get = self
            .s3
            .get_bucket_lifecycle_configuration()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        Ok(found(self.call("s3:GetLifecycleConfiguration", get).await)?
            .and_then(|a| a.rules)
            .unwrap_or_default())
    }

    /// Encrypts by the bucket's key, or by Amazon S3's own.
    async fn put_encryption(&self, desired: &Bucket) -> Result<()> {
        const CALL: &str = "s3:PutEncryptionConfiguration";
        let algorithm = if desired.kms_key.is_some() {
            ServerSideEncryption::AwsKms
        } else {
            ServerSideEncryption::Aes256
        };
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(algorithm)
            .set_kms_master_key_id(desired.kms_key.clone());
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default.build().map_err(unbuildable(CALL))?)
            // One key for a bucket's day instead of one for each object.
            .set_bucket_key_enabled(desired.kms_key.as_ref().map(|_| true))
            .build();
        let configuration = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(unbuildable(CALL))?;
        let put = self
            .s3
            .put_bucket_encryption()
            .bucket(&desired.name)
            .expected_bucket_owner(&self.account);
        self.call(
            CALL,
            put.server_side_encryption_configuration(configuration)
                .send(),
        )
        .await
        .map(|_| ())
    }

    /// Puts our statement beside those of the others.
    async fn put_statement(
        &self,
        desired: &Bucket,
        present: Option<&serde_json::Value>,
    ) -> Result<()> {
        self.put_policy(
            &desired.name,
            &policy_document::merge(present, &desired.statement),
        )
        .await
    }

    async fn put_policy(&self, name: &str, document: &serde_json::Value) -> Result<()> {
        let put = self
            .s3
            .put_bucket_policy()
            .bucket(name)
            .expected_bucket_owner(&self.account);
        self.call(
            "s3:PutBucketPolicy",
            put.policy(document.to_string()).send(),
        )
        .await
        .map(|_| ())
    }

    /// Puts our rule beside the others.
    async fn put_lifecycle(&self, desired: &Bucket, mut rules: Vec<LifecycleRule>) -> Result<()> {
        const CALL: &str = "s3:PutLifecycleConfiguration";
        rules.retain(|r| r.id() != Some(LIFECYCLE_RULE));
        rules.push(write_lifecycle(desired.lifecycle).map_err(unbuildable(CALL))?);
        let configuration = BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .map_err(unbuildable(CALL))?;
        let put = self
            .s3
            .put_bucket_lifecycle_configuration()
            .bucket(&desired.name)
            .expected_bucket_owner(&self.account);
        self.call(CALL, put.lifecycle_configuration(configuration).send())
            .await
            .map(|_| ())
    }
}

fn write_lifecycle(
    lifecycle: Lifecycle,
) -> std::result::Result<LifecycleRule, aws_smithy_types::error::operation::BuildError> {
    LifecycleRule::builder()
        .id(LIFECYCLE_RULE)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .set_expiration(
            lifecycle
                .expiration_days
                .map(|days| LifecycleExpiration::builder().days(days).build()),
        )
        .abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder()
                .days_after_initiation(lifecycle.abort_days)
                .build(),
        )
        .build()
}

/// Our rule, unless somebody switched it off or narrowed it.
fn read_lifecycle(rule: &LifecycleRule) -> Option<Lifecycle> {
    let whole = rule.filter().is_none_or(|f| {
        f.prefix().unwrap_or_default().is_empty() && f.tag().is_none() && f.and().is_none()
    });
    (rule.status() == &ExpirationStatus::Enabled && whole).then(|| Lifecycle {
        expiration_days: rule.expiration().and_then(LifecycleExpiration::days),
        abort_days: rule
            .abort_incomplete_multipart_upload()
            .and_then(|a| a.days_after_initiation())
            .unwrap_or_default(),
    })
}
