//! The validated class: its account and region, the resources that it shares, and its users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::class::{ClassConnectionSpec, RepoFanoutClass};
use crate::domain::computed::{Computed, topic_arn};
use crate::domain::owner::{Owner, Tags};
use crate::domain::pattern::covers;
use crate::domain::placement::Placement;
use crate::domain::refusal::{Refusal, invalid, known_or};
use crate::domain::settings::{AssumeRole, Identity, Settings};
use crate::domain::word::{Word, words};
use crate::domain::{names, prefix};
use crate::spec::interval::interval;
use crate::spec::source::{ConnectionSource, Source};
use crate::spec::tags;

/// Owner kind of the resources that a class shares.
pub const KIND: &str = "RepoFanoutClass";

words! {
    /// Values of `spec.overridable`: things that a fan-out may set itself although its class offers
    /// them.
    Overridable {
        /// Names in AWS.
        Name = "Name",
        /// Any prefix of the shared bucket.
        Prefix = "Prefix",
        /// A connection of its own.
        Connection = "Connection",
        /// A destination bucket of its own.
        Destination = "Destination",
        /// An artifacts bucket of its own.
        Artifacts = "Artifacts",
        /// A topic of its own.
        Topic = "Topic",
    }
}

words! {
    /// Values of `spec.pipelineRole` and `spec.topic`: whether fan-outs share a role or a topic.
    Sharing {
        /// All fan-outs use the class's.
        Shared = "Shared",
        /// Each fan-out has its own.
        Own = "Own",
    }
}

words! {
    /// Values of `spec.executionEvents`: how the operator learns of executions.
    ExecutionEvents {
        /// The class's EventBridge rule sends events to the class's SQS queue.
        Queue = "Queue",
        /// The operator polls each pipeline.
        Poll = "Poll",
    }
}

/// One of a class's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassConnection {
    /// Owner of the repositories that the connection serves; `*` for all other owners.
    pub owner: String,
    /// Source of the connection.
    pub source: ConnectionSource,
}

/// A validated `RepoFanoutClass`.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Owner of the resources that it shares.
    pub owner: Owner,
    /// The role to assume in its account; none if the operator's own identity is enough.
    pub access: Option<AssumeRole>,
    /// Account, region and names of the shared resources.
    pub place: Placement,
    /// Prefix of the generated names of its fan-outs.
    pub name_prefix: String,
    /// Tags of everything that is created for the class and its fan-outs.
    pub tags: Tags,
    /// ARN of the permissions boundary of every role.
    pub permissions_boundary: Option<String>,
    /// ARN of the KMS key of own buckets and topics.
    pub kms_key: Option<String>,
    /// The shared artifacts bucket.
    pub artifacts: Option<Source>,
    /// Number of days that artifacts are kept.
    pub retention_days: i32,
    /// The shared destination bucket.
    pub destination: Option<Source>,
    /// Template, with placeholders, for the prefix of a fan-out's keys.
    pub prefix_template: String,
    /// Whether pipelines share one role.
    pub shared_role: bool,
    /// Whether fan-outs share one topic.
    pub shared_topic: bool,
    /// Whether events of executions arrive on the class's queue.
    pub queue: bool,
    /// Connections by name.
    pub connections: BTreeMap<String, ClassConnection>,
    /// Keys of tags that fan-outs may set.
    pub allowed_tag_keys: Vec<String>,
    /// Patterns of repositories that fan-outs may name.
    pub allowed_repositories: Vec<String>,
    /// ARN patterns of existing resources that fan-outs may use.
    pub allow_existing: Vec<String>,
    /// Patterns of readers that fan-outs may admit.
    pub allowed_readers: Vec<String>,
    /// Things that fan-outs may set themselves.
    pub overridable: BTreeSet<Overridable>,
    /// Time between two full observations of the shared resources.
    pub interval: Duration,
    namespaces: Vec<String>,
    selector: Option<LabelSelector>,
}

/// Owner of the resources that a class shares; known also if its spec is invalid.
pub fn owner(class: &RepoFanoutClass, settings: &Settings) -> Owner {
    Owner {
        cluster: settings.cluster_id.clone(),
        kind: KIND.to_owned(),
        namespace: String::new(),
        name: class.metadata.name.clone().unwrap_or_default(),
    }
}

