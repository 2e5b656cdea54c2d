//! Where repositories are hosted, and which of their events start a copy.

use serde_json::{Value, json};

use crate::case::{Case, REGION, base_name, world};

/// What started the executions of the one pipeline, the oldest first.
fn execution_triggers(case: &Case) -> Vec<String> {
    let pipelines = case.aws().pipelines(&case.account);
    let name = pipelines.keys().next().expect("a pipeline");
    case.executions(name)
        .into_iter()
        .map(|e| e.trigger)
        .collect()
}

fn pipeline_structure(case: &Case) -> Value {
    case.aws()
        .pipelines(&case.account)
        .into_values()
        .next()
        .expect("a pipeline")
}

#[tokio::test]
async fn triggers_choose_branches_paths_tags_and_pull_requests() {
    let case = Case::new("triggers", &[]).await;
    let (repository, first) = case.create_repository().await;
    let triggers_spec = json!({
        "push": [
            {"branches": {"includes": ["main", "release/*"]}, "filePaths": {"includes": ["docs/**"], "excludes": ["**/*.draft"]}},
            {"tags": {"includes": ["v*"]}},
        ],
        "pullRequest": [{"branches": {"includes": ["main"]}, "events": ["OPEN", "UPDATED"]}],
    });
    let spec = json!({"repository": repository, "pipeline": {"triggers": triggers_spec}});
    case.apply("docs", spec.clone()).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &first).await;
    let written = pipeline_structure(&case);
    let git = &written["triggers"][0]["gitConfiguration"];
    assert_eq!(
        (
            &git["sourceActionName"],
            git["push"].as_array().unwrap().len()
        ),
        (&json!("Source"), 2)
    );
    assert_eq!(
        written["stages"][0]["actions"][0]["configuration"]["DetectChanges"], "false",
        "one or the other"
    );

    // Neither another path nor an excluded path nor another branch starts an execution.
    case.push(&repository, "main", "README.md", "other\n").await;
    case.push(&repository, "main", "docs/x.draft", "not yet\n")
        .await;
    case.push(&repository, "topic", "docs/topic.md", "topic\n")
        .await;
    let page = case
        .push(&repository, "main", "docs/page.md", "page\n")
        .await;
    let status = case.wait_delivered("docs", &page).await;
    assert_eq!(
        status.last_execution.unwrap().trigger.as_deref(),
        Some("WebhookV2")
    );
    assert_eq!(execution_triggers(&case), ["CreatePipeline", "WebhookV2"]);
    let released = case
        .push(&repository, "release/1", "docs/release.md", "release\n")
        .await;
    case.wait_delivered("docs", &released).await;
    // A tag or a pull request copies the commit that it names.
    let tagged = case
        .push(&repository, "main", "tagged.txt", "tagged\n")
        .await;
    world()
        .repositories
        .refer(&repository, "main", "refs/tags/v1")
        .await
        .unwrap();
    case.wait_delivered("docs", &tagged).await;
    let proposed = case
        .push(&repository, "feature", "proposed.txt", "proposed\n")
        .await;
    world()
        .repositories
        .refer(&repository, "feature", "refs/pull/other/1")
        .await
        .unwrap();
    world()
        .repositories
        .refer(&repository, "feature", "refs/pull/main/2")
        .await
        .unwrap();
    let status = case.wait_delivered("docs", &proposed).await;
    assert_eq!(
        case.file(&status, "proposed.txt").await.as_deref(),
        Some("proposed\n")
    );
    assert_eq!(
        execution_triggers(&case),
        [
            "CreatePipeline",
            "WebhookV2",
            "WebhookV2",
            "WebhookV2",
            "WebhookV2"
        ]
    );

    // Somebody changes the triggers and the operator corrects them; another form of the same
    // triggers is no drift.
    let name = base_name(&status);
    case.aws().edit_pipeline(&case.account, &name, |p| {
        p["triggers"][0]["gitConfiguration"]["push"][0]["branches"]["includes"] = json!(["*"])
    });
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "1")
        .await;
    case.wait_event("docs", "DriftCorrected", "triggers").await;
    case.until(|| async {
        let found =
            pipeline_structure(&case)["triggers"][0]["gitConfiguration"]["push"][0]["branches"]["includes"]
                .clone();
        if found == json!(["main", "release/*"]) {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    })
    .await;
    let writes = case.writes();
    case.aws().edit_pipeline(&case.account, &name, |p| {
        p["triggers"][0]["gitConfiguration"]["push"][0]["branches"]["includes"] =
            json!(["release/*", "main"]);
    });
    case.reconcile("docs", "2").await;
    assert_eq!(case.writes(), writes);

    // Without triggers, each push to the branch is copied again.
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait("docs", "not applied", |s| {
        s.observed_generation == Some(2) && s.applied_generation == Some(2)
    })
    .await;
    let plain = pipeline_structure(&case);
    assert_eq!(
        plain["stages"][0]["actions"][0]["configuration"]["DetectChanges"],
        "true"
    );
    assert!(
        plain["triggers"].as_array().is_none_or(Vec::is_empty),
        "{plain}"
    );
    let last = case.push(&repository, "main", "README.md", "again\n").await;
    let status = case.wait_delivered("docs", &last).await;
    assert_eq!(
        status.last_execution.unwrap().trigger.as_deref(),
        Some("Webhook")
    );
}

