//! The main job from beginning to end: apply, authorize, push, read, receive.

use serde_json::{Value, json};
use support::aws::Claims;

use crate::case::{Case, REGION, assert_condition, assert_message, base_name, condition};

#[tokio::test]
async fn a_manifest_becomes_a_running_fan_out() {
    story("story", Claims::default()).await;
}

/// AWS may differ in what no source verifies, and the story is the same.
#[tokio::test]
async fn the_story_holds_with_every_unverified_claim_turned() {
    story("story-turned", Claims::turned()).await;
}

async fn story(name: &str, claims: Claims) {
    let case = Case::new(name, &[]).await;
    case.aws().claim(&case.account, claims);
    let (repository, first) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();

    // While the connection is PENDING, every resource stands that needs no authorization, and no
    // pipeline does.
    let pending = case
        .wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let connection = pending.connection.clone().unwrap();
    let url = connection.authorize_url.clone().unwrap();
    assert_message(&pending, "Ready", &url);
    let id = connection
        .arn
        .as_deref()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let console = format!(
        "https://{REGION}.console.aws.amazon.com/codesuite/settings/{}/{REGION}/codeconnections/connections/{id}",
        case.account
    );
    assert_eq!(url, console);
    assert_eq!(condition(&pending, "Reconciling").unwrap().status, "True");
    assert_eq!(condition(&pending, "Stalled"), None);
    let resources: Vec<&str> = pending.resources.keys().map(String::as_str).collect();
    assert_eq!(
        resources,
        ["artifacts", "connection", "destination", "role", "topic"]
    );
    assert!(case.aws().pipelines(&case.account).is_empty());
    case.wait_event("docs", "ConnectionPending", &url).await;

    // Once it is AVAILABLE, the pipeline runs once by itself, and the repository's content is
    // delivered.
    assert_eq!(
        case.authorize("docs").await,
        connection.arn.clone().unwrap()
    );
    let ready = case.wait_delivered("docs", &first).await;
    assert_condition(&ready, "Provisioned", "True", "Provisioned");
    assert_eq!(condition(&ready, "Reconciling"), None);
    assert_eq!(ready.last_execution.as_ref().unwrap().status, "Succeeded");
    assert_eq!(
        case.file(&ready, "README.md").await.as_deref(),
        Some("hello\n")
    );

    let delivered = ready.delivered.clone().unwrap();
    assert_eq!(
        (
            &*delivered.repository,
            &*delivered.branch,
            &*delivered.prefix
        ),
        (&*repository, "main", &*repository)
    );
    let commit = delivered.commit.unwrap();
    assert_eq!(
        (commit.short_id.as_str(), commit.message.as_deref()),
        (&first[..7], Some("Write README.md"))
    );
    assert_eq!(
        commit.url,
        Some(format!("https://github.com/{repository}/commit/{first}"))
    );

    // The resources are as narrow as they should be.
    let base = base_name(&ready);
    let pipeline = &case.aws().pipelines(&case.account)[&base];
    let source = &pipeline["stages"][0]["actions"][0];
    assert_eq!(
        source["configuration"],
        json!({
            "ConnectionArn": connection.arn, "FullRepositoryId": repository, "BranchName": "main", "DetectChanges": "true",
        })
    );
    assert_eq!(
        source["outputArtifacts"],
        json!([{"name": "SourceArtifact"}])
    );
    assert_eq!(
        pipeline["stages"][1]["actions"][0]["configuration"],
        json!({
            "BucketName": delivered.bucket, "Extract": "true", "ObjectKey": repository,
        })
    );
    assert_eq!(
        (&pipeline["pipelineType"], &pipeline["executionMode"]),
        (&json!("V2"), &json!("QUEUED"))
    );
    let rules = case.aws().rules(&case.account);
    assert_eq!(rules.len(), 1);
    assert_eq!(
        rules[0].events,
        ["codepipeline-pipeline-pipeline-execution-succeeded"]
    );
    assert_eq!(rules[0].targets, [ready.topic_arn.clone().unwrap()]);

    // A push is copied and announced.
    let queue = case
        .aws()
        .subscribe_queue(
            &case.account,
            REGION,
            ready.topic_arn.as_deref().unwrap(),
            name,
        )
        .await
        .unwrap();
    let second = case
        .push(&repository, "main", "docs/page.md", "page\n")
        .await;
    let after = case.wait_delivered("docs", &second).await;
    assert_eq!(
        case.file(&after, "docs/page.md").await.as_deref(),
        Some("page\n")
    );
    assert_eq!(
        after.last_execution.as_ref().unwrap().trigger.as_deref(),
        Some("Webhook")
    );
    let execution = after.last_execution.unwrap().id;
    case.until(|| async {
        let bodies = case.receive(&queue).await?;
        let messages = bodies
            .iter()
            .filter_map(|b| serde_json::from_str::<Value>(b).ok());
        let mut messages =
            messages.filter_map(|m| serde_json::from_str::<Value>(m["Message"].as_str()?).ok());
        let ours = messages.find(|m| m["detail"]["execution-id"] == json!(execution));
        ours.map(|m| assert_eq!(m["detail"]["state"], "SUCCEEDED"))
            .ok_or_else(|| format!("no announcement of {execution}"))
    })
    .await;
    // The creation and the push started one execution each, and nothing else started any.
    let runs = case.executions(&base);
    assert_eq!(
        runs.iter().map(|e| &*e.trigger).collect::<Vec<_>>(),
        ["CreatePipeline", "Webhook"]
    );
    // Each transition has one event.
    case.wait_event("docs", "Delivered", &second[..7]).await;
    let events = case.events("docs").await;
    for reason in ["ConnectionPending", "ConnectionAvailable"] {
        assert_eq!(
            events.iter().filter(|e| e.reason == reason).count(),
            1,
            "{reason}: {events:?}"
        );
    }
    assert_eq!(
        events.iter().filter(|e| e.reason == "Delivered").count(),
        2,
        "{events:?}"
    );
}
