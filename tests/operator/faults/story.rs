//! What a fan-out goes through while a fault strikes. Each story has steps before the fault is armed,
//! steps at which it strikes, and an outcome.

use repofanout::api::status::RepoFanoutStatus;
use serde_json::{Value, json};

use super::outcome::{
    OWN, Standing, assert_class_stands, assert_nothing_is_left, assert_quiet, assert_stands,
    settle, settle_delivered, settle_gone,
};
use super::stage::Stage;
use crate::case::{Case, world};

pub trait Story {
    /// Part of the names of namespaces.
    fn name(&self) -> &'static str;

    /// What happens before the fault is armed.
    async fn prepare(&self, _stage: &mut Stage) {}

    /// What happens while the fault strikes, until the fan-out has settled.
    async fn run(&self, stage: &mut Stage);

    /// What holds in the end.
    async fn check(&self, stage: &mut Stage) {
        assert_stands(&stage.case, &OWN).await;
        assert_quiet(&mut stage.case).await;
    }
}

/// A fan-out is created.
pub struct Creation;

impl Story for Creation {
    fn name(&self) -> &'static str {
        "create"
    }

    async fn run(&self, stage: &mut Stage) {
        stage.apply().await;
        settle_delivered(&mut stage.case, &stage.commit).await;
    }
}

/// A fan-out is created that takes over a bucket and a topic.
pub struct Adoption;

impl Story for Adoption {
    fn name(&self) -> &'static str {
        "adopt"
    }

    async fn prepare(&self, stage: &mut Stage) {
        let theirs = format!("theirs-{}", stage.case.namespace);
        stage.case.create_bucket(&theirs).await;
        stage.case.create_topic(&theirs).await;
        stage.spec["artifacts"] = json!({"bucketName": theirs});
        stage.spec["notifications"] = json!({"topicName": theirs});
        stage.spec["adopt"] = json!(["Artifacts", "Topic"]);
    }

    async fn run(&self, stage: &mut Stage) {
        stage.apply().await;
        settle_delivered(&mut stage.case, &stage.commit).await;
    }
}

/// Branch, prefix, notifications and tags of a fan-out change.
pub struct Change;

impl Story for Change {
    fn name(&self) -> &'static str {
        "update"
    }

    async fn prepare(&self, stage: &mut Stage) {
        stage.deliver().await;
    }

    async fn run(&self, stage: &mut Stage) {
        let next = stage.push("next", "NEXT.md", "next\n").await;
        stage.spec["branch"] = json!("next");
        stage.spec["destination"]["prefix"] = json!("elsewhere");
        stage.spec["notifications"] = json!({"detail": "FULL"});
        stage.spec["tags"] = json!({"team": "docs"});
        stage.apply().await;
        settle_delivered(&mut stage.case, &next).await;
    }
}

/// A fan-out is deleted.
pub struct Deletion;

impl Story for Deletion {
    fn name(&self) -> &'static str {
        "delete"
    }

    async fn prepare(&self, stage: &mut Stage) {
        stage.deliver().await;
    }

    async fn run(&self, stage: &mut Stage) {
        stage.case.delete("docs").await;
        settle_gone(&mut stage.case).await;
    }

    async fn check(&self, stage: &mut Stage) {
        assert_nothing_is_left(&stage.case);
    }
}

/// A class that shares everything is created, and a fan-out on it.
pub struct Class;

impl Story for Class {
    fn name(&self) -> &'static str {
        "class"
    }

    async fn run(&self, stage: &mut Stage) {
        let spec = stage.class_spec();
        let class = stage.case.apply_class(&stage.class, spec, false).await;
        class.unwrap();
        stage.spec["className"] = json!(stage.class);
        stage.apply().await;
        settle_delivered(&mut stage.case, &stage.commit).await;
    }

    async fn check(&self, stage: &mut Stage) {
        let standing = Standing {
            connections: 1,
            resources: 2,
        };
        assert_stands(&stage.case, &standing).await;
        assert_class_stands(&stage.case, &stage.class).await;
        assert_quiet(&mut stage.case).await;
    }
}

