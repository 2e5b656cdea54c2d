//! `RepoFanoutClass`: resources that many fan-outs share, and what those fan-outs may ask for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::repofanout::{ArtifactsSpec, DeletionSpec};
use crate::api::status::{ConnectionStatus, FormerStatus, PlacementStatus};

/// An AWS account and region, the resources that fan-outs share there, and the limits that they
/// keep to.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "repofanout.dev",
    version = "v1alpha1",
    kind = "RepoFanoutClass",
    plural = "repofanoutclasses",
    singular = "repofanoutclass",
    shortname = "rfc",
    category = "aws",
    status = "RepoFanoutClassStatus",
    derive = "PartialEq",
    doc = "RepoFanoutClass describes an AWS account and region, the resources that fan-outs share \
         there, and which fan-outs may use them. The annotation `repofanout.dev/is-default-class: \"true\"` makes it the \
         class of new fan-outs that name none.",
    printcolumn(name = "Account", type_ = "string", json_path = ".status.placement.account"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.placement.region"),
    printcolumn(name = "Default", type_ = "string", json_path = r#".metadata.annotations.repofanout\.dev/is-default-class"#),
    printcolumn(name = "Fanouts", type_ = "integer", json_path = ".status.fanouts"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name: write at most 63 characters, AWS tags and names carry it")
)]
#[x_kube(
    validation = Rule::new("has(self.controller) == has(oldSelf.controller) && \
         (!has(self.controller) || self.controller == oldSelf.controller)")
        .message("controller is immutable, also from unset to set: another installation does not \
             know what this one made; create another class"),
    validation = Rule::new("has(self.region) == has(oldSelf.region) && (!has(self.region) || \
         self.region == oldSelf.region)")
        .message("region is immutable, also from unset to set: create another class, and move \
             fan-outs by spec.className"),
    validation = Rule::new("has(self.namePrefix) == has(oldSelf.namePrefix) && \
         (!has(self.namePrefix) || self.namePrefix == oldSelf.namePrefix)")
        .message("namePrefix is immutable, also from unset to set: create another class, and move \
             fan-outs by spec.className"),
    validation = Rule::new("!has(self.pipelineRole) || self.pipelineRole != 'Shared' || \
         (has(self.artifacts) && has(self.destination))")
        .message("pipelineRole: a Shared role covers shared buckets; write artifacts and \
             destination, too (each may be {}), or write Own"),
    validation = Rule::new("!has(self.pipelineRole) || self.pipelineRole != 'Shared' || \
         (has(self.connections) && size(self.connections) > 0)")
        .message("pipelineRole: a Shared role covers shared connections; write connections, too, \
             or write Own"),
    validation = Rule::new("!has(self.artifacts) || !has(oldSelf.artifacts) || \
         (has(self.artifacts.bucketName) ? self.artifacts.bucketName : '') == \
         (has(oldSelf.artifacts.bucketName) ? oldSelf.artifacts.bucketName : '')")
        .message("artifacts.bucketName is immutable, also from unset to set: a bucket cannot be \
             renamed; create another class"),
    validation = Rule::new("!has(self.destination) || !has(oldSelf.destination) || \
         (has(self.destination.bucketName) ? self.destination.bucketName : '') == \
         (has(oldSelf.destination.bucketName) ? oldSelf.destination.bucketName : '')")
        .message("destination.bucketName is immutable, also from unset to set: a bucket cannot be \
             renamed; create another class")
)]
pub struct RepoFanoutClassSpec {
    /// Installation that serves the class, by its `--controller-name`. Default: `repofanout`.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub controller: Option<String>,

    /// AWS account of the class, and the role through which the operator reaches it. Default: the
    /// operator's own account and credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountSpec>,

