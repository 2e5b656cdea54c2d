//! Drift, suspension, adoption, deletion, overlapping prefixes.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::case::{
    Case, assert_condition, assert_message, base_name, condition, has_reason, is_true,
};

const RECONCILE: &str = "repofanout.dev/reconcile-requested-at";

#[tokio::test]
async fn drift_is_corrected_and_told_and_others_additions_survive() {
    let case = Case::new("drift", &[]).await;
    case.create_delivered("docs").await;
    let status = case.status("docs").await;
    let (base, topic) = (base_name(&status), status.topic_arn.clone().unwrap());
    let bucket = status.delivered.as_ref().unwrap().bucket.clone();
    // These are no drift: somebody else's statement, a reformatted policy, somebody else's tag.
    let theirs = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Theirs","Effect":"Allow","Principal":{{"AWS":"*"}},"Action":["sns:Subscribe"],"Resource":"{topic}"}},
        {{"Resource":["{topic}"],"Action":["SNS:Publish"],"Condition":{{"StringEquals":{{"AWS:SourceAccount":["{}"]}}}},"Principal":{{"Service":["codestar-notifications.amazonaws.com"]}},"Effect":"Allow","Sid":"RepoFanoutPublish"}}]}}"#,
        case.account
    );
    let set_policy = async |policy: &str| {
        let set = [
            ("Action", "SetTopicAttributes"),
            ("TopicArn", &*topic),
            ("AttributeName", "Policy"),
            ("AttributeValue", policy),
        ];
        case.sns(&set).await.unwrap();
    };
    set_policy(&theirs).await;
    let tag = [
        ("Action", "TagRole"),
        ("RoleName", &*base),
        ("Tags.member.1.Key", "cost"),
        ("Tags.member.1.Value", "7"),
    ];
    case.iam(&tag).await.unwrap();
    let writes = case.writes();
    case.reconcile("docs", "1").await;
    assert_eq!(case.writes(), writes, "without drift the operator writes");

    // These are drift: our statement is gone, the pipeline's branch differs, the bucket's policy is
    // deleted.
    let only_theirs = theirs.split(",\n").next().unwrap().to_owned() + "]}";
    set_policy(&only_theirs).await;
    case.aws().edit_pipeline(&case.account, &base, |p| {
        p["stages"][0]["actions"][0]["configuration"]["BranchName"] = json!("other");
    });
    case.s3("DELETE", &format!("/{bucket}?policy"), "")
        .await
        .unwrap();
    case.reconcile("docs", "2").await;
    let mut corrected = case.writes().split_off(writes.len());
    corrected.sort();
    assert_eq!(
        corrected,
        [
            "codepipeline:UpdatePipeline",
            "s3:PutBucketPolicy",
            "sns:SetTopicAttributes"
        ]
    );
    let get = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    let attributes = case.sns(&get).await.unwrap();
    assert!(
        attributes.contains("Theirs") && attributes.contains("RepoFanoutPublish"),
        "{attributes}"
    );
    case.wait_event(
        "docs",
        "DriftCorrected",
        "BranchName from 'other' to 'main'",
    )
    .await;

    // The copy itself is deleted, so it is delivered anew.
    let objects = case
        .s3("GET", &format!("/{bucket}?list-type=2"), "")
        .await
        .unwrap();
    for key in objects
        .split("<Key>")
        .skip(1)
        .filter_map(|k| k.split("</Key>").next())
    {
        case.s3("DELETE", &format!("/{bucket}/{key}"), "")
            .await
            .unwrap();
    }
    case.s3("DELETE", &format!("/{bucket}"), "").await.unwrap();
    case.annotate("docs", RECONCILE, "3").await;
    case.wait("docs", "nothing was delivered anew", |s| {
        s.delivered.as_ref().map(|d| &d.execution)
            != status.delivered.as_ref().map(|d| &d.execution)
    })
    .await;
    assert_eq!(
        case.file(&case.status("docs").await, "README.md")
            .await
            .as_deref(),
        Some("hello\n")
    );
}

