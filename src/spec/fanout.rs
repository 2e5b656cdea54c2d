//! The validated spec of a fan-out, with a value for everything that the object leaves out.

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

/// A validated `RepoFanout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fanout {
    /// Owner of its resources.
    pub owner: Owner,
    /// The object's uid.
    pub uid: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// Readable base of its names in AWS, if one is chosen.
    pub name: Option<String>,
    /// Name of its class, if it has one.
    pub class: Option<String>,
    /// The role to assume in its account; none if the operator's own identity is enough.
    pub access: Option<AssumeRole>,
    /// The AWS region.
    pub region: String,
    /// Prefix of its generated names.
    pub name_prefix: String,
    /// ARN or name of its role's permissions boundary.
    pub permissions_boundary: Option<String>,
    /// ARN of the KMS key of its own buckets and topic, and of a shared bucket.
    pub kms_key: Option<String>,
    /// ARN of the class's role that it uses; it has its own role if there is none.
    pub shared_role: Option<String>,
    /// Source of the connection.
    pub connection: ConnectionSource,
    /// Source of the destination bucket.
    pub destination: Source,
    /// Prefix of every key, without a slash at either end.
    pub prefix: String,
    /// Options of pruning, if the spec asks for it.
    pub prune: Option<Prune>,
    /// Others who may read the copied files.
    pub readers: Vec<Reader>,
    /// Whether the operator writes the policy of the destination bucket.
    pub writes_policy: bool,
    /// Source of the artifacts bucket.
    pub artifacts: Source,
    /// Number of days that own artifacts are kept.
    pub retention_days: i32,
    /// Options of the pipeline.
    pub pipeline: Pipeline,
    /// Events, topic and subscribers.
    pub notifications: Notifications,
    /// Time between two full observations.
    pub interval: Duration,
    /// The user's tags.
    pub tags: Tags,
    /// Existing resources that may be adopted.
    pub adopt: BTreeSet<Resource>,
    /// Whether drift is shown, and not corrected.
    pub detect_drift: bool,
}

words! {
    /// Values of `spec.drift`: how the operator treats changes that somebody else made in AWS.
    Drift {
        /// It undoes them.
        Correct = "Correct",
        /// It shows them.
        Detect = "Detect",
    }
}

/// Owner of an object's resources; known also if its spec is invalid.
pub fn owner(object: &RepoFanout, settings: &Settings) -> Owner {
    Owner {
        cluster: settings.cluster_id.clone(),
        kind: "RepoFanout".to_owned(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

impl Fanout {
    /// Parses and validates the object's spec.
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
        // An adopted pipeline keeps its role.
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
            tags: policy.tags(spec)?,
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

    /// Refuses generated names beside an adopted pipeline, which already uses resources with names.
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
                "pipeline.name: an existing pipeline already uses a connection, buckets and a \
                 topic, and the spec has to name those that the class does not offer; write \
                 connection.existingARN, bucketName or existingBucket under destination and under \
                 artifacts, and topicName or existingTopicARN under notifications",
            ));
        }
        Ok(())
    }

    fn check_buckets(&self) -> Result<(), Refusal> {
        let named = matches!(self.destination, Source::Own(Some(_)) | Source::Existing(_));
        if named && self.destination == self.artifacts {
            return Err(invalid(
                "destination and artifacts name the same bucket, so that artifacts would lie among \
                 the copied files; name two buckets",
            ));
        }
        Ok(())
    }

    fn check_prefix(&self) -> Result<(), Refusal> {
        let mut parts = self.prefix.split('/');
        if parts.any(|part| part == "." || part == "..") {
            return Err(invalid(
                "destination.prefix: no part of it may be '.' or '..'; write plain names between \
                 the slashes",
            ));
        }
        Ok(())
    }

    /// Base of its names in AWS: the name of an adopted pipeline, or a generated one.
    pub fn base_name(&self) -> String {
        match &self.pipeline.adopted {
            Some(adopted) => adopted.name.clone(),
            None => names::base_name(&self.name_prefix, self.name.as_deref(), &self.owner),
        }
    }

    /// The placement that the spec asks for.
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
            ConnectionSource::Host(arn) => {
                place.check_arn(
                    "connection.hostARN",
                    arn,
                    "name a host of that region and account",
                )?;
            }
            // A connection serves all regions, and the accounts that it is shared with.
            ConnectionSource::Existing(_)
            | ConnectionSource::Provider(_)
            | ConnectionSource::Shared(_) => {}
        }
        match &self.notifications.topic {
            Source::Existing(arn) => place.check_arn(
                "notifications.existingTopicARN",
                arn,
                "name a topic of that region and account, because a notification rule reaches no other",
            ),
            Source::Own(_) | Source::Shared(_) => Ok(()),
        }
    }
}

