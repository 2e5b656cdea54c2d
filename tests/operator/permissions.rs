//! The printed IAM policy is enough, and each action of it is used.

use std::collections::BTreeSet;

use repofanout::commands::iam_policy::{boundary, documents_of, policy};
use repofanout::domain::policy_document::texts;
use repofanout::resource::scope::Scope;
use serde_json::{Value, json};
use support::aws::enforce::actions;

use crate::case::{Case, REGION, world};
use crate::classes::shared_spec;
use crate::scale::class_queue;

/// The arguments of `repofanout iam-policy` in tests.
pub fn scope(account: &str) -> Scope {
    Scope {
        partition: "aws".into(),
        account: account.to_owned(),
        region: REGION.into(),
        name_prefix: "rf-".into(),
        allow_existing: vec![],
        allow_prune: true,
        boundaries: vec!["bound".into()],
        assume_roles: vec![],
    }
}

/// Creates the boundary, as a person does before the operator has its credentials.
pub async fn create_boundary(case: &Case) {
    let document = boundary(&scope(&case.account)).to_string();
    let create = [
        ("Action", "CreatePolicy"),
        ("PolicyName", "bound"),
        ("PolicyDocument", &*document),
    ];
    case.iam(&create).await.unwrap();
}

#[tokio::test]
async fn the_printed_policy_covers_every_call_of_a_full_life_and_names_no_other() {
    let mut case = Case::without_operator(
        "policy",
        &[
            "--permissions-boundary=bound",
            "--allow-prune",
            "--source-limit=5s",
        ],
    )
    .await;
    case.serve_own_classes();
    // The operator may do what is printed, and nothing else.
    let printed = policy(&scope(&case.account));
    case.aws()
        .enforce(&case.account, documents_of(&scope(&case.account)).unwrap());
    create_boundary(&case).await;
    case.start().await;
    let repository = case.create_delivered("docs").await;
    let base = case.status("docs").await.placement.unwrap().base_name;
    // A run ends while the operator is away, and somebody changes the pipeline before it is back:
    // the operator reads what that run copied.
    case.operator.take().unwrap().stop().await.unwrap();
    case.push(&repository, "main", "README.md", "unseen\n")
        .await;
    case.until(|| async {
        let runs = case.executions(&base);
        if runs.iter().filter(|e| e.status == "Succeeded").count() == 2 {
            Ok(())
        } else {
            Err(format!("{runs:?}"))
        }
    })
    .await;
    // Somebody changes everything that can be changed, and the operator corrects it.
    for bucket in [format!("{base}-artifacts"), format!("{base}-destination")] {
        for sub in [
            "policy",
            "lifecycle",
            "publicAccessBlock",
            "ownershipControls",
        ] {
            case.s3("DELETE", &format!("/{bucket}?{sub}"), "")
                .await
                .unwrap();
        }
    }
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let update = [
        ("Action", "UpdateAssumeRolePolicy"),
        ("RoleName", &*base),
        ("PolicyDocument", trust),
    ];
    case.iam(&update).await.unwrap();
    let topic = case.status("docs").await.topic_arn.unwrap();
    let set = [
        ("Action", "SetTopicAttributes"),
        ("TopicArn", &*topic),
        ("AttributeName", "Policy"),
        (
            "AttributeValue",
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Allow","Principal":{"AWS":"*"},"Action":"sns:Subscribe","Resource":"*"}]}"#,
        ),
    ];
    case.sns(&set).await.unwrap();
    case.aws().edit_pipeline(&case.account, &base, |p| {
        p["stages"][0]["actions"][0]["configuration"]["BranchName"] = json!("other")
    });
    case.start().await;
    case.apply(
        "docs",
        json!({"repository": repository, "tags": {"team": "docs"}, "notifications": {"detail": "FULL"}}),
    )
    .await
    .unwrap();
    let commit = case.push(&repository, "main", "README.md", "after\n").await;
    case.annotate("docs", "repofanout.dev/release-requested-at", "once")
        .await;
    case.wait_delivered("docs", &commit).await;
    let policy_of_topic = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    let attributes = case.sns(&policy_of_topic).await.unwrap();
    assert!(
        attributes.contains("Theirs") && attributes.contains("RepoFanoutPublish"),
        "{attributes}"
    );
    // The delivery is announced and subscribed to; subscriptions change and end; removed files are
    // pruned, and the artifact that proves them is kept.
    let (_, endpoint) = case.create_queue(&case.namespace).await;
    for raw in [false, true] {
        let subscriber =
            json!({"protocol": "sqs", "endpoint": endpoint, "rawMessageDelivery": raw});
        let notifications = json!({"announce": true, "subscribers": [subscriber]});
        let spec = json!({"repository": repository, "destination": {"prune": "Enabled"}, "notifications": notifications});
        case.apply("docs", spec).await.unwrap();
        case.wait("docs", "not served", |s| {
            let confirmed = s
                .subscriptions
                .first()
                .is_some_and(|s| s.status == "CONFIRMED");
            confirmed
                && s.applied_generation == s.observed_generation
                && s.announced.is_some()
                && s.pruned.is_some()
        })
        .await;
    }
    case.push(&repository, "main", "gone.txt", "gone\n").await;
    let commit = world()
        .repositories
        .push(&repository, "main", &[("gone.txt", None)], "Remove")
        .await
        .unwrap();
    case.wait_delivered("docs", &commit).await;
    case.wait("docs", "not pruned", |s| {
        s.pruned.as_ref().is_some_and(|p| p.deleted == 1)
    })
    .await;
    let long_ago = json!({"pruned": {"artifactKeptAt": "2020-01-01T00:00:00Z"}});
    case.patch_status("docs", long_ago).await;
    case.wait("docs", "the artifact is not written anew", |s| {
        s.pruned
            .as_ref()
            .and_then(|p| p.artifact_kept_at)
            .is_some_and(|at| at.to_string().as_str() > "2026")
    })
    .await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait("docs", "still subscribed", |s| s.subscriptions.is_empty())
        .await;
    // A person stops an execution that does not end.
    case.aws().hang(&case.account, Some("Source"));
    case.annotate("docs", "repofanout.dev/release-requested-at", "hangs")
        .await;
    case.wait_condition("docs", "Delivered", "Unknown", "ExecutionStuck")
        .await;
    case.annotate("docs", "repofanout.dev/stop-requested-at", "now")
        .await;
    case.wait_event("docs", "ExecutionStopped", "").await;
    case.aws().hang(&case.account, None);
    // The operator reads why an execution failed.
    case.apply("docs", json!({"repository": repository, "branch": "none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "DeliveryFailed")
        .await;
    // The operator names the policies that somebody has attached to the role.
    let bound = format!("arn:aws:iam::{}:policy/bound", case.account);
    let attached = |action| {
        [
            ("Action", action),
            ("RoleName", &*base),
            ("PolicyArn", &*bound),
        ]
    };
    case.iam(&attached("AttachRolePolicy")).await.unwrap();
    case.delete("docs").await;
    case.wait_condition("docs", "Stalled", "True", "DeletionBlocked")
        .await;
    case.iam(&attached("DetachRolePolicy")).await.unwrap();
    case.wait_gone("docs").await;
    case.apply("pending", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_condition("pending", "Ready", "False", "ConnectionPending")
        .await;
    case.delete("pending").await;
    case.wait_gone("pending").await;

    // A class counts quotas, receives events of executions, and sets a boundary on a role that
    // exists.
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    let role = case
        .create_ready_class(&class, spec.clone())
        .await
        .resources["role"]
        .clone();
    let role = role.rsplit('/').next().unwrap().to_owned();
    case.apply(
        "shared",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    case.wait_delivered("shared", &commit).await;
    case.until(|| async {
        let calls = case.aws().calls(&case.account);
        let heeded = calls
            .iter()
            .any(|call| call.operation == "sqs:DeleteMessageBatch");
        if heeded {
            Ok(())
        } else {
            Err("nothing is acknowledged".to_owned())
        }
    })
    .await;
    case.delete("shared").await;
    case.wait_gone("shared").await;
    let url = class_queue(&case).await;
    let nothing = [("Attribute.1.Name", "Policy"), ("Attribute.1.Value", "")];
    case.sqs(
        &[
            &[("Action", "SetQueueAttributes"), ("QueueUrl", &*url)],
            &nothing[..],
        ]
        .concat(),
    )
    .await
    .unwrap();
    let unbind = [
        ("Action", "DeleteRolePermissionsBoundary"),
        ("RoleName", &*role),
    ];
    case.iam(&unbind).await.unwrap();
    spec["tags"] = json!({"changed": "yes"});
    case.apply_class(&class, spec, false).await.unwrap();
    case.wait_class(&class, "not bound", |s| s.applied_generation == Some(2))
        .await;
    case.delete_class(&class).await;
    case.wait_class_gone(&class).await;

    let called: BTreeSet<String> = case
        .aws()
        .calls(&case.account)
        .iter()
        .flat_map(|c| actions(&c.operation))
        .collect();
    let statements = printed["Statement"].as_array().unwrap();
    let allowed: BTreeSet<String> = statements
        .iter()
        .flat_map(|s| texts(&s["Action"]))
        .collect();
    let missing: Vec<&String> = called.difference(&allowed).collect();
    assert!(missing.is_empty(), "called and not allowed: {missing:?}");
    // AWS checks these beside the calls: services that a role is passed to, and the newer names of
    // the same operations.
    let implied = |a: &&String| {
        // S3 checks the key of what it reads and writes for us.
        let passed =
            a.ends_with(":PassRole") || a.ends_with(":PassConnection") || a.starts_with("kms:");
        passed || a.starts_with("codeconnections:")
    };
    // No call removes a bucket's default encryption any more, so there is nothing to correct.
    let unseen: Vec<&String> = allowed
        .difference(&called)
        .filter(|a| !implied(a) && *a != "s3:PutEncryptionConfiguration")
        .collect();
    assert!(unseen.is_empty(), "allowed and never called: {unseen:?}");
}

/// AWS knows each action, resource and condition key of the printed policy, and they fit together.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
#[test]
fn what_is_printed_is_in_the_service_authorization_reference() {
    let table: Value =
        serde_json::from_str(&std::fs::read_to_string(&world().actions).unwrap()).unwrap();
    let existing = [
        "arn:aws:s3:::team-*",
        "arn:aws:codepipeline:eu-west-1:111122223333:team-*",
        "arn:aws:iam::111122223333:role/team-*",
    ];
    let scope = Scope {
        allow_existing: existing.map(str::to_owned).into(),
        ..scope("111122223333")
    };
    let mut wrong = Vec::new();
    for document in [policy(&scope), boundary(&scope)] {
        for statement in document["Statement"].as_array().unwrap() {
            let resources = texts(&statement["Resource"]);
            for action in texts(&statement["Action"]) {
                let (service, name) = action.split_once(':').unwrap();
                let known = &table[service]["privileges"][name];
                let Some(types) = known["resource_types"].as_object() else {
                    wrong.push(format!("there is no {action}"));
                    continue;
                };
                let arns: Vec<String> = types
                    .keys()
                    .filter_map(|t| table[service]["resources"][t]["arn"].as_str())
                    .map(|arn| {
                        arn.split("${")
                            .map(|p| p.split_once('}').map_or(p, |(_, rest)| rest))
                            .collect::<Vec<_>>()
                            .join("*")
                    })
                    .collect();
                let fits = |resource: &String| {
                    arns.iter().any(|arn| {
                        wildmatch::WildMatch::new(arn).matches(&resource.replace('*', "x"))
                    })
                };
                // A list covers all connections: a narrower statement would show none of the
                // others, and this one grants no more.
                let all = resources.iter().all(|r| r == "*");
                let right = if all {
                    arns.is_empty() || name.starts_with("List")
                } else {
                    resources.iter().any(fits)
                };
                if !right {
                    wrong.push(format!(
                        "{action} on {resources:?}, and AWS knows it on {arns:?}"
                    ));
                }
                let keys = statement["Condition"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, keys)| keys.as_object());
                for key in keys
                    .flat_map(|keys| keys.keys())
                    .filter(|key| !key.starts_with("aws:"))
                {
                    let named = types
                        .values()
                        .flat_map(|t| texts(&t["condition_keys"]))
                        .any(|k| k.eq_ignore_ascii_case(key));
                    // A statement for both prefixes names the condition keys of both.
                    if !named && key.split(':').next() == Some(service) {
                        wrong.push(format!("{action} knows no condition key {key}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
