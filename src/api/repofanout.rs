//! `RepoFanout`: one repository, fanned out to S3 and SNS.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::api::notifications::NotificationsSpec;
use crate::api::status::RepoFanoutStatus;
use crate::api::trigger::TriggersSpec;

/// Copies every push to a repository into an S3 bucket and announces it on an SNS topic.
// What most objects leave out is boxed: ten thousand of them are cached.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "repofanout.dev",
    version = "v1alpha1",
    kind = "RepoFanout",
    plural = "repofanouts",
    singular = "repofanout",
    shortname = "rf",
    category = "aws",
    namespaced,
    status = "RepoFanoutStatus",
    derive = "PartialEq",
    doc = "RepoFanout copies every push to a repository into an S3 bucket and announces it on an SNS topic.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository"),
    printcolumn(name = "Branch", type_ = "string", json_path = ".spec.branch"),
    printcolumn(name = "Connection", type_ = "string", json_path = ".status.connection.status"),
    printcolumn(name = "Execution", type_ = "string", json_path = ".status.lastExecution.status"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".status.delivered.commit.shortID"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    printcolumn(name = "Class", type_ = "string", json_path = ".status.placement.class", priority = 1),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.placement.account", priority = 1),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.placement.region", priority = 1),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".status.delivered.bucket", priority = 1),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".status.delivered.prefix", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name: write at most 63 characters, AWS tags and names carry it")
)]
#[x_kube(
    validation = Rule::new("has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name \
         == oldSelf.name)")
        .message("name is immutable, also from unset to set: delete the object and create it with \
             the other name"),
    validation = Rule::new("has(self.region) == has(oldSelf.region) && (!has(self.region) || \
         self.region == oldSelf.region)")
        .message("region is immutable, also from unset to set: delete the object and create it in \
             the other region"),
    validation = Rule::new("(has(self.destination) && has(self.destination.bucketName) ? \
         self.destination.bucketName : '') == (has(oldSelf.destination) && \
         has(oldSelf.destination.bucketName) ? oldSelf.destination.bucketName : '')")
        .message("destination.bucketName is immutable, also from unset to set: a bucket cannot be \
             renamed; delete the object and create it with the other name"),
    validation = Rule::new("(has(self.artifacts) && has(self.artifacts.bucketName) ? \
         self.artifacts.bucketName : '') == (has(oldSelf.artifacts) && \
         has(oldSelf.artifacts.bucketName) ? oldSelf.artifacts.bucketName : '')")
        .message("artifacts.bucketName is immutable, also from unset to set: a bucket cannot be \
             renamed; delete the object and create it with the other name"),
    validation = Rule::new("(has(self.connection) && has(self.connection.provider) ? \
         self.connection.provider : '') == (has(oldSelf.connection) && \
         has(oldSelf.connection.provider) ? oldSelf.connection.provider : '')")
        .message("connection.provider is immutable, also from unset to set: another provider is \
             another connection and another authorization; delete the object and create it with \
             the other provider"),
    validation = Rule::new("(has(self.connection) && has(self.connection.hostARN) ? \
         self.connection.hostARN : '') == (has(oldSelf.connection) && \
         has(oldSelf.connection.hostARN) ? oldSelf.connection.hostARN : '')")
        .message("connection.hostARN is immutable, also from unset to set: another host is \
             another connection and another authorization; delete the object and create it with \
             the other host"),
    validation = Rule::new("(has(self.pipeline) && has(self.pipeline.name) ? self.pipeline.name : \
         '') == (has(oldSelf.pipeline) && has(oldSelf.pipeline.name) ? oldSelf.pipeline.name : '')")
        .message("pipeline.name is immutable, also from unset to set: delete the object, which \
             keeps a pipeline that was taken over, and create it with the other name"),
    validation = Rule::new("!(has(self.pipeline) && has(self.pipeline.name)) || (has(self.adopt) \
         && 'Pipeline' in self.adopt)")
        .message("pipeline.name: the pipeline is taken over; write Pipeline in adopt, or leave \
             pipeline.name out"),
    validation = Rule::new("!(has(self.pipeline) && has(self.pipeline.name) && has(self.name))")
        .message("name: a pipeline that is taken over has its own; leave name or pipeline.name out")
)]
pub struct RepoFanoutSpec {
    /// The repository to copy, as `owner/name` in the provider's own case (GitLab: with all its
    /// groups).
    #[schemars(
        length(min = 3, max = 255),
        regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$")
    )]
    #[x_kube(validation = Rule::new("self.split('/').all(s, s != '.' && s != '..')")
        .message("repository: write owner/name, no part of it may be '.' or '..'"))]
    pub repository: String,

    /// The branch whose pushes are copied.
    #[serde(default = "default_branch")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[^\x00-\x20~^:?*\[\\\x7f]+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..') && !self.contains('//') && \
         !self.contains('@{') && !self.startsWith('/') && !self.startsWith('-') && !self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock')")
        .message("branch: write a branch name as git has it, without '..', '//' or '@{', not starting with '/' or '-', not ending with '/', '.' or '.lock'"))]
    pub branch: String,

    /// The `RepoFanoutClass` whose account, region and shared resources it uses. The default class,
    /// or none, if left out: that is decided once. Writing another one moves the fan-out: it
    /// delivers to the new place before the old one goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub class_name: Option<String>,

    /// Readable base of every AWS name, only where the operator's settings allow names. Made of
    /// namespace and name if left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 21),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: Option<String>,

    /// The AWS region, such as `eu-west-1`. The operator's own if left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 25),
        regex(pattern = r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")
    )]
    pub region: Option<String>,

    /// The connection to the repository's provider. Its own connection to GitHub if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Box<ConnectionSpec>>,

    /// Where the files go. An own bucket, under `owner/name`, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Box<DestinationSpec>>,

    /// Where CodePipeline keeps the zip that it passes between its stages. An own bucket, kept 30
    /// days, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Box<ArtifactsSpec>>,

    /// How the pipeline runs. A V2 pipeline that queues its executions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Box<PipelineSpec>>,

    /// What is announced, and where. Succeeded executions, on an own topic, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Box<NotificationsSpec>>,

    /// What becomes of the resources when this object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Box<DeletionSpec>>,

    /// Resources that may be taken over although they carry no ownership tags; they are kept on
    /// deletion unless `deletion` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 7),
        extend("items" = {"type": "string", "maxLength": 16, "enum": [
            "Connection", "Destination", "Artifacts", "Role", "Pipeline", "Topic", "NotificationRule"
        ]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub adopt: Option<Vec<String>>,

    /// Whether what somebody changed behind the operator's back is corrected (the default) or only
    /// shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Correct", "Detect"]))]
    pub drift: Option<String>,

    /// Stops the operator from looking at AWS for this object; the pipeline goes on. A suspended
    /// object can be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// How often AWS is looked at, such as `10m` (the default) or `1h30m`; at least `1m`. Where an
    /// account and region have many fan-outs, what lists do not tell of each is looked at less
    /// often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 16),
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$")
    )]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= \
         duration('168h')")
        .message("interval: write a duration from 1m to 168h, such as 10m"))]
    pub interval: Option<String>,

    /// AWS tags of every resource that is made for this object. Keys of AWS (`aws:`) and of the
    /// operator (`repofanout.dev/`) are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 30), extend("additionalProperties" = {"type": "string", "maxLength": 256, "pattern": r"^[A-Za-z0-9 _.:/=+@-]*$"}))]
    #[x_kube(
        validation = Rule::new("self.all(k, size(k) >= 1 && size(k) <= 128 && \
             k.matches('^[A-Za-z0-9 _.:/=+@-]+$'))")
            .message("tags: write keys of 1 to 128 letters, digits, spaces and _ . : / = + - @"),
        validation = Rule::new("self.all(k, !k.lowerAscii().startsWith('aws:') && \
             !k.lowerAscii().startsWith('repofanout.dev/'))")
            .message("tags: choose keys that do not begin with aws: or repofanout.dev/, those say \
                 who owns a resource")
    )]
    pub tags: Option<BTreeMap<String, String>>,
}

