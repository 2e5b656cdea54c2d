//! The subscribers that the object names are subscribed, changed and unsubscribed; others'
//! subscriptions are left alone.

use repofanout::api::status::RepoFanoutStatus;
use repofanout::commands::iam_policy::documents_of;
use repofanout::resource::scope::Scope;
use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_message, condition, has_reason};
use crate::classes::shared_spec;
use crate::permissions::{create_boundary, scope};

async fn wait_subscribed(case: &Case, count: usize) -> RepoFanoutStatus {
    case.wait("docs", "not subscribed", |s| {
        let ready = condition(s, "Subscribed").is_some_and(|c| c.is("True", "Subscribed"));
        ready && s.subscriptions.len() == count && s.observed_generation == s.applied_generation
    })
    .await
}

#[tokio::test]
async fn a_queue_is_subscribed_filtered_and_taken_off_and_others_stay() {
    let case = Case::new("subscribers", &[]).await;
    let (mine, arn) = case.create_queue(&format!("mine-{}", case.namespace)).await;
    let (repository, commit) = case.create_repository().await;
    let spec = |subscribers: Value| json!({"repository": repository, "notifications": {"announce": true, "subscribers": subscribers}});
    let ours = json!([{
        "protocol": "sqs", "endpoint": arn, "rawMessageDelivery": true, "filterPolicy": {"repository": [repository]},
    }]);
    case.apply("docs", spec(ours.clone())).await.unwrap();
    // The subscription exists before the connection is authorized.
    wait_subscribed(&case, 1).await;
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    // AWS's own notification has no attributes, so the filter lets only our message through, and it
    // is raw.
    let first = case
        .until(|| async {
            let all = case.receive(&mine).await?;
            all.into_iter()
                .next()
                .ok_or_else(|| "nothing in the queue".to_owned())
        })
        .await;
    let message: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(message["commit"]["id"], commit, "{message}");

    // Somebody subscribes by hand; then the object changes its own subscription.
    let topic = status.topic_arn.unwrap();
    let (_, theirs) = case
        .create_queue(&format!("theirs-{}", case.namespace))
        .await;
    case.sns(&[
        ("Action", "Subscribe"),
        ("TopicArn", &topic),
        ("Protocol", "sqs"),
        ("Endpoint", &theirs),
    ])
    .await
    .unwrap();
    let mut changed = ours.clone();
    changed[0]["filterPolicy"] = json!({"branch": ["release"]});
    case.apply("docs", spec(changed)).await.unwrap();
    let subscription = wait_subscribed(&case, 1).await.subscriptions[0]
        .arn
        .clone()
        .unwrap();
    let attributes = case
        .sns(&[
            ("Action", "GetSubscriptionAttributes"),
            ("SubscriptionArn", &subscription),
        ])
        .await
        .unwrap();
    assert!(attributes.contains("release"), "{attributes}");
    // Somebody unsubscribes it, and the operator subscribes it again.
    case.sns(&[
        ("Action", "Unsubscribe"),
        ("SubscriptionArn", &subscription),
    ])
    .await
    .unwrap();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.wait("docs", "not subscribed again", |s| {
        s.subscriptions
            .first()
            .and_then(|s| s.arn.as_ref())
            .is_some_and(|arn| *arn != subscription)
    })
    .await;

    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait("docs", "the status still reports subscriptions", |s| {
        s.subscriptions.is_empty() && condition(s, "Subscribed").is_none()
    })
    .await;
    let list = [
        ("Action", "ListSubscriptionsByTopic"),
        ("TopicArn", &*topic),
    ];
    let left = case.sns(&list).await.unwrap();
    assert!(left.contains(&theirs) && !left.contains(&arn), "{left}");
    // Our subscription comes back. It does not keep the topic from being deleted, but the other's
    // does.
    case.apply("docs", spec(ours)).await.unwrap();
    wait_subscribed(&case, 1).await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let left = case.sns(&list).await.unwrap();
    assert!(
        left.contains(&theirs) && !left.contains(&arn),
        "the topic stays for the other's sake: {left}"
    );
}

#[tokio::test]
async fn a_topic_with_our_subscribers_alone_goes_and_who_has_to_agree_is_told() {
    let case = Case::new("subscribers-end", &[]).await;
    let (_, arn) = case.create_queue(&format!("mine-{}", case.namespace)).await;
    let subscribers = json!([
        {"protocol": "sqs", "endpoint": arn}, {"protocol": "https", "endpoint": "https://127.0.0.1:9/hook"},
    ]);
    let (repository, _) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "notifications": {"subscribers": subscribers}}),
    )
    .await
    .unwrap();
    let status = case
        .wait("docs", "no subscription is pending", |s| {
            has_reason(s, "Subscribed", "SubscriptionPending")
        })
        .await;
    assert_message(
        &status,
        "Subscribed",
        "https https://127.0.0.1:9/hook has to confirm: open the SubscribeURL",
    );
    let states: Vec<&str> = status.subscriptions.iter().map(|s| &*s.status).collect();
    assert_eq!(states, ["CONFIRMED", "PENDING"]);
    let subscribes = || {
        case.writes()
            .iter()
            .filter(|w| *w == "sns:Subscribe")
            .count()
    };
    assert_eq!(subscribes(), 2);
    case.reconcile("docs", "now").await;
    assert_eq!(subscribes(), 2, "nobody has to confirm again");
    let topic = status
        .topic_arn
        .clone()
        .unwrap_or_else(|| status.resources["topic"].clone());
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let gone = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    let answer = case.sns(&gone).await;
    assert!(
        answer.is_err(),
        "our own subscribers keep no topic: {answer:?}"
    );
}

