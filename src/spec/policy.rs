//! The policy for one object. The object's class, or else the operator's settings, limits what the
//! object may ask for, and supplies values that it leaves out.

use std::collections::BTreeMap;

use crate::api::RepoFanoutSpec;
use crate::api::notifications::SubscriberSpec;
use crate::api::repofanout::{ArtifactsSpec, ReaderSpec};
use crate::domain::owner::Tags;
use crate::domain::pattern::{Allowed, covers};
use crate::domain::refusal::{Refusal, invalid, not_allowed};
use crate::domain::settings::{AssumeRole, Settings};
use crate::domain::word::Word;
use crate::domain::{arn, prefix};
use crate::spec::class::{Class, Overridable};
use crate::spec::reader::Reader;
use crate::spec::source::{ConnectionSource, Source};
use crate::spec::subscriber::Subscriber;
use crate::spec::tags;

/// The policy for one object.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The object's class, if it has one.
    pub class: Option<&'a Class>,
    /// Labels of the object's namespace.
    pub labels: &'a BTreeMap<String, String>,
}

impl Policy<'_> {
    /// Refuses an object that may not use its class, or that has to name one.
    pub fn admit(&self, namespace: &str, spec: &RepoFanoutSpec) -> Result<(), Refusal> {
        let Some(class) = self.class else {
            if self.settings.require_class {
                return Err(not_allowed(
                    "className: the operator runs with --require-class, and the object names no \
                         class; write the name of a RepoFanoutClass that its namespace may use",
                ));
            }
            return Ok(());
        };
        let name = &class.name;
        if !class.allows_namespace(namespace, self.labels) {
            return Err(not_allowed(format!(
                "className: RepoFanoutClass {name} does not allow namespace {namespace}; name \
                     another class, or ask its administrator to add the namespace to \
                     allowedNamespaces"
            )));
        }
        if !covers(&class.allowed_repositories, &spec.repository) {
            return Err(not_allowed(format!(
                "repository: RepoFanoutClass {name} does not allow {}; name another class, or ask \
                     its administrator to add a pattern that covers the repository to \
                     allowedRepositories",
                spec.repository
            )));
        }
        if let Some(region) = spec.region.as_ref().filter(|r| **r != class.place.region) {
            return Err(not_allowed(format!(
                "region: RepoFanoutClass {name} is in {}, and the object names {region}; leave \
                     region out, or name a class of that region",
                class.place.region
            )));
        }
        for key in spec.tags.iter().flatten().map(|(key, _)| key) {
            if !covers(&class.allowed_tag_keys, key) {
                return Err(not_allowed(format!(
                    "tags: RepoFanoutClass {name} does not let fan-outs set '{key}'; leave the tag \
                         out, or ask the administrator of the class to add its key to \
                         allowedTagKeys"
                )));
            }
        }
        Ok(())
    }

    /// The chosen name; refuses it if names may not be chosen.
    pub fn chosen_name(
        &self,
        field: &str,
        name: Option<String>,
    ) -> Result<Option<String>, Refusal> {
        let Some(name) = name else { return Ok(None) };
        let (allowed, whose) = match self.class {
            Some(class) => (
                class.may_override(Overridable::Name),
                format!(
                    "RepoFanoutClass {} does not list Name under overridable",
                    class.name
                ),
            ),
            None => (
                self.settings.allow_names,
                "the operator runs without --allow-names".to_owned(),
            ),
        };
        if allowed {
            return Ok(Some(name));
        }
        Err(not_allowed(format!(
            "{field}: '{name}' is a chosen name, and {whose}; leave {field} out, or ask an \
             administrator to allow chosen names"
        )))
    }

    /// The ARNs of existing resources that the object may use.
    pub fn allowed_existing(&self) -> Allowed {
        let (patterns, whose) = match self.class {
            Some(class) => (
                &class.allow_existing,
                format!("allowExisting of RepoFanoutClass {}", class.name),
            ),
            None => (
                &self.settings.allow_existing,
                "the operator's --allow-existing".to_owned(),
            ),
        };
        Allowed {
            patterns: patterns.clone(),
            whose,
        }
    }

    /// Refuses the ARN of an existing resource that the object may not use.
    pub fn check_existing(&self, field: &str, arn: &str) -> Result<(), Refusal> {
        self.allowed_existing().check(field, arn)
    }

    /// Parses a reader of the copied files; refuses one that the patterns do not cover.
    pub fn reader(&self, spec: ReaderSpec) -> Result<Reader, Refusal> {
        let reader = Reader::parse(spec)?;
        let (patterns, whose) = match self.class {
            Some(class) => (
                &class.allowed_readers,
                format!("allowedReaders of RepoFanoutClass {}", class.name),
            ),
            None => (
                &self.settings.allow_readers,
                "the operator's --allow-readers".to_owned(),
            ),
        };
        if reader.covered(patterns) {
            return Ok(reader);
        }
        Err(not_allowed(format!(
            "destination.readers: {} is not covered by {whose}; leave the entry out, or ask an \
                 administrator to add a pattern that covers it",
            reader.as_str()
        )))
    }

    /// Parses a subscriber; refuses one whose role the object may not use.
    pub fn subscriber(&self, spec: SubscriberSpec) -> Result<Subscriber, Refusal> {
        let subscriber = Subscriber::parse(spec)?;
        if let Some(role) = &subscriber.role {
            self.check_existing("notifications.subscribers.subscriptionRoleARN", role)?;
        }
        Ok(subscriber)
    }

    /// Whether the operator writes the policy of the destination bucket. It does so for the object's
    /// own bucket and the class's own.
    pub fn writes_bucket_policy(&self, destination: &Source) -> bool {
        match destination {
            Source::Own(_) => true,
            Source::Existing(_) => false,
            Source::Shared(_) => self
                .class
                .is_some_and(|class| matches!(class.destination, Some(Source::Own(_)))),
        }
    }

    /// Refuses a resource of the object's own if the class shares one and does not let fan-outs
    /// override it.
    fn check_own(&self, field: &str, what: Overridable) -> Result<(), Refusal> {
        match self.class.filter(|class| !class.may_override(what)) {
            None => Ok(()),
            Some(class) => Err(not_allowed(format!(
                "{field}: RepoFanoutClass {} shares its own and does not list {} under \
                     overridable; leave {field} out, or ask the administrator of the class to add \
                     it there",
                class.name,
                what.as_str()
            ))),
        }
    }

    /// Source of a bucket: the one that the object names, or the class's, or one of its own.
    pub fn bucket(
        &self,
        field: &str,
        what: Overridable,
        own: Option<String>,
        existing: Option<String>,
    ) -> Result<Source, Refusal> {
        let shared = self.class.and_then(|class| match what {
            Overridable::Artifacts => class.artifacts_bucket(),
            _ => class.destination_bucket(),
        });
        match (own, existing, shared) {
            (None, None, Some(bucket)) => Ok(Source::Shared(bucket)),
            (own, None, shared) => {
                if shared.is_some() {
                    self.check_own(&format!("{field}.bucketName"), what)?;
                }
                Ok(Source::Own(
                    self.chosen_name(&format!("{field}.bucketName"), own)?,
                ))
            }
            (None, Some(name), _) => {
                // S3's ARNs name no account. Patterns for them are written with partition `aws`.
                self.check_existing(
                    &format!("{field}.existingBucket"),
                    &arn::bucket("aws", &name),
                )?;
                Ok(Source::Existing(name))
            }
            _ => Err(invalid(format!(
                "{field}: write only one of bucketName and existingBucket"
            ))),
        }
    }

    /// Source of the topic: the one that the object names, or the class's, or one of its own.
    pub fn topic(&self, name: Option<String>, existing: Option<String>) -> Result<Source, Refusal> {
        match (name, existing, self.class.and_then(Class::topic_arn)) {
            (None, None, Some(arn)) => Ok(Source::Shared(arn)),
            (name, None, shared) => {
                if shared.is_some() {
                    self.check_own("notifications.topicName", Overridable::Topic)?;
                }
                Ok(Source::Own(
                    self.chosen_name("notifications.topicName", name)?,
                ))
            }
            (None, Some(arn), _) => {
                self.check_existing("notifications.existingTopicARN", &arn)?;
                Ok(Source::Existing(arn))
            }
            _ => Err(invalid(
                "notifications: write only one of topicName and existingTopicARN",
            )),
        }
    }

    /// Source of the connection: the one that the object names, or the class's for the repository's
    /// owner, or one of its own.
    pub fn connection(&self, spec: &RepoFanoutSpec) -> Result<ConnectionSource, Refusal> {
        let asked = *spec.connection.clone().unwrap_or_default();
        let shared = self.class.filter(|class| !class.connections.is_empty());
        let own = |word| ConnectionSource::provider("connection.provider", word);
        match (asked.provider, asked.host_arn, asked.existing_arn, shared) {
            (None, None, None, Some(class)) => match class.connection_for(&spec.repository) {
                Some(name) => Ok(ConnectionSource::Shared(name.to_owned())),
                None if class.may_override(Overridable::Connection) => own(None),
                None => Err(not_allowed(format!(
                    "repository: RepoFanoutClass {} has no connection for owner '{}'; write a \
                         repository whose owner has one, or ask the administrator of the class to \
                         add one to connections",
                    class.name,
                    prefix::owner(&spec.repository)
                ))),
            },
            (None, None, None, None) => own(None),
            (Some(provider), None, None, shared) => {
                if shared.is_some() {
                    self.check_own("connection.provider", Overridable::Connection)?;
                }
                own(Some(&provider))
            }
            (None, Some(host), None, shared) => {
                if shared.is_some() {
                    self.check_own("connection.hostARN", Overridable::Connection)?;
                }
                self.check_existing("connection.hostARN", &host)?;
                Ok(ConnectionSource::Host(host))
            }
            (None, None, Some(arn), _) => {
                self.check_existing("connection.existingARN", &arn)?;
                Ok(ConnectionSource::Existing(arn))
            }
            _ => Err(invalid(
                "connection: write only one of provider, hostARN and existingARN",
            )),
        }
    }

    /// The prefix in the destination. In a shared bucket, an object may choose a prefix below that of
    /// its own namespace only, so that nobody writes where consumers trust another namespace.
    pub fn prefix(
        &self,
        parts: &prefix::Parts<'_>,
        asked: Option<String>,
        destination: &Source,
    ) -> Result<String, Refusal> {
        let class = match (self.class, destination) {
            (Some(class), Source::Shared(_)) => class,
            _ => return Ok(asked.unwrap_or_else(|| parts.repository.to_owned())),
        };
        let rendered = prefix::render(&class.prefix_template, parts).map_err(|unknown| {
            invalid(format!(
                "destination.prefixTemplate of RepoFanoutClass {}: '{unknown}' is no placeholder; \
                 the administrator of the class has to correct the template",
                class.name
            ))
        })?;
        let Some(asked) = asked else {
            return Ok(rendered);
        };
        let first = class.prefix_template.split('/').next().unwrap_or_default();
        let own = first == "{namespace}" && prefix::below(&asked, parts.namespace);
        if own || asked == rendered || class.may_override(Overridable::Prefix) {
            return Ok(asked);
        }
        let may = match first {
            "{namespace}" => format!("write a prefix below {}/", parts.namespace),
            _ => format!("leave it out, which gives '{rendered}'"),
        };
        Err(not_allowed(format!(
            "destination.prefix: '{asked}' is outside of what RepoFanoutClass {} gives this \
                 namespace in its shared bucket; {may}, or ask the administrator of the class to \
                 add Prefix to overridable",
            class.name
        )))
    }

    /// The role to assume in the object's account, if one is needed.
    pub fn access(&self) -> Option<AssumeRole> {
        self.class.and_then(|class| class.access.clone())
    }

    /// The region: the class's, or else the object's or the operator's.
    pub fn region(&self, spec: &RepoFanoutSpec) -> String {
        let own = || spec.region.as_ref().unwrap_or(&self.settings.region);
        self.class
            .map_or_else(own, |class| &class.place.region)
            .clone()
    }

    /// Prefix of generated names.
    pub fn name_prefix(&self) -> String {
        let class = self.class.map(|class| &class.name_prefix);
        class.unwrap_or(&self.settings.name_prefix).clone()
    }

    /// ARN or name of the permissions boundary of the object's role.
    pub fn permissions_boundary(&self) -> Option<String> {
        match self.class {
            Some(class) => class.permissions_boundary.clone(),
            None => self.settings.permissions_boundary.clone(),
        }
    }

    /// ARN of the KMS key of own buckets and topics.
    pub fn kms_key(&self) -> Option<String> {
        self.class.and_then(|class| class.kms_key.clone())
    }

    /// Number of days that artifacts are kept; the class decides it for its own bucket.
    pub fn retention_days(&self, spec: &ArtifactsSpec, artifacts: &Source) -> Result<i32, Refusal> {
        let offers = self.class.filter(|class| class.artifacts.is_some());
        match (offers, spec.retention_days) {
            (Some(class), Some(_)) if spec.bucket_name.is_none() => Err(invalid(format!(
                "artifacts.retentionDays: RepoFanoutClass {} shares the bucket and decides how \
                 long artifacts are kept; leave retentionDays out",
                class.name
            ))),
            (Some(class), _) if artifacts.is_shared() => Ok(class.retention_days),
            (_, days) => Ok(days.unwrap_or(30)),
        }
    }

    /// ARN of the class's role, if the pipeline uses shared buckets and a shared connection only: the
    /// role covers nothing else.
    pub fn shared_role(
        &self,
        connection: &ConnectionSource,
        buckets: [&Source; 2],
    ) -> Option<String> {
        let shares = matches!(connection, ConnectionSource::Shared(_))
            && buckets.into_iter().all(Source::is_shared);
        self.class.filter(|_| shares)?.role_arn()
    }

    /// The object's tags and the class's; the class's win.
    pub fn tags(&self, spec: &RepoFanoutSpec) -> Result<Tags, Refusal> {
        let own = tags::parse("tags", spec.tags.as_ref())?;
        match self.class {
            Some(class) => tags::under_class(own, &class.name, &class.tags),
            None => Ok(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::condition::Reason;
    use crate::spec::example::{class, open, open_class, parse};
    use crate::spec::fanout::Fanout;
    use crate::spec::source::Provider;

    const ARN: &str = "arn:aws:codeconnections:eu-west-1:111122223333:connection/a";

    /// Everything that a class can share, and what fan-outs may set themselves beside.
    fn sharing(overridable: &[&str]) -> Class {
        open_class(json!({
            "artifacts": {"retentionDays": 9}, "destination": {}, "topic": "Shared",
            "pipelineRole": "Shared", "connections": {"acme": {"owner": "Acme"}},
            "overridable": overridable, "allowedTagKeys": ["team"], "tags": {"by": "class"},
        }))
    }

    fn under(class: &Class, spec: Value) -> Result<Fanout, Refusal> {
        parse(spec, &Settings::example(), Some(class))
    }

    #[test]
    fn an_object_that_says_nothing_shares_everything() {
        let class = sharing(&[]);
        let fanout = under(
            &class,
            json!({"repository": "acme/b", "tags": {"team": "x"}}),
        )
        .unwrap();
        assert_eq!(fanout.connection, ConnectionSource::Shared("acme".into()));
        assert_eq!(
            fanout.destination,
            Source::Shared(class.destination_bucket().unwrap())
        );
        assert_eq!(
            fanout.artifacts,
            Source::Shared(class.artifacts_bucket().unwrap())
        );
        assert_eq!(
            fanout.notifications.topic,
            Source::Shared(class.topic_arn().unwrap())
        );
        assert_eq!(fanout.shared_role, class.role_arn());
        assert_eq!((fanout.retention_days, &*fanout.prefix), (9, "team/acme/b"));
        assert!(fanout.writes_policy, "the bucket is the class's own");
        assert_eq!((&*fanout.tags["team"], &*fanout.tags["by"]), ("x", "class"));
    }

    #[test]
    fn each_overridable_thing_is_the_class_s_until_it_is_listed() {
        let table = [
            (
                "Connection",
                json!({"connection": {"provider": "GitLab"}}),
                "connection.provider:",
            ),
            (
                "Destination",
                json!({"destination": {"bucketName": "abc"}}),
                "destination.bucketName:",
            ),
            (
                "Artifacts",
                json!({"artifacts": {"bucketName": "abc"}}),
                "artifacts.bucketName:",
            ),
            (
                "Topic",
                json!({"notifications": {"topicName": "t"}}),
                "notifications.topicName:",
            ),
            (
                "Prefix",
                json!({"destination": {"prefix": "other/x"}}),
                "destination.prefix:",
            ),
            ("Name", json!({"name": "x"}), "name:"),
        ];
        assert_eq!(table.len(), Overridable::ALL.len());
        for (word, mut spec, field) in table {
            spec["repository"] = json!("acme/b");
            // A chosen name needs Name, too.
            let listed = |words: &[&str]| under(&sharing(words), spec.clone());
            let refusal = listed(
                &["Name"]
                    .into_iter()
                    .filter(|w| *w != word)
                    .collect::<Vec<_>>(),
            );
            let refusal = refusal.expect_err(word);
            assert_eq!(refusal.reason, Reason::NotAllowed);
            assert!(
                refusal.message.starts_with(field) && refusal.message.contains(word),
                "{refusal}"
            );
            assert!(listed(&["Name", word]).is_ok(), "{word}");
        }
    }

    #[test]
    fn one_thing_of_its_own_ends_the_shared_role() {
        let class = sharing(&["Name", "Destination", "Topic"]);
        let own = json!({"repository": "acme/b", "destination": {"bucketName": "abc"}});
        assert_eq!(under(&class, own).unwrap().shared_role, None);
        let topic = json!({"repository": "acme/b", "notifications": {"topicName": "t"}});
        assert!(
            under(&class, topic).unwrap().shared_role.is_some(),
            "the role reaches no topic"
        );
    }

    #[test]
    fn a_class_admits_namespaces_repositories_regions_and_tags() {
        let spec = json!({"repository": "acme/b"});
        let table = [
            (
                class(json!({})).unwrap(),
                spec.clone(),
                "className: RepoFanoutClass acme does not allow namespace team",
            ),
            (
                class(json!({"allowedNamespaces": {"names": ["team"]}})).unwrap(),
                spec.clone(),
                "repository: RepoFanoutClass acme does not allow acme/b",
            ),
            (
                open_class(json!({"allowedRepositories": ["other/*"]})),
                spec.clone(),
                "repository: RepoFanoutClass acme does not allow acme/b",
            ),
            (
                open_class(json!({})),
                json!({"repository": "acme/b", "region": "us-east-1"}),
                "region: RepoFanoutClass acme is in eu-west-1",
            ),
            (
                open_class(json!({"allowedTagKeys": ["team-*"]})),
                json!({"repository": "acme/b", "tags": {"team": "x"}}),
                "tags: RepoFanoutClass acme does not let fan-outs set 'team'",
            ),
            (
                open_class(json!({})),
                json!({"repository": "acme/b", "connection": {"existingARN": ARN}}),
                "connection.existingARN: ",
            ),
            (
                open_class(json!({})),
                json!({"repository": "acme/b", "destination": {"readers": [{"account": "444455556666"}]}}),
                "destination.readers: 444455556666 is not covered by allowedReaders of RepoFanoutClass acme",
            ),
            (
                sharing(&[]),
                json!({"repository": "other/b"}),
                "repository: RepoFanoutClass acme has no connection for owner 'other'",
            ),
        ];
        for (class, spec, words) in table {
            let refusal = parse(spec, &open(), Some(&class)).unwrap_err();
            assert_eq!(refusal.reason, Reason::NotAllowed);
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
        let required = Settings {
            require_class: true,
            ..open()
        };
        let refusal = parse(spec.clone(), &required, None).unwrap_err();
        assert!(refusal.message.contains("--require-class"), "{refusal}");
        assert!(parse(spec, &required, Some(&open_class(json!({})))).is_ok());
    }

    #[test]
    fn an_owner_without_a_connection_may_have_its_own_where_that_is_overridable() {
        let fanout = under(&sharing(&["Connection"]), json!({"repository": "other/b"})).unwrap();
        assert_eq!(
            fanout.connection,
            ConnectionSource::Provider(Provider::GitHub)
        );
        assert_eq!(fanout.shared_role, None);
    }

    #[test]
    fn the_retention_of_a_shared_bucket_is_the_class_s() {
        let days = json!({"repository": "acme/b", "artifacts": {"retentionDays": 5}});
        let refusal = under(&sharing(&["Artifacts"]), days.clone()).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        assert!(
            refusal.message.starts_with("artifacts.retentionDays:"),
            "{refusal}"
        );
        assert_eq!(
            under(&open_class(json!({})), days).unwrap().retention_days,
            5
        );
    }

    #[test]
    fn a_prefix_of_a_shared_bucket_stays_below_its_namespace() {
        let by_namespace = "{namespace}/{owner}/{repo}";
        let by_branch = "all/{repo}@{branch}";
        let table = [
            (by_namespace, None, Ok("team/acme/b")),
            (by_namespace, Some("team/x"), Ok("team/x")),
            (
                by_namespace,
                Some("team"),
                Err("write a prefix below team/"),
            ),
            (
                by_namespace,
                Some("team-2/x"),
                Err("write a prefix below team/"),
            ),
            (
                by_namespace,
                Some("other/x"),
                Err("write a prefix below team/"),
            ),
            (
                by_namespace,
                Some("team/../other/x"),
                Err("no part of it may be"),
            ),
            (by_branch, None, Ok("all/b@main")),
            (by_branch, Some("all/b@main"), Ok("all/b@main")),
            (
                by_branch,
                Some("all/c"),
                Err("leave it out, which gives 'all/b@main'"),
            ),
            (
                by_branch,
                Some("team/x"),
                Err("leave it out, which gives 'all/b@main'"),
            ),
            (
                "{namespace}-{name}",
                Some("team/x"),
                Err("which gives 'team-docs'"),
            ),
        ];
        for (template, asked, expected) in table {
            let class = open_class(json!({"destination": {"prefixTemplate": template}}));
            let spec = json!({"repository": "acme/b", "destination": {"prefix": asked}});
            match (under(&class, spec), expected) {
                (Ok(fanout), Ok(prefix)) => assert_eq!(fanout.prefix, prefix),
                (Err(refusal), Err(words)) => {
                    assert!(
                        refusal.message.contains(words),
                        "{template} {asked:?}: {refusal}"
                    );
                }
                (got, _) => panic!("{template} {asked:?}: {got:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_prefix_leaves_the_namespace(
            rest in "(/(\\{(name|owner|repo|branch)\\}|[a-z]{1,3})){1,3}",
            asked in prop::option::of("((team|other|\\.|\\.\\.|[a-z]{1,4})/){0,3}[a-z.]{1,4}"),
            repository in "[a-z.]{1,4}(/[a-z.]{1,4}){1,2}",
            branch in "[a-z.]{1,4}(/[a-z.]{1,4}){0,2}",
        ) {
            let template = format!("{{namespace}}{rest}");
            let class = open_class(json!({"destination": {"prefixTemplate": template}}));
            let spec = json!({
                "repository": repository, "branch": branch, "destination": {"prefix": asked},
                "connection": {"provider": "GitLab"},
            });
            if let Ok(fanout) = under(&class, spec) {
                prop_assert!(prefix::below(&fanout.prefix, "team"), "{}", fanout.prefix);
                let mut parts = fanout.prefix.split('/');
                prop_assert!(parts.all(|part| part != "." && part != ".."), "{}", fanout.prefix);
            }
        }
    }
}
