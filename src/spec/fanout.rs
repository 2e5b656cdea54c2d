//! The validated spec: what an object asks for, with everything left out resolved.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::{RepoFanout, RepoFanoutSpec};
use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::owner::{Owner, Tags};
use crate::domain::placement::Placement;
use crate::domain::prefix::Parts;
use crate::domain::refusal::{Refusal, invalid, known_or};
use crate::domain::settings::{AssumeRole, Identity, Settings};
use crate::domain::word::{Word, words};
use crate::spec::class::Overridable;
use crate::spec::interval::interval;
use crate::spec::notifications::Notifications;
use crate::spec::pipeline::Pipeline;
use crate::spec::policy::Policy;
use crate::spec::prune::Prune;
use crate::spec::reader::Reader;
use crate::spec::source::{ConnectionSource, Provider, Source};

/// A `RepoFanout` that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Fanout {
    /// The owner of its resources.
    pub owner: Owner,
    /// The object's uid.
    pub uid: String,
    /// `owner/name`.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// Readable base of its names.
    pub name: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// The role by which its account is reached, unless the operator's own identity is enough.
    pub access: Option<AssumeRole>,
    /// Its region.
    pub region: String,
    /// The prefix of its generated names.
    pub name_prefix: String,
    /// ARN of the policy that bounds its role.
    pub permissions_boundary: Option<String>,
    /// ARN of the key of its own buckets and topic, and of a shared bucket.
    pub kms_key: Option<String>,
    /// ARN of the role that it shares; its own if none.
    pub shared_role: Option<String>,
    /// Its connection.
    pub connection: ConnectionSource,
    /// Its destination bucket.
    pub destination: Source,
    /// Prefix of every key, without a slash at either end.
    pub prefix: String,
    /// Whether and how files go that are no longer in the repository.
    pub prune: Option<Prune>,
    /// The others who may read what is copied.
    pub readers: Vec<Reader>,
    /// Whether the destination's policy is the operator's to write.
    pub writes_policy: bool,
    /// Its artifacts bucket.
    pub artifacts: Source,
    /// Days that own artifacts are kept.
    pub retention_days: i32,
    /// How its pipeline runs.
    pub pipeline: Pipeline,
    /// What is announced, where, and to whom.
    pub notifications: Notifications,
    /// How often it is looked at in full.
    pub interval: Duration,
    /// Tags of the user.
    pub tags: Tags,
    /// The resources that may be taken over.
    pub adopt: BTreeSet<Resource>,
    /// Whether drift is only shown.
    pub detect_drift: bool,
}

words! {
    /// What becomes of changes that somebody made behind the operator's back: `spec.drift`.
    Drift {
        /// They are undone.
        Correct = "Correct",
        /// They are only shown.
        Detect = "Detect",
    }
}