fn default_branch() -> String {
    "main".to_owned()
}

/// The connection to the repository's provider: one of `provider`, `hostARN` (both its own) or
/// `existingARN`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.provider), has(self.hostARN), \
     has(self.existingARN)].filter(x, x).size() <= 1")
    .message("connection: write only one of provider, hostARN and existingARN"))]
pub struct ConnectionSpec {
    /// The provider of the object's own connection; a person authorizes it once in the AWS console.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["GitHub", "GitLab", "Bitbucket"]))]
    pub provider: Option<String>,

    /// ARN of the host (GitHub Enterprise Server, GitLab self-managed) of the object's own
    /// connection. Immutable.
    #[serde(default, rename = "hostARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:[0-9]{12}:host/[A-Za-z0-9/_.-]+$"
        )
    )]
    pub host_arn: Option<String>,

    /// ARN of a connection that exists; it is used and looked at, never changed or deleted. Only
    /// what the operator's settings allow.
    #[serde(
        default,
        rename = "existingARN",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:[0-9]{12}:connection/[A-Za-z0-9-]+$"
        )
    )]
    pub existing_arn: Option<String>,
}

/// Where the files go: one of `bucketName` (made, configured and owned by the object) or
/// `existingBucket`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.bucketName) && has(self.existingBucket))")
    .message("destination: write only one of bucketName and existingBucket"))]
