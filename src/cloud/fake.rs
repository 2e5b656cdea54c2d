//! A cloud for tests of what ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::policy_document::Gone;
use crate::domain::word::Found;
use crate::resource::bucket::ObservedBucket;
use crate::resource::connection::ConnectionState;
use crate::resource::pipeline::Declaration;

/// A cloud that has whatever it is asked for, with the same tags, and writes down what it is told
/// to end or to keep.
pub struct Fake {
    /// The tags of everything.
    pub tags: Tags,
    /// The writes, in order.
    pub writes: Mutex<Vec<String>>,
}

impl Fake {
    /// Everything has these tags.
    pub fn new(tags: Tags) -> Arc<Self> {
        let writes = Mutex::default();
        Arc::new(Self { tags, writes })
    }

    /// It, as the cloud of an account and region.
    pub fn cloud(self: &Arc<Self>) -> Cloud {
        Cloud {
            buckets: self.clone(),
            objects: self.clone(),
            connections: self.clone(),
            roles: self.clone(),
            topics: self.clone(),
            pipelines: self.clone(),
            notification_rules: self.clone(),
            queues: self.clone(),
            event_rules: self.clone(),
        }
    }
}

impl Fake {
    fn writes(&self, what: &str, of: &str) -> Result<()> {
        self.writes.lock().unwrap().push(format!("{what} {of}"));
        Ok(())
    }
}