/// The role to assume in a class's account, if it names one.
pub fn access(class: &RepoFanoutClass) -> Option<AssumeRole> {
    let account = class.spec.account.as_ref()?;
    Some(AssumeRole {
        role_arn: account.role_arn.clone(),
        external_id: account.external_id.clone(),
        session_tags: account.session_tags.clone().unwrap_or_default(),
    })
}

/// Prefix of the generated names of the class and its fan-outs.
pub fn name_prefix<'a>(class: &'a RepoFanoutClass, settings: &'a Settings) -> &'a str {
    class
        .spec
        .name_prefix
        .as_ref()
        .unwrap_or(&settings.name_prefix)
}

/// Placement of the resources that the class shares; known also if its spec is invalid.
pub fn placement(class: &RepoFanoutClass, settings: &Settings, identity: &Identity) -> Placement {
    let region = class.spec.region.as_ref().unwrap_or(&settings.region);
    let prefix = name_prefix(class, settings);
    Placement::of_class(
        &owner(class, settings),
        access(class).as_ref(),
        identity,
        region,
        prefix,
    )
}

impl Class {
    /// Parses and validates the class's spec.
    pub fn parse(
        class: &RepoFanoutClass,
        settings: &Settings,
        identity: &Identity,
    ) -> Result<Self, Refusal> {
        let spec = &class.spec;
        let session_tags = spec.account.as_ref().and_then(|a| a.session_tags.as_ref());
        tags::distinct("account.sessionTags", session_tags)?;
        let artifacts = spec.artifacts.clone();
        let destination = spec.destination.clone();
        let template = destination.as_ref().and_then(|d| d.prefix_template.clone());
        let boundary = spec.permissions_boundary_arn.as_ref();
        let allowed = spec.allowed_namespaces.clone().unwrap_or_default();
        let events = spec.execution_events.as_deref();
        let parsed = Self {
            name: class.metadata.name.clone().unwrap_or_default(),
            owner: owner(class, settings),
            access: access(class),
            place: placement(class, settings, identity),
            name_prefix: name_prefix(class, settings).to_owned(),
            tags: tags::parse("tags", spec.tags.as_ref())?,
            permissions_boundary: boundary.or(settings.permissions_boundary.as_ref()).cloned(),
            kms_key: spec.kms_key_arn.clone(),
            retention_days: artifacts
                .as_ref()
                .and_then(|a| a.retention_days)
                .unwrap_or(30),
            artifacts: artifacts.map(|a| source(a.bucket_name, a.existing_bucket)),
            destination: destination.map(|d| source(d.bucket_name, d.existing_bucket)),
            prefix_template: template.unwrap_or_else(|| prefix::TEMPLATE.to_owned()),
            shared_role: shared("pipelineRole", spec.pipeline_role.as_deref())?,
            shared_topic: shared("topic", spec.topic.as_deref())?,
            queue: known_or("executionEvents", events, ExecutionEvents::Queue)?
                == ExecutionEvents::Queue,
            connections: connections(spec.connections.as_ref())?,
            allowed_tag_keys: spec.allowed_tag_keys.clone().unwrap_or_default(),
            allowed_repositories: spec.allowed_repositories.clone().unwrap_or_default(),
            allow_existing: spec.allow_existing.clone().unwrap_or_default(),
            allowed_readers: spec.allowed_readers.clone().unwrap_or_default(),
            overridable: overridable(spec.overridable.as_deref().unwrap_or_default())?,
            interval: interval(spec.interval.as_deref())?,
            namespaces: allowed.names.unwrap_or_default(),
            selector: allowed.selector,
        };
        parsed.check_prefix_template()?;
        parsed.check_buckets()?;
        parsed.check_role()?;
        parsed.check_place()?;
        Ok(parsed)
    }

    fn check_prefix_template(&self) -> Result<(), Refusal> {
        let rendered = prefix::render(&self.prefix_template, &prefix::Parts::example());
        rendered.map(drop).map_err(|unknown| {
            invalid(format!(
                "destination.prefixTemplate: '{unknown}' is no placeholder; the placeholders are \
                 {{namespace}}, {{name}}, {{owner}}, {{repo}} and {{branch}}"
            ))
        })
    }

    fn check_buckets(&self) -> Result<(), Refusal> {
        let same = self.artifacts.is_some() && self.artifacts == self.destination;
        if same && self.artifacts != Some(Source::Own(None)) {
            return Err(invalid(
                "artifacts and destination name the same bucket, so that artifacts would lie among \
                 the copied files; name two buckets",
            ));
        }
        Ok(())
    }