/// A fan-out with everything of its own moves into a class.
pub struct Move;

impl Story for Move {
    fn name(&self) -> &'static str {
        "move"
    }

    async fn prepare(&self, stage: &mut Stage) {
        stage.deliver().await;
        let spec = stage.class_spec();
        stage.case.create_ready_class(&stage.class, spec).await;
    }

    async fn run(&self, stage: &mut Stage) {
        stage.spec["className"] = json!(stage.class);
        stage.apply().await;
        settle(&mut stage.case, &stage.commit, has_moved).await;
    }

    async fn check(&self, stage: &mut Stage) {
        // The authorization of the fan-out's own connection is kept.
        let standing = Standing {
            connections: 2,
            resources: 2,
        };
        assert_stands(&stage.case, &standing).await;
        assert_class_stands(&stage.case, &stage.class).await;
        assert_quiet(&mut stage.case).await;
    }
}

/// The class's bucket is delivered to, and nothing of the former place is left.
fn has_moved(status: &RepoFanoutStatus) -> bool {
    let delivered = status.delivered.as_ref();
    status.former.is_empty() && delivered.is_some_and(|d| d.bucket.ends_with("-an"))
}

/// A delivery is subscribed to, pruned and announced.
pub struct Delivery;

impl Story for Delivery {
    fn name(&self) -> &'static str {
        "serve"
    }

    async fn prepare(&self, stage: &mut Stage) {
        stage.deliver().await;
        let commit = stage.push("main", "gone.txt", "gone\n").await;
        stage.case.wait_delivered("docs", &commit).await;
    }

    async fn run(&self, stage: &mut Stage) {
        let queue = format!("mine-{}", stage.case.namespace);
        let (url, arn) = stage.case.create_queue(&queue).await;
        let subscribers = json!([{"protocol": "sqs", "endpoint": arn, "rawMessageDelivery": true}]);
        stage.spec["destination"]["prune"] = json!("Enabled");
        stage.spec["notifications"] = json!({"announce": true, "subscribers": subscribers});
        stage.apply().await;
        let removal = [("gone.txt", None)];
        let last = world()
            .repositories
            .push(&stage.repository, "main", &removal, "Remove")
            .await
            .unwrap();
        settle(&mut stage.case, &last, is_served).await;
        assert_served(&stage.case, &url, &last).await;
    }
}

/// The delivery was announced and pruned, and one subscription stands.
fn is_served(status: &RepoFanoutStatus) -> bool {
    let delivered = status.delivered.as_ref().map(|d| &d.execution);
    let subscriptions = status.subscriptions.iter().map(|s| &*s.status);
    status.announced.as_ref().map(|a| &a.execution) == delivered
        && status.pruned.as_ref().map(|p| &p.execution) == delivered
        && subscriptions.eq(["CONFIRMED"])
}

/// The removed file is deleted, one subscription stands, and its queue receives the announcement of
/// the commit.
async fn assert_served(case: &Case, queue: &str, commit: &str) {
    let status = case.status("docs").await;
    assert_eq!(case.file(&status, "gone.txt").await, None);
    let topic = status.topic_arn.unwrap();
    let list = [
        ("Action", "ListSubscriptionsByTopic"),
        ("TopicArn", &*topic),
    ];
    let subscriptions = case.sns(&list).await.unwrap();
    assert_eq!(
        subscriptions.matches("<Endpoint>").count(),
        1,
        "{subscriptions}"
    );
    let announces = |body: &String| {
        let message: Option<Value> = serde_json::from_str(body).ok();
        message.is_some_and(|message| message["commit"]["id"] == commit)
    };
    case.until(|| async {
        let bodies = case.receive(queue).await?;
        let found = bodies.iter().any(announces);
        found
            .then_some(())
            .ok_or_else(|| format!("{commit} is not announced: {bodies:?}"))
    })
    .await;
}
