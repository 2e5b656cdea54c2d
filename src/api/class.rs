//! `RepoFanoutClass`: what many fan-outs share, and what they may do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::repofanout::{ArtifactsSpec, DeletionSpec};
use crate::api::status::{ConnectionStatus, FormerStatus, PlacementStatus};

/// An AWS account and region, what fan-outs share there, and who may use it for what.
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
    doc = "RepoFanoutClass is an AWS account and region, what fan-outs share there, and who may \
         use it for what. The annotation `repofanout.dev/is-default-class: \"true\"` makes it the \
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
    /// The installation that serves the class: its `--controller-name`. `repofanout` if left out.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub controller: Option<String>,

    /// The AWS account, by a role in it. The operator's own account and credentials if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountSpec>,

    /// The AWS region, such as `eu-west-1`. The operator's own if left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 25),
        regex(pattern = r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")
    )]
    pub region: Option<String>,

    /// What every name begins with that is generated for the class and its fan-outs. The operator's
    /// own prefix if left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12), regex(pattern = r"^[a-z0-9][a-z0-9-]*$"))]
    pub name_prefix: Option<String>,

    /// AWS tags of everything that is made for the class and its fan-outs; they win over a
    /// fan-out's own.
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

    /// Keys of the AWS tags that a fan-out may set itself, with `*` and `?`. None if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("items" = {"type": "string", "maxLength": 128}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_tag_keys: Option<Vec<String>>,

    /// ARN of the managed policy that bounds every role that is made for the class and its
    /// fan-outs.
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

    /// ARN of the KMS key that encrypts own buckets and topics. Its policy has to let the
    /// pipelines' roles and `codestar-notifications.amazonaws.com` use it. Amazon S3's own key, and
    /// unencrypted topics, if left out.
    #[serde(default, rename = "kmsKeyARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")
    )]
    pub kms_key_arn: Option<String>,

    /// One artifacts bucket for all fan-outs; `{}` makes one. Each fan-out its own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<ArtifactsSpec>,

    /// One destination bucket for all fan-outs; `{}` makes one. Each fan-out its own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<ClassDestinationSpec>,

    /// Whether pipelines share one role that covers the class's buckets and connections as a whole,
    /// or have each its own that covers its prefix (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Shared", "Own"]))]
    pub pipeline_role: Option<String>,

    /// Whether all fan-outs announce on one topic, or each on its own (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Shared", "Own"]))]
    pub topic: Option<String>,

    /// How executions are heard of: by an EventBridge rule and an SQS queue of the class (`Queue`,
    /// the default), within about a second, or by looking at each pipeline now and then (`Poll`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Queue", "Poll"]))]
    pub execution_events: Option<String>,

    /// Connections by name: a person authorizes each once, for all fan-outs of its owner. Each
    /// fan-out its own if left out.
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

    /// The namespaces whose fan-outs may use the class. None if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,

    /// The repositories that fan-outs may name, with `*` and `?`, such as `acme/*`. None if left
    /// out; `*` opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("items" = {"type": "string", "maxLength": 255}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_repositories: Option<Vec<String>>,

    /// What a fan-out may set itself although the class offers it: `Name` (all AWS names), `Prefix`
    /// (any prefix of the shared bucket), or a `Connection`, `Destination`, `Artifacts` or `Topic`
    /// of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 6),
        extend("items" = {"type": "string", "maxLength": 16, "enum": ["Name", "Prefix", "Connection", "Destination", "Artifacts", "Topic"]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub overridable: Option<Vec<String>>,

    /// ARN patterns (`*`, `?`) of existing AWS resources that fan-outs of the class may refer to.
    /// None if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("items" = {"type": "string", "maxLength": 512}), extend("x-kubernetes-list-type" = "set"))]
    pub allow_existing: Option<Vec<String>>,

    /// Accounts, ARNs of roles and ids of organizations (`*`, `?`) that fan-outs of the class may
    /// let read what they copy; an account covers its roles. None if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("items" = {"type": "string", "maxLength": 256}), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_readers: Option<Vec<String>>,

    /// What becomes of the shared resources when the class is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionSpec>,

    /// How often the shared resources are looked at in full, such as `10m` (the default); at least
    /// `1m`.
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

/// An AWS account, by a role in it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccountSpec {
    /// ARN of the role that the operator assumes, from its own identity; its trust policy has to
    /// name that, and the external id.
    #[serde(rename = "roleARN")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+$")
    )]
    pub role_arn: String,

    /// The external id that the role's trust policy asks for: it keeps others who know the ARN from
    /// having the operator use it.
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

    /// Tags of the session; the trust policy has to allow `sts:TagSession` for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 50), extend("additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub session_tags: Option<BTreeMap<String, String>>,
}