#[tokio::test]
async fn drift_under_detect_is_shown_by_field_and_left_so() {
    let case = Case::new("detect", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository, "drift": "Detect"}))
        .await
        .unwrap();
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    assert_condition(&status, "Drifted", "False", "NoDrift");
    let base = base_name(&status);
    case.aws().edit_pipeline(&case.account, &base, |p| {
        p["stages"][1]["actions"][0]["configuration"]["ObjectKey"] = json!("x")
    });
    let rule = case.aws().rules(&case.account)[0].arn.clone();
    case.aws().delete_rule(&case.account, &rule);
    let writes = case.writes();
    case.reconcile("docs", "1").await;
    let shown = case.status("docs").await;
    assert_condition(&shown, "Drifted", "True", "DriftDetected");
    let difference = format!("ObjectKey from 'x' to '{repository}'");
    assert_message(&shown, "Drifted", &difference);
    assert_message(&shown, "Drifted", "notification rule: somebody deleted it");
    assert_eq!(condition(&shown, "Ready").unwrap().status, "True");
    assert_eq!(case.writes(), writes);
    // A change of the spec is no drift; with `drift: Correct` the operator corrects the rest.
    case.apply(
        "docs",
        json!({"repository": repository, "drift": "Correct"}),
    )
    .await
    .unwrap();
    case.wait("docs", "not corrected", |s| {
        has_reason(s, "Drifted", "NoDrift")
    })
    .await;
    assert_eq!(case.aws().rules(&case.account).len(), 1);
}

#[tokio::test]
async fn a_suspended_object_is_left_alone_and_can_be_deleted() {
    let case = Case::new("suspend", &[]).await;
    let repository = case.create_delivered("docs").await;
    case.apply(
        "docs",
        json!({"repository": repository, "suspend": true, "branch": "next"}),
    )
    .await
    .unwrap();
    let status = case
        .wait_condition("docs", "Provisioned", "Unknown", "Suspended")
        .await;
    let calls = case.aws().calls(&case.account).len();
    // The pipeline goes on running, and a requested release waits.
    case.annotate("docs", "repofanout.dev/release-requested-at", "later")
        .await;
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.until(|| async {
        let done = case.executions(&base_name(&status));
        if done.len() == 2 && done[1].status == "Succeeded" {
            Ok(())
        } else {
            Err(format!("{done:?}"))
        }
    })
    .await;
    assert_eq!(
        case.aws().calls(&case.account).len(),
        calls,
        "AWS was called"
    );
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_delivered("docs", &commit).await;
    case.wait("docs", "the release was lost", |s| {
        s.last_handled_release_at.as_deref() == Some("later")
    })
    .await;
    case.apply("docs", json!({"repository": repository, "suspend": true}))
        .await
        .unwrap();
    case.wait_condition("docs", "Provisioned", "Unknown", "Suspended")
        .await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.aws().pipelines(&case.account).is_empty());
}

