//! Execution events on the default event bus: who gets them is what the rules, targets and policies
//! behind us say.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::front::Caller;
use crate::iam;
use crate::pipelines::arn;
use crate::state::World;
use crate::upstream::element;

/// The queues of an account and region.
pub type Routes = Arc<Vec<Route>>;

/// A queue that a rule sends to.
pub struct Route {
    pattern: String,
    queue: String,
    url: String,
}

/// Tells of an execution, unless a test holds events back.
pub async fn announce(world: &Arc<World>, caller: &Caller, pipeline: &str, detail: Value) {
    let event = json!({
        "version": "0", "id": uuid::Uuid::new_v4().to_string(), "account": caller.account, "region": caller.region,
        "detail-type": "CodePipeline Pipeline Execution State Change", "source": "aws.codepipeline",
        "time": jiff::Timestamp::now().to_string(), "resources": [arn(caller, pipeline)], "detail": detail,
    });
    let held = world.with_account(&caller.account, |a| match &mut a.held_events {
        Some(held) => {
            held.push(event.clone());
            true
        }
        None => false,
    });
    if !held {
        send(world, caller, &event).await;
    }
}

/// Sends the event to the queues of all rules that take it.
pub async fn send(world: &Arc<World>, caller: &Caller, event: &Value) {
    let key = (caller.account.clone(), caller.region.clone());
    let known = world
        .routes
        .lock()
        .expect("no panic while held")
        .get(&key)
        .cloned();
    let routes = match known {
        Some(routes) => routes,
        None => {
            let routes = Arc::new(routes(world, caller).await);
            world
                .routes
                .lock()
                .expect("no panic while held")
                .insert(key, Arc::clone(&routes));
            routes
        }
    };
    for route in routes.iter() {
        let test = json!({"EventPattern": route.pattern, "Event": event.to_string()});
        let matched = ask(world, caller, "TestEventPattern", &test).await;
        if matched["Result"] == true {
            let fields = [
                ("Action", "SendMessage"),
                ("Version", "2012-11-05"),
                ("QueueUrl", route.url.as_str()),
                ("MessageBody", &event.to_string()),
            ];
            let _ = world.upstream.form(caller, "sqs", &fields).await;
        }
    }
}

/// The queues that rules send to, as far as the queues' policies let them.
async fn routes(world: &World, caller: &Caller) -> Vec<Route> {
    let mut routes = Vec::new();
    let rules = ask(world, caller, "ListRules", &json!({})).await;
    let enabled = rules["Rules"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| r["State"] == "ENABLED");
    for rule in enabled {
        let Some(pattern) = rule["EventPattern"].as_str() else {
            continue;
        };
        let targets = ask(
            world,
            caller,
            "ListTargetsByRule",
            &json!({"Rule": rule["Name"]}),
        )
        .await;
        let queues = targets["Targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|t| t["Arn"].as_str());
        for queue in queues.filter(|arn| arn.contains(":sqs:")) {
            if let Some(url) = open(
                world,
                caller,
                queue,
                rule["Arn"].as_str().unwrap_or_default(),
            )
            .await
            {
                routes.push(Route {
                    pattern: pattern.to_owned(),
                    queue: queue.to_owned(),
                    url,
                });
            }
        }
    }
    routes.sort_by(|a, b| a.queue.cmp(&b.queue));
    routes
}

/// The queue's URL, if it lets this rule send.
async fn open(world: &World, caller: &Caller, queue: &str, rule: &str) -> Option<String> {
    let version = ("Version", "2012-11-05");
    let name = queue.rsplit(':').next()?;
    let found = world
        .upstream
        .form(
            caller,
            "sqs",
            &[("Action", "GetQueueUrl"), version, ("QueueName", name)],
        )
        .await;
    let url = element(&found.ok()?.1, "QueueUrl")?;
    let fields = [
        ("Action", "GetQueueAttributes"),
        version,
        ("QueueUrl", url.as_str()),
        ("AttributeName.1", "Policy"),
    ];
    let (_, body) = world.upstream.form(caller, "sqs", &fields).await.ok()?;
    let policy = serde_json::from_str(&element(&body, "Value")?).ok()?;
    let request = iam::Request {
        principal: Some("events.amazonaws.com"),
        action: "sqs:SendMessage",
        resource: queue,
        context: HashMap::from([("aws:sourcearn", rule.to_owned())]),
    };
    (iam::allows(&[policy], &request) == Ok(true)).then_some(url)
}

async fn ask(world: &World, caller: &Caller, operation: &str, input: &Value) -> Value {
    let caller = Caller {
        account: caller.account.clone(),
        region: caller.region.clone(),
        service: "events".to_owned(),
    };
    let sent = world
        .upstream
        .call(&caller, &format!("AWSEvents.{operation}"), input)
        .await;
    sent.unwrap_or(Value::Null)
}