/// Values for the placeholders of the class's prefix template.
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
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::condition::Reason;
    use crate::spec::example;
    use crate::spec::example::{open, open_class};
    use crate::spec::notifications::Detail;
    use crate::spec::pipeline::{ExecutionMode, PipelineType};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:t";
    const CONNECTION: &str = "arn:aws:codestar-connections:eu-west-1:111122223333:connection/a";
    const HOST: &str = "arn:aws:codeconnections:eu-west-1:111122223333:host/h/a";
    const ROLE: &str = "arn:aws:iam::111122223333:role/r";

    /// The spec with repository a/b, where it names none.
    fn spec(fields: Value) -> Value {
        let mut spec = json!({"repository": "a/b"});
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        spec
    }

    fn parse(fields: Value, settings: &Settings) -> Result<Fanout, Refusal> {
        example::parse(spec(fields), settings, None)
    }

    #[test]
    fn the_smallest_object_resolves_to_the_documented_defaults() {
        let f = parse(json!({"repository": "acme/Docs"}), &Settings::example()).unwrap();
        assert_eq!((&*f.branch, &*f.prefix), ("main", "acme/Docs"));
        assert_eq!((&*f.region, &*f.name_prefix), ("eu-west-1", "rf-"));
        assert_eq!(f.connection, ConnectionSource::Provider(Provider::GitHub));
        assert_eq!(
            [&f.destination, &f.artifacts, &f.notifications.topic],
            [&Source::Own(None); 3]
        );
        assert_eq!(f.pipeline.kind, PipelineType::V2);
        assert_eq!(f.pipeline.execution_mode, ExecutionMode::Queued);
        assert!(f.pipeline.detect_changes && f.pipeline.triggers.is_none());
        assert_eq!(f.notifications.detail, Detail::Basic);
        assert_eq!(
            f.notifications.events,
            BTreeSet::from(["codepipeline-pipeline-pipeline-execution-succeeded".to_owned()])
        );
        assert_eq!(
            (f.retention_days, f.interval),
            (30, Duration::from_secs(600))
        );
        assert!(f.prune.is_none() && f.readers.is_empty() && f.adopt.is_empty());
        assert!(f.shared_role.is_none() && f.writes_policy && !f.detect_drift);
    }

    #[test]
    fn each_field_that_is_written_is_taken() {
        type Check = fn(&Fanout) -> bool;
        let table: &[(Value, Check)] = &[
            (json!({"branch": "next"}), |f| f.branch == "next"),
            (json!({"name": "x"}), |f| f.base_name().starts_with("rf-x-")),
            (json!({"region": "us-east-1"}), |f| f.region == "us-east-1"),
            (json!({"connection": {"provider": "GitLab"}}), |f| {
                f.connection == ConnectionSource::Provider(Provider::GitLab)
            }),
            (json!({"connection": {"hostARN": HOST}}), |f| {
                f.connection == ConnectionSource::Host(HOST.into())
            }),
            (json!({"connection": {"existingARN": CONNECTION}}), |f| {
                f.connection == ConnectionSource::Existing(CONNECTION.into())
            }),
            (
                json!({"repository": "a/b/c", "connection": {"provider": "GitLab"}}),
                |f| f.prefix == "a/b/c",
            ),
            (json!({"destination": {"bucketName": "abc"}}), |f| {
                f.destination == Source::Own(Some("abc".into())) && f.writes_policy
            }),
            (json!({"destination": {"existingBucket": "abc"}}), |f| {
                f.destination == Source::Existing("abc".into()) && !f.writes_policy
            }),
            (json!({"destination": {"prefix": "x/y"}}), |f| {
                f.prefix == "x/y"
            }),
            (json!({"destination": {"prune": "Enabled"}}), |f| {
                f.prune.is_some_and(|p| !p.dry_run && p.limit.percent == 50)
            }),
            (
                json!({"destination": {"prune": "DryRun", "pruneLimit": {"objects": 7}}}),
                |f| f.prune.is_some_and(|p| p.dry_run && p.limit.objects == 7),
            ),
            (json!({"destination": {"prune": "Disabled"}}), |f| {
                f.prune.is_none()
            }),
            (
                json!({"destination": {"readers": [{"roleARN": ROLE}]}}),
                |f| f.readers == [Reader::Role(ROLE.into())],
            ),
            (
                json!({"artifacts": {"bucketName": "abc", "retentionDays": 7}}),
                |f| f.artifacts == Source::Own(Some("abc".into())) && f.retention_days == 7,
            ),
            (json!({"artifacts": {"existingBucket": "abc"}}), |f| {
                f.artifacts == Source::Existing("abc".into())
            }),
            (json!({"pipeline": {"type": "V1"}}), |f| {
                f.pipeline.kind == PipelineType::V1
                    && f.pipeline.execution_mode == ExecutionMode::Superseded
            }),
            (
                json!({"pipeline": {"type": "V1", "executionMode": "SUPERSEDED"}}),
                |f| f.pipeline.execution_mode == ExecutionMode::Superseded,
            ),
            (json!({"pipeline": {"executionMode": "SUPERSEDED"}}), |f| {
                f.pipeline.kind == PipelineType::V2
                    && f.pipeline.execution_mode == ExecutionMode::Superseded
            }),
            (json!({"pipeline": {"detectChanges": false}}), |f| {
                !f.pipeline.detect_changes
            }),
            (
                json!({"pipeline": {"triggers": {"push": [{"tags": {"includes": ["v*"]}}]}}}),
                |f| {
                    !f.pipeline.detect_changes
                        && f.pipeline
                            .triggers
                            .as_ref()
                            .is_some_and(|t| t.push.len() == 1)
                },
            ),
            (
                json!({"notifications": {"detail": "FULL", "announce": true}}),
                |f| f.notifications.detail == Detail::Full && f.notifications.announce,
            ),
            (
                json!({"notifications": {"events": ["pipeline-execution-failed"]}}),
                |f| {
                    f.notifications
                        .events
                        .contains("codepipeline-pipeline-pipeline-execution-failed")
                },
            ),
            (json!({"notifications": {"topicName": "t"}}), |f| {
                f.notifications.topic == Source::Own(Some("t".into()))
            }),
            (json!({"notifications": {"existingTopicARN": TOPIC}}), |f| {
                f.notifications.topic == Source::Existing(TOPIC.into())
            }),
            (
                json!({"notifications": {"subscribers": [{"protocol": "email", "endpoint": "a@b"}]}}),
                |f| f.notifications.subscribers[0].is_person(),
            ),
            (json!({"adopt": ["Topic", "Role"]}), |f| {
                f.adopt == BTreeSet::from([Resource::Role, Resource::Topic])
            }),
            (json!({"drift": "Detect"}), |f| f.detect_drift),
            (json!({"drift": "Correct"}), |f| !f.detect_drift),
            (json!({"interval": "1h30m"}), |f| {
                f.interval.as_secs() == 5400
            }),
            (json!({"interval": "1m"}), |f| f.interval.as_secs() == 60),
            (json!({"tags": {"team": "docs"}}), |f| {
                f.tags["team"] == "docs"
            }),
        ];
        for (fields, check) in table {
            let fanout = parse(fields.clone(), &open()).unwrap();
            assert!(check(&fanout), "{fields}: {fanout:#?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let same = json!({"existingBucket": "abc"});
        let mail = json!([{"protocol": "email", "endpoint": "a@b"}]);
        let table = [
            (
                json!({"repository": "a/b/c"}),
                "repository: 'a/b/c' has 3 parts, GitHub",
            ),
            (
                json!({"repository": "a/b/c", "connection": {"provider": "Bitbucket"}}),
                "repository: 'a/b/c' has 3 parts, Bitbucket",
            ),
            (
                json!({"connection": {"provider": "SourceForge"}}),
                "connection.provider: this version of the operator does not know 'SourceForge'; \
                 write one of GitHub, GitLab, Bitbucket",
            ),
            (
                json!({"connection": {"provider": "GitHub", "hostARN": HOST}}),
                "connection: write only one of",
            ),
            (
                json!({"destination": {"bucketName": "abc", "existingBucket": "def"}}),
                "destination: write only one of",
            ),
            (
                json!({"destination": {"prefix": "a/../b"}}),
                "destination.prefix: no part",
            ),
            (
                json!({"destination": {"prefix": "./b"}}),
                "destination.prefix: no part",
            ),
            (
                json!({"destination": {"prune": "Sometimes"}}),
                "destination.prune: this version of the operator does not know 'Sometimes'; write \
                 one of Disabled, DryRun, Enabled",
            ),
            (
                json!({"destination": {"readers": [{}]}}),
                "destination.readers: write one of account, roleARN and organization",
            ),
            (
                json!({"artifacts": {"bucketName": "abc", "existingBucket": "def"}}),
                "artifacts: write only one of",
            ),
            (
                json!({"artifacts": same, "destination": same}),
                "destination and artifacts name the same bucket",
            ),
            (
                json!({"pipeline": {"type": "V3"}}),
                "pipeline.type: this version of the operator does not know 'V3'; write one of V1, V2",
            ),
            (
                json!({"pipeline": {"executionMode": "PARALLEL"}}),
                "pipeline.executionMode: this version of the operator does not know 'PARALLEL'; \
                 write one of QUEUED, SUPERSEDED",
            ),
            (
                json!({"pipeline": {"type": "V1", "executionMode": "QUEUED"}}),
                "pipeline: a V1 pipeline knows executionMode SUPERSEDED only",
            ),
            (
                json!({"pipeline": {"type": "V1", "triggers": {"push": []}}}),
                "pipeline: triggers are for V2",
            ),
            (
                json!({"pipeline": {"detectChanges": true, "triggers": {"push": []}}}),
                "pipeline: triggers are for V2",
            ),
            (
                json!({"pipeline": {"name": "p"}, "adopt": ["Pipeline"]}),
                "pipeline.name: an existing pipeline already uses",
            ),
            (
                json!({"notifications": {"detail": "basic"}}),
                "notifications.detail: this version of the operator does not know 'basic'; write \
                 one of BASIC, FULL",
            ),
            (
                json!({"notifications": {"topicName": "t", "existingTopicARN": TOPIC}}),
                "notifications: write only one of",
            ),
            (
                json!({"notifications": {"existingTopicARN": TOPIC, "subscribers": mail}}),
                "notifications.subscribers: the topic is not the object's own",
            ),
            (
                json!({"notifications": {"subscribers": [{"protocol": "sms", "endpoint": "1"}]}}),
                "notifications.subscribers.protocol: this version of the operator does not know 'sms'",
            ),
            (
                json!({"adopt": ["Queue"]}),
                "adopt: this version of the operator does not know 'Queue'",
            ),
            (
                json!({"drift": "Ignore"}),
                "drift: this version of the operator does not know 'Ignore'; write one of Correct, Detect",
            ),
            (json!({"interval": "59s"}), "interval: '59s' is no duration"),
            (
                json!({"interval": "169h"}),
                "interval: '169h' is no duration",
            ),
            (
                json!({"interval": "soon"}),
                "interval: 'soon' is no duration",
            ),
        ];
        for (fields, words) in table {
            let refusal = parse(fields.clone(), &open()).expect_err(&fields.to_string());
            assert_eq!(refusal.reason, Reason::InvalidSpec, "{fields}");
            assert!(refusal.message.starts_with(words), "{fields}: {refusal}");
        }
    }

    #[test]
    fn what_the_settings_do_not_allow_is_refused_with_the_field_and_the_flag() {
        let firehose = json!({
            "protocol": "firehose", "endpoint": "arn:aws:firehose:r:1:s", "subscriptionRoleARN": ROLE,
        });
        let table = [
            (json!({"name": "x"}), "name:", "--allow-names"),
            (
                json!({"destination": {"bucketName": "abc"}}),
                "destination.bucketName:",
                "--allow-names",
            ),
            (
                json!({"artifacts": {"bucketName": "abc"}}),
                "artifacts.bucketName:",
                "--allow-names",
            ),
            (
                json!({"notifications": {"topicName": "t"}}),
                "notifications.topicName:",
                "--allow-names",
            ),
            (
                json!({"connection": {"existingARN": CONNECTION}}),
                "connection.existingARN:",
                "--allow-existing",
            ),
            (
                json!({"connection": {"hostARN": HOST}}),
                "connection.hostARN:",
                "--allow-existing",
            ),
            (
                json!({"destination": {"existingBucket": "abc"}}),
                "destination.existingBucket:",
                "--allow-existing",
            ),
            (
                json!({"artifacts": {"existingBucket": "abc"}}),
                "artifacts.existingBucket:",
                "--allow-existing",
            ),
            (
                json!({"notifications": {"existingTopicARN": TOPIC}}),
                "notifications.existingTopicARN:",
                "--allow-existing",
            ),
            (
                json!({"notifications": {"subscribers": [firehose]}}),
                "notifications.subscribers.subscriptionRoleARN:",
                "--allow-existing",
            ),
            (
                json!({"destination": {"readers": [{"account": "444455556666"}]}}),
                "destination.readers:",
                "--allow-readers",
            ),
            (
                json!({"destination": {"prune": "DryRun"}}),
                "destination.prune: DryRun asks the operator to delete files",
                "--allow-prune",
            ),
        ];
        for (fields, field, flag) in table {
            let refusal = parse(fields.clone(), &Settings::example()).unwrap_err();
            assert_eq!(refusal.reason, Reason::NotAllowed, "{fields}");
            assert!(
                refusal.message.starts_with(field) && refusal.message.contains(flag),
                "{refusal}"
            );
            assert!(parse(fields, &open()).is_ok(), "{field}");
        }
        let some = Settings {
            allow_existing: vec!["arn:aws:s3:::abc".into()],
            ..Settings::example()
        };
        for (bucket, allowed) in [("abc", true), ("abcd", false)] {
            let fields = json!({"artifacts": {"existingBucket": bucket}});
            assert_eq!(parse(fields, &some).is_ok(), allowed, "{bucket}");
        }
    }

    #[test]
    fn a_pipeline_that_is_taken_over_has_its_own_name_and_has_to_be_allowed() {
        let fields = json!({
            "pipeline": {"name": "theirs"}, "adopt": ["Pipeline"],
            "connection": {"existingARN": CONNECTION}, "destination": {"existingBucket": "abc"},
            "artifacts": {"existingBucket": "def"}, "notifications": {"topicName": "t"},
        });
        let fanout = parse(fields.clone(), &open()).unwrap();
        assert_eq!(fanout.base_name(), "theirs");
        let identity = Identity {
            account: "111122223333".into(),
            partition: "aws".into(),
            arn: "arn:aws:iam::111122223333:user/operator".into(),
        };
        let place = fanout.place(&identity);
        assert_eq!(fanout.check_place(&place), Ok(()));
        let others = Settings {
            allow_existing: vec!["arn:aws:s3:::*".into(), CONNECTION.into()],
            ..open()
        };
        let refusal = parse(fields, &others).unwrap().check_place(&place);
        let message = refusal.unwrap_err().message;
        assert!(
            message.starts_with("pipeline.name: arn:aws:codepipeline:"),
            "{message}"
        );
    }

    #[test]
    fn arns_of_another_region_or_account_are_refused_by_name() {
        let table = [
            (
                json!({"notifications": {"existingTopicARN": TOPIC}}),
                "notifications.existingTopicARN",
            ),
            (
                json!({"connection": {"hostARN": HOST}}),
                "connection.hostARN",
            ),
        ];
        for (fields, field) in table {
            let fanout = parse(fields, &open()).unwrap();
            let place = |region: &str, account: &str| Placement {
                account: account.into(),
                partition: "aws".into(),
                region: region.into(),
                class: None,
                base_name: "b".into(),
            };
            assert_eq!(
                fanout.check_place(&place("eu-west-1", "111122223333")),
                Ok(())
            );
            for (region, account) in [("us-east-1", "111122223333"), ("eu-west-1", "444455556666")]
            {
                let refusal = fanout.check_place(&place(region, account)).unwrap_err();
                let differs = if region == "us-east-1" {
                    region
                } else {
                    account
                };
                assert!(
                    refusal.message.starts_with(field) && refusal.message.contains(differs),
                    "{refusal}"
                );
            }
        }
    }

    /// Any word, with those that mean something among them.
    fn word() -> impl Strategy<Value = Value> {
        const KNOWN: [&str; 18] = [
            "",
            "V1",
            "V2",
            "QUEUED",
            "SUPERSEDED",
            "GitHub",
            "GitLab",
            "Enabled",
            "FULL",
            "Detect",
            "Pipeline",
            "sqs",
            "1m",
            "x",
            "a/b",
            "..",
            TOPIC,
            CONNECTION,
        ];
        prop_oneof![
            2 => prop::sample::select(&KNOWN[..]).prop_map(Value::from),
            1 => ".{0,12}".prop_map(Value::from),
        ]
    }

    fn object_of(fields: &'static [&'static str]) -> impl Strategy<Value = Value> {
        prop::collection::btree_map(prop::sample::select(fields), word(), 0..4)
            .prop_map(|fields| json!(fields))
    }

    prop_compose! {
        fn any_spec()(
            mut spec in object_of(&["branch", "name", "region", "drift", "interval"]),
            repository in word(),
            connection in object_of(&["provider", "hostARN", "existingARN"]),
            destination in object_of(&["bucketName", "existingBucket", "prefix", "prune"]),
            artifacts in object_of(&["bucketName", "existingBucket"]),
            pipeline in object_of(&["name", "type", "executionMode"]),
            notifications in object_of(&["detail", "topicName", "existingTopicARN"]),
            subscriber in object_of(&["filterPolicyScope", "subscriptionRoleARN"]),
            protocol in word(),
            adopt in prop::collection::vec(word(), 0..2),
            days in prop::option::of(any::<i32>()),
        ) -> Value {
            let mut subscriber = subscriber;
            subscriber["protocol"] = protocol;
            subscriber["endpoint"] = json!("e");
            let mut notifications = notifications;
            notifications["subscribers"] = json!([subscriber]);
            let mut artifacts = artifacts;
            artifacts["retentionDays"] = json!(days);
            for (field, value) in [
                ("repository", repository),
                ("connection", connection),
                ("destination", destination),
                ("artifacts", artifacts),
                ("pipeline", pipeline),
                ("notifications", notifications),
                ("adopt", json!(adopt)),
            ] {
                spec[field] = value;
            }
            spec
        }
    }

    proptest! {
        #[test]
        fn any_spec_is_parsed_or_refused_with_a_sentence(spec in any_spec(), shares in any::<bool>()) {
            let class = open_class(json!({
                "artifacts": {}, "destination": {}, "topic": "Shared", "pipelineRole": "Shared",
                "connections": {"all": {"owner": "*"}}, "allowExisting": ["*"],
            }));
            match example::parse(spec, &open(), shares.then_some(&class)) {
                Ok(fanout) => prop_assert!(!fanout.prefix.split('/').any(|part| part == "..")),
                Err(refusal) => prop_assert!(refusal.message.contains(':'), "{}", refusal),
            }
        }
    }
}
