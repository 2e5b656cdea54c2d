//! The EventBridge rule of a class: it sends events of executions to the queue.

use serde_json::{Value, json};

use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::owner::Tags;
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted, last};
use crate::resource::scope::{Scope, allow};

/// An own EventBridge rule.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Which events it takes.
    pub pattern: Value,
    /// ARN of the queue.
    pub queue_arn: String,
    /// Our tags.
    pub tags: Tags,
}

/// An EventBridge rule as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedEventRule {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Which events it takes.
    pub pattern: Option<Value>,
    /// ARNs of its targets.
    pub targets: Vec<String>,
    /// All its tags.
    pub tags: Tags,
}

impl EventRule {
    /// The rule for executions of pipelines whose names begin with the prefix.
    pub(super) fn new(common: &Common<'_>, names: &Computed, name_prefix: &str) -> Self {
        Self {
            name: last(&names.event_rule_arn),
            arn: names.event_rule_arn.clone(),
            pattern: executions(name_prefix),
            queue_arn: names.queue_arn.clone(),
            tags: common.tags.clone(),
        }
    }

    /// The found state once it is made.
    pub fn created(&self) -> ObservedEventRule {
        ObservedEventRule {
            enabled: true,
            pattern: Some(self.pattern.clone()),
            targets: vec![self.queue_arn.clone()],
            tags: self.tags.clone(),
        }
    }
}

impl Managed for EventRule {
    type Found = ObservedEventRule;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedEventRule) -> &Tags {
        &found.tags
    }

    fn called(&self, _: &ObservedEventRule) -> String {
        self.arn.clone()
    }

    fn diff(&self, found: &ObservedEventRule) -> Delta {
        let mut delta = Delta::default();
        delta.differ(Field::Rule, "enabled", &found.enabled, &true);
        if found.pattern.as_ref() != Some(&self.pattern) {
            let pattern = found.pattern.as_ref();
            let found = pattern.map_or("none".to_owned(), ToString::to_string);
            delta.note(Field::Rule, "eventPattern", found, &self.pattern);
        }
        if !found.targets.contains(&self.queue_arn) {
            let found = found.targets.join(",");
            delta.note(Field::Targets, "targets", found, &self.queue_arn);
        }
        delta.with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedEventRule) -> ObservedEventRule {
        let mut targets = found.targets.clone();
        targets.retain(|arn| *arn != self.queue_arn);
        targets.push(self.queue_arn.clone());
        ObservedEventRule {
            enabled: true,
            pattern: Some(self.pattern.clone()),
            targets,
            tags: retagged(&found.tags, &self.tags),
        }
    }
}

/// The events of executions of pipelines whose names begin with the prefix.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html>
fn executions(name_prefix: &str) -> Value {
    json!({
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"pipeline": [{"prefix": name_prefix}]},
    })
}

/// The next change of the rule.
pub(super) fn plan(
    wanted: &Wanted<EventRule>,
    found: Option<&ObservedEventRule>,
    facts: &Facts<'_>,
) -> Planned<Change<EventRule>> {
    let own = wanted.own();
    Ok(own.and_then(|rule| Change::between(Resource::EventRule, rule, found, facts)))
}

/// IAM statements of the operator for event rules.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let actions = [
        "events:DeleteRule",
        "events:DescribeRule",
        "events:ListTagsForResource",
        "events:ListTargetsByRule",
        "events:PutRule",
        "events:PutTargets",
        "events:RemoveTargets",
        "events:TagResource",
    ];
    let rules = scope.regional("events", &format!("rule/{}*", scope.name_prefix));
    vec![allow("EventRules", actions, rules)]
}
