//! What differs between desired and observed, by meaning.

use std::fmt;

use serde_json::Value;

use crate::domain::owner::{RETAINED_AT, Tags};
use crate::domain::policy_document;
use crate::domain::word::Found;
use crate::resource::desired::{
    Bucket, Declaration, EventRule, NotificationRule, Pipeline, Queue, Role, Topic,
};
use crate::resource::observed::{
    ObservedBucket, ObservedEventRule, ObservedPipeline, ObservedQueue, ObservedRole, ObservedRule,
    ObservedTopic, RuleTarget,
};
use crate::resource::reader_policy::Readers;

const TRIGGERS: &str = "triggers";

/// The part of a resource that one call writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Our tags.
    Tags,
    /// A bucket's public access block.
    PublicAccessBlock,
    /// A bucket's object ownership.
    Ownership,
    /// A bucket's default encryption, a topic's key.
    Encryption,
    /// A bucket's, topic's or role's policy.
    Policy,
    /// A bucket's lifecycle rule.
    Lifecycle,
    /// A role's trust policy.
    Trust,
    /// A role's permissions boundary.
    Boundary,
    /// A pipeline's structure.
    Declaration,
    /// A notification rule's or an event rule's settings.
    Rule,
    /// An event rule's targets.
    Targets,
    /// A queue's dead letters.
    Redrive,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub field: Field,
    /// Which value, in AWS's words.
    pub path: String,
    /// What AWS has.
    pub from: String,
    /// What it is to have.
    pub to: String,
}

/// All differences of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta(pub Vec<Change>);

impl Delta {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this field differs.
    pub fn has(&self, field: Field) -> bool {
        self.0.iter().any(|c| c.field == field)
    }

    fn note(
        &mut self,
        field: Field,
        path: impl Into<String>,
        from: impl fmt::Display,
        to: impl fmt::Display,
    ) {
        self.0.push(Change {
            field,
            path: path.into(),
            from: from.to_string(),
            to: to.to_string(),
        });
    }

    fn differ<T: PartialEq + fmt::Display>(&mut self, field: Field, path: &str, from: &T, to: &T) {
        if from != to {
            self.note(field, path, from, to);
        }
    }

    /// A key that the class asks for; where it asks for none, any will do.
    fn key(&mut self, desired: Option<&String>, observed: Option<&String>) {
        if let Some(key) = desired
            && observed != Some(key)
        {
            self.note(
                Field::Encryption,
                "kmsKey",
                observed.map_or("none", String::as_str),
                key,
            );
        }
    }

    fn with_tags(mut self, desired: &Tags, observed: &Tags) -> Self {
        for (key, value) in desired {
            let found = observed.get(key).map_or("", String::as_str);
            if found != value {
                self.note(Field::Tags, format!("tags.{key}"), found, value);
            }
        }
        if let Some(since) = observed.get(RETAINED_AT).filter(|since| !since.is_empty()) {
            self.note(Field::Tags, format!("tags.{RETAINED_AT}"), since, "");
        }
        self
    }

    /// The tags to write.
    pub fn tags(&self) -> Tags {
        let tags = self.0.iter().filter(|c| c.field == Field::Tags);
        tags.filter_map(|c| Some((c.path.strip_prefix("tags.")?.to_owned(), c.to.clone())))
            .collect()
    }

