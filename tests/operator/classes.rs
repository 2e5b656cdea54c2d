//! Classes: many fan-outs share one authorization, one pair of buckets and one role, in whichever
//! account.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use repofanout::api::RepoFanout;
use serde_json::{Value, json};
use support::API;
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, REGION, assert_condition, assert_message, has_reason, is_true};

/// The spec of a class that shares everything with the namespaces of the case.
pub fn shared_spec(case: &Case) -> Value {
    json!({
        "artifacts": {}, "destination": {}, "pipelineRole": "Shared", "topic": "Shared",
        "connections": {"acme": {"owner": "acme"}},
        "allowedNamespaces": {"names": [format!("{}*", case.namespace)]},
        "allowedRepositories": ["acme/*"],
    })
}

#[tokio::test]
async fn a_fan_out_takes_what_its_class_shares_and_makes_only_the_rest() {
    let case = Case::with_classes("shares", &[]).await;
    let class = case.class_name("all");
    let (repository, commit) = case.create_repository().await;
    case.apply_class(&class, shared_spec(&case), false)
        .await
        .unwrap();
    let pending = case
        .wait_class(&class, "not PENDING", |s| {
            s.connections.contains_key("acme")
        })
        .await;
    assert_condition(&pending, "Ready", "False", "ConnectionPending");
    let ready = case.create_ready_class(&class, shared_spec(&case)).await;
    assert_eq!(
        ready.resources.keys().collect::<Vec<_>>(),
        [
            "artifacts",
            "dead_letter_queue",
            "destination",
            "event_rule",
            "queue",
            "role",
            "topic"
        ]
    );
    assert!(ready.quotas["connections"].used >= 1 && ready.quotas["connections"].limit == 250);

    let before = case.writes().len();
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    let status = case.wait_delivered("docs", &commit).await;
    let writes: BTreeSet<String> = case.writes().split_off(before).into_iter().collect();
    let expected = [
        "codepipeline:CreatePipeline",
        "codestar-notifications:CreateNotificationRule",
        "iam:CreateServiceLinkedRole",
    ];
    assert!(
        writes
            .iter()
            .all(|w| expected.contains(&&**w) || w == "codepipeline:StartPipelineExecution"),
        "{writes:?}"
    );
    assert_eq!(
        status.resources.keys().collect::<Vec<_>>(),
        ["notification_rule", "pipeline"]
    );
    let delivered = status.delivered.clone().unwrap();
    let namespace = &case.namespace;
    assert_eq!(delivered.prefix, format!("{namespace}/{repository}"));
    assert!(
        delivered
            .bucket
            .ends_with(&format!("-{}-eu-west-1-an", case.account)),
        "{}",
        delivered.bucket
    );
    assert_eq!(
        case.file(&status, "README.md").await.as_deref(),
        Some("hello\n")
    );
    assert_eq!(status.placement.unwrap().class.as_deref(), Some(&*class));

    // A class in use waits with its deletion, and names who uses it.
    case.delete_class(&class).await;
    let in_use = |s: &_| has_reason(s, "Stalled", "InUse");
    let waits = case.wait_class(&class, "does not wait", in_use).await;
    assert_message(&waits, "Ready", &format!("{namespace}/docs"));
    // It still serves its fan-outs, and accepts no new ones.
    case.apply(
        "more",
        json!({"repository": repository, "branch": "next", "className": class}),
    )
    .await
    .unwrap();
    case.wait_condition("more", "Stalled", "True", "NotAllowed")
        .await;
    case.delete("more").await;
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    case.wait_delivered("docs", &next).await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    case.wait_class_gone(&class).await;
    assert_eq!(
        case.aws().connections(&case.account).len(),
        1,
        "the authorization is kept"
    );
    assert!(case.aws().pipelines(&case.account).is_empty());

    // A class of the same name finds the connection again, and nobody has to click.
    case.apply_class(&class, shared_spec(&case), false)
        .await
        .unwrap();
    case.wait_class(&class, "not ready", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

#[tokio::test]
async fn a_hundred_fan_outs_of_five_namespaces_take_one_authorization_and_follow_their_class() {
    // A hundred objects, each reconciled three times a second, would use up the whole rate limit;
    // beside all other tests a Lease of two seconds would be lost.
    let mut case =
        Case::with_classes("hundred", &["--poll-interval=10s", "--leader-elect=false"]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["destination"] = json!({"prefixTemplate": "{namespace}/{name}"});
    let (repository, first) = case.create_repository().await;
    let mut namespaces = Vec::new();
    for n in 0..5 {
        namespaces.push(case.add_namespace(&n.to_string()).await);
    }
    // All of them wait for the one authorization.
    case.apply_class(&class, spec.clone(), false).await.unwrap();
    let each = || (0..100).map(|n| (case.in_namespace(&namespaces[n % 5]), format!("docs-{n}")));
    futures::stream::iter(each())
        .for_each_concurrent(8, |(at, name)| {
            let manifest = json!({"repository": repository, "className": class});
            async move { drop(at.apply(&name, manifest).await.unwrap()) }
        })
        .await;
    case.authorize_class(&class, "acme").await;
    wait_for_all_delivered(&case, &namespaces, &first).await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
    assert_eq!(case.aws().pipelines(&case.account).len(), 100);
    let roles = case
        .writes()
        .iter()
        .filter(|w| *w == "iam:CreateRole")
        .count();
    let policies = case
        .writes()
        .iter()
        .filter(|w| *w == "iam:PutRolePolicy")
        .count();
    assert_eq!(
        (roles, policies),
        (1, 1),
        "one role, one document, one writer"
    );

    // The class gives each fan-out a role of its own and a tag, while pushes arrive.
    spec["pipelineRole"] = json!("Own");
    spec["tags"] = json!({"cost-center": "42"});
    case.apply_class(&class, spec, false).await.unwrap();
    let during = case
        .push(&repository, "main", "DURING.md", "while it changes\n")
        .await;
    let follows = |o: &RepoFanout| {
        let status = o.status.clone().unwrap_or_default();
        status.applied_class_generation == Some(2) && status.resources.contains_key("role")
    };
    wait_for_all(&case, &namespaces, "does not follow", follows).await;
    wait_for_all_delivered(&case, &namespaces, &during).await;
    let settled = case.wait_class(&class, "the shared role stays", |s| {
        !s.resources.contains_key("role") && s.former.is_empty()
    });
    settled.await;
    let roles: BTreeSet<String> = case
        .aws()
        .pipelines(&case.account)
        .values()
        .map(|p| p["roleArn"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(roles.len(), 100, "each has its own");
    let pipelines = case.aws().pipelines(&case.account);
    for execution in pipelines.keys().flat_map(|name| case.executions(name)) {
        assert!(
            ["Succeeded", "Cancelled", "Superseded"].contains(&&*execution.status),
            "{execution:?}"
        );
    }
}

/// Waits until every object of the namespaces holds what the test wants.
async fn wait_for_all(
    case: &Case,
    namespaces: &[String],
    what: &str,
    holds: impl Fn(&RepoFanout) -> bool,
) {
    case.until_within(LIMIT * 4, || async {
        for namespace in namespaces {
            let objects = case
                .in_namespace(namespace)
                .api()
                .list(&ListParams::default())
                .await
                .map_err(|e| e.to_string())?;
            if let Some(object) = objects.items.iter().find(|o| !holds(o)) {
                let status = serde_json::to_string_pretty(&object.status).unwrap_or_default();
                return Err(format!("{} {what}: {status}", object.name_any()));
            }
        }
        Ok(())
    })
    .await;
}

async fn wait_for_all_delivered(case: &Case, namespaces: &[String], commit: &str) {
    let delivered = |o: &RepoFanout| {
        let status = o.status.clone().unwrap_or_default();
        let found = status
            .delivered
            .as_ref()
            .and_then(|d| d.commit.as_ref())
            .is_some_and(|c| c.id == commit);
        found && is_true(&status, "Ready")
    };
    wait_for_all(case, namespaces, "has not delivered", delivered).await;
}

#[tokio::test]
async fn two_accounts_are_reached_by_their_roles_and_the_right_external_ids() {
    let case = Case::with_classes("accounts", &[]).await;
    let (repository, commit) = case.create_repository().await;
    let (here, there) = (case.other_account(5), case.other_account(6));
    let mut classes = Vec::new();
    for (account, id) in [(&here, "id-here"), (&there, "id-there")] {
        let role = case.create_trusting_role(account, id).await;
        // The sessions are short, so that the operator has to refresh them.
        case.aws()
            .shorten_sessions(account, Duration::from_secs(15));
        let mut spec = shared_spec(&case);
        spec["account"] =
            json!({"roleARN": role, "externalID": id, "sessionTags": {"by": "repofanout"}});
        let name = case.class_name(id);
        let ready = case.create_ready_class(&name, spec.clone()).await;
        assert_eq!(&ready.placement.unwrap().account, account);
        classes.push((name, spec));
    }
    // The role lets nobody in with the other's external id, or without one.
    for (n, id) in [Some("id-there"), None].into_iter().enumerate() {
        let mut spec = classes[0].1.clone();
        spec["account"] = json!({"roleARN": format!("arn:aws:iam::{here}:role/fanout")});
        if let Some(id) = id {
            spec["account"]["externalID"] = json!(id);
        }
        let name = case.class_name(&format!("wrong-{n}"));
        case.apply_class(&name, spec, false).await.unwrap();
        let refused = |s: &_| has_reason(s, "Stalled", "AccessDenied");
        let status = case.wait_class(&name, "not refused", refused).await;
        assert_message(&status, "Stalled", "sts:AssumeRole");
    }
    for (n, (class, _)) in classes.iter().enumerate() {
        case.apply(
            &format!("docs-{n}"),
            json!({"repository": repository, "className": class}),
        )
        .await
        .unwrap();
    }
    for n in 0..2 {
        case.wait_delivered(&format!("docs-{n}"), &commit).await;
    }
    for account in [&here, &there] {
        assert_eq!(case.aws().pipelines(account).len(), 1);
    }
    assert!(
        case.aws().connections(&case.account).is_empty(),
        "nothing is created in the operator's own account"
    );
    // The test waits until the first sessions have ended.
    let assumed = || {
        let calls = case.aws().calls(&case.account);
        calls
            .iter()
            .filter(|c| c.operation == "sts:AssumeRole")
            .count()
    };
    let before = assumed();
    case.until(|| async {
        if assumed() > before + 1 {
            Ok(())
        } else {
            Err("not refreshed".to_owned())
        }
    })
    .await;
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    for n in 0..2 {
        case.wait_delivered(&format!("docs-{n}"), &next).await;
    }
    for account in [&here, &there] {
        assert!(case.aws().violations(account).is_empty());
        let expired = case.aws().calls(account).len();
        assert!(expired > 0);
    }
}

#[tokio::test]
async fn a_class_whose_status_is_wiped_finds_everything_again() {
    let mut case = Case::with_classes("wiped", &[]).await;
    let class = case.class_name("org");
    case.create_ready_class(&class, shared_spec(&case)).await;
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    case.wait_delivered("docs", &commit).await;
    let known = case.wait_class(&class, "", |_| true).await;
    let writes = case.writes();
    case.operator = None;
    let wipe = Patch::Merge(json!({"status": null}));
    case.classes()
        .patch_status(&class, &PatchParams::default(), &wipe)
        .await
        .unwrap();
    case.patch_status("docs", Value::Null).await;
    case.start().await;
    let found = case
        .wait_class(&class, "not found again", |s| is_true(s, "Ready"))
        .await;
    // The intent is on the connection's tags, too, and needed no more.
    let mut expected = known.connections;
    for connection in expected.values_mut() {
        connection.intent = None;
    }
    assert_eq!(
        (found.connections, found.resources),
        (expected, known.resources)
    );
    case.wait_delivered("docs", &commit).await;
    assert_eq!(case.writes(), writes);
}

/// A conflict at the API server may cut a reconcile off at any write of the fan-out's status: what
/// that reconcile had begun is still finished.
#[tokio::test]
async fn what_is_shared_is_mended_and_an_empty_bucket_is_filled_again() {
    futures::stream::iter(0..=6)
        .for_each_concurrent(3, mend_with_conflict_at)
        .await;
}

/// Runs it with a conflict at the n-th write of a fan-out's status; 0 means no conflict.
async fn mend_with_conflict_at(conflict_at: u32) {
    let mut case =
        Case::without_operator(&format!("mended-{conflict_at}"), &["--leader-elect=false"]).await;
    case.serve_own_classes();
    case.start_behind_proxy().await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["interval"] = json!("1m");
    let ready = case.create_ready_class(&class, spec.clone()).await;
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    let status = case.wait_delivered("docs", &commit).await;
    let before = status.delivered.clone().unwrap();
    // Somebody empties and deletes the shared bucket, and deletes the topic.
    let bucket = &before.bucket;
    let key = format!("/{bucket}/{}/README.md", before.prefix);
    case.s3("DELETE", &key, "").await.unwrap();
    case.s3("DELETE", &format!("/{bucket}"), "").await.unwrap();
    let topic = &ready.resources["topic"];
    let delete = [("Action", "DeleteTopic"), ("TopicArn", &**topic)];
    case.sns(&delete).await.unwrap();
    let refused = Effect::Fail {
        status: 409,
        code: "Conflict".to_owned(),
        message: "the object has been modified".to_owned(),
    };
    let fault = Fault::new(
        API,
        "PUT repofanouts/status",
        When::Nth(conflict_at),
        refused,
    );
    case.proxy.as_ref().unwrap().faults.add(fault);
    // A change of the class makes the operator reconcile now.
    spec["tags"] = json!({"looked": "again"});
    case.apply_class(&class, spec, false).await.unwrap();
    let again = case.wait("docs", "not delivered again", |s| {
        s.delivered
            .as_ref()
            .is_some_and(|d| d.execution != before.execution)
    });
    let again = again.await;
    assert_eq!(
        case.file(&again, "README.md").await.as_deref(),
        Some("hello\n"),
        "conflict at {conflict_at}"
    );
    let get = [("Action", "GetTopicAttributes"), ("TopicArn", &**topic)];
    assert!(case.sns(&get).await.unwrap().contains("RepoFanoutPublish"));
}

#[tokio::test]
async fn keys_boundaries_and_tags_of_a_class_are_on_everything_that_is_made_for_it() {
    let case = Case::with_classes("bounds", &[]).await;
    let class = case.class_name("org");
    let account = &case.account;
    let boundary = format!("arn:aws:iam::{account}:policy/pipelines");
    let key = format!("arn:aws:kms:{REGION}:{account}:key/1234");
    let document =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let create = [
        ("Action", "CreatePolicy"),
        ("PolicyName", "pipelines"),
        ("PolicyDocument", document),
    ];
    case.iam(&create).await.unwrap();
    let mut spec = shared_spec(&case);
    spec["pipelineRole"] = json!("Own");
    spec["tags"] = json!({"cost-center": "42"});
    spec["allowedReaders"] = json!(["777788889999"]);
    case.create_ready_class(&class, spec.clone()).await;
    let (repository, commit) = case.create_repository().await;
    let readers = json!([{"account": "777788889999"}]);
    let manifest =
        json!({"repository": repository, "className": class, "destination": {"readers": readers}});
    case.apply("docs", manifest.clone()).await.unwrap();
    case.wait_delivered("docs", &commit).await;
    // Keys, boundaries and tags also reach what already exists.
    spec["permissionsBoundaryARN"] = json!(boundary);
    spec["kmsKeyARN"] = json!(key);
    case.apply_class(&class, spec, false).await.unwrap();
    let status = case
        .wait("docs", "does not follow", |s| {
            s.applied_class_generation == Some(2)
        })
        .await;
    let base = status.placement.clone().unwrap().base_name;
    let get = [("Action", "GetRole"), ("RoleName", &*base)];
    let role = case.iam(&get).await.unwrap();
    assert!(
        role.contains(&boundary) && role.contains("cost-center"),
        "{role}"
    );
    let bucket = status.delivered.unwrap().bucket;
    let encryption = case
        .aws()
        .s3(account, REGION, "GET", &format!("/{bucket}?encryption"), "")
        .await
        .unwrap();
    assert!(
        encryption.contains("aws:kms") && encryption.contains(&key),
        "{encryption}"
    );
    let pipeline = &case.aws().pipelines(account)[&base];
    assert_eq!(pipeline["artifactStore"]["encryptionKey"]["id"], json!(key));
    let policy = [
        ("Action", "GetRolePolicy"),
        ("RoleName", &*base),
        ("PolicyName", "repofanout"),
    ];
    let policy = case.iam(&policy).await.unwrap();
    assert!(policy.contains("kms"), "{policy}");
    // Readers of the bucket need the key, too, and its owner has to grant that.
    case.wait_event("docs", "ReadersNeedKey", "kms:Decrypt")
        .await;
}

#[tokio::test]
async fn classes_namespaces_and_fan_outs_end_in_any_order() {
    for order in ["class", "namespace", "fan-outs"] {
        let mut case = Case::with_classes(&format!("order-{order}"), &[]).await;
        let class = case.class_name("org");
        let other = case.add_namespace("away").await;
        case.create_ready_class(&class, shared_spec(&case)).await;
        let (repository, commit) = case.create_repository().await;
        let away = case.in_namespace(&other);
        away.apply(
            "docs",
            json!({"repository": repository, "className": class}),
        )
        .await
        .unwrap();
        away.wait_delivered("docs", &commit).await;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(case.client.clone());
        let delete = DeleteParams::default();
        match order {
            "class" => {
                case.delete_class(&class).await;
                away.delete("docs").await;
            }
            "namespace" => {
                namespaces.delete(&other, &delete).await.unwrap();
                case.delete_class(&class).await;
            }
            _ => {
                away.delete("docs").await;
                away.wait_gone("docs").await;
                case.delete_class(&class).await;
            }
        }
        away.wait_gone("docs").await;
        case.wait_class_gone(&class).await;
        assert!(
            case.aws().pipelines(&case.account).is_empty()
                && case.aws().rules(&case.account).is_empty()
        );
        let get = [("Action", "ListRoles"), ("PathPrefix", "/repofanout/")];
        let roles = case.iam(&get).await.unwrap();
        assert!(!roles.contains("<RoleName>rf-"), "{order}: {roles}");
    }
}

/// A class that is deleted keeps its resources while its fan-outs are not known yet.
#[tokio::test]
async fn a_class_deleted_while_the_operator_is_away_waits_for_the_fan_outs_that_use_it() {
    let mut case = Case::without_operator("away", &["--leader-elect=false"]).await;
    case.serve_own_classes();
    case.start_behind_proxy().await;
    let class = case.class_name("org");
    case.create_ready_class(&class, shared_spec(&case)).await;
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    case.wait_delivered("docs", &commit).await;
    case.operator.take().unwrap().stop().await.unwrap();
    case.delete_class(&class).await;
    let writes = case.writes();
    // The list of fan-outs arrives long after everything else.
    let late = Fault::new(
        API,
        "GET repofanouts",
        When::Nth(1),
        Effect::Delay(Duration::from_secs(5)),
    );
    let struck = late.struck();
    case.proxy.as_ref().unwrap().faults.add(late);
    case.start().await;
    let in_use = |s: &_| has_reason(s, "Stalled", "InUse");
    case.wait_class(&class, "does not wait", in_use).await;
    assert!(struck.load(Ordering::SeqCst));
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    case.wait_delivered("docs", &next).await;
    assert_eq!(case.writes(), writes, "something of the class was deleted");
}

#[tokio::test]
async fn a_class_that_is_wrong_is_refused_by_the_api_server_with_a_sentence() {
    let case = Case::without_operator("wrong-class", &["--controller-name=nobody"]).await;
    let name = case.class_name("x");
    for (spec, expected) in [
        (
            json!({"pipelineRole": "Shared"}),
            "pipelineRole: a Shared role covers shared buckets",
        ),
        (
            json!({"pipelineRole": "Shared", "artifacts": {}, "destination": {}}),
            "pipelineRole: a Shared role covers shared connections",
        ),
        (
            json!({"connections": {"a": {"owner": "acme"}, "b": {"owner": "ACME"}}}),
            "each owner may have one connection",
        ),
        (
            json!({"connections": {"A b": {"owner": "acme"}}}),
            "name each by at most 63",
        ),
        (
            json!({"destination": {"bucketName": "abc", "existingBucket": "abc"}}),
            "destination: write only one",
        ),
        (
            json!({"tags": {"repofanout.dev/name": "x"}}),
            "choose keys that do not begin with aws:",
        ),
        (
            json!({"account": {"roleARN": "arn:aws:iam::1:role/x"}}),
            "roleARN",
        ),
        (json!({"interval": "1s"}), "interval: write a duration"),
        (json!({"allowedNamespace": {}}), "allowedNamespace"),
    ] {
        let refused = case
            .apply_class(&name, spec.clone(), false)
            .await
            .expect_err(&spec.to_string());
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    let base =
        json!({"region": "eu-west-1", "namePrefix": "x-", "connections": {"a": {"owner": "acme"}}});
    case.apply_class(&name, base.clone(), false).await.unwrap();
    for (change, expected) in [
        (json!({"region": "eu-west-3"}), "region is immutable"),
        (json!({"namePrefix": null}), "namePrefix is immutable"),
        (
            json!({"connections": {"a": {"owner": "acme", "provider": "GitLab"}}}),
            "provider and hostARN are immutable",
        ),
    ] {
        let mut spec = base.clone();
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        spec.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let refused = case
            .apply_class(&name, spec, false)
            .await
            .expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn a_missing_class_is_waited_for_and_one_of_another_installation_is_left_to_it() {
    let case = Case::with_classes("waits", &[]).await;
    let class = case.class_name("late");
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "ClassNotReady")
        .await;
    assert_message(
        &status,
        "Stalled",
        &format!("there is no RepoFanoutClass {class}"),
    );
    case.create_ready_class(&class, shared_spec(&case)).await;
    case.wait_delivered("docs", &commit).await;

    let theirs = case.class_name("theirs");
    let object = json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass", "metadata": {"name": theirs},
        "spec": {"controller": "another", "allowedNamespaces": {"names": ["*"]}, "allowedRepositories": ["*"]},
    });
    let params = PatchParams::apply("test");
    case.classes()
        .patch(&theirs, &params, &Patch::Apply(&object))
        .await
        .unwrap();
    case.apply(
        "other",
        json!({"repository": repository, "className": theirs}),
    )
    .await
    .unwrap();
    // Meanwhile another object of ours goes all the way, so the operator has seen the first one and
    // left it alone.
    case.apply("more", json!({"repository": repository, "className": class, "destination": {"prefix": format!("{}/more", case.namespace)}}))
        .await
        .unwrap();
    case.wait_delivered("more", &commit).await;
    let other = case.get("other").await;
    assert!(other.status.is_none() && other.finalizers().is_empty());
}
