//! The operator announces each delivery in a message of its own, where the object asks for that.

use repofanout::feature::announce::message::Announcement;
use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, REGION, condition, has_reason, world};

/// Creates a fan-out that announces, with a queue on its topic; answers the repository and the
/// queue's URL.
async fn create_announcing(case: &Case, spec: Value) -> (String, String) {
    let (repository, commit) = case.create_repository().await;
    let mut all = json!({"repository": repository, "notifications": {"announce": true}});
    all.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    case.apply("docs", all).await.unwrap();
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    case.wait("docs", "not announced", |s| s.announced.is_some())
        .await;
    let name = format!("reader-{}", case.namespace);
    let queue = case
        .aws()
        .subscribe_queue(&case.account, REGION, &status.topic_arn.unwrap(), &name)
        .await
        .unwrap();
    (repository, queue)
}

/// Receives our announcements from the queue until there are so many; answers each with its
/// attributes.
async fn receive_announcements(case: &Case, queue: &str, count: usize) -> Vec<(Value, Value)> {
    let mut ours = Vec::new();
    let end = std::time::Instant::now() + LIMIT;
    while ours.len() < count {
        assert!(
            std::time::Instant::now() < end,
            "{} of {count} announcements: {ours:?}\n{}",
            ours.len(),
            case.log()
        );
        for body in case.receive(queue).await.unwrap() {
            let envelope: Value = serde_json::from_str(&body).unwrap();
            let message: Value =
                serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
            if message["schema"] == "repofanout.dev/announcement/v1" {
                ours.push((message, envelope["MessageAttributes"].clone()));
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ours
}

#[tokio::test]
async fn a_delivery_is_announced_with_its_commit_its_place_and_what_changed() {
    let mut case = Case::new("announce", &["--allow-prune"]).await;
    let (repository, queue) =
        create_announcing(&case, json!({"destination": {"prune": "Enabled"}})).await;
    let commit = case
        .push(&repository, "main", "guide.md", "read on\n")
        .await;
    let (message, attributes) = receive_announcements(&case, &queue, 1).await.remove(0);
    let status = case.wait_delivered("docs", &commit).await;
    let delivered = status.delivered.unwrap();
    let key = |file: &str| format!("{}/{file}", delivered.prefix);
    assert_eq!(message["commit"]["id"], commit);
    assert_eq!(message["commit"]["message"], "Write guide.md");
    assert_eq!(message["repository"], repository);
    assert_eq!(
        (&message["namespace"], &message["name"]),
        (&json!(case.namespace), &json!("docs"))
    );
    assert_eq!(
        (&message["bucket"], &message["prefix"]),
        (&json!(delivered.bucket), &json!(delivered.prefix))
    );
    assert_eq!(message["execution"], delivered.execution);
    assert_eq!(message["changes"]["changed"], json!([key("guide.md")]));
    assert_eq!(message["changes"]["deleted"], json!([]));
    assert_eq!(
        attributes["repository"]["Value"], repository,
        "{attributes}"
    );
    // The message matches the schema that is in the repository.
    let schema = Announcement::schema();
    let known = schema["properties"].as_object().unwrap();
    assert!(
        message
            .as_object()
            .unwrap()
            .keys()
            .all(|field| known.contains_key(field)),
        "{message}"
    );
    assert!(
        schema["required"]
            .as_array()
            .unwrap()
            .iter()
            .all(|field| !message[field.as_str().unwrap()].is_null())
    );

    world()
        .repositories
        .push(&repository, "main", &[("guide.md", None)], "Remove")
        .await
        .unwrap();
    let (message, _) = receive_announcements(&case, &queue, 1).await.remove(0);
    assert_eq!(message["changes"]["deleted"], json!([key("guide.md")]));
    assert_eq!(message["changes"]["pruned"], true, "{message}");

    // What was delivered while no operator ran is announced later, and in order.
    case.operator.take().unwrap().stop().await.unwrap();
    let base = crate::case::base_name(&case.status("docs").await);
    let mut commits = Vec::new();
    for n in 0..2 {
        let before = case.executions(&base).len();
        commits.push(json!(
            case.push(&repository, "main", "n.txt", &n.to_string())
                .await
        ));
        case.until(|| async {
            let runs = case.executions(&base);
            let ended = runs.len() == before + 1 && runs.iter().all(|e| e.status == "Succeeded");
            if ended {
                Ok(())
            } else {
                Err(format!("{runs:?}"))
            }
        })
        .await;
    }
    case.start().await;
    let order: Vec<Value> = receive_announcements(&case, &queue, 2)
        .await
        .into_iter()
        .map(|(message, _)| message["commit"]["id"].clone())
        .collect();
    assert_eq!(order, commits);
}

#[tokio::test]
async fn killed_over_it_or_refused_it_is_announced_all_the_same() {
    let mut case = Case::without_operator("announce-kill", &["--leader-elect=false"]).await;
    case.start().await;
    let (repository, queue) = create_announcing(&case, json!({})).await;
    let pid = case.operator.as_ref().unwrap().id();
    let fault = Fault::of_writes(&case.account, When::Nth(1), Effect::KillBefore(pid));
    let struck = fault.struck();
    case.aws().fault(fault);
    let commit = case.push(&repository, "main", "a.txt", "a").await;
    case.until(|| async {
        if struck.load(std::sync::atomic::Ordering::SeqCst) {
            Ok(())
        } else {
            Err("it was not killed")
        }
        .map_err(str::to_owned)
    })
    .await;
    case.start().await;
    let (message, _) = receive_announcements(&case, &queue, 1).await.remove(0);
    assert_eq!(message["commit"]["id"], commit);
    assert_eq!(
        message.get("changes"),
        None,
        "the operator may not read artifacts"
    );

    let denied = Effect::Fail {
        status: 403,
        code: "AuthorizationError".into(),
        message: "no".into(),
    };
    case.aws()
        .fault(Fault::of_writes(&case.account, When::Nth(1), denied));
    let commit = case.push(&repository, "main", "a.txt", "b").await;
    case.wait("docs", "the status does not report the announcement", |s| {
        has_reason(s, "Announced", "AnnounceFailed")
    })
    .await;
    let (message, _) = receive_announcements(&case, &queue, 1).await.remove(0);
    assert_eq!(message["commit"]["id"], commit);
    let status = case
        .wait("docs", "the status does not report the announcement", |s| {
            condition(s, "Announced").is_some_and(|c| c.is("True", "Announced"))
        })
        .await;
    assert_eq!(condition(&status, "Ready").unwrap().status, "True");
}

/// The consumer's code is taken from the README, and run as it stands there.
#[tokio::test]
async fn the_sample_consumer_follows_the_copy() {
    let case = Case::new("consumer", &["--allow-prune"]).await;
    let name = format!("consumer-{}", case.namespace);
    let (_, queue) = case.create_queue(&name).await;
    let (repository, _) = case.create_repository().await;
    let subscriber = json!({
        "protocol": "sqs", "endpoint": queue, "rawMessageDelivery": true,
        "filterPolicy": {"repository": [repository]},
    });
    let notifications = json!({"announce": true, "subscribers": [subscriber]});
    case.apply(
        "docs",
        json!({"repository": repository, "notifications": notifications}),
    )
    .await
    .unwrap();
    case.authorize("docs").await;
    let python = tokio::task::spawn_blocking(|| support::boto3(|line| eprintln!("{line}")))
        .await
        .unwrap()
        .unwrap();
    let folder = world().logs.join(&name);
    let address = case.aws().address;
    let mut consumer = tokio::process::Command::new(python)
        .arg(support::root().join("deploy/samples/consumer.py"))
        .arg(format!("http://{address}/{}/{name}", case.account))
        .arg(&folder)
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", &case.account)
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let has = async |file: &str, content: Option<&str>| {
        let path = folder.join(file);
        case.until(|| async {
            let there = std::fs::read_to_string(&path).ok();
            if there.as_deref() == content {
                Ok(())
            } else {
                Err(format!("{file} is {there:?}, not {content:?}"))
            }
        })
        .await;
    };
    has("README.md", Some("hello\n")).await;
    case.push(&repository, "main", "guide.md", "read on\n")
        .await;
    has("guide.md", Some("read on\n")).await;
    world()
        .repositories
        .push(&repository, "main", &[("guide.md", None)], "Remove")
        .await
        .unwrap();
    has("guide.md", None).await;
    consumer.kill().await.unwrap();
}