/// The shared destination bucket: one of `bucketName` (made, configured and owned by the class) or
/// `existingBucket`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.bucketName) && has(self.existingBucket))")
    .message("destination: write only one of bucketName and existingBucket"))]
pub struct ClassDestinationSpec {
    /// Name of the class's own bucket. A name that only the account can have if left out.
    /// Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub bucket_name: Option<String>,

    /// Name of a bucket that exists; it is used, never configured, tagged or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    )]
    pub existing_bucket: Option<String>,

    /// Prefix of a fan-out's keys, made of `{namespace}`, `{name}`, `{owner}`, `{repo}` and
    /// `{branch}`. `{namespace}/{owner}/{repo}` if left out. Where its first part is `{namespace}`,
    /// a fan-out may choose any prefix below that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^[A-Za-z0-9_.{}-]+(/[A-Za-z0-9_.{}-]+)*$")
    )]
    pub prefix_template: Option<String>,
}

/// A shared connection: of one of `provider`, `hostARN` (both made by the class) or `existingARN`.
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
    /// The owner of the repositories that it serves: what stands before the last slash of their
    /// names; `*` for all others.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^(\*|[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)$")
    )]
    pub owner: String,

    /// The provider of a connection of the class's own. GitHub if left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["GitHub", "GitLab", "Bitbucket"]))]
    pub provider: Option<String>,

    /// ARN of the host (GitHub Enterprise Server, GitLab self-managed) of a connection of the
    /// class's own. Immutable.
    #[serde(default, rename = "hostARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:[0-9]{12}:host/[A-Za-z0-9/_.-]+$"
        )
    )]
    pub host_arn: Option<String>,

    /// ARN of a connection that exists; it is used and looked at, never changed or deleted.
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

/// Namespaces by name or by label; a namespace that either covers is allowed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Names, with `*` and `?`; `*` opens the class to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("items" = {"type": "string", "maxLength": 63}), extend("x-kubernetes-list-type" = "set"))]
    pub names: Option<Vec<String>>,

    /// Labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_schema")]
    pub selector: Option<LabelSelector>,
}

/// Kubernetes's own selector, with the limits that structural schemas of ours keep to.
fn selector_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that a namespace has to have, all of them.",
                "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 63}
            },
            "matchExpressions": {
                "description": "Requirements that a namespace's labels have to satisfy, all of them.",
                "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label's key.", "type": "string", "maxLength": 317},
                        "operator": {"description": "How the label's value relates to the values.", "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {
                            "description": "The values of In and NotIn.",
                            "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic", "items": {"type": "string", "maxLength": 63}
                        }
                    }
                }
            }
        }
    })
}

/// What is known about the class. A cache: wiped, it is found again from AWS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoFanoutClassStatus {
    /// The generation of the spec that the status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The generation of the spec that AWS was last made to match; what differs from then on is
    /// drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,

    /// Where the shared resources live; decided once, before the first write to AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,

    /// The connections by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub connections: BTreeMap<String, ConnectionStatus>,

    /// ARNs by resource: artifacts, destination, role, topic, dead_letter_queue, queue, event_rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), extend("additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub resources: BTreeMap<String, String>,

    /// What is not shared any more: deleted, or kept as `spec.deletion` says, once every fan-out
    /// has followed the change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub former: Vec<FormerStatus>,

    /// When the shared destination bucket was made: what was delivered before is delivered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub destination_created_at: Option<Timestamp>,

    /// When the shared role's permissions were last written: an execution refused before they took
    /// effect is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub permissions_written_at: Option<Timestamp>,

    /// How many fan-outs use the class; written at most once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub fanouts: Option<i32>,

    /// How much of the account's quotas is used, by everybody: connections, pipelines,
    /// notification_rules, roles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub quotas: BTreeMap<String, QuotaStatus>,

    /// `Ready`, `ConnectionAvailable`, `Provisioned`, `QuotaAvailable`, and kstatus's `Reconciling`
    /// and `Stalled` while they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map"), extend("x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How much of a quota is used.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QuotaStatus {
    /// How many there are.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub used: i32,
    /// How many AWS allows by default; an account may have more.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub limit: i32,
}
