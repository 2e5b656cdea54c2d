//! The notification rule: it announces executions of the pipeline on the topic.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::owner::{ADOPTED, Owner, Tags};
use crate::domain::word::{Found, Word};
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted};
use crate::resource::scope::{Scope, allow};
use crate::spec::fanout::Fanout;
use crate::spec::notifications::Detail;

/// An own notification rule.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationRule {
    /// Its name.
    pub name: String,
    /// ARN of the pipeline that it watches.
    pub pipeline_arn: String,
    /// ARN of the topic that it reaches.
    pub topic_arn: String,
    /// ARNs of the topics that it reached before, and does not any more.
    pub former_topics: Vec<String>,
    /// CodePipeline's event type ids.
    pub events: BTreeSet<String>,
    /// `BASIC` or `FULL`.
    pub detail: Detail,
    /// Our tags.
    pub tags: Tags,
    /// Makes its creation idempotent.
    pub token: String,
}

/// A notification rule as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRule {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Its event type ids.
    pub events: BTreeSet<String>,
    /// `BASIC` or `FULL`.
    pub detail: Found<Detail>,
    /// Its targets.
    pub targets: Vec<RuleTarget>,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// Whether that is by our clock, and not by AWS's.
    pub estimated: bool,
    /// All its tags.
    pub tags: Tags,
}

/// A target of a notification rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTarget {
    /// `SNS`, or a kind of chat client.
    pub kind: String,
    /// Its ARN.
    pub address: String,
    /// `UNREACHABLE` if the last notification could not be sent.
    pub status: Option<String>,
}

impl RuleTarget {
    fn topic(arn: &str) -> Self {
        Self {
            kind: "SNS".to_owned(),
            address: arn.to_owned(),
            status: None,
        }
    }
}

impl NotificationRule {
    /// The rule that the fan-out asks for.
    pub(super) fn new(
        common: &Common<'_>,
        fanout: &Fanout,
        names: &Computed,
        topic_arn: &str,
    ) -> Self {
        Self {
            name: names.base.clone(),
            pipeline_arn: names.pipeline_arn.clone(),
            topic_arn: topic_arn.to_owned(),
            former_topics: Vec::new(),
            events: fanout.notifications.events.clone(),
            detail: fanout.notifications.detail,
            tags: common.tags.clone(),
            token: token(fanout, topic_arn),
        }
    }

    /// The found state once it is made; AWS's time is asked for where it matters.
    pub fn created(&self, arn: String, now: Timestamp) -> ObservedRule {
        ObservedRule {
            arn,
            name: self.name.clone(),
            enabled: true,
            events: self.events.clone(),
            detail: Found::Known(self.detail),
            targets: vec![RuleTarget::topic(&self.topic_arn)],
            created_at: now,
            estimated: true,
            tags: self.tags.clone(),
        }
    }

    /// Whether AWS could not send the last notification to our topic.
    pub fn is_unreachable(&self, found: &ObservedRule) -> bool {
        let mut targets = found.targets.iter();
        let ours = targets.find(|target| target.address == self.topic_arn);
        ours.and_then(|target| target.status.as_deref()) == Some("UNREACHABLE")
    }

    /// The targets as they are to be: our topic, and what others added; not a topic that was ours
    /// before.
    pub fn targets(&self, found: &ObservedRule) -> Vec<RuleTarget> {
        let former = |arn: &String| *arn != self.topic_arn && self.former_topics.contains(arn);
        let mut targets = found.targets.clone();
        targets.retain(|t| !former(&t.address));
        if !targets.iter().any(|t| t.address == self.topic_arn) {
            targets.push(RuleTarget::topic(&self.topic_arn));
        }
        targets
    }
}

/// AWS refuses a token that comes back with other parameters, so it covers all of them.
fn token(fanout: &Fanout, topic: &str) -> String {
    let mut parts = vec![&*fanout.uid, topic, fanout.notifications.detail.as_str()];
    parts.extend(fanout.notifications.events.iter().map(String::as_str));
    let tags = fanout.tags.iter();
    parts.extend(tags.flat_map(|(k, v)| [k.as_str(), v.as_str()]));
    names::token(&parts)
}