#[tokio::test]
async fn triggers_that_make_no_sense_are_refused() {
    let case = Case::new("triggers-bad", &[]).await;
    let push = json!([{"branches": {"includes": ["main"]}}]);
    for (pipeline, expected) in [
        (json!({"triggers": {}}), "write push, pullRequest or both"),
        (json!({"triggers": {"push": []}}), "at least 1"),
        (
            json!({"triggers": {"push": [{}]}}),
            "write either tags, or branches",
        ),
        (
            json!({"triggers": {"push": [{"tags": {"includes": ["v*"]}, "branches": {"includes": ["main"]}}]}}),
            "write either tags",
        ),
        (
            json!({"triggers": {"push": [{"branches": {}}]}}),
            "write includes, excludes or both",
        ),
        (
            json!({"triggers": {"pullRequest": [{"events": ["OPEN"]}]}}),
            "write branches, for all of them",
        ),
        (
            json!({"triggers": {"pullRequest": [{"filePaths": {"includes": ["docs/**"]}}]}}),
            "write branches, for all of them",
        ),
        (
            json!({"triggers": {"push": [{"filePaths": {"includes": ["docs/**"]}}]}}),
            "write branches, too",
        ),
        (
            json!({"triggers": {"pullRequest": [{"events": ["MERGED"], "branches": {"includes": ["main"]}}]}}),
            "Unsupported value",
        ),
        (
            json!({"triggers": {"push": push}, "type": "V1"}),
            "a V1 pipeline knows no triggers",
        ),
        (
            json!({"triggers": {"push": push}, "detectChanges": false}),
            "no meaning beside them",
        ),
    ] {
        let refused = case
            .apply(
                "docs",
                json!({"repository": "acme/docs", "pipeline": pipeline}),
            )
            .await
            .unwrap_err();
        assert!(refused.contains(expected), "{pipeline}: {refused}");
    }
}

#[tokio::test]
async fn every_provider_is_copied_from_also_one_on_a_host_of_ones_own() {
    let case = Case::new(
        "providers",
        &["--allow-existing=arn:aws:codestar-connections:*:host/*"],
    )
    .await;
    let host = format!(
        "arn:aws:codestar-connections:{REGION}:{}:host/ghes-1234",
        case.account
    );
    let all = [
        (
            "gitlab",
            json!({"provider": "GitLab"}),
            "/team",
            Some("https://gitlab.com/{}/-/commit/"),
        ),
        (
            "bitbucket",
            json!({"provider": "Bitbucket"}),
            "",
            Some("https://bitbucket.org/{}/commits/"),
        ),
        ("hosted", json!({"hostARN": host}), "", None),
    ];
    for (name, connection, group, page) in all {
        let repository = format!("acme{group}/{}-{name}", case.namespace);
        world().repositories.create(&repository).await.unwrap();
        let commit = case.push(&repository, "main", "README.md", name).await;
        case.apply(
            name,
            json!({"repository": repository, "connection": connection}),
        )
        .await
        .unwrap();
        let arn = case.authorize(name).await;
        let status = case.wait_delivered(name, &commit).await;
        let delivered = status.delivered.clone().unwrap();
        let url = page.map(|page| page.replace("{}", &repository) + &commit);
        assert_eq!(delivered.commit.unwrap().url, url);
        assert_eq!(delivered.prefix, repository);
        let next = case.push(&repository, "main", "NEXT.md", name).await;
        case.wait_delivered(name, &next).await;
        let connection_in_aws = case
            .aws()
            .connections(&case.account)
            .into_iter()
            .find(|c| c.arn == arn)
            .unwrap();
        assert_eq!(
            connection_in_aws.host.as_deref(),
            connection["hostARN"].as_str()
        );
    }
}
