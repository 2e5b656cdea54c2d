//! `RepoFanout`: copies one repository to S3 and announces it on SNS.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::api::notifications::NotificationsSpec;
use crate::api::status::RepoFanoutStatus;
use crate::api::trigger::TriggersSpec;

/// Copies every push to a repository into an S3 bucket and announces it on an SNS topic.
// Fields that most objects leave out are boxed, because ten thousand objects are cached.
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
    /// Repository to copy, as `owner/name`, in the provider's own upper and lower case. A GitLab
    /// repository includes all of its groups.
    #[schemars(
        length(min = 3, max = 255),
        regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$")
    )]
    #[x_kube(validation = Rule::new("self.split('/').all(s, s != '.' && s != '..')")
        .message("repository: write owner/name, no part of it may be '.' or '..'"))]
    pub repository: String,

    /// Branch whose pushes are copied.
    #[serde(default = "default_branch")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[^\x00-\x20~^:?*\[\\\x7f]+$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..') && !self.contains('//') && \
         !self.contains('@{') && !self.startsWith('/') && !self.startsWith('-') && !self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock')")
        .message("branch: write a branch name as git has it, without '..', '//' or '@{', not starting with '/' or '-', not ending with '/', '.' or '.lock'"))]
    pub branch: String,

    /// The `RepoFanoutClass` whose account, region and shared resources this object uses. Default:
    /// the default class, if there is one when the object is placed; that is decided once. Changing
    /// the class moves the fan-out: it delivers to the new place before it gives up the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub class_name: Option<String>,

    /// Readable part of every generated AWS name. The class's `overridable`, or without a class the
    /// operator's `--allow-names`, must allow it. Default: namespace and name of the object.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 21),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: Option<String>,

    /// AWS region, such as `eu-west-1`. Default: the class's region, or without a class the
    /// operator's own. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 25),
        regex(pattern = r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")
    )]
    pub region: Option<String>,

    /// Connection to the repository's provider. Default: the connection that the class shares for
    /// the repository's owner, or else the object's own connection to GitHub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Box<ConnectionSpec>>,

    /// Bucket and prefix that the files are copied to. Default: the bucket that the class shares,
    /// or else the object's own bucket, with the prefix `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Box<DestinationSpec>>,

    /// Bucket for the zip that CodePipeline passes between its stages. Default: the bucket that the
    /// class shares, or else the object's own bucket, where artifacts expire after 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Box<ArtifactsSpec>>,

    /// Pipeline settings. Default: a V2 pipeline that queues its executions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Box<PipelineSpec>>,

    /// Events, topic and subscribers of the notifications. Default: succeeded executions, on the
    /// topic that the class shares, or else on the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Box<NotificationsSpec>>,

    /// Deletion policy: whether each resource is deleted or kept when this object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Box<DeletionSpec>>,

    /// Resources that the operator may take over although they carry no ownership tags. They are
    /// kept on deletion unless `deletion` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 7),
        extend("items" = {"type": "string", "maxLength": 16, "enum": [
            "Connection", "Destination", "Artifacts", "Role", "Pipeline", "Topic", "NotificationRule"
        ]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub adopt: Option<Vec<String>>,

    /// Drift policy: changes that somebody else made in AWS are corrected (`Correct`, the default)
    /// or only reported (`Detect`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Correct", "Detect"]))]
    pub drift: Option<String>,

    /// Pauses the operator for this object: it neither reads nor writes AWS. The pipeline keeps
    /// running, and a suspended object can be deleted. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// Time between full observations of AWS, such as `10m` (the default) or `1h30m`; at least
    /// `1m`. If an account and region have many fan-outs, details that AWS's lists do not contain
    /// are read less often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 16),
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$")
    )]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= \
         duration('168h')")
        .message("interval: write a duration from 1m to 168h, such as 10m"))]
    pub interval: Option<String>,

    /// AWS tags for every resource that is created for this object. Keys that begin with `aws:` or
    /// `repofanout.dev/` are refused.
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

/// Connection to the repository's provider. Write at most one of `provider` and `hostARN`, which
/// both give the object its own connection, and `existingARN`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.provider), has(self.hostARN), \
     has(self.existingARN)].filter(x, x).size() <= 1")
    .message("connection: write only one of provider, hostARN and existingARN"))]
pub struct ConnectionSpec {
    /// Provider of the object's own connection. A person authorizes the connection once, in the AWS
    /// console. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["GitHub", "GitLab", "Bitbucket"]))]
    pub provider: Option<String>,

    /// ARN of the host of the object's own connection, for GitHub Enterprise Server and GitLab
    /// self-managed. The class's `allowExisting`, or without a class the operator's
    /// `--allow-existing`, must cover it. Immutable.
    #[serde(default, rename = "hostARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:[0-9]{12}:host/[A-Za-z0-9/_.-]+$"
        )
    )]
    pub host_arn: Option<String>,

    /// ARN of an existing connection. The operator uses and observes it, and never changes or
    /// deletes it. The class's `allowExisting`, or without a class the operator's
    /// `--allow-existing`, must cover it.
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