    /// AWS region, such as `eu-west-1`. Default: the operator's own. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 25),
        regex(pattern = r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")
    )]
    pub region: Option<String>,

    /// Prefix of every name that is generated for the class and its fan-outs. Default: the
    /// operator's own prefix. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12), regex(pattern = r"^[a-z0-9][a-z0-9-]*$"))]
    pub name_prefix: Option<String>,

    /// AWS tags for every resource that is created for the class and its fan-outs. They win over a
    /// fan-out's own tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 15), extend("additionalProperties" = {"type": "string", "maxLength": 256, "pattern": r"^[A-Za-z0-9 _.:/=+@-]*$"}))]
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

    /// Keys of the AWS tags that fan-outs may set themselves; `*` and `?` are wildcards. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("items" = {"type": "string", "maxLength": 128}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_tag_keys: Option<Vec<String>>,

    /// ARN of the managed policy that is the permissions boundary of every role created for the
    /// class and its fan-outs. Default: the operator's own `--permissions-boundary`.
    #[serde(
        default,
        rename = "permissionsBoundaryARN",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9/_+=,.@-]+$")
    )]
    pub permissions_boundary_arn: Option<String>,

    /// ARN of the KMS key that encrypts the buckets and topics that the operator creates. The key's
    /// policy must let the pipelines' roles and `codestar-notifications.amazonaws.com` use it.
    /// Default: Amazon S3's own key, and unencrypted topics.
    #[serde(default, rename = "kmsKeyARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")
    )]
    pub kms_key_arn: Option<String>,

    /// Artifacts bucket that all fan-outs share; `{}` creates one. Default: each fan-out has its
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<ArtifactsSpec>,

    /// Destination bucket that all fan-outs share; `{}` creates one. Default: each fan-out has its
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<ClassDestinationSpec>,

    /// Pipelines share one role that covers all of the class's buckets and connections (`Shared`),
    /// or each has its own role that covers its own prefix (`Own`, the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Shared", "Own"]))]
    pub pipeline_role: Option<String>,

    /// All fan-outs announce on one topic (`Shared`), or each on its own (`Own`, the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Shared", "Own"]))]
    pub topic: Option<String>,

    /// Source of execution events. With `Queue`, the default, the class has an EventBridge rule and
    /// an SQS queue, and events arrive within about a second. With `Poll`, the operator reads each
    /// pipeline periodically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Queue", "Poll"]))]
    pub execution_events: Option<String>,

    /// Shared connections by name. A person authorizes each of them once, for all fan-outs of its
    /// owner. Default: each fan-out has its own connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 20))]
    #[x_kube(
        validation = Rule::new("self.all(k, size(k) <= 63 && \
             k.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))")
            .message("connections: name each by at most 63 lower-case letters, digits and dashes"),
        validation = Rule::new("self.all(k, self.all(l, k == l || self[k].owner.lowerAscii() != \
             self[l].owner.lowerAscii()))")
            .message("connections: each owner may have one connection; take one away, or give it \
                 to another owner")
    )]
    pub connections: Option<BTreeMap<String, ClassConnectionSpec>>,

    /// Namespaces whose fan-outs may use the class. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,

    /// Repositories that fan-outs may name, such as `acme/*`; `*` and `?` are wildcards, and `*`
    /// alone allows every repository. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("items" = {"type": "string", "maxLength": 255}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_repositories: Option<Vec<String>>,

    /// Settings that a fan-out may choose itself although the class offers them: `Name` (all AWS
    /// names), `Prefix` (any prefix of the shared bucket), or a `Connection`, `Destination`,
    /// `Artifacts` or `Topic` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 6),
        extend("items" = {"type": "string", "maxLength": 16, "enum": ["Name", "Prefix", "Connection", "Destination", "Artifacts", "Topic"]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub overridable: Option<Vec<String>>,

    /// ARN patterns of existing AWS resources that fan-outs of the class may refer to; `*` and `?`
    /// are wildcards. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("items" = {"type": "string", "maxLength": 512}), extend("x-kubernetes-list-type" = "set"))]
    pub allow_existing: Option<Vec<String>>,

    /// Account ids, role ARNs and organization ids that fan-outs of the class may admit as readers
    /// of their files; `*` and `?` are wildcards. An account covers its roles. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("items" = {"type": "string", "maxLength": 256}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_readers: Option<Vec<String>>,

    /// Deletion policy: whether each shared resource is deleted or kept when the class is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionSpec>,

    /// Time between full observations of the shared resources, such as `10m` (the default); at
    /// least `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 16),
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$")
    )]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= \
         duration('168h')")
        .message("interval: write a duration from 1m to 168h, such as 10m"))]
    pub interval: Option<String>,
}

/// An AWS account, and the role through which the operator reaches it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccountSpec {
    /// ARN of the role that the operator assumes. The role's trust policy must name the operator's
    /// own identity and the external id.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+$")
    )]
    pub role_arn: String,

    /// External id that the role's trust policy asks for. It keeps others who know the ARN from
    /// making the operator use the role.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(min = 2, max = 1224),
        regex(pattern = r"^[A-Za-z0-9_+=,.@:/-]+$")
    )]
    pub external_id: Option<String>,

    /// Session tags. The role's trust policy must allow `sts:TagSession` for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 50), extend("additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub session_tags: Option<BTreeMap<String, String>>,
}

/// The shared destination bucket. Write at most one of `bucketName` (the class's own bucket, which
/// the operator creates, configures and deletes) and `existingBucket`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.bucketName) && has(self.existingBucket))")
    .message("destination: write only one of bucketName and existingBucket"))]
