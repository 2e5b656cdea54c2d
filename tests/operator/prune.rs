//! The operator deletes what a delivery leaves behind, and nothing else.

use std::time::Duration;

use repofanout::api::status::RepoFanoutStatus;
use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, assert_message, base_name, condition, has_reason, world};

/// Writes and removes files in one commit; answers the commit.
async fn push_files(repository: &str, files: &[(&str, Option<&str>)]) -> String {
    world()
        .repositories
        .push(repository, "main", files, "Change")
        .await
        .unwrap()
}

/// Creates a fan-out that prunes, and waits until it has delivered these files; answers its
/// repository and its status.
async fn create_pruning(
    case: &Case,
    destination: Value,
    files: &[(&str, Option<&str>)],
) -> (String, RepoFanoutStatus) {
    let (repository, _) = case.create_repository().await;
    let pushed = push_files(&repository, files).await;
    case.apply(
        "docs",
        json!({"repository": repository, "destination": destination}),
    )
    .await
    .unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &pushed).await;
    (repository, case.status("docs").await)
}

/// Waits until this commit is delivered and pruned, with this reason.
async fn wait_pruned(case: &Case, pushed: &str, reason: &str) -> RepoFanoutStatus {
    case.wait_delivered("docs", pushed).await;
    case.wait("docs", &format!("not pruned: {reason}"), |s| {
        let execution = s
            .delivered
            .as_ref()
            .filter(|d| d.commit.as_ref().is_some_and(|c| c.id == pushed));
        has_reason(s, "Pruned", reason)
            && s.pruned
                .as_ref()
                .is_some_and(|p| execution.is_some_and(|d| d.execution == p.execution))
    })
    .await
}

