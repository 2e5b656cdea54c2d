//! Existing resources are used where the settings allow it, and never configured.

use serde_json::json;

use crate::case::{Case, REGION, assert_condition, assert_message, condition};

#[tokio::test]
async fn two_fan_outs_share_a_connection_that_exists() {
    let case = Case::new("shared", &["--allow-existing=arn:aws:*:connection/*"]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("first", json!({"repository": repository}))
        .await
        .unwrap();
    let arn = case.authorize("first").await;
    case.wait_delivered("first", &commit).await;
    let spec = json!({"repository": repository, "connection": {"existingARN": arn}, "destination": {"prefix": "other"}});
    case.apply("second", spec).await.unwrap();
    let second = case.wait_delivered("second", &commit).await;
    assert_eq!(second.connection.unwrap().arn.as_deref(), Some(&*arn));
    // Its tags still name its owner.
    let connections = case.aws().connections(&case.account);
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].tags["repofanout.dev/name"], "first");
    case.delete("second").await;
    case.wait_gone("second").await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
    let pushed = case.push(&repository, "main", "README.md", "again\n").await;
    case.wait_delivered("first", &pushed).await;
}

#[tokio::test]
async fn what_the_settings_do_not_allow_is_not_touched() {
    let case = Case::new("not-allowed", &[]).await;
    let arn = format!(
        "arn:aws:codestar-connections:{REGION}:{}:connection/11111111-1111-1111-1111-111111111111",
        case.account
    );
    let specs = [
        (
            "connection",
            json!({"repository": "a/b", "connection": {"existingARN": arn}}),
        ),
        (
            "bucket",
            json!({"repository": "a/b", "destination": {"existingBucket": "somebodys-bucket"}}),
        ),
        ("name", json!({"repository": "a/b", "name": "chosen"})),
    ];
    for (name, spec) in specs {
        case.apply(name, spec).await.unwrap();
        let status = case
            .wait_condition(name, "Ready", "False", "NotAllowed")
            .await;
        assert_condition(&status, "Stalled", "True", "NotAllowed");
        assert_message(&status, "Ready", "--allow-");
        case.delete(name).await;
        case.wait_gone(name).await;
    }
    assert_eq!(case.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn existing_buckets_and_topics_are_used_and_left_as_they_are() {
    let case = Case::without_operator(
        "existing",
        &["--allow-existing=arn:aws:s3:::*,arn:aws:sns:*"],
    )
    .await;
    let mut case = case;
    let bucket = format!("files-{}", case.namespace);
    case.create_bucket(&bucket).await;
    let topic = case.create_topic("theirs").await;
    let (repository, commit) = case.create_repository().await;
    case.start().await;
    let spec = json!({
        "repository": repository, "destination": {"existingBucket": bucket, "prefix": "docs"},
        "notifications": {"existingTopicARN": topic},
    });
    case.apply("docs", spec).await.unwrap();

    // The topic does not let notifications in: the status prints the statement to add, and the
    // statement works.
    let refused = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    let message = condition(&refused, "Stalled").unwrap().message;
    let statement = &message[message.find('{').expect("a statement")..];
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let set = [
        ("Action", "SetTopicAttributes"),
        ("TopicArn", &*topic),
        ("AttributeName", "Policy"),
        ("AttributeValue", &*policy),
    ];
    case.sns(&set).await.unwrap();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.authorize("docs").await;
    let ready = case.wait_delivered("docs", &commit).await;
    let delivered = ready.delivered.clone().unwrap();
    assert_eq!((&*delivered.bucket, &*delivered.prefix), (&*bucket, "docs"));

    // A notification that could not be sent is told until one is.
    let other = policy.replace("Allow", "Deny");
    let mut shut = set;
    shut[3].1 = &other;
    case.sns(&shut).await.unwrap();
    case.push(&repository, "main", "README.md", "second\n")
        .await;
    let rule = json!({"Arn": case.aws().rules(&case.account)[0].arn});
    case.until(|| async {
        let (service, describe) = ("codestar-notifications", "DescribeNotificationRule");
        let asked = case
            .aws()
            .ask(&case.account, REGION, service, describe, &rule);
        let target = asked.await?["Targets"][0]["TargetStatus"].clone();
        (target == "UNREACHABLE")
            .then_some(())
            .ok_or_else(|| format!("the target is {target}"))
    })
    .await;
    case.sns(&set).await.unwrap();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "told")
        .await;
    let told = case
        .wait_condition("docs", "Ready", "Unknown", "TopicUnreachable")
        .await;
    assert_message(&told, "Ready", &topic);
    let third = case.push(&repository, "main", "README.md", "third\n").await;
    case.wait_delivered("docs", &third).await;

    case.delete("docs").await;
    case.wait_gone("docs").await;
    let touched: Vec<String> = case
        .writes()
        .into_iter()
        .filter(|w| w.starts_with("sns:") || w.contains("Bucket"))
        .collect();
    // Only the object's own artifacts bucket was written to.
    assert!(touched.iter().all(|w| w.starts_with("s3:")), "{touched:?}");
    assert!(
        case.s3("GET", &format!("/{bucket}/docs/README.md"), "")
            .await
            .is_ok()
    );
    let tags = case.s3("GET", &format!("/{bucket}?tagging"), "").await;
    assert!(tags.is_err(), "an existing bucket was tagged: {tags:?}");
}
