//! SNS topics.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_sns::types::{MessageAttributeValue, Tag};
use serde_json::Value;

use crate::aws::shared_policy::Put;
use crate::aws::{Clients, found, gone, json, unbuildable};
use crate::cloud::{Result, Subscription, Topics};
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::domain::policy_document::Gone;
use crate::domain::word::Word;
use crate::resource::delta::{Delta, Field};
use crate::resource::topic::ObservedTopic;
use crate::resource::topic::Topic;
use crate::spec::subscriber::Subscriber;

#[async_trait]
impl Topics for Clients {
    async fn observe(&self, arn: &str, tags: bool) -> Result<Option<ObservedTopic>> {
        const CALL: &str = "sns:GetTopicAttributes";
        let get = self.sns.get_topic_attributes().topic_arn(arn).send();
        let Some(answer) = found(self.call(CALL, get).await)? else {
            return Ok(None);
        };
        let attributes = answer.attributes.unwrap_or_default();
        let count = |key: &str| {
            attributes
                .get(key)
                .and_then(|n| n.parse::<i64>().ok())
                .unwrap_or_default()
        };
        let tags = if tags {
            let list = self.sns.list_tags_for_resource().resource_arn(arn).send();
            let answer = found(self.call("sns:ListTagsForResource", list).await)?;
            answer
                .iter()
                .flat_map(|a| a.tags())
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect()
        } else {
            Tags::new()
        };
        Ok(Some(ObservedTopic {
            policy: attributes
                .get("Policy")
                .map(|text| json(CALL, text))
                .transpose()?,
            kms_key: attributes
                .get("KmsMasterKeyId")
                .filter(|key| !key.is_empty())
                .cloned(),
            subscriptions: count("SubscriptionsConfirmed") + count("SubscriptionsPending"),
            tags,
        }))
    }

    async fn create(&self, desired: &Topic) -> Result<ObservedTopic> {
        const CALL: &str = "sns:CreateTopic";
        let document = policy_document::merge(None, &desired.statement);
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
        Ok(desired.created())
    }

    async fn update(&self, desired: &Topic, policy: &Value, delta: &Delta) -> Result<Vec<Gone>> {
        let mut gone = Vec::new();
        if delta.has(Field::Policy) {
            let sid = desired.statement["Sid"].as_str().unwrap_or_default();
            let put = self.put_topic_policy(&desired.arn);
            let written = self.refusals.put((&desired.arn, sid), policy, &put);
            gone = written.await?.gone;
        }
        if delta.has(Field::Encryption) {
            let set = self
                .sns
                .set_topic_attributes()
                .topic_arn(&desired.arn)
                .attribute_name("KmsMasterKeyId");
            self.call(
                "sns:SetTopicAttributes",
                set.set_attribute_value(desired.kms_key.clone()).send(),
            )
            .await?;
        }
        if delta.has(Field::Tags) {
            Topics::tag(self, &desired.arn, &delta.tags()).await?;
        }
        Ok(gone)
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "sns:TagResource";
        let tag = self
            .sns
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?))
            .send();
        self.call(CALL, tag).await.map(|_| ())
    }

    async fn delete(&self, arn: &str) -> Result<()> {
        gone(
            self.call(
                "sns:DeleteTopic",
                self.sns.delete_topic().topic_arn(arn).send(),
            )
            .await,
        )
    }

    async fn subscriptions(&self, arn: &str) -> Result<Vec<Subscription>> {
        let pages = self
            .sns
            .list_subscriptions_by_topic()
            .topic_arn(arn)
            .into_paginator()
            .send();
        let pages = self.pages("sns:ListSubscriptionsByTopic", pages).await?;
        let all = pages
            .iter()
            .flat_map(|page| page.subscriptions())
            .map(|s| Subscription {
                arn: s
                    .subscription_arn()
                    .filter(|arn| arn.starts_with("arn:"))
                    .map(str::to_owned),
                protocol: s.protocol().unwrap_or_default().to_owned(),
                endpoint: s.endpoint().unwrap_or_default().to_owned(),
            });
        Ok(all.collect())
    }

    async fn subscribe(&self, arn: &str, subscriber: &Subscriber) -> Result<Option<String>> {
        let mut subscribe = self
            .sns
            .subscribe()
            .topic_arn(arn)
            .return_subscription_arn(true);
        subscribe = subscribe
            .protocol(subscriber.protocol.as_str())
            .endpoint(&subscriber.endpoint);
        for (name, value) in subscriber.differs(&BTreeMap::new()) {
            subscribe = subscribe.attributes(name, value);
        }
        let answer = self.call("sns:Subscribe", subscribe.send()).await?;
        Ok(answer
            .subscription_arn
            .filter(|arn| arn.starts_with("arn:")))
    }

    async fn subscription(&self, subscription: &str) -> Result<BTreeMap<String, String>> {
        let get = self
            .sns
            .get_subscription_attributes()
            .subscription_arn(subscription)
            .send();
        let answer = found(self.call("sns:GetSubscriptionAttributes", get).await)?;
        Ok(answer
            .and_then(|a| a.attributes)
            .unwrap_or_default()
            .into_iter()
            .collect())
    }

    async fn configure(
        &self,
        subscription: &str,
        attributes: &[(&'static str, String)],
    ) -> Result<()> {
        for (name, value) in attributes {
            let set = self
                .sns
                .set_subscription_attributes()
                .subscription_arn(subscription);
            let set = set.attribute_name(*name).attribute_value(value).send();
            self.call("sns:SetSubscriptionAttributes", set).await?;
        }
        Ok(())
    }

    async fn unsubscribe(&self, subscription: &str) -> Result<()> {
        let end = self.sns.unsubscribe().subscription_arn(subscription).send();
        gone(self.call("sns:Unsubscribe", end).await)
    }

    async fn publish(
        &self,
        arn: &str,
        body: &str,
        attributes: &BTreeMap<&'static str, &str>,
    ) -> Result<()> {
        const CALL: &str = "sns:Publish";
        let mut publish = self.sns.publish().topic_arn(arn).message(body);
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(*value)
                .build();
            publish = publish.message_attributes(*name, value.map_err(unbuildable(CALL))?);
        }
        self.call(CALL, publish.send()).await.map(|_| ())
    }
}

impl Clients {
    /// The write of a topic's policy.
    fn put_topic_policy<'a>(&'a self, arn: &'a str) -> impl Put<'a> {
        move |document: Value| {
            let set = self
                .sns
                .set_topic_attributes()
                .topic_arn(arn)
                .attribute_name("Policy")
                .attribute_value(document.to_string());
            Box::pin(async move {
                let set = self.call("sns:SetTopicAttributes", set.send());
                set.await.map(|_| ())
            })
        }
    }
}
