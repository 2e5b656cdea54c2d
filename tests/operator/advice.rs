//! What AWS refuses is told with who decided it, and what a person can do: design rule 14.

use repofanout::commands::iam_policy::policy;
use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, REGION, assert_message, base_name, condition, has_reason};
use crate::classes::shared_spec;
use crate::permissions::{create_boundary, scope};

const RECONCILE: &str = "repofanout.dev/reconcile-requested-at";

/// A policy that denies this, and allows everything else.
fn all_but(action: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": action, "Resource": "*"},
    ]})
}

/// Waits until the object is Stalled for this reason, with these words.
async fn wait_stalled(case: &Case, reason: &str, words: &str) {
    case.wait("docs", &format!("not {reason}: {words}"), |s| {
        condition(s, "Stalled").is_some_and(|c| c.is("True", reason) && c.says(words))
    })
    .await;
}

#[tokio::test]
async fn the_type_of_policy_that_denies_is_named_and_the_object_heals() {
    let case = Case::new("denies", &[]).await;
    let account = &case.account;
    let limit = |type_: &str| {
        let limits = [(type_, all_but("sns:CreateTopic"))];
        case.aws().limit(account, &limits);
    };
    let organization = "of the AWS organization denies sns:CreateTopic";
    for (n, (type_, words)) in [
        ("service control policy", organization),
        ("resource control policy", organization),
        ("VPC endpoint policy", "the policy of the VPC endpoint"),
        (
            "permissions boundary",
            "the permissions boundary of the operator denies",
        ),
        (
            "session policy",
            "the session policy of the operator's credentials",
        ),
        (
            "identity-based policy",
            "an IAM policy of the operator denies sns:CreateTopic",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        limit(type_);
        if n == 0 {
            case.apply("docs", json!({"repository": "acme/docs"}))
                .await
                .unwrap();
        } else {
            case.annotate("docs", RECONCILE, type_).await;
        }
        wait_stalled(&case, "AccessDenied", words).await;
    }
    case.aws().limit(account, &[]);
    case.annotate("docs", RECONCILE, "allowed").await;
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
}

/// HeadBucket has no words, so the operator asks by a call that has: a bucket of its own that an
/// endpoint of the VPC does not let through is no other account's.
#[tokio::test]
async fn a_head_without_words_is_asked_for_again() {
    let mut case = Case::without_operator("head", &[]).await;
    case.aws()
        .limit(&case.account, &[("VPC endpoint policy", all_but("s3:*"))]);
    case.start().await;
    case.apply("docs", json!({"repository": "acme/docs"}))
        .await
        .unwrap();
    wait_stalled(&case, "AccessDenied", "the policy of the VPC endpoint").await;
    wait_stalled(&case, "AccessDenied", "denies s3:ListBucket").await;
    // A HEAD with status 400 has no words either.
    case.aws().limit(&case.account, &[]);
    for operation in ["s3:HeadBucket", "s3:ListObjects"] {
        let effect = Effect::Fail {
            status: 400,
            code: "ExpiredToken".to_owned(),
            message: "The provided token has expired.".to_owned(),
        };
        let fault = Fault::new(&case.account, operation, When::Always, effect);
        case.aws().fault(fault);
    }
    case.annotate("docs", RECONCILE, "expired").await;
    wait_stalled(&case, "AccessDenied", "The provided token has expired.").await;
    wait_stalled(&case, "AccessDenied", "the operator's credentials have").await;
    case.aws().clear_faults(&case.account);
    case.annotate("docs", RECONCILE, "on").await;
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
}

#[tokio::test]
async fn a_boundary_that_does_not_exist_is_named_and_waits_for_a_person() {
    let case = Case::new("no-boundary", &["--permissions-boundary=bound"]).await;
    case.apply("docs", json!({"repository": "acme/docs"}))
        .await
        .unwrap();
    let boundary = format!("arn:aws:iam::{}:policy/bound does not exist", case.account);
    wait_stalled(&case, "NotFound", &boundary).await;
    create_boundary(&case).await;
    case.annotate("docs", RECONCILE, "created").await;
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
}

#[tokio::test]
async fn policies_that_somebody_gave_to_the_role_are_named_and_hold_its_deletion() {
    let case = Case::new("attached", &[]).await;
    case.create_delivered("docs").await;
    create_boundary(&case).await;
    let base = base_name(&case.status("docs").await);
    let arn = format!("arn:aws:iam::{}:policy/bound", case.account);
    let on_role = |action| [("Action", action), ("RoleName", &*base)];
    let put = [
        ("PolicyName", "audit"),
        (
            "PolicyDocument",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}"#,
        ),
    ];
    let attach = [("PolicyArn", &*arn)];
    let call = async |action, more: &[(&str, &str)]| {
        let fields = [&on_role(action)[..], more].concat();
        case.iam(&fields).await.unwrap();
    };
    call("PutRolePolicy", &put).await;
    call("AttachRolePolicy", &attach).await;
    case.delete("docs").await;
    let named = format!("Policies of {base}: audit, bound; somebody else gave");
    wait_stalled(&case, "DeletionBlocked", &named).await;
    wait_stalled(&case, "DeletionBlocked", "repofanout.dev/abandon=docs").await;
    call("DetachRolePolicy", &attach).await;
    call("DeleteRolePolicy", &put[..1]).await;
    case.wait_gone("docs").await;
}

