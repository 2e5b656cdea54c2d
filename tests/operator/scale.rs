//! Many fan-outs for the price of a few calls: events report executions, lists are shared, and no
//! object is starved.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use repofanout::api::RepoFanoutClass;
use repofanout::api::class::RepoFanoutClassStatus;
use serde_json::{Value, json};

use crate::case::{Case, REGION, base_name, is_true, version};

/// The operator polls so rarely that it can know of whatever happens only by events.
const RARELY: &str = "--poll-interval=1h";

fn shared_spec(case: &Case) -> Value {
    json!({
        "artifacts": {}, "destination": {}, "pipelineRole": "Shared", "topic": "Shared",
        "connections": {"acme": {"owner": "*"}},
        "allowedNamespaces": {"names": [case.namespace, format!("{}-*", case.namespace)]}, "allowedRepositories": ["*"],
    })
}

/// The spec of one more fan-out of the same repository, under a prefix of its own.
fn spec_beside(case: &Case, class: &str, repository: &str, name: &str) -> Value {
    let prefix = format!("{}/{name}", case.namespace);
    json!({"repository": repository, "className": class, "destination": {"prefix": prefix}})
}

fn count_calls(case: &Case) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for call in case.aws().calls(&case.account) {
        *calls.entry(call.operation).or_insert(0) += 1;
    }
    calls
}

/// How often each operation was called since `before`.
fn calls_since(case: &Case, before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut calls = count_calls(case);
    calls.retain(|name, count| {
        *count -= before.get(name).copied().unwrap_or_default();
        *count > 0
    });
    calls
}