async fn put_file(case: &Case, status: &RepoFanoutStatus, path: &str, content: &str) {
    let d = status.delivered.as_ref().unwrap();
    let path = format!("/{}/{}/{path}", d.bucket, d.prefix);
    case.s3("PUT", &path, content).await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_removed_goes_and_what_others_put_there_stays() {
    let case = Case::new("prune", &["--allow-prune"]).await;
    let files = [
        ("secret.txt", Some("hush")),
        ("theirs-now.txt", Some("ours")),
        ("a/ü b+c.txt", Some("odd")),
    ];
    let (repository, status) = create_pruning(&case, json!({"prune": "Enabled"}), &files).await;
    // Somebody else writes files: one beside ours, and one in place of ours.
    put_file(&case, &status, "theirs.txt", "theirs").await;
    put_file(&case, &status, "theirs-now.txt", "somebody's").await;
    let pushed = push_files(&repository, &files.map(|(path, _)| (path, None))).await;
    let status = wait_pruned(&case, &pushed, "Pruned").await;
    assert_eq!(status.pruned.as_ref().unwrap().deleted, 2);
    for gone in ["secret.txt", "a/%C3%BC%20b%2Bc.txt"] {
        assert_eq!(case.file(&status, gone).await, None, "{gone}");
    }
    assert_eq!(
        case.file(&status, "theirs.txt").await.as_deref(),
        Some("theirs")
    );
    assert_eq!(
        case.file(&status, "theirs-now.txt").await.as_deref(),
        Some("somebody's")
    );
    assert_eq!(
        case.file(&status, "README.md").await.as_deref(),
        Some("hello\n")
    );
    assert_message(&status, "Pruned", "2 keys that no delivery put there stay");
    case.wait_event("docs", "Pruned", "secret.txt").await;

    // One delivery leaves nothing behind; the next leaves everything.
    let pushed = push_files(&repository, &[("more.txt", Some("more"))]).await;
    wait_pruned(&case, &pushed, "NothingToPrune").await;
    let pushed = push_files(&repository, &[("README.md", None), ("more.txt", None)]).await;
    let status = wait_pruned(&case, &pushed, "Pruned").await;
    assert_eq!(case.file(&status, "README.md").await, None);
    assert_eq!(
        case.file(&status, "theirs.txt").await.as_deref(),
        Some("theirs")
    );
    // Once pruning is off, the status no longer reports it.
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait("docs", "the status still reports pruning", |s| {
        condition(s, "Pruned").is_none() && s.pruned.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_tells_a_limit_stops_and_the_operator_has_to_allow_it() {
    let mut case = Case::new("prune-limit", &[]).await;
    let names: Vec<String> = (0..30).map(|n| format!("{n:02}.txt")).collect();
    let files: Vec<(&str, Option<&str>)> = names.iter().map(|n| (&**n, Some("x"))).collect();
    let (repository, _) = case.create_repository().await;
    let spec = |destination: Value| json!({"repository": repository, "destination": destination});
    case.apply("docs", spec(json!({"prune": "Enabled"})))
        .await
        .unwrap();
    let refused = case
        .wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(&refused, "Stalled", "--allow-prune");

    case.restart_with(&["--allow-prune"]).await;
    case.apply("docs", spec(json!({"prune": "DryRun"})))
        .await
        .unwrap();
    case.authorize("docs").await;
    let pushed = push_files(&repository, &files).await;
    wait_pruned(&case, &pushed, "NothingToPrune").await;
    let removed: Vec<(&str, Option<&str>)> = names.iter().map(|n| (&**n, None)).collect();
    let pushed = push_files(&repository, &removed).await;
    let status = wait_pruned(&case, &pushed, "PruneDryRun").await;
    assert_eq!(status.pruned.as_ref().unwrap().left, 30);
    assert_message(&status, "Pruned", "30 of 31 keys");
    // The deletion is enabled now, and it is more than half of all files.
    case.apply("docs", spec(json!({"prune": "Enabled"})))
        .await
        .unwrap();
    let status = wait_pruned(&case, &pushed, "PruneLimited").await;
    assert!(
        case.file(&status, "29.txt").await.is_some(),
        "over the limit, and yet deleted"
    );
    case.wait_event("docs", "PruneLimited", "30 of 31 keys")
        .await;
    case.apply(
        "docs",
        spec(json!({"prune": "Enabled", "pruneLimit": {"percent": 100}})),
    )
    .await
    .unwrap();
    let status = wait_pruned(&case, &pushed, "Pruned").await;
    assert_eq!(case.file(&status, "29.txt").await, None);
    assert!(case.file(&status, "README.md").await.is_some());
}

#[tokio::test]
async fn a_push_during_pruning_loses_nothing() {
    let case = Case::new("prune-push", &["--allow-prune"]).await;
    let (repository, _) = create_pruning(
        &case,
        json!({"prune": "Enabled"}),
        &[("back.txt", Some("the same"))],
    )
    .await;
    // The deletion takes so long that the next execution writes the very same file before it
    // arrives.
    let delay = Effect::Delay(Duration::from_secs(15));
    case.aws()
        .fault(Fault::of_writes(&case.account, When::Nth(1), delay));
    let removed = push_files(&repository, &[("back.txt", None)]).await;
    case.until(|| async {
        let deletes = case
            .aws()
            .calls(&case.account)
            .iter()
            .any(|c| c.operation == "s3:DeleteObjects");
        if deletes {
            Ok(())
        } else {
            Err(format!("nothing is deleted after {removed}"))
        }
    })
    .await;
    let again = push_files(&repository, &[("back.txt", Some("the same"))]).await;
    let status = wait_pruned(&case, &again, "NothingToPrune").await;
    case.until(|| async {
        case.file(&status, "back.txt")
            .await
            .ok_or_else(|| "it is lost".to_owned())
    })
    .await;
    case.wait_event("docs", "ExecutionStarted", "pruned").await;
}

/// The operator is killed before and after a deletion, with thousands of files to delete: it goes
/// on, and touches nothing else.
#[tokio::test]
async fn twenty_thousand_files_go_although_the_operator_is_killed_over_it() {
    let mut case =
        Case::without_operator("prune-many", &["--allow-prune", "--leader-elect=false"]).await;
    case.start().await;
    let names: Vec<String> = (0..20_000)
        .map(|n| format!("{}/{n:05}.txt", n / 1000))
        .collect();
    let files: Vec<(&str, Option<&str>)> = names.iter().map(|n| (&**n, Some("x"))).collect();
    let limit = json!({"percent": 100, "objects": 20_000});
    let (repository, _) = case.create_repository().await;
    let destination = json!({"prune": "Enabled", "pruneLimit": limit});
    let pushed = push_files(&repository, &files).await;
    case.apply(
        "docs",
        json!({"repository": repository, "destination": destination}),
    )
    .await
    .unwrap();
    case.authorize("docs").await;
    // So many files need more time than the usual limit.
    let long = async |what: &str, holds: &dyn Fn(&RepoFanoutStatus) -> bool| {
        case.until_within(LIMIT * 5, || async {
            let status = case.status("docs").await;
            if holds(&status) {
                Ok(status)
            } else {
                Err(format!("{what}: {:?}", status.conditions))
            }
        })
        .await
    };
    let status = long("nothing was pruned", &|s| {
        let delivered = s
            .delivered
            .as_ref()
            .is_some_and(|d| d.commit.as_ref().is_some_and(|c| c.id == pushed));
        delivered
            && s.pruned.as_ref().is_some_and(|p| {
                s.delivered
                    .as_ref()
                    .is_some_and(|d| d.execution == p.execution)
            })
    })
    .await;
    put_file(&case, &status, "theirs.txt", "theirs").await;
    for (nth, after) in [(3, false), (5, true)] {
        let pid = case.operator.as_ref().unwrap().id();
        let kill = if after {
            Effect::KillAfter(pid)
        } else {
            Effect::KillBefore(pid)
        };
        let fault = Fault::of_writes(&case.account, When::Nth(nth), kill);
        let struck = fault.struck();
        case.aws().fault(fault);
        if !after {
            let removed: Vec<(&str, Option<&str>)> = names.iter().map(|n| (&**n, None)).collect();
            push_files(&repository, &removed).await;
        }
        case.until_within(LIMIT * 5, || async {
            if struck.load(std::sync::atomic::Ordering::SeqCst) {
                Ok(())
            } else {
                Err("it was not killed".to_owned())
            }
        })
        .await;
        case.start().await;
    }
    let status = case
        .wait("docs", "not pruned", |s| {
            condition(s, "Pruned").is_some_and(|c| c.is("True", "Pruned"))
        })
        .await;
    let d = status.delivered.as_ref().unwrap();
    let list = format!("/{}?list-type=2&prefix={}/", d.bucket, d.prefix);
    let left = case.s3("GET", &list, "").await.unwrap();
    assert_eq!(left.matches("<Key>").count(), 2, "{left}");
    assert!(
        left.contains("README.md</Key>") && left.contains("theirs.txt</Key>"),
        "{left}"
    );
}

#[tokio::test]
async fn the_artifact_that_proves_a_delivery_is_kept_and_what_nothing_proves_stays() {
    let case = Case::new("prune-proof", &["--allow-prune"]).await;
    let (repository, status) = create_pruning(
        &case,
        json!({"prune": "Enabled"}),
        &[("old.txt", Some("old"))],
    )
    .await;
    case.wait("docs", "nothing was pruned", |s| s.pruned.is_some())
        .await;
    // Half of the artifact's retention is over, so it is written anew.
    let long_ago = json!({"pruned": {"artifactKeptAt": "2020-01-01T00:00:00Z"}});
    case.patch_status("docs", long_ago).await;
    case.wait("docs", "the artifact is not written anew", |s| {
        s.pruned
            .as_ref()
            .and_then(|p| p.artifact_kept_at)
            .is_some_and(|at| at.to_string().as_str() > "2026")
    })
    .await;
    let copied = case
        .aws()
        .calls(&case.account)
        .iter()
        .filter(|c| c.operation == "s3:PutObject")
        .count();
    assert_eq!(copied, 1, "the artifact is written anew once");

    // The artifact is deleted all the same, and nothing proves any more who wrote the file.
    let list = format!("/{}-artifacts?list-type=2", base_name(&status));
    let listed = case.s3("GET", &list, "").await.unwrap();
    for key in listed
        .split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split("</Key>").next())
    {
        let path = format!("/{}-artifacts/{key}", base_name(&status));
        case.s3("DELETE", &path, "").await.unwrap();
    }
    let pushed = push_files(&repository, &[("old.txt", None)]).await;
    let status = wait_pruned(&case, &pushed, "PruneUnproven").await;
    assert!(case.file(&status, "old.txt").await.is_some());
    assert_message(&status, "Pruned", "old.txt");
}

#[tokio::test]
async fn what_may_not_be_deleted_is_told_and_the_delivery_stands() {
    let case = Case::new("prune-denied", &["--allow-prune"]).await;
    let (repository, _) = create_pruning(
        &case,
        json!({"prune": "Enabled"}),
        &[("secret.txt", Some("hush"))],
    )
    .await;
    let denied = Effect::Fail {
        status: 403,
        code: "AccessDenied".into(),
        message: "no".into(),
    };
    case.aws()
        .fault(Fault::of_writes(&case.account, When::Nth(1), denied));
    let pushed = push_files(&repository, &[("secret.txt", None)]).await;
    case.wait("docs", "the status does not report the failure", |s| {
        has_reason(s, "Pruned", "PruneFailed")
    })
    .await;
    let status = case.wait_delivered("docs", &pushed).await;
    assert_eq!(condition(&status, "Ready").unwrap().status, "True");
    // The operator tries again.
    let status = wait_pruned(&case, &pushed, "Pruned").await;
    assert_eq!(case.file(&status, "secret.txt").await, None);
}

/// XML 1.0 has no way to say such a key, so a list encodes it, and no batch can name it.
#[tokio::test]
async fn keys_that_xml_has_not_are_pruned_and_emptied_like_others() {
    let case = Case::new("prune-odd", &["--allow-prune"]).await;
    let files = [
        ("odd\u{1}.txt", Some("odd")),
        ("a/\u{b}ü b+c%20.txt", Some("odd")),
        ("plain.txt", Some("plain")),
    ];
    let (repository, status) = create_pruning(&case, json!({"prune": "Enabled"}), &files).await;
    put_file(&case, &status, "theirs%02.txt", "theirs").await;
    let pushed = push_files(&repository, &files.map(|(path, _)| (path, None))).await;
    let status = wait_pruned(&case, &pushed, "Pruned").await;
    assert_eq!(status.pruned.as_ref().unwrap().deleted, 3);
    for gone in ["odd%01.txt", "a/%0B%C3%BC%20b%2Bc%2520.txt", "plain.txt"] {
        assert_eq!(case.file(&status, gone).await, None, "{gone}");
    }
    let theirs = case.file(&status, "theirs%02.txt").await;
    assert_eq!(theirs.as_deref(), Some("theirs"));
    case.wait_event("docs", "Pruned", "\\u{1}.txt").await;

    case.apply(
        "docs",
        json!({"repository": repository, "deletion": {"destination": "Delete"}}),
    )
    .await
    .unwrap();
    case.delete("docs").await;
    case.wait_gone("docs").await;
    let bucket = &status.delivered.as_ref().unwrap().bucket;
    let left = case.s3("GET", &format!("/{bucket}?list-type=2"), "").await;
    assert!(left.is_err_and(|e| e.contains("NoSuchBucket")));
}