/// SNS takes a nested filter for the body of a message alone: on the way there the scope is written
/// before the filter, and on the way back after it.
#[tokio::test]
async fn a_filter_moves_between_the_body_and_the_attributes() {
    let case = Case::new("subscribers-scope", &[]).await;
    let (_, arn) = case.create_queue(&format!("mine-{}", case.namespace)).await;
    let spec = |filter: Value, scope: &str| {
        let subscriber = json!({
            "protocol": "sqs", "endpoint": arn, "filterPolicy": filter, "filterPolicyScope": scope,
        });
        json!({"repository": "acme/docs", "notifications": {"subscribers": [subscriber]}})
    };
    let flat = json!({"branch": ["main"]});
    let nested = json!({"detail": {"state": ["SUCCEEDED"]}});
    for (filter, scope, part) in [
        (&flat, "MessageAttributes", "main"),
        (&nested, "MessageBody", "SUCCEEDED"),
        (&flat, "MessageAttributes", "main"),
        (&nested, "MessageBody", "SUCCEEDED"),
    ] {
        case.apply("docs", spec(filter.clone(), scope))
            .await
            .unwrap();
        let status = wait_subscribed(&case, 1).await;
        let subscription = status.subscriptions[0].arn.clone().unwrap();
        let get = [
            ("Action", "GetSubscriptionAttributes"),
            ("SubscriptionArn", &*subscription),
        ];
        let attributes = case.sns(&get).await.unwrap();
        let scope = format!("<value>{scope}</value>");
        let scoped = attributes.contains(&scope) || scope.contains("MessageAttributes");
        assert!(scoped && attributes.contains(part), "{attributes}");
    }
    case.apply("docs", spec(nested, "MessageAttributes"))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "InvalidSpec")
        .await;
    assert_message(
        &status,
        "Stalled",
        "write filterPolicyScope: MessageBody beside it",
    );
}

/// Firehose needs a role that is passed on: only a role that the settings allow, with no more
/// permissions than the policy prints for it.
#[tokio::test]
async fn a_delivery_stream_is_subscribed_by_roles_that_may_be_named() {
    let mut case = Case::without_operator("firehose", &[]).await;
    let account = case.account.clone();
    let role = |name: &str| format!("arn:aws:iam::{account}:role/{name}");
    let allowed = role("streams-*");
    case.add_flags(&[
        &format!("--allow-existing={allowed}"),
        "--permissions-boundary=bound",
    ]);
    let scope = Scope {
        allow_existing: vec![allowed],
        ..scope(&account)
    };
    case.aws().enforce(&account, documents_of(&scope).unwrap());
    create_boundary(&case).await;
    case.start().await;
    let stream = format!("arn:aws:firehose:{REGION}:{account}:deliverystream/pushes");
    let spec = |role: &str| {
        let subscriber = json!({
            "protocol": "firehose", "endpoint": stream, "subscriptionRoleARN": role, "rawMessageDelivery": true,
        });
        json!({"repository": "acme/docs", "notifications": {"subscribers": [subscriber]}})
    };
    for name in ["streams-a", "streams-b"] {
        case.apply("docs", spec(&role(name))).await.unwrap();
        let subscription = wait_subscribed(&case, 1).await.subscriptions[0]
            .arn
            .clone()
            .unwrap();
        let get = [
            ("Action", "GetSubscriptionAttributes"),
            ("SubscriptionArn", &*subscription),
        ];
        let attributes = case.sns(&get).await.unwrap();
        let raw = "<key>RawMessageDelivery</key><value>true</value>";
        assert!(
            attributes.contains(&role(name)) && attributes.contains(raw),
            "{attributes}"
        );
    }
    let writes = case.writes();
    case.apply("docs", spec(&role("admin"))).await.unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(&status, "Stalled", "subscriptionRoleARN");
    assert_eq!(case.writes(), writes);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let case = Case::with_classes("subscribers-bad", &[]).await;
    let bad = [
        (
            json!({"protocol": "sqs", "endpoint": "https://example.com"}),
            "write the ARN of the queue",
        ),
        (
            json!({"protocol": "https", "endpoint": "http://example.com"}),
            "begins with https://",
        ),
        (
            json!({"protocol": "email", "endpoint": "nobody"}),
            "write a mail address",
        ),
        (
            json!({"protocol": "email", "endpoint": "a@example.com", "rawMessageDelivery": true}),
            "rawMessageDelivery",
        ),
        (
            json!({"protocol": "sms", "endpoint": "+4912345"}),
            "Unsupported value",
        ),
        (
            json!({"protocol": "firehose", "endpoint": "arn:aws:firehose:x"}),
            "takes a subscriptionRoleARN",
        ),
        (
            json!({"protocol": "sqs", "endpoint": "arn:aws:sqs:x", "subscriptionRoleARN": "arn:aws:iam::111122223333:role/x"}),
            "takes a subscriptionRoleARN",
        ),
    ];
    for (subscriber, expected) in bad {
        let spec =
            json!({"repository": "acme/docs", "notifications": {"subscribers": [subscriber]}});
        let refused = case.apply("docs", spec).await.unwrap_err();
        assert!(refused.contains(expected), "{subscriber}: {refused}");
    }
    // A fan-out makes no subscriptions on a topic that belongs to its class.
    let class = case.class_name("org");
    case.create_ready_class(&class, shared_spec(&case)).await;
    let (_, arn) = case.create_queue(&format!("mine-{}", case.namespace)).await;
    let (repository, _) = case.create_repository().await;
    let spec = json!({
        "repository": repository, "className": class, "notifications": {"subscribers": [{"protocol": "sqs", "endpoint": arn}]},
    });
    case.apply("docs", spec).await.unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "InvalidSpec")
        .await;
    assert_message(&status, "Stalled", "not the object's own");
}