/// The URL of the class's queue.
pub async fn class_queue(case: &Case) -> String {
    let answer = case.sqs(&[("Action", "ListQueues")]).await.unwrap();
    let urls = answer
        .split("<QueueUrl>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next());
    urls.into_iter()
        .find(|url| url.ends_with("-executions"))
        .expect("a queue")
        .to_owned()
}

#[tokio::test]
async fn a_push_is_heard_of_also_by_events_that_come_twice_late_and_in_the_wrong_order() {
    let case = Case::with_classes("heard", &[RARELY]).await;
    let (_, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let second = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.wait_delivered("docs", &second).await;

    case.aws().hold_events(&case.account, true);
    let third = case.push(&repository, "main", "README.md", "third\n").await;
    case.push(&repository, "main", "README.md", "fourth\n")
        .await;
    let fifth = case.push(&repository, "main", "README.md", "fifth\n").await;
    let pipeline = base_name(&case.status("docs").await);
    case.until(|| async {
        let ended = case
            .executions(&pipeline)
            .iter()
            .filter(|e| e.status == "Succeeded")
            .count();
        let held = case.aws().held_events(&case.account);
        if ended == 5 && held.len() == 6 {
            Ok(())
        } else {
            Err(format!(
                "{ended} of 5 ended, {} of 6 events are held",
                held.len()
            ))
        }
    })
    .await;
    let before = version(&case.get("docs").await);
    assert_eq!(
        case.status("docs")
            .await
            .delivered
            .unwrap()
            .commit
            .unwrap()
            .id,
        second,
        "no event has reported it yet"
    );

    let held = case.aws().held_events(&case.account);
    for event in held.iter().rev().chain(&held) {
        case.aws().send_event(event).await;
    }
    case.wait_delivered("docs", &fifth).await;
    assert_ne!(version(&case.get("docs").await), before);
    // The operator takes all of them off the queue, and none of them moves the status back.
    let url = class_queue(&case).await;
    case.until(|| async {
        let names = [
            ("AttributeName.1", "ApproximateNumberOfMessages"),
            ("AttributeName.2", "ApproximateNumberOfMessagesNotVisible"),
        ];
        let fields = [
            &[("Action", "GetQueueAttributes"), ("QueueUrl", &*url)],
            &names[..],
        ]
        .concat();
        let answer = case.sqs(&fields).await.unwrap();
        if answer.matches("<Value>0</Value>").count() == 2 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let after = case.get("docs").await;
    assert_ne!(
        after
            .status
            .clone()
            .unwrap()
            .delivered
            .unwrap()
            .commit
            .unwrap()
            .id,
        third
    );
    for event in &held {
        case.aws().send_event(event).await;
    }
    let last = case.push(&repository, "main", "README.md", "last\n").await;
    case.aws().hold_events(&case.account, false);
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "1")
        .await;
    case.wait_delivered("docs", &last).await;
}

#[tokio::test]
async fn an_end_that_nobody_tells_of_is_looked_for_and_rubbish_in_the_queue_stops_nothing() {
    let case = Case::with_classes("unheard", &["--poll-interval=1s"]).await;
    let (_, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let url = class_queue(&case).await;
    for body in ["rubbish", "{}", "[1]"] {
        case.sqs(&[
            ("Action", "SendMessage"),
            ("QueueUrl", &url),
            ("MessageBody", body),
        ])
        .await
        .unwrap();
    }
    case.aws().hold_executions(&case.account, true);
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.wait("docs", "not running", |s| {
        s.last_execution
            .as_ref()
            .is_some_and(|e| e.status == "InProgress")
    })
    .await;
    // From here on all events are lost.
    case.aws().hold_events(&case.account, true);
    case.aws().hold_executions(&case.account, false);
    case.wait_delivered("docs", &commit).await;
}

/// EventBridge may lose the events of the start and of the end of the same execution.
#[tokio::test]
async fn an_execution_that_no_event_tells_of_at_all_is_found_in_the_round() {
    let case = Case::with_classes("both-lost", &["--poll-interval=1s"]).await;
    let (_, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    case.aws().hold_events(&case.account, true);
    let commit = case.push(&repository, "main", "README.md", "lost\n").await;
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn a_queue_that_somebody_deletes_and_a_rule_that_somebody_switches_off_are_mended_and_nothing_is_missed()
 {
    let case = Case::with_classes("cut", &["--poll-interval=1s"]).await;
    let (class, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let url = class_queue(&case).await;
    case.sqs(&[("Action", "DeleteQueue"), ("QueueUrl", &url)])
        .await
        .unwrap();
    let commit = case
        .push(&repository, "main", "README.md", "unheard\n")
        .await;
    case.wait_delivered("docs", &commit).await;
    case.until(|| async {
        let answer = case.sqs(&[("Action", "ListQueues")]).await.unwrap();
        if answer.contains(&url) {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;

    let rule = format!(
        "{}-executions",
        case.wait_class(&class, "no place", |s| s.placement.is_some())
            .await
            .placement
            .unwrap()
            .base_name
    );
    case.aws()
        .json(
            &case.account,
            REGION,
            "events",
            "AWSEvents.DisableRule",
            &json!({"Name": rule}),
        )
        .await;
    let commit = case
        .push(&repository, "main", "README.md", "unheard, too\n")
        .await;
    // A change of the class makes the operator observe everything that the class shares.
    let patch = Patch::Merge(json!({"spec": {"allowedTagKeys": ["team"]}}));
    case.classes()
        .patch(&class, &PatchParams::default(), &patch)
        .await
        .unwrap();
    case.wait_delivered("docs", &commit).await;
    case.until(|| async {
        let input = json!({"Name": rule});
        let found = case
            .aws()
            .json(
                &case.account,
                REGION,
                "events",
                "AWSEvents.DescribeRule",
                &input,
            )
            .await;
        if found["State"] == "ENABLED" {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn a_class_that_polls_has_no_queue_and_one_that_goes_leaves_none() {
    let case = Case::with_classes("polls", &[]).await;
    let (class, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let listed = async || {
        case.sqs(&[("Action", "ListQueues")])
            .await
            .unwrap()
            .matches("<QueueUrl>")
            .count()
    };
    let rules = async || {
        let found = case
            .aws()
            .json(
                &case.account,
                REGION,
                "events",
                "AWSEvents.ListRules",
                &json!({}),
            )
            .await;
        found["Rules"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((listed().await, rules().await), (2, 1));
    let gone = async || {
        case.until(|| async {
            match (listed().await, rules().await) {
                (0, 0) => Ok(()),
                left => Err(format!("{left:?} queues and rules are left")),
            }
        })
        .await;
    };
    let patch = Patch::Merge(json!({"spec": {"executionEvents": "Poll"}}));
    case.classes()
        .patch(&class, &PatchParams::default(), &patch)
        .await
        .unwrap();
    gone().await;
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.wait_delivered("docs", &commit).await;

    let patch = Patch::Merge(json!({"spec": {"executionEvents": "Queue"}}));
    case.classes()
        .patch(&class, &PatchParams::default(), &patch)
        .await
        .unwrap();
    case.wait_class(&class, "no rule", |s| {
        s.resources.contains_key("event_rule")
    })
    .await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    case.delete_class(&class).await;
    case.wait_class_gone(&class).await;
    gone().await;
}

#[tokio::test]
async fn a_new_fan_out_on_a_class_takes_its_two_writes_and_a_restart_takes_none() {
    const MANY: usize = 12;
    let mut case = Case::with_classes("cheap", &[RARELY]).await;
    let (class, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let before = count_calls(&case);
    let commit = case
        .status("docs")
        .await
        .delivered
        .unwrap()
        .commit
        .unwrap()
        .id;
    for n in 0..MANY {
        case.apply(
            &format!("more-{n}"),
            spec_beside(&case, &class, &repository, &format!("more-{n}")),
        )
        .await
        .unwrap();
    }
    for n in 0..MANY {
        case.wait_delivered(&format!("more-{n}"), &commit).await;
        let ready = |s: &_| is_true(s, "Ready");
        case.wait(&format!("more-{n}"), "not ready", ready).await;
    }
    let calls = calls_since(&case, &before);
    assert_eq!(
        calls.get("codepipeline:CreatePipeline"),
        Some(&MANY),
        "{calls:?}"
    );
    assert_eq!(
        calls.get("codestar-notifications:CreateNotificationRule"),
        Some(&MANY),
        "{calls:?}"
    );
    let none = [
        "codepipeline:GetPipeline",
        "codepipeline:ListTagsForResource",
        "s3:HeadBucket",
        "iam:CreateRole",
    ];
    assert!(
        none.iter().all(|call| !calls.contains_key(*call)),
        "{calls:?}"
    );

    // Once the class has counted its fan-outs, nothing is left to write.
    let all = i32::try_from(MANY + 1).unwrap();
    let counted =
        |s: &RepoFanoutClassStatus| s.fanouts == Some(all) && s.quotas["pipelines"].used == all;
    case.wait_class(&class, "not counted", counted).await;
    let classes: Api<RepoFanoutClass> = Api::all(case.client.clone());
    let class_version = async || classes.get(&class).await.unwrap().metadata.resource_version;
    let mut versions: Vec<String> = Vec::new();
    for n in 0..MANY {
        versions.push(version(&case.get(&format!("more-{n}")).await));
    }
    let of_class = class_version().await;
    case.operator.take().unwrap().stop().await.unwrap();
    let (before, writes) = (count_calls(&case), case.writes());
    case.start().await;
    case.until(|| async {
        let calls = calls_since(&case, &before);
        if calls.contains_key("iam:GetAccountSummary") {
            Ok(())
        } else {
            Err(format!("the class: {calls:?}"))
        }
    })
    .await;
    for (n, version) in versions.into_iter().enumerate() {
        assert_eq!(
            self::version(&case.get(&format!("more-{n}")).await),
            version
        );
    }
    let commit = case
        .push(&repository, "main", "README.md", "after the restart\n")
        .await;
    case.wait_delivered("docs", &commit).await;
    for n in 0..MANY {
        case.wait_delivered(&format!("more-{n}"), &commit).await;
    }
    assert_eq!(case.writes(), writes);
    assert_eq!(
        class_version().await,
        of_class,
        "the class's status was written"
    );
    let calls = calls_since(&case, &before);
    // For the push that an event reported, the operator listed the pipelines at most twice and read
    // none of them.
    assert!(!calls.contains_key("codepipeline:GetPipeline"), "{calls:?}");
    assert!(calls["codepipeline:ListPipelines"] <= 2, "{calls:?}");
}

/// Nothing else happens that would make the operator reconcile the class again.
#[tokio::test]
async fn a_lone_new_fan_out_is_counted_with_what_it_makes() {
    let case = Case::with_classes("lone", &[RARELY]).await;
    let (class, _) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let used = |s: &RepoFanoutClassStatus, what: &str| s.quotas[what].used;
    let counted = |s: &RepoFanoutClassStatus| {
        s.fanouts == Some(1) && used(s, "pipelines") == 1 && used(s, "notification_rules") == 1
    };
    case.wait_class(&class, "not counted", counted).await;
}

#[tokio::test]
async fn a_pipeline_that_somebody_changes_is_found_by_its_version_in_the_list() {
    let case = Case::with_classes("listed", &["--poll-interval=1h"]).await;
    let class = case.class_name("org");
    case.create_ready_class(&class, shared_spec(&case)).await;
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class, "interval": "1m"}),
    )
    .await
    .unwrap();
    let pipeline = base_name(&case.wait_delivered("docs", &commit).await);
    let wrong = |p: &mut Value| {
        p["stages"][0]["actions"][0]["configuration"]["BranchName"] = json!("wrong")
    };
    case.aws().edit_pipeline(&case.account, &pipeline, wrong);
    case.until_within(Duration::from_secs(180), || async {
        let found = &case.aws().pipelines(&case.account)[&pipeline];
        let branch = &found["stages"][0]["actions"][0]["configuration"]["BranchName"];
        if branch == "main" {
            Ok(())
        } else {
            Err(format!("the branch is {branch}"))
        }
    })
    .await;
    case.wait_event("docs", "DriftCorrected", "BranchName")
        .await;
}

/// One namespace floods a slow account: the object of another namespace is served long before the
/// flood is over.
#[tokio::test]
async fn a_namespace_that_floods_an_account_starves_no_other() {
    const MANY: usize = 40;
    let mut case = Case::with_classes("flood", &["--concurrency=2"]).await;
    let (class, repository) = case.create_class_and_fan_out(shared_spec(&case)).await;
    let other = case.add_namespace("calm").await;
    case.aws()
        .throttle(&case.account, &[("codepipeline:CreatePipeline", 2)]);
    for n in 0..MANY {
        case.apply(
            &format!("flood-{n}"),
            spec_beside(&case, &class, &repository, &format!("flood-{n}")),
        )
        .await
        .unwrap();
    }
    let calm = case.in_namespace(&other);
    calm.apply(
        "calm",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    calm.wait("calm", "not provisioned", |s| {
        s.resources.contains_key("pipeline")
    })
    .await;
    let made = case.aws().pipelines(&case.account).len();
    assert!(
        (2..MANY).contains(&made),
        "{made} of {} pipelines were made before the one of the calm namespace",
        MANY + 2
    );
    case.aws().throttle(&case.account, &[]);
    for n in 0..MANY {
        case.wait(&format!("flood-{n}"), "not provisioned", |s| {
            s.resources.contains_key("pipeline")
        })
        .await;
    }
}
