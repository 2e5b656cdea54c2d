//! Notification rules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_codestarnotifications::types::{
    DetailType, ListNotificationRulesFilter, ListNotificationRulesFilterName,
    NotificationRuleStatus, Target,
};

use crate::aws::{Clients, found, gone, timestamp, unbuildable};
use crate::cloud::{NotificationRules, Result};
use crate::domain::owner::Tags;
use crate::domain::word::{Found, Word};
use crate::resource::delta::{Delta, Field};
use crate::resource::notification_rule::{NotificationRule, ObservedRule, RuleTarget};

#[async_trait]
impl NotificationRules for Clients {
    async fn observe(&self, arn: &str) -> Result<Option<ObservedRule>> {
        let describe = self
            .notifications
            .describe_notification_rule()
            .arn(arn)
            .send();
        let answer = found(
            self.call("codestar-notifications:DescribeNotificationRule", describe)
                .await,
        )?;
        Ok(answer.map(|rule| ObservedRule {
            arn: rule.arn().to_owned(),
            name: rule.name().unwrap_or_default().to_owned(),
            enabled: rule.status() == Some(&NotificationRuleStatus::Enabled),
            events: rule
                .event_types()
                .iter()
                .filter_map(|e| e.event_type_id())
                .map(str::to_owned)
                .collect(),
            detail: Found::parse(rule.detail_type().map_or("", |d| d.as_str())),
            targets: rule
                .targets()
                .iter()
                .map(|t| RuleTarget {
                    kind: t.target_type().unwrap_or_default().to_owned(),
                    address: t.target_address().unwrap_or_default().to_owned(),
                    status: t.target_status().map(|s| s.as_str().to_owned()),
                })
                .collect(),
            created_at: timestamp(rule.created_timestamp()),
            estimated: false,
            tags: rule
                .tags()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        }))
    }

    async fn watching(&self, pipeline_arn: &str) -> Result<Vec<ObservedRule>> {
        let name = ListNotificationRulesFilterName::Resource;
        let mut rules = Vec::new();
        for arn in self.filtered(name, pipeline_arn).await? {
            rules.extend(NotificationRules::observe(self, &arn).await?);
        }
        Ok(rules)
    }

    async fn list(&self, age: Duration) -> Result<Arc<BTreeSet<String>>> {
        let ask = async {
            let pages = self
                .notifications
                .list_notification_rules()
                .max_results(100)
                .into_paginator()
                .send();
            let pages = self
                .pages("codestar-notifications:ListNotificationRules", pages)
                .await?;
            let all = pages
                .iter()
                .flat_map(|p| p.notification_rules())
                .filter_map(|rule| rule.arn());
            Ok(all.map(str::to_owned).collect())
        };
        self.listed_rules.get(age, ask).await
    }

    async fn create(&self, desired: &NotificationRule) -> Result<String> {
        let mut create = self
            .notifications
            .create_notification_rule()
            .name(&desired.name)
            .resource(&desired.pipeline_arn)
            .detail_type(DetailType::from(desired.detail.as_str()))
            .set_event_type_ids(Some(desired.events.iter().cloned().collect()))
            .targets(
                Target::builder()
                    .target_type("SNS")
                    .target_address(&desired.topic_arn)
                    .build(),
            )
            .client_request_token(&desired.token);
        for (key, value) in &desired.tags {
            create = create.tags(key, value);
        }
        let answer = self
            .call(
                "codestar-notifications:CreateNotificationRule",
                create.send(),
            )
            .await?;
        Ok(answer.arn().unwrap_or_default().to_owned())
    }

    async fn update(
        &self,
        arn: &str,
        desired: &NotificationRule,
        targets: &[RuleTarget],
        delta: &Delta,
    ) -> Result<()> {
        if delta.has(Field::Rule) {
            let targets = targets.iter().map(|t| {
                Target::builder()
                    .target_type(&t.kind)
                    .target_address(&t.address)
                    .build()
            });
            let update = self
                .notifications
                .update_notification_rule()
                .arn(arn)
                .name(&desired.name)
                .status(NotificationRuleStatus::Enabled)
                .detail_type(DetailType::from(desired.detail.as_str()))
                .set_event_type_ids(Some(desired.events.iter().cloned().collect()))
                .set_targets(Some(targets.collect()));
            self.call(
                "codestar-notifications:UpdateNotificationRule",
                update.send(),
            )
            .await?;
        }
        if delta.has(Field::Tags) {
            NotificationRules::tag(self, arn, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        let tags = tags.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let tag = self
            .notifications
            .tag_resource()
            .arn(arn)
            .set_tags(Some(tags))
            .send();
        self.call("codestar-notifications:TagResource", tag)
            .await
            .map(|_| ())
    }

    async fn delete(&self, arn: &str) -> Result<()> {
        gone(
            self.call(
                "codestar-notifications:DeleteNotificationRule",
                self.notifications
                    .delete_notification_rule()
                    .arn(arn)
                    .send(),
            )
            .await,
        )
    }

    async fn delete_target(&self, topic_arn: &str) -> Result<()> {
        let delete = self
            .notifications
            .delete_target()
            .target_address(topic_arn)
            .send();
        gone(
            self.call("codestar-notifications:DeleteTarget", delete)
                .await,
        )
    }

    async fn targeting(&self, topic_arn: &str) -> Result<Vec<String>> {
        self.filtered(ListNotificationRulesFilterName::TargetAddress, topic_arn)
            .await
    }
}

impl Clients {
    /// ARNs of the rules that the filter lets through.
    async fn filtered(
        &self,
        name: ListNotificationRulesFilterName,
        value: &str,
    ) -> Result<Vec<String>> {
        const CALL: &str = "codestar-notifications:ListNotificationRules";
        let filter = ListNotificationRulesFilter::builder()
            .name(name)
            .value(value)
            .build()
            .map_err(unbuildable(CALL))?;
        let pages = self
            .notifications
            .list_notification_rules()
            .filters(filter)
            .into_paginator()
            .send();
        let pages = self.pages(CALL, pages).await?;
        let listed = pages.iter().flat_map(|page| page.notification_rules());
        Ok(listed
            .filter_map(|rule| rule.arn())
            .map(str::to_owned)
            .collect())
    }
}
