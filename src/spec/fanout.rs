//! The validated spec: what an object asks for, with everything left out resolved.

use crate::spec::interval::interval;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::RepoFanout;
use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::owner::{Owner, Tags};
use crate::domain::pattern::Allowed;
use crate::domain::placement::Placement;
use crate::domain::prefix::Parts;
use crate::domain::refusal::{Refusal, invalid, known};
use crate::domain::settings::{AssumeRole, Identity, Settings};
use crate::spec::class::Overridable;
use crate::spec::policy::Terms;
use crate::spec::prune::Prune;
use crate::spec::reader::Reader;
use crate::spec::source::{ConnectionSource, Source};
use crate::spec::subscriber::Subscriber;
use crate::spec::trigger::Triggers;

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
    /// What its generated names begin with.
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
    /// Who else may read what is copied.
    pub readers: Vec<Reader>,
    /// Whether the destination's policy is the operator's to write.
    pub writes_policy: bool,
    /// Its artifacts bucket.
    pub artifacts: Source,
    /// Days that own artifacts are kept.
    pub retention_days: i32,
    /// Name of the pipeline that exists and is taken over, and what of that kind is allowed.
    pub taken: Option<(String, Allowed)>,
    /// `V1` or `V2`.
    pub pipeline_type: String,
    /// `QUEUED` or `SUPERSEDED`.
    pub execution_mode: String,
    /// Whether a push starts an execution.
    pub detect_changes: bool,
    /// What starts an execution in the place of every push.
    pub triggers: Option<Triggers>,
    /// CodePipeline's event type ids.
    pub events: BTreeSet<String>,
    /// `BASIC` or `FULL`.
    pub detail: String,
    /// Who subscribes to its own topic.
    pub subscribers: Vec<Subscriber>,
    /// Whether deliveries are announced in our own words.
    pub announce: bool,
    /// Its topic.
    pub topic: Source,
    /// How often it is looked at in full.
    pub interval: Duration,
    /// Tags of the user.
    pub tags: Tags,
    /// What may be taken over.
    pub adopt: BTreeSet<Resource>,
    /// Whether drift is only shown.
    pub detect_drift: bool,
}

