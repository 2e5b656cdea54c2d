//! The API server refuses what makes no sense, with a sentence that says what to write.

use serde_json::{Value, json};

use crate::case::{Case, assert_message, condition};
use crate::classes::shared_spec;

#[tokio::test]
async fn the_api_server_refuses_bad_input_and_says_what_to_write() {
    let case = Case::without_operator("bad-input", &[]).await;
    let connection = "arn:aws:codestar-connections:eu-west-1:111122223333:connection/11111111-1111-1111-1111-111111111111";
    let host = "arn:aws:codestar-connections:eu-west-1:111122223333:host/ghe-1";
    let topic = "arn:aws:sns:eu-west-1:111122223333:t";
    let cases: Vec<(Value, &str)> = vec![
        (json!({}), "repository"),
        (json!({"repository": "docs"}), "spec.repository"),
        (json!({"repository": "acme/"}), "spec.repository"),
        (json!({"repository": "acme/../docs"}), "write owner/name"),
        (json!({"repository": "acme docs/x"}), "spec.repository"),
        (
            json!({"repository": "https://github.com/acme/docs"}),
            "spec.repository",
        ),
        (
            json!({"repository": format!("a/{}", "b".repeat(300))}),
            "spec.repository",
        ),
        (json!({"repository": "a/b", "branch": ""}), "spec.branch"),
        (json!({"repository": "a/b", "branch": "a b"}), "spec.branch"),
        (
            json!({"repository": "a/b", "branch": "a..b"}),
            "write a branch name",
        ),
        (
            json!({"repository": "a/b", "branch": "x.lock"}),
            "write a branch name",
        ),
        (
            json!({"repository": "a/b", "branch": "-x"}),
            "write a branch name",
        ),
        (json!({"repository": "a/b", "name": "Upper"}), "spec.name"),
        (
            json!({"repository": "a/b", "name": "x".repeat(22)}),
            "spec.name",
        ),
        (
            json!({"repository": "a/b", "region": "Europe"}),
            "spec.region",
        ),
        (
            json!({"repository": "a/b", "destination": {"prefix": "/a"}}),
            "spec.destination.prefix",
        ),
        (
            json!({"repository": "a/b", "destination": {"prefix": "a/"}}),
            "spec.destination.prefix",
        ),
        (
            json!({"repository": "a/b", "destination": {"prefix": "a/../b"}}),
            "without '..'",
        ),
        (
            json!({"repository": "a/b", "destination": {"prefix": "a*"}}),
            "spec.destination.prefix",
        ),
        (
            json!({"repository": "a/b", "destination": {"bucketName": "Abc"}}),
            "spec.destination.bucketName",
        ),
        (
            json!({"repository": "a/b", "destination": {"bucketName": "a".repeat(64)}}),
            "spec.destination.bucketName",
        ),
        (
            json!({"repository": "a/b", "destination": {"bucketName": "abc", "existingBucket": "abc"}}),
            "write only one of",
        ),
        (
            json!({"repository": "a/b", "artifacts": {"bucketName": "abc", "existingBucket": "abc"}}),
            "write only one of",
        ),
        (
            json!({"repository": "a/b", "artifacts": {"existingBucket": "abc", "retentionDays": 3}}),
            "leave one of them out",
        ),
        (
            json!({"repository": "a/b", "artifacts": {"retentionDays": 0}}),
            "retentionDays",
        ),
        (
            json!({"repository": "a/b", "connection": {"provider": "GitHub", "existingARN": connection}}),
            "write only one of",
        ),
        (
            json!({"repository": "a/b", "connection": {"provider": "GitHub", "hostARN": host}}),
            "write only one of",
        ),
        (
            json!({"repository": "a/b", "connection": {"provider": "SourceForge"}}),
            "connection.provider",
        ),
        (
            json!({"repository": "a/b", "connection": {"existingARN": topic}}),
            "connection.existingARN",
        ),
        (
            json!({"repository": "a/b", "connection": {"existingARN": host}}),
            "connection.existingARN",
        ),
        (
            json!({"repository": "a/b", "connection": {"hostARN": connection}}),
            "connection.hostARN",
        ),
        (
            json!({"repository": "a/b", "notifications": {"existingTopicARN": connection}}),
            "existingTopicARN",
        ),
        (
            json!({"repository": "a/b", "notifications": {"topicName": "t", "existingTopicARN": topic}}),
            "write only one of",
        ),
        (
            json!({"repository": "a/b", "notifications": {"topicName": "a b"}}),
            "topicName",
        ),
        (
            json!({"repository": "a/b", "notifications": {"events": ["pipeline-execution-stopped"]}}),
            "events",
        ),
        (
            json!({"repository": "a/b", "notifications": {"events": []}}),
            "events",
        ),
        (
            json!({"repository": "a/b", "notifications": {"detail": "LONG"}}),
            "detail",
        ),
        (
            json!({"repository": "a/b", "pipeline": {"type": "V9"}}),
            "pipeline.type",
        ),
        (
            json!({"repository": "a/b", "pipeline": {"type": "V1", "executionMode": "QUEUED"}}),
            "write type V2",
        ),
        (
            json!({"repository": "a/b", "interval": "10s"}),
            "write a duration from 1m",
        ),
        (
            json!({"repository": "a/b", "interval": "often"}),
            "spec.interval",
        ),
        (
            json!({"repository": "a/b", "tags": {"aws:x": "y"}}),
            "do not begin with",
        ),
        (
            json!({"repository": "a/b", "tags": {"RepoFanout.dev/name": "y"}}),
            "do not begin with",
        ),
        (
            json!({"repository": "a/b", "tags": {"ok": "?"}}),
            "spec.tags",
        ),
        (
            json!({"repository": "a/b", "reposiitory": "typo"}),
            "reposiitory",
        ),
    ];
    for (spec, expected) in cases {
        let refused = case
            .apply("bad", spec.clone())
            .await
            .expect_err(&format!("accepted: {spec}"));
        assert!(refused.contains(expected), "{spec}: {refused}");
    }
    let long = case
        .apply(&"n".repeat(64), json!({"repository": "a/b"}))
        .await
        .unwrap_err();
    assert!(long.contains("at most 63 characters"), "{long}");
}

