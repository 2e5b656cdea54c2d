//! AWS shows late what was just created: the operator waits for it, and creates nothing twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::case::{Case, base_name, condition, has_reason};
use crate::classes::shared_spec;

/// How late AWS shows here what was created.
const LATE: Duration = Duration::from_secs(6);
/// A time to settle that is longer.
const SETTLE: &str = "--settle-time=15s";

/// How often each creation was called.
fn creations(case: &Case) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for call in case.writes() {
        let (_, operation) = call.split_once(':').expect("a service");
        if operation.starts_with("Create") || operation == "Subscribe" {
            *count.entry(call).or_default() += 1;
        }
    }
    count
}

/// No creation was called more often than there are things of the kind, two of which are buckets.
fn assert_made_once(case: &Case) {
    let count = creations(case);
    let twice =
        |(call, times): &(&String, &usize)| **times > 1 + usize::from(*call == "s3:CreateBucket");
    let twice: Vec<_> = count.iter().filter(twice).collect();
    assert!(twice.is_empty(), "{count:?}\n{}", case.log());
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

#[tokio::test]
async fn what_is_shown_late_is_created_once_and_never_called_drift() {
    let mut case = Case::without_operator("late", &[SETTLE]).await;
    case.aws().show_late(&case.account, LATE);
    case.start().await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    // A restart knows what was created, too.
    case.wait("docs", "no connection", |s| {
        s.connection.as_ref().is_some_and(|c| c.arn.is_some())
    })
    .await;
    case.start().await;
    case.wait_condition("docs", "Provisioned", "False", "Provisioning")
        .await;
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    case.wait("docs", "not all is recorded", |s| s.resources.len() == 7)
        .await;
    assert_made_once(&case);
    let events = case.events("docs").await;
    assert!(
        events.iter().all(|e| e.reason != "DriftCorrected"),
        "{events:?}"
    );
    // What somebody deletes is created anew once the time is over.
    let topic = status.topic_arn.unwrap();
    case.sns(&[("Action", "DeleteTopic"), ("TopicArn", &topic)])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    case.reconcile("docs", "1").await;
    case.wait_event("docs", "DriftCorrected", "topic: somebody deleted it")
        .await;
    case.sns(&[("Action", "GetTopicAttributes"), ("TopicArn", &topic)])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_shown_late_is_not_left_behind_by_a_deletion() {
    let case = Case::new("late-deleted", &[SETTLE]).await;
    case.aws().show_late(&case.account, LATE);
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    let status = case
        .wait("docs", "no resources", |s| s.resources.len() >= 4)
        .await;
    case.delete("docs").await;
    case.until(|| async {
        let object = case
            .api()
            .get_opt("docs")
            .await
            .map_err(|e| e.to_string())?;
        let status = object.and_then(|o| o.status).unwrap_or_default();
        let told = condition(&status, "Ready")
            .is_some_and(|c| c.message.contains("AWS does not show what was created"));
        told.then_some(()).ok_or_else(|| format!("{status:?}"))
    })
    .await;
    case.wait_gone("docs").await;
    assert!(case.aws().connections(&case.account).is_empty());
    let base = base_name(&status);
    let role = [("Action", "GetRole"), ("RoleName", &*base)];
    assert!(case.iam(&role).await.is_err());
    let artifacts = format!("/{base}-artifacts");
    assert!(case.s3("GET", &artifacts, "").await.is_err());
    let topic = [
        ("Action", "GetTopicAttributes"),
        ("TopicArn", status.topic_arn.as_deref().unwrap()),
    ];
    assert!(case.sns(&topic).await.is_err());
}

#[tokio::test]
async fn what_a_class_shares_is_created_once_although_it_is_shown_late() {
    let case = Case::with_classes("late-class", &[SETTLE]).await;
    case.aws().show_late(&case.account, LATE);
    case.create_class_and_fan_out(shared_spec(&case)).await;
    let count = creations(&case);
    let queues = count.get("sqs:CreateQueue").copied();
    assert_eq!(queues, Some(2), "the queue and that of its dead letters");
    assert_eq!(count.get("codestar-connections:CreateConnection"), Some(&1));
    assert_eq!(count.get("sns:CreateTopic"), Some(&1));
    assert_eq!(count.get("iam:CreateRole"), Some(&1));
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

#[tokio::test]
async fn a_subscription_that_is_listed_late_has_not_expired() {
    let case = Case::new("late-listed", &[SETTLE]).await;
    case.aws().show_late(&case.account, LATE);
    let hook = json!({"protocol": "https", "endpoint": "https://127.0.0.1:9/hook"});
    let spec = json!({"repository": "acme/none", "notifications": {"subscribers": [hook]}});
    case.apply("docs", spec).await.unwrap();
    case.wait("docs", "not subscribed", |s| {
        has_reason(s, "Subscribed", "SubscriptionPending")
    })
    .await;
    // Some passes later it is still waited for.
    let end = Instant::now() + LATE;
    while Instant::now() < end {
        let status = case.status("docs").await;
        assert_eq!(status.subscriptions[0].status, "PENDING", "{status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(creations(&case).get("sns:Subscribe"), Some(&1));
}