/// Every generated event type id begins so.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html>
const EVENT_PREFIX: &str = "codepipeline-pipeline-";
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
    pub fn parse(object: &RepoFanout, terms: &Terms<'_>) -> Result<Self, Refusal> {
        let spec = &object.spec;
        let Terms {
            settings, class, ..
        } = *terms;
        let destination = *spec.destination.clone().unwrap_or_default();
        let artifacts = *spec.artifacts.clone().unwrap_or_default();
        let pipeline = *spec.pipeline.clone().unwrap_or_default();
        let notifications = *spec.notifications.clone().unwrap_or_default();
        let owner = owner(object, settings);
        terms.admit(&owner.namespace, spec)?;
        let parts = Parts {
            namespace: &owner.namespace,
            name: &owner.name,
            repository: &spec.repository,
            branch: &spec.branch,
        };
        if let (Some(class), Some(_), None) = (
            class.filter(|c| c.artifacts.is_some()),
            artifacts.retention_days,
            &artifacts.bucket_name,
        ) {
            return Err(invalid(format!(
                "artifacts.retentionDays: the bucket is that of RepoFanoutClass {}, which says \
                     how long it keeps; leave it out",
                class.name
            )));
        }
        let source = terms.bucket(
            "destination",
            Overridable::Destination,
            destination.bucket_name,
            destination.existing_bucket,
        )?;

        let mut fanout = Self {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            repository: spec.repository.clone(),
            branch: spec.branch.clone(),
            name: terms.chosen("name", spec.name.clone())?,
            class: class.map(|c| c.name.clone()),
            access: class.and_then(|c| c.access.clone()),
            region: class.map_or_else(
                || {
                    spec.region
                        .clone()
                        .unwrap_or_else(|| settings.region.clone())
                },
                |c| c.place.region.clone(),
            ),
            name_prefix: class
                .map_or_else(|| settings.name_prefix.clone(), |c| c.name_prefix.clone()),
            permissions_boundary: match class {
                Some(class) => class.permissions_boundary.clone(),
                None => settings.permissions_boundary.clone(),
            },
            kms_key: class.and_then(|c| c.kms_key.clone()),
            shared_role: None,
            connection: terms.connection(spec)?,
            prune: Prune::parse(
                settings,
                destination.prune.as_deref(),
                destination.prune_limit.unwrap_or_default(),
            )?,
            readers: destination
                .readers
                .unwrap_or_default()
                .into_iter()
                .map(|r| terms.reader(r))
                .collect::<Result<_, _>>()?,
            writes_policy: terms.writes_policy(&source),
            prefix: terms.prefix(&parts, destination.prefix, &source)?,
            destination: source,
            artifacts: terms.bucket(
                "artifacts",
                Overridable::Artifacts,
                artifacts.bucket_name,
                artifacts.existing_bucket,
            )?,
            retention_days: artifacts.retention_days.unwrap_or(30),
            taken: pipeline.name.map(|name| (name, terms.allowed())),
            pipeline_type: known(
                "pipeline.type",
                pipeline.type_.unwrap_or_else(|| "V2".into()),
                &["V1", "V2"],
            )?,
            execution_mode: String::new(),
            // A trigger and the detection of changes would each start an execution.
            detect_changes: pipeline
                .detect_changes
                .unwrap_or(pipeline.triggers.is_none()),
            triggers: pipeline.triggers.map(Triggers::from),
            events: notifications
                .events
                .unwrap_or_else(|| vec!["pipeline-execution-succeeded".to_owned()])
                .into_iter()
                .map(|event| format!("{EVENT_PREFIX}{event}"))
                .collect(),
            detail: known(
                "notifications.detail",
                notifications.detail.unwrap_or_else(|| "BASIC".into()),
                &["BASIC", "FULL"],
            )?,
            subscribers: notifications
                .subscribers
                .unwrap_or_default()
                .into_iter()
                .map(|s| terms.subscriber(s))
                .collect::<Result<_, _>>()?,
            announce: notifications.announce.unwrap_or(false),
            topic: terms.topic(notifications.topic_name, notifications.existing_topic_arn)?,
            interval: interval(spec.interval.as_deref())?,
            tags: terms.tags(spec),
            adopt: adopt(spec.adopt.as_deref().unwrap_or_default())?,
            detect_drift: known(
                "drift",
                spec.drift.clone().unwrap_or_else(|| "Correct".into()),
                &["Correct", "Detect"],
            )? == "Detect",
            owner,
        };
        let shares = |source: &Source| matches!(source, Source::Shared(_));
        if let Some(class) = class.filter(|_| shares(&fanout.artifacts)) {
            fanout.retention_days = class.retention_days;
        }
        if fanout.taken.is_none()
            && shares(&fanout.artifacts)
            && shares(&fanout.destination)
            && matches!(fanout.connection, ConnectionSource::Shared(_))
        {
            // The class's role covers what the class shares, and nothing else.
            fanout.shared_role = class.and_then(|c| c.role_arn());
        }
        // A V1 pipeline supersedes; queueing is V2's.
        let mode = match (&*fanout.pipeline_type, pipeline.execution_mode) {
            ("V1", None) => "SUPERSEDED".to_owned(),
            ("V1", Some(mode)) if mode != "SUPERSEDED" => {
                return Err(invalid(
                    "pipeline: a V1 pipeline knows executionMode SUPERSEDED only; write type V2 \
                         or leave executionMode out",
                ));
            }
            (_, mode) => known(
                "pipeline.executionMode",
                mode.unwrap_or_else(|| "QUEUED".into()),
                &["QUEUED", "SUPERSEDED"],
            )?,
        };
        fanout.check(mode)
    }

    fn check(mut self, execution_mode: String) -> Result<Self, Refusal> {
        self.execution_mode = execution_mode;
        let parts = self.repository.split('/').count();
        if let ConnectionSource::Provider(provider) = &self.connection
            && provider != "GitLab"
            && parts != 2
        {
            return Err(invalid(format!(
                "repository: '{}' has {parts} parts, {provider} repositories have two; write owner/name",
                self.repository
            )));
        }
        let generated = |source: &Source| *source == Source::Own(None);
        let own_connection = matches!(
            self.connection,
            ConnectionSource::Provider(_) | ConnectionSource::Host(_)
        );
        if self.taken.is_some()
            && (own_connection
                || [&self.artifacts, &self.destination, &self.topic]
                    .into_iter()
                    .any(generated))
        {
            return Err(invalid(
                "pipeline.name: beside a pipeline that is taken over, what it uses is to be \
                     named; write connection.existingARN, a bucket each under destination and \
                     artifacts, and topicName or existingTopicARN, as far as the class does not offer them",
            ));
        }
        if self.triggers.is_some() && (self.pipeline_type == "V1" || self.detect_changes) {
            return Err(invalid(
                "pipeline: triggers are for V2 pipelines, and detectChanges has no meaning beside \
                     them; write type V2 and leave detectChanges out, or leave triggers out",
            ));
        }
        if self.destination == self.artifacts
            && matches!(self.destination, Source::Own(Some(_)) | Source::Existing(_))
        {
            return Err(invalid(
                "destination and artifacts name the same bucket: artifacts would lie among the \
                     copied files; name two",
            ));
        }
        if !self.subscribers.is_empty() && !matches!(self.topic, Source::Own(_)) {
            return Err(invalid(
                "notifications.subscribers: the topic is not the object's own, and its \
                     subscriptions are not the object's to make; subscribe to it where it \
                     belongs, or have a topic of one's own",
            ));
        }
        if self
            .prefix
            .split('/')
            .any(|part| part == "." || part == "..")
        {
            return Err(invalid(
                "destination.prefix: no part of it may be '.' or '..'",
            ));
        }
        Ok(self)
    }

    /// What its names begin with: those of a pipeline that is taken over are named after it.
    pub fn base_name(&self) -> String {
        let chosen = self.name.as_deref();
        let generated = || names::base_name(&self.name_prefix, chosen, &self.owner);
        self.taken
            .as_ref()
            .map_or_else(generated, |(name, _)| name.clone())
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
        if let Some((_, allowed)) = &self.taken {
            allowed.check("pipeline.name", &Computed::new(place).pipeline_arn)?;
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
        match &self.topic {
            Source::Existing(arn) => place.check_arn(
                "notifications.existingTopicARN",
                arn,
                "a notification rule reaches topics of its own region and account only",
            ),
            Source::Own(_) | Source::Shared(_) => Ok(()),
        }
    }
}

fn adopt(names: &[String]) -> Result<BTreeSet<Resource>, Refusal> {
    let of = |name: &String| match name.as_str() {
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
    names.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::condition::Reason;

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
