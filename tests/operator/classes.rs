//! Classes: one authorization, one pair of buckets and one role for many fan-outs, in whichever account.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::case::{Case, class_condition, condition};

/// A class that shares everything, for whoever may be in the case's namespaces.
fn shared(case: &Case) -> Value {
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
    let (repository, commit) = case.repository().await;
    case.apply_class(&class, shared(&case), false).await.unwrap();
    let pending = case.wait_class(&class, "not PENDING", |s| s.connections.contains_key("acme")).await;
    assert_eq!(class_condition(&pending, "Ready"), Some(("False".into(), "ConnectionPending".into())));
    case.authorize_class(&class, "acme").await;
    let ready =
        case.wait_class(&class, "not ready", |s| class_condition(s, "Ready").is_some_and(|c| c.0 == "True")).await;
    assert_eq!(ready.resources.keys().collect::<Vec<_>>(), ["artifacts", "destination", "role", "topic"]);
    assert!(ready.quotas["connections"].used >= 1 && ready.quotas["connections"].limit == 250);

    let before = case.writes().len();
    case.apply("docs", json!({"repository": repository, "className": class})).await.unwrap();
    let status = case.wait_delivered("docs", &commit).await;
    let writes: Vec<String> = case.writes().split_off(before);
    assert!(!writes.iter().any(|w| w.starts_with("iam:Put") || w.starts_with("s3:")), "{writes:?}");
    let expected = BTreeSet::from([
        "codepipeline:CreatePipeline".to_owned(),
        "codestar-notifications:CreateNotificationRule".to_owned(),
        "iam:CreateServiceLinkedRole".to_owned(),
    ]);
    assert_eq!(writes.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(status.resources.keys().collect::<Vec<_>>(), ["notification_rule", "pipeline"]);
    let delivered = status.delivered.clone().unwrap();
    let namespace = &case.namespace;
    assert_eq!(delivered.prefix, format!("{namespace}/{repository}"));
    assert!(delivered.bucket.ends_with(&format!("-{}-eu-west-1-an", case.account)), "{}", delivered.bucket);
    assert_eq!(case.file(&status, "README.md").await.as_deref(), Some("hello\n"));
    assert_eq!(status.placement.unwrap().class.as_deref(), Some(&*class));
    let counted = case.wait_class(&class, "not counted", |s| s.fanouts.is_some()).await;
    assert!(counted.fanouts <= Some(1));

    // In use it waits, and says for whom.
    case.delete_class(&class).await;
    let waits =
        case.wait_class(&class, "does not wait", |s| class_condition(s, "Stalled").is_some_and(|c| c.1 == "InUse"));
    let told = waits.await.conditions.iter().find(|c| c.type_ == "Ready").unwrap().message.clone();
    assert!(told.contains(&format!("{namespace}/docs")), "{told}");
    case.delete("docs").await;
    case.wait_gone("docs").await;
    case.wait_class_gone(&class).await;
    assert_eq!(case.aws().connections(&case.account).len(), 1, "the authorization is kept");
    assert!(case.aws().pipelines(&case.account).is_empty());
}
