//! Who may do what: the operator refuses by name what a class does not allow, and makes, changes or
//! starts nothing for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_message, condition, is_true};
use crate::classes::shared_spec;

fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    merged
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    merged
}

#[tokio::test]
async fn each_attack_on_a_class_is_refused_by_name_and_touches_nothing() {
    let case = Case::with_classes("attacks", &["--allow-names", "--allow-existing=*"]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["allowedTagKeys"] = json!(["team-*"]);
    case.create_ready_class(&class, spec).await;
    let closed = case.class_name("closed");
    let mut nobody = shared_spec(&case);
    nobody.as_object_mut().unwrap().remove("allowedNamespaces");
    case.apply_class(&closed, nobody, false).await.unwrap();
    case.wait_class(&closed, "the class has not all resources", |s| {
        s.resources.len() == 7
    })
    .await;
    let account = &case.account;
    let base = json!({"repository": "acme/docs", "className": class});
    let topic = format!("arn:aws:sns:{REGION}:{account}:theirs");
    let connection = format!("arn:aws:codestar-connections:{REGION}:{account}:connection/1234");
    let host = format!("arn:aws:codestar-connections:{REGION}:{account}:host/ghes/1234");
    let attacks = [
        (json!({"className": closed}), "does not allow namespace"),
        (
            json!({"repository": "evil/docs"}),
            "does not allow evil/docs",
        ),
        (
            json!({"repository": "acme-evil/docs"}),
            "does not allow acme-evil/docs",
        ),
        (json!({"name": "victim"}), "name: 'victim' is a chosen name"),
        (json!({"region": "us-east-1"}), "region: RepoFanoutClass"),
        (
            json!({"tags": {"cost-center": "theirs"}}),
            "does not let fan-outs set 'cost-center'",
        ),
        (
            json!({"destination": {"bucketName": "victim"}}),
            "destination.bucketName:",
        ),
        (
            json!({"destination": {"existingBucket": "victim"}}),
            "destination.existingBucket:",
        ),
        (
            json!({"artifacts": {"bucketName": "victim"}}),
            "artifacts.bucketName:",
        ),
        (
            json!({"artifacts": {"existingBucket": "victim"}}),
            "artifacts.existingBucket:",
        ),
        (
            json!({"artifacts": {"retentionDays": 1}}),
            "artifacts.retentionDays:",
        ),
        (
            json!({"destination": {"prefix": "other-team/acme/docs"}}),
            "destination.prefix:",
        ),
        (
            json!({"destination": {"prefix": format!("{}-x/docs", case.namespace)}}),
            "destination.prefix:",
        ),
        (
            json!({"destination": {"prefix": case.namespace}}),
            "destination.prefix:",
        ),
        (
            json!({"notifications": {"topicName": "victim"}}),
            "notifications.topicName:",
        ),
        (
            json!({"notifications": {"existingTopicARN": topic}}),
            "notifications.existingTopicARN:",
        ),
        (
            json!({"connection": {"provider": "GitHub"}}),
            "connection.provider:",
        ),
        (
            json!({"connection": {"existingARN": connection}}),
            "connection.existingARN:",
        ),
        (
            json!({"connection": {"hostARN": host}}),
            "connection.hostARN:",
        ),
    ];
    let before = case.writes();
    for (n, (attack, expected)) in attacks.iter().enumerate() {
        let name = format!("attack-{n}");
        case.apply(&name, merged(&base, attack)).await.unwrap();
        let status = case
            .wait(&name, "not refused", |s| is_true(s, "Stalled"))
            .await;
        let stalled = condition(&status, "Stalled").unwrap();
        assert!(stalled.says(expected), "{attack}: {stalled:?}");
        assert!(
            ["NotAllowed", "InvalidSpec"].contains(&&*stalled.reason),
            "{attack}: {stalled:?}"
        );
        assert!(
            status.placement.is_none() && status.resources.is_empty(),
            "{attack}"
        );
    }
    assert_eq!(
        case.writes(),
        before,
        "something was written for what is not allowed"
    );
    for n in 0..attacks.len() {
        case.delete(&format!("attack-{n}")).await;
        case.wait_gone(&format!("attack-{n}")).await;
    }
    assert_eq!(case.writes(), before);
}

#[tokio::test]
async fn what_the_class_opens_a_fan_out_may_set() {
    let case = Case::with_classes("opens", &[]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["overridable"] = json!(["Prefix", "Connection", "Destination", "Artifacts", "Topic"]);
    spec["allowedTagKeys"] = json!(["*"]);
    spec["tags"] = json!({"cost-center": "42"});
    case.create_ready_class(&class, spec).await;
    let (repository, commit) = case.create_repository().await;
    let prefix = json!({"repository": repository, "className": class, "destination": {"prefix": "any/where"}, "tags": {"cost-center": "1", "team": "docs"}});
    case.apply("prefix", prefix).await.unwrap();
    let status = case.wait_delivered("prefix", &commit).await;
    assert_eq!(status.delivered.unwrap().prefix, "any/where");
    assert!(
        !status.resources.contains_key("role"),
        "the class's role covers the class's bucket"
    );
    // The shared role does not cover a connection of the fan-out's own, so the fan-out has its own
    // role.
    let own =
        json!({"repository": repository, "className": class, "connection": {"provider": "GitHub"}});
    case.apply("own", own).await.unwrap();
    case.authorize("own").await;
    let status = case.wait_delivered("own", &commit).await;
    assert!(status.resources.contains_key("role") && status.resources.contains_key("connection"));
    assert!(!status.resources.contains_key("destination"));
    // Any fan-out may choose a prefix below its own namespace's, even where the class opens
    // nothing.
    let below = json!({"repository": repository, "className": class, "destination": {"prefix": format!("{}/x", case.namespace)}});
    case.apply("below", below).await.unwrap();
    case.wait_delivered("below", &commit).await;
    let tags = case.aws().connections(&case.account);
    assert!(
        tags.iter()
            .all(|c| c.tags.get("cost-center").map(String::as_str) == Some("42")),
        "the class's tags win"
    );
}

#[tokio::test]
async fn prefixes_of_a_shared_bucket_never_overlap_and_no_name_of_another_namespace_is_told() {
    let mut case = Case::with_classes("overlaps", &[]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["destination"] = json!({"prefixTemplate": "{owner}/{repo}"});
    let other = case.add_namespace("secret").await;
    case.create_ready_class(&class, spec.clone()).await;
    let (repository, commit) = case.create_repository().await;
    let older = case.in_namespace(&other);
    older
        .apply(
            "hidden",
            json!({"repository": repository, "className": class}),
        )
        .await
        .unwrap();
    older.wait_delivered("hidden", &commit).await;
    // Between objects of the same second the one that has delivered is the older. This one has to
    // be younger even when both have delivered.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let before = case.writes();
    case.apply(
        "docs",
        json!({"repository": repository, "className": class, "branch": "main"}),
    )
    .await
    .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "Overlaps")
        .await;
    let shown = serde_json::to_string(&status).unwrap();
    case.wait_event("docs", "Overlaps", "").await;
    let events = format!("{:?}", case.events("docs").await);
    for text in [&shown, &events] {
        assert!(!text.contains(&other) && !text.contains("hidden"), "{text}");
    }
    assert_eq!(case.writes(), before);
    // The template does not begin with the namespace, so nobody may choose a prefix below the
    // namespace's.
    let chosen = json!({"repository": repository, "className": class, "destination": {"prefix": format!("{}/docs", case.namespace)}});
    case.apply("docs", chosen).await.unwrap();
    case.wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    // The younger one is reconciled at once when the older one moves away, comes back, or is
    // deleted.
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    case.wait_condition("docs", "Stalled", "True", "Overlaps")
        .await;
    spec["overridable"] = json!(["Prefix"]);
    case.apply_class(&class, spec, false).await.unwrap();
    let place = |prefix: &str| json!({"repository": repository, "className": class, "destination": {"prefix": prefix}});
    older.apply("hidden", place("beside")).await.unwrap();
    case.wait_delivered("docs", &commit).await;
    older.apply("hidden", place(&repository)).await.unwrap();
    case.wait_condition("docs", "Stalled", "True", "Overlaps")
        .await;
    older.delete("hidden").await;
    older.wait_gone("hidden").await;
    case.wait("docs", "the overlap remains", |s| {
        condition(s, "Stalled").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_namespace_is_allowed_by_its_labels_and_what_it_owns_ends_also_when_it_no_longer_is() {
    let mut case = Case::with_classes("labels", &[]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["allowedNamespaces"] = json!({"selector": {"matchLabels": {"fan-out": "yes"}}});
    let other = case.add_namespace("team").await;
    case.create_ready_class(&class, spec).await;
    let (repository, commit) = case.create_repository().await;
    let team = case.in_namespace(&other);
    team.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    team.wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"fan-out": value}}}));
    namespaces
        .patch(&other, &PatchParams::default(), &label(json!("yes")))
        .await
        .unwrap();
    team.wait_delivered("docs", &commit).await;
    namespaces
        .patch(&other, &PatchParams::default(), &label(Value::Null))
        .await
        .unwrap();
    team.wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    assert_eq!(
        case.aws().pipelines(&case.account).len(),
        1,
        "what is there is left alone"
    );
    team.delete("docs").await;
    team.wait_gone("docs").await;
    assert!(case.aws().pipelines(&case.account).is_empty());
}

#[tokio::test]
async fn a_new_default_class_rebuilds_nothing_elsewhere() {
    let mut case = Case::with_classes("default", &[]).await;
    let (repository, commit) = case.create_repository().await;
    let first = case.class_name("first");
    case.apply_class(&first, shared_spec(&case), true)
        .await
        .unwrap();
    case.authorize_class(&first, "acme").await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let status = case.wait_delivered("docs", &commit).await;
    assert_eq!(
        status.placement.unwrap().class.as_deref(),
        Some(&*first),
        "the default class"
    );

    // With two default classes new objects are refused, and old ones go on.
    let second = case.class_name("second");
    let elsewhere = case.other_account(7);
    let role = case.create_trusting_role(&elsewhere, "id").await;
    let spec = merged(
        &shared_spec(&case),
        &json!({"account": {"roleARN": role, "externalID": "id"}}),
    );
    case.apply_class(&second, spec, true).await.unwrap();
    case.authorize_class(&second, "acme").await;
    case.apply("late", json!({"repository": repository}))
        .await
        .unwrap();
    let refused = case
        .wait_condition("late", "Stalled", "True", "ClassNotReady")
        .await;
    assert_message(&refused, "Stalled", &format!("{first}, {second}"));
    case.delete("late").await;
    case.wait_gone("late").await;

    // With another default class, a placed object stays where it is, even when its status is lost.
    case.apply_class(&first, shared_spec(&case), false)
        .await
        .unwrap();
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    case.wait_delivered("docs", &next).await;
    case.operator = None;
    case.patch_status("docs", Value::Null).await;
    let writes = case.writes();
    case.start().await;
    let status = case
        .wait_condition("docs", "Stalled", "True", "PlacementChanged")
        .await;
    assert_message(&status, "Stalled", &first);
    assert_eq!(case.writes(), writes);
    assert!(case.aws().pipelines(&elsewhere).is_empty());
    // Once the object names its class, it finds everything again.
    case.apply(
        "docs",
        json!({"repository": repository, "className": first}),
    )
    .await
    .unwrap();
    case.wait_delivered("docs", &next).await;
    assert_eq!(case.writes(), writes);
}

#[tokio::test]
async fn where_a_class_is_required_an_object_without_one_is_refused() {
    let case = Case::with_classes("required", &["--require-class"]).await;
    case.apply("docs", json!({"repository": "acme/docs"}))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(&status, "Stalled", "--require-class");
    assert!(case.writes().is_empty());
}

#[tokio::test]
async fn an_explicit_class_moves_a_fan_out_and_delivers_there_before_the_old_place_goes() {
    let case = Case::with_classes("moves", &[]).await;
    let (repository, first) = case.create_repository().await;
    let (from, to) = (case.class_name("from"), case.class_name("to"));
    let elsewhere = case.other_account(8);
    let role = case.create_trusting_role(&elsewhere, "id").await;
    case.create_ready_class(&from, shared_spec(&case)).await;
    let spec = merged(
        &shared_spec(&case),
        &json!({"account": {"roleARN": role, "externalID": "id"}, "pipelineRole": "Own", "topic": "Own"}),
    );
    case.create_ready_class(&to, spec).await;
    case.apply("docs", json!({"repository": repository, "className": from}))
        .await
        .unwrap();
    let old = case.wait_delivered("docs", &first).await;

    // While the new place is held up, the old one goes on delivering.
    case.aws().hold_executions(&elsewhere, true);
    case.apply("docs", json!({"repository": repository, "className": to}))
        .await
        .unwrap();
    let moving = case.wait("docs", "not moving", |s| {
        !s.former.is_empty()
            && s.last_execution
                .as_ref()
                .is_some_and(|e| e.status == "InProgress")
    });
    assert_eq!(moving.await.placement.unwrap().account, elsewhere);
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    let there = old.delivered.as_ref().unwrap();
    let path = format!("/{}/{}/NEXT.md", there.bucket, there.prefix);
    case.until_within(Duration::from_secs(60), || async {
        case.s3("GET", &path, "").await.map(|_| ())
    })
    .await;
    assert_eq!(case.aws().pipelines(&case.account).len(), 1);
    case.aws().hold_executions(&elsewhere, false);
    let moved = case.wait("docs", "the old place stays", |s| {
        s.former.is_empty() && is_true(s, "Ready")
    });
    let moved = moved.await;
    assert_eq!(
        moved
            .delivered
            .as_ref()
            .unwrap()
            .commit
            .as_ref()
            .unwrap()
            .id,
        next
    );
    assert!(
        case.aws().pipelines(&case.account).is_empty()
            && case.aws().rules(&case.account).is_empty()
    );
    assert_eq!(case.aws().pipelines(&elsewhere).len(), 1);
    // A class that no fan-out uses any more may be deleted.
    case.delete_class(&from).await;
    case.wait_class_gone(&from).await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.aws().pipelines(&elsewhere).is_empty());
}