impl Managed for NotificationRule {
    type Found = ObservedRule;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedRule) -> &Tags {
        &found.tags
    }

    fn called(&self, found: &ObservedRule) -> String {
        found.arn.clone()
    }

    fn diff(&self, found: &ObservedRule) -> Delta {
        let mut delta = Delta::default();
        let list = |e: &BTreeSet<String>| e.iter().cloned().collect::<Vec<_>>().join(",");
        let addresses = |t: &[RuleTarget]| {
            let addresses: Vec<&str> = t.iter().map(|t| &*t.address).collect();
            addresses.join(",")
        };
        delta.differ(Field::Rule, "name", &found.name, &self.name);
        delta.differ(Field::Rule, "enabled", &found.enabled, &true);
        delta.differ(
            Field::Rule,
            "detailType",
            &found.detail,
            &Found::Known(self.detail),
        );
        let (from, to) = (list(&found.events), list(&self.events));
        delta.differ(Field::Rule, "eventTypeIds", &from, &to);
        let (from, to) = (addresses(&found.targets), addresses(&self.targets(found)));
        delta.differ(Field::Rule, "targets", &from, &to);
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedRule) -> ObservedRule {
        ObservedRule {
            arn: found.arn.clone(),
            name: self.name.clone(),
            enabled: true,
            events: self.events.clone(),
            detail: Found::Known(self.detail),
            targets: self.targets(found),
            created_at: found.created_at,
            estimated: found.estimated,
            tags: retagged(&found.tags, &self.tags),
        }
    }

    /// One that was taken over keeps its name.
    fn keeping(mut self, found: &ObservedRule) -> Self {
        if self.tags.contains_key(ADOPTED) || found.tags.contains_key(ADOPTED) {
            self.name.clone_from(&found.name);
        }
        self
    }
}

/// Chooses among the rules that watch the pipeline: ours, or else the one with our name or, where
/// one may be taken over, one that nobody owns.
pub fn choose(
    rules: Vec<ObservedRule>,
    owner: &Owner,
    name: &str,
    adopt: bool,
) -> Option<ObservedRule> {
    let (ours, others): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| owner.owns(&r.tags));
    let wanted = |r: &ObservedRule| r.name == name || (adopt && Owner::unowned(&r.tags));
    let ours = ours.into_iter().next();
    ours.or_else(|| others.into_iter().find(wanted))
}

/// The next change of the rule: it is made once there is a pipeline to watch, and the account's
/// service-linked role.
pub(super) fn plan(
    wanted: &Wanted<NotificationRule>,
    found: Option<&ObservedRule>,
    can_be_made: bool,
    facts: &Facts<'_>,
) -> Planned<Change<NotificationRule>> {
    let Some(rule) = wanted.own().filter(|_| found.is_some() || can_be_made) else {
        return Ok(None);
    };
    let rule = NotificationRule {
        former_topics: facts.former_topics.to_vec(),
        ..rule.clone()
    };
    Ok(Change::between(
        Resource::NotificationRule,
        &rule,
        found,
        facts,
    ))
}

/// IAM statements of the operator for notification rules.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let own = [
        "codestar-notifications:CreateNotificationRule",
        "codestar-notifications:DeleteNotificationRule",
        "codestar-notifications:DescribeNotificationRule",
        "codestar-notifications:TagResource",
        "codestar-notifications:UpdateNotificationRule",
    ];
    let all = [
        "codestar-notifications:DeleteTarget",
        "codestar-notifications:ListNotificationRules",
    ];
    let rules = scope.regional("codestar-notifications", "notificationrule/*");
    vec![
        allow("NotificationRules", own, rules),
        allow("ListNotificationRules", all, "*"),
    ]
}
