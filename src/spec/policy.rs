//! What holds for an object: what its class offers and allows, or the operator's settings.

use std::collections::BTreeMap;

use crate::api::RepoFanoutSpec;
use crate::api::notifications::SubscriberSpec;
use crate::api::repofanout::ReaderSpec;
use crate::domain::owner::Tags;
use crate::domain::pattern::{Allowed, covers};
use crate::domain::refusal::{Refusal, invalid, not_allowed};
use crate::domain::settings::Settings;
use crate::domain::{arn, prefix};
use crate::spec::class::{Class, Overridable};
use crate::spec::reader::Reader;
use crate::spec::source::{ConnectionSource, Source};
use crate::spec::subscriber::Subscriber;

/// The terms of one object.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What holds for every object.
    pub settings: &'a Settings,
    /// The object's class, if it has one.
    pub class: Option<&'a Class>,
    /// Labels of the object's namespace.
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> Terms<'a> {
    /// Whether the object may use the class at all.
    pub fn admit(&self, namespace: &str, spec: &RepoFanoutSpec) -> Result<(), Refusal> {
        let Some(class) = self.class else {
            if self.settings.require_class {
                return Err(not_allowed(
                    "className: the operator runs with --require-class, and the object names no \
                         class; write the name of one that its namespace may use",
                ));
            }
            return Ok(());
        };
        let name = &class.name;
        if !class.allows_namespace(namespace, self.labels) {
            return Err(not_allowed(format!(
                "className: RepoFanoutClass {name} does not allow namespace {namespace}; have it \
                     added to the class's allowedNamespaces, or name another class"
            )));
        }
        if !covers(&class.allowed_repositories, &spec.repository) {
            return Err(not_allowed(format!(
                "repository: RepoFanoutClass {name} does not allow {}; have a pattern added to \
                     the class's allowedRepositories that covers it, or name another class",
                spec.repository
            )));
        }
        if let Some(region) = spec.region.as_ref().filter(|r| **r != class.place.region) {
            return Err(not_allowed(format!(
                "region: RepoFanoutClass {name} is in {}, and the object names {region}; leave \
                     region out, or name a class there",
                class.place.region
            )));
        }
        for key in spec.tags.iter().flatten().map(|(key, _)| key) {
            if !covers(&class.allowed_tag_keys, key) {
                return Err(not_allowed(format!(
                    "tags: RepoFanoutClass {name} does not let fan-outs set '{key}'; leave it \
                         out, or have it added to the class's allowedTagKeys"
                )));
            }
        }
        Ok(())
    }

    /// A chosen name, where names may be chosen.
    pub fn chosen(&self, field: &str, name: Option<String>) -> Result<Option<String>, Refusal> {
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
            "{field}: '{name}' is a chosen name, and {whose}; leave {field} out, or have that changed"
        )))
    }

    /// What exists and may be referred to.
    pub fn allowed(&self) -> Allowed {
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

    /// Something that exists, where it may be referred to.
    pub fn existing(&self, field: &str, arn: &str) -> Result<(), Refusal> {
        self.allowed().check(field, arn)
    }

    /// Somebody who is to read what is copied, where that may be.
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
            "destination.readers: {} is not covered by {whose}; have a pattern added that covers \
                 it, or leave the entry out",
            reader.as_str()
        )))
    }

    /// Somebody who is to subscribe, by a role only where that may be referred to.
    pub fn subscriber(&self, spec: SubscriberSpec) -> Result<Subscriber, Refusal> {
        let subscriber = Subscriber::from(spec);
        if let Some(role) = &subscriber.role {
            self.existing("notifications.subscribers.subscriptionRoleARN", role)?;
        }
        Ok(subscriber)
    }

    /// Whether the policy of the destination is the operator's to write: its own and the class's
    /// own are.
    pub fn writes_policy(&self, destination: &Source) -> bool {
        match destination {
            Source::Own(_) => true,
            Source::Existing(_) => false,
            Source::Shared(_) => self
                .class
                .is_some_and(|class| matches!(class.destination, Some(Source::Own(_)))),
        }
    }

    /// Whether the object may have its own where the class offers one.
    fn own(&self, field: &str, what: Overridable) -> Result<(), Refusal> {
        match self.class.filter(|class| !class.may_override(what)) {
            None => Ok(()),
            Some(class) => Err(not_allowed(format!(
                "{field}: RepoFanoutClass {} shares its own and does not list {} under \
                     overridable; leave {field} out, or have that changed",
                class.name,
                what.as_str()
            ))),
        }
    }

    /// A bucket: the object's word, or the class's bucket, or one of its own.
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
                    self.own(&format!("{field}.bucketName"), what)?;
                }
                Ok(Source::Own(
                    self.chosen(&format!("{field}.bucketName"), own)?,
                ))
            }
            (None, Some(name), _) => {
                // S3's ARNs name no account and the partition does not matter to who may be named.
                self.existing(
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

    /// The topic: the object's word, or the class's, or one of its own.
    pub fn topic(&self, name: Option<String>, existing: Option<String>) -> Result<Source, Refusal> {
        match (name, existing, self.class.and_then(Class::topic_arn)) {
            (None, None, Some(arn)) => Ok(Source::Shared(arn)),
            (name, None, shared) => {
                if shared.is_some() {
                    self.own("notifications.topicName", Overridable::Topic)?;
                }
                Ok(Source::Own(self.chosen("notifications.topicName", name)?))
            }
            (None, Some(arn), _) => {
                self.existing("notifications.existingTopicARN", &arn)?;
                Ok(Source::Existing(arn))
            }
            _ => Err(invalid(
                "notifications: write only one of topicName and existingTopicARN",
            )),
        }
    }

    /// The connection: the object's word, or the class's that serves the repository's owner, or one
    /// of its own.
    pub fn connection(&self, spec: &RepoFanoutSpec) -> Result<ConnectionSource, Refusal> {
        let asked = *spec.connection.clone().unwrap_or_default();
        let shared = self.class.filter(|class| !class.connections.is_empty());
        match (asked.provider, asked.host_arn, asked.existing_arn, shared) {
            (None, None, None, Some(class)) => match class.connection_for(&spec.repository) {
                Some(name) => Ok(ConnectionSource::Shared(name.to_owned())),
                None if class.may_override(Overridable::Connection) => {
                    ConnectionSource::provider("connection.provider", "GitHub".to_owned())
                }
                None => Err(not_allowed(format!(
                    "repository: RepoFanoutClass {} has no connection for owner '{}'; have one \
                         added to the class's connections, or write a repository of an owner that has one",
                    class.name,
                    prefix::owner(&spec.repository)
                ))),
            },
            (None, None, None, None) => {
                ConnectionSource::provider("connection.provider", "GitHub".to_owned())
            }
            (Some(provider), None, None, shared) => {
                if shared.is_some() {
                    self.own("connection.provider", Overridable::Connection)?;
                }
                ConnectionSource::provider("connection.provider", provider)
            }
            (None, Some(host), None, shared) => {
                if shared.is_some() {
                    self.own("connection.hostARN", Overridable::Connection)?;
                }
                self.existing("connection.hostARN", &host)?;
                Ok(ConnectionSource::Host(host))
            }
            (None, None, Some(arn), _) => {
                self.existing("connection.existingARN", &arn)?;
                Ok(ConnectionSource::Existing(arn))
            }
            _ => Err(invalid(
                "connection: write only one of provider, hostARN and existingARN",
            )),
        }
    }

    /// The prefix in the destination. Of a shared bucket an object may choose among those below its
    /// own namespace's, so that nobody can put files where consumers trust another namespace.
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
                "destination.prefixTemplate of the class: '{unknown}' is no placeholder"
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
            "{namespace}" => format!("write one below {}/", parts.namespace),
            _ => format!("leave it out, which gives '{rendered}'"),
        };
        Err(not_allowed(format!(
            "destination.prefix: '{asked}' is outside of what RepoFanoutClass {} gives this \
                 namespace in its shared bucket; {may}, or have Prefix added to the class's overridable",
            class.name
        )))
    }

    /// The object's tags, and the class's over them.
    pub fn tags(&self, spec: &RepoFanoutSpec) -> Tags {
        let mut tags = spec.tags.clone().unwrap_or_default();
        tags.extend(self.class.iter().flat_map(|class| class.tags.clone()));
        tags
    }
}