#[tokio::test]
async fn deletion_keeps_and_deletes_what_it_is_told() {
    let case = Case::new("words", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply(
        "docs",
        json!({"repository": repository, "deletion": {"default": "Retain"}}),
    )
    .await
    .unwrap();
    case.authorize("docs").await;
    let status = case.wait_delivered("docs", &commit).await;
    let base = base_name(&status);
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert_eq!(
        (
            case.aws().pipelines(&case.account).len(),
            case.aws().rules(&case.account).len()
        ),
        (1, 1)
    );
    assert!(
        case.s3("GET", &format!("/{base}-artifacts?list-type=2"), "")
            .await
            .is_ok()
    );

    // The object finds its resources again by name; then all of them are deleted.
    let spec = json!({"repository": repository, "deletion": {"default": "Delete"}});
    case.apply("docs", spec).await.unwrap();
    case.wait("docs", "not found again", |s| is_true(s, "Provisioned"))
        .await;
    assert_eq!(case.executions(&base).len(), 1, "nothing had to run again");
    // The bucket holds more versions than one call deletes.
    for n in 0..1_050 {
        case.s3("PUT", &format!("/{base}-destination/extra/{n}"), "x")
            .await
            .unwrap();
    }
    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.aws().connections(&case.account).is_empty());
    for bucket in ["artifacts", "destination"] {
        assert!(
            case.s3("GET", &format!("/{base}-{bucket}?list-type=2"), "")
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn in_an_existing_bucket_only_the_own_prefix_goes_and_only_on_its_word() {
    let case = Case::new("prefix", &["--allow-existing=arn:aws:s3:::*"]).await;
    let bucket = format!("files-{}", case.namespace);
    case.create_bucket(&bucket).await;
    for key in ["docs-old/a", "other"] {
        case.s3("PUT", &format!("/{bucket}/{key}"), "theirs")
            .await
            .unwrap();
    }
    let (repository, commit) = case.create_repository().await;
    let spec = |prefix: &str| {
        json!({
            "repository": repository, "destination": {"existingBucket": bucket, "prefix": prefix}, "deletion": {"destination": "Delete"},
        })
    };
    case.apply("docs", spec("docs")).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;

    // A younger object is refused under the same prefix and within it, but not beside it.
    case.apply("younger", spec("docs/api")).await.unwrap();
    let refused = case
        .wait_condition("younger", "Stalled", "True", "Overlaps")
        .await;
    assert_message(
        &refused,
        "Stalled",
        &format!("RepoFanout {}/docs", case.namespace),
    );
    assert_eq!(
        case.aws().connections(&case.account).len(),
        1,
        "nothing is created for it"
    );
    case.delete("younger").await;
    case.wait_gone("younger").await;
    let get = |key: &str| format!("/{bucket}/{key}");
    assert!(case.s3("GET", &get("docs/README.md"), "").await.is_ok());

    case.delete("docs").await;
    case.wait_gone("docs").await;
    assert!(case.s3("GET", &get("docs/README.md"), "").await.is_err());
    for key in ["docs-old/a", "other"] {
        assert!(case.s3("GET", &get(key), "").await.is_ok(), "{key}");
    }
}

#[tokio::test]
async fn what_is_adopted_is_taken_over_by_word_and_kept() {
    let case = Case::new("adopt", &["--allow-names"]).await;
    let bucket = format!("theirs-{}", case.namespace);
    case.create_bucket(&bucket).await;
    let (repository, commit) = case.create_repository().await;
    let mut spec = json!({"repository": repository, "artifacts": {"bucketName": bucket}});
    case.apply("docs", spec.clone()).await.unwrap();
    case.wait_condition("docs", "Stalled", "True", "NotOwned")
        .await;
    assert_eq!(case.writes(), Vec::<String>::new());
    spec["adopt"] = json!(["Artifacts"]);
    case.apply("docs", spec).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.wait_event("docs", "Adopted", "policy.RepoFanoutTLSOnly")
        .await;
    case.delete("docs").await;
    case.wait_gone("docs").await;
    // Artifacts are deleted by default, but what was adopted is kept.
    let tags = case
        .s3("GET", &format!("/{bucket}?tagging"), "")
        .await
        .unwrap();
    assert!(
        tags.contains("repofanout.dev/adopted") && tags.contains("repofanout.dev/retained-at"),
        "{tags}"
    );
}

#[tokio::test]
async fn a_namespace_that_goes_away_takes_its_objects_along() {
    let case = Case::new("terminating", &["--leader-elect=false"]).await;
    case.create_delivered("docs").await;
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    namespaces
        .delete(&case.namespace, &DeleteParams::default())
        .await
        .unwrap();
    case.until(|| async {
        match namespaces
            .get_opt(&case.namespace)
            .await
            .map_err(|e| e.to_string())?
        {
            None => Ok(()),
            Some(_) => Err("the namespace is still there".to_owned()),
        }
    })
    .await;
    assert!(case.aws().pipelines(&case.account).is_empty());
}

#[tokio::test]
async fn missed_while_away_deleted_and_created_again_under_the_same_name() {
    let mut case = Case::new("missed", &[]).await;
    let repository = case.create_delivered("docs").await;
    let before = case.status("docs").await;
    case.operator = None;
    // The finalizer keeps the object until the operator has cleaned up.
    case.delete("docs").await;
    case.start().await;
    case.wait_gone("docs").await;
    case.operator = None;
    let commit = case.push(&repository, "main", "README.md", "again\n").await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.apply("gone", json!({"repository": repository}))
        .await
        .unwrap();
    case.delete("gone").await;
    case.wait_gone("gone").await;
    case.start().await;
    let after = case.wait_delivered("docs", &commit).await;
    assert_eq!(
        after.connection.unwrap().arn,
        before.connection.unwrap().arn
    );
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

#[tokio::test]
async fn a_cluster_rebuilt_with_its_id_finds_everything_and_writes_nothing() {
    let mut case = Case::new("rebuilt", &[]).await;
    let repository = case.create_delivered("docs").await;
    let before = case.get("docs").await;
    // The cluster is lost: no operator observes the deletion, and the object comes back with
    // another uid.
    case.operator = None;
    let writes = case.writes();
    let patch = json!({"metadata": {"finalizers": null}});
    case.api()
        .patch("docs", &Default::default(), &kube::api::Patch::Merge(patch))
        .await
        .unwrap();
    case.delete("docs").await;
    case.wait_gone("docs").await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.start().await;
    let after = case
        .wait("docs", "not found again", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(case.writes(), writes);
    assert_eq!(after.resources, before.status.unwrap().resources);
}

#[tokio::test]
async fn of_two_connections_the_authorized_one_stays_and_the_spare_goes() {
    let case = Case::new("spare", &[]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let pending = case
        .wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let first = pending.connection.and_then(|c| c.arn).unwrap();
    // A person authorizes the other connection.
    let second = case
        .aws()
        .duplicate_connection(&case.account, &first, "AVAILABLE")
        .unwrap();
    case.annotate("docs", RECONCILE, "1").await;
    let status = case.wait_delivered("docs", &commit).await;
    assert_eq!(
        status.connection.and_then(|c| c.arn).as_deref(),
        Some(&*second)
    );
    let left: Vec<String> = case
        .aws()
        .connections(&case.account)
        .into_iter()
        .map(|c| c.arn)
        .collect();
    assert_eq!(left, [&*second]);
    // The operator does not delete a spare connection that is authorized.
    case.aws()
        .duplicate_connection(&case.account, &second, "AVAILABLE")
        .unwrap();
    case.reconcile("docs", "2").await;
    assert_eq!(case.aws().connections(&case.account).len(), 2);
    assert_eq!(
        case.status("docs")
            .await
            .connection
            .and_then(|c| c.arn)
            .as_deref(),
        Some(&*second)
    );
}

#[tokio::test]
async fn a_correction_waits_for_a_running_execution() {
    let case = Case::new("waits", &[]).await;
    let repository = case.create_delivered("docs").await;
    let base = base_name(&case.status("docs").await);
    case.aws().hold_executions(&case.account, true);
    let commit = case
        .push(&repository, "main", "README.md", "second\n")
        .await;
    case.wait("docs", "no execution runs", |s| {
        s.last_execution
            .as_ref()
            .is_some_and(|e| e.status == "InProgress")
    })
    .await;
    case.aws().edit_pipeline(&case.account, &base, |p| {
        p["executionMode"] = json!("SUPERSEDED")
    });
    case.reconcile("docs", "1").await;
    assert!(
        !case
            .writes()
            .contains(&"codepipeline:UpdatePipeline".to_owned())
    );
    case.aws().hold_executions(&case.account, false);
    case.wait_delivered("docs", &commit).await;
    case.wait("docs", "not corrected", |s| is_true(s, "Provisioned"))
        .await;
    assert_eq!(
        case.aws().pipelines(&case.account)[&base]["executionMode"],
        "QUEUED"
    );
    let runs: Vec<String> = case
        .executions(&base)
        .into_iter()
        .map(|e| e.status)
        .collect();
    assert_eq!(runs, ["Succeeded", "Succeeded"], "nothing was cancelled");
}

/// A lifecycle configuration is written as a whole: what it says beside our rule stays.
#[tokio::test]
async fn what_somebody_added_to_a_lifecycle_configuration_survives_our_rule() {
    let case = Case::new("lifecycle", &[]).await;
    case.create_delivered("docs").await;
    let bucket = format!("{}-artifacts", base_name(&case.status("docs").await));
    let path = format!("/{bucket}?lifecycle");
    let theirs = "<LifecycleConfiguration \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>theirs</ID><Filter><Prefix>big/</Prefix></Filter><Status>Enabled</Status><Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>";
    case.s3("PUT", &path, theirs).await.unwrap();
    let size = "varies_by_storage_class";
    case.aws()
        .set_minimum_object_size(&case.account, &bucket, size);
    case.annotate("docs", RECONCILE, "now").await;
    let rules = case
        .until(|| async {
            let rules = case.s3("GET", &path, "").await?;
            match rules.contains("<ID>repofanout</ID>") {
                true => Ok(rules),
                false => Err(format!("our rule is not there: {rules}")),
            }
        })
        .await;
    assert!(rules.contains("<ID>theirs</ID>"), "{rules}");
    assert_eq!(case.aws().minimum_object_size(&case.account, &bucket), size);
}