    fn check_role(&self) -> Result<(), Refusal> {
        let offers =
            self.artifacts.is_some() && self.destination.is_some() && !self.connections.is_empty();
        if self.shared_role && !offers {
            return Err(invalid(
                "pipelineRole: a Shared role covers what the class shares, which has to include \
                 both buckets and a connection; write artifacts, destination and connections, or \
                 write Own",
            ));
        }
        Ok(())
    }

    /// Refuses ARNs that cannot work in the class's account and region.
    fn check_place(&self) -> Result<(), Refusal> {
        for (name, connection) in &self.connections {
            // A connection serves all regions, and the accounts that it is shared with.
            if let ConnectionSource::Host(arn) = &connection.source {
                self.place.check_arn(
                    &format!("connections.{name}"),
                    arn,
                    "name a host of that region and account",
                )?;
            }
        }
        match &self.kms_key {
            Some(key) => {
                self.place
                    .check_arn("kmsKeyARN", key, "name a key of that region and account")
            }
            None => Ok(()),
        }
    }

    /// Whether a fan-out may set this itself although the class offers it.
    pub fn may_override(&self, what: Overridable) -> bool {
        self.overridable.contains(&what)
    }

    /// Whether fan-outs of the namespace may use the class.
    pub fn allows_namespace(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        covers(&self.namespaces, namespace)
            || self.selector.as_ref().is_some_and(|s| selects(s, labels))
    }

    /// Name of the connection that serves the repository: that of its owner, or else that of `*`.
    pub fn connection_for(&self, repository: &str) -> Option<&str> {
        let owner = prefix::owner(repository);
        let serving = |wanted: &str| {
            let mut all = self.connections.iter();
            all.find(|(_, connection)| connection.owner.eq_ignore_ascii_case(wanted))
        };
        let (name, _) = serving(owner).or_else(|| serving("*"))?;
        Some(name)
    }

    /// Names and ARNs of the shared resources.
    pub fn computed(&self) -> Computed {
        Computed::of_class(&self.place)
    }

    /// Name of the shared artifacts bucket.
    pub fn artifacts_bucket(&self) -> Option<String> {
        let source = self.artifacts.as_ref()?;
        Some(source.name(&self.computed().artifacts).to_owned())
    }

    /// Name of the shared destination bucket.
    pub fn destination_bucket(&self) -> Option<String> {
        let source = self.destination.as_ref()?;
        Some(source.name(&self.computed().destination).to_owned())
    }

    /// Name in AWS of one of the class's own connections.
    pub fn connection_name(&self, name: &str) -> String {
        names::connection_name(&self.name_prefix, &self.owner, name)
    }

    /// ARN of the shared topic.
    pub fn topic_arn(&self) -> Option<String> {
        self.shared_topic
            .then(|| topic_arn(&self.place, &self.place.base_name))
    }

    /// ARN of the shared role.
    pub fn role_arn(&self) -> Option<String> {
        self.shared_role.then(|| self.computed().role_arn)
    }
}

fn source(own: Option<String>, existing: Option<String>) -> Source {
    match existing {
        Some(name) => Source::Existing(name),
        None => Source::Own(own),
    }
}

fn shared(field: &str, word: Option<&str>) -> Result<bool, Refusal> {
    Ok(known_or(field, word, Sharing::Own)? == Sharing::Shared)
}

fn connections(
    specs: Option<&BTreeMap<String, ClassConnectionSpec>>,
) -> Result<BTreeMap<String, ClassConnection>, Refusal> {
    let specs = specs.into_iter().flatten();
    specs
        .map(|(name, spec)| Ok((name.clone(), connection(name, spec)?)))
        .collect()
}

fn connection(name: &str, spec: &ClassConnectionSpec) -> Result<ClassConnection, Refusal> {
    let source = match (&spec.host_arn, &spec.existing_arn) {
        (None, None) => {
            let field = format!("connections.{name}.provider");
            ConnectionSource::provider(&field, spec.provider.as_deref())?
        }
        (Some(host), None) => ConnectionSource::Host(host.clone()),
        (None, Some(arn)) => ConnectionSource::Existing(arn.clone()),
        (Some(_), Some(_)) => {
            return Err(invalid(format!(
                "connections.{name}: write only one of hostARN and existingARN"
            )));
        }
    };
    Ok(ClassConnection {
        owner: spec.owner.clone(),
        source,
    })
}