#[async_trait]
impl Buckets for Fake {
    async fn observe(&self, _: &str, _: bool) -> Result<BucketView> {
        let bucket = ObservedBucket::created(self.tags.clone());
        Ok(BucketView::Present(Box::new(bucket)))
    }
    async fn create(&self, _: &Bucket, _: &Tags) -> Result<()> {
        unreachable!()
    }
    async fn update(&self, _: &Bucket, _: &Delta) -> Result<Vec<Gone>> {
        unreachable!()
    }
    async fn tag(&self, name: &str, _: &Tags) -> Result<()> {
        self.writes("keep", name)
    }
    async fn empty(&self, name: &str, prefix: &str) -> Result<(u64, bool)> {
        self.writes("empty", &format!("{name}/{prefix}"))?;
        Ok((0, false))
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.writes("delete", name)
    }
    async fn policy(&self, _: &str) -> Result<Option<Value>> {
        unreachable!()
    }
    async fn allow(&self, name: &str, _: &[String], _: &[Value]) -> Result<Written> {
        self.writes("let nobody into", name)?;
        Ok(Written::whole(json!({})))
    }
    fn unknown(&self, _: &str, _: &[String]) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

#[async_trait]
impl Objects for Fake {
    async fn list(&self, _: &str, _: &str) -> Result<Vec<Object>> {
        unreachable!()
    }
    async fn delete(&self, _: &str, _: &[Object]) -> Result<usize> {
        unreachable!()
    }
    async fn entries(&self, _: &str, _: &str) -> Result<Option<Entries>> {
        unreachable!()
    }
    async fn refresh(&self, _: &str, _: &str) -> Result<bool> {
        unreachable!()
    }
}

#[async_trait]
impl Connections for Fake {
    async fn observe(&self, _: &str) -> Result<Option<ObservedConnection>> {
        unreachable!()
    }
    async fn named(&self, name: &str, _: Option<&str>) -> Result<Vec<ObservedConnection>> {
        let connection = |arn: &str, state| ObservedConnection {
            arn: arn.into(),
            name: name.into(),
            state,
            provider: "GitHub".into(),
            tags: self.tags.clone(),
        };
        let used = connection("connection/used", ConnectionState::Available);
        Ok(vec![
            used,
            connection("connection/spare", ConnectionState::Pending),
        ])
    }
    async fn create(&self, _: &Connection, _: &Tags) -> Result<ObservedConnection> {
        unreachable!()
    }
    async fn tag(&self, arn: &str, _: &Tags) -> Result<()> {
        self.writes("keep", arn)
    }
    async fn delete(&self, arn: &str) -> Result<()> {
        self.writes("delete", arn)
    }
    async fn count(&self, _: Duration) -> Result<usize> {
        unreachable!()
    }
}

#[async_trait]
impl Roles for Fake {
    async fn observe(&self, name: &str) -> Result<Option<ObservedRole>> {
        Ok(Some(ObservedRole {
            arn: format!("arn:aws-cn:iam::1:role/repofanout/{name}"),
            trust: Value::Null,
            policy: None,
            boundary: None,
            tags: self.tags.clone(),
        }))
    }
    async fn create(&self, _: &Role) -> Result<ObservedRole> {
        unreachable!()
    }
    async fn update(&self, _: &Role, _: &Delta) -> Result<()> {
        unreachable!()
    }
    async fn tag(&self, name: &str, _: &Tags) -> Result<()> {
        self.writes("keep role", name)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.writes("delete role", name)
    }
    async fn service_linked_role(&self) -> Result<bool> {
        unreachable!()
    }
    async fn create_service_linked_role(&self) -> Result<()> {
        unreachable!()
    }
    async fn count(&self) -> Result<usize> {
        unreachable!()
    }
}

#[async_trait]
impl Topics for Fake {
    async fn observe(&self, _: &str, _: bool) -> Result<Option<ObservedTopic>> {
        Ok(Some(ObservedTopic {
            policy: None,
            kms_key: None,
            subscriptions: 1,
            tags: self.tags.clone(),
        }))
    }
    async fn create(&self, _: &Topic) -> Result<ObservedTopic> {
        unreachable!()
    }
    async fn update(&self, _: &Topic, _: &Value, _: &Delta) -> Result<Vec<Gone>> {
        unreachable!()
    }
    async fn tag(&self, arn: &str, _: &Tags) -> Result<()> {
        self.writes("keep", arn)
    }
    async fn delete(&self, arn: &str) -> Result<()> {
        self.writes("delete", arn)
    }
    async fn subscriptions(&self, _: &str) -> Result<Vec<Subscription>> {
        Ok(vec![Subscription {
            arn: Some("subscription".into()),
            protocol: "sqs".into(),
            endpoint: "ours".into(),
        }])
    }
    async fn subscribe(&self, _: &str, _: &Subscriber) -> Result<Option<String>> {
        unreachable!()
    }
    async fn subscription(&self, _: &str) -> Result<BTreeMap<String, String>> {
        unreachable!()
    }
    async fn configure(&self, _: &str, _: &[(&'static str, String)]) -> Result<()> {
        unreachable!()
    }
    async fn unsubscribe(&self, subscription: &str) -> Result<()> {
        self.writes("delete", subscription)
    }
    async fn publish(&self, _: &str, _: &str, _: &BTreeMap<&'static str, &str>) -> Result<()> {
        unreachable!()
    }
}

#[async_trait]
impl Pipelines for Fake {
    async fn observe(&self, _: &str, _: &str) -> Result<Option<ObservedPipeline>> {
        let declaration = Declaration {
            role_arn: String::new(),
            artifacts: String::new(),
            artifacts_key: None,
            pipeline_type: Found::Other(String::new()),
            execution_mode: Found::Other(String::new()),
            triggers: None,
            stages: Vec::new(),
        };
        Ok(Some(ObservedPipeline {
            declaration,
            version: 1,
            updated_at: Timestamp::UNIX_EPOCH,
            tags: self.tags.clone(),
        }))
    }
    async fn create(&self, _: &Pipeline) -> Result<ObservedPipeline> {
        unreachable!()
    }
    async fn update(&self, _: &Pipeline, _: &Delta) -> Result<()> {
        unreachable!()
    }
    async fn tag(&self, arn: &str, _: &Tags) -> Result<()> {
        self.writes("keep", arn)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.writes("delete pipeline", name)
    }
    async fn executions(&self, _: &str) -> Result<Vec<Execution>> {
        unreachable!()
    }
    async fn target(&self, _: &str, _: &str) -> Result<Option<Target>> {
        unreachable!()
    }
    async fn failure(&self, _: &str, _: &str) -> Result<Option<Failure>> {
        unreachable!()
    }
    async fn running(&self, _: &str, _: &str) -> Result<Option<RunningAction>> {
        unreachable!()
    }
    async fn stop(&self, _: &str, _: &str, _: bool, _: &str) -> Result<()> {
        unreachable!()
    }
    async fn history(&self, _: &str, _: Timestamp) -> Result<Vec<Execution>> {
        unreachable!()
    }
    async fn artifact(&self, _: &str, _: &str) -> Result<Option<(String, String)>> {
        unreachable!()
    }
    async fn start(&self, _: &str, _: &str) -> Result<()> {
        unreachable!()
    }
    async fn list(&self, _: Duration) -> Result<Arc<BTreeMap<String, ListedPipeline>>> {
        unreachable!()
    }
}

#[async_trait]
impl NotificationRules for Fake {
    async fn observe(&self, arn: &str) -> Result<Option<ObservedRule>> {
        Ok(Some(ObservedRule {
            arn: arn.into(),
            name: String::new(),
            enabled: true,
            events: BTreeSet::new(),
            detail: Found::Other(String::new()),
            targets: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            estimated: false,
            tags: self.tags.clone(),
        }))
    }
    async fn watching(&self, _: &str) -> Result<Vec<ObservedRule>> {
        unreachable!()
    }
    async fn create(&self, _: &NotificationRule) -> Result<String> {
        unreachable!()
    }
    async fn update(
        &self,
        _: &str,
        _: &NotificationRule,
        _: &[RuleTarget],
        _: &Delta,
    ) -> Result<()> {
        unreachable!()
    }
    async fn tag(&self, arn: &str, _: &Tags) -> Result<()> {
        self.writes("keep", arn)
    }
    async fn delete(&self, arn: &str) -> Result<()> {
        self.writes("delete", arn)
    }
    async fn delete_target(&self, topic: &str) -> Result<()> {
        self.writes("delete target", topic)
    }
    async fn targeting(&self, _: &str) -> Result<Vec<String>> {
        unreachable!()
    }
    async fn list(&self, _: Duration) -> Result<Arc<BTreeSet<String>>> {
        unreachable!()
    }
}

#[async_trait]
impl Queues for Fake {
    async fn observe(&self, _: &str) -> Result<Option<ObservedQueue>> {
        Ok(Some(ObservedQueue {
            policy: None,
            dead_letters: None,
            tags: self.tags.clone(),
        }))
    }
    async fn create(&self, _: &Queue) -> Result<ObservedQueue> {
        unreachable!()
    }
    async fn update(&self, _: &Queue, _: Option<&Value>, _: &Delta) -> Result<Vec<Gone>> {
        unreachable!()
    }
    async fn tag(&self, name: &str, _: &Tags) -> Result<()> {
        self.writes("keep queue", name)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.writes("delete queue", name)
    }
    async fn receive(&self, _: &str) -> Result<Vec<Message>> {
        unreachable!()
    }
    async fn acknowledge(&self, _: &str, _: &[String]) -> Result<()> {
        unreachable!()
    }
}

#[async_trait]
impl EventRules for Fake {
    async fn observe(&self, _: &str, _: &str) -> Result<Option<ObservedEventRule>> {
        Ok(Some(ObservedEventRule {
            enabled: true,
            pattern: None,
            targets: Vec::new(),
            tags: self.tags.clone(),
        }))
    }
    async fn create(&self, _: &EventRule) -> Result<ObservedEventRule> {
        unreachable!()
    }
    async fn update(&self, _: &EventRule, _: &Delta) -> Result<()> {
        unreachable!()
    }
    async fn tag(&self, arn: &str, _: &Tags) -> Result<()> {
        self.writes("keep", arn)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.writes("delete event rule", name)
    }
}
