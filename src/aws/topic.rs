//! SNS topics.

use async_trait::async_trait;
use aws_sdk_sns::types::Tag;
use serde_json::Value;

use super::{Clients, found, gone, json};
use crate::cloud::{Result, Topics};
use crate::model::desired::Topic;
use crate::model::observed::ObservedTopic;
use crate::model::owner::Tags;
use crate::model::policy;
use crate::plan::delta::{Delta, Field};

#[async_trait]
impl Topics for Clients {
    async fn observe(&self, arn: &str, tags: bool) -> Result<Option<ObservedTopic>> {
        const CALL: &str = "sns:GetTopicAttributes";
        let get = self.sns.get_topic_attributes().topic_arn(arn).send();
        let Some(answer) = found(self.call(CALL, get).await)? else { return Ok(None) };
        let attributes = answer.attributes.unwrap_or_default();
        let count = |key: &str| attributes.get(key).and_then(|n| n.parse::<i64>().ok()).unwrap_or_default();
        let tags = if tags {
            let list = self.sns.list_tags_for_resource().resource_arn(arn).send();
            let answer = found(self.call("sns:ListTagsForResource", list).await)?;
            answer.iter().flat_map(|a| a.tags()).map(|t| (t.key().to_owned(), t.value().to_owned())).collect()
        } else {
            Tags::new()
        };
        Ok(Some(ObservedTopic {
            policy: attributes.get("Policy").map(|text| json(CALL, text)).transpose()?,
            kms_key: attributes.get("KmsMasterKeyId").filter(|key| !key.is_empty()).cloned(),
            subscriptions: count("SubscriptionsConfirmed") + count("SubscriptionsPending"),
            tags,
        }))
    }

    async fn create(&self, desired: &Topic) -> Result<ObservedTopic> {
        const CALL: &str = "sns:CreateTopic";
        let document = policy::merge(None, &desired.statement);
        let create = self
            .sns
            .create_topic()
            .name(&desired.name)
            .attributes("Policy", document.to_string())
            .set_tags(Some(tag_set!(Tag, CALL, &desired.tags)?));
        let create = match &desired.kms_key {
            Some(key) => create.attributes("KmsMasterKeyId", key),
            None => create,
        };
        self.call(CALL, create.send()).await?;
        Ok(ObservedTopic {
            policy: Some(document),
            kms_key: desired.kms_key.clone(),
            subscriptions: 0,
            tags: desired.tags.clone(),
        })
    }

    async fn update(&self, desired: &Topic, policy: &Value, delta: &Delta) -> Result<()> {
        if delta.has(Field::Policy) {
            let set = self.sns.set_topic_attributes().topic_arn(&desired.arn).attribute_name("Policy");
            self.call("sns:SetTopicAttributes", set.attribute_value(policy.to_string()).send()).await?;
        }
        if delta.has(Field::Encryption) {
            let set = self.sns.set_topic_attributes().topic_arn(&desired.arn).attribute_name("KmsMasterKeyId");
            self.call("sns:SetTopicAttributes", set.set_attribute_value(desired.kms_key.clone()).send()).await?;
        }
        if delta.has(Field::Tags) {
            Topics::tag(self, &desired.arn, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "sns:TagResource";
        let tag = self.sns.tag_resource().resource_arn(arn).set_tags(Some(tag_set!(Tag, CALL, tags)?)).send();
        self.call(CALL, tag).await.map(|_| ())
    }

    async fn delete(&self, arn: &str) -> Result<()> {
        gone(self.call("sns:DeleteTopic", self.sns.delete_topic().topic_arn(arn).send()).await)
    }
}