pub struct ClassDestinationSpec {
    /// Name of the class's own bucket. Default: a generated name that only this AWS account can
    /// use. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of an existing bucket. The operator uses it, and never configures, tags or deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Template for the prefix of a fan-out's keys, with the placeholders `{namespace}`, `{name}`,
    /// `{owner}`, `{repo}` and `{branch}`. Default: `{namespace}/{owner}/{repo}`. If the template
    /// begins with `{namespace}/`, a fan-out may choose any prefix below its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^[A-Za-z0-9_.{}-]+(/[A-Za-z0-9_.{}-]+)*$")
    )]
    pub prefix_template: Option<String>,
}

/// A shared connection. Write at most one of `provider` and `hostARN`, which both give the class
/// its own connection, and `existingARN`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("[has(self.provider), has(self.hostARN), \
         has(self.existingARN)].filter(x, x).size() <= 1")
        .message("connections: write only one of provider, hostARN and existingARN"),
    validation = Rule::new("has(self.existingARN) || has(oldSelf.existingARN) || \
         ((has(self.provider) ? self.provider : 'GitHub') == (has(oldSelf.provider) ? \
         oldSelf.provider : 'GitHub') && (has(self.hostARN) ? self.hostARN : '') == \
         (has(oldSelf.hostARN) ? oldSelf.hostARN : ''))")
        .message("connections: provider and hostARN are immutable, another one is another \
             authorization; add a connection of another name")
)]
pub struct ClassConnectionSpec {
    /// Owner of the repositories that the connection serves: the part of their names before the
    /// last slash, or `*` for all owners that no other connection names.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^(\*|[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)$")
    )]
    pub owner: String,

    /// Provider of the class's own connection. Default: `GitHub`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["GitHub", "GitLab", "Bitbucket"]))]
    pub provider: Option<String>,

    /// ARN of the host of the class's own connection, for GitHub Enterprise Server and GitLab
    /// self-managed. Immutable.
    #[serde(default, rename = "hostARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:[0-9]{12}:host/[A-Za-z0-9/_.-]+$"
        )
    )]
    pub host_arn: Option<String>,

    /// ARN of an existing connection. The operator uses and observes it, and never changes or
    /// deletes it.
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

/// Namespaces by name or by label. A namespace is allowed if either of them matches.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Names of namespaces; `*` and `?` are wildcards, and `*` alone allows every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("items" = {"type": "string", "maxLength": 63}), extend("x-kubernetes-list-type" = "set"))]
    pub names: Option<Vec<String>>,

    /// Label selector of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_schema")]
    pub selector: Option<LabelSelector>,
}

/// Kubernetes's own selector, with the limits that all our structural schemas have.
fn selector_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that a namespace must have, all of them.",
                "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}
            },
            "matchExpressions": {
                "description": "Requirements that a namespace's labels must satisfy, all of them.",
                "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label's key.", "type": "string", "maxLength": 317},
                        "operator": {"description": "Relation between the label's value and `values`.", "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {
                            "description": "Values for `In` and `NotIn`.",
                            "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic", "items": {"type": "string", "maxLength": 63}
                        }
                    }
                }
            }
        }
    })
}

/// Observed state of the class. It is a cache: if it is lost, the operator finds everything again
/// in AWS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoFanoutClassStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Generation of the spec that AWS was last made to match. A difference found after that is
    /// drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,

    /// Account, region and names of the shared resources. They are decided once, before the first
    /// write to AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,

    /// Connections by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub connections: BTreeMap<String, ConnectionStatus>,

    /// ARNs by resource: artifacts, destination, role, topic, dead_letter_queue, queue, event_rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,

    /// Last time when the operator set out to create a resource of the class. For a while after that,
    /// AWS may not show a recorded resource yet: the operator waits for it, and creates no second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_created_at: Option<Timestamp>,

    /// Resources that the class no longer shares. They are deleted, or kept as `spec.deletion`
    /// says, once every fan-out has followed the change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub former: Vec<FormerStatus>,

    /// Time when the shared destination bucket was created. Files that were delivered earlier are
    /// delivered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub destination_created_at: Option<Timestamp>,

    /// Time when the permissions of the shared role were last written. An execution that was
    /// refused before they took effect is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub permissions_written_at: Option<Timestamp>,

    /// Number of fan-outs that use the class, updated at most once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub fanouts: Option<i32>,

    /// Use of the account's quotas, by everybody in the account: connections, pipelines,
    /// notification_rules, roles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub quotas: BTreeMap<String, QuotaStatus>,

    /// Conditions: `Ready`, `ConnectionAvailable`, `Provisioned`, `QuotaAvailable`, and kstatus's
    /// `Reconciling` and `Stalled` while they are true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map"), extend("x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Use of one quota.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QuotaStatus {
    /// Number of resources that exist.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub used: i32,
    /// Number that AWS allows by default. An account may have a higher quota.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub limit: i32,
}
