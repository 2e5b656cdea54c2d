//! What the deletion of an object deletes and what it keeps.

use serde_json::json;

use support::aws::{Effect, Fault, When};

use crate::case::{Case, REGION, assert_message, base_name};

#[tokio::test]
async fn deleted_and_applied_again_it_needs_no_second_authorization() {
    let case = Case::new("again", &[]).await;
    let repository = case.create_delivered("docs").await;
    let before = case.status("docs").await;
    let base = base_name(&before);
    case.delete("docs").await;
    case.wait_gone("docs").await;

    // The object's own resources are deleted, except for the files and the authorization.
    assert!(case.aws().pipelines(&case.account).is_empty());
    assert!(case.aws().rules(&case.account).is_empty());
    let role = [("Action", "GetRole"), ("RoleName", &*base)];
    assert!(case.iam(&role).await.is_err());
    assert!(
        case.s3("GET", &format!("/{base}-artifacts"), "")
            .await
            .is_err()
    );
    assert_eq!(
        case.file(&before, "README.md").await.as_deref(),
        Some("hello\n")
    );
    let connections = case.aws().connections(&case.account);
    assert_eq!(
        connections.iter().map(|c| &*c.status).collect::<Vec<_>>(),
        ["AVAILABLE"]
    );
    let topic = [
        ("Action", "GetTopicAttributes"),
        ("TopicArn", before.topic_arn.as_deref().unwrap()),
    ];
    assert!(case.sns(&topic).await.is_err());

    let commit = case.push(&repository, "main", "README.md", "again\n").await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let after = case.wait_delivered("docs", &commit).await;
    assert_eq!(
        after.connection.unwrap().arn,
        before.connection.unwrap().arn
    );
    let now = case.aws().connections(&case.account);
    assert_eq!(
        now.iter().map(|c| &c.arn).collect::<Vec<_>>(),
        [&connections[0].arn]
    );
    // The connection was kept with the time of the deletion on its tags, and the tag is empty once
    // it is in use again.
    assert_ne!(connections[0].tags["repofanout.dev/retained-at"], "");
    assert_eq!(now[0].tags["repofanout.dev/retained-at"], "");
    assert_eq!(base_name(&case.status("docs").await), base);
}

#[tokio::test]
async fn a_connection_that_nobody_authorized_goes_with_the_object() {
    let case = Case::new("unauthorized", &[]).await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.aws().connections(&case.account).is_empty());
}

#[tokio::test]
async fn a_topic_that_others_subscribe_to_is_kept() {
    let case = Case::new("subscribed", &[]).await;
    case.create_delivered("docs").await;
    let topic = case.status("docs").await.topic_arn.unwrap();
    case.aws()
        .subscribe_queue(&case.account, REGION, &topic, "kept")
        .await
        .unwrap();
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let get = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    assert!(case.sns(&get).await.is_ok());
}

#[tokio::test]
async fn a_spec_that_became_invalid_still_ends() {
    let mut case = Case::new("invalid-end", &["--allow-names"]).await;
    case.apply("docs", json!({"repository": "acme/none", "name": "chosen"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    case.restart_without("--allow-names").await;
    case.wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.aws().connections(&case.account).is_empty());
}

#[tokio::test]
async fn abandoned_objects_end_where_the_account_is_out_of_reach() {
    let mut case = Case::new("abandon", &[]).await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let theirs = case.account.clone();
    case.account = "999999999999".to_owned();
    case.start().await;
    case.delete("docs").await;
    let blocked = case
        .wait_condition("docs", "Stalled", "True", "DeletionBlocked")
        .await;
    assert_message(&blocked, "Stalled", "repofanout.dev/abandon=docs");
    assert_message(&blocked, "Stalled", &theirs);
    case.annotate("docs", "repofanout.dev/abandon", "docs")
        .await;
    case.wait_gone("docs").await;
    assert_eq!(case.aws().connections(&theirs).len(), 1);
}

/// The notification service refuses to forget a topic while a rule sends to it.
#[tokio::test]
async fn a_topic_that_a_rule_of_somebody_else_sends_to_is_kept_and_named() {
    let case = Case::new("foreign-rule", &[]).await;
    case.create_delivered("docs").await;
    let topic = case.status("docs").await.topic_arn.unwrap();
    let rule = json!({
        "Name": "theirs", "Status": "ENABLED", "DetailType": "BASIC",
        "Resource": format!("arn:aws:codepipeline:{REGION}:{}:theirs", case.account),
        "EventTypeIds": ["codepipeline-pipeline-pipeline-execution-failed"],
        "Targets": [{"TargetType": "SNS", "TargetAddress": topic}],
    });
    let service = "codestar-notifications";
    let made = case
        .aws()
        .ask(
            &case.account,
            REGION,
            service,
            "CreateNotificationRule",
            &rule,
        )
        .await
        .unwrap();
    case.delete("docs").await;
    case.wait_gone("docs").await;
    case.wait_event("docs", "Retained", made["Arn"].as_str().unwrap())
        .await;
    let kept = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    assert!(case.sns(&kept).await.is_ok(), "the topic is gone");
}

/// AWS may go on refusing after the last rule is gone; the deletion ends nevertheless.
#[tokio::test]
async fn a_topic_that_the_notification_service_never_forgets_is_deleted_after_a_while() {
    let case = Case::new("never-forgets", &[]).await;
    case.create_delivered("docs").await;
    let topic = case.status("docs").await.topic_arn.unwrap();
    let refusal = Effect::Fail {
        status: 400,
        code: "ValidationException".to_owned(),
        message: "The target is subscribed to one or more notification rules".to_owned(),
    };
    case.aws().fault(Fault::new(
        &case.account,
        "codestar-notifications:DeleteTarget",
        When::Always,
        refusal,
    ));
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let gone = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    assert!(case.sns(&gone).await.is_err(), "the topic is left");
}