#[tokio::test]
async fn immutable_fields_stay_also_from_unset_to_set() {
    let case = Case::without_operator("immutable", &[]).await;
    let host = "arn:aws:codestar-connections:eu-west-1:111122223333:host/ghe-1";
    let fields = [
        json!({"name": "a"}),
        json!({"region": "eu-west-1"}),
        json!({"destination": {"bucketName": "abc"}}),
        json!({"artifacts": {"bucketName": "abc"}}),
        json!({"connection": {"provider": "GitLab"}}),
        json!({"connection": {"hostARN": host}}),
    ];
    for (number, field) in fields.into_iter().enumerate() {
        let with = |mut spec: Value| {
            spec["repository"] = json!("a/b");
            spec
        };
        let (set, unset) = (format!("set-{number}"), format!("unset-{number}"));
        case.apply(&set, with(field.clone())).await.unwrap();
        let refused = case.apply(&set, with(json!({}))).await.unwrap_err();
        assert!(refused.contains("immutable"), "{field}: {refused}");
        case.apply(&unset, with(json!({}))).await.unwrap();
        let refused = case.apply(&unset, with(field.clone())).await.unwrap_err();
        assert!(
            refused.contains("immutable, also from unset to set"),
            "{field}: {refused}"
        );
    }
    // Fields that may change are accepted.
    case.apply(
        "set-0",
        json!({"repository": "c/d", "branch": "x", "name": "a"}),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_object_of_a_newer_version_stops_nobody() {
    let case = Case::new("newer", &[]).await;
    let spec =
        json!({"repository": "acme/none", "pipeline": {"type": "V3"}, "fromTheFuture": {"a": [1]}});
    case.apply("newer", spec).await.unwrap();
    let status = case
        .wait_condition("newer", "Stalled", "True", "InvalidSpec")
        .await;
    assert_message(&status, "Stalled", "'V3'");
    case.create_delivered("plain").await;
    assert_eq!(
        condition(&case.status("newer").await, "Ready")
            .unwrap()
            .status,
        "False"
    );
    case.delete("newer").await;
    case.wait_gone("newer").await;
}

/// IAM takes two keys that differ in case alone for one, and refuses both.
#[tokio::test]
async fn tags_that_differ_in_case_alone_are_refused_before_anything_is_made() {
    let case = Case::with_classes("tag-case", &[]).await;
    let class = case.class_name("tagged");
    let mut spec = shared_spec(&case);
    spec["tags"] = json!({"team": "platform"});
    spec["allowedTagKeys"] = json!(["*"]);
    case.create_ready_class(&class, spec.clone()).await;
    let writes = case.writes();
    let alone = json!({"repository": "acme/docs", "tags": {"Team": "a", "team": "b"}});
    let beside = json!({"repository": "acme/docs", "className": class, "tags": {"Team": "a"}});
    for (name, spec, words) in [
        (
            "alone",
            alone,
            "the keys 'Team' and 'team' differ in case alone",
        ),
        (
            "beside",
            beside,
            "'Team' differs from 'team', a tag of RepoFanoutClass",
        ),
    ] {
        case.apply(name, spec).await.unwrap();
        let status = case
            .wait_condition(name, "Stalled", "True", "InvalidSpec")
            .await;
        assert_message(&status, "Stalled", words);
    }
    let doubled = case.class_name("doubled");
    spec["account"] = json!({
        "roleARN": "arn:aws:iam::111122223333:role/fanout", "sessionTags": {"a": "1", "A": "2"},
    });
    case.apply_class(&doubled, spec, false).await.unwrap();
    let status = case
        .wait_class(&doubled, "the session tags are not refused", |s| {
            condition(s, "Stalled").is_some_and(|c| c.is("True", "InvalidSpec"))
        })
        .await;
    assert!(
        condition(&status, "Stalled").is_some_and(|c| c.says("account.sessionTags: the keys")),
        "{status:?}"
    );
    assert_eq!(case.writes(), writes);
}