#[tokio::test]
async fn into_a_class_of_the_same_account_the_pipeline_moves_in_place_and_its_own_things_go() {
    let case = Case::with_classes("joins", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    let own = case.wait_delivered("docs", &commit).await;
    let class = case.class_name("org");
    case.create_ready_class(&class, shared_spec(&case)).await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    let joined = case.wait("docs", "has not joined", |s| {
        let bucket = s.delivered.as_ref().map(|d| &d.bucket);
        s.former.is_empty()
            && bucket != own.delivered.as_ref().map(|d| &d.bucket)
            && is_true(s, "Ready")
    });
    let joined = joined.await;
    assert_eq!(
        joined.resources.keys().collect::<Vec<_>>(),
        ["notification_rule", "pipeline"]
    );
    assert_eq!(
        joined.resources["pipeline"], own.resources["pipeline"],
        "the same pipeline"
    );
    // Its own role, topic and artifacts are deleted; its copy and its authorization are kept.
    let get = [
        ("Action", "GetRole"),
        (
            "RoleName",
            own.resources["role"].rsplit('/').next().unwrap(),
        ),
    ];
    assert!(case.iam(&get).await.is_err());
    let bucket = |arn: &str| format!("/{}", arn.rsplit(':').next().unwrap());
    let head = async |arn: &str| case.s3("HEAD", &bucket(arn), "").await.is_ok();
    assert!(!head(&own.resources["artifacts"]).await && head(&own.resources["destination"]).await);
    assert_eq!(case.aws().connections(&case.account).len(), 2);
    case.wait_event("docs", "Retained", "destination").await;
}