/// A role's session comes from STS of the operator's own region, as the region of the class may be
/// off in the operator's account. Where it is off in the class's, that account is named.
#[tokio::test]
async fn a_region_that_is_off_is_named_with_the_account_that_has_it_off() {
    const OPT_IN: &str = "af-south-1";
    let case = Case::with_classes("opt-in", &[]).await;
    let there = case.other_account(7);
    case.aws().turn_region(&case.account, OPT_IN, false);
    let role = case.create_trusting_role(&there, "id").await;
    let mut spec = shared_spec(&case);
    spec["account"] = json!({"roleARN": role, "externalID": "id"});
    spec["region"] = json!(OPT_IN);
    let class = case.class_name("far");
    case.create_ready_class(&class, spec.clone()).await;
    case.aws().turn_region(&there, OPT_IN, false);
    spec["tags"] = json!({"look": "again"});
    case.apply_class(&class, spec, false).await.unwrap();
    let off = |s: &_| has_reason(s, "Stalled", "AccessDenied");
    let status = case.wait_class(&class, "not refused", off).await;
    let named = format!("region {OPT_IN} is off in account {there}");
    assert_message(&status, "Stalled", &named);
}

#[tokio::test]
async fn a_role_that_allows_no_tags_on_sessions_is_told_apart() {
    let case = Case::with_classes("tag-session", &[]).await;
    let there = case.other_account(8);
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", case.account)},
        "Action": "sts:AssumeRole",
    }]});
    let trust = trust.to_string();
    let create = [
        ("Version", "2010-05-08"),
        ("Action", "CreateRole"),
        ("RoleName", "fanout"),
        ("AssumeRolePolicyDocument", &*trust),
    ];
    let aws = case.aws();
    aws.form(&there, REGION, "iam", &create).await.unwrap();
    let mut spec = shared_spec(&case);
    spec["account"] = json!({
        "roleARN": format!("arn:aws:iam::{there}:role/fanout"), "sessionTags": {"by": "repofanout"},
    });
    let class = case.class_name("tags");
    case.apply_class(&class, spec, false).await.unwrap();
    let refused = |s: &_| has_reason(s, "Stalled", "AccessDenied");
    let status = case.wait_class(&class, "not refused", refused).await;
    let named = "the trust policy of the role has to allow sts:TagSession";
    assert_message(&status, "Stalled", named);
}