pub struct DestinationSpec {
    /// Name of the object's own bucket. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of a bucket that exists; it is used, never configured, tagged or deleted. Only what the
    /// operator's settings allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Prefix of every key, without a slash at either end. The repository's `owner/name` if left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..') && self.split('/').all(s, s != '.')")
        .message("prefix: write parts of letters, digits, _ . and - with single slashes between \
             them, without '..'"))]
    pub prefix: Option<String>,

    /// Whether files that are no longer in the repository are deleted after a succeeded execution:
    /// `Disabled` (the default), `DryRun`, which only tells, or `Enabled`. Only what a delivery put
    /// there goes, and only where the operator runs with `--allow-prune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Disabled", "DryRun", "Enabled"]))]
    pub prune: Option<String>,

    /// How much pruning may delete after one execution; more is left, and told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_limit: Option<PruneLimitSpec>,

    /// Who else may list and get what is under the prefix. Only what the operator's settings or the
    /// class allow. The policy of an existing bucket is never written: it has to let them in
    /// already, and the object says which statements it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub readers: Option<Vec<ReaderSpec>>,
}

/// Somebody who may read what is copied: one of `account`, `roleARN` and `organization`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.account), has(self.roleARN), \
     has(self.organization)].filter(x, x).size() == 1")
    .message("readers: write one of account, roleARN and organization in each entry"))]
pub struct ReaderSpec {
    /// An AWS account, twelve digits: everybody in it whom the account itself lets read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub account: Option<String>,

    /// ARN of an IAM role.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+$")
    )]
    pub role_arn: Option<String>,

    /// Id of an AWS organization: everybody in its accounts whom their account lets read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 34), regex(pattern = r"^o-[a-z0-9]{10,32}$"))]
    pub organization: Option<String>,
}

/// How much pruning may delete after one execution. Ten keys may always go.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PruneLimitSpec {
    /// Share of the keys that deliveries put there. 50 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<i32>,

    /// Number of keys. 10,000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub objects: Option<i32>,
}

/// Where CodePipeline keeps its artifacts: one of `bucketName` (made, configured and owned by the
/// object) or `existingBucket`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.bucketName) && has(self.existingBucket))")
        .message("artifacts: write only one of bucketName and existingBucket"),
    validation = Rule::new("!(has(self.retentionDays) && has(self.existingBucket))")
        .message("artifacts: retentionDays is for the object's own bucket, an existing bucket is \
             never configured; leave one of them out")
)]
pub struct ArtifactsSpec {
    /// Name of the object's own bucket. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of a bucket that exists; it is used, never configured, tagged or deleted. Only what the
    /// operator's settings allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Days after which an artifact in the object's own bucket expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: Option<i32>,
}

/// How the pipeline runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.type) && self.type == 'V1' && has(self.executionMode) && \
         self.executionMode != 'SUPERSEDED')")
        .message("pipeline: a V1 pipeline knows executionMode SUPERSEDED only; write type V2 or \
             leave executionMode out"),
    validation = Rule::new("!(has(self.type) && self.type == 'V1' && has(self.triggers))")
        .message("pipeline: a V1 pipeline knows no triggers; write type V2 or leave triggers out"),
    validation = Rule::new("!(has(self.detectChanges) && has(self.triggers))")
        .message("pipeline: triggers say what starts an execution, and detectChanges has no \
             meaning beside them; leave one of them out")
)]
pub struct PipelineSpec {
    /// Name of a pipeline that exists and is taken over, with `Pipeline` in `adopt`. It keeps its
    /// role, and whatever else the object does not say of it. Only what the operator's settings or
    /// the class allow, and so its role. It is never created. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9.@_-]+$"))]
    pub name: Option<String>,

    /// CodePipeline's pipeline type; it decides the price.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["V1", "V2"]))]
    pub type_: Option<String>,

    /// What happens to an execution while another one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["QUEUED", "SUPERSEDED"]))]
    pub execution_mode: Option<String>,

    /// Whether a push starts an execution. If `false`, only `repofanout.dev/release-requested-at`
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_changes: Option<bool>,

    /// Which pushes and pull requests start an execution, in the place of every push to the branch.
    /// Of V2 pipelines alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<TriggersSpec>,
}

/// What becomes of the resources when the object is deleted: each `Delete` or `Retain`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeletionSpec {
    /// Of everything that is not named below. Without it each resource has a default of its own,
    /// and the rest is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub default: Option<String>,

    /// Of the connection. Retained by default once it was AVAILABLE: it holds a person's
    /// authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub connection: Option<String>,

    /// Of the copied files: the own bucket, or the prefix in an existing one. Retained by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub destination: Option<String>,

    /// Of the own artifacts bucket. Deleted by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub artifacts: Option<String>,

    /// Of the own topic. Retained by default while others subscribe to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub topic: Option<String>,
}