fn overridable(words: &[String]) -> Result<BTreeSet<Overridable>, Refusal> {
    let known = |word: &String| {
        Overridable::parse(word).ok_or_else(|| {
            invalid(format!(
                "overridable: this version of the operator does not know '{word}'; leave it out"
            ))
        })
    };
    words.iter().map(known).collect()
}

/// Applies Kubernetes's rules for label selectors. A selector with an unknown operator selects
/// nothing.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    kube::core::Selector::try_from(selector.clone())
        .is_ok_and(|s| kube::core::SelectorExt::matches(&s, labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::condition::Reason;
    use crate::spec::example::class;
    use crate::spec::source::Provider;

    #[test]
    fn a_role_says_account_and_partition_and_buckets_take_the_accounts_own_namespace() {
        let class = class(json!({
            "account": {"roleARN": "arn:aws:iam::444455556666:role/fanout"}, "artifacts": {}, "destination": {},
        }))
        .unwrap();
        assert_eq!(
            (&*class.place.account, &*class.place.region),
            ("444455556666", "eu-west-1")
        );
        let bucket = class.destination_bucket().unwrap();
        assert!(
            bucket.starts_with("rf-acme-")
                && bucket.ends_with("-destination-444455556666-eu-west-1-an"),
            "{bucket}"
        );
        assert!(bucket.len() <= 63);
    }

    #[test]
    fn other_partitions_have_their_own_arns_consoles_and_bucket_names() {
        let class = class(json!({
            "account": {"roleARN": "arn:aws-cn:iam::444455556666:role/fanout"}, "region": "cn-north-1", "destination": {},
            "topic": "Shared",
        }))
        .unwrap();
        assert_eq!(class.topic_arn().unwrap().split(':').nth(1), Some("aws-cn"));
        assert!(
            class
                .place
                .authorize_url("arn:x/y")
                .starts_with("https://cn-north-1.console.amazonaws.cn/")
        );
        assert!(
            class
                .destination_bucket()
                .unwrap()
                .ends_with("-destination"),
            "the namespace is not known to be there"
        );
    }

    #[test]
    fn a_class_allows_the_namespaces_that_it_names_or_selects() {
        let expression = |operator: &str, values: &[&str]| {
            json!({"selector": {"matchExpressions": [
                {"key": "team", "operator": operator, "values": values},
            ]}})
        };
        // Which of the namespaces docs (team=docs), docs-a (team=site) and plain (no labels).
        let table = [
            (json!({}), [false; 3]),
            (json!({"names": []}), [false; 3]),
            (json!({"names": ["docs"]}), [true, false, false]),
            (json!({"names": ["docs-*"]}), [false, true, false]),
            (json!({"names": ["*"]}), [true; 3]),
            (json!({"selector": {}}), [true; 3]),
            (
                json!({"selector": {"matchLabels": {"team": "docs"}}}),
                [true, false, false],
            ),
            (
                json!({"names": ["plain"], "selector": {"matchLabels": {"team": "docs"}}}),
                [true, false, true],
            ),
            (expression("In", &["docs", "site"]), [true, true, false]),
            (expression("NotIn", &["docs"]), [false, true, true]),
            (expression("Exists", &[]), [true, true, false]),
            (expression("DoesNotExist", &[]), [false, false, true]),
            (expression("Like", &["docs"]), [false; 3]),
        ];
        let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let namespaces = [
            ("docs", labels("docs")),
            ("docs-a", labels("site")),
            ("plain", BTreeMap::new()),
        ];
        assert!(
            !class(json!({}))
                .unwrap()
                .allows_namespace("docs", &labels("docs"))
        );
        for (allowed, expected) in table {
            let class = class(json!({"allowedNamespaces": allowed})).unwrap();
            let allows = namespaces
                .each_ref()
                .map(|(name, labels)| class.allows_namespace(name, labels));
            assert_eq!(allows, expected, "{allowed}");
        }
    }

    #[test]
    fn the_smallest_class_resolves_to_the_documented_defaults() {
        let class = class(json!({})).unwrap();
        assert!(class.queue && !class.shared_role && !class.shared_topic);
        assert!(class.artifacts.is_none() && class.destination.is_none());
        assert!(class.connections.is_empty() && class.overridable.is_empty());
        assert_eq!((class.retention_days, class.interval.as_secs()), (30, 600));
        assert_eq!(class.prefix_template, prefix::TEMPLATE);
        assert_eq!(
            (&*class.name_prefix, &*class.place.region),
            ("rf-", "eu-west-1")
        );
    }

    #[test]
    fn each_field_that_is_written_is_taken() {
        let arn = "arn:aws:codeconnections:eu-west-1:111122223333:connection/a";
        let class = class(json!({
            "namePrefix": "x-", "executionEvents": "Poll", "topic": "Shared", "pipelineRole": "Shared",
            "artifacts": {"bucketName": "abc", "retentionDays": 7}, "destination": {"existingBucket": "def"},
            "connections": {"a": {"owner": "acme", "existingARN": arn}, "b": {"owner": "*", "provider": "GitLab"}},
            "overridable": ["Topic", "Name"], "interval": "1h",
        }))
        .unwrap();
        assert!(!class.queue && class.shared_role && class.shared_topic);
        assert_eq!(class.artifacts_bucket().as_deref(), Some("abc"));
        assert_eq!(class.destination_bucket().as_deref(), Some("def"));
        assert_eq!((class.retention_days, class.interval.as_secs()), (7, 3600));
        assert_eq!(
            class.connections["a"].source,
            ConnectionSource::Existing(arn.into())
        );
        let gitlab = ConnectionSource::Provider(Provider::GitLab);
        assert_eq!(
            class.connections["b"],
            ClassConnection {
                owner: "*".into(),
                source: gitlab
            }
        );
        assert!(class.may_override(Overridable::Topic) && !class.may_override(Overridable::Prefix));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let connection = "arn:aws:codeconnections:us-east-1:111122223333:connection/a";
        let elsewhere = "arn:aws:codeconnections:us-east-1:111122223333:host/h/b";
        let host = "arn:aws:codeconnections:eu-west-1:111122223333:host/h/a";
        let key = "arn:aws:kms:eu-west-1:444455556666:key/a";
        let unknown = "this version of the operator does not know";
        let table = [
            (
                json!({"destination": {"prefixTemplate": "{team}/{repo}"}}),
                "destination.prefixTemplate: '{team}' is no placeholder".to_owned(),
            ),
            (
                json!({"artifacts": {"bucketName": "abc"}, "destination": {"bucketName": "abc"}}),
                "artifacts and destination name the same bucket".to_owned(),
            ),
            (
                json!({"pipelineRole": "Shared", "artifacts": {}, "destination": {}}),
                "pipelineRole: a Shared role covers what the class shares".to_owned(),
            ),
            (
                json!({"pipelineRole": "Mine"}),
                format!("pipelineRole: {unknown} 'Mine'; write one of Shared, Own"),
            ),
            (
                json!({"topic": "Mine"}),
                format!("topic: {unknown} 'Mine'; write one of Shared, Own"),
            ),
            (
                json!({"executionEvents": "Push"}),
                format!("executionEvents: {unknown} 'Push'; write one of Queue, Poll"),
            ),
            (
                json!({"overridable": ["Role"]}),
                format!("overridable: {unknown} 'Role'; leave it out"),
            ),
            (
                json!({"connections": {"a": {"owner": "*", "provider": "Gitea"}}}),
                format!(
                    "connections.a.provider: {unknown} 'Gitea'; write one of GitHub, GitLab, Bitbucket"
                ),
            ),
            (
                json!({"connections": {"a": {"owner": "*", "hostARN": host, "existingARN": connection}}}),
                "connections.a: write only one of".to_owned(),
            ),
            (
                json!({"connections": {"a": {"owner": "*", "hostARN": elsewhere}}}),
                format!("connections.a: {elsewhere} lies in region us-east-1"),
            ),
            (
                json!({"kmsKeyARN": key}),
                format!("kmsKeyARN: {key} lies in account 444455556666"),
            ),
            (
                json!({"interval": "1s"}),
                "interval: '1s' is no duration".to_owned(),
            ),
        ];
        for (spec, words) in table {
            let refusal = class(spec.clone()).expect_err(&spec.to_string());
            assert_eq!(refusal.reason, Reason::InvalidSpec, "{spec}");
            assert!(refusal.message.starts_with(&words), "{spec}: {refusal}");
        }
    }

    #[test]
    fn the_owners_connection_goes_before_that_of_all() {
        let class =
            class(json!({"connections": {"all": {"owner": "*"}, "acme": {"owner": "Acme"}}}))
                .unwrap();
        assert_eq!(class.connection_for("acme/docs"), Some("acme"));
        assert_eq!(class.connection_for("other/docs"), Some("all"));
    }
}
