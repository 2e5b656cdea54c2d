//! Executions and connections that fail: the status quotes AWS, and is Ready again once the cause
//! is mended.

use serde_json::json;
use support::aws::{Claims, Effect, Fault, When};

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
    assert_message(&failed, "Ready", "correct spec.branch or push that branch");
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

/// CodePipeline tells a repository that the app may not read by the words for a branch that does not
/// exist, as people report; the object says what to do about either.
#[tokio::test]
async fn a_repository_that_the_app_may_not_read_says_what_to_grant() {
    for (name, as_missing_branch, reason) in [
        ("not-granted", true, "DeliveryFailed"),
        ("not-granted-told", false, "RepositoryNotAccessible"),
    ] {
        let case = Case::new(name, &[]).await;
        let claims = Claims {
            withheld_as_missing_branch: as_missing_branch,
            ..Claims::default()
        };
        case.aws().claim(&case.account, claims);
        let (repository, commit) = case.create_repository().await;
        case.aws().grant(&case.account, &repository, false);
        case.apply("docs", json!({"repository": repository}))
            .await
            .unwrap();
        case.authorize("docs").await;
        let failed = case.wait_condition("docs", "Ready", "False", reason).await;
        let grant = format!("access to {repository} in the provider's settings of installed apps");
        assert_message(&failed, "Ready", &grant);
        case.aws().grant(&case.account, &repository, true);
        case.annotate("docs", "repofanout.dev/release-requested-at", "granted")
            .await;
        case.wait_delivered("docs", &commit).await;
    }
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

/// A source that never ends (aws-cdk#10629) is told with the time when it began; corrections do not
/// wait for it, and a person may stop it.
#[tokio::test]
async fn an_execution_that_does_not_end_is_told_holds_nothing_up_and_can_be_stopped() {
    let case = Case::new("stuck", &["--source-limit=2s"]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    case.annotate("docs", "repofanout.dev/stop-requested-at", "early")
        .await;
    case.wait_event("docs", "NothingToStop", "").await;

    case.aws().hang(&case.account, Some("Source"));
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    let stuck = case
        .wait_condition("docs", "Delivered", "Unknown", "ExecutionStuck")
        .await;
    assert_message(&stuck, "Delivered", "in its Source stage since ");
    assert_message(&stuck, "Delivered", "repofanout.dev/stop-requested-at");
    assert_eq!(condition(&stuck, "Ready").unwrap().status, "Unknown");
    assert_eq!(condition(&stuck, "Ready").unwrap().reason, "ExecutionStuck");
    case.wait_event("docs", "ExecutionStuck", "").await;
    assert_eq!(case.executions(&base).last().unwrap().status, "InProgress");

    case.aws().edit_pipeline(&case.account, &base, |structure| {
        structure["executionMode"] = json!("PARALLEL");
    });
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "drift")
        .await;
    case.until(|| async {
        let mode = case.aws().pipelines(&case.account)[&base]["executionMode"].clone();
        (mode == "QUEUED")
            .then_some(())
            .ok_or_else(|| format!("the mode is {mode}"))
    })
    .await;

    case.annotate("docs", "repofanout.dev/stop-requested-at", "now")
        .await;
    case.wait_event("docs", "ExecutionStopped", "").await;
    case.aws().hang(&case.account, None);
    case.annotate("docs", "repofanout.dev/release-requested-at", "after")
        .await;
    case.wait_delivered("docs", &commit).await;
    let statuses: Vec<String> = case
        .executions(&base)
        .into_iter()
        .map(|e| e.status)
        .collect();
    assert_eq!(statuses, ["Succeeded", "Stopped", "Succeeded"]);
    let status = case.status("docs").await;
    assert_eq!(status.last_handled_stop_at.as_deref(), Some("now"));
}

/// A copy that is abandoned goes on in S3, so the first request lets it end.
#[tokio::test]
async fn a_copy_that_does_not_end_is_abandoned_by_the_second_request_only() {
    let case = Case::new("stuck-copy", &["--deploy-limit=2s"]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    case.aws().hang(&case.account, Some("Deploy"));
    case.push(&repository, "main", "README.md", "second\n")
        .await;
    let stuck = case
        .wait_condition("docs", "Delivered", "Unknown", "ExecutionStuck")
        .await;
    assert_message(&stuck, "Delivered", "in its Deploy stage since ");
    let ends = |status: &'static str| {
        let (case, base) = (&case, &base);
        case.until(move || async move {
            let executions = case.executions(base);
            let last = &executions.last().unwrap().status;
            (last == status)
                .then_some(())
                .ok_or_else(|| format!("the execution is {last}"))
        })
    };
    case.annotate("docs", "repofanout.dev/stop-requested-at", "1")
        .await;
    ends("Stopping").await;
    case.wait("docs", "the stop is not told", |s| {
        condition(s, "Delivered").is_some_and(|c| c.message.contains("It is stopping"))
    })
    .await;
    case.annotate("docs", "repofanout.dev/stop-requested-at", "2")
        .await;
    ends("Stopped").await;
    case.aws().hang(&case.account, None);
    let commit = case.push(&repository, "main", "README.md", "third\n").await;
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn a_source_that_fails_by_the_providers_fault_runs_again_by_itself() {
    let case = Case::new("hiccup", &[]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    case.aws().hiccup(&case.account, 2);
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.wait_delivered("docs", &commit).await;
    let told: Vec<(String, String)> = case
        .executions(&base)
        .into_iter()
        .map(|e| (e.status, e.trigger))
        .collect();
    let start = "StartPipelineExecution";
    let expected = [
        ("Failed", "Webhook"),
        ("Failed", start),
        ("Succeeded", start),
    ];
    let expected = expected.map(|(status, trigger)| (status.to_owned(), trigger.to_owned()));
    assert_eq!(told[1..], expected);
    assert_eq!(case.status("docs").await.starts.len(), 2);
}

/// Starts of our own are bounded, however long the cause lasts; a person's are not.
#[tokio::test]
async fn a_fault_that_does_not_pass_ends_our_own_starts_and_not_a_persons() {
    let case = Case::new("hiccups", &[]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    case.aws().hiccup(&case.account, u32::MAX);
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    let exhausted = case
        .wait_condition("docs", "Ready", "False", "StartsExhausted")
        .await;
    assert_message(&exhausted, "Ready", "3 for this commit");
    assert_message(&exhausted, "Ready", "internal error occurred at the source");
    assert_eq!(exhausted.starts.len(), 3);
    assert_eq!(case.executions(&base).len(), 5, "two by AWS, three by us");
    case.wait_event("docs", "StartsExhausted", "").await;
    case.aws().hiccup(&case.account, 0);
    case.annotate("docs", "repofanout.dev/release-requested-at", "mended")
        .await;
    case.wait_delivered("docs", &commit).await;
    assert_eq!(case.status("docs").await.starts.len(), 3);
}

/// Where a new bucket takes no tags, it is tagged at once, and one that cannot be tagged is not left
/// behind, where nobody would know it as ours.
#[tokio::test]
async fn buckets_are_tagged_once_they_are_made_where_creation_takes_no_tags() {
    let case = Case::new("untagged", &[]).await;
    case.aws().refuse_bucket_tags(&case.account);
    let denied = Effect::Fail {
        status: 403,
        code: "AccessDenied".into(),
        message: "no".into(),
    };
    let tagging = "s3:PutBucketTagging";
    case.aws()
        .fault(Fault::new(&case.account, tagging, When::First(1), denied));
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    assert_message(&status, "Stalled", tagging);
    assert!(case.writes().iter().any(|write| write == "s3:DeleteBucket"));
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    let base = base_name(&status);
    let buckets = [
        format!("{base}-artifacts"),
        status.delivered.as_ref().unwrap().bucket.clone(),
    ];
    for bucket in buckets {
        let tags = case.s3("GET", &format!("/{bucket}?tagging"), "").await;
        let tags = tags.unwrap_or_else(|e| e);
        assert!(
            tags.contains("repofanout.dev/namespace"),
            "{bucket}: {tags}"
        );
    }
}
