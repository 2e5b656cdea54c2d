//! Executions and connections that fail: the status quotes AWS, and is Ready again once the cause
//! is mended.

use serde_json::json;

use crate::case::{Case, assert_message, base_name, condition};

#[tokio::test]
async fn permissions_taken_from_the_role_are_given_back_and_the_execution_runs_again() {
    let case = Case::new("denied-role", &[]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    let put = [
        ("Action", "PutRolePolicy"),
        ("RoleName", &*base),
        ("PolicyName", "repofanout"),
        (
            "PolicyDocument",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#,
        ),
    ];
    case.iam(&put).await.unwrap();
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    let failed = case
        .wait_condition("docs", "Delivered", "False", "DeliveryFailed")
        .await;
    let failure = failed
        .last_execution
        .as_ref()
        .unwrap()
        .failure
        .clone()
        .unwrap();
    assert_eq!(failure.stage, "Source");
    assert!(
        failure
            .message
            .contains("does not have sufficient permissions"),
        "{failure:?}"
    );
    case.wait_delivered("docs", &commit).await;
    let executions = case.executions(&base);
    let last = executions.last().unwrap();
    assert_eq!(
        (&*last.status, &*last.trigger),
        ("Succeeded", "StartPipelineExecution")
    );
    case.wait_event("docs", "DeliveryFailed", "").await;
}

#[tokio::test]
async fn a_branch_that_does_not_exist_is_named_and_a_push_of_it_heals() {
    let case = Case::new("no-branch", &[]).await;
    let (repository, _) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository, "branch": "later"}))
        .await
        .unwrap();
    case.authorize("docs").await;
    let failed = case
        .wait_condition("docs", "Ready", "False", "DeliveryFailed")
        .await;
    assert_message(&failed, "Ready", "No Branch [later]");
    assert_eq!(condition(&failed, "Reconciling"), None);
    assert_eq!(condition(&failed, "Stalled"), None);
    let commit = case
        .push(&repository, "later", "README.md", "later\n")
        .await;
    case.wait_delivered("docs", &commit).await;
}

/// Once the spec names the delivered branch again, a failure of another branch no longer counts.
#[tokio::test]
async fn a_branch_that_is_taken_back_is_delivered_anew() {
    let case = Case::new("taken-back", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.apply("docs", json!({"repository": repository, "branch": "none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "DeliveryFailed")
        .await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn a_repository_that_the_app_may_not_read_says_what_to_grant() {
    let case = Case::new("not-granted", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.aws().grant(&case.account, &repository, false);
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    let failed = case
        .wait_condition("docs", "Ready", "False", "RepositoryNotAccessible")
        .await;
    assert_message(&failed, "Ready", "grant the AWS Connector app access");
    assert_message(&failed, "Ready", &repository);
    case.aws().grant(&case.account, &repository, true);
    case.annotate("docs", "repofanout.dev/release-requested-at", "granted")
        .await;
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn a_connection_goes_to_error_and_back() {
    let case = Case::new("error", &[]).await;
    let repository = case.create_delivered("docs").await;
    let arn = case.status("docs").await.connection.unwrap().arn.unwrap();
    case.aws().set_connection(&arn, "ERROR").unwrap();
    let status = case
        .wait_condition("docs", "Ready", "False", "ConnectionError")
        .await;
    assert_eq!(
        status.connection.as_ref().unwrap().status.as_deref(),
        Some("ERROR")
    );
    assert_eq!(
        condition(&status, "ConnectionAvailable").unwrap().status,
        "False"
    );
    case.aws().set_connection(&arn, "AVAILABLE").unwrap();
    let commit = case.push(&repository, "main", "README.md", "back\n").await;
    case.wait_delivered("docs", &commit).await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

#[tokio::test]
async fn a_slow_iam_and_a_slow_service_linked_role_are_waited_for() {
    let mut case = Case::without_operator("slow-iam", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.aws().delay_iam(&case.account, 3);
    case.aws().delay_service_linked_role(&case.account, 1);
    case.start().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    let ready = case.wait_delivered("docs", &commit).await;
    assert_eq!(case.aws().rules(&case.account).len(), 1);
    assert_eq!(condition(&ready, "Stalled"), None);
    for reason in ["IAMPropagating", "ServiceLinkedRoleCreating"] {
        case.wait_event("docs", reason, "").await;
    }
}
