//! A change of the spec writes what it should and nothing else, and is delivered.

use serde_json::{Value, json};

use crate::case::{Case, base_name, is_true};

/// The operations that wrote since `before`, sorted, each once.
fn writes_since(case: &Case, before: usize) -> Vec<String> {
    let mut writes = case.writes().split_off(before);
    writes.sort();
    writes.dedup();
    writes
}

#[tokio::test]
async fn branch_prefix_and_events_update_what_they_should_and_deliver_anew() {
    let case = Case::new("changes", &[]).await;
    let repository = case.create_delivered("docs").await;
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;

    let before = case.writes().len();
    case.apply("docs", json!({"repository": repository, "branch": "next"}))
        .await
        .unwrap();
    let status = case.wait_delivered("docs", &next).await;
    assert_eq!(
        writes_since(&case, before),
        [
            "codepipeline:StartPipelineExecution",
            "codepipeline:UpdatePipeline"
        ]
    );
    assert_eq!(status.delivered.as_ref().unwrap().branch, "next");
    assert_eq!(
        case.file(&status, "NEXT.md").await.as_deref(),
        Some("next\n")
    );

    let before = case.writes().len();
    let spec =
        json!({"repository": repository, "branch": "next", "destination": {"prefix": "elsewhere"}});
    case.apply("docs", spec.clone()).await.unwrap();
    let status = case
        .wait("docs", "nothing under the new prefix", |s| {
            s.delivered
                .as_ref()
                .is_some_and(|d| d.prefix == "elsewhere")
        })
        .await;
    let expected = [
        "codepipeline:StartPipelineExecution",
        "codepipeline:UpdatePipeline",
        "iam:PutRolePolicy",
    ];
    assert_eq!(writes_since(&case, before), expected);
    assert_eq!(
        case.file(&status, "NEXT.md").await.as_deref(),
        Some("next\n")
    );

    let before = case.writes().len();
    let mut spec = spec;
    spec["notifications"] =
        json!({"events": ["pipeline-execution-succeeded", "pipeline-execution-failed"]});
    case.apply("docs", spec).await.unwrap();
    case.wait("docs", "not settled", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(
        writes_since(&case, before),
        ["codestar-notifications:UpdateNotificationRule"]
    );
    assert_eq!(case.aws().rules(&case.account)[0].events.len(), 2);
    let runs = case.executions(&base_name(&status)).len();
    assert_eq!(runs, 3, "the first, one for the branch, one for the prefix");
}

#[tokio::test]
async fn a_change_during_an_execution_cancels_it_and_runs_it_again() {
    let case = Case::new("cancels", &[]).await;
    let repository = case.create_delivered("docs").await;
    case.aws().hold_executions(&case.account, true);
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    let status = case
        .wait("docs", "no execution runs", |s| {
            s.last_execution
                .as_ref()
                .is_some_and(|e| e.status == "InProgress")
        })
        .await;
    case.apply(
        "docs",
        json!({"repository": repository, "pipeline": {"executionMode": "SUPERSEDED"}}),
    )
    .await
    .unwrap();
    case.wait("docs", "the change did not start an execution", |s| {
        s.last_execution
            .as_ref()
            .is_some_and(|e| e.trigger.as_deref() == Some("StartPipelineExecution"))
    })
    .await;
    case.aws().hold_executions(&case.account, false);
    case.wait_delivered("docs", &commit).await;
    let runs: Vec<String> = case
        .executions(&base_name(&status))
        .into_iter()
        .map(|e| e.status)
        .collect();
    assert_eq!(runs, ["Succeeded", "Cancelled", "Succeeded"]);
}

#[tokio::test]
async fn a_release_starts_one_execution_for_each_new_value() {
    let mut case = Case::without_operator("release", &[]).await;
    let (repository, commit) = case.create_repository().await;
    const KEY: &str = "repofanout.dev/release-requested-at";
    // A value that stands at creation counts as acknowledged.
    case.apply_annotated(
        "docs",
        json!({"repository": repository}),
        json!({KEY: "stands"}),
    )
    .await
    .unwrap();
    case.start().await;
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    let base = base_name(&status);
    assert_eq!(case.executions(&base).len(), 1);

    let long = "a very long value ".repeat(20);
    let echo: String = long.chars().take(256).collect();
    case.annotate("docs", KEY, &long).await;
    case.wait("docs", "the release is not acknowledged", |s| {
        s.last_handled_release_at.as_deref() == Some(&echo)
    })
    .await;
    for (value, runs) in [("one", 3), ("two", 4)] {
        case.annotate("docs", KEY, value).await;
        case.wait("docs", "the release is not acknowledged", |s| {
            s.last_handled_release_at.as_deref() == Some(value)
        })
        .await;
        assert_eq!(case.executions(&base).len(), runs);
    }
    // Neither a restart nor a wiped status starts another execution.
    case.start().await;
    case.patch_status("docs", Value::Null).await;
    case.wait("docs", "not found again", |s| {
        s.last_handled_release_at.as_deref() == Some("two") && is_true(s, "Ready")
    })
    .await;
    assert_eq!(case.executions(&base).len(), 4);
}

#[tokio::test]
async fn tags_of_the_spec_reach_every_resource() {
    let case = Case::new("tags", &[]).await;
    let repository = case.create_delivered("docs").await;
    case.apply(
        "docs",
        json!({"repository": repository, "tags": {"team": "docs"}}),
    )
    .await
    .unwrap();
    let status = case
        .wait("docs", "not settled", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(
        case.aws().connections(&case.account)[0].tags["team"],
        "docs"
    );
    let bucket = &status.delivered.as_ref().unwrap().bucket;
    let tags = case
        .s3("GET", &format!("/{bucket}?tagging"), "")
        .await
        .unwrap();
    assert!(
        tags.contains("<Key>team</Key>") && tags.contains("repofanout.dev/created-at"),
        "{tags}"
    );
}