/// Destination of the files. Write at most one of `bucketName` (the object's own bucket, which the
/// operator creates, configures and deletes) and `existingBucket`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.bucketName) && has(self.existingBucket))")
    .message("destination: write only one of bucketName and existingBucket"))]
pub struct DestinationSpec {
    /// Name of the object's own bucket. The class's `overridable`, or without a class the
    /// operator's `--allow-names`, must allow it. Default: a generated name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of an existing bucket. The operator uses it, and never configures, tags or deletes it.
    /// The class's `allowExisting`, or without a class the operator's `--allow-existing`, must
    /// cover it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Prefix of every key, without a slash at either end. Default: the class's `prefixTemplate` in
    /// a bucket that the class shares, or else the repository's `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")
    )]
    #[x_kube(validation = Rule::new("!self.contains('..') && self.split('/').all(s, s != '.')")
        .message("prefix: write parts of letters, digits, _ . and - with single slashes between \
             them, without '..'"))]
    pub prefix: Option<String>,

    /// Pruning of files that are no longer in the repository, after each succeeded execution:
    /// `Disabled` (the default), `DryRun`, which only reports them, or `Enabled`. Only files that a
    /// delivery put there are deleted, and only if the operator runs with `--allow-prune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Disabled", "DryRun", "Enabled"]))]
    pub prune: Option<String>,

    /// Limit on what pruning may delete after one execution. Above the limit nothing is deleted,
    /// and the condition `Pruned` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_limit: Option<PruneLimitSpec>,

    /// Others who may list and get the objects under the prefix. The class's `allowedReaders`, or
    /// without a class the operator's `--allow-readers`, must cover them. The operator never writes
    /// the policy of an existing bucket: that policy must already let them in, and the object's
    /// status names the statements that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub readers: Option<Vec<ReaderSpec>>,
}

/// A reader of the copied files. Write exactly one of `account`, `roleARN` and `organization`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.account), has(self.roleARN), \
     has(self.organization)].filter(x, x).size() == 1")
    .message("readers: write one of account, roleARN and organization in each entry"))]
pub struct ReaderSpec {
    /// AWS account id, twelve digits. Everybody in the account whom the account itself permits may
    /// read.
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

    /// Id of an AWS organization. Everybody in its accounts whom their own account permits may
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 34), regex(pattern = r"^o-[a-z0-9]{10,32}$"))]
    pub organization: Option<String>,
}

/// Limit on what pruning may delete after one execution. Both the share and the number apply; up to
/// ten keys may be deleted whatever their share.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PruneLimitSpec {
    /// Share of the keys that deliveries put there, in percent. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<i32>,

    /// Number of keys. Default: 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub objects: Option<i32>,
}

/// Bucket for CodePipeline's artifacts. Write at most one of `bucketName` (the object's own bucket,
/// which the operator creates, configures and deletes) and `existingBucket`.
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
    /// Name of the object's own bucket. In a RepoFanout, the class's `overridable`, or without a
    /// class the operator's `--allow-names`, must allow it. Default: a generated name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of an existing bucket. The operator uses it, and never configures, tags or deletes it.
    /// In a RepoFanout, the class's `allowExisting`, or without a class the operator's
    /// `--allow-existing`, must cover it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Days until an artifact in the object's own bucket expires. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: Option<i32>,
}

/// Pipeline settings.
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
    /// Name of an existing pipeline that the object takes over; `adopt` must contain `Pipeline`.
    /// The pipeline keeps its role and every setting that the object does not set. The class's
    /// `allowExisting`, or without a class the operator's `--allow-existing`, must cover the
    /// pipeline and its role. The operator never creates it. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9.@_-]+$"))]
    pub name: Option<String>,

    /// CodePipeline pipeline type, which decides the price. Default: `V2`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["V1", "V2"]))]
    pub type_: Option<String>,

    /// CodePipeline execution mode: while one execution runs, later ones wait in a queue
    /// (`QUEUED`), or the newest replaces those that wait (`SUPERSEDED`). Default: `QUEUED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["QUEUED", "SUPERSEDED"]))]
    pub execution_mode: Option<String>,

    /// Starts an execution on each push. If `false`, only the annotation
    /// `repofanout.dev/release-requested-at` starts one. Default: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_changes: Option<bool>,

    /// Filters of the pushes and pull requests that start an execution, instead of every push to
    /// the branch. V2 pipelines only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<TriggersSpec>,
}

/// Deletion policy per resource, `Delete` or `Retain`, applied when the object is deleted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeletionSpec {
    /// Policy for every resource that has no policy of its own here. If left out, each resource has
    /// the default that its field describes, and the other resources are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub default: Option<String>,

    /// Policy for the connection. Default: `Retain` once it was AVAILABLE, because it holds a
    /// person's authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub connection: Option<String>,

    /// Policy for the copied files: the own bucket, or the prefix in an existing one. Default:
    /// `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub destination: Option<String>,

    /// Policy for the own artifacts bucket. Default: `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub artifacts: Option<String>,

    /// Policy for the own topic. Default: `Retain` while others subscribe to it, or else `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub topic: Option<String>,
}