/// The owner of an object's resources; known also where its spec makes no sense.
pub fn owner(object: &RepoFanout, settings: &Settings) -> Owner {
    Owner {
        cluster: settings.cluster_id.clone(),
        kind: "RepoFanout".to_owned(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

impl Fanout {
    /// What the object asks for, or why it cannot have it.
    pub fn parse(object: &RepoFanout, policy: &Policy<'_>) -> Result<Self, Refusal> {
        let spec = &object.spec;
        let asked = *spec.destination.clone().unwrap_or_default();
        let owner = owner(object, policy.settings);
        policy.admit(&owner.namespace, spec)?;
        let destination = policy.bucket(
            "destination",
            Overridable::Destination,
            asked.bucket_name,
            asked.existing_bucket,
        )?;
        let name = policy.chosen_name("name", spec.name.clone())?;
        let connection = policy.connection(spec)?;
        let prune = Prune::parse(
            policy.settings,
            asked.prune.as_deref(),
            asked.prune_limit.unwrap_or_default(),
        )?;
        let readers = asked.readers.unwrap_or_default().into_iter();
        let readers = readers
            .map(|reader| policy.reader(reader))
            .collect::<Result<_, _>>()?;
        let prefix = policy.prefix(&parts(&owner, spec), asked.prefix, &destination)?;
        let asked = *spec.artifacts.clone().unwrap_or_default();
        let artifacts = policy.bucket(
            "artifacts",
            Overridable::Artifacts,
            asked.bucket_name.clone(),
            asked.existing_bucket.clone(),
        )?;
        let retention_days = policy.retention_days(&asked, &artifacts)?;
        let pipeline = Pipeline::parse(*spec.pipeline.clone().unwrap_or_default(), policy)?;
        let notifications = *spec.notifications.clone().unwrap_or_default();
        let notifications = Notifications::parse(notifications, policy)?;
        // A pipeline that is taken over keeps its role.
        let shared_role = match &pipeline.adopted {
            Some(_) => None,
            None => policy.shared_role(&connection, [&artifacts, &destination]),
        };
        let drift = known_or("drift", spec.drift.as_deref(), Drift::Correct)?;
        let fanout = Self {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            repository: spec.repository.clone(),
            branch: spec.branch.clone(),
            name,
            class: policy.class.map(|class| class.name.clone()),
            access: policy.access(),
            region: policy.region(spec),
            name_prefix: policy.name_prefix(),
            permissions_boundary: policy.permissions_boundary(),
            kms_key: policy.kms_key(),
            shared_role,
            connection,
            writes_policy: policy.writes_bucket_policy(&destination),
            destination,
            prefix,
            prune,
            readers,
            artifacts,
            retention_days,
            pipeline,
            notifications,
            interval: interval(spec.interval.as_deref())?,
            tags: policy.tags(spec),
            adopt: adopt(spec.adopt.as_deref().unwrap_or_default())?,
            detect_drift: drift == Drift::Detect,
            owner,
        };
        fanout.check_repository()?;
        fanout.check_adopted()?;
        fanout.check_buckets()?;
        fanout.check_prefix()?;
        Ok(fanout)
    }

    fn check_repository(&self) -> Result<(), Refusal> {
        let parts = self.repository.split('/').count();
        match &self.connection {
            ConnectionSource::Provider(provider @ (Provider::GitHub | Provider::Bitbucket))
                if parts != 2 =>
            {
                let provider = provider.as_str();
                Err(invalid(format!(
                    "repository: '{}' has {parts} parts, {provider} repositories have two; write owner/name",
                    self.repository
                )))
            }
            _ => Ok(()),
        }
    }

    /// A pipeline that is taken over names everything that it uses already.
    fn check_adopted(&self) -> Result<(), Refusal> {
        let sources = [
            &self.artifacts,
            &self.destination,
            &self.notifications.topic,
        ];
        let generated = sources.contains(&&Source::Own(None))
            || matches!(
                self.connection,
                ConnectionSource::Provider(_) | ConnectionSource::Host(_)
            );
        if self.pipeline.adopted.is_some() && generated {
            return Err(invalid(
                "pipeline.name: beside a pipeline that is taken over, what it uses is to be \
                 named; write connection.existingARN, a bucket each under destination and \
                 artifacts, and topicName or existingTopicARN, as far as the class does not offer them",
            ));
        }
        Ok(())
    }

    fn check_buckets(&self) -> Result<(), Refusal> {
        let named = matches!(self.destination, Source::Own(Some(_)) | Source::Existing(_));
        if named && self.destination == self.artifacts {
            return Err(invalid(
                "destination and artifacts name the same bucket: artifacts would lie among the \
                 copied files; name two",
            ));
        }
        Ok(())
    }

    fn check_prefix(&self) -> Result<(), Refusal> {
        let mut parts = self.prefix.split('/');
        if parts.any(|part| part == "." || part == "..") {
            return Err(invalid(
                "destination.prefix: no part of it may be '.' or '..'",
            ));
        }
        Ok(())
    }

    /// The base of its names: the name of a pipeline that is taken over, or a generated one.
    pub fn base_name(&self) -> String {
        match &self.pipeline.adopted {
            Some(adopted) => adopted.name.clone(),
            None => names::base_name(&self.name_prefix, self.name.as_deref(), &self.owner),
        }
    }

    /// Where its resources are to be.
    pub fn place(&self, identity: &Identity) -> Placement {
        Placement::decide(
            self.access.as_ref(),
            identity,
            &self.region,
            self.class.as_deref(),
            self.base_name(),
        )
    }

    /// Refuses ARNs that cannot work in this account and region.
    pub fn check_place(&self, place: &Placement) -> Result<(), Refusal> {
        if let Some(adopted) = &self.pipeline.adopted {
            let arn = Computed::new(place).pipeline_arn;
            adopted.allowed.check("pipeline.name", &arn)?;
        }
        match &self.connection {
            ConnectionSource::Existing(arn) => {
                place.check_arn(
                    "connection.existingARN",
                    arn,
                    "name a connection of that region and account",
                )?;
            }
            ConnectionSource::Host(arn) => {
                place.check_arn(
                    "connection.hostARN",
                    arn,
                    "name a host of that region and account",
                )?;
            }
            ConnectionSource::Provider(_) | ConnectionSource::Shared(_) => {}
        }
        match &self.notifications.topic {
            Source::Existing(arn) => place.check_arn(
                "notifications.existingTopicARN",
                arn,
                "a notification rule reaches topics of its own region and account only",
            ),
            Source::Own(_) | Source::Shared(_) => Ok(()),
        }
    }
}

/// What placeholders of the class's prefix template stand for.
fn parts<'a>(owner: &'a Owner, spec: &'a RepoFanoutSpec) -> Parts<'a> {
    Parts {
        namespace: &owner.namespace,
        name: &owner.name,
        repository: &spec.repository,
        branch: &spec.branch,
    }
}

fn adopt(names: &[String]) -> Result<BTreeSet<Resource>, Refusal> {
    let resource = |name: &String| match name.as_str() {
        "Connection" => Ok(Resource::Connection),
        "Destination" => Ok(Resource::Destination),
        "Artifacts" => Ok(Resource::Artifacts),
        "Role" => Ok(Resource::Role),
        "Pipeline" => Ok(Resource::Pipeline),
        "Topic" => Ok(Resource::Topic),
        "NotificationRule" => Ok(Resource::NotificationRule),
        other => Err(invalid(format!(
            "adopt: this version of the operator does not know '{other}'; leave it out"
        ))),
    };
    names.iter().map(resource).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn settings() -> Settings {
        Settings::example()
    }

    fn object(spec: Value) -> RepoFanout {
        serde_json::from_value(json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
            "metadata": {"name": "docs", "namespace": "team", "uid": "u"}, "spec": spec,
        }))
        .unwrap()
    }

    fn parse(spec: Value, settings: &Settings) -> Result<Fanout, Refusal> {
        Fanout::parse(
            &object(spec),
            &Terms {
                settings,
                class: None,
                labels: &BTreeMap::new(),
            },
        )
    }

    #[test]
    fn the_smallest_object_resolves_to_the_documented_defaults() {
        let f = parse(json!({"repository": "acme/Docs"}), &settings()).unwrap();
        assert_eq!(f.branch, "main");
        assert_eq!(f.prefix, "acme/Docs");
        assert_eq!(f.connection, ConnectionSource::Provider("GitHub".into()));
        assert_eq!(
            (
                f.pipeline_type.as_str(),
                f.execution_mode.as_str(),
                f.detect_changes
            ),
            ("V2", "QUEUED", true)
        );
        assert_eq!(f.retention_days, 30);
        assert_eq!(f.interval, Duration::from_secs(600));
        assert_eq!(
            f.events,
            BTreeSet::from(["codepipeline-pipeline-pipeline-execution-succeeded".to_owned()])
        );
    }

    #[test]
    fn what_the_settings_do_not_allow_is_refused_with_the_field_and_the_flag() {
        let arn = "arn:aws:codestar-connections:eu-west-1:111122223333:connection/a";
        let specs = [
            (
                json!({"repository": "a/b", "name": "x"}),
                "name:",
                "--allow-names",
            ),
            (
                json!({"repository": "a/b", "destination": {"bucketName": "abc"}}),
                "destination.bucketName:",
                "--allow-names",
            ),
            (
                json!({"repository": "a/b", "notifications": {"topicName": "t"}}),
                "notifications.topicName:",
                "--allow-names",
            ),
            (
                json!({"repository": "a/b", "connection": {"existingARN": arn}}),
                "connection.existingARN:",
                "--allow-existing",
            ),
            (
                json!({"repository": "a/b", "artifacts": {"existingBucket": "abc"}}),
                "artifacts.existingBucket:",
                "--allow-existing",
            ),
        ];
        for (spec, field, flag) in specs {
            let refusal = parse(spec, &settings()).unwrap_err();
            assert_eq!(refusal.reason, Reason::NotAllowed);
            assert!(
                refusal.message.starts_with(field) && refusal.message.contains(flag),
                "{refusal}"
            );
        }
        let open = Settings {
            allow_names: true,
            allow_existing: vec!["arn:aws:s3:::abc".into()],
            ..settings()
        };
        assert!(
            parse(
                json!({"repository": "a/b", "artifacts": {"existingBucket": "abc"}}),
                &open
            )
            .is_ok()
        );
        assert!(
            parse(
                json!({"repository": "a/b", "artifacts": {"existingBucket": "abcd"}}),
                &open
            )
            .is_err()
        );
    }

    #[test]
    fn values_of_a_newer_version_are_refused_and_not_guessed_at() {
        let refusal = parse(
            json!({"repository": "a/b", "pipeline": {"type": "V3"}}),
            &settings(),
        )
        .unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        assert!(refusal.message.contains("V3"), "{refusal}");
    }

    #[test]
    fn groups_are_gitlabs_only() {
        assert!(parse(json!({"repository": "a/b/c"}), &settings()).is_err());
        assert!(
            parse(
                json!({"repository": "a/b/c", "connection": {"provider": "GitLab"}}),
                &settings()
            )
            .is_ok()
        );
    }

    #[test]
    fn intervals_have_bounds() {
        for (text, seconds) in [
            ("1m", Some(60)),
            ("1h30m", Some(5400)),
            ("59s", None),
            ("169h", None),
        ] {
            let parsed = parse(json!({"repository": "a/b", "interval": text}), &settings());
            assert_eq!(parsed.ok().map(|f| f.interval.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn arns_of_another_region_are_refused_by_name() {
        let topic = "arn:aws:sns:us-east-1:111122223333:t";
        let open = Settings {
            allow_existing: vec!["*".into()],
            ..settings()
        };
        let f = parse(
            json!({"repository": "a/b", "notifications": {"existingTopicARN": topic}}),
            &open,
        )
        .unwrap();
        let place = |region: &str| Placement {
            account: "111122223333".into(),
            partition: "aws".into(),
            region: region.into(),
            class: None,
            base_name: "b".into(),
        };
        let refusal = f.check_place(&place("eu-west-1")).unwrap_err();
        assert!(
            refusal.message.contains("us-east-1") && refusal.message.contains("eu-west-1"),
            "{refusal}"
        );
        assert!(f.check_place(&place("us-east-1")).is_ok());
    }
}
