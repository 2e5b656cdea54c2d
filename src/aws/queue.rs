//! SQS queues.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::config;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName};
use serde_json::{Value, json};

use crate::aws::shared_policy::Put;
use crate::aws::{Clients, found, gone, incomplete, json, unbuildable};
use crate::cloud::{Message, Queues, Result};
use crate::domain::owner::Tags;
use crate::domain::policy_document;
use crate::domain::policy_document::Gone;
use crate::resource::delta::{Delta, Field};
use crate::resource::queue::ObservedQueue;
use crate::resource::queue::{MAX_RECEIVES, Queue, VISIBILITY};

/// Longest time that a request waits for a message, and the largest number of messages in a
/// response.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const WAIT: i32 = 20;
const BATCH: i32 = 10;

#[async_trait]
impl Queues for Clients {
    async fn observe(&self, name: &str) -> Result<Option<ObservedQueue>> {
        const CALL: &str = "sqs:GetQueueAttributes";
        let Some(url) = self.queue_url(name).await? else {
            return Ok(None);
        };
        let get = self
            .sqs
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::All)
            .send();
        let Some(answer) = found(self.call(CALL, get).await)? else {
            return Ok(None);
        };
        let list = self.sqs.list_queue_tags().queue_url(&url).send();
        let tags = found(self.call("sqs:ListQueueTags", list).await)?
            .and_then(|a| a.tags)
            .unwrap_or_default();
        let attribute = |name| {
            answer
                .attributes()
                .and_then(|all| all.get(&name))
                .filter(|value| !value.is_empty())
        };
        let document = |name| attribute(name).map(|text| json(CALL, text)).transpose();
        let redrive = document(QueueAttributeName::RedrivePolicy)?;
        Ok(Some(ObservedQueue {
            policy: document(QueueAttributeName::Policy)?,
            dead_letters: redrive
                .and_then(|r| r["deadLetterTargetArn"].as_str().map(str::to_owned)),
            tags: tags.into_iter().collect(),
        }))
    }

    async fn create(&self, desired: &Queue) -> Result<ObservedQueue> {
        let document = desired
            .statement
            .as_ref()
            .map(|statement| policy_document::merge(None, statement));
        let mut create = self
            .sqs
            .create_queue()
            .queue_name(&desired.name)
            .attributes(
                QueueAttributeName::VisibilityTimeout,
                VISIBILITY.as_secs().to_string(),
            )
            .set_tags(Some(desired.tags.clone().into_iter().collect()));
        for (name, value) in attributes(desired, document.as_ref()) {
            create = create.attributes(name, value);
        }
        self.call("sqs:CreateQueue", create.send()).await?;
        Ok(desired.created())
    }

    async fn update(
        &self,
        desired: &Queue,
        policy: Option<&Value>,
        delta: &Delta,
    ) -> Result<Vec<Gone>> {
        const CALL: &str = "sqs:SetQueueAttributes";
        let url = self
            .queue_url(&desired.name)
            .await?
            .ok_or_else(|| incomplete(CALL, "the queue's URL"))?;
        let mut gone = Vec::new();
        if delta.has(Field::Policy) || delta.has(Field::Redrive) {
            let put = self.put_queue_attributes(desired, &url);
            let statement = desired.statement.as_ref();
            let sid = statement.and_then(|s| s["Sid"].as_str());
            match policy {
                Some(policy) => {
                    let of = (&*desired.arn, sid.unwrap_or_default());
                    gone = self.refusals.put(of, policy, &put).await?.gone;
                }
                None => put(Value::Null).await?,
            }
        }
        if delta.has(Field::Tags) {
            Queues::tag(self, &desired.name, &delta.tags()).await?;
        }
        Ok(gone)
    }

    async fn tag(&self, name: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "sqs:TagQueue";
        let url = self
            .queue_url(name)
            .await?
            .ok_or_else(|| incomplete(CALL, "the queue's URL"))?;
        let tag = self
            .sqs
            .tag_queue()
            .queue_url(url)
            .set_tags(Some(tags.clone().into_iter().collect()));
        self.call(CALL, tag.send()).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let Some(url) = self.queue_url(name).await? else {
            return Ok(());
        };
        gone(
            self.call(
                "sqs:DeleteQueue",
                self.sqs.delete_queue().queue_url(url).send(),
            )
            .await,
        )
    }

    async fn receive(&self, name: &str) -> Result<Vec<Message>> {
        const CALL: &str = "sqs:ReceiveMessage";
        let url = self
            .queue_url(name)
            .await?
            .ok_or_else(|| incomplete(CALL, "the queue's URL"))?;
        let patient = TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(30))
            .operation_timeout(Duration::from_secs(60))
            .build();
        let receive = self
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(WAIT)
            .customize()
            .config_override(config::Builder::default().timeout_config(patient))
            .send();
        let messages = self.call(CALL, receive).await?.messages.unwrap_or_default();
        let message = |m: aws_sdk_sqs::types::Message| {
            Some(Message {
                body: m.body?,
                receipt: m.receipt_handle?,
            })
        };
        Ok(messages.into_iter().filter_map(message).collect())
    }

    async fn acknowledge(&self, name: &str, receipts: &[String]) -> Result<()> {
        const CALL: &str = "sqs:DeleteMessage";
        let Some(url) = self.queue_url(name).await? else {
            return Ok(());
        };
        for receipts in receipts.chunks(BATCH.unsigned_abs() as usize) {
            let mut delete = self.sqs.delete_message_batch().queue_url(&url);
            for (index, receipt) in receipts.iter().enumerate() {
                let entry = DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt);
                delete = delete.entries(entry.build().map_err(unbuildable(CALL))?);
            }
            // A message that could not be deleted is delivered again, which is harmless.
            self.call(CALL, delete.send()).await?;
        }
        Ok(())
    }
}

impl Clients {
    /// Returns the queue's URL. It is read once, because a name keeps its URL.
    async fn queue_url(&self, name: &str) -> Result<Option<String>> {
        if let Some(url) = self.queue_urls.lock().await.get(name) {
            return Ok(Some(url.clone()));
        }
        let get = self.sqs.get_queue_url().queue_name(name).send();
        let url = found(self.call("sqs:GetQueueUrl", get).await)?.and_then(|a| a.queue_url);
        if let Some(url) = &url {
            self.queue_urls
                .lock()
                .await
                .insert(name.to_owned(), url.clone());
        }
        Ok(url)
    }

    /// The write of a queue's attributes with this policy, if there is one.
    fn put_queue_attributes<'a>(&'a self, desired: &'a Queue, url: &'a str) -> impl Put<'a> {
        move |document: Value| {
            let mut set = self.sqs.set_queue_attributes().queue_url(url);
            let policy = Some(&document).filter(|document| !document.is_null());
            for (name, value) in attributes(desired, policy) {
                set = set.attributes(name, value);
            }
            Box::pin(async move {
                let set = self.call("sqs:SetQueueAttributes", set.send());
                set.await.map(|_| ())
            })
        }
    }
}

fn attributes(desired: &Queue, policy: Option<&Value>) -> Vec<(QueueAttributeName, String)> {
    let mut all = Vec::new();
    all.extend(policy.map(|document| (QueueAttributeName::Policy, document.to_string())));
    all.extend(desired.dead_letters.as_ref().map(|arn| {
        let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES});
        (QueueAttributeName::RedrivePolicy, redrive.to_string())
    }));
    all
}