/// The operator publishes to a topic with a key as far as its printed policy lets it use the key.
#[tokio::test]
async fn a_topic_whose_key_does_not_let_the_operator_in_is_told_with_the_statement() {
    let mut case = Case::without_operator("topic-key", &["--allow-existing=arn:aws:sns:*"]).await;
    let topic = case.create_topic("theirs").await;
    let key = format!("arn:aws:kms:{REGION}:{}:key/1234", case.account);
    let publish = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "codestar-notifications.amazonaws.com"},
        "Action": "SNS:Publish", "Resource": topic,
        "Condition": {"StringEquals": {"aws:SourceAccount": case.account}},
    }]});
    for (name, value) in [("KmsMasterKeyId", &*key), ("Policy", &*publish.to_string())] {
        let set = [
            ("Action", "SetTopicAttributes"),
            ("TopicArn", &*topic),
            ("AttributeName", name),
            ("AttributeValue", value),
        ];
        case.sns(&set).await.unwrap();
    }
    let mut scope = scope(&case.account);
    scope.allow_existing = vec!["arn:aws:sns:*".into()];
    scope.boundaries.clear();
    let full = policy(&scope);
    let mut without = full.clone();
    let statements = without["Statement"].as_array_mut().unwrap();
    statements.retain(|s| s["Sid"] != "KeysOfTopics");
    // Roles without a boundary: this is not about them.
    let roles = json!({"Effect": "Allow", "Action": "iam:*", "Resource": "*"});
    let with_roles = |policy: &Value| {
        let mut policy = policy.clone();
        let all = policy["Statement"].as_array_mut().unwrap();
        all.retain(|s| s["Sid"] != "BoundRoles");
        all.push(roles.clone());
        policy
    };
    let (aws, account) = (case.aws(), case.account.clone());
    let limit = |policy: &Value| {
        let limits = [("identity-based policy", with_roles(policy))];
        aws.limit(&account, &limits);
    };
    limit(&without);
    let (repository, commit) = case.create_repository().await;
    let spec = json!({
        "repository": repository,
        "notifications": {"existingTopicARN": topic, "announce": true},
    });
    case.start().await;
    case.apply("docs", spec).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    let status = case
        .wait_condition("docs", "Announced", "False", "AnnounceFailed")
        .await;
    let words = "the IAM policy of the operator has to contain {\"Action\":[\"kms:Decrypt\"";
    assert_message(&status, "Announced", words);
    limit(&full);
    case.wait_condition("docs", "Announced", "True", "Announced")
        .await;
}

/// A bucket that exists may have a key that the pipeline's role may not use; the operator writes
/// neither the key's policy nor more into the role.
#[tokio::test]
async fn a_bucket_whose_key_does_not_let_the_pipeline_in_is_told_with_the_statement() {
    let case = Case::new("bucket-key", &["--allow-existing=arn:aws:s3:::*"]).await;
    let bucket = format!("files-{}", case.namespace);
    case.create_bucket(&bucket).await;
    let key = format!("arn:aws:kms:{REGION}:{}:key/1234", case.account);
    let encryption = format!(
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
         <SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{key}</KMSMasterKeyID>\
         </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
    );
    case.s3("PUT", &format!("/{bucket}?encryption"), &encryption)
        .await
        .unwrap();
    let (repository, commit) = case.create_repository().await;
    let spec = json!({"repository": repository, "destination": {"existingBucket": bucket}});
    case.apply("docs", spec).await.unwrap();
    case.authorize("docs").await;
    let status = case
        .wait_condition("docs", "Delivered", "False", "DeliveryFailed")
        .await;
    let base = base_name(&status);
    let role = format!("arn:aws:iam::{}:role/repofanout/{base}", case.account);
    for words in [
        "kms:GenerateDataKey",
        "does not let the pipeline's role in: the policy of the key has to contain",
        &role,
    ] {
        assert_message(&status, "Delivered", words);
    }
    // The key's owner lets the role in. Keys have no policies here, so the role gets one more.
    let allow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key},
    ]});
    let put = [
        ("Action", "PutRolePolicy"),
        ("RoleName", &*base),
        ("PolicyName", "key"),
        ("PolicyDocument", &*allow.to_string()),
    ];
    case.iam(&put).await.unwrap();
    case.annotate("docs", "repofanout.dev/release-requested-at", "let in")
        .await;
    case.wait_delivered("docs", &commit).await;
}
