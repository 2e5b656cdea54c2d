//! Settings of a bucket, each with a call of its own.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus,
    LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    TransitionDefaultMinimumObjectSize,
};

use crate::aws::shared_policy::Put;
use crate::aws::{Clients, found, unbuildable};
use crate::cloud::Result;
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::domain::policy_document::Gone;
use crate::resource::bucket::{Bucket, LIFECYCLE_RULE, Lifecycle};

/// Default encryption of a bucket.
pub(super) struct Encryption {
    /// Whether the bucket encrypts new objects by any method.
    pub on: bool,
    /// ARN or id of the KMS key, if the configuration names one.
    pub kms_key: Option<String>,
}

/// A bucket's lifecycle configuration.
#[derive(Default)]
pub(super) struct LifecycleRules {
    /// All its rules.
    pub rules: Vec<LifecycleRule>,
    /// From which size on objects move to other storage classes, where no rule says so. A write that
    /// leaves this out sets it back.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html>
    pub minimum: Option<TransitionDefaultMinimumObjectSize>,
}

impl Clients {
    pub(super) async fn tags(&self, name: &str) -> Result<Tags> {
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

    pub(super) async fn public_access_blocked(&self, name: &str) -> Result<bool> {
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

    pub(super) async fn block_public_access(&self, name: &str) -> Result<()> {
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
        .await
        .map(|_| ())
    }

    pub(super) async fn owner_enforced(&self, name: &str) -> Result<bool> {
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

    pub(super) async fn enforce_owner(&self, name: &str) -> Result<()> {
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
            .await
            .map(|_| ())
    }

    pub(super) async fn encryption(&self, name: &str) -> Result<Encryption> {
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
        Ok(Encryption {
            on: default.is_some(),
            kms_key: default.and_then(|d| d.kms_master_key_id),
        })
    }

    /// The lifecycle configuration, which is written as a whole.
    pub(super) async fn lifecycle(&self, name: &str) -> Result<LifecycleRules> {
        let get = self
            .s3
            .get_bucket_lifecycle_configuration()
            .bucket(name)
            .expected_bucket_owner(&self.account)
            .send();
        let answer = found(self.call("s3:GetLifecycleConfiguration", get).await)?;
        Ok(
            answer.map_or_else(LifecycleRules::default, |answer| LifecycleRules {
                rules: answer.rules.unwrap_or_default(),
                minimum: answer.transition_default_minimum_object_size,
            }),
        )
    }

    /// Encrypts with the given KMS key, or with Amazon S3's own keys.
    pub(super) async fn put_encryption(&self, desired: &Bucket) -> Result<()> {
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
            // A bucket key saves a KMS call for each object.
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

    /// Adds our statement to the existing ones; tells who was taken out of those.
    pub(super) async fn put_statement(
        &self,
        desired: &Bucket,
        present: Option<&serde_json::Value>,
    ) -> Result<Vec<Gone>> {
        let document = policy_document::merge(present, &desired.statement);
        let sid = desired.statement["Sid"].as_str().unwrap_or_default();
        let put = self.put_of(&desired.name);
        let written = self.refusals.put((&desired.name, sid), &document, &put);
        Ok(written.await?.gone)
    }

    /// The write of a bucket's policy.
    pub(super) fn put_of<'a>(&'a self, name: &'a str) -> impl Put<'a> {
        move |document| Box::pin(async move { self.put_policy(name, &document).await })
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

    /// Adds our rule to the existing ones, and keeps what else the configuration says.
    pub(super) async fn put_lifecycle(
        &self,
        desired: &Bucket,
        present: LifecycleRules,
    ) -> Result<()> {
        const CALL: &str = "s3:PutLifecycleConfiguration";
        let LifecycleRules { mut rules, minimum } = present;
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
            .set_transition_default_minimum_object_size(minimum)
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

/// Returns our rule, unless it was disabled or its filter was changed.
pub(super) fn read_lifecycle(rule: &LifecycleRule) -> Option<Lifecycle> {
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