    /// All differences, in one line.
    pub fn describe(&self) -> String {
        let shorten = |text: &str| match text.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        let one = |c: &Change| {
            format!(
                "{} from '{}' to '{}'",
                c.path,
                shorten(&c.from),
                shorten(&c.to)
            )
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Only the tags.
pub fn tags_only(desired: &Tags, observed: &Tags) -> Delta {
    Delta::default().with_tags(desired, observed)
}

/// An own bucket.
pub fn bucket(desired: &Bucket, observed: &ObservedBucket) -> Delta {
    let mut delta = Delta::default();
    delta.differ(
        Field::PublicAccessBlock,
        "publicAccessBlock",
        &observed.public_access_blocked,
        &true,
    );
    delta.differ(
        Field::Ownership,
        "ownerEnforced",
        &observed.owner_enforced,
        &true,
    );
    delta.differ(Field::Encryption, "encrypted", &observed.encrypted, &true);
    delta.key(desired.kms_key.as_ref(), observed.kms_key.as_ref());
    if !policy_document::contains(observed.policy.as_ref(), &desired.statement) {
        delta.note(
            Field::Policy,
            format!("policy.{}", policy_document::TLS_SID),
            "absent or changed",
            "present",
        );
    }
    if observed.lifecycle != Some(desired.lifecycle) {
        let text = |l: Option<crate::resource::desired::Lifecycle>| {
            l.map_or("none".to_owned(), |l| format!("{l:?}"))
        };
        delta.note(
            Field::Lifecycle,
            "lifecycle",
            text(observed.lifecycle),
            text(Some(desired.lifecycle)),
        );
    }
    delta.with_tags(&desired.tags, &observed.tags)
}

/// Who else may read the destination, given its policy.
pub fn readers(desired: &Readers, policy: Option<&Value>) -> Delta {
    let mut delta = Delta::default();
    if desired.writable {
        if !policy_document::holds(policy, &desired.sids, &desired.statements) {
            let text = |there: bool| {
                if there {
                    "other statements"
                } else {
                    "no statements"
                }
            };
            let to = if desired.statements.is_empty() {
                "no statements"
            } else {
                "the readers' statements"
            };
            delta.note(
                Field::Policy,
                format!("policy of {}", desired.bucket),
                text(desired.any(policy)),
                to,
            );
        }
        return delta;
    }
    for statement in policy_document::missing(policy, &desired.statements) {
        delta.note(
            Field::Policy,
            format!("policy of {}", desired.bucket),
            "nothing",
            statement,
        );
    }
    delta
}

/// The role.
pub fn role(desired: &Role, observed: &ObservedRole) -> Delta {
    let mut delta = Delta::default();
    if !policy_document::same(&desired.trust, &observed.trust) {
        delta.note(Field::Trust, "trust", &observed.trust, &desired.trust);
    }
    if !observed
        .policy
        .as_ref()
        .is_some_and(|p| policy_document::same(&desired.policy, p))
    {
        let found = observed
            .policy
            .as_ref()
            .map_or("none".to_owned(), ToString::to_string);
        delta.note(Field::Policy, "policy", found, &desired.policy);
    }
    // A boundary that nobody asked us for may be another's rule of the account: it stays.
    if let Some(boundary) = &desired.boundary
        && observed.boundary.as_ref() != Some(boundary)
    {
        delta.note(
            Field::Boundary,
            "permissionsBoundary",
            observed.boundary.as_deref().unwrap_or("none"),
            boundary,
        );
    }
    delta.with_tags(&desired.tags, &observed.tags)
}

/// An own topic.
pub fn topic(desired: &Topic, observed: &ObservedTopic) -> Delta {
    let mut delta = Delta::default();
    if !policy_document::contains(observed.policy.as_ref(), &desired.statement) {
        delta.note(
            Field::Policy,
            format!("policy.{}", policy_document::PUBLISH_SID),
            "absent or changed",
            "present",
        );
    }
    delta.key(desired.kms_key.as_ref(), observed.kms_key.as_ref());
    delta.with_tags(&desired.tags, &observed.tags)
}

/// An own queue.
pub fn queue(desired: &Queue, observed: &ObservedQueue) -> Delta {
    let mut delta = Delta::default();
    if let Some(statement) = &desired.statement
        && !policy_document::contains(observed.policy.as_ref(), statement)
    {
        delta.note(
            Field::Policy,
            format!("policy.{}", policy_document::SEND_SID),
            "absent or changed",
            "present",
        );
    }
    if let Some(arn) = &desired.dead_letters
        && observed.dead_letters.as_ref() != Some(arn)
    {
        delta.note(
            Field::Redrive,
            "deadLetterTargetArn",
            observed.dead_letters.as_deref().unwrap_or("none"),
            arn,
        );
    }
    delta.with_tags(&desired.tags, &observed.tags)
}

/// The event rule.
pub fn event_rule(desired: &EventRule, observed: &ObservedEventRule) -> Delta {
    let mut delta = Delta::default();
    delta.differ(Field::Rule, "enabled", &observed.enabled, &true);
    if observed.pattern.as_ref() != Some(&desired.pattern) {
        let found = observed
            .pattern
            .as_ref()
            .map_or("none".to_owned(), ToString::to_string);
        delta.note(Field::Rule, "eventPattern", found, &desired.pattern);
    }
    if !observed.targets.contains(&desired.queue_arn) {
        delta.note(
            Field::Targets,
            "targets",
            observed.targets.join(","),
            &desired.queue_arn,
        );
    }
    delta.with_tags(&desired.tags, &observed.tags)
}

/// The pipeline.
pub fn pipeline(desired: &Pipeline, observed: &ObservedPipeline) -> Delta {
    let mut delta = Delta::default();
    let (is, mut was) = (
        flatten(&desired.declaration),
        flatten(&observed.declaration),
    );
    if desired.declaration.triggers.is_none() {
        // AWS may add some of its own to a V2 pipeline that has none.
        was.retain(|(path, _)| path != TRIGGERS);
    }
    for (path, value) in &is {
        let found = was.iter().find(|(p, _)| p == path).map_or("", |(_, v)| v);
        if found != value {
            delta.note(Field::Declaration, path, found, value);
        }
    }
    for (path, value) in was.iter().filter(|(p, _)| !is.iter().any(|(i, _)| i == p)) {
        delta.note(Field::Declaration, path, value, "");
    }
    delta.with_tags(&desired.tags, &observed.tags)
}

fn flatten(declaration: &Declaration) -> Vec<(String, String)> {
    let mut out = vec![
        ("roleArn".to_owned(), declaration.role_arn.clone()),
        (
            "artifactStore.location".to_owned(),
            declaration.artifacts.clone(),
        ),
        (
            "artifactStore.encryptionKey".to_owned(),
            declaration.artifacts_key.clone().unwrap_or_default(),
        ),
        (
            "pipelineType".to_owned(),
            declaration.pipeline_type.to_string(),
        ),
        (
            "executionMode".to_owned(),
            declaration.execution_mode.to_string(),
        ),
        (
            "stages".to_owned(),
            declaration
                .stages
                .iter()
                .map(|s| &*s.name)
                .collect::<Vec<_>>()
                .join(","),
        ),
    ];
    let triggers = declaration
        .triggers
        .as_ref()
        .map(|t| serde_json::json!(t).to_string());
    out.extend(triggers.map(|triggers| (TRIGGERS.to_owned(), triggers)));
    for stage in &declaration.stages {
        for action in &stage.actions {
            let path = format!("{}.{}", stage.name, action.name);
            let kind = [
                &*action.category,
                &action.owner,
                &action.provider,
                &action.version,
            ]
            .join("/");
            out.push((format!("{path}.actionTypeId"), kind));
            out.push((format!("{path}.inputArtifacts"), action.inputs.join(",")));
            out.push((format!("{path}.outputArtifacts"), action.outputs.join(",")));
            out.extend(
                action
                    .configuration
                    .iter()
                    .map(|(k, v)| (format!("{path}.{k}"), v.clone())),
            );
        }
    }
    out
}

/// The notification rule.
pub fn notification_rule(
    desired: &NotificationRule,
    observed: &ObservedRule,
    former_topics: &[String],
) -> Delta {
    let mut delta = Delta::default();
    let list =
        |e: &std::collections::BTreeSet<String>| e.iter().cloned().collect::<Vec<_>>().join(",");
    delta.differ(Field::Rule, "name", &observed.name, &desired.name);
    delta.differ(Field::Rule, "enabled", &observed.enabled, &true);
    let detail = Found::Known(desired.detail);
    delta.differ(Field::Rule, "detailType", &observed.detail, &detail);
    delta.differ(
        Field::Rule,
        "eventTypeIds",
        &list(&observed.events),
        &list(&desired.events),
    );
    let addresses = |t: &[RuleTarget]| {
        t.iter()
            .map(|t| t.address.clone())
            .collect::<Vec<_>>()
            .join(",")
    };
    let targets = targets(desired, observed, former_topics);
    delta.differ(
        Field::Rule,
        "targets",
        &addresses(&observed.targets),
        &addresses(&targets),
    );
    delta.with_tags(&desired.tags, &observed.tags)
}

/// The rule's targets as they are to be: our topic, and what others added; not
/// a topic that was ours before.
pub fn targets(
    desired: &NotificationRule,
    observed: &ObservedRule,
    former_topics: &[String],
) -> Vec<RuleTarget> {
    let former =
        |address: &String| *address != desired.topic_arn && former_topics.contains(address);
    let mut targets: Vec<RuleTarget> = observed
        .targets
        .iter()
        .filter(|t| !former(&t.address))
        .cloned()
        .collect();
    if !targets.iter().any(|t| t.address == desired.topic_arn) {
        targets.push(RuleTarget {
            kind: "SNS".to_owned(),
            address: desired.topic_arn.clone(),
            status: None,
        });
    }
    targets
}
