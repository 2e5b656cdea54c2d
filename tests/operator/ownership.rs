//! The operator leaves alone what it does not own, and finds again what it owns.

use repofanout::api::status::ConnectionStatus;
use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_message, base_name, is_true};

#[tokio::test]
async fn wiped_and_restarted_it_finds_everything_again_and_writes_nothing() {
    let mut case = Case::new("wiped", &[]).await;
    case.create_delivered("docs").await;
    let before = case.status("docs").await;
    case.operator = None;
    let writes = case.writes();
    case.patch_status("docs", Value::Null).await;
    case.start().await;
    let after = case
        .wait("docs", "not found again", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(case.writes(), writes);
    assert_eq!(after.resources, before.resources);
    assert_eq!(after.placement, before.placement);
    assert_eq!(after.delivered, before.delivered);
    assert_eq!(after.last_execution, before.last_execution);
    // The intent is on the connection's tags, too, and needed no more.
    let found = before.connection.map(|connection| ConnectionStatus {
        intent: None,
        ..connection
    });
    assert_eq!(after.connection, found);
}

#[tokio::test]
async fn things_of_others_are_refused_by_name_and_left_untouched() {
    let mut case = Case::without_operator("not-owned", &[]).await;
    // The names are computed as the operator does, so that somebody can take them before it.
    let owner = repofanout::domain::owner::Owner {
        cluster: "tests".into(),
        kind: "RepoFanout".into(),
        namespace: case.namespace.clone(),
        name: "docs".into(),
    };
    let base = repofanout::domain::names::base_name("rf-", None, &owner);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let create = [
        ("Action", "CreateRole"),
        ("RoleName", &*base),
        ("AssumeRolePolicyDocument", trust),
    ];
    case.iam(&create).await.unwrap();
    case.create_topic(&base).await;
    case.start().await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "NotOwned")
        .await;
    assert_message(&status, "Stalled", "topic");
    assert_message(&status, "Stalled", "no ownership tags");
    assert_eq!(
        case.writes(),
        Vec::<String>::new(),
        "nothing is created beside what is refused"
    );
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let get = [("Action", "GetRole"), ("RoleName", &*base)];
    assert!(case.iam(&get).await.unwrap().contains("ec2.amazonaws.com"));
}

#[tokio::test]
async fn a_bucket_of_another_account_is_refused_and_harms_nobody_else() {
    let case = Case::new("taken", &["--allow-names"]).await;
    let taken = format!("taken-{}", case.namespace);
    case.aws()
        .s3("555500000001", "us-east-1", "PUT", &format!("/{taken}"), "")
        .await
        .unwrap();
    case.apply(
        "bad",
        json!({"repository": "acme/none", "destination": {"bucketName": taken}}),
    )
    .await
    .unwrap();
    let status = case
        .wait_condition("bad", "Stalled", "True", "NotOwned")
        .await;
    assert_message(&status, "Stalled", &taken);
    case.create_delivered("good").await;
}

#[tokio::test]
async fn what_does_not_exist_or_lies_elsewhere_stalls_by_name() {
    let case = Case::new("nowhere", &["--allow-existing=arn:*"]).await;
    let account = &case.account;
    let connection = |region: &str| {
        format!(
            "arn:aws:codeconnections:{region}:{account}:connection/11111111-1111-1111-1111-111111111111"
        )
    };
    let specs: [(&str, Value, &str, &str); 4] = [
        (
            "missing-connection",
            json!({"connection": {"existingARN": connection(REGION)}}),
            "NotFound",
            "connection",
        ),
        (
            "other-region",
            json!({"connection": {"existingARN": connection("us-east-1")}}),
            "NotFound",
            "us-east-1",
        ),
        (
            "missing-bucket",
            json!({"destination": {"existingBucket": "there-is-no-such-bucket"}}),
            "NotFound",
            "there-is-no-such-bucket",
        ),
        (
            "missing-topic",
            json!({"notifications": {"existingTopicARN": format!("arn:aws:sns:{REGION}:{account}:none")}}),
            "NotFound",
            ":none",
        ),
    ];
    for (name, mut spec, reason, expected) in specs {
        spec["repository"] = json!("acme/none");
        case.apply(name, spec).await.unwrap();
        let status = case.wait_condition(name, "Stalled", "True", reason).await;
        assert_message(&status, "Stalled", expected);
    }
    assert_eq!(case.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn another_region_never_makes_a_second_set() {
    let mut case = Case::new("moved", &[]).await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    let before = case
        .wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let writes = case.writes();
    case.restart_with(&["--region=us-west-2"]).await;
    let status = case
        .wait_condition("docs", "Stalled", "True", "PlacementChanged")
        .await;
    assert_message(&status, "Stalled", "us-west-2");
    // The same holds where the status is lost, because the role's tags record the placement.
    case.patch_status("docs", Value::Null).await;
    case.wait_condition("docs", "Stalled", "True", "PlacementChanged")
        .await;
    assert_eq!(case.writes(), writes);
    assert_eq!(base_name(&before), before.placement.unwrap().base_name);
}
