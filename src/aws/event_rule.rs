//! EventBridge rules on the default event bus.

use async_trait::async_trait;
use aws_sdk_eventbridge::types::{RuleState, Tag, Target};

use crate::aws::{Clients, found, gone, json, unbuildable};
use crate::cloud::{Class, Error, EventRules, Result};
use crate::domain::owner::Tags;
use crate::resource::delta::{Delta, Field};
use crate::resource::event_rule::EventRule;
use crate::resource::event_rule::ObservedEventRule;

/// Id of our target.
const TARGET: &str = "repofanout";

#[async_trait]
impl EventRules for Clients {
    async fn observe(&self, name: &str, arn: &str) -> Result<Option<ObservedEventRule>> {
        const CALL: &str = "events:DescribeRule";
        let Some(rule) = found(
            self.call(CALL, self.events.describe_rule().name(name).send())
                .await,
        )?
        else {
            return Ok(None);
        };
        let targets = self.rule_targets(name).await?;
        let list = self
            .events
            .list_tags_for_resource()
            .resource_arn(arn)
            .send();
        let tags = found(self.call("events:ListTagsForResource", list).await)?;
        Ok(Some(ObservedEventRule {
            enabled: rule.state() == Some(&RuleState::Enabled),
            pattern: rule
                .event_pattern()
                .map(|text| json(CALL, text))
                .transpose()?,
            targets,
            tags: tags
                .iter()
                .flat_map(|a| a.tags())
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect(),
        }))
    }

    async fn create(&self, desired: &EventRule) -> Result<ObservedEventRule> {
        const CALL: &str = "events:PutRule";
        let tags = tag_set!(Tag, CALL, &desired.tags)?;
        self.put_rule(desired, Some(tags)).await?;
        self.put_target(desired).await?;
        Ok(desired.created())
    }

    async fn update(&self, desired: &EventRule, delta: &Delta) -> Result<()> {
        if delta.has(Field::Rule) {
            self.put_rule(desired, None).await?;
        }
        if delta.has(Field::Targets) {
            self.put_target(desired).await?;
        }
        if delta.has(Field::Tags) {
            EventRules::tag(self, &desired.arn, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "events:TagResource";
        let tag = self
            .events
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?));
        self.call(CALL, tag.send()).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let remove = self.events.remove_targets().rule(name).ids(TARGET).send();
        gone(self.call("events:RemoveTargets", remove).await)?;
        gone(
            self.call(
                "events:DeleteRule",
                self.events.delete_rule().name(name).send(),
            )
            .await,
        )
    }
}

impl Clients {
    async fn put_rule(&self, desired: &EventRule, tags: Option<Vec<Tag>>) -> Result<()> {
        let put = self
            .events
            .put_rule()
            .name(&desired.name)
            .event_pattern(desired.pattern.to_string())
            .state(RuleState::Enabled)
            .description("Tells the RepoFanout operator of executions")
            .set_tags(tags);
        self.call("events:PutRule", put.send()).await.map(|_| ())
    }

    /// The ARNs of the rule's targets. The SDK has no paginator of this list.
    async fn rule_targets(&self, name: &str) -> Result<Vec<String>> {
        let mut targets = Vec::new();
        let mut next = None;
        loop {
            let list = self.events.list_targets_by_rule().rule(name);
            let list = list.set_next_token(next).send();
            let Some(page) = found(self.call("events:ListTargetsByRule", list).await)? else {
                return Ok(targets);
            };
            targets.extend(page.targets().iter().map(|target| target.arn().to_owned()));
            next = page.next_token;
            if next.is_none() {
                return Ok(targets);
            }
        }
    }

    async fn put_target(&self, desired: &EventRule) -> Result<()> {
        const CALL: &str = "events:PutTargets";
        let target = Target::builder()
            .id(TARGET)
            .arn(&desired.queue_arn)
            .build()
            .map_err(unbuildable(CALL))?;
        let answer = self
            .call(
                CALL,
                self.events
                    .put_targets()
                    .rule(&desired.name)
                    .targets(target)
                    .send(),
            )
            .await?;
        // A response with status 200 can still report a failed entry.
        let Some(refused) = answer.failed_entries().first() else {
            return Ok(());
        };
        Err(Error {
            class: Class::Transient,
            call: CALL,
            code: refused.error_code().map(str::to_owned),
            message: refused.error_message().unwrap_or("no message").to_owned(),
            request_id: None,
        })
    }
}
